//! The built-in JSON payloads: device API §8, §11.2/§11.3 for attribute requests and what is written back, and the
//! gateway API (`gateway.rs`).
//!
//! It guards that no payload can panic, recurse without end or expand a number without bound, and that a value is
//! typed from the text that the device sent, never from a double in between.
//!
//! There is one reader for strict and for lenient JSON (`read.rs`). Upstream's grammar is Gson's lenient one:
//! `;`, `=>`, omitted elements, bare words of any characters. No JSON5 crate reads it, strict JSON is a part of
//! it, and reading strict JSON with it costs what a `serde_json` pass over raw values costs (1.0 µs for an object of
//! eight members, typed), which lenient devices would pay on top. `serde_json` is the judge in the tests and in the
//! fuzz target instead.
//!
//! Not here: topics and request ids (`route`), what is done with the values (`device`).

mod gateway;
mod management;
mod provision;
mod read;
mod typing;
mod write;

pub use gateway::{
    gateway_attribute_request, gateway_claim, gateway_connect, gateway_disconnect, gateway_metrics,
    gateway_part_payloads, gateway_rpc_response, write_gateway_attribute_delete,
    write_gateway_attribute_response, write_gateway_attribute_update, write_gateway_disconnect,
    write_gateway_rpc_request,
};
pub use management::{saved_attributes, saved_telemetry};
pub use provision::{ProvisionRefusal, claim, provision_request, write_provision_answer};
pub use write::{
    write_attribute_delete, write_attribute_request, write_attribute_response, write_attribute_update,
    write_error, write_numbered_rpc_request, write_rpc_request,
};

use std::borrow::Cow;

use read::{Members, Node};
use wireglot_model::limits::KEY_CHARS_MAX;
use wireglot_model::{Measurement, Sample, Timestamp, is_storable_key, split_keys};

/// Why a JSON payload is refused: what is wrong, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JsonRefusal {
    /// The text is not JSON, also read leniently.
    #[error("not JSON: {problem} at byte {at}")]
    Syntax {
        /// What was expected or found.
        problem: &'static str,
        /// Offset in the text; a byte that is not UTF-8 counts as the three of U+FFFD.
        at: usize,
    },
    /// JSON, but not what the call takes.
    #[error("{path}: {problem}")]
    Content {
        /// Where, as `payload`, `[2].values` or `temperature`.
        path: String,
        /// What is wrong there.
        problem: &'static str,
    },
}

/// The two settings of device API §1 that change what a JSON value becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JsonRules {
    /// Strings that look like numbers become numbers, and numbers that fit no type become strings.
    pub type_cast: bool,
    /// Longest string value of a sample, in UTF-16 units; `None`: the packet is the limit.
    pub string_units_max: Option<usize>,
}

impl Default for JsonRules {
    fn default() -> Self {
        Self { type_cast: true, string_units_max: None }
    }
}

/// Telemetry by the default rules; see [`JsonRules::telemetry`].
pub fn telemetry(payload: &[u8]) -> Result<Vec<Measurement>, JsonRefusal> {
    JsonRules::default().telemetry(payload)
}

/// Client attributes by the default rules; see [`JsonRules::attributes`].
pub fn attributes(payload: &[u8]) -> Result<Vec<Sample>, JsonRefusal> {
    JsonRules::default().attributes(payload)
}

impl JsonRules {
    /// Every form of §8.2. Records without values are left out, so `{}` and `[]` give an empty list.
    pub fn telemetry(&self, payload: &[u8]) -> Result<Vec<Measurement>, JsonRefusal> {
        self.telemetry_of(read::document(&text_of(payload))?)
    }

    fn telemetry_of(&self, document: Node<'_>) -> Result<Vec<Measurement>, JsonRefusal> {
        let mut measurements = Vec::new();
        let mut keep = |measurement: Measurement| {
            if !measurement.samples.is_empty() {
                measurements.push(measurement);
            }
        };
        match document {
            Node::Object(members) => keep(self.record(members, Place::default())?),
            Node::Array(elements) => {
                for (index, element) in elements.into_iter().enumerate() {
                    let place = Place { element: Some(index), ..Place::default() };
                    let Node::Object(members) = element else {
                        return Err(place.refuse("an element of a telemetry array must be an object"));
                    };
                    keep(self.record(members, place)?);
                }
            }
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => {
                return Err(Place::default().refuse("telemetry must be an object or an array of objects"));
            }
        }
        Ok(measurements)
    }

    /// The object of §8.5.
    pub fn attributes(&self, payload: &[u8]) -> Result<Vec<Sample>, JsonRefusal> {
        let text = text_of(payload);
        match read::document(&text)? {
            Node::Object(members) => self.samples(members, Place::default()),
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Array(_) => {
                Err(Place::default().refuse("attributes must be an object"))
            }
        }
    }

    /// One record: timestamped only if it has both `ts` and `values`, whose neighbours then count for nothing.
    fn record(&self, mut members: Members<'_>, place: Place) -> Result<Measurement, JsonRefusal> {
        let position = |name: &str| members.iter().position(|(key, _)| key == name);
        let (Some(ts), Some(values)) = (position("ts"), position("values")) else {
            return Ok(Measurement { ts: None, samples: self.samples(members, place)? });
        };
        let mut take =
            |index: usize| members.get_mut(index).map_or(Node::Null, |(_, node)| std::mem::take(node));
        let (ts, values) = (take(ts), take(values));
        let ts = typing::timestamp(&ts).map_err(|problem| place.within("ts").refuse(problem))?;
        let place = place.within("values");
        let Node::Object(members) = values else {
            return Err(place.refuse("the values of a timestamped record must be an object"));
        };
        Ok(Measurement { ts: Some(Timestamp(ts)), samples: self.samples(members, place)? })
    }

    fn samples(&self, members: Members<'_>, place: Place) -> Result<Vec<Sample>, JsonRefusal> {
        let mut samples = Vec::with_capacity(members.len());
        for (key, node) in members {
            match typing::value(node, self) {
                Ok(Some(value)) if is_storable_key(&key) => {
                    samples.push(Sample { key: key.into_owned(), value })
                }
                Ok(_) => {}
                Err(problem) => return Err(place.refuse_key(&key, problem)),
            }
        }
        Ok(samples)
    }
}

/// The client and the shared keys of an attribute request (§11.2). Both lists empty: everything of both scopes.
pub fn attribute_request(payload: &[u8]) -> Result<(Vec<String>, Vec<String>), JsonRefusal> {
    let text = text_of(payload);
    let Node::Object(members) = read::document(&text)? else {
        return Err(Place::default().refuse("an attribute request must be an object"));
    };
    let keys = |name: &'static str| match members.iter().find(|(key, _)| key == name) {
        None => Ok(Vec::new()),
        Some((_, node)) => match typing::scalar_text(node) {
            Some(list) => Ok(split_keys(&list)),
            None => {
                Err(Place::default().within(name).refuse("the keys must be one text, separated by commas"))
            }
        },
    };
    Ok((keys("clientKeys")?, keys("sharedKeys")?))
}

/// The method and the parameters, as JSON text, of a client-side RPC (§13).
pub fn client_rpc(payload: &[u8]) -> Result<(String, String), JsonRefusal> {
    let text = text_of(payload);
    let Node::Object(members) = read::document(&text)? else {
        return Err(Place::default().refuse("a call must be an object"));
    };
    let member = |name: &'static str| members.iter().find(|(key, _)| key == name).map(|(_, node)| node);
    let method = member("method").and_then(typing::scalar_text);
    let wrong = || Place::default().within("method").refuse("a call must name its method, as a text");
    let method = method.ok_or_else(wrong)?.into_owned();
    Ok((method, member("params").map_or_else(|| "null".to_owned(), write::whole)))
}

fn text_of(payload: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(payload) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(payload),
    }
}

/// Where in a payload something is, kept unwritten until something is wrong there.
#[derive(Clone, Copy, Default)]
struct Place {
    element: Option<usize>,
    member: Option<&'static str>,
}

impl Place {
    fn within(self, member: &'static str) -> Self {
        Self { member: Some(member), ..self }
    }

    fn refuse(self, problem: &'static str) -> JsonRefusal {
        self.refuse_key("", problem)
    }

    fn refuse_key(self, key: &str, problem: &'static str) -> JsonRefusal {
        // A key may be as long as the packet; a reason is read by people.
        let key: String = key.chars().take(KEY_CHARS_MAX).collect();
        let element = self.element.map(|index| format!("[{index}]"));
        let steps = [element.as_deref(), self.member, Some(key.as_str())];
        let mut path = String::new();
        for step in steps.into_iter().flatten().filter(|step| !step.is_empty()) {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(step);
        }
        if path.is_empty() {
            path.push_str("payload");
        }
        JsonRefusal::Content { path, problem }
    }
}

#[cfg(test)]
mod tests;
