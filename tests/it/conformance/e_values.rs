//! Group E: which type a value gets; the same for telemetry and for attributes.

use serde_json::{Value, json};

use super::case::{ATTRIBUTES, Case, Row, Settings, TELEMETRY, both, v3};
use super::client::Outcome;

const WITHOUT_CAST: Settings = &[("WIREGLOT_JSON_TYPE_CAST", "false")];
const SHORT_STRINGS: Settings = &[("WIREGLOT_JSON_STRING_CHARS_MAX", "5")];

pub(super) const ROWS: &[Row] = &[
    both(96, "`11`", |c| becomes(c, "11", json!(11))),
    both(97, "`1.1`", |c| becomes(c, "1.1", json!(1.1))),
    both(98, "`42.0`", |c| becomes(c, "42.0", json!(42.0))),
    both(99, "`1E+1`", |c| becomes(c, "1E+1", json!(10))),
    both(100, "`1E1`, an attribute", |c| becomes(c, "1E1", json!(10))),
    both(101, "`101E-1`", |c| becomes(c, "101E-1", json!(10.1))),
    both(102, "`9.9701010061400066E19`", |c| {
        becomes(c, "9.9701010061400066E19", json!("99701010061400066000"));
    }),
    both(103, "`99701010061400066001`", |c| {
        becomes(c, "99701010061400066001", json!("99701010061400066001"));
    }),
    both(104, "`1E19`", |c| becomes(c, "1E19", json!("10000000000000000000"))),
    v3(105, "type cast off, `89701010051400054084`", |c| is_invalid(c, "89701010051400054084"))
        .on(WITHOUT_CAST),
    v3(106, "type cast off, `9.9701010061400066E19`", |c| is_invalid(c, "9.9701010061400066E19"))
        .on(WITHOUT_CAST),
    both(107, "the largest and the smallest long", |c| {
        becomes(c, "9223372036854775807", json!(i64::MAX));
        becomes(c, "-9223372036854775808", json!(i64::MIN));
    }),
    both(108, "`9223372036854775808`", |c| becomes(c, "9223372036854775808", json!("9223372036854775808"))),
    both(109, "16 and 17 decimals", |c| {
        becomes(c, "0.1234567890123456", json!(0.123_456_789_012_345_6));
        becomes(c, "0.12345678901234567", json!("0.12345678901234567"));
    }),
    both(110, "`1.50`", |c| becomes(c, "1.50", json!(1.5))),
    both(111, "`1.5e3`", |c| becomes(c, "1.5e3", json!(1500))),
    both(112, "`\"25\"`", |c| becomes(c, r#""25""#, json!(25))),
    both(113, "`\"007\"`", |c| becomes(c, r#""007""#, json!(7))),
    both(114, "`\"1.0\"`", |c| becomes(c, r#""1.0""#, json!(1.0))),
    both(115, "`\"-3.5\"`", |c| becomes(c, r#""-3.5""#, json!(-3.5))),
    both(116, "`\".5\"`", |c| becomes(c, r#"".5""#, json!(0.5))),
    both(117, "strings that only resemble numbers", |c| {
        for text in ["5.", "1e5", "+5", " 5", "", "-", "1,5", "0x10"] {
            becomes(c, &format!("\"{text}\""), json!(text));
        }
    }),
    both(118, "`\"true\"`, `\"null\"`", |c| {
        becomes(c, r#""true""#, json!("true"));
        becomes(c, r#""null""#, json!("null"));
    }),
    both(119, "`\"99701010061400066001\"`", |c| {
        becomes(c, r#""99701010061400066001""#, json!("99701010061400066001"));
    }),
    v3(120, "type cast off, `\"25\"`", |c| becomes(c, r#""25""#, json!("25"))).on(WITHOUT_CAST),
    both(121, "`[1, 2, {\"a\": null, \"b\": 1}]`", |c| {
        becomes(c, r#"[1, 2, {"a": null, "b": 1}]"#, json!([1, 2, { "b": 1 }]));
    }),
    both(122, "`[null]`", |c| becomes(c, "[null]", json!([null]))),
    both(123, "`{\"n\": 1.00}`", |c| {
        let mut client = c.client();
        client.accepted(TELEMETRY, r#"{"v":{"n": 1.00}}"#);
        assert_eq!(c.spelled("v"), r#"{"n":1.00}"#);
    }),
    v3(124, "max string length 5", |c| {
        is_invalid(c, r#""abcdef""#);
        becomes(c, r#""abcde""#, json!("abcde"));
        becomes(c, r#"{"n":"abcdef"}"#, json!({ "n": "abcdef" }));
    })
    .on(SHORT_STRINGS),
    v3(125, "max string length 5, a long number in a string", |c| is_invalid(c, r#""1234567""#))
        .on(SHORT_STRINGS),
    both(126, "`12345678.0`", |c| becomes(c, "12345678.0", json!(12_345_678.0))),
    both(127, "`1e999999999`", |c| {
        let mut client = device(c);
        let outcome = client.publish(TELEMETRY, r#"{"v":1e999999999}"#);
        assert!(matches!(outcome, Outcome::Acknowledged(0 | 0x99)), "{outcome:?}");
        client.accepted(TELEMETRY, r#"{"v":1}"#);
    }),
];

/// The case's device, which may be there from a value before.
fn device(c: &Case) -> super::client::Client {
    if c.rest().get(&format!("/api/tenant/devices?deviceName={}", c.name())).is_err() {
        c.rest().create_device(&c.name(), None);
    }
    c.connect(&c.name())
}

/// Publishes the value as telemetry and as an attribute.
#[track_caller]
fn becomes(c: &Case, value: &str, expected: Value) {
    let mut client = device(c);
    let payload = format!(r#"{{"v":{value}}}"#);
    client.accepted(TELEMETRY, &payload);
    c.stored(json!({ "v": expected }));
    client.accepted(ATTRIBUTES, &payload);
    c.attributes("CLIENT_SCOPE", json!({ "v": expected }));
}

#[track_caller]
fn is_invalid(c: &Case, value: &str) {
    let mut client = device(c);
    let payload = format!(r#"{{"v":{value}}}"#);
    c.invalid(&mut client, TELEMETRY, &payload);
    c.invalid(&mut client, ATTRIBUTES, &payload);
}
