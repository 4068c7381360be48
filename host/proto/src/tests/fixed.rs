//! The messages that every profile knows, and server-side RPCs.

use wireglot_model::{ProvisionAnswer, ProvisionCredentials, ProvisionCredentialsKind, ProvisionRequest};

use super::*;

#[derive(Clone, PartialEq, prost::Message)]
struct DefaultRequest {
    #[prost(string, optional, tag = "1")]
    method: Option<String>,
    #[prost(int32, optional, tag = "2")]
    request_id: Option<i32>,
    #[prost(string, optional, tag = "3")]
    params: Option<String>,
}

fn default_schemas() -> ProtoSchemas {
    ProtoSchemas::compile(&SchemaTexts::default()).unwrap()
}

fn rpc_schema(params: &str) -> ProtoSchemas {
    let text = format!(
        "syntax = \"proto3\"; import \"google/protobuf/struct.proto\"; import \"google/protobuf/timestamp.proto\"; \
         message Rpc {{ {params} optional string method = 1; optional int32 requestId = 2; }}"
    );
    ProtoSchemas::compile(&SchemaTexts { rpc_request: Some(text), ..SchemaTexts::default() })
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_default_request_takes_what_is_or_can_be_a_text() {
    for (params, expected) in
        [("\"on\"", Some("on")), ("5", Some("5")), ("true", Some("true")), ("null", None)]
    {
        let request = default_schemas().rpc_request(7, "setGpio", params).unwrap();
        let request = DefaultRequest::decode(request.as_slice()).unwrap();
        let expected = DefaultRequest {
            method: Some("setGpio".into()),
            request_id: Some(7),
            params: expected.map(str::to_owned),
        };
        assert_eq!(request, expected);
    }
}

// 306: the half of it that is ours.
#[test]
fn parameters_that_do_not_fit_the_schema_are_refused() {
    let refused = |params: &str, words: &str| {
        let refusal = default_schemas().rpc_request(7, "m", params).expect_err(words).to_string();
        assert!(refusal.contains(words), "{refusal:?} has no {words:?}");
    };
    refused(r#"{"pin":"23"}"#, "params: a text is due here, not an object");
    refused("[1]", "a text is due here, not an array");
    refused("{", "not JSON");
}

// 304
#[test]
fn a_message_of_parameters_takes_an_object() {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Params {
        #[prost(string, tag = "1")]
        pin: String,
        #[prost(int32, tag = "2")]
        value: i32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Request {
        #[prost(string, optional, tag = "1")]
        method: Option<String>,
        #[prost(int32, optional, tag = "2")]
        request_id: Option<i32>,
        #[prost(message, optional, tag = "3")]
        params: Option<Params>,
    }
    let schemas = rpc_schema("message Params { string pin = 1; int32 value = 2; } Params params = 3;");
    let request = schemas.rpc_request(3, "setGpio", r#"{"pin":"23","value":1,"unknown":[]}"#).unwrap();
    let params = Some(Params { pin: "23".into(), value: 1 });
    let expected = Request { method: Some("setGpio".into()), request_id: Some(3), params };
    assert_eq!(Request::decode(request.as_slice()).unwrap(), expected);
    let refusal = schemas.rpc_request(3, "m", r#"{"value":1.5}"#).expect_err("a fraction").to_string();
    assert!(refusal.contains("value: a whole number"), "{refusal}");
}

/// Whatever JSON goes in comes back when the message is read again.
#[test]
fn json_of_every_kind_finds_its_field() {
    const KINDS: &str = "enum E { OFF = 0; ON = 1; } message P { \
        optional bool b = 1; optional int64 i = 2; optional uint64 u = 3; optional double d = 4; optional float f = 5; \
        optional string some_text = 6; optional bytes y = 7; optional E e = 8; repeated int32 l = 9; \
        map<int32, string> m = 10; google.protobuf.Value v = 11; google.protobuf.Struct s = 12; \
        google.protobuf.Timestamp t = 13; P p = 14; map<bool, E> n = 15; } ";
    let schemas = rpc_schema(&format!("{KINDS} P params = 3;"));
    // The same message as an answer, which is printed.
    let text = format!(
        "syntax = \"proto3\"; import \"google/protobuf/struct.proto\"; import \"google/protobuf/timestamp.proto\"; \
         message Back {{ {KINDS} P params = 3; }}"
    );
    let back =
        ProtoSchemas::compile(&SchemaTexts { rpc_response: Some(text), ..SchemaTexts::default() }).unwrap();
    let empty = |member: &str| format!(r#"{{"params":{{{member}}}}}"#);
    for (given, printed) in [
        (r#""b":true"#, r#""b":true,"l":[],"m":{},"n":{}"#),
        (r#""b":"false""#, r#""b":false,"l":[],"m":{},"n":{}"#),
        (
            r#""i":"-5","u":18446744073709551615"#,
            r#""i":"-5","u":"18446744073709551615","l":[],"m":{},"n":{}"#,
        ),
        (r#""i":1e3,"u":2.0"#, r#""i":"1000","u":"2","l":[],"m":{},"n":{}"#),
        (r#""d":1,"f":"2.5""#, r#""d":1.0,"f":2.5,"l":[],"m":{},"n":{}"#),
        (r#""d":"NaN""#, r#""d":"NaN","l":[],"m":{},"n":{}"#),
        (r#""someText":5"#, r#""someText":"5","l":[],"m":{},"n":{}"#),
        (r#""some_text":"x""#, r#""someText":"x","l":[],"m":{},"n":{}"#),
        (r#""y":"1234","e":"ON""#, r#""y":"1234","e":"ON","l":[],"m":{},"n":{}"#),
        (r#""y":"-_8","e":0"#, r#""y":"+/8=","e":"OFF","l":[],"m":{},"n":{}"#),
        (
            r#""l":[1,"2"],"m":{"7":"seven"},"n":{"true":"ON"}"#,
            r#""l":[1,2],"m":{"7":"seven"},"n":{"true":"ON"}"#,
        ),
        (r#""v":{"a":[1,null]},"s":{"x":"y"}"#, r#""l":[],"m":{},"v":{"a":[1.0,null]},"s":{"x":"y"},"n":{}"#),
        (r#""t":"2023-11-14T22:13:20Z","b":null"#, r#""l":[],"m":{},"t":"2023-11-14T22:13:20Z","n":{}"#),
        (r#""p":{"b":true}"#, r#""l":[],"m":{},"p":{"b":true,"l":[],"m":{},"n":{}},"n":{}"#),
    ] {
        let request =
            schemas.rpc_request(1, "m", &format!("{{{given}}}")).unwrap_or_else(|no| panic!("{no}: {given}"));
        assert_eq!(back.rpc_response(&request).unwrap(), empty(printed), "{given}");
    }
    for wrong in [
        r#""b":1"#,
        r#""i":"x""#,
        r#""u":-1"#,
        r#""d":"x""#,
        r#""someText":{}"#,
        r#""y":"*""#,
        r#""e":"MAYBE""#,
        r#""l":{}"#,
        r#""l":[null]"#,
        r#""m":{"x":"y"}"#,
        r#""t":"yesterday""#,
        r#""p":3"#,
    ] {
        assert!(schemas.rpc_request(1, "m", &format!("{{{wrong}}}")).is_err(), "{wrong}");
    }
}

// 305
#[test]
fn the_answer_of_a_device_is_its_message_as_json() {
    let payload = r#"{"value1":"A","value2":"B"}"#;
    let answer = [&[0x0a, payload.len() as u8][..], payload.as_bytes()].concat();
    let expected = r#"{"payload":"{\"value1\":\"A\",\"value2\":\"B\"}"}"#;
    assert_eq!(default_schemas().rpc_response(&answer).unwrap(), expected);
    assert!(default_schemas().rpc_response(&[0x0a, 9]).is_err());
}

// 299
#[test]
fn attribute_requests_name_their_keys() {
    let request = |client: &str, shared: &str| {
        let mut bytes = vec![0x0a, client.len() as u8];
        bytes.extend(client.bytes());
        bytes.extend([0x12, shared.len() as u8]);
        bytes.extend(shared.bytes());
        attribute_request(&bytes).unwrap()
    };
    let texts = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
    assert_eq!(request("a, b,a", "c"), (texts(&["a", " b"]), texts(&["c"])));
    assert_eq!(request("", ""), (Vec::new(), Vec::new()));
    assert_eq!(attribute_request(b"").unwrap(), (Vec::new(), Vec::new()));
    assert!(attribute_request(b"{}").is_err(), "JSON is no protobuf");
}

// 301
#[test]
fn attributes_go_out_with_their_types() {
    let samples = [
        Sample { key: "b".into(), value: Value::Bool(true) },
        Sample { key: "l".into(), value: long(-1) },
        Sample { key: "d".into(), value: double(1.5) },
        Sample { key: "t".into(), value: text("x") },
        Sample { key: "j".into(), value: json("{}") },
    ];
    let expected: &[u8] = &[
        // sharedUpdated: ts is not told, kv with key, type and the field of the type
        0x0a, 7, 0x12, 5, 0x0a, 1, b'b', 0x18, 1, 0x0a, 18, 0x12, 16, 0x0a, 1, b'l', 0x10, 1, 0x20, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0x0a, 16, 0x12, 14, 0x0a, 1, b'd', 0x10, 2, 0x29,
        0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x0a, 10, 0x12, 8, 0x0a, 1, b't', 0x10, 3, 0x32, 1, b'x', 0x0a, 11,
        0x12, 9, 0x0a, 1, b'j', 0x10, 4, 0x3a, 2, b'{', b'}',
    ];
    assert_eq!(write_attribute_update(&samples), expected);
    assert_eq!(write_attribute_delete(&["sharedJson".into()]), [&[0x12, 10][..], b"sharedJson"].concat());
    let response = write_attribute_response(3, &samples[..1], &samples[..1]);
    // The lists of a response have the numbers 2 and 3, that of an update has 1.
    assert_eq!(response, [&[8, 3, 0x12], &expected[1..9], &[0x1a], &expected[1..9]].concat());
}

#[test]
fn client_side_rpcs() {
    let request = |params: &str| {
        let bytes = [&[0x0a, 1, b'm', 0x12, params.len() as u8][..], params.as_bytes()].concat();
        client_rpc(&bytes).map(|(_, params)| params)
    };
    assert_eq!(request("{}").as_deref(), Ok("{}"));
    assert_eq!(request("").as_deref(), Ok("null"));
    assert_eq!(request("[1.50]").as_deref(), Ok("[1.50]"));
    assert_eq!(request("YWI=").as_deref(), Ok("\"YWI=\""));
    assert!(request("not json").is_err());
    assert!(client_rpc(b"").is_err(), "a method is missing");
    assert_eq!(write_client_rpc_answer(5, "{}"), [8, 5, 0x12, 2, b'{', b'}']);
    assert_eq!(
        write_client_rpc_answer(5, r#"{"error":"timeout"}"#),
        [&[8, 5, 0x1a, 7][..], b"timeout"].concat()
    );
}

// 307
#[test]
fn claims_may_be_empty() {
    assert_eq!(claim(b""), Ok((String::new(), 0)));
    let full = [0x0a, 1, b's', 0x10, 0xe0, 0xd4, 0x03];
    assert_eq!(claim(&full), Ok(("s".into(), 60_000)));
    assert!(claim(&[0x0a]).is_err());
}

// 269, 270
#[test]
fn provisioning_in_both_directions() {
    let credentials = [0x0a, 1, b'k', 0x12, 1, b's'];
    let basic = [0x1a, 9, 0x0a, 1, b'c', 0x12, 1, b'u', 0x1a, 1, b'p'];
    let mut request = vec![0x0a, 1, b'n', 0x10, 2, 0x1a, credentials.len() as u8];
    request.extend(credentials);
    request.extend([0x22, basic.len() as u8]);
    request.extend(basic);
    request.extend([0x28, 1]);
    let expected = ProvisionRequest {
        device_name: Some("n".into()),
        key: "k".into(),
        secret: "s".into(),
        credentials: ProvisionCredentials {
            kind: ProvisionCredentialsKind::MqttBasic,
            client_id: Some("c".into()),
            user_name: Some("u".into()),
            password: Some("p".into()),
            ..ProvisionCredentials::default()
        },
        is_gateway: true,
    };
    assert_eq!(provision_request(&request), Ok(expected));
    assert_eq!(provision_request(b""), Ok(ProvisionRequest::default()));
    assert!(provision_request(&[0x10, 9]).is_err(), "there is no such type");
    assert_eq!(write_provision_response(&ProvisionAnswer::NotFound), [8, 2]);
    assert_eq!(write_provision_response(&ProvisionAnswer::Failure), [8, 3]);
}
