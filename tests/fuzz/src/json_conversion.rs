//! JSON payloads of any kind: no panic, only storable samples, valid JSON out, and strict JSON as `serde_json` reads it.

use std::collections::BTreeMap;

use serde_json::Value as Judge;
use wireglot_model::limits::KEY_CHARS_MAX;
use wireglot_model::{Sample, Value};

use crate::native::{JsonRules, attribute_request, write_attribute_response, write_attribute_update};

const AS_SENT: JsonRules = JsonRules { type_cast: false, string_units_max: None };
const SHORT_STRINGS: JsonRules = JsonRules { type_cast: true, string_units_max: Some(5) };

/// One payload through every call that takes JSON.
pub fn check(payload: &[u8]) {
    for rules in [JsonRules::default(), AS_SENT, SHORT_STRINGS] {
        let records = rules.telemetry(payload).unwrap_or_default();
        assert!(records.iter().all(|record| !record.samples.is_empty()));
        records.iter().for_each(|record| check_samples(&record.samples));
        check_samples(&rules.attributes(payload).unwrap_or_default());
    }
    if let Ok((client, shared)) = attribute_request(payload) {
        for keys in [client, shared] {
            assert!(keys.iter().all(|key| !key.contains(',')));
        }
    }
    // The judge has no byte order mark and its own depth; what it takes is what counts.
    if let Ok(Judge::Object(judged)) = serde_json::from_slice(payload) {
        check_strict(payload, &judged);
    }
}

fn check_samples(samples: &[Sample]) {
    let mut keys: Vec<&str> = samples.iter().map(|sample| sample.key.as_str()).collect();
    keys.sort_unstable();
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "a key twice");
    for Sample { key, value } in samples {
        assert!((1..=KEY_CHARS_MAX).contains(&key.chars().count()) && !key.trim().is_empty());
        match value {
            Value::Double(double) => {
                assert!(double.is_finite() && (*double != 0.0 || double.is_sign_positive()))
            }
            Value::Json(json) => assert!(json.starts_with(['{', '['])),
            Value::Bool(_) | Value::Long(_) | Value::Text(_) => {}
        }
    }
    let written = write_attribute_update(samples);
    assert!(write_attribute_response(samples, samples).contains(&written) || samples.is_empty());
    let cast = JsonRules { type_cast: true, string_units_max: None };
    let read_again = cast.attributes(written.as_bytes()).expect("what the server writes is readable");
    assert_eq!(read_again.len(), samples.len());
    // A double may be written in a way that reads as a whole number, or, with type cast off, as one of too many decimals
    // (device API §8). Everything else comes back as it was.
    let is_double = |sample: &&Sample| matches!(sample.value, Value::Double(_));
    let of_stable_keys: Vec<Sample> = samples.iter().filter(|sample| !is_double(sample)).cloned().collect();
    let written = write_attribute_update(&of_stable_keys);
    let read_again = AS_SENT.attributes(written.as_bytes()).expect("what the server writes is readable");
    assert!(of_stable_keys.iter().all(|sample| read_again.contains(sample)), "{written}");
}

fn check_strict(payload: &[u8], judged: &serde_json::Map<String, Judge>) {
    let Ok(samples) = AS_SENT.attributes(payload) else {
        // Only a number that fits no type, or is too long to write out, makes strict JSON a refused payload.
        assert!(judged.values().any(Judge::is_number));
        return;
    };
    let mut samples: BTreeMap<String, Value> = samples.into_iter().map(|s| (s.key, s.value)).collect();
    for (key, judged) in judged {
        let is_storable = key.chars().count() <= KEY_CHARS_MAX && !key.trim().is_empty();
        match (samples.remove(key), judged) {
            (None, judged) => assert!(judged.is_null() || !is_storable, "{key:?} is missing"),
            (Some(Value::Bool(value)), judged) => assert_eq!(judged.as_bool(), Some(value)),
            (Some(Value::Text(text)), judged) => assert_eq!(judged.as_str(), Some(text.as_str())),
            (Some(Value::Double(double)), judged) => assert_eq!(judged.as_f64(), Some(double)),
            (Some(Value::Long(long)), judged) => assert!(is_long(judged, long), "{judged} is not {long}"),
            (Some(Value::Json(json)), judged) => {
                let value: Judge = serde_json::from_str(&json).expect("a stored JSON value is JSON");
                assert_eq!(value, without_nulls(judged));
            }
        }
    }
    assert!(samples.is_empty(), "samples out of nothing: {samples:?}");
}

fn is_long(judged: &Judge, long: i64) -> bool {
    // 2^53: beyond it the judge's double is not exact, within it must be.
    match (judged.as_i64(), judged.as_f64()) {
        (Some(exact), _) => exact == long,
        (None, Some(double)) => (double - long as f64).abs() <= double.abs() / (1i64 << 52) as f64,
        (None, None) => false,
    }
}

fn without_nulls(judged: &Judge) -> Judge {
    match judged {
        Judge::Array(elements) => elements.iter().map(without_nulls).collect(),
        Judge::Object(members) => {
            let kept = members.iter().filter(|(_, member)| !member.is_null());
            kept.map(|(name, member)| (name.clone(), without_nulls(member))).collect()
        }
        Judge::Null | Judge::Bool(_) | Judge::Number(_) | Judge::String(_) => judged.clone(),
    }
}
