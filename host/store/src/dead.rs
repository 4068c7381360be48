//! Dead letters: payloads that nobody could decode, bounded in number and in bytes, the oldest first out.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use wireglot_model::{CodecStamp, DeadLetter, DeviceId, FailureStage, Timestamp};

use crate::batch::json;
use crate::coding::{Reader, put_bytes};
use crate::error::ReadError;

/// All of a dead letter but its payload, which JSON would blow up fourfold.
#[derive(Serialize, Deserialize)]
struct Head {
    device: DeviceId,
    device_name: String,
    profile: String,
    topic: String,
    received: Timestamp,
    codec: Option<CodecStamp>,
    stage: FailureStage,
    reason: String,
}

pub(crate) fn encode(letter: &DeadLetter) -> Vec<u8> {
    let head = json(&Head {
        device: letter.device,
        device_name: letter.device_name.clone(),
        profile: letter.profile.clone(),
        topic: letter.topic.clone(),
        received: letter.received,
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
        profile: head.profile,
        topic: head.topic,
        payload: reader.rest().to_vec(),
        received: head.received,
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
    pub(crate) bytes: u32,
}

/// The letters that are kept, oldest first.
#[derive(Default, Debug)]
pub(crate) struct Graveyard {
    pub(crate) kept: VecDeque<Facts>,
    bytes: usize,
    next: u64,
    pub(crate) evicted: u64,
}

impl Graveyard {
    pub(crate) fn restore(&mut self, facts: Facts) {
        self.next = facts.sequence + 1;
        self.bytes += facts.bytes as usize;
        self.kept.push_back(facts);
    }

    pub(crate) fn bury(&mut self, device: DeviceId, letter: &[u8]) -> Facts {
        let bytes = u32::try_from(letter.len()).unwrap_or(u32::MAX);
        let facts = Facts { sequence: self.next, device, bytes };
        self.restore(facts);
        facts
    }

    /// The oldest letter, if there is no room for all of them.
    pub(crate) fn evict(&mut self, letters_max: usize, bytes_max: usize) -> Option<Facts> {
        if self.kept.len() <= letters_max && self.bytes <= bytes_max {
            return None;
        }
        let oldest = self.kept.pop_front()?;
        self.bytes -= oldest.bytes as usize;
        self.evicted += 1;
        Some(oldest)
    }
}

pub(crate) fn encode_facts(facts: Facts) -> Vec<u8> {
    let mut bytes = facts.device.0.as_bytes().to_vec();
    bytes.extend_from_slice(&facts.bytes.to_be_bytes());
    bytes
}

pub(crate) fn decode_facts(sequence: u64, bytes: &[u8]) -> Result<Facts, ReadError> {
    let mut reader = Reader::new(bytes);
    let device = DeviceId(uuid::Uuid::from_bytes(reader.array()?));
    Ok(Facts { sequence, device, bytes: u32::from_be_bytes(reader.array()?) })
}
