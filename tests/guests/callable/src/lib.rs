//! A codec of a device that can be asked, in bytes: a request is its id, its method, a space and its parameters, and a
//! response is A5, the id and JSON, on whatever topic. The method `refuse` cannot be put into bytes, `twice` needs two
//! frames, `nothing` none.

use wireglot_sdk::{malformed, unsupported};
use wireglot_sdk::{
    AddressedMessage, Codec, Command, Decoded, Downlink, Message, Metadata, Outgoing, Refusal, RpcResponse,
    Settings, Uplink,
};

struct Callable;

wireglot_sdk::export!(Callable);

impl Codec for Callable {
    fn describe() -> Metadata {
        Metadata {
            name: "callable".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            vendor: "Wireglot tests".into(),
            summary: "Can be asked".into(),
            keys: Vec::new(),
            encodes: true,
        }
    }

    fn configure(_: &Settings) -> Result<Self, String> {
        Ok(Self)
    }

    fn decode(&self, uplink: Uplink) -> Result<Decoded, Refusal> {
        let [0xa5, id, json @ ..] = uplink.payload.as_slice() else { return Err(malformed("no A5")) };
        let payload = String::from_utf8_lossy(json).into_owned();
        let body = Message::RpcResponse(RpcResponse { id: (*id).into(), payload });
        Ok(Decoded { messages: vec![AddressedMessage { device: None, body }], warnings: Vec::new() })
    }

    fn encode(&self, downlink: Downlink) -> Result<Vec<Outgoing>, Refusal> {
        let Command::RpcRequest(request) = downlink.command else { return Err(unsupported("only RPCs")) };
        let frame = Outgoing {
            topic: None,
            payload: format!("{}{} {}", request.id, request.method, request.params).into_bytes(),
            metadata: Vec::new(),
        };
        match request.method.as_str() {
            "refuse" => Err(unsupported("refused as asked")),
            "nothing" => Ok(Vec::new()),
            "twice" => Ok(vec![Outgoing { topic: Some("down".into()), ..frame.clone() }, frame]),
            _ => Ok(vec![frame]),
        }
    }
}
