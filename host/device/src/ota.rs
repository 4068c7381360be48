//! Packages for updates over the air: making them, their files, and which package a device is to have.
//!
//! A package gets its file once and never another one, so whoever reads it reads one version to the end. How a device
//! is told of its package is in `ota/updates.rs`.

mod checksum;
mod updates;

use std::collections::HashSet;
use std::sync::Arc;

use uuid::Uuid;
use wireglot_model::limits::{OTA_PACKAGES_MAX, OTA_TEXT_CHARS_MAX, OTA_URL_BYTES_MAX};
use wireglot_model::{
    AuditAction, ChecksumAlgorithm, OtaContent, OtaFile, OtaKind, OtaPackage, OtaPackageId, OtaTargets,
    ProfileId, Timestamp,
};
use wireglot_store::{Batch, Files, Store};

use crate::Devices;
use crate::error::{DeviceError, OpenError, Rule};
use crate::registry::{DeviceHandle, Tables};

pub use checksum::checksum;
pub(crate) use updates::Updates;
pub use updates::UpdatesDue;

/// A package as somebody wishes to have it.
#[derive(Clone, PartialEq, Debug)]
pub struct OtaPackageDraft {
    pub kind: OtaKind,
    pub profile: Option<ProfileId>,
    pub title: String,
    pub version: String,
    pub tag: Option<String>,
    pub url: Option<OtaUrlDraft>,
    /// JSON as text.
    pub additional_info: String,
}

/// Where a package lies that is not here.
#[derive(Clone, PartialEq, Debug)]
pub struct OtaUrlDraft {
    pub url: String,
    /// What is known of the file there.
    pub bytes: Option<u64>,
    pub checksum: Option<(ChecksumAlgorithm, String)>,
}

impl Devices {
    /// All packages, in no order.
    pub fn ota_packages(&self) -> Vec<Arc<OtaPackage>> {
        self.0.tables.read().packages.values().cloned().collect()
    }

    /// The package of this id.
    pub fn ota_package(&self, id: OtaPackageId) -> Option<Arc<OtaPackage>> {
        self.0.tables.read().packages.get(&id).cloned()
    }

    /// Where the files of packages lie. Reading and writing them may wait for the disk.
    pub fn files(&self) -> &Files {
        self.0.store.files()
    }

    /// The package that a device is to have: its own, or its profile's.
    pub fn ota_target(&self, device: &DeviceHandle, kind: OtaKind) -> Option<Arc<OtaPackage>> {
        target(&self.0.tables.read(), device, kind)
    }

    /// Makes a package. Without an address it waits for its file.
    pub async fn create_ota_package(
        &self,
        draft: OtaPackageDraft,
        now: Timestamp,
    ) -> Result<Arc<OtaPackage>, DeviceError> {
        let (package, committed) = {
            let mut tables = self.0.tables.write();
            check(&tables, &draft)?;
            let content = match draft.url {
                None => OtaContent::Pending,
                Some(OtaUrlDraft { url, bytes, checksum }) => OtaContent::Url { url, bytes, checksum },
            };
            let package = OtaPackage {
                id: OtaPackageId(Uuid::new_v4()),
                created: now,
                kind: draft.kind,
                profile: draft.profile,
                title: draft.title,
                version: draft.version,
                tag: draft.tag,
                content,
                additional_info: draft.additional_info,
            };
            self.put_package(&mut tables, package, AuditAction::PackageCreated, now)
        };
        committed.await?;
        Ok(package)
    }

    /// Changes what may change of a package: its additional information.
    pub async fn update_ota_package(
        &self,
        id: OtaPackageId,
        draft: OtaPackageDraft,
        now: Timestamp,
    ) -> Result<Arc<OtaPackage>, DeviceError> {
        let (package, committed) = {
            let mut tables = self.0.tables.write();
            let stored = tables.packages.get(&id).ok_or(DeviceError::NotFound)?.clone();
            check_unchanged(&stored, &draft)?;
            let package = OtaPackage { additional_info: draft.additional_info, ..(*stored).clone() };
            self.put_package(&mut tables, package, AuditAction::PackageChanged, now)
        };
        committed.await?;
        Ok(package)
    }

    /// Gives a package its file, which is durable already.
    pub async fn set_ota_file(
        &self,
        id: OtaPackageId,
        file: OtaFile,
        now: Timestamp,
    ) -> Result<Arc<OtaPackage>, DeviceError> {
        let (package, committed) = {
            let mut tables = self.0.tables.write();
            let stored = tables.packages.get(&id).ok_or(DeviceError::NotFound)?.clone();
            check_file(&stored, &file)?;
            let package = OtaPackage { content: OtaContent::File(file), ..(*stored).clone() };
            self.put_package(&mut tables, package, AuditAction::PackageUploaded, now)
        };
        committed.await?;
        Ok(package)
    }

    /// Deletes a package that nobody is to have, and gives back the file to be removed.
    pub async fn delete_ota_package(
        &self,
        id: OtaPackageId,
        now: Timestamp,
    ) -> Result<Option<Uuid>, DeviceError> {
        let (package, committed) = {
            let mut tables = self.0.tables.write();
            let package = tables.packages.get(&id).ok_or(DeviceError::NotFound)?.clone();
            let is_used = |ota: OtaTargets| OtaKind::ALL.iter().any(|kind| ota.of(*kind) == Some(id));
            if tables.devices().any(|device| is_used(device.state.record.load().device.ota)) {
                return Err(Rule::PackageUsedByDevices.into());
            }
            if tables.profiles.values().any(|slot| is_used(slot.state().profile.ota)) {
                return Err(Rule::PackageUsedByProfile.into());
            }
            tables.packages.remove(&id);
            let mut batch = Batch::default();
            batch.delete_ota_package(id);
            self.put_package_audit(&mut batch, now, AuditAction::PackageDeleted, &package);
            (package, self.0.queue(batch))
        };
        committed.await?;
        Ok(file_of(&package).map(|file| file.file))
    }

    fn put_package(
        &self,
        tables: &mut Tables,
        package: OtaPackage,
        action: AuditAction,
        now: Timestamp,
    ) -> (Arc<OtaPackage>, impl Future<Output = Result<(), DeviceError>> + Send + 'static + use<>) {
        let mut batch = Batch::default();
        batch.put_ota_package(&package);
        self.put_package_audit(&mut batch, now, action, &package);
        let package = Arc::new(package);
        tables.packages.insert(package.id, package.clone());
        (package, self.0.queue(batch))
    }
}

/// What a start finds: updates that wait or were told, and files that a crash left behind.
pub(crate) fn load(store: &Store, tables: &Tables, now: Timestamp) -> Result<Updates, OpenError> {
    let known: HashSet<Uuid> =
        tables.packages.values().filter_map(|package| file_of(package)).map(|file| file.file).collect();
    match store.files().retain(&known) {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "Files that belong to no package were removed."),
        Err(error) => tracing::warn!(%error, "Files that belong to no package cannot be removed."),
    }
    Ok(Updates::load(store.ota_updates()?, tables, now))
}

fn file_of(package: &OtaPackage) -> Option<&OtaFile> {
    match &package.content {
        OtaContent::File(file) => Some(file),
        OtaContent::Pending | OtaContent::Url { .. } => None,
    }
}

fn target(tables: &Tables, device: &DeviceHandle, kind: OtaKind) -> Option<Arc<OtaPackage>> {
    let record = device.state.record.load();
    let id = record.device.ota.of(kind).or_else(|| record.profile.state().profile.ota.of(kind))?;
    tables.packages.get(&id).cloned()
}

/// Whether devices of `profile`, or the profile itself, may be assigned these packages.
pub(crate) fn check_targets(
    tables: &Tables,
    targets: OtaTargets,
    profile: Option<ProfileId>,
) -> Result<(), Rule> {
    for kind in OtaKind::ALL {
        let Some(id) = targets.of(kind) else { continue };
        let package = tables.packages.get(&id).ok_or(Rule::PackageUnknown(kind.word()))?;
        if package.kind != kind {
            return Err(Rule::PackageOfOtherKind { wanted: kind.word(), is: package.kind.name() });
        }
        if package.content == OtaContent::Pending {
            return Err(Rule::PackageWithoutData(kind.word()));
        }
        if package.profile.is_some() && package.profile != profile {
            return Err(Rule::PackageOfOtherProfile(kind.word()));
        }
    }
    Ok(())
}

fn check(tables: &Tables, draft: &OtaPackageDraft) -> Result<(), Rule> {
    if draft.title.trim().is_empty() {
        return Err(Rule::PackageTitleMissing);
    }
    if draft.version.trim().is_empty() {
        return Err(Rule::PackageVersionMissing);
    }
    let texts = [Some(&draft.title), Some(&draft.version), draft.tag.as_ref()];
    if texts.into_iter().flatten().any(|text| text.chars().count() > OTA_TEXT_CHARS_MAX) {
        return Err(Rule::PackageTextTooLong);
    }
    let is_too_long = |OtaUrlDraft { url, checksum, .. }: &OtaUrlDraft| {
        let checksum = checksum.as_ref().map_or(0, |(_, checksum)| checksum.len());
        url.trim().is_empty() || url.len() > OTA_URL_BYTES_MAX || checksum > OTA_URL_BYTES_MAX
    };
    if draft.url.as_ref().is_some_and(is_too_long) {
        return Err(Rule::PackageUrlTooLong);
    }
    if draft.profile.is_some_and(|profile| tables.profile(profile).is_none()) {
        return Err(Rule::PackageProfileUnknown);
    }
    let is_same = |other: &Arc<OtaPackage>| other.title == draft.title && other.version == draft.version;
    if tables.packages.values().any(is_same) {
        return Err(Rule::PackageTaken);
    }
    if tables.packages.len() >= OTA_PACKAGES_MAX {
        return Err(Rule::TooManyPackages);
    }
    Ok(())
}

/// Devices may have the package already, so what they were told of it stays true.
fn check_unchanged(stored: &OtaPackage, draft: &OtaPackageDraft) -> Result<(), Rule> {
    let url = match &stored.content {
        OtaContent::Url { url, .. } => Some(url),
        OtaContent::Pending | OtaContent::File(_) => None,
    };
    let same = [
        ("type", stored.kind == draft.kind),
        ("title", stored.title == draft.title),
        ("version", stored.version == draft.version),
        ("tag", stored.tag == draft.tag),
        ("deviceProfile", stored.profile == draft.profile),
        ("url", url == draft.url.as_ref().map(|draft| &draft.url)),
    ];
    match same.iter().find(|(_, is_same)| !is_same) {
        None => Ok(()),
        Some((what, _)) => Err(Rule::PackageFixed(what)),
    }
}

fn check_file(stored: &OtaPackage, file: &OtaFile) -> Result<(), Rule> {
    match &stored.content {
        OtaContent::Pending => {}
        OtaContent::File(_) => return Err(Rule::PackageFixed("data")),
        OtaContent::Url { .. } => return Err(Rule::PackageFixed("url")),
    }
    if file.name.is_empty()
        || file.name.len() > OTA_URL_BYTES_MAX
        || file.content_type.len() > OTA_URL_BYTES_MAX
    {
        return Err(Rule::PackageUrlTooLong);
    }
    Ok(())
}
