//! Group A: CONNECT and credentials.

use serde_json::{Value, json};
use wireglot_load::wire::Version;

use super::case::{Case, Row, Settings, TELEMETRY, both, v3, v5};
use super::client::Hello;
use crate::harness::{Closed, Refusal, eventually};

const BLOCKS: Settings = &[("WIREGLOT_MQTT_WRONG_LOGINS_MAX", "10"), ("WIREGLOT_MQTT_BLOCK_S", "5")];

pub(super) const ROWS: &[Row] = &[
    v3(1, "v3 CONNECT, user name = token", |c| drop(c.client())),
    v5(2, "v5 CONNECT, user name = token", |c| drop(c.client())),
    v3(3, "v3, user name `wrongAccessToken`", |c| {
        assert_eq!(c.code(&Hello::token("wrongAccessToken")), Some(5));
    }),
    v5(4, "v5, user name `wrongAccessToken`", |c| {
        assert_eq!(c.code(&Hello::token("wrongAccessToken")), Some(0x86));
    }),
    v5(5, "v5, unknown token: a DISCONNECT follows the refusing CONNACK", |c| {
        let mut client = c.open();
        assert_eq!(client.hello(&Hello::token("unknownAccessToken")), Some(0x86));
        assert_eq!(client.closed(), Closed::With(0x86));
    }),
    v3(6, "v3, unknown client id alone", |c| assert_eq!(c.code(&Hello::of("unknownClientId")), Some(4))),
    v5(7, "v5, unknown client id alone", |c| assert_eq!(c.code(&Hello::of("unknownClientId")), Some(0x85))),
    v5(8, "v5, empty client id, no user name, no password", |c| {
        assert_eq!(c.code(&Hello::of("")), Some(0x87));
    }),
    v3(9, "v3, empty client id, clean session, nothing else", |c| {
        assert_eq!(c.code(&Hello::of("")), Some(4));
    }),
    v3(10, "v3, user name of zero length, no password", |c| {
        assert_eq!(c.code(&Hello::token("")), Some(4));
    }),
    v5(11, "v5, user name `nobody` and password `x`", |c| {
        assert_eq!(c.code(&Hello { password: Some("x"), ..Hello::token("nobody") }), Some(0x86));
    }),
    v3(12, "v3, only refusals without a user name carry 4", |c| {
        for without in [Hello::of("nobody"), Hello::of(""), Hello::token("")] {
            assert_eq!(c.code(&without), Some(4), "{without:?}");
        }
        let password = Some("x");
        for with in [Hello::token("nobody"), Hello { password, ..Hello::token("nobody") }] {
            assert_eq!(c.code(&with), Some(5), "{with:?}");
        }
    }),
    both(13, "user name = token, any password, any client id", |c| {
        c.rest().create_device(&c.name(), None);
        let mut client = c.open();
        let hello = Hello { client_id: "any", password: Some("whatever"), ..Hello::token(&c.name()) }
            .encode(c.version);
        client.send(&hello);
        client.expect(wireglot_load::wire::kind::CONNACK);
        client.accepted(TELEMETRY, r#"{"t":1}"#);
        c.stored(json!({ "t": 1 }));
    }),
    both(14, "basic record of a client id; connect with it and no user name", |c| {
        let cid = c.named("cid1");
        basic(c, "", json!({ "clientId": cid }));
        assert_eq!(c.code(&Hello::of(&cid)), Some(0));
    }),
    both(15, "record of 14; its client id and a user name", |c| {
        let cid = c.named("cid1");
        basic(c, "", json!({ "clientId": cid }));
        assert_eq!(c.code(&Hello { user_name: Some("someone"), ..Hello::of(&cid) }), c.refusal(0x86));
    }),
    both(16, "record of a client id and a user name; both sent", |c| {
        assert_eq!(with_both(c, None), Some(0));
    }),
    both(17, "record of 16; both sent with a password", |c| {
        assert_eq!(with_both(c, Some("whatever")), Some(0));
    }),
    both(18, "record of client id, user name and password; all three sent", |c| {
        assert_eq!(with_all(c, "cid1", "secret"), Some(0));
    }),
    both(19, "record of 18; wrong password", |c| {
        assert_eq!(with_all(c, "cid1", "wrong"), c.refusal(0x86));
    }),
    both(20, "record of 18; right password, another client id", |c| {
        assert_eq!(with_all(c, "other", "secret"), c.refusal(0x86));
    }),
    both(
        21,
        "record of 18 and a device whose token is the user name; wrong password: no falling back",
        |c| {
            c.rest().create_device(&c.named("u2"), None);
            assert_eq!(with_all(c, "cid1", "wrong"), c.refusal(0x86));
        },
    ),
    both(22, "devices of 21; another client id, any password: the token's device", |c| {
        let token = c.named("u2");
        c.rest().create_device(&token, None);
        assert_eq!(with_all(c, "random", "any"), Some(0));
        let mut client = c.connect(&token);
        client.accepted(TELEMETRY, r#"{"t":1}"#);
        assert_eq!(c.rest().latest(&token)["t"], 1);
    }),
    both(23, "record of a user name; any client id", |c| {
        let user = c.named("u4");
        basic(c, "", json!({ "userName": user }));
        assert_eq!(c.code(&Hello { user_name: Some(&user), ..Hello::of("any") }), Some(0));
    }),
    both(24, "record of user name and password; no password sent", |c| {
        let user = c.named("u5");
        basic(c, "", json!({ "userName": user, "password": "p5" }));
        let hello = Hello { user_name: Some(&user), ..Hello::of("any") };
        assert_eq!(c.code(&hello), c.refusal(0x86));
        assert_eq!(c.code(&Hello { password: Some("p5"), ..hello }), Some(0));
    }),
    both(25, "three devices at once with one client id", three_with_one_client_id),
    v3(26, "save a basic record of client id and password by REST", |c| {
        let refusal =
            try_basic(c, "", json!({ "clientId": "c", "password": "p" })).expect_err("no user name");
        assert_eq!(refusal.status, 400);
        assert!(refusal.mentions("Password cannot be specified along with client id"), "{refusal:?}");
    }),
    v3(27, "save a basic record of nothing by REST", |c| {
        let refusal = try_basic(c, "", json!({})).expect_err("nothing to know the device by");
        assert_eq!(refusal.status, 400);
        assert!(refusal.mentions("Both mqtt client id and user name are empty!"), "{refusal:?}");
    }),
    both(28, "the profile is for CoAP; user name = token", |c| {
        c.rest().create_profile(&c.name(), &json!({ "type": "COAP" }));
        c.rest().create_device(&c.name(), Some(&c.name()));
        let expected = if c.version == Version::V3 { 3 } else { 0x88 };
        assert_eq!(c.code(&Hello::token(&c.name())), Some(expected));
    }),
    v3(29, "protocol name `MQTX`, or level 6", |c| {
        c.rest().create_device(&c.name(), None);
        let name = c.name();
        assert_eq!(c.code(&Hello { protocol: "MQTX", ..Hello::token(&name) }), None);
        assert_eq!(c.code(&Hello { level: Some(6), ..Hello::token(&name) }), None);
    }),
    v3(30, "v3.1, client id of 23 characters", |c| {
        c.rest().create_device(&c.name(), None);
        assert_eq!(old(c, &"x".repeat(23)), Some(0));
    }),
    v3(31, "v3.1, client id of 24 characters, or empty", |c| {
        c.rest().create_device(&c.name(), None);
        assert_eq!(old(c, &"x".repeat(24)), None);
        assert_eq!(old(c, ""), None);
    }),
    both(32, "reserved flag bit set in CONNECT", |c| {
        c.rest().create_device(&c.name(), None);
        assert_eq!(c.code(&Hello { has_reserved_bit: true, ..Hello::token(&c.name()) }), None);
    }),
    v3(42, "ten wrong tokens from one address with IP limits on, then a good one", |c| {
        c.rest().create_device(&c.name(), None);
        for _ in 0..10 {
            assert_eq!(c.code(&Hello::token("wrong")), Some(5));
        }
        assert_eq!(c.code(&Hello::token(&c.name())), None, "the address is blocked");
        eventually("the block is over", || c.code(&Hello::token(&c.name())));
    })
    .on(BLOCKS),
];

/// Gives a new device a basic record.
fn try_basic(c: &Case, suffix: &str, record: Value) -> Result<Value, Refusal> {
    let id = c.rest().create_device(&format!("{}{suffix}", c.name()), None);
    let mut credentials = c.rest().get(&format!("/api/device/{id}/credentials")).expect("credentials");
    credentials["credentialsType"] = "MQTT_BASIC".into();
    credentials["credentialsValue"] = record.to_string().into();
    c.rest().post("/api/device/credentials", &credentials)
}

#[track_caller]
fn basic(c: &Case, suffix: &str, record: Value) {
    try_basic(c, suffix, record).expect("the record is stored");
}

/// The code for a device that is known by client id and user name and sends both.
fn with_both(c: &Case, password: Option<&str>) -> Option<u8> {
    let (cid, user) = (c.named("cid1"), c.named("u1"));
    basic(c, "", json!({ "clientId": cid, "userName": user }));
    c.code(&Hello { user_name: Some(&user), password, ..Hello::of(&cid) })
}

/// The code for a device that is known by all three and sends its user name with these.
fn with_all(c: &Case, client_id: &str, password: &str) -> Option<u8> {
    let user = c.named("u2");
    basic(c, "", json!({ "clientId": c.named("cid1"), "userName": user, "password": "secret" }));
    let client_id = c.named(client_id);
    c.code(&Hello { user_name: Some(&user), password: Some(password), ..Hello::of(&client_id) })
}

/// The code for MQTT 3.1 and this client id.
fn old(c: &Case, client_id: &str) -> Option<u8> {
    c.code(&Hello { protocol: "MQIsdp", level: Some(3), client_id, ..Hello::token(&c.name()) })
}

fn three_with_one_client_id(c: &Case) {
    let (cid, u1, u2) = (c.named("cid1"), c.named("u1"), c.named("u2"));
    basic(c, "-1", json!({ "clientId": cid }));
    basic(c, "-2", json!({ "clientId": cid, "userName": u1 }));
    basic(c, "-3", json!({ "clientId": cid, "userName": u2, "password": "secret" }));
    let alone = Hello::of(&cid);
    let named = Hello { user_name: Some(&u1), ..alone };
    let whole = Hello { user_name: Some(&u2), password: Some("secret"), ..alone };
    let mut clients = [alone, named, whole].map(|hello| {
        let mut client = c.open();
        assert_eq!(client.hello(&hello), Some(0), "{hello:?}");
        client
    });
    for (number, client) in (1..).zip(&mut clients) {
        client.accepted(TELEMETRY, format!(r#"{{"number":{number}}}"#));
    }
    for number in 1..=3 {
        assert_eq!(c.rest().latest(&c.named(&number.to_string()))["number"], number);
    }
    clients.iter_mut().for_each(|client| client.stays());
}
