//! Dead letters: payloads that nobody could decode, bounded in number, bytes and age, the oldest first out.
//!
//! Each profile has its own bounds, so that one that floods cannot push out what another one lost. Past the bounds of
//! the whole installation, the profile that holds the most bytes makes room.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use wireglot_model::{
    CodecStamp, DeadLetter, DeadLetterBounds, DeviceId, Envelope, FailureStage, ProfileId, Timestamp,
};

use crate::batch::json;
use crate::coding::{Reader, put_bytes};
use crate::error::ReadError;

/// All of a dead letter but its payload, which JSON would blow up fourfold.
#[derive(Serialize, Deserialize)]
struct Head {
    device: DeviceId,
    device_name: String,
    profile_id: ProfileId,
    profile: String,
    topic: String,
    #[serde(default)]
    envelope: Option<Envelope>,
    received: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frame_received: Option<Timestamp>,
    codec: Option<CodecStamp>,
    stage: FailureStage,
    reason: String,
}

pub(crate) fn encode(letter: &DeadLetter) -> Vec<u8> {
    let head = json(&Head {
        device: letter.device,
        device_name: letter.device_name.clone(),
        profile_id: letter.profile_id,
        profile: letter.profile.clone(),
        topic: letter.topic.clone(),
        envelope: letter.envelope,
        received: letter.received,
        frame_received: letter.frame_received,
        codec: letter.codec.clone(),
        stage: letter.stage,
        reason: letter.reason.clone(),
    });
    let mut bytes = Vec::with_capacity(head.len() + letter.payload.len() + 4);
    put_bytes(&mut bytes, &head);
    bytes.extend_from_slice(&letter.payload);
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Result<DeadLetter, ReadError> {
    let mut reader = Reader::new(bytes);
    let head: Head = serde_json::from_slice(reader.bytes()?)
        .map_err(|_| ReadError::Damaged { what: "the head of a dead letter" })?;
    Ok(DeadLetter {
        device: head.device,
        device_name: head.device_name,
        profile_id: head.profile_id,
        profile: head.profile,
        topic: head.topic,
        payload: reader.rest().to_vec(),
        envelope: head.envelope,
        received: head.received,
        frame_received: head.frame_received,
        codec: head.codec,
        stage: head.stage,
        reason: head.reason,
    })
}

/// What is known of every kept letter without reading it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) sequence: u64,
    pub(crate) device: DeviceId,
    pub(crate) profile: ProfileId,
    pub(crate) received: Timestamp,
    pub(crate) bytes: u32,
}

const DAY_MS: i64 = 86_400_000;

/// The letters that are kept.
#[derive(Default, Debug)]
pub(crate) struct Graveyard {
    kept: BTreeMap<u64, Facts>,
    profiles: HashMap<ProfileId, Plot>,
    /// Of each device that has letters, which.
    devices: HashMap<DeviceId, BTreeSet<u64>>,
    bytes: usize,
    next: u64,
    pub(crate) evicted: u64,
}

/// The letters of one profile.
#[derive(Default, Debug)]
struct Plot {
    sequences: BTreeSet<u64>,
    bytes: usize,
}

impl Graveyard {
    pub(crate) fn restore(&mut self, facts: Facts) {
        self.next = self.next.max(facts.sequence + 1);
        self.bytes += facts.bytes as usize;
        let plot = self.profiles.entry(facts.profile).or_default();
        plot.sequences.insert(facts.sequence);
        plot.bytes += facts.bytes as usize;
        self.devices.entry(facts.device).or_default().insert(facts.sequence);
        self.kept.insert(facts.sequence, facts);
    }

    pub(crate) fn bury(&mut self, letter: &DeadLetter, bytes: usize) -> Facts {
        let facts = Facts {
            sequence: self.next,
            device: letter.device,
            profile: letter.profile_id,
            received: letter.received,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        };
        self.restore(facts);
        facts
    }

    /// Takes a letter out. It may be gone already.
    pub(crate) fn exhume(&mut self, sequence: u64) -> bool {
        let Some(facts) = self.kept.remove(&sequence) else { return false };
        self.bytes -= facts.bytes as usize;
        if let Some(plot) = self.profiles.get_mut(&facts.profile) {
            plot.sequences.remove(&sequence);
            plot.bytes -= facts.bytes as usize;
            if plot.sequences.is_empty() {
                self.profiles.remove(&facts.profile);
            }
        }
        if let Some(sequences) = self.devices.get_mut(&facts.device) {
            sequences.remove(&sequence);
            if sequences.is_empty() {
                self.devices.remove(&facts.device);
            }
        }
        true
    }

    /// Makes room in a profile, and returns what went.
    pub(crate) fn tidy_profile(
        &mut self,
        profile: ProfileId,
        bounds: DeadLetterBounds,
        now: Timestamp,
    ) -> Vec<u64> {
        let oldest_kept = now.0.saturating_sub(i64::from(bounds.age_days_max).saturating_mul(DAY_MS));
        let mut gone = Vec::new();
        while let Some((sequence, received, count, bytes)) = self.oldest_of(profile) {
            let is_over = count > bounds.count_max as usize || bytes as u64 > bounds.bytes_max;
            if !is_over && received.0 >= oldest_kept {
                break;
            }
            gone.push(sequence);
            self.evict(sequence);
        }
        gone
    }

    /// Makes room in the installation, and returns what went.
    pub(crate) fn tidy_all(&mut self, letters_max: usize, bytes_max: usize) -> Vec<u64> {
        let mut gone = Vec::new();
        while self.kept.len() > letters_max || self.bytes > bytes_max {
            let largest =
                self.profiles.iter().max_by_key(|(_, plot)| plot.bytes).map(|(profile, _)| *profile);
            let Some((sequence, ..)) = largest.and_then(|profile| self.oldest_of(profile)) else { break };
            gone.push(sequence);
            self.evict(sequence);
        }
        gone
    }

    fn evict(&mut self, sequence: u64) {
        self.exhume(sequence);
        self.evicted += 1;
    }

    /// The oldest letter of a profile and when it came, and how many letters and bytes the profile has.
    fn oldest_of(&self, profile: ProfileId) -> Option<(u64, Timestamp, usize, usize)> {
        let plot = self.profiles.get(&profile)?;
        let facts = self.kept.get(plot.sequences.first()?)?;
        Some((facts.sequence, facts.received, plot.sequences.len(), plot.bytes))
    }

    /// Profiles that have letters.
    pub(crate) fn profiles(&self) -> Vec<ProfileId> {
        self.profiles.keys().copied().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Takes out all letters of a device; others are not looked at.
    pub(crate) fn exhume_device(&mut self, device: DeviceId) -> BTreeSet<u64> {
        let sequences = self.devices.get(&device).cloned().unwrap_or_default();
        for sequence in &sequences {
            self.exhume(*sequence);
        }
        sequences
    }

    /// Newest first, from before `sequence` on.
    pub(crate) fn newest_before(&self, sequence: u64) -> impl Iterator<Item = &Facts> {
        self.kept.range(..sequence).rev().map(|(_, facts)| facts)
    }
}

pub(crate) fn encode_facts(facts: Facts) -> Vec<u8> {
    let mut bytes = facts.device.0.as_bytes().to_vec();
    bytes.extend_from_slice(facts.profile.0.as_bytes());
    bytes.extend_from_slice(&facts.received.0.to_be_bytes());
    bytes.extend_from_slice(&facts.bytes.to_be_bytes());
    bytes
}

pub(crate) fn decode_facts(sequence: u64, bytes: &[u8]) -> Result<Facts, ReadError> {
    let mut reader = Reader::new(bytes);
    Ok(Facts {
        sequence,
        device: DeviceId(uuid::Uuid::from_bytes(reader.array()?)),
        profile: ProfileId(uuid::Uuid::from_bytes(reader.array()?)),
        received: Timestamp(i64::from_be_bytes(reader.array()?)),
        bytes: u32::from_be_bytes(reader.array()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(device: u8, profile: u8) -> DeadLetter {
        let id = |number: u8| uuid::Uuid::from_bytes([number; 16]);
        DeadLetter {
            device: DeviceId(id(device)),
            device_name: String::new(),
            profile_id: ProfileId(id(profile)),
            profile: String::new(),
            topic: String::new(),
            payload: Vec::new(),
            envelope: None,
            frame_received: None,
            received: Timestamp(9),
            codec: None,
            stage: FailureStage::Refused,
            reason: String::new(),
        }
    }

    /// What a scan of everything finds.
    fn scanned(graveyard: &Graveyard, device: DeviceId) -> BTreeSet<u64> {
        let kept = graveyard.kept.values().filter(|facts| facts.device == device);
        kept.map(|facts| facts.sequence).collect()
    }

    #[test]
    fn the_letters_of_a_device_are_known_without_looking_at_others() {
        let mut graveyard = Graveyard::default();
        let letters: Vec<DeadLetter> = (0..60).map(|number| letter(number % 4, number % 3)).collect();
        for letter in &letters {
            graveyard.bury(letter, 10);
        }
        (0..60).step_by(7).for_each(|sequence| assert!(graveyard.exhume(sequence)));
        let bounds = DeadLetterBounds { count_max: 9, bytes_max: u64::MAX, age_days_max: u32::MAX };
        assert!(!graveyard.tidy_profile(letters[0].profile_id, bounds, Timestamp(9)).is_empty());
        assert!(!graveyard.tidy_all(35, usize::MAX).is_empty());
        for letter in &letters[..4] {
            let expected = scanned(&graveyard, letter.device);
            assert!(!expected.is_empty());
            assert_eq!(graveyard.devices[&letter.device], expected);
            assert_eq!(graveyard.exhume_device(letter.device), expected);
            assert_eq!(scanned(&graveyard, letter.device), BTreeSet::new());
        }
        assert_eq!((graveyard.len(), graveyard.bytes), (0, 0));
        assert!(graveyard.devices.is_empty() && graveyard.profiles.is_empty(), "nothing is kept of nobody");
    }
}
