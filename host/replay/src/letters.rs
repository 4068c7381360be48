//! The walk through the dead letters, oldest first.

use futures_util::future::join_all;
use wireglot_codec::envelope;
use wireglot_device::{DeviceError, LetterFilter, Place, ReviveError};
use wireglot_model::limits::REPLAY_FRAMES_AT_ONCE;
use wireglot_model::{DeadLetter, Decoded, FailureStage, PayloadKind, UplinkBody, Wrapping};

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
        let sequences = match self.order.last {
            None => sequences,
            Some(last) => self.last_of(&filter, &sequences, last)?,
        };
        for some in sequences.chunks(REPLAY_FRAMES_AT_ONCE) {
            if self.is_cancelled() {
                break;
            }
            let mut stored = Vec::new();
            for (sequence, letter) in self.devices.dead_letters_of(&filter, some)? {
                stored.extend(self.letter(sequence, &letter)?);
            }
            // Together, so that they share a sync.
            for outcome in futures_executor::block_on(join_all(stored)) {
                outcome?;
                self.progress.note(|report| report.decoded += 1);
            }
        }
        Ok(())
    }

    /// The last so many that the filter lets through.
    fn last_of(
        &self,
        filter: &LetterFilter,
        sequences: &[u64],
        last: usize,
    ) -> Result<Vec<u64>, DeviceError> {
        let mut found = Vec::new();
        for some in sequences.rchunks(REPLAY_FRAMES_AT_ONCE) {
            if found.len() >= last {
                break;
            }
            let letters = self.devices.dead_letters_of(filter, some)?;
            found.extend(letters.into_iter().rev().map(|(sequence, _)| sequence));
        }
        found.truncate(last);
        found.reverse();
        Ok(found)
    }

    /// Decodes a letter and queues what it says; the future waits for the disk.
    fn letter(
        &mut self,
        sequence: u64,
        letter: &DeadLetter,
    ) -> Result<Option<impl Future<Output = Result<(), DeviceError>> + use<>>, DeviceError> {
        self.progress.note(|report| report.frames += 1);
        let opened = match self.open(letter) {
            Ok(opened) => opened,
            Err(reason) => {
                self.progress.note(|report| {
                    report.failed(&letter.device_name, letter.received, &letter.payload, &reason);
                });
                return Ok(None);
            }
        };
        let letter = opened.as_ref().unwrap_or(letter);
        let kept = Kept {
            device: &letter.device_name,
            topic: &letter.topic,
            payload: &letter.payload,
            envelope: letter.envelope,
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

impl Run {
    /// A letter at the time at which its frame was received before it came here; one with an envelope says that there. One that is the network server's own, because its
    /// envelope was not opened or its device was not here, becomes that of the device. Devices are not made here: the
    /// next frame of such a one does that, if it may.
    fn open(&self, letter: &DeadLetter) -> Result<Option<DeadLetter>, String> {
        let Some(envelope) = letter.envelope else {
            let at = letter.frame_received;
            return Ok(at.map(|received| DeadLetter { received, ..letter.clone() }));
        };
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let carried = envelope::unwrap(envelope, &letter.topic, &letter.payload, letter.received);
        let carried = carried.map_err(|error| text(&error))?.ok_or("the envelope holds no frame")?;
        let opened = DeadLetter { received: carried.received, ..letter.clone() };
        let is_unopened = letter.codec.is_none()
            && matches!(letter.stage, FailureStage::Refused | FailureStage::NotAccepted);
        let Some(wrapping) = self.wrapping().filter(|_| is_unopened) else { return Ok(Some(opened)) };
        let name = carried.device_name(wrapping.names).map_err(|error| text(&error))?;
        let device = self.devices.carried_before(name, carried.dev_eui.as_deref());
        let device = device.map_err(|error| text(&error))?;
        let device = device.ok_or_else(|| format!("no device is named '{name}'"))?;
        let profile = device.profile();
        if profile.profile.id != self.order.profile.profile.id {
            return Err(format!("the device '{name}' has the profile '{}'", profile.name));
        }
        Ok(Some(DeadLetter { device: device.id(), device_name: name.to_owned(), ..opened }))
    }

    fn wrapping(&self) -> Option<Wrapping> {
        match self.order.profile.profile.mqtt()?.payload {
            PayloadKind::Codec { wrapping, .. } => wrapping,
            PayloadKind::Json | PayloadKind::Protobuf(_) => None,
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
