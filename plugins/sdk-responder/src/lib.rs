//! What a responder is made of: the contract's types, a reader of flat JSON objects, and one trait.
//!
//! A responder implements [`Responder`] and names itself with [`export!`]. The contract is `wit/responder.wit`; the types
//! here are generated from it. It is a crate of its own because a component is of one world, and `wireglot-sdk` is of the
//! world of codecs. `docs/writing-codecs.md` is the manual.
#![warn(missing_docs)]

#[doc(hidden)]
pub mod bindings;
mod responder;
#[path = "../../sdk/src/settings.rs"]
mod settings;

pub use bindings::wireglot::codec::calls::{Call, Description, Failure};
pub use responder::{failed, quoted, texts, Responder};
pub use settings::{Scalar, Settings};
