//! What the codecs tell of themselves, and other settings than at the start before, become entries of the audit log.

use std::collections::BTreeMap;

use anyhow::Context as _;
use tokio::runtime::Handle;
use tracing::error;
use wireglot_codec::{CodecOutcome, HistoryEvent, Observer};
use wireglot_device::Devices;
use wireglot_model::{Actor, AuditAction, AuditEntry};
use wireglot_store::{Batch, Store};

use crate::config::Config;

/// Under this name the store keeps the settings of the last start.
const SETTINGS: &str = "settings-in-force";

/// Writes every change of a codec to the audit log. To be called on the runtime that shall wait for the store.
pub(crate) fn observer(devices: Devices) -> Observer {
    let runtime = Handle::current();
    Box::new(move |target, event| {
        let written = devices.audit(entry(target, event));
        // Whoever changes a codec does not wait: its own history has the change already.
        drop(runtime.spawn(async move {
            if let Err(error) = written.await {
                error!(%error, "A change of a codec is missing in the audit log.");
            }
        }));
    })
}

fn entry(target: &str, event: &HistoryEvent) -> AuditEntry {
    let action = match event.outcome {
        CodecOutcome::Live => AuditAction::CodecLive,
        CodecOutcome::Rejected => AuditAction::CodecRejected,
        CodecOutcome::RolledBack => AuditAction::CodecRolledBack,
        CodecOutcome::Promoted => AuditAction::CodecPromoted,
        CodecOutcome::Restored => AuditAction::CodecRestored,
        CodecOutcome::Retired => AuditAction::CodecRetired,
        CodecOutcome::CanaryStarted => AuditAction::CanaryStarted,
        CodecOutcome::CanaryHeld => AuditAction::CanaryHeld,
        CodecOutcome::CanaryRolledBack => AuditAction::CanaryRolledBack,
        CodecOutcome::CanaryStopped => AuditAction::CanaryStopped,
    };
    let facts = [
        event.version.as_ref().map(|version| format!("version {version}")),
        event.hash.map(|hash| format!("hash {hash}")),
        (!event.reason.is_empty()).then(|| event.reason.clone()),
    ];
    AuditEntry {
        at: event.at,
        actor: event.by.clone(),
        action,
        target: target.to_owned(),
        detail: facts.into_iter().flatten().collect::<Vec<_>>().join(", "),
    }
}

/// Notes which settings differ from those of the start before. Values of secrets are not known here.
pub(crate) async fn note_settings(config: &Config, store: &Store, devices: &Devices) -> anyhow::Result<()> {
    let now: BTreeMap<String, String> =
        config.shown().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let before = store.setting(SETTINGS)?.and_then(|text| serde_json::from_slice(&text).ok());
    if before.as_ref() == Some(&now) {
        return Ok(());
    }
    if let Some(before) = before {
        let entry = AuditEntry {
            at: wireglot_device::now(),
            actor: Actor::Server,
            action: AuditAction::SettingsChanged,
            target: "settings".to_owned(),
            detail: differences(&before, &now),
        };
        devices.audit(entry).await?;
    }
    let mut batch = Batch::default();
    batch.put_setting(SETTINGS, &serde_json::to_vec(&now)?);
    drop(store.commit(batch).await.context("The settings in force cannot be noted.")?);
    Ok(())
}

fn differences(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> String {
    let value = |settings: &BTreeMap<String, String>, name: &str| {
        settings.get(name).cloned().unwrap_or_else(|| "none".to_owned())
    };
    let added = now.keys().filter(|name| !before.contains_key(*name));
    let changed = before.keys().chain(added).filter(|name| before.get(*name) != now.get(*name));
    let told = changed.map(|name| format!("{name}: {} → {}", value(before, name), value(now, name)));
    told.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_settings_are_told_with_both_values() {
        let before = Config::default().shown();
        let config = Config { workers: 3, ..Config::default() };
        let text = |settings: BTreeMap<&'static str, String>| {
            settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
        };
        assert_eq!(differences(&text(before), &text(config.shown())), "workers: 0 → 3");
    }
}
