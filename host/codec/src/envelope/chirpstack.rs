//! Events of ChirpStack 4: `integration.UplinkEvent` and its like as JSON, on `application/ID/device/EUI/event/EVENT`.

use serde_json::Value as Json;
use wireglot_model::Timestamp;

use super::{Carried, EnvelopeError, Facts};
use super::{best_reception, bytes, dev_eui, f_port, fact, member, receipt, refuse, text};

const MODULATIONS: [&str; 3] = ["lora", "fsk", "lrFhss"];

/// Whether the topic alone says that this is no uplink.
pub(super) fn is_other_event(topic: &str) -> bool {
    event(topic).is_some_and(|event| event != "up")
}

/// The kind of event, where the topic is of ChirpStack's default form.
fn event(topic: &str) -> Option<&str> {
    let (rest, event) = topic.rsplit_once('/')?;
    (rest == "event" || rest.ends_with("/event")).then_some(event)
}

pub(super) fn unwrap(
    topic: &str,
    message: &Json,
    received: Timestamp,
) -> Result<Option<Carried>, EnvelopeError> {
    let Some(device) = member(message, "deviceInfo").filter(|device| device.is_object()) else {
        return Err(refuse("there is no 'deviceInfo': this is not an event of ChirpStack 4"));
    };
    // On a topic of the operator's own making, only uplinks know of receptions and data.
    let is_uplink =
        event(topic).is_some() || ["rxInfo", "data"].iter().any(|name| member(message, name).is_some());
    if !is_uplink {
        return Ok(None);
    }
    let is_encrypted = |context: &Json| {
        context
            .as_object()
            .is_some_and(|context| context.values().any(|key| key.is_object() || fact(key).is_some()))
    };
    if member(message, "joinServerContext").is_some_and(is_encrypted) {
        return Err(refuse(
            "the payload is still encrypted: ChirpStack does not have the AppSKey of this device",
        ));
    }
    let payload = bytes(message, "data")?;
    let port = f_port(message, "fPort")?;
    if payload.is_empty() && port.is_none() {
        return Ok(None);
    }
    let dev_eui = dev_eui(device, "devEui");
    let mut facts = Facts::default();
    facts.tell("fPort", port.map(|port| port.to_string()));
    facts.tell_count("fCnt", message, "fCnt");
    facts.tell("devEui", dev_eui.clone());
    facts.tell("devAddr", text(message, "devAddr").map(|address| address.to_ascii_lowercase()));
    facts.tell_member("confirmed", Some(message), "confirmed");
    facts.tell_count("dr", message, "dr");
    tell_transmission(&mut facts, member(message, "txInfo"));
    let receptions = member(message, "rxInfo");
    if let Some(best) = best_reception(receptions) {
        facts.tell_member("gatewayId", Some(best), "gatewayId");
        facts.tell_member("rssi", Some(best), "rssi");
        facts.tell_count("snr", best, "snr");
        facts.tell("gateways", receptions.and_then(Json::as_array).map(|all| all.len().to_string()));
    }
    Ok(Some(Carried {
        name: text(device, "deviceName"),
        dev_eui,
        payload,
        received: receipt(member(message, "time"), received),
        metadata: facts.0,
    }))
}

fn tell_transmission(facts: &mut Facts, transmission: Option<&Json>) {
    facts.tell_member("frequency", transmission, "frequency");
    let modulation = transmission.and_then(|transmission| member(transmission, "modulation"));
    let name = MODULATIONS.iter().find(|name| modulation.and_then(|kinds| member(kinds, name)).is_some());
    facts.tell("modulation", name.copied());
    if let Some(lora) = modulation.and_then(|kinds| member(kinds, "lora")) {
        facts.tell_member("spreadingFactor", Some(lora), "spreadingFactor");
        facts.tell_member("bandwidth", Some(lora), "bandwidth");
        facts.tell("codeRate", text(lora, "codeRate").map(|rate| code_rate(&rate)));
    }
}

/// `CR_4_5` as `4/5`, and `CR_LI_4_5` as `4/5LI`, as The Things Stack writes them.
fn code_rate(name: &str) -> String {
    let rate = name.strip_prefix("CR_").unwrap_or(name);
    match rate.strip_prefix("LI_") {
        Some(rate) => rate.replace('_', "/") + "LI",
        None => rate.replace('_', "/"),
    }
}
