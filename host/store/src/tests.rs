//! Tests of the whole store on a real folder: what goes in comes out, whatever happens in between.

mod bounds;
mod erase;
mod frames;
mod lifecycle;
mod model;
mod records;
mod scattered;
mod series;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use wireglot_model::{
    CodecHash, CodecName, CodecStamp, DeadLetterBounds, Device, DeviceId, Measurement, ProfileId, Sample,
    Timestamp, Value,
};

use crate::{Batch, CommitError, HistoryQuery, Store, StoreConfig};

/// A store in a folder of its own that can be closed and opened again.
pub(crate) struct Disk {
    pub(crate) dir: tempfile::TempDir,
    config: StoreConfig,
    store: Option<Store>,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self::with(StoreConfig::default())
    }

    pub(crate) fn with(config: StoreConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Some(Store::open(dir.path(), config.clone()).unwrap());
        Self { dir, config, store }
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub(crate) fn reopen(&mut self) {
        self.store.take().unwrap().close();
        self.store = Some(Store::open(self.dir.path(), self.config.clone()).unwrap());
    }

    /// Makes everything recent into chunks, as the checkpoint thread would.
    pub(crate) fn checkpoint(&self) {
        crate::checkpoint::checkpoint(self.store().core()).unwrap();
    }

    #[track_caller]
    pub(crate) fn commit(&self, fill: impl FnOnce(&mut Batch)) {
        self.try_commit(fill).unwrap();
    }

    pub(crate) fn try_commit(&self, fill: impl FnOnce(&mut Batch)) -> Result<(), CommitError> {
        let mut batch = Batch::default();
        fill(&mut batch);
        block_on(self.store().commit(batch)).map(drop)
    }

    pub(crate) fn send(&self, device: u8, ts: i64, samples: &[(&str, Value)]) {
        self.commit(|batch| batch.telemetry(id(device), Timestamp(ts), None, &[measured(Some(ts), samples)]));
    }

    pub(crate) fn history(
        &self,
        device: u8,
        key: &str,
        range: (i64, i64),
        limit: usize,
        descending: bool,
    ) -> Vec<(i64, Value)> {
        let query = HistoryQuery {
            keys: vec![key.to_owned()],
            start: Timestamp(range.0),
            end: Timestamp(range.1),
            limit,
            descending,
        };
        let [(_, points)] = <[_; 1]>::try_from(self.store().history(id(device), &query).unwrap()).unwrap();
        points.into_iter().map(|(ts, value)| (ts.0, value)).collect()
    }
}

pub(crate) fn id(number: u8) -> DeviceId {
    DeviceId(uuid::Uuid::from_bytes([number; 16]))
}

pub(crate) fn profile(number: u8) -> ProfileId {
    ProfileId(uuid::Uuid::from_bytes([number; 16]))
}

/// Bounds that nothing crosses.
pub(crate) fn no_bounds() -> DeadLetterBounds {
    DeadLetterBounds { count_max: u32::MAX, bytes_max: u64::MAX, age_days_max: u32::MAX }
}

pub(crate) fn device(number: u8) -> Device {
    Device {
        id: id(number),
        created: Timestamp(1),
        name: format!("device {number}"),
        label: None,
        profile: ProfileId(uuid::Uuid::from_bytes([0xee; 16])),
        additional_info: "{}".to_owned(),
        is_gateway: false,
        customer: None,
        ota: wireglot_model::OtaTargets::default(),
        version: 1,
    }
}

pub(crate) fn stamp(version: &str) -> CodecStamp {
    let hash = CodecHash([u8::try_from(version.len()).unwrap(); 32]);
    CodecStamp { name: CodecName::parse("elsys").unwrap(), version: version.into(), hash }
}

pub(crate) fn measured(ts: Option<i64>, samples: &[(&str, Value)]) -> Measurement {
    let samples = samples.iter().map(|(key, value)| Sample { key: (*key).to_owned(), value: value.clone() });
    Measurement { ts: ts.map(Timestamp), samples: samples.collect() }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
