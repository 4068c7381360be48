//! The TLS port: who is let in with a certificate and without one, and what a connection passes before its first packet.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};
use tempfile::TempDir;
use wireglot_load::wire::{self, Connect, Version};

use crate::harness::{Closed, Device, Identity, Line, Server, TIMEOUT, TlsClient, eventually};

const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A server with a TLS port.
struct Secured {
    server: Server,
    tls: SocketAddr,
    /// Where its certificate lies.
    files: TempDir,
    identity: Identity,
}

impl Secured {
    fn spawn() -> Self {
        Self::spawn_with(&[])
    }

    fn spawn_with(settings: &[(&'static str, &'static str)]) -> Self {
        let files = TempDir::with_prefix("wireglot-tls-").expect("a temporary folder");
        let identity = Identity::new("localhost");
        store(&files, &identity.pem, &identity.key_pem());
        let path = |name: &str| -> &'static str { files.path().join(name).display().to_string().leak() };
        let own = [
            ("WIREGLOT_MQTT_TLS_CERTIFICATE", path("chain.pem")),
            ("WIREGLOT_MQTT_TLS_KEY", path("key.pem")),
            ("WIREGLOT_MQTT_TLS_BIND", "127.0.0.1:0"),
        ];
        let server = Server::spawn_with(&[&own, settings].concat());
        let tls = eventually("the server says where its TLS port is", || {
            let log = server.log();
            log.lines().find_map(|line| line.strip_prefix("MQTT over TLS on ")?.parse().ok())
        });
        Self { server, tls, files, identity }
    }

    /// Connects with these parts of a CONNECT, empty ones left out; or returns the code of the refusal.
    fn connect(&self, client: &TlsClient, version: Version, user_name: &str) -> Result<Device, u8> {
        let user_name = (!user_name.is_empty()).then_some(user_name);
        let line = client.connect(self.tls).expect("hands are shaken");
        let claim = Connect { client_id: "any", user_name, password: None, keep_alive_s: 60 };
        Device::on(line, version).greet(&claim)
    }
}

/// Puts a chain and a key in place, each as a whole.
fn store(files: &TempDir, chain: &str, key: &str) {
    for (name, text) in [("key.pem", key), ("chain.pem", chain)] {
        let beside = files.path().join(format!("{name}.new"));
        fs::write(&beside, text).expect("the temporary folder takes a file");
        fs::rename(&beside, files.path().join(name)).expect("one file system");
    }
}

/// A new device with a certificate instead of a token.
fn certified(server: &Server, name: &str, certificate: &str) -> Value {
    let id = server.rest().create_device(name, None);
    let mut credentials =
        server.rest().get(&format!("/api/device/{id}/credentials")).expect("a new device has credentials");
    credentials["credentialsType"] = "X509_CERTIFICATE".into();
    credentials["credentialsId"] = Value::Null;
    credentials["credentialsValue"] = certificate.into();
    server.rest().post("/api/device/credentials", &credentials).expect("the credentials are replaced")
}

// 35
#[test]
fn a_token_is_enough_on_the_tls_port() {
    let secured = Secured::spawn();
    secured.server.rest().create_device("thermo", None);
    let longest = "x".repeat(60_000);
    for tls in BOTH {
        for version in [Version::V3, Version::V5] {
            let mut device = secured.connect(&TlsClient::bare(tls), version, "thermo").expect("a good token");
            device.telemetry(json!({ "long": longest }).to_string());
            device.subscribe("v1/devices/me/attributes");
            assert_eq!(secured.server.rest().latest("thermo")["long"], longest);
            let id = secured.server.rest().device_id("thermo");
            let path = format!("/api/plugins/telemetry/DEVICE/{id}/attributes/SHARED_SCOPE");
            secured.server.rest().post(&path, &json!({ "key": longest })).expect("the attribute is written");
            assert_eq!(device.next_message().payload, json!({ "key": longest }).to_string());
            device.send(&wire::disconnect());
            device.closed();
        }
        assert_eq!(secured.connect(&TlsClient::bare(tls), Version::V3, "nobody").err(), Some(5));
        assert_eq!(secured.connect(&TlsClient::bare(tls), Version::V5, "nobody").err(), Some(0x86));
    }
    // The plain port is as it was.
    secured.server.connect("thermo").telemetry(r#"{"plain":1}"#);
}

// 33, 34
#[test]
fn a_certificate_is_an_identity_and_a_token_beside_it_is_not_looked_at() {
    let secured = Secured::spawn();
    let (known, unknown) = (Identity::new("known"), Identity::new("unknown"));
    let stored = certified(&secured.server, "by-certificate", &known.pem);
    let value = stored["credentialsValue"].as_str().expect("the certificate");
    assert!(!value.contains('\n') && !value.contains('-'), "{value}");
    assert_eq!(stored["credentialsId"].as_str().map(str::len), Some(64), "a SHA3-256 hash");
    secured.server.rest().create_device("by-token", None);
    for tls in BOTH {
        let known = TlsClient::showing(tls, &[&known], &known);
        let unknown = TlsClient::showing(tls, &[&unknown], &unknown);
        for version in [Version::V3, Version::V5] {
            for user_name in ["", "by-token", "nobody"] {
                let mut device = secured.connect(&known, version, user_name).expect("a known certificate");
                device.telemetry(r#"{"by":"certificate"}"#);
            }
        }
        for user_name in ["", "by-token"] {
            assert_eq!(secured.connect(&unknown, Version::V3, user_name).err(), Some(5));
            assert_eq!(secured.connect(&unknown, Version::V5, user_name).err(), Some(0x87));
        }
        let mut refused = Device::on(unknown.connect(secured.tls).expect("hands are shaken"), Version::V5);
        let claim = Connect { client_id: "", user_name: Some("by-token"), password: None, keep_alive_s: 60 };
        refused.send(&wire::connect(Version::V5, &claim));
        assert_eq!(refused.answers(&[wire::kind::CONNACK]), [0x87]);
        assert_eq!(refused.closed(), Closed::With(0x87));
    }
    assert_eq!(secured.server.rest().latest("by-certificate")["by"], "certificate");
    assert!(secured.server.rest().latest("by-token").is_empty());
}

// 36
#[test]
fn a_certificate_counts_between_its_dates_unless_dates_are_ignored() {
    let (ended, early) = (Identity::between("ended", 2010, 2020), Identity::between("early", 2100, 2120));
    let check = |secured: &Secured, expected: [Option<u8>; 2]| {
        for identity in [&ended, &early] {
            let client = TlsClient::showing(&TLS13, &[identity], identity);
            let outcomes =
                [Version::V3, Version::V5].map(|version| secured.connect(&client, version, "").err());
            assert_eq!(outcomes, expected);
        }
    };
    for (settings, expected) in [
        (&[][..], [Some(5), Some(0x87)]),
        (&[("WIREGLOT_MQTT_TLS_CLIENT_DATES", "ignore")][..], [None, None]),
    ] {
        let secured = Secured::spawn_with(settings);
        certified(&secured.server, "ended", &ended.pem);
        certified(&secured.server, "early", &early.pem);
        check(&secured, expected);
    }
}

/// Whether the server ends the connection in the handshake, in whichever message it says so.
fn is_turned_away(client: &TlsClient, address: SocketAddr) -> bool {
    let Ok(mut line) = client.connect(address) else { return true };
    line.set_read_timeout(Some(TIMEOUT)).expect("an open socket");
    let claim = Connect { client_id: "any", user_name: None, password: None, keep_alive_s: 60 };
    if line.write_all(&wire::connect(Version::V3, &claim)).is_err() {
        return true;
    }
    !matches!(line.read(&mut [0; 4]), Ok(1..))
}

// 37
#[test]
fn a_chain_that_is_none_and_a_key_of_somebody_else_end_the_handshake() {
    let secured = Secured::spawn();
    let (authority, imposter) = (Identity::new("authority"), Identity::new("authority"));
    let (leaf, stranger) = (authority.sign("leaf"), Identity::new("stranger"));
    certified(&secured.server, "leaf", &leaf.pem);
    for tls in BOTH {
        let good = TlsClient::showing(tls, &[&leaf, &authority], &leaf);
        assert!(!is_turned_away(&good, secured.tls), "{tls:?}");
        let broken = TlsClient::showing(tls, &[&leaf, &imposter], &leaf);
        assert!(is_turned_away(&broken, secured.tls), "{tls:?}: not signed by the next one");
        let stolen = TlsClient::showing(tls, &[&leaf], &stranger);
        assert!(is_turned_away(&stolen, secured.tls), "{tls:?}: a certificate without its key");
        let long = TlsClient::showing(tls, &[&authority; 9], &authority);
        assert!(is_turned_away(&long, secured.tls), "{tls:?}: nine certificates");
        let longest = TlsClient::showing(tls, &[&authority; 8], &authority);
        assert!(!is_turned_away(&longest, secured.tls), "{tls:?}: eight certificates");
    }
    let failed = secured.server.metrics().value("wireglot_mqtt_tls_handshakes_failed_total", &[]);
    assert_eq!(failed, 6.0);
}

/// A profile whose devices come with a chain in which this certificate is.
fn chain_profile(server: &Server, name: &str, certificate: &str, pattern: &str, creates: bool) {
    let profile = json!({
        "name": name,
        "type": "DEFAULT",
        "transportType": "DEFAULT",
        "provisionType": "X509_CERTIFICATE_CHAIN",
        "profileData": {
            "configuration": { "type": "DEFAULT" },
            "transportConfiguration": { "type": "DEFAULT" },
            "provisionConfiguration": {
                "type": "X509_CERTIFICATE_CHAIN",
                "provisionDeviceSecret": certificate,
                "certificateRegExPattern": pattern,
                "allowCreateNewDevicesByX509Certificate": creates,
            },
        },
    });
    server.rest().post("/api/deviceProfile", &profile).expect("the profile is made");
}

// 38, 39
#[test]
fn a_chain_brings_its_device_into_being_once() {
    let secured = Secured::spawn();
    let authority = Identity::new("A factory");
    chain_profile(&secured.server, "made in a factory", &authority.pem, "(.*)", true);
    let leaf = authority.sign("dev-1");
    let chained = TlsClient::showing(&TLS13, &[&leaf, &authority], &leaf);
    for turn in 1..=2 {
        let mut device = secured.connect(&chained, Version::V5, "").expect("the chain is known");
        device.telemetry(json!({ "turn": turn }).to_string());
    }
    // From then on the leaf is enough, in the other version of TLS as well.
    let alone = TlsClient::showing(&TLS12, &[&leaf], &leaf);
    secured.connect(&alone, Version::V3, "").expect("the leaf is known").telemetry(r#"{"turn":3}"#);
    assert_eq!(secured.server.rest().latest("dev-1")["turn"], 3);
    let device =
        secured.server.rest().get("/api/tenant/devices?deviceName=dev-1").expect("the device is there");
    assert_eq!(device["type"], "made in a factory");

    // Its next certificate takes the place of the first.
    let renewed = authority.sign("dev-1");
    let chained = TlsClient::showing(&TLS13, &[&renewed, &authority], &renewed);
    secured.connect(&chained, Version::V3, "").expect("the chain is known").telemetry(r#"{"turn":4}"#);
    assert_eq!(secured.connect(&alone, Version::V3, "").err(), Some(5));
    assert_eq!(secured.server.rest().device_id("dev-1"), device["id"]["id"]);

    let stranger = Identity::new("Another factory").sign("dev-2");
    let unknown = TlsClient::showing(&TLS13, &[&stranger], &stranger);
    assert_eq!(secured.connect(&unknown, Version::V5, "").err(), Some(0x87));
}

// 40, 41
#[test]
fn a_chain_makes_only_what_its_profile_lets_it() {
    let secured = Secured::spawn();
    let (factory, registry) = (Identity::new("A factory"), Identity::new("A registry"));
    chain_profile(&secured.server, "factory", &factory.pem, r"^([^@]+)@site$", true);
    chain_profile(&secured.server, "registry", &registry.pem, "(.*)", false);
    for (issuer, common_name, expected) in
        [(&factory, "dev-1@site", None), (&factory, "dev-2", Some(5)), (&registry, "dev-3", Some(5))]
    {
        let leaf = issuer.sign(common_name);
        let client = TlsClient::showing(&TLS13, &[&leaf, issuer], &leaf);
        assert_eq!(secured.connect(&client, Version::V3, "").err(), expected, "{common_name}");
    }
    let page = secured.server.rest().get("/api/tenant/devices?pageSize=10&page=0").expect("the devices");
    let names: Vec<&str> =
        page["data"].as_array().expect("a page").iter().filter_map(|d| d["name"].as_str()).collect();
    assert_eq!(names, ["dev-1"]);
}

#[test]
fn a_new_certificate_is_shown_without_a_restart_and_sessions_go_on() {
    let secured = Secured::spawn();
    secured.server.rest().create_device("thermo", None);
    let shown = || {
        let line: Line = TlsClient::bare(&TLS13).connect(secured.tls).expect("hands are shaken");
        line.server_certificate().expect("a server shows a certificate")
    };
    assert_eq!(shown(), secured.identity.der);
    let mut device = secured.connect(&TlsClient::bare(&TLS13), Version::V3, "thermo").expect("a good token");

    let renewed = Identity::new("localhost");
    store(&secured.files, &renewed.pem, &renewed.key_pem());
    eventually("the new certificate is shown", || (shown() == renewed.der).then_some(()));
    device.telemetry(r#"{"still":1}"#);

    let told = || secured.server.log().matches("The certificate was not replaced").count();
    for broken in ["-----BEGIN CERTIFICATE-----\nnonsense", "", &Identity::new("another key's").pem] {
        let before = told();
        store(&secured.files, broken, &renewed.key_pem());
        eventually("the log tells of the broken certificate", || (told() > before).then_some(()));
        assert_eq!(shown(), renewed.der);
    }
    let healed = Identity::new("localhost");
    store(&secured.files, &healed.pem, &healed.key_pem());
    eventually("the next good certificate is shown", || (shown() == healed.der).then_some(()));
    device.telemetry(r#"{"still":2}"#);
    assert_eq!(secured.server.rest().latest("thermo")["still"], 2);
}

#[test]
fn what_comes_to_the_wrong_port_harms_nobody() {
    let secured = Secured::spawn();
    secured.server.rest().create_device("thermo", None);
    let mut device = secured.connect(&TlsClient::bare(&TLS13), Version::V3, "thermo").expect("a good token");
    let claim = Connect { client_id: "any", user_name: Some("thermo"), password: None, keep_alive_s: 60 };
    for bytes in [&wire::connect(Version::V3, &claim)[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 100]] {
        let mut plain = TcpStream::connect(secured.tls).expect("the server listens");
        plain.set_read_timeout(Some(TIMEOUT)).expect("an open socket");
        plain.write_all(bytes).expect("an open socket");
        let mut answer = Vec::new();
        // An alert, perhaps, and the end.
        plain.read_to_end(&mut answer).ok();
        assert!(answer.is_empty() || answer[0] == 0x15, "{answer:02x?}");
    }
    assert!(TlsClient::bare(&TLS13).connect(secured.server.mqtt()).is_err(), "TLS on the plain port");
    device.telemetry(r#"{"still":1}"#);
}

#[test]
fn a_handshake_that_stalls_is_ended() {
    let secured = Secured::spawn();
    // A hello that is never finished: ten bytes of the 512 that it announces.
    let mut stalled = TcpStream::connect(secured.tls).expect("the server listens");
    stalled.set_read_timeout(Some(TIMEOUT)).expect("an open socket");
    stalled.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3]).expect("an open socket");
    // And one that is finished, with nothing behind it.
    let mut silent = TlsClient::bare(&TLS13).connect(secured.tls).expect("hands are shaken");
    silent.set_read_timeout(Some(TIMEOUT)).expect("an open socket");
    assert!(!matches!(stalled.read(&mut [0; 1]), Ok(1..)));
    assert!(!matches!(silent.read(&mut [0; 1]), Ok(1..)));
}

/// A connection that begins with these bytes.
fn beginning_with(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.write_all(bytes).expect("an open socket");
    stream
}

fn proxied(server: &Server, header: &[u8], token: &str) -> Result<Device, u8> {
    let line = Line::Plain(beginning_with(server.mqtt(), header));
    let claim = Connect { client_id: "any", user_name: Some(token), password: None, keep_alive_s: 60 };
    Device::on(line, Version::V3).greet(&claim)
}

/// Version 2: TCP over IPv4 from this address, with an extension behind it.
fn version_2(source: [u8; 4]) -> Vec<u8> {
    let addresses = [&source[..], &[198, 51, 100, 1, 0x10, 0, 7, 0x5B], &[4, 0, 1, 0]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10".as_slice(), &addresses].concat()
}

#[test]
fn a_load_balancer_tells_whose_connection_it_is() {
    let secured = Secured::spawn_with(&[
        ("WIREGLOT_MQTT_PROXY_PROTOCOL", "true"),
        ("WIREGLOT_MQTT_WRONG_LOGINS_MAX", "3"),
    ]);
    let server = &secured.server;
    server.rest().create_device("thermo", None);
    let from_1 = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 1883\r\n";
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    proxied(server, from_1, "thermo").expect("version 1").telemetry(r#"{"v":1}"#);
    proxied(server, &version_2([192, 0, 2, 2]), "thermo").expect("version 2").telemetry(r#"{"v":2}"#);
    proxied(server, local, "thermo").expect("LOCAL").telemetry(r#"{"v":3}"#);
    proxied(server, b"PROXY UNKNOWN\r\n", "thermo").expect("UNKNOWN").telemetry(r#"{"v":4}"#);
    let over = TlsClient::bare(&TLS13).over(beginning_with(secured.tls, from_1)).expect("hands are shaken");
    let claim = Connect { client_id: "any", user_name: Some("thermo"), password: None, keep_alive_s: 60 };
    Device::on(over, Version::V3).greet(&claim).expect("TLS behind the header").telemetry(r#"{"v":5}"#);
    assert_eq!(server.rest().latest("thermo")["v"], 5);

    let connect = wire::connect(Version::V3, &claim);
    for wrong in
        [&connect[..], b"PROXY TCP4 nonsense\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04abcd", b"GET / "]
    {
        let line = Line::Plain(beginning_with(server.mqtt(), wrong));
        assert_eq!(Device::on(line, Version::V3).closed(), Closed::Silently, "{wrong:02x?}");
    }
    assert!(TlsClient::bare(&TLS13).connect(secured.tls).is_err(), "TLS without a header");

    // The limits of addresses are those of the address that the balancer tells.
    for _ in 0..3 {
        assert_eq!(proxied(server, from_1, "nobody").err(), Some(5));
    }
    let blocked = Line::Plain(beginning_with(server.mqtt(), from_1));
    assert_eq!(Device::on(blocked, Version::V3).closed(), Closed::Silently);
    proxied(server, &version_2([192, 0, 2, 2]), "thermo").expect("another address").ping();
}

/// Whether a connection is dropped without a word.
fn is_dropped(server: &Server) -> bool {
    let mut stream = TcpStream::connect(server.mqtt()).expect("the kernel accepts");
    stream.set_read_timeout(Some(TIMEOUT)).expect("an open socket");
    let claim = Connect { client_id: "any", user_name: Some("thermo"), password: None, keep_alive_s: 60 };
    // Where it is dropped before this, nothing can be written, or nothing comes back.
    stream.write_all(&wire::connect(Version::V3, &claim)).ok();
    !matches!(stream.read(&mut [0; 4]), Ok(1..))
}

// 42
#[test]
fn ten_wrong_logins_block_an_address_and_a_right_one_forgives() {
    let server = Server::spawn_with(&[("WIREGLOT_MQTT_WRONG_LOGINS_MAX", "10")]);
    server.rest().create_device("thermo", None);
    wrong_logins(&server, 9);
    let mut device = server.connect("thermo");
    wrong_logins(&server, 10);
    assert!(is_dropped(&server));
    // Whoever is in stays.
    device.telemetry(r#"{"still":1}"#);
    assert!(server.metrics().value("wireglot_mqtt_connections_blocked_total", &[]) >= 1.0);
}

fn wrong_logins(server: &Server, times: usize) {
    let claim = Connect { client_id: "any", user_name: Some("nobody"), password: None, keep_alive_s: 60 };
    for _ in 0..times {
        assert_eq!(Device::try_connect(server.mqtt(), Version::V3, &claim).err(), Some(5));
    }
}

// 42
#[test]
fn a_block_ends_by_itself() {
    let server =
        Server::spawn_with(&[("WIREGLOT_MQTT_WRONG_LOGINS_MAX", "1"), ("WIREGLOT_MQTT_BLOCK_S", "1")]);
    server.rest().create_device("thermo", None);
    wrong_logins(&server, 1);
    eventually("the block is over", || (!is_dropped(&server)).then_some(()));
}

#[test]
fn a_deleted_device_counts_against_its_address() {
    let server = Server::spawn_with(&[("WIREGLOT_MQTT_WRONG_LOGINS_MAX", "1")]);
    let mut device = server.device("thermo");
    let id = server.rest().device_id("thermo");
    server.rest().delete(&format!("/api/device/{id}")).expect("the device is deleted");
    assert_eq!(device.closed(), Closed::Silently);
    assert!(is_dropped(&server));
}

#[test]
fn nobody_is_blocked_unless_it_is_asked_for() {
    let server = Server::spawn();
    server.rest().create_device("thermo", None);
    wrong_logins(&server, 30);
    server.connect("thermo").ping();
}
