//! A gateway that speaks for many devices, and the same values from devices that speak for themselves.
//!
//! Both keep as many devices' messages in flight: the gateway a few publishes of many devices each, the others one message
//! on every connection. So what differs is the way that the values come.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::account;
use crate::fleet::{self, Names};
use crate::wire::{self, Connect, Version, kind};

/// Values in what one device says at a time.
pub const VALUES_EACH: usize = 4;
const VALUES: &str = r#"{"t":21.5,"h":40,"p":1013.25,"v":3.1}"#;
/// Connects that may wait for their acknowledgement.
const CONNECTS_IN_FLIGHT: usize = 64;
/// Publishes of telemetry that may.
const PUBLISHES_IN_FLIGHT: usize = 4;
const PATIENCE: Duration = Duration::from_secs(120);
const KEEP_ALIVE_S: u16 = 600;

/// Who speaks for whom.
pub struct Plan<'a> {
    pub address: SocketAddr,
    /// The gateway's token.
    pub token: &'a str,
    pub children: usize,
    /// Devices in one publish of telemetry.
    pub per_publish: usize,
    /// How often each device is spoken for.
    pub times: usize,
    /// The server, which is watched.
    pub server: u32,
}

/// How it went.
pub struct Served {
    /// Of the server: the gateway alone, and with all its children.
    pub alone_kib: u64,
    pub connected_kib: u64,
    pub connects: Duration,
    pub telemetry: Duration,
    /// Processor time of the server for the telemetry.
    pub cpu: Duration,
    pub values: usize,
}

/// One connection that publishes at QoS 1, in MQTT 5, so that a refusal is seen.
struct Line {
    stream: TcpStream,
    partial: Vec<u8>,
    last_id: u16,
    in_flight: HashSet<u16>,
}

/// Connects all children, says something for each of them, and leaves.
pub fn serve(plan: &Plan<'_>) -> Result<Served> {
    let mut line = Line::open(plan.address, plan.token)?;
    let alone_kib = account::memory_kib(plan.server)?;
    let start = Instant::now();
    for number in 0..plan.children {
        let device = format!("{{\"device\":\"{}\",\"type\":\"child\"}}", name(number));
        line.publish("v1/gateway/connect", device.as_bytes(), CONNECTS_IN_FLIGHT)?;
    }
    line.settle(0)?;
    let connects = start.elapsed();
    let connected_kib = account::memory_kib(plan.server)?;

    let numbers: Vec<usize> = (0..plan.children).collect();
    let payloads: Vec<String> = numbers.chunks(plan.per_publish.max(1)).map(telemetry_of).collect();
    let (start, cpu) = (Instant::now(), account::cpu(plan.server)?);
    for _ in 0..plan.times {
        for payload in &payloads {
            line.publish("v1/gateway/telemetry", payload.as_bytes(), PUBLISHES_IN_FLIGHT)?;
        }
    }
    line.settle(0)?;
    let (telemetry, cpu) = (start.elapsed(), account::cpu(plan.server)? - cpu);
    line.stream.write_all(&wire::disconnect())?;
    let values = plan.children * plan.times * VALUES_EACH;
    Ok(Served { alone_kib, connected_kib, connects, telemetry, cpu, values })
}

/// The same number of values from `devices` that are connected themselves, by the names that `pattern` gives.
pub fn direct(plan: &Plan<'_>, pattern: &str, devices: usize) -> Result<Served> {
    ensure!(devices > 0, "somebody has to speak");
    let alone_kib = account::memory_kib(plan.server)?;
    let start = Instant::now();
    let open = |number| Line::open(plan.address, &Names::of(pattern, number));
    let mut lines: Vec<Line> = (0..devices).map(open).collect::<Result<_>>()?;
    let connects = start.elapsed();
    let connected_kib = account::memory_kib(plan.server)?;
    let times = (plan.children * plan.times).div_ceil(devices);
    let (start, cpu) = (Instant::now(), account::cpu(plan.server)?);
    for _ in 0..times {
        for line in &mut lines {
            line.publish("v1/devices/me/telemetry", VALUES.as_bytes(), 1)?;
        }
    }
    lines.iter_mut().try_for_each(|line| line.settle(0))?;
    let (telemetry, cpu) = (start.elapsed(), account::cpu(plan.server)? - cpu);
    lines.iter_mut().try_for_each(|line| line.stream.write_all(&wire::disconnect()))?;
    let values = devices * times * VALUES_EACH;
    Ok(Served { alone_kib, connected_kib, connects, telemetry, cpu, values })
}

fn name(number: usize) -> String {
    format!("child-{number}")
}

/// A publish of telemetry for these children.
fn telemetry_of(numbers: &[usize]) -> String {
    let mut payload = String::from("{");
    for (index, number) in numbers.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        write!(payload, "{comma}\"{}\":[{VALUES}]", name(*number)).expect("writing to a string succeeds");
    }
    payload.push('}');
    payload
}

impl Line {
    fn open(address: SocketAddr, token: &str) -> Result<Self> {
        let claim =
            Connect { client_id: token, user_name: Some(token), password: None, keep_alive_s: KEEP_ALIVE_S };
        let stream = fleet::connect(address, Version::V5, &claim)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, partial: Vec::new(), last_id: 0, in_flight: HashSet::new() })
    }

    /// Publishes when fewer than `in_flight_max` wait for their acknowledgement.
    fn publish(&mut self, topic: &str, payload: &[u8], in_flight_max: usize) -> Result<()> {
        self.settle(in_flight_max.saturating_sub(1))?;
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.in_flight.insert(self.last_id);
        self.stream.write_all(&wire::publish(Version::V5, topic, 1, self.last_id, payload))?;
        Ok(())
    }

    /// Waits until no more than these are in flight.
    fn settle(&mut self, in_flight: usize) -> Result<()> {
        let mut buffer = [0; 16 * 1024];
        while self.in_flight.len() > in_flight {
            while let Some(packet) = wire::first_packet(&self.partial) {
                let len = packet.len;
                match packet.kind() {
                    kind::PUBACK => {
                        let is_known = packet.packet_id().is_some_and(|id| self.in_flight.remove(&id));
                        ensure!(is_known, "an acknowledgement of nothing: {:02x?}", packet.body);
                        ensure!(packet.reason() < 0x80, "refused with {:#04x}", packet.reason());
                    }
                    // What the server says to a gateway of its own accord.
                    kind::PUBLISH => {}
                    other => bail!("a packet of type {other}: {:02x?}", packet.body),
                }
                self.partial.drain(..len);
            }
            if self.in_flight.len() <= in_flight {
                break;
            }
            match self.stream.read(&mut buffer)? {
                0 => bail!("the server closed the connection"),
                count => self.partial.extend(buffer.iter().take(count)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_of_500_devices_is_json_that_fits_a_packet() {
        let numbers: Vec<usize> = (9_500..10_000).collect();
        let payload = telemetry_of(&numbers);
        let read: serde_json::Value = serde_json::from_str(&payload).unwrap();
        let devices = read.as_object().unwrap();
        assert_eq!((devices.len(), devices["child-9999"][0].as_object().unwrap().len()), (500, VALUES_EACH));
        assert!(payload.len() < 60_000, "{}", payload.len());
    }
}
