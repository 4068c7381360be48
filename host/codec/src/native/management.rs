//! What clients of the management side write for a device: the JSON of devices, read as such clients expect it.
//!
//! In telemetry a null is refused, as whoever sends one has made a mistake; a device's is skipped. In attributes a text
//! stays a text, also where it looks like a number, and a number of many decimals is the nearest double.

use wireglot_model::number::{self, Numeric};
use wireglot_model::{Measurement, Sample, Value};

use super::read::{self, Node};
use super::write::whole;
use super::{JsonRefusal, JsonRules, Place, text_of};

/// Telemetry in every form of §8.2, without nulls.
pub fn saved_telemetry(payload: &[u8]) -> Result<Vec<Measurement>, JsonRefusal> {
    let text = text_of(payload);
    let document = read::document(&text)?;
    match &document {
        Node::Array(records) => {
            for (index, record) in records.iter().enumerate() {
                refuse_nulls(record, Place { element: Some(index), ..Place::default() })?;
            }
        }
        record => refuse_nulls(record, Place::default())?,
    }
    JsonRules::default().telemetry_of(document)
}

/// An object of attributes; nulls are left out.
pub fn saved_attributes(payload: &[u8]) -> Result<Vec<Sample>, JsonRefusal> {
    let text = text_of(payload);
    let Node::Object(members) = read::document(&text)? else {
        return Err(Place::default().refuse("Request is not a JSON object"));
    };
    let mut samples = Vec::with_capacity(members.len());
    for (key, node) in members {
        let value = match node {
            Node::Null => continue,
            Node::Bool(value) => Value::Bool(value),
            Node::Number(text) => {
                number_value(text).map_err(|problem| Place::default().refuse_key(&key, problem))?
            }
            Node::Text(text) => Value::Text(text.into_owned()),
            Node::Array(_) | Node::Object(_) => Value::Json(whole(&node)),
        };
        samples.push(Sample { key: key.into_owned(), value });
    }
    Ok(samples)
}

/// Nulls within JSON values are values.
fn refuse_nulls(record: &Node<'_>, place: Place) -> Result<(), JsonRefusal> {
    let Node::Object(members) = record else { return Ok(()) };
    let member = |name: &str| members.iter().find(|(key, _)| key == name).map(|(_, node)| node);
    let (members, place) = match (member("ts"), member("values")) {
        (Some(_), Some(Node::Object(values))) => (values, place.within("values")),
        _ => (members, place),
    };
    match members.iter().find(|(_, node)| matches!(node, Node::Null)) {
        Some((key, _)) => Err(place.refuse_key(key, "a value must not be null")),
        None => Ok(()),
    }
}

fn number_value(text: &str) -> Result<Value, &'static str> {
    match number::numeric(text) {
        Ok(Numeric::Long(long)) => Ok(Value::Long(long)),
        Ok(Numeric::Double(double)) => Ok(Value::Double(double)),
        Ok(Numeric::Digits(_)) | Err(number::ExponentTooLarge) => {
            let is_fraction = text.contains(['.', 'e', 'E']);
            let nearest = text.parse::<f64>().ok().filter(|double| is_fraction && double.is_finite());
            nearest.map(Value::Double).ok_or("the number fits neither 64 bits nor a double")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(outcome: Result<impl Sized, JsonRefusal>, words: &str) {
        let told = outcome.err().map(|refusal| refusal.to_string()).unwrap_or_default();
        assert!(told.contains(words), "{told:?} has no {words:?}");
    }

    #[test]
    fn nulls_are_refused_in_telemetry_however_it_is_spelled() {
        refused(saved_telemetry(br#"{"a":1,"b":null}"#), "b: a value must not be null");
        refused(saved_telemetry(b"{a:1,b:null}"), "b: a value must not be null");
        let timed = br#"[{"a":1},{"ts":1,"values":{"a":1,"b":null}}]"#;
        refused(saved_telemetry(timed), "[1].values.b: a value must not be null");
        refused(saved_telemetry(br#"{"ts":null,"values":1}"#), "ts: a value must not be null");
        let inside = saved_telemetry(br#"{"ts":5,"note":null,"values":{"a":{"b":null}}}"#).unwrap();
        assert_eq!(inside[0].samples[0].value, Value::Json("{}".into()));
    }

    #[test]
    fn attributes_keep_their_json_type() {
        let body = br#"{"t":"5","l":5,"d":5.0,"long":0.30000000000000004,"big":1e30,"b":true,"j":[1, {"x": null}],"n":null}"#;
        let found: Vec<Value> =
            saved_attributes(body).unwrap().into_iter().map(|sample| sample.value).collect();
        let expected = [
            Value::Text("5".into()),
            Value::Long(5),
            Value::Double(5.0),
            Value::Double(0.1 + 0.2),
            Value::Double(1e30),
            Value::Bool(true),
            Value::Json(r#"[1,{"x":null}]"#.into()),
        ];
        assert_eq!(found, expected);
        refused(saved_attributes(b"[1]"), "Request is not a JSON object");
        refused(saved_attributes(br#"{"a":123456789012345678901}"#), "a: the number fits neither");
        refused(saved_attributes(br#"{"a":1e999}"#), "a: the number fits neither");
    }
}
