//! Time series over REST, and what stays of a deletion when the server is killed at the worst moment.

use std::thread;

use serde_json::{Value, json};

use crate::harness::{Server, eventually};

const DAY_MS: i64 = 86_400_000;

fn times(server: &Server, device: &str, key: &str) -> Vec<i64> {
    let history = server.rest().history(device, key);
    history.get(key).map(|points| points.iter().map(|(ts, _)| *ts).collect()).unwrap_or_default()
}

fn delete(server: &Server, device: &str, query: &str) {
    let path = server.rest().telemetry(device, &format!("timeseries/delete?{query}"));
    server.rest().delete(&path).expect("the points are deleted");
}

#[test]
fn deleted_points_stay_deleted_and_later_ones_stay() {
    let mut server = Server::spawn();
    server.device("thermo");
    for round in 0..3_i64 {
        let mut device = server.connect("thermo");
        let base = round * DAY_MS;
        for minute in 1..=5 {
            device.telemetry(format!(r#"{{"ts":{},"values":{{"a":{minute},"b":{minute}}}}}"#, base + minute));
        }
        delete(&server, "thermo", &format!("keys=a&startTs={}&endTs={}", base + 2, base + 5));
        // Later, with a time of the range.
        device.telemetry(format!(r#"{{"ts":{},"values":{{"a":"again"}}}}"#, base + 3));
        server = server.kill_9().restart();
        let expected: Vec<i64> =
            (0..=round).flat_map(|day| [1, 3, 5].map(|minute| day * DAY_MS + minute)).collect();
        assert_eq!(times(&server, "thermo", "a"), expected);
        assert_eq!(times(&server, "thermo", "b").len(), 5 * (usize::try_from(round).expect("small") + 1));
    }
    delete(&server, "thermo", "keys=a,b&deleteAllDataForKeys=true");
    server = server.kill_9().restart();
    assert!(server.rest().latest("thermo").is_empty());
    assert!(times(&server, "thermo", "b").is_empty());
}

#[test]
fn a_deletion_that_is_killed_is_done_when_it_is_asked_again() {
    let mut server = Server::spawn();
    server.rest().create_device("thermo", None);
    let text = "x".repeat(400);
    let save = |server: &Server, hour: i64| {
        let records: Vec<Value> = (0..1_000)
            .map(|row| json!({"ts": hour * 3_600_000 + row, "values": {"a": format!("{text}{row}"), "b": row}}))
            .collect();
        let path = server.rest().telemetry("thermo", "timeseries/ANY");
        server.rest().post(&path, &json!(records)).expect("the points are saved");
    };
    (0..30).for_each(|hour| save(&server, hour));
    let first_hour = "values/timeseries?keys=a&startTs=0&endTs=3600000&limit=1";
    for kill in 0..3 {
        let path = server.rest().telemetry("thermo", "timeseries/delete?keys=a&startTs=0&endTs=99999999999");
        let rest = server.rest().of(server.rest().token());
        let asking = thread::spawn(move || rest.delete(&path).is_ok());
        match kill {
            0 => {}
            1 => {
                let path = server.rest().telemetry("thermo", first_hour);
                eventually("a part is deleted", || {
                    (server.rest().get(&path).ok()? == json!({})).then_some(())
                });
            }
            _ => eventually("all is deleted", || asking.is_finished().then_some(())),
        }
        server = server.kill_9().restart();
        // Where the kill cut the connection there was no answer.
        let was_answered = asking.join().unwrap_or(false);
        assert_eq!(times(&server, "thermo", "b").len(), 30_000, "kill {kill}");
        if was_answered {
            assert!(times(&server, "thermo", "a").is_empty(), "what was deleted is there again");
        }
    }
    assert!(times(&server, "thermo", "a").is_empty(), "the last one was waited for");
}

#[test]
fn a_device_of_the_same_name_begins_anew() {
    let server = Server::spawn();
    let mut device = server.device("thermo");
    device.telemetry(r#"{"a":1}"#);
    assert_eq!(device.publish_qos1("v1/devices/me/attributes", r#"{"model":"T1"}"#), 0);
    assert_eq!(device.publish_qos1("v1/devices/me/telemetry", "no json"), 0);
    server.rest().write_attributes("thermo", "SHARED_SCOPE", &json!({ "interval": 60 }));
    let id = server.rest().device_id("thermo");
    assert_eq!(server.rest().dead_letters("thermo").len(), 1);
    server.rest().delete(&format!("/api/device/{id}")).expect("the device is deleted");
    let server = server.kill_9().restart();
    server.device("thermo");
    assert!(server.rest().latest("thermo").is_empty());
    assert!(server.rest().attributes("thermo", "CLIENT_SCOPE").is_empty());
    assert!(server.rest().attributes("thermo", "SHARED_SCOPE").is_empty());
    assert!(server.rest().dead_letters("thermo").is_empty());
    let letters = server.rest().get("/api/dead-letters").expect("dead letters");
    assert_eq!(letters, json!([]), "nor is there one of the old device");
    let refusal = server.rest().get(&format!("/api/device/{id}")).expect_err("it is gone");
    assert_eq!(refusal.status, 404);
}

#[test]
fn many_readers_get_whole_answers_while_a_device_is_acknowledged() {
    let server = Server::spawn();
    let mut device = server.device("thermo");
    let path = server.rest().telemetry("thermo", "timeseries/ANY");
    for hour in 0..20 {
        let records: Vec<Value> = (0..1_000)
            .map(|row| json!({"ts": hour * 3_600_000 + row, "values": {"a": row, "b": 0.5}}))
            .collect();
        server.rest().post(&path, &json!(records)).expect("the points are saved");
    }
    let range = "values/timeseries?keys=a,b&startTs=0&endTs=999999999";
    let history = server.rest().telemetry("thermo", &format!("{range}&limit=100000"));
    let counts = server.rest().telemetry("thermo", &format!("{range}&agg=COUNT&interval=3600000"));
    thread::scope(|scope| {
        let readers: Vec<_> = (0..16)
            .map(|reader| {
                let rest = server.rest().of(server.rest().token());
                let path = if reader % 2 == 0 { &history } else { &counts };
                scope.spawn(move || rest.get(path).expect("an answer"))
            })
            .collect();
        for value in 0..50 {
            device.telemetry(format!(r#"{{"live":{value}}}"#));
        }
        for (reader, answer) in readers.into_iter().enumerate() {
            let answer = answer.join().expect("an answer");
            let points = if reader % 2 == 0 { 20_000 } else { 20 };
            assert_eq!(answer["a"].as_array().map(Vec::len), Some(points), "{reader}");
            assert_eq!(answer["b"].as_array().map(Vec::len), Some(points), "{reader}");
        }
    });
    assert_eq!(server.rest().latest("thermo")["live"], 49);
}
