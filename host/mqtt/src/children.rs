//! Devices behind the connected one: each has a sub-session, which hears attribute updates and RPCs at once.
//!
//! A sub-session begins when its device is named for the first time, and ends with the connection, when the connected
//! device says so, with the device's credentials or the device itself, when another session of the device begins, or
//! after a long silence. The next message that names the device begins another one. Towards the registry and the bus a
//! sub-session is a session like any other, with an id of its own; the worker knows to which connection it belongs.

mod latency;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ntex::time::{Millis, sleep};
use ntex::util::{ByteString, Bytes};
use wireglot_codec::{Outgoing, native};
use wireglot_device::{AcceptError, ChildProfile, DeviceHandle, SessionFacts, now};
use wireglot_model::limits::CHILD_SESSIONS_MAX;
use wireglot_model::{Downlink, SessionId, Timestamp};
use wireglot_proto as proto;
use wireglot_route::{Format, GATEWAY_ATTRIBUTES, GATEWAY_RPC, gateway_raw_topic};

use crate::deliver;
use crate::limit;
use crate::rpc::{self, Asked};
use crate::session::{Line, Session};
use crate::sparkplug;
use crate::worker::Worker;
pub(crate) use latency::Latencies;

/// Sub-sessions that end at once at the end of a connection: the worker serves others in between.
const ENDED_AT_ONCE: usize = 256;

/// How often a sign of life of the connected device counts for all those behind it, in milliseconds.
const ALL_HEARD_EVERY_MS: i64 = 1_000;

/// The sub-sessions of one connection.
#[derive(Default)]
pub(crate) struct Children {
    open: RefCell<HashMap<Arc<str>, Rc<Child>>>,
    /// When the connected device has shown a sign of life for all of them, in milliseconds.
    all_heard: Cell<i64>,
    pub(crate) latencies: RefCell<Latencies>,
}

/// One sub-session.
pub(crate) struct Child {
    id: SessionId,
    /// As the connected device names it.
    pub(crate) name: Arc<str>,
    pub(crate) device: DeviceHandle,
    facts: Arc<SessionFacts>,
    /// It hears attribute updates and RPCs.
    is_listening: Cell<bool>,
    /// It has sent bytes, so it hears bytes too.
    pub(crate) speaks_raw: Cell<bool>,
}

/// Why there is no sub-session.
#[derive(Debug)]
pub(crate) enum Unmet {
    /// A rate limit was passed.
    Limited,
    /// There is no such device, and none was made.
    Refused(AcceptError),
}

impl Children {
    fn of(&self, name: &str) -> Option<Rc<Child>> {
        self.open.borrow().get(name).cloned()
    }

    fn all(&self) -> Vec<Rc<Child>> {
        self.open.borrow().values().cloned().collect()
    }
}

impl Child {
    /// The device was heard.
    pub(crate) fn hear(&self, worker: &Worker, at: Timestamp) {
        self.facts.hear(at);
        worker.hear_carried(&self.device, at);
    }
}

/// How many devices are behind the session's.
pub(crate) fn count(session: &Session) -> usize {
    session.children.get().map_or(0, |children| children.open.borrow().len())
}

/// The sub-session of the device of this name, begun if there is none; the device is made if it is new.
pub(crate) fn meet(
    session: &Session,
    name: &str,
    profile: ChildProfile<'_>,
    label: Option<&str>,
) -> Result<Rc<Child>, Unmet> {
    let children = session.children.get_or_init(Box::default);
    if let Some(child) = children.of(name) {
        return Ok(child);
    }
    limit::child_message(session, None).map_err(|_| Unmet::Limited)?;
    if children.open.borrow().len() >= CHILD_SESSIONS_MAX {
        return Err(Unmet::Refused(AcceptError::TooManyChildren));
    }
    let worker = &session.worker;
    let device = worker.devices.behind(&session.device, name, profile, label, now());
    begin(session, children, name, &device.map_err(Unmet::Refused)?)
}

/// Begins the sub-sessions of devices that a codec has spoken of, and that are there already.
pub(crate) fn meet_known(session: &Session, names: &[String]) {
    if let Line::Desk(_) = &session.line {
        // A single request brings devices, but holds nothing through which they could hear; their sessions stay where they
        // are.
        let known = names.iter().filter_map(|name| session.worker.devices.device_by_name(name));
        return known.for_each(|device| session.worker.hear_carried(&device, now()));
    }
    let children = session.children.get_or_init(Box::default);
    for name in names {
        if let Some(child) = children.of(name) {
            child.hear(&session.worker, now());
        } else if let Some(device) = session.worker.devices.device_by_name(name)
            && children.open.borrow().len() < CHILD_SESSIONS_MAX
        {
            // Its message is taken already: without a sub-session it only hears nothing.
            drop(begin(session, children, name, &device));
        }
    }
}

fn begin(
    session: &Session,
    children: &Children,
    name: &str,
    device: &DeviceHandle,
) -> Result<Rc<Child>, Unmet> {
    let worker = &session.worker;
    let (device, id, at) = (device.admitted(), worker.next_session(), now());
    worker
        .devices
        .open_session(&device, id, &worker.mailbox, at)
        .map_err(|_| Unmet::Refused(AcceptError::Deleted))?;
    let facts = &session.facts;
    let facts = Arc::new(SessionFacts::new(id, &facts.client_id, facts.address, at, "gateway"));
    worker.devices.show_session(&device, facts.clone());
    let name: Arc<str> = name.into();
    let child = Rc::new(Child {
        id,
        name: name.clone(),
        device,
        facts,
        is_listening: Cell::new(false),
        speaks_raw: Cell::new(false),
    });
    worker.enter_child(id, session.id, name.clone());
    children.open.borrow_mut().insert(name, child.clone());
    // What is behind an edge node listens as soon as its birth has told to what.
    if session.sparkplug.is_none() {
        listen(session, &child);
    }
    Ok(child)
}

/// From here on the device hears attribute updates and RPCs.
pub(crate) fn listen(session: &Session, child: &Child) {
    // An interest that passes a limit has no effect, and nobody hears of it (gateway API §5).
    if !child.is_listening.get() && limit::child_message(session, Some(&child.device)).is_ok() {
        child.is_listening.set(true);
        session.worker.devices.rpc_listens(&child.device, child.id, now());
    }
}

/// The connected device has said that this one has gone.
pub(crate) fn leave(session: &Session, name: &str) {
    let child = session.children.get().and_then(|children| children.open.borrow_mut().remove(name));
    if let Some(child) = child {
        end(&session.worker, session, &child);
    }
}

/// The connection has ended. What takes long is done while others are served.
pub(crate) fn leave_all(session: &Rc<Session>) {
    let Some(children) = session.children.get() else { return };
    let gone: Vec<Rc<Child>> = children.open.borrow_mut().drain().map(|(_, child)| child).collect();
    session.worker.leave_parent(session.id);
    if gone.len() <= ENDED_AT_ONCE || session.worker.is_draining() {
        return gone.chunks(ENDED_AT_ONCE).for_each(|some| end_some(session, some));
    }
    let session = session.clone();
    ntex::rt::spawn(async move {
        for some in gone.chunks(ENDED_AT_ONCE) {
            end_some(&session, some);
            sleep(Millis(1)).await;
        }
    });
}

fn end_some(session: &Rc<Session>, some: &[Rc<Child>]) {
    some.iter().for_each(|child| end(&session.worker, session, child));
    sparkplug::lose(session, some.iter().map(|child| &*child.name));
}

fn end(worker: &Worker, session: &Session, child: &Child) {
    cease(worker, child);
    // The end of a session counts as a message (device API §17), and cannot be refused.
    let _counted = limit::child_message(session, Some(&child.device));
    worker.devices.close_session(&child.device, child.id, now());
    worker.leave_child(child.id);
}

fn cease(worker: &Worker, child: &Child) {
    if child.is_listening.replace(false) {
        worker.devices.rpc_ceases(child.device.id(), child.id, now());
    }
}

/// The device of this name hears nothing until `listen`.
pub(crate) fn cease_one(session: &Session, name: &str) {
    if let Some(child) = session.children.get().and_then(|children| children.of(name)) {
        cease(&session.worker, &child);
    }
}

/// Nobody reads on for these devices: what comes for them is kept, as far as it is kept at all.
pub(crate) fn end_interest(session: &Session) {
    if let Some(children) = session.children.get() {
        children.all().iter().for_each(|child| cease(&session.worker, child));
    }
}

/// The connected device has shown a sign of life that counts for those behind it.
pub(crate) fn hear_all(session: &Session) {
    let counts = || session.sparkplug.is_some() || session.device.pings_for_children();
    if let Some(children) = session.children.get().filter(|_| counts()) {
        let at = now();
        // There may be as many of them as pings that came at once.
        if (0..ALL_HEARD_EVERY_MS).contains(&at.0.saturating_sub(children.all_heard.get())) {
            return;
        }
        children.all_heard.set(at.0);
        children.all().iter().for_each(|child| child.hear(&session.worker, at));
    }
}

/// Ends the sub-sessions that have been silent for this long. What is behind an edge node is there until its death.
pub(crate) fn end_silent(session: &Session, silence: Duration, at: Timestamp) {
    let Some(children) = session.children.get().filter(|_| session.sparkplug.is_none()) else { return };
    let since = at.0.saturating_sub(i64::try_from(silence.as_millis()).unwrap_or(i64::MAX));
    for child in children.all() {
        if child.facts.heard().0 < since {
            leave(session, &child.name);
        }
    }
}

/// Takes what the mailbox has for a sub-session; whether there is one.
pub(crate) fn downlink(worker: &Worker, id: SessionId, downlink: &Downlink) -> bool {
    let Some((session, name)) = worker.parent_of(id) else { return false };
    let Some(child) = session.children.get().and_then(|children| children.of(&name)) else { return false };
    if child.id != id {
        return false;
    }
    match downlink {
        Downlink::Close(_) => {
            leave(&session, &name);
            if let Some(node) = &session.sparkplug {
                sparkplug::forget(node, &name);
            }
        }
        Downlink::RpcRequest { id, .. } => {
            let asked = Asked { device: child.device.id(), id: *id };
            if !child.is_listening.get() || session.is_closing() {
                worker.devices.rpc_undelivered(asked.device, asked.id, now());
            } else if let Some(node) = &session.sparkplug {
                sparkplug::tell(&session, node, Some(&name), asked.device, downlink);
            } else {
                rpc::publish(&session, asked, compose(&session, &child, downlink));
            }
        }
        Downlink::AttributeUpdate(_) | Downlink::AttributeDelete(_) => {
            if !child.is_listening.get() || session.is_closing() {
                // Lost by contract: whoever connects asks for the state.
            } else if let Some(node) = &session.sparkplug {
                sparkplug::tell(&session, node, Some(&name), child.device.id(), downlink);
            } else {
                match compose(&session, &child, downlink) {
                    Ok(publishes) => deliver::push(&session, publishes, None),
                    Err(reason) => deliver::give_up(&session, &reason),
                }
            }
        }
        // Nothing of a sub-session asks for these through the mailbox.
        Downlink::AttributeResponse { .. } | Downlink::ClientRpcAnswer { .. } => {}
    }
    true
}

fn compose(
    session: &Session,
    child: &Child,
    downlink: &Downlink,
) -> Result<Vec<(ByteString, Bytes)>, String> {
    // A name that no topic may have is left to JSON.
    if child.speaks_raw.get()
        && !child.name.contains(['+', '#', '\0'])
        && let Some(frames) = encode(session, child, downlink)
    {
        return frames;
    }
    let name = &child.name;
    let is_protobuf = session.view().dialect.reads(Format::Profile);
    let (topic, payload): (_, Bytes) = match (downlink, is_protobuf) {
        (Downlink::AttributeUpdate(samples), false) => {
            (GATEWAY_ATTRIBUTES, native::write_gateway_attribute_update(name, samples).into())
        }
        (Downlink::AttributeUpdate(samples), true) => {
            (GATEWAY_ATTRIBUTES, proto::write_gateway_attribute_update(name, samples).into())
        }
        (Downlink::AttributeDelete(keys), false) => {
            (GATEWAY_ATTRIBUTES, native::write_gateway_attribute_delete(name, keys).into())
        }
        (Downlink::AttributeDelete(keys), true) => {
            (GATEWAY_ATTRIBUTES, proto::write_gateway_attribute_delete(name, keys).into())
        }
        (Downlink::RpcRequest { id, method, params }, false) => {
            (GATEWAY_RPC, native::write_gateway_rpc_request(name, *id, method, params).into())
        }
        (Downlink::RpcRequest { id, method, params }, true) => {
            (GATEWAY_RPC, proto::write_gateway_rpc_request(name, *id, method, params).into())
        }
        (
            Downlink::AttributeResponse { .. } | Downlink::ClientRpcAnswer { .. } | Downlink::Close(_),
            false | true,
        ) => return Ok(Vec::new()),
    };
    Ok(vec![(ByteString::from_static(topic), payload)])
}

/// In bytes, for a device whose codec also speaks to it; `None` where it does not.
fn encode(
    session: &Session,
    child: &Child,
    downlink: &Downlink,
) -> Option<Result<Vec<(ByteString, Bytes)>, String>> {
    let worker = &session.worker;
    let own = worker.view(child.device.profile());
    let codec = own.codec.as_ref().filter(|codec| worker.encodes(codec))?;
    let topic = ByteString::from(gateway_raw_topic(&child.name));
    let frames = worker.codecs.encode(codec, downlink, &child.name, own.name(), now());
    // Whatever topic the codec names is one of the device's own, which has no connection here.
    let publish = |frame: Outgoing| (topic.clone(), Bytes::from(frame.payload));
    Some(match frames {
        Ok(frames) => Ok(frames.into_iter().map(publish).collect()),
        Err(failure) => Err(format!("Failed to convert device RPC command to MQTT msg: {}", failure.reason)),
    })
}
