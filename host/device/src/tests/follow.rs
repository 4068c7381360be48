//! Following a device: the state, and every change of it from then on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Builder;
use wireglot_bus::{Event, FeedItem, Follower, Kinds};
use wireglot_model::{DeviceId, Scope, Timestamp, Value};

use super::accept::{accept, on_worker};
use super::{NOW, Site, sample, telemetry, token};
use crate::Devices;

/// The number that a follower knows of at first, and whether it is told to look again.
async fn begin(devices: &Devices, device: DeviceId) -> (Follower, i64) {
    let mut follower = devices.follower();
    follower.follow(device, Kinds::TELEMETRY);
    devices.settled().await;
    (follower, state(devices, device))
}

fn state(devices: &Devices, device: DeviceId) -> i64 {
    match devices.latest(device, None).unwrap().first().map(|latest| &latest.value) {
        Some(Value::Long(number)) => *number,
        None => 0,
        Some(other) => panic!("{other:?}"),
    }
}

/// A device counts on its worker as fast as it can, while others begin to follow it and leave again.
#[test]
fn no_change_falls_between_the_state_and_the_first_event() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let site = runtime.block_on(Site::new());
    let device = runtime.block_on(site.device("d", token("T")));
    let (devices, id) = (site.devices.clone(), device.id());
    let ends = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let going = ends.clone();
        let site = &site;
        scope.spawn(move || {
            let counting = on_worker(site, |worker| async move {
                for number in 1.. {
                    let at = Timestamp(NOW.0 + number);
                    accept(&worker, &device, at, vec![telemetry("n", number)]).await.unwrap();
                    if going.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            Builder::new_current_thread().enable_all().build().unwrap().block_on(counting);
        });
        runtime.block_on(async {
            for round in 0..300 {
                let (mut follower, mut known) = begin(&devices, id).await;
                for _ in 0..3 {
                    match follower.recv().await {
                        FeedItem::Missed(_) => {
                            devices.settled().await;
                            known = state(&devices, id);
                        }
                        FeedItem::Event(event) => {
                            let Event::Telemetry { ts, .. } = &*event else { panic!("{event:?}") };
                            let number = ts.0 - NOW.0;
                            assert!(number <= known + 1, "round {round}: {number} follows {known}");
                            known = known.max(number);
                        }
                    }
                }
            }
            ends.store(true, Ordering::Relaxed);
        });
    });
}

#[tokio::test]
async fn deletions_and_activity_are_told() {
    let site = Site::new().await;
    let device = site.device("d", token("T")).await;
    let id = device.id();
    let mut follower = site.devices.follower();
    follower.follow(id, Kinds::ATTRIBUTES);
    site.devices.write_attributes(id, Scope::Server, vec![sample("a", 1)], NOW).await.unwrap();
    let FeedItem::Event(event) = follower.recv().await else { panic!("an event") };
    assert!(matches!(&*event, Event::Attributes { scope: Scope::Server, .. }), "{event:?}");
    site.devices.delete_attributes(id, Scope::Server, vec!["a".into()]).await.unwrap();
    let FeedItem::Event(event) = follower.recv().await else { panic!("an event") };
    let Event::AttributesDeleted { scope: Scope::Server, keys, .. } = &*event else { panic!("{event:?}") };
    assert_eq!(*keys, ["a"]);
    site.devices.heard([(&device, NOW)]);
    site.devices.save_activity(Timestamp(NOW.0 + 1)).await.unwrap();
    let FeedItem::Event(event) = follower.recv().await else { panic!("an event") };
    let Event::Attributes { samples, .. } = &*event else { panic!("{event:?}") };
    let keys: Vec<&str> = samples.iter().map(|sample| sample.key.as_str()).collect();
    assert_eq!(keys, ["active", "lastActivityTime"]);
}
