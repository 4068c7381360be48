//! Group R: profiles that are refused, and with which words.
//!
//! A schema may have everything that `protoc` accepts in proto3 (options, aliases, reserved numbers), so the cases that want
//! such things refused (312, 317, a part of 318) say here that they are taken.

use serde_json::{Value, json};

use super::case::{Case, Row, v3};

const TELEMETRY: &str = "deviceTelemetryProtoSchema";
const ATTRIBUTES: &str = "deviceAttributesProtoSchema";
const REQUEST: &str = "deviceRpcRequestProtoSchema";

pub(super) const ROWS: &[Row] = &[
    v3(310, "`syntax =\"proto2\"`", |c| {
        refused(
            c,
            ATTRIBUTES,
            "syntax =\"proto2\";\nmessage M { optional int32 a = 1; }",
            "invalid schema syntax: proto2 for attributes proto schema provided! Only proto3 allowed!",
        );
    }),
    v3(311, "no syntax line", |c| {
        refused(c, ATTRIBUTES, "message M { optional int32 a = 1; }", "invalid schema syntax: null");
    }),
    v3(312, "`option java_package` is taken", |c| {
        accepted(c, "option java_package = \"a.b\"; message M { int32 a = 1; }");
    }),
    v3(313, "imports", |c| {
        let message = "message M { int32 a = 1; }";
        proto3(c, &format!("import public \"x.proto\"; {message}"), "Schema public imports don't support!");
        proto3(c, &format!("import \"x.proto\"; {message}"), "Schema imports don't support!");
    }),
    v3(314, "`extend`", |c| {
        proto3(
            c,
            "message X { int32 a = 1; } extend X { int32 b = 126; } message M { int32 a = 1; }",
            "Schema extend declarations don't support!",
        );
    }),
    v3(315, "only an enum", |c| {
        proto3(c, "enum E { A = 0; }", "At least one Message definition should exists!");
    }),
    v3(316, "an empty file", |c| proto3(c, "", "Type elements is empty!")),
    v3(317, "an enum with `allow_alias` is taken", |c| {
        accepted(c, "enum E { option allow_alias = true; A = 0; B = 0; } message M { E a = 1; }");
    }),
    v3(318, "groups and extensions in a message; reserved numbers and options are taken", |c| {
        for body in ["reserved 1; int32 a = 2;", "option deprecated = true; int32 a = 2;"] {
            accepted(c, &format!("message M {{ {body} }}"));
        }
        for (body, words) in [
            ("repeated group G = 1 { int32 a = 2; }", "Message definition groups don't support!"),
            ("extensions 100 to 199; int32 a = 2;", "Message definition extensions don't support!"),
            ("oneof o { group G = 1 { int32 a = 2; } }", "definition groups don't support!"),
        ] {
            proto3(c, &format!("message M {{ {body} }}"), words);
        }
    }),
    v3(319, "a `required` field", |c| {
        let schema = "syntax =\"proto3\";\npackage schemavalidation;\n\nmessage M {\n   int32 b = 2;\n   required int32 a = 1;\n}";
        let words = "[Transport Configuration] failed to parse attributes proto schema due to: Syntax error in :6:4: 'required' label forbidden in proto3 field declarations";
        refused(c, ATTRIBUTES, schema, words);
    }),
    v3(320, "a telemetry message without fields", |c| {
        refused(c, TELEMETRY, "syntax =\"proto3\";\nmessage M { }", "fields is empty!");
    }),
    v3(321, "`ts` and `values` of wrong kinds", |c| {
        for (fields, words) in [
            (
                "optional string ts = 1; V values = 2;",
                "Field 'ts' has invalid data type. Only int64 type is supported!",
            ),
            (
                "int64 ts = 1; V values = 2;",
                "Field 'ts' has invalid label. Field 'ts' should have optional keyword!",
            ),
            (
                "optional int64 ts = 1; int32 values = 2;",
                "Field 'values' has invalid data type. Only message type is supported!",
            ),
        ] {
            let schema =
                format!("syntax =\"proto3\";\nmessage V {{ int32 a = 1; }} message M {{ {fields} }}");
            refused(c, TELEMETRY, &schema, words);
        }
    }),
    v3(322, "an RPC request of the wrong fields", |c| {
        for (fields, words) in [
            (
                "string method = 1; int32 requestId = 2;",
                "message should always contains 3 fields: method, requestId and params!",
            ),
            (
                "int32 method = 1; int32 requestId = 2; string params = 3;",
                "Field 'method' has invalid data type. Only string type is supported!",
            ),
            (
                "string method = 1; string requestId = 2; string params = 3;",
                "Field 'requestId' has invalid data type. Only int32 type is supported!",
            ),
            (
                "string method = 1; int32 requestId = 2; repeated string params = 3;",
                "Field 'params' has invalid label!",
            ),
        ] {
            refused(c, REQUEST, &format!("syntax =\"proto3\";\nmessage M {{ {fields} }}"), words);
        }
    }),
    v3(323, "a telemetry schema with a `oneof`", |c| {
        accepted(c, "message M { oneof value { int32 a = 1; string b = 2; } }");
    }),
    v3(324, "two messages, the second uses the first", |c| {
        accepted(c, "message First { int32 a = 1; } message Second { First inner = 1; int32 b = 2; }");
    }),
    v3(325, "the transport type changes while a device is in the profile", |c| {
        let mut profile = c.save_profile(&c.name(), json!({}));
        c.rest().create_device(&c.name(), Some(&c.name()));
        profile["transportType"] = "MQTT".into();
        profile["profileData"]["transportConfiguration"] = json!({ "type": "MQTT" });
        let refusal = c.rest().post("/api/deviceProfile", &profile).expect_err("a device is in it");
        assert_eq!(refusal.status, 400);
        let words = "Can't change device profile transport type because devices referenced it!";
        assert!(refusal.mentions(words), "{refusal:?}");
    }),
    v3(326, "one provision key in two profiles", |c| {
        let shape = json!({
            "provisionType": "ALLOW_CREATE_NEW_DEVICES",
            "provisionDeviceKey": c.named("key"),
            "profileData": {
                "provisionConfiguration": { "type": "ALLOW_CREATE_NEW_DEVICES", "provisionDeviceSecret": "s" },
            },
        });
        c.save_profile(&c.name(), shape.clone());
        let refusal = c.try_profile(&c.named("second"), shape).expect_err("the key is taken");
        assert_eq!(refusal.status, 400);
        assert!(
            refusal.mentions("Device profile with such provision device key already exists!"),
            "{refusal:?}"
        );
    }),
];

fn profile(c: &Case, member: &str, schema: &str) -> Result<Value, crate::harness::Refusal> {
    let mut payload = json!({
        "transportPayloadType": "PROTOBUF",
        TELEMETRY: "syntax =\"proto3\";\nmessage M { int32 a = 1; }",
        ATTRIBUTES: "syntax =\"proto3\";\nmessage M { int32 a = 1; }",
    });
    payload[member] = schema.into();
    let transport = json!({ "type": "MQTT", "transportPayloadTypeConfiguration": payload });
    c.try_profile(
        &c.name(),
        json!({ "transportType": "MQTT", "profileData": { "transportConfiguration": transport } }),
    )
}

#[track_caller]
fn refused(c: &Case, member: &str, schema: &str, words: &str) {
    let refusal = profile(c, member, schema).expect_err(words);
    assert_eq!(refusal.status, 400, "{refusal:?}");
    assert!(refusal.mentions(words), "{} has no {words:?}", refusal.body["message"]);
}

/// An attributes schema of proto3 with this in it is refused with these words.
#[track_caller]
fn proto3(c: &Case, messages: &str, words: &str) {
    refused(c, ATTRIBUTES, &format!("syntax =\"proto3\";\n{messages}"), words);
}

#[track_caller]
fn accepted(c: &Case, messages: &str) {
    let made = profile(c, TELEMETRY, &format!("syntax =\"proto3\";\n{messages}")).expect("a good schema");
    let id = made["id"]["id"].as_str().expect("an id");
    c.rest().delete(&format!("/api/deviceProfile/{id}")).expect("nobody uses it");
}
