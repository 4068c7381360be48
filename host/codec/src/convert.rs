//! Between the types of the contract and those of the product. Every rule of a valid result is checked here, once.
//!
//! Strings move from one to the other; nothing is copied but the vectors that hold them.

use serde::de::IgnoredAny;
use wireglot_model::limits::{CODEC_REASON_BYTES_MAX, KEY_CHARS_MAX, PACKET_BYTES_MAX};
use wireglot_model::value::compact_json;
use wireglot_model::{
    Decoded, Downlink, FailureStage, Measurement, Sample, Timestamp, Uplink, UplinkBody, Value,
};

use crate::bindings::wireglot::codec::types as wit;
use crate::engine::CodecLimits;
use crate::error::bounded;
use crate::{Frame, Outgoing};

/// A result that breaks a rule.
#[derive(Debug)]
pub(crate) struct Invalid {
    pub(crate) stage: FailureStage,
    pub(crate) reason: String,
}

fn invalid(reason: impl Into<String>) -> Invalid {
    Invalid { stage: FailureStage::InvalidResult, reason: reason.into() }
}

fn over_large(reason: impl Into<String>) -> Invalid {
    Invalid { stage: FailureStage::OverLarge, reason: reason.into() }
}

/// The frame as the codec sees it. `metadata` is the frame's own, borrowed pair by pair.
pub(crate) fn uplink<'a>(frame: &Frame<'a>, metadata: &'a [(&'a str, &'a str)]) -> wit::Uplink<'a> {
    wit::Uplink {
        payload: frame.payload,
        topic: frame.topic,
        received_ms: frame.received.0,
        device: frame.device,
        profile: frame.profile,
        metadata,
    }
}

/// What a refusal says.
pub(crate) fn refusal(refusal: wit::Refusal) -> String {
    bounded(match refusal {
        wit::Refusal::Malformed(reason) => format!("malformed: {reason}"),
        wit::Refusal::Unsupported(reason) => format!("unsupported: {reason}"),
    })
}

/// The codec's result, checked.
pub(crate) fn decoded(result: wit::Decoded, limits: &CodecLimits) -> Result<Decoded, Invalid> {
    if result.messages.len() > limits.messages_max {
        return Err(over_large(format!(
            "{} messages in one result; at most {} are allowed",
            result.messages.len(),
            limits.messages_max
        )));
    }
    let mut samples_left = SamplesLeft { count: limits.samples_max, of: limits.samples_max };
    let uplinks = result
        .messages
        .into_iter()
        .map(|message| addressed(message, &mut samples_left))
        .collect::<Result<_, _>>()?;
    let mut warnings = result.warnings;
    warnings.truncate(limits.warnings_max);
    for warning in &mut warnings {
        if warning.len() > CODEC_REASON_BYTES_MAX {
            *warning = bounded(std::mem::take(warning));
        }
    }
    Ok(Decoded { uplinks, warnings })
}

fn addressed(message: wit::AddressedMessage, samples_left: &mut SamplesLeft) -> Result<Uplink, Invalid> {
    if let Some(device) = &message.device {
        check_name(device).map_err(|problem| invalid(format!("a child device's name {problem}")))?;
    }
    let body = match message.body {
        wit::Message::Telemetry(measurements) => UplinkBody::Telemetry(
            measurements.into_iter().map(|m| measurement(m, samples_left)).collect::<Result<_, _>>()?,
        ),
        wit::Message::Attributes(values) => UplinkBody::Attributes(samples(values, samples_left)?),
        wit::Message::RpcResponse(response) => {
            check_json(&response.payload).map_err(|error| invalid(format!("an RPC response {error}")))?;
            UplinkBody::RpcResponse { id: response.id, payload: response.payload }
        }
        wit::Message::AttributeRequest(request) => {
            take(samples_left, request.client_keys.len().saturating_add(request.shared_keys.len()))?;
            UplinkBody::AttributeRequest {
                id: request.id,
                client_keys: request.client_keys,
                shared_keys: request.shared_keys,
            }
        }
        wit::Message::ClientRpc(call) => {
            check_json(&call.params).map_err(|error| invalid(format!("the parameters of a call {error}")))?;
            UplinkBody::ClientRpc { id: call.id, method: call.method, params: call.params }
        }
    };
    Ok(Uplink { child: message.device, body })
}

fn measurement(
    measurement: wit::Measurement,
    samples_left: &mut SamplesLeft,
) -> Result<Measurement, Invalid> {
    if measurement.values.is_empty() {
        // One without samples counts as one: a million empty ones are no result either.
        take(samples_left, 1)?;
    }
    Ok(Measurement { ts: measurement.ts.map(Timestamp), samples: samples(measurement.values, samples_left)? })
}

fn samples(values: Vec<wit::SampleResult>, samples_left: &mut SamplesLeft) -> Result<Vec<Sample>, Invalid> {
    take(samples_left, values.len())?;
    values.into_iter().map(sample).collect()
}

/// How many samples the rest of a result may have.
struct SamplesLeft {
    count: usize,
    of: usize,
}

fn take(samples_left: &mut SamplesLeft, count: usize) -> Result<(), Invalid> {
    samples_left.count = samples_left
        .count
        .checked_sub(count)
        .ok_or_else(|| over_large(format!("more than {} values in one result", samples_left.of)))?;
    Ok(())
}

fn sample(sample: wit::SampleResult) -> Result<Sample, Invalid> {
    let wit::SampleResult { key, value } = sample;
    check_name(&key).map_err(|problem| invalid(format!("a key {problem}")))?;
    let value = match value {
        wit::ValueResult::Boolean(value) => Value::Bool(value),
        wit::ValueResult::Long(value) => Value::Long(value),
        wit::ValueResult::Double(value) if value.is_finite() => Value::Double(value),
        wit::ValueResult::Double(value) => return Err(invalid(format!("{value} for key `{key}`"))),
        wit::ValueResult::Text(text) => Value::Text(text),
        wit::ValueResult::Json(text) => {
            check_json(&text).map_err(|error| invalid(format!("the value of key `{key}` {error}")))?;
            Value::Json(compact_json(text))
        }
    };
    Ok(Sample { key, value })
}

fn check_name(name: &str) -> Result<(), String> {
    // Bytes bound characters, so the usual short name is never counted.
    if name.len() > KEY_CHARS_MAX && name.chars().count() > KEY_CHARS_MAX {
        return Err(format!("is longer than {KEY_CHARS_MAX} characters"));
    }
    if name.chars().all(char::is_whitespace) {
        return Err("is blank".to_owned());
    }
    Ok(())
}

fn check_json(text: &str) -> Result<(), String> {
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|error| format!("is not JSON: {error}"))
}

/// The command as the codec sees it; `None` for what never reaches a codec.
pub(crate) fn command(downlink: &Downlink) -> Option<CommandParts<'_>> {
    match downlink {
        Downlink::AttributeUpdate(values) => Some(CommandParts::Update(sample_params(values))),
        Downlink::AttributeDelete(keys) => {
            Some(CommandParts::Delete(keys.iter().map(String::as_str).collect()))
        }
        Downlink::AttributeResponse { id, client, shared } => Some(CommandParts::Response {
            id: *id,
            client: sample_params(client),
            shared: sample_params(shared),
        }),
        Downlink::RpcRequest { id, method, params } => Some(CommandParts::Call { id: *id, method, params }),
        Downlink::ClientRpcAnswer { id, payload, .. } => Some(CommandParts::CallAnswer { id: *id, payload }),
        Downlink::Close(_) => None,
    }
}

/// The lists that a command borrows from.
pub(crate) enum CommandParts<'a> {
    Update(Vec<wit::SampleParam<'a>>),
    Delete(Vec<&'a str>),
    Response { id: i32, client: Vec<wit::SampleParam<'a>>, shared: Vec<wit::SampleParam<'a>> },
    Call { id: i32, method: &'a str, params: &'a str },
    CallAnswer { id: i32, payload: &'a str },
}

impl CommandParts<'_> {
    pub(crate) fn command(&self) -> wit::Command<'_> {
        match self {
            Self::Update(values) => wit::Command::AttributeUpdate(values),
            Self::Delete(keys) => wit::Command::AttributeDelete(keys),
            Self::Response { id, client, shared } => {
                wit::Command::AttributeResponse(wit::AttributeResponse { id: *id, client, shared })
            }
            Self::Call { id, method, params } => {
                wit::Command::RpcRequest(wit::RpcRequest { id: *id, method, params })
            }
            Self::CallAnswer { id, payload } => {
                wit::Command::RpcResponse(wit::RpcResponseParam { id: *id, payload })
            }
        }
    }
}

fn sample_params(samples: &[Sample]) -> Vec<wit::SampleParam<'_>> {
    samples
        .iter()
        .map(|sample| wit::SampleParam {
            key: &sample.key,
            value: match &sample.value {
                Value::Bool(value) => wit::ValueParam::Boolean(*value),
                Value::Long(value) => wit::ValueParam::Long(*value),
                Value::Double(value) => wit::ValueParam::Double(*value),
                Value::Text(text) => wit::ValueParam::Text(text),
                Value::Json(text) => wit::ValueParam::Json(text),
            },
        })
        .collect()
}

/// What a responder answers, checked.
pub(crate) fn answer(json: String) -> Result<String, Invalid> {
    check_json(&json).map_err(|error| invalid(format!("the answer {error}")))?;
    Ok(json)
}

/// What the codec wants published, checked.
pub(crate) fn outgoing(result: Vec<wit::Outgoing>, limits: &CodecLimits) -> Result<Vec<Outgoing>, Invalid> {
    if result.len() > limits.messages_max {
        return Err(over_large(format!(
            "{} frames in one result; at most {} are allowed",
            result.len(),
            limits.messages_max
        )));
    }
    result
        .into_iter()
        .map(|out| {
            if out.payload.len() > PACKET_BYTES_MAX {
                return Err(over_large(format!(
                    "a frame of {} bytes; at most {PACKET_BYTES_MAX} are allowed",
                    out.payload.len()
                )));
            }
            if let Some(topic) = &out.topic
                && (topic.is_empty()
                    || topic.len() > usize::from(u16::MAX)
                    || topic.contains(['+', '#', '\0']))
            {
                return Err(invalid("a topic that nothing can be published on"));
            }
            Ok(Outgoing { topic: out.topic, payload: out.payload, metadata: out.metadata })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, value: wit::ValueResult, expected: Result<Value, FailureStage>) {
        let result = sample(wit::SampleResult { key: key.to_owned(), value });
        assert_eq!(result.map(|sample| sample.value).map_err(|invalid| invalid.stage), expected, "{key:?}");
    }

    #[test]
    fn keys_are_named_and_bounded() {
        let long = |value| wit::ValueResult::Long(value);
        for key in ["t", "ä", &"a".repeat(KEY_CHARS_MAX), &"ä".repeat(KEY_CHARS_MAX), " t"] {
            check(key, long(1), Ok(Value::Long(1)));
        }
        for key in ["", " ", "\t\n", "\u{a0}", &"a".repeat(KEY_CHARS_MAX + 1)] {
            check(key, long(1), Err(FailureStage::InvalidResult));
        }
    }

    #[test]
    fn only_finite_numbers_are_stored() {
        check("t", wit::ValueResult::Double(-0.0), Ok(Value::Double(-0.0)));
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            check("t", wit::ValueResult::Double(value), Err(FailureStage::InvalidResult));
        }
    }

    #[test]
    fn json_is_valid_and_compact() {
        let json = |text: &str| wit::ValueResult::Json(text.to_owned());
        check(
            "t",
            json("{ \"a b\" : [ 1,\n\"\\\" \" ] }"),
            Ok(Value::Json("{\"a b\":[1,\"\\\" \"]}".into())),
        );
        check("t", json("1"), Ok(Value::Json("1".into())));
        for text in ["", "{", "{a:1}", "1 2", "NaN", &"[".repeat(10_000)] {
            check("t", json(text), Err(FailureStage::InvalidResult));
        }
    }

    #[test]
    fn results_are_bounded() {
        let telemetry = |samples: usize| wit::AddressedMessage {
            device: None,
            body: wit::Message::Telemetry(vec![wit::Measurement {
                ts: None,
                values: (0..samples)
                    .map(|_| wit::SampleResult { key: "k".into(), value: wit::ValueResult::Boolean(true) })
                    .collect(),
            }]),
        };
        let usual = CodecLimits::default();
        let narrow = CodecLimits { messages_max: 2, samples_max: 5, warnings_max: 0, ..usual };
        for limits in [usual, narrow] {
            let result = |messages, warnings| {
                decoded(wit::Decoded { messages, warnings }, &limits).map_err(|error| error.stage)
            };
            assert!(result(vec![telemetry(limits.samples_max)], vec![]).is_ok());
            assert_eq!(result(vec![telemetry(limits.samples_max + 1)], vec![]), Err(FailureStage::OverLarge));
            let full = vec![telemetry(limits.samples_max), telemetry(0)];
            assert_eq!(result(full, vec![]), Err(FailureStage::OverLarge));
            let many = (0..=limits.messages_max).map(|_| telemetry(0)).collect();
            assert_eq!(result(many, vec![]), Err(FailureStage::OverLarge));
            let warned = result(vec![], vec!["ä".repeat(CODEC_REASON_BYTES_MAX); 100]).unwrap();
            assert_eq!(warned.warnings.len(), limits.warnings_max);
            assert!(
                warned
                    .warnings
                    .iter()
                    .all(|warning| warning.len() <= CODEC_REASON_BYTES_MAX + '…'.len_utf8())
            );
        }
    }
}
