//! Devices that speak HTTP: what they say takes the path of a publish, what they wait for stands beside a connection, and
//! whoever serves them sees no difference.

use std::thread;

use serde_json::{Value, json};
use wireglot_load::frame::frame;

use crate::claim::{claim, customer};
use crate::envelopes::{chirpstack, frames, has_values};
use crate::harness::{HttpDevice, Server, eventually, guest, plugin, sdk};
use crate::ota::{assign, image, publish};

const ATTRIBUTES: &str = "v1/devices/me/attributes";
const RPCS: &str = "v1/devices/me/rpc/request/+";

/// Asks the device `thermo` while it does something about it.
fn during<R>(server: &Server, kind: &str, body: &Value, device: impl FnOnce() -> R) -> (Value, R) {
    thread::scope(|scope| {
        let path = format!("/api/rpc/{kind}/{}", server.rest().device_id("thermo"));
        let call = scope.spawn(move || server.rest().post(&path, body).expect("the call is answered"));
        let done = device();
        (call.join().expect("the call ends"), done)
    })
}

/// How many requests of devices wait.
fn waiting(server: &Server, count: f64) {
    eventually(&format!("{count} requests wait"), || {
        let polls = server.metrics().value("wireglot_http_device_polls", &[]);
        ((polls - count).abs() < 0.5).then_some(())
    });
}

#[test]
fn a_device_lives_by_requests_on_one_connection() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    let mut device = server.http_device("thermo");
    device.tell("telemetry", "{}");
    device.tell("telemetry", r#"[{"ts":1451649600512,"values":{"past":1}},{"temperature":41.5}]"#);
    device.tell("attributes", r#"{"model":"x","serial":"7"}"#);
    server.rest().write_attributes("thermo", "SHARED_SCOPE", &json!({ "interval": 60, "mode": "eco" }));
    assert_eq!(server.rest().latest("thermo")["temperature"], 41.5);
    assert_eq!(server.rest().history("thermo", "past")["past"], [(1_451_649_600_512, json!(1))]);
    let some = device.get("attributes?clientKeys=model,none&sharedKeys=mode&sharedKeys=interval");
    let expected = json!({ "client": { "model": "x" }, "shared": { "mode": "eco", "interval": 60 } });
    assert_eq!((some.status, some.header("content-type"), some.json()), (200, "application/json", expected));
    assert_eq!(device.get("attributes?sharedKeys=none").text(), "{}");
    assert_eq!(device.get("attributes").json()["client"]["serial"], 7);
    let time = device.post("rpc", r#"{"method":"getCurrentTime","params":{}}"#).json();
    assert!(time["currentTime"].as_i64().is_some_and(|ms| ms > 1_700_000_000_000), "{time}");
    let nobody = device.post("rpc", r#"{"method":"launch"}"#);
    assert_eq!((nobody.status, nobody.json()["error"].is_string()), (200, true));
    assert_eq!(device.get("rpc?timeout=1").status, 408);
    assert_eq!(device.get("attributes/updates?timeout=1").status, 408);
    let active = || server.rest().attributes("thermo", "SERVER_SCOPE").get("active") == Some(&json!(true));
    eventually("the device is active", || active().then_some(()));

    let mut stranger = server.http_device("nobody");
    let told = stranger.post("telemetry", r#"{"t":1}"#);
    assert_eq!((told.status, told.text().as_str()), (401, ""));
    server.rest().delete_device("thermo");
    assert_eq!(device.post("telemetry", "{}").status, 401, "the connection proves nothing");
}

#[test]
fn a_raw_body_is_decoded_by_the_codec_and_what_is_taken_survives_a_kill() {
    let mut server = Server::spawn();
    server.install_codec("elsys", &plugin("elsys"));
    server.codec_profile("elsys", "elsys");
    server.rest().create_device("room", Some("elsys"));
    let mut trace = server.trace("deviceName=room");
    let (payload, values) = frames("elsys").swap_remove(0);
    server.http_device("room").tell("telemetry", &payload);
    let (event, seen) = trace.next();
    assert_eq!(event, "decoded");
    assert_eq!(
        (&seen["topic"], &seen["codec"]["name"]),
        (&json!("v1/devices/me/telemetry"), &json!("elsys"))
    );
    let latest = server.rest().latest("room");
    for (key, value) in values.as_object().expect("values") {
        assert!(crate::telemetry::same(&latest[key], value), "{key} is {}, not {value}", latest[key]);
    }

    // Garbage is kept for the operator, and refused with the reason.
    let refused = server.http_device("room").post("telemetry", [0xEE, 0xEE]);
    let letters = server.rest().dead_letters("room");
    assert_eq!((refused.status, letters.len()), (400, 1), "{}", refused.text());
    assert_eq!(refused.json()["message"], letters[0]["reason"]);
    assert_eq!((&letters[0]["payloadHex"], &letters[0]["codec"]["name"]), (&json!("eeee"), &json!("elsys")));

    server.install_codec("stamp", &guest("stamp-a"));
    server.codec_profile("stamped", "stamp");
    server.rest().create_device("counter", Some("stamped"));
    for round in 0..3 {
        let mut device = server.http_device("counter");
        let counters = (1..=20).map(|counter| round * 20 + counter);
        counters.for_each(|counter| device.tell("telemetry", frame(counter)));
        server = server.kill_9().restart();
        assert_eq!(server.rest().counters("counter"), (1..=(round + 1) * 20).collect::<Vec<u32>>());
    }
}

#[test]
fn an_update_and_an_rpc_come_to_requests_that_wait_and_to_the_connection() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    let mut connected = server.connect("thermo");
    assert_eq!((connected.subscribe(ATTRIBUTES), connected.subscribe(RPCS)), (1, 1));
    let [mut updates, mut rpcs] = [server.http_device("thermo"), server.http_device("thermo")];
    updates.send("GET", "attributes/updates?timeout=60000", "", b"");
    rpcs.send("GET", "rpc?timeout=60000", "", b"");
    waiting(&server, 2.0);
    server.rest().write_attributes("thermo", "SHARED_SCOPE", &json!({ "interval": 5 }));
    assert_eq!(updates.answer().json(), json!({ "interval": 5 }));
    assert_eq!(connected.next_message().payload, r#"{"interval":5}"#);
    waiting(&server, 1.0);

    // Both are asked, and the first answer counts.
    let body = json!({ "method": "open", "params": { "valve": 3 } });
    let (told, ()) = during(&server, "twoway", &body, || {
        let request = rpcs.answer();
        assert_eq!(request.json(), json!({ "id": 0, "method": "open", "params": { "valve": 3 } }));
        assert_eq!(request.header("x-rpc-id"), "0");
        assert_eq!(connected.next_message().topic, "v1/devices/me/rpc/request/0");
        rpcs.tell("rpc/0", r#"{"by":"http"}"#);
        connected.publish_qos1("v1/devices/me/rpc/response/0", r#"{"by":"mqtt"}"#);
    });
    assert_eq!(told, json!({ "by": "http" }));
    assert_eq!(server.rest().sessions(), ["thermo"], "requests are no sessions");
    connected.telemetry(r#"{"still":"there"}"#);

    // A request that went away holds no place and takes nothing along; what is asked waits for the next one.
    rpcs.send("GET", "rpc?timeout=60000", "", b"");
    waiting(&server, 1.0);
    drop(rpcs);
    waiting(&server, 0.0);
    drop(connected);
    let (told, ()) = during(&server, "twoway", &json!({ "method": "m" }), || {
        let mut device = server.http_device("thermo");
        let id = device.get("rpc?timeout=60000").json()["id"].clone();
        device.tell(&format!("rpc/{id}"), "7");
    });
    assert_eq!(told, 7);
}

#[test]
fn a_codec_and_a_schema_speak_both_ways() {
    let server = Server::spawn();
    server.install_codec("callable", &guest("callable"));
    let profile = server.codec_profile("callable", "callable");
    server.rest().create_device("thermo", Some(&profile));
    let mut device = server.http_device("thermo");
    let body = json!({ "method": "open", "params": { "valve": 3 } });
    // The answer comes as a frame among the telemetry, or where answers go.
    for (id, path) in [(0, "telemetry"), (1, "rpc/1")] {
        let (told, ()) = during(&server, "twoway", &body, || {
            let request = device.get("rpc?timeout=60000");
            assert_eq!(request.text(), format!("{id}open {{\"valve\":3}}"));
            assert_eq!(request.header("content-type"), "application/octet-stream");
            assert_eq!(request.header("x-rpc-id"), id.to_string());
            device.tell(path, [&[0xa5, id], b"{\"open\":true}".as_slice()].concat());
        });
        assert_eq!(told, json!({ "open": true }));
    }
    // Whoever takes nothing but JSON gets and sends that.
    let (told, ()) = during(&server, "twoway", &body, || {
        device.send("GET", "rpc?timeout=60000", "Accept: application/json\r\n", b"");
        assert_eq!(device.answer().json()["params"], json!({ "valve": 3 }));
        device.send("POST", "rpc/2", "Accept: application/json\r\n", b"{\"open\":1}");
        assert_eq!(device.answer().status, 200);
    });
    assert_eq!(told, json!({ "open": 1 }));
    // One answer holds one frame: the caller learns that, and the device waits on.
    let (told, ()) = during(&server, "twoway", &json!({ "method": "twice" }), || {
        device.send("GET", "rpc?timeout=60000", "", b"");
    });
    assert!(told["error"].as_str().is_some_and(|error| error.contains("2 frames")), "{told}");
    let (_, request) = during(&server, "oneway", &json!({ "method": "m" }), || device.answer());
    assert_eq!(request.text(), "4m null");
    // A call in a frame is answered where it came from.
    server.install_codec("calling", &guest("calling"));
    let profile = server.codec_profile("calling", "calling");
    server.rest().create_device("caller", Some(&profile));
    let answer = server.http_device("caller").post("telemetry", "getCurrentTime");
    assert!(answer.text().starts_with("9={\"currentTime\":"), "{}", answer.text());

    let schema = "syntax = \"proto3\";\nmessage Reading { optional int64 count = 1; }";
    let payload = json!({
        "transportPayloadType": "PROTOBUF",
        "deviceTelemetryProtoSchema": schema,
        "deviceAttributesProtoSchema": schema,
    });
    let transport = json!({ "type": "MQTT", "transportPayloadTypeConfiguration": payload });
    server.rest().create_profile("proto", &transport);
    server.rest().create_device("counter", Some("proto"));
    server.http_device("counter").tell("telemetry", [0x08, 42]);
    assert_eq!(server.rest().latest("counter")["count"], 42);
}

#[test]
fn a_network_server_posts_the_frames_of_its_devices() {
    let server = Server::spawn();
    server.install_codec("elsys", &plugin("elsys"));
    let more = json!({
        "deviceTelemetryTopic": "application/+/device/+/event/+",
        "envelope": "chirpstack",
        "carriedDevicesMax": 2,
    });
    let profile = server.codec_profile_with("chirpstack", "elsys", more);
    server.rest().create_device("network-server", Some(&profile));
    let mut webhook = server.http_device("network-server");
    let (payload, values) = frames("elsys").swap_remove(0);
    webhook.tell("telemetry?event=up", chirpstack("room-1", "0101010101010101", 85, &payload));
    has_values(&server, "room-1", &values);
    webhook.tell("telemetry?event=join", "{}");
    let refused = webhook.post("telemetry?event=up", "{}");
    assert_eq!((refused.status, server.rest().dead_letters("network-server").len()), (400, 1));
    assert!(refused.text().contains("deviceInfo"), "{}", refused.text());
}

#[test]
fn firmware_comes_in_parts_or_as_a_whole() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    let mut device = server.http_device("thermo");
    assert_eq!(device.get("firmware?title=app&version=1.0").status, 404);
    // Larger than anything that is held in memory for it.
    let image = image(3_000_000, 1);
    let package = publish(&server, "FIRMWARE", "1.0", &image);
    assign(&server, "thermo", "firmwareId", &package);
    let whole = device.get("firmware?title=app&version=1.0");
    assert_eq!((whole.status, whole.text() == image), (200, true));
    assert!(whole.header("content-disposition").starts_with("attachment"), "{}", whole.head);
    let part = |device: &mut HttpDevice, chunk: usize| {
        let part = device.get(&format!("firmware?title=app&version=1.0&size=1000000&chunk={chunk}"));
        assert_eq!(part.status, 200);
        part.text()
    };
    let parts: Vec<String> = (0..4).map(|chunk| part(&mut device, chunk)).collect();
    assert_eq!((parts.concat() == image, parts[3].len()), (true, 0), "past the end there is nothing");
    let other = device.get("firmware?title=app&version=2.0");
    assert_eq!(
        (other.status, other.json()["message"].as_str().is_some_and(|told| told.contains("1.0"))),
        (400, true)
    );
    assert_eq!(device.get("software?title=app&version=1.0").status, 404);
}

#[test]
fn a_device_is_claimed_and_another_makes_itself_known() {
    let server = Server::spawn();
    let (_, user) = customer(&server, "one");
    server.rest().create_device("box", None);
    let mut device = server.http_device("box");
    device.tell("claim", r#"{"secretKey":"value","durationMs":3600000}"#);
    assert_eq!(device.post("claim", "[]").status, 400);
    assert_eq!(claim(&user, "box", &json!({ "secretKey": "value" })), "SUCCESS");

    let strategy = "ALLOW_CREATE_NEW_DEVICES";
    let profile = json!({
        "name": "self-made", "type": "DEFAULT", "transportType": "DEFAULT", "provisionType": strategy,
        "provisionDeviceKey": "k",
        "profileData": {"provisionConfiguration": {"type": strategy, "provisionDeviceSecret": "s"}},
    });
    server.rest().post("/api/deviceProfile", &profile).expect("the profile is made");
    let path = "/api/v1/provision";
    let mut request =
        json!({ "deviceName": "made", "provisionDeviceKey": "k", "provisionDeviceSecret": "s" });
    let stranger = server.rest().stranger();
    let made = stranger.post(path, &request).expect("a device");
    assert_eq!((&made["status"], &made["credentialsType"]), (&json!("SUCCESS"), &json!("ACCESS_TOKEN")));
    let token = made["credentialsValue"].as_str().expect("a token");
    server.http_device(token).tell("telemetry", r#"{"t":1}"#);
    assert_eq!(server.rest().latest("made")["t"], 1);
    assert_eq!(stranger.post(path, &request).expect("an answer")["status"], "FAILURE");
    request["provisionDeviceSecret"] = "wrong".into();
    let unknown = stranger.post(path, &request).expect("an answer");
    assert_eq!(unknown, json!({ "status": "NOT_FOUND", "errorMsg": "Provision data was not found!" }));
    assert_eq!(stranger.post(path, &json!({})).expect_err("no key").status, 400);
}

#[test]
fn too_much_is_refused_and_whoever_guesses_is_slowed_down() {
    let server = Server::spawn_with(&[("WIREGLOT_MQTT_WRONG_LOGINS_MAX", "3")]);
    for name in ["thermo", "other"] {
        server.rest().create_device(name, None);
    }
    let mut device = server.http_device("thermo");
    assert_eq!(device.post("telemetry", vec![b' '; 65_537]).status, 413);
    let mut device = server.http_device("thermo");
    let mut polls: Vec<_> = (0..4).map(|_| server.http_device("thermo")).collect();
    for (poll, count) in polls.iter_mut().zip([1.0, 2.0, 3.0, 4.0]) {
        poll.send("GET", "rpc", "", b"");
        waiting(&server, count);
    }
    // Nobody reads what the four are told: a device whose connections broke off unnoticed is not locked out.
    device.send("GET", "rpc?timeout=60000", "", b"");
    assert_eq!(polls.remove(0).answer().status, 408, "the oldest ends as if its time were over");
    let id = server.rest().device_id("thermo");
    let body = json!({ "method": "m", "persistent": false });
    server.rest().post(&format!("/api/rpc/oneway/{id}"), &body).expect("it is told");
    assert_eq!(device.answer().json()["method"], "m");
    drop(polls);
    waiting(&server, 0.0);

    let limits = json!({ "transportDeviceTelemetryMsgRateLimit": "2:3600" });
    server.rest().post("/api/rateLimits", &limits).expect("the limits are in force");
    device.tell("telemetry", r#"{"t":1}"#);
    device.tell("telemetry", r#"{"t":2}"#);
    let third = device.post("telemetry", r#"{"t":3}"#);
    assert_eq!((third.status, third.header("retry-after")), (429, "1"));
    assert_eq!(server.rest().latest("thermo")["t"], 2);

    let mut guesser = server.http_device("guess");
    for _ in 0..2 {
        assert_eq!(guesser.post("telemetry", "{}").status, 401);
    }
    device.tell("telemetry", "{}");
    for _ in 0..3 {
        assert_eq!(guesser.post("telemetry", "{}").status, 401, "a right one forgives those before it");
    }
    let blocked = guesser.post("telemetry", "{}");
    assert_eq!((blocked.status, blocked.header("retry-after")), (429, "60"));
    assert_eq!(server.http_device("other").post("telemetry", "{}").status, 429, "as its address");
}

#[test]
fn behind_a_trusted_proxy_each_client_answers_for_itself() {
    let settings =
        [("WIREGLOT_MQTT_WRONG_LOGINS_MAX", "2"), ("WIREGLOT_HTTP_TRUSTED_PROXIES", "127.0.0.0/8, 10.0.0.1")];
    let server = Server::spawn_with(&settings);
    server.rest().create_device("thermo", None);
    let tell = |token: &str, client: &str| {
        let mut connection = server.http_device(token);
        connection.send("POST", "telemetry", &format!("X-Forwarded-For: {client}\r\n"), b"{}");
        connection.answer().status
    };
    for client in ["192.0.2.1", "192.0.2.9, 192.0.2.1, 10.0.0.1"] {
        assert_eq!(tell("guess", client), 401);
    }
    assert_eq!(tell("thermo", "192.0.2.1"), 429, "blocked");
    assert_eq!(tell("thermo", "192.0.2.2"), 200, "another client of the same proxy");
    assert_eq!(tell("thermo", "192.0.2.1, nonsense"), 200, "the proxy itself");
}

#[test]
fn the_http_device_of_the_python_sdk_lives_its_life() {
    let server = Server::spawn();
    let strategy = "ALLOW_CREATE_NEW_DEVICES";
    let profile = json!({
        "name": "self-made", "type": "DEFAULT", "transportType": "DEFAULT", "provisionType": strategy,
        "provisionDeviceKey": "k",
        "profileData": {"provisionConfiguration": {"type": strategy, "provisionDeviceSecret": "s"}},
    });
    server.rest().post("/api/deviceProfile", &profile).expect("the profile is made");
    let image = image(10_000, 1);
    let package = publish(&server, "FIRMWARE", "1.0", &image);
    let url = format!("http://{}", server.http());
    let told = thread::scope(|scope| {
        let script = scope.spawn(|| sdk(&server, "none", "spoken.py", &[&url, "k", "s", "thermo"]));
        eventually("it is ready", || {
            server.rest().device("thermo")?;
            (server.rest().latest("thermo").get("ready")? == true).then_some(())
        });
        waiting(&server, 2.0);
        let body = json!({ "method": "echo", "params": { "pin": 7 } });
        let (answer, ()) = during(&server, "twoway", &body, || {});
        assert_eq!(answer["params"], json!({ "pin": 7 }), "{answer}");
        waiting(&server, 2.0);
        server.rest().write_attributes("thermo", "SHARED_SCOPE", &json!({ "interval": 60 }));
        assign(&server, "thermo", "firmwareId", &package);
        script.join().expect("the script ends well")
    });
    let told: Value = serde_json::from_str(told.trim()).expect("the script prints JSON");
    assert_eq!(told["call"], "echo");
    assert_eq!(told["update"]["interval"], 60);
    assert_eq!(told["attributes"]["client"], json!({ "model": "sdk" }));
    assert!(told["now"]["currentTime"].is_i64(), "{told}");
    assert_eq!(told["image"], 10_000);
    assert_eq!(server.rest().latest("thermo")["temperature"], 41.5);
}

#[test]
fn a_stop_answers_what_waits() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    let mut device = server.http_device("thermo");
    device.send("GET", "rpc?timeout=300000", "", b"");
    waiting(&server, 1.0);
    let pid = i32::try_from(server.pid()).expect("a process id");
    std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status().expect("`kill` runs");
    assert_eq!(device.answer().status, 503);
}
