//! MQTT 3.1, 3.1.1 and 5: from a TCP connection to a durable message and its acknowledgement, and back to the device.
//!
//! The only crate that names ntex-mqtt. Read in the order of a message: `listener` accepts, `entrance` is what a
//! connection passes then (`proxy`, `addresses`, `tls`), `preface` reads the first packet, `connect` lets a device in, `session` is what one connection is, `window` bounds what it has in flight,
//! `publish` is the path of a message, `profile` reads its payload, `carried` the envelopes of network servers, `gateway` what is
//! said for devices behind the connected one and `children` their sub-sessions, `ack` says what it is answered, `limit` how much is taken and `session_limits` tells a device of it, `trace` shows it to
//! whoever watches. `subscribe` and
//! `deliver` are the way back, with `rpc` for what a device is asked, and `client_rpc` for what it asks; `ota` the
//! downloads of packages. `desk` serves devices that hold no connection, each request as a session of one message.
//! `provision` is the other kind of session, of who has no device yet. `converse` is the loop
//! around all that and `v3` and `v5` are what it speaks, with the
//! codecs of ntex-mqtt; `reactor` is the I/O underneath, `worker` is what the sessions of one thread share, `counters`
//! what they count.

mod ack;
mod addresses;
mod carried;
mod children;
mod client_rpc;
mod connect;
mod converse;
mod counters;
mod deliver;
mod desk;
mod entrance;
mod gateway;
mod limit;
mod listener;
mod ota;
mod preface;
mod profile;
mod protobuf;
mod provision;
mod proxy;
mod publish;
mod reactor;
mod rpc;
mod session;
mod session_limits;
mod sparkplug;
mod subscribe;
mod tls;
mod trace;
mod v3;
mod v5;
mod whole;
mod window;
mod worker;

pub use addresses::WrongLogins;
pub use client_rpc::{CallPlaces, ClientRpcConfig, Reply, WebhookCall};
pub use counters::MqttCounters;
pub use listener::{MqttConfig, MqttRunning, StartError, start};
pub use tls::{TlsConfig, TlsError, TlsIdentity, TlsSwitch};

#[cfg(test)]
mod tests;
