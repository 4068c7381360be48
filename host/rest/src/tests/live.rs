//! The WebSocket of telemetry and attributes, over a real port: what is told, to whom, and where it ends.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use wireglot_device::{ADMINISTRATOR_EMAIL, now};
use wireglot_model::Timestamp;
use wireglot_model::limits::{
    ANSWERS_UNSENT_BYTES_MAX, LIVE_FEEDS_MAX, LIVE_FEEDS_PER_USER_MAX, LIVE_KEY_BYTES_MAX, LIVE_KEYS_MAX,
    LIVE_MESSAGE_BYTES_MAX, LIVE_PING_S, LIVE_STRANGERS_MAX, LIVE_SUBSCRIPTIONS_MAX, LONG_READS_MAX,
};

use super::customers::customer;
use super::{PASSWORD, Site};
use crate::history::ROOM_PATIENCE;

/// What a server says.
#[derive(Debug)]
enum Heard {
    Text(Value),
    Closed(u16, String),
    /// The connection ended without a word.
    Ended,
}

/// A WebSocket client under exact control: nothing is read before it is asked for.
struct Socket {
    stream: BufReader<TcpStream>,
    /// So often it was pinged.
    pings: usize,
}

/// Serves a site on a port of its own.
async fn port(site: &Site) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, _) = tokio::sync::watch::channel(false);
    tokio::spawn(crate::listener::run(listener, site.router.clone(), std::future::pending(), stop));
    address
}

impl Socket {
    /// The answer to the handshake: its first line.
    async fn shake(address: SocketAddr, path: &str) -> (Self, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        (Self { stream, pings: 0 }, head.lines().next().unwrap().to_owned())
    }

    async fn open(address: SocketAddr, path: &str) -> Self {
        let (socket, status) = Self::shake(address, path).await;
        assert_eq!(status, "HTTP/1.1 101 Switching Protocols");
        socket
    }

    /// Opened and logged in.
    async fn of(address: SocketAddr, token: &str) -> Self {
        let mut socket = Self::open(address, "/api/ws").await;
        socket.say(json!({"authCmd": {"cmdId": 0, "token": token}, "cmds": []})).await;
        socket
    }

    async fn say(&mut self, message: Value) {
        self.frame(0x81, message.to_string().as_bytes()).await;
    }

    /// One frame. Its mask is zero, which changes nothing.
    async fn frame(&mut self, head: u8, payload: &[u8]) {
        let mut frame = vec![head];
        match payload.len() {
            short @ 0..126 => frame.push(0x80 | short as u8),
            long @ 126..65_536 => {
                frame.push(0xfe);
                frame.extend((long as u16).to_be_bytes());
            }
            longer => {
                frame.push(0xff);
                frame.extend((longer as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.stream.get_mut().write_all(&frame).await.unwrap();
    }

    async fn hear(&mut self) -> Heard {
        tokio::time::timeout(Duration::from_secs(20), self.next()).await.expect("the server says something")
    }

    async fn next(&mut self) -> Heard {
        loop {
            let Ok(head) = self.stream.read_u8().await else { return Heard::Ended };
            let length = match self.stream.read_u8().await.unwrap() {
                126 => usize::from(self.stream.read_u16().await.unwrap()),
                127 => self.stream.read_u64().await.unwrap() as usize,
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload).await.unwrap();
            match head {
                0x81 => return Heard::Text(serde_json::from_slice(&payload).unwrap()),
                0x88 => {
                    let code = u16::from_be_bytes([payload[0], payload[1]]);
                    return Heard::Closed(code, String::from_utf8(payload[2..].to_vec()).unwrap());
                }
                0x89 => self.pings += 1,
                0x8a => {}
                other => panic!("a frame {other:x}"),
            }
        }
    }

    async fn text(&mut self) -> Value {
        match self.hear().await {
            Heard::Text(text) => text,
            other => panic!("no text but {other:?}"),
        }
    }

    /// The next answer must be about this subscription, and its data must be this.
    async fn told(&mut self, id: i64, data: Value) {
        let text = self.text().await;
        assert_eq!((&text["subscriptionId"], &text["data"]), (&json!(id), &data), "{text}");
        assert_eq!((&text["errorCode"], &text["errorMsg"]), (&json!(0), &json!(null)));
    }

    async fn refused(&mut self, id: i64, code: u8, message: &str) {
        let text = self.text().await;
        assert_eq!((&text["subscriptionId"], &text["errorCode"]), (&json!(id), &json!(code)), "{text}");
        assert!(text["errorMsg"].as_str().unwrap().contains(message), "{text}");
        assert_eq!((&text["data"], &text["latestValues"]), (&json!(null), &json!({})));
    }

    async fn closed(&mut self, code: u16, reason: &str) {
        match self.hear().await {
            Heard::Closed(found, told) => assert!(found == code && told.contains(reason), "{found} {told}"),
            other => panic!("no close but {other:?}"),
        }
    }
}

async fn save(site: &Site, device: &str, body: Value) {
    site.post(&format!("/api/plugins/telemetry/DEVICE/{device}/timeseries/ANY"), body).await;
}

async fn write(site: &Site, device: &str, scope: &str, body: Value) {
    site.post(&format!("/api/plugins/telemetry/DEVICE/{device}/attributes/{scope}"), body).await;
}

fn series(id: i64, device: &str, more: Value) -> Value {
    let mut command = json!({
        "type": "TIMESERIES", "cmdId": id, "entityType": "DEVICE", "entityId": device, "scope": "LATEST_TELEMETRY",
    });
    command.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    command
}

fn cmds(commands: &[Value]) -> Value {
    json!({"cmds": commands})
}

#[tokio::test]
async fn latest_values_are_told_and_every_newer_one() {
    let site = Site::new().await;
    let (device, address) = (site.device("d").await, port(&site).await);
    save(&site, &device, json!({"ts": 1_000, "values": {"a": 25, "b": 42.0, "c": true}})).await;
    let mut socket = Socket::open(address, "/api/ws").await;
    let command = series(1, &device, json!({"keys": "a,b"}));
    socket.say(json!({"authCmd": {"cmdId": 0, "token": site.token}, "cmds": [command]})).await;
    let first = socket.text().await;
    let expected = json!({
        "subscriptionId": 1, "errorCode": 0, "errorMsg": null,
        "data": {"a": [[1_000, "25"]], "b": [[1_000, "42.0"]]}, "latestValues": {"a": 1_000, "b": 1_000},
    });
    assert_eq!(first, expected);
    save(&site, &device, json!({"ts": 2_000, "values": {"a": 26, "c": false}})).await;
    socket.told(1, json!({"a": [[2_000, "26"]]})).await;
    // A value that came late is none of the latest ones, one that is said again is no news.
    save(&site, &device, json!({"ts": 1_500, "values": {"a": 1, "b": 43.5}})).await;
    socket.told(1, json!({"b": [[1_500, "43.5"]]})).await;
    save(&site, &device, json!({"ts": 2_000, "values": {"a": 26}})).await;
    save(&site, &device, json!({"ts": 2_000, "values": {"a": 27}})).await;
    socket.told(1, json!({"a": [[2_000, "27"]]})).await;

    // All keys; a key without a value.
    socket.say(cmds(&[series(2, &device, json!({})), series(3, &device, json!({"keys": "none"}))])).await;
    socket.told(2, json!({"a": [[2_000, "27"]], "b": [[1_500, "43.5"]], "c": [[2_000, "false"]]})).await;
    let none = socket.text().await;
    assert_eq!(none["data"]["none"][0][1], json!(null), "{none}");
    // The first one is news, however old it is.
    save(&site, &device, json!({"ts": 1_500, "values": {"none": 1}})).await;
    for id in [2, 3] {
        socket.told(id, json!({"none": [[1_500, "1"]]})).await;
    }
    let said = [json!({"type": "TIMESERIES", "cmdId": 1, "unsubscribe": true})];
    socket.say(cmds(&said)).await;
    socket.say(json!({"cmds": [series(3, &device, json!({"keys": "b"}))]})).await;
    socket.told(3, json!({"b": [[1_500, "43.5"]]})).await;
    save(&site, &device, json!({"ts": 3_000, "values": {"a": 28}})).await;
    socket.told(2, json!({"a": [[3_000, "28"]]})).await;
    socket.say(cmds(&[series(2, &device, json!({"unsubscribe": true}))])).await;
    socket.say(cmds(&[series(4, &device, json!({"keys": "a"}))])).await;
    socket.told(4, json!({"a": [[3_000, "28"]]})).await;
    assert!(site.api.bus.is_heard(device.parse().unwrap(), wireglot_bus::Kinds::TELEMETRY));
    let metrics = site.call_as(&[], Method::GET, "/metrics", "").await.1;
    assert!(metrics.as_str().unwrap().contains("\nwireglot_live_feeds 1\n"), "{metrics}");
    drop(socket);
    while site.api.live.taken() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(!site.api.bus.wants(wireglot_bus::Kinds::TELEMETRY), "a client that left costs nothing");
}

#[tokio::test]
async fn windows_and_histories_are_what_rest_tells() {
    let site = Site::new().await;
    let (device, address) = (site.device("d").await, port(&site).await);
    for ts in 1..=4 {
        save(&site, &device, json!({"ts": ts * 1_000, "values": {"a": ts}})).await;
    }
    let mut socket = Socket::of(address, &site.token).await;
    let window = json!({"keys": "a", "startTs": 2_000, "timeWindow": 2_000, "interval": 0, "limit": 10, "agg": "NONE"});
    socket.say(cmds(&[series(1, &device, window)])).await;
    socket.told(1, json!({"a": [[3_000, "3"], [2_000, "2"]]})).await;
    save(&site, &device, json!([{"ts": 1_999, "values": {"a": 0}}, {"ts": 2_500, "values": {"a": 9}}])).await;
    socket.told(1, json!({"a": [[2_500, "9"]]})).await;
    let sum = json!({"keys": "a", "startTs": 1_000, "timeWindow": 4_000, "interval": 2_000, "agg": "COUNT"});
    socket.say(cmds(&[series(2, &device, sum)])).await;
    let counts = socket.text().await;
    assert_eq!(counts["data"]["a"].as_array().unwrap().len(), 2, "{counts}");
    let history = json!({
        "type": "TIMESERIES_HISTORY", "cmdId": 3, "entityType": "DEVICE", "entityId": device,
        "keys": "a,none", "startTs": 3_000, "endTs": 5_000, "interval": 0, "limit": 1, "agg": "NONE",
    });
    socket.say(cmds(std::slice::from_ref(&history))).await;
    socket.told(3, json!({"a": [[4_000, "4"]]})).await;
    for (member, value, words) in [
        ("keys", json!(""), "Keys are empty!"),
        ("startTs", json!(null), "startTs"),
        ("endTs", json!("x"), "Invalid command"),
        ("agg", json!("MOST"), "MOST"),
        ("limit", json!(-1), "limit"),
        ("interval", json!(1.5), "Invalid command"),
        ("entityType", json!("ASSET"), "ASSET"),
        ("entityId", json!("x"), "Invalid UUID"),
        ("entityId", json!(null), "Entity id is empty!"),
        ("cmdId", json!(-1), "negative"),
    ] {
        let mut command = history.clone();
        command[member] = value;
        socket.say(cmds(&[command.clone()])).await;
        socket.refused(command["cmdId"].as_i64().unwrap(), 2, words).await;
    }
}

#[tokio::test]
async fn attributes_are_told_by_scope() {
    let site = Site::new().await;
    let (device, address) = (site.device("d").await, port(&site).await);
    write(&site, &device, "SHARED_SCOPE", json!({"a": 1, "b": "x"})).await;
    let mut socket = Socket::of(address, &site.token).await;
    let attributes = |id: i64, more: Value| {
        let mut command =
            json!({"type": "ATTRIBUTES", "cmdId": id, "entityType": "DEVICE", "entityId": device});
        command.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        command
    };
    socket.say(cmds(&[attributes(1, json!({"scope": "SHARED_SCOPE", "keys": "a,c"}))])).await;
    let first = socket.text().await;
    assert_eq!(
        (&first["data"]["a"][0][1], first["data"].as_object().unwrap().len()),
        (&json!("1"), 1),
        "{first}"
    );
    assert_eq!(first["latestValues"]["a"], first["data"]["a"][0][0]);
    write(&site, &device, "SERVER_SCOPE", json!({"a": 5})).await;
    write(&site, &device, "SHARED_SCOPE", json!({"b": "y", "c": {"d": 1.0}})).await;
    let next = socket.text().await;
    assert_eq!(next["data"]["c"][0][1], "{\"d\":1.0}", "{next}");
    assert_eq!(next["data"].as_object().unwrap().len(), 1);
    let path = format!("/api/plugins/telemetry/DEVICE/{device}/SHARED_SCOPE?keys=a,unknown");
    site.call(Method::DELETE, &path, "").await;
    socket.told(1, json!({"a": [[0, ""]]})).await;
    // Of all scopes.
    socket.say(cmds(&[attributes(2, json!({})), attributes(3, json!({"scope": "NO_SCOPE"}))])).await;
    let all = socket.text().await;
    let keys: Vec<&String> = all["data"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["a", "b", "c"]);
    socket.refused(3, 2, "Invalid scope: NO_SCOPE").await;
}

#[tokio::test]
async fn the_older_form_has_the_same_commands() {
    let site = Site::new().await;
    let (device, address) = (site.device("d").await, port(&site).await);
    save(&site, &device, json!({"ts": 1_000, "values": {"a": 1}})).await;
    write(&site, &device, "SERVER_SCOPE", json!({"s": 7})).await;
    let path = format!("/api/ws/plugins/telemetry?token={}", site.token);
    let mut socket = Socket::open(address, &path).await;
    let of_device = |id: i64| json!({"cmdId": id, "entityType": "DEVICE", "entityId": device, "keys": "a,s"});
    let mut history = of_device(3);
    (history["startTs"], history["endTs"]) = (json!(0), json!(2_000));
    let mut attributes = of_device(1);
    attributes["scope"] = json!("SERVER_SCOPE");
    socket
        .say(json!({
            "attrSubCmds": [attributes], "tsSubCmds": [], "historyCmds": [history], "entityDataCmds": [{"cmdId": 4}],
            "alarmDataCmds": [], "entityCountCmds": null,
        }))
        .await;
    let mut answers = std::collections::BTreeMap::new();
    for _ in 0..3 {
        let answer = socket.text().await;
        answers.insert(answer["subscriptionId"].as_i64().unwrap(), answer);
    }
    assert_eq!(answers[&1]["data"]["s"][0][1], "7", "{answers:?}");
    assert_eq!(answers[&3]["data"], json!({"a": [[1_000, "1"]]}));
    assert_eq!(answers[&4]["errorCode"], 2);
    let mut bad = Socket::open(address, "/api/ws/plugins/telemetry?token=a.b.c").await;
    bad.closed(1007, "Authentication failed").await;
    // Without a token in the path, a login is awaited as elsewhere.
    let mut other = Socket::open(address, "/api/ws/plugins/telemetry").await;
    other.say(json!({"authCmd": {"cmdId": 0, "token": site.token}, "tsSubCmds": [of_device(9)]})).await;
    assert_eq!(other.text().await["data"]["a"], json!([[1_000, "1"]]));
}

#[tokio::test]
async fn who_proves_nothing_is_closed_out() {
    let site = Site::new().await;
    let address = port(&site).await;
    let user = site.api.devices.login(ADMINISTRATOR_EMAIL, PASSWORD).unwrap();
    let issue = |at: i64| site.api.tokens.issue(&user, uuid::Uuid::new_v4(), Timestamp(at)).unwrap();
    for (said, code, reason) in [
        (json!({"cmds": []}), 1008, "authCmd"),
        (json!({"authCmd": {"cmdId": 0}}), 1008, "authCmd"),
        (json!({"authCmd": {"cmdId": 0, "token": "a.b.c"}}), 1007, "Authentication failed"),
        (json!({"authCmd": {"cmdId": 0, "token": "\n"}}), 1007, "Authentication failed"),
        (json!({"authCmd": {"cmdId": 0, "apiKey": "no"}}), 1007, "Authentication failed"),
        (json!({"authCmd": {"cmdId": 0, "token": issue(now().0).refresh}}), 1007, "Authentication failed"),
        (
            json!({"authCmd": {"cmdId": 0, "token": issue(now().0 - 9_001_000).access}}),
            1007,
            "Token has expired",
        ),
        (json!([]), 1007, "parse"),
    ] {
        let mut socket = Socket::open(address, "/api/ws").await;
        socket.say(said).await;
        socket.closed(code, reason).await;
    }
    let mut socket = Socket::open(address, "/api/ws").await;
    socket.frame(0x82, b"bytes").await;
    socket.closed(1003, "text").await;
    let (status, answer) = site.call_as(&[], Method::GET, "/api/ws", "").await;
    super::assert_error("/api/ws", status, &answer, 400, 31);
}

#[tokio::test]
async fn a_client_that_closes_is_answered() {
    let site = Site::new().await;
    let address = port(&site).await;
    let known = Socket::of(address, &site.token).await;
    for mut socket in [Socket::open(address, "/api/ws").await, known] {
        socket.frame(0x88, &[&1000_u16.to_be_bytes()[..], b"done"].concat()).await;
        socket.closed(1000, "").await;
        assert!(matches!(socket.hear().await, Heard::Ended));
    }
    while site.api.live.taken() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_no_command_is_refused_and_the_socket_goes_on() {
    let site = Site::new().await;
    let (device, address) = (site.device("d").await, port(&site).await);
    let mut socket = Socket::of(address, &site.token).await;
    for (said, id, words) in [
        (
            json!({"cmds": [{"type": "ENTITY_DATA", "cmdId": 4, "query": {}}]}),
            4,
            "'ENTITY_DATA' are not served",
        ),
        (
            json!({"cmds": [{"type": "ALARM_DATA", "cmdId": 5}]}),
            5,
            "TIMESERIES, ATTRIBUTES, TIMESERIES_HISTORY",
        ),
        (json!({"cmds": [{"cmdId": 6}]}), 6, "'type'"),
        (json!({"cmds": [{"type": "TIMESERIES"}]}), 0, "'cmdId'"),
        (json!({"cmds": [{"type": "TIMESERIES", "cmdId": "7"}]}), 0, "'cmdId'"),
        (json!({"cmds": [7]}), 0, "'cmdId'"),
        (json!({"cmds": 7}), 0, "'cmds'"),
        (json!({"cmds": [series(8, &device, json!({"scope": "NO"}))]}), 8, "Invalid scope: NO"),
        (json!({"cmds": [series(8, &device, json!({"keys": ["a"]}))]}), 8, "Invalid command"),
        (
            json!({"cmds": [series(8, &uuid::Uuid::new_v4().to_string(), json!({}))]}),
            8,
            "Requested item wasn't found!",
        ),
        (json!(7), 0, "parse"),
    ] {
        socket.say(said).await;
        socket.refused(id, 2, words).await;
    }
    socket.frame(0x81, b"no json").await;
    socket.refused(0, 2, "parse").await;
    socket.frame(0x89, b"are you there").await;
    socket.say(cmds(&[series(1, &device, json!({}))])).await;
    socket.told(1, json!({})).await;
    let mut fits = br#"{"cmds":[]}"#.to_vec();
    fits.resize(LIVE_MESSAGE_BYTES_MAX, b' ');
    socket.frame(0x81, &fits).await;
    fits.push(b' ');
    socket.frame(0x81, &fits).await;
    socket.closed(1009, "65536").await;
}

#[tokio::test]
async fn a_socket_has_so_many_subscriptions() {
    let site = Site::new().await;
    let (device, address) = (site.device("d").await, port(&site).await);
    let mut socket = Socket::of(address, &site.token).await;
    for id in 0..LIVE_SUBSCRIPTIONS_MAX as i64 {
        socket.say(cmds(&[series(id, &device, json!({"keys": "a"}))])).await;
        assert_eq!(socket.text().await["errorCode"], 0);
    }
    socket.say(cmds(&[series(1_000, &device, json!({}))])).await;
    socket.refused(1_000, 2, "at most 256 subscriptions").await;
    socket
        .say(cmds(&[series(7, &device, json!({"unsubscribe": true})), series(1_000, &device, json!({}))]))
        .await;
    socket.told(1_000, json!({})).await;
    let keys: Vec<String> = (0..=LIVE_KEYS_MAX).map(|key| key.to_string()).collect();
    socket.say(cmds(&[series(8, &device, json!({"keys": keys.join(",")}))])).await;
    socket.refused(8, 2, "at most 1024 keys").await;
    save(&site, &device, json!({"ts": 5, "values": {"b": 1}})).await;
    socket.told(1_000, json!({"b": [[5, "1"]]})).await;
}

#[tokio::test]
async fn a_socket_has_so_much_room_for_keys() {
    let site = Site::new().await;
    let (device, address) = (site.device("d").await, port(&site).await);
    let mut socket = Socket::of(address, &site.token).await;
    let named = |id: i64| {
        let keys: Vec<String> = (0..LIVE_KEYS_MAX).map(|key| format!("{id}-{key:048}")).collect();
        series(id, &device, json!({"keys": keys.join(",")}))
    };
    let words = format!("at most {LIVE_KEY_BYTES_MAX} bytes");
    for id in [1, 2] {
        socket.say(cmds(&[named(id)])).await;
        assert_eq!(socket.text().await["data"].as_object().unwrap().len(), LIVE_KEYS_MAX);
    }
    socket.say(cmds(&[named(3)])).await;
    socket.refused(3, 2, &words).await;
    // Keys that nobody names take room as they are told.
    let values = |of: char, count: usize| -> Value {
        (0..count).map(|key| (format!("{of}{key:09}"), json!(key))).collect::<serde_json::Map<_, _>>().into()
    };
    save(&site, &device, json!({"ts": 5, "values": values('a', 800)})).await;
    socket.say(cmds(&[series(4, &device, json!({})), series(5, &device, json!({}))])).await;
    assert_eq!(socket.text().await["data"].as_object().unwrap().len(), 800);
    socket.refused(5, 2, &words).await;
    // What comes later is told at all events, and told again where there was no room to remember it.
    let told = async |socket: &mut Socket| {
        save(&site, &device, json!({"ts": 6, "values": values('b', 100)})).await;
        socket.text().await["data"].as_object().unwrap().len()
    };
    assert_eq!(told(&mut socket).await, 100);
    let again = told(&mut socket).await;
    assert!((1..100).contains(&again), "{again}");
    // What ends makes room.
    socket.say(cmds(&[series(1, &device, json!({"unsubscribe": true})), named(3)])).await;
    assert_eq!(socket.text().await["subscriptionId"], 3);
}

#[tokio::test]
async fn a_large_state_waits_for_its_room_and_a_small_one_does_not() {
    let site = Site::new().await;
    let (large, small, address) = (site.device("l").await, site.device("s").await, port(&site).await);
    let text = "x".repeat(60_000);
    for key in 0..5 {
        save(&site, &large, json!({"ts": 5, "values": {format!("k{key}"): text}})).await;
    }
    save(&site, &small, json!({"ts": 5, "values": {"a": 1}})).await;
    let all = site.api.unsent.room(ANSWERS_UNSENT_BYTES_MAX).await.unwrap();
    let mut socket = Socket::of(address, &site.token).await;
    socket.say(cmds(&[series(1, &small, json!({})), series(2, &large, json!({}))])).await;
    socket.told(1, json!({"a": [[5, "1"]]})).await;
    tokio::spawn(async move {
        tokio::time::sleep(ROOM_PATIENCE + Duration::from_secs(1)).await;
        drop(all);
    });
    // It waited in vain for a while, and comes by itself, with all others.
    let told = loop {
        let told = tokio::time::timeout(3 * ROOM_PATIENCE, socket.next()).await.unwrap();
        let Heard::Text(told) = told else { panic!("{told:?}") };
        if told["subscriptionId"] == 2 {
            break told;
        }
    };
    assert_eq!(told["data"].as_object().map(serde_json::Map::len), Some(5), "{told}");
    let path = format!("/api/plugins/telemetry/DEVICE/{large}/values/timeseries");
    assert_eq!(site.get(&path).await["k4"][0]["value"], text);
    while site.api.unsent.free_bytes() < ANSWERS_UNSENT_BYTES_MAX {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nobody_is_silent_while_nobody_listens() {
    let site = Site::new().await;
    let (device, address) = (site.device("d").await, port(&site).await);
    save(&site, &device, json!({"ts": 1_000, "values": {"a": 1}})).await;
    let mut turns = Vec::new();
    for _ in 0..LONG_READS_MAX {
        turns.push(site.api.long_reads.turn().await.unwrap());
    }
    let mut socket = Socket::of(address, &site.token).await;
    socket.say(cmds(&[series(1, &device, json!({"startTs": 1, "timeWindow": 2_000}))])).await;
    // The command takes longer than a client may be silent, and meanwhile it is not even pinged.
    tokio::time::sleep(Duration::from_secs(3 * LIVE_PING_S + 1)).await;
    assert_eq!(socket.pings, 0);
    drop(turns);
    socket.told(1, json!({"a": [[1_000, "1"]]})).await;
    while socket.pings == 0 {
        let ended = tokio::time::timeout(Duration::from_millis(100), socket.next()).await;
        assert!(ended.is_err(), "{ended:?}");
    }
    save(&site, &device, json!({"ts": 2_000, "values": {"a": 2}})).await;
    socket.told(1, json!({"a": [[2_000, "2"]]})).await;
}

#[tokio::test]
async fn customers_see_their_own_devices_as_long_as_they_have_them() {
    let site = Site::new().await;
    let address = port(&site).await;
    let (own, others) = (site.device("own").await, site.device("others").await);
    let (customer_id, header) = customer(&site, "one").await;
    let assign = format!("/api/customer/{customer_id}/device/{own}");
    site.post(&assign, json!({})).await;
    let mut socket = Socket::of(address, header.strip_prefix("Bearer ").unwrap()).await;
    let unknown = uuid::Uuid::new_v4().to_string();
    for device in [&others, &unknown] {
        socket.say(cmds(&[series(1, device, json!({}))])).await;
        socket.refused(1, 3, "permission").await;
    }
    socket.say(cmds(&[series(1, &own, json!({}))])).await;
    socket.told(1, json!({})).await;
    save(&site, &own, json!({"ts": 1, "values": {"a": 1}})).await;
    socket.told(1, json!({"a": [[1, "1"]]})).await;
    site.call(Method::DELETE, &format!("/api/customer/device/{own}"), "").await;
    save(&site, &own, json!({"ts": 2, "values": {"a": 2}})).await;
    socket.refused(1, 3, "permission").await;
    site.post(&assign, json!({})).await;
    save(&site, &own, json!({"ts": 3, "values": {"a": 3}})).await;
    socket.say(cmds(&[series(2, &own, json!({}))])).await;
    socket.told(2, json!({"a": [[3, "3"]]})).await;
    site.call(Method::DELETE, &format!("/api/device/{own}"), "").await;
    socket.refused(2, 2, "wasn't found").await;
    // Nothing is said meanwhile: the socket finds out by itself.
    site.call(Method::DELETE, &format!("/api/customer/{customer_id}"), "").await;
    socket.closed(1008, "Authentication failed").await;
}

#[tokio::test]
async fn a_session_that_ends_takes_its_sockets_along() {
    let site = Site::new().await;
    let (device, address) = (site.device("d").await, port(&site).await);
    let user = site.api.devices.login(ADMINISTRATOR_EMAIL, PASSWORD).unwrap();
    // Its token runs out in a moment, which does not end what it has opened.
    let session = uuid::Uuid::new_v4();
    let soon = Timestamp(now().0 - 9_000_000 + 2_000);
    let token = site.api.tokens.issue(&user, session, soon).unwrap().access;
    let mut socket = Socket::of(address, &token).await;
    socket.say(cmds(&[series(1, &device, json!({}))])).await;
    socket.told(1, json!({})).await;
    let headers = format!("Bearer {token}");
    while site.call_as(&[("x-authorization", &headers)], Method::GET, "/api/auth/user", "").await.0 == 200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    save(&site, &device, json!({"ts": 1, "values": {"a": 1}})).await;
    socket.told(1, json!({"a": [[1, "1"]]})).await;
    let fresh = format!("Bearer {}", site.api.tokens.issue(&user, session, now()).unwrap().access);
    let logout = site.call_as(&[("x-authorization", &fresh)], Method::POST, "/api/auth/logout", "{}").await;
    assert_eq!(logout.0, 200);
    save(&site, &device, json!({"ts": 2, "values": {"a": 2}})).await;
    socket.closed(1008, "Authentication failed").await;
}

#[tokio::test]
async fn places_are_bounded_for_users_and_strangers() {
    let site = Site::new().await;
    let (device, address) = (site.device("d").await, port(&site).await);
    let mut strangers = Vec::new();
    for _ in 0..LIVE_STRANGERS_MAX {
        strangers.push(Socket::open(address, "/api/ws").await);
    }
    assert_eq!(Socket::shake(address, "/api/ws").await.1, "HTTP/1.1 429 Too Many Requests");
    // A stranger who becomes known makes room for the next one.
    let mut known = Vec::new();
    for mut socket in strangers.drain(..LIVE_FEEDS_PER_USER_MAX) {
        let command = series(1, &device, json!({}));
        socket.say(json!({"authCmd": {"cmdId": 0, "token": site.token}, "cmds": [command]})).await;
        socket.told(1, json!({})).await;
        known.push(socket);
    }
    let mut one_more = Socket::of(address, &site.token).await;
    one_more.closed(1008, "Too many requests").await;
    let stream = format!("/api/events?deviceId={device}");
    site.refused(Method::GET, &stream, "", 429, 33, "Too many requests").await;
    known.pop();
    while site.api.live.taken() == LIVE_FEEDS_PER_USER_MAX {
        tokio::task::yield_now().await;
    }
    let mut next = Socket::of(address, &site.token).await;
    next.say(cmds(&[series(1, &device, json!({}))])).await;
    next.told(1, json!({})).await;
    drop((known, next));
    while site.api.live.taken() > 0 {
        tokio::task::yield_now().await;
    }
    let places = crate::live::Places::default();
    let users: Vec<_> =
        (0..=LIVE_FEEDS_MAX).map(|_| places.of_user(wireglot_model::UserId(uuid::Uuid::new_v4()))).collect();
    assert_eq!(users.iter().filter(|place| place.is_ok()).count(), LIVE_FEEDS_MAX);
}

/// Subscribes, reads nothing of far too much, and then everything.
async fn read_slowly(subscription: Value) {
    let site = Site::new().await;
    let (device, address) = (site.device("d").await, port(&site).await);
    let mut socket = Socket::of(address, &site.token).await;
    socket.say(cmds(&[series(1, &device, subscription)])).await;
    socket.told(1, json!({})).await;
    // More than any socket's buffers hold, and nothing of it is read.
    let text = "x".repeat(200_000);
    let last = 150;
    for ts in 1..=last {
        save(&site, &device, json!({"ts": ts, "values": {"n": ts, "text": text}})).await;
    }
    let mut told = Vec::new();
    while told.last() != Some(&last) {
        let text = socket.text().await;
        told.push(text["data"]["n"][0][0].as_i64().unwrap());
    }
    assert!(told.is_sorted(), "{told:?}");
    assert!(told.len() < 150, "what was not read was not kept: {}", told.len());
}

#[tokio::test]
async fn a_slow_reader_gets_what_is_newest() {
    read_slowly(json!({})).await;
}

#[tokio::test]
async fn a_slow_reader_of_a_window_gets_what_is_newest_after_its_end() {
    read_slowly(json!({"startTs": 1, "timeWindow": 10, "limit": 1})).await;
}

#[tokio::test]
async fn a_window_that_is_told_anew_goes_on_after_its_end() {
    let site = Site::new().await;
    let (device, address) = (site.device("d").await, port(&site).await);
    let save_at = async |ts: i64| save(&site, &device, json!({"ts": ts, "values": {"a": ts}})).await;
    for ts in [1_000, 2_000, 5_000] {
        save_at(ts).await;
    }
    let mut socket = Socket::of(address, &site.token).await;
    let window = json!({"keys": "a", "startTs": 1_000, "timeWindow": 2_000, "limit": 3});
    let mut counts = window.clone();
    (counts["agg"], counts["interval"]) = (json!("COUNT"), json!(2_000));
    socket.say(cmds(&[series(1, &device, window), series(2, &device, counts)])).await;
    socket.told(1, json!({"a": [[2_000, "2000"], [1_000, "1000"]]})).await;
    socket.told(2, json!({"a": [[2_000, "2"]]})).await;
    save_at(6_000).await;
    for id in [1, 2] {
        socket.told(id, json!({"a": [[6_000, "6000"]]})).await;
    }
    // As after events that were lost: the newest points, and the intervals with the points that followed them.
    site.api.bus.refresh(device.parse().unwrap());
    socket.told(1, json!({"a": [[6_000, "6000"], [5_000, "5000"], [2_000, "2000"]]})).await;
    socket.told(2, json!({"a": [[2_000, "2"], [5_000, "5000"], [6_000, "6000"]]})).await;
}

#[tokio::test]
async fn a_window_up_to_now_has_what_is_newer_than_the_command() {
    let site = Site::new().await;
    let (device, address) = (site.device("d").await, port(&site).await);
    // The clock of the device goes ahead of ours.
    let (past, ahead) = (now().0 - 10_000, now().0 + 600_000);
    for ts in [past, ahead] {
        save(&site, &device, json!({"ts": ts, "values": {"a": 1}})).await;
    }
    let mut socket = Socket::of(address, &site.token).await;
    let sum = json!({"timeWindow": 60_000, "agg": "SUM", "interval": 60_000});
    socket.say(cmds(&[series(1, &device, json!({"timeWindow": 60_000})), series(2, &device, sum)])).await;
    socket.told(1, json!({"a": [[ahead, "1"], [past, "1"]]})).await;
    let sums = socket.text().await["data"]["a"].clone();
    assert_eq!((sums.as_array().unwrap().len(), &sums[1]), (2, &json!([ahead, "1"])), "{sums}");
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_disconnected() {
    let site = Site::new().await;
    let (device, address) = (site.device("d").await, port(&site).await);
    let mut socket = Socket::of(address, &site.token).await;
    socket.say(cmds(&[series(1, &device, json!({}))])).await;
    socket.told(1, json!({})).await;
    let text = "x".repeat(200_000);
    for ts in 1..=100 {
        save(&site, &device, json!({"ts": ts, "values": {"text": text}})).await;
    }
    while site.api.live.taken() > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_dropped() {
    let site = Site::new().await;
    let address = port(&site).await;
    let mut socket = Socket::of(address, &site.token).await;
    assert!(matches!(socket.next().await, Heard::Ended));
    assert!(socket.pings >= 2, "{}", socket.pings);
    while site.api.live.taken() > 0 {
        tokio::task::yield_now().await;
    }
}
