//! The script engine: runs a vendor's unmodified JavaScript codec, in QuickJS inside this component.
//!
//! Read in this order: which settings there are (`options`), how a script is compiled and called (`machine`), what the
//! functions of each convention take and give (`uplink`, `downlink`), how values and failures become the contract's
//! (`values`, `failure`), and what a script cannot see for itself: the time and chance (`ambient`).
#![deny(missing_docs)]

mod ambient;
mod downlink;
mod failure;
mod machine;
mod options;
mod uplink;
mod values;

#[cfg(test)]
mod tests;

use wireglot_sdk::{Codec, Decoded, Downlink, Metadata, Outgoing, Refusal, Settings, Uplink};

use machine::Machine;
use options::Options;

/// One script, compiled.
pub struct Js {
    machine: Machine,
    options: Options,
}

wireglot_sdk::export!(Js);

impl Codec for Js {
    fn describe() -> Metadata {
        Metadata {
            name: "js".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            vendor: "Wireglot".into(),
            summary:
                "Vendor JavaScript: decodeUplink, encodeDownlink, Decoder, Decode and their kin, in QuickJS"
                    .into(),
            keys: Vec::new(),
            encodes: true,
        }
    }

    fn configure(settings: &Settings) -> Result<Self, String> {
        let (options, script) = Options::read(settings)?;
        let machine = Machine::compile(&options, script)?;
        Ok(Self { machine, options })
    }

    fn decode(&self, uplink: Uplink) -> Result<Decoded, Refusal> {
        self.machine.run(uplink.received_ms, |call| uplink::decode(call, &self.options, &uplink))
    }

    fn encode(&self, downlink: Downlink) -> Result<Vec<Outgoing>, Refusal> {
        self.machine.run(downlink.now_ms, |call| downlink::encode(call, &self.options, &downlink))
    }
}
