//! What the sessions of one worker thread share: made once per worker, on it, and never leaving it.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ntex::channel::condition::Condition;
use ntex::rt::JoinHandle;
use ntex::time::{Millis, sleep};
use wireglot_bus::{Desk, Mailbox, MailboxReceiver};
use wireglot_codec::native::JsonRules;
use wireglot_codec::{CodecBinding, CodecTable, WorkerCodecs};
use wireglot_device::{DeviceHandle, DeviceWorker, Devices, ProfileState, now};
use wireglot_model::limits::{DRAIN_TIMEOUT_S, PROVISION_SESSIONS_MAX};
use wireglot_model::{DeviceId, ProfileId, SessionId, Timestamp};

use crate::ack::Close;
use crate::client_rpc::ClientRpcConfig;
use crate::counters::{MqttCounters, WorkerCounters};
use crate::entrance::Entrance;
use crate::ota::Readers;
use crate::profile::ProfileView;
use crate::publish::{self, Owed};
use crate::session::Session;
use crate::{children, desk, gateway};

/// How often a stopping worker looks whether its sessions have finished.
const DRAIN_STEP: Millis = Millis(10);

/// How often a worker reports which devices it has heard (device API §18, the latest of each period).
const REPORT_EVERY: Millis = Millis(3_000);
/// Devices that are reported at once: the worker serves others in between.
const REPORTED_AT_ONCE: usize = 256;

/// What all workers are made from.
pub(crate) struct Shared {
    pub(crate) devices: Devices,
    pub(crate) codecs: CodecTable,
    entrance: Entrance,
    readers: Arc<Readers>,
    client_rpc: ClientRpcConfig,
    last_session: AtomicU64,
    /// Sessions that only provision, on all workers.
    guests: AtomicUsize,
    session_inactivity_s: u16,
    gateway_metrics_s: u16,
    json: JsonRules,
    counters: std::sync::Mutex<Vec<Arc<WorkerCounters>>>,
    /// Of the workers that have not begun yet.
    desks: parking_lot::Mutex<Vec<Desk>>,
}

impl Shared {
    pub(crate) fn new(
        devices: Devices,
        codecs: CodecTable,
        entrance: Entrance,
        client_rpc: ClientRpcConfig,
        session_inactivity_s: u16,
        gateway_metrics_s: u16,
        json: JsonRules,
    ) -> Self {
        Self {
            readers: Arc::new(Readers::new(devices.files().clone())),
            devices,
            codecs,
            entrance,
            client_rpc,
            session_inactivity_s,
            gateway_metrics_s,
            json,
            last_session: AtomicU64::new(0),
            guests: AtomicUsize::new(0),
            counters: std::sync::Mutex::default(),
            desks: parking_lot::Mutex::default(),
        }
    }

    /// Lets requests come in: those of workers that have not begun wait for them.
    pub(crate) fn open_desks(&self, workers: usize) {
        self.desks.lock().extend((0..workers).map(|_| self.devices.bus().open_desk()));
    }

    /// The desk of a worker that begins.
    fn take_desk(&self) -> Desk {
        let opened = self.desks.lock().pop();
        opened.unwrap_or_else(|| self.devices.bus().open_desk())
    }

    pub(crate) fn counters(&self) -> MqttCounters {
        let mut sum = MqttCounters::default();
        for worker in self.counters_of_workers().iter() {
            worker.add_to(&mut sum);
        }
        sum
    }

    fn counters_of_workers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<WorkerCounters>>> {
        // A worker that panicked while it was being registered leaves the list as it was.
        self.counters.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// One worker.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    pub(crate) devices: Devices,
    pub(crate) ingest: DeviceWorker<Owed>,
    pub(crate) codecs: WorkerCodecs,
    /// Instances of their own, from the first call on: a profile has one of its codec and one of its responder.
    responders: OnceCell<WorkerCodecs>,
    pub(crate) table: CodecTable,
    pub(crate) mailbox: Mailbox,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) readers: Arc<Readers>,
    sessions: RefCell<HashMap<SessionId, Rc<Session>>>,
    views: RefCell<HashMap<ProfileId, Rc<ProfileView>>>,
    /// The sessions that were heard since the last report.
    heard: RefCell<Vec<SessionId>>,
    /// The connections of sub-sessions, each with the name by which it knows the device.
    children: RefCell<HashMap<SessionId, (SessionId, Arc<str>)>>,
    /// The connections that have sub-sessions.
    parents: RefCell<HashSet<SessionId>>,
    /// The devices of network servers and of gateways that were.
    carried: RefCell<HashMap<DeviceId, (DeviceHandle, Timestamp)>>,
    is_draining: Cell<bool>,
    /// Sessions that only provision; they have no device, so they are not among `sessions`.
    guests: Cell<usize>,
    /// Told when the worker begins to stop.
    pub(crate) stopping: Condition,
    tasks: RefCell<Vec<JoinHandle<()>>>,
}

thread_local! {
    /// Every listener of a worker asks for the worker's state, and the first one makes it.
    static CURRENT: RefCell<Option<Rc<Worker>>> = const { RefCell::new(None) };
}

impl Worker {
    /// The worker of this thread.
    pub(crate) fn current(shared: &Arc<Shared>) -> Rc<Self> {
        CURRENT.with(|current| current.borrow_mut().get_or_insert_with(|| Self::start(shared)).clone())
    }

    fn start(shared: &Arc<Shared>) -> Rc<Self> {
        let (mailbox, receiver) = wireglot_bus::mailbox();
        let ingest = shared.devices.worker();
        let counters = Arc::new(WorkerCounters::default());
        shared.counters_of_workers().push(counters.clone());
        let worker = Rc::new(Self {
            shared: shared.clone(),
            devices: shared.devices.clone(),
            ingest,
            codecs: shared.codecs.worker(),
            responders: OnceCell::new(),
            table: shared.codecs.clone(),
            mailbox,
            counters,
            readers: shared.readers.clone(),
            sessions: RefCell::default(),
            views: RefCell::default(),
            heard: RefCell::default(),
            children: RefCell::default(),
            parents: RefCell::default(),
            carried: RefCell::default(),
            is_draining: Cell::new(false),
            guests: Cell::new(0),
            stopping: Condition::new(),
            tasks: RefCell::default(),
        });
        let deliver = ntex::rt::spawn(deliver(worker.clone(), receiver));
        let report = ntex::rt::spawn(report(worker.clone()));
        let desk = ntex::rt::spawn(desk::serve(worker.clone(), shared.take_desk()));
        worker.tasks.borrow_mut().extend([
            ntex::rt::spawn(worker.ingest.driver(publish::done)),
            deliver,
            report,
            desk,
        ]);
        worker
    }

    /// What connections pass before their first packet.
    pub(crate) fn entrance(&self) -> &Entrance {
        &self.shared.entrance
    }

    /// The responders of this worker.
    pub(crate) fn responders(&self) -> &WorkerCodecs {
        self.responders.get_or_init(|| self.table.worker())
    }

    /// Who answers what devices call.
    pub(crate) fn client_rpc(&self) -> &ClientRpcConfig {
        &self.shared.client_rpc
    }

    pub(crate) fn next_session(&self) -> SessionId {
        SessionId(self.shared.last_session.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// What JSON values become.
    pub(crate) fn json(&self) -> JsonRules {
        self.shared.json
    }

    pub(crate) fn session_inactivity_s(&self) -> u16 {
        self.shared.session_inactivity_s
    }

    pub(crate) fn enter(&self, session: &Rc<Session>) {
        self.counters.sessions_begun.count();
        self.sessions.borrow_mut().insert(session.id, session.clone());
    }

    pub(crate) fn leave(&self, session: SessionId) {
        if self.sessions.borrow_mut().remove(&session).is_some() {
            self.counters.sessions_ended.count();
        }
    }

    /// Begins the session of one request.
    pub(crate) fn enter_request(&self, session: &Rc<Session>) {
        self.sessions.borrow_mut().insert(session.id, session.clone());
    }

    pub(crate) fn leave_request(&self, session: SessionId) {
        self.sessions.borrow_mut().remove(&session);
    }

    /// Begins a session that only provisions, unless there are as many as may be.
    pub(crate) fn enter_guest(&self) -> bool {
        let guests = &self.shared.guests;
        let more = |guests: usize| (guests < PROVISION_SESSIONS_MAX).then_some(guests + 1);
        let is_let_in = guests.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
        if is_let_in {
            self.guests.set(self.guests.get() + 1);
            self.counters.sessions_begun.count();
        }
        is_let_in
    }

    pub(crate) fn leave_guest(&self) {
        self.shared.guests.fetch_sub(1, Ordering::AcqRel);
        self.guests.set(self.guests.get().saturating_sub(1));
        self.counters.sessions_ended.count();
    }

    pub(crate) fn session(&self, session: SessionId) -> Option<Rc<Session>> {
        self.sessions.borrow().get(&session).cloned()
    }

    /// Begins a sub-session of a connection.
    pub(crate) fn enter_child(&self, child: SessionId, parent: SessionId, name: Arc<str>) {
        self.children.borrow_mut().insert(child, (parent, name));
        self.parents.borrow_mut().insert(parent);
    }

    pub(crate) fn leave_child(&self, child: SessionId) {
        self.children.borrow_mut().remove(&child);
    }

    /// A connection that may have had sub-sessions has ended.
    pub(crate) fn leave_parent(&self, parent: SessionId) {
        self.parents.borrow_mut().remove(&parent);
    }

    /// The connection of a sub-session, and how it names the device.
    pub(crate) fn parent_of(&self, child: SessionId) -> Option<(Rc<Session>, Arc<str>)> {
        let (parent, name) = self.children.borrow().get(&child).cloned()?;
        Some((self.session(parent)?, name))
    }

    /// The connections that have sub-sessions.
    fn parents(&self) -> Vec<Rc<Session>> {
        self.parents.borrow().iter().filter_map(|parent| self.session(*parent)).collect()
    }

    /// How often the latencies of gateways are reported.
    fn gateway_metrics_every(&self) -> Duration {
        Duration::from_secs(self.shared.gateway_metrics_s.into())
    }

    /// A session was heard for the first time since the last report.
    pub(crate) fn hear(&self, session: SessionId) {
        self.heard.borrow_mut().push(session);
    }

    /// A device was heard through its network server.
    pub(crate) fn hear_carried(&self, device: &DeviceHandle, at: Timestamp) {
        let mut carried = self.carried.borrow_mut();
        carried.entry(device.id()).or_insert_with(|| (device.clone(), at)).1 = at;
    }

    fn report(&self, heard: &[SessionId]) {
        let sessions = self.sessions.borrow();
        // Those that have ended meanwhile were reported at their end.
        let known = heard.iter().filter_map(|session| sessions.get(session));
        self.devices.heard(known.map(|session| {
            session.is_heard.set(false);
            (&session.device, session.facts.heard())
        }));
    }

    /// What follows from this version of a profile; made once for all of the worker's sessions.
    pub(crate) fn view(&self, state: Arc<ProfileState>) -> Rc<ProfileView> {
        let mut views = self.views.borrow_mut();
        if let Some(view) = views.get(&state.profile.id)
            && view.is_of(&state)
        {
            return view.clone();
        }
        // Profiles that no session uses any more go, so the map is no larger than the number of sessions.
        views.retain(|_, view| Rc::strong_count(view) > 1);
        let view = Rc::new(ProfileView::new(state));
        views.insert(view.id(), view.clone());
        view
    }

    /// Whether the profile's codec also speaks to the device.
    pub(crate) fn encodes(&self, binding: &CodecBinding) -> bool {
        self.table.serving(binding).is_some_and(|codec| codec.metadata().encodes)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// Ends all sessions: what has begun is finished first, within a bounded time.
    pub(crate) async fn drain(&self) {
        self.is_draining.set(true);
        let all = |worker: &Self| worker.sessions.borrow().values().cloned().collect::<Vec<_>>();
        all(self).iter().for_each(|session| session.window.shut());
        self.stopping.notify();
        let deadline = ntex::time::Deadline::new(Millis::from(Duration::from_secs(DRAIN_TIMEOUT_S.into())));
        let finish = async {
            loop {
                let sessions = all(self);
                if sessions.is_empty() && self.guests.get() == 0 && self.children.borrow().is_empty() {
                    return;
                }
                for session in sessions.iter().filter(|session| session.window.is_idle()) {
                    session.close(Close::ShuttingDown);
                }
                sleep(DRAIN_STEP).await;
            }
        };
        let _done = ntex::util::select(deadline, finish).await;
        self.tasks.borrow_mut().drain(..).for_each(JoinHandle::cancel);
        CURRENT.with(|current| current.borrow_mut().take());
    }
}

/// Hands what arrives in the worker's mailbox to the sessions.
async fn deliver(worker: Rc<Worker>, mut receiver: MailboxReceiver) {
    while let Some((session, downlink)) = receiver.recv().await {
        match worker.session(session) {
            Some(session) => crate::deliver::downlink(&session, downlink),
            None if children::downlink(&worker, session, &downlink) => {}
            // It has ended meanwhile; its device asks again when it comes back.
            None => worker.counters.downlinks_dropped.count(),
        }
    }
}

/// Tells of the devices that were heard, from time to time.
async fn report(worker: Rc<Worker>) {
    loop {
        sleep(REPORT_EVERY).await;
        let heard = worker.heard.take();
        for some in heard.chunks(REPORTED_AT_ONCE) {
            worker.report(some);
            sleep(Millis(1)).await;
        }
        let carried: Vec<_> = worker.carried.take().into_values().collect();
        for some in carried.chunks(REPORTED_AT_ONCE) {
            worker.devices.heard(some.iter().map(|(device, at)| (device, *at)));
            sleep(Millis(1)).await;
        }
        for parent in worker.parents() {
            gateway::report(&parent, worker.gateway_metrics_every());
            let silence = Duration::from_secs(worker.session_inactivity_s().into());
            children::end_silent(&parent, silence, now());
        }
    }
}
