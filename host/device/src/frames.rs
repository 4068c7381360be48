//! Frames that are kept: dead letters and raw frames, and what becomes of them when they are decoded again.
//!
//! A letter leaves in the commit that stores what it was decoded into, so it is stored once however often that is
//! tried. A raw frame stays, and its values take the place of those that were made of it before; trying that again
//! changes nothing more. Attributes are not a history: an older frame never overwrites a newer value.
//!
//! Nothing here may run on a worker.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use wireglot_model::{
    CodecStamp, DeadLetter, Decoded, DeviceId, FrameTrace, ProfileId, RawFrame, Scope, Timestamp, Uplink,
    UplinkBody, Value,
};
use wireglot_store::{Batch, LetterFilter, RawKey, RawPage, Removal};

use crate::Devices;
use crate::error::{AcceptError, DeviceError};
use crate::registry::DeviceHandle;
use crate::worker::{only_about, trace};

/// A raw frame that was decoded again.
#[derive(Clone, Debug)]
pub struct Again {
    pub key: RawKey,
    pub frame: RawFrame,
    pub codec: CodecStamp,
    pub decoded: Decoded,
}

/// Where a value stands.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The device's name.
    pub device: String,
    pub ts: Timestamp,
    pub key: String,
}

/// What a replay does to one value.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    pub place: Place,
    pub old: Option<Value>,
    pub new: Option<Value>,
}

/// Values by where they stand.
type Values = BTreeMap<Place, Value>;

impl Devices {
    /// Payloads that were not decoded, newest first, with their sequence numbers. Reads the disk.
    pub fn dead_letters(
        &self,
        filter: &LetterFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, DeadLetter)>, DeviceError> {
        Ok(self.0.store.dead_letters(filter, before, limit)?)
    }

    /// The sequence numbers of those that the filter may let through, oldest first. Ask `LetterFilter::holds` of each.
    pub fn dead_letter_sequences(&self, filter: &LetterFilter) -> Vec<u64> {
        self.0.store.dead_letter_sequences(filter)
    }

    /// Those of these dead letters that are still there and that the filter lets through. Reads the disk.
    pub fn dead_letters_of(
        &self,
        filter: &LetterFilter,
        sequences: &[u64],
    ) -> Result<Vec<(u64, DeadLetter)>, DeviceError> {
        let mut found = Vec::new();
        for sequence in sequences {
            if let Some(letter) = self.0.store.dead_letter(*sequence)?.filter(|letter| filter.holds(letter)) {
                found.push((*sequence, letter));
            }
        }
        Ok(found)
    }

    /// One of them.
    pub fn dead_letter(&self, sequence: u64) -> Result<DeadLetter, DeviceError> {
        self.0.store.dead_letter(sequence)?.ok_or(DeviceError::NotFound)
    }

    /// Drops dead letters; those that are gone are no error.
    pub async fn delete_dead_letters(&self, sequences: &[u64]) -> Result<(), DeviceError> {
        let mut batch = Batch::default();
        sequences.iter().for_each(|sequence| batch.delete_dead_letter(*sequence));
        self.0.queue(batch).await
    }

    /// Raw frames of a profile in whole units, and from where to go on. Reads the disk.
    pub fn raw_frames(
        &self,
        profile: ProfileId,
        from: Timestamp,
        until: Timestamp,
        count: usize,
    ) -> Result<RawPage, DeviceError> {
        Ok(self.0.store.raw_frames(profile, from, until, count)?)
    }

    /// When the last `count` raw frames of a profile begin, of those before `until`. Reads the disk.
    pub fn raw_frames_begin(
        &self,
        profile: ProfileId,
        until: Timestamp,
        count: usize,
    ) -> Result<Option<Timestamp>, DeviceError> {
        Ok(self.0.store.raw_frames_begin(profile, until, count)?)
    }

    /// Takes what a dead letter was decoded into, and drops the letter in the same commit. Queues at once; the future
    /// waits for the disk. Reads the disk.
    pub fn revive(
        &self,
        sequence: u64,
        letter: &DeadLetter,
        codec: Option<&CodecStamp>,
        mut decoded: Decoded,
    ) -> Result<impl Future<Output = Result<(), DeviceError>> + use<>, ReviveError> {
        let device = self.device(letter.device).ok_or(AcceptError::Deleted)?;
        self.drop_stale(&device, &mut decoded, letter.received);
        let raw = self.raw_of(letter)?.map(|raw| (raw, decoded.clone()));
        let mut batch = Batch::default();
        let (followings, about) = (self.0.bus.followings(), only_about(&device, &decoded));
        let after = self.prepare(&device, letter.received, codec, decoded, None, &mut batch)?;
        if let Some(((key, frame), decoded)) = raw {
            // A later replay of the raw frame has to find what is stored now.
            let traces = union(&frame.traces, self.traces(&device, letter.received, &decoded));
            batch.raw_frame(key.number, &RawFrame { traces, codec: codec.cloned(), ..frame });
        }
        batch.delete_dead_letter(sequence);
        let committed = self.queue_after(batch, after.as_ref());
        self.0.bus.tell_newcomers(about, followings);
        let bus = self.0.bus.clone();
        Ok(async move {
            committed.await?;
            // What the frame asks for is answered to nobody: it was asked long ago.
            after.map(|after| after.settle(&bus));
            Ok(())
        })
    }

    /// The raw frame that became this letter, where its profile keeps them.
    fn raw_of(&self, letter: &DeadLetter) -> Result<Option<(RawKey, RawFrame)>, DeviceError> {
        let (from, until) = (letter.received, Timestamp(letter.received.0.saturating_add(1)));
        let (frames, _) = self.raw_frames(letter.profile_id, from, until, usize::MAX)?;
        let is_same = |(_, frame): &(RawKey, RawFrame)| {
            frame.device == letter.device
                && frame.topic == letter.topic
                && frame.payload == letter.payload
                && frame.codec == letter.codec
        };
        Ok(frames.into_iter().find(is_same))
    }

    /// Refuses what may not be stored; changes nothing.
    pub fn check_again(&self, device: DeviceId, decoded: &Decoded) -> Result<(), AcceptError> {
        let device = self.device(device).ok_or(AcceptError::Deleted)?;
        self.check(&device, &decoded.uplinks)
    }

    /// What would change if these units took the place of what is stored; and what would stay. Reads the disk.
    pub fn compare(&self, frames: &[Again]) -> Result<(Vec<Change>, u64), DeviceError> {
        let (mut old, new) = (self.stored(frames)?, self.decoded(frames));
        let (mut changes, mut same) = (Vec::new(), 0);
        for (place, new) in new {
            match old.remove(&place) {
                Some(old) if old == new => same += 1,
                old => changes.push(Change { place, old, new: Some(new) }),
            }
        }
        changes.extend(old.into_iter().map(|(place, old)| Change { place, old: Some(old), new: None }));
        Ok((changes, same))
    }

    /// What is stored of these units now.
    fn stored(&self, frames: &[Again]) -> Result<Values, DeviceError> {
        let mut values = Values::new();
        let traces = frames.iter().flat_map(|again| &again.frame.traces);
        for removal in removals(frames, traces) {
            let Some(device) = self.device(removal.device) else { continue };
            let until = Timestamp(removal.last.0.saturating_add(1));
            let messages = self.0.store.messages(removal.device, removal.first, until, usize::MAX)?;
            for message in messages {
                if message.codec.is_some() && removal.received.contains(&message.received) {
                    for sample in message.samples {
                        let place =
                            Place { device: device.name().to_string(), ts: message.ts, key: sample.key };
                        values.insert(place, sample.value);
                    }
                }
            }
        }
        Ok(values)
    }

    /// What these units are decoded into now.
    fn decoded(&self, frames: &[Again]) -> Values {
        let mut values = Values::new();
        for again in frames {
            let own = self.device(again.frame.device).map(|device| device.name().to_string());
            for uplink in &again.decoded.uplinks {
                let Some(name) = uplink.child.clone().or_else(|| own.clone()) else { continue };
                let UplinkBody::Telemetry(measurements) = &uplink.body else { continue };
                for measurement in measurements {
                    let ts = measurement.ts.unwrap_or(again.frame.received);
                    for sample in &measurement.samples {
                        let place = Place { device: name.clone(), ts, key: sample.key.clone() };
                        values.insert(place, sample.value.clone());
                    }
                }
            }
        }
        values
    }

    /// Puts what whole units were decoded into in the place of what was made of them before. Waits for the disk.
    pub async fn revise(&self, frames: &[Again]) -> Result<(), ReviveError> {
        let (mut rows, mut side) = (Batch::default(), Batch::default());
        let (mut traces, mut afters, mut saves) = (Vec::new(), Vec::new(), Vec::new());
        for again in frames {
            let Again { key, frame, codec, decoded } = again;
            let device = self.device(frame.device).ok_or(AcceptError::Deleted)?;
            self.check(&device, &decoded.uplinks)?;
            let mut now = Vec::new();
            for uplink in &decoded.uplinks {
                let target = match &uplink.child {
                    None => device.clone(),
                    Some(name) => self.child(&device, name, frame.received)?,
                };
                now.extend(trace(&target, frame.received, &uplink.body));
                match &uplink.body {
                    UplinkBody::Telemetry(measurements) => {
                        rows.telemetry(target.id(), frame.received, Some(codec), measurements);
                    }
                    UplinkBody::Attributes(samples) => {
                        let mut held = target.state.attributes.lock();
                        let samples = held.not_newer(samples, frame.received);
                        held.write_changes(target.id(), Scope::Client, &samples, frame.received, &mut side);
                        afters.push((target.clone(), samples));
                    }
                    // What is decoded again comes from a codec, whose contract has none.
                    UplinkBody::SharedAttributes(_)
                    | UplinkBody::RpcResponse { .. }
                    | UplinkBody::AttributeRequest { .. }
                    | UplinkBody::ClientRpc { .. }
                    | UplinkBody::Claim { .. } => {}
                }
                if let Some(save) = target.unsettled() {
                    target.put_into(&mut side);
                    saves.push((target, save));
                }
            }
            // Noted before the values move: whoever is cut off in between finds both the old and the new ones.
            let frame =
                RawFrame { traces: union(&frame.traces, now), codec: Some(codec.clone()), ..frame.clone() };
            side.raw_frame(key.number, &frame);
            traces.extend(frame.traces);
        }
        self.0.queue(side).await?;
        saves.iter().for_each(|(device, save)| device.settle(*save));
        for (device, samples) in afters {
            device.state.attributes.lock().settle(Scope::Client, &samples);
        }
        let draft = self.0.store.draft(&rows).map_err(DeviceError::from)?;
        let defined = self.0.store.define().await.map_err(DeviceError::from)?;
        let removals = removals(frames, traces.iter());
        self.0.store.revise(&removals, &draft, defined).map_err(DeviceError::from)?;
        removals.iter().for_each(|removal| self.0.bus.refresh(removal.device));
        Ok(self.delete_letters_of(frames).await?)
    }

    /// Drops the dead letters that these frames once became.
    async fn delete_letters_of(&self, frames: &[Again]) -> Result<(), DeviceError> {
        let mut gone = Vec::new();
        for again in frames.iter().filter(|again| again.frame.traces.is_empty()) {
            let Again { frame, .. } = again;
            let mut filter = LetterFilter { device: Some(frame.device), ..LetterFilter::default() };
            // What came in an envelope was received by a network server before its letter was by us.
            if frame.envelope.is_none() {
                filter.since = Some(frame.received);
                filter.until = Some(Timestamp(frame.received.0.saturating_add(1)));
            }
            let letters = self.dead_letters(&filter, None, usize::MAX)?;
            let same = letters.iter().filter(|(_, letter)| letter.payload == frame.payload);
            gone.extend(same.map(|(sequence, _)| *sequence));
        }
        if gone.is_empty() { Ok(()) } else { self.delete_dead_letters(&gone).await }
    }

    /// Leaves out attributes that have been written since.
    pub(crate) fn drop_stale(&self, device: &DeviceHandle, decoded: &mut Decoded, received: Timestamp) {
        // An RPC of today is not the one that was answered then.
        decoded.uplinks.retain(|uplink| !matches!(uplink.body, UplinkBody::RpcResponse { .. }));
        for Uplink { child, body } in &mut decoded.uplinks {
            let target = match child {
                None => Some(device.clone()),
                Some(name) => self.device_by_name(name),
            };
            if let (Some(target), UplinkBody::Attributes(samples)) = (target, body) {
                *samples = target.state.attributes.lock().not_newer(samples, received);
            }
        }
    }

    fn traces(&self, device: &DeviceHandle, received: Timestamp, decoded: &Decoded) -> Vec<FrameTrace> {
        let of = |uplink: &Uplink| {
            let target = match &uplink.child {
                None => Some(device.clone()),
                Some(name) => self.device_by_name(name),
            };
            trace(&target?, received, &uplink.body)
        };
        decoded.uplinks.iter().filter_map(of).collect()
    }
}

/// Why a frame that was decoded again cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum ReviveError {
    /// The device may not say this.
    #[error(transparent)]
    NotAccepted(#[from] AcceptError),
    /// The store failed.
    #[error(transparent)]
    Failed(#[from] DeviceError),
}

/// One trace per device.
fn union(old: &[FrameTrace], new: Vec<FrameTrace>) -> Vec<FrameTrace> {
    let mut union: BTreeMap<DeviceId, FrameTrace> = BTreeMap::new();
    for trace in old.iter().copied().chain(new) {
        let widest = union.entry(trace.device).or_insert(trace);
        widest.first = widest.first.min(trace.first);
        widest.last = widest.last.max(trace.last);
    }
    union.into_values().collect()
}

fn removals<'t>(frames: &[Again], traces: impl Iterator<Item = &'t FrameTrace>) -> Vec<Removal> {
    let received: BTreeSet<Timestamp> = frames.iter().map(|again| again.frame.received).collect();
    let traces: Vec<FrameTrace> = traces.copied().collect();
    let removal =
        |FrameTrace { device, first, last }| Removal { device, received: received.clone(), first, last };
    union(&traces, Vec::new()).into_iter().map(removal).collect()
}
