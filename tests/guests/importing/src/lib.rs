//! Is a codec in every respect but one: it asks the host for a clock.

#[cfg(target_arch = "wasm32")]
mod component {
    use self::wireglot::codec::types::{AddressedMessage, Measurement, Message, Sample, Value};

    wit_bindgen::generate!({ world: "importing", path: "wit", generate_all });

    struct Importing;

    impl Guest for Importing {
        fn describe() -> Metadata {
            Metadata {
                name: "importing".into(),
                version: "1.0.0".into(),
                vendor: "Wireglot tests".into(),
                summary: "Asks for a clock; for tests only".into(),
                keys: Vec::new(),
                encodes: false,
            }
        }

        fn configure(_: String) -> Result<(), String> {
            Ok(())
        }

        fn decode(_: Uplink) -> Result<Decoded, Refusal> {
            let now = Sample { key: "t".into(), value: Value::Long(test::importing::clock::now_ms()) };
            let body = Message::Telemetry(vec![Measurement { ts: None, values: vec![now] }]);
            Ok(Decoded { messages: vec![AddressedMessage { device: None, body }], warnings: Vec::new() })
        }

        fn encode(_: Downlink) -> Result<Vec<Outgoing>, Refusal> {
            Ok(Vec::new())
        }
    }

    export!(Importing);
}
