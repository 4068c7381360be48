//! The server's live trace, turned into rows for people.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::sync::mpsc::Sender;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::Happening;

/// What was stored, what was not, and who came.
const EVENTS: &str = "telemetry,attributes,failed,connected";
/// Values shown of one message; a terminal has only so many columns.
const VALUES_SHOWN_MAX: usize = 6;

/// Logs the administrator in; gives the access token.
pub(crate) fn login(http: SocketAddr, password: &str) -> anyhow::Result<String> {
    let answer: Value = ureq::post(format!("http://{http}/api/auth/login"))
        .send_json(json!({"username": "tenant@thingsboard.org", "password": password}))
        .context("the administrator cannot log in")?
        .body_mut()
        .read_json()
        .context("the answer to the login is no JSON")?;
    Ok(answer
        .get("token")
        .and_then(Value::as_str)
        .context("the answer to the login has no token")?
        .to_owned())
}

/// Tells every row of the trace, from a thread of its own, until the server closes it.
pub(super) fn follow(http: SocketAddr, token: String, happened: Sender<Happening>) {
    std::thread::spawn(move || {
        let outcome = read(http, &token, &happened);
        // Where the receiver is gone the demo is over.
        drop(happened.send(Happening::TraceEnded(outcome)));
    });
}

fn read(http: SocketAddr, token: &str, happened: &Sender<Happening>) -> anyhow::Result<()> {
    let answer = ureq::get(format!("http://{http}/api/trace?events={EVENTS}"))
        .header("X-Authorization", format!("Bearer {token}"))
        .call()
        .context("the live trace is refused")?;
    rows(BufReader::new(answer.into_body().into_reader()), |row| drop(happened.send(row)))
}

/// Server-sent events: `event:` names what follows in `data:`.
fn rows(lines: impl BufRead, mut tell: impl FnMut(Happening)) -> anyhow::Result<()> {
    let mut event = String::new();
    for line in lines.lines() {
        let line = line.context("the live trace cannot be read")?;
        if let Some(name) = line.strip_prefix("event:") {
            name.trim().clone_into(&mut event);
        } else if let Some(data) = line.strip_prefix("data:") {
            let data: Value = serde_json::from_str(data.trim()).context("the live trace sent no JSON")?;
            if let Some(row) = row(&event, &data) {
                tell(row);
            }
        }
    }
    Ok(())
}

fn row(event: &str, data: &Value) -> Option<Happening> {
    let text = |key: &str| data.get(key).and_then(Value::as_str).unwrap_or("?");
    let device = text("deviceName");
    match event {
        "telemetry" | "attributes" => {
            let line = format!("{}  {device:<15} {:<20} {}", clock(data), codec(data), values(data));
            Some(Happening::Row { device: Some(device.to_owned()), line })
        }
        "failed" => {
            let line =
                format!("{}  {device:<15} {:<20} NOT DECODED: {}", clock(data), codec(data), text("reason"));
            Some(Happening::Row { device: None, line })
        }
        "connected" => {
            Some(Happening::Row { device: None, line: format!("{}  {device:<15} connected", clock(data)) })
        }
        _ => None,
    }
}

/// The time of day, in UTC.
fn clock(data: &Value) -> String {
    let seconds =
        data.get("ts").and_then(Value::as_i64).unwrap_or_default().div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn codec(data: &Value) -> String {
    let part = |key: &str| data.get("codec").and_then(|codec| codec.get(key)).and_then(Value::as_str);
    match (part("name"), part("version")) {
        (Some(name), Some(version)) => format!("{name} {version}"),
        _ => "-".to_owned(),
    }
}

fn values(data: &Value) -> String {
    let Some(values) = data.get("values").and_then(Value::as_object) else { return String::new() };
    let mut shown: Vec<String> =
        values.iter().take(VALUES_SHOWN_MAX).map(|(key, value)| format!("{key}={}", plain(value))).collect();
    if values.len() > VALUES_SHOWN_MAX {
        shown.push(format!("… {} more", values.len() - VALUES_SHOWN_MAX));
    }
    shown.join("  ")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(stream: &str, expected: &[&str]) {
        let mut lines = Vec::new();
        let tell = |happening| match happening {
            Happening::Row { line, .. } => lines.push(line),
            Happening::Stop | Happening::TraceEnded(_) => panic!("not of the trace"),
        };
        rows(stream.as_bytes(), tell).unwrap();
        assert_eq!(lines, expected);
    }

    #[test]
    fn events_become_rows() {
        check(": keep alive\n\n", &[]);
        check(
            "event: telemetry\ndata: {\"deviceName\":\"ruuvi-1\",\"ts\":3661000,\"codec\":{\"name\":\"ruuvi-df5\",\
             \"version\":\"1.0.0\"},\"values\":{\"temperature\":24.3,\"mac\":\"CB\"}}\n\n\
             event: failed\ndata: {\"deviceName\":\"d\",\"ts\":0,\"codec\":null,\"reason\":\"malformed: short\"}\n\n",
            &[
                "01:01:01  ruuvi-1         ruuvi-df5 1.0.0      mac=CB  temperature=24.3",
                "00:00:00  d               -                    NOT DECODED: malformed: short",
            ],
        );
        check(
            "event: telemetry\ndata: {\"deviceName\":\"d\",\"ts\":0,\"values\":{\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6,\"g\":7}}\n",
            &["00:00:00  d               -                    a=1  b=2  c=3  d=4  e=5  f=6  … 1 more"],
        );
    }
}
