//! The MQTT session of one connection: who it is, what it hears, what is in flight. Born and dropped on one worker.
//!
//! It speaks neither version of MQTT: what is written goes through its `Line`. What a publish does is in
//! `publish.rs`, what it hears in `subscribe.rs`, what it is sent in `deliver.rs`.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ntex::io::Io;
use ntex::io::types::PeerAddr;
use ntex::util::{ByteString, Bytes};
use ntex_mqtt::QoS;
use ntex_mqtt::error::EncodeError;
use wireglot_device::{DeviceHandle, SessionFacts};
use wireglot_model::{SessionId, Timestamp};

use crate::ack::Close;
use crate::children::{self, Children};
use crate::client_rpc::Waiting;
use crate::connect::{Admitted, KeepAlive};
use crate::deliver::Outbox;
use crate::entrance::Visitor;
use crate::limit;
use crate::ota::Downloads;
use crate::profile::ProfileView;
use crate::publish::Answer;
use crate::rpc::Asked;
use crate::sparkplug::{self, Node};
use crate::subscribe::Subscriptions;
use crate::window::Window;
use crate::worker::Worker;
use crate::{desk, rpc, v3, v5};
use wireglot_device::now;

/// One session.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) worker: Rc<Worker>,
    pub(crate) device: DeviceHandle,
    /// Where it came from, as far as limits of addresses ask.
    address: Option<IpAddr>,
    pub(crate) line: Line,
    pub(crate) window: Window,
    pub(crate) subscriptions: RefCell<Subscriptions>,
    pub(crate) outbox: RefCell<Outbox>,
    pub(crate) downloads: Downloads,
    /// Of the device, for an answer.
    pub(crate) calls: RefCell<Waiting>,
    /// The devices behind it, as soon as there are some.
    pub(crate) children: OnceCell<Box<Children>>,
    /// It is that of an edge node.
    pub(crate) sparkplug: Option<Box<Node>>,
    /// What is kept of the device and its profile, and as of which change of the registry.
    view: RefCell<Rc<ProfileView>>,
    name: RefCell<Arc<str>>,
    seen: Cell<u64>,
    keep_alive: KeepAlive,
    is_closing: Cell<bool>,
    /// What is told of it.
    pub(crate) facts: Arc<SessionFacts>,
    /// The device was heard since its worker last reported it.
    pub(crate) is_heard: Cell<bool>,
}

/// Who is at the other end, as far as it is only told.
pub(crate) struct Client {
    id: Box<str>,
    address: Option<SocketAddr>,
    protocol: &'static str,
}

impl Client {
    pub(crate) fn new<F>(io: &Io<F>, visitor: &Visitor, id: &str, protocol: &'static str) -> Self {
        let peer = io.query::<PeerAddr>().get().map(|peer| peer.0);
        let address = match visitor.address {
            // A load balancer tells which address it speaks for.
            Some(ip) if peer.is_none_or(|peer| peer.ip() != ip) => Some(SocketAddr::new(ip, 0)),
            Some(_) | None => peer,
        };
        Self { id: id.into(), address, protocol }
    }
}

/// The way to the device, in its version of MQTT, or back to its one request.
pub(crate) enum Line {
    V3(v3::Line),
    V5(v5::Line),
    /// Boxed, so that a connection is not as large.
    Desk(Box<desk::Line>),
}

/// A publish to the device.
pub(crate) struct Publication {
    pub(crate) topic: ByteString,
    pub(crate) qos: QoS,
    pub(crate) id: Option<NonZeroU16>,
    pub(crate) payload: Bytes,
    /// The RPC that is whole with this publish.
    pub(crate) call: Option<Asked>,
}

impl Line {
    pub(crate) fn publish(&self, publication: Publication) -> Result<(), EncodeError> {
        match self {
            Line::V3(line) => line.publish(publication),
            Line::V5(line) => line.publish(publication),
            Line::Desk(line) => {
                line.publish(publication);
                Ok(())
            }
        }
    }

    pub(crate) fn answer(&self, answer: Answer) -> Result<(), EncodeError> {
        match self {
            Line::V3(line) => line.answer(answer),
            Line::V5(line) => line.answer(answer),
            Line::Desk(line) => {
                line.answer(answer);
                Ok(())
            }
        }
    }

    /// Whether the device does not read as fast as it is written to.
    pub(crate) fn is_blocked(&self) -> bool {
        match self {
            Line::V3(line) => line.is_blocked(),
            Line::V5(line) => line.is_blocked(),
            Line::Desk(_) => false,
        }
    }

    /// The largest publish that the device takes, where it has said so.
    pub(crate) fn publish_bytes_max(&self) -> Option<u64> {
        match self {
            Line::V3(_) | Line::Desk(_) => None,
            Line::V5(line) => line.publish_bytes_max(),
        }
    }

    pub(crate) fn close(&self, reason: Option<Close>) {
        match self {
            Line::V3(line) => line.close(),
            Line::V5(line) => line.close(reason),
            Line::Desk(line) => line.close(reason),
        }
    }

    /// Notes why what the device said cannot be used: MQTT has no words for that.
    pub(crate) fn explain(&self, reason: &str) {
        match self {
            Line::V3(_) | Line::V5(_) => {}
            Line::Desk(line) => line.explain(reason),
        }
    }
}

impl Session {
    /// Begins the session of an admitted device.
    pub(crate) fn begin(
        worker: &Rc<Worker>,
        admitted: Admitted,
        client: Client,
        line: Line,
        keep_alive: KeepAlive,
        receive_max: Option<NonZeroU16>,
    ) -> Owner {
        let Client { id: client_id, address, protocol } = client;
        let facts = Arc::new(SessionFacts::new(admitted.session, &client_id, address, now(), protocol));
        worker.devices.show_session(&admitted.device, facts.clone());
        let session = Self::assemble(worker, admitted, line, facts, keep_alive, receive_max);
        worker.enter(&session);
        sparkplug::begin(&session);
        if worker.is_draining() {
            session.window.shut();
        }
        Owner(session)
    }

    /// Begins the session of one request, which is none to anybody else.
    pub(crate) fn at_desk(
        worker: &Rc<Worker>,
        device: &DeviceHandle,
        address: Option<IpAddr>,
        line: desk::Line,
    ) -> Owner {
        let id = worker.next_session();
        let admitted = Admitted { device: device.clone(), session: id, address, sparkplug: None };
        let facts = Arc::new(SessionFacts::new(id, "", None, now(), "http"));
        let keep_alive = KeepAlive { timeout: Duration::ZERO, announced_s: None, is_clients: false };
        let session = Self::assemble(worker, admitted, Line::Desk(Box::new(line)), facts, keep_alive, None);
        worker.enter_request(&session);
        Owner(session)
    }

    fn assemble(
        worker: &Rc<Worker>,
        admitted: Admitted,
        line: Line,
        facts: Arc<SessionFacts>,
        keep_alive: KeepAlive,
        receive_max: Option<NonZeroU16>,
    ) -> Rc<Self> {
        // Before the look at the device: what changes in between is looked at again.
        let seen = worker.devices.changes();
        let view = worker.view(admitted.device.profile());
        let name = admitted.device.name();
        Rc::new(Self {
            id: admitted.session,
            worker: worker.clone(),
            device: admitted.device,
            address: admitted.address,
            line,
            window: Window::default(),
            subscriptions: RefCell::default(),
            outbox: RefCell::new(Outbox::new(receive_max)),
            downloads: Downloads::default(),
            calls: RefCell::default(),
            children: OnceCell::new(),
            sparkplug: admitted.sparkplug.map(|identity| Box::new(Node::new(identity))),
            view: RefCell::new(view),
            name: RefCell::new(name),
            seen: Cell::new(seen),
            keep_alive,
            is_closing: Cell::new(false),
            facts,
            is_heard: Cell::new(false),
        })
    }

    /// Resolves when the next packet may be decoded.
    pub(crate) fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.window.poll_room(context).is_ready() {
            self.worker.ingest.poll_room(context)
        } else {
            Poll::Pending
        }
    }

    /// What follows from the profile as it is now: a changed profile applies from the next packet on.
    pub(crate) fn view(&self) -> Rc<ProfileView> {
        self.look_again();
        self.view.borrow().clone()
    }

    /// The device's name now.
    pub(crate) fn name(&self) -> Arc<str> {
        self.look_again();
        self.name.borrow().clone()
    }

    fn look_again(&self) {
        let changes = self.worker.devices.changes();
        if self.seen.replace(changes) == changes {
            return;
        }
        let state = self.device.profile();
        if !self.view.borrow().is_of(&state) {
            *self.view.borrow_mut() = self.worker.view(state);
        }
        *self.name.borrow_mut() = self.device.name();
    }

    /// Answers a publish.
    pub(crate) fn answer(&self, answer: Answer) {
        if let Err(error) = self.line.answer(answer) {
            tracing::debug!(device = %self.device.id(), %error, "An answer cannot be written.");
            self.close(Close::Failed);
        }
    }

    /// Ends the session for `reason`. What was not acknowledged stays with the device.
    pub(crate) fn close(&self, reason: Close) {
        if self.is_closing.replace(true) {
            return;
        }
        if reason.is_breach() {
            self.worker.counters.sessions_broken.count();
        }
        tracing::debug!(device = %self.device.id(), ?reason, "Session closed by the server.");
        self.line.close(Some(reason));
    }

    /// Ends the session for a reason from elsewhere. A device that was deleted under its session counts as a wrong
    /// login of its address (device API §3.7).
    pub(crate) fn close_from_elsewhere(&self, reason: Close) {
        if self.worker.devices.device(self.device.id()).is_none() {
            self.worker.entrance().wrong(self.address);
        }
        self.close(reason);
    }

    /// Ends the session because the device said so.
    pub(crate) fn close_as_asked(&self) {
        if !self.is_closing.replace(true) {
            self.line.close(None);
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.get()
    }

    /// The device was heard: a store, and now and then a note for the worker's next report.
    pub(crate) fn hear(&self, at: Timestamp) {
        self.facts.hear(at);
        if !self.is_heard.replace(true) {
            self.worker.hear(self.id);
        }
    }

    /// How long the device may be silent.
    pub(crate) fn silence_max(&self) -> Duration {
        self.keep_alive.timeout
    }

    /// Why a session that has been silent for too long ends.
    pub(crate) fn silence(&self) -> Close {
        self.worker.counters.sessions_silent.count();
        if self.keep_alive.is_clients { Close::KeepAlive } else { Close::Inactive }
    }
}

/// What the connection holds of its session. When it goes, however that comes about, the session ends.
pub(crate) struct Owner(Rc<Session>);

impl Owner {
    pub(crate) fn session(&self) -> &Rc<Session> {
        &self.0
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let session = &self.0;
        session.is_closing.set(true);
        if let Line::Desk(line) = &session.line {
            drop(session.calls.take());
            return desk::leave(session, line);
        }
        session.downloads.stop(session);
        rpc::end_interest(session);
        drop(session.calls.take());
        if session.is_heard.get() {
            session.worker.devices.heard([(&session.device, session.facts.heard())]);
        }
        // The end of a session counts as a message (device API §17), and cannot be refused.
        let _counted = limit::message(session);
        session.worker.devices.close_session(&session.device, session.id, now());
        sparkplug::end(session);
        children::leave_all(session);
        session.worker.leave(session.id);
    }
}
