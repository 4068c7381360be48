//! Server-side RPC: asking a device, device API §12.
//!
//! `rpc/queue.rs` is what becomes of the RPCs of one device, `rpc/book.rs` holds the queues of all, `rpc/kept.rs` bounds
//! what is kept of persistent ones. Here is who tells them what happens: the management side that asks, the session that
//! writes and hears, and the one task that turns the clock and writes to the store (`turn_rpcs`).
//!
//! A persistent RPC is durable before it is sent, and its response before that is acknowledged; what happens to it in
//! between is written a moment later.

mod book;
mod kept;
mod queue;
mod waiting;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use wireglot_bus::Bus;
use wireglot_model::limits::{
    RPC_INFO_BYTES_MAX, RPC_METHOD_BYTES_MAX, RPC_PARAMS_BYTES_MAX, RPC_WAIT_MS_MAX,
    RPCS_PENDING_PER_DEVICE_MAX,
};
use wireglot_model::{DeviceId, Fault, RpcId, RpcRecord, RpcStatus, SessionId, Timestamp};
use wireglot_store::{Batch, ReadError, Store};

pub use queue::Written;
pub use waiting::RpcWaiting;

use crate::Devices;
use crate::error::DeviceError;
use crate::registry::{DeviceHandle, Tables};
use book::Book;
use queue::Waiter;

/// When the next RPC of a device is sent (device API §12.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RpcStrategy {
    /// At once, all of them.
    Burst,
    /// When the device has the one before it.
    SequentialOnAck,
    /// When the one before it is answered; a one-way one, when the device has it.
    SequentialOnResponse,
}

/// What the operator decides about RPCs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RpcRules {
    pub strategy: RpcStrategy,
    /// How often an RPC that is not acknowledged goes again at most.
    pub retries_max: u32,
    /// How long an acknowledgement is waited for.
    pub ack_timeout_ms: i64,
    /// How long a response is waited for where the next RPC waits for it.
    pub response_timeout_ms: i64,
    /// A device that does not acknowledge after all retries loses its session, instead of the RPC its life.
    pub closes_session: bool,
    /// The shortest and the usual time that a caller waits.
    pub timeout_ms_min: i64,
    pub timeout_ms: i64,
}

impl Default for RpcRules {
    fn default() -> Self {
        Self {
            strategy: RpcStrategy::Burst,
            retries_max: 5,
            ack_timeout_ms: 10_000,
            response_timeout_ms: 30_000,
            closes_session: false,
            timeout_ms_min: 5_000,
            timeout_ms: 10_000,
        }
    }
}

/// An RPC as somebody wishes to have it. Texts that are JSON are so already.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RpcDraft {
    /// Without one, a random one.
    pub id: Option<RpcId>,
    pub method: String,
    pub params: String,
    pub is_one_way: bool,
    pub is_persistent: bool,
    /// How long it is waited for,
    pub timeout_ms: Option<i64>,
    /// or until when, which counts more.
    pub expires: Option<Timestamp>,
    pub retries: Option<u32>,
    pub additional_info: Option<String>,
}

/// What a caller gets for an RPC.
#[derive(Debug)]
pub enum RpcCall {
    /// It is kept under this id.
    Kept(RpcId),
    /// It is waited for.
    Waiting(RpcWaiting),
}

/// How an RPC ended for whoever waited for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RpcOutcome {
    /// The device has said this, whatever it is.
    Response(String),
    /// A one-way RPC has gone out.
    Done,
    /// It was sent, but not answered.
    NoResponse,
    /// No session has taken it.
    NoSession,
    /// The device was deleted.
    Gone,
}

/// Why an RPC is not even tried.
#[derive(Debug, thiserror::Error)]
pub enum RpcRefusal {
    #[error("Requested item wasn't found!")]
    NoDevice,
    #[error("the method of an RPC has 1 to {RPC_METHOD_BYTES_MAX} bytes")]
    Method,
    #[error("the params of an RPC have at most {RPC_PARAMS_BYTES_MAX} bytes")]
    Params,
    #[error("the additional info of an RPC has at most {RPC_INFO_BYTES_MAX} bytes")]
    Info,
    #[error("there is an RPC with this id already")]
    DuplicateId,
    #[error("{RPCS_PENDING_PER_DEVICE_MAX} RPCs wait for this device already: let it answer, or delete some")]
    TooManyPending,
    #[error("too many RPCs wait for all devices together: try again when some are answered")]
    TooManyBytes,
    #[error("too many persistent RPCs are unfinished: delete some")]
    TooManyKept,
    #[error("the RPC could not be stored")]
    NotStored(#[source] DeviceError),
}

impl RpcRefusal {
    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::NoDevice | Self::Method | Self::Params | Self::Info | Self::DuplicateId => Fault::Device,
            Self::TooManyPending | Self::TooManyBytes | Self::TooManyKept => Fault::Quota,
            Self::NotStored(error) => error.fault(),
        }
    }
}

/// All RPCs of all devices.
pub(crate) struct Rpcs {
    book: Mutex<Book>,
    /// Something is to be written, or is due earlier than it was.
    changed: Notify,
}

impl Rpcs {
    /// Takes over what the last run has left behind.
    pub(crate) fn load(store: &Store, bus: Bus, tables: &Tables) -> Result<Self, ReadError> {
        let mut book = Book::new(bus);
        let mut unfinished = Vec::new();
        store.each_rpc(&mut |record: RpcRecord| {
            // A device and its RPCs are deleted in one batch, so an owner that is missing never comes back.
            match tables.device(record.device) {
                Some(_) if record.is_finished() => book.kept.note(&record),
                Some(_) => unfinished.push(record),
                None => {}
            }
        })?;
        unfinished.sort_by_key(|record| record.number);
        book.load(unfinished);
        Ok(Self { book: Mutex::new(book), changed: Notify::new() })
    }

    /// Changes the book, then gives the answers that follow and wakes the clock where it has something to do.
    fn change<R>(&self, change: impl FnOnce(&mut Book) -> (R, Vec<(Waiter, RpcOutcome)>)) -> R {
        let (result, answers, is_due) = {
            let mut book = self.book.lock();
            let before = book.next_due();
            let (result, answers) = change(&mut book);
            let is_earlier = book.next_due().is_some_and(|due| before.is_none_or(|before| due < before));
            (result, answers, is_earlier || book.has_unwritten())
        };
        for (waiter, outcome) in answers {
            // Whoever has stopped waiting does not care.
            drop(waiter.send(outcome));
        }
        if is_due {
            self.changed.notify_one();
        }
        result
    }

    /// The device has responded; `batch` gets what has to be durable before that is acknowledged.
    pub(crate) fn respond(&self, device: DeviceId, id: i32, text: &str, now: Timestamp, batch: &mut Batch) {
        let record = self.change(|book| {
            let (record, answers) =
                book.step(device, now, |queue, rules, out| queue.respond(id, text, rules, out));
            (record.flatten(), answers)
        });
        if let Some(record) = record {
            batch.put_rpc(&record);
        }
    }

    /// The device is deleted, in this batch.
    pub(crate) fn forget(&self, device: DeviceId, batch: &mut Batch) {
        self.change(|book| ((), book.forget(device, batch)));
    }
}

/// The management side.
impl Devices {
    /// To be called before anything else happens.
    pub fn set_rpc_rules(&self, rules: RpcRules) {
        self.0.rpcs.book.lock().rules = rules;
    }

    /// Asks a device. What is persistent is durable when this is done.
    pub async fn call(
        &self,
        device: DeviceId,
        draft: RpcDraft,
        now: Timestamp,
    ) -> Result<RpcCall, RpcRefusal> {
        let device = self.device(device).ok_or(RpcRefusal::NoDevice)?;
        check(&draft)?;
        if draft.is_persistent { self.keep(&device, draft, now).await } else { self.ask(&device, draft, now) }
    }

    fn ask(&self, device: &DeviceHandle, draft: RpcDraft, now: Timestamp) -> Result<RpcCall, RpcRefusal> {
        let (waiter, outcome) = oneshot::channel();
        let begun = self.0.rpcs.change(|book| {
            let record = new_record(device.id(), draft, book, now);
            if let Err(refusal) = check_room(device, &record, book) {
                return (Err(refusal), Vec::new());
            }
            // Past its time it is not even tried, as if nobody had been there.
            if record.expires <= now {
                return (Ok(None), vec![(waiter, RpcOutcome::NoSession)]);
            }
            let (id, answers) = book.begin(record, Some(waiter));
            (Ok(id), answers)
        })?;
        let place = begun.map(|id| (self.clone(), device.id(), id, now));
        Ok(RpcCall::Waiting(RpcWaiting::new(outcome, place)))
    }

    async fn keep(
        &self,
        device: &DeviceHandle,
        draft: RpcDraft,
        now: Timestamp,
    ) -> Result<RpcCall, RpcRefusal> {
        let rpcs = &self.0.rpcs;
        let (record, committed) = {
            let mut book = rpcs.book.lock();
            let record = new_record(device.id(), draft, &book, now);
            check_room(device, &record, &book)?;
            let mut batch = Batch::default();
            book.reserve(&record)?.into_iter().for_each(|surplus| batch.delete_rpc(surplus));
            batch.put_rpc(&record);
            // Queued under the lock: a deletion of the device comes before or after all of it.
            (record, self.0.queue(batch))
        };
        let id = record.id;
        let committed = committed.await;
        rpcs.change(|book| {
            let is_wanted = book.kept.device(id).is_some();
            if committed.is_err() {
                book.kept.remove(id);
            } else if is_wanted && !record.is_finished() {
                return ((), book.begin(record, None).1);
            }
            ((), Vec::new())
        });
        committed.map_err(RpcRefusal::NotStored)?;
        Ok(RpcCall::Kept(id))
    }

    /// A persistent RPC. Reads the disk.
    pub fn rpc(&self, id: RpcId) -> Result<RpcRecord, DeviceError> {
        let newest = {
            let book = self.0.rpcs.book.lock();
            book.kept.device(id).ok_or(DeviceError::NotFound)?;
            book.newest(id)
        };
        match newest {
            Some(record) => Ok(record),
            None => self.0.store.rpc(id)?.ok_or(DeviceError::NotFound),
        }
    }

    /// The persistent RPCs of a device, oldest first. Reads the disk.
    pub fn rpcs(&self, device: DeviceId, status: Option<RpcStatus>) -> Result<Vec<RpcRecord>, DeviceError> {
        self.device(device).ok_or(DeviceError::NotFound)?;
        let ids = self.0.rpcs.book.lock().of_device(device, status);
        let mut found = Vec::new();
        for id in ids {
            match self.rpc(id) {
                Ok(record) => found.push(record),
                // Deleted since.
                Err(DeviceError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        found.retain(|record| status.is_none_or(|status| status == record.status));
        Ok(found)
    }

    /// Deletes a persistent RPC; one that waits is withdrawn.
    pub async fn delete_rpc(&self, id: RpcId, now: Timestamp) -> Result<(), DeviceError> {
        if !self.0.rpcs.change(|book| (book.delete(id, now), Vec::new())) {
            return Err(DeviceError::NotFound);
        }
        // Twice, because its last change may be on its way to the disk through another door.
        for _ in 0..2 {
            let mut batch = Batch::default();
            batch.delete_rpc(id);
            drop(self.0.store.commit(batch).await?);
        }
        Ok(())
    }

    /// Does what is due until now, writes what has changed, and says when something is due next.
    pub async fn turn_rpcs(&self, now: Timestamp) -> Result<Option<Timestamp>, DeviceError> {
        let rpcs = &self.0.rpcs;
        let (written, next) = rpcs.change(|book| {
            let answers = book.turn(now);
            // Queued under the lock, so that the store sees changes in the order of memory.
            let written = book.has_unwritten().then(|| self.0.queue(book.take_unwritten()));
            ((written, book.next_due()), answers)
        });
        if let Some(written) = written {
            written.await?;
        }
        Ok(next)
    }

    /// Resolves when `turn_rpcs` has something to do earlier than it said.
    pub async fn rpcs_changed(&self) {
        self.0.rpcs.changed.notified().await;
    }
}

/// The session's side. It tells by device and request id.
impl Devices {
    /// The session takes RPCs from now on: those that wait are sent.
    pub fn rpc_listens(&self, device: &DeviceHandle, session: SessionId, now: Timestamp) {
        // Asked under the lock: nothing of a deleted device comes back.
        let open = |book: &mut Book| {
            if !device.is_deleted() {
                book.open(device.id());
            }
        };
        self.step(device.id(), now, open, |queue, rules, out| queue.listen(session, rules, out));
    }

    /// The session takes none any more.
    pub fn rpc_ceases(&self, device: DeviceId, session: SessionId, now: Timestamp) {
        self.step(device, now, |_| {}, |queue, _, _| queue.cease(session));
    }

    /// A request of the device waits for one RPC: one that waits is sent, or else the next one.
    pub fn rpc_awaited(&self, device: &DeviceHandle, poll: SessionId, now: Timestamp) {
        let open = |book: &mut Book| {
            if !device.is_deleted() {
                book.open(device.id());
            }
        };
        self.step(device.id(), now, open, |queue, rules, out| queue.await_one(poll, rules, out));
    }

    /// The request waits no longer: what it did not take is for the next one.
    pub fn rpc_unawaited(&self, device: DeviceId, poll: SessionId, now: Timestamp) {
        let cease = |queue: &mut queue::Queue, rules: &RpcRules, out: &mut queue::Effects| {
            queue.give_up(poll);
            queue.pump(rules, out);
        };
        self.step(device, now, |_| {}, cease);
    }

    /// A request that waited was answered with the RPC.
    pub fn rpc_taken(&self, device: DeviceId, id: i32, now: Timestamp) {
        self.step(device, now, |_| {}, |queue, rules, out| queue.taken(id, now, rules, out));
    }

    /// The RPC is written.
    pub fn rpc_written(&self, device: DeviceId, id: i32, written: Written, now: Timestamp) {
        self.step(device, now, |_| {}, |queue, rules, out| queue.written(id, written, now, rules, out));
    }

    /// The device has acknowledged the RPC.
    pub fn rpc_acknowledged(&self, device: DeviceId, id: i32, now: Timestamp) {
        self.step(device, now, |_| {}, |queue, rules, out| queue.acknowledged(id, now, rules, out));
    }

    /// The RPC came to a session that takes none.
    pub fn rpc_undelivered(&self, device: DeviceId, id: i32, now: Timestamp) {
        self.step(device, now, |_| {}, |queue, _, _| queue.give_back(id, None));
    }

    /// The RPC cannot be put into bytes.
    pub fn rpc_failed(&self, device: DeviceId, id: i32, reason: &str, now: Timestamp) {
        let error = format!("Failed to convert device RPC command to MQTT msg: {reason}");
        self.step(device, now, |_| {}, |queue, rules, out| queue.fail(id, &refusal(&error), rules, out));
    }

    /// The RPC is answered on the device's behalf, which has no answers of its own.
    pub fn rpc_answered(&self, device: DeviceId, id: i32, response: &str, now: Timestamp) {
        let respond = |queue: &mut queue::Queue, rules: &RpcRules, out: &mut queue::Effects| {
            // It is among the changes that are written a moment later.
            let _record = queue.respond(id, response, rules, out);
        };
        self.step(device, now, |_| {}, respond);
    }

    /// The RPC is none that the device could be asked: answered on its behalf.
    pub fn rpc_refused(&self, device: DeviceId, id: i32, response: &str, now: Timestamp) {
        self.step(device, now, |_| {}, |queue, rules, out| queue.fail(id, response, rules, out));
    }

    /// The bytes of the RPC cannot be written: the device takes none of that length.
    pub fn rpc_unsendable(&self, device: DeviceId, id: i32, now: Timestamp) {
        self.step(
            device,
            now,
            |_| {},
            |queue, rules, out| {
                let method = queue.record(id).map_or("", |record| record.method.as_str());
                let error = format!(" Failed send To Device Rpc Request: {method}");
                queue.fail(id, &refusal(&error), rules, out);
            },
        );
    }

    fn step(
        &self,
        device: DeviceId,
        now: Timestamp,
        before: impl FnOnce(&mut Book),
        step: impl FnOnce(&mut queue::Queue, &RpcRules, &mut queue::Effects),
    ) {
        self.0.rpcs.change(|book| {
            before(book);
            ((), book.step(device, now, step).1)
        });
    }
}

/// What whoever asked gets on the device's behalf.
fn refusal(error: &str) -> String {
    serde_json::json!({ "result": "INVALID_ARGUMENTS", "error": error }).to_string()
}

fn check(draft: &RpcDraft) -> Result<(), RpcRefusal> {
    if draft.method.is_empty() || draft.method.len() > RPC_METHOD_BYTES_MAX {
        return Err(RpcRefusal::Method);
    }
    if draft.params.len() > RPC_PARAMS_BYTES_MAX {
        return Err(RpcRefusal::Params);
    }
    let info_bytes = draft.additional_info.as_ref().map_or(0, String::len);
    if info_bytes > RPC_INFO_BYTES_MAX { Err(RpcRefusal::Info) } else { Ok(()) }
}

/// Asked under the lock, so that nothing waits for a device that is deleted.
fn check_room(device: &DeviceHandle, record: &RpcRecord, book: &Book) -> Result<(), RpcRefusal> {
    if device.is_deleted() {
        return Err(RpcRefusal::NoDevice);
    }
    book.check_room(device.id(), record.bytes())
}

fn new_record(device: DeviceId, draft: RpcDraft, book: &Book, now: Timestamp) -> RpcRecord {
    let RpcDraft {
        id,
        method,
        params,
        is_one_way,
        is_persistent,
        timeout_ms,
        expires,
        retries,
        additional_info,
        ..
    } = draft;
    let rules = &book.rules;
    let timeout_ms = timeout_ms.unwrap_or(rules.timeout_ms).max(rules.timeout_ms_min);
    let expires = expires.unwrap_or(Timestamp(now.0.saturating_add(timeout_ms)));
    // Only a persistent one outlives its caller for long.
    let expires =
        if is_persistent { expires } else { expires.min(Timestamp(now.0.saturating_add(RPC_WAIT_MS_MAX))) };
    RpcRecord {
        id: id.unwrap_or_else(|| RpcId(uuid::Uuid::new_v4())),
        number: book.kept.last_number() + 1,
        device,
        created: now,
        expires,
        method,
        params,
        is_one_way,
        retries,
        additional_info,
        status: if expires <= now { RpcStatus::Expired } else { RpcStatus::Queued },
        response: None,
    }
}
