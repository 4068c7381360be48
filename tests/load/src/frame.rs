//! The frame that the load is made of: a counter and some readings, as small devices send them.
//!
//! The codec `stamp` of `tests/guests` decodes it to eight values, one of which is the counter, and another the
//! codec's own version. So every stored message tells which device message it was, and which version decoded it.

/// Bytes of one frame.
pub const FRAME_BYTES: usize = 32;

/// The frame number `counter` of a device. The first four bytes are the counter.
pub fn frame(counter: u32) -> [u8; FRAME_BYTES] {
    let mut bytes = [0; FRAME_BYTES];
    for (index, slot) in bytes.iter_mut().enumerate() {
        *slot = (index as u8).wrapping_mul(7).wrapping_add(3);
    }
    stamp(&mut bytes, counter);
    bytes
}

/// Writes the counter into a frame that is already there.
pub fn stamp(frame: &mut [u8], counter: u32) {
    if let Some(head) = frame.first_chunk_mut::<4>() {
        *head = counter.to_be_bytes();
    }
}

/// The counter of a frame.
pub fn counter(frame: &[u8]) -> Option<u32> {
    frame.first_chunk::<4>().map(|head| u32::from_be_bytes(*head))
}
