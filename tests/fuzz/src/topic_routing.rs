//! Topics and filters of any kind: no panic, the order of the calls, and matching as the rules define it.

use wireglot_model::profile::MqttTransport;
use wireglot_model::segments::NamedFilter;

use crate::{
    Family, Format, ProfileTopics, Route, RouteError, Subscription, attribute_response_topic,
    attribute_update_topic, facts, matches, ota_request_id, rpc_request_topic, rpc_response_topic,
    subscription, uplink,
};

/// The definition takes time and memory of the product of both lengths.
const DEFINED_BYTES_MAX: usize = 4_096;

/// Lines: the topic, then the profile's filters for telemetry, attributes and attribute subscriptions, as far as
/// there are; the topic serves as a SUBSCRIBE filter too.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.split('\n');
    let topic = lines.next().unwrap_or_default();
    let mut mqtt = MqttTransport::json();
    for filter in
        [&mut mqtt.telemetry_topic, &mut mqtt.attributes_topic, &mut mqtt.attributes_subscribe_topic]
    {
        if let Some(line) = lines.next() {
            line.clone_into(filter);
            check_match(&plain(filter), topic);
        }
    }
    let topics = ProfileTopics::new(&mqtt);
    check_uplink(&mqtt, topic, uplink(&topics, topic));
    assert!(facts(&topics, topic).all(|(_, value)| !value.contains('/')));
    check_subscription(&mqtt, topic, subscription(&topics, topic));
}

/// A filter with its named segments as what they match as.
fn plain(filter: &str) -> String {
    NamedFilter::parse(filter).map_or_else(|_| filter.to_owned(), |named| named.filter)
}

fn check_uplink(mqtt: &MqttTransport, topic: &str, route: Result<Route, RouteError>) {
    if topic.starts_with("v1/gateway") {
        assert_eq!(route, Err(RouteError::UnknownTopic));
    } else if matches(&plain(&mqtt.attributes_topic), topic) {
        assert_eq!(route, Ok(Route::Attributes(Format::Profile)));
    } else if matches(&plain(&mqtt.telemetry_topic), topic) {
        assert_eq!(route, Ok(Route::Telemetry(Format::Profile)));
    } else if let Ok(Route::AttributeRequest { id, family }) = route {
        let prefix = match family {
            Family::V1 => "v1/devices/me/attributes/request/",
            Family::V2 => "v2/a/req/",
            Family::V2Json => "v2/a/req/j/",
            Family::V2Protobuf => "v2/a/req/p/",
        };
        assert_eq!(topic.strip_prefix(prefix).map(str::parse), Some(Ok(id)));
        assert!(attribute_response_topic(family, id).ends_with(&format!("/{id}")));
    } else if let Ok(Route::RpcRequest { id, family }) = route {
        assert!(is_numbered(topic, &rpc_request_topic(family, id), id), "{topic}");
    } else if let Ok(Route::RpcResponse { id, family }) = route {
        assert!(is_numbered(topic, &rpc_response_topic(family, id), id), "{topic}");
    } else if let Ok(Route::OtaChunk { chunk, .. }) = route {
        assert_eq!(topic.split('/').nth(3), Some(ota_request_id(topic)));
        assert_eq!(topic.rsplit('/').next().map(str::parse), Some(Ok(chunk)));
    } else if route.is_ok() {
        assert!(topic.starts_with("v2/") || topic == "v1/devices/me/claim");
    }
}

/// Whether a topic is this one, but for the spelling of the number at its end.
fn is_numbered(topic: &str, spelled: &str, id: i32) -> bool {
    let prefix = spelled.strip_suffix(&id.to_string()).unwrap_or(spelled);
    topic.strip_prefix(prefix).map(str::parse) == Some(Ok(id))
}

fn check_subscription(mqtt: &MqttTransport, filter: &str, granted: Option<Subscription>) {
    match granted {
        Some(Subscription::AttributeUpdates(family)) => assert_eq!(attribute_update_topic(family), filter),
        Some(Subscription::AttributeUpdatesCustom) => {
            assert!(matches(&mqtt.attributes_subscribe_topic, filter));
        }
        Some(Subscription::Rpc(family)) => {
            assert_eq!(rpc_request_topic(family, 0).replace("/0", "/+"), filter);
        }
        Some(Subscription::Passive) => assert!(filter.starts_with("v1/") || filter.starts_with("v2/")),
        None => assert!(!matches(&mqtt.attributes_subscribe_topic, filter)),
    }
}

fn check_match(filter: &str, topic: &str) {
    if filter != "#" && filter.len() * topic.len() <= DEFINED_BYTES_MAX {
        let defined = matches_by_definition(filter.as_bytes(), topic.as_bytes());
        assert_eq!(matches(filter, topic), defined, "{filter:?} on {topic:?}");
    } else {
        matches(filter, topic);
    }
}

/// The rules of device API §5.2, from the end of the filter to its start: which rests of the topic match which rest
/// of the filter. Too slow for devices, too simple to be wrong.
pub fn matches_by_definition(filter: &[u8], topic: &[u8]) -> bool {
    let ends = topic.len();
    let nothing = vec![false; ends + 1];
    // `rests[f]`: for each rest of the topic, whether it matches the filter from `f` on.
    let mut rests = vec![nothing.clone(); filter.len() + 1];
    rests[filter.len()][ends] = true;
    for f in (0..filter.len()).rev() {
        let mut now = nothing.clone();
        for t in (0..=ends).rev() {
            let here = topic.get(t);
            now[t] = match (filter[f], filter.get(f + 1)) {
                (b'/', Some(b'#')) => {
                    let after = &rests[f + 2];
                    (t == ends && after[t]) || (here == Some(&b'/') && after[t + 1..].contains(&true))
                }
                (b'+', _) => here.is_some_and(|byte| *byte != b'/') && (rests[f + 1][t + 1] || now[t + 1]),
                (byte, _) => here == Some(&byte) && rests[f + 1][t + 1],
            };
        }
        rests[f] = now;
    }
    rests[0][0]
}
