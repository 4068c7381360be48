//! Every operation of `openapi.json` refuses those that it is not for: strangers, wrong roles, users of other customers,
//! ids of nobody here, ids that are none. What the walk cannot prove of an operation has to be named below, with the
//! reason; an operation that is new is walked without being named anywhere.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use wireglot_device::{ADMINISTRATOR_EMAIL, now};
use wireglot_model::Timestamp;

use super::contract::{DOCUMENT, resolve};
use super::customers::customer;
use super::{PASSWORD, Site, assert_error};

/// An id that nobody has here, as those of another tenant's things are.
const NOBODYS: &str = "0b5d9f0e-0000-4000-8000-00000000dead";

/// Operations that strangers may call.
const OPEN: [&str; 11] = [
    "activateUser",
    "checkAlive",
    "checkReady",
    "login",
    // They ask for a login in their first message, or in a parameter.
    "openTelemetrySocket",
    "openTelemetrySocketWithToken",
    // Whoever knows key and secret.
    "provisionDevice",
    "readMetrics",
    "readOpenapi",
    "readOpenapiWhereClientsLook",
    "renewTokens",
];
/// Operations of users that name nothing in their path: whose things they are about is looked at in their answer.
const ABOUT_THE_CALLER: [&str; 19] = [
    "changePassword",
    "listAllDeviceInfos",
    "listDeviceProfileInfos",
    "listDeviceProfileNames",
    "listDeviceTypes",
    "listUserDevices",
    "listUserInfos",
    "listUserUsers",
    "listUsers",
    // Names devices in its query, if any: whose, is looked at in `events.rs`.
    "listenToEvents",
    "logout",
    "readCurrentUser",
    "readDefaultDeviceProfileInfo",
    "readDeviceProfileInfos",
    "readDevices",
    "readSystemInfo",
    "saveApiKey",
    "saveDevice",
    "saveUser",
];
/// Operations whose path names what is no customer's.
const OF_NO_CUSTOMER: [&str; 1] = ["readDeviceProfileInfo"];
/// What another customer's user is told instead of 403 or 404.
const OTHERWISE_REFUSED: [(&str, u16); 1] = [
    // That a device has an owner is the answer of a claim, and nothing else of it is told.
    ("claimDevice", 400),
];
/// Operations that make what the path names, or see to it that it is not there.
const MAKES_WHAT_IS_NOT_THERE: [&str; 3] = ["uploadCodec", "uploadCandidate", "discardCandidate"];
/// What is kept of a device that is not there: nothing. Clients know it so.
const NOTHING_OF_NOBODY: [&str; 3] = ["listTelemetryKeys", "readTelemetry", "readTelemetryHistory"];

/// Operations of devices: they look at the token in the path, and `device_api.rs` walks them.
const OF_DEVICES: &str = "/api/v1/{token}/";

/// One operation of the document.
struct Operation {
    id: &'static str,
    method: Method,
    path: &'static str,
    value: &'static Value,
}

fn operations() -> Vec<Operation> {
    let mut found = Vec::new();
    let paths = DOCUMENT["paths"].as_object().unwrap().iter();
    for (path, item) in paths.filter(|(path, _)| !path.starts_with(OF_DEVICES)) {
        for (method, value) in item.as_object().unwrap() {
            let method = method.to_uppercase().parse().unwrap();
            found.push(Operation { id: value["operationId"].as_str().unwrap(), method, path, value });
        }
    }
    found
}

impl Operation {
    fn is_open(&self) -> bool {
        self.value["security"] == json!([])
    }

    fn is_for(&self, role: &str) -> bool {
        self.value["x-roles"].as_array().unwrap().contains(&json!(role))
    }

    fn parameters(&self, place: &str) -> Vec<&'static Value> {
        let parameters = self.value.get("parameters").and_then(Value::as_array).into_iter().flatten();
        parameters.filter(|parameter| parameter["in"] == place).collect()
    }

    /// The path with these values, and the parameters that have to be there.
    fn uri(&self, value_of: impl Fn(&'static Value) -> String) -> String {
        let mut uri = self.path.to_owned();
        for parameter in self.parameters("path") {
            let name = parameter["name"].as_str().unwrap();
            uri = uri.replace(&format!("{{{name}}}"), &value_of(parameter));
        }
        let needed = self.parameters("query").into_iter().filter(|parameter| parameter["required"] == true);
        let pairs: Vec<String> = needed
            .map(|parameter| format!("{}={}", parameter["name"].as_str().unwrap(), plain(parameter)))
            .collect();
        // Keys are needed where they are said to be by words only.
        let keys =
            if self.method == Method::DELETE { "&keys=a&all=true&deleteAllDataForKeys=true" } else { "" };
        format!("{uri}?{}{keys}", pairs.join("&"))
    }

    /// A body that fits the schema.
    fn body(&self) -> String {
        let Some(content) = self.value.pointer("/requestBody/content").and_then(Value::as_object) else {
            return String::new();
        };
        let kinds = ["application/json", "multipart/form-data"];
        match kinds.into_iter().find_map(|kind| Some((kind, content.get(kind)?))) {
            // Values of whatever name.
            Some(("application/json", _)) if self.path.contains("/telemetry/") => json!({"a": 1}).to_string(),
            Some(("application/json", media)) => sample(&media["schema"]).to_string(),
            Some(_) => FORM.to_owned(),
            None => "not a codec".to_owned(),
        }
    }

    async fn call(&self, site: &Site, authorization: Option<&str>, uri: &str) -> (StatusCode, Value) {
        let mut headers: Vec<_> = authorization.map(|value| ("x-authorization", value)).into_iter().collect();
        let body = self.body();
        if body == FORM {
            headers.push(("content-type", "multipart/form-data; boundary=b"));
        }
        site.call_as(&headers, self.method.clone(), uri, body).await
    }
}

const FORM: &str =
    "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\nx\r\n--b--\r\n";

/// A value of a parameter that names nothing.
fn plain(parameter: &Value) -> String {
    match sample(&parameter["schema"]) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// The least that fits a schema.
fn sample(schema: &Value) -> Value {
    let schema = resolve(schema);
    if let Some(example) = schema.get("example") {
        return example.clone();
    }
    if let Some(first) = schema.pointer("/enum/0") {
        return first.clone();
    }
    if let Some(choices) = schema.get("oneOf").or_else(|| schema.get("allOf")).and_then(Value::as_array) {
        return sample(choices.iter().find(|choice| choice["type"] != "null").unwrap());
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or_default();
    match kind {
        "string" if schema["format"] == "uuid" => json!(NOBODYS),
        "string" => json!("x".repeat(schema["minLength"].as_u64().unwrap_or(1).max(1) as usize)),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        "boolean" => json!(false),
        "array" => json!([]),
        _ => {
            let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
            let members = required.filter_map(Value::as_str);
            members.map(|name| (name.to_owned(), sample(&schema["properties"][name]))).collect()
        }
    }
}

/// What belongs to one customer, and what the other one may never see of it.
struct Theirs {
    device: String,
    customer: String,
    rpc: String,
    user: String,
    key: String,
}

const NAME: &str = "theirs-17";
const SECRETS: [&str; 4] = [NAME, "their_key", "their_value", "their_token"];

impl Theirs {
    async fn new(site: &Site) -> Self {
        let (customer, header) = customer(site, "other").await;
        let header = [("x-authorization", header.as_str())];
        let (_, user) = site.call_as(&header, Method::GET, "/api/auth/user", "").await;
        let body = json!({"description": "their_key"}).to_string();
        let (_, key) = site.call_as(&header, Method::POST, "/api/apiKey", body).await;
        let [user, key] = [user, key].map(|entity| entity["id"]["id"].as_str().unwrap().to_owned());
        let path = "/api/device?accessToken=their_token";
        let device = site.post(path, json!({"name": NAME})).await["id"]["id"].as_str().unwrap().to_owned();
        site.post(&format!("/api/customer/{customer}/device/{device}"), json!({})).await;
        let telemetry = format!("/api/plugins/telemetry/DEVICE/{device}");
        for path in ["timeseries/ANY", "attributes/SERVER_SCOPE"] {
            site.post(&format!("{telemetry}/{path}"), json!({"their_key": "their_value"})).await;
        }
        let call = json!({"method": "their_key", "params": "their_value", "persistent": true});
        let rpc =
            site.post(&format!("/api/rpc/twoway/{device}"), call).await["rpcId"].as_str().unwrap().to_owned();
        Self { device, customer, rpc, user, key }
    }

    /// What stands for a parameter of a path.
    fn value_of(&self, parameter: &Value) -> String {
        match parameter["name"].as_str().unwrap() {
            "deviceId" | "entityId" => self.device.clone(),
            "customerId" => self.customer.clone(),
            "rpcId" => self.rpc.clone(),
            "userId" => self.user.clone(),
            "apiKeyId" => self.key.clone(),
            "deviceName" => NAME.to_owned(),
            name if parameter["schema"]["format"] == "uuid" => {
                panic!("the walk does not know what {name} is")
            }
            _ => plain(parameter),
        }
    }
}

/// With ids of nobody, where there is one.
fn nobodys(parameter: &Value) -> String {
    match parameter["name"].as_str().unwrap() {
        "deviceName" => "nobody".to_owned(),
        _ => plain(parameter),
    }
}

#[tokio::test]
async fn every_operation_refuses_strangers() {
    let site = Site::new().await;
    let user = site.api.devices.login(ADMINISTRATOR_EMAIL, PASSWORD).unwrap();
    let pair = site.api.tokens.issue(&user, uuid::Uuid::new_v4(), now()).unwrap();
    let old = site.api.tokens.issue(&user, uuid::Uuid::new_v4(), Timestamp(now().0 - 9_001_000)).unwrap();
    let (head, signature) = pair.access.rsplit_once('.').unwrap();
    let forged: String = signature.chars().rev().collect();
    let attempts = [
        (None, 10),
        (Some(format!("Bearer {}", pair.refresh)), 10),
        (Some(format!("Bearer {head}.{forged}")), 10),
        (Some("Bearer a.b.c".into()), 10),
        (Some(format!("Basic {}", pair.access)), 10),
        (Some(format!("ApiKey {NOBODYS}")), 10),
        (Some(format!("Bearer {}", old.access)), 11),
    ];
    let mut open = Vec::new();
    for operation in operations() {
        if operation.is_open() {
            open.push(operation.id);
            continue;
        }
        let uri = operation.uri(nobodys);
        for (header, code) in &attempts {
            let (status, answer) = operation.call(&site, header.as_deref(), &uri).await;
            assert_error(&format!("{} {uri} {header:?}", operation.id), status, &answer, 401, *code);
        }
    }
    open.sort_unstable();
    assert_eq!(open, OPEN, "only these are open to everybody");
}

#[tokio::test]
async fn a_customers_user_does_nothing_that_is_an_administrators() {
    let site = Site::new().await;
    let (_, header) = customer(&site, "one").await;
    let theirs = Theirs::new(&site).await;
    let (mut refused, mut looked_at) = (0, Vec::new());
    for operation in operations().iter().filter(|operation| !operation.is_open()) {
        if !operation.is_for("CUSTOMER_USER") {
            let uri = operation.uri(nobodys);
            let (status, answer) = operation.call(&site, Some(&header), &uri).await;
            assert_error(&format!("{} {uri}", operation.id), status, &answer, 403, 20);
            refused += 1;
        } else if OF_NO_CUSTOMER.contains(&operation.id) {
            refused += 1;
        } else if operation.parameters("path").is_empty() {
            looked_at.push(operation.id);
        } else {
            let uri = operation.uri(|parameter| theirs.value_of(parameter));
            let (status, answer) = operation.call(&site, Some(&header), &uri).await;
            let otherwise = OTHERWISE_REFUSED.iter().find(|(id, _)| *id == operation.id);
            let is_refused =
                otherwise.map_or(matches!(status.as_u16(), 403 | 404), |(_, code)| status == *code);
            assert!(is_refused, "{} {uri}: {status} {answer}", operation.id);
            let told = answer.to_string();
            assert!(!SECRETS.iter().any(|secret| told.contains(secret)), "{} {uri}: {told}", operation.id);
            refused += 1;
        }
    }
    looked_at.sort_unstable();
    assert_eq!(looked_at, ABOUT_THE_CALLER, "what the others answer has to be looked at");
    assert_eq!(refused + OPEN.len() + ABOUT_THE_CALLER.len(), operations().len());
}

#[tokio::test]
async fn an_administrator_does_nothing_that_is_only_a_customers() {
    let site = Site::new().await;
    let header = format!("Bearer {}", site.token);
    let mut refused = Vec::new();
    for operation in operations().iter().filter(|operation| !operation.is_open()) {
        if !operation.is_for("TENANT_ADMIN") {
            let uri = operation.uri(nobodys);
            let (status, answer) = operation.call(&site, Some(&header), &uri).await;
            assert_error(&format!("{} {uri}", operation.id), status, &answer, 403, 20);
            refused.push(operation.id);
        }
    }
    assert_eq!(refused, ["claimDevice"]);
}

/// The headers of an administrator and of a user of a customer.
struct Callers {
    administrator: String,
    customers_user: String,
}

impl Callers {
    async fn new(site: &Site) -> Self {
        let (_, customers_user) = customer(site, "one").await;
        Self { administrator: format!("Bearer {}", site.token), customers_user }
    }

    /// One whom the operation is for.
    fn of(&self, operation: &Operation) -> &str {
        if operation.is_for("TENANT_ADMIN") { &self.administrator } else { &self.customers_user }
    }
}

/// To this server the ids of another tenant's things are ids of nobody.
#[tokio::test]
async fn what_is_nobodys_is_not_found() {
    let site = Site::new().await;
    let callers = Callers::new(&site).await;
    let mut told = Vec::new();
    for operation in operations().iter().filter(|operation| !operation.is_open()) {
        let parameters = operation.parameters("path");
        if parameters.is_empty() || MAKES_WHAT_IS_NOT_THERE.contains(&operation.id) {
            continue;
        }
        let uri = operation.uri(nobodys);
        let (status, answer) = operation.call(&site, Some(callers.of(operation)), &uri).await;
        let is_nothing =
            NOTHING_OF_NOBODY.contains(&operation.id) && (answer == json!([]) || answer == json!({}));
        if status != 404 && !is_nothing {
            told.push(format!("{} {uri}: {status} {answer}", operation.id));
        }
    }
    assert!(told.is_empty(), "{told:#?}");
}

#[tokio::test]
async fn what_is_no_id_is_refused() {
    let site = Site::new().await;
    let callers = Callers::new(&site).await;
    let mut told = Vec::new();
    for operation in operations().iter().filter(|operation| !operation.is_open()) {
        for wrong in operation.parameters("path") {
            if wrong["schema"]["format"] != "uuid" && wrong["schema"].get("enum").is_none() {
                continue;
            }
            let value = |parameter: &'static Value| match parameter["name"] == wrong["name"] {
                true => "no-id".to_owned(),
                false => nobodys(parameter),
            };
            let uri = operation.uri(value);
            let (status, answer) = operation.call(&site, Some(callers.of(operation)), &uri).await;
            if status != 400 {
                told.push(format!("{} {uri}: {status} {answer}", operation.id));
            }
        }
    }
    assert!(told.is_empty(), "{told:#?}");
}
