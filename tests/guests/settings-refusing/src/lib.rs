//! Likes no settings at all.

use wireglot_sdk::{Codec, Decoded, Metadata, Refusal, Samples, Settings, Uplink};

struct SettingsRefusing;

wireglot_sdk::export!(SettingsRefusing);

impl Codec for SettingsRefusing {
    fn describe() -> Metadata {
        common::metadata("settings-refusing")
    }

    fn configure(_: &Settings) -> Result<Self, String> {
        Err("no settings are good enough".into())
    }

    fn decode(&self, _: Uplink) -> Result<Decoded, Refusal> {
        Ok(Samples::new().into())
    }
}
