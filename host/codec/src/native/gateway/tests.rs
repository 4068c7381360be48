//! The JSON of gateways: gateway API §3 and §4, conformance group U.

use super::*;

fn long(key: &str, value: i64) -> Sample {
    Sample { key: key.into(), value: Value::Long(value) }
}

fn measured(ts: Option<i64>, samples: &[Sample]) -> wireglot_model::Measurement {
    wireglot_model::Measurement { ts: ts.map(Timestamp), samples: samples.to_vec() }
}

fn telemetry(payload: &str) -> Result<GatewaySaid, GatewayRefusal> {
    JsonRules::default().gateway_telemetry(payload.as_bytes())
}

#[track_caller]
fn parts(said: Result<GatewaySaid, GatewayRefusal>) -> Vec<(String, Result<PartBody, String>)> {
    match said {
        Ok(GatewaySaid::Parts(parts)) => parts.into_iter().map(|part| (part.device, part.body)).collect(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn is_structure(said: Result<GatewaySaid, GatewayRefusal>, hint: &str) {
    match said {
        Err(GatewayRefusal::Structure(reason)) => assert!(reason.contains(hint), "{reason}"),
        other => panic!("{other:?}"),
    }
}

// 349, 351, 353
#[test]
fn telemetry_is_read_device_by_device() {
    let found = parts(telemetry(
        r#"{"A":[{"ts":1,"values":{"t":4}},{"t":5}],"skipped":{"t":6},"gone":null,"B":[{"t":7}],"C":[]}"#,
    ));
    let values = |measurements: Vec<_>| {
        Ok(PartBody::Telemetry { measurements, frames: Vec::new(), transits: Vec::new() })
    };
    assert_eq!(
        found,
        [
            ("A".into(), values(vec![measured(Some(1), &[long("t", 4)]), measured(None, &[long("t", 5)])])),
            ("B".into(), values(vec![measured(None, &[long("t", 7)])])),
            ("C".into(), values(Vec::new())),
        ]
    );
}

// 354, 382
#[test]
fn what_one_device_says_wrong_spoils_only_its_part() {
    for (wrong, hint) in [
        ("[5]", "[0]: an element"),
        ("[{\"t\":1},{\"ts\":\"x\",\"values\":{}}]", "[1].ts"),
        ("[{\"t\":1,\"metadata\":{\"connector\":\"c\",\"receivedTs\":1}}]", "publishedTs"),
        ("[{\"t\":1,\"metadata\":{\"connector\":null,\"receivedTs\":1,\"publishedTs\":2}}]", "connector"),
        ("[{\"t\":1,\"metadata\":7}]", "[0].metadata"),
    ] {
        let found = parts(telemetry(&format!("{{\"A\":{wrong},\"B\":[{{\"t\":1}}]}}")));
        let [(_, Err(reason)), (_, Ok(_))] = found.as_slice() else { panic!("{wrong}: {found:?}") };
        assert!(reason.contains(hint), "{wrong}: {reason}");
    }
}

// 381
#[test]
fn metadata_is_no_value() {
    let found = parts(telemetry(
        r#"{"A":[{"ts":1,"values":{"t":4},"metadata":{"connector":"c","receivedTs":10,"publishedTs":"12"}},
                 {"metadata":{"connector":"d","receivedTs":1,"publishedTs":2},"t":5}]}"#,
    ));
    let transit =
        |connector: &str, received, published| Transit { connector: connector.into(), received, published };
    let body = PartBody::Telemetry {
        measurements: vec![measured(Some(1), &[long("t", 4)]), measured(None, &[long("t", 5)])],
        frames: Vec::new(),
        transits: vec![transit("c", 10, 12), transit("d", 1, 2)],
    };
    assert_eq!(found, [("A".into(), Ok(body))]);
}

#[test]
fn an_element_that_says_only_raw_may_be_a_frame() {
    let found = parts(telemetry(r#"{"A":[{"ts":7,"raw":"AQI="},{"raw":"x"},{"raw":5},{"raw":"x","t":1}]}"#));
    let text = |text: &str| Sample { key: "raw".into(), value: Value::Text(text.into()) };
    let element = |ts: Option<i64>, base64: &str, samples: &[Sample]| RawElement {
        ts: ts.map(Timestamp),
        base64: base64.into(),
        otherwise: measured(None, samples),
    };
    let body = PartBody::Telemetry {
        measurements: vec![measured(None, &[long("raw", 5)]), measured(None, &[text("x"), long("t", 1)])],
        frames: vec![
            element(Some(7), "AQI=", &[long("ts", 7), text("AQI=")]),
            element(None, "x", &[text("x")]),
        ],
        transits: Vec::new(),
    };
    assert_eq!(found, [("A".into(), Ok(body))]);
}

// 352
#[test]
fn a_payload_of_another_shape_is_told_from_one_that_is_not_json() {
    for payload in ["", "null", "5", "[]", "[{\"A\":[]}]", "{}", "{\"A\":{\"a\":1}}", "{\"A\":null}"] {
        is_structure(telemetry(payload), "payload");
    }
    for payload in ["{\"A\":{}", "{\"A\":[{]}"] {
        assert!(matches!(telemetry(payload), Err(GatewayRefusal::Malformed(_))), "{payload}");
    }
    is_structure(JsonRules::default().gateway_attributes(b"{\"A\":[1]}"), "payload");
    is_structure(gateway_claim(b"{\"A\":\"x\"}"), "payload");
}

// 346, 347, 375
#[test]
fn a_device_is_named_by_what_reads_as_a_text() {
    let connect = |payload: &str| gateway_connect(payload.as_bytes());
    let named = |device: &str, profile: Option<&str>| {
        Ok(GatewaySaid::Connect { device: device.into(), profile: profile.map(str::to_owned) })
    };
    assert_eq!(connect(r#"{"device":"A","type":"T"}"#), named("A", Some("T")));
    assert_eq!(connect(r#"{"device":5,"type":null}"#), named("5", None));
    assert_eq!(connect(r#"{"device":true,"type":""}"#), named("true", None));
    for (payload, hint) in [
        ("{}", "device"),
        ("{\"device\":\"\"}", "empty"),
        ("{\"device\":null}", "device"),
        ("{\"device\":{}}", "device"),
        ("{\"device\":\"A\",\"type\":{}}", "type"),
    ] {
        is_structure(connect(payload), hint);
    }
    let left = gateway_disconnect(b"{\"device\":\"A\"}");
    assert_eq!(left, Ok(GatewaySaid::Disconnect { device: "A".into() }));
    is_structure(gateway_disconnect(b"{\"device\":\"\"}"), "empty");
}

// 357, 358, 361, 363
#[test]
fn an_attribute_request_says_which_scope_and_what() {
    let asked = |more: &str| gateway_attribute_request(format!("{{\"device\":\"A\"{more}}}").as_bytes());
    let texts = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
    let request = |id, is_client, keys: &[&str]| {
        let request = GatewayAttributeRequest::of_scope("A".into(), id, is_client, texts(keys));
        Ok(GatewaySaid::AttributeRequest(request))
    };
    let lists = |client: &[&str], shared: &[&str]| {
        let (client_keys, shared_keys) = (texts(client), texts(shared));
        let request = GatewayAttributeRequest { device: "A".into(), id: 1, client_keys, shared_keys };
        Ok(GatewaySaid::AttributeRequest(request))
    };
    assert_eq!(asked(",\"id\":1,\"client\":[\"a\",\"a\"],\"shared\":[\"b\"]"), lists(&["a"], &["b"]));
    assert_eq!(asked(",\"id\":1,\"client\":[\"a\"]"), lists(&["a"], &[]));
    assert_eq!(asked(",\"id\":1,\"shared\":[\"b\",\"c\"]"), lists(&[], &["b", "c"]));
    assert_eq!(asked(",\"id\":1,\"client\":true,\"key\":\"k\""), request(1, true, &["k"]));
    assert_eq!(
        asked(",\"id\":-2,\"client\":false,\"keys\":[\"a\",\"b\",\"a\"]"),
        request(-2, false, &["a", "b"])
    );
    assert_eq!(asked(",\"id\":1,\"client\":[\"a\"],\"key\":\"k\",\"keys\":5"), request(1, false, &["k"]));
    assert_eq!(asked(",\"id\":1,\"client\":true,\"keys\":[]"), request(1, true, &[]));
    for (more, hint) in [
        (",\"id\":1,\"key\":\"k\"", "client"),
        (",\"id\":1,\"client\":true", "key"),
        (",\"id\":1,\"client\":[\"a\"],\"shared\":\"b\"", "key"),
        (",\"id\":1,\"client\":[{}],\"shared\":[\"b\"]", "client"),
        (",\"id\":1,\"client\":true,\"keys\":\"k\"", "keys"),
        (",\"id\":1,\"client\":true,\"keys\":[{}]", "keys"),
        (",\"id\":3000000000,\"client\":true,\"key\":\"k\"", "id"),
        (",\"client\":true,\"key\":\"k\"", "id"),
    ] {
        is_structure(asked(more), hint);
    }
    is_structure(gateway_attribute_request(b"{\"id\":1,\"client\":true,\"key\":\"k\"}"), "device");
}

// 367
#[test]
fn an_answer_is_passed_on_as_it_came() {
    let answered = |data: &str| {
        gateway_rpc_response(format!("{{\"device\":\"A\",\"id\":0,\"data\":{data}}}").as_bytes())
    };
    for data in ["{\"a\":null,\"b\":[1.50]}", "null", "\"text\"", "true"] {
        let payload = data.to_owned();
        assert_eq!(
            answered(data),
            Ok(GatewaySaid::RpcResponse { device: "A".into(), id: 0, payload }),
            "{data}"
        );
    }
    is_structure(gateway_rpc_response(b"{\"device\":\"A\",\"id\":0}"), "data");
}

// 372, 373
#[test]
fn claims_are_read_device_by_device() {
    let found =
        parts(gateway_claim(br#"{"A":{"secretKey":"s","durationMs":5},"B":{},"C":5,"D":{"durationMs":{}}}"#));
    let claim = |secret: &str, duration_ms| Ok(PartBody::Claim { secret: secret.into(), duration_ms });
    let [a, b, (d, Err(_))] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((a, b), (&("A".to_owned(), claim("s", 5)), &("B".to_owned(), claim("", 0))));
    assert_eq!(d, "D");
}

#[test]
fn refused_parts_are_cut_out() {
    let payload = br#"{"A":[{"t":1.50}],"no":{"t":1},"B \"b\"":[5,null],"C":[]}"#;
    let cut = |wanted: &[usize]| {
        let cut = gateway_part_payloads(payload, true, wanted).into_iter();
        cut.map(|part| String::from_utf8(part).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(cut(&[1]), [r#"{"B \"b\"":[5,null]}"#]);
    assert_eq!(cut(&[0, 2, 9]), [r#"{"A":[{"t":1.50}]}"#, r#"{"C":[]}"#]);
    assert_eq!(gateway_part_payloads(payload, false, &[0]), [br#"{"no":{"t":1}}"#.to_vec()]);
    assert!(gateway_part_payloads(b"{", true, &[0]).is_empty());
}

// 357 to 362, 364, 366
#[test]
fn what_gateways_hear_names_the_device() {
    let (a, b) = (long("a", 1), long("b", 2));
    assert_eq!(
        write_gateway_attribute_update("D\"", std::slice::from_ref(&a)),
        r#"{"device":"D\"","data":{"a":1}}"#
    );
    assert_eq!(
        write_gateway_attribute_delete("D", &["k".into()]),
        r#"{"device":"D","data":{"deleted":["k"]}}"#
    );
    assert_eq!(
        write_gateway_rpc_request("D", 7, "m", "{\"x\":1}"),
        r#"{"device":"D","data":{"id":7,"method":"m","params":{"x":1}}}"#
    );
    assert_eq!(write_gateway_disconnect("D", 150), r#"{"device":"D","reason":150}"#);
    let answer = |keys: &[&str], client: &[Sample], shared: &[Sample]| {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        let request = GatewayAttributeRequest::of_scope("D".into(), 1, false, keys);
        let answer = write_gateway_attribute_response(&request, client, shared);
        answer.strip_prefix("{\"id\":1,\"device\":\"D\"").unwrap().to_owned()
    };
    assert_eq!(answer(&["a"], &[], std::slice::from_ref(&a)), r#","value":1}"#);
    assert_eq!(answer(&["a"], &[], &[]), "}");
    assert_eq!(answer(&["a", "b"], &[], std::slice::from_ref(&b)), r#","values":{"b":2}}"#);
    assert_eq!(answer(&["a", "b"], &[], &[]), "}");
    assert_eq!(answer(&[], std::slice::from_ref(&a), &[]), r#","value":1}"#);
    assert_eq!(answer(&[], &[a.clone(), b.clone()], &[long("a", 9)]), r#","values":{"b":2,"a":9}}"#);
}
