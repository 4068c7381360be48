//! Group A, the cases with certificates: whom the TLS port lets in.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use rustls::version::TLS13;
use serde_json::{Value, json};

use super::case::{Case, Row, Settings, TELEMETRY, both, v3};
use super::client::{Client, Hello};
use crate::harness::{Identity, Server, TIMEOUT, TlsClient, eventually};

/// Where the server's certificate lies; made anew by `prepare`.
const CHAIN: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/conformance-chain.pem");
const KEY: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/conformance-key.pem");

const TLS: Settings = &[
    ("WIREGLOT_MQTT_TLS_CERTIFICATE", CHAIN),
    ("WIREGLOT_MQTT_TLS_KEY", KEY),
    ("WIREGLOT_MQTT_TLS_BIND", "127.0.0.1:0"),
];
const TLS_WITHOUT_DATES: Settings = &[
    ("WIREGLOT_MQTT_TLS_CERTIFICATE", CHAIN),
    ("WIREGLOT_MQTT_TLS_KEY", KEY),
    ("WIREGLOT_MQTT_TLS_BIND", "127.0.0.1:0"),
    ("WIREGLOT_MQTT_TLS_CLIENT_DATES", "ignore"),
];

pub(super) const ROWS: &[Row] = &[
    both(33, "TLS, certificate stored for D, no user name", |c| {
        let known = Identity::new("known");
        certified(c, &known);
        let mut client = shows(c, &[&known], &Hello::of("any")).expect("a known certificate");
        client.accepted(TELEMETRY, r#"{"a":1}"#);
        c.stored(json!({ "a": 1 }));
    })
    .on(TLS),
    both(34, "TLS, unknown self-signed certificate, user name = token", |c| {
        c.rest().create_device(&c.name(), None);
        let outcome = shows(c, &[&Identity::new("unknown")], &Hello::token(&c.name()));
        assert_eq!(outcome.err(), c.refusal(0x87));
    })
    .on(TLS),
    both(35, "TLS, no client certificate, user name = token", |c| {
        c.rest().create_device(&c.name(), None);
        let line = TlsClient::bare(&TLS13).connect(port(&c.server)).expect("hands are shaken");
        let mut client = Client::over(line, c.version);
        assert_eq!(client.hello(&Hello::token(&c.name())), Some(0));
    })
    .on(TLS),
    both(36, "TLS, stored certificate that has expired", |c| {
        let ended = Identity::between("ended", 2010, 2020);
        certified(c, &ended);
        assert_eq!(shows(c, &[&ended], &Hello::of("any")).err(), c.refusal(0x87));
        let patient = c.alone_with(TLS_WITHOUT_DATES);
        certified(&patient, &ended);
        assert!(shows(&patient, &[&ended], &Hello::of("any")).is_ok(), "dates are ignored");
    })
    .on(TLS),
    v3(37, "TLS, chain whose leaf was not signed by its intermediate", |c| {
        let (authority, imposter) = (Identity::new("authority"), Identity::new("authority"));
        let leaf = authority.sign("leaf");
        certified(c, &leaf);
        assert!(!is_turned_away(c, &[&leaf, &authority]));
        assert!(is_turned_away(c, &[&leaf, &imposter]));
    })
    .on(TLS),
    both(38, "X.509 chain profile that may create: a device of the leaf's name is made", |c| {
        let authority = chain_profile(c, "(.*)", true);
        let leaf = authority.sign(&c.named("dev-1"));
        shows(c, &[&leaf, &authority], &Hello::of("any")).expect("made and accepted");
        let device = device(c, &c.named("dev-1")).expect("the device");
        assert_eq!(device["type"], c.name());
        assert_eq!(credentials(c, &device)["credentialsType"], "X509_CERTIFICATE");
    })
    .on(TLS),
    both(39, "as 38, again with a new leaf of the same name", |c| {
        let authority = chain_profile(c, "(.*)", true);
        let leaves = [authority.sign(&c.named("dev-1")), authority.sign(&c.named("dev-1"))];
        for leaf in &leaves {
            shows(c, &[leaf, &authority], &Hello::of("any")).expect("the leaf of today");
        }
        let [old, new] = &leaves;
        assert_eq!(shows(c, &[old], &Hello::of("any")).err(), c.refusal(0x87), "the old leaf alone");
        assert!(shows(c, &[new], &Hello::of("any")).is_ok(), "the new leaf alone");
    })
    .on(TLS),
    both(40, "as 38, creation not allowed, unknown name", |c| {
        let authority = chain_profile(c, "(.*)", false);
        let leaf = authority.sign(&c.named("dev-1"));
        assert_eq!(shows(c, &[&leaf, &authority], &Hello::of("any")).err(), c.refusal(0x87));
        assert_eq!(device(c, &c.named("dev-1")), None);
    })
    .on(TLS),
    both(41, "as 38, pattern `([^@]+)@acme`", |c| {
        let authority = chain_profile(c, "([^@]+)@acme", true);
        let leaf = authority.sign(&format!("{}@acme", c.named("x9")));
        shows(c, &[&leaf, &authority], &Hello::of("any")).expect("made and accepted");
        assert!(device(c, &c.named("x9")).is_some());
    })
    .on(TLS),
];

/// Writes the server's certificate and its key.
pub(super) fn prepare() {
    let identity = Identity::new("localhost");
    fs::write(CHAIN, &identity.pem).expect("the folder for tests takes a file");
    fs::write(KEY, identity.key_pem()).expect("the folder for tests takes a file");
}

/// Where the TLS port of a server is.
fn port(server: &Server) -> SocketAddr {
    eventually("the server says where its TLS port is", || {
        let log = server.log();
        log.lines().find_map(|line| line.strip_prefix("MQTT over TLS on ")?.parse().ok())
    })
}

/// Connects with a chain, its first certificate being the device's own; or the code of the refusal.
#[track_caller]
fn shows(c: &Case, chain: &[&Identity], hello: &Hello<'_>) -> Result<Client, u8> {
    let shown = TlsClient::showing(&TLS13, chain, chain[0]);
    let line = shown.connect(port(&c.server)).expect("hands are shaken");
    let mut client = Client::over(line, c.version);
    match client.hello(hello).expect("a CONNACK") {
        0 => Ok(client),
        code => Err(code),
    }
}

/// Whether the server ends the connection in the handshake, in whichever message it says so.
fn is_turned_away(c: &Case, chain: &[&Identity]) -> bool {
    let Ok(mut line) = TlsClient::showing(&TLS13, chain, chain[0]).connect(port(&c.server)) else {
        return true;
    };
    line.set_read_timeout(Some(TIMEOUT)).expect("an open socket");
    line.write_all(&Hello::of("any").encode(c.version)).is_err() || !matches!(line.read(&mut [0; 4]), Ok(1..))
}

/// Makes the case's device, known by a certificate.
#[track_caller]
fn certified(c: &Case, identity: &Identity) {
    let id = c.rest().create_device(&c.name(), None);
    let mut credentials = c.rest().get(&format!("/api/device/{id}/credentials")).expect("credentials");
    credentials["credentialsType"] = "X509_CERTIFICATE".into();
    credentials["credentialsId"] = Value::Null;
    credentials["credentialsValue"] = identity.pem.as_str().into();
    c.rest().post("/api/device/credentials", &credentials).expect("the certificate is stored");
}

/// A profile with the case's name that trusts what this certificate has signed.
#[track_caller]
fn chain_profile(c: &Case, pattern: &str, may_create: bool) -> Identity {
    let authority = Identity::new(&c.named("authority"));
    let provision = json!({
        "type": "X509_CERTIFICATE_CHAIN",
        "provisionDeviceSecret": authority.pem,
        "certificateRegExPattern": pattern,
        "allowCreateNewDevicesByX509Certificate": may_create,
    });
    c.save_profile(
        &c.name(),
        json!({
            "provisionType": "X509_CERTIFICATE_CHAIN",
            "profileData": { "provisionConfiguration": provision },
        }),
    );
    authority
}

fn device(c: &Case, name: &str) -> Option<Value> {
    c.rest().get(&format!("/api/tenant/devices?deviceName={name}")).ok()
}

#[track_caller]
fn credentials(c: &Case, device: &Value) -> Value {
    let id = device["id"]["id"].as_str().expect("an id");
    c.rest().get(&format!("/api/device/{id}/credentials")).expect("credentials")
}
