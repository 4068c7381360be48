//! Rate limits as texts: `200:1,6000:60` is 200 in a second and 6,000 in a minute, both enforced (device API §17).
//!
//! The twelve settings of an installation, under the names that a tenant profile has for them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::{RATE_CAPACITY_MAX, RATE_PARTS_MAX, RATE_PERIOD_S_MAX};

/// One limit: parts that all must allow, and the text that they were read from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RateLimit {
    text: Box<str>,
    parts: Box<[RatePart]>,
}

/// So many within so many seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RatePart {
    /// How many at once; as many come back, evenly, within the period.
    pub capacity: u64,
    /// The period.
    pub period_s: u64,
}

/// A text that is no rate limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidRateLimit {
    /// What cannot be read.
    pub part: String,
}

impl fmt::Display for InvalidRateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is not a rate limit: write COUNT:SECONDS, such as 200:1,6000:60, with at most {RATE_PARTS_MAX} parts, \
             a count of 1 to {RATE_CAPACITY_MAX} and 1 to {RATE_PERIOD_S_MAX} seconds; no limit is null or an empty text",
            self.part
        )
    }
}

impl std::error::Error for InvalidRateLimit {}

impl RateLimit {
    /// Reads a text. An empty one is no limit.
    pub fn parse(text: &str) -> Result<Option<Self>, InvalidRateLimit> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let invalid = |part: &str| InvalidRateLimit { part: part.chars().take(80).collect() };
        let parts = text.split(',').map(|part| RatePart::parse(part).ok_or_else(|| invalid(part)));
        let parts: Box<[RatePart]> = parts.take(RATE_PARTS_MAX + 1).collect::<Result<_, _>>()?;
        if parts.len() > RATE_PARTS_MAX {
            return Err(invalid(text));
        }
        Ok(Some(Self { text: text.into(), parts }))
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What must allow.
    pub fn parts(&self) -> &[RatePart] {
        &self.parts
    }
}

impl RatePart {
    fn parse(text: &str) -> Option<Self> {
        let (capacity, period_s) = text.trim().split_once(':')?;
        let part = Self { capacity: capacity.trim().parse().ok()?, period_s: period_s.trim().parse().ok()? };
        let is_bounded = (1..=RATE_CAPACITY_MAX).contains(&part.capacity)
            && (1..=RATE_PERIOD_S_MAX).contains(&part.period_s);
        is_bounded.then_some(part)
    }
}

/// Whose messages are counted together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RateLevel {
    /// All of the installation.
    Tenant,
    /// Those of one device with a connection of its own.
    Device,
    /// Those of all devices behind one gateway.
    Gateway,
    /// Those that a gateway sends for itself.
    GatewayDevice,
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RateKind {
    /// Messages without values.
    Messages,
    /// Messages with values.
    TelemetryMessages,
    /// The values in them.
    DataPoints,
}

impl RateLevel {
    /// All levels, each at the index of its own.
    pub const ALL: [Self; 4] = [Self::Tenant, Self::Device, Self::Gateway, Self::GatewayDevice];
}

impl RateKind {
    /// All kinds, each at the index of its own.
    pub const ALL: [Self; 3] = [Self::Messages, Self::TelemetryMessages, Self::DataPoints];
}

/// The limits of one level; `None` is no limit.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LevelLimits {
    /// Messages without values.
    pub messages: Option<RateLimit>,
    /// Messages with values.
    pub telemetry_messages: Option<RateLimit>,
    /// The values in them.
    pub data_points: Option<RateLimit>,
}

impl LevelLimits {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.messages.is_none() && self.telemetry_messages.is_none() && self.data_points.is_none()
    }

    /// The limit of one kind.
    pub fn of(&self, kind: RateKind) -> Option<&RateLimit> {
        match kind {
            RateKind::Messages => self.messages.as_ref(),
            RateKind::TelemetryMessages => self.telemetry_messages.as_ref(),
            RateKind::DataPoints => self.data_points.as_ref(),
        }
    }
}

/// All limits of the installation.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(from = "Fields", into = "Fields")]
pub struct RateLimits {
    /// Of everything.
    pub tenant: LevelLimits,
    /// Of each device.
    pub device: LevelLimits,
    /// Of all devices behind each gateway.
    pub gateway: LevelLimits,
    /// Of what each gateway sends for itself.
    pub gateway_device: LevelLimits,
}

impl RateLimits {
    /// The limits of one level.
    pub fn of(&self, level: RateLevel) -> &LevelLimits {
        match level {
            RateLevel::Tenant => &self.tenant,
            RateLevel::Device => &self.device,
            RateLevel::Gateway => &self.gateway,
            RateLevel::GatewayDevice => &self.gateway_device,
        }
    }

    /// Whether nothing is limited at any level.
    pub fn is_empty(&self) -> bool {
        RateLevel::ALL.iter().all(|level| self.of(*level).is_empty())
    }
}

macro_rules! fields {
    ($($level:ident { $messages:ident, $telemetry:ident, $points:ident })+) => {
        /// The same under the names of a tenant profile's configuration.
        #[derive(Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase", default)]
        struct Fields {
            $(
                #[serde(with = "optional")]
                $messages: Option<RateLimit>,
                #[serde(with = "optional")]
                $telemetry: Option<RateLimit>,
                #[serde(with = "optional")]
                $points: Option<RateLimit>,
            )+
        }

        impl From<Fields> for RateLimits {
            fn from(fields: Fields) -> Self {
                Self { $($level: LevelLimits {
                    messages: fields.$messages,
                    telemetry_messages: fields.$telemetry,
                    data_points: fields.$points,
                },)+ }
            }
        }

        impl From<RateLimits> for Fields {
            fn from(limits: RateLimits) -> Self {
                Self { $(
                    $messages: limits.$level.messages,
                    $telemetry: limits.$level.telemetry_messages,
                    $points: limits.$level.data_points,
                )+ }
            }
        }
    };
}

fields! {
    tenant {
        transport_tenant_msg_rate_limit,
        transport_tenant_telemetry_msg_rate_limit,
        transport_tenant_telemetry_data_points_rate_limit
    }
    device {
        transport_device_msg_rate_limit,
        transport_device_telemetry_msg_rate_limit,
        transport_device_telemetry_data_points_rate_limit
    }
    gateway {
        transport_gateway_msg_rate_limit,
        transport_gateway_telemetry_msg_rate_limit,
        transport_gateway_telemetry_data_points_rate_limit
    }
    gateway_device {
        transport_gateway_device_msg_rate_limit,
        transport_gateway_device_telemetry_msg_rate_limit,
        transport_gateway_device_telemetry_data_points_rate_limit
    }
}

/// A limit as a text; `null` and an empty text are no limit.
mod optional {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use super::RateLimit;

    pub(super) fn serialize<S: Serializer>(limit: &Option<RateLimit>, to: S) -> Result<S::Ok, S::Error> {
        limit.as_ref().map(RateLimit::text).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<RateLimit>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        RateLimit::parse(text.as_deref().unwrap_or_default()).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&[(u64, u64)]>) {
        let limit = RateLimit::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let parts = limit
            .as_ref()
            .map(|limit| limit.parts().iter().map(|part| (part.capacity, part.period_s)).collect::<Vec<_>>());
        assert_eq!(parts.as_deref(), expected, "{text}");
    }

    #[test]
    fn the_documents_format_is_read() {
        check("200:1,6000:60,14000:3600", Some(&[(200, 1), (6_000, 60), (14_000, 3_600)]));
        check(" 3:600 ", Some(&[(3, 600)]));
        check("", None);
        check("  ", None);
    }

    #[test]
    fn what_is_no_limit_is_told() {
        let too_many = ["1:1"; RATE_PARTS_MAX + 1].join(",");
        let too_large = format!("{}:1", RATE_CAPACITY_MAX + 1);
        let too_long = format!("1:{}", RATE_PERIOD_S_MAX + 1);
        for text in ["3", "3:", ":3", "0:0", "0:1", "1:0", "-1:1", "1.5:1", "1:1,", "1:1;2:2"] {
            let error = RateLimit::parse(text).expect_err(text).to_string();
            assert!(error.contains("write COUNT:SECONDS"), "{text}: {error}");
        }
        for text in [too_many, too_large, too_long] {
            assert!(RateLimit::parse(&text).is_err(), "{text}");
        }
        assert!(RateLimit::parse(&["1:1"; RATE_PARTS_MAX].join(",")).is_ok());
    }

    #[test]
    fn limits_are_written_under_the_names_of_a_tenant_profile() {
        let text = r#"{"transportDeviceMsgRateLimit":"20:600","transportGatewayTelemetryMsgRateLimit":"",
            "transportTenantTelemetryDataPointsRateLimit":null}"#;
        let limits: RateLimits = serde_json::from_str(text).unwrap();
        assert_eq!(limits.device.messages.as_ref().map(RateLimit::text), Some("20:600"));
        assert_eq!(limits, RateLimits { device: limits.device.clone(), ..RateLimits::default() });
        let json = serde_json::to_value(&limits).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 12);
        assert_eq!(json["transportDeviceMsgRateLimit"], "20:600");
        assert!(json["transportGatewayDeviceMsgRateLimit"].is_null());
        assert_eq!(serde_json::from_value::<RateLimits>(json).unwrap(), limits);
        let unknown = r#"{"transportDeviceRateLimit":"1:1"}"#;
        let error = serde_json::from_str::<RateLimits>(unknown).unwrap_err().to_string();
        assert!(error.contains("transportDeviceMsgRateLimit"), "the known names are told: {error}");
        let wrong = r#"{"transportDeviceMsgRateLimit":"many"}"#;
        assert!(serde_json::from_str::<RateLimits>(wrong).unwrap_err().to_string().contains("'many'"));
    }
}
