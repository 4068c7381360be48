//! Group Q: profiles whose payloads are protobuf, by schemas of their own.

use serde_json::{Value, json};

use super::case::{ATTRIBUTES, Case, Row, TELEMETRY, both, same, v3};
use super::client::{Client, Message, Outcome};
use super::d_telemetry::{VALUES, values};
use super::k_updates::five;
use super::l_rpc::{answer, call};
use super::n_claim::claim;
use super::people::customer_user;
use super::proto::{all, double, int, message, number, string, text};
use crate::harness::Closed;

const NESTED: &str = "
message Json {
  optional int32 someNumber = 1;
  repeated int32 someArray = 2;
  optional NestedJson someNestedObject = 3;
  message NestedJson { optional string key = 1; }
}
";

const TELEMETRY_FIELDS: &str = "
message PostTelemetry {
  optional string key1 = 1;
  optional bool key2 = 2;
  optional double key3 = 3;
  optional int32 key4 = 4;
  optional Json key5 = 5;
}
";

const TIMED: &str = "
message PostTelemetry {
  optional int64 ts = 1;
  Values values = 2;
  message Values {
    optional string key1 = 3;
    optional bool key2 = 4;
    optional double key3 = 5;
    optional int32 key4 = 6;
    optional Json key5 = 7;
  }
}
";

const ATTRIBUTES_FIELDS: &str = "
message PostAttributes {
  optional string attr1 = 1;
  optional bool attr2 = 2;
  optional double attr3 = 3;
  optional int32 attr4 = 4;
  optional Json attr5 = 5;
}
";

const RPC_REQUEST: &str = "
message RpcRequestMsg {
  optional string method = 1;
  optional int32 requestId = 2;
  Params params = 3;
  message Params { optional string pin = 1; optional int32 value = 2; }
}
";

const RPC_REQUEST_DEFAULT: &str = "
message RpcRequestMsg {
  optional string method = 1;
  optional int32 requestId = 2;
  optional string params = 3;
}
";

const RPC_RESPONSE: &str = "message RpcResponseMsg { optional string payload = 1; }";

/// JSON that is no protobuf of any schema here.
const MALFORMED: &str = r#"{"key1":, "key2":true"#;

pub(super) const ROWS: &[Row] = &[
    both(286, "five optional fields", |c| stores_five(c, TELEMETRY)),
    both(287, "a schema of `ts` and `values`", |c| {
        let mut client = client(c, &[("deviceTelemetryProtoSchema", &timed(TIMED))]);
        client.accepted(TELEMETRY, [int(1, 10_000), message(2, &five_from(3))].concat());
        c.stored(values());
        assert_eq!(c.points("key4"), [(10_000, json!(4))]);
    }),
    both(288, "as 287 without `optional`, one field set", |c| {
        // `ts` keeps its `optional`; the values lose theirs.
        let (head, inner) = TIMED.split_once("message Values").expect("values");
        let schema = format!("{head}message Values{}", inner.replace("optional ", ""));
        let mut client = client(c, &[("deviceTelemetryProtoSchema", &timed(&schema))]);
        client.accepted(TELEMETRY, [int(1, 10_000), message(2, &message(7, &nested()))].concat());
        c.stored(json!({ "key1": "", "key2": false, "key3": 0.0, "key4": 0, "key5": values()["key5"] }));
        assert_eq!(c.points("key2"), [(10_000, json!(false))]);
    }),
    both(289, "optional fields that are set to nothing", |c| {
        let payload = [text(1, ""), int(2, 0), double(3, 0.0)].concat();
        usual(c).accepted(TELEMETRY, payload);
        c.stored(json!({ "key1": "", "key2": false, "key3": 0.0 }));
    }),
    both(290, "JSON on `v2/t/j`, compatibility off", |c| {
        usual(c).accepted("v2/t/j", VALUES);
        c.stored(values());
    }),
    both(291, "protobuf on `v2/t/p`", |c| stores_five(c, "v2/t/p")),
    both(292, "compatibility on, JSON on the long topic", |c| {
        let mut client = client_with(c, usual_schemas(), compatible(false));
        client.accepted(TELEMETRY, VALUES);
        c.stored(values());
        client.accepted(TELEMETRY, five_from(1));
    }),
    v3(293, "compatibility off, JSON on the long topic, v3", |c| {
        c.invalid(&mut usual(c), TELEMETRY, VALUES);
        is_strict(c, json!({}), VALUES);
    }),
    v3(294, "compatibility on, malformed JSON, v3", |c| {
        let mut client = client_with(c, usual_schemas(), compatible(false));
        c.invalid(&mut client, TELEMETRY, MALFORMED);
        is_strict(c, compatible(false), MALFORMED);
    }),
    both(295, "an int64", |c| stores(c, "optional int64 v = 1;", int(1, 5), json!({ "v": 5 }))),
    both(296, "`some_key`", |c| {
        stores(c, "optional int32 some_key = 1;", int(1, 5), json!({ "someKey": 5 }));
    }),
    both(297, "an enum", |c| {
        let fields = "enum Mode { OFF = 0; ON = 1; } optional Mode mode = 1;";
        stores(c, fields, int(1, 1), json!({ "mode": "ON" }));
    }),
    both(298, "attributes on three topics", |c| {
        let mut client = usual(c);
        for topic in [ATTRIBUTES, "v2/a", "v2/a/p"] {
            client
                .accepted(topic, [text(1, topic), five_from(1)[text(1, "value1").len()..].to_vec()].concat());
            let five = values();
            c.attributes(
                "CLIENT_SCOPE",
                json!({ "attr1": topic, "attr2": true, "attr3": 3.0, "attr4": 4, "attr5": five["key5"] }),
            );
        }
    }),
    both(299, "AttributesRequest on the long topic", |c| {
        let mut client = with_attributes(c);
        client.accepted("v1/devices/me/attributes/request/1", attributes_request());
        is_attributes_answer(&client.message(), "v1/devices/me/attributes/response/1");
    }),
    both(300, "the same on `v2/a/req/p/1`; JSON on `v2/a/req/j/1`", |c| {
        let mut client = with_attributes(c);
        client.accepted("v2/a/req/p/1", attributes_request());
        is_attributes_answer(&client.message(), "v2/a/res/p/1");
        client.accepted("v2/a/req/j/1", r#"{"clientKeys":"attr1","sharedKeys":"sharedLong"}"#);
        let expected = json!({ "client": { "attr1": "value1" }, "shared": { "sharedLong": 73 } });
        assert_eq!(client.json_on("v2/a/res/j/1"), expected);
    }),
    both(301, "shared attributes are saved, one is deleted", |c| {
        let mut client = usual(c);
        assert_eq!(client.subscribe(ATTRIBUTES), 1);
        c.share(five());
        let update = client.message();
        assert_eq!(update.topic, ATTRIBUTES);
        assert!(same(&shared_of(&update), &five()), "{}", shared_of(&update));
        c.rest().delete_attributes(&c.name(), "SHARED_SCOPE", "sharedJson");
        assert_eq!(string(&client.message().payload, 2).as_deref(), Some("sharedJson"));
    }),
    both(302, "compatibility and JSON downlinks", |c| {
        update_formats(
            c,
            compatible(true),
            &[(ATTRIBUTES, true), ("v2/a", false), ("v2/a/j", true), ("v2/a/p", false)],
        );
    }),
    both(303, "compatibility without JSON downlinks", |c| {
        update_formats(c, compatible(false), &[(ATTRIBUTES, false)]);
    }),
    both(304, "an RPC whose params are a message", |c| {
        let mut client = usual(c);
        assert_eq!(client.subscribe("v1/devices/me/rpc/request/+"), 1);
        let call = call(c, "oneway", gpio());
        let request = client.message();
        assert_eq!(request.topic, "v1/devices/me/rpc/request/0");
        answer(call).expect("200");
        assert_eq!(string(&request.payload, 1).as_deref(), Some("setGpio"));
        assert_eq!(number(&request.payload, 2).unwrap_or(0), 0);
        let params = all(&request.payload, 3).pop().expect("params");
        assert_eq!((string(&params, 1).as_deref(), number(&params, 2)), (Some("23"), Some(1)));
    }),
    both(305, "an answer by the response schema", |c| {
        let mut client = usual(c);
        assert_eq!(client.subscribe("v1/devices/me/rpc/request/+"), 1);
        let call = call(c, "twoway", gpio());
        client.message();
        let payload = r#"{"value1":"A","value2":"B"}"#;
        client.accepted("v1/devices/me/rpc/response/0", text(1, payload));
        assert_eq!(answer(call).expect("200"), json!({ "payload": payload }));
    }),
    both(306, "the default request schema and params that are an object", |c| {
        let mut schemas = usual_schemas();
        schemas.push(("deviceRpcRequestProtoSchema", file(RPC_REQUEST_DEFAULT)));
        let mut client = client_with(c, schemas, json!({}));
        assert_eq!(client.subscribe("v1/devices/me/rpc/request/+"), 1);
        let found = answer(call(c, "twoway", gpio())).expect("200");
        assert_eq!(found["result"], "INVALID_ARGUMENTS", "{found}");
        let error = found["error"].as_str().unwrap_or_default();
        assert!(error.starts_with("Failed to convert device RPC command to MQTT msg: "), "{found}");
    }),
    both(307, "ClaimDevice; an empty payload", |c| {
        let mut client = usual(c);
        client.accepted("v1/devices/me/claim", [text(1, "value"), int(2, 60_000)].concat());
        let claimed = claim(c, &customer_user(c, 0), "value").expect("claimed");
        assert_eq!(claimed["response"], "SUCCESS");
        let other = c.named("other");
        let profile = c.name();
        c.rest().create_device(&other, Some(&profile));
        c.connect(&other).accepted("v1/devices/me/claim", "");
        let path = format!("/api/customer/device/{other}/claim");
        let claimed = customer_user(c, 1).post(&path, &json!({})).expect("claimed");
        assert_eq!(claimed["response"], "SUCCESS");
    }),
    both(308, "a JSON profile, protobuf on `v2/t/p`", |c| {
        let mut client = c.client_with(json!({}));
        c.invalid(&mut client, "v2/t/p", five_from(1));
    }),
    both(309, "RpcRequest on the long topic", |c| {
        let mut client = usual(c);
        let request = [text(1, "getCurrentTime"), text(2, "{}")].concat();
        client.accepted("v1/devices/me/rpc/request/7", request);
        let found = client.message();
        assert_eq!(found.topic, "v1/devices/me/rpc/response/7");
        assert_eq!(number(&found.payload, 1), Some(7));
        let payload = string(&found.payload, 2).expect("a payload");
        serde_json::from_str::<Value>(&payload).expect("JSON text");
    }),
];

fn file(messages: &str) -> String {
    format!("syntax =\"proto3\";\npackage test;\n{messages}")
}

fn timed(messages: &str) -> String {
    file(&format!("{NESTED}{messages}"))
}

fn gpio() -> Value {
    json!({ "method": "setGpio", "params": { "pin": "23", "value": 1 } })
}

/// The JSON value of the documents, as a message.
fn nested() -> Vec<u8> {
    [int(1, 42), message(2, &[1, 2, 3]), message(3, &text(1, "value"))].concat()
}

/// The documents' five values in fields from this number on.
fn five_from(first: u8) -> Vec<u8> {
    [
        text(first, "value1"),
        int(first + 1, 1),
        double(first + 2, 3.0),
        int(first + 3, 4),
        message(first + 4, &nested()),
    ]
    .concat()
}

pub(super) type Schemas = Vec<(&'static str, String)>;

pub(super) fn usual_schemas() -> Schemas {
    vec![
        ("deviceTelemetryProtoSchema", timed(TELEMETRY_FIELDS)),
        ("deviceAttributesProtoSchema", timed(ATTRIBUTES_FIELDS)),
        ("deviceRpcRequestProtoSchema", file(RPC_REQUEST)),
        ("deviceRpcResponseProtoSchema", file(RPC_RESPONSE)),
    ]
}

pub(super) fn compatible(json_downlinks: bool) -> Value {
    json!({
        "enableCompatibilityWithJsonPayloadFormat": true,
        "useJsonPayloadFormatForDefaultDownlinkTopics": json_downlinks,
    })
}

/// The transport configuration of a protobuf profile.
pub(super) fn transport(schemas: &Schemas, more: &Value) -> Value {
    let mut payload = json!({ "transportPayloadType": "PROTOBUF" });
    for (member, schema) in schemas {
        payload[*member] = schema.as_str().into();
    }
    for (member, value) in more.as_object().expect("an object") {
        payload[member] = value.clone();
    }
    json!({ "transportPayloadTypeConfiguration": payload })
}

#[track_caller]
fn client_with(c: &Case, schemas: Schemas, more: Value) -> Client {
    c.client_with(transport(&schemas, &more))
}

#[track_caller]
fn usual(c: &Case) -> Client {
    client_with(c, usual_schemas(), json!({}))
}

/// The case's device in a profile with the usual schemas, some of them replaced.
#[track_caller]
fn client(c: &Case, replaced: &[(&'static str, &str)]) -> Client {
    let mut schemas = usual_schemas();
    schemas.extend(replaced.iter().map(|(member, schema)| (*member, (*schema).to_owned())));
    client_with(c, schemas, json!({}))
}

#[track_caller]
fn stores_five(c: &Case, topic: &str) {
    usual(c).accepted(topic, five_from(1));
    c.stored(values());
}

/// A message of these fields, sent and stored.
#[track_caller]
fn stores(c: &Case, fields: &str, payload: Vec<u8>, expected: Value) {
    let schema = file(&format!("message Telemetry {{ {fields} }}"));
    client(c, &[("deviceTelemetryProtoSchema", &schema)]).accepted(TELEMETRY, payload);
    c.stored(expected);
}

/// A strict profile ends the connection, one that acknowledges what it refuses does not.
#[track_caller]
fn is_strict(c: &Case, mut more: Value, payload: &str) {
    more["onFailure"] = "disconnect".into();
    for (flag, outcome) in [(false, Outcome::Closed(Closed::Silently)), (true, Outcome::Acknowledged(0))] {
        let name = c.named(if flag { "patient" } else { "strict" });
        let mut transport = transport(&usual_schemas(), &more);
        transport["sendAckOnValidationException"] = flag.into();
        c.device_with(&name, transport);
        assert_eq!(c.connect(&name).publish(TELEMETRY, payload), outcome, "{name}");
    }
}

fn attributes_request() -> Vec<u8> {
    [text(1, "attr1"), text(2, "sharedLong")].concat()
}

#[track_caller]
fn with_attributes(c: &Case) -> Client {
    let mut client = usual(c);
    client.accepted(ATTRIBUTES, five_from(1));
    c.share(five());
    client
}

#[track_caller]
fn is_attributes_answer(answer: &Message, topic: &str) {
    assert_eq!(answer.topic, topic);
    assert_eq!(number(&answer.payload, 1), Some(1), "the id of the request");
    assert_eq!(entries(&answer.payload, 2), json!({ "attr1": "value1" }));
    assert_eq!(entries(&answer.payload, 3), json!({ "sharedLong": 73 }));
}

/// What an AttributeUpdateNotificationMsg says was updated.
#[track_caller]
pub(super) fn shared_of(update: &Message) -> Value {
    entries(&update.payload, 1)
}

/// A field of TsKvProto messages as an object.
#[track_caller]
pub(super) fn entries(payload: &[u8], field: u64) -> Value {
    let mut object = json!({});
    for entry in all(payload, field) {
        let kv = all(&entry, 2).pop().expect("a key and its value");
        let key = string(&kv, 1).expect("a key");
        object[key] = match number(&kv, 2).unwrap_or(0) {
            0 => json!(number(&kv, 3).unwrap_or(0) == 1),
            1 => json!(number(&kv, 4).unwrap_or(0)),
            2 => json!(f64::from_bits(number(&kv, 5).unwrap_or(0).cast_unsigned())),
            3 => json!(string(&kv, 6).unwrap_or_default()),
            4 => serde_json::from_str(&string(&kv, 7).expect("JSON text")).expect("JSON"),
            other => panic!("no type {other}"),
        };
    }
    object
}

/// On each topic an update comes as JSON or as protobuf.
#[track_caller]
fn update_formats(c: &Case, flags: Value, topics: &[(&str, bool)]) {
    let mut client = client_with(c, usual_schemas(), flags);
    for (topic, is_json) in topics {
        assert_eq!(client.subscribe(topic), 1);
        c.share(json!({ "sharedLong": 73 }));
        let update = client.message();
        assert_eq!(update.topic, *topic);
        let found = if *is_json { update.json() } else { shared_of(&update) };
        assert_eq!(found, json!({ "sharedLong": 73 }), "{topic}");
    }
}
