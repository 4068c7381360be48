//! The messages that every profile knows (device API §9), and what of them the server reads and writes.
//!
//! The structures below are the wire format: their numbers are the device API's and never change.

use prost::Message as _;
use wireglot_model::{
    Credentials, CredentialsKind, ProvisionAnswer, ProvisionCredentials, ProvisionCredentialsKind,
    ProvisionRequest, Sample, Value, split_keys,
};

use crate::ProtoRefusal;

pub(crate) mod wire {
    //! Field by field as device API §9 has them. Fields that the server neither reads nor writes are left out.

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct AttributesRequest {
        #[prost(string, tag = "1")]
        pub(crate) client_keys: String,
        #[prost(string, tag = "2")]
        pub(crate) shared_keys: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct RpcRequest {
        #[prost(string, tag = "1")]
        pub(crate) method: String,
        #[prost(string, tag = "2")]
        pub(crate) params: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ClaimDevice {
        #[prost(string, tag = "1")]
        pub(crate) secret_key: String,
        #[prost(int64, tag = "2")]
        pub(crate) duration_ms: i64,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Debug, prost::Enumeration)]
    #[repr(i32)]
    pub(crate) enum KeyValueType {
        Boolean = 0,
        Long = 1,
        Double = 2,
        Text = 3,
        Json = 4,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct KeyValue {
        #[prost(string, tag = "1")]
        pub(crate) key: String,
        #[prost(enumeration = "KeyValueType", tag = "2")]
        pub(crate) kind: i32,
        #[prost(bool, tag = "3")]
        pub(crate) bool_v: bool,
        #[prost(int64, tag = "4")]
        pub(crate) long_v: i64,
        #[prost(double, tag = "5")]
        pub(crate) double_v: f64,
        #[prost(string, tag = "6")]
        pub(crate) string_v: String,
        #[prost(string, tag = "7")]
        pub(crate) json_v: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct TsKeyValue {
        #[prost(int64, tag = "1")]
        pub(crate) ts: i64,
        #[prost(message, optional, tag = "2")]
        pub(crate) kv: Option<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct GetAttributeResponse {
        #[prost(int32, tag = "1")]
        pub(crate) request_id: i32,
        #[prost(message, repeated, tag = "2")]
        pub(crate) client: Vec<TsKeyValue>,
        #[prost(message, repeated, tag = "3")]
        pub(crate) shared: Vec<TsKeyValue>,
        #[prost(bool, tag = "4")]
        pub(crate) is_multiple: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ToDeviceRpcRequest {
        #[prost(int32, tag = "1")]
        pub(crate) request_id: i32,
        #[prost(string, tag = "2")]
        pub(crate) method_name: String,
        #[prost(string, tag = "3")]
        pub(crate) params: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct AttributeUpdateNotification {
        #[prost(message, repeated, tag = "1")]
        pub(crate) updated: Vec<TsKeyValue>,
        #[prost(string, repeated, tag = "2")]
        pub(crate) deleted: Vec<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ToServerRpcResponse {
        #[prost(int32, tag = "1")]
        pub(crate) request_id: i32,
        #[prost(string, tag = "2")]
        pub(crate) payload: String,
        #[prost(string, tag = "3")]
        pub(crate) error: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ValidateToken {
        #[prost(string, tag = "1")]
        pub(crate) token: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ValidateCertificate {
        #[prost(string, tag = "1")]
        pub(crate) hash: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ValidateBasic {
        #[prost(string, tag = "1")]
        pub(crate) client_id: String,
        #[prost(string, tag = "2")]
        pub(crate) user_name: String,
        #[prost(string, tag = "3")]
        pub(crate) password: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct CredentialsData {
        #[prost(message, optional, tag = "1")]
        pub(crate) token: Option<ValidateToken>,
        #[prost(message, optional, tag = "2")]
        pub(crate) certificate: Option<ValidateCertificate>,
        #[prost(message, optional, tag = "3")]
        pub(crate) basic: Option<ValidateBasic>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ProvisionCredentials {
        #[prost(string, tag = "1")]
        pub(crate) key: String,
        #[prost(string, tag = "2")]
        pub(crate) secret: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ProvisionRequest {
        #[prost(string, tag = "1")]
        pub(crate) device_name: String,
        #[prost(int32, tag = "2")]
        pub(crate) credentials_type: i32,
        #[prost(message, optional, tag = "3")]
        pub(crate) credentials: Option<ProvisionCredentials>,
        #[prost(message, optional, tag = "4")]
        pub(crate) data: Option<CredentialsData>,
        #[prost(bool, tag = "5")]
        pub(crate) gateway: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct ProvisionResponse {
        #[prost(int32, tag = "1")]
        pub(crate) status: i32,
        #[prost(int32, tag = "2")]
        pub(crate) credentials_type: i32,
        #[prost(string, tag = "3")]
        pub(crate) credentials_value: String,
    }
}

pub(crate) fn read<M: prost::Message + Default>(name: &str, payload: &[u8]) -> Result<M, ProtoRefusal> {
    M::decode(payload).map_err(|error| ProtoRefusal::malformed(name, error))
}

/// The client and the shared keys of an AttributesRequest. Both lists empty: everything of both scopes.
pub fn attribute_request(payload: &[u8]) -> Result<(Vec<String>, Vec<String>), ProtoRefusal> {
    let request: wire::AttributesRequest = read("transportapi.AttributesRequest", payload)?;
    // A text that is not there and an empty one are the same here, and JSON's one empty key is nobody's wish.
    let keys = |list: &str| if list.is_empty() { Vec::new() } else { split_keys(list) };
    Ok((keys(&request.client_keys), keys(&request.shared_keys)))
}

/// A GetAttributeResponseMsg.
pub fn write_attribute_response(id: i32, client: &[Sample], shared: &[Sample]) -> Vec<u8> {
    attribute_response(id, client, shared).encode_to_vec()
}

pub(crate) fn attribute_response(
    id: i32,
    client: &[Sample],
    shared: &[Sample],
) -> wire::GetAttributeResponse {
    wire::GetAttributeResponse {
        request_id: id,
        client: client.iter().map(key_value).collect(),
        shared: shared.iter().map(key_value).collect(),
        is_multiple: false,
    }
}

/// An AttributeUpdateNotificationMsg with what was written.
pub fn write_attribute_update(samples: &[Sample]) -> Vec<u8> {
    attribute_update(samples).encode_to_vec()
}

pub(crate) fn attribute_update(samples: &[Sample]) -> wire::AttributeUpdateNotification {
    wire::AttributeUpdateNotification {
        updated: samples.iter().map(key_value).collect(),
        deleted: Vec::new(),
    }
}

/// An AttributeUpdateNotificationMsg with what was deleted.
pub fn write_attribute_delete(keys: &[String]) -> Vec<u8> {
    attribute_delete(keys).encode_to_vec()
}

pub(crate) fn attribute_delete(keys: &[String]) -> wire::AttributeUpdateNotification {
    wire::AttributeUpdateNotification { updated: Vec::new(), deleted: keys.to_vec() }
}

fn key_value(sample: &Sample) -> wire::TsKeyValue {
    use wire::KeyValueType;
    let mut kv = wire::KeyValue { key: sample.key.clone(), ..wire::KeyValue::default() };
    let kind = match &sample.value {
        Value::Bool(value) => {
            kv.bool_v = *value;
            KeyValueType::Boolean
        }
        Value::Long(value) => {
            kv.long_v = *value;
            KeyValueType::Long
        }
        Value::Double(value) => {
            kv.double_v = *value;
            KeyValueType::Double
        }
        Value::Text(value) => {
            kv.string_v.clone_from(value);
            KeyValueType::Text
        }
        Value::Json(value) => {
            kv.json_v.clone_from(value);
            KeyValueType::Json
        }
    };
    kv.kind = kind as i32;
    wire::TsKeyValue { ts: 0, kv: Some(kv) }
}

/// The method of an RpcRequest, and its `params` as JSON text; what is not JSON, and is base64, is taken as a text (device
/// API §13).
pub fn client_rpc(payload: &[u8]) -> Result<(String, String), ProtoRefusal> {
    const NAME: &str = "transportapi.RpcRequest";
    let wire::RpcRequest { method, params } = read(NAME, payload)?;
    if method.is_empty() {
        return Err(ProtoRefusal::content(NAME, "method", "the method is missing"));
    }
    if params.trim().is_empty() {
        return Ok((method, "null".into()));
    }
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(&params) {
        return Ok((method, json.to_string()));
    }
    let is_base64 = params.len().is_multiple_of(4)
        && base64::Engine::decode(&base64::prelude::BASE64_STANDARD, &params).is_ok();
    if is_base64 {
        return Ok((method, serde_json::Value::from(params).to_string()));
    }
    Err(ProtoRefusal::content(NAME, "params", "the parameters are neither JSON nor base64"))
}

/// A ToServerRpcResponseMsg with an answer, which is JSON text; `{"error":"…"}` says why there is none.
pub fn write_client_rpc_answer(id: i32, answer: &str) -> Vec<u8> {
    let error = match serde_json::from_str(answer) {
        Ok(serde_json::Value::Object(members)) if members.len() == 1 => {
            members.get("error").and_then(serde_json::Value::as_str).map(str::to_owned)
        }
        Ok(_) | Err(_) => None,
    };
    let payload = if error.is_none() { answer.to_owned() } else { String::new() };
    wire::ToServerRpcResponse { request_id: id, payload, error: error.unwrap_or_default() }.encode_to_vec()
}

/// The secret of a ClaimDevice, and for how many milliseconds it is good; all of it is optional.
pub fn claim(payload: &[u8]) -> Result<(String, i64), ProtoRefusal> {
    let wire::ClaimDevice { secret_key, duration_ms } = read("transportapi.ClaimDevice", payload)?;
    Ok((secret_key, duration_ms))
}

/// A ProvisionDeviceRequestMsg. Key and secret may be empty, which the server answers with NOT_FOUND.
pub fn provision_request(payload: &[u8]) -> Result<ProvisionRequest, ProtoRefusal> {
    const NAME: &str = "transport.ProvisionDeviceRequestMsg";
    let request: wire::ProvisionRequest = read(NAME, payload)?;
    let kind = match request.credentials_type {
        0 => ProvisionCredentialsKind::AccessToken,
        1 => ProvisionCredentialsKind::X509,
        2 => ProvisionCredentialsKind::MqttBasic,
        3 => ProvisionCredentialsKind::Lwm2m,
        other => {
            let problem = format!("{other} is no type of credentials");
            return Err(ProtoRefusal::content(NAME, "credentialsType", problem));
        }
    };
    let due = request.credentials.unwrap_or_default();
    let data = request.data.unwrap_or_default();
    let basic = data.basic.unwrap_or_default();
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(ProvisionRequest {
        key: due.key,
        secret: due.secret,
        device_name: given(request.device_name),
        credentials: ProvisionCredentials {
            kind,
            token: given(data.token.unwrap_or_default().token),
            client_id: given(basic.client_id),
            user_name: given(basic.user_name),
            password: given(basic.password),
            certificate: given(data.certificate.unwrap_or_default().hash),
        },
        is_gateway: request.gateway,
    })
}

/// A ProvisionDeviceResponseMsg with the token, the certificate, or the basic credentials as JSON text.
pub fn write_provision_response(answer: &ProvisionAnswer) -> Vec<u8> {
    let (status, credentials_type, credentials_value) = match answer {
        ProvisionAnswer::Success(Credentials { kind, lookup, .. }) => match kind {
            CredentialsKind::AccessToken => (1, 0, lookup.clone()),
            CredentialsKind::X509 { certificate } => (1, 1, certificate.clone()),
            CredentialsKind::MqttBasic { client_id, user_name, password } => {
                let basic = serde_json::json!({
                    "clientId": client_id,
                    "userName": user_name,
                    "password": password,
                });
                (1, 2, basic.to_string())
            }
        },
        ProvisionAnswer::NotFound => (2, 0, String::new()),
        ProvisionAnswer::Failure => (3, 0, String::new()),
    };
    wire::ProvisionResponse { status, credentials_type, credentials_value }.encode_to_vec()
}
