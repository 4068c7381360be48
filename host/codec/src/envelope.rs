//! Envelopes: the JSON in which a network server publishes the frames of its devices, taken off before a codec is called.
//!
//! Pure: the same payload with the same time of receipt gives the same frame, so a replay takes the same path. What
//! decides over the frame (payload, port, device) must be as the server documents it, or the envelope is refused. Facts
//! of the radio are told as far as they are there.
//!
//! Both servers write protobuf as JSON: a member may be missing or null where it is zero or empty, and a number may be
//! text. Which device of ours is meant, and whether it may be made, is decided in the crate `device`.

mod chirpstack;
mod tts;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value as Json;
use wireglot_model::limits::{ENVELOPE_AHEAD_MS_MAX, ENVELOPE_TIME_MS_MIN};
use wireglot_model::{CarriedNames, Envelope, Timestamp};

use crate::error::bounded;

/// A frame that was in an envelope.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Carried {
    /// What the network server calls the device.
    pub name: Option<String>,
    /// The device's DevEUI: 16 hexadecimal digits in lower case.
    pub dev_eui: Option<String>,
    /// The frame.
    pub payload: Vec<u8>,
    /// When the network server received it.
    pub received: Timestamp,
    /// Facts for the codec; their names are in docs/writing-codecs.md.
    pub metadata: Vec<(String, String)>,
}

/// Why an envelope cannot be taken off.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct EnvelopeError(String);

/// Takes a frame out of its envelope. `None`: the message is one of the server's that carries no frame for an
/// application, such as a join, an acknowledgement or an uplink of MAC commands only.
pub fn unwrap(
    envelope: Envelope,
    topic: &str,
    payload: &[u8],
    received: Timestamp,
) -> Result<Option<Carried>, EnvelopeError> {
    if envelope == Envelope::Chirpstack && chirpstack::is_other_event(topic) {
        return Ok(None);
    }
    let message: Json = serde_json::from_slice(payload)
        .map_err(|error| refuse(format!("the envelope of {} is not JSON: {error}", title(envelope))))?;
    match envelope {
        Envelope::Chirpstack => chirpstack::unwrap(topic, &message, received),
        Envelope::Tts => tts::unwrap(&message, received),
    }
}

impl Carried {
    /// What the device is called here.
    pub fn device_name(&self, names: CarriedNames) -> Result<&str, EnvelopeError> {
        let (name, what) = match names {
            CarriedNames::Name => (&self.name, "name"),
            CarriedNames::DevEui => (&self.dev_eui, "DevEUI"),
        };
        name.as_deref().ok_or_else(|| refuse(format!("the envelope has no {what} of its device")))
    }
}

fn title(envelope: Envelope) -> &'static str {
    match envelope {
        Envelope::Chirpstack => "ChirpStack",
        Envelope::Tts => "The Things Stack",
    }
}

fn refuse(reason: impl Into<String>) -> EnvelopeError {
    EnvelopeError(bounded(reason.into()))
}

/// A member that is there; null is as good as missing.
fn member<'a>(object: &'a Json, name: &str) -> Option<&'a Json> {
    object.get(name).filter(|value| !value.is_null())
}

fn text(object: &Json, name: &str) -> Option<String> {
    member(object, name).and_then(Json::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn dev_eui(object: &Json, name: &str) -> Option<String> {
    let eui = text(object, name)?;
    let is_eui = eui.len() == 16 && eui.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_eui.then(|| eui.to_ascii_lowercase())
}

fn bytes(object: &Json, name: &str) -> Result<Vec<u8>, EnvelopeError> {
    // Protobuf's JSON may be in either alphabet, with padding or without.
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);
    match member(object, name) {
        None => Ok(Vec::new()),
        Some(Json::String(text)) => {
            let engine = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
            engine.decode(text).map_err(|error| refuse(format!("'{name}' is not base64: {error}")))
        }
        Some(_) => Err(refuse(format!("'{name}' is not base64: it is no text"))),
    }
}

/// `None`: port 0, on which only MAC commands travel, or no port at all.
fn f_port(object: &Json, name: &str) -> Result<Option<u8>, EnvelopeError> {
    let Some(value) = member(object, name) else { return Ok(None) };
    let port = fact(value).and_then(|port| port.parse::<u8>().ok());
    let port = port.ok_or_else(|| refuse(format!("'{name}' is not a port from 0 to 255")))?;
    Ok((port > 0).then_some(port))
}

fn receipt(stated: Option<&Json>, received: Timestamp) -> Timestamp {
    received_at(stated.and_then(Json::as_str).and_then(Timestamp::parse_rfc3339), received)
}

/// When a frame was received by whoever brings it: their clock is right as long as it makes sense; else ours is.
pub fn received_at(stated: Option<Timestamp>, received: Timestamp) -> Timestamp {
    let latest = received.0.saturating_add(ENVELOPE_AHEAD_MS_MAX);
    stated.filter(|stated| (ENVELOPE_TIME_MS_MIN..=latest).contains(&stated.0)).unwrap_or(received)
}

/// A scalar as text.
fn fact(value: &Json) -> Option<String> {
    match value {
        Json::String(text) if !text.is_empty() => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(value) => Some(value.to_string()),
        Json::String(_) | Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// The reception with the best signal-to-noise ratio, and of equal ones the loudest.
fn best_reception(receptions: Option<&Json>) -> Option<&Json> {
    let number = |reception: &Json, name| member(reception, name).and_then(Json::as_f64);
    let rank = |reception: &Json| {
        // Zero is what a missing ratio means; no signal arrives at 0 dBm.
        (number(reception, "snr").unwrap_or(0.0), number(reception, "rssi").unwrap_or(f64::NEG_INFINITY))
    };
    let better = |one: &&Json, other: &&Json| {
        let ((snr, rssi), (other_snr, other_rssi)) = (rank(one), rank(other));
        snr.total_cmp(&other_snr).then(rssi.total_cmp(&other_rssi))
    };
    receptions.and_then(Json::as_array)?.iter().filter(|reception| reception.is_object()).max_by(better)
}

/// The facts of one frame, in the making.
#[derive(Default)]
struct Facts(Vec<(String, String)>);

impl Facts {
    fn tell(&mut self, name: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.0.push((name.to_owned(), value.into()));
        }
    }

    fn tell_member(&mut self, name: &str, object: Option<&Json>, member_name: &str) {
        self.tell(name, object.and_then(|object| member(object, member_name)).and_then(fact));
    }

    /// A count that is zero where it is missing.
    fn tell_count(&mut self, name: &str, object: &Json, member_name: &str) {
        let count = member(object, member_name).and_then(fact).unwrap_or_else(|| "0".to_owned());
        self.tell(name, Some(count));
    }
}

#[cfg(test)]
mod tests;
