//! The shape of a profile's provisioning in JSON (device profile §5), here and in `fleet.toml`.

use serde_json::{Value as Json, json};
use wireglot_model::Provisioning;

use crate::profile_shape::{InvalidShape, invalid, text};

/// Reads it out of a profile. Members that are not known are not kept.
pub(crate) fn read(shape: &Json) -> Result<Provisioning, InvalidShape> {
    let nothing = json!({});
    let configuration = shape.pointer("/profileData/provisionConfiguration");
    let configuration = configuration.filter(|configuration| !configuration.is_null()).unwrap_or(&nothing);
    if !configuration.is_object() {
        return Err(invalid("'provisionConfiguration' is an object"));
    }
    let stated = text(shape, "provisionType")?;
    let kind = text(configuration, "type")?.or(stated).unwrap_or("DISABLED");
    if let Some(stated) = stated.filter(|stated| *stated != kind) {
        return Err(invalid(format!(
            "'provisionType' is '{stated}', but the type of the 'provisionConfiguration' is '{kind}': they have to agree!"
        )));
    }
    let key = || Ok(text(shape, "provisionDeviceKey")?.unwrap_or_default().to_owned());
    let secret = || Ok(text(configuration, "provisionDeviceSecret")?.unwrap_or_default().to_owned());
    match kind {
        "DISABLED" => Ok(Provisioning::Disabled),
        "ALLOW_CREATE_NEW_DEVICES" => Ok(Provisioning::CreateNew { key: key()?, secret: secret()? }),
        "CHECK_PRE_PROVISIONED_DEVICES" => {
            Ok(Provisioning::CheckPreProvisioned { key: key()?, secret: secret()? })
        }
        "X509_CERTIFICATE_CHAIN" => {
            let creates = "allowCreateNewDevicesByX509Certificate";
            let creates_devices = match configuration.get(creates) {
                None | Some(Json::Null) => false,
                Some(value) => {
                    value.as_bool().ok_or_else(|| invalid(format!("'{creates}' is true or false")))?
                }
            };
            Ok(Provisioning::CertificateChain {
                // The server computes it, whatever was sent.
                key: String::new(),
                certificates: secret()?,
                name_pattern: text(configuration, "certificateRegExPattern")?.unwrap_or("(.*)").to_owned(),
                creates_devices,
            })
        }
        other => Err(invalid(format!(
            "provisioning is DISABLED, ALLOW_CREATE_NEW_DEVICES, CHECK_PRE_PROVISIONED_DEVICES or \
             X509_CERTIFICATE_CHAIN, not '{other}'"
        ))),
    }
}

/// `provisionType`
pub(crate) fn kind(provisioning: &Provisioning) -> &'static str {
    match provisioning {
        Provisioning::Disabled => "DISABLED",
        Provisioning::CreateNew { .. } => "ALLOW_CREATE_NEW_DEVICES",
        Provisioning::CheckPreProvisioned { .. } => "CHECK_PRE_PROVISIONED_DEVICES",
        Provisioning::CertificateChain { .. } => "X509_CERTIFICATE_CHAIN",
    }
}

/// `profileData.provisionConfiguration`
pub(crate) fn configuration(provisioning: &Provisioning) -> Json {
    let kind = kind(provisioning);
    match provisioning {
        Provisioning::Disabled => json!({"type": kind, "provisionDeviceSecret": null}),
        Provisioning::CreateNew { secret, .. } | Provisioning::CheckPreProvisioned { secret, .. } => {
            json!({"type": kind, "provisionDeviceSecret": secret})
        }
        Provisioning::CertificateChain { certificates, name_pattern, creates_devices, .. } => json!({
            "type": kind,
            "provisionDeviceSecret": certificates,
            "certificateRegExPattern": name_pattern,
            "allowCreateNewDevicesByX509Certificate": creates_devices,
        }),
    }
}
