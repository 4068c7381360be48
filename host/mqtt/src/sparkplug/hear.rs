//! What a node says: births, data and deaths, of itself and of the devices behind it.
//!
//! A payload is read as a whole before anything is changed. What the profile of the node, or of the device, names a
//! codec for, that codec gets as one JSON document, and what it makes of it is stored in place of the metrics.

use std::rc::Rc;
use std::time::Instant;

use wireglot_device::{Charge, ChildProfile, DeviceHandle, Parts, RateExceeded, Speaker, now};
use wireglot_model::limits::{CODEC_WARNINGS_MAX, PROTO_JSON_BYTES_MAX};
use wireglot_model::value::write_json_string;
use wireglot_model::{
    Decoded, Measurement, Sample, Sparkplug, Timestamp, Uplink, UplinkBody, Value, is_storable_key,
};
use wireglot_proto::{BD_SEQ, DataType, SparkplugPayload, SparkplugValues};
use wireglot_route::{SparkplugRoute, SparkplugTopic, SparkplugTopicError, Verb, sparkplug};

use super::births::{Birth, BirthError};
use super::{Node, OFFLINE, ONLINE, life, measurement, say, state};
use crate::children::{self, Child, Unmet};
use crate::gateway::Verdict;
use crate::profile::{ProfileView, Unread};
use crate::publish::{
    Incoming, Owed, Sender, bury_beside, refuse, refuse_of, take_farewell, take_parts, take_unknown,
};
use crate::session::Session;
use crate::trace::{Seen, Told, Watch};
use crate::{limit, rpc};

/// A metric that is a value of its own time.
struct Point {
    key: String,
    kind: DataType,
    ts: Option<Timestamp>,
    value: Value,
}

/// A message, read.
struct Heard<'a> {
    topic: SparkplugTopic<'a>,
    payload: SparkplugPayload,
    /// A birth, which is in force when its message is taken.
    birth: Option<Birth>,
    points: Vec<Point>,
    attributes: Vec<Sample>,
    /// What the server says beside the metrics.
    facts: Vec<Measurement>,
    warnings: Vec<String>,
}

/// One message on its way.
struct Message<'a> {
    session: &'a Rc<Session>,
    node: &'a Node,
    view: &'a ProfileView,
    incoming: &'a Incoming<'a>,
    received: Timestamp,
    watch: Option<Watch>,
}

/// The path of one message, as in `publish.rs`.
pub(crate) fn receive(session: &Rc<Session>, node: &Node, incoming: &Incoming<'_>, owed: Owed) {
    let received = now();
    session.hear(received);
    let view = &*session.view();
    let topic = match sparkplug(incoming.topic) {
        Ok(SparkplugRoute::Message(topic)) => Ok(topic),
        Ok(SparkplugRoute::State) => {
            let on_failure = view.on_failure(incoming.qos);
            return take_parts(session, Parts::default(), Verdict::Taken, on_failure, None, owed);
        }
        Err(SparkplugTopicError::OtherTopic) => return take_unknown(session, owed),
        Err(error) => Err(Unread::refused(error)),
    };
    let watch = Watch::begin(session.worker.ingest.bus());
    let message = Message { session, node, view, incoming, received, watch };
    match topic.and_then(|topic| message.read(topic)) {
        Ok(heard) if heard.topic.verb == Verb::Death && heard.topic.device.is_none() => {
            // Whatever follows comes too late, and the death itself is told by the end of the session.
            session.window.shut();
            take_farewell(session, owed);
        }
        Ok(heard) => message.take(heard, owed),
        Err(unread) => message.refuse(unread, owed),
    }
}

impl<'a> Message<'a> {
    fn read(&self, topic: SparkplugTopic<'a>) -> Result<Heard<'a>, Unread> {
        let identity = &self.node.identity;
        if (topic.group, topic.node) != (&*identity.group, &*identity.node) {
            let (group, node) = (&identity.group, &identity.node);
            return Err(Unread::refused(format!(
                "the will of this connection is that of the node '{node}' in the group '{group}', so it cannot speak for \
                 '{}' in '{}'",
                topic.node, topic.group
            )));
        }
        let payload = SparkplugPayload::read(self.incoming.payload).map_err(Unread::refused)?;
        let topic = SparkplugTopic { device: topic.device.map(|device| self.node.short(device)), ..topic };
        self.follow_sequence(&topic, &payload);
        let mut heard = Heard {
            topic,
            payload,
            birth: None,
            points: Vec::new(),
            attributes: Vec::new(),
            facts: Vec::new(),
            warnings: Vec::new(),
        };
        match topic.verb {
            Verb::Birth => self.read_birth(&mut heard)?,
            Verb::Data | Verb::Command => {}
            Verb::Death => return self.read_death(heard),
        }
        let read = self.read_metrics(&mut heard);
        if let Err(BirthOrValue::Birth(BirthError::UnknownAlias(_))) = read {
            say::ask_births(self.session, self.node);
        }
        read.map_err(Unread::refused)?;
        Ok(heard)
    }

    fn read_birth(&self, heard: &mut Heard<'_>) -> Result<(), Unread> {
        let birth = Birth::read(&heard.payload.metrics).map_err(Unread::refused)?;
        self.node.births.borrow().check(heard.topic.device, &birth).map_err(Unread::refused)?;
        heard.birth = Some(birth);
        let at = heard.payload.timestamp;
        heard.facts.push(state(at, ONLINE));
        if let (Some(_), Some(seq)) = (heard.topic.device, heard.payload.seq) {
            let key = format!("{} seq", heard.topic.kind());
            heard.facts.push(measurement(at, &key, Value::Long(i64::try_from(seq).unwrap_or(i64::MAX))));
        }
        Ok(())
    }

    /// A death of the node that is not that of its birth is somebody else's, or comes from an earlier session.
    fn read_death<'h>(&self, mut heard: Heard<'h>) -> Result<Heard<'h>, Unread> {
        if heard.topic.device.is_some() {
            let online = heard.topic.device.and_then(|short| self.node.life.borrow().born(short));
            let at = life::after(online, heard.payload.timestamp.unwrap_or(self.received));
            heard.facts.push(state(Some(at), OFFLINE));
            return Ok(heard);
        }
        let told = heard.payload.bd_seq();
        let due = self.node.born.get().flatten().unwrap_or(self.node.identity.bd_seq);
        if told == Some(due) {
            return Ok(heard);
        }
        let told = told.map_or("none".to_owned(), |told| told.to_string());
        Err(Unread::refused(format!(
            "the death of a node has the bdSeq of its birth, which is {due}, and not {told}"
        )))
    }

    fn read_metrics(&self, heard: &mut Heard<'_>) -> Result<(), BirthOrValue> {
        let births = self.node.births.borrow();
        let birth = heard.birth.as_ref().or_else(|| births.of(heard.topic.device));
        let unborn = Birth::default();
        let birth = birth.unwrap_or(&unborn);
        let none = Sparkplug::default();
        let sparkplug = self.view.sparkplug.as_ref().unwrap_or(&none);
        let mut values = SparkplugValues::default();
        for metric in &heard.payload.metrics {
            let (name, born) = birth.resolve(metric)?;
            let warnings = &mut heard.warnings;
            if !is_storable_key(name) {
                warn(warnings, || "a metric has a name that is no key".to_owned());
                continue;
            }
            let Some(kind) = metric.kind(born.map(|born| born.kind)) else {
                warn(warnings, || format!("'{name}' has the type {}, which is none", metric.stated_type()));
                continue;
            };
            values.count_name(name)?;
            let Some(value) = metric.value(kind, &mut values)? else { continue };
            if metric.fills_field(kind) {
                birth.fills_fields.set(true);
            }
            if name == BD_SEQ && heard.topic.device.is_none() {
                let key = format!("{} {BD_SEQ}", heard.topic.kind());
                heard.facts.push(measurement(metric.ts(), &key, value));
            } else if sparkplug.is_attribute(name) {
                heard.attributes.push(Sample { key: name.to_owned(), value });
            } else {
                heard.points.push(Point { key: name.to_owned(), kind, ts: metric.ts(), value });
            }
        }
        Ok(())
    }

    /// Notes a gap in the numbers of the messages, and asks for the births once: what was in it is lost otherwise.
    fn follow_sequence(&self, topic: &SparkplugTopic<'_>, payload: &SparkplugPayload) {
        let mut sequence = self.node.sequence.borrow_mut();
        let is_gap = match (topic.verb, topic.device) {
            (Verb::Birth, None) => {
                sequence.begin(payload.seq);
                false
            }
            // Neither is numbered by a node.
            (Verb::Death, None) | (Verb::Command, _) => false,
            (Verb::Birth | Verb::Data | Verb::Death, _) => sequence.follow(payload.seq),
        };
        drop(sequence);
        if is_gap {
            self.session.worker.counters.sparkplug_gaps.count();
            let device = self.session.device.id();
            tracing::debug!(%device, seq = payload.seq, "Messages of a Sparkplug node are missing.");
            say::ask_births(self.session, self.node);
        } else {
            say::ask_belated(self.session, self.node);
        }
    }

    /// Whether it is the death of a device that nobody knows: it leaves nothing behind.
    fn is_of_nobody(&self, topic: &SparkplugTopic<'_>) -> bool {
        let is_unknown = |short| self.session.worker.devices.device_by_name(&self.node.full(short)).is_none();
        topic.verb == Verb::Death && topic.device.is_some_and(is_unknown)
    }

    fn take(self, heard: Heard<'_>, owed: Owed) {
        if self.is_of_nobody(&heard.topic) {
            let on_failure = self.view.on_failure(self.incoming.qos);
            return take_parts(self.session, Parts::default(), Verdict::Taken, on_failure, None, owed);
        }
        let child = match heard.topic.device {
            None => None,
            Some(short) => match self.meet(short) {
                Ok(child) => Some(child),
                Err(Unmet::Limited) => return refuse(self.session, owed),
                Err(Unmet::Refused(error)) => return self.refuse(Unread::not_accepted(&error, None), owed),
            },
        };
        let device = child.as_ref().map_or(&self.session.device, |child| &child.device).clone();
        let own = self.session.worker.view(device.profile());
        let is_decoded = own.codec.is_some() && !heard.points.is_empty();
        let frame = match is_decoded.then(|| write_frame(&heard)).transpose() {
            Ok(frame) => frame,
            Err(unread) => return self.refuse_of(Some(&device), unread, owed),
        };
        let mut facts = Decoded::default();
        let Message { session, node, received, .. } = self;
        let is_death = heard.topic.verb == Verb::Death;
        let Heard { topic, payload, birth, points, attributes, facts: said, warnings } = heard;
        facts.warnings = warnings;
        let mut say = |body| facts.uplinks.push(Uplink { child: None, body });
        if !attributes.is_empty() {
            say(UplinkBody::SharedAttributes(attributes));
        }
        let points = if frame.is_some() { Vec::new() } else { measurements(points) };
        let telemetry: Vec<Measurement> = said.into_iter().chain(points).collect();
        if !telemetry.is_empty() {
            say(UplinkBody::Telemetry(telemetry));
        }
        // In force whatever the codec says of its metrics: later messages refer to it.
        match (birth, topic.device) {
            (Some(birth), None) => node.be_born(session, birth, &payload, received),
            (Some(birth), Some(short)) => {
                node.births.borrow_mut().insert(Some(short), birth);
                node.life.borrow_mut().be_born(short, payload.timestamp.unwrap_or(received));
            }
            (None, _) => {}
        }
        self.keep(&device, &own, facts, frame.as_deref(), owed);
        let (Some(short), Some(child)) = (topic.device, child) else { return };
        if is_death {
            node.births.borrow_mut().remove(short);
            node.life.borrow_mut().remove(short);
            children::leave(session, &node.full(short));
        } else if node.births.borrow().of(Some(short)).is_some() {
            children::listen(session, &child);
        }
    }

    /// The sub-session of the device of this short name, begun if there is none.
    fn meet(&self, short: &str) -> Result<Rc<Child>, Unmet> {
        let profile = format!("{} device", self.view.name());
        let (full, profile) = (self.node.full(short), ChildProfile::Named(&profile));
        let child = children::meet(self.session, &full, profile, Some(short))?;
        child.hear(&self.session.worker, self.received);
        self.node.life.borrow_mut().hear(short, &child.device);
        Ok(child)
    }

    /// Takes responsibility for what was said. What the codec cannot use is a dead letter beside the facts.
    fn keep(
        self,
        device: &DeviceHandle,
        own: &ProfileView,
        mut facts: Decoded,
        frame: Option<&str>,
        owed: Owed,
    ) {
        let (session, incoming, received) = (self.session, self.incoming, self.received);
        let (ingest, bus) = (&session.worker.ingest, session.worker.ingest.bus());
        let payload = frame.map_or(incoming.payload, str::as_bytes);
        let shown = Incoming { payload, ..*incoming };
        let told = Told { device, view: own, incoming: &shown, received };
        let mut decoded = frame.map(|_| own.decode_brought(&session.worker, device, &shown, received, &[]));
        let read = decoded.as_mut().and_then(|decoded| decoded.as_mut().ok());
        let also = read.map(|(decoded, _)| &mut decoded.uplinks);
        if charge(session, device, &mut facts, also, received).is_err() {
            return refuse_of(session, device, owed);
        }
        let (counted, stamp) = match &decoded {
            Some(Ok((decoded, stamp))) => (decoded, Some(stamp)),
            Some(Err(_)) | None => (&facts, None),
        };
        let seen = self.watch.and_then(|watch| watch.decoded(bus, &told, counted, stamp));
        let mut parts = Parts::default();
        if let Err(error) = ingest.add(&mut parts, device, received, None, facts, None) {
            return self.refuse_of(Some(device), Unread::not_accepted(&error, None), owed);
        }
        ingest.add_device(&mut parts, device);
        let added = match decoded {
            None => Ok(()),
            Some(Err(unread)) => Err(unread),
            Some(Ok((decoded, stamp))) => {
                let raw = own.keeps_raw.then(|| shown.raw(own, None));
                let added = ingest.add(&mut parts, device, received, Some(&stamp), decoded, raw);
                added.map_err(|error| Unread::not_accepted(&error, Some(stamp)))
            }
        };
        let on_failure = self.view.on_failure(incoming.qos);
        match added {
            Ok(()) => {
                take_parts(session, parts, Verdict::Taken, on_failure, None, owed);
                Seen::tell(seen, bus);
            }
            Err(unread) => {
                if let Some(watch) = self.watch {
                    watch.failed(bus, &told, &unread);
                }
                let sender =
                    Sender { device, view: own, envelope: None, frame_received: received, on_failure };
                bury_beside(session, parts, &sender, &shown, received, unread, owed);
            }
        }
    }

    /// Nothing of it can be used.
    fn refuse(self, unread: Unread, owed: Owed) {
        self.refuse_of(None, unread, owed);
    }

    /// The same of what was said for another device, which may have been made for it.
    fn refuse_of(self, child: Option<&DeviceHandle>, unread: Unread, owed: Owed) {
        let (session, incoming, received) = (self.session, self.incoming, self.received);
        let device = &session.device;
        if let Some(watch) = self.watch {
            let told = Told { device, view: self.view, incoming, received };
            watch.failed(session.worker.ingest.bus(), &told, &unread);
        }
        let on_failure = self.view.on_failure(incoming.qos);
        let sender = Sender { device, view: self.view, envelope: None, frame_received: received, on_failure };
        let mut parts = Parts::default();
        for unsettled in [Some(device), child].into_iter().flatten() {
            session.worker.ingest.add_device(&mut parts, unsettled);
        }
        bury_beside(session, parts, &sender, incoming, received, unread, owed);
    }
}

impl Node {
    /// The node was born, or born again. From its first birth on it takes commands.
    fn be_born(&self, session: &Rc<Session>, birth: Birth, payload: &SparkplugPayload, received: Timestamp) {
        self.online.set(Some(payload.timestamp.unwrap_or(received)));
        life::void_devices(session, self);
        self.births.borrow_mut().insert(None, birth);
        self.asking.borrow_mut().be_born(Instant::now());
        if self.born.replace(Some(payload.bd_seq())).is_none() {
            session.subscriptions.borrow_mut().hear_unasked();
            rpc::note_interest(session);
        }
    }
}

/// Why metrics cannot be read.
#[derive(Debug, thiserror::Error)]
enum BirthOrValue {
    #[error(transparent)]
    Birth(#[from] BirthError),
    #[error(transparent)]
    Value(#[from] wireglot_proto::ProtoRefusal),
}

/// Adds a warning, unless there are enough of them.
fn warn(warnings: &mut Vec<String>, warning: impl FnOnce() -> String) {
    if warnings.len() < CODEC_WARNINGS_MAX {
        warnings.push(warning());
    }
}

/// Counts a message by the limits of the node, or of the device behind it: what it says, and what a codec has made of the
/// rest.
fn charge(
    session: &Session,
    device: &DeviceHandle,
    facts: &mut Decoded,
    also: Option<&mut Vec<Uplink>>,
    received: Timestamp,
) -> Result<(), RateExceeded> {
    if device.id() == session.device.id() {
        let count = facts.uplinks.len();
        let Some(also) = also else { return limit::decoded(session, Speaker::Own, facts, received) };
        // As one message, which it is.
        facts.uplinks.append(also);
        let counted = limit::decoded(session, Speaker::Own, facts, received);
        *also = facts.uplinks.split_off(count);
        return counted;
    }
    let also = also.iter().flat_map(|also| also.iter());
    limit::charge_child(session, Some(device), Charge::of(facts.uplinks.iter().chain(also)))
}

/// Points that share a time are one measurement.
fn measurements(points: Vec<Point>) -> Vec<Measurement> {
    let mut measurements: Vec<Measurement> = Vec::new();
    for Point { key, ts, value, .. } in points {
        let sample = Sample { key, value };
        match measurements.last_mut() {
            Some(last) if last.ts == ts => last.samples.push(sample),
            Some(_) | None => measurements.push(Measurement { ts, samples: vec![sample] }),
        }
    }
    measurements
}

/// The message as codecs get it: `{"type":"DDATA","group":…,"node":…,"device":…,"timestamp":…,"seq":…,"metrics":[{"name":…,
/// "type":…,"timestamp":…,"value":…},…]}`. What is an attribute, or the server's own, is not among the metrics. What
/// becomes too long for that is refused.
fn write_frame(heard: &Heard<'_>) -> Result<String, Unread> {
    let SparkplugTopic { group, node, device, .. } = heard.topic;
    let number = |number: Option<i64>| number.map_or("null".to_owned(), |number| number.to_string());
    let mut out = format!("{{\"type\":\"{}\",\"group\":", heard.topic.kind());
    write_json_string(group, &mut out);
    out.push_str(",\"node\":");
    write_json_string(node, &mut out);
    out.push_str(",\"device\":");
    match device {
        Some(device) => write_json_string(device, &mut out),
        None => out.push_str("null"),
    }
    let seq = heard.payload.seq.and_then(|seq| i64::try_from(seq).ok());
    let timestamp = heard.payload.timestamp.map(|ts| ts.0);
    out.push_str(&format!(",\"timestamp\":{},\"seq\":{},\"metrics\":[", number(timestamp), number(seq)));
    for (index, point) in heard.points.iter().enumerate() {
        out.push_str(if index == 0 { "{\"name\":" } else { ",{\"name\":" });
        write_json_string(&point.key, &mut out);
        let timestamp = number(point.ts.map(|ts| ts.0));
        out.push_str(&format!(",\"type\":\"{}\",\"timestamp\":{timestamp},\"value\":", point.kind.name()));
        point.value.write_json(&mut out);
        out.push('}');
        if out.len() > PROTO_JSON_BYTES_MAX {
            return Err(Unread::refused(format!(
                "the metrics become more than {PROTO_JSON_BYTES_MAX} bytes of JSON for the codec"
            )));
        }
    }
    out.push_str("]}");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_bounded() {
        let mut warnings = Vec::new();
        (0..CODEC_WARNINGS_MAX + 5).for_each(|number| warn(&mut warnings, || number.to_string()));
        assert_eq!(warnings.len(), CODEC_WARNINGS_MAX);
        warn(&mut warnings, || unreachable!("one that has no room is not even written"));
    }
}
