//! The listener over real sockets, with a real store, against bytes written by hand.
//!
//! Devices are named by their access token: `TOK` and `TOK2` speak JSON by the default profile; `accept` and `strict`
//! have profiles that answer a bad payload otherwise; `gateway` and `strict-gateway` may speak for others; `coded` has a codec that is not there.

mod attributes;
mod client_rpc;
mod connect;
mod desk;
mod endings;
mod fuzzed;
mod gateway;
mod harness;
mod limits;
mod ota;
mod provision;
mod publish;
mod rpc;
mod sparkplug;
mod subscribe;
