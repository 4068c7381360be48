//! A gateway with ten thousand children: what a child's session takes, how fast they come, speak and go.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Bench;
use super::load::figure;
use super::parts::{DEVICES, PASSWORD, Server, declare, wait};
use super::table::{Bar, Line, median, short};
use crate::demo::login;
use crate::process::output_of;

const CHILDREN: usize = 10_000;
/// Devices in one publish.
const PER_PUBLISH: usize = 500;
/// How often each child speaks.
const TIMES: usize = 10;
const GATEWAY: &str = "gateway";

/// How one round went.
struct Round {
    /// Each child's session; the devices were there before.
    kib_each: f64,
    /// The connects that made the devices, and those that found them.
    made_s: f64,
    found_s: f64,
    /// From the end of the gateway's connection to the last child's.
    gone_s: f64,
    of_gateway: Value,
    of_devices: Value,
}

/// The row: each round is a fresh server, because memory that was used once is not given back.
pub(super) fn gateway(bench: &Bench) -> Result<Vec<Line>> {
    let mut fleet = format!(
        "[[device]]\nname = \"{GATEWAY}\"\ngateway = true\n\
         credentials = {{ credentialsType = \"ACCESS_TOKEN\", credentialsId = \"{GATEWAY}\" }}\n"
    );
    declare(&mut fleet, DEVICES, "")?;
    let mut rounds = Vec::new();
    for round in 0..bench.rounds {
        let server = Server::start_with(bench, &format!("gateway-{round}"), &fleet)?;
        rounds.push(once(bench, server).with_context(|| format!("round {round}"))?);
    }
    let middle = |of: fn(&Round) -> f64| median(rounds.iter().map(of));
    let memory = Line {
        measure: "session of a device behind a gateway",
        value: middle(|round| round.kib_each),
        unit: " KiB",
        must: Bar::AtMost(2.0),
        aim: Bar::AtMost(1.0),
        note: format!("{CHILDREN} devices that were there before, on a server that was started again"),
    };
    let connects = Line {
        measure: "10,000 devices connect through a gateway",
        value: middle(|round| round.found_s),
        unit: " s",
        must: Bar::AtMost(5.0),
        aim: Bar::AtMost(1.5),
        note: format!("{} s where each of them is made on the way", short(middle(|round| round.made_s))),
    };
    let gone = Line {
        measure: "their sessions are over when the gateway's is",
        value: middle(|round| round.gone_s),
        unit: " s",
        must: Bar::AtMost(5.0),
        aim: Bar::AtMost(1.0),
        note: "the list of sessions is asked for until it is empty".to_owned(),
    };
    let values = |report: &Value| figure(report, "values_per_second");
    let telemetry = Line {
        measure: "values/s in publishes of 500 devices ÷ values/s of connected devices",
        value: median(rounds.iter().map(|round| values(&round.of_gateway) / values(&round.of_devices))),
        unit: "",
        must: Bar::AtLeast(1.0),
        aim: Bar::AtLeast(2.0),
        note: format!(
            "{} values/s and {} µs of CPU each through the gateway; {} values/s and {} µs of CPU each from {DEVICES} \
             connected devices",
            short(median(rounds.iter().map(|round| values(&round.of_gateway)))),
            short(median(rounds.iter().map(|round| figure(&round.of_gateway, "cpu_us_per_value")))),
            short(median(rounds.iter().map(|round| values(&round.of_devices)))),
            short(median(rounds.iter().map(|round| figure(&round.of_devices, "cpu_us_per_value")))),
        ),
    };
    Ok(vec![memory, connects, gone, telemetry])
}

fn once(bench: &Bench, mut server: Server) -> Result<Round> {
    let made = speak(bench, &server, GATEWAY, &["--times", "0"])?;
    // What making the devices took is given back; what is measured is the sessions alone.
    server.kill_9_and_start()?;
    server.wait_until_ready()?;
    let of_gateway = speak(bench, &server, GATEWAY, &["--times", &TIMES.to_string()])?;
    let left = Instant::now();
    let sessions = Sessions::of(&server)?;
    wait(|| sessions.count().is_some_and(|count| count == 0))?;
    let gone_s = left.elapsed().as_secs_f64();
    let (devices, times) = (DEVICES.to_string(), TIMES.to_string());
    let more = ["--direct", "--connections", &devices, "--times", &times];
    let of_devices = speak(bench, &server, "load-{}", &more)?;
    Ok(Round {
        kib_each: figure(&of_gateway, "kib_each"),
        made_s: figure(&made, "connects_s"),
        found_s: figure(&of_gateway, "connects_s"),
        gone_s,
        of_gateway,
        of_devices,
    })
}

fn speak(bench: &Bench, server: &Server, name: &str, more: &[&str]) -> Result<Value> {
    let mut command = Command::new(&bench.tools.load);
    command.arg("gateway").args(["--address", &server.contestant.address.to_string(), "--user-name", name]);
    command.args(["--children", &CHILDREN.to_string(), "--per-publish", &PER_PUBLISH.to_string()]);
    for process in &server.contestant.watch {
        command.args(["--watch", &process.to_string()]);
    }
    Ok(serde_json::from_str(&output_of(command.args(more))?)?)
}

/// The list of sessions over REST.
struct Sessions {
    path: String,
    token: String,
}

impl Sessions {
    fn of(server: &Server) -> Result<Self> {
        let path = format!("http://{}/api/sessions?pageSize=1&page=0", server.http);
        Ok(Self { path, token: format!("Bearer {}", login(server.http, PASSWORD)?) })
    }

    fn count(&self) -> Option<u64> {
        let mut answer = ureq::get(&self.path).header("X-Authorization", &self.token).call().ok()?;
        let page: Value = answer.body_mut().read_json().ok()?;
        page.get("totalElements")?.as_u64()
    }
}
