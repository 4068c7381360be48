//! `wireglot device simulate`: a device that publishes recorded payloads over real MQTT, again and again.
//!
//! It stands where a device stands: it knows a token, a topic and bytes, and waits for every PUBACK.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use wireglot_codec::VectorFile;

/// What to publish, where and how often.
#[derive(clap::Args)]
pub(crate) struct Simulation {
    /// The server.
    #[arg(long, default_value = "127.0.0.1:1883")]
    mqtt: SocketAddr,
    /// A vector file, or a folder of them.
    #[arg(long)]
    vectors: PathBuf,
    /// The device's access token.
    #[arg(long, env = "WIREGLOT_DEVICE_TOKEN")]
    token: String,
    /// Where to publish.
    #[arg(long, default_value = wireglot_model::profile::TELEMETRY_TOPIC)]
    topic: String,
    /// Pause between two payloads, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    interval_ms: u64,
    /// How many payloads to publish; 0 goes on until it is stopped.
    #[arg(long, default_value_t = 0)]
    count: u64,
    /// Only the payloads recorded for this device.
    #[arg(long)]
    device: Option<String>,
}

/// Publishes until the count is reached.
pub(crate) async fn run(simulation: Simulation) -> anyhow::Result<()> {
    let payloads = payloads(&simulation.vectors, simulation.device.as_deref())?;
    let client_id = format!("simulated-{}", std::process::id());
    let mut options = MqttOptions::new(client_id, simulation.mqtt.ip().to_string(), simulation.mqtt.port());
    options.set_credentials(&simulation.token, "").set_keep_alive(Duration::from_secs(30));
    let (client, mut connection) = AsyncClient::new(options, 16);
    let mut published = 0;
    for payload in payloads.iter().cycle() {
        if simulation.count != 0 && published == simulation.count {
            break;
        }
        client
            .publish(&simulation.topic, QoS::AtLeastOnce, false, payload.clone())
            .await
            .context("The payload could not be queued.")?;
        acknowledged(&mut connection, simulation.mqtt).await?;
        published += 1;
        let pause = tokio::time::sleep(Duration::from_millis(simulation.interval_ms));
        tokio::pin!(pause);
        // The connection is polled meanwhile, so that pings go out.
        loop {
            tokio::select! {
                () = &mut pause => break,
                event = connection.poll() => drop(event.with_context(|| format!("{} hung up.", simulation.mqtt))?),
            }
        }
    }
    writeln!(std::io::stdout().lock(), "{published} payloads published and acknowledged.")?;
    Ok(())
}

async fn acknowledged(connection: &mut EventLoop, server: SocketAddr) -> anyhow::Result<()> {
    loop {
        let event = connection.poll().await.with_context(|| format!("No session with {server}."))?;
        if let Event::Incoming(Packet::PubAck(_)) = event {
            return Ok(());
        }
    }
}

fn payloads(path: &Path, device: Option<&str>) -> anyhow::Result<Vec<Vec<u8>>> {
    let files = if path.is_dir() {
        let mut files: Vec<_> = std::fs::read_dir(path)
            .with_context(|| format!("{} cannot be listed.", path.display()))?
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .map(|entry| entry.path())
            .filter(|file| file.extension().is_some_and(|extension| extension == "json"))
            .collect();
        files.sort();
        files
    } else {
        vec![path.to_owned()]
    };
    let mut payloads = Vec::new();
    for file in files {
        let text = std::fs::read(&file).with_context(|| format!("{} cannot be read.", file.display()))?;
        let vectors = VectorFile::parse(&file.display().to_string(), &text)?;
        let wanted = vectors.payloads().filter(|(recorded, _)| device.is_none_or(|name| *recorded == name));
        payloads.extend(wanted.map(|(_, payload)| payload.to_vec()));
    }
    if payloads.is_empty() {
        bail!(
            "{} holds no payloads{}.",
            path.display(),
            if device.is_some() { " of that device" } else { "" }
        );
    }
    Ok(payloads)
}
