//! Group J: a device asks for attributes.

use serde_json::{Value, json};

use super::case::{ATTRIBUTES, Case, Row, both};
use super::client::Client;

const SOME: &str = r#"{"clientKeys":"clientStr,clientBool","sharedKeys":"sharedStr,sharedLong"}"#;

pub(super) const ROWS: &[Row] = &[
    both(175, "client and shared keys on the long topic", |c| {
        some_on(c, "v1/devices/me/attributes/response/+", request(1).as_str(), response(1).as_str());
    }),
    both(176, "on `v2/a/req/1`", |c| some_on(c, "v2/a/res/+", "v2/a/req/1", "v2/a/res/1")),
    both(177, "on `v2/a/req/j/1`", |c| some_on(c, "v2/a/res/j/+", "v2/a/req/j/1", "v2/a/res/j/1")),
    both(178, "without any subscription: the answer still comes, at QoS 1", |c| {
        let mut client = with_attributes(c);
        client.accepted(&request(1), SOME);
        let answer = client.message();
        assert_eq!((answer.topic.as_str(), answer.qos), (response(1).as_str(), 1));
    }),
    both(179, "`{}`", |c| {
        let expected = json!({ "client": five("client"), "shared": five("shared") });
        asks(c, "{}", expected);
    }),
    both(180, "shared keys only", |c| {
        asks(c, r#"{"sharedKeys":"sharedStr"}"#, json!({ "shared": { "sharedStr": "value1" } }));
    }),
    both(181, "an unknown key", |c| asks(c, r#"{"clientKeys":"nope"}"#, json!({}))),
    both(182, "a space behind the comma belongs to the key", |c| {
        let expected = json!({ "client": { "clientStr": "value1" } });
        asks(c, r#"{"clientKeys":"clientStr, clientBool"}"#, expected);
    }),
    both(183, "a server attribute of the same name", |c| {
        let mut client = c.client();
        c.rest().write_attributes(&c.name(), "SERVER_SCOPE", &json!({ "clientStr": "secret" }));
        client.accepted(&request(1), r#"{"clientKeys":"clientStr","sharedKeys":"clientStr"}"#);
        assert_eq!(client.json_on(&response(1)), json!({}));
        client.accepted(&request(2), "{}");
        assert_eq!(client.json_on(&response(2)), json!({}));
    }),
    both(184, "request id 2147483647", |c| {
        let mut client = c.client();
        client.accepted(&request(i64::from(i32::MAX)), "{}");
        assert_eq!(client.json_on(&response(i64::from(i32::MAX))), json!({}));
    }),
    both(185, "request id `abc`, 2147483648, empty", |c| {
        let mut client = c.client();
        for id in ["abc", "2147483648", ""] {
            c.invalid(&mut client, &format!("{ATTRIBUTES}/request/{id}"), "{}");
        }
        client.hears_nothing();
    }),
    both(186, "request id -1", |c| {
        let mut client = c.client();
        client.accepted(&request(-1), "{}");
        client.hears_nothing();
    }),
    both(187, "an empty payload, `[]`, `{\"clientKeys\":null}`", |c| {
        let mut client = c.client();
        for payload in ["", "[]", r#"{"clientKeys":null}"#] {
            c.invalid(&mut client, &request(1), payload);
        }
        client.hears_nothing();
    }),
    both(188, "the documents' example, without shared attributes", |c| {
        let mut client = c.client();
        client.accepted(ATTRIBUTES, r#"{"attribute1":"value1","attribute2":true}"#);
        client.accepted(
            &request(1),
            r#"{"clientKeys":"attribute1,attribute2","sharedKeys":"shared1,shared2"}"#,
        );
        let expected = json!({ "client": { "attribute1": "value1", "attribute2": true } });
        assert_eq!(client.json_on(&response(1)), expected);
    }),
];

fn request(id: i64) -> String {
    format!("{ATTRIBUTES}/request/{id}")
}

fn response(id: i64) -> String {
    format!("{ATTRIBUTES}/response/{id}")
}

/// Five attributes of five kinds, whose names begin with this.
fn five(prefix: &str) -> Value {
    let nested = json!({ "someNumber": 42, "someArray": [1, 2, 3] });
    json!({
        format!("{prefix}Str"): "value1",
        format!("{prefix}Bool"): true,
        format!("{prefix}Dbl"): 42.0,
        format!("{prefix}Long"): 73,
        format!("{prefix}Json"): nested,
    })
}

fn with_attributes(c: &Case) -> Client {
    let mut client = c.client();
    client.accepted(ATTRIBUTES, five("client").to_string());
    c.share(five("shared"));
    client
}

#[track_caller]
fn asks(c: &Case, payload: &str, expected: Value) {
    let mut client = with_attributes(c);
    client.accepted(&request(1), payload);
    let answer = client.json_on(&response(1));
    assert!(super::case::same(&answer, &expected), "{answer}");
}

#[track_caller]
fn some_on(c: &Case, filter: &str, request: &str, response: &str) {
    let mut client = with_attributes(c);
    assert_eq!(client.subscribe(filter), 1);
    client.accepted(request, SOME);
    let expected = json!({
        "client": { "clientStr": "value1", "clientBool": true },
        "shared": { "sharedStr": "value1", "sharedLong": 73 },
    });
    assert_eq!(client.json_on(response), expected);
}
