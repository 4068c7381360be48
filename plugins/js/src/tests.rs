//! The recorded frames, natively, and frames that the recorded ones suggest. What takes the real component is tested
//! in the host: time, chance and every limit.

use std::path::Path;

use wireglot_sdk::{Codec, Command, Downlink, Refusal, RpcRequest, Sample, Settings, Uplink, Value};

use crate::Js;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors"))
}

#[test]
fn vectors_decode_as_they_say() {
    wireglot_sdk::vectors::decode_all::<Js>(folder());
}

#[test]
fn no_frame_makes_it_panic() {
    wireglot_sdk::vectors::torture::<Js>(folder());
}

fn configured(script: &str, more: &str) -> Result<Js, String> {
    let escaped = script.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    Js::configure(&Settings::parse(&format!("{{\"script\":\"{escaped}\"{more}}}"))?)
}

/// Which bytes the script makes of a command, and on which port.
fn encoded(script: &str, command: Command) -> Result<(Vec<u8>, Option<String>), Refusal> {
    let downlink = Downlink {
        device: None,
        command,
        connected_device: "d".into(),
        profile: "p".into(),
        now_ms: 1_700_000_000_000,
        metadata: Vec::new(),
    };
    let sent = configured(script, ",\"fPort\":7,\"variables\":{\"k\":3}").unwrap().encode(downlink)?;
    assert_eq!(sent.len(), 1);
    let port = sent[0].metadata.iter().find(|(name, _)| name == "fPort").map(|(_, port)| port.clone());
    Ok((sent[0].payload.clone(), port))
}

fn call(method: &str, params: &str) -> Command {
    Command::RpcRequest(RpcRequest { id: 1, method: method.into(), params: params.into() })
}

const DECODER: &str = "function Decoder(b) { return { n: b.length } }";

#[track_caller]
fn check_encoder(encoder: &str, command: Command, payload: &[u8], port: Option<&str>) {
    let sent = encoded(&format!("{DECODER}\n{encoder}"), command).unwrap();
    assert_eq!(sent, (payload.to_vec(), port.map(str::to_owned)), "{encoder}");
}

#[test]
fn commands_are_encoded_in_each_convention() {
    let this = "function encodeDownlink(i) { return { bytes: [i.data.led, i.variables.k], fPort: 9 } }";
    check_encoder(this, call("set", "{\"led\":1}"), &[1, 3], Some("9"));
    check_encoder(this, call("led", "257"), &[1, 3], Some("9"));
    let shared = vec![Sample { key: "led".into(), value: Value::Long(2) }];
    check_encoder(this, Command::AttributeUpdate(shared), &[2, 3], Some("9"));
    let method = "function encodeDownlink(i) { return { bytes: Buffer.from(i.method + i.fPort) } }";
    check_encoder(method, call("x", "null"), b"x7", Some("7"));
    check_encoder(
        "function Encode(p, o, v) { return [p, o.a, v.k] }",
        call("m", "{\"a\":-1}"),
        &[7, 255, 3],
        Some("7"),
    );
    check_encoder("function Encoder(o, p) { return [o.a, p] }", call("m", "{\"a\":5}"), &[5, 7], Some("7"));
}

#[test]
fn what_cannot_be_encoded_is_refused() {
    let check = |encoder: &str, command: Command, part: &str| {
        let (Refusal::Malformed(words) | Refusal::Unsupported(words)) =
            encoded(&format!("{DECODER}\n{encoder}"), command).unwrap_err();
        assert!(words.contains(part), "{encoder}: {words}");
    };
    check("", call("m", "{}"), "encodeDownlink, Encode, Encoder");
    check("function Encoder() {}", call("m", "{}"), "list of bytes");
    check("function Encoder() { return ['a'] }", call("m", "{}"), "list of bytes");
    check("function Encoder() { return { length: 70000 } }", call("m", "{}"), "at most 65536");
    check("function encodeDownlink() { return { errors: ['no'] } }", call("m", "{}"), "no");
    check("function encodeDownlink() { return {} }", call("m", "{}"), "neither bytes nor errors");
    check("function encodeDownlink() { return 1 }", Command::AttributeDelete(vec![]), "attribute updates");
}

#[test]
fn copies_of_downlinks_are_decoded_by_their_own_function() {
    let script = "function decodeUplink() { return { data: { up: 1 } } }
        function decodeDownlink(i) { return { data: { interval: i.bytes[0], port: i.fPort } } }";
    let uplink = Uplink {
        payload: vec![60],
        topic: "t".into(),
        received_ms: 0,
        device: "d".into(),
        profile: "p".into(),
        metadata: vec![("fPort".into(), "2".into())],
    };
    let decoded = configured(script, ",\"direction\":\"down\"").unwrap().decode(uplink).unwrap();
    let shown = format!("{decoded:?}");
    assert!(shown.contains("interval") && shown.contains("60") && !shown.contains("up"), "{shown}");
    let Err(told) = configured(DECODER, ",\"direction\":\"down\"") else {
        panic!("there is no decodeDownlink")
    };
    assert!(told.contains("no function decodeDownlink"), "{told}");
}

#[test]
fn settings_that_cannot_be_are_refused_by_name() {
    for (more, part) in [
        (",\"fPort\":256", "fPort"),
        (",\"fPort\":\"1\"", "fPort"),
        (",\"variables\":[]", "variables"),
        (",\"direction\":\"sideways\"", "direction"),
        (",\"normalize\":true", "normalize"),
        (",\"file\":\"\"", "file"),
        (",\"scirpt\":\"\"", "scirpt"),
    ] {
        let Err(told) = configured(DECODER, more) else { panic!("{more} was taken") };
        assert!(told.contains(part), "{more}: {told}");
    }
    let Err(told) = Js::configure(&Settings::parse("{}").unwrap()) else { panic!("there is no script") };
    assert!(told.contains("script"), "{told}");
}

/// Node's documentation is the measure of each line.
#[test]
fn buffer_is_as_node_has_it() {
    for (expression, expected) in [
        ("Buffer.from([1, 2, 3]).readUIntBE(0, 3)", "66051"),
        ("Buffer.from([255, 255, 255, 255, 255, 255]).readIntLE(0, 6)", "-1"),
        ("Buffer.from('ff80', 'hex').readInt8(1)", "-128"),
        ("String(Buffer.from([1,0,0,0,0,0,0,0]).readBigUInt64LE(0))", "1"),
        ("Buffer.from([0,0,0,0,0,0,240,63]).readDoubleLE(0)", "1"),
        ("Buffer.from('aGk', 'base64').toString()", "hi"),
        ("Buffer.from([251, 255]).toString('base64url')", "-_8"),
        ("Buffer.from([251, 255]).toString('base64')", "+/8="),
        ("Buffer.from('\u{20ac}').toString('hex')", "e282ac"),
        ("Buffer.from([0xe2, 0x82]).toString()", "\u{fffd}"),
        ("Buffer.from('zz', 'hex').length", "0"),
        ("Buffer.concat([Buffer.from('a'), Buffer.from('bc')]).toString()", "abc"),
        ("Buffer.from('abcabc').indexOf('ca')", "2"),
        ("Buffer.from('abc').equals(Buffer.from('abc'))", "true"),
        ("Buffer.compare(Buffer.from([1]), Buffer.from([1, 0]))", "-1"),
        ("Buffer.from([1,2,3,4]).swap16().toString('hex')", "02010403"),
        (
            "(function(){ var b = Buffer.alloc(4); b.writeInt16BE(-2, 1); return b.toString('hex') })()",
            "00fffe00",
        ),
        (
            "(function(){ var b = Buffer.alloc(4); b.writeUIntLE(66051, 0, 3); return b.toString('hex') })()",
            "03020100",
        ),
        ("(function(){ var b = Buffer.from('abc'); b.slice(1)[0] = 120; return b.toString() })()", "axc"),
        ("Buffer.from([1,2,3]).subarray(1).toString('hex')", "0203"),
        ("Buffer.from([1,2,3]).map(function (x) { return x * 2 }).toString('hex')", "020406"),
        ("Buffer.isBuffer(new Buffer(2)) && !Buffer.isBuffer(new Uint8Array(2))", "true"),
        ("Buffer.byteLength('\u{e4}')", "2"),
        ("Buffer.alloc(3, 'ab').toString()", "aba"),
        ("JSON.stringify(Buffer.from('a'))", "{\"type\":\"Buffer\",\"data\":[97]}"),
        (
            "(function(){ try { Buffer.from([1]).readUInt16LE(0) } catch (e) { return e.name } })()",
            "RangeError",
        ),
        ("(function(){ try { Buffer.from('a', 'klingon') } catch (e) { return e.name } })()", "TypeError"),
    ] {
        let script = format!("function Decoder() {{ return {{ v: String({expression}) }} }}");
        let uplink = Uplink {
            payload: Vec::new(),
            topic: "t".into(),
            received_ms: 0,
            device: "d".into(),
            profile: "p".into(),
            metadata: Vec::new(),
        };
        let decoded = configured(&script, "").unwrap().decode(uplink);
        let shown = format!("{decoded:?}");
        let wanted = format!("{:?}", Value::Text(expected.into()));
        assert!(shown.contains(&wanted), "{expression}: {shown}");
    }
}
