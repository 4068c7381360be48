//! One worker's door into the domain: what becomes of a message, whatever it was made of.
//!
//! A message is kept as a whole or not at all: everything is checked before anything is changed, and all changes are
//! one batch. What is known to be unchanged is not written.

use std::cell::RefCell;
use std::future::Future;

use wireglot_bus::Event;
use wireglot_model::{
    CodecStamp, DeadLetter, Decoded, Downlink, Sample, Scope, Timestamp, Uplink, UplinkBody,
};
use wireglot_store::{Batch, Committed, Lane, LaneDriver};

use crate::Devices;
use crate::attributes;
use crate::error::AcceptError;
use crate::registry::DeviceHandle;
use crate::telemetry::{announce, has_valid_keys, is_valid_key};

/// A message was accepted: what it changes is durable. `None` only where nothing had to be kept.
#[must_use = "a positive acknowledgement is made of this"]
#[derive(Debug)]
pub struct Accepted(#[expect(dead_code, reason = "it is a proof, not a value")] Option<Committed>);

/// The registry as one worker uses it.
pub struct DeviceWorker {
    devices: Devices,
    lane: Lane,
    driver: RefCell<Option<LaneDriver>>,
}

/// A device that the message changes, and its save that has to go into the same batch.
struct Target {
    device: DeviceHandle,
    unsettled: Option<u64>,
}

impl Devices {
    /// The door for one worker; call it on the worker's thread and spawn its driver there.
    pub fn worker(&self) -> DeviceWorker {
        let (lane, driver) = self.0.store.lane();
        DeviceWorker { devices: self.clone(), lane, driver: RefCell::new(Some(driver)) }
    }
}

impl DeviceWorker {
    /// Wakes this worker's waiting messages after each commit. To be spawned once, on the worker.
    pub fn driver(&self) -> impl Future<Output = ()> + 'static + use<> {
        let driver = self.driver.borrow_mut().take();
        async move {
            if let Some(driver) = driver {
                driver.await;
            }
        }
    }

    /// Takes responsibility for what a device said, and gives the answers that it asked for.
    pub async fn accept(
        &self,
        device: &DeviceHandle,
        received: Timestamp,
        codec: Option<&CodecStamp>,
        decoded: Decoded,
    ) -> Result<(Accepted, Vec<Downlink>), AcceptError> {
        self.check(device, &decoded.uplinks)?;
        let mut batch = Batch::default();
        let mut targets = Vec::with_capacity(decoded.uplinks.len());
        let mut answers = Vec::new();
        for uplink in &decoded.uplinks {
            let target = match &uplink.child {
                None => device.clone(),
                Some(name) => self.devices.child(device, name, received)?,
            };
            keep(&target, received, codec, &uplink.body, &mut batch, &mut answers);
            targets.push(Target { device: target, unsettled: None });
        }
        if batch.is_empty() {
            return Ok((Accepted(None), answers));
        }
        for target in &mut targets {
            target.unsettled = target.device.unsettled();
            if target.unsettled.is_some() {
                target.device.put_into(&mut batch);
            }
        }
        let committed = self.lane.commit(batch).await?;
        self.settle(&targets, received, codec, decoded.uplinks);
        Ok((Accepted(Some(committed)), answers))
    }

    /// Keeps a payload that was not decoded, durably.
    pub async fn bury(&self, letter: DeadLetter) -> Result<Accepted, AcceptError> {
        let mut batch = Batch::default();
        batch.dead_letter(&letter);
        let committed = self.lane.commit(batch).await?;
        if self.devices.0.bus.has_listeners() {
            self.devices.0.bus.announce(Event::Failed {
                device: letter.device,
                device_name: letter.device_name.into(),
                profile: letter.profile.into(),
                topic: letter.topic,
                ts: letter.received,
                codec: letter.codec,
                stage: letter.stage,
                reason: letter.reason,
                payload_bytes: letter.payload.len(),
            });
        }
        Ok(Accepted(Some(committed)))
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

    /// Refuses the message as a whole if any part of it cannot be accepted; changes nothing.
    fn check(&self, device: &DeviceHandle, uplinks: &[Uplink]) -> Result<(), AcceptError> {
        if device.is_deleted() {
            return Err(AcceptError::Deleted);
        }
        for uplink in uplinks {
            if let Some(name) = &uplink.child {
                self.devices.check_child(device, name)?;
            }
            match &uplink.body {
                UplinkBody::Telemetry(measurements) => {
                    if !measurements.iter().all(has_valid_keys) {
                        return Err(AcceptError::InvalidKey);
                    }
                }
                UplinkBody::Attributes(samples) => match &uplink.child {
                    None => check_attributes(Some(device), samples)?,
                    Some(name) => check_attributes(self.devices.device_by_name(name).as_ref(), samples)?,
                },
                UplinkBody::AttributeRequest { .. } => {
                    if uplink.child.is_some() {
                        let what = "attribute requests of devices behind a gateway";
                        return Err(AcceptError::Unsupported(what));
                    }
                }
                UplinkBody::ClientRpc { .. } => return Err(AcceptError::Unsupported("client-side RPCs")),
                // No server-side RPC can be waiting for this answer, and an unknown one is ignored.
                UplinkBody::RpcResponse { .. } => {}
            }
        }
        Ok(())
    }

    /// After the commit: remembers what is durable now, and tells whoever listens.
    fn settle(
        &self,
        targets: &[Target],
        received: Timestamp,
        codec: Option<&CodecStamp>,
        uplinks: Vec<Uplink>,
    ) {
        let bus = &self.devices.0.bus;
        for (target, uplink) in targets.iter().zip(uplinks) {
            let device = &target.device;
            if let Some(save) = target.unsettled {
                device.settle(save);
            }
            match uplink.body {
                UplinkBody::Telemetry(measurements) => announce(bus, device, received, codec, measurements),
                UplinkBody::Attributes(samples) => {
                    device.state.attributes.lock().settle(Scope::Client, &samples);
                    if bus.has_listeners() {
                        bus.announce(Event::Attributes {
                            device: device.id(),
                            device_name: device.name(),
                            ts: received,
                            scope: Scope::Client,
                            samples,
                        });
                    }
                }
                UplinkBody::RpcResponse { .. }
                | UplinkBody::AttributeRequest { .. }
                | UplinkBody::ClientRpc { .. } => {}
            }
        }
    }
}

fn check_attributes(known: Option<&DeviceHandle>, samples: &[Sample]) -> Result<(), AcceptError> {
    if !samples.iter().all(|sample| is_valid_key(&sample.key)) {
        return Err(AcceptError::InvalidKey);
    }
    let has_room = match known {
        Some(device) => device.state.attributes.lock().has_room(Scope::Client, samples),
        None => attributes::Attributes::default().has_room(Scope::Client, samples),
    };
    if has_room { Ok(()) } else { Err(AcceptError::TooManyAttributes) }
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
        UplinkBody::AttributeRequest { id, client_keys, shared_keys } => {
            answers.push(attributes::answer(device, *id, client_keys, shared_keys));
        }
        UplinkBody::RpcResponse { .. } | UplinkBody::ClientRpc { .. } => {}
    }
}
