//! Who answers the calls of a profile's devices, in JSON: the member `clientRpc` of a device profile.

use serde_json::{Value as Json, json};
use wireglot_model::limits::{WEBHOOK_TIMEOUT_MS, WEBHOOK_TIMEOUT_MS_DEFAULT};
use wireglot_model::{ClientRpc, CodecName, ResponderChoice, Webhook};

use crate::profile_shape::{InvalidShape, invalid, text};

/// The member.
pub(crate) const CLIENT_RPC: &str = "clientRpc";

/// Reads the member of a profile; without one, nobody answers but the server itself.
pub(crate) fn read(profile: &Json) -> Result<ClientRpc, InvalidShape> {
    let shape = match profile.get(CLIENT_RPC) {
        None | Some(Json::Null) => return Ok(ClientRpc::default()),
        Some(shape) => shape,
    };
    known(shape, CLIENT_RPC, &["responder", "settings", "webhook"])?;
    Ok(ClientRpc { responder: read_responder(shape)?, webhook: read_webhook(shape)? })
}

fn read_responder(shape: &Json) -> Result<Option<ResponderChoice>, InvalidShape> {
    let settings = match shape.get("settings") {
        None | Some(Json::Null) => None,
        Some(settings @ Json::Object(_)) => Some(settings.to_string()),
        Some(_) => return Err(invalid("'clientRpc.settings' is a JSON object")),
    };
    let Some(name) = text(shape, "responder")? else {
        return match settings {
            None => Ok(None),
            Some(_) => Err(invalid("'clientRpc.settings' are those of a 'responder', and there is none")),
        };
    };
    let name = CodecName::parse(name)
        .map_err(|error| invalid(format!("'clientRpc.responder': invalid name '{name}': {error}")))?;
    Ok(Some(ResponderChoice { name, settings: settings.unwrap_or_else(|| "{}".to_owned()) }))
}

fn read_webhook(shape: &Json) -> Result<Option<Webhook>, InvalidShape> {
    let shape = match shape.get("webhook") {
        None | Some(Json::Null) => return Ok(None),
        Some(shape) => shape,
    };
    known(shape, "clientRpc.webhook", &["url", "timeoutMs", "authorization"])?;
    let url = text(shape, "url")?.ok_or_else(|| invalid("'clientRpc.webhook' has an 'url'"))?;
    Webhook::check_url(url).map_err(|problem| invalid(format!("'clientRpc.webhook.url' {problem}")))?;
    let timeout_ms = match shape.get("timeoutMs") {
        None | Some(Json::Null) => WEBHOOK_TIMEOUT_MS_DEFAULT,
        Some(value) => value
            .as_u64()
            .and_then(|value| u32::try_from(value).ok())
            .filter(|value| WEBHOOK_TIMEOUT_MS.contains(value))
            .ok_or_else(|| {
                let (start, end) = (WEBHOOK_TIMEOUT_MS.start(), WEBHOOK_TIMEOUT_MS.end());
                invalid(format!("'clientRpc.webhook.timeoutMs' is a whole number from {start} to {end}"))
            })?,
    };
    let authorization = text(shape, "authorization")?.map(str::to_owned);
    if let Some(authorization) = &authorization {
        Webhook::check_authorization(authorization)
            .map_err(|problem| invalid(format!("'clientRpc.webhook.authorization' {problem}")))?;
    }
    Ok(Some(Webhook { url: url.to_owned(), timeout_ms, authorization }))
}

fn known(shape: &Json, name: &str, members: &[&str]) -> Result<(), InvalidShape> {
    let object = shape.as_object().ok_or_else(|| invalid(format!("'{name}' is an object")))?;
    match object.keys().find(|member| !members.contains(&member.as_str())) {
        None => Ok(()),
        Some(unknown) => {
            let known = members.iter().map(|member| format!("'{member}'")).collect::<Vec<_>>().join(", ");
            Err(invalid(format!("'{name}' has the members {known}, not '{unknown}'")))
        }
    }
}

/// Writes the member.
pub(crate) fn write(client_rpc: &ClientRpc) -> Json {
    let ClientRpc { responder, webhook } = client_rpc;
    if responder.is_none() && webhook.is_none() {
        return Json::Null;
    }
    let settings = |choice: &ResponderChoice| {
        serde_json::from_str::<Json>(&choice.settings).unwrap_or_else(|_| json!({}))
    };
    json!({
        "responder": responder.as_ref().map(|choice| choice.name.to_string()),
        "settings": responder.as_ref().map(settings),
        "webhook": webhook.as_ref().map(|webhook| json!({
            "url": webhook.url,
            "timeoutMs": webhook.timeout_ms,
            "authorization": webhook.authorization,
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wireglot_model::limits::WEBHOOK_TEXT_BYTES_MAX;

    #[track_caller]
    fn refused(client_rpc: Json, words: &str) {
        let reason = read(&json!({"clientRpc": client_rpc})).expect_err(words).to_string();
        assert!(reason.contains(words), "{reason:?} has no {words:?}");
    }

    #[test]
    fn what_is_read_is_written_again() {
        for shape in [
            json!(null),
            json!({
                "responder": "clock",
                "settings": {"zone": "UTC"},
                "webhook": {"url": "https://example.org/rpc?a=b", "timeoutMs": 100, "authorization": "Bearer x"},
            }),
        ] {
            let client_rpc = read(&json!({"clientRpc": shape.clone()})).expect("it is one");
            assert_eq!(write(&client_rpc), shape);
        }
        let usual = read(&json!({"clientRpc": {"webhook": {"url": "http://h"}}})).expect("it is one");
        assert_eq!(usual.webhook.map(|webhook| webhook.timeout_ms), Some(WEBHOOK_TIMEOUT_MS_DEFAULT));
        assert_eq!(usual.responder, None);
    }

    #[test]
    fn mistakes_are_named() {
        refused(json!(3), "'clientRpc' is an object");
        refused(json!({"responder": "no good!"}), "'clientRpc.responder'");
        refused(json!({"responder": "a", "settings": 1}), "'clientRpc.settings' is a JSON object");
        refused(json!({"settings": {}}), "are those of a 'responder'");
        refused(json!({"webhooks": {}}), "not 'webhooks'");
        refused(json!({"webhook": {}}), "has an 'url'");
        refused(json!({"webhook": {"url": "http://h", "header": 1}}), "not 'header'");
        for url in ["", "h", "ftp://h", "http://", "http:///x"] {
            refused(json!({"webhook": {"url": url}}), "begins with http://");
        }
        refused(json!({"webhook": {"url": "http://user:secret@h/"}}), "holds no credentials");
        refused(json!({"webhook": {"url": "http://h/ x"}}), "no spaces");
        refused(
            json!({"webhook": {"url": format!("http://h/{}", "x".repeat(WEBHOOK_TEXT_BYTES_MAX))}}),
            "too long",
        );
        for timeout in [99, 60_001] {
            refused(json!({"webhook": {"url": "http://h", "timeoutMs": timeout}}), "from 100 to 60000");
        }
        refused(json!({"webhook": {"url": "http://h", "authorization": "a\r\nb: c"}}), "printable");
    }
}
