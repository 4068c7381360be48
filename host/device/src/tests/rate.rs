//! Device API §17: who is counted where, and that limits stay what they were set to.

use std::time::{Duration, Instant};

use wireglot_model::{
    Actor, AuditAction, Decoded, LevelLimits, RateKind, RateLevel, RateLimit, RateLimits, Uplink, UplinkBody,
};

use super::{NOW, Site, draft, of_child, telemetry, token};
use crate::{Charge, DeviceDraft, DeviceHandle, RateExceeded, Speaker};

fn messages(text: &str) -> LevelLimits {
    LevelLimits { messages: RateLimit::parse(text).unwrap(), ..LevelLimits::default() }
}

fn telemetry_messages(text: &str) -> LevelLimits {
    LevelLimits { telemetry_messages: RateLimit::parse(text).unwrap(), ..LevelLimits::default() }
}

impl Site {
    async fn limit(&self, limits: RateLimits) {
        self.devices.set_rate_limits(limits, NOW).await.unwrap();
    }

    fn says(&self, device: &DeviceHandle, uplinks: Vec<Uplink>, at: Instant) -> Result<(), RateExceeded> {
        let decoded = Decoded { uplinks, warnings: Vec::new() };
        self.devices.charge_decoded(device, Speaker::Own, &decoded, at, NOW)
    }

    async fn gateway(&self) -> DeviceHandle {
        let draft = DeviceDraft { additional_info: "{\"gateway\":true}".into(), ..draft("gate") };
        self.devices.create_device(draft, Some(token("gate")), NOW).await.unwrap()
    }
}

fn exceeded(level: RateLevel, kind: RateKind) -> Result<(), RateExceeded> {
    Err(RateExceeded { level, kind })
}

#[tokio::test]
async fn each_message_is_counted_at_the_level_of_its_speaker() {
    let site = Site::new().await;
    let (device, gateway) = (site.device("d", token("d")).await, site.gateway().await);
    site.limit(RateLimits {
        device: telemetry_messages("1:600"),
        gateway: telemetry_messages("2:600"),
        gateway_device: telemetry_messages("1:600"),
        ..RateLimits::default()
    })
    .await;
    let at = Instant::now();
    let own = || vec![telemetry("t", 1), telemetry("u", 1)];
    assert_eq!(site.says(&device, own(), at), Ok(()), "all parts of its own are one message");
    assert_eq!(site.says(&device, own(), at), exceeded(RateLevel::Device, RateKind::TelemetryMessages));
    let mixed = vec![telemetry("t", 1), of_child("a", telemetry("t", 1)), of_child("b", telemetry("t", 1))];
    assert_eq!(site.says(&gateway, mixed, at), Ok(()), "each device behind it is a message");
    let child = vec![of_child("a", telemetry("t", 1))];
    assert_eq!(site.says(&gateway, child, at), exceeded(RateLevel::Gateway, RateKind::TelemetryMessages));
    assert_eq!(
        site.says(&gateway, own(), at),
        exceeded(RateLevel::GatewayDevice, RateKind::TelemetryMessages)
    );
    let later = at + Duration::from_secs(300);
    assert_eq!(site.says(&gateway, vec![of_child("b", telemetry("t", 1))], later), Ok(()));
    assert_eq!(site.devices.rate_refusals(), [[0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]]);
}

#[tokio::test]
async fn the_worked_example_of_the_documents() {
    let site = Site::new().await;
    let device = site.device("d", token("d")).await;
    site.limit(RateLimits { device: messages("3:600"), ..RateLimits::default() }).await;
    let at = Instant::now();
    let connect = site.devices.charge(&device, Speaker::Own, Charge::Message, at, NOW);
    assert_eq!(connect, Ok(()));
    let request = || {
        let body = UplinkBody::AttributeRequest { id: 1, client_keys: Vec::new(), shared_keys: Vec::new() };
        vec![Uplink { child: None, body }]
    };
    assert_eq!(site.says(&device, request(), at), Ok(()));
    assert_eq!(site.says(&device, vec![telemetry("t", 1)], at), Ok(()), "takes nothing from that bucket");
    assert_eq!(site.says(&device, request(), at), Ok(()));
    assert_eq!(site.says(&device, request(), at), exceeded(RateLevel::Device, RateKind::Messages));
    assert_eq!(site.says(&device, request(), at + Duration::from_secs(200)), Ok(()));
    assert_eq!(
        site.says(&device, Vec::new(), at + Duration::from_secs(200)),
        exceeded(RateLevel::Device, RateKind::Messages),
        "what says nothing is a message"
    );
}

#[tokio::test]
async fn what_an_earlier_limit_gave_is_not_given_back() {
    let site = Site::new().await;
    let device = site.device("d", token("d")).await;
    let (tenant, own) = (messages("2:600"), messages("1:600"));
    site.limit(RateLimits { tenant, device: own, ..RateLimits::default() }).await;
    let at = Instant::now();
    let charge = || site.devices.charge(&device, Speaker::Own, Charge::Message, at, NOW);
    assert_eq!(charge(), Ok(()));
    assert_eq!(charge(), exceeded(RateLevel::Device, RateKind::Messages));
    assert_eq!(charge(), exceeded(RateLevel::Tenant, RateKind::Messages));
}

#[tokio::test]
async fn limits_survive_a_restart_and_their_change_is_told() {
    let site = Site::new().await;
    assert!(!site.devices.is_rate_limited());
    let limits = RateLimits { device: messages("3:600"), ..RateLimits::default() };
    let devices = site.devices.acting_for(Actor::User("anna".into()));
    devices.set_rate_limits(limits.clone(), NOW).await.unwrap();
    devices.set_rate_limits(limits.clone(), NOW).await.unwrap();
    drop(devices);
    let site = site.reopen().await;
    assert!(site.devices.is_rate_limited());
    assert_eq!(site.devices.rate_limits(), limits);
    let told = site.devices.audit_log(&|entry| entry.action == AuditAction::RateLimitsChanged).unwrap();
    assert_eq!(told.len(), 1, "an unchanged set is no change");
    assert_eq!(told[0].1.actor, Actor::User("anna".into()));
    assert_eq!(told[0].1.detail, "transportDeviceMsgRateLimit: null → \"3:600\"");
    site.limit(RateLimits::default()).await;
    assert!(!site.devices.is_rate_limited());
}
