//! The invariants of a swap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wireglot_model::Value;

use super::guests::{self, GOOD};
use super::{Fixture, binding, frame, value};

#[test]
fn one_version_per_message() {
    let fixture = Fixture::new();
    let versions: Vec<Vec<u8>> = (1..=2).map(|value| guests::codec(&format!("{value}.0.0"), value)).collect();
    fixture.publish("c", &versions[0]);
    let (stop, decoded) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let (table, stop, decoded) = (fixture.table.clone(), Arc::clone(&stop), Arc::clone(&decoded));
            std::thread::spawn(move || {
                let (worker, binding) = (table.worker(), binding("c", "{}"));
                let mut seen = std::collections::BTreeSet::new();
                while !stop.load(Ordering::Relaxed) {
                    let (result, stamp) = worker.decode(&binding, &frame(GOOD)).unwrap();
                    let Value::Long(value) = value(&result) else { panic!() };
                    assert_eq!(stamp.version.as_ref(), format!("{value}.0.0"));
                    seen.insert(*value);
                    decoded.fetch_add(1, Ordering::Relaxed);
                }
                seen
            })
        })
        .collect();
    for round in 0..60 {
        let before = decoded.load(Ordering::Relaxed);
        while decoded.load(Ordering::Relaxed) < before + 30 {
            std::thread::yield_now();
        }
        fixture.publish("c", &versions[(round + 1) % 2]);
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        assert_eq!(worker.join().unwrap().len(), 2);
    }
    assert_eq!(fixture.table.counters().files[0].swaps, 61);
    assert_eq!(fixture.table.counters().live_instances, 0);
}

#[test]
fn a_replaced_version_is_freed_when_idle() {
    let fixture = Fixture::new();
    fixture.publish("c", &guests::codec("1.0.0", 1));
    let worker = fixture.table.worker();
    worker.decode(&binding("c", "{}"), &frame(GOOD)).unwrap();
    let old = Arc::downgrade(&fixture.table.live(&super::name("c")).unwrap());
    fixture.publish("c", &guests::codec("2.0.0", 2));
    assert!(old.upgrade().is_some(), "its instance still holds it");
    worker.decode(&binding("c", "{}"), &frame(GOOD)).unwrap();
    assert!(old.upgrade().is_none());
}
