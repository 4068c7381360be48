//! Checksums of packages, spelled as devices compare them: lower-case hexadecimal digits; CRC32 and the murmur hashes
//! with their lowest byte first.

use std::io::{self, BufReader, Read};

use md5::Md5;
use murmur3::{murmur3_32, murmur3_x64_128};
use sha2::digest::Digest;
use sha2::{Sha256, Sha384, Sha512};
use wireglot_model::ChecksumAlgorithm;

const BUFFER_BYTES: usize = 64 * 1024;

/// The checksum of all that `source` has.
pub fn checksum(algorithm: ChecksumAlgorithm, source: impl Read) -> io::Result<String> {
    let mut source = BufReader::with_capacity(BUFFER_BYTES, source);
    match algorithm {
        ChecksumAlgorithm::Md5 => digest::<Md5>(&mut source),
        ChecksumAlgorithm::Sha256 => digest::<Sha256>(&mut source),
        ChecksumAlgorithm::Sha384 => digest::<Sha384>(&mut source),
        ChecksumAlgorithm::Sha512 => digest::<Sha512>(&mut source),
        ChecksumAlgorithm::Crc32 => {
            let mut hasher = crc32fast::Hasher::new();
            each(&mut source, |bytes| hasher.update(bytes))?;
            Ok(hex::encode(hasher.finalize().to_le_bytes()))
        }
        ChecksumAlgorithm::Murmur3With32Bits => Ok(hex::encode(murmur3_32(&mut source, 0)?.to_le_bytes())),
        ChecksumAlgorithm::Murmur3With128Bits => {
            Ok(hex::encode(murmur3_x64_128(&mut source, 0)?.to_le_bytes()))
        }
    }
}

fn digest<D: Digest>(source: &mut impl Read) -> io::Result<String> {
    let mut hasher = D::new();
    each(source, |bytes| hasher.update(bytes))?;
    Ok(hex::encode(hasher.finalize()))
}

fn each(source: &mut impl Read, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(()),
            count => take(buffer.get(..count).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PANGRAM: &str = "The quick brown fox jumps over the lazy dog";

    #[track_caller]
    fn check(algorithm: ChecksumAlgorithm, text: &str, expected: &str) {
        assert_eq!(checksum(algorithm, text.as_bytes()).unwrap(), expected, "{algorithm} of {text:?}");
    }

    #[test]
    fn digests_are_those_of_their_standards() {
        check(ChecksumAlgorithm::Md5, "", "d41d8cd98f00b204e9800998ecf8427e");
        check(ChecksumAlgorithm::Md5, PANGRAM, "9e107d9d372bb6826bd81d3542a419d6");
        check(
            ChecksumAlgorithm::Sha256,
            "abc",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        );
        check(
            ChecksumAlgorithm::Sha384,
            "abc",
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
        );
        check(
            ChecksumAlgorithm::Sha512,
            "abc",
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        );
    }

    #[test]
    fn crc_32_has_its_lowest_byte_first() {
        // The check value of CRC-32 is cbf43926.
        check(ChecksumAlgorithm::Crc32, "123456789", "2639f4cb");
        check(ChecksumAlgorithm::Crc32, PANGRAM, "39a34f41");
        check(ChecksumAlgorithm::Crc32, "", "00000000");
    }

    /// The vectors of Guava's own tests, seed 0, as its hash codes print them.
    #[test]
    fn murmur_hashes_are_guavas() {
        check(ChecksumAlgorithm::Murmur3With32Bits, "", "00000000");
        check(ChecksumAlgorithm::Murmur3With32Bits, "abc", "fa93ddb3");
        check(ChecksumAlgorithm::Murmur3With32Bits, PANGRAM, "23f74f2e");
        check(ChecksumAlgorithm::Murmur3With128Bits, "", "00000000000000000000000000000000");
        check(ChecksumAlgorithm::Murmur3With128Bits, "abc", "6778ad3f3f3f96b4522dca264174a23b");
        check(ChecksumAlgorithm::Murmur3With128Bits, PANGRAM, "6c1b07bc7bbc4be347939ac4a93c437a");
    }

    #[test]
    fn a_file_of_many_buffers_is_read_to_its_end() {
        let bytes: Vec<u8> = (0..3 * BUFFER_BYTES + 7).map(|index| index.to_le_bytes()[0]).collect();
        let whole = checksum(ChecksumAlgorithm::Sha256, bytes.as_slice()).unwrap();
        let cut = checksum(ChecksumAlgorithm::Sha256, bytes.split_last().unwrap().1).unwrap();
        assert_ne!(whole, cut);
        assert_eq!(whole, hex::encode(Sha256::digest(&bytes)));
    }
}
