//! The shapes of entities in JSON: ids with their type, devices and their credentials. Profiles have `profile_shape`.

use serde::Deserialize;
use serde_json::{Value as Json, json};
use utoipa::ToSchema;
use uuid::Uuid;
use wireglot_device::{CredentialsDraft, DeviceDraft, DeviceHandle, ProfileChoice};
use wireglot_model::{
    Credentials, CredentialsKind, CustomerId, OtaPackageId, OtaTargets, TenantId, TransportKind, User,
};

use crate::error::ApiError;
use crate::openapi::schemas::CredentialsType;
use crate::request;

/// The id that stands for "no customer".
pub(crate) const NO_CUSTOMER: Uuid = Uuid::from_u128(0x13814000_1dd2_11b2_8080_808080808080);

/// An id as it stands in bodies. Clients pick the class by its type.
pub(crate) fn entity(kind: &str, id: impl std::fmt::Display) -> Json {
    json!({"entityType": kind, "id": id.to_string()})
}

/// Whose something is.
pub(crate) fn owner(customer: Option<CustomerId>) -> Json {
    entity("CUSTOMER", customer.map_or(NO_CUSTOMER, |customer| customer.0))
}

/// An id in a body; its type is known from where it stands.
#[derive(Deserialize, ToSchema)]
pub(crate) struct EntityRef {
    #[schema(format = "uuid")]
    pub(crate) id: String,
}

/// What of a device can be written, and what says which device is meant.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"name": "thermo-1", "type": "thermometer"}))]
pub(crate) struct DeviceBody {
    /// Of the device that is changed; without one a device is made.
    pub(crate) id: Option<EntityRef>,
    #[schema(required, nullable = false, min_length = 1, max_length = 255)]
    name: Option<String>,
    /// Name of the profile, where `deviceProfileId` is not given; one that is not there is made.
    #[serde(rename = "type")]
    profile_name: Option<String>,
    label: Option<String>,
    pub(crate) device_profile_id: Option<EntityRef>,
    /// Any JSON; `{"gateway": true}` makes the device a gateway.
    #[schema(value_type = Json, required = false)]
    additional_info: Option<Json>,
    firmware_id: Option<EntityRef>,
    software_id: Option<EntityRef>,
    /// The version that is changed: another one meanwhile is a conflict.
    pub(crate) version: Option<u64>,
}

impl DeviceBody {
    pub(crate) fn to_draft(&self) -> Result<DeviceDraft, ApiError> {
        let name = self.profile_name.as_ref().filter(|name| !name.trim().is_empty());
        let profile = match (&self.device_profile_id, name) {
            (Some(profile), _) => ProfileChoice::Id(request::id(&profile.id)?),
            (None, Some(name)) => ProfileChoice::Name(name.clone()),
            (None, None) => ProfileChoice::Default,
        };
        let (firmware, software) = (package(self.firmware_id.as_ref())?, package(self.software_id.as_ref())?);
        Ok(DeviceDraft {
            name: self.name.clone().unwrap_or_default(),
            label: self.label.clone(),
            profile,
            additional_info: self.additional_info.as_ref().unwrap_or(&Json::Null).to_string(),
            ota: OtaTargets { firmware, software },
        })
    }
}

fn package(reference: Option<&EntityRef>) -> Result<Option<OtaPackageId>, ApiError> {
    reference.map(|package| request::id(&package.id)).transpose()
}

/// The id of a package, or null.
pub(crate) fn package_id(package: Option<OtaPackageId>) -> Json {
    package.map_or(Json::Null, |id| entity("OTA_PACKAGE", id))
}

/// A device.
pub(crate) fn device(device: &DeviceHandle, tenant: TenantId) -> Json {
    let view = device.view();
    let (record, profile) = (view.device(), &view.profile);
    let transport = match &profile.profile.transport {
        TransportKind::Default => "DEFAULT",
        TransportKind::Mqtt(_) => "MQTT",
        TransportKind::Other(kind) => kind,
    };
    // Whoever made the record has checked that this is JSON.
    let additional_info: Json = serde_json::from_str(&record.additional_info).unwrap_or(Json::Null);
    json!({
        "id": entity("DEVICE", record.id),
        "createdTime": record.created.0,
        "tenantId": entity("TENANT", tenant),
        "customerId": owner(record.customer),
        "name": record.name,
        "type": profile.profile.name,
        "label": record.label,
        "deviceProfileId": entity("DEVICE_PROFILE", record.profile),
        "deviceData": {
            "configuration": {"type": "DEFAULT"},
            "transportConfiguration": {"type": transport},
        },
        "firmwareId": package_id(record.ota.firmware),
        "softwareId": package_id(record.ota.software),
        "additionalInfo": additional_info,
        "externalId": null,
        "version": record.version,
    })
}

/// A user.
pub(crate) fn user(user: &User, tenant: TenantId) -> Json {
    // Whoever made the record has checked that this is JSON.
    let additional_info: Json = serde_json::from_str(&user.additional_info).unwrap_or(Json::Null);
    json!({
        "id": entity("USER", user.id),
        "createdTime": user.created.0,
        "tenantId": entity("TENANT", tenant),
        "customerId": owner(user.customer),
        "email": user.email,
        "authority": authority(user),
        "firstName": user.first_name,
        "lastName": user.last_name,
        "phone": user.phone,
        "name": user.email,
        "additionalInfo": additional_info,
        "version": user.version,
    })
}

/// What a user may do, in one word.
pub(crate) fn authority(user: &User) -> &'static str {
    if user.customer.is_some() { CUSTOMER_USER } else { TENANT_ADMIN }
}

/// Who sees everything.
pub(crate) const TENANT_ADMIN: &str = "TENANT_ADMIN";

/// Who sees the devices of one customer.
pub(crate) const CUSTOMER_USER: &str = "CUSTOMER_USER";

/// What of credentials can be written, and whose they are.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CredentialsBody {
    /// Whose they are; not needed where the device stands beside them.
    pub(crate) device_id: Option<EntityRef>,
    #[schema(required, nullable = false, inline, value_type = CredentialsType)]
    credentials_type: Option<String>,
    /// Of `ACCESS_TOKEN`: the token.
    credentials_id: Option<String>,
    /// Of `MQTT_BASIC`: `{"clientId": …, "userName": …, "password": …}` as text. Of `X509_CERTIFICATE`: the
    /// certificate, PEM.
    credentials_value: Option<String>,
    /// The version that is changed: another one meanwhile is a conflict.
    pub(crate) version: Option<u64>,
}

/// The parts of MQTT_BASIC, which travel as JSON text within a string.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BasicBody {
    client_id: Option<String>,
    user_name: Option<String>,
    password: Option<String>,
}

impl CredentialsBody {
    pub(crate) fn into_draft(self) -> Result<CredentialsDraft, ApiError> {
        match self.credentials_type.as_deref() {
            None => Err(ApiError::bad_request("Device credentials type should be specified!")),
            Some("ACCESS_TOKEN") => {
                Ok(CredentialsDraft::AccessToken(self.credentials_id.unwrap_or_default()))
            }
            Some("MQTT_BASIC") => {
                let value = self.credentials_value.unwrap_or_default();
                let basic: BasicBody = serde_json::from_str(&value).map_err(|_| {
                    ApiError::bad_request("Invalid credentials body for simple mqtt credentials!")
                })?;
                let BasicBody { client_id, user_name, password } = basic;
                Ok(CredentialsDraft::MqttBasic { client_id, user_name, password })
            }
            Some("X509_CERTIFICATE") => {
                Ok(CredentialsDraft::X509 { certificate: self.credentials_value.unwrap_or_default() })
            }
            Some(other) => {
                Err(ApiError::bad_request(format!("Credentials of type '{other}' are not served")))
            }
        }
    }
}

/// The credentials of a device.
pub(crate) fn credentials(credentials: &Credentials) -> Json {
    let (kind, value) = match &credentials.kind {
        CredentialsKind::AccessToken => ("ACCESS_TOKEN", None),
        CredentialsKind::MqttBasic { client_id, user_name, password } => {
            let basic = json!({"clientId": client_id, "userName": user_name, "password": password});
            ("MQTT_BASIC", Some(basic.to_string()))
        }
        CredentialsKind::X509 { certificate } => ("X509_CERTIFICATE", Some(certificate.clone())),
    };
    json!({
        "id": {"id": credentials.id.to_string()},
        "createdTime": credentials.created.0,
        "deviceId": entity("DEVICE", credentials.device),
        "credentialsType": kind,
        "credentialsId": credentials.lookup,
        "credentialsValue": value,
        "version": credentials.version,
    })
}
