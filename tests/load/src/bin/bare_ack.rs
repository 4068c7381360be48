//! `bare-ack`: the MQTT library of the server with nothing behind it, which shows what the rest of the server costs.
//!
//! It accepts everybody and acknowledges everything. Same versions, same runtime, same limits as the server's.

use std::net::SocketAddr;

use clap::Parser;
use ntex::SharedCfg;
use ntex_mqtt::{MqttServer, MqttServiceConfig, v3, v5};

#[derive(Parser)]
struct Flags {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long)]
    workers: usize,
}

struct Session;

#[derive(Debug)]
struct Failed;

impl From<()> for Failed {
    fn from((): ()) -> Self {
        Self
    }
}

impl TryFrom<Failed> for v5::PublishAck {
    type Error = Failed;

    fn try_from(failed: Failed) -> Result<Self, Failed> {
        Err(failed)
    }
}

async fn accept_v3(handshake: v3::Handshake) -> Result<v3::HandshakeAck<Session>, Failed> {
    Ok(handshake.ack(Session, false))
}

async fn accept_v5(handshake: v5::Handshake) -> Result<v5::HandshakeAck<Session>, Failed> {
    Ok(handshake.ack(Session))
}

#[ntex::main]
async fn main() -> std::io::Result<()> {
    let flags = Flags::parse();
    let limits =
        MqttServiceConfig::new().set_max_size(65_536).set_max_receive(100).set_max_receive_size(1 << 20);
    ntex::server::build()
        .bind("mqtt", flags.address, async |_| {
            MqttServer::new()
                .v3(v3::MqttServer::new(accept_v3).publish(async |_: v3::Publish| Ok::<_, Failed>(())))
                .v5(v5::MqttServer::new(accept_v5).publish(async |p: v5::Publish| Ok::<_, Failed>(p.ack())))
        })?
        .config("mqtt", SharedCfg::new("mqtt").add(limits))
        .workers(flags.workers)
        .run()
        .await
}
