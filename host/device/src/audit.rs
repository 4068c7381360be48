//! The audit log: who changed what, and when. An entry is committed in one batch with the change that it tells of.
//!
//! Bounded: the newest push the oldest out. Codec changes happen outside the store and are told here as they happen.

use std::sync::atomic::Ordering;

use serde_json::Value as Json;
use wireglot_model::limits::{AUDIT_DETAIL_BYTES_MAX, AUDIT_ENTRIES_MAX};
use wireglot_model::{
    Actor, AuditAction, AuditEntry, OtaContent, OtaKind, OtaPackage, OtaPackageId, OtaTargets, Profile,
    Timestamp,
};
use wireglot_store::Batch;

use crate::Devices;
use crate::error::DeviceError;
use crate::registry::Tables;

/// Members of a profile whose values are not told: they may hold secrets, or are long and mean nothing here.
const UNTOLD: [&str; 5] = ["settings", "passthrough", "provisioning", "webhook", "schemas"];
/// Members that change with every save.
const ALWAYS: [&str; 1] = ["version"];

impl Devices {
    /// The same devices; what is changed through this handle is told as the doing of `actor`.
    pub fn acting_for(&self, actor: Actor) -> Self {
        Self(self.0.clone(), actor)
    }

    /// Adds an entry to the audit log. It is durable when the future is done; it is queued in any case.
    pub fn audit(
        &self,
        entry: AuditEntry,
    ) -> impl Future<Output = Result<(), DeviceError>> + Send + 'static + use<> {
        let mut batch = Batch::default();
        self.put_audit(&mut batch, entry);
        self.0.queue(batch)
    }

    /// The entries that `wanted` picks, newest first, with their sequence numbers. Reads the disk.
    pub fn audit_log(
        &self,
        wanted: &dyn Fn(&AuditEntry) -> bool,
    ) -> Result<Vec<(u64, AuditEntry)>, DeviceError> {
        Ok(self.0.store.audit_log(wanted)?)
    }

    pub(crate) fn put_change_audit(
        &self,
        batch: &mut Batch,
        at: Timestamp,
        action: AuditAction,
        target: &str,
        detail: String,
    ) {
        let actor = self.1.clone();
        self.put_audit(batch, AuditEntry { at, actor, action, target: target.to_owned(), detail });
    }

    pub(crate) fn put_package_audit(
        &self,
        batch: &mut Batch,
        at: Timestamp,
        action: AuditAction,
        package: &OtaPackage,
    ) {
        let OtaPackage { kind, version, content, .. } = package;
        let mut detail = format!("{}, version {version}", kind.word());
        match content {
            OtaContent::Pending => {}
            OtaContent::File(file) => {
                detail += &format!(", {} bytes, {} {}", file.bytes, file.algorithm, file.checksum);
            }
            OtaContent::Url { url, .. } => detail += &format!(", {url}"),
        }
        self.put_change_audit(batch, at, action, &package.title, detail);
    }

    /// Tells which other packages somebody is to have from now on; nothing where they are the same.
    pub(crate) fn put_assignment_audit(
        &self,
        batch: &mut Batch,
        at: Timestamp,
        tables: &Tables,
        whose: Assigned<'_>,
        (old, new): (OtaTargets, OtaTargets),
    ) {
        for kind in OtaKind::ALL.into_iter().filter(|kind| old.of(*kind) != new.of(*kind)) {
            let (what, name) = match whose {
                Assigned::Device(name) => ("device", name),
                Assigned::Profile(name) => ("profile", name),
            };
            let [old, new] = [old, new].map(|targets| named(tables, targets.of(kind)));
            let detail = format!("{} of the {what}: {old} → {new}", kind.word());
            self.put_change_audit(batch, at, AuditAction::PackageAssigned, name, detail);
        }
    }

    pub(crate) fn put_audit(&self, batch: &mut Batch, mut entry: AuditEntry) {
        let mut end = AUDIT_DETAIL_BYTES_MAX.min(entry.detail.len());
        while !entry.detail.is_char_boundary(end) {
            end -= 1;
        }
        entry.detail.truncate(end);
        let sequence = self.0.audited.fetch_add(1, Ordering::AcqRel) + 1;
        batch.put_audit(sequence, &entry);
        if let Some(surplus) = sequence.checked_sub(AUDIT_ENTRIES_MAX) {
            batch.delete_audit(surplus);
        }
    }
}

/// Who is to have a package, by name.
#[derive(Clone, Copy)]
pub(crate) enum Assigned<'a> {
    Device(&'a str),
    Profile(&'a str),
}

fn named(tables: &Tables, package: Option<OtaPackageId>) -> String {
    match package.map(|id| (id, tables.packages.get(&id))) {
        None => "none".to_owned(),
        Some((_, Some(package))) => format!("{} {}", package.title, package.version),
        Some((id, None)) => id.to_string(),
    }
}

/// What differs between two versions of a profile, for people.
pub(crate) fn profile_changes(old: &Profile, new: &Profile) -> String {
    let json = |profile| serde_json::to_value(profile).unwrap_or(Json::Null);
    let mut changes = Vec::new();
    compare("", &json(old), &json(new), &mut changes);
    if changes.is_empty() { "saved unchanged".to_owned() } else { changes.join("; ") }
}

fn compare(path: &str, old: &Json, new: &Json, changes: &mut Vec<String>) {
    let member = path.rsplit('.').next().unwrap_or_default();
    if old == new || ALWAYS.contains(&member) {
        return;
    }
    match (old, new) {
        _ if UNTOLD.contains(&member) => changes.push(format!("{path} changed")),
        (Json::Object(old), Json::Object(new)) => {
            let added = new.keys().filter(|name| !old.contains_key(*name));
            for name in old.keys().chain(added) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let value = |object: &serde_json::Map<String, Json>| object.get(name).cloned();
                compare(&path, &value(old).unwrap_or(Json::Null), &value(new).unwrap_or(Json::Null), changes);
            }
        }
        (old, new) => changes.push(format!("{path}: {old} → {new}")),
    }
}
