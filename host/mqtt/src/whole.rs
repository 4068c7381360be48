//! Publishes as a whole: ntex-mqtt tells of one as soon as its head is there, and gives a payload that is still on the
//! way when all of it has come.

use ntex::util::Bytes;
use wireglot_model::limits::PACKET_BYTES_MAX;

use crate::ack::Close;

/// The publish of a connection whose payload is still on the way, if there is one; `P` is its head.
pub(crate) struct Whole<P>(Option<P>);

impl<P> Whole<P> {
    pub(crate) fn new() -> Self {
        Self(None)
    }

    /// A head, which announces so many bytes of payload in a packet of this size. Comes back with its payload where
    /// that is there already.
    pub(crate) fn begin(
        &mut self,
        head: P,
        announced: u32,
        payload: Bytes,
        size: u32,
    ) -> Result<Option<(P, Bytes)>, Close> {
        if size as usize > PACKET_BYTES_MAX || announced > size {
            return Err(Close::Malformed);
        }
        if announced as usize > payload.len() {
            self.0 = Some(head);
            return Ok(None);
        }
        Ok(Some((head, payload)))
    }

    /// The payload of the head before.
    pub(crate) fn end(&mut self, payload: Bytes, is_last: bool) -> Result<Option<(P, Bytes)>, Close> {
        match self.0.take() {
            Some(head) if is_last => Ok(Some((head, payload))),
            Some(_) | None => Err(Close::Malformed),
        }
    }
}
