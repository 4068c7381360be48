//! A well-behaved codec that tells what it was told: every fact of a frame becomes a value of its name.
//!
//! A frame that begins with FF is refused, and one that begins with FE asks for attributes.

use wireglot_sdk::ValueType::{Long, Text};
use wireglot_sdk::{hex, keys, malformed};
use wireglot_sdk::{
    AddressedMessage, AttributeRequest, Codec, Decoded, Message, Metadata, Refusal, Samples, Settings, Uplink,
};

struct Echo;

wireglot_sdk::export!(Echo);

impl Codec for Echo {
    fn describe() -> Metadata {
        Metadata {
            name: "echo".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            vendor: "Wireglot tests".into(),
            summary: "Tells what it was told".into(),
            keys: keys(&[("receivedMs", Long, "ms", ""), ("*", Text, "", "")]),
            encodes: false,
        }
    }

    fn configure(_: &Settings) -> Result<Self, String> {
        Ok(Self)
    }

    fn decode(&self, uplink: Uplink) -> Result<Decoded, Refusal> {
        match uplink.payload.first() {
            Some(0xff) => Err(malformed("offset 0: FF")),
            Some(0xfe) => {
                let request = AttributeRequest { id: 1, client_keys: Vec::new(), shared_keys: Vec::new() };
                let body = Message::AttributeRequest(request);
                let messages = vec![AddressedMessage { device: None, body }];
                Ok(Decoded { messages, warnings: Vec::new() })
            }
            Some(_) | None => {
                let mut values = Samples::new();
                values.text("payload", hex(&uplink.payload)).text("topic", &uplink.topic);
                values.text("device", &uplink.device).text("profile", &uplink.profile);
                values.long("receivedMs", uplink.received_ms);
                for (name, value) in &uplink.metadata {
                    values.text(name, value);
                }
                Ok(values.into())
            }
        }
    }
}
