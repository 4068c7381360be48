//! One version called outside the workers, frame after frame: its instance is reused and thrown away as a worker does it.

use std::sync::Arc;

use wireglot_model::{CodecStamp, Decoded, FailureStage, ProfileLimits};

use crate::load::LoadedCodec;
use crate::{DecodeFailure, Frame, Session};

/// A version under the settings, limits and isolation of a profile, for one thread.
pub struct RenewingSession {
    codec: Arc<LoadedCodec>,
    settings: Arc<str>,
    limits: Arc<ProfileLimits>,
    isolate_messages: bool,
    session: Option<Session>,
    calls: u32,
}

impl RenewingSession {
    /// Its instance is made by the first frame, or by `ready`.
    pub fn new(
        codec: Arc<LoadedCodec>,
        settings: &Arc<str>,
        limits: &Arc<ProfileLimits>,
        isolate_messages: bool,
    ) -> Self {
        let (settings, limits) = (Arc::clone(settings), Arc::clone(limits));
        Self { codec, settings, limits, isolate_messages, session: None, calls: 0 }
    }

    /// Name, version and hash.
    pub fn stamp(&self) -> &CodecStamp {
        self.codec.stamp()
    }

    /// Makes an instance where there is none: which settings are refused is known before any frame.
    pub fn ready(&mut self) -> Result<(), DecodeFailure> {
        if self.session.is_none() {
            self.session = Some(self.codec.session_under(&self.settings, &self.limits)?);
        }
        Ok(())
    }

    /// Translates one frame.
    pub fn decode(&mut self, frame: &Frame<'_>) -> Result<Decoded, DecodeFailure> {
        let result = self.call(frame)?;
        self.settle(&result);
        result
    }

    pub(crate) fn codec(&self) -> &Arc<LoadedCodec> {
        &self.codec
    }

    /// The call alone, so that it can be timed; `settle` follows. The outer failure: there is no instance to call.
    pub(crate) fn call(
        &mut self,
        frame: &Frame<'_>,
    ) -> Result<Result<Decoded, DecodeFailure>, DecodeFailure> {
        self.ready()?;
        Ok(self.session.as_mut().expect("`ready` has just made it").decode(frame))
    }

    /// Lets go of an instance that is broken, has served its time, or is for one message only.
    pub(crate) fn settle(&mut self, result: &Result<Decoded, DecodeFailure>) {
        self.calls = self.calls.saturating_add(1);
        let is_whole = result.as_ref().err().is_none_or(|failure| failure.stage == FailureStage::Refused);
        let calls_max = self.codec.parts.limits.calls_per_instance_max.max(1);
        if !is_whole
            || self.isolate_messages
            || self.calls.is_multiple_of(calls_max)
            || self.session.as_ref().is_some_and(|session| session.guest.past_memory_mark())
        {
            self.session = None;
        }
    }
}
