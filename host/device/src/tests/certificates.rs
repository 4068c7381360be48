//! Device API §3.4: who may connect with a certificate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use wireglot_model::limits::NAME_PATTERN_BYTES_MAX;
use wireglot_model::{Provisioning, Scope, Timestamp, TransportKind, Value};

use super::{NOW, Site, draft, token};
use crate::certificate::base64_of;
use crate::credentials::one_line;
use crate::{
    Certificate, CertificateRefusal, CredentialsDraft, Dates, DeviceError, ProfileChoice, ProfileDraft,
};

/// Valid in 2023, in which `NOW` lies.
fn certificate() -> rcgen::Certificate {
    named("somebody")
}

fn named(common_name: &str) -> rcgen::Certificate {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    (params.not_before, params.not_after) = (date_time_ymd(2023, 1, 1), date_time_ymd(2024, 1, 1));
    params.self_signed(&KeyPair::generate().unwrap()).unwrap()
}

fn by(certificate: &rcgen::Certificate) -> CredentialsDraft {
    CredentialsDraft::X509 { certificate: certificate.pem() }
}

async fn check(
    site: &Site,
    chain: &[&[u8]],
    dates: Dates,
    now: Timestamp,
    expected: Result<&str, CertificateRefusal>,
) {
    let found = site.devices.authenticate_certificate(chain, dates, now).await;
    assert_eq!(found.map(|device| device.name().to_string()), expected.map(str::to_owned));
}

#[tokio::test]
async fn a_device_is_found_by_its_whole_certificate() {
    let site = Site::new().await;
    let (known, unknown) = (certificate(), certificate());
    site.device("d", by(&known)).await;
    check(&site, &[known.der()], Dates::Count, NOW, Ok("d")).await;
    check(&site, &[known.der(), unknown.der()], Dates::Count, NOW, Ok("d")).await;
    check(&site, &[unknown.der()], Dates::Count, NOW, Err(CertificateRefusal::Unknown)).await;
    // Only the leaf counts.
    check(&site, &[unknown.der(), known.der()], Dates::Count, NOW, Err(CertificateRefusal::Unknown)).await;
    check(&site, &[], Dates::Count, NOW, Err(CertificateRefusal::Unknown)).await;
    check(&site, &[b"nonsense"], Dates::Count, NOW, Err(CertificateRefusal::Unknown)).await;
    // After a restart as well.
    let site = site.reopen().await;
    check(&site, &[known.der()], Dates::Count, NOW, Ok("d")).await;
}

#[tokio::test]
async fn a_certificate_of_version_1_is_one() {
    let site = Site::new().await;
    let pem = include_str!("version-1.pem");
    site.device("d", CredentialsDraft::X509 { certificate: pem.into() }).await;
    let der = STANDARD.decode(one_line(pem)).unwrap();
    assert_eq!(Certificate::parse(&der).unwrap().common_name().as_deref(), Some("old-device"));
    check(&site, &[&der], Dates::Ignored, NOW, Ok("d")).await;
}

#[tokio::test]
async fn dates_count_unless_they_are_ignored() {
    let site = Site::new().await;
    let known = certificate();
    site.device("d", by(&known)).await;
    let year = 366 * 24 * 3_600 * 1_000;
    for now in [Timestamp(NOW.0 - year), Timestamp(NOW.0 + year)] {
        check(&site, &[known.der()], Dates::Count, now, Err(CertificateRefusal::OutsideDates)).await;
        check(&site, &[known.der()], Dates::Ignored, now, Ok("d")).await;
    }
}

#[tokio::test]
async fn the_hash_of_a_certificate_is_no_token() {
    let site = Site::new().await;
    let known = certificate();
    let device = site.device("d", by(&known)).await;
    let hash = site.devices.credentials(device.id()).unwrap().lookup;
    let claim = crate::ConnectClaim { client_id: "", user_name: Some(&hash), password: None };
    assert!(site.devices.authenticate(&claim).is_err(), "a hash is no secret");
    // Nor is a token that happens to be a hash a certificate.
    site.devices.set_credentials(device.id(), token(&hash), None).await.unwrap();
    check(&site, &[known.der()], Dates::Count, NOW, Err(CertificateRefusal::Unknown)).await;
}

#[tokio::test]
async fn a_device_of_another_transport_is_refused() {
    let site = Site::new().await;
    let known = certificate();
    let coap = ProfileDraft { transport: TransportKind::Other("COAP".into()), ..ProfileDraft::named("coap") };
    site.devices.create_profile(coap, NOW).await.unwrap();
    let other = crate::DeviceDraft { profile: ProfileChoice::Name("coap".into()), ..draft("d") };
    site.devices.create_device(other, Some(by(&known)), NOW).await.unwrap();
    check(&site, &[known.der()], Dates::Count, NOW, Err(CertificateRefusal::OtherTransport)).await;
}

/// A profile whose devices come with a chain in which this certificate is.
async fn chain_profile(
    site: &Site,
    certificates: &str,
    pattern: &str,
    creates: bool,
) -> Result<(), DeviceError> {
    let provisioning = Provisioning::CertificateChain {
        key: String::new(),
        certificates: certificates.into(),
        name_pattern: pattern.into(),
        creates_devices: creates,
    };
    let draft = ProfileDraft { provisioning, ..ProfileDraft::named(format!("by {pattern} {creates}")) };
    site.devices.create_profile(draft, NOW).await.map(drop)
}

#[tokio::test]
async fn a_chain_makes_a_device_once_and_renews_its_certificate() {
    let site = Site::new().await;
    let authority = certificate();
    chain_profile(&site, &authority.pem(), r"^(dev-\d+)@", true).await.unwrap();
    let (first, second) = (named("dev-1@factory"), named("dev-1@factory"));
    for _ in 0..2 {
        check(&site, &[first.der(), authority.der()], Dates::Count, NOW, Ok("dev-1")).await;
    }
    let device = site.devices.device_by_name("dev-1").unwrap();
    let attributes = site.devices.attributes(device.id(), Scope::Server, None).unwrap();
    let state = attributes.iter().find(|attribute| attribute.key == "provisionState").unwrap();
    assert_eq!(state.value, Value::Text("provisioned".into()));
    // A newer certificate of the same name takes its place; it is asked for no further proof.
    check(&site, &[second.der(), authority.der()], Dates::Count, NOW, Ok("dev-1")).await;
    assert_eq!(site.devices.device_by_name("dev-1").unwrap().id(), device.id());
    let site = site.reopen().await;
    check(&site, &[second.der()], Dates::Count, NOW, Ok("dev-1")).await;
    // The older one alone is nobody's.
    check(&site, &[first.der()], Dates::Count, NOW, Err(CertificateRefusal::Unknown)).await;
    assert_eq!(site.devices.device_count(), 1);
}

/// A chain is only as good as what signed it: a device's certificate that is not in force any more must not name others.
#[tokio::test]
async fn a_certificate_of_yesterday_is_no_authority() {
    let site = Site::new().await;
    let authority = certificate();
    chain_profile(&site, &authority.pem(), r"^(dev-\d+)@", true).await.unwrap();
    let (old, new) = (named("dev-1@factory"), named("dev-1@factory"));
    for leaf in [&old, &new] {
        check(&site, &[leaf.der(), authority.der()], Dates::Count, NOW, Ok("dev-1")).await;
    }
    let forged = named("dev-2@factory");
    let refused = Err(CertificateRefusal::Unknown);
    check(&site, &[forged.der(), old.der(), authority.der()], Dates::Count, NOW, refused).await;
    let between = {
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap()
    };
    assert!(Certificate::parse(between.der()).unwrap().is_authority());
    assert!(!Certificate::parse(old.der()).unwrap().is_authority());
    check(&site, &[forged.der(), between.der(), authority.der()], Dates::Count, NOW, Ok("dev-2")).await;
}

#[tokio::test]
async fn two_connections_with_one_certificate_make_one_device() {
    let site = Site::new().await;
    let (authority, leaf) = (certificate(), named("dev-1"));
    chain_profile(&site, &authority.pem(), "(.*)", true).await.unwrap();
    let chain: [&[u8]; 2] = [leaf.der(), authority.der()];
    let both = tokio::join!(
        site.devices.authenticate_certificate(&chain, Dates::Count, NOW),
        site.devices.authenticate_certificate(&chain, Dates::Count, NOW),
    );
    assert_eq!(both.0.unwrap().id(), both.1.unwrap().id());
    assert_eq!(site.devices.device_count(), 1);
}

#[tokio::test]
async fn a_chain_that_may_make_nothing_makes_nothing() {
    let site = Site::new().await;
    let (makes, only_renews) = (certificate(), certificate());
    chain_profile(&site, &makes.pem(), r"^(dev-\d+)$", true).await.unwrap();
    chain_profile(&site, &only_renews.pem(), "(.*)", false).await.unwrap();
    let refused = Err(CertificateRefusal::Unknown);
    let leaf = named("dev-1");
    let unmatched = named("sensor-1");
    check(&site, &[unmatched.der(), makes.der()], Dates::Count, NOW, refused).await;
    check(&site, &[leaf.der(), only_renews.der()], Dates::Count, NOW, refused).await;
    let year = 366 * 24 * 3_600 * 1_000;
    let later = Timestamp(NOW.0 + year);
    check(&site, &[leaf.der(), makes.der()], Dates::Count, later, Err(CertificateRefusal::OutsideDates))
        .await;
    assert_eq!(site.devices.device_count(), 0);
    // A device of the name in another profile, or with another kind of credentials, is not touched.
    site.device("dev-1", token("TOK")).await;
    check(&site, &[leaf.der(), makes.der()], Dates::Count, NOW, refused).await;
    let profile = ProfileChoice::Name(r"by ^(dev-\d+)$ true".into());
    let mine = crate::DeviceDraft { profile, ..draft("dev-2") };
    site.devices.create_device(mine, Some(token("TOK2")), NOW).await.unwrap();
    check(&site, &[named("dev-2").der(), makes.der()], Dates::Count, NOW, refused).await;
    let kept = site.devices.device_by_name("dev-2").unwrap();
    assert_eq!(site.devices.credentials(kept.id()).unwrap().lookup, "TOK2");
    // Who is a device already is not the authority of others.
    site.device("the authority", by(&makes)).await;
    check(&site, &[named("dev-3").der(), makes.der()], Dates::Count, NOW, refused).await;
    assert_eq!(site.devices.device_count(), 3);
}

#[tokio::test]
async fn a_profile_takes_certificates_and_patterns_that_make_sense() {
    let site = Site::new().await;
    let good = certificate().pem();
    let root = base64_of(&webpki_root_certs::TLS_SERVER_ROOT_CERTS[0]);
    let long = format!("({})", "x".repeat(NAME_PATTERN_BYTES_MAX));
    for (certificates, pattern, words) in [
        ("", "(.*)", "should be specified"),
        ("nonsense", "(.*)", "X.509 certificate in PEM"),
        ("AAAA", "(.*)", "X.509 certificate in PEM"),
        (&root, "(.*)", "well known root CA"),
        (&good, ".*", "no group"),
        (&good, "(", "pattern is not one"),
        (&good, "(?=a)(b)", "pattern is not one"),
        (&good, "(a{1000}{1000}{1000})", "pattern is not one"),
        (&good, &long, "has more than 1024 bytes"),
    ] {
        let error = chain_profile(&site, certificates, pattern, true).await.expect_err(pattern).to_string();
        assert!(error.contains(words), "{error:?} has no {words:?}");
    }
    chain_profile(&site, &good, "(.*)", true).await.unwrap();
    let taken =
        chain_profile(&site, &good, "(.+)", true).await.expect_err("it is another profile's").to_string();
    assert!(taken.contains("Device profile with such certificate already exists!"), "{taken}");
}
