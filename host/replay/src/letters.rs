//! The walk through the dead letters, oldest first.

use futures_util::future::join_all;
use wireglot_device::{DeviceError, LetterFilter, Place, ReviveError};
use wireglot_model::limits::REPLAY_FRAMES_AT_ONCE;
use wireglot_model::{DeadLetter, Decoded, UplinkBody};

use crate::Run;
use crate::decode::Kept;
use crate::order::Source;

impl Run {
    pub(crate) fn letters(&mut self) -> Result<(), DeviceError> {
        let Source::DeadLetters { stage } = self.order.source else { return Ok(()) };
        let filter = LetterFilter {
            device: self.order.device,
            profile: Some(self.order.profile.profile.id),
            codec: None,
            stage,
            since: self.order.since,
            until: self.order.until,
        };
        let sequences = self.devices.dead_letter_sequences(&filter);
        let skipped = self.order.last.map_or(0, |last| sequences.len().saturating_sub(last));
        let sequences = sequences.get(skipped..).unwrap_or_default();
        for some in sequences.chunks(REPLAY_FRAMES_AT_ONCE) {
            if self.is_cancelled() {
                break;
            }
            let mut stored = Vec::new();
            for sequence in some {
                match self.devices.dead_letter(*sequence) {
                    Ok(letter) if filter.holds(&letter) => stored.extend(self.letter(*sequence, &letter)?),
                    // Deleted meanwhile.
                    Ok(_) | Err(DeviceError::NotFound) => {}
                    Err(error) => return Err(error),
                }
            }
            // Together, so that they share a sync.
            for outcome in futures_executor::block_on(join_all(stored)) {
                outcome?;
                self.progress.note(|report| report.decoded += 1);
            }
        }
        Ok(())
    }

    /// Decodes a letter and queues what it says; the future waits for the disk.
    fn letter(
        &mut self,
        sequence: u64,
        letter: &DeadLetter,
    ) -> Result<Option<impl Future<Output = Result<(), DeviceError>> + use<>>, DeviceError> {
        self.progress.note(|report| report.frames += 1);
        let kept = Kept {
            device: &letter.device_name,
            topic: &letter.topic,
            payload: &letter.payload,
            received: letter.received,
        };
        let failed = |reason: &str| {
            self.progress
                .note(|report| report.failed(&letter.device_name, letter.received, &letter.payload, reason));
        };
        let decoded = match self.decoder.decode(&kept) {
            Ok(decoded) => decoded,
            Err(reason) => {
                failed(&reason);
                return Ok(None);
            }
        };
        if self.order.is_dry_run {
            match self.devices.check_again(letter.device, &decoded) {
                Ok(()) => self.progress.note(|report| {
                    report.decoded += 1;
                    report.compared(new_values(letter, &decoded), 0);
                }),
                Err(error) => failed(&error.to_string()),
            }
            return Ok(None);
        }
        let changes = new_values(letter, &decoded);
        match self.devices.revive(sequence, letter, Some(self.decoder.stamp()), decoded) {
            Ok(stored) => {
                self.progress.note(|report| report.compared(changes, 0));
                Ok(Some(stored))
            }
            Err(ReviveError::NotAccepted(error)) => {
                failed(&error.to_string());
                Ok(None)
            }
            Err(ReviveError::Failed(error)) => Err(error),
        }
    }
}

/// The values of a letter: all of them are new.
fn new_values(letter: &DeadLetter, decoded: &Decoded) -> Vec<wireglot_device::Change> {
    let mut changes = Vec::new();
    for uplink in &decoded.uplinks {
        let UplinkBody::Telemetry(measurements) = &uplink.body else { continue };
        for measurement in measurements {
            for sample in &measurement.samples {
                let device = uplink.child.clone().unwrap_or_else(|| letter.device_name.clone());
                let ts = measurement.ts.unwrap_or(letter.received);
                changes.push(wireglot_device::Change {
                    place: Place { device, ts, key: sample.key.clone() },
                    old: None,
                    new: Some(sample.value.clone()),
                });
            }
        }
    }
    changes
}
