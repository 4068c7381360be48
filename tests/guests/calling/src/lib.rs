//! A codec whose frames are calls: the text of a frame is the method, and an answer is a frame of its id and its text.

use wireglot_sdk::{keys, unsupported};
use wireglot_sdk::{
    AddressedMessage, ClientRpc, Codec, Command, Decoded, Downlink, Message, Metadata, Outgoing, Refusal,
    Settings, Uplink,
};

struct Calling;

wireglot_sdk::export!(Calling);

impl Codec for Calling {
    fn describe() -> Metadata {
        Metadata {
            name: "calling".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            vendor: "Wireglot tests".into(),
            summary: "Frames are calls".into(),
            keys: keys(&[]),
            encodes: true,
        }
    }

    fn configure(_: &Settings) -> Result<Self, String> {
        Ok(Self)
    }

    fn decode(&self, uplink: Uplink) -> Result<Decoded, Refusal> {
        let method = String::from_utf8_lossy(&uplink.payload).into_owned();
        let body = Message::ClientRpc(ClientRpc { id: 9, method, params: "{\"from\":\"a frame\"}".into() });
        Ok(Decoded { messages: vec![AddressedMessage { device: None, body }], warnings: Vec::new() })
    }

    fn encode(&self, downlink: Downlink) -> Result<Vec<Outgoing>, Refusal> {
        match downlink.command {
            Command::RpcResponse(answer) => {
                let payload = format!("{}={}", answer.id, answer.payload).into_bytes();
                Ok(vec![Outgoing { topic: None, payload, metadata: Vec::new() }])
            }
            _ => Err(unsupported("frames are answers")),
        }
    }
}
