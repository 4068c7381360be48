//! MQTT 3.1, 3.1.1 and 5: from a TCP connection to a durable message and its acknowledgement, and back to the device.
//!
//! The only crate that names ntex-mqtt. Read in the order of a message: `listener` accepts, `preface` reads the first
//! packet, `connect` lets a device in, `session` is what one connection is, `window` bounds what it has in flight,
//! `publish` is the path of a message, `profile` reads its payload, `carried` the envelopes of network servers, `ack`
//! says what it is answered, `trace` shows it to whoever watches. `subscribe` and
//! `deliver` are the way back. `converse` is the loop around all that and `v3` and `v5` are what it speaks, with the
//! codecs of ntex-mqtt; `reactor` is the I/O underneath, `worker` is what the sessions of one thread share, `counters`
//! what they count.

mod ack;
mod carried;
mod connect;
mod converse;
mod counters;
mod deliver;
mod listener;
mod preface;
mod profile;
mod protobuf;
mod publish;
mod reactor;
mod session;
mod subscribe;
mod trace;
mod v3;
mod v5;
mod window;
mod worker;

pub use counters::MqttCounters;
pub use listener::{MqttConfig, MqttRunning, StartError, start};

#[cfg(test)]
mod tests;
