//! The key layout: which keyspace holds what under which key. docs/storage.md shows the same table, and a test
//! compares them.

use wireglot_model::{
    ApiKeyId, CredentialsId, CustomerId, DeviceId, OtaKind, OtaPackageId, ProfileId, RpcId, Scope, Timestamp,
    UserId,
};

use crate::error::ReadError;

/// What this version writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 1;

/// Every keyspace of the engine.
pub(crate) const RECORDS: &str = "records";
pub(crate) const LOG: &str = "log";
pub(crate) const CHUNKS: &str = "chunks";
pub(crate) const DEAD: &str = "dead";
pub(crate) const RAW: &str = "raw";

/// The first byte of every key in `records`.
pub(crate) mod prefix {
    pub(crate) const FORMAT: u8 = b'f';
    pub(crate) const DEVICE: u8 = b'd';
    pub(crate) const PROFILE: u8 = b'p';
    pub(crate) const CREDENTIALS: u8 = b'c';
    pub(crate) const USER: u8 = b'u';
    pub(crate) const SETTING: u8 = b's';
    pub(crate) const ATTRIBUTE: u8 = b'a';
    pub(crate) const KEY: u8 = b'k';
    pub(crate) const SHAPE: u8 = b'h';
    pub(crate) const STAMP: u8 = b'v';
    pub(crate) const NEXT_DEVICE: u8 = b'n';
    pub(crate) const DELETED: u8 = b'x';
    pub(crate) const AUDIT: u8 = b'j';
    pub(crate) const CUSTOMER: u8 = b'b';
    pub(crate) const CLAIM: u8 = b'm';
    pub(crate) const OTA_PACKAGE: u8 = b'o';
    pub(crate) const OTA_UPDATE: u8 = b'w';
    pub(crate) const RPC: u8 = b'r';
    pub(crate) const DEPARTED: u8 = b'g';
    pub(crate) const API_KEY: u8 = b'y';
    pub(crate) const ENDED_SESSION: u8 = b'e';
    /// In `dead`: who and how large, so that the letters themselves need not be read to count them.
    pub(crate) const DEAD_FACTS: u8 = b'i';
    /// In `dead`: the letter.
    pub(crate) const DEAD_LETTER: u8 = b'l';
}

/// In `chunks`: the record that tells up to where the log has become chunks. No device has number 0.
pub(crate) const MARK: [u8; 4] = [0; 4];
/// In `chunks`, after the device number: its latest values, then its chunks.
const HEAD: u8 = 0;
const CHUNK: u8 = 1;

fn prefixed(prefix: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(prefix);
    key.extend_from_slice(rest);
    key
}

pub(crate) fn device(id: DeviceId) -> Vec<u8> {
    prefixed(prefix::DEVICE, id.0.as_bytes())
}

pub(crate) fn profile(id: ProfileId) -> Vec<u8> {
    prefixed(prefix::PROFILE, id.0.as_bytes())
}

pub(crate) fn credentials(id: CredentialsId) -> Vec<u8> {
    prefixed(prefix::CREDENTIALS, id.0.as_bytes())
}

pub(crate) fn user(id: UserId) -> Vec<u8> {
    prefixed(prefix::USER, id.0.as_bytes())
}

pub(crate) fn customer(id: CustomerId) -> Vec<u8> {
    prefixed(prefix::CUSTOMER, id.0.as_bytes())
}

pub(crate) fn claim(device: DeviceId) -> Vec<u8> {
    prefixed(prefix::CLAIM, device.0.as_bytes())
}

pub(crate) fn ota_package(id: OtaPackageId) -> Vec<u8> {
    prefixed(prefix::OTA_PACKAGE, id.0.as_bytes())
}

pub(crate) fn ota_update(device: DeviceId, kind: OtaKind) -> Vec<u8> {
    let mut key = prefixed(prefix::OTA_UPDATE, device.0.as_bytes());
    key.push(match kind {
        OtaKind::Firmware => 0,
        OtaKind::Software => 1,
    });
    key
}

pub(crate) fn rpc(id: RpcId) -> Vec<u8> {
    prefixed(prefix::RPC, id.0.as_bytes())
}

pub(crate) fn departed(device: DeviceId) -> Vec<u8> {
    prefixed(prefix::DEPARTED, device.0.as_bytes())
}

/// The device of a record that goes with it, where the key begins with it.
pub(crate) fn property_of(key: &[u8]) -> Option<DeviceId> {
    owner(key).filter(|_| key.first() != Some(&prefix::DEPARTED))
}

/// The device of a record that belongs to one, where the key begins with it.
pub(crate) fn owner(key: &[u8]) -> Option<DeviceId> {
    let (prefix, rest) = key.split_first()?;
    let (device, _) = rest.split_first_chunk::<16>()?;
    let is_owned =
        matches!(*prefix, prefix::ATTRIBUTE | prefix::CLAIM | prefix::OTA_UPDATE | prefix::DEPARTED);
    is_owned.then(|| DeviceId(uuid::Uuid::from_bytes(*device)))
}

pub(crate) fn api_key(id: ApiKeyId) -> Vec<u8> {
    prefixed(prefix::API_KEY, id.0.as_bytes())
}

pub(crate) fn ended_session(session: uuid::Uuid) -> Vec<u8> {
    prefixed(prefix::ENDED_SESSION, session.as_bytes())
}

pub(crate) fn read_ended_session(key: &[u8]) -> Result<uuid::Uuid, ReadError> {
    let session = key.split_first().and_then(|(_, rest)| uuid::Uuid::from_slice(rest).ok());
    session.ok_or(ReadError::Damaged { what: "the key of a session that has ended" })
}

pub(crate) fn setting(name: &str) -> Vec<u8> {
    prefixed(prefix::SETTING, name.as_bytes())
}

pub(crate) fn attributes_of(device: DeviceId) -> Vec<u8> {
    prefixed(prefix::ATTRIBUTE, device.0.as_bytes())
}

pub(crate) fn attribute(device: DeviceId, scope: Scope, key: &str) -> Vec<u8> {
    let mut bytes = attributes_of(device);
    bytes.push(match scope {
        Scope::Client => 0,
        Scope::Shared => 1,
        Scope::Server => 2,
    });
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

pub(crate) fn read_attribute(key: &[u8]) -> Result<(DeviceId, Scope, &str), ReadError> {
    const DAMAGED: ReadError = ReadError::Damaged { what: "the key of an attribute" };
    let (_, rest) = key.split_first().ok_or(DAMAGED)?;
    let (device, rest) = rest.split_first_chunk::<16>().ok_or(DAMAGED)?;
    let (scope, name) = rest.split_first().ok_or(DAMAGED)?;
    let scope = match scope {
        0 => Scope::Client,
        1 => Scope::Shared,
        2 => Scope::Server,
        _ => return Err(DAMAGED),
    };
    let name = std::str::from_utf8(name).map_err(|_| DAMAGED)?;
    Ok((DeviceId(uuid::Uuid::from_bytes(*device)), scope, name))
}

/// Dictionary entries and deleted devices: a prefix and a number.
pub(crate) fn numbered(prefix: u8, number: u32) -> Vec<u8> {
    prefixed(prefix, &number.to_be_bytes())
}

/// Dead letters and the audit log: a prefix and a sequence number.
pub(crate) fn sequenced(prefix: u8, sequence: u64) -> Vec<u8> {
    prefixed(prefix, &sequence.to_be_bytes())
}

pub(crate) fn read_sequenced(key: &[u8]) -> Result<u64, ReadError> {
    let (_, rest) = key.split_first().ok_or(ReadError::Damaged { what: "the key of a dead letter" })?;
    rest.try_into()
        .map(u64::from_be_bytes)
        .map_err(|_| ReadError::Damaged { what: "the key of a dead letter" })
}

pub(crate) fn read_numbered(key: &[u8]) -> Result<u32, ReadError> {
    let (_, rest) = key.split_first().ok_or(ReadError::Damaged { what: "the key of a dictionary entry" })?;
    rest.try_into()
        .map(u32::from_be_bytes)
        .map_err(|_| ReadError::Damaged { what: "the key of a dictionary entry" })
}

pub(crate) fn head(device: u32) -> [u8; 5] {
    let [a, b, c, d] = device.to_be_bytes();
    [a, b, c, d, HEAD]
}

/// Everything of one device in `chunks` starts with this.
pub(crate) fn series(device: u32) -> [u8; 4] {
    device.to_be_bytes()
}

/// Where a chunk lies: by device and first time; then by the order in which the chunks were written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct ChunkKey {
    pub(crate) device: u32,
    pub(crate) first: Timestamp,
    pub(crate) epoch: u32,
    pub(crate) index: u32,
}

impl ChunkKey {
    /// Sorts before every chunk of the device that begins at `first` or later.
    pub(crate) fn lowest(device: u32, first: Timestamp) -> Self {
        Self { device, first, epoch: 0, index: 0 }
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut key = Vec::with_capacity(21);
        key.extend_from_slice(&self.device.to_be_bytes());
        key.push(CHUNK);
        // The sign bit is turned so that times before 1970 sort first.
        key.extend_from_slice(&(self.first.0 ^ i64::MIN).to_be_bytes());
        key.extend_from_slice(&self.epoch.to_be_bytes());
        key.extend_from_slice(&self.index.to_be_bytes());
        key
    }

    pub(crate) fn parse(key: &[u8]) -> Result<Self, ReadError> {
        const DAMAGED: ReadError = ReadError::Damaged { what: "the key of a chunk" };
        let (device, rest) = key.split_first_chunk::<4>().ok_or(DAMAGED)?;
        let (kind, rest) = rest.split_first().ok_or(DAMAGED)?;
        let (first, rest) = rest.split_first_chunk::<8>().ok_or(DAMAGED)?;
        let (epoch, rest) = rest.split_first_chunk::<4>().ok_or(DAMAGED)?;
        let index = <[u8; 4]>::try_from(rest).map_err(|_| DAMAGED)?;
        if *kind != CHUNK {
            return Err(DAMAGED);
        }
        Ok(Self {
            device: u32::from_be_bytes(*device),
            first: Timestamp(i64::from_be_bytes(*first) ^ i64::MIN),
            epoch: u32::from_be_bytes(*epoch),
            index: u32::from_be_bytes(index),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../docs/storage.md");

    #[test]
    fn the_page_about_storage_has_every_prefix() {
        let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
        let documented: Vec<u8> =
            rows.filter(|(name, _)| name.len() == 1).map(|(name, _)| name.as_bytes()[0]).collect();
        let written = [
            prefix::FORMAT,
            prefix::DEVICE,
            prefix::PROFILE,
            prefix::CREDENTIALS,
            prefix::USER,
            prefix::SETTING,
            prefix::ATTRIBUTE,
            prefix::KEY,
            prefix::SHAPE,
            prefix::STAMP,
            prefix::NEXT_DEVICE,
            prefix::DELETED,
            prefix::AUDIT,
            prefix::CUSTOMER,
            prefix::CLAIM,
            prefix::OTA_PACKAGE,
            prefix::OTA_UPDATE,
            prefix::RPC,
            prefix::DEPARTED,
            prefix::API_KEY,
            prefix::ENDED_SESSION,
        ];
        assert_eq!(documented, written);
        for keyspace in [RECORDS, LOG, CHUNKS, DEAD, RAW] {
            assert!(PAGE.contains(&format!("| `{keyspace}` |")), "{keyspace}");
        }
        assert!(PAGE.contains(&format!("Format **{FORMAT}**")));
    }

    #[test]
    fn chunks_sort_by_device_time_and_order_of_writing() {
        let key = |device, first, epoch, index| ChunkKey { device, first: Timestamp(first), epoch, index };
        let sorted = [
            key(1, i64::MIN, 0, 0),
            key(1, -1, 0, 0),
            key(1, 0, 0, 0),
            key(1, 0, 0, 1),
            key(1, 0, 1, 0),
            key(1, i64::MAX, 0, 0),
            key(2, i64::MIN, 0, 0),
        ];
        assert!(sorted.iter().map(|key| key.to_bytes()).is_sorted());
        for key in sorted {
            assert_eq!(ChunkKey::parse(&key.to_bytes()).unwrap(), key);
            assert!(
                key.to_bytes().starts_with(&series(key.device))
                    && head(key.device).as_slice() < key.to_bytes().as_slice()
            );
            assert!(MARK.as_slice() < head(key.device).as_slice());
        }
    }
}
