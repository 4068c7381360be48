//! Device API §3.2, §3.3 and §3.5, with ruling 1: rows 10 to 30 of the conformance cases.

use wireglot_bus::{Delivery, mailbox};
use wireglot_model::downlink::CloseReason;
use wireglot_model::{Downlink, SessionId, TransportKind};

use super::{NOW, Site, draft, token};
use crate::{AuthRefusal, ConnectClaim, CredentialsDraft, ProfileChoice, ProfileDraft, Revoked};

fn basic(client_id: Option<&str>, user_name: Option<&str>, password: Option<&str>) -> CredentialsDraft {
    let owned = |part: Option<&str>| part.map(str::to_owned);
    CredentialsDraft::MqttBasic {
        client_id: owned(client_id),
        user_name: owned(user_name),
        password: owned(password),
    }
}

#[track_caller]
fn check(
    site: &Site,
    client_id: &str,
    user_name: Option<&str>,
    password: Option<&str>,
    expected: Result<&str, AuthRefusal>,
) {
    let claim = ConnectClaim { client_id, user_name, password: password.map(str::as_bytes) };
    let found = site.devices.authenticate(&claim).map(|device| device.name().to_string());
    assert_eq!(found, expected.map(str::to_owned), "{client_id:?} {user_name:?} {password:?}");
}

#[tokio::test]
async fn a_token_is_valid_whatever_comes_with_it() {
    let site = Site::new().await;
    site.device("d", token("TOK")).await;
    check(&site, "", Some("TOK"), None, Ok("d"));
    check(&site, "any", Some("TOK"), Some("any"), Ok("d"));
    check(&site, "any", Some("tok"), None, Err(AuthRefusal::UnknownUser));
    check(&site, "any", Some("tok"), Some("x"), Err(AuthRefusal::UnknownUser));
    check(&site, "TOK", None, None, Err(AuthRefusal::UnknownClient));
}

#[tokio::test]
async fn basic_credentials_match_as_they_are_stored() {
    let site = Site::new().await;
    site.device("by client", basic(Some("cid1"), None, None)).await;
    site.device("by user", basic(None, Some("u0"), None)).await;
    site.device("by user and password", basic(None, Some("u3"), Some("p3"))).await;
    site.device("by both", basic(Some("cid1"), Some("u1"), None)).await;
    site.device("by all", basic(Some("cid1"), Some("u2"), Some("secret"))).await;
    site.device("token u2", token("u2")).await;
    check(&site, "cid1", None, None, Ok("by client"));
    check(&site, "cid1", Some(""), None, Ok("by client"));
    check(&site, "cid1", None, Some("p"), Ok("by client"));
    check(&site, "any", Some("u0"), Some("any"), Ok("by user"));
    check(&site, "any", Some("u3"), Some("p3"), Ok("by user and password"));
    check(&site, "any", Some("u3"), Some("p"), Err(AuthRefusal::UnknownUser));
    check(&site, "any", Some("u3"), None, Err(AuthRefusal::UnknownUser));
    check(&site, "cid1", Some("u1"), None, Ok("by both"));
    check(&site, "cid2", Some("u1"), None, Err(AuthRefusal::UnknownUser));
    check(&site, "cid1", Some("u2"), Some("secret"), Ok("by all"));
    check(&site, "cid1", Some("u2"), Some("wrong"), Err(AuthRefusal::UnknownUser));
    check(&site, "other", Some("u2"), Some("wrong"), Ok("token u2"));
}

#[tokio::test]
async fn refusals_tell_what_was_presented() {
    let site = Site::new().await;
    check(&site, "", None, None, Err(AuthRefusal::NothingPresented));
    check(&site, " ", None, None, Err(AuthRefusal::NothingPresented));
    check(&site, "c", None, None, Err(AuthRefusal::UnknownClient));
    check(&site, "c", Some(""), None, Err(AuthRefusal::EmptyUserName));
    check(&site, "c", None, Some("p"), Err(AuthRefusal::EmptyUserName));
    check(&site, "c", Some("u"), None, Err(AuthRefusal::UnknownUser));
}

#[tokio::test]
async fn certificates_and_other_transports_do_not_log_in_by_user_name() {
    let site = Site::new().await;
    let certificate = "-----BEGIN CERTIFICATE-----\nQUJD\nREVG\n-----END CERTIFICATE-----\n";
    let device = site.device("x509", CredentialsDraft::X509 { certificate: certificate.into() }).await;
    let stored = site.devices.credentials(device.id()).unwrap();
    assert_eq!(stored.lookup, crate::auth::sha3_hex("QUJDREVG"));
    check(&site, "", Some(&stored.lookup), None, Err(AuthRefusal::UnknownUser));

    let transport = TransportKind::Other("COAP".into());
    let profile = ProfileDraft { transport, ..ProfileDraft::named("coap") };
    let profile = site.devices.create_profile(profile, NOW).await.unwrap();
    let draft = crate::DeviceDraft { profile: ProfileChoice::Id(profile.profile.id), ..draft("coap 1") };
    site.devices.create_device(draft, Some(token("COAP")), NOW).await.unwrap();
    check(&site, "", Some("COAP"), None, Err(AuthRefusal::OtherTransport));
}

#[tokio::test]
async fn a_change_of_credentials_ends_the_session_and_the_login_before_it() {
    let site = Site::new().await;
    let device = site.device("d", token("OLD")).await;
    let login = |name: &'static str| {
        site.devices.authenticate(&ConnectClaim { client_id: "", user_name: Some(name), password: None })
    };
    let (mailbox, mut receiver) = mailbox();
    let (early, late) = (login("OLD").unwrap(), login("OLD").unwrap());
    site.devices.open_session(&early, SessionId(1), &mailbox, NOW).unwrap();
    site.devices.set_credentials(device.id(), token("NEW"), None).await.unwrap();
    let closed = receiver.try_recv();
    assert_eq!(closed, Some((SessionId(1), Downlink::Close(CloseReason::Administrative))));
    // This one had logged in before the change, and its session comes after it.
    assert_eq!(site.devices.open_session(&late, SessionId(2), &mailbox, NOW), Err(Revoked));
    assert_eq!(site.bus.send(device.id(), Downlink::AttributeDelete(vec![])), Delivery::NotConnected);
    assert_eq!(login("OLD").err(), Some(AuthRefusal::UnknownUser));
    site.devices.open_session(&login("NEW").unwrap(), SessionId(3), &mailbox, NOW).unwrap();

    // Saving the same again changes nothing.
    site.devices.set_credentials(device.id(), token("NEW"), None).await.unwrap();
    assert!(site.bus.is_connected(device.id()));

    site.devices.delete_device(device.id(), crate::now()).await.unwrap();
    let closed = receiver.try_recv();
    assert_eq!(closed, Some((SessionId(3), Downlink::Close(CloseReason::Administrative))));
    assert_eq!(login("NEW").err(), Some(AuthRefusal::UnknownUser));
}

#[tokio::test]
async fn a_second_session_takes_the_first_one_over() {
    let site = Site::new().await;
    site.device("d", token("T")).await;
    let (mailbox, mut receiver) = mailbox();
    for session in [1, 2] {
        let claim = ConnectClaim { client_id: "same", user_name: Some("T"), password: None };
        let device = site.devices.authenticate(&claim).unwrap();
        site.devices.open_session(&device, SessionId(session), &mailbox, NOW).unwrap();
    }
    assert_eq!(receiver.try_recv(), Some((SessionId(1), Downlink::Close(CloseReason::TakenOver))));
    assert_eq!(receiver.try_recv(), None);
}
