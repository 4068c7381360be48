//! Typed reads of the small records. They block; callers keep them off the workers.

use serde::de::DeserializeOwned;
use wireglot_model::{
    ApiKey, Attribute, AuditEntry, ClaimRecord, CodecName, Credentials, Customer, DeadLetter, Device,
    DeviceId, FailureStage, OtaPackage, OtaUpdate, Profile, ProfileId, RawFrame, RpcId, RpcRecord, Scope,
    Timestamp, User, UserId,
};

use crate::coding::{Reader, read_single};
use crate::dead;
use crate::error::ReadError;
use crate::keys::{self, prefix};
use crate::raw::{self, RawKey};
use crate::store::{Core, Store};

impl Store {
    pub fn devices(&self) -> Result<Vec<Device>, ReadError> {
        let mut devices = Vec::new();
        self.core().each(prefix::DEVICE, |_, value| {
            let (_, device) = read_device(value)?;
            devices.push(device);
            Ok(())
        })?;
        Ok(devices)
    }

    pub fn profiles(&self) -> Result<Vec<Profile>, ReadError> {
        self.core().all(prefix::PROFILE)
    }

    pub fn credentials(&self) -> Result<Vec<Credentials>, ReadError> {
        self.core().all(prefix::CREDENTIALS)
    }

    pub fn users(&self) -> Result<Vec<User>, ReadError> {
        self.core().all(prefix::USER)
    }

    pub fn customers(&self) -> Result<Vec<Customer>, ReadError> {
        self.core().all(prefix::CUSTOMER)
    }

    pub fn api_keys(&self) -> Result<Vec<ApiKey>, ReadError> {
        self.core().all(prefix::API_KEY)
    }

    /// Sessions that have ended, whose they were, and until when that must be known.
    pub fn ended_sessions(&self) -> Result<Vec<(uuid::Uuid, UserId, Timestamp)>, ReadError> {
        let mut ended = Vec::new();
        self.core().each(prefix::ENDED_SESSION, |key, value| {
            let mut reader = Reader::new(value);
            let until = i64::from_be_bytes(reader.array()?);
            // Records from before users were noted have none: they are of nobody.
            let user =
                if reader.is_empty() { uuid::Uuid::nil() } else { uuid::Uuid::from_bytes(reader.array()?) };
            ended.push((keys::read_ended_session(key)?, UserId(user), Timestamp(until)));
            Ok(())
        })?;
        Ok(ended)
    }

    /// Devices that may be claimed, those whose time is over among them.
    pub fn claims(&self) -> Result<Vec<ClaimRecord>, ReadError> {
        self.core().all(prefix::CLAIM)
    }

    pub fn ota_packages(&self) -> Result<Vec<OtaPackage>, ReadError> {
        self.core().all(prefix::OTA_PACKAGE)
    }

    pub fn ota_updates(&self) -> Result<Vec<OtaUpdate>, ReadError> {
        self.core().all(prefix::OTA_UPDATE)
    }

    pub fn attributes_all(&self) -> Result<Vec<(DeviceId, Scope, Attribute)>, ReadError> {
        let mut attributes = Vec::new();
        self.core().each(prefix::ATTRIBUTE, |key, value| {
            let (device, scope, name) = keys::read_attribute(key)?;
            let mut reader = Reader::new(value);
            let updated = Timestamp(i64::from_le_bytes(reader.array()?));
            let value = read_single(&mut reader)?.to_value();
            attributes.push((device, scope, Attribute { key: name.to_owned(), value, updated }));
            Ok(())
        })?;
        Ok(attributes)
    }

    /// Shows all persistent RPCs, one after the other: together they may be large.
    pub fn each_rpc(&self, visit: &mut dyn FnMut(RpcRecord)) -> Result<(), ReadError> {
        self.core().each(prefix::RPC, |_, value| {
            visit(parse(value)?);
            Ok(())
        })
    }

    /// One persistent RPC, as it was last committed.
    pub fn rpc(&self, id: RpcId) -> Result<Option<RpcRecord>, ReadError> {
        self.core().records.get(keys::rpc(id))?.map(|value| parse(&value)).transpose()
    }

    /// A named setting, such as a signing key.
    pub fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.core().records.get(keys::setting(name))?.map(|value| value.to_vec()))
    }

    /// The entries of the audit log that `wanted` picks, newest first, each with its sequence number.
    pub fn audit_log(
        &self,
        wanted: &dyn Fn(&AuditEntry) -> bool,
    ) -> Result<Vec<(u64, AuditEntry)>, ReadError> {
        let mut entries = Vec::new();
        self.core().each(prefix::AUDIT, |key, value| {
            let entry: AuditEntry = parse(value)?;
            if wanted(&entry) {
                entries.push((keys::read_sequenced(key)?, entry));
            }
            Ok(())
        })?;
        entries.reverse();
        Ok(entries)
    }

    /// The sequence number of the newest entry of the audit log; 0 where there is none.
    pub fn last_audit(&self) -> Result<u64, ReadError> {
        match self.core().records.prefix([prefix::AUDIT]).next_back() {
            Some(guard) => keys::read_sequenced(&guard.key()?),
            None => Ok(0),
        }
    }

    /// The newest dead letters first that the filter lets through, from before `before` on, each with its sequence
    /// number.
    pub fn dead_letters(
        &self,
        filter: &LetterFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, DeadLetter)>, ReadError> {
        let mut letters = Vec::new();
        let mut before = before.unwrap_or(u64::MAX);
        while letters.len() < limit {
            // In small bites: the commit thread wants the lock too.
            let bite: Vec<u64> = {
                let graveyard = self.core().graveyard.lock();
                let wanted = graveyard.newest_before(before).filter(|facts| filter.may_hold(facts));
                wanted.map(|facts| facts.sequence).take(LETTERS_PER_BITE).collect()
            };
            let Some(last) = bite.last() else { break };
            before = *last;
            for sequence in bite {
                let Some(letter) = self.dead_letter(sequence)? else { continue };
                if letters.len() < limit && filter.holds(&letter) {
                    letters.push((sequence, letter));
                }
            }
        }
        Ok(letters)
    }

    /// The sequence numbers of dead letters that the filter may let through, oldest first; what only a letter itself can
    /// tell is not looked at.
    pub fn dead_letter_sequences(&self, filter: &LetterFilter) -> Vec<u64> {
        let graveyard = self.core().graveyard.lock();
        let wanted = graveyard.newest_before(u64::MAX).filter(|facts| filter.may_hold(facts));
        let mut sequences: Vec<u64> = wanted.map(|facts| facts.sequence).collect();
        sequences.reverse();
        sequences
    }

    /// One dead letter, if it is still there.
    pub fn dead_letter(&self, sequence: u64) -> Result<Option<DeadLetter>, ReadError> {
        // A letter may be evicted, or not yet be written, between the look and the read.
        let letter = self.core().dead.get(keys::sequenced(prefix::DEAD_LETTER, sequence))?;
        letter.map(|letter| dead::decode(&letter)).transpose()
    }

    /// When the `count`-th frame of a profile from the end was received, of those before `until`; the first one where
    /// there are fewer. `None`: there is none.
    pub fn raw_frames_begin(
        &self,
        profile: ProfileId,
        until: Timestamp,
        count: usize,
    ) -> Result<Option<Timestamp>, ReadError> {
        let (mut begin, mut seen) = (None, 0);
        for guard in self.core().raw.range(..RawKey::lowest(until).to_bytes()).rev() {
            let key = RawKey::parse(&guard.key()?)?;
            if key.profile == profile && seen < count {
                begin = Some(key.received);
                seen += 1;
            }
            if seen == count {
                break;
            }
        }
        Ok(begin)
    }

    /// Raw frames of a profile that were received from `from` on and before `until`, oldest first: at least `count` of
    /// them if there are so many, and whole units always. With them, from where to go on.
    pub fn raw_frames(
        &self,
        profile: ProfileId,
        from: Timestamp,
        until: Timestamp,
        count: usize,
    ) -> Result<RawPage, ReadError> {
        let (low, high) = (RawKey::lowest(from).to_bytes(), RawKey::lowest(until).to_bytes());
        let mut frames: Vec<(RawKey, RawFrame)> = Vec::new();
        if low >= high {
            return Ok((frames, None));
        }
        for guard in self.core().raw.range(low..high) {
            let (key, value) = guard.into_inner()?;
            let key = RawKey::parse(&key)?;
            if frames.len() >= count && frames.last().is_some_and(|(last, _)| last.received != key.received) {
                return Ok((frames, Some(key.received)));
            }
            if key.profile == profile {
                frames.push((key, raw::decode(key, &value)?));
            }
        }
        Ok((frames, None))
    }
}

/// Raw frames with their keys, and from where to go on.
pub type RawPage = (Vec<(RawKey, RawFrame)>, Option<Timestamp>);

/// Letters that are read between two looks at what is there.
const LETTERS_PER_BITE: usize = 256;

/// Which dead letters. What is not set lets everything through.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LetterFilter {
    pub device: Option<DeviceId>,
    pub profile: Option<ProfileId>,
    pub codec: Option<CodecName>,
    pub stage: Option<FailureStage>,
    /// Received from here on
    pub since: Option<Timestamp>,
    /// and before here.
    pub until: Option<Timestamp>,
}

impl LetterFilter {
    /// What can be told without reading the letter.
    fn may_hold(&self, facts: &dead::Facts) -> bool {
        self.device.is_none_or(|device| facts.device == device)
            && self.profile.is_none_or(|profile| facts.profile == profile)
            && self.since.is_none_or(|since| facts.received >= since)
            && self.until.is_none_or(|until| facts.received < until)
    }

    /// What only the letter tells: codec and stage.
    pub fn holds(&self, letter: &DeadLetter) -> bool {
        let is_of = |codec: &CodecName| letter.codec.as_ref().is_some_and(|stamp| stamp.name == *codec);
        self.codec.as_ref().is_none_or(is_of) && self.stage.is_none_or(|stage| letter.stage == stage)
    }
}

/// The device's number and the device.
pub(crate) fn read_device(value: &[u8]) -> Result<(u32, Device), ReadError> {
    let mut reader = Reader::new(value);
    let number = u32::from_be_bytes(reader.array()?);
    Ok((number, parse(reader.rest())?))
}

pub(crate) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, ReadError> {
    serde_json::from_slice(json).map_err(|_| ReadError::Damaged { what: "a record is not what its key says" })
}

impl Core {
    fn all<T: DeserializeOwned>(&self, prefix: u8) -> Result<Vec<T>, ReadError> {
        let mut records = Vec::new();
        self.each(prefix, |_, value| {
            records.push(parse(value)?);
            Ok(())
        })?;
        Ok(records)
    }

    pub(crate) fn each(
        &self,
        prefix: u8,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        for guard in self.records.prefix([prefix]) {
            let (key, value) = guard.into_inner()?;
            visit(&key, &value)?;
        }
        Ok(())
    }
}
