//! `tbctl` and `tb` walk a device's whole life, with commands as their manuals have them; programs show an API key.

use std::fs;

use serde_json::{Map, Value, json};
use wireglot_load::wire::{Connect, Version};

use crate::harness::{CommandLine, Device, Server};

const ADMINISTRATOR: &str = "tenant@thingsboard.org";
const GUEST_PASSWORD: &str = "correct horse battery 4";
const START: i64 = 1_700_000_000_000;
const MINUTE: i64 = 60_000;
/// More than `tbctl` asks for at once.
const MINUTES: i64 = 1_200;

/// A device that has said a number for every minute, and what model it is.
fn talkative(server: &Server, token: &str) -> Device {
    // It says nothing for as long as the commands take, however busy the machine is.
    let login = Connect { client_id: token, user_name: Some(token), password: None, keep_alive_s: 0 };
    let mut device = Device::try_connect(server.mqtt(), Version::V3, &login).expect("its token is known");
    assert_eq!(device.subscribe("v1/devices/me/attributes"), 1);
    let row = |minute: i64| json!({ "ts": START + minute * MINUTE, "values": { "temperature": minute } });
    device.telemetry(Value::from_iter((0..MINUTES).map(row)).to_string());
    assert_eq!(device.publish_qos1("v1/devices/me/attributes", r#"{"model":"T-1"}"#), 0);
    device
}

/// A user of a new customer; returns the customer's id.
fn guest(server: &Server, email: &str) -> String {
    let rest = server.rest();
    let customer = rest.post("/api/customer", &json!({ "title": "Hotel" })).expect("the customer is made");
    let user = json!({ "email": email, "authority": "CUSTOMER_USER", "customerId": customer["id"] });
    let user = rest.post("/api/user?sendActivationMail=false", &user).expect("the user is made");
    let id = |entity: &Value| entity["id"]["id"].as_str().expect("an id").to_owned();
    let link = rest.get(&format!("/api/user/{}/activationLink", id(&user))).expect("a link");
    let (_, token) = link.as_str().expect("a text").split_once("activateToken=").expect("a token");
    let activation = json!({ "activateToken": token, "password": GUEST_PASSWORD });
    rest.stranger().post("/api/noauth/activate", &activation).expect("the user sets a password");
    id(&customer)
}

/// Logs in with a password that is typed.
fn tbctl_login(tbctl: &CommandLine, user: &str) -> String {
    format!("auth login --insecure-storage --url {} -u {user}", tbctl.url())
}

#[test]
fn tbctl_walks_a_devices_life() {
    let server = Server::spawn();
    let tbctl = CommandLine::tbctl(&server, "operator");
    tbctl.refuses("device list", "Run `tbctl auth login`");
    let login = tbctl_login(&tbctl, ADMINISTRATOR);
    tbctl.refuses_after(&login, "wrong\n", "Error 401: Invalid username or password");
    let said = tbctl.answers(&login, &format!("{}\n", tbctl.password()));
    assert!(said.contains("session valid until"), "{said}");
    let status = tbctl.json("auth status --json");
    assert_eq!((&status["user"], &status["auth"]), (&json!(ADMINISTRATOR), &json!("jwt")));
    assert!(tbctl.says("auth refresh").contains("Session renewed"));

    tbctl_devices(&server, &tbctl);
    let shown = tbctl.says("device get sensor-1 --token");
    let token = shown.lines().find(|line| line.contains("Access token")).expect("the token is shown");
    let token = token.split('│').nth(2).expect("the second column").trim();
    let mut device = talkative(&server, token);
    tbctl_telemetry(&tbctl);
    tbctl_attributes(&server, &tbctl);
    tbctl_packages(&tbctl, &mut device);
    tbctl_customers(&server, &tbctl);

    tbctl.refuses("device delete nobody --yes", "Error 404: Requested item wasn't found!");
    tbctl.says("device delete sensor-1 --yes");
    assert_eq!(server.rest().device("sensor-1"), None);
    device.closed();
    let token = kept_token(&tbctl);
    server.rest().of(&token).get("/api/auth/user").expect("the session is open");
    assert!(tbctl.says("auth logout").contains("Logged out"));
    let refusal = server.rest().of(&token).get("/api/auth/user").expect_err("the session has ended");
    assert_eq!(refusal.status, 401);
    let stranger = CommandLine::tbctl(&server, "operator").with("TBCTL_TOKEN", "nonsense");
    stranger.refuses("device list", "Error 401: Authentication failed");
    tbctl_keys(&server);
}

/// An API key of the administrator: its id and its secret.
fn api_key(server: &Server) -> (String, String) {
    let draft = json!({ "description": "nightly report", "expirationTime": 0 });
    let key = server.rest().post("/api/apiKey", &draft).expect("a key is made");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    (text(&key["id"]["id"]), text(&key["value"]))
}

/// A program logs in with a key, which is no session.
fn tbctl_keys(server: &Server) {
    let (id, key) = api_key(server);
    let tbctl = CommandLine::tbctl(server, "program");
    let login = format!("auth login --insecure-storage --api-key --url {}", tbctl.url());
    tbctl.refuses_after(&login, "wg_nobody\n", "Error 401");
    let said = tbctl.answers(&login, &format!("{key}\n"));
    assert!(said.contains(&format!("as {ADMINISTRATOR} with an API key")), "{said}");
    assert!(tbctl.says("device list").contains("other"));
    tbctl.refuses("auth refresh", "API keys are not refreshed");
    server.rest().delete(&format!("/api/apiKey/{id}")).expect("the key is deleted");
    tbctl.refuses("device list", "Error 401: Authentication failed");
}

/// The access token that `tbctl` keeps in its file: JSON within TOML.
fn kept_token(tbctl: &CommandLine) -> String {
    let file = fs::read_to_string(tbctl.home().join(".config/tbctl/default.toml")).expect("its file");
    let file = file.replace('\\', "");
    let (_, rest) = file.split_once(r#""token": ""#).expect("the token lies in the file");
    rest.split('"').next().expect("it ends").to_owned()
}

fn tbctl_devices(server: &Server, tbctl: &CommandLine) {
    server.rest().create_profile("thermostat", &json!({ "type": "MQTT" }));
    let profiles = tbctl.says("device profiles --search THERM");
    assert!(profiles.contains("thermostat") && profiles.contains("Showing 1 of 1 profiles"), "{profiles}");
    let made = tbctl.says("device create sensor-1 --device-profile default --label Lobby");
    assert_eq!(made.trim(), format!("Created {}", server.rest().device_id("sensor-1")));
    tbctl.refuses("device create sensor-1", "Error 400: Device with such name already exists!");
    tbctl.refuses("device create x -p nobody", "Device profile 'nobody' not found.");
    tbctl.says("device update sensor-1 --label 'Main hall' --device-profile thermostat");
    let device = server.rest().device("sensor-1").expect("it is there");
    assert_eq!((&device["label"], &device["type"]), (&json!("Main hall"), &json!("thermostat")));
    server.rest().create_device("other", None);
    let list = tbctl.json("device list --sort-by createdTime --sort-order DESC --json");
    let names: Vec<&Value> = list.as_array().expect("a list").iter().map(|found| &found["name"]).collect();
    assert_eq!(names, ["other", "sensor-1"]);
    let list = tbctl.says("device list --search MAIN --device-profile thermostat --token");
    assert!(list.contains("sensor-1") && list.contains("Showing 1 of 1 devices"), "{list}");
    tbctl.refuses("device list --sort-by nonsense", "Error 400: Invalid sort property: nonsense");
    tbctl.refuses("device get nobody", "Error 404: Requested item wasn't found!");
}

fn tbctl_telemetry(tbctl: &CommandLine) {
    assert_eq!(tbctl.says("telemetry keys sensor-1").trim(), "temperature");
    tbctl.says("alias add ruedi sensor-1");
    let latest = tbctl.json("telemetry latest ruedi --keys temperature --json");
    assert_eq!(latest["temperature"], json!([{ "ts": START + (MINUTES - 1) * MINUTE, "value": "1199" }]));
    let end = START + MINUTES * MINUTE;
    let whole = format!("telemetry history sensor-1 --keys temperature --start {START} --end {end}");
    let points = tbctl.json(&format!("{whole} --json"))["temperature"].clone();
    let values =
        points.as_array().expect("points").iter().map(|point| point["value"].as_str().expect("a text"));
    assert!(values.eq((0..MINUTES).map(|minute| minute.to_string())), "page after page, each point once");
    let averages = tbctl.json(&format!("{whole} --agg AVG --interval {} --json", 60 * MINUTE));
    assert_eq!(averages["temperature"].as_array().expect("points").len(), 20);
    assert_eq!(averages["temperature"][0], json!({ "ts": START + 30 * MINUTE, "value": "29.5" }));
    let newest = tbctl.says("telemetry history sensor-1 --keys temperature --last 2");
    assert!(newest.contains("1199") && newest.contains("1198") && !newest.contains("1197"), "{newest}");
    assert!(tbctl.says(&format!("{whole} --plot")).contains("Telemetry history"));
}

fn tbctl_attributes(server: &Server, tbctl: &CommandLine) {
    server.rest().write_attributes(
        "sensor-1",
        "SERVER_SCOPE",
        &json!({ "site": "north", "limits": { "max": 3 } }),
    );
    let shown = tbctl.json("attributes get sensor-1 --scope SERVER_SCOPE --keys limits --json");
    assert_eq!((&shown[0]["key"], &shown[0]["value"]), (&json!("limits"), &json!({ "max": 3 })));
    let all = tbctl.says("attributes get sensor-1");
    assert!(all.contains("T-1") && all.contains("north") && all.contains("lastConnectTime"), "{all}");
}

fn tbctl_packages(tbctl: &CommandLine, device: &mut Device) {
    let image: Vec<u8> = (0..40_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(tbctl.home().join("firmware.bin"), &image).expect("the temporary folder takes a file");
    let upload = "ota upload firmware.bin --title app-fw --version 1.4.0 --device-profile thermostat";
    assert!(tbctl.says(upload).contains("uploaded 156.2 KB"));
    tbctl.refuses(upload, "Error 400: OtaPackage with such title and version already exists!");
    let list = tbctl.json("ota list --device-profile thermostat --type FIRMWARE --json");
    assert_eq!((&list[0]["version"], &list[0]["dataSize"]), (&json!("1.4.0"), &json!(image.len())));
    let package = list[0]["id"]["id"].as_str().expect("an id");
    assert!(tbctl.says(&format!("ota get {package}")).contains("app-fw"));
    let remote = "ota upload --url http://host/fw.bin --title app-fw --version 2.0.0 -p thermostat";
    assert!(tbctl.says(remote).contains("-> http://host/fw.bin"));
    assert!(tbctl.says("ota list --search APP").contains("Showing 2 of 2 packages"));

    tbctl.says("ota assign app-fw sensor-1 --version 1.4.0");
    let told = next_told(device, |told| told.get("fw_version").is_some());
    assert_eq!((&told["fw_title"], &told["fw_version"]), (&json!("app-fw"), &json!("1.4.0")));
    assert!(tbctl.says("device get sensor-1").contains("app-fw 1.4.0"));
    assert!(tbctl.says("ota devices app-fw --version 1.4.0").contains("sensor-1"));
    tbctl.says("ota download --device sensor-1 -o out.bin");
    assert!(fs::read(tbctl.home().join("out.bin")).expect("it was downloaded") == image, "other bytes");
    tbctl.refuses(&format!("ota delete {package} --yes"), "Error 400");
    tbctl.says("ota unassign sensor-1");
    next_told(device, |told| told["deleted"].to_string().contains("fw_version"));
    tbctl.says(&format!("ota delete {package} --yes"));
    tbctl.refuses(&format!("ota get {package}"), "Error 404: Requested item wasn't found!");
}

/// The next update of attributes that is the one.
fn next_told(device: &mut Device, is_it: impl Fn(&Value) -> bool) -> Value {
    loop {
        let told: Value = serde_json::from_str(&device.next_message().payload).expect("JSON");
        if is_it(&told) {
            return told;
        }
    }
}

fn tbctl_customers(server: &Server, tbctl: &CommandLine) {
    let customer = guest(server, "guest@hotel");
    let guest = CommandLine::tbctl(server, "guest");
    guest.answers(&tbctl_login(&guest, "guest@hotel"), &format!("{GUEST_PASSWORD}\n"));
    assert_eq!(guest.says("device list").trim(), "No devices found.");
    tbctl.says(&format!("device assign sensor-1 --customer {customer}"));
    let list = tbctl.says(&format!("device list --customer {customer}"));
    assert!(list.contains("sensor-1") && list.contains("owned by 'Hotel'"), "{list}");
    let list = guest.says("device list");
    assert!(list.contains("sensor-1") && !list.contains("other"), "{list}");
    assert!(guest.says("telemetry latest sensor-1").contains("1199"));
    let other = server.rest().device_id("other");
    guest.refuses(
        &format!("device get {other}"),
        "Error 403: You don't have permission to perform this operation!",
    );
    guest.refuses("device delete sensor-1 --yes", "Error 403");
}

#[test]
fn tb_walks_a_devices_life() {
    let server = Server::spawn();
    let tb = CommandLine::tb(&server, "operator");
    tb.refuses("device get x", "Run 'tb config' to get started.");
    let set = format!("config set --url {} --username {ADMINISTRATOR} --password", tb.url());
    // What it makes of a wrong password is a warning; the next command tells.
    tb.says(&format!("{set} wrong"));
    tb.refuses("device get x", "API error (401): Invalid username or password");
    assert!(tb.says(&format!("{set} '{}'", tb.password())).contains("Connected to"));

    let (profile, device) = tb_devices(&server, &tb);
    let shown = tb.json(&format!("device credentials {device} -f json"));
    assert_eq!(
        (&shown["credentialsType"], &shown["credentialsId"]),
        (&json!("ACCESS_TOKEN"), &json!("METER-1"))
    );
    let mut connection = talkative(&server, "METER-1");
    tb_attributes(&server, &tb, &device, &mut connection);
    tb_telemetry(&tb, &device);

    tb_beside_codecs(&server, &tb);

    tb.refuses(&format!("device-profile delete {profile} --yes"), "API error (400)");
    tb.says(&format!("device delete {device} --yes"));
    connection.closed();
    assert_eq!(server.rest().device("meter-1"), None);
    tb.refuses(&format!("device delete {device} --yes"), "API error (404): Requested item wasn't found!");
    tb.says(&format!("device-profile delete {profile} --yes"));
    tb.refuses(&format!("device-profile get {profile}"), "API error (404): Requested item wasn't found!");
}

#[test]
fn tb_lists_devices_customers_and_users_with_an_api_key() {
    let server = Server::spawn();
    let (key, secret) = api_key(&server);
    let url = server.login_variables()[0].1.clone();
    let tb = CommandLine::tb(&server, "program").with("TB_URL", &url).with("TB_API_KEY", &secret);
    assert!(tb.says("system info").contains(env!("CARGO_PKG_VERSION")));

    for (name, profile) in [("meter-1", "meters"), ("meter-2", "meters"), ("other", "default")] {
        server.rest().create_device(name, Some(profile));
    }
    let names = |line: &str| -> Vec<String> {
        let page = tb.json(line)["data"].clone();
        let name = |found: &Value| found["name"].as_str().expect("a name").to_owned();
        page.as_array().expect("a page").iter().map(name).collect()
    };
    let sorted = "device list --sort-property name --sort-order DESC -f json";
    assert_eq!(names(sorted), ["other", "meter-2", "meter-1"]);
    assert_eq!(names("device list --type meters --text-search R-2 -f json"), ["meter-2"]);
    assert_eq!(names("device list --page-size 2 --page 1 --sort-property name -f json"), ["other"]);

    let customer = tb_customer(&server, &tb);
    tb_users(&server, &tb, &customer);
    tb.says(&format!("customer delete {customer} --yes"));
    assert_eq!(names("customer list -f json"), [""; 0]);
    let listed = tb.says("user list");
    assert!(listed.contains(ADMINISTRATOR) && !listed.contains("guest@hotel"), "{listed}");

    server.rest().delete(&format!("/api/apiKey/{key}")).expect("the key is deleted");
    tb.refuses("device list", "API error (401)");
}

/// Makes a customer and returns its id.
fn tb_customer(server: &Server, tb: &CommandLine) -> String {
    assert!(tb.says("customer save --title Hotel").contains("Customer 'Hotel' saved (ID: "));
    tb.refuses("customer save --title Hotel", "API error (400): Customer with such title already exists!");
    let mut shown = tb.json("customer get Hotel -f json");
    shown["email"] = "desk@hotel".into();
    tb.says(&format!("customer save --json '{shown}'"));
    assert!(tb.says("customer list --text-search HOT").contains("desk@hotel"));
    let found =
        server.rest().get("/api/tenant/customers?customerTitle=Hotel").expect("the customer is there");
    assert_eq!((&found["email"], &found["id"]), (&json!("desk@hotel"), &shown["id"]));
    shown["id"]["id"].as_str().expect("an id").to_owned()
}

/// Makes a user of a customer, which takes a login.
fn tb_users(server: &Server, tb: &CommandLine, customer: &str) {
    let draft = json!({
        "email": "guest@hotel",
        "authority": "CUSTOMER_USER",
        "customerId": { "entityType": "CUSTOMER", "id": customer },
    });
    let make = format!("user save --no-activation-mail --json '{draft}'");
    tb.refuses(&make, "API error (403): An API key cannot do this: log in with a password");
    let person = CommandLine::tb(server, "operator");
    let set = format!("config set --url {} --username {ADMINISTRATOR} --password", person.url());
    person.says(&format!("{set} '{}'", person.password()));
    assert!(person.says(&make).contains("User 'guest@hotel' saved (ID: "));
    let listed = tb.says("user list --text-search GUEST");
    assert!(listed.contains("guest@hotel") && listed.contains("Hotel"), "{listed}");

    let users = server.rest().get("/api/users?pageSize=9&page=0&textSearch=guest").expect("a page");
    let user = users["data"][0]["id"]["id"].as_str().expect("an id");
    assert!(tb.says(&format!("user get {user}")).contains("guest@hotel"));
    let link = server.rest().get(&format!("/api/user/{user}/activationLink")).expect("a link");
    let (_, token) = link.as_str().expect("a text").split_once("activateToken=").expect("a token");
    // Its own name of the member: under the published one it does not send it.
    let activation = json!({ "activate_token": token, "password": GUEST_PASSWORD });
    tb.says(&format!("user activate --json '{activation}'"));
    server.rest().logged_in("guest@hotel", GUEST_PASSWORD).get("/api/auth/user").expect("the guest is in");
}

/// Makes a profile and a device of it, and returns their ids.
fn tb_devices(server: &Server, tb: &CommandLine) -> (String, String) {
    let said = tb.says("device-profile save --name meters");
    assert!(said.contains("Device profile 'meters' saved (ID: "), "{said}");
    tb.refuses("device-profile save --name meters", "Device profile with such name already exists!");
    let list = tb.json("device-profile list --text-search METER -f json");
    // It does not print how many there are.
    assert_eq!(list["data"].as_array().expect("a page").len(), 1);
    let mut profile = list["data"][0].clone();
    let id = profile["id"]["id"].as_str().expect("an id").to_owned();
    profile["description"] = "reads meters".into();
    tb.says(&format!("device-profile save --json '{profile}'"));
    let shown = tb.says(&format!("device-profile get {id}"));
    assert!(shown.contains("Name: meters") && shown.contains("Description: reads meters"), "{shown}");

    let said = tb.says("device save --name meter-1 --type meters --access-token METER-1");
    let device = server.rest().device_id("meter-1");
    assert!(said.contains(&format!("Device 'meter-1' saved (ID: {device})")), "{said}");
    tb.refuses("device save --name meter-1", "API error (400): Device with such name already exists!");
    let mut shown = tb.json("device get meter-1 -f json");
    assert_eq!((&shown["name"], &shown["type"]), (&json!("meter-1"), &json!("meters")));
    shown["label"] = "Cellar".into();
    tb.says(&format!("device save --json '{shown}'"));
    assert!(tb.says(&format!("device get {device}")).contains("Label: Cellar"));
    tb.refuses("device get nobody", "API error (404): Requested item wasn't found!");
    (id, device)
}

/// Its models know JSON and protobuf only, which is no reason to lose the rest.
fn tb_beside_codecs(server: &Server, tb: &CommandLine) {
    server.codec_profile("coded", "soil");
    assert!(tb.says("device save --name probe-1 --type coded").contains("Device 'probe-1' saved"));
    assert!(tb.says("device get probe-1").contains("Profile: coded"));
    tb.refuses("device-profile list", "failed to lookup discriminator value");
    server.rest().delete_device("probe-1");
}

fn tb_attributes(server: &Server, tb: &CommandLine, device: &str, connection: &mut Device) {
    let of = |command: &str, rest: &str| format!("attributes {command} DEVICE {device} {rest}");
    tb.says(&of("save", r#"--json '{"site": "north", "limits": {"max": 3}}'"#));
    tb.says(&of("save", r#"--scope SHARED_SCOPE --json '{"interval": 60}'"#));
    assert_eq!(connection.next_message().payload, r#"{"interval":60}"#);
    tb.refuses(
        &of("save", r#"--scope CLIENT_SCOPE --json '{"a": 1}'"#),
        "API error (400): Invalid scope: CLIENT_SCOPE",
    );
    let shown = tb.json(&of("get", "--keys limits,site -f json"));
    let shown = shown.as_array().expect("a list").iter();
    let shown: Map<String, Value> = shown
        .map(|found| (found["key"].as_str().expect("a key").to_owned(), found["value"].clone()))
        .collect();
    assert_eq!(Value::from(shown), json!({ "limits": { "max": 3 }, "site": "north" }));
    let client = tb.says(&of("get", "--scope CLIENT_SCOPE"));
    assert!(client.contains("model") && client.contains("T-1"), "{client}");
    let keys = tb.json(&of("list", "-f json"));
    assert_eq!((&keys["SHARED_SCOPE"], &keys["CLIENT_SCOPE"]), (&json!(["interval"]), &json!(["model"])));
    tb.says(&of("delete", "--scope SHARED_SCOPE --keys interval,nobody --yes"));
    assert_eq!(connection.next_message().payload, r#"{"deleted":["interval","nobody"]}"#);
    assert!(server.rest().attributes("meter-1", "SHARED_SCOPE").is_empty());
}

fn tb_telemetry(tb: &CommandLine, device: &str) {
    let of = |command: &str, rest: &str| format!("telemetry {command} DEVICE {device} {rest}");
    let range = format!("--start-ts {START} --end-ts {}", START + MINUTES * MINUTE);
    let get = |rest: &str| tb.json(&of("get", &format!("{range} --keys {rest}")));
    let newest = get("temperature --limit 2");
    let newest: Vec<&Value> =
        newest["temperature"].as_array().expect("points").iter().map(|point| &point["value"]).collect();
    assert_eq!(newest, ["1199", "1198"]);
    let hours = get(&format!("temperature --agg MAX --interval {}", 60 * MINUTE));
    assert_eq!(hours["temperature"][19], json!({ "ts": START + (19 * 60 + 30) * MINUTE, "value": "1199" }));
    assert_eq!(get("nobody"), json!({}));
    let nobody = "784f394c-42b6-435a-983c-b7beff2784f9";
    let stranger = format!("telemetry get DEVICE {nobody} --keys temperature {range}");
    tb.refuses(&stranger, &format!("Entity not found: DEVICE {nobody}"));
    let row = json!({ "ts": START, "values": { "saved": 1 } });
    tb.says(&of("save", &format!("--json '{row}'")));
    assert_eq!(get("saved")["saved"], json!([{ "ts": START, "value": "1" }]));
    tb.refuses(&of("save", "--json '{}'"), "API error (400): No timeseries data");
    let first_hour = format!("--start-ts {START} --end-ts {}", START + 60 * MINUTE);
    tb.says(&of("delete", &format!("{first_hour} --keys temperature --yes")));
    let hours = get(&format!("temperature --agg COUNT --interval {}", 60 * MINUTE));
    assert_eq!(hours["temperature"][0], json!({ "ts": START + 90 * MINUTE, "value": "60" }));
    tb.says(&of("delete", "--keys saved --delete-all-data-for-keys --yes"));
    assert_eq!(get("saved"), json!({}));
}
