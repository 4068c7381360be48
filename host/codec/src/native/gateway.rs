//! The JSON of gateways (gateway API §3): one message about many devices, each of which is read for itself.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

use wireglot_model::gateway::{
    GatewayAttributeRequest, GatewayPart, GatewayRefusal, GatewaySaid, PartBody, RawElement, Transit,
};
use wireglot_model::limits::KEY_CHARS_MAX;
use wireglot_model::value::write_json_string;
use wireglot_model::{Sample, Timestamp, Value, number};

use super::read::{self, Members, Node};
use super::write::{whole, write_attribute_delete, write_attribute_update, write_rpc_request};
use super::{JsonRefusal, JsonRules, Place, text_of, typing};

/// `{"device":"A","type":"Thermostat"}`.
pub fn gateway_connect(payload: &[u8]) -> Result<GatewaySaid, GatewayRefusal> {
    let text = text_of(payload);
    let members = object(&text)?;
    let device = named(&members)?;
    let profile = match member(&members, "type") {
        None | Some(Node::Null) => None,
        Some(node) => Some(typing::scalar_text(node).ok_or_else(|| structure("type", "must be a text"))?),
    };
    let profile = profile.map(|profile| profile.into_owned()).filter(|profile| !profile.trim().is_empty());
    Ok(GatewaySaid::Connect { device, profile })
}

/// `{"device":"A"}`.
pub fn gateway_disconnect(payload: &[u8]) -> Result<GatewaySaid, GatewayRefusal> {
    let text = text_of(payload);
    Ok(GatewaySaid::Disconnect { device: named(&object(&text)?)? })
}

/// `{"id":1,"device":"A","client":true,"key":"k"}`, or `keys`, an array; or `"client":["a"],"shared":["b"]` without both.
pub fn gateway_attribute_request(payload: &[u8]) -> Result<GatewaySaid, GatewayRefusal> {
    let text = text_of(payload);
    let members = object(&text)?;
    let (device, id) = (device(&members)?, id(&members)?);
    let (key, keys) = (member(&members, "key"), member(&members, "keys"));
    let request = match (key, keys, member(&members, "client"), member(&members, "shared")) {
        (None, None, Some(Node::Array(_)) | None, Some(Node::Array(_)))
        | (None, None, Some(Node::Array(_)), None) => GatewayAttributeRequest {
            device,
            id,
            client_keys: key_list(&members, "client")?,
            shared_keys: key_list(&members, "shared")?,
        },
        (None, None, ..) => {
            return Err(structure("key", "is missing: 'key', 'keys' or two lists say what is asked for"));
        }
        (key, _, client, _) => {
            let client = client.and_then(typing::scalar_text);
            let client = client.ok_or_else(|| structure("client", "must be true or false"))?;
            let keys = match key {
                Some(key) => vec![key_text(key, "key")?],
                None => key_list(&members, "keys")?,
            };
            GatewayAttributeRequest::of_scope(device, id, client.eq_ignore_ascii_case("true"), keys)
        }
    };
    Ok(GatewaySaid::AttributeRequest(request))
}

/// `{"device":"A","id":0,"data":…}`.
pub fn gateway_rpc_response(payload: &[u8]) -> Result<GatewaySaid, GatewayRefusal> {
    let text = text_of(payload);
    let members = object(&text)?;
    let data = member(&members, "data").ok_or_else(|| structure("data", "is missing"))?;
    Ok(GatewaySaid::RpcResponse { device: device(&members)?, id: id(&members)?, payload: whole(data) })
}

/// `{"A":{"secretKey":"s","durationMs":60000},"B":{}}`.
pub fn gateway_claim(payload: &[u8]) -> Result<GatewaySaid, GatewayRefusal> {
    parts(payload, |node| match node {
        Node::Object(members) => Some(
            super::provision::claim_of(&members)
                .map(|(secret, duration_ms)| PartBody::Claim { secret, duration_ms })
                .map_err(|refusal| refusal.to_string()),
        ),
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Array(_) => None,
    })
}

impl JsonRules {
    /// `{"A":[{"ts":1,"values":{…}},{…}],"B":[…]}`.
    pub fn gateway_telemetry(&self, payload: &[u8]) -> Result<GatewaySaid, GatewayRefusal> {
        parts(payload, |node| match node {
            Node::Array(elements) => Some(self.elements(elements).map_err(|refusal| refusal.to_string())),
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Object(_) => None,
        })
    }

    /// `{"A":{"k":"v"},"B":{…}}`.
    pub fn gateway_attributes(&self, payload: &[u8]) -> Result<GatewaySaid, GatewayRefusal> {
        parts(payload, |node| match node {
            Node::Object(members) => {
                let samples = self.samples(members, Place::default());
                Some(samples.map(PartBody::Attributes).map_err(|refusal| refusal.to_string()))
            }
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Array(_) => None,
        })
    }

    fn elements(&self, elements: Vec<Node<'_>>) -> Result<PartBody, JsonRefusal> {
        let (mut measurements, mut frames, mut transits) = (Vec::new(), Vec::new(), Vec::new());
        for (index, element) in elements.into_iter().enumerate() {
            let place = Place { element: Some(index), ..Place::default() };
            let Node::Object(mut members) = element else {
                return Err(place.refuse("an element of a telemetry array must be an object"));
            };
            if let Some(at) = members.iter().position(|(name, _)| name == "metadata") {
                let (_, metadata) = members.remove(at);
                transits.push(transit(&metadata, place.within("metadata"))?);
            }
            let frame = frame(&members);
            let measurement = self.record(members, place)?;
            match frame {
                Some((ts, base64)) => frames.push(RawElement { ts, base64, otherwise: measurement }),
                None if measurement.samples.is_empty() => {}
                None => measurements.push(measurement),
            }
        }
        Ok(PartBody::Telemetry { measurements, frames, transits })
    }
}

/// The parts at these places of a message, each as a message of its own. Telemetry has arrays for parts, the others
/// objects.
pub fn gateway_part_payloads(payload: &[u8], is_telemetry: bool, wanted: &[usize]) -> Vec<Vec<u8>> {
    let text = text_of(payload);
    let Ok(Node::Object(members)) = read::document(&text) else { return Vec::new() };
    let is_part = |node: &Node<'_>| match node {
        Node::Array(_) => is_telemetry,
        Node::Object(_) => !is_telemetry,
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => false,
    };
    let usable: Vec<_> = members.iter().filter(|(_, node)| is_part(node)).collect();
    let one = |index: &usize| {
        let (name, node) = usable.get(*index)?;
        let mut out = String::from("{");
        write_json_string(name, &mut out);
        out.push(':');
        out.push_str(&whole(node));
        out.push('}');
        Some(out.into_bytes())
    };
    wanted.iter().filter_map(one).collect()
}

/// `{"device":"A","data":{"k":"v"}}`.
pub fn write_gateway_attribute_update(device: &str, samples: &[Sample]) -> String {
    enveloped(device, &write_attribute_update(samples))
}

/// `{"device":"A","data":{"deleted":["k"]}}`.
pub fn write_gateway_attribute_delete(device: &str, keys: &[String]) -> String {
    enveloped(device, &write_attribute_delete(keys))
}

/// `{"device":"A","data":{"id":0,"method":"m","params":…}}`; `params` is JSON text.
pub fn write_gateway_rpc_request(device: &str, id: i32, method: &str, params: &str) -> String {
    let request = write_rpc_request(method, params);
    // The id stands first; the rest is what a device of its own gets.
    let rest = request.strip_prefix('{').unwrap_or(&request);
    enveloped(device, &format!("{{\"id\":{id},{rest}"))
}

/// The answer to an attribute request: `value` where one key was asked for, or where everything was and is one.
pub fn write_gateway_attribute_response(
    request: &GatewayAttributeRequest,
    client: &[Sample],
    shared: &[Sample],
) -> String {
    let mut out = format!("{{\"id\":{},\"device\":", request.id);
    write_json_string(&request.device, &mut out);
    if request.is_multiple(client, shared) {
        // Of a key in both scopes the shared one counts.
        let is_shared: HashSet<&str> = shared.iter().map(|sample| sample.key.as_str()).collect();
        let own = client.iter().filter(|sample| !is_shared.contains(sample.key.as_str()));
        let samples: Vec<Sample> = own.chain(shared).cloned().collect();
        if !samples.is_empty() {
            out.push_str(",\"values\":");
            out.push_str(&write_attribute_update(&samples));
        }
    } else if let Some(sample) = client.iter().chain(shared).next() {
        out.push_str(",\"value\":");
        sample.value.write_json(&mut out);
    }
    out.push('}');
    out
}

/// `{"device":"A","reason":150}`.
pub fn write_gateway_disconnect(device: &str, reason: u8) -> String {
    let mut out = String::from("{\"device\":");
    write_json_string(device, &mut out);
    write!(out, ",\"reason\":{reason}}}").expect("writing to a String cannot fail");
    out
}

fn enveloped(device: &str, data: &str) -> String {
    let mut out = String::from("{\"device\":");
    write_json_string(device, &mut out);
    out.push_str(",\"data\":");
    out.push_str(data);
    out.push('}');
    out
}

/// The members of the message that are of the right kind; none of them is an error.
fn parts(
    payload: &[u8],
    mut read: impl FnMut(Node<'_>) -> Option<Result<PartBody, String>>,
) -> Result<GatewaySaid, GatewayRefusal> {
    let text = text_of(payload);
    let members = object(&text)?;
    let part = |(name, node): (Cow<'_, str>, Node<'_>)| {
        Some(GatewayPart { body: read(node)?, device: name.into_owned() })
    };
    let parts: Vec<GatewayPart> = members.into_iter().filter_map(part).collect();
    if parts.is_empty() {
        return Err(GatewayRefusal::Structure("payload: no member says anything of a device".to_owned()));
    }
    Ok(GatewaySaid::Parts(parts))
}

fn object(text: &str) -> Result<Members<'_>, GatewayRefusal> {
    // Nothing is the JSON null here (gateway API §4.2).
    if text.trim().is_empty() {
        return Err(structure("", "must be an object"));
    }
    match read::document(text) {
        Ok(Node::Object(members)) => Ok(members),
        Ok(Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Array(_)) => {
            Err(structure("", "must be an object"))
        }
        Err(refusal) => Err(GatewayRefusal::Malformed(refusal.to_string())),
    }
}

fn structure(name: &'static str, problem: &'static str) -> GatewayRefusal {
    GatewayRefusal::Structure(Place::default().within(name).refuse(problem).to_string())
}

fn member<'n, 'a>(members: &'n Members<'a>, name: &str) -> Option<&'n Node<'a>> {
    members.iter().find(|(key, _)| key == name).map(|(_, node)| node)
}

fn device(members: &Members<'_>) -> Result<String, GatewayRefusal> {
    let device = member(members, "device").and_then(typing::scalar_text);
    device
        .map(|device| device.into_owned())
        .ok_or_else(|| structure("device", "is missing, and must be a text"))
}

/// A name that is looked at before the device is looked for.
fn named(members: &Members<'_>) -> Result<String, GatewayRefusal> {
    let device = device(members)?;
    if device.is_empty() { Err(structure("device", "must not be empty")) } else { Ok(device) }
}

fn id(members: &Members<'_>) -> Result<i32, GatewayRefusal> {
    let id = match member(members, "id") {
        Some(Node::Number(text)) => number::truncated(text),
        Some(Node::Text(text)) => number::integer(text),
        Some(Node::Null | Node::Bool(_) | Node::Array(_) | Node::Object(_)) | None => None,
    };
    id.and_then(|id| i32::try_from(id).ok()).ok_or_else(|| structure("id", "must be a 32-bit integer"))
}

/// A list of keys, each once; none where there is no such member.
fn key_list(members: &Members<'_>, name: &'static str) -> Result<Vec<String>, GatewayRefusal> {
    let keys = match member(members, name) {
        None => return Ok(Vec::new()),
        Some(Node::Array(keys)) => keys,
        Some(_) => return Err(structure(name, "must be an array of texts")),
    };
    let mut keys = keys.iter().map(|key| key_text(key, name)).collect::<Result<Vec<_>, _>>()?;
    let mut seen = HashSet::new();
    keys.retain(|key| seen.insert(key.clone()));
    Ok(keys)
}

fn key_text(node: &Node<'_>, name: &'static str) -> Result<String, GatewayRefusal> {
    let text = typing::scalar_text(node).ok_or_else(|| structure(name, "must be a text"))?;
    Ok(text.into_owned())
}

/// The time and the base64 of an element that says only `raw`.
fn frame(members: &Members<'_>) -> Option<(Option<Timestamp>, String)> {
    let (mut ts, mut base64) = (None, None);
    for (name, node) in members {
        match (name.as_ref(), node) {
            ("raw", Node::Text(text)) => base64 = Some(text.clone().into_owned()),
            ("ts", node) => ts = Some(Timestamp(typing::timestamp(node).ok()?)),
            _ => return None,
        }
    }
    Some((ts, base64?))
}

fn transit(node: &Node<'_>, place: Place) -> Result<Transit, JsonRefusal> {
    let Node::Object(members) = node else { return Err(place.refuse("must be an object")) };
    let time = |name: &'static str, problem| {
        member(members, name)
            .and_then(|node| typing::timestamp(node).ok())
            .ok_or_else(|| place.refuse(problem))
    };
    let connector = member(members, "connector").and_then(typing::scalar_text);
    let connector = connector.filter(|connector| connector.len() <= KEY_CHARS_MAX);
    Ok(Transit {
        connector: connector
            .ok_or_else(|| place.refuse("'connector' must be a text of at most 255 bytes"))?
            .into_owned(),
        received: time("receivedTs", "'receivedTs' must be a time in milliseconds")?,
        published: time("publishedTs", "'publishedTs' must be a time in milliseconds")?,
    })
}

/// The value of the telemetry key `gatewayMetrics`.
pub fn gateway_metrics(connectors: impl IntoIterator<Item = (String, [i64; 6])>) -> Value {
    const NAMES: [&str; 6] = [
        "avgGwLatency",
        "minGwLatency",
        "maxGwLatency",
        "avgTransportLatency",
        "minTransportLatency",
        "maxTransportLatency",
    ];
    let one = |numbers: [i64; 6]| {
        let members = NAMES.iter().zip(numbers).map(|(name, number)| ((*name).to_owned(), number.into()));
        serde_json::Value::Object(members.collect())
    };
    let all = connectors.into_iter().map(|(connector, numbers)| (connector, one(numbers)));
    Value::Json(serde_json::Value::Object(all.collect()).to_string())
}

#[cfg(test)]
mod tests;
