//! Raw frames: what devices sent, as it came, for profiles that keep it for a while.
//!
//! The key begins with the time of receipt, so that what is too old is a range, whoever sent it. All frames that a
//! profile received in one millisecond are a *unit*: values do not say which of them they came from, so a unit is
//! decoded again as a whole.

use wireglot_model::{DeviceId, Envelope, FrameTrace, ProfileId, RawFrame, Timestamp};

use crate::batch::{put_stamp, read_stamp};
use crate::coding::{Reader, put_bytes, put_signed, put_varint};
use crate::error::ReadError;

/// Where a raw frame lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RawKey {
    /// When it came.
    pub received: Timestamp,
    /// The profile under which it was decoded.
    pub profile: ProfileId,
    /// Tells frames of one time apart.
    pub number: u64,
}

impl RawKey {
    /// Sorts before every key of this time.
    pub(crate) fn lowest(received: Timestamp) -> Self {
        Self { received, profile: ProfileId(uuid::Uuid::nil()), number: 0 }
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut key = Vec::with_capacity(32);
        // The sign bit is turned so that times before 1970 sort first.
        key.extend_from_slice(&(self.received.0 ^ i64::MIN).to_be_bytes());
        key.extend_from_slice(self.profile.0.as_bytes());
        key.extend_from_slice(&self.number.to_be_bytes());
        key
    }

    pub(crate) fn parse(key: &[u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(key);
        Ok(Self {
            received: Timestamp(i64::from_be_bytes(reader.array()?) ^ i64::MIN),
            profile: ProfileId(uuid::Uuid::from_bytes(reader.array()?)),
            number: u64::from_be_bytes(reader.array()?),
        })
    }
}

pub(crate) fn encode(frame: &RawFrame) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128 + frame.topic.len() + frame.payload.len());
    bytes.extend_from_slice(frame.device.0.as_bytes());
    put_bytes(&mut bytes, frame.topic.as_bytes());
    bytes.push(match frame.envelope {
        None => 0,
        Some(Envelope::Chirpstack) => 1,
        Some(Envelope::Tts) => 2,
    });
    let mut stamp = Vec::new();
    if let Some(codec) = &frame.codec {
        put_stamp(&mut stamp, codec);
    }
    put_bytes(&mut bytes, &stamp);
    put_varint(&mut bytes, frame.traces.len() as u64);
    for trace in &frame.traces {
        bytes.extend_from_slice(trace.device.0.as_bytes());
        put_signed(&mut bytes, trace.first.0);
        put_signed(&mut bytes, trace.last.0);
    }
    bytes.extend_from_slice(&frame.payload);
    bytes
}

pub(crate) fn decode(key: RawKey, bytes: &[u8]) -> Result<RawFrame, ReadError> {
    const DAMAGED: ReadError = ReadError::Damaged { what: "a raw frame" };
    let mut reader = Reader::new(bytes);
    let device = DeviceId(uuid::Uuid::from_bytes(reader.array()?));
    let topic = std::str::from_utf8(reader.bytes()?).map_err(|_| DAMAGED)?.to_owned();
    let envelope = match reader.array()? {
        [0] => None,
        [1] => Some(Envelope::Chirpstack),
        [2] => Some(Envelope::Tts),
        [_] => return Err(DAMAGED),
    };
    let stamp = reader.bytes()?;
    let codec = if stamp.is_empty() { None } else { Some(read_stamp(stamp).ok_or(DAMAGED)?) };
    let count = reader.varint()?;
    let mut traces = Vec::new();
    for _ in 0..count {
        traces.push(FrameTrace {
            device: DeviceId(uuid::Uuid::from_bytes(reader.array()?)),
            first: Timestamp(reader.signed()?),
            last: Timestamp(reader.signed()?),
        });
    }
    let payload = reader.rest().to_vec();
    let RawKey { received, profile, .. } = key;
    Ok(RawFrame { device, profile, topic, payload, envelope, received, codec, traces })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_time_of_receipt() {
        let key = |received, profile, number| RawKey {
            received: Timestamp(received),
            profile: ProfileId(uuid::Uuid::from_bytes([profile; 16])),
            number,
        };
        let sorted =
            [key(i64::MIN, 9, 9), key(-1, 0, 0), key(0, 1, 0), key(0, 1, 1), key(0, 2, 0), key(7, 0, 0)];
        assert!(sorted.iter().map(|key| key.to_bytes()).is_sorted());
        for key in sorted {
            assert_eq!(RawKey::parse(&key.to_bytes()).unwrap(), key);
            assert!(RawKey::lowest(key.received) <= key);
        }
    }
}
