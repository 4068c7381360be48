//! Results of any kind that a codec may give: no panic, and taken if and only if they obey the contract.

use wireglot_model::limits::{
    CODEC_MESSAGES_MAX, CODEC_REASON_BYTES_MAX, CODEC_SAMPLES_MAX, CODEC_WARNINGS_MAX, KEY_CHARS_MAX,
};
use wireglot_model::{Decoded, FailureStage, Sample, UplinkBody, Value};

use crate::fuzzing::decoded;
use crate::fuzzing::types::{
    AddressedMessage, AttributeRequest, ClientRpc, Decoded as CodecResult, Measurement, Message,
    RpcResponseResult, SampleResult, ValueResult,
};

/// The input is a script that builds one result.
pub fn check(input: &[u8]) {
    let result = Script(input).result();
    let messages = result.messages.len();
    let is_small = messages <= CODEC_MESSAGES_MAX && entries(&result) <= CODEC_SAMPLES_MAX;
    let is_valid = result.messages.iter().all(is_valid_message);
    match decoded(result) {
        Ok(decoded) => {
            assert!(is_small && is_valid);
            assert_eq!(decoded.uplinks.len(), messages);
            check_decoded(&decoded);
        }
        Err(FailureStage::OverLarge) => assert!(!is_small),
        Err(FailureStage::InvalidResult) => assert!(!is_valid),
        Err(stage) => panic!("a result cannot fail at {stage:?}"),
    }
}

fn entries(result: &CodecResult) -> usize {
    let of_message = |message: &AddressedMessage| match &message.body {
        Message::Telemetry(measurements) => measurements.iter().map(|m| m.values.len().max(1)).sum(),
        Message::Attributes(values) => values.len(),
        Message::AttributeRequest(request) => request.client_keys.len() + request.shared_keys.len(),
        Message::RpcResponse(_) | Message::ClientRpc(_) => 0,
    };
    result.messages.iter().map(of_message).sum()
}

fn is_valid_message(message: &AddressedMessage) -> bool {
    let is_body_valid = match &message.body {
        Message::Telemetry(measurements) => measurements.iter().all(|m| m.values.iter().all(is_valid_sample)),
        Message::Attributes(values) => values.iter().all(is_valid_sample),
        Message::RpcResponse(response) => is_json(&response.payload),
        Message::ClientRpc(call) => is_json(&call.params),
        Message::AttributeRequest(_) => true,
    };
    is_body_valid && message.device.as_deref().is_none_or(is_name)
}

fn is_valid_sample(sample: &SampleResult) -> bool {
    let is_value_valid = match &sample.value {
        ValueResult::Double(double) => double.is_finite(),
        ValueResult::Json(text) => is_json(text),
        ValueResult::Boolean(_) | ValueResult::Long(_) | ValueResult::Text(_) => true,
    };
    is_value_valid && is_name(&sample.key)
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

fn is_name(name: &str) -> bool {
    !name.trim().is_empty() && name.chars().count() <= KEY_CHARS_MAX
}

fn check_decoded(decoded: &Decoded) {
    assert!(decoded.warnings.len() <= CODEC_WARNINGS_MAX);
    let warning_bytes_max = CODEC_REASON_BYTES_MAX + '…'.len_utf8();
    assert!(decoded.warnings.iter().all(|warning| warning.len() <= warning_bytes_max));
    for uplink in &decoded.uplinks {
        match &uplink.body {
            UplinkBody::Telemetry(measurements) => {
                measurements.iter().for_each(|measurement| check_samples(&measurement.samples));
            }
            UplinkBody::Attributes(samples) => check_samples(samples),
            UplinkBody::RpcResponse { payload: json, .. } | UplinkBody::ClientRpc { params: json, .. } => {
                assert!(is_json(json));
            }
            UplinkBody::AttributeRequest { .. } => {}
            UplinkBody::SharedAttributes(_) | UplinkBody::Claim { .. } => {
                panic!("the contract of codecs has neither claims nor shared attributes")
            }
        }
    }
}

fn check_samples(samples: &[Sample]) {
    for sample in samples {
        assert!(is_name(&sample.key));
        match &sample.value {
            Value::Double(double) => assert!(double.is_finite()),
            Value::Json(text) => {
                assert!(is_json(text) && text.trim() == text && !text.contains('\n'), "{text}")
            }
            Value::Bool(_) | Value::Long(_) | Value::Text(_) => {}
        }
    }
}

/// Takes a result from bytes; where they end, everything is zero, false and empty.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn result(&mut self) -> CodecResult {
        CodecResult { messages: self.list(2_000, Self::message), warnings: self.list(50, Self::text) }
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    /// Mostly short; 255 means `many`, which only the first item of the list is worth reading for.
    fn list<T>(&mut self, many: usize, item: impl Fn(&mut Self) -> T) -> Vec<T> {
        let length = match self.byte() {
            u8::MAX => many,
            short => usize::from(short % 8),
        };
        (0..length).map(|_| item(self)).collect()
    }

    /// Mostly as it lies there; 255 means a longer one than any limit.
    fn text(&mut self) -> String {
        let length = match self.byte() {
            u8::MAX => return "ä".repeat(600),
            length => usize::from(length).min(self.0.len()),
        };
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }

    fn message(&mut self) -> AddressedMessage {
        let device = if self.byte() % 2 == 1 { Some(self.text()) } else { None };
        let body = match self.byte() % 5 {
            0 => Message::Telemetry(self.list(5_000, Self::measurement)),
            1 => Message::Attributes(self.list(9_000, Self::sample)),
            2 => Message::RpcResponse(RpcResponseResult { id: self.id(), payload: self.text() }),
            3 => Message::AttributeRequest(AttributeRequest {
                id: self.id(),
                client_keys: self.list(5_000, Self::text),
                shared_keys: self.list(5_000, Self::text),
            }),
            _ => Message::ClientRpc(ClientRpc { id: self.id(), method: self.text(), params: self.text() }),
        };
        AddressedMessage { device, body }
    }

    fn id(&mut self) -> i32 {
        i32::from_le_bytes(self.bytes())
    }

    fn measurement(&mut self) -> Measurement {
        let ts = if self.byte() % 2 == 1 { Some(i64::from_le_bytes(self.bytes())) } else { None };
        Measurement { ts, values: self.list(9_000, Self::sample) }
    }

    fn sample(&mut self) -> SampleResult {
        let key = self.text();
        let value = match self.byte() % 5 {
            0 => ValueResult::Boolean(self.byte() % 2 == 1),
            1 => ValueResult::Long(i64::from_le_bytes(self.bytes())),
            2 => ValueResult::Double(f64::from_le_bytes(self.bytes())),
            3 => ValueResult::Text(self.text()),
            _ => ValueResult::Json(self.text()),
        };
        SampleResult { key, value }
    }
}
