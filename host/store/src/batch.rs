//! What one caller wants to become durable together.
//!
//! Telemetry is brought into its stored form here, on the caller's thread; only the numbers of the dictionary
//! (device, shape, codec stamp) are still missing, because a batch knows no store.

use serde::Serialize;
use wireglot_model::{
    ApiKey, ApiKeyId, Attribute, AuditEntry, ClaimRecord, CodecHash, CodecName, CodecStamp, Credentials,
    CredentialsId, Customer, CustomerId, DeadLetter, DeadLetterBounds, Device, DeviceId, Measurement,
    OtaKind, OtaPackage, OtaPackageId, OtaUpdate, Profile, ProfileId, RawFrame, RpcId, RpcRecord, Scope,
    Timestamp, User, UserId,
};

use crate::coding::{Reader, Scalar, ValueWriter, put_bytes, put_times, put_value};
use crate::keys::{self, prefix};
use crate::raw::{self, RawKey};

/// Changes that are committed together or not at all, in the order in which they were added.
#[derive(Default, Debug)]
pub struct Batch {
    pub(crate) changes: Vec<Change>,
    /// Measurements one after the other, as `Message` reads them: one buffer, because a batch is made per message.
    messages: Vec<u8>,
    pub(crate) message_count: usize,
}

/// A change of a small record.
#[derive(Debug)]
pub(crate) enum Change {
    Put {
        key: Vec<u8>,
        value: Vec<u8>,
    },
    Remove {
        key: Vec<u8>,
    },
    /// The record without the device's number, which the dictionary knows or gives.
    PutDevice {
        id: DeviceId,
        value: Vec<u8>,
    },
    DeleteDevice {
        id: DeviceId,
    },
    Bury {
        letter: Box<DeadLetter>,
        bytes: Vec<u8>,
        bounds: DeadLetterBounds,
    },
    Exhume {
        sequence: u64,
    },
    KeepRaw {
        key: Vec<u8>,
        frame: Vec<u8>,
    },
}

/// One measurement of a device, still in its batch.
pub(crate) struct Message<'b> {
    pub(crate) device: DeviceId,
    /// Empty where no codec was involved, or as `read_stamp` reads it.
    pub(crate) stamp: &'b [u8],
    /// Every key with its length.
    pub(crate) keys: &'b [u8],
    /// Both times.
    pub(crate) times: &'b [u8],
    /// Tags and values.
    pub(crate) values: &'b [u8],
}

/// A guess that suits most messages: it saves growing the buffer step by step.
const BYTES_PER_MESSAGE: usize = 320;
/// The device and the lengths of the four parts.
const HEAD_BYTES: usize = 16 + 4 * 4;

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many changes and measurements it has.
    pub fn len(&self) -> usize {
        self.changes.len() + self.message_count
    }

    pub fn put_device(&mut self, device: &Device) {
        self.changes.push(Change::PutDevice { id: device.id, value: json(device) });
    }

    /// Drops the device with its series and attributes. Credentials have their own record.
    pub fn delete_device(&mut self, id: DeviceId) {
        self.changes.push(Change::DeleteDevice { id });
    }

    pub fn put_profile(&mut self, profile: &Profile) {
        self.put(keys::profile(profile.id), json(profile));
    }

    pub fn delete_profile(&mut self, id: ProfileId) {
        self.remove(keys::profile(id));
    }

    pub fn put_credentials(&mut self, credentials: &Credentials) {
        self.put(keys::credentials(credentials.id), json(credentials));
    }

    pub fn delete_credentials(&mut self, id: CredentialsId) {
        self.remove(keys::credentials(id));
    }

    pub fn put_user(&mut self, user: &User) {
        self.put(keys::user(user.id), json(user));
    }

    pub fn delete_user(&mut self, id: UserId) {
        self.remove(keys::user(id));
    }

    pub fn put_api_key(&mut self, key: &ApiKey) {
        self.put(keys::api_key(key.id), json(key));
    }

    pub fn delete_api_key(&mut self, id: ApiKeyId) {
        self.remove(keys::api_key(id));
    }

    /// A session of a user has ended; that need not be known any more from `until` on, when its tokens end.
    pub fn put_ended_session(&mut self, session: uuid::Uuid, user: UserId, until: Timestamp) {
        self.put(
            keys::ended_session(session),
            [&until.0.to_be_bytes(), user.0.as_bytes().as_slice()].concat(),
        );
    }

    pub fn delete_ended_session(&mut self, session: uuid::Uuid) {
        self.remove(keys::ended_session(session));
    }

    pub fn put_customer(&mut self, customer: &Customer) {
        self.put(keys::customer(customer.id), json(customer));
    }

    pub fn delete_customer(&mut self, id: CustomerId) {
        self.remove(keys::customer(id));
    }

    pub fn put_claim(&mut self, claim: &ClaimRecord) {
        self.put(keys::claim(claim.device), json(claim));
    }

    pub fn delete_claim(&mut self, device: DeviceId) {
        self.remove(keys::claim(device));
    }

    /// A package; its file, where it has one, is durable already.
    pub fn put_ota_package(&mut self, package: &OtaPackage) {
        self.put(keys::ota_package(package.id), json(package));
    }

    pub fn delete_ota_package(&mut self, id: OtaPackageId) {
        self.remove(keys::ota_package(id));
    }

    /// How far an update is: one for each device and kind.
    pub fn put_ota_update(&mut self, update: &OtaUpdate) {
        self.put(keys::ota_update(update.device, update.kind), json(update));
    }

    pub fn delete_ota_update(&mut self, device: DeviceId, kind: OtaKind) {
        self.remove(keys::ota_update(device, kind));
    }

    pub fn put_setting(&mut self, name: &str, value: &[u8]) {
        self.put(keys::setting(name), value.to_vec());
    }

    pub fn put_rpc(&mut self, rpc: &RpcRecord) {
        self.put(keys::rpc(rpc.id), json(rpc));
    }

    pub fn delete_rpc(&mut self, id: RpcId) {
        self.remove(keys::rpc(id));
    }

    /// An entry of the audit log; the sequence numbers are the caller's to give, each once and rising.
    pub fn put_audit(&mut self, sequence: u64, entry: &AuditEntry) {
        self.put(keys::sequenced(prefix::AUDIT, sequence), json(entry));
    }

    pub fn delete_audit(&mut self, sequence: u64) {
        self.remove(keys::sequenced(prefix::AUDIT, sequence));
    }

    pub fn put_attribute(&mut self, device: DeviceId, scope: Scope, attribute: &Attribute) {
        let mut value = attribute.updated.0.to_le_bytes().to_vec();
        put_value(&mut value, Scalar::of(&attribute.value));
        self.put(keys::attribute(device, scope, &attribute.key), value);
    }

    pub fn delete_attribute(&mut self, device: DeviceId, scope: Scope, key: &str) {
        self.remove(keys::attribute(device, scope, key));
    }

    /// Adds measurements of a device that was put before. Those of an unknown or deleted device are left out.
    ///
    /// A measurement without samples says nothing and is left out too.
    pub fn telemetry(
        &mut self,
        device: DeviceId,
        received: Timestamp,
        codec: Option<&CodecStamp>,
        measurements: &[Measurement],
    ) {
        if self.messages.capacity() == 0 {
            self.messages.reserve(BYTES_PER_MESSAGE * measurements.len());
        }
        for measurement in measurements.iter().filter(|measurement| !measurement.samples.is_empty()) {
            self.measurement(device, received, codec, measurement);
        }
    }

    fn measurement(
        &mut self,
        device: DeviceId,
        received: Timestamp,
        codec: Option<&CodecStamp>,
        measurement: &Measurement,
    ) {
        let samples = measurement.samples.as_slice();
        let out = &mut self.messages;
        out.extend_from_slice(device.0.as_bytes());
        let lengths = out.len();
        out.extend_from_slice(&[0; 16]);
        let stamp = out.len();
        if let Some(codec) = codec {
            put_stamp(out, codec);
        }
        let keys = out.len();
        for sample in samples {
            put_bytes(out, sample.key.as_bytes());
        }
        let times = out.len();
        put_times(out, received, measurement.ts.unwrap_or(received));
        let values = out.len();
        let mut writer = ValueWriter::new(out, samples.len());
        for sample in samples {
            writer.push(Scalar::of(&sample.value));
        }
        let parts = [keys - stamp, times - keys, values - times, out.len() - values];
        let places = out.get_mut(lengths..stamp).into_iter().flat_map(|places| places.chunks_exact_mut(4));
        for (place, part) in places.zip(parts) {
            let part = u32::try_from(part).expect("a decoded message is bounded to a few megabytes");
            place.copy_from_slice(&part.to_le_bytes());
        }
        self.message_count += 1;
    }

    pub(crate) fn messages(&self) -> Messages<'_> {
        Messages { rest: &self.messages }
    }

    /// Keeps a payload that was not decoded, within the bounds of its profile.
    pub fn dead_letter(&mut self, letter: DeadLetter, bounds: DeadLetterBounds) {
        let bytes = crate::dead::encode(&letter);
        self.changes.push(Change::Bury { letter: Box::new(letter), bytes, bounds });
    }

    /// Drops a dead letter. One that is gone is no error.
    pub fn delete_dead_letter(&mut self, sequence: u64) {
        self.changes.push(Change::Exhume { sequence });
    }

    /// Keeps a frame as it came, or replaces what is kept under the key.
    pub fn raw_frame(&mut self, number: u64, frame: &RawFrame) {
        let key = RawKey { received: frame.received, profile: frame.profile, number };
        self.changes.push(Change::KeepRaw { key: key.to_bytes(), frame: raw::encode(frame) });
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.push(Change::Put { key, value });
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.changes.push(Change::Remove { key });
    }

    /// What the batch weighs in the commit queue.
    pub(crate) fn weight(&self) -> usize {
        let changes = self.changes.iter().map(Change::weight).sum::<usize>();
        self.messages.len() + changes
    }
}

/// Goes through the messages of a batch.
#[derive(Clone)]
pub(crate) struct Messages<'b> {
    rest: &'b [u8],
}

impl<'b> Iterator for Messages<'b> {
    type Item = Message<'b>;

    fn next(&mut self) -> Option<Message<'b>> {
        let (head, parts) = self.rest.split_first_chunk::<HEAD_BYTES>()?;
        let (device, lengths) = head.split_first_chunk::<16>()?;
        let mut lengths =
            lengths.as_chunks::<4>().0.iter().map(|length| u32::from_le_bytes(*length) as usize);
        let mut rest = parts;
        let mut part = || {
            let (part, after) = rest.split_at_checked(lengths.next()?)?;
            rest = after;
            Some(part)
        };
        let (stamp, keys, times, values) = (part()?, part()?, part()?, part()?);
        self.rest = rest;
        Some(Message { device: DeviceId(uuid::Uuid::from_bytes(*device)), stamp, keys, times, values })
    }
}

/// The stamp byte by byte: cloning it would touch counters that all workers share.
pub(crate) fn put_stamp(out: &mut Vec<u8>, stamp: &CodecStamp) {
    out.extend_from_slice(&stamp.hash.0);
    put_bytes(out, stamp.name.as_str().as_bytes());
    out.extend_from_slice(stamp.version.as_bytes());
}

/// What `put_stamp` wrote, or `None` for what it did not.
pub(crate) fn read_stamp(bytes: &[u8]) -> Option<CodecStamp> {
    let mut reader = Reader::new(bytes);
    let hash = CodecHash(reader.array().ok()?);
    let name = CodecName::parse(std::str::from_utf8(reader.bytes().ok()?).ok()?).ok()?;
    let version = std::str::from_utf8(reader.rest()).ok()?;
    Some(CodecStamp { name, version: version.into(), hash })
}

impl Change {
    fn weight(&self) -> usize {
        const FIXED: usize = 64;
        FIXED
            + match self {
                Change::Put { key, value } => key.len() + value.len(),
                Change::Remove { key } => key.len(),
                Change::PutDevice { value, .. } => value.len(),
                Change::DeleteDevice { .. } => 0,
                // The letter is held twice until it is committed.
                Change::Bury { bytes, .. } => 2 * bytes.len(),
                Change::Exhume { .. } => 0,
                Change::KeepRaw { key, frame } => key.len() + frame.len(),
            }
    }
}

pub(crate) fn json<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("records have text keys only, and a Vec takes every byte")
}
