//! A responder that goes wrong in the way that a call names.

use wireglot_sdk_responder::{failed, texts, Call, Description, Failure, Responder, Settings};

struct Answering;

wireglot_sdk_responder::export!(Answering);

impl Responder for Answering {
    fn describe() -> Description {
        Description {
            name: "answering".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            vendor: "Wireglot tests".into(),
            summary: "Goes wrong as it is told".into(),
            methods: texts(&["echo", "trap", "spin", "large", "garbage", "fail"]),
            shared_keys: Vec::new(),
        }
    }

    fn configure(settings: &Settings) -> Result<Self, String> {
        settings.only(&["greeting"])?;
        Ok(Self)
    }

    fn answer(&self, call: Call) -> Result<String, Failure> {
        match call.method.as_str() {
            "echo" => Ok(format!("[\"answering\",{}]", call.params)),
            "shown" => Ok(call.shared),
            "trap" => panic!("trap"),
            "spin" => loop {
                std::hint::black_box(());
            },
            "large" => Ok(format!("\"{}\"", "x".repeat(100_000))),
            "garbage" => Ok("{not json".into()),
            "fail" => Err(failed("it is told to")),
            _ => Err(Failure::UnknownMethod),
        }
    }
}
