//! Who changed what is told, durably and within a bound.

use wireglot_model::limits::{AUDIT_DETAIL_BYTES_MAX, AUDIT_ENTRIES_MAX};
use wireglot_model::{
    Actor, AuditAction, AuditEntry, CodecHash, CodecName, PayloadKind, Timestamp, TransportKind, VersionPin,
};

use super::{NOW, Site};
use crate::{Devices, ProfileDraft, Rule};

fn all(devices: &Devices) -> Vec<(AuditAction, Actor, String, String)> {
    let entries = devices.audit_log(&|_| true).unwrap().into_iter();
    entries.map(|(_, entry)| (entry.action, entry.actor, entry.target, entry.detail)).collect()
}

fn pinned_to(hash: Option<CodecHash>) -> ProfileDraft {
    let mut mqtt = wireglot_model::profile::MqttTransport::json();
    let pin = Some(VersionPin { selector: "1.0.0".into(), hash });
    let (codec, settings) = (CodecName::parse("elsys").unwrap(), "{\"secret\":\"s3cret\"}".into());
    mqtt.payload = PayloadKind::Codec { codec, pin, settings, isolate_messages: false, wrapping: None };
    ProfileDraft { transport: TransportKind::Mqtt(mqtt), ..ProfileDraft::named("p") }
}

#[tokio::test]
async fn a_change_of_a_profile_is_told_with_who_and_what() {
    let site = Site::new().await;
    let who = Actor::User("operator@example.com".into());
    let devices = site.devices.acting_for(who.clone());
    let profile = devices.create_profile(pinned_to(Some(CodecHash([7; 32]))), NOW).await.unwrap();
    let id = profile.profile.id;
    devices.update_profile(id, pinned_to(Some(CodecHash([8; 32]))), None, NOW).await.unwrap();
    let file = site.devices.acting_for(Actor::File("fleet.toml".into()));
    file.make_default_profile(id, NOW).await.unwrap();
    drop((devices, file, profile));
    let site = site.reopen().await;
    let told = all(&site.devices);
    let actions: Vec<_> =
        told.iter().map(|(action, actor, target, _)| (*action, actor, target.as_str())).collect();
    let by_file = Actor::File("fleet.toml".into());
    assert_eq!(
        actions,
        [
            (AuditAction::DefaultProfileChanged, &by_file, "p"),
            (AuditAction::ProfileChanged, &who, "p"),
            (AuditAction::ProfileCreated, &who, "p"),
        ]
    );
    let (old, new) = (CodecHash([7; 32]).to_string(), CodecHash([8; 32]).to_string());
    assert!(told[1].3.contains(&old) && told[1].3.contains(&new), "{told:?}");
    assert!(!format!("{told:?}").contains("s3cret"), "settings may hold secrets");
    // Numbers go on where they ended.
    site.devices.update_profile(id, ProfileDraft::named(""), None, NOW).await.unwrap_err();
    site.devices.update_profile(id, pinned_to(Some(CodecHash([8; 32]))), None, NOW).await.unwrap();
    let sequences: Vec<u64> =
        site.devices.audit_log(&|_| true).unwrap().into_iter().map(|(sequence, _)| sequence).collect();
    assert_eq!(sequences, [4, 3, 2, 1], "a refused change is none");
}

#[tokio::test]
async fn a_pin_that_was_not_looked_up_is_refused() {
    let site = Site::new().await;
    let refused = site.devices.create_profile(pinned_to(None), NOW).await.err().unwrap();
    assert_eq!(refused.to_string(), Rule::PinNotFound("1.0.0".into()).to_string());
    site.devices.create_profile(pinned_to(Some(CodecHash([7; 32]))), NOW).await.unwrap();
    let pinned = site.reopen().await.devices.pinned_versions();
    let expected = (CodecName::parse("elsys").unwrap(), CodecHash([7; 32]));
    assert_eq!(pinned.into_iter().collect::<Vec<_>>(), [(expected, vec!["p".to_owned()])]);
}

#[tokio::test]
async fn the_audit_log_is_bounded() {
    let site = Site::new().await;
    let entry = |number: u64| AuditEntry {
        at: Timestamp(number as i64),
        actor: Actor::Server,
        action: AuditAction::CodecLive,
        target: number.to_string(),
        detail: "ä".repeat(AUDIT_DETAIL_BYTES_MAX),
    };
    let written: Vec<_> = (1..=AUDIT_ENTRIES_MAX + 10)
        .map(|number| {
            let detail = if number == 11 { entry(number).detail } else { String::new() };
            site.devices.audit(AuditEntry { detail, ..entry(number) })
        })
        .collect();
    for one in written {
        one.await.unwrap();
    }
    let kept = site.reopen().await.devices.audit_log(&|_| true).unwrap();
    assert_eq!(kept.len() as u64, AUDIT_ENTRIES_MAX);
    assert_eq!((kept.first().unwrap().0, kept.last().unwrap().0), (AUDIT_ENTRIES_MAX + 10, 11));
    assert_eq!(kept.last().unwrap().1.detail.len(), AUDIT_DETAIL_BYTES_MAX);
}
