//! Device API §3.4: who may connect with a certificate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use wireglot_model::{Timestamp, TransportKind};

use super::{NOW, Site, draft, token};
use crate::credentials::one_line;
use crate::{Certificate, CertificateRefusal, CredentialsDraft, Dates, ProfileChoice, ProfileDraft};

/// Valid in 2023, in which `NOW` lies.
pub(super) fn certificate() -> rcgen::Certificate {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (date_time_ymd(2023, 1, 1), date_time_ymd(2024, 1, 1));
    params.self_signed(&KeyPair::generate().unwrap()).unwrap()
}

fn by(certificate: &rcgen::Certificate) -> CredentialsDraft {
    CredentialsDraft::X509 { certificate: certificate.pem() }
}

#[track_caller]
fn check(
    site: &Site,
    chain: &[&[u8]],
    dates: Dates,
    now: Timestamp,
    expected: Result<&str, CertificateRefusal>,
) {
    let found = site.devices.authenticate_certificate(chain, dates, now);
    assert_eq!(found.map(|device| device.name().to_string()), expected.map(str::to_owned));
}

#[tokio::test]
async fn a_device_is_found_by_its_whole_certificate() {
    let site = Site::new().await;
    let (known, unknown) = (certificate(), certificate());
    site.device("d", by(&known)).await;
    check(&site, &[known.der()], Dates::Count, NOW, Ok("d"));
    check(&site, &[known.der(), unknown.der()], Dates::Count, NOW, Ok("d"));
    check(&site, &[unknown.der()], Dates::Count, NOW, Err(CertificateRefusal::Unknown));
    // Only the leaf counts.
    check(&site, &[unknown.der(), known.der()], Dates::Count, NOW, Err(CertificateRefusal::Unknown));
    check(&site, &[], Dates::Count, NOW, Err(CertificateRefusal::Unknown));
    check(&site, &[b"nonsense"], Dates::Count, NOW, Err(CertificateRefusal::Unknown));
    // After a restart as well.
    let site = site.reopen().await;
    check(&site, &[known.der()], Dates::Count, NOW, Ok("d"));
}

#[tokio::test]
async fn a_certificate_of_version_1_is_one() {
    let site = Site::new().await;
    let pem = include_str!("version-1.pem");
    site.device("d", CredentialsDraft::X509 { certificate: pem.into() }).await;
    let der = STANDARD.decode(one_line(pem)).unwrap();
    assert_eq!(Certificate::parse(&der).unwrap().common_name().as_deref(), Some("old-device"));
    check(&site, &[&der], Dates::Ignored, NOW, Ok("d"));
}

#[tokio::test]
async fn dates_count_unless_they_are_ignored() {
    let site = Site::new().await;
    let known = certificate();
    site.device("d", by(&known)).await;
    let year = 366 * 24 * 3_600 * 1_000;
    for now in [Timestamp(NOW.0 - year), Timestamp(NOW.0 + year)] {
        check(&site, &[known.der()], Dates::Count, now, Err(CertificateRefusal::OutsideDates));
        check(&site, &[known.der()], Dates::Ignored, now, Ok("d"));
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
    check(&site, &[known.der()], Dates::Count, NOW, Err(CertificateRefusal::Unknown));
}

#[tokio::test]
async fn a_device_of_another_transport_is_refused() {
    let site = Site::new().await;
    let known = certificate();
    let coap = ProfileDraft { transport: TransportKind::Other("COAP".into()), ..ProfileDraft::named("coap") };
    site.devices.create_profile(coap, NOW).await.unwrap();
    let other = crate::DeviceDraft { profile: ProfileChoice::Name("coap".into()), ..draft("d") };
    site.devices.create_device(other, Some(by(&known)), NOW).await.unwrap();
    check(&site, &[known.der()], Dates::Count, NOW, Err(CertificateRefusal::OtherTransport));
}
