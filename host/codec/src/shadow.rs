//! The same frames through two versions of a codec, compared value by value.
//!
//! Both decode on the same thread and take turns in going first, so that their times can be compared. Nothing here
//! runs on a worker. Not here: where live frames come from (`candidate.rs`), what is told of them (`shadow/report.rs`).

mod report;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use wireglot_model::{Decoded, Sample, UplinkBody, Value};

use crate::engine::thread_time;
use crate::renewing::RenewingSession;
use crate::vectors::typed;
use crate::{DecodeFailure, Frame};

pub use report::{DifferenceCounts, Example, FrameCounts, ShadowReport, SideReport};

/// What one version made of a frame, and how long that took it.
pub(crate) struct Outcome {
    pub(crate) result: Result<Decoded, DecodeFailure>,
    /// `None` where no instance could be made.
    pub(crate) time: Option<Duration>,
}

fn timed(side: &mut RenewingSession, frame: &Frame<'_>) -> Outcome {
    if let Err(failure) = side.ready() {
        return Outcome { result: Err(failure), time: None };
    }
    // The thread's own time: on a busy machine it waits for a core more often than it decodes.
    let started = thread_time();
    let result = side.call(frame).flatten();
    let time = Some(thread_time().saturating_sub(started));
    side.settle(&result);
    Outcome { result, time }
}

/// Whoever goes second finds the frame in the processor's cache, so they take turns.
pub(crate) fn decode_both(
    old: &mut RenewingSession,
    new: &mut RenewingSession,
    frame: &Frame<'_>,
    new_first: bool,
) -> (Outcome, Outcome) {
    if new_first {
        let after = timed(new, frame);
        (timed(old, frame), after)
    } else {
        let before = timed(old, frame);
        (before, timed(new, frame))
    }
}

/// Where a value belongs. Of two values for one place the later wins, as it does in the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place<'a> {
    child: Option<&'a str>,
    kind: PlaceKind,
    /// The time of a measurement, or the number of a request.
    at: Option<i64>,
    key: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum PlaceKind {
    Telemetry,
    Attribute,
    RpcResponse,
    AttributeRequest,
    ClientRpc,
}

impl Place<'_> {
    /// What the place is called where values are counted by it: times and child devices would make too many.
    pub(crate) fn label(&self) -> String {
        match self.kind {
            PlaceKind::Telemetry => self.key.to_owned(),
            PlaceKind::Attribute => format!("attribute {}", self.key),
            PlaceKind::RpcResponse => "RPC response".to_owned(),
            PlaceKind::AttributeRequest => "attribute request".to_owned(),
            PlaceKind::ClientRpc => "RPC".to_owned(),
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.label())?;
        if let Some(child) = self.child {
            write!(f, " of {child}")?;
        }
        match (self.kind, self.at) {
            (_, None) => Ok(()),
            (PlaceKind::Telemetry | PlaceKind::Attribute, Some(at)) => write!(f, " at {at}"),
            (_, Some(id)) => write!(f, " {id}"),
        }
    }
}

/// A value, or a message that is none, as text.
#[derive(PartialEq)]
pub(crate) enum Said<'a> {
    Value(&'a Value),
    Text(String),
}

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Said::Value(value) => f.write_str(&typed(value)),
            Said::Text(text) => f.write_str(text),
        }
    }
}

/// How one place differs.
pub(crate) enum Difference<'a> {
    Same,
    Changed(Said<'a>, Said<'a>),
    OnlyOld(Said<'a>),
    OnlyNew(Said<'a>),
}

/// Every place that either result names, with what the two say of it.
pub(crate) fn differences<'a>(old: &'a Decoded, new: &'a Decoded) -> Vec<(Place<'a>, Difference<'a>)> {
    let (before, mut after) = (places(old), places(new));
    let mut found: Vec<(Place<'a>, Difference<'a>)> = before
        .into_iter()
        .map(|(place, old)| {
            let difference = match after.remove(&place) {
                Some(new) if new == old => Difference::Same,
                Some(new) => Difference::Changed(old, new),
                None => Difference::OnlyOld(old),
            };
            (place, difference)
        })
        .collect();
    found.extend(after.into_iter().map(|(place, new)| (place, Difference::OnlyNew(new))));
    found
}

fn places(decoded: &Decoded) -> BTreeMap<Place<'_>, Said<'_>> {
    let mut places = BTreeMap::new();
    for uplink in &decoded.uplinks {
        let child = uplink.child.as_deref();
        match &uplink.body {
            UplinkBody::Telemetry(measurements) => {
                for measurement in measurements {
                    let at = measurement.ts.map(|ts| ts.0);
                    insert_samples(&mut places, child, PlaceKind::Telemetry, at, &measurement.samples);
                }
            }
            UplinkBody::Attributes(samples) => {
                insert_samples(&mut places, child, PlaceKind::Attribute, None, samples);
            }
            UplinkBody::RpcResponse { id, payload } => {
                let place = Place { child, kind: PlaceKind::RpcResponse, at: Some((*id).into()), key: "" };
                places.insert(place, Said::Text(payload.clone()));
            }
            UplinkBody::AttributeRequest { id, client_keys, shared_keys } => {
                let place =
                    Place { child, kind: PlaceKind::AttributeRequest, at: Some((*id).into()), key: "" };
                let keys = format!("client {}; shared {}", client_keys.join(","), shared_keys.join(","));
                places.insert(place, Said::Text(keys));
            }
            UplinkBody::ClientRpc { id, method, params } => {
                let place = Place { child, kind: PlaceKind::ClientRpc, at: Some((*id).into()), key: "" };
                places.insert(place, Said::Text(format!("{method} {params}")));
            }
            // The contract of codecs has neither.
            UplinkBody::SharedAttributes(_) | UplinkBody::Claim { .. } => {}
        }
    }
    places
}

fn insert_samples<'a>(
    places: &mut BTreeMap<Place<'a>, Said<'a>>,
    child: Option<&'a str>,
    kind: PlaceKind,
    at: Option<i64>,
    samples: &'a [Sample],
) {
    for sample in samples {
        places.insert(Place { child, kind, at, key: &sample.key }, Said::Value(&sample.value));
    }
}
