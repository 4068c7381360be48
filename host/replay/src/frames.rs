//! The walk through the raw frames, oldest first and in whole units.

use std::collections::BTreeMap;

use wireglot_device::{Again, DeviceError, RawKey, ReviveError, now};
use wireglot_model::limits::REPLAY_FRAMES_AT_ONCE;
use wireglot_model::{RawFrame, Timestamp};

use crate::Run;
use crate::decode::Kept;

/// Frames younger than this are left alone: others of their millisecond may still be on their way to the disk.
const SETTLED_MS: i64 = 10_000;
/// How often units are taken up again because a frame joined them meanwhile.
const ROUNDS_MAX: usize = 8;

/// The frames of one millisecond.
type Unit = Vec<(RawKey, RawFrame)>;

impl Run {
    pub(crate) fn frames(&mut self) -> Result<(), DeviceError> {
        let profile = self.order.profile.profile.id;
        let settled = Timestamp(now().0.saturating_sub(SETTLED_MS));
        let until = self.order.until.map_or(settled, |until| until.min(settled));
        let since = self.order.since.unwrap_or(Timestamp(i64::MIN));
        let mut from = match self.order.last {
            None => Some(since),
            Some(last) => {
                let begin = self.devices.raw_frames_begin(profile, until, last)?;
                begin.map(|begin| begin.max(since))
            }
        };
        while let Some(start) = from
            && !self.is_cancelled()
        {
            let (frames, next) = self.devices.raw_frames(profile, start, until, REPLAY_FRAMES_AT_ONCE)?;
            let end = next.unwrap_or(until);
            self.units(by_time(frames), (start, end), 0)?;
            from = next;
        }
        Ok(())
    }

    /// Decodes units and puts their values in place; then again those that a late frame has joined.
    fn units(
        &mut self,
        units: BTreeMap<Timestamp, Unit>,
        (start, end): (Timestamp, Timestamp),
        round: usize,
    ) -> Result<(), DeviceError> {
        let mut again = Vec::new();
        for unit in units.values() {
            let device = self.order.device;
            if device.is_none_or(|device| unit.iter().any(|(_, frame)| frame.device == device)) {
                again.extend(self.unit(unit, round));
            }
        }
        if again.is_empty() {
            return Ok(());
        }
        let (changes, same) = self.devices.compare(&again)?;
        if !self.order.is_dry_run {
            match futures_executor::block_on(self.devices.revise(&again)) {
                Ok(()) => {}
                // What was checked a moment ago: a device or a gateway's right to act was taken away meanwhile.
                Err(ReviveError::NotAccepted(error)) => {
                    return Err(DeviceError::NotAccepted(error.to_string()));
                }
                Err(ReviveError::Failed(error)) => return Err(error),
            }
        }
        self.progress.note(|report| {
            report.decoded += again.len() as u64;
            report.compared(changes, same);
        });
        if self.order.is_dry_run || round >= ROUNDS_MAX {
            return Ok(());
        }
        let profile = self.order.profile.profile.id;
        let (frames, _) = self.devices.raw_frames(profile, start, end, usize::MAX)?;
        let mut joined = by_time(frames);
        joined.retain(|time, unit| units.get(time).is_some_and(|before| before.len() != unit.len()));
        self.units(joined, (start, end), round + 1)
    }

    /// The unit decoded, if all of it can be.
    fn unit(&mut self, unit: &Unit, round: usize) -> Vec<Again> {
        let mut decoded = Vec::new();
        for (key, frame) in unit {
            match self.frame(frame) {
                Ok(frame_decoded) => decoded.push(Again {
                    key: *key,
                    frame: frame.clone(),
                    codec: self.decoder.stamp().clone(),
                    decoded: frame_decoded,
                }),
                Err((device, reason)) => self
                    .progress
                    .note(|report| report.failed(&device, frame.received, &frame.payload, &reason)),
            }
        }
        let is_whole = decoded.len() == unit.len();
        self.progress.note(|report| {
            report.frames += if round == 0 { unit.len() as u64 } else { 0 };
            report.left += if is_whole { 0 } else { decoded.len() as u64 };
        });
        if is_whole { decoded } else { Vec::new() }
    }

    fn frame(&mut self, frame: &RawFrame) -> Result<wireglot_model::Decoded, (String, String)> {
        let Some(device) = self.devices.device(frame.device) else {
            return Err((frame.device.to_string(), "the device was deleted".to_owned()));
        };
        let name = device.name();
        let RawFrame { topic, payload, envelope, received, .. } = frame;
        let kept = Kept { device: &name, topic, payload, envelope: *envelope, received: *received };
        let decoded = self.decoder.decode(&kept).map_err(|reason| (name.to_string(), reason))?;
        match self.devices.check_again(frame.device, &decoded) {
            Ok(()) => Ok(decoded),
            Err(error) => Err((name.to_string(), error.to_string())),
        }
    }
}

fn by_time(frames: Vec<(RawKey, RawFrame)>) -> BTreeMap<Timestamp, Unit> {
    let mut units: BTreeMap<Timestamp, Unit> = BTreeMap::new();
    for (key, frame) in frames {
        units.entry(key.received).or_default().push((key, frame));
    }
    units
}
