//! `wireglot codec run`: decodes one frame and shows what it means.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use serde_json::{Map, Value as Json, json};
use wireglot_codec::Frame;
use wireglot_model::profile::TELEMETRY_TOPIC;
use wireglot_model::{CodecName, Decoded, Measurement, Sample, Timestamp, Uplink, UplinkBody, Value};

use super::check;
use super::table::aligned;
use crate::operator::ServerArgs;

/// Decodes one frame and shows what it means.
#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("payload").required(true))]
pub(crate) struct RunArgs {
    /// The component or script; or a codec of a running server, NAME or NAME@VERSION.
    pub(crate) file: PathBuf,
    /// The frame in hexadecimal digits; spaces do not matter.
    #[arg(long, group = "payload")]
    pub(crate) hex: Option<String>,
    /// The frame in Base64.
    #[arg(long, group = "payload")]
    pub(crate) base64: Option<String>,
    /// The frame as text.
    #[arg(long, group = "payload")]
    pub(crate) text: Option<String>,
    /// The frame as the bytes of standard input.
    #[arg(long, group = "payload")]
    pub(crate) stdin: bool,
    /// The profile's settings for the codec, a JSON object.
    #[arg(long, default_value = "{}")]
    pub(crate) settings: String,
    /// The topic it came on.
    #[arg(long, default_value = TELEMETRY_TOPIC)]
    pub(crate) topic: String,
    /// The device's name.
    #[arg(long, default_value = "device")]
    pub(crate) device: String,
    /// The profile's name.
    #[arg(long, default_value = "profile")]
    pub(crate) profile: String,
    /// The LoRaWAN port.
    #[arg(long)]
    pub(crate) fport: Option<u8>,
    /// A further fact, NAME=VALUE; may be given again.
    #[arg(long, value_name = "NAME=VALUE", value_parser = fact)]
    pub(crate) metadata: Vec<(String, String)>,
    /// When it was received, in milliseconds since 1970. Default: now.
    #[arg(long)]
    pub(crate) received_ms: Option<i64>,
    /// Where the codec is that is no file; and how it is printed.
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

impl RunArgs {
    fn payload(&self) -> anyhow::Result<Vec<u8>> {
        if let Some(digits) = &self.hex {
            let digits: String = digits.chars().filter(|digit| !digit.is_whitespace()).collect();
            return hex::decode(digits).context("--hex takes two hexadecimal digits for each byte");
        }
        if let Some(text) = &self.base64 {
            return base64::engine::general_purpose::STANDARD
                .decode(text.trim())
                .context("--base64 takes Base64");
        }
        if let Some(text) = &self.text {
            return Ok(text.clone().into_bytes());
        }
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).context("standard input cannot be read")?;
        Ok(bytes)
    }
}

pub(super) fn run(args: &RunArgs) -> anyhow::Result<()> {
    let settings: Json = serde_json::from_str(&args.settings).context("--settings is not valid JSON")?;
    if !settings.is_object() {
        bail!("--settings takes a JSON object");
    }
    let payload = args.payload()?;
    let received = match args.received_ms {
        Some(ms) => ms,
        None => i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?,
    };
    let port = args.fport.map(|port| ("fPort".to_owned(), port.to_string()));
    let metadata: Vec<(String, String)> = port.into_iter().chain(args.metadata.iter().cloned()).collect();
    let frame = Frame {
        payload: &payload,
        topic: &args.topic,
        received: Timestamp(received),
        device: &args.device,
        profile: &args.profile,
        metadata: &metadata,
    };
    let codec = match served(&args.file) {
        Some((name, version)) => check::load_served(&args.server, &name, version)?,
        None => check::load_file(&args.file)?,
    };
    let mut session = codec.session(&args.settings).map_err(|failure| anyhow!(failure.reason))?;
    let decoded = session.decode(&frame).map_err(|failure| anyhow!(failure.reason))?;
    let text = if args.server.json {
        serde_json::to_string_pretty(&for_machines(decoded)?)? + "\n"
    } else {
        for_people(&decoded)
    };
    std::io::stdout().lock().write_all(text.as_bytes()).context("standard output is closed")
}

/// The codec that is meant where there is no such file; with the version that is asked for.
fn served(file: &Path) -> Option<(CodecName, Option<&str>)> {
    let ending = file.extension().and_then(|ending| ending.to_str());
    if file.is_file() || matches!(ending, Some("wasm" | "js")) {
        return None;
    }
    let text = file.to_str()?;
    let (name, version) = match text.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    };
    CodecName::parse(name).ok().map(|name| (name, version))
}

fn fact(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a fact is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn for_people(decoded: &Decoded) -> String {
    let mut out = String::new();
    for uplink in &decoded.uplinks {
        let device = uplink.child.as_ref().map(|child| format!(" of {child}")).unwrap_or_default();
        match &uplink.body {
            UplinkBody::Telemetry(measurements) => {
                for measurement in measurements {
                    let time =
                        measurement.ts.map_or("the time of receipt".to_owned(), |ts| format!("{} ms", ts.0));
                    out.push_str(&format!("telemetry{device} at {time}\n{}", samples(&measurement.samples)));
                }
            }
            UplinkBody::Attributes(more) | UplinkBody::SharedAttributes(more) => {
                out.push_str(&format!("attributes{device}\n{}", samples(more)));
            }
            UplinkBody::RpcResponse { id, payload } => {
                out.push_str(&format!("answer{device} to command {id}: {payload}\n"));
            }
            UplinkBody::AttributeRequest { id, client_keys, shared_keys } => {
                let keys = [client_keys.join(", "), shared_keys.join(", ")];
                let [client, shared] = keys.map(|keys| if keys.is_empty() { "-".to_owned() } else { keys });
                out.push_str(&format!(
                    "request {id}{device} for attributes: client {client}, shared {shared}\n"
                ));
            }
            UplinkBody::ClientRpc { id, method, params } => {
                out.push_str(&format!("call {id}{device}: {method} {params}\n"));
            }
            UplinkBody::Claim { duration_ms, .. } => {
                out.push_str(&format!("may be claimed{device} for {duration_ms} ms\n"));
            }
        }
    }
    if decoded.uplinks.is_empty() {
        out.push_str("nothing worth keeping\n");
    }
    decoded.warnings.iter().for_each(|warning| out.push_str(&format!("warning: {warning}\n")));
    out
}

fn samples(samples: &[Sample]) -> String {
    let row = |sample: &Sample| {
        let mut text = String::new();
        sample.value.write_json(&mut text);
        let kind = match &sample.value {
            Value::Bool(_) => "BOOLEAN",
            Value::Long(_) => "LONG",
            Value::Double(_) => "DOUBLE",
            Value::Text(_) => "STRING",
            Value::Json(_) => "JSON",
        };
        vec![sample.key.clone(), kind.to_owned(), text]
    };
    aligned(&samples.iter().map(row).collect::<Vec<_>>(), 2)
}

fn for_machines(decoded: Decoded) -> anyhow::Result<Json> {
    let messages: Vec<Json> = decoded.uplinks.into_iter().map(message).collect::<anyhow::Result<_>>()?;
    Ok(json!({ "messages": messages, "warnings": decoded.warnings }))
}

fn message(uplink: Uplink) -> anyhow::Result<Json> {
    let body = match uplink.body {
        UplinkBody::Telemetry(measurements) => {
            let rows: Vec<Json> = measurements.iter().map(measurement).collect::<anyhow::Result<_>>()?;
            json!({ "telemetry": rows })
        }
        UplinkBody::Attributes(samples) => json!({ "attributes": values(&samples)? }),
        UplinkBody::SharedAttributes(samples) => json!({ "sharedAttributes": values(&samples)? }),
        UplinkBody::RpcResponse { id, payload } => {
            json!({ "rpcResponse": { "id": id, "payload": document(&payload)? } })
        }
        UplinkBody::AttributeRequest { id, client_keys, shared_keys } => {
            json!({ "attributeRequest": { "id": id, "clientKeys": client_keys, "sharedKeys": shared_keys } })
        }
        UplinkBody::ClientRpc { id, method, params } => {
            json!({ "clientRpc": { "id": id, "method": method, "params": document(&params)? } })
        }
        UplinkBody::Claim { duration_ms, .. } => json!({ "claim": { "durationMs": duration_ms } }),
    };
    Ok(match (uplink.child, body) {
        (Some(child), Json::Object(mut body)) => {
            body.insert("device".to_owned(), Json::String(child));
            Json::Object(body)
        }
        (_, body) => body,
    })
}

fn measurement(measurement: &Measurement) -> anyhow::Result<Json> {
    Ok(json!({ "ts": measurement.ts.map(|ts| ts.0), "values": values(&measurement.samples)? }))
}

fn values(samples: &[Sample]) -> anyhow::Result<Map<String, Json>> {
    samples
        .iter()
        .map(|sample| {
            let mut text = String::new();
            sample.value.write_json(&mut text);
            Ok((sample.key.clone(), document(&text)?))
        })
        .collect()
}

fn document(text: &str) -> anyhow::Result<Json> {
    serde_json::from_str(text).with_context(|| format!("the codec gave something that is not JSON: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_message_is_shown() {
        let sample = |key: &str, value| Sample { key: key.into(), value };
        let bodies = [
            UplinkBody::Telemetry(vec![Measurement {
                ts: Some(Timestamp(5)),
                samples: vec![sample("t", Value::Double(21.5)), sample("n", Value::Long(-1))],
            }]),
            UplinkBody::Attributes(vec![sample("fw", Value::Text("1.2".into()))]),
            UplinkBody::RpcResponse { id: 7, payload: "{\"ok\":true}".into() },
            UplinkBody::AttributeRequest { id: 8, client_keys: vec!["a".into()], shared_keys: vec![] },
            UplinkBody::ClientRpc { id: 9, method: "now".into(), params: "null".into() },
        ];
        let uplinks = bodies.into_iter().enumerate();
        let uplinks =
            uplinks.map(|(index, body)| Uplink { child: (index == 1).then(|| "probe".into()), body });
        let decoded = Decoded { uplinks: uplinks.collect(), warnings: vec!["odd".into()] };
        let expected = r#"{"messages":[
            {"telemetry":[{"ts":5,"values":{"t":21.5,"n":-1}}]},
            {"attributes":{"fw":"1.2"},"device":"probe"},
            {"rpcResponse":{"id":7,"payload":{"ok":true}}},
            {"attributeRequest":{"id":8,"clientKeys":["a"],"sharedKeys":[]}},
            {"clientRpc":{"id":9,"method":"now","params":null}}
        ],"warnings":["odd"]}"#;
        let people = for_people(&decoded);
        assert_eq!(for_machines(decoded).unwrap(), serde_json::from_str::<Json>(expected).unwrap());
        assert_eq!(
            people,
            "telemetry at 5 ms\n  t  DOUBLE  21.5\n  n  LONG    -1\nattributes of probe\n  fw  STRING  \"1.2\"\n\
             answer to command 7: {\"ok\":true}\nrequest 8 for attributes: client a, shared -\ncall 9: now null\n\
             warning: odd\n"
        );
    }
}
