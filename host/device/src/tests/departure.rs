//! A device that is deleted takes everything along that belongs to it, for good.

use wireglot_model::{
    DeadLetter, DeadLetterBounds, FailureStage, OtaKind, OtaPackageId, OtaUpdate, ProfileId, RawFrame, Scope,
    Timestamp, Uplink, UplinkBody,
};
use wireglot_store::{Batch, LetterFilter, Store};

use super::accept::{accept, on_worker};
use super::*;
use crate::{RpcCall, RpcDraft};

/// How many records of each kind the store has: devices, credentials, attributes, claims, RPCs, updates, letters, frames.
fn counts(store: &Store, profile: ProfileId) -> [usize; 8] {
    let mut rpcs = 0;
    store.each_rpc(&mut |_| rpcs += 1).unwrap();
    let frames = store.raw_frames(profile, Timestamp(0), Timestamp(i64::MAX), usize::MAX).unwrap().0;
    [
        store.devices().unwrap().len(),
        store.credentials().unwrap().len(),
        store.attributes_all().unwrap().len(),
        store.claims().unwrap().len(),
        rpcs,
        store.ota_updates().unwrap().len(),
        store.dead_letters(&LetterFilter::default(), None, 99).unwrap().len(),
        frames.len(),
    ]
}

/// What neither a device nor a user makes by itself in one step.
fn rest(device: &DeviceHandle, profile: ProfileId, number: u64) -> Batch {
    let mut batch = Batch::default();
    let (id, package) = (device.id(), OtaPackageId(uuid::Uuid::from_bytes([7; 16])));
    let (kind, queued) = (OtaKind::Firmware, NOW);
    batch.put_ota_update(&OtaUpdate { device: id, kind, package, queued, pushed: None });
    let letter = DeadLetter {
        device: id,
        device_name: "d".into(),
        profile_id: profile,
        profile: "default".into(),
        topic: "t".into(),
        payload: vec![1],
        envelope: None,
        frame_received: None,
        received: NOW,
        codec: None,
        stage: FailureStage::Refused,
        reason: "because".into(),
    };
    batch.dead_letter(letter, DeadLetterBounds::default());
    let frame = RawFrame {
        device: id,
        profile,
        topic: "t".into(),
        payload: vec![1],
        envelope: None,
        received: NOW,
        codec: None,
        traces: Vec::new(),
    };
    batch.raw_frame(number, &frame);
    batch
}

async fn furnished(site: &Site, name: &str, number: u64) -> DeviceHandle {
    let device = site.device(name, token(name)).await;
    let speaking = device.clone();
    on_worker(site, |worker| async move {
        let claim = UplinkBody::Claim { secret: "s".into(), duration_ms: 60_000 };
        let uplinks =
            vec![telemetry("t", 5), attributes(vec![sample("a", 1)]), Uplink { child: None, body: claim }];
        accept(&worker, &speaking, NOW, uplinks).await.unwrap();
    })
    .await;
    site.devices.write_attributes(device.id(), Scope::Shared, vec![sample("b", 1)], NOW).await.unwrap();
    let rpc = RpcDraft {
        id: None,
        method: "m".into(),
        params: "1".into(),
        is_one_way: false,
        is_persistent: true,
        timeout_ms: None,
        expires: None,
        retries: None,
        additional_info: None,
    };
    assert!(matches!(site.devices.call(device.id(), rpc, NOW).await.unwrap(), RpcCall::Kept(_)));
    let profile = site.devices.default_profile().profile.id;
    drop(site.store.commit(rest(&device, profile, number)).await.unwrap());
    device
}

#[tokio::test]
async fn a_deleted_device_leaves_nothing_behind() {
    let site = Site::new().await;
    let profile = site.devices.default_profile().profile.id;
    let gone = furnished(&site, "gone", 1).await;
    let one = counts(&site.store, profile);
    let stays = furnished(&site, "stays", 2).await;
    assert_eq!(counts(&site.store, profile), one.map(|count| 2 * count), "the counts see everything");
    site.devices.delete_device(gone.id(), NOW).await.unwrap();
    let but_frames = |counts: [usize; 8]| (counts[..7].to_vec(), one[..7].to_vec());
    let (found, expected) = but_frames(counts(&site.store, profile));
    assert_eq!(found, expected);
    // Somebody was still speaking for it.
    drop(site.store.commit(rest(&gone, profile, 3)).await.unwrap());
    let mut site = site;
    for _ in 0..2 {
        let (found, expected) = but_frames(counts(&site.store, profile));
        assert_eq!(found, expected);
        assert!(site.devices.device(gone.id()).is_none() && site.store.keys(gone.id()).unwrap().is_empty());
        assert_eq!(site.store.keys(stays.id()).unwrap(), ["t"]);
        site = site.reopen().await;
    }
    site.store.retain(NOW).unwrap();
    let frames = site.store.raw_frames(profile, Timestamp(0), Timestamp(i64::MAX), 99).unwrap().0;
    assert!(frames.iter().all(|(_, frame)| frame.device != gone.id()), "{frames:?}");
}
