//! What the two servers publish, as their documents show it and as it arrives, and what must not get through.

use serde_json::json;

use super::*;

/// 2022-07-18T09:34:20Z.
const NOW: Timestamp = Timestamp(1_658_136_860_000);
const UP: &str = "application/17c82e96-be03-4f38-aef3-f83d48582d97/device/0101010101010101/event/up";
const OWN: &str = "fields/north";

/// As ChirpStack's documents have it: members of zero are missing.
fn chirpstack_up() -> Json {
    json!({
        "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d",
        "time": "2022-07-18T09:34:15.775023242+00:00",
        "deviceInfo": {
            "tenantId": "52f14cd4-c6f1-4fbd-8f87-4025e1d49242",
            "tenantName": "ChirpStack",
            "applicationId": "17c82e96-be03-4f38-aef3-f83d48582d97",
            "applicationName": "Test application",
            "deviceProfileId": "14855bf7-d10d-4aee-b618-ebfcb64dc7ad",
            "deviceProfileName": "Test device-profile",
            "deviceName": "Test device",
            "devEui": "0101010101010101",
            "tags": {"key": "value"}
        },
        "devAddr": "00189440",
        "dr": 1,
        "fPort": 1,
        "data": "qg==",
        "rxInfo": [
            {"gatewayId": "0016c001f153a14c", "uplinkId": 4_217_106_255_u32, "rssi": -36, "snr": 10.5,
             "context": "E3OWOQ==", "metadata": {"region_name": "eu868", "region_common_name": "EU868"}},
            {"gatewayId": "0016c001f153a14d", "uplinkId": 7, "rssi": -30, "snr": 9.75}
        ],
        "txInfo": {
            "frequency": 867_100_000,
            "modulation": {"lora": {"bandwidth": 125_000, "spreadingFactor": 11, "codeRate": "CR_4_5"}}
        }
    })
}

/// As The Things Stack's documents have it.
fn tts_up() -> Json {
    json!({
        "end_device_ids": {
            "device_id": "dev1",
            "application_ids": {"application_id": "app1"},
            "dev_eui": "0004A30B001C0530",
            "join_eui": "800000000000000C",
            "dev_addr": "00BCB929"
        },
        "correlation_ids": ["as:up:01E0WZGT6Y7657CPFPE5WEYDSQ", "gs:conn:01E0WDEC6T5T4XXBAX7S1VMFKE"],
        "received_at": "2020-02-12T15:15:46.014773143Z",
        "uplink_message": {
            "session_key_id": "AXA50tHUGUucuzS/bCGMNw==",
            "f_cnt": 1,
            "f_port": 15,
            "frm_payload": "gkHe",
            "decoded_payload": {"temperature": 1.0, "luminosity": 0.64},
            "rx_metadata": [{
                "gateway_ids": {"gateway_id": "gtw1", "eui": "9C5C8E00001A05C4"},
                "time": "2020-02-12T15:15:45.787Z",
                "timestamp": 2_463_457_000_u32,
                "rssi": -35,
                "channel_rssi": -35,
                "snr": 5,
                "uplink_token": "ChIKEAoEZ3R3MRIInFyOAAAaBcQQ6L3Vlgk=",
                "channel_index": 2
            }],
            "settings": {
                "data_rate": {"lora": {"bandwidth": 125_000, "spreading_factor": 7}},
                "data_rate_index": 5,
                "coding_rate": "4/6",
                "frequency": "868300000",
                "timestamp": 2_463_457_000_u32,
                "time": "2020-02-12T15:15:45.787Z"
            },
            "consumed_airtime": "0.056576s",
            "received_at": "2020-02-12T15:15:45.789585559Z"
        }
    })
}

fn take(envelope: Envelope, topic: &str, message: &Json) -> Result<Option<Carried>, EnvelopeError> {
    unwrap(envelope, topic, message.to_string().as_bytes(), NOW)
}

#[track_caller]
fn frame(envelope: Envelope, message: &Json) -> Carried {
    take(envelope, UP, message).unwrap_or_else(|error| panic!("{error}: {message}")).expect("a frame")
}

#[track_caller]
fn check_facts(carried: &Carried, expected: &[(&str, &str)]) {
    let facts: Vec<_> =
        carried.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(facts, expected);
}

#[track_caller]
fn refused(envelope: Envelope, message: &Json, words: &str) {
    let error = take(envelope, UP, message).expect_err("an envelope that holds no frame").to_string();
    assert!(error.contains(words), "{error:?} has no {words:?}");
}

/// A copy with one member, named by its path, set or removed.
fn with(message: &Json, path: &str, value: Json) -> Json {
    let mut message = message.clone();
    let (parent, name) = path.rsplit_once('/').expect("a path");
    let parent =
        message.pointer_mut(parent).expect("the parent is there").as_object_mut().expect("an object");
    if value.is_null() {
        parent.remove(name)
    } else {
        parent.insert(name.to_owned(), value)
    };
    message
}

#[test]
fn an_uplink_of_chirpstack_is_taken_out() {
    let carried = frame(Envelope::Chirpstack, &chirpstack_up());
    assert_eq!(carried.device_name(CarriedNames::Name), Ok("Test device"));
    assert_eq!(carried.device_name(CarriedNames::DevEui), Ok("0101010101010101"));
    assert_eq!(carried.payload, [0xaa]);
    assert_eq!(carried.received, Timestamp(1_658_136_855_775));
    check_facts(
        &carried,
        &[
            ("fPort", "1"),
            ("fCnt", "0"),
            ("devEui", "0101010101010101"),
            ("devAddr", "00189440"),
            ("dr", "1"),
            ("frequency", "867100000"),
            ("modulation", "lora"),
            ("spreadingFactor", "11"),
            ("bandwidth", "125000"),
            ("codeRate", "4/5"),
            ("gatewayId", "0016c001f153a14c"),
            ("rssi", "-36"),
            ("snr", "10.5"),
            ("gateways", "2"),
        ],
    );
}

#[test]
fn an_uplink_of_the_things_stack_is_taken_out() {
    let carried = frame(Envelope::Tts, &tts_up());
    assert_eq!(carried.device_name(CarriedNames::Name), Ok("dev1"));
    assert_eq!(carried.device_name(CarriedNames::DevEui), Ok("0004a30b001c0530"));
    assert_eq!(carried.payload, [0x82, 0x41, 0xde]);
    assert_eq!(
        carried.received,
        Timestamp(1_581_520_545_789),
        "the network server's time, not the later one"
    );
    check_facts(
        &carried,
        &[
            ("fPort", "15"),
            ("fCnt", "1"),
            ("devEui", "0004a30b001c0530"),
            ("devAddr", "00bcb929"),
            ("dr", "5"),
            ("frequency", "868300000"),
            ("modulation", "lora"),
            ("spreadingFactor", "7"),
            ("bandwidth", "125000"),
            ("codeRate", "4/6"),
            ("gatewayId", "gtw1"),
            ("rssi", "-35"),
            ("snr", "5"),
            ("gateways", "1"),
        ],
    );
}

#[test]
fn other_versions_of_the_servers_write_it_differently() {
    // ChirpStack with members of zero, and null where there is nothing; numbers as text.
    let mut up = chirpstack_up();
    for (path, value) in [
        ("/adr", json!(false)),
        ("/fCnt", json!("7")),
        ("/fPort", json!("85")),
        ("/confirmed", json!(false)),
        ("/txInfo/modulation/lora/codeRate", json!("CR_LI_4_8")),
        ("/joinServerContext", json!({"sessionKeyId": ""})),
    ] {
        up = with(&up, path, value);
    }
    up["object"] = Json::Null;
    up["relayRxInfo"] = Json::Null;
    let carried = frame(Envelope::Chirpstack, &up);
    for fact in [("fPort", "85"), ("fCnt", "7"), ("confirmed", "false"), ("codeRate", "4/8LI")] {
        assert!(carried.metadata.contains(&(fact.0.into(), fact.1.into())), "{fact:?}: {carried:?}");
    }
    // The Things Stack 3.19 and later; the nearer gateway has a ratio of zero.
    let rate = json!({"lora": {"bandwidth": 125_000, "spreading_factor": 9, "coding_rate": "4/5"}});
    let mut up = with(&tts_up(), "/uplink_message/settings/data_rate", rate);
    up = with(&up, "/uplink_message/settings/data_rate_index", Json::Null);
    up = with(&up, "/uplink_message/settings/coding_rate", Json::Null);
    up = with(&up, "/uplink_message/received_at", Json::Null);
    up["simulated"] = json!(true);
    up["uplink_message"]["rx_metadata"] = json!([
        {"gateway_ids": {"gateway_id": "far"}, "rssi": -120.5, "snr": -7.2},
        {"gateway_ids": {"gateway_id": "near"}, "rssi": -70},
        "no reception"
    ]);
    let carried = frame(Envelope::Tts, &up);
    assert_eq!(
        carried.received,
        Timestamp(1_581_520_546_014),
        "the application server's, where there is no other"
    );
    for fact in
        [("codeRate", "4/5"), ("simulated", "true"), ("gatewayId", "near"), ("snr", "0"), ("rssi", "-70")]
    {
        assert!(carried.metadata.contains(&(fact.0.into(), fact.1.into())), "{fact:?}: {carried:?}");
    }
    assert!(carried.metadata.iter().all(|(name, _)| name != "dr"));
    // Other modulations have none of LoRa's figures.
    let fsk = json!({"fsk": {"frequencyDeviation": 25_000, "datarate": 50_000}});
    let carried = frame(Envelope::Chirpstack, &with(&chirpstack_up(), "/txInfo/modulation", fsk));
    assert!(carried.metadata.contains(&("modulation".into(), "fsk".into())));
    assert!(carried.metadata.iter().all(|(name, _)| name != "spreadingFactor"));
}

#[test]
fn radio_facts_are_told_as_far_as_they_are_there() {
    let mut up = chirpstack_up();
    for (path, value) in [
        ("/rxInfo", json!({"not": "a list"})),
        ("/txInfo", json!([])),
        ("/devAddr", json!(5)),
        ("/dr", Json::Null),
    ] {
        up = with(&up, path, value);
    }
    check_facts(
        &frame(Envelope::Chirpstack, &up),
        &[("fPort", "1"), ("fCnt", "0"), ("devEui", "0101010101010101"), ("dr", "0")],
    );
}

#[test]
fn only_uplinks_with_something_for_an_application_hold_a_frame() {
    let up = chirpstack_up();
    for event in ["join", "ack", "txack", "log", "status", "location", "integration", "new-one"] {
        let topic = UP.replace("/event/up", &format!("/event/{event}"));
        assert_eq!(take(Envelope::Chirpstack, &topic, &up), Ok(None), "{event}");
    }
    let device = json!({"deviceName": "d", "devEui": "0101010101010101"});
    for event in [
        json!({"deviceInfo": device, "devAddr": "00189440"}),
        json!({"deviceInfo": device, "queueItemId": "x", "acknowledged": true}),
        json!({"deviceInfo": device, "gatewayId": "g", "txInfo": {"frequency": 867_900_000}}),
        json!({"deviceInfo": device, "margin": 10, "batteryLevel": 88.3}),
    ] {
        assert_eq!(take(Envelope::Chirpstack, OWN, &event), Ok(None), "{event}");
    }
    assert!(take(Envelope::Chirpstack, OWN, &up).unwrap().is_some(), "a topic of the operator's own making");
    for kind in [
        "join_accept",
        "downlink_ack",
        "downlink_failed",
        "location_solved",
        "service_data",
        "uplink_normalized",
    ] {
        let mut event = json!({"end_device_ids": {"device_id": "dev1"}});
        event[kind] = json!({"frm_payload": "gkHe", "f_port": 1});
        assert_eq!(take(Envelope::Tts, OWN, &event), Ok(None), "{kind}");
    }
}

#[test]
fn an_empty_frame_counts_where_it_has_a_port() {
    let mac_only = with(&with(&chirpstack_up(), "/data", Json::Null), "/fPort", Json::Null);
    assert_eq!(take(Envelope::Chirpstack, UP, &mac_only), Ok(None));
    assert_eq!(take(Envelope::Chirpstack, UP, &with(&mac_only, "/fPort", json!(0))), Ok(None));
    assert!(frame(Envelope::Chirpstack, &with(&mac_only, "/fPort", json!(2))).payload.is_empty());
    let mac_only = with(
        &with(&tts_up(), "/uplink_message/frm_payload", Json::Null),
        "/uplink_message/f_port",
        Json::Null,
    );
    assert_eq!(take(Envelope::Tts, UP, &mac_only), Ok(None));
    assert!(frame(Envelope::Tts, &with(&mac_only, "/uplink_message/f_port", json!(2))).payload.is_empty());
    let portless = frame(Envelope::Tts, &with(&tts_up(), "/uplink_message/f_port", Json::Null));
    assert!(portless.metadata.iter().all(|(name, _)| name != "fPort"), "there is none to tell");
}

#[test]
fn base64_comes_in_four_forms() {
    for text in ["-_8=", "-_8", "+/8=", "+/8"] {
        assert_eq!(
            frame(Envelope::Chirpstack, &with(&chirpstack_up(), "/data", json!(text))).payload,
            [0xfb, 0xff]
        );
    }
}

#[test]
fn a_senseless_time_is_not_believed() {
    let at = |text: &str| frame(Envelope::Chirpstack, &with(&chirpstack_up(), "/time", json!(text))).received;
    assert_eq!(at("2022-07-18T09:39:20Z"), Timestamp(NOW.0 + ENVELOPE_AHEAD_MS_MAX));
    assert_eq!(at("2022-07-18T09:39:20.001Z"), NOW, "too far ahead");
    assert_eq!(at("2015-01-01T00:00:00Z"), Timestamp(ENVELOPE_TIME_MS_MIN));
    for text in ["2014-12-31T23:59:59.999Z", "1980-01-06T00:00:00Z", "9999-12-31T23:59:59Z", "yesterday", ""]
    {
        assert_eq!(at(text), NOW, "{text}");
    }
    assert_eq!(frame(Envelope::Chirpstack, &with(&chirpstack_up(), "/time", Json::Null)).received, NOW);
}

#[test]
fn what_decides_over_the_frame_must_be_right() {
    let (chirpstack, tts) = (chirpstack_up(), tts_up());
    refused(Envelope::Chirpstack, &with(&chirpstack, "/data", json!("qg=*")), "'data' is not base64");
    refused(Envelope::Chirpstack, &with(&chirpstack, "/data", json!([170])), "it is no text");
    refused(
        Envelope::Tts,
        &with(&tts, "/uplink_message/frm_payload", json!("g")),
        "'frm_payload' is not base64",
    );
    for port in [json!(256), json!(-1), json!(1.5), json!("x"), json!(1e300), json!([]), json!(true)] {
        refused(Envelope::Chirpstack, &with(&chirpstack, "/fPort", port.clone()), "'fPort' is not a port");
        refused(Envelope::Tts, &with(&tts, "/uplink_message/f_port", port), "'f_port' is not a port");
    }
    refused(
        Envelope::Chirpstack,
        &with(&chirpstack, "/deviceInfo", Json::Null),
        "not an event of ChirpStack 4",
    );
    refused(Envelope::Chirpstack, &tts, "not an event of ChirpStack 4");
    refused(Envelope::Tts, &chirpstack, "not a message of The Things Stack 3");
    refused(Envelope::Tts, &with(&tts, "/uplink_message", json!([])), "'uplink_message' is not an object");
    for key in [json!({"sessionKeyId": "AXA50g=="}), json!({"appSKey": {"kekLabel": "x"}})] {
        refused(Envelope::Chirpstack, &with(&chirpstack, "/joinServerContext", key), "still encrypted");
    }
    refused(Envelope::Tts, &with(&tts, "/uplink_message/app_s_key", json!({"key": "x"})), "still encrypted");
    let nameless = frame(Envelope::Chirpstack, &with(&chirpstack, "/deviceInfo/deviceName", Json::Null));
    assert!(nameless.device_name(CarriedNames::Name).unwrap_err().to_string().contains("no name"));
    let odd = frame(Envelope::Chirpstack, &with(&chirpstack, "/deviceInfo/devEui", json!("01010101")));
    assert!(odd.device_name(CarriedNames::DevEui).unwrap_err().to_string().contains("no DevEUI"));
}

#[test]
fn garbage_is_refused_and_harms_nobody() {
    let deep = format!("{{\"deviceInfo\":{}{}}}", "[".repeat(1_000), "]".repeat(1_000));
    let huge = format!("{{\"data\":\"{}\"}}", "A".repeat(65_000));
    for payload in ["", "null", "12", "[]", "{}", "\"up\"", "{", "{\"deviceInfo\":1e999}", &deep, &huge] {
        for envelope in [Envelope::Chirpstack, Envelope::Tts] {
            assert!(unwrap(envelope, UP, payload.as_bytes(), NOW).is_err(), "{payload:.20}");
        }
    }
    let error = unwrap(Envelope::Tts, UP, deep.as_bytes(), NOW).unwrap_err().to_string();
    assert!(error.contains("not JSON: recursion limit exceeded"), "{error}");
    for (envelope, message) in [(Envelope::Chirpstack, chirpstack_up()), (Envelope::Tts, tts_up())] {
        let good = message.to_string().into_bytes();
        for length in 0..good.len() {
            assert!(unwrap(envelope, UP, &good[..length], NOW).is_err(), "cut off after {length}");
        }
        // Whatever becomes of it, it must come back.
        let mut state = 1_u32;
        for round in 0..20_000 {
            let mut bad = good.clone();
            for _ in 0..=round % 4 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (place, value) = ((state >> 8) as usize % bad.len(), state.to_be_bytes()[0]);
                bad[place] = value;
            }
            let _outcome = unwrap(envelope, UP, &bad, NOW);
        }
    }
}
