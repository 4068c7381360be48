//! What a component is: a codec or a responder, and its calls in either case.
//!
//! Everything else about the two is the same: how they are loaded, bounded, swapped, kept and thrown away.

use wasmtime::Store;
use wasmtime::component::{Component, InstancePre};

use crate::bindings::responder::wireglot::codec::calls;
use crate::bindings::responder::{Responder, ResponderPre};
use crate::bindings::wireglot::codec::types as wit;
use crate::bindings::{Codec, CodecPre};
use crate::engine::GuestState;

/// The export by which a responder is known.
const ANSWER: &str = "answer";

/// A linked component.
#[derive(Clone)]
pub(crate) enum WorldPre {
    Codec(CodecPre<GuestState>),
    Responder(ResponderPre<GuestState>),
}

/// An instance.
pub(crate) enum World {
    Codec(Codec),
    Responder(Responder),
}

/// What a component says of itself.
pub(crate) enum Said {
    Codec(wit::Metadata),
    Responder(calls::Description),
}

impl WorldPre {
    /// Checks the component's exports against the world that it is of.
    pub(crate) fn new(
        engine: &wasmtime::Engine,
        component: &Component,
        pre: InstancePre<GuestState>,
    ) -> wasmtime::Result<Self> {
        if component.component_type().exports(engine).any(|(name, _)| name == ANSWER) {
            ResponderPre::new(pre).map(Self::Responder)
        } else {
            CodecPre::new(pre).map(Self::Codec)
        }
    }

    pub(crate) fn instantiate(&self, store: &mut Store<GuestState>) -> wasmtime::Result<World> {
        Ok(match self {
            Self::Codec(pre) => World::Codec(pre.instantiate(store)?),
            Self::Responder(pre) => World::Responder(pre.instantiate(store)?),
        })
    }
}

impl World {
    pub(crate) fn describe(&self, store: &mut Store<GuestState>) -> wasmtime::Result<Said> {
        Ok(match self {
            Self::Codec(codec) => Said::Codec(codec.call_describe(store)?),
            Self::Responder(responder) => Said::Responder(responder.call_describe(store)?),
        })
    }

    pub(crate) fn configure(
        &self,
        store: &mut Store<GuestState>,
        settings: &str,
    ) -> wasmtime::Result<Result<(), String>> {
        match self {
            Self::Codec(codec) => codec.call_configure(store, settings),
            Self::Responder(responder) => responder.call_configure(store, settings),
        }
    }
}
