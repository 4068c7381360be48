//! Payloads of Sparkplug: no panic, only storable values that are not out of all proportion, and a value that is commanded back reads as
//! it was.

use wireglot_model::{Timestamp, Value};

use crate::{
    DataType, SparkplugCommand, SparkplugPayload, SparkplugValues, sparkplug_params, sparkplug_wrapped,
};

/// A byte of a payload becomes this much JSON at most: the bits of an array are 48.
const BYTES_PER_BYTE: usize = 64;

/// Any bytes as a payload, each of its metrics as of every type.
pub fn check(payload: &[u8]) {
    let Ok(read) = SparkplugPayload::read(payload) else { return };
    let _number = read.bd_seq();
    let again = SparkplugPayload::read(&read.clone().write()).expect("what is written can be read");
    assert_eq!(again.metrics.len(), read.metrics.len());
    let mut json_bytes = 0;
    let mut values = SparkplugValues::default();
    for metric in &read.metrics {
        assert!(metric.ts().is_none_or(|ts| ts.0 > 0));
        if let Some(kind) = metric.kind(None)
            && let Ok(Some(Value::Json(text))) = metric.value(kind, &mut values)
        {
            json_bytes += text.len();
        }
        // What a payload claims and what it holds need not go together.
        for kind in DataType::ALL {
            if let Ok(Some(value)) = metric.value(*kind, &mut SparkplugValues::default()) {
                check_value(*kind, &value);
            }
        }
    }
    assert!(json_bytes <= BYTES_PER_BYTE * payload.len(), "{json_bytes} bytes of JSON");
    if let Ok(text) = std::str::from_utf8(payload) {
        drop((sparkplug_params(text), sparkplug_wrapped(text)));
    }
}

fn check_value(kind: DataType, value: &Value) {
    match value {
        Value::Double(double) => assert!(double.is_finite()),
        Value::Json(text) => {
            assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{kind:?} is no JSON: {text}");
        }
        Value::Bool(_) | Value::Long(_) | Value::Text(_) => {}
    }
    for fills_field in [false, true] {
        let command = SparkplugCommand { name: "m", alias: None, kind, value, fills_field, ts: Timestamp(1) };
        // A number that its type cannot hold is stored, and cannot be commanded.
        let Ok(payload) = command.write() else { return };
        let again = SparkplugPayload::read(&payload).expect("what is written can be read");
        let metric = again.metrics.first().expect("a command has a metric");
        let back = metric.value(kind, &mut SparkplugValues::default());
        match (&back, value) {
            // One that came as a double, and goes out as its type says.
            (Ok(Some(Value::Double(back))), Value::Double(sent)) if kind == DataType::Float => {
                assert_eq!(*back as f32, *sent as f32);
            }
            _ => assert_eq!(back, Ok(Some(value.clone())), "{kind:?}"),
        }
    }
}
