//! A hundred devices fetch the same eight megabytes at once: how long it takes, and what the server needs for it.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Bench;
use super::parts::{PASSWORD, Server, wait};
use super::table::{Bar, Line, median, short};
use crate::demo::login;
use crate::process::output_of;

const DEVICES: usize = 100;
const PACKAGE_BYTES: usize = 8_000_000;

/// The row: each round is a fresh server, because memory that was used once is not given back.
pub(super) fn ota(bench: &Bench) -> Result<Vec<Line>> {
    let image: Vec<u8> =
        (0..PACKAGE_BYTES as u64 / 8).flat_map(|n| (n * 0x9e37_79b9).to_le_bytes()).collect();
    let file = bench.folder.join("package.bin");
    fs::write(&file, &image)?;
    let mut reports: Vec<Value> = Vec::new();
    for round in 0..bench.rounds {
        let server = Server::start(bench, &format!("ota-{round}"))?;
        publish(&server, &image)?;
        let fetch = |devices: usize| -> Result<Value> {
            let mut command = Command::new(&bench.tools.load);
            command.arg("download").args(["--address", &server.contestant.address.to_string()]);
            command.args(["--connections", &devices.to_string()]).arg("--file").arg(&file);
            for process in &server.contestant.watch {
                command.args(["--watch", &process.to_string()]);
            }
            Ok(serde_json::from_str(&output_of(&mut command)?)?)
        };
        // The first one is not counted: the threads that read start with it.
        fetch(1)?;
        reports.push(fetch(DEVICES)?);
    }
    let figure = |name: &str| {
        median(reports.iter().map(|report| report.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN)))
    };
    let time = Line {
        measure: "100 devices fetch 8 MB each in chunks of 64 KiB",
        value: figure("seconds"),
        unit: " s",
        must: Bar::None,
        aim: Bar::None,
        note: format!(
            "{} MB/s, every byte compared, generator on the same cores",
            short(figure("mb_per_second"))
        ),
    };
    let memory = Line {
        measure: "memory that this takes beyond the connected devices",
        value: figure("extra_kib") / 1024.0,
        unit: " MiB",
        must: Bar::AtMost(6.0),
        aim: Bar::AtMost(4.0),
        note: format!("{} MiB before", short(figure("kib_before") / 1024.0)),
    };
    Ok(vec![time, memory])
}

/// Uploads the package and assigns it to the fleet's profile; returns when devices can fetch it.
fn publish(server: &Server, image: &[u8]) -> Result<()> {
    let (base, token) = (format!("http://{}", server.http), login(server.http, PASSWORD)?);
    let token = format!("Bearer {token}");
    let get = |path: &str| -> Result<Value> {
        let mut answer = ureq::get(format!("{base}{path}")).header("X-Authorization", &token).call()?;
        Ok(answer.body_mut().read_json()?)
    };
    let post = |path: &str, body: &[u8], kind: &str| -> Result<Value> {
        let request = ureq::post(format!("{base}{path}")).header("X-Authorization", &token);
        let mut answer = request.header("Content-Type", kind).send(body).with_context(|| path.to_owned())?;
        Ok(answer.body_mut().read_json()?)
    };
    let (json_type, form_type) = ("application/json", "multipart/form-data; boundary=frontier");
    let package = json!({"title": "bench", "version": "1", "type": "FIRMWARE"});
    let package = post("/api/otaPackage", package.to_string().as_bytes(), json_type)?;
    let id = package.pointer("/id/id").and_then(Value::as_str).context("the package has an id")?;
    let head = "--frontier\r\nContent-Disposition: form-data; name=\"file\"; filename=\"bench.bin\"\r\n\r\n";
    let form = [head.as_bytes(), image, b"\r\n--frontier--\r\n"].concat();
    post(&format!("/api/otaPackage/{id}?checksumAlgorithm=SHA256"), &form, form_type)?;
    let page = get("/api/deviceProfiles?pageSize=1&page=0&textSearch=stamped")?;
    let mut profile = page.pointer("/data/0").context("the fleet has a profile")?.clone();
    if let Some(profile) = profile.as_object_mut() {
        profile.insert("firmwareId".into(), package.get("id").context("the package has an id")?.clone());
    }
    post("/api/deviceProfile", profile.to_string().as_bytes(), json_type)?;
    // Queueing all devices of the profile is not what is measured.
    let last = get(&format!("/api/tenant/device?deviceName=load-{}", super::parts::DEVICES - 1))?;
    let last = last.pointer("/id/id").and_then(Value::as_str).context("the device has an id")?;
    let path = format!("/api/plugins/telemetry/DEVICE/{last}/values/timeseries?keys=fw_state");
    wait(|| {
        get(&path).is_ok_and(|state| state.pointer("/fw_state/0/value").is_some_and(|state| !state.is_null()))
    })
}
