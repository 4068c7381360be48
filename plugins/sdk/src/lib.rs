//! What a codec is made of: the contract's types, a reader that cannot run past the end, and builders for results.
//!
//! A codec implements [`Codec`] and names itself with [`export!`]. The contract itself is `wit/codec.wit` and
//! `wit/types.wit`; the types here are generated from it. `docs/writing-codecs.md` is the manual.
#![warn(missing_docs)]

#[doc(hidden)]
pub mod bindings;
mod codec;
#[cfg(target_arch = "wasm32")]
mod heap;
mod metadata;
mod reader;
mod refusal;
mod report;
mod settings;
#[cfg(feature = "vectors")]
pub mod vectors;

pub use bindings::wireglot::codec::types::{
    AddressedMessage, AttributeRequest, AttributeResponse, ClientRpc, Command, Decoded, Downlink,
    KeyDescription, Measurement, Message, Metadata, Outgoing, Refusal, RpcRequest, RpcResponse, Sample,
    Uplink, Value, ValueType,
};
pub use codec::{fact, Codec};
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use heap::open_arena;
pub use metadata::{key, keys};
pub use reader::Reader;
pub use refusal::{malformed, unsupported};
pub use report::{hex, scaled, Report, Samples};
pub use settings::{Scalar, Settings};
