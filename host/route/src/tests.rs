//! Rows of device API §5; a number in a comment is a conformance case.

use wireglot_model::{CarriedNames, CodecName, Envelope, Wrapping};

use super::*;

#[path = "../../../tests/fuzz/src/topic_routing.rs"]
#[allow(unreachable_pub, reason = "public for the fuzz target, which includes it too")]
mod topic_routing;

fn topics(attributes: &str, telemetry: &str, subscribe: &str) -> ProfileTopics {
    ProfileTopics::new(&MqttTransport {
        attributes_topic: attributes.into(),
        telemetry_topic: telemetry.into(),
        attributes_subscribe_topic: subscribe.into(),
        ..MqttTransport::json()
    })
}

fn default_topics() -> ProfileTopics {
    ProfileTopics::new(&MqttTransport::json())
}

#[track_caller]
fn check_with(topics: &ProfileTopics, topic: &str, expected: Result<Route, RouteError>) {
    assert_eq!(uplink(topics, topic), expected, "{topic}");
}

#[track_caller]
fn check(topic: &str, expected: Result<Route, RouteError>) {
    check_with(&default_topics(), topic, expected);
}

const TELEMETRY: Result<Route, RouteError> = Ok(Route::Telemetry(Format::Profile));
const ATTRIBUTES: Result<Route, RouteError> = Ok(Route::Attributes(Format::Profile));
const UNKNOWN: Result<Route, RouteError> = Err(RouteError::UnknownTopic);

fn request(id: i32, family: Family) -> Result<Route, RouteError> {
    Ok(Route::AttributeRequest { id, family })
}

#[test]
fn long_and_short_topics() {
    // 73, 75, 76, 168, 169
    check("v1/devices/me/telemetry", TELEMETRY);
    check("v2/t", TELEMETRY);
    check("v2/t/j", Ok(Route::Telemetry(Format::Json)));
    check("v2/t/p", Ok(Route::Telemetry(Format::Protobuf)));
    check("v1/devices/me/attributes", ATTRIBUTES);
    check("v2/a", ATTRIBUTES);
    check("v2/a/j", Ok(Route::Attributes(Format::Json)));
    check("v2/a/p", Ok(Route::Attributes(Format::Protobuf)));
}

#[test]
fn attribute_requests_carry_their_id_and_family() {
    // 175, 176, 177, 184, 186
    check("v1/devices/me/attributes/request/1", request(1, Family::V1));
    check("v2/a/req/1", request(1, Family::V2));
    check("v2/a/req/j/1", request(1, Family::V2Json));
    check("v2/a/req/p/1", request(1, Family::V2Protobuf));
    check("v1/devices/me/attributes/request/2147483647", request(i32::MAX, Family::V1));
    check("v1/devices/me/attributes/request/-1", request(-1, Family::V1));
    check("v2/a/req/-2147483648", request(i32::MIN, Family::V2));
}

#[test]
fn request_ids_that_are_not_integers_are_refused() {
    // 185
    for id in ["abc", "2147483648", "", "1/2", "1.0", " 1", "١"] {
        for prefix in ["v1/devices/me/attributes/request/", "v2/a/req/", "v2/a/req/j/", "v2/a/req/p/"] {
            check(&format!("{prefix}{id}"), Err(RouteError::InvalidId));
        }
    }
    check("v2/a/req/x/1", Err(RouteError::InvalidId));
}

#[test]
fn unknown_topics() {
    // 56, 146, 147, 150
    for topic in [
        "",
        "/",
        "wrong/topic/",
        "v1/devices/you/telemetry",
        "v1/devices/me/telemetry/",
        "/v1/devices/me/telemetry",
        "V1/devices/me/telemetry",
        "v1/devices/me/attributes/request",
        "v2/t/",
        "v2/t/x",
        "v2/a/req",
        "v2/",
        "v2",
        "v1/gateway/telemetry",
        "v1/gateway",
        "v1/gatewayish",
        "$SYS/uptime",
    ] {
        check(topic, UNKNOWN);
    }
}

#[test]
fn rpcs_carry_their_id_and_family() {
    for (request, response, family) in [
        ("v1/devices/me/rpc/request/", "v1/devices/me/rpc/response/", Family::V1),
        ("v2/r/req/", "v2/r/res/", Family::V2),
        ("v2/r/req/j/", "v2/r/res/j/", Family::V2Json),
        ("v2/r/req/p/", "v2/r/res/p/", Family::V2Protobuf),
    ] {
        assert_eq!(rpc_request_topic(family, 7), format!("{request}7"));
        assert_eq!(rpc_response_topic(family, -1), format!("{response}-1"));
        for id in [0, 42, -1, i32::MAX] {
            check(&format!("{request}{id}"), Ok(Route::RpcRequest { id, family }));
            check(&format!("{response}{id}"), Ok(Route::RpcResponse { id, family }));
        }
        for id in ["", "x", "2147483648", "1/2"] {
            check(&format!("{request}{id}"), Err(RouteError::InvalidId));
            check(&format!("{response}{id}"), Err(RouteError::InvalidId));
        }
    }
}

#[test]
fn a_claim_and_chunks() {
    check("v1/devices/me/claim", Ok(Route::Claim));
    check("v1/devices/me/claim/", UNKNOWN);
    for (prefix, kind) in [("v2/fw", OtaKind::Firmware), ("v2/sw", OtaKind::Software)] {
        for (id, chunk) in [("1", 0), ("007", 3), ("99999999999999999999999", 2_147_483_647)] {
            let topic = format!("{prefix}/request/{id}/chunk/{chunk}");
            check(&topic, Ok(Route::OtaChunk { kind, chunk }));
            assert_eq!(ota_request_id(&topic), id);
            let answer = format!("{prefix}/response/{id}/chunk/{chunk}");
            assert_eq!(ota_response_topic(kind, id, chunk), answer);
        }
        check(&format!("{prefix}/request/1/chunk/2147483648"), Err(RouteError::InvalidId));
        for rest in
            ["request/1/chunk/", "request//chunk/1", "request/a/chunk/1", "request/1/chunk/1/", "request/1"]
        {
            check(&format!("{prefix}/{rest}"), UNKNOWN);
        }
    }
    check("x/v2/fw/request/1/chunk/0", UNKNOWN);
}

#[test]
fn provisioning_is_not_for_devices() {
    for topic in ["/provision", "/provision/request", "provision"] {
        check(topic, UNKNOWN);
    }
}

#[test]
fn a_custom_filter_replaces_the_default() {
    let profile = topics("v1/devices/me/attributes", "data/up", "v1/devices/me/attributes");
    check_with(&profile, "data/up", TELEMETRY); // 152
    check_with(&profile, "v1/devices/me/telemetry", UNKNOWN); // 153
    check_with(&profile, "v2/t", TELEMETRY); // 154
    check_with(&profile, "data/up/", UNKNOWN);
    check_with(&profile, "v1/devices/me/attributes", ATTRIBUTES);
}

#[test]
fn attributes_come_before_telemetry() {
    let overlapping = topics("x/a", "x/+", "v1/devices/me/attributes");
    check_with(&overlapping, "x/a", ATTRIBUTES); // 162
    check_with(&overlapping, "x/b", TELEMETRY);
    let equal = topics("x", "x", "v1/devices/me/attributes");
    check_with(&equal, "x", ATTRIBUTES); // 163
}

#[test]
fn a_wide_filter_takes_what_comes_after_it() {
    let everything = topics("v1/devices/me/attributes", "#", "v1/devices/me/attributes");
    for topic in
        ["/", "v1/devices/me/rpc/response/1", "v2/a", "v2/t/j", "v1/devices/me/attributes/request/x", ""]
    {
        check_with(&everything, topic, TELEMETRY); // 160
    }
    check_with(&everything, "v1/devices/me/attributes", ATTRIBUTES);
    check_with(&everything, "v1/gateway/telemetry", UNKNOWN);
    let short = topics("v1/devices/me/attributes", "v2/#", "v1/devices/me/attributes");
    check_with(&short, "v2/a/req/1", TELEMETRY);
    check_with(&short, "v1/devices/me/attributes/request/1", request(1, Family::V1));
    let long = topics("v1/devices/me/#", "data", "v1/devices/me/attributes");
    check_with(&long, "v1/devices/me/attributes/request/1", ATTRIBUTES);
}

#[track_caller]
fn check_filter(filter: &str, topic: &str, expected: bool) {
    assert_eq!(matches(filter, topic), expected, "{filter} on {topic}");
    assert_eq!(TopicFilter::new(filter).matches(topic), expected, "profile filter {filter} on {topic}");
}

#[test]
fn filters_of_the_documents() {
    for (filter, topic, expected) in [
        ("Sensor/Temperature/House/+", "Sensor/Temperature/House/48", true), // 155
        ("Sensor/Temperature/House/+", "Sensor/Temperature", false),
        ("Sensor/+/House/#", "Sensor/Temperature/House/48", true), // 156
        ("Sensor/+/House/#", "Sensor/Temperature", false),
        ("Sensor/#", "Sensor/Temperature", true), // 157
        ("Sensor/#", "Sensor/Temperature2/House/48", true),
        ("Sensor/#", "Sensor", true),
        ("Sensor/Temperature/#", "Sensor/Temperature2/House/48", false), // 158
        ("Sensor/Temperature#", "Sensor/Temperature", false),            // 159
        ("a/+", "a/", false),                                            // 161
        ("a.b", "aXb", false),                                           // 164
        ("a.b/+", "aXb/1", false),                                       // 165
        ("a.b/+", "a.b/1", true),
    ] {
        check_filter(filter, topic, expected);
    }
}

#[test]
fn filters_by_the_rules() {
    for (filter, topic, expected) in [
        ("a/+/c", "a/b/c", true),
        ("a/+/c", "a//c", false),
        ("a/+/c", "a/b/x/c", false),
        ("a/#", "a", true),
        ("a/#", "a/", true),
        ("a/#", "a/b/c", true),
        ("a/#", "ab", false),
        ("a/+/#", "a/b", true),
        ("a/+/#", "a/b/c", true),
        ("a/+/#", "a/", false),
        ("+", "one", true),
        ("+", "one/two", false),
        ("+", "", false),
        ("+/+", "a/b", true),
        ("#", "$SYS/uptime", true),
        ("/#", "/provision", true),
        ("/#", "", true),
        ("up+/x", "upper/x", true),
        ("up+/x", "up/x", false),
        ("+a+b", "xaxab", true),
        ("+a+b", "ab", false),
        ("a/#/z", "a/z", false),
        ("a/#/z", "a/b/z", true),
        ("a/#/z", "a/b/z/z", true),
        ("a/#/z", "a/b/c", false),
        ("a\\b", "a\\b", true),
        ("v2/r/res/+", "v2/r/res/7", true),
        ("v2/fw/response/+/chunk/+", "v2/fw/response/1/chunk/0", true),
        ("ä/+", "ä/ö", true),
    ] {
        check_filter(filter, topic, expected);
    }
}

fn words(alphabet: &[char], length_max: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut longest = all.clone();
    for _ in 0..length_max {
        longest = longest.iter().flat_map(|w| alphabet.iter().map(move |c| format!("{w}{c}"))).collect();
        all.extend_from_slice(&longest);
    }
    all
}

#[test]
fn every_short_filter_matches_by_definition() {
    let topics = words(&['a', 'b', '/'], 4);
    for filter in words(&['a', '/', '+', '#'], 5) {
        for topic in &topics {
            let defined = topic_routing::matches_by_definition(filter.as_bytes(), topic.as_bytes());
            let expected = filter == "#" || defined;
            assert_eq!(matches(&filter, topic), expected, "{filter} on {topic}");
        }
    }
}

#[test]
fn a_hostile_topic_costs_little() {
    let filter = "+a".repeat(50) + "b";
    let topic = "a".repeat(65_535);
    check_filter(&filter, &topic, false);
}

#[track_caller]
fn check_subscription(topics: &ProfileTopics, filter: &str, expected: Option<Subscription>) {
    assert_eq!(subscription(topics, filter), expected, "{filter}");
}

#[test]
fn the_23_allowed_filters_are_granted() {
    // 61, 66, 71, 72
    let updates = [
        ("v1/devices/me/attributes", Family::V1),
        ("v2/a", Family::V2),
        ("v2/a/j", Family::V2Json),
        ("v2/a/p", Family::V2Protobuf),
    ];
    for (filter, family) in updates {
        check_subscription(&default_topics(), filter, Some(Subscription::AttributeUpdates(family)));
        assert_eq!(attribute_update_topic(family), filter);
    }
    let rpcs = [
        ("v1/devices/me/rpc/request/+", Family::V1),
        ("v2/r/req/+", Family::V2),
        ("v2/r/req/j/+", Family::V2Json),
        ("v2/r/req/p/+", Family::V2Protobuf),
    ];
    for (filter, family) in rpcs {
        check_subscription(&default_topics(), filter, Some(Subscription::Rpc(family)));
    }
    let passive = [
        "v1/devices/me/rpc/response/+",
        "v2/r/res/+",
        "v2/r/res/j/+",
        "v2/r/res/p/+",
        "v1/devices/me/attributes/response/+",
        "v2/a/res/+",
        "v2/a/res/j/+",
        "v2/a/res/p/+",
        "v2/fw/response/+/chunk/+",
        "v2/fw/error",
        "v2/sw/response/+/chunk/+",
        "v2/sw/error",
        "v1/gateway/attributes",
        "v1/gateway/attributes/response",
        "v1/gateway/rpc",
    ];
    for filter in passive {
        check_subscription(&default_topics(), filter, Some(Subscription::Passive));
    }
    assert_eq!(updates.len() + rpcs.len() + passive.len(), 23);
}

#[test]
fn other_filters_are_refused() {
    // 62, 63, 64
    for filter in [
        "wrong/topic/+",
        "#",
        "+",
        "v1/devices/me/#",
        "v1/devices/me/+",
        "v1/devices/me/rpc/request/7",
        "v1/devices/me/attributes/response/1",
        "v1/gateway/disconnect",
        "$share/g/v2/a",
        "v2/a/",
        "",
    ] {
        check_subscription(&default_topics(), filter, None);
    }
}

#[test]
fn a_profile_names_its_own_attribute_subscription() {
    let custom = topics("v1/devices/me/attributes", "t", "v1/devices/me/subscribeattributes");
    check_subscription(
        &custom,
        "v1/devices/me/subscribeattributes",
        Some(Subscription::AttributeUpdatesCustom), // 167
    );
    check_subscription(&custom, "v1/devices/me/attributes", Some(Subscription::AttributeUpdates(Family::V1)));
    check_subscription(&custom, "v2/a/j", Some(Subscription::AttributeUpdates(Family::V2Json)));
    let everything = topics("v1/devices/me/attributes", "t", "#");
    for filter in ["v1/devices/me/rpc/request/+", "v2/a/j", "anything/#"] {
        check_subscription(&everything, filter, Some(Subscription::AttributeUpdatesCustom));
    }
}

#[test]
fn answers_go_where_their_family_listens() {
    for (family, topic, filter) in [
        (Family::V1, "v1/devices/me/attributes/response/7", "v1/devices/me/attributes/response/+"),
        (Family::V2, "v2/a/res/7", "v2/a/res/+"),
        (Family::V2Json, "v2/a/res/j/7", "v2/a/res/j/+"),
        (Family::V2Protobuf, "v2/a/res/p/7", "v2/a/res/p/+"),
    ] {
        assert_eq!(attribute_response_topic(family, 7), topic);
        assert!(matches(filter, topic));
    }
    assert_eq!(attribute_response_topic(Family::V1, -1), "v1/devices/me/attributes/response/-1");
}

#[test]
fn families_fix_the_format() {
    assert_eq!(Family::V1.format(), Format::Profile);
    assert_eq!(Family::V2.format(), Format::Profile);
    assert_eq!(Family::V2Json.format(), Format::Json);
    assert_eq!(Family::V2Protobuf.format(), Format::Protobuf);
}

#[test]
fn fuzzed_topics_stay_harmless() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/topic_routing");
    let inputs: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!inputs.is_empty());
    inputs.iter().for_each(|file| topic_routing::check(&std::fs::read(file).unwrap()));
}

#[track_caller]
fn check_facts(telemetry: &str, topic: &str, expected: &[(&str, &str)]) {
    let topics = topics("facts/{kind}", telemetry, "v1/devices/me/attributes");
    assert_eq!(facts(&topics, topic).collect::<Vec<_>>(), expected, "{telemetry} {topic}");
}

#[test]
fn named_segments_match_as_plus_and_tell_what_stood_there() {
    let named = topics("facts/{kind}", "up/{fPort}", "v1/devices/me/attributes");
    check_with(&named, "up/85", TELEMETRY);
    check_with(&named, "facts/a", ATTRIBUTES);
    for topic in ["up", "up/", "up/85/x", "up/{fPort}/", "down/85"] {
        check_with(&named, topic, UNKNOWN);
    }
    check_facts("up/{fPort}", "up/85", &[("fPort", "85")]);
    check_facts("up/{fPort}", "facts/a", &[("kind", "a")]);
    check_facts("{a}/x+/{b}/#", "1/x2/3/4/5", &[("a", "1"), ("b", "3")]);
    check_facts("{a}/#", "1", &[("a", "1")]);
    for topic in ["v2/t", "other/85", "up/85/x"] {
        check_facts("up/{fPort}", topic, &[]);
    }
    check_facts("up/+", "up/85", &[]);
}

#[test]
fn braces_that_name_nothing_stand_for_themselves() {
    let literal = topics("a", "up/{fPort", "v1/devices/me/attributes");
    check_with(&literal, "up/{fPort", TELEMETRY);
    check_with(&literal, "up/85", UNKNOWN);
}

#[test]
fn a_network_server_may_listen_for_commands_of_its_own() {
    let commands = "application/+/device/+/command/+";
    assert_eq!(subscription(&default_topics(), commands), None);
    let wrapping = Wrapping { envelope: Envelope::Chirpstack, names: CarriedNames::Name, create_max: 0 };
    let payload = PayloadKind::Codec {
        codec: CodecName::parse("elsys").unwrap(),
        settings: "{}".into(),
        isolate_messages: false,
        pin: None,
        wrapping: Some(wrapping),
    };
    let wrapped = ProfileTopics::new(&MqttTransport { payload, ..MqttTransport::json() });
    assert_eq!(subscription(&wrapped, commands), Some(Subscription::Passive));
    let updates = Some(Subscription::AttributeUpdates(Family::V1));
    assert_eq!(subscription(&wrapped, "v1/devices/me/attributes"), updates, "all others are what they were");
}
