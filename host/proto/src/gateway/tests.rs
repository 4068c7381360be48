//! Bytes as a gateway's library writes them, by the numbers of gateway API §8.

use super::*;

/// A field of bytes: number, length, content; all of them short.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, u8::try_from(content.len()).unwrap()];
    out.extend_from_slice(content);
    out
}

fn joined(fields: &[Vec<u8>]) -> Vec<u8> {
    fields.concat()
}

/// A KeyValueProto with a long.
fn long(key: &str, value: u8) -> Vec<u8> {
    joined(&[field(1, key.as_bytes()), vec![0x10, 1], vec![0x20, value]])
}

/// A TelemetryMsg with its PostTelemetryMsg under this number.
fn telemetry_msg(device: &str, number: u8, ts: u8, values: &[Vec<u8>]) -> Vec<u8> {
    let mut list = vec![0x08, ts];
    values.iter().for_each(|value| list.extend(field(2, value)));
    joined(&[field(1, device.as_bytes()), field(number, &field(1, &list))])
}

#[track_caller]
fn parts(said: Result<GatewaySaid, ProtoRefusal>) -> Vec<GatewayPart> {
    match said {
        Ok(GatewaySaid::Parts(parts)) => parts,
        other => panic!("{other:?}"),
    }
}

// 385, 386
#[test]
fn telemetry_stands_in_field_three() {
    let payload = joined(&[
        field(1, &telemetry_msg("A", 3, 7, &[long("t", 4)])),
        field(1, &telemetry_msg("B", 2, 7, &[long("t", 4)])),
        field(1, &telemetry_msg("C", 3, 0, &[long("t", 5)])),
        field(1, &telemetry_msg("D", 3, 1, &[])),
        field(1, &telemetry_msg("E", 3, 1, &[long(" ", 5)])),
        field(1, &telemetry_msg("F", 3, 1, &[joined(&[field(1, b"k"), vec![0x10, 9]])])),
        field(1, &telemetry_msg("G", 3, 1, &[joined(&[field(1, b"k"), vec![0x10, 4], field(7, b"{")])])),
    ]);
    let found = parts(gateway_telemetry(&payload));
    let body = |ts: Option<i64>, value| {
        let samples = vec![Sample { key: "t".into(), value: Value::Long(value) }];
        let measurements = vec![Measurement { ts: ts.map(Timestamp), samples }];
        Ok(PartBody::Telemetry { measurements, frames: Vec::new(), transits: Vec::new() })
    };
    let [a, b, c, rest @ ..] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((a.device.as_str(), &a.body), ("A", &body(Some(7), 4)));
    assert_eq!((b.device.as_str(), b.body.is_err()), ("B", true), "its values are in field 2");
    assert_eq!((c.device.as_str(), &c.body), ("C", &body(None, 5)));
    let reasons: Vec<_> = rest.iter().map(|part| part.body.as_ref().unwrap_err().as_str()).collect();
    let hints = ["kv: is empty", "not blank", "9 is no type", "json_v of 'k'"];
    assert!(reasons.iter().zip(hints).all(|(reason, hint)| reason.contains(hint)), "{reasons:?}");
    let cut = gateway_part_payloads(&payload, &[1, 99]);
    assert_eq!(cut, [field(1, &telemetry_msg("B", 2, 7, &[long("t", 4)]))]);
}

#[test]
fn what_says_nothing_of_anybody_is_refused() {
    for payload in [&b""[..], b"\xff", &field(1, &telemetry_msg("", 3, 1, &[long("t", 1)]))] {
        assert!(gateway_telemetry(payload).is_err(), "{payload:02x?}");
    }
    for read in [gateway_connect, gateway_disconnect, gateway_attribute_request, gateway_rpc_response] {
        assert!(read(b"").is_err(), "no name");
        assert!(read(b"\x0a\x7f").is_err(), "cut off");
    }
}

// 385
#[test]
fn the_other_calls_are_those_of_json() {
    let connect = gateway_connect(&joined(&[field(1, b"A"), field(2, b"T")]));
    assert_eq!(connect, Ok(GatewaySaid::Connect { device: "A".into(), profile: Some("T".into()) }));
    let connect = gateway_connect(&field(1, b"A"));
    assert_eq!(connect, Ok(GatewaySaid::Connect { device: "A".into(), profile: None }));
    assert_eq!(gateway_disconnect(&field(1, b"A")), Ok(GatewaySaid::Disconnect { device: "A".into() }));
    let request = gateway_attribute_request(&joined(&[
        vec![0x08, 3],
        field(2, b"A"),
        vec![0x18, 1],
        field(4, b"k"),
        field(4, b"k"),
    ]));
    let asked = GatewayAttributeRequest::of_scope("A".into(), 3, true, vec!["k".into()]);
    assert_eq!(request, Ok(GatewaySaid::AttributeRequest(asked)));
    let response = gateway_rpc_response(&joined(&[field(1, b"A"), vec![0x10, 2], field(3, b"{}")]));
    let payload = "{}".to_owned();
    assert_eq!(response, Ok(GatewaySaid::RpcResponse { device: "A".into(), id: 2, payload }));
    let claim = joined(&[field(1, b"A"), field(2, &joined(&[field(1, b"s"), vec![0x10, 5]]))]);
    let found = parts(gateway_claim(&field(1, &claim)));
    assert_eq!(found[0].body, Ok(PartBody::Claim { secret: "s".into(), duration_ms: 5 }));
    let attributes = joined(&[field(1, b"A"), field(2, &joined(&[field(1, &long("a", 1)), vec![0x10, 1]]))]);
    let found = parts(gateway_attributes(&field(1, &attributes)));
    let samples = vec![Sample { key: "a".into(), value: Value::Long(1) }];
    assert_eq!(found[0].body, Ok(PartBody::Attributes(samples)), "`shared` is not the device's to say");
}

#[test]
fn what_gateways_hear_names_the_device() {
    assert_eq!(write_gateway_disconnect("A", 150), joined(&[field(1, b"A"), vec![0x10, 0x96, 0x01]]));
    let request = joined(&[vec![0x08, 7], field(2, b"m"), field(3, b"1")]);
    assert_eq!(write_gateway_rpc_request("A", 7, "m", "1"), joined(&[field(1, b"A"), field(2, &request)]));
    let deleted = field(2, &field(2, b"k"));
    assert_eq!(write_gateway_attribute_delete("A", &["k".into()]), joined(&[field(1, b"A"), deleted]));
    let samples = [Sample { key: "a".into(), value: Value::Long(1) }];
    let keys = |count: usize| (0..count).map(|key| key.to_string()).collect();
    let asked = |count| GatewayAttributeRequest::of_scope("A".into(), 3, false, keys(count));
    let value = field(3, &field(2, &long("a", 1)));
    let single = joined(&[vec![0x08, 3], value.clone()]);
    assert_eq!(
        write_gateway_attribute_response(&asked(1), &[], &samples),
        joined(&[field(1, b"A"), field(2, &single)])
    );
    let several = joined(&[vec![0x08, 3], value, vec![0x20, 1]]);
    assert_eq!(
        write_gateway_attribute_response(&asked(2), &[], &samples),
        joined(&[field(1, b"A"), field(2, &several)])
    );
}
