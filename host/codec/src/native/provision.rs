//! The JSON of devices that make themselves known (device API §15.2, §15.3) and that let themselves be claimed (§14).

use serde_json::json;
use wireglot_model::{
    Credentials, CredentialsKind, ProvisionAnswer, ProvisionCredentials, ProvisionCredentialsKind,
    ProvisionRequest,
};

use super::read::{self, Members, Node};
use super::{JsonRefusal, Place, text_of, typing};

/// Why a provisioning request cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProvisionRefusal {
    /// It is no JSON object, so it may be something else.
    #[error(transparent)]
    OtherFormat(JsonRefusal),
    /// It is one, but says something else.
    #[error(transparent)]
    Invalid(JsonRefusal),
}

/// Reads a provisioning request.
pub fn provision_request(payload: &[u8]) -> Result<ProvisionRequest, ProvisionRefusal> {
    let text = text_of(payload);
    match read::document(&text).map_err(ProvisionRefusal::OtherFormat)? {
        Node::Object(members) => request(&members).map_err(ProvisionRefusal::Invalid),
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Array(_) => {
            let refusal = Place::default().refuse("a provisioning request must be an object");
            Err(ProvisionRefusal::OtherFormat(refusal))
        }
    }
}

fn request(members: &Members<'_>) -> Result<ProvisionRequest, JsonRefusal> {
    let text = |name: &'static str| text(members, name);
    let due = |name: &'static str| {
        text(name)?.ok_or_else(|| Place::default().within(name).refuse("is missing, and must be a text"))
    };
    Ok(ProvisionRequest {
        key: due("provisionDeviceKey")?,
        secret: due("provisionDeviceSecret")?,
        device_name: text("deviceName")?,
        credentials: ProvisionCredentials {
            kind: kind(members)?,
            token: text("token")?,
            client_id: text("clientId")?,
            user_name: text("username")?,
            password: text("password")?,
            certificate: text("hash")?,
        },
        is_gateway: text("gateway")?.is_some_and(|text| text.eq_ignore_ascii_case("true")),
    })
}

fn kind(members: &Members<'_>) -> Result<ProvisionCredentialsKind, JsonRefusal> {
    match text(members, "credentialsType")?.as_deref() {
        None | Some("ACCESS_TOKEN") => Ok(ProvisionCredentialsKind::AccessToken),
        Some("MQTT_BASIC") => Ok(ProvisionCredentialsKind::MqttBasic),
        Some("X509_CERTIFICATE") => Ok(ProvisionCredentialsKind::X509),
        Some("LWM2M_CREDENTIALS") => Ok(ProvisionCredentialsKind::Lwm2m),
        Some(_) => Err(Place::default()
            .within("credentialsType")
            .refuse("must be ACCESS_TOKEN, MQTT_BASIC, X509_CERTIFICATE or LWM2M_CREDENTIALS")),
    }
}

/// A member that is a text; one that is null is not there.
fn text(members: &Members<'_>, name: &'static str) -> Result<Option<String>, JsonRefusal> {
    match members.iter().find(|(key, _)| key == name) {
        None | Some((_, Node::Null)) => Ok(None),
        Some((_, node)) => match typing::scalar_text(node) {
            Some(text) => Ok(Some(text.into_owned())),
            None => Err(Place::default().within(name).refuse("must be a text")),
        },
    }
}

/// Writes the answer to a provisioning request, its members in the order of the documents.
pub fn write_provision_answer(answer: &ProvisionAnswer) -> String {
    let answer = match answer {
        ProvisionAnswer::Success(Credentials { kind, lookup, .. }) => {
            let (kind, value) = match kind {
                CredentialsKind::AccessToken => ("ACCESS_TOKEN", json!(lookup)),
                CredentialsKind::MqttBasic { client_id, user_name, password } => (
                    "MQTT_BASIC",
                    json!({"clientId": client_id, "userName": user_name, "password": password}),
                ),
                CredentialsKind::X509 { certificate } => ("X509_CERTIFICATE", json!(certificate)),
            };
            json!({"credentialsType": kind, "credentialsValue": value, "status": "SUCCESS"})
        }
        ProvisionAnswer::NotFound => {
            json!({"errorMsg": "Provision data was not found!", "status": "NOT_FOUND"})
        }
        ProvisionAnswer::Failure => json!({"errorMsg": "Failed to provision device!", "status": "FAILURE"}),
    };
    answer.to_string()
}

/// Reads a claim: its secret, and for how many milliseconds it is good. Nothing at all is a claim, too.
pub fn claim(payload: &[u8]) -> Result<(String, i64), JsonRefusal> {
    let text = text_of(payload);
    if text.trim().is_empty() {
        return Ok((String::new(), 0));
    }
    let Node::Object(members) = read::document(&text)? else {
        return Err(Place::default().refuse("a claim must be an object"));
    };
    claim_of(&members)
}

/// The same of an object that was read.
pub(super) fn claim_of(members: &Members<'_>) -> Result<(String, i64), JsonRefusal> {
    let member = |name: &str| members.iter().find(|(key, _)| key == name).map(|(_, node)| node);
    let refused = |name: &'static str, problem| Place::default().within(name).refuse(problem);
    let secret = match member("secretKey") {
        None => String::new(),
        Some(node) => typing::scalar_text(node).ok_or_else(|| refused("secretKey", "must be a text"))?.into(),
    };
    let duration_ms = match member("durationMs") {
        None => 0,
        Some(node) => typing::timestamp(node)
            .map_err(|_| refused("durationMs", "must be a 64-bit integer, in milliseconds"))?,
    };
    Ok((secret, duration_ms))
}

#[cfg(test)]
mod tests {
    use wireglot_model::Timestamp;

    use super::*;

    fn asked(change: impl FnOnce(&mut ProvisionRequest)) -> ProvisionRequest {
        let mut request =
            ProvisionRequest { key: "k".into(), secret: "s".into(), ..ProvisionRequest::default() };
        change(&mut request);
        request
    }

    #[track_caller]
    fn check(more: &str, expected: &ProvisionRequest) {
        let payload = format!("{{\"provisionDeviceKey\":\"k\",\"provisionDeviceSecret\":\"s\"{more}}}");
        assert_eq!(provision_request(payload.as_bytes()).as_ref(), Ok(expected), "{more}");
    }

    #[test]
    fn a_request_says_what_it_wishes_for() {
        check("", &asked(|_| {}));
        check(",\"deviceName\":\" d \"", &asked(|request| request.device_name = Some(" d ".into())));
        check(",\"deviceName\":null,\"token\":null", &asked(|_| {}));
        check(",\"gateway\":true", &asked(|request| request.is_gateway = true));
        check(",\"gateway\":\"false\"", &asked(|_| {}));
        check(
            ",\"credentialsType\":\"MQTT_BASIC\",\"clientId\":\"c\",\"username\":\"u\",\"password\":7",
            &asked(|request| {
                request.credentials = ProvisionCredentials {
                    kind: ProvisionCredentialsKind::MqttBasic,
                    client_id: Some("c".into()),
                    user_name: Some("u".into()),
                    password: Some("7".into()),
                    ..ProvisionCredentials::default()
                };
            }),
        );
        check(
            ",credentialsType:X509_CERTIFICATE,hash:testHash",
            &asked(|request| {
                request.credentials.kind = ProvisionCredentialsKind::X509;
                request.credentials.certificate = Some("testHash".into());
            }),
        );
        check(
            ",\"credentialsType\":\"LWM2M_CREDENTIALS\"",
            &asked(|request| request.credentials.kind = ProvisionCredentialsKind::Lwm2m),
        );
    }

    #[test]
    fn what_is_no_object_may_be_of_another_format() {
        for payload in [&b""[..], b"[1]", b"{", b"5", b"\x0a\x01x\x12\x00\xff", &[b'['; 400]] {
            let refusal = provision_request(payload).unwrap_err();
            assert!(matches!(refusal, ProvisionRefusal::OtherFormat(_)), "{payload:02x?}: {refusal}");
        }
    }

    // 265, 266
    #[test]
    fn an_object_that_says_something_else_is_invalid() {
        let whole = "\"provisionDeviceKey\":\"k\",\"provisionDeviceSecret\":\"s\"";
        for payload in [
            "{}".to_owned(),
            "{\"deviceName\":\"x\"}".to_owned(),
            "{\"provisionDeviceKey\":null,\"provisionDeviceSecret\":\"s\"}".to_owned(),
            format!("{{{whole},\"credentialsType\":\"FOO\"}}"),
            format!("{{{whole},\"deviceName\":{{}}}}"),
            format!("{{{whole},\"token\":[1,2]}}"),
            format!("{{{whole},\"gateway\":{{}}}}"),
        ] {
            let refusal = provision_request(payload.as_bytes()).unwrap_err();
            assert!(matches!(refusal, ProvisionRefusal::Invalid(_)), "{payload}: {refusal}");
        }
    }

    #[test]
    fn answers_are_written_as_the_documents_show_them() {
        let credentials = |kind, lookup: &str| {
            ProvisionAnswer::Success(Credentials {
                id: "00000000-0000-0000-0000-000000000001".parse().unwrap(),
                created: Timestamp(0),
                device: "00000000-0000-0000-0000-000000000002".parse().unwrap(),
                kind,
                lookup: lookup.into(),
                version: 1,
            })
        };
        let basic = CredentialsKind::MqttBasic {
            client_id: Some("c".into()),
            user_name: Some("u".into()),
            password: Some("p".into()),
        };
        let certificate = CredentialsKind::X509 { certificate: "MII".into() };
        for (answer, expected) in [
            (
                credentials(CredentialsKind::AccessToken, "tok\"en"),
                r#"{"credentialsType":"ACCESS_TOKEN","credentialsValue":"tok\"en","status":"SUCCESS"}"#,
            ),
            (
                credentials(basic, "x"),
                r#"{"credentialsType":"MQTT_BASIC","credentialsValue":{"clientId":"c","userName":"u","password":"p"},"status":"SUCCESS"}"#,
            ),
            (
                credentials(certificate, "x"),
                r#"{"credentialsType":"X509_CERTIFICATE","credentialsValue":"MII","status":"SUCCESS"}"#,
            ),
            (
                ProvisionAnswer::NotFound,
                r#"{"errorMsg":"Provision data was not found!","status":"NOT_FOUND"}"#,
            ),
            (ProvisionAnswer::Failure, r#"{"errorMsg":"Failed to provision device!","status":"FAILURE"}"#),
        ] {
            let (found, expected): (serde_json::Value, serde_json::Value) = (
                serde_json::from_str(&write_provision_answer(&answer)).unwrap(),
                serde_json::from_str(expected).unwrap(),
            );
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_claim_may_say_nothing_or_its_secret_and_time() {
        for (payload, expected) in [
            ("", Some(("", 0))),
            (" ", Some(("", 0))),
            ("{}", Some(("", 0))),
            (r#"{"secretKey":"value","durationMs":60000}"#, Some(("value", 60_000))),
            (r#"{"secretKey":5,"durationMs":"-1"}"#, Some(("5", -1))),
            (r#"{"durationMs":1.9}"#, Some(("", 1))),
            ("[1]", None),
            ("5", None),
            ("{", None),
            (r#"{"secretKey":null}"#, None),
            (r#"{"secretKey":{}}"#, None),
            (r#"{"durationMs":"soon"}"#, None),
            (r#"{"durationMs":null}"#, None),
            (r#"{"durationMs":1e99999999999}"#, None),
        ] {
            let read = claim(payload.as_bytes()).ok();
            let read = read.as_ref().map(|(secret, duration_ms)| (secret.as_str(), *duration_ms));
            assert_eq!(read, expected, "{payload}");
        }
    }
}
