//! Reads a frame from front to back and refuses, with offset and field, where it ends too early.

use crate::{malformed, Refusal};

/// A frame and the place that has been reached. Every `take` names the field, for the refusal's text.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

macro_rules! integers {
    ($($be:ident $le:ident $type:ty, $what:literal;)*) => {$(
        #[doc = concat!("The next ", $what, ", big-endian.")]
        pub fn $be(&mut self, field: &str) -> Result<$type, Refusal> {
            Ok(<$type>::from_be_bytes(self.array(field)?))
        }
        #[doc = concat!("The next ", $what, ", little-endian.")]
        pub fn $le(&mut self, field: &str) -> Result<$type, Refusal> {
            Ok(<$type>::from_le_bytes(self.array(field)?))
        }
    )*};
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// How many bytes have been read.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.offset
    }

    /// Whether all bytes have been read.
    pub fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// The next byte, which stays where it is.
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.offset).copied()
    }

    /// The next `count` bytes.
    pub fn bytes(&mut self, count: usize, field: &str) -> Result<&'a [u8], Refusal> {
        match self.bytes.get(self.offset..).and_then(|rest| rest.get(..count)) {
            Some(taken) => {
                self.offset += count;
                Ok(taken)
            }
            None => Err(malformed(format!(
                "offset {}: {count} byte(s) of {field} expected, {} left",
                self.offset,
                self.left()
            ))),
        }
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self, field: &str) -> Result<[u8; N], Refusal> {
        let mut taken = [0; N];
        taken.copy_from_slice(self.bytes(N, field)?);
        Ok(taken)
    }

    /// All bytes that are left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        self.offset = self.bytes.len();
        rest
    }

    /// The next byte.
    pub fn u8(&mut self, field: &str) -> Result<u8, Refusal> {
        Ok(u8::from_be_bytes(self.array(field)?))
    }

    /// The next byte, signed.
    pub fn i8(&mut self, field: &str) -> Result<i8, Refusal> {
        Ok(i8::from_be_bytes(self.array(field)?))
    }

    integers! {
        u16_be u16_le u16, "unsigned 16-bit integer";
        i16_be i16_le i16, "signed 16-bit integer";
        u32_be u32_le u32, "unsigned 32-bit integer";
        i32_be i32_le i32, "signed 32-bit integer";
        f32_be f32_le f32, "32-bit float";
        u64_be u64_le u64, "unsigned 64-bit integer";
    }

    /// The next unsigned 24-bit integer, big-endian.
    pub fn u24_be(&mut self, field: &str) -> Result<u32, Refusal> {
        let [a, b, c] = self.array(field)?;
        Ok(u32::from_be_bytes([0, a, b, c]))
    }

    /// The next unsigned 24-bit integer, little-endian.
    pub fn u24_le(&mut self, field: &str) -> Result<u32, Refusal> {
        let [a, b, c] = self.array(field)?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    /// The next signed 24-bit integer, little-endian.
    pub fn i24_le(&mut self, field: &str) -> Result<i32, Refusal> {
        let [a, b, c] = self.array(field)?;
        Ok(i32::from_be_bytes([c, b, a, 0]) >> 8)
    }

    /// The next signed 24-bit integer, big-endian.
    pub fn i24_be(&mut self, field: &str) -> Result<i32, Refusal> {
        let [a, b, c] = self.array(field)?;
        Ok(i32::from_be_bytes([a, b, c, 0]) >> 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_in_both_orders() {
        let frame = [1, 2, 1, 2, 0xff, 0xff, 0xfe, 0x80, 1, 2, 3];
        let mut reader = Reader::new(&frame);
        assert_eq!(reader.u16_be("a").unwrap(), 0x0102);
        assert_eq!(reader.u16_le("b").unwrap(), 0x0201);
        assert_eq!(reader.i24_be("c").unwrap(), -2);
        assert_eq!(reader.i8("d").unwrap(), -128);
        assert_eq!(reader.u24_le("e").unwrap(), 0x03_02_01);
        assert!(reader.is_empty());
    }

    #[test]
    fn a_short_frame_is_refused_by_offset_and_field() {
        let mut reader = Reader::new(&[1, 2, 3]);
        reader.u16_be("counter").unwrap();
        let Err(Refusal::Malformed(reason)) = reader.u32_le("temperature") else { panic!("must be refused") };
        assert_eq!(reason, "offset 2: 4 byte(s) of temperature expected, 1 left");
        assert_eq!(reader.offset(), 2, "a refused read takes nothing");
        assert!(reader.bytes(usize::MAX, "everything").is_err());
    }
}
