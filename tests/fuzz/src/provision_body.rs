//! Provisioning bodies of any kind, JSON and protobuf: no panic, what was read can be written and read again, strict JSON
//! as `serde_json` reads it, and answers that say what they were given.

use serde_json::{Value as Judge, json};
use wireglot_model::{
    Credentials, CredentialsKind, ProvisionAnswer, ProvisionCredentialsKind, ProvisionRequest,
};

// The parent has the readers and writers of both formats, here and in the crate under test.
use super::native::{ProvisionRefusal, provision_request, write_provision_answer};
use super::proto;

const KINDS: [(&str, ProvisionCredentialsKind, u8); 4] = [
    ("ACCESS_TOKEN", ProvisionCredentialsKind::AccessToken, 0),
    ("X509_CERTIFICATE", ProvisionCredentialsKind::X509, 1),
    ("MQTT_BASIC", ProvisionCredentialsKind::MqttBasic, 2),
    ("LWM2M_CREDENTIALS", ProvisionCredentialsKind::Lwm2m, 3),
];

/// One body, as either format.
pub fn check(payload: &[u8]) {
    let by_json = provision_request(payload);
    if let Ok(request) = &by_json {
        let again = provision_request(as_json(request).to_string().as_bytes());
        assert_eq!(again.as_ref(), Ok(request));
        check_answers(request);
    }
    if let Ok(judged @ Judge::Object(_)) = serde_json::from_slice(payload) {
        check_strict(&judged, &by_json);
    }
    if let Ok(request) = proto::provision_request(payload) {
        let again =
            proto::provision_request(&as_protobuf(&request)).expect("what was read can be read again");
        assert_eq!(again, request);
        check_answers(&request);
    }
}

fn kind(request: &ProvisionRequest) -> (&'static str, u8) {
    let found = KINDS.iter().find(|(_, kind, _)| *kind == request.credentials.kind);
    found.map(|(word, _, number)| (*word, *number)).expect("all kinds are in the table")
}

/// The members that are texts, with what was read of them.
fn texts(request: &ProvisionRequest) -> [(&'static str, Option<&String>); 8] {
    let given = &request.credentials;
    [
        ("provisionDeviceKey", Some(&request.key)),
        ("provisionDeviceSecret", Some(&request.secret)),
        ("deviceName", request.device_name.as_ref()),
        ("token", given.token.as_ref()),
        ("clientId", given.client_id.as_ref()),
        ("username", given.user_name.as_ref()),
        ("password", given.password.as_ref()),
        ("hash", given.certificate.as_ref()),
    ]
}

fn as_json(request: &ProvisionRequest) -> Judge {
    let mut members = json!({ "credentialsType": kind(request).0, "gateway": request.is_gateway });
    for (name, text) in texts(request) {
        members[name] = json!(text);
    }
    members
}

fn check_strict(judged: &Judge, read: &Result<ProvisionRequest, ProvisionRefusal>) {
    match read {
        Ok(request) => {
            for (name, text) in texts(request) {
                match &judged[name] {
                    Judge::Null => assert_eq!(text, None, "{name}"),
                    Judge::String(judge) => assert_eq!(text, Some(judge), "{name}"),
                    Judge::Bool(_) | Judge::Number(_) | Judge::Array(_) | Judge::Object(_) => {
                        assert!(text.is_some(), "{name}");
                    }
                }
            }
            if let Judge::Bool(is_gateway) = judged["gateway"] {
                assert_eq!(request.is_gateway, is_gateway);
            }
        }
        Err(ProvisionRefusal::Invalid(refusal)) => {
            let is_text = |name: &str| matches!(judged[name], Judge::String(_));
            let is_fine = |name: &str| judged[name].is_null() || is_text(name);
            let is_kind = judged["credentialsType"].is_null()
                || KINDS.iter().any(|(word, _, _)| judged["credentialsType"] == *word);
            let is_whole = is_text("provisionDeviceKey") && is_text("provisionDeviceSecret");
            let others = ["deviceName", "token", "clientId", "username", "password", "hash", "gateway"];
            assert!(!(is_whole && is_kind && others.iter().all(|name| is_fine(name))), "{refusal}");
        }
        // A number that is too long to write out, and more depth than the server takes.
        Err(ProvisionRefusal::OtherFormat(_)) => {}
    }
}

/// The wire format by hand: a field of bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut left = content.len();
    while left >= 0x80 {
        bytes.push((left & 0x7F) as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes.extend_from_slice(content);
    bytes
}

/// The same for what is left out where it is empty.
fn given(number: u8, text: Option<&String>) -> Vec<u8> {
    text.filter(|text| !text.is_empty()).map(|text| field(number, text.as_bytes())).unwrap_or_default()
}

fn as_protobuf(request: &ProvisionRequest) -> Vec<u8> {
    let wished = &request.credentials;
    let due = [given(1, Some(&request.key)), given(2, Some(&request.secret))].concat();
    let basic = [
        given(1, wished.client_id.as_ref()),
        given(2, wished.user_name.as_ref()),
        given(3, wished.password.as_ref()),
    ];
    let data = [
        field(1, &given(1, wished.token.as_ref())),
        field(2, &given(1, wished.certificate.as_ref())),
        field(3, &basic.concat()),
    ];
    let (kind, is_gateway) = (kind(request).1, u8::from(request.is_gateway));
    [
        given(1, request.device_name.as_ref()),
        vec![2 << 3, kind],
        field(3, &due),
        field(4, &data.concat()),
        vec![5 << 3, is_gateway],
    ]
    .concat()
}

/// A device that got what it wished for is told so in both formats.
fn check_answers(request: &ProvisionRequest) {
    let wished = &request.credentials;
    let (client_id, user_name, password) = (&wished.client_id, &wished.user_name, &wished.password);
    let certificate = wished.certificate.clone().unwrap_or_default();
    let basic = json!({ "clientId": client_id, "userName": user_name, "password": password });
    let (value, text) = match wished.kind {
        ProvisionCredentialsKind::AccessToken | ProvisionCredentialsKind::Lwm2m => {
            (json!(request.key), request.key.clone())
        }
        ProvisionCredentialsKind::X509 => (json!(certificate), certificate.clone()),
        ProvisionCredentialsKind::MqttBasic => (basic.clone(), basic.to_string()),
    };
    let kind = match wished.kind {
        ProvisionCredentialsKind::AccessToken | ProvisionCredentialsKind::Lwm2m => {
            CredentialsKind::AccessToken
        }
        ProvisionCredentialsKind::X509 => CredentialsKind::X509 { certificate },
        ProvisionCredentialsKind::MqttBasic => CredentialsKind::MqttBasic {
            client_id: client_id.clone(),
            user_name: user_name.clone(),
            password: password.clone(),
        },
    };
    let nobody = "13814000-1dd2-11b2-8080-808080808080";
    let record = json!({
        "id": nobody, "device": nobody, "created": 0, "version": 1, "lookup": request.key, "kind": kind,
    });
    let credentials: Credentials = serde_json::from_value(record).expect("the shape of the record");
    let answer = ProvisionAnswer::Success(credentials);
    let written: Judge = serde_json::from_str(&write_provision_answer(&answer)).expect("an answer is JSON");
    assert_eq!((&written["status"], &written["credentialsValue"]), (&json!("SUCCESS"), &value));
    let number = KINDS.iter().find(|(word, _, _)| written["credentialsType"] == *word).map(|(_, _, n)| *n);
    let number = number.expect("a known kind");
    let number = if number == 0 { Vec::new() } else { vec![2 << 3, number] };
    let expected = [vec![1 << 3, 1], number, given(3, Some(&text))].concat();
    assert_eq!(proto::write_provision_response(&answer), expected);
}
