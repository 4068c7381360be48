//! A small client of the REST side, which fails loudly where a story does not expect a refusal.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};
use ureq::http::{Method, Request, Response};
use ureq::{Agent, Body};

const USER: &str = "tenant@thingsboard.org";
const MESSAGES_PER_PAGE: usize = 1_000;

/// The management side of one server.
pub(crate) struct Rest {
    agent: Agent,
    base: String,
    token: Option<String>,
}

/// An answer that is no success.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Refusal {
    /// Whether its message has these words.
    pub(crate) fn mentions(&self, words: &str) -> bool {
        self.body["message"].as_str().is_some_and(|message| message.contains(words))
    }
}

/// One stored message.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) ts: i64,
    /// The version of the codec that decoded it; empty where none did.
    pub(crate) codec_version: String,
    pub(crate) values: Map<String, Value>,
}

type Answer = Result<Value, Refusal>;

impl Rest {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        Self { agent: config.into(), base: format!("http://{address}"), token: None }
    }

    /// Whether the server says that it serves.
    pub(crate) fn is_ready(&self) -> bool {
        self.agent.get(format!("{}/ready", self.base)).call().is_ok_and(|answer| answer.status() == 200)
    }

    /// Logs in as the administrator.
    pub(crate) fn login(&mut self, password: &str) {
        let claim = json!({ "username": USER, "password": password });
        let answer = self.post("/api/auth/login", &claim).expect("the administrator may log in");
        self.token = Some(text(&answer["token"]));
    }

    /// Where it is: scheme, address and port.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// What the login gave.
    pub(crate) fn token(&self) -> &str {
        self.token.as_deref().expect("logged in")
    }

    /// The same server without a login.
    pub(crate) fn stranger(&self) -> Self {
        Self { agent: self.agent.clone(), base: self.base.clone(), token: None }
    }

    /// The same server as another user sees it.
    pub(crate) fn logged_in(&self, email: &str, password: &str) -> Self {
        let mut other = self.stranger();
        let claim = json!({ "username": email, "password": password });
        let answer = other.post("/api/auth/login", &claim).expect("the user may log in");
        other.token = Some(text(&answer["token"]));
        other
    }

    /// The same server for somebody else, who has this token, or for a program, which has this key.
    pub(crate) fn of(&self, token: &str) -> Self {
        Self { agent: self.agent.clone(), base: self.base.clone(), token: Some(token.to_owned()) }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[], "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, body.to_string().as_bytes(), "application/json")
    }

    /// Posts a body of any kind.
    pub(crate) fn post_bytes(&self, path: &str, body: &[u8], kind: &str) -> Answer {
        self.call(Method::POST, path, body, kind)
    }

    /// Without a body: the path says it all.
    pub(crate) fn put(&self, path: &str) -> Answer {
        self.call(Method::PUT, path, &[], "")
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, &[], "")
    }

    /// Uploads a codec, which does what dropping the file does.
    pub(crate) fn put_codec(&self, name: &str, component: &[u8]) -> Answer {
        self.call(Method::PUT, &format!("/api/codecs/{name}"), component, "application/wasm")
    }

    /// Uploads a script as a codec.
    pub(crate) fn put_script(&self, name: &str, script: &str) -> Answer {
        self.call(Method::PUT, &format!("/api/codecs/{name}"), script.as_bytes(), "text/javascript")
    }

    /// Uploads the file of a package, as the part `file` of a form.
    pub(crate) fn post_file(&self, path: &str, file: &[u8]) -> Answer {
        let mut form =
            b"--frontier\r\nContent-Disposition: form-data; name=\"file\"; filename=\"app.bin\"\r\n".to_vec();
        form.extend_from_slice(b"Content-Type: application/octet-stream\r\n\r\n");
        form.extend_from_slice(file);
        form.extend_from_slice(b"\r\n--frontier--\r\n");
        self.call(Method::POST, path, &form, "multipart/form-data; boundary=frontier")
    }

    /// One codec of the list.
    pub(crate) fn codec(&self, name: &str) -> Option<Value> {
        let list = self.get("/api/codecs").expect("the list of codecs");
        list.as_array().expect("an array").iter().find(|codec| codec["name"] == name).cloned()
    }

    /// Payloads of a device that were not decoded, the newest first.
    pub(crate) fn dead_letters(&self, device: &str) -> Vec<Value> {
        let path = format!("/api/dead-letters?deviceName={}&limit=1000", escaped(device));
        self.get(&path).expect("dead letters").as_array().expect("an array").clone()
    }

    /// Makes a profile with this transport configuration and returns its id.
    pub(crate) fn create_profile(&self, name: &str, transport: &Value) -> String {
        let profile = json!({
            "name": name,
            "type": "DEFAULT",
            "transportType": transport["type"],
            "profileData": { "configuration": { "type": "DEFAULT" }, "transportConfiguration": transport },
        });
        let made = self.post("/api/deviceProfile", &profile).expect("the profile is made");
        text(&made["id"]["id"])
    }

    /// Makes a device whose access token is its name and returns its id. Without a profile it has the default one.
    pub(crate) fn create_device(&self, name: &str, profile: Option<&str>) -> String {
        self.make_device(json!({ "name": name }), profile)
    }

    /// The same for a device that speaks for others.
    pub(crate) fn create_gateway(&self, name: &str, profile: Option<&str>) -> String {
        self.make_device(json!({ "name": name, "additionalInfo": { "gateway": true } }), profile)
    }

    fn make_device(&self, mut device: Value, profile: Option<&str>) -> String {
        if let Some(profile) = profile {
            device["type"] = profile.into();
        }
        let path = format!("/api/device?accessToken={}", escaped(&text(&device["name"])));
        let made = self.post(&path, &device).expect("the device is made");
        text(&made["id"]["id"])
    }

    /// A device by its name, if there is one.
    pub(crate) fn device(&self, name: &str) -> Option<Value> {
        match self.get(&format!("/api/tenant/devices?deviceName={}", escaped(name))) {
            Ok(device) => Some(device),
            Err(refusal) if refusal.status == 404 => None,
            Err(refusal) => panic!("{name}: {refusal:?}"),
        }
    }

    /// The id of a device by its name.
    #[track_caller]
    pub(crate) fn device_id(&self, name: &str) -> String {
        let device = self.device(name).unwrap_or_else(|| panic!("there is no device {name}"));
        text(&device["id"]["id"])
    }

    /// Gives a device another name, as a person does.
    pub(crate) fn rename_device(&self, name: &str, new: &str) {
        let mut device = self.device(name).expect("the device is there");
        device["name"] = new.into();
        self.post("/api/device", &device).expect("the device is renamed");
    }

    /// Deletes a device by its name.
    pub(crate) fn delete_device(&self, name: &str) {
        self.delete(&format!("/api/device/{}", self.device_id(name))).expect("the device is deleted");
    }

    /// The sessions that are open, by the names of their devices, sorted.
    pub(crate) fn sessions(&self) -> Vec<String> {
        let path = "/api/sessions?pageSize=1000&page=0&sortProperty=deviceName&sortOrder=ASC";
        let page = self.get(path).expect("the sessions");
        let name = |session: &Value| text(&session["deviceName"]);
        page["data"].as_array().expect("an array").iter().map(name).collect()
    }

    /// Latest values of a device with their JSON types, of keys that have one.
    pub(crate) fn latest(&self, device: &str) -> BTreeMap<String, Value> {
        let path = self.telemetry(device, "values/timeseries?useStrictDataTypes=true");
        let answer = self.get(&path).expect("latest values");
        let members = answer.as_object().expect("an object").iter();
        members.map(|(key, points)| (key.clone(), points[0]["value"].clone())).collect()
    }

    /// All points of the keys (comma-separated), the oldest first: key → (ts, value).
    pub(crate) fn history(&self, device: &str, keys: &str) -> BTreeMap<String, Vec<(i64, Value)>> {
        let range = "startTs=0&endTs=9000000000000&limit=100000&orderBy=ASC&useStrictDataTypes=true";
        let path = self.telemetry(device, &format!("values/timeseries?keys={keys}&{range}"));
        let answer = self.get(&path).expect("historical values");
        let point = |point: &Value| (point["ts"].as_i64().expect("ts is an integer"), point["value"].clone());
        let points = |value: &Value| value.as_array().expect("an array").iter().map(point).collect();
        answer.as_object().expect("an object").iter().map(|(k, v)| (k.clone(), points(v))).collect()
    }

    /// The stored messages of a device, the oldest first, each as it was decoded.
    pub(crate) fn messages(&self, device: &str) -> Vec<Stored> {
        let device = self.device_id(device);
        let mut messages = Vec::new();
        let mut start = 0;
        loop {
            let path = format!("/api/device/{device}/messages?startTs={start}&limit={MESSAGES_PER_PAGE}");
            let answer = self.get(&path).expect("messages");
            let mut page: Vec<Stored> =
                answer.as_array().expect("an array").iter().map(Stored::read).collect();
            if page.len() < MESSAGES_PER_PAGE {
                messages.append(&mut page);
                return messages;
            }
            // A full page may end in the middle of a millisecond, so the next one begins with all of it.
            let last = page.last().map_or(i64::MAX, |message| message.ts);
            assert!(last > start, "more than a page of messages in one millisecond");
            page.retain(|message| message.ts < last);
            messages.append(&mut page);
            start = last;
        }
    }

    /// The counters of stored frames of the stamping codec, in rising order.
    pub(crate) fn counters(&self, device: &str) -> Vec<u32> {
        let mut counters: Vec<u32> = self.messages(device).iter().map(Stored::counter).collect();
        counters.sort_unstable();
        counters
    }

    /// Attributes of one scope.
    pub(crate) fn attributes(&self, device: &str, scope: &str) -> Map<String, Value> {
        let path = self.telemetry(device, &format!("values/attributes/{scope}"));
        let answer = self.get(&path).expect("attributes");
        let list = answer.as_array().expect("an array").iter();
        list.map(|attribute| (text(&attribute["key"]), attribute["value"].clone())).collect()
    }

    /// Writes attributes of one scope.
    pub(crate) fn write_attributes(&self, device: &str, scope: &str, values: &Value) {
        let path = self.telemetry(device, &format!("attributes/{scope}"));
        self.post(&path, values).expect("the attributes are written");
    }

    /// Deletes attributes of one scope by their comma-separated names.
    pub(crate) fn delete_attributes(&self, device: &str, scope: &str, keys: &str) {
        let path = self.telemetry(device, &format!("{scope}?keys={keys}"));
        self.delete(&path).expect("the attributes are deleted");
    }

    /// The path of a device's telemetry and attributes.
    pub(crate) fn telemetry(&self, device: &str, rest: &str) -> String {
        format!("/api/plugins/telemetry/DEVICE/{}/{rest}", self.device_id(device))
    }

    fn call(&self, method: Method, path: &str, body: &[u8], kind: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            // A key for programs is known by its first letters.
            let scheme = if token.starts_with("wg_") { "ApiKey" } else { "Bearer" };
            request = request.header("X-Authorization", format!("{scheme} {token}"));
        }
        if !kind.is_empty() {
            request = request.header("Content-Type", kind);
        }
        let request = request.body(body).expect("a well-formed request");
        let answer = self.agent.run(request).unwrap_or_else(|error| panic!("{path}: {error}"));
        read(answer)
    }
}

impl Stored {
    fn read(message: &Value) -> Self {
        Self {
            ts: message["ts"].as_i64().expect("ts is an integer"),
            codec_version: message["codec"]["version"].as_str().unwrap_or_default().to_owned(),
            values: message["values"].as_object().expect("values").clone(),
        }
    }

    /// The counter of a frame that the stamping codec has decoded.
    pub(crate) fn counter(&self) -> u32 {
        self.values["seq"].as_u64().and_then(|seq| u32::try_from(seq).ok()).expect("a counter")
    }

    /// The version that the stamping codec wrote into every value.
    #[track_caller]
    pub(crate) fn only_version(&self) -> usize {
        let stamps: Vec<&Value> =
            self.values.iter().filter(|(key, _)| *key != "seq").map(|(_, v)| v).collect();
        assert_eq!(stamps.len(), 7, "{self:?}");
        assert!(stamps.iter().all(|stamp| stamp == &stamps[0]), "two versions in one message: {self:?}");
        stamps[0].as_u64().and_then(|version| usize::try_from(version).ok()).expect("a version")
    }
}

/// A name as a part of an address.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    name.bytes().map(escape).collect()
}

fn read(mut answer: Response<Body>) -> Answer {
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(1 << 28).read_to_vec().expect("the whole answer");
    let body = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
    if (200..300).contains(&status) { Ok(body) } else { Err(Refusal { status, body }) }
}

#[track_caller]
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text expected, not {value}")).to_owned()
}
