//! Management: the rules for saving, and that everything is still so after a restart.

use wireglot_model::profile::MqttTransport;
use wireglot_model::segments::InvalidSegment;
use wireglot_model::{CodecName, PayloadKind, TransportKind};

use super::{NOW, PASSWORD, Site, draft, token};
use crate::{
    ADMINISTRATOR_EMAIL, CredentialsDraft, DeviceDraft, DeviceError, DeviceSpec, Ensured, ProfileChoice,
    ProfileDraft, Rule,
};

#[track_caller]
fn check<T>(outcome: Result<T, DeviceError>, rule: Rule) {
    match outcome {
        Err(DeviceError::Invalid(broken)) => assert_eq!(broken, rule),
        Err(other) => panic!("{other} instead of {rule}"),
        Ok(_) => panic!("saved in spite of {rule}"),
    }
}

fn mqtt(change: impl FnOnce(&mut MqttTransport)) -> TransportKind {
    let mut mqtt = MqttTransport::json();
    change(&mut mqtt);
    TransportKind::Mqtt(mqtt)
}

fn codec(settings: &str) -> TransportKind {
    let codec = CodecName::parse("elsys").unwrap();
    mqtt(|mqtt| {
        mqtt.payload = PayloadKind::Codec {
            codec,
            pin: None,
            settings: settings.into(),
            isolate_messages: false,
            wrapping: None,
        };
    })
}

#[tokio::test]
async fn the_first_start_makes_an_administrator_and_says_so_once() {
    let folder = tempfile::TempDir::new().unwrap();
    let store = wireglot_store::Store::open(folder.path(), wireglot_store::StoreConfig::default()).unwrap();
    let bus = wireglot_bus::Bus::new();
    let (devices, first) = crate::Devices::open(store.clone(), bus.clone(), None, NOW).await.unwrap();
    let password = first.unwrap().generated_password.unwrap();
    assert_eq!(devices.login(ADMINISTRATOR_EMAIL, &password).unwrap().email, ADMINISTRATOR_EMAIL);
    let (tenant, key) = (devices.tenant(), devices.signing_key().to_vec());
    drop(devices);
    let (devices, second) = crate::Devices::open(store, bus, Some("ignored".into()), NOW).await.unwrap();
    assert!(second.is_none());
    assert_eq!((devices.tenant(), devices.signing_key()), (tenant, &*key));
    assert!(devices.login(ADMINISTRATOR_EMAIL, &password).is_ok());
    assert!(matches!(devices.login(ADMINISTRATOR_EMAIL, "ignored"), Err(DeviceError::BadLogin)));
    assert!(matches!(devices.login("nobody@example.com", &password), Err(DeviceError::BadLogin)));
}

#[tokio::test]
async fn devices_keep_their_rules() {
    let site = Site::new().await;
    let devices = &site.devices;
    let device = site.device("d", token("T")).await;
    check(devices.create_device(draft(" "), None, NOW).await, Rule::DeviceNameMissing);
    check(devices.create_device(draft("d"), None, NOW).await, Rule::DeviceNameTaken);
    check(devices.create_device(draft("e"), Some(token("T")), NOW).await, Rule::CredentialsTaken);
    let unknown = ProfileChoice::Id(wireglot_model::ProfileId(uuid::Uuid::nil()));
    check(
        devices.create_device(DeviceDraft { profile: unknown, ..draft("e") }, None, NOW).await,
        Rule::UnknownProfile,
    );
    let list = DeviceDraft { additional_info: "[]".into(), ..draft("e") };
    check(devices.create_device(list, None, NOW).await, Rule::AdditionalInfoNotObject);
    let other = devices.create_device(draft("other"), None, NOW).await.unwrap();
    check(devices.update_device(other.id(), draft("d"), None, NOW).await, Rule::DeviceNameTaken);
    let stale = devices.update_device(device.id(), draft("renamed"), Some(9), NOW).await;
    assert!(matches!(stale, Err(DeviceError::VersionConflict)));
    devices.update_device(device.id(), draft("renamed"), Some(1), NOW).await.unwrap();
    assert!(devices.device_by_name("d").is_none());

    let site = site.reopen().await;
    let found = site.devices.device_by_name("renamed").unwrap();
    assert_eq!((found.id(), found.record().version), (device.id(), 2));
    site.devices.delete_device(found.id(), crate::now()).await.unwrap();
    let site = site.reopen().await;
    assert!(site.devices.device_by_name("renamed").is_none());
    assert_eq!(site.devices.device_count(), 1);
    site.device("again", token("T")).await;
}

#[tokio::test]
async fn a_type_makes_its_profile() {
    let site = Site::new().await;
    let typed = |name: &str| DeviceDraft { profile: ProfileChoice::Name("thermo".into()), ..draft(name) };
    let one = site.devices.create_device(typed("1"), None, NOW).await.unwrap();
    let other = site.devices.create_device(typed("2"), None, NOW).await.unwrap();
    assert_eq!(one.profile().profile.id, other.profile().profile.id);
    let site = site.reopen().await;
    assert_eq!(&*site.devices.device_by_name("2").unwrap().profile().name, "thermo");
}

#[tokio::test]
async fn credentials_keep_their_rules() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await.id();
    let basic = |client_id: &str, user_name: &str, password: &str| CredentialsDraft::MqttBasic {
        client_id: Some(client_id.into()),
        user_name: Some(user_name.into()),
        password: Some(password.into()),
    };
    let rows = [
        (basic("c", "", "p"), Rule::PasswordWithClientId),
        (basic("", "", "p"), Rule::NoClientIdNorUserName),
        (basic("c", "u\n", ""), Rule::ControlCharacters),
        (token(""), Rule::TokenMissing),
        (token(&"t".repeat(wireglot_model::limits::CREDENTIALS_BYTES_MAX + 1)), Rule::CredentialsTooLong),
        (CredentialsDraft::X509 { certificate: "-----BEGIN".into() }, Rule::CertificateMissing),
    ];
    for (draft, rule) in rows {
        check(site.devices.set_credentials(device, draft, None).await, rule);
    }
    site.device("other", token("OTHER")).await;
    check(site.devices.set_credentials(device, token("OTHER"), None).await, Rule::CredentialsTaken);
    let saved = site.devices.set_credentials(device, basic("c", "u", "p"), Some(1)).await.unwrap();
    assert_eq!(saved.lookup, crate::auth::sha3_hex("c|u"));
    let site = site.reopen().await;
    assert_eq!(site.devices.credentials(device).unwrap(), saved);
}

#[tokio::test]
async fn profiles_keep_their_rules() {
    let site = Site::new().await;
    let devices = &site.devices;
    let default = devices.default_profile().profile.id;
    check(devices.create_profile(ProfileDraft::named(""), NOW).await, Rule::ProfileNameMissing);
    check(devices.create_profile(ProfileDraft::named("default"), NOW).await, Rule::ProfileNameTaken);
    let second = ProfileDraft { is_default: true, ..ProfileDraft::named("second") };
    check(devices.create_profile(second, NOW).await, Rule::SecondDefaultProfile);
    check(devices.delete_profile(default, NOW).await, Rule::DefaultProfileStays);
    for (transport, rule) in [
        (mqtt(|mqtt| mqtt.telemetry_topic = " ".into()), Rule::InvalidTopic(" ".into())),
        (mqtt(|mqtt| mqtt.attributes_topic = "a\0".into()), Rule::InvalidTopic("a\0".into())),
        (
            mqtt(|mqtt| mqtt.attributes_topic = "{}".into()),
            Rule::InvalidSegment { filter: "{}".into(), problem: InvalidSegment::Malformed("{}".into()) },
        ),
        (codec("[]"), Rule::SettingsNotObject),
        (codec("{"), Rule::SettingsNotObject),
    ] {
        check(
            devices.create_profile(ProfileDraft { transport, ..ProfileDraft::named("p") }, NOW).await,
            rule,
        );
    }
    let profile = ProfileDraft { transport: codec("{}"), ..ProfileDraft::named("p") };
    let state = devices.create_profile(profile.clone(), NOW).await.unwrap();
    let id = state.profile.id;
    let named = DeviceDraft { profile: ProfileChoice::Id(id), ..draft("d") };
    let device = devices.create_device(named, None, NOW).await.unwrap();
    check(devices.delete_profile(id, NOW).await, Rule::ProfileInUse);
    check(devices.update_profile(id, ProfileDraft::named("p"), None, NOW).await, Rule::TransportInUse);
    assert!(devices.is_codec_used(&CodecName::parse("elsys").unwrap()));
    assert!(!devices.is_codec_used(&CodecName::parse("ruuvi").unwrap()));

    let renamed = ProfileDraft { name: "q".into(), ..profile };
    devices.update_profile(id, renamed, Some(1), NOW).await.unwrap();
    assert_eq!(&*device.profile().name, "q", "a change is in force at once");
    devices.make_default_profile(id, NOW).await.unwrap();
    let site = site.reopen().await;
    assert_eq!(site.devices.default_profile().profile.id, id);
    assert!(!site.devices.profile(default).unwrap().profile.is_default);
    site.devices.delete_profile(default, NOW).await.unwrap();
}

#[tokio::test]
async fn a_declared_fleet_is_brought_about_once() {
    let site = Site::new().await;
    let profile = ProfileDraft { transport: codec("{}"), is_default: true, ..ProfileDraft::named("tag") };
    let device = DeviceSpec {
        name: "tag-1".into(),
        label: None,
        profile: Some("tag".into()),
        gateway: false,
        credentials: Some(token("T")),
    };
    let apply = |profile: ProfileDraft, device: DeviceSpec| {
        let devices = site.devices.clone();
        async move {
            let profile = devices.ensure_profile(profile, NOW).await.unwrap();
            (profile, devices.ensure_device(device, NOW).await.unwrap())
        }
    };
    assert_eq!(apply(profile.clone(), device.clone()).await, (Ensured::Created, Ensured::Created));
    assert_eq!(apply(profile.clone(), device.clone()).await, (Ensured::Unchanged, Ensured::Unchanged));
    let changed = ProfileDraft { transport: codec("{\"a\":1}"), ..profile };
    let moved = DeviceSpec { gateway: true, credentials: Some(token("U")), ..device.clone() };
    assert_eq!(apply(changed, moved).await, (Ensured::Updated, Ensured::Updated));
    let stored = site.devices.device_by_name("tag-1").unwrap();
    assert!(stored.is_gateway() && site.devices.default_profile().profile.name == "tag");
    assert_eq!(site.devices.credentials(stored.id()).unwrap().lookup, "U");
    let lost = DeviceSpec { profile: Some("unknown".into()), ..device };
    check(site.devices.ensure_device(lost, NOW).await, Rule::UnknownProfile);
    assert!(site.devices.login(ADMINISTRATOR_EMAIL, PASSWORD).is_ok());
}
