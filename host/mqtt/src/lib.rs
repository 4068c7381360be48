//! MQTT 3.1, 3.1.1 and 5: from a TCP connection to a durable message and its acknowledgement, and back to the device.
//!
//! The only crate that names ntex-mqtt. Read in the order of a message: `listener` accepts, `preface` reads the first
//! packet, `connect` lets a device in, `session` is what one connection is, `window` bounds what it has in flight,
//! `publish` is the path of a message, `profile` reads its payload, `ack` says what it is answered. `subscribe` and
//! `deliver` are the way back. `v3`, `v5` and `dispatch` are the thin adapters to ntex-mqtt, `worker` is what the
//! sessions of one thread share, `counters` what they count.

mod ack;
mod connect;
mod counters;
mod deliver;
mod dispatch;
mod listener;
mod preface;
mod profile;
mod publish;
mod session;
mod subscribe;
mod v3;
mod v5;
mod window;
mod worker;

pub use counters::MqttCounters;
pub use listener::{MqttConfig, MqttRunning, StartError, start};

#[cfg(test)]
mod tests;
