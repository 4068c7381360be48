//! Which schemas are taken, and how the others are refused.

use super::*;

/// The error of a schema in each of the four places that have it.
#[track_caller]
fn check_error(text: &str, words: &str) {
    let given = |schema: Schema| {
        let mut texts = SchemaTexts::default();
        let place = match schema {
            Schema::Telemetry => &mut texts.telemetry,
            Schema::Attributes => &mut texts.attributes,
            Schema::RpcRequest => &mut texts.rpc_request,
            Schema::RpcResponse => &mut texts.rpc_response,
        };
        *place = Some(text.to_owned());
        ProtoSchemas::compile(&texts)
    };
    for schema in [Schema::Telemetry, Schema::Attributes, Schema::RpcRequest, Schema::RpcResponse] {
        let error = given(schema).expect_err(words).to_string();
        let words = words.replace("SCHEMA", &schema.to_string());
        assert!(error.contains(&words), "{error:?} has no {words:?}");
    }
}

// 310, 311, 313, 314, 315, 316, 318, 319
#[test]
fn what_is_no_proto3_is_refused_with_its_place() {
    let proto3 = |text: &str| format!("syntax =\"proto3\";\n{text}");
    check_error(
        "syntax =\"proto2\";\nmessage M { required int32 a = 1; }",
        "invalid schema syntax: proto2 for SCHEMA provided! Only proto3 allowed!",
    );
    check_error("message M { int32 a = 1; }", "invalid schema syntax: null for SCHEMA provided!");
    check_error("", "invalid schema syntax: null for SCHEMA provided!");
    check_error(&proto3("import public \"x.proto\"; message M {}"), "Schema public imports don't support!");
    check_error(
        &proto3("import \"x.proto\"; message M {}"),
        "invalid SCHEMA provided! Schema imports don't support!",
    );
    check_error(
        &proto3("message M {} extend M { int32 a = 100; }"),
        "Schema extend declarations don't support!",
    );
    check_error(&proto3("enum E { A = 0; }"), "At least one Message definition should exists!");
    check_error(&proto3(""), "invalid SCHEMA provided! Type elements is empty!");
    check_error(
        &proto3("message M { extensions 100 to 200; }"),
        "Message definition extensions don't support!",
    );
    check_error(
        &proto3("message M { oneof o { group G = 1 { int32 a = 2; } } }"),
        "OneOf definition groups don't support!",
    );
    check_error(
        &proto3("message M { oneof o { int32 b = 3; } repeated group G = 1 { int32 a = 2; } }"),
        "Message definition groups don't support!",
    );
    check_error(&proto3("message M { group G = 1 { int32 a = 2; } }"), "groups don't support!");
    check_error(
        "syntax =\"proto3\";\n\npackage schemavalidation;\n\nmessage SchemaValidationTest {\n   required int32 parameter = 1;\n}",
        "failed to parse SCHEMA due to: Syntax error in :6:4: 'required' label forbidden in proto3 field declarations",
    );
    check_error(
        &proto3("message M {\n  int32 a = ;\n}"),
        "failed to parse SCHEMA due to: Syntax error in :3:13: ",
    );
    check_error(&proto3("message M {\n  int32 a = 1"), "failed to parse SCHEMA due to: Syntax error in :3:");
    check_error(&proto3("message M {\n  Missing a = 1;\n}"), "Syntax error in :3:3: ");
    check_error(&proto3("message M {\n  int32 a = 1;\n  int32 b = 1;\n}"), "Syntax error in :4:");
    check_error(&proto3("message M {\n  enum E { A = 1; }\n}"), "Syntax error in :3:");
    check_error("nonsense", "Syntax error in :1:1: ");
}

#[track_caller]
fn telemetry_error(body: &str, words: &str) {
    let texts =
        SchemaTexts { telemetry: Some(format!("syntax = \"proto3\"; {body}")), ..SchemaTexts::default() };
    let error = ProtoSchemas::compile(&texts).expect_err(words).to_string();
    assert!(error.ends_with(words), "{error:?} has no {words:?}");
    assert!(error.starts_with("invalid telemetry proto schema provided! "), "{error}");
}

// 320, 321
#[test]
fn a_telemetry_message_has_fields_and_its_time_is_optional() {
    telemetry_error("message Empty {}", "Empty fields is empty!");
    let record = |ts: &str, values: &str| {
        format!("message V {{ int32 a = 1; }} message M {{ {ts} ts = 1; {values} values = 2; }}")
    };
    telemetry_error(
        &record("optional string", "V"),
        "Field 'ts' has invalid data type. Only int64 type is supported!",
    );
    telemetry_error(
        &record("int64", "V"),
        "Field 'ts' has invalid label. Field 'ts' should have optional keyword!",
    );
    telemetry_error(
        &record("optional int64", "int32"),
        "Field 'values' has invalid data type. Only message type is supported!",
    );
    telemetry(&record("optional int64", "V"));
}

// 322
#[test]
fn an_rpc_request_has_three_fields() {
    let check = |fields: &str, words: &str| {
        let text = format!("syntax = \"proto3\"; message Rpc {{ {fields} }}");
        let texts = SchemaTexts { rpc_request: Some(text), ..SchemaTexts::default() };
        let error = ProtoSchemas::compile(&texts).expect_err(words).to_string();
        assert_eq!(error, format!("invalid rpc request proto schema provided! {words}"));
    };
    check(
        "string method = 1; int32 requestId = 2;",
        "Rpc message should always contains 3 fields: method, requestId and params!",
    );
    check(
        "int32 method = 1; int32 requestId = 2; string params = 3;",
        "Field 'method' has invalid data type. Only string type is supported!",
    );
    check(
        "string method = 1; string requestId = 2; string params = 3;",
        "Field 'requestId' has invalid data type. Only int32 type is supported!",
    );
    check(
        "string method = 1; int32 requestId = 2; repeated string params = 3;",
        "Field 'params' has invalid label!",
    );
    check(
        "string method = 1; int32 requestId = 2; string other = 3;",
        "Failed to get field descriptor for field: params!",
    );
}

// 312, 317, 323, 324; more than upstream takes: what protoc accepts is accepted.
#[test]
fn what_protoc_accepts_is_accepted() {
    for body in [
        "option java_package = \"org.example\"; message M { int32 a = 1; }",
        "enum E { option allow_alias = true; A = 0; B = 0; } message M { E a = 1; }",
        "message M { reserved 2, 4 to 6; reserved \"old\"; int32 a = 1; option deprecated = true; }",
        "message M { oneof c { int32 a = 1; string b = 2; } }",
        "message M { map<int64, M> a = 1; map<bool, bytes> b = 2; repeated M c = 3; }",
        "message M { enum Deep { X = 0; } message N { Deep d = 1; } .test.M.N a = 1; test.M.Deep b = 2; }",
        "import \"google/protobuf/timestamp.proto\"; import public \"google/protobuf/struct.proto\"; \
         message M { google.protobuf.Timestamp a = 1; google.protobuf.Value b = 2; }",
        "import \"google/protobuf/descriptor.proto\"; extend google.protobuf.FieldOptions { string unit = 50000; } \
         message M { double a = 1 [(unit) = \"C\", packed = false]; }",
        "message In { int32 a = 1; } message M { In a = 1; } service S { rpc Call (In) returns (stream M); }",
        "// a comment\n/* another */ message M { optional int32 a = 1; ; } ;",
    ] {
        telemetry(body);
    }
    // The last message counts, and may use the others.
    let schemas = telemetry("message First { int32 x = 1; } message Second { First one = 1; int32 y = 2; }");
    check(&schemas, &[16, 3], &[("y", long(3))]);
    check(&telemetry("message M { int32 a = 1; } enum Behind { Z = 0; }"), &[8, 3], &[("a", long(3))]);
}

#[test]
fn the_schemas_of_rpcs_have_defaults_and_the_others_do_not() {
    let schemas = ProtoSchemas::compile(&SchemaTexts::default()).unwrap();
    assert_eq!(schemas.telemetry(b""), Err(ProtoRefusal::NoSchema(Schema::Telemetry)));
    assert_eq!(schemas.attributes(b""), Err(ProtoRefusal::NoSchema(Schema::Attributes)));
    assert_eq!(
        ProtoRefusal::NoSchema(Schema::Telemetry).to_string(),
        "the profile has no telemetry proto schema"
    );
    assert_eq!(schemas.rpc_response(b""), Ok("{}".into()));
}
