//! One worker's door into the domain: what becomes of a message, whatever it was made of.
//!
//! A message is kept as a whole or not at all: everything is checked before anything is changed, and all changes are
//! one batch. What is known to be unchanged is not written.

use std::cell::RefCell;
use std::future::Future;
use std::task::{Context, Poll};

use wireglot_bus::{Bus, Kinds};
use wireglot_model::limits::SECRET_BYTES_MAX;
use wireglot_model::{
    CodecStamp, DeadLetter, DeadLetterBounds, Decoded, DeviceId, Downlink, Envelope, FrameTrace, ProfileId,
    RawFrame, Sample, Scope, Timestamp, Uplink, UplinkBody,
};
use wireglot_store::{Batch, Committed, Lane, LaneDriver};

use crate::Devices;
use crate::attributes;
use crate::error::{AcceptError, DeviceError};
use crate::registry::DeviceHandle;
use crate::telemetry::{announce, has_valid_keys, is_valid_key};

/// A message was accepted: what it changes is durable, and so is what it repeats.
#[must_use = "a positive acknowledgement is made of this"]
#[derive(Debug)]
pub struct Accepted(Committed);

/// The registry as one worker uses it. `T` is what the worker finishes when a message is durable.
pub struct DeviceWorker<T> {
    devices: Devices,
    lane: Lane<Pending<T>>,
    driver: RefCell<Option<LaneDriver<Pending<T>>>>,
}

/// A message on its way to the disk.
struct Pending<T> {
    then: T,
    /// What is to be done here first; most messages leave nothing to do.
    rest: Option<Box<After>>,
}

/// What follows the commit of a message.
pub(crate) struct After {
    targets: Vec<Target>,
    received: Timestamp,
    codec: Option<CodecStamp>,
    uplinks: Vec<Uplink>,
    answers: Vec<Downlink>,
    /// What follows the other parts of a message about several devices.
    others: Vec<After>,
}

/// A message about several devices on its way to the disk: all of its parts become durable together.
#[derive(Default)]
pub struct Parts {
    batch: Batch,
    rest: Vec<After>,
    /// How many followings had begun before the first part was looked at.
    followings: Option<u64>,
}

/// A frame that its profile keeps as it came.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    pub profile: ProfileId,
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub envelope: Option<Envelope>,
}

/// A device that the message changes, and its save that has to go into the same batch.
struct Target {
    device: DeviceHandle,
    unsettled: Option<u64>,
}

/// How a message ended: the proof, and the answers that it asked for.
pub type Outcome = Result<(Accepted, Vec<Downlink>), AcceptError>;

impl Devices {
    /// The door for one worker; call it on the worker's thread and spawn its driver there.
    pub fn worker<T>(&self) -> DeviceWorker<T> {
        let (lane, driver) = self.0.store.lane();
        DeviceWorker { devices: self.clone(), lane, driver: RefCell::new(Some(driver)) }
    }
}

impl<T> DeviceWorker<T> {
    /// Gives each message that is done to `finish`, in the order in which they came. To be spawned once, on the worker.
    pub fn driver<F: FnMut(T, Outcome)>(&self, mut finish: F) -> impl Future<Output = ()> + use<T, F> {
        let driver = self.driver.borrow_mut().take();
        let devices = self.devices.clone();
        async move {
            let Some(driver) = driver else { return };
            driver
                .run(|Pending { then, rest }, committed| match committed {
                    Ok(proof) => {
                        let answers = rest.map_or_else(Vec::new, |rest| rest.settle(&devices.0.bus));
                        finish(then, Ok((Accepted(proof), answers)));
                    }
                    Err(error) => finish(then, Err(error.into())),
                })
                .await;
        }
    }

    /// Takes responsibility for what a device said: `then` comes out of the driver when it is durable. What cannot be
    /// accepted gives it back at once.
    pub fn accept(
        &self,
        device: &DeviceHandle,
        received: Timestamp,
        codec: Option<&CodecStamp>,
        decoded: Decoded,
        raw: Option<Raw<'_>>,
        then: T,
    ) -> Result<(), (AcceptError, T)> {
        let mut batch = Batch::default();
        let (followings, about) = (self.bus().followings(), only_about(device, &decoded));
        match self.devices.prepare(device, received, codec, decoded, raw, &mut batch) {
            Ok(rest) => {
                let submitted = self.submit(batch, rest.map(Box::new), then);
                self.bus().tell_newcomers(about, followings);
                submitted
            }
            Err(error) => Err((error, then)),
        }
    }

    /// Adds what `device` says to a message about several. A part that is not accepted changes nothing.
    pub fn add(
        &self,
        parts: &mut Parts,
        device: &DeviceHandle,
        received: Timestamp,
        codec: Option<&CodecStamp>,
        decoded: Decoded,
        raw: Option<Raw<'_>>,
    ) -> Result<(), AcceptError> {
        parts.followings.get_or_insert_with(|| self.bus().followings());
        let before = parts.batch.len();
        let after = self.devices.prepare(device, received, codec, decoded, raw, &mut parts.batch)?;
        if parts.batch.len() == before {
            self.add_device(parts, device);
        }
        parts.rest.extend(after);
        Ok(())
    }

    /// Adds a device, where it is not known to be in the store as it is now.
    pub fn add_device(&self, parts: &mut Parts, device: &DeviceHandle) {
        parts.rest.extend(unsettled(device));
    }

    /// Adds a part that was not decoded or not accepted.
    pub fn add_letter(&self, parts: &mut Parts, letter: DeadLetter, bounds: DeadLetterBounds) {
        parts.batch.dead_letter(letter, bounds);
    }

    /// Keeps a frame of `device` that was not decoded, as it came.
    pub fn add_raw(
        &self,
        parts: &mut Parts,
        device: &DeviceHandle,
        received: Timestamp,
        codec: Option<&CodecStamp>,
        raw: Raw<'_>,
    ) {
        let frame = raw.frame(device.id(), received, codec, Vec::new());
        parts.batch.raw_frame(self.devices.next_raw_number(), &frame);
    }

    /// Takes responsibility for a message about several devices; as `accept` otherwise.
    pub fn accept_parts(&self, parts: Parts, then: T) -> Result<(), (AcceptError, T)> {
        let Parts { batch, rest, followings } = parts;
        let mut rest = rest.into_iter();
        let first = rest.next().map(|first| Box::new(After { others: rest.collect(), ..first }));
        let submitted = self.submit(batch, first, then);
        if let Some(followings) = followings {
            self.bus().tell_newcomers(None, followings);
        }
        submitted
    }

    /// Keeps nothing: `then` comes out of the driver after everything that came before it.
    pub fn follow(&self, then: T) -> Result<(), (AcceptError, T)> {
        self.submit(Batch::default(), None, then)
    }

    fn submit(&self, mut batch: Batch, rest: Option<Box<After>>, then: T) -> Result<(), (AcceptError, T)> {
        let is_unsettled = rest.as_ref().is_some_and(|rest| rest.has_unsettled());
        // Devices that are new or changed go along as they are now. Until the batch is queued nobody changes one, or what
        // was changed meanwhile would be undone.
        let _order = is_unsettled.then(|| self.devices.0.tables.read());
        if let Some(rest) = rest.as_ref().filter(|_| is_unsettled) {
            rest.put_unsettled(&mut batch);
        }
        let submitted = self.lane.submit(batch, Pending { then, rest });
        submitted.map_err(|(error, pending)| (error.into(), pending.then))
    }

    /// Where live events are told.
    pub fn bus(&self) -> &Bus {
        &self.devices.0.bus
    }

    /// Resolves when the next message may be read.
    pub fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        self.lane.poll_room(context)
    }

    /// The answer to a request for attributes.
    pub fn attribute_response(
        &self,
        device: &DeviceHandle,
        id: i32,
        client_keys: &[String],
        shared_keys: &[String],
    ) -> Downlink {
        attributes::answer(device, id, client_keys, shared_keys)
    }
}

impl Raw<'_> {
    pub(crate) fn frame(
        self,
        device: DeviceId,
        received: Timestamp,
        codec: Option<&CodecStamp>,
        traces: Vec<FrameTrace>,
    ) -> RawFrame {
        RawFrame {
            device,
            profile: self.profile,
            topic: self.topic.to_owned(),
            payload: self.payload.to_vec(),
            envelope: self.envelope,
            received,
            codec: codec.cloned(),
            traces,
        }
    }
}

impl Devices {
    /// Queues a message, with the devices of it that are not known to be in the store as they are now.
    pub(crate) fn queue_after(
        &self,
        mut batch: Batch,
        after: Option<&After>,
    ) -> impl Future<Output = Result<(), DeviceError>> + Send + 'static + use<> {
        let _order = self.0.tables.read();
        if let Some(after) = after {
            after.put_unsettled(&mut batch);
        }
        self.0.queue(batch)
    }

    /// Checks the message and puts it into `batch` in the form in which it is stored.
    pub(crate) fn prepare(
        &self,
        device: &DeviceHandle,
        received: Timestamp,
        codec: Option<&CodecStamp>,
        decoded: Decoded,
        raw: Option<Raw<'_>>,
        batch: &mut Batch,
    ) -> Result<Option<After>, AcceptError> {
        self.check(device, &decoded.uplinks)?;
        let before = batch.len();
        let mut answers = Vec::new();
        let mut targets = Vec::with_capacity(decoded.uplinks.len());
        for uplink in &decoded.uplinks {
            // Before anything is kept: one that cannot be made refuses the whole message.
            let device = match &uplink.child {
                None => device.clone(),
                Some(name) => self.child(device, name, received)?,
            };
            targets.push(Target { device, unsettled: None });
        }
        // Nobody listens, as a rule: then one load tells so.
        let bus = &self.0.bus;
        let mut is_followed = bus.wants(Kinds::TELEMETRY)
            && targets.iter().any(|target| bus.is_heard(target.device.id(), Kinds::TELEMETRY));
        for (Target { device: target, .. }, uplink) in targets.iter().zip(&decoded.uplinks) {
            keep(target, received, codec, &uplink.body, batch, &mut answers);
            if let UplinkBody::Claim { secret, duration_ms } = &uplink.body {
                self.register_claim(target, secret, *duration_ms, received, batch);
            }
            if let UplinkBody::RpcResponse { id, payload } = &uplink.body {
                self.0.rpcs.respond(target.id(), *id, payload, received, batch);
            }
            is_followed |= matches!(uplink.body, UplinkBody::Attributes(_) | UplinkBody::SharedAttributes(_));
        }
        let is_empty = batch.len() == before;
        if !is_empty {
            for target in &mut targets {
                target.unsettled = target.device.unsettled();
                is_followed |= target.unsettled.is_some();
            }
        }
        is_followed |= !answers.is_empty();
        if let Some(raw) = raw {
            let traces = targets.iter().zip(&decoded.uplinks);
            let traces = traces.filter_map(|(target, uplink)| trace(&target.device, received, &uplink.body));
            let frame = raw.frame(device.id(), received, codec, traces.collect());
            batch.raw_frame(self.next_raw_number(), &frame);
        }
        let after = is_followed.then(|| {
            let uplinks = if is_empty { Vec::new() } else { decoded.uplinks };
            After { targets, received, codec: codec.cloned(), uplinks, answers, others: Vec::new() }
        });
        Ok(after)
    }

    /// Refuses the message as a whole if any part of it cannot be accepted; changes nothing.
    pub(crate) fn check(&self, device: &DeviceHandle, uplinks: &[Uplink]) -> Result<(), AcceptError> {
        if device.is_deleted() {
            return Err(AcceptError::Deleted);
        }
        for uplink in uplinks {
            if let Some(name) = &uplink.child {
                self.check_child(device, name)?;
            }
            match &uplink.body {
                UplinkBody::Telemetry(measurements) => {
                    if !measurements.iter().all(has_valid_keys) {
                        return Err(AcceptError::InvalidKey);
                    }
                }
                UplinkBody::Attributes(samples) => match &uplink.child {
                    None => check_attributes(Some(device), Scope::Client, samples)?,
                    Some(name) => {
                        check_attributes(self.device_by_name(name).as_ref(), Scope::Client, samples)?;
                    }
                },
                // No codec says so of a device behind it.
                UplinkBody::SharedAttributes(samples) => {
                    check_attributes(Some(device), Scope::Shared, samples)?;
                }
                UplinkBody::AttributeRequest { .. } => {
                    if uplink.child.is_some() {
                        let what = "attribute requests of devices behind a gateway";
                        return Err(AcceptError::Unsupported(what));
                    }
                }
                // There is nothing to keep of it; who asks for it to be accepted answers it.
                UplinkBody::ClientRpc { .. } => {
                    if uplink.child.is_some() {
                        let what = "client-side RPCs of devices behind a gateway";
                        return Err(AcceptError::Unsupported(what));
                    }
                }
                // An answer that nobody waits for is ignored.
                UplinkBody::RpcResponse { .. } => {}
                UplinkBody::Claim { secret, .. } => {
                    if secret.len() > SECRET_BYTES_MAX {
                        return Err(AcceptError::SecretTooLong);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Target {
    fn settle(&self) {
        if let Some(save) = self.unsettled {
            self.device.settle(save);
        }
    }
}

impl After {
    fn has_unsettled(&self) -> bool {
        self.targets.iter().any(|target| target.unsettled.is_some())
            || self.others.iter().any(Self::has_unsettled)
    }

    fn put_unsettled(&self, batch: &mut Batch) {
        for target in self.targets.iter().filter(|target| target.unsettled.is_some()) {
            if !target.device.is_deleted() {
                target.device.put_into(batch);
            }
        }
        self.others.iter().for_each(|other| other.put_unsettled(batch));
    }

    /// After the commit: remembers what is durable now, and tells whoever listens.
    pub(crate) fn settle(self, bus: &Bus) -> Vec<Downlink> {
        let Self { targets, received, codec, uplinks, answers, others } = self;
        targets.iter().for_each(Target::settle);
        for (target, uplink) in targets.iter().zip(uplinks) {
            let device = &target.device;
            match uplink.body {
                UplinkBody::Telemetry(measurements) => {
                    announce(bus, device, received, codec.as_ref(), measurements);
                }
                UplinkBody::Attributes(samples) => {
                    settle_attributes(bus, device, received, Scope::Client, samples);
                }
                UplinkBody::SharedAttributes(samples) => {
                    settle_attributes(bus, device, received, Scope::Shared, samples);
                }
                UplinkBody::RpcResponse { .. }
                | UplinkBody::AttributeRequest { .. }
                | UplinkBody::ClientRpc { .. }
                | UplinkBody::Claim { .. } => {}
            }
        }
        // What devices behind a gateway ask for is answered by the gateway's session.
        others.into_iter().for_each(|other| drop(other.settle(bus)));
        answers
    }
}

/// The device that a message is about, unless it is about some behind it too.
pub(crate) fn only_about(device: &DeviceHandle, decoded: &Decoded) -> Option<DeviceId> {
    decoded.uplinks.iter().all(|uplink| uplink.child.is_none()).then(|| device.id())
}

/// That `device` goes into the batch, where it is not known to be in the store as it is now.
fn unsettled(device: &DeviceHandle) -> Option<After> {
    let save = device.unsettled().filter(|_| !device.is_deleted())?;
    Some(After {
        targets: vec![Target { device: device.clone(), unsettled: Some(save) }],
        received: Timestamp(0),
        codec: None,
        uplinks: Vec::new(),
        answers: Vec::new(),
        others: Vec::new(),
    })
}

fn settle_attributes(
    bus: &Bus,
    device: &DeviceHandle,
    received: Timestamp,
    scope: Scope,
    samples: Vec<Sample>,
) {
    device.state.attributes.lock().settle(scope, &samples);
    attributes::announce(bus, device, received, scope, &samples);
}

fn check_attributes(
    known: Option<&DeviceHandle>,
    scope: Scope,
    samples: &[Sample],
) -> Result<(), AcceptError> {
    if !samples.iter().all(|sample| is_valid_key(&sample.key)) {
        return Err(AcceptError::InvalidKey);
    }
    let has_room = match known {
        Some(device) => device.state.attributes.lock().has_room(scope, samples),
        None => attributes::Attributes::default().has_room(scope, samples),
    };
    if has_room { Ok(()) } else { Err(AcceptError::TooManyAttributes) }
}

/// Where the values of one part of a message will lie.
pub(crate) fn trace(device: &DeviceHandle, received: Timestamp, body: &UplinkBody) -> Option<FrameTrace> {
    let UplinkBody::Telemetry(measurements) = body else { return None };
    let times = || measurements.iter().map(|measurement| measurement.ts.unwrap_or(received));
    Some(FrameTrace { device: device.id(), first: times().min()?, last: times().max()? })
}

/// Puts one part of a message into the batch or among the answers.
fn keep(
    device: &DeviceHandle,
    received: Timestamp,
    codec: Option<&CodecStamp>,
    body: &UplinkBody,
    batch: &mut Batch,
    answers: &mut Vec<Downlink>,
) {
    match body {
        UplinkBody::Telemetry(measurements) => {
            if measurements.iter().any(|measurement| !measurement.samples.is_empty()) {
                batch.telemetry(device.id(), received, codec, measurements);
            }
        }
        UplinkBody::Attributes(samples) => {
            let mut held = device.state.attributes.lock();
            held.write_changes(device.id(), Scope::Client, samples, received, batch);
        }
        UplinkBody::SharedAttributes(samples) => {
            let mut held = device.state.attributes.lock();
            held.write_changes(device.id(), Scope::Shared, samples, received, batch);
        }
        UplinkBody::AttributeRequest { id, client_keys, shared_keys } => {
            answers.push(attributes::answer(device, *id, client_keys, shared_keys));
        }
        UplinkBody::RpcResponse { .. } | UplinkBody::ClientRpc { .. } | UplinkBody::Claim { .. } => {}
    }
}
