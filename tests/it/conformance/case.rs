//! A row of the table, and what its check works with: a server that others use too, and devices of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};
use wireglot_load::wire::Version;

use super::client::{Client, Hello, Outcome};
use crate::harness::{Closed, Refusal, Rest, Server};

pub(super) const TELEMETRY: &str = "v1/devices/me/telemetry";
pub(super) const ATTRIBUTES: &str = "v1/devices/me/attributes";

/// Settings of a server, by their names in the environment. Rows with the same ones share it.
pub(super) type Settings = &'static [(&'static str, &'static str)];

/// One case.
pub(super) struct Row {
    pub(super) number: u16,
    pub(super) title: &'static str,
    pub(super) versions: &'static [Version],
    pub(super) settings: Settings,
    /// It waits for a time-out of the server, so it begins before the others.
    pub(super) is_slow: bool,
    pub(super) check: fn(&Case),
}

const fn row(number: u16, title: &'static str, versions: &'static [Version], check: fn(&Case)) -> Row {
    Row { number, title, versions, settings: &[], is_slow: false, check }
}

/// A case that holds for both versions of MQTT; the check runs once for each.
pub(super) const fn both(number: u16, title: &'static str, check: fn(&Case)) -> Row {
    row(number, title, &[Version::V3, Version::V5], check)
}

/// A case of MQTT 3.1.1, or one where the version does not matter.
pub(super) const fn v3(number: u16, title: &'static str, check: fn(&Case)) -> Row {
    row(number, title, &[Version::V3], check)
}

/// A case of MQTT 5.
pub(super) const fn v5(number: u16, title: &'static str, check: fn(&Case)) -> Row {
    row(number, title, &[Version::V5], check)
}

impl Row {
    /// The same on a server with other settings.
    pub(super) const fn on(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// The same, begun early because it waits for a time-out.
    pub(super) const fn slow(self) -> Self {
        Self { is_slow: true, ..self }
    }
}

/// One run of a check.
pub(super) struct Case {
    pub(super) number: u16,
    pub(super) version: Version,
    pub(super) server: Arc<Server>,
}

impl Case {
    /// The name of the case's device, which is its access token too, unless the check says otherwise.
    pub(super) fn name(&self) -> String {
        format!("case-{}-{:?}", self.number, self.version)
    }

    /// A further name of this case alone.
    pub(super) fn named(&self, more: &str) -> String {
        format!("{}-{more}", self.name())
    }

    pub(super) fn rest(&self) -> &Rest {
        self.server.rest()
    }

    /// A connection of nobody yet.
    pub(super) fn open(&self) -> Client {
        Client::open(self.server.mqtt(), self.version)
    }

    /// The case's device, made and connected.
    #[track_caller]
    pub(super) fn client(&self) -> Client {
        self.rest().create_device(&self.name(), None);
        self.connect(&self.name())
    }

    /// The case's device in a profile that is made for it with these members of the MQTT transport configuration.
    #[track_caller]
    pub(super) fn client_with(&self, transport: Value) -> Client {
        let name = self.name();
        self.device_with(&name, transport);
        self.connect(&name)
    }

    /// A device in a profile of its own name; returns the id of the profile.
    pub(super) fn device_with(&self, name: &str, transport: Value) -> String {
        let mut shape = json!({ "type": "MQTT", "transportPayloadTypeConfiguration": { "transportPayloadType": "JSON" } });
        for (key, value) in transport.as_object().expect("an object").clone() {
            shape[key] = value;
        }
        let profile = self.rest().create_profile(name, &shape);
        self.rest().create_device(name, Some(name));
        profile
    }

    /// Makes a profile for any transport with these members, or changes the one that has the `id` among them, and
    /// gives what REST says of it.
    pub(super) fn try_profile(&self, name: &str, members: Value) -> Result<Value, Refusal> {
        let mut shape = json!({
            "name": name,
            "type": "DEFAULT",
            "transportType": "DEFAULT",
            "profileData": {
                "configuration": { "type": "DEFAULT" },
                "transportConfiguration": { "type": "DEFAULT" },
            },
        });
        for (key, value) in members.as_object().expect("an object").clone() {
            match value {
                Value::Object(inner) if key == "profileData" => {
                    inner.into_iter().for_each(|(key, value)| shape["profileData"][key] = value);
                }
                value => shape[key] = value,
            }
        }
        self.rest().post("/api/deviceProfile", &shape)
    }

    /// The same where it must succeed.
    #[track_caller]
    pub(super) fn save_profile(&self, name: &str, members: Value) -> Value {
        self.try_profile(name, members).unwrap_or_else(|refusal| panic!("no profile: {refusal:?}"))
    }

    /// A further connection of a device that is there.
    #[track_caller]
    pub(super) fn connect(&self, token: &str) -> Client {
        let mut client = self.open();
        let code = client.hello(&Hello::token(token));
        assert_eq!(code, Some(0), "{token} connects");
        client
    }

    /// The code of the CONNACK that this CONNECT gets; a refusal is followed by the end of the connection.
    #[track_caller]
    pub(super) fn code(&self, hello: &Hello<'_>) -> Option<u8> {
        let mut client = self.open();
        let code = client.hello(hello);
        match (self.version, code) {
            (_, Some(0) | None) => {}
            (Version::V3, Some(_)) => assert_eq!(client.closed(), Closed::Silently),
            // Wrong credentials are told twice with one reason; the other refusals have a reason of their own to end with.
            (Version::V5, Some(code @ 0x85..=0x87)) => assert_eq!(client.closed(), Closed::With(code)),
            (Version::V5, Some(_)) => assert!(matches!(client.closed(), Closed::With(0x80..))),
        }
        code
    }

    /// What this version of MQTT says for "not accepted": 5 in 3.1.1, the given reason in 5.
    pub(super) fn refusal(&self, v5: u8) -> Option<u8> {
        Some(if self.version == Version::V3 { 5 } else { v5 })
    }

    /// What a PUBACK or a DISCONNECT of this version says: nothing in 3.1.1.
    pub(super) fn reason(&self, v5: u8) -> Outcome {
        Outcome::Acknowledged(if self.version == Version::V3 { 0 } else { v5 })
    }

    pub(super) fn close(&self, v5: u8) -> Closed {
        if self.version == Version::V3 { Closed::Silently } else { Closed::With(v5) }
    }

    /// Latest values of the case's device.
    pub(super) fn latest(&self) -> BTreeMap<String, Value> {
        self.rest().latest(&self.name())
    }

    /// Insists that exactly these values are the latest ones of the case's device, with their types.
    #[track_caller]
    pub(super) fn stored(&self, expected: Value) {
        self.stored_of(&self.name(), expected);
    }

    /// The same of another device.
    #[track_caller]
    pub(super) fn stored_of(&self, device: &str, expected: Value) {
        let latest = self.rest().latest(device);
        let found = Value::Object(latest.into_iter().collect());
        assert!(same(&found, &expected), "{device}: stored is {found}, not {expected}");
    }

    /// All points of a key, the oldest first, since long before the clock began.
    #[track_caller]
    pub(super) fn points(&self, key: &str) -> Vec<(i64, Value)> {
        self.points_of(&self.name(), key)
    }

    /// The same of another device.
    #[track_caller]
    pub(super) fn points_of(&self, device: &str, key: &str) -> Vec<(i64, Value)> {
        let range = "startTs=-1000&endTs=9000000000000&limit=1000&orderBy=ASC&useStrictDataTypes=true";
        let path = self.rest().telemetry(device, &format!("values/timeseries?keys={key}&{range}"));
        let answer = self.rest().get(&path).expect("historical values");
        let points = answer[key].as_array().cloned().unwrap_or_default();
        let ts = |point: &Value| point["ts"].as_i64().expect("ts is an integer");
        points.iter().map(|point| (ts(point), point["value"].clone())).collect()
    }

    /// The latest value of a key as REST writes it without strict types: a text.
    #[track_caller]
    pub(super) fn spelled(&self, key: &str) -> String {
        let path = self.rest().telemetry(&self.name(), &format!("values/timeseries?keys={key}"));
        let answer = self.rest().get(&path).expect("latest values");
        answer[key][0]["value"].as_str().unwrap_or_else(|| panic!("no text: {answer}")).to_owned()
    }

    /// Insists that exactly these are the attributes of one scope.
    #[track_caller]
    pub(super) fn attributes(&self, scope: &str, expected: Value) {
        self.attributes_of(&self.name(), scope, expected);
    }

    /// The same of another device.
    #[track_caller]
    pub(super) fn attributes_of(&self, device: &str, scope: &str, expected: Value) {
        let found = Value::Object(self.rest().attributes(device, scope));
        assert!(same(&found, &expected), "{device}: {scope} is {found}, not {expected}");
    }

    /// The id of the case's device.
    pub(super) fn id(&self) -> String {
        self.rest().device_id(&self.name())
    }

    /// Posts while the check goes on.
    pub(super) fn post_meanwhile(&self, path: String, body: Value) -> JoinHandle<Result<Value, Refusal>> {
        let server = self.server.clone();
        thread::spawn(move || server.rest().post(&path, &body))
    }

    /// The same case on a server of its own.
    pub(super) fn alone(&self) -> Case {
        self.alone_with(&[])
    }

    /// The same with settings.
    pub(super) fn alone_with(&self, settings: Settings) -> Case {
        Case { server: Arc::new(Server::spawn_with(settings)), ..*self }
    }

    pub(super) fn share(&self, values: Value) {
        self.rest().write_attributes(&self.name(), "SHARED_SCOPE", &values);
    }

    /// Insists that a payload is refused as one that cannot be read: by default the device is told, stays connected,
    /// and the payload is a dead letter; a profile with `onFailure` = `disconnect` is as strict as the API was once.
    #[track_caller]
    pub(super) fn invalid(&self, client: &mut Client, topic: &str, payload: impl AsRef<[u8]>) {
        let payload = payload.as_ref();
        let before = self.rest().dead_letters(&self.name()).len();
        let outcome = client.publish(topic, payload);
        assert_eq!(outcome, self.reason(0x99), "{}", String::from_utf8_lossy(payload));
        client.stays();
        let letters = self.rest().dead_letters(&self.name());
        assert_eq!(letters.len(), before + 1, "a dead letter of {}", String::from_utf8_lossy(payload));
        assert_eq!(letters[0]["stage"], "refused");
    }
}

/// The members that make a profile strict.
pub(super) fn strict() -> Value {
    json!({ "transportPayloadTypeConfiguration": { "transportPayloadType": "JSON", "onFailure": "disconnect" } })
}

/// Whether two values are of the same type and the same; a double may be spelled in two ways.
pub(super) fn same(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Number(found), Value::Number(expected)) => {
            let is_double = |number: &serde_json::Number| number.to_string().contains(['.', 'e', 'E']);
            is_double(found) == is_double(expected) && found.as_f64() == expected.as_f64() && {
                is_double(found) || found.as_i64() == expected.as_i64()
            }
        }
        (Value::Object(found), Value::Object(expected)) => {
            found.len() == expected.len()
                && found.iter().all(|(key, value)| expected.get(key).is_some_and(|other| same(value, other)))
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len() && found.iter().zip(expected).all(|(one, other)| same(one, other))
        }
        _ => found == expected,
    }
}
