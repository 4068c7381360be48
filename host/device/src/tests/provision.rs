//! Provisioning: each row of device API §15.3, and what a profile may say about it (device profile §5).

use wireglot_model::limits::{NAME_CHARS_MAX, SECRET_BYTES_MAX};
use wireglot_model::{
    Credentials, CredentialsKind, ProvisionAnswer, ProvisionCredentials, ProvisionCredentialsKind,
    ProvisionRequest, Provisioning, Scope, Value,
};

use super::{NOW, Site, token};
use crate::{DeviceDraft, DeviceError, ProfileChoice, ProfileDraft, ProvisionError, Rule};

const KEY: &str = "testProvisionKey";
const SECRET: &str = "testProvisionSecret";

fn new() -> Provisioning {
    Provisioning::CreateNew { key: KEY.into(), secret: SECRET.into() }
}

fn known() -> Provisioning {
    Provisioning::CheckPreProvisioned { key: KEY.into(), secret: SECRET.into() }
}

fn chain(certificates: &str) -> Provisioning {
    Provisioning::CertificateChain {
        key: String::new(),
        certificates: certificates.into(),
        name_pattern: "(.*)".into(),
        creates_devices: true,
    }
}

fn profile(name: &str, provisioning: Provisioning) -> ProfileDraft {
    ProfileDraft { provisioning, ..ProfileDraft::named(name) }
}

async fn site(provisioning: Provisioning) -> Site {
    let site = Site::new().await;
    site.devices.create_profile(profile("p", provisioning), NOW).await.unwrap();
    site
}

fn request(name: &str) -> ProvisionRequest {
    ProvisionRequest {
        key: KEY.into(),
        secret: SECRET.into(),
        device_name: Some(name.into()),
        ..ProvisionRequest::default()
    }
}

fn with(kind: ProvisionCredentialsKind, change: impl FnOnce(&mut ProvisionCredentials)) -> ProvisionRequest {
    let mut wanted = ProvisionCredentials { kind, ..ProvisionCredentials::default() };
    change(&mut wanted);
    ProvisionRequest { credentials: wanted, ..request("d") }
}

async fn ask(site: &Site, request: ProvisionRequest) -> ProvisionAnswer {
    site.devices.provision(request, NOW).await.unwrap()
}

#[track_caller]
fn credentials(answer: ProvisionAnswer) -> Credentials {
    match answer {
        ProvisionAnswer::Success(credentials) => credentials,
        other => panic!("{other:?}"),
    }
}

fn state(site: &Site, name: &str) -> Option<Value> {
    let device = site.devices.device_by_name(name).unwrap().id();
    let found = site.devices.attributes(device, Scope::Server, Some(&["provisionState".into()])).unwrap();
    found.into_iter().next().map(|attribute| attribute.value)
}

// 251, 253
#[tokio::test]
async fn a_new_device_is_made_and_durable() {
    let site = site(new()).await;
    let asked = ProvisionRequest { is_gateway: true, ..request(" Test Provision device ") };
    let made = credentials(ask(&site, asked).await);
    assert_eq!((made.kind, made.lookup.len()), (CredentialsKind::AccessToken, 20));
    let site = site.reopen().await;
    let device = site.devices.device_by_name("Test Provision device").unwrap();
    assert_eq!((&*device.profile().name, device.is_gateway()), ("p", true));
    assert_eq!(site.devices.credentials(device.id()).unwrap().lookup, made.lookup);
    assert_eq!(state(&site, "Test Provision device"), Some(Value::Text("provisioned".into())));
}

// 254, 255, 256
#[tokio::test]
async fn a_request_may_bring_its_credentials() {
    use ProvisionCredentialsKind::{AccessToken, Lwm2m, MqttBasic, X509};
    let set = |text: &str| Some(text.to_owned());
    for (asked, lookup) in [
        (with(AccessToken, |wanted| wanted.token = set("test_token")), Some("test_token".to_owned())),
        (
            with(MqttBasic, |wanted| {
                wanted.client_id = set("test_clientId");
                wanted.user_name = set("test_username");
                wanted.password = set("test_password");
            }),
            Some(crate::auth::sha3_hex("test_clientId|test_username")),
        ),
        (with(X509, |wanted| wanted.certificate = set("testHash")), Some(crate::auth::sha3_hex("testHash"))),
        // What cannot be stored, or is nobody's.
        (with(AccessToken, |wanted| wanted.user_name = set("u")), None),
        (with(MqttBasic, |wanted| wanted.token = set("t")), None),
        (
            with(MqttBasic, |wanted| {
                wanted.client_id = set("c");
                wanted.password = set("p");
            }),
            None,
        ),
        (with(X509, |wanted| wanted.token = set("t")), None),
        (with(Lwm2m, |wanted| wanted.token = set("t")), None),
        (with(AccessToken, |wanted| wanted.token = set("taken")), None),
    ] {
        let site = site(new()).await;
        site.device("other", token("taken")).await;
        match lookup {
            Some(lookup) => assert_eq!(credentials(ask(&site, asked).await).lookup, lookup),
            None => {
                assert_eq!(ask(&site, asked.clone()).await, ProvisionAnswer::Failure, "{asked:?}");
                assert!(site.devices.device_by_name("d").is_none(), "{asked:?}");
            }
        }
    }
    for kind in [AccessToken, MqttBasic, X509, Lwm2m] {
        let site = site(new()).await;
        let empty = with(kind, |wanted| wanted.token = set(""));
        let made = credentials(ask(&site, empty).await);
        assert_eq!((made.kind, made.lookup.len()), (CredentialsKind::AccessToken, 20), "{kind:?}");
    }
}

// 257, 258
#[tokio::test]
async fn who_does_not_know_key_and_secret_finds_nothing() {
    let ask_all = |site: Site| async move {
        for (key, secret) in [("other", SECRET), (KEY, "other"), ("", SECRET), (KEY, ""), ("", "")] {
            let asked = ProvisionRequest { key: key.into(), secret: secret.into(), ..request("d") };
            assert_eq!(ask(&site, asked).await, ProvisionAnswer::NotFound, "{key:?} {secret:?}");
        }
        site
    };
    for provisioning in [new(), known()] {
        let site = ask_all(site(provisioning).await).await;
        assert!(site.devices.device_by_name("d").is_none());
        // A blank name is told before anything is looked up.
        let blank = ProvisionRequest { key: String::new(), ..request("  ") };
        assert_eq!(ask(&site, blank).await, ProvisionAnswer::Failure);
    }
    let site = site(Provisioning::Disabled).await;
    assert_eq!(ask(&site, request("d")).await, ProvisionAnswer::NotFound);
}

// 262, 263, 264
#[tokio::test]
async fn the_name_of_a_new_device_is_its_own() {
    let site = site(new()).await;
    site.device("there", token("T")).await;
    let long = "n".repeat(NAME_CHARS_MAX + 1);
    for name in ["there", " there", "  ", &long] {
        assert_eq!(ask(&site, request(name)).await, ProvisionAnswer::Failure, "{name:?}");
    }
    for name in [None, Some(String::new())] {
        let asked = ProvisionRequest { device_name: name, ..request("") };
        let made = credentials(ask(&site, asked).await);
        let name = site.devices.device(made.device).unwrap().name();
        assert!(name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{name}");
    }
}

// 259, 260, 261
#[tokio::test]
async fn a_known_device_gets_its_credentials_once() {
    let site = site(known()).await;
    site.device("elsewhere", token("E")).await;
    let id = site.devices.profile_by_name("p").unwrap().profile.id;
    let draft = DeviceDraft { profile: ProfileChoice::Id(id), ..super::draft("d") };
    let device = site.devices.create_device(draft, Some(token("OWN")), NOW).await.unwrap();
    for name in [Some("unknown".to_owned()), Some("elsewhere".to_owned()), None] {
        let asked = ProvisionRequest { device_name: name.clone(), ..request("") };
        assert_eq!(ask(&site, asked).await, ProvisionAnswer::Failure, "{name:?}");
    }
    // Those of the request are ignored.
    let asked = with(ProvisionCredentialsKind::AccessToken, |wanted| wanted.token = Some("NEW".into()));
    assert_eq!(credentials(ask(&site, asked).await).lookup, "OWN");
    assert_eq!(state(&site, "d"), Some(Value::Text("provisioned".into())));
    let site = site.reopen().await;
    assert_eq!(ask(&site, request("d")).await, ProvisionAnswer::Failure);
    let keys = vec!["provisionState".to_owned()];
    site.devices.delete_attributes(device.id(), Scope::Server, keys).await.unwrap();
    assert_eq!(credentials(ask(&site, request("d")).await).lookup, "OWN");
}

#[tokio::test]
async fn of_two_requests_at_once_one_is_the_second() {
    for provisioning in [new(), known()] {
        let site = site(provisioning.clone()).await;
        if provisioning == known() {
            let id = site.devices.profile_by_name("p").unwrap().profile.id;
            let draft = DeviceDraft { profile: ProfileChoice::Id(id), ..super::draft("d") };
            site.devices.create_device(draft, None, NOW).await.unwrap();
        }
        let asking = (0..16).map(|_| {
            let devices = site.devices.clone();
            tokio::spawn(async move { devices.provision(request("d"), NOW).await.unwrap() })
        });
        let mut granted = 0;
        for asked in asking.collect::<Vec<_>>() {
            granted += usize::from(matches!(asked.await.unwrap(), ProvisionAnswer::Success(_)));
        }
        assert_eq!(granted, 1, "{provisioning:?}");
    }
}

#[tokio::test]
async fn a_profile_of_certificates_is_not_asked_by_key() {
    let site = site(chain("TUlJ")).await;
    let stored = site.devices.profile_by_name("p").unwrap();
    let key = crate::auth::sha3_hex("TUlJ");
    assert_eq!(stored.profile.provisioning.key(), Some(key.as_str()));
    let asked = ProvisionRequest { key, ..request("d") };
    let refused = site.devices.provision(asked, NOW).await;
    assert!(matches!(refused, Err(ProvisionError::CertificateChain)), "{refused:?}");
}

#[tokio::test]
async fn a_chain_is_known_by_its_first_certificate() {
    let block = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let (one, two) =
        (block("TUlJ\nQg=="), format!("for people\n{}{}", block("TUlJ\nQg=="), block("b3RoZXI=")));
    for (given, kept) in [(one.as_str(), "TUlJQg=="), (two.as_str(), two.as_str()), ("TUlJQg==", "TUlJQg==")]
    {
        let site = site(chain(given)).await;
        let stored = site.devices.profile_by_name("p").unwrap();
        let Provisioning::CertificateChain { key, certificates, .. } = &stored.profile.provisioning else {
            panic!("{stored:?}")
        };
        assert_eq!((key, certificates.as_str()), (&crate::auth::sha3_hex("TUlJQg=="), kept));
    }
}

// 326
#[tokio::test]
async fn a_key_names_one_profile() {
    let site = site(new()).await;
    let devices = &site.devices;
    let check = |outcome: Result<_, DeviceError>, rule: Rule| match outcome {
        Err(DeviceError::Invalid(broken)) => assert_eq!(broken, rule),
        other => panic!("{:?} instead of {rule}", other.map(|_: std::sync::Arc<crate::ProfileState>| ())),
    };
    let key = |key: &str, secret: &str| Provisioning::CreateNew { key: key.into(), secret: secret.into() };
    let long = "k".repeat(SECRET_BYTES_MAX + 1);
    devices.create_profile(profile("x", chain("TUlJ")), NOW).await.unwrap();
    for (provisioning, rule) in [
        (new(), Rule::ProvisionKeyTaken),
        (known(), Rule::ProvisionKeyTaken),
        (chain("TUlJ"), Rule::ProvisionCertificateTaken),
        (chain(""), Rule::CertificateMissing),
        (chain(&"A".repeat(70_000)), Rule::CredentialsTooLong),
        (key("", "s"), Rule::ProvisionKeyMissing),
        (key("k", ""), Rule::ProvisionSecretMissing),
        (key(&long, "s"), Rule::ProvisionSecretTooLong),
        (key("k", &long), Rule::ProvisionSecretTooLong),
    ] {
        check(devices.create_profile(profile("q", provisioning), NOW).await, rule);
    }
    // A key that is given up is free again, and a profile keeps its own.
    let id = devices.profile_by_name("p").unwrap().profile.id;
    devices.update_profile(id, profile("p", known()), None, NOW).await.unwrap();
    assert_eq!(ask(&site, request("d")).await, ProvisionAnswer::Failure, "the new strategy is in force");
    devices.update_profile(id, profile("p", key("other", SECRET)), None, NOW).await.unwrap();
    assert_eq!(ask(&site, request("d")).await, ProvisionAnswer::NotFound);
    let q = devices.create_profile(profile("q", new()), NOW).await.unwrap();
    devices.delete_profile(q.profile.id, NOW).await.unwrap();
    assert_eq!(ask(&site, request("d")).await, ProvisionAnswer::NotFound);
    let site = site.reopen().await;
    let asked = ProvisionRequest { key: "other".into(), ..request("d") };
    assert!(matches!(ask(&site, asked).await, ProvisionAnswer::Success(_)));
    let told = site.devices.audit_log(&|_| true).unwrap();
    assert!(told.iter().all(|(_, entry)| !entry.detail.contains(SECRET)), "secrets are not told: {told:?}");
    assert!(told.iter().any(|(_, entry)| entry.detail.contains("provisioning changed")), "{told:?}");
}
