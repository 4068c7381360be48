//! Packages: the rules for having and assigning them, and how devices are told, at most so many in a minute.

use wireglot_bus::mailbox;
use wireglot_model::limits::OTA_PUSHES_MAX;
use wireglot_model::{
    Actor, AuditAction, AuditEntry, ChecksumAlgorithm, Downlink, OtaContent, OtaFile, OtaKind, OtaPackage,
    OtaPackageId, OtaTargets, Scope, SessionId, Timestamp, Value,
};

use super::{NOW, Site, draft, token};
use crate::{
    DeviceDraft, DeviceError, OtaPackageDraft, OtaUrlDraft, ProfileChoice, ProfileDraft, Rule, UpdatesDue,
};

fn package(kind: OtaKind, version: &str) -> OtaPackageDraft {
    OtaPackageDraft {
        kind,
        profile: None,
        title: "app".into(),
        version: version.into(),
        tag: None,
        url: None,
        additional_info: "null".into(),
    }
}

/// A package with a file of these bytes.
async fn filled(site: &Site, draft: OtaPackageDraft, bytes: &[u8]) -> OtaPackageId {
    let made = site.devices.create_ota_package(draft, NOW).await.unwrap();
    site.devices.set_ota_file(made.id, file(site, bytes), NOW).await.unwrap();
    made.id
}

fn file(site: &Site, bytes: &[u8]) -> OtaFile {
    let mut draft = site.devices.files().draft().unwrap();
    draft.write(bytes).unwrap();
    OtaFile {
        file: draft.keep().unwrap(),
        bytes: bytes.len() as u64,
        algorithm: ChecksumAlgorithm::Crc32,
        checksum: "00".into(),
        name: "app.bin".into(),
        content_type: "application/octet-stream".into(),
    }
}

fn with_firmware(name: &str, firmware: Option<OtaPackageId>) -> DeviceDraft {
    DeviceDraft { ota: OtaTargets { firmware, software: None }, ..draft(name) }
}

/// Lets everything happen that is due now.
async fn settle(site: &Site, now: i64) -> UpdatesDue {
    loop {
        match site.devices.advance_updates(Timestamp(now)).await.unwrap() {
            UpdatesDue::Now => {}
            due => return due,
        }
    }
}

fn latest(site: &Site, device: &str, key: &str) -> Option<String> {
    let device = site.devices.device_by_name(device).unwrap().id();
    let latest = site.devices.latest(device, None).unwrap();
    latest.into_iter().find(|latest| latest.key == key).map(|latest| latest.value.to_text())
}

fn shared(site: &Site, device: &str, key: &str) -> Option<Value> {
    let device = site.devices.device_by_name(device).unwrap().id();
    let found = site.devices.attributes(device, Scope::Shared, Some(&[key.to_owned()])).unwrap();
    found.into_iter().next().map(|attribute| attribute.value)
}

#[track_caller]
fn check<T>(outcome: Result<T, DeviceError>, rule: &Rule) {
    match outcome {
        Err(DeviceError::Invalid(broken)) => assert_eq!(&broken, rule),
        Err(other) => panic!("{other} instead of {rule}"),
        Ok(_) => panic!("done in spite of {rule}"),
    }
}

#[tokio::test]
async fn packages_keep_their_rules() {
    let site = Site::new().await;
    let devices = &site.devices;
    let nameless = OtaPackageDraft { title: " ".into(), ..package(OtaKind::Firmware, "1") };
    check(devices.create_ota_package(nameless, NOW).await, &Rule::PackageTitleMissing);
    check(
        devices.create_ota_package(package(OtaKind::Firmware, ""), NOW).await,
        &Rule::PackageVersionMissing,
    );
    let long = package(OtaKind::Firmware, &"v".repeat(256));
    check(devices.create_ota_package(long, NOW).await, &Rule::PackageTextTooLong);
    let url = OtaPackageDraft {
        url: Some(OtaUrlDraft { url: " ".into(), bytes: None, checksum: None }),
        ..package(OtaKind::Firmware, "1")
    };
    check(devices.create_ota_package(url, NOW).await, &Rule::PackageUrlTooLong);
    let made = devices.create_ota_package(package(OtaKind::Firmware, "1"), NOW).await.unwrap();
    check(devices.create_ota_package(package(OtaKind::Software, "1"), NOW).await, &Rule::PackageTaken);
    let other = OtaPackageDraft { tag: Some("x".into()), ..package(OtaKind::Firmware, "1") };
    check(devices.update_ota_package(made.id, other, NOW).await, &Rule::PackageFixed("tag"));
    devices.set_ota_file(made.id, file(&site, b"one"), NOW).await.unwrap();
    check(devices.set_ota_file(made.id, file(&site, b"two"), NOW).await, &Rule::PackageFixed("data"));
}

#[tokio::test]
async fn only_a_fitting_package_is_assigned() {
    let site = Site::new().await;
    let devices = &site.devices;
    let profile = devices.create_profile(ProfileDraft::named("thermo"), NOW).await.unwrap().profile.id;
    let of_profile = OtaPackageDraft { profile: Some(profile), ..package(OtaKind::Firmware, "2") };
    let of_profile = filled(&site, of_profile, b"x").await;
    let software = filled(&site, package(OtaKind::Software, "3"), b"x").await;
    let empty = devices.create_ota_package(package(OtaKind::Firmware, "4"), NOW).await.unwrap().id;
    let unknown = OtaPackageId(uuid::Uuid::nil());
    let assign = async |id| devices.create_device(with_firmware("d", Some(id)), None, NOW).await;
    check(assign(unknown).await, &Rule::PackageUnknown("firmware"));
    check(assign(software).await, &Rule::PackageOfOtherKind { wanted: "firmware", is: "SOFTWARE" });
    check(assign(empty).await, &Rule::PackageWithoutData("firmware"));
    check(assign(of_profile).await, &Rule::PackageOfOtherProfile("firmware"));
    let fitting = DeviceDraft { profile: ProfileChoice::Id(profile), ..with_firmware("d", Some(of_profile)) };
    let device = devices.create_device(fitting, None, NOW).await.unwrap();
    check(devices.delete_ota_package(of_profile, NOW).await, &Rule::PackageUsedByDevices);
    devices.update_device(device.id(), draft("d"), None, NOW).await.unwrap();
    let ota = OtaTargets { firmware: Some(of_profile), software: None };
    devices
        .update_profile(profile, ProfileDraft { ota, ..ProfileDraft::named("thermo") }, None, NOW)
        .await
        .unwrap();
    check(devices.delete_ota_package(of_profile, NOW).await, &Rule::PackageUsedByProfile);
    devices.update_profile(profile, ProfileDraft::named("thermo"), None, NOW).await.unwrap();
    assert!(devices.delete_ota_package(of_profile, NOW).await.unwrap().is_some());
    assert!(devices.ota_package(of_profile).is_none());
}

#[tokio::test]
async fn a_device_is_told_of_its_package_and_of_its_end() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    let firmware = filled(&site, package(OtaKind::Firmware, "1.0"), &[7; 1000]).await;
    let (to_worker, mut worker) = mailbox();
    let (device, session) = (site.devices.device(device.id()).unwrap(), SessionId(1));
    site.bus.attach(device.id(), session, &to_worker);
    site.devices.update_device(device.id(), with_firmware("d", Some(firmware)), None, NOW).await.unwrap();
    assert_eq!(settle(&site, NOW.0 + 5).await, UpdatesDue::Later);
    let deleted = ["fw_tag", "fw_url"].map(str::to_owned).to_vec();
    assert_eq!(worker.try_recv().unwrap().1, Downlink::AttributeDelete(deleted));
    let Some((_, Downlink::AttributeUpdate(told))) = worker.try_recv() else { panic!("no update") };
    let told: Vec<_> = told.iter().map(|sample| (sample.key.as_str(), sample.value.to_text())).collect();
    let expected = [
        ("fw_title", "app"),
        ("fw_version", "1.0"),
        ("fw_size", "1000"),
        ("fw_checksum_algorithm", "CRC32"),
        ("fw_checksum", "00"),
    ];
    assert_eq!(told, expected.map(|(key, value)| (key, value.to_owned())));
    let written = site.devices.attributes(device.id(), Scope::Shared, None).unwrap();
    assert!(written.iter().all(|attribute| attribute.updated == Timestamp(NOW.0 + 5)));
    assert_eq!(latest(&site, "d", "target_fw_ts"), Some((NOW.0 + 5).to_string()));
    assert_eq!(latest(&site, "d", "target_fw_version").as_deref(), Some("1.0"));
    assert_eq!(latest(&site, "d", "fw_state").as_deref(), Some("INITIATED"));

    site.devices.update_device(device.id(), draft("d"), None, NOW).await.unwrap();
    settle(&site, NOW.0 + 10).await;
    let Some((_, Downlink::AttributeDelete(gone))) = worker.try_recv() else { panic!("no deletion") };
    assert_eq!(gone.len(), 9);
    assert!(site.devices.attributes(device.id(), Scope::Shared, None).unwrap().is_empty());
}

/// The 101st device waits for the next minute, also across a restart.
#[tokio::test]
async fn so_many_devices_are_told_in_a_minute() {
    let site = Site::new().await;
    let ota = OtaTargets {
        firmware: Some(filled(&site, package(OtaKind::Firmware, "1"), b"x").await),
        software: None,
    };
    for number in 0..=OTA_PUSHES_MAX {
        site.devices.create_device(draft(&format!("d{number}")), None, NOW).await.unwrap();
    }
    let profile = site.devices.default_profile().profile.clone();
    let draft = ProfileDraft { ota, is_default: true, ..ProfileDraft::named(profile.name) };
    site.devices.update_profile(profile.id, draft, None, NOW).await.unwrap();
    let due = Timestamp(NOW.0 + 60_000);
    assert_eq!(settle(&site, NOW.0).await, UpdatesDue::At(due));
    let states = |site: &Site| {
        let names = (0..=OTA_PUSHES_MAX).map(|number| format!("d{number}"));
        names.filter(|name| latest(site, name, "fw_state").as_deref() == Some("QUEUED")).collect::<Vec<_>>()
    };
    assert_eq!(states(&site).len(), 1);
    let site = site.reopen().await;
    assert_eq!(settle(&site, NOW.0 + 59_999).await, UpdatesDue::At(due));
    let last = states(&site);
    assert_eq!(last.len(), 1);
    assert_eq!(shared(&site, &last[0], "fw_title"), None);
    assert_eq!(settle(&site, due.0).await, UpdatesDue::Later);
    assert!(states(&site).is_empty());
    assert_eq!(shared(&site, &last[0], "fw_title"), Some(Value::Text("app".into())));
}

/// An assignment that was saved just before a crash is found by the next start, and a file without a record removed.
#[tokio::test]
async fn a_start_finds_what_was_not_told_and_what_was_not_recorded() {
    let site = Site::new().await;
    let firmware = filled(&site, package(OtaKind::Firmware, "1"), b"x").await;
    site.devices.create_device(with_firmware("d", Some(firmware)), None, NOW).await.unwrap();
    let orphan = file(&site, b"nobody's").file;
    let site = site.reopen().await;
    assert!(site.devices.files().read(orphan).is_err());
    let kept = site.devices.ota_package(firmware).unwrap();
    let OtaPackage { content: OtaContent::File(kept), .. } = &*kept else { panic!("no file") };
    assert!(site.devices.files().read(kept.file).is_ok());
    settle(&site, NOW.0).await;
    assert_eq!(latest(&site, "d", "fw_state").as_deref(), Some("INITIATED"));
    let site = site.reopen().await;
    assert_eq!(settle(&site, NOW.0 + 1).await, UpdatesDue::Later);
    assert_eq!(latest(&site, "d", "target_fw_ts"), Some(NOW.0.to_string()), "nobody is told twice");
}

#[tokio::test]
async fn a_package_of_its_own_comes_before_the_profiles() {
    let site = Site::new().await;
    let of_profile = filled(&site, package(OtaKind::Firmware, "1"), b"x").await;
    let own = filled(&site, package(OtaKind::Firmware, "2"), b"y").await;
    let profile = site.devices.default_profile().profile.clone();
    let ota = OtaTargets { firmware: Some(of_profile), software: None };
    let with = |ota| ProfileDraft { ota, is_default: true, ..ProfileDraft::named(profile.name.clone()) };
    site.devices.update_profile(profile.id, with(ota), None, NOW).await.unwrap();
    let device = site.devices.create_device(with_firmware("d", Some(own)), None, NOW).await.unwrap();
    settle(&site, NOW.0).await;
    assert_eq!(latest(&site, "d", "target_fw_version").as_deref(), Some("2"));
    site.devices.update_device(device.id(), draft("d"), None, NOW).await.unwrap();
    settle(&site, NOW.0 + 1).await;
    assert_eq!(latest(&site, "d", "target_fw_version").as_deref(), Some("1"));
    let (device, kind) = (site.devices.device(device.id()).unwrap(), OtaKind::Firmware);
    assert_eq!(site.devices.ota_target(&device, kind).unwrap().id, of_profile);
    site.devices.update_profile(profile.id, with(OtaTargets::default()), None, NOW).await.unwrap();
    settle(&site, NOW.0 + 2).await;
    assert!(site.devices.ota_target(&device, kind).is_none());
    assert_eq!(shared(&site, "d", "fw_title"), None);
}

/// Who has made, filled, assigned and deleted packages is told, with names instead of ids.
#[tokio::test]
async fn packages_and_who_is_to_have_them_are_in_the_audit_log() {
    let site = Site::new().await;
    let who = Actor::User("operator@example.com".into());
    let devices = site.devices.acting_for(who.clone());
    let made = devices.create_ota_package(package(OtaKind::Firmware, "1"), NOW).await.unwrap().id;
    devices.set_ota_file(made, file(&site, b"one"), NOW).await.unwrap();
    let info = OtaPackageDraft { additional_info: "{}".into(), ..package(OtaKind::Firmware, "1") };
    devices.update_ota_package(made, info, NOW).await.unwrap();
    let device = devices.create_device(with_firmware("pump", Some(made)), None, NOW).await.unwrap().id();
    devices.update_device(device, with_firmware("pump", Some(made)), None, NOW).await.unwrap();
    devices.update_device(device, with_firmware("pump", None), None, NOW).await.unwrap();
    let ota = OtaTargets { firmware: Some(made), software: None };
    let profile = ProfileDraft { ota, ..ProfileDraft::named("pumps") };
    let profile = devices.create_profile(profile, NOW).await.unwrap().profile.id;
    devices.update_profile(profile, ProfileDraft::named("pumps"), None, NOW).await.unwrap();
    devices.delete_ota_package(made, NOW).await.unwrap();
    drop(devices);
    let site = site.reopen().await;
    let is_of_packages = |entry: &AuditEntry| {
        !matches!(entry.action, AuditAction::ProfileCreated | AuditAction::ProfileChanged)
    };
    let mut told = site.devices.audit_log(&is_of_packages).unwrap();
    told.reverse();
    let told: Vec<(AuditAction, &str, &str)> = told
        .iter()
        .map(|(_, entry)| {
            assert_eq!(entry.actor, who);
            (entry.action, entry.target.as_str(), entry.detail.as_str())
        })
        .collect();
    let file = "firmware, version 1, 3 bytes, CRC32 00";
    let expected = [
        (AuditAction::PackageCreated, "app", "firmware, version 1"),
        (AuditAction::PackageUploaded, "app", file),
        (AuditAction::PackageChanged, "app", file),
        (AuditAction::PackageAssigned, "pump", "firmware of the device: none → app 1"),
        (AuditAction::PackageAssigned, "pump", "firmware of the device: app 1 → none"),
        (AuditAction::PackageAssigned, "pumps", "firmware of the profile: none → app 1"),
        (AuditAction::PackageAssigned, "pumps", "firmware of the profile: app 1 → none"),
        (AuditAction::PackageDeleted, "app", file),
    ];
    assert_eq!(told, expected);
}
