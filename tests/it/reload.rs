//! Codecs are replaced under full load, and nobody notices but the values.

use std::time::Instant;

use wireglot_load::fleet::Pace;

use crate::harness::{Server, Swarm, eventually, guest};

const DEVICES: usize = 100;
const WINDOW: u16 = 20;
const SWAPS: usize = 60;

#[test]
fn one_version_per_message() {
    let server = Server::spawn();
    let versions = [guest("stamp-a"), guest("stamp-b")];
    server.install_codec("stamp", &versions[0]);
    let profile = server.codec_profile("swapped", "stamp");
    let swarm = Swarm::start(&server, &profile, DEVICES, WINDOW, Pace::Flood);
    swarm.progress(1_000);
    for swap in 1..=SWAPS {
        server.drop_codec("stamp", &versions[swap % 2]);
        let version = format!("{}.0.0", swap % 2 + 1);
        eventually("the new version is live", || {
            let codec = server.rest().codec("stamp")?;
            (codec["state"] == "live" && codec["version"] == version.as_str()).then_some(())
        });
        swarm.progress(200);
    }
    let outcome = swarm.finish();
    assert!(outcome.drained, "something was never acknowledged");
    assert_eq!(outcome.refused, 0);
    let mut by_version = [0, 0];
    for device in &outcome.devices {
        assert_eq!(device.closed, None, "{} was disconnected", device.name);
        let sent: Vec<u32> = (1..=device.sent).collect();
        assert_eq!(device.acknowledged, sent, "{}: not acknowledged once each", device.name);
        let mut counters = Vec::new();
        for message in server.rest().messages(&device.name) {
            counters.push(message.counter());
            let version = message.only_version();
            assert_eq!(message.codec_version, format!("{version}.0.0"), "the stamp beside the message");
            by_version[version - 1] += 1;
        }
        counters.sort_unstable();
        let dead = server.rest().dead_letters(&device.name);
        assert_eq!(counters, sent, "{}: not stored once each; dead letters: {dead:?}", device.name);
    }
    assert!(by_version.iter().all(|messages| *messages > 0), "{by_version:?}");
}

#[test]
fn worker_never_waits() {
    let server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    let profile = server.codec_profile("steady", "stamp");
    let swarm = Swarm::start(&server, &profile, 50, WINDOW, Pace::PerSecond(500));
    swarm.progress(500);
    let mut compiling = Vec::new();
    for number in 0..20 {
        // Each is new to the compile cache, so each is compiled while the devices publish.
        let component = relabelled(&guest("stamp-b"), number);
        let begin = Instant::now();
        server.rest().put_codec("compiled", &component).expect("the component is taken");
        compiling.push(begin.elapsed());
        swarm.progress(50);
        server.rest().history("steady-0", "seq");
    }
    let outcome = swarm.finish();
    assert!(outcome.drained && outcome.refused == 0);
    assert!(outcome.devices.iter().all(|device| device.closed.is_none()));
    // The compiler takes all cores at times, so the slowest may be slow; a worker that waited for it would be slow
    // for most.
    compiling.sort_unstable();
    let (p50, compiled) = (outcome.p50, compiling[compiling.len() / 2]);
    assert!(p50 < compiled / 4, "p50 was {p50:?} while codecs were compiled, each in {compiled:?}");
}

/// The same component with another content hash: a custom section more.
fn relabelled(component: &[u8], number: u8) -> Vec<u8> {
    let mut bytes = component.to_vec();
    bytes.extend([0, 3, 1, b'n', number]);
    bytes
}
