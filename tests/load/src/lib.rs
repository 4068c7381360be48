//! Load generator: many MQTT connections on one thread, cheap enough to share a machine with what it measures.
//!
//! It writes packets by hand from a template and reads acknowledgements in place, because a client library would
//! cost more than the servers under test. It tells apart what was sent, what was acknowledged and what was lost,
//! so the system tests use it as well.

pub mod account;
pub mod download;
pub mod fleet;
pub mod frame;
pub mod gateway;
pub mod latency;
pub mod listeners;
pub mod wire;
