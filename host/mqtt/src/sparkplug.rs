//! Edge nodes of Sparkplug B: a session that speaks of itself and of the devices behind it by births, data and deaths.
//!
//! Whether a session is one is decided at CONNECT, by the profile of its device, and stays so to its end; none of the
//! topics of the device API is served in it. Read in this order: what a CONNECT has to say (`will.rs`), what births leave
//! behind (`births.rs`), what a publish becomes (`hear.rs`), who is online (`life.rs`), what is said to the node (`say.rs`)
//! and when it is asked to be born again (`asking.rs`). The devices behind the node have the sub-sessions of `children.rs`.
//!
//! Every message is about one device, so it takes the path of `publish.rs`: one batch, one acknowledgement.

mod asking;
mod births;
mod hear;
mod life;
mod say;
mod will;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use wireglot_device::now;
use wireglot_model::{Decoded, Measurement, Sample, Timestamp, Uplink, UplinkBody, Value};
use wireglot_proto::BD_SEQ;

use crate::publish::of_server;
use crate::session::Session;
use asking::Asking;
use births::{Births, Sequence};
pub(crate) use hear::receive;
use life::Life;
pub(crate) use life::{end, forget, lose};
pub(crate) use say::{answer, tell};
pub(crate) use will::{Identity, InvalidWill, Opening, Will};

const CONNECTION_STATE: &str = "sparkplugConnectionState";
const ONLINE: &str = "ONLINE";
const OFFLINE: &str = "OFFLINE";
/// What a host application sets to hear all births again.
const REBIRTH: &str = "Node Control/Rebirth";

/// An edge node, for as long as it is connected.
pub(crate) struct Node {
    identity: Identity,
    /// What the names of the devices behind it begin with: `group:node:`.
    prefix: Box<str>,
    births: RefCell<Births>,
    sequence: RefCell<Sequence>,
    /// The number of its session, from its last birth; `None` before that.
    born: Cell<Option<Option<i64>>>,
    /// When that was.
    online: Cell<Option<Timestamp>>,
    asking: RefCell<Asking>,
    life: RefCell<Life>,
    /// It was born again, and the devices behind it have a while to be born again too.
    is_voiding: Cell<bool>,
}

impl Node {
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            prefix: format!("{}:{}:", identity.group, identity.node).into(),
            identity,
            births: RefCell::default(),
            sequence: RefCell::default(),
            born: Cell::new(None),
            online: Cell::new(None),
            asking: RefCell::default(),
            life: RefCell::default(),
            is_voiding: Cell::new(false),
        }
    }

    /// The name by which topics know a device, which some clients write with its group and node before it.
    fn short<'a>(&self, device: &'a str) -> &'a str {
        device.strip_prefix(&*self.prefix).filter(|short| !short.is_empty()).unwrap_or(device)
    }

    /// The name under which the device of this short name is kept.
    fn full(&self, short: &str) -> String {
        format!("{}{short}", self.prefix)
    }
}

/// The session has begun: keeps the number that its will carries (Sparkplug §3.2).
pub(crate) fn begin(session: &Rc<Session>) {
    let Some(node) = &session.sparkplug else { return };
    let number = Value::Long(node.identity.bd_seq);
    let said = telemetry(vec![measurement(None, &format!("NDEATH {BD_SEQ}"), number)]);
    let (device, owed) = (&session.device, of_server(session));
    if let Err((error, _)) = session.worker.ingest.accept(device, now(), None, said, None, owed) {
        tracing::debug!(device = %device.id(), %error, "The number of a Sparkplug session is not written.");
    }
}

fn state(ts: Option<Timestamp>, state: &str) -> Measurement {
    measurement(ts, CONNECTION_STATE, Value::Text(state.to_owned()))
}

fn measurement(ts: Option<Timestamp>, key: &str, value: Value) -> Measurement {
    Measurement { ts, samples: vec![Sample { key: key.to_owned(), value }] }
}

fn telemetry(measurements: Vec<Measurement>) -> Decoded {
    let body = UplinkBody::Telemetry(measurements);
    Decoded { uplinks: vec![Uplink { child: None, body }], warnings: Vec::new() }
}
