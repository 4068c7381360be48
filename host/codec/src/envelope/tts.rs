//! Messages of The Things Stack 3: `ttn.lorawan.v3.ApplicationUp` as JSON, with the protobuf's own names.
//!
//! What a message is, its members say; topics are not looked at, because its Pub/Sub integration chooses them freely.

use serde_json::Value as Json;
use wireglot_model::Timestamp;

use super::{Carried, EnvelopeError, Facts};
use super::{best_reception, bytes, dev_eui, f_port, member, receipt, refuse, text};

/// As they are written here, and as codecs are told.
const MODULATIONS: [(&str, &str); 3] = [("lora", "lora"), ("fsk", "fsk"), ("lrfhss", "lrFhss")];

pub(super) fn unwrap(message: &Json, received: Timestamp) -> Result<Option<Carried>, EnvelopeError> {
    let Some(device) = member(message, "end_device_ids").filter(|device| device.is_object()) else {
        return Err(refuse("there is no 'end_device_ids': this is not a message of The Things Stack 3"));
    };
    let Some(uplink) = member(message, "uplink_message") else { return Ok(None) };
    if !uplink.is_object() {
        return Err(refuse("'uplink_message' is not an object"));
    }
    if member(uplink, "app_s_key").is_some() {
        return Err(refuse(
            "the payload is still encrypted: the device skips payload crypto on The Things Stack ('app_s_key')",
        ));
    }
    let payload = bytes(uplink, "frm_payload")?;
    let port = f_port(uplink, "f_port")?;
    if payload.is_empty() && port.is_none() {
        return Ok(None);
    }
    let dev_eui = dev_eui(device, "dev_eui");
    let mut facts = Facts::default();
    facts.tell("fPort", port.map(|port| port.to_string()));
    facts.tell_count("fCnt", uplink, "f_cnt");
    facts.tell("devEui", dev_eui.clone());
    facts.tell("devAddr", text(device, "dev_addr").map(|address| address.to_ascii_lowercase()));
    facts.tell_member("confirmed", Some(uplink), "confirmed");
    tell_transmission(&mut facts, member(uplink, "settings"));
    let receptions = member(uplink, "rx_metadata");
    if let Some(best) = best_reception(receptions) {
        facts.tell_member("gatewayId", member(best, "gateway_ids"), "gateway_id");
        facts.tell_member("rssi", Some(best), "rssi");
        facts.tell_count("snr", best, "snr");
        facts.tell("gateways", receptions.and_then(Json::as_array).map(|all| all.len().to_string()));
    }
    facts.tell_member("simulated", Some(message), "simulated");
    let stated = member(uplink, "received_at").or_else(|| member(message, "received_at"));
    Ok(Some(Carried {
        name: text(device, "device_id"),
        dev_eui,
        payload,
        received: receipt(stated, received),
        metadata: facts.0,
    }))
}

fn tell_transmission(facts: &mut Facts, settings: Option<&Json>) {
    let Some(settings) = settings else { return };
    // Newer servers state the rate itself instead of its index.
    facts.tell_member("dr", Some(settings), "data_rate_index");
    facts.tell_member("frequency", Some(settings), "frequency");
    let rate = member(settings, "data_rate");
    let known = MODULATIONS.iter().find(|(name, _)| rate.and_then(|kinds| member(kinds, name)).is_some());
    facts.tell("modulation", known.map(|(_, name)| *name));
    if let Some(lora) = rate.and_then(|kinds| member(kinds, "lora")) {
        facts.tell_member("spreadingFactor", Some(lora), "spreading_factor");
        facts.tell_member("bandwidth", Some(lora), "bandwidth");
        facts.tell("codeRate", text(lora, "coding_rate").or_else(|| text(settings, "coding_rate")));
    }
}
