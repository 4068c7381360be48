//! The part of a profile's JSON that concerns Sparkplug B (device profile §6).

use serde_json::Value as Json;
use wireglot_model::Sparkplug;
use wireglot_model::limits::{KEY_CHARS_MAX, SPARKPLUG_ATTRIBUTE_METRICS_MAX};

use crate::profile_shape::{InvalidShape, invalid};

pub(crate) const SPARKPLUG: &str = "sparkplug";
pub(crate) const ATTRIBUTE_METRICS: &str = "sparkplugAttributesMetricNames";

/// Our own member: whether a will of QoS 0 will do.
pub(crate) const WILL_QOS_0: &str = "sparkplugWillQos0";

pub(crate) fn read(transport: &Json) -> Result<Sparkplug, InvalidShape> {
    let flag = |name: &str| match transport.get(name) {
        None | Some(Json::Null) => Ok(false),
        Some(value) => value
            .as_bool()
            .ok_or_else(|| invalid(format!("[Transport Configuration] '{name}' is true or false"))),
    };
    let (is_on, will_qos_0) = (flag(SPARKPLUG)?, flag(WILL_QOS_0)?);
    let wrong = || {
        invalid(format!(
            "[Transport Configuration] '{ATTRIBUTE_METRICS}' is a list of up to {SPARKPLUG_ATTRIBUTE_METRICS_MAX} \
             names of metrics with 1 to {KEY_CHARS_MAX} characters, or null"
        ))
    };
    let attribute_metrics = match transport.get(ATTRIBUTE_METRICS) {
        None | Some(Json::Null) => None,
        Some(Json::Array(names)) if names.len() <= SPARKPLUG_ATTRIBUTE_METRICS_MAX => {
            let is_name = |name: &&str| (1..=KEY_CHARS_MAX).contains(&name.chars().count());
            let names = names.iter().map(|name| name.as_str().filter(is_name).map(str::to_owned));
            Some(names.collect::<Option<Vec<_>>>().ok_or_else(wrong)?)
        }
        Some(_) => return Err(wrong()),
    };
    Ok(Sparkplug { is_on, attribute_metrics, will_qos_0 })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn refused(transport: Json, words: &str) {
        let reason = read(&transport).expect_err(words).to_string();
        assert!(reason.contains(words), "{reason:?} has no {words:?}");
    }

    #[test]
    fn the_names_of_attribute_metrics_are_a_bounded_list() {
        assert_eq!(read(&json!({})).unwrap(), Sparkplug::default());
        let names = vec!["x"; SPARKPLUG_ATTRIBUTE_METRICS_MAX];
        let sparkplug = read(&json!({SPARKPLUG: true, ATTRIBUTE_METRICS: names})).unwrap();
        assert!(sparkplug.is_on && sparkplug.is_attribute("x") && !sparkplug.will_qos_0);
        assert_eq!(read(&json!({ATTRIBUTE_METRICS: []})).unwrap().attribute_metrics, Some(Vec::new()));
        refused(json!({SPARKPLUG: 1}), "'sparkplug' is true or false");
        refused(json!({WILL_QOS_0: "yes"}), "'sparkplugWillQos0' is true or false");
        refused(json!({ATTRIBUTE_METRICS: "x"}), "'sparkplugAttributesMetricNames' is a list of up to");
        refused(json!({ATTRIBUTE_METRICS: [""]}), "with 1 to");
        refused(json!({ATTRIBUTE_METRICS: [1]}), "with 1 to");
        refused(json!({ATTRIBUTE_METRICS: ["x".repeat(KEY_CHARS_MAX + 1)]}), "with 1 to");
        refused(json!({ATTRIBUTE_METRICS: vec!["x"; SPARKPLUG_ATTRIBUTE_METRICS_MAX + 1]}), "up to");
    }
}
