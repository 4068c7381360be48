//! Group T: sessions and activity.

use serde_json::{Value, json};
use wireglot_load::wire::{self, Version};

use super::case::{Case, Row, Settings, TELEMETRY, both, v3, v5};
use super::client::Hello;
use crate::harness::{Closed, eventually, patiently};

const LOOKS_OFTEN: Settings = &[("WIREGLOT_DEVICE_CHECK_S", "1")];

const LOSES_PATIENCE: Settings = &[("WIREGLOT_SESSION_INACTIVITY_S", "3")];

pub(super) const ROWS: &[Row] = &[
    v5(337, "v5: connect twice with one token", |c| takes_over(c, Closed::With(0x8e))),
    v3(338, "v3 as 337", |c| takes_over(c, Closed::Silently)),
    both(339, "the device is deleted while it is connected", |c| {
        let mut client = c.client();
        c.rest().delete(&format!("/api/device/{}", c.id())).expect("deleted");
        assert_eq!(client.closed(), c.close(0x98));
    }),
    both(340, "its token is changed while it is connected", |c| {
        let mut client = c.client();
        let mut credentials =
            c.rest().get(&format!("/api/device/{}/credentials", c.id())).expect("credentials");
        credentials["credentialsId"] = c.named("new").into();
        c.rest().post("/api/device/credentials", &credentials).expect("changed");
        assert_eq!(client.closed(), c.close(0x98));
        assert_eq!(c.code(&Hello::token(&c.name())), c.refusal(0x86));
        c.connect(&c.named("new")).stays();
    }),
    both(341, "connect", |c| {
        let _client = c.client();
        until(c, "active", |active| active == true);
        until(c, "lastConnectTime", |time| time.as_i64().is_some_and(|time| time > 0));
    }),
    both(342, "disconnect", |c| {
        let mut client = c.client();
        client.send(&wire::disconnect());
        client.closed();
        until(c, "lastDisconnectTime", |time| time.as_i64().is_some_and(|time| time > 0));
        assert_eq!(server_attribute(c, "active"), true);
    }),
    both(343, "`inactivityTimeout` = 5000, silence", |c| {
        let mut client = c.client();
        client.accepted(TELEMETRY, r#"{"a":1}"#);
        let timeout = json!({ "inactivityTimeout": 5_000 });
        c.rest().write_attributes(&c.name(), "SERVER_SCOPE", &timeout);
        until(c, "active", |active| active == true);
        until(c, "active", |active| active == false);
        assert!(server_attribute(c, "inactivityAlarmTime").is_i64());
    })
    .on(LOOKS_OFTEN)
    .slow(),
    both(344, "silent for the inactivity time-out, 600 s where nobody sets it", |c| {
        let end = c.client().closed();
        let is_told = matches!(end, Closed::With(0x83 | 0xa0));
        assert!(is_told || c.version == Version::V3 && end == Closed::Silently, "{end:?}");
    })
    .on(LOSES_PATIENCE),
    v3(345, "pings keep the device active, and `lastActivityTime` advances", |c| {
        let mut client = c.client();
        client.stays();
        let mut first = Value::Null;
        until(c, "lastActivityTime", |time| {
            first = time.clone();
            time.is_i64()
        });
        patiently("`lastActivityTime` advances", || {
            client.stays();
            (server_attribute(c, "lastActivityTime").as_i64() > first.as_i64()).then_some(())
        });
        assert_eq!(server_attribute(c, "active"), true);
    })
    .slow(),
];

#[track_caller]
fn takes_over(c: &Case, end: Closed) {
    let mut first = c.client();
    let mut second = c.connect(&c.name());
    assert_eq!(first.closed(), end);
    second.accepted(TELEMETRY, r#"{"second":1}"#);
}

fn server_attribute(c: &Case, key: &str) -> Value {
    c.rest().attributes(&c.name(), "SERVER_SCOPE").get(key).cloned().unwrap_or_default()
}

#[track_caller]
fn until(c: &Case, key: &str, mut state: impl FnMut(&Value) -> bool) {
    eventually(key, || state(&server_attribute(c, key)).then_some(()));
}
