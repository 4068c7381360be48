//! The listener: its threads, every limit of ntex and ntex-mqtt set on purpose, and one connection from accept to end.
//!
//! One thread accepts and hands connections to the workers in turn, so that they are spread evenly; a thread of its
//! own watches over both. Workers have a stack on which a codec can run. Here is only what is the same for all
//! versions of MQTT; what a packet means is in `v3.rs` and `v5.rs`.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use ntex::io::{Io, IoConfig};
use ntex::rt::{DefaultRuntime, System};
use ntex::server::{Server, ServerBuilder};
use ntex::service::cfg::SharedCfg;
use ntex::service::{Service, ServiceCtx, ServiceFactory, fn_factory_with_config};
use ntex::time::{Millis, Seconds, timeout};
use ntex_mqtt::{HandshakeError, MqttError, MqttServer, MqttServiceConfig, QoS};
use wireglot_codec::CodecTable;
use wireglot_device::Devices;
use wireglot_model::limits::{
    CONNECT_TIMEOUT_S, DRAIN_TIMEOUT_S, IN_FLIGHT_BYTES_MAX, IN_FLIGHT_MAX, PACKET_BYTES_MAX,
    PACKET_TIMEOUT_S, TOPIC_ALIASES_MAX, WORKER_CONNECTIONS_MAX, WORKER_STACK_BYTES,
};

use crate::counters::MqttCounters;
use crate::dispatch::Ended;
use crate::preface::FirstPacket;
use crate::worker::{Shared, Worker};
use crate::{v3, v5};

/// Fixed header of the largest packet. ntex-mqtt counts without it, MQTT 5 announces with it.
const FIXED_HEADER_BYTES_MAX: usize = 4;
const READ_BUFFER_BYTES: usize = 16 * 1024;
const READ_BUFFER_BYTES_MIN: usize = 1024;
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
const WRITE_BUFFER_BYTES_MIN: usize = 1024;
/// Buffers that a worker keeps for the next connections.
const BUFFERS_KEPT_MAX: usize = 256;
/// ntex closes sockets on threads of their own.
const CLOSING_THREADS_MAX: usize = 2;
/// How long a closing connection may take to send its last packet.
const LAST_PACKET_TIMEOUT_S: u16 = 2;

/// What the listener is made from.
pub struct MqttConfig {
    /// Bound sockets; all of them are served alike.
    pub listeners: Vec<TcpListener>,
    /// Worker threads.
    pub workers: usize,
}

/// Why the listener did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nothing to listen on.
    #[error("no address to listen on for MQTT")]
    NoListener,
    /// A socket cannot be used.
    #[error("an MQTT socket cannot be used")]
    Socket(#[source] std::io::Error),
    /// The operating system gave no thread.
    #[error("the MQTT threads cannot be started")]
    Thread(#[source] std::io::Error),
    /// The runtime did not come up.
    #[error("the MQTT runtime did not start")]
    Runtime,
}

/// A listener that serves.
pub struct MqttRunning {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    server: Server,
    system: JoinHandle<()>,
}

/// Starts the listener on threads of its own.
pub fn start(config: MqttConfig, devices: Devices, codecs: CodecTable) -> Result<MqttRunning, StartError> {
    if config.listeners.is_empty() {
        return Err(StartError::NoListener);
    }
    let addresses =
        config.listeners.iter().map(prepare).collect::<Result<_, _>>().map_err(StartError::Socket)?;
    let shared = Arc::new(Shared::new(devices, codecs));
    let (started, server) = mpsc::sync_channel(1);
    let system = std::thread::Builder::new()
        .name("mqtt".into())
        .spawn({
            let shared = shared.clone();
            move || run(config, shared, &started)
        })
        .map_err(StartError::Thread)?;
    let server = server.recv().map_err(|_| StartError::Runtime)?.map_err(StartError::Socket)?;
    Ok(MqttRunning { addresses, shared, server, system })
}

impl MqttRunning {
    /// Where it listens, in the order of the configuration; with the real ports.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// A reader of what has been counted so far; it outlives the listener.
    pub fn meter(&self) -> impl Fn() -> MqttCounters + Send + Sync + 'static + use<> {
        let shared = self.shared.clone();
        move || shared.counters()
    }

    /// Stops accepting, finishes what has begun, ends all sessions (MQTT 5: 0x8B), and waits for all that.
    ///
    /// Blocks for at most a little longer than `DRAIN_TIMEOUT_S`.
    pub fn stop(self) {
        // The command is given by the call; its end is that of the thread.
        drop(self.server.stop(true));
        if self.system.join().is_err() {
            tracing::error!("The MQTT thread panicked.");
        }
    }
}

/// Accepted sockets inherit this: an acknowledgement is small and must not wait for another one.
fn prepare(listener: &TcpListener) -> std::io::Result<SocketAddr> {
    let socket = TcpStream::from(OwnedFd::from(listener.try_clone()?));
    socket.set_nodelay(true)?;
    listener.local_addr()
}

type Started = mpsc::SyncSender<std::io::Result<Server>>;

fn run(config: MqttConfig, shared: Arc<Shared>, started: &Started) {
    let started = started.clone();
    System::build()
        .name("mqtt")
        .stack_size(WORKER_STACK_BYTES)
        .thread_pool_limit(CLOSING_THREADS_MAX)
        .ping_interval(0)
        .build(DefaultRuntime)
        .block_on(async move {
            let server = match serve(config, &shared) {
                Ok(server) => server,
                Err(error) => {
                    // If nobody waits for it, nobody started us.
                    let _unheard = started.send(Err(error));
                    return;
                }
            };
            if started.send(Ok(server.clone())).is_ok()
                && let Err(error) = server.await
            {
                tracing::error!(%error, "The MQTT listener failed.");
            }
        });
}

fn serve(config: MqttConfig, shared: &Arc<Shared>) -> std::io::Result<Server> {
    let limits = limits();
    let drain = Millis(1000 * (u32::from(DRAIN_TIMEOUT_S) + 1));
    let mut builder = ServerBuilder::new()
        .workers(config.workers.max(1))
        .maxconn(WORKER_CONNECTIONS_MAX)
        .disable_signals()
        .shutdown_timeout(drain);
    for (index, listener) in config.listeners.into_iter().enumerate() {
        let name = format!("mqtt-{index}");
        let shared = shared.clone();
        builder = builder
            .listen(&name, listener, async move |_| connections(Worker::current(&shared)))?
            .config(&name, limits.clone());
    }
    Ok(builder.run())
}

fn limits() -> SharedCfg {
    let packet = u32::try_from(PACKET_BYTES_MAX + FIXED_HEADER_BYTES_MAX).expect("the limit is 64 KiB");
    let mqtt = MqttServiceConfig::new()
        .set_max_qos(QoS::ExactlyOnce)
        // Above the packet limit of the device API, which the dispatch enforces with the right reason code.
        .set_max_size(packet)
        // No payload ever comes in more than one piece.
        .set_min_chunk_size(packet + 1)
        .set_max_payload_buffer_size(PACKET_BYTES_MAX)
        // 0 is no limit and announces none: `window.rs` stops reading instead of ending the connection.
        .set_max_receive(0)
        .set_max_receive_size(IN_FLIGHT_BYTES_MAX)
        .set_max_topic_alias(TOPIC_ALIASES_MAX)
        .set_max_send(IN_FLIGHT_MAX)
        .set_max_send_size(packet)
        .set_handle_qos_after_disconnect(Some(QoS::ExactlyOnce))
        .protocol_version_timeout(Seconds(CONNECT_TIMEOUT_S))
        .set_connect_timeout(Seconds(CONNECT_TIMEOUT_S))
        .set_handshake_timeout(Seconds(CONNECT_TIMEOUT_S));
    let io = IoConfig::new()
        .set_disconnect_timeout(Seconds(LAST_PACKET_TIMEOUT_S))
        // The same time twice: ntex-mqtt's extension of this timer loses count when nothing more arrives.
        .set_frame_read_rate(Seconds(PACKET_TIMEOUT_S), Seconds(PACKET_TIMEOUT_S), 0)
        .set_read_buf(READ_BUFFER_BYTES, READ_BUFFER_BYTES_MIN, BUFFERS_KEPT_MAX)
        .set_write_buf(WRITE_BUFFER_BYTES, WRITE_BUFFER_BYTES_MIN, BUFFERS_KEPT_MAX);
    SharedCfg::new("mqtt").add(io).add(mqtt).build()
}

/// Makes the service that serves one worker's connections.
fn connections(
    worker: Rc<Worker>,
) -> impl ServiceFactory<Io, SharedCfg, Response = (), Error = (), InitError = ()> {
    fn_factory_with_config(async move |limits: SharedCfg| {
        let (for_v3, for_v5) = (worker.clone(), worker.clone());
        let versions = MqttServer::<_, _, Ended, ()>::new()
            .v3(ntex_mqtt::v3::MqttServer::new(async move |handshake| {
                v3::connect(for_v3.clone(), handshake).await
            })
            .replace_middlewares(v3::Dispatching)
            .control(v3::Controlling)
            .publish(async |_: ntex_mqtt::v3::Publish| Err::<(), _>(Ended)))
            .v5(ntex_mqtt::v5::MqttServer::new(async move |handshake| {
                v5::connect(for_v5.clone(), handshake).await
            })
            .replace_middlewares(v5::Dispatching)
            .control(v5::Controlling)
            .publish(async |_: ntex_mqtt::v5::Publish| Err::<ntex_mqtt::v5::PublishAck, _>(Ended)));
        let versions = ServiceFactory::<Io, SharedCfg>::create(&versions, limits).await?;
        Ok::<_, ()>(Connections { worker: worker.clone(), versions })
    })
}

/// The connections of one worker.
struct Connections<S> {
    worker: Rc<Worker>,
    versions: S,
}

impl<S> Service<Io> for Connections<S>
where
    S: Service<Io, Response = (), Error = MqttError<Ended>>,
{
    type Response = ();
    type Error = ();

    async fn call(&self, io: Io, ctx: ServiceCtx<'_, Self>) -> Result<(), ()> {
        let counters = &self.worker.counters;
        counters.connections_accepted.count();
        let first = timeout(Seconds(CONNECT_TIMEOUT_S), io.recv(&FirstPacket)).await;
        let is_whole = matches!(first, Ok(Ok(Some(()))));
        let outcome = if is_whole { ctx.call(&self.versions, io).await } else { Err(broken()) };
        if let Err(MqttError::Handshake(
            HandshakeError::Protocol(_) | HandshakeError::Timeout | HandshakeError::Disconnected(_),
        )) = outcome
        {
            counters.connects_broken.count();
        }
        counters.connections_ended.count();
        Ok(())
    }

    async fn shutdown(&self) {
        self.worker.drain().await;
    }
}

fn broken() -> MqttError<Ended> {
    MqttError::Handshake(HandshakeError::Disconnected(None))
}
