//! The rules of the domain over a real store: who may connect, what is kept, and what management may do.

mod accept;
mod activity;
mod audit;
mod certificates;
mod claim;
mod connect;
mod customers;
mod departure;
mod follow;
mod manage;
mod ota;
mod provision;
mod rate;
mod rpc;
mod users;

use tempfile::TempDir;
use wireglot_bus::Bus;
use wireglot_model::{Measurement, Sample, Timestamp, Uplink, UplinkBody, Value};
use wireglot_store::{Store, StoreConfig};

use crate::{CredentialsDraft, DeviceDraft, DeviceHandle, Devices, ProfileChoice};

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const PASSWORD: &str = "correct horse";

/// A registry over a store in a folder of its own, which can be opened again.
struct Site {
    folder: TempDir,
    store: Store,
    bus: Bus,
    devices: Devices,
}

impl Site {
    async fn new() -> Self {
        Self::open(TempDir::new().unwrap()).await
    }

    async fn open(folder: TempDir) -> Self {
        let store = Store::open(folder.path(), StoreConfig::default()).unwrap();
        let bus = Bus::new();
        let (devices, _) =
            Devices::open(store.clone(), bus.clone(), Some(PASSWORD.into()), NOW).await.unwrap();
        Self { folder, store, bus, devices }
    }

    /// What a restart finds.
    async fn reopen(self) -> Self {
        let Self { folder, store, bus, devices } = self;
        drop((bus, devices));
        store.close();
        Self::open(folder).await
    }

    async fn device(&self, name: &str, credentials: CredentialsDraft) -> DeviceHandle {
        self.devices.create_device(draft(name), Some(credentials), NOW).await.unwrap()
    }
}

fn draft(name: &str) -> DeviceDraft {
    DeviceDraft {
        name: name.into(),
        label: None,
        profile: ProfileChoice::Default,
        additional_info: "null".into(),
        ota: wireglot_model::OtaTargets::default(),
    }
}

fn token(token: &str) -> CredentialsDraft {
    CredentialsDraft::AccessToken(token.into())
}

fn sample(key: &str, value: i64) -> Sample {
    Sample { key: key.into(), value: Value::Long(value) }
}

fn telemetry(key: &str, value: i64) -> Uplink {
    let measurement = Measurement { ts: None, samples: vec![sample(key, value)] };
    Uplink { child: None, body: UplinkBody::Telemetry(vec![measurement]) }
}

fn attributes(samples: Vec<Sample>) -> Uplink {
    Uplink { child: None, body: UplinkBody::Attributes(samples) }
}

fn of_child(child: &str, uplink: Uplink) -> Uplink {
    Uplink { child: Some(child.into()), ..uplink }
}
