//! The messages that every profile knows (device API §9), and what of them the server reads and writes.
//!
//! The structures below are the wire format: their numbers are the device API's and never change.

use prost::Message as _;
use wireglot_model::{Sample, Value, split_keys};

use crate::ProtoRefusal;

mod wire {
    //! Field by field as device API §9 has them. Fields that the server neither reads nor writes are left out.

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct AttributesRequest {
        #[prost(string, tag = "1")]
        pub(super) client_keys: String,
        #[prost(string, tag = "2")]
        pub(super) shared_keys: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct RpcRequest {
        #[prost(string, tag = "1")]
        pub(super) method: String,
        #[prost(string, tag = "2")]
        pub(super) params: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ClaimDevice {
        #[prost(string, tag = "1")]
        pub(super) secret_key: String,
        #[prost(int64, tag = "2")]
        pub(super) duration_ms: i64,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Debug, prost::Enumeration)]
    #[repr(i32)]
    pub(super) enum KeyValueType {
        Boolean = 0,
        Long = 1,
        Double = 2,
        Text = 3,
        Json = 4,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct KeyValue {
        #[prost(string, tag = "1")]
        pub(super) key: String,
        #[prost(enumeration = "KeyValueType", tag = "2")]
        pub(super) kind: i32,
        #[prost(bool, tag = "3")]
        pub(super) bool_v: bool,
        #[prost(int64, tag = "4")]
        pub(super) long_v: i64,
        #[prost(double, tag = "5")]
        pub(super) double_v: f64,
        #[prost(string, tag = "6")]
        pub(super) string_v: String,
        #[prost(string, tag = "7")]
        pub(super) json_v: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TsKeyValue {
        #[prost(int64, tag = "1")]
        pub(super) ts: i64,
        #[prost(message, optional, tag = "2")]
        pub(super) kv: Option<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GetAttributeResponse {
        #[prost(int32, tag = "1")]
        pub(super) request_id: i32,
        #[prost(message, repeated, tag = "2")]
        pub(super) client: Vec<TsKeyValue>,
        #[prost(message, repeated, tag = "3")]
        pub(super) shared: Vec<TsKeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct AttributeUpdateNotification {
        #[prost(message, repeated, tag = "1")]
        pub(super) updated: Vec<TsKeyValue>,
        #[prost(string, repeated, tag = "2")]
        pub(super) deleted: Vec<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ToServerRpcResponse {
        #[prost(int32, tag = "1")]
        pub(super) request_id: i32,
        #[prost(string, tag = "2")]
        pub(super) payload: String,
        #[prost(string, tag = "3")]
        pub(super) error: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ValidateToken {
        #[prost(string, tag = "1")]
        pub(super) token: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ValidateCertificate {
        #[prost(string, tag = "1")]
        pub(super) hash: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ValidateBasic {
        #[prost(string, tag = "1")]
        pub(super) client_id: String,
        #[prost(string, tag = "2")]
        pub(super) user_name: String,
        #[prost(string, tag = "3")]
        pub(super) password: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct CredentialsData {
        #[prost(message, optional, tag = "1")]
        pub(super) token: Option<ValidateToken>,
        #[prost(message, optional, tag = "2")]
        pub(super) certificate: Option<ValidateCertificate>,
        #[prost(message, optional, tag = "3")]
        pub(super) basic: Option<ValidateBasic>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ProvisionCredentials {
        #[prost(string, tag = "1")]
        pub(super) key: String,
        #[prost(string, tag = "2")]
        pub(super) secret: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ProvisionRequest {
        #[prost(string, tag = "1")]
        pub(super) device_name: String,
        #[prost(int32, tag = "2")]
        pub(super) credentials_type: i32,
        #[prost(message, optional, tag = "3")]
        pub(super) credentials: Option<ProvisionCredentials>,
        #[prost(message, optional, tag = "4")]
        pub(super) data: Option<CredentialsData>,
        #[prost(bool, tag = "5")]
        pub(super) gateway: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ProvisionResponse {
        #[prost(int32, tag = "1")]
        pub(super) status: i32,
        #[prost(int32, tag = "2")]
        pub(super) credentials_type: i32,
        #[prost(string, tag = "3")]
        pub(super) credentials_value: String,
    }
}

fn read<M: prost::Message + Default>(name: &str, payload: &[u8]) -> Result<M, ProtoRefusal> {
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
    let (client, shared) = (client.iter().map(key_value), shared.iter().map(key_value));
    wire::GetAttributeResponse { request_id: id, client: client.collect(), shared: shared.collect() }
        .encode_to_vec()
}

/// An AttributeUpdateNotificationMsg with what was written.
pub fn write_attribute_update(samples: &[Sample]) -> Vec<u8> {
    let updated = samples.iter().map(key_value).collect();
    wire::AttributeUpdateNotification { updated, deleted: Vec::new() }.encode_to_vec()
}

/// An AttributeUpdateNotificationMsg with what was deleted.
pub fn write_attribute_delete(keys: &[String]) -> Vec<u8> {
    wire::AttributeUpdateNotification { updated: Vec::new(), deleted: keys.to_vec() }.encode_to_vec()
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

/// A client-side RPC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientRpc {
    /// What to call.
    pub method: String,
    /// JSON text.
    pub params: String,
}

/// An RpcRequest. Its `params` are JSON; what is not, and is base64, is taken as a text (device API §13).
pub fn client_rpc(payload: &[u8]) -> Result<ClientRpc, ProtoRefusal> {
    const NAME: &str = "transportapi.RpcRequest";
    let wire::RpcRequest { method, params } = read(NAME, payload)?;
    if method.is_empty() {
        return Err(ProtoRefusal::content(NAME, "method", "the method is missing"));
    }
    if params.trim().is_empty() {
        return Ok(ClientRpc { method, params: "null".into() });
    }
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(&params) {
        return Ok(ClientRpc { method, params: json.to_string() });
    }
    let is_base64 = params.len().is_multiple_of(4)
        && base64::Engine::decode(&base64::prelude::BASE64_STANDARD, &params).is_ok();
    if is_base64 {
        return Ok(ClientRpc { method, params: serde_json::Value::from(params).to_string() });
    }
    Err(ProtoRefusal::content(NAME, "params", "the parameters are neither JSON nor base64"))
}

/// A ToServerRpcResponseMsg with an answer, which is JSON text.
pub fn write_client_rpc_response(id: i32, payload: &str) -> Vec<u8> {
    let payload = payload.to_owned();
    wire::ToServerRpcResponse { request_id: id, payload, error: String::new() }.encode_to_vec()
}

/// A ToServerRpcResponseMsg with why there is no answer.
pub fn write_client_rpc_error(id: i32, error: &str) -> Vec<u8> {
    let error = error.to_owned();
    wire::ToServerRpcResponse { request_id: id, payload: String::new(), error }.encode_to_vec()
}

/// A ClaimDevice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// What the claimer has to know; may be empty.
    pub secret_key: String,
    /// How long; 0 or less: as long as the server says.
    pub duration_ms: i64,
}

/// A ClaimDevice; all of it is optional.
pub fn claim(payload: &[u8]) -> Result<Claim, ProtoRefusal> {
    let wire::ClaimDevice { secret_key, duration_ms } = read("transportapi.ClaimDevice", payload)?;
    Ok(Claim { secret_key, duration_ms })
}

/// The credentials that a device asks to be given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CredentialsKind {
    /// A token.
    AccessToken,
    /// A certificate.
    X509Certificate,
    /// Client id, user name, password.
    MqttBasic,
    /// Of no use here.
    Lwm2m,
}

/// What a device brings of its own; empty: nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CredentialsGiven {
    /// Of ACCESS_TOKEN.
    pub token: String,
    /// Of X509_CERTIFICATE.
    pub certificate: String,
    /// Of MQTT_BASIC,
    pub client_id: String,
    /// likewise,
    pub user_name: String,
    /// likewise.
    pub password: String,
}

/// A ProvisionDeviceRequestMsg.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProvisionRequest {
    /// `None`: the server chooses one.
    pub device_name: Option<String>,
    /// Of the profile.
    pub key: String,
    /// Of the profile.
    pub secret: String,
    /// Which kind of credentials.
    pub kind: CredentialsKind,
    /// Which ones.
    pub given: CredentialsGiven,
    /// The device is a gateway.
    pub gateway: bool,
}

/// A ProvisionDeviceRequestMsg. Key and secret may be empty, which the server answers with NOT_FOUND.
pub fn provision_request(payload: &[u8]) -> Result<ProvisionRequest, ProtoRefusal> {
    const NAME: &str = "transport.ProvisionDeviceRequestMsg";
    let request: wire::ProvisionRequest = read(NAME, payload)?;
    let kind = match request.credentials_type {
        0 => CredentialsKind::AccessToken,
        1 => CredentialsKind::X509Certificate,
        2 => CredentialsKind::MqttBasic,
        3 => CredentialsKind::Lwm2m,
        other => {
            let problem = format!("{other} is no type of credentials");
            return Err(ProtoRefusal::content(NAME, "credentialsType", problem));
        }
    };
    let credentials = request.credentials.unwrap_or_default();
    let data = request.data.unwrap_or_default();
    let basic = data.basic.unwrap_or_default();
    Ok(ProvisionRequest {
        device_name: Some(request.device_name).filter(|name| !name.is_empty()),
        key: credentials.key,
        secret: credentials.secret,
        kind,
        given: CredentialsGiven {
            token: data.token.unwrap_or_default().token,
            certificate: data.certificate.unwrap_or_default().hash,
            client_id: basic.client_id,
            user_name: basic.user_name,
            password: basic.password,
        },
        gateway: request.gateway,
    })
}

/// How provisioning went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProvisionStatus {
    /// The credentials are there.
    Success,
    /// No profile has this key and secret.
    NotFound,
    /// The profile does not let this device in.
    Failure,
}

/// A ProvisionDeviceResponseMsg. `value` is the token, the certificate, or the basic credentials as JSON text.
pub fn write_provision_response(status: ProvisionStatus, kind: CredentialsKind, value: &str) -> Vec<u8> {
    let status = match status {
        ProvisionStatus::Success => 1,
        ProvisionStatus::NotFound => 2,
        ProvisionStatus::Failure => 3,
    };
    let credentials_type = match kind {
        CredentialsKind::AccessToken => 0,
        CredentialsKind::X509Certificate => 1,
        CredentialsKind::MqttBasic => 2,
        CredentialsKind::Lwm2m => 3,
    };
    wire::ProvisionResponse { status, credentials_type, credentials_value: value.to_owned() }.encode_to_vec()
}
