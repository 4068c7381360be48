//! What was acknowledged is there after the process was killed at the worst moment.

use wireglot_load::fleet::Pace;

use crate::harness::{Server, Swarm, guest};

/// Kills in a row, so that a recovered store is recovered again.
const KILLS: usize = 3;

#[test]
fn ack_after_commit() {
    let mut server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    for kill in 0..KILLS {
        let profile = server.codec_profile(&format!("kill-{kill}"), "stamp");
        let swarm = Swarm::start(&server, &profile, 50, 20, Pace::Flood);
        swarm.progress(5_000);
        server = server.kill_9().restart();
        let outcome = swarm.finish();
        assert!(
            outcome.devices.iter().all(|device| device.closed.is_some()),
            "the kill cut every connection"
        );
        let acknowledged: usize = outcome.devices.iter().map(|device| device.acknowledged.len()).sum();
        assert!(acknowledged >= 5_000, "{acknowledged} messages were acknowledged");
        for device in &outcome.devices {
            let stored = server.rest().counters(&device.name);
            assert!(
                stored.windows(2).all(|pair| pair[0] < pair[1]),
                "{}: something is there twice",
                device.name
            );
            for counter in &device.acknowledged {
                let found = stored.binary_search(counter).is_ok();
                assert!(found, "{}: message {counter} was acknowledged and is lost", device.name);
            }
            assert!(stored.iter().all(|counter| (1..=device.sent).contains(counter)));
        }
    }
}

#[test]
fn a_killed_server_knows_its_codecs_profiles_and_devices() {
    let server = Server::spawn();
    server.install_codec("stamp", &guest("stamp-a"));
    server.codec_profile("stamped", "stamp");
    server.device_of("stamped", "thermo").telemetry(wireglot_load::frame::frame(7));
    let server = server.kill_9().restart();
    assert_eq!(server.rest().latest("thermo")["seq"], 7);
    server.connect("thermo").telemetry(wireglot_load::frame::frame(8));
    assert_eq!(server.rest().latest("thermo")["seq"], 8);
}
