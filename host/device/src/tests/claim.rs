//! Claiming: each row of device API §14, and that what was accepted is still so after a restart.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use parking_lot::RwLockUpgradableReadGuard;
use wireglot_model::limits::SECRET_BYTES_MAX;
use wireglot_model::{CustomerId, Decoded, Fault, Sample, Scope, Timestamp, Uplink, UplinkBody, Value};
use wireglot_store::Batch;

use super::{NOW, Site, draft, of_child, token};
use crate::{
    AcceptError, ClaimOutcome, ClaimRules, CustomerDraft, DeviceDraft, DeviceError, DeviceHandle, Rule,
};

const DAY_MS: i64 = 86_400_000;

fn after(ms: i64) -> Timestamp {
    Timestamp(NOW.0 + ms)
}

async fn customer(site: &Site, title: &str) -> CustomerId {
    let draft = CustomerDraft { title: title.into(), details: "{}".into() };
    site.devices.create_customer(draft, NOW).await.unwrap().id
}

fn claim_of(secret: &str, duration_ms: i64) -> Uplink {
    Uplink { child: None, body: UplinkBody::Claim { secret: secret.into(), duration_ms } }
}

/// The device publishes a claim, which becomes durable.
async fn publish(
    site: &Site,
    device: &DeviceHandle,
    now: Timestamp,
    uplink: Uplink,
) -> Result<(), AcceptError> {
    let decoded = Decoded { uplinks: vec![uplink], warnings: Vec::new() };
    let mut batch = Batch::default();
    let after = site.devices.prepare(device, now, None, decoded, None, &mut batch)?;
    site.devices.queue_after(batch, after.as_ref()).await.unwrap();
    Ok(())
}

async fn announced(site: &Site, name: &str, secret: &str, duration_ms: i64) -> DeviceHandle {
    let device = site.device(name, token(name)).await;
    publish(site, &device, NOW, claim_of(secret, duration_ms)).await.unwrap();
    device
}

async fn outcome(
    site: &Site,
    name: &str,
    customer: CustomerId,
    secret: &str,
    now: Timestamp,
) -> &'static str {
    match site.devices.claim(name, customer, secret, now).await.unwrap() {
        ClaimOutcome::Success(device) => {
            assert_eq!(device.customer(), Some(customer));
            "SUCCESS"
        }
        ClaimOutcome::Failure => "FAILURE",
        ClaimOutcome::Claimed => "CLAIMED",
    }
}

async fn set(site: &Site, device: &DeviceHandle, key: &str, value: Value) {
    let samples = vec![Sample { key: key.into(), value }];
    site.devices.write_attributes(device.id(), Scope::Server, samples, NOW).await.unwrap();
}

fn server_keys(site: &Site, device: &DeviceHandle) -> Vec<String> {
    let found = site.devices.attributes(device.id(), Scope::Server, None).unwrap();
    found.into_iter().map(|attribute| attribute.key).collect()
}

// 240, 241, 246
#[tokio::test]
async fn a_device_is_claimed_once_and_for_all() {
    let site = Site::new().await;
    let (one, other) = (customer(&site, "one").await, customer(&site, "other").await);
    let device = announced(&site, "d", "value", 60_000).await;
    let site = site.reopen().await;
    assert_eq!(outcome(&site, "d", one, "value", after(60_000)).await, "SUCCESS");
    for customer in [one, other] {
        assert_eq!(outcome(&site, "d", customer, "value", NOW).await, "CLAIMED");
    }
    let claimed = site.devices.device(device.id()).unwrap();
    publish(&site, &claimed, NOW, claim_of("again", 0)).await.unwrap();
    assert_eq!(outcome(&site, "d", other, "again", NOW).await, "CLAIMED");
    let site = site.reopen().await;
    assert_eq!(site.devices.device(device.id()).unwrap().customer(), Some(one));
    site.devices.reclaim("d", None, NOW).await.unwrap();
    assert_eq!(outcome(&site, "d", other, "again", NOW).await, "FAILURE", "it was not noted meanwhile");
}

// 242
#[tokio::test]
async fn a_claim_without_a_secret_is_open_to_everybody_for_a_day() {
    let site = Site::new().await;
    let one = customer(&site, "one").await;
    for (name, duration_ms) in [("zero", 0), ("negative", -5)] {
        announced(&site, name, "", duration_ms).await;
        assert_eq!(outcome(&site, name, one, "", after(DAY_MS)).await, "SUCCESS", "{name}");
    }
    announced(&site, "late", "", 0).await;
    assert_eq!(outcome(&site, "late", one, "", after(DAY_MS + 1)).await, "FAILURE");
}

// 243, 244
#[tokio::test]
async fn a_wrong_secret_and_a_late_claim_end_the_registration() {
    let site = Site::new().await;
    let one = customer(&site, "one").await;
    announced(&site, "wrong", "value", 60_000).await;
    announced(&site, "late", "value", 1_000).await;
    announced(&site, "empty", "value", 1_000).await;
    assert_eq!(outcome(&site, "wrong", one, "valuf", NOW).await, "FAILURE");
    assert_eq!(outcome(&site, "late", one, "value", after(1_001)).await, "FAILURE");
    assert_eq!(outcome(&site, "empty", one, "", NOW).await, "FAILURE");
    let site = site.reopen().await;
    for name in ["wrong", "late", "empty"] {
        assert_eq!(outcome(&site, name, one, "value", NOW).await, "FAILURE", "{name} is dropped");
    }
    assert!(matches!(site.devices.claim("nobody", one, "", NOW).await, Err(DeviceError::NotFound)));
}

#[tokio::test]
async fn the_first_registration_counts_until_its_time_is_over() {
    let site = Site::new().await;
    let one = customer(&site, "one").await;
    let device = announced(&site, "d", "first", 1_000).await;
    publish(&site, &device, after(1_000), claim_of("second", 9_000)).await.unwrap();
    let held = site.devices.0.tables.read().claims[&device.id()].clone();
    assert_eq!((held.secret.as_str(), held.expires), ("first", after(1_000)));
    publish(&site, &device, after(1_001), claim_of("third", i64::MAX)).await.unwrap();
    let site = site.reopen().await;
    assert_eq!(outcome(&site, "d", one, "third", after(2_000)).await, "SUCCESS");
}

#[tokio::test]
async fn what_is_not_allowed_is_not_noted() {
    let site = Site::new().await;
    let one = customer(&site, "one").await;
    site.devices.set_claim_rules(ClaimRules { allowed_by_default: false, duration_ms: 5_000 });
    let device = announced(&site, "d", "value", 0).await;
    assert_eq!(outcome(&site, "d", one, "value", NOW).await, "FAILURE");
    for refused in [Value::Bool(false), Value::Text("true".into())] {
        set(&site, &device, "claimingAllowed", refused).await;
        publish(&site, &device, NOW, claim_of("value", 0)).await.unwrap();
        assert_eq!(outcome(&site, "d", one, "value", NOW).await, "FAILURE");
    }
    set(&site, &device, "claimingAllowed", Value::Bool(true)).await;
    publish(&site, &device, NOW, claim_of("value", 0)).await.unwrap();
    assert_eq!(outcome(&site, "d", one, "value", after(5_001)).await, "FAILURE", "its time is the server's");
    publish(&site, &device, NOW, claim_of("value", 0)).await.unwrap();
    assert_eq!(outcome(&site, "d", one, "value", NOW).await, "SUCCESS");
    assert_eq!(server_keys(&site, &device), [""; 0], "it is used up");
    site.devices.reclaim("d", Some(one), NOW).await.unwrap();
    assert_eq!(server_keys(&site, &device), ["claimingAllowed"], "it may be claimed a second time");
}

#[tokio::test]
async fn an_attribute_is_a_registration_too() {
    let site = Site::new().await;
    let one = customer(&site, "one").await;
    let device = site.device("d", token("T")).await;
    let data = |expires: i64| format!("{{\"secretKey\":\"value\",\"expirationTime\":{expires}}}");
    for useless in [
        Value::Long(5),
        Value::Json("[]".into()),
        Value::Json("{\"secretKey\":\"value\"}".into()),
        Value::Text("no JSON".into()),
        Value::Json(data(NOW.0 - 1)),
    ] {
        set(&site, &device, "claimingData", useless.clone()).await;
        assert_eq!(outcome(&site, "d", one, "value", NOW).await, "FAILURE", "{useless:?}");
    }
    set(&site, &device, "claimingData", Value::Json(data(NOW.0))).await;
    assert_eq!(outcome(&site, "d", one, "wrong", NOW).await, "FAILURE");
    assert_eq!(
        outcome(&site, "d", one, "value", NOW).await,
        "SUCCESS",
        "a wrong secret does not end this one"
    );
    assert_eq!(server_keys(&site, &device), [""; 0]);
}

#[tokio::test]
async fn a_device_is_given_back_by_who_has_it() {
    let site = Site::new().await;
    let (one, other) = (customer(&site, "one").await, customer(&site, "other").await);
    let device = announced(&site, "d", "", 0).await;
    let free = site.devices.reclaim("d", Some(one), NOW).await;
    assert!(matches!(free, Err(DeviceError::Invalid(Rule::NotAssigned))), "{free:?}");
    assert_eq!(outcome(&site, "d", one, "", NOW).await, "SUCCESS");
    let stranger = site.devices.reclaim("d", Some(other), NOW).await;
    assert!(matches!(stranger, Err(DeviceError::NotPermitted)), "{stranger:?}");
    site.devices.reclaim("d", Some(one), NOW).await.unwrap();
    assert!(matches!(site.devices.reclaim("x", None, NOW).await, Err(DeviceError::NotFound)));
    let site = site.reopen().await;
    let device = site.devices.device(device.id()).unwrap();
    assert_eq!((device.customer(), device.record().version), (None, 3));
}

#[tokio::test]
async fn a_gateway_lets_its_devices_be_claimed() {
    let site = Site::new().await;
    let one = customer(&site, "one").await;
    let draft = DeviceDraft { additional_info: "{\"gateway\":true}".into(), ..draft("gw") };
    let gateway = site.devices.create_device(draft, Some(token("GW")), NOW).await.unwrap();
    publish(&site, &gateway, NOW, of_child("Device A", claim_of("value", 0))).await.unwrap();
    let site = site.reopen().await;
    assert_eq!(outcome(&site, "Device A", one, "value", NOW).await, "SUCCESS");
    let device = site.device("no-gw", token("T")).await;
    let refused = publish(&site, &device, NOW, of_child("Device B", claim_of("value", 0))).await;
    assert!(matches!(refused, Err(AcceptError::NotGateway { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_registration_is_bounded_and_goes_with_its_device() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    let long = "s".repeat(SECRET_BYTES_MAX + 1);
    let refused = publish(&site, &device, NOW, claim_of(&long, 0)).await.unwrap_err();
    assert_eq!(refused.fault(), Fault::Device, "{refused}");
    publish(&site, &device, NOW, claim_of(&"s".repeat(SECRET_BYTES_MAX), 0)).await.unwrap();
    site.devices.delete_device(device.id(), crate::now()).await.unwrap();
    assert!(matches!(publish(&site, &device, NOW, claim_of("", 0)).await, Err(AcceptError::Deleted)));
    assert!(site.store.claims().unwrap().is_empty());
}

type Begun<'f, T> = Pin<Box<dyn Future<Output = Result<T, DeviceError>> + Send + 'f>>;

/// Goes on with it until it first has to wait.
fn begun<'f, T: Send + 'f>(future: impl Future<Output = Result<T, DeviceError>> + Send + 'f) -> Begun<'f, T> {
    let mut future: Begun<'f, T> = Box::pin(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Box::pin(std::future::ready(result)),
        Poll::Pending => future,
    }
}

#[tokio::test]
async fn a_device_that_is_deleted_while_it_changes_hands_stays_deleted() {
    let site = Site::new().await;
    let one = customer(&site, "one").await;
    for is_given_back in [false, true] {
        let device = announced(&site, "d", "", 0).await.id();
        if is_given_back {
            assert_eq!(outcome(&site, "d", one, "", NOW).await, "SUCCESS");
        }
        let devices = &site.devices;
        let (removed, changed) = std::thread::scope(|scope| {
            // Whoever looks something up may do so; whoever changes something comes after the deletion.
            let tables = devices.0.tables.upgradable_read();
            let (begins, has_begun) = std::sync::mpsc::channel();
            let change = scope.spawn(move || {
                begins.send(()).unwrap();
                begun(async move {
                    if is_given_back {
                        devices.reclaim("d", None, NOW).await
                    } else {
                        devices.claim("d", one, "", NOW).await.map(drop)
                    }
                })
            });
            has_begun.recv().unwrap();
            // Long enough for it to come to the lock; where it is not, nothing is proved, and nothing fails.
            (0..10_000).for_each(|_| std::thread::yield_now());
            let mut tables = RwLockUpgradableReadGuard::upgrade(tables);
            let removed = devices.0.remove_device(&mut tables, device);
            drop(tables);
            (removed, change.join().unwrap())
        });
        removed.unwrap().1.await.unwrap();
        assert!(matches!(changed.await, Err(DeviceError::NotFound)));
        assert!(site.devices.device(device).is_none());
    }
    assert!(site.reopen().await.devices.device_by_name("d").is_none());
}
