//! The listener: its threads, every limit of ntex set on purpose, and one connection from accept to end.
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
use ntex::rt::System;
use ntex::server::{Server, ServerBuilder};
use ntex::service::cfg::SharedCfg;
use ntex::service::{Service, ServiceCtx, ServiceFactory, fn_factory_with_config};
use ntex::time::{Millis, Seconds};
use wireglot_codec::CodecTable;
use wireglot_codec::native::JsonRules;
use wireglot_device::Devices;
use wireglot_model::limits::{DRAIN_TIMEOUT_S, WORKER_CONNECTIONS_MAX, WORKER_STACK_BYTES};

use crate::addresses::WrongLogins;
use crate::client_rpc::ClientRpcConfig;
use crate::connect::Broken;
use crate::counters::MqttCounters;
use crate::entrance::{self, Entrance};
use crate::reactor::Epoll;
use crate::tls::{Tls, TlsConfig, TlsSwitch};
use crate::worker::{Shared, Worker};

const READ_BUFFER_BYTES: usize = 16 * 1024;
const READ_BUFFER_BYTES_MIN: usize = 1024;
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
const WRITE_BUFFER_BYTES_MIN: usize = 1024;
/// Buffers that a worker keeps for the next connections.
const BUFFERS_KEPT_MAX: usize = 256;
/// How long a closing connection may take to send its last packet.
const LAST_PACKET_TIMEOUT_S: u16 = 2;

/// What the listener is made from.
pub struct MqttConfig {
    /// Bound sockets of plain ports; all of them are served alike.
    pub listeners: Vec<TcpListener>,
    /// A TLS port beside them.
    pub tls: Option<TlsConfig>,
    /// Worker threads.
    pub workers: usize,
    /// Every connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// When an address is blocked.
    pub wrong_logins: Option<WrongLogins>,
    /// Who answers what devices call.
    pub client_rpc: ClientRpcConfig,
    /// A session without activity ends after this, whatever its keep alive.
    pub session_inactivity_s: u16,
    /// How often gateways report the latencies of their connectors.
    pub gateway_metrics_s: u16,
    /// What JSON values become.
    pub json: JsonRules,
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
    tls: Option<(SocketAddr, TlsSwitch)>,
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
    let entrance = Entrance::new(config.proxy_protocol, config.wrong_logins);
    let MqttConfig { session_inactivity_s, gateway_metrics_s, json, .. } = config;
    let client_rpc = config.client_rpc.clone();
    let shared =
        Shared::new(devices, codecs, entrance, client_rpc, session_inactivity_s, gateway_metrics_s, json);
    let shared = Arc::new(shared);
    shared.open_desks(config.workers.max(1));
    let ports = Ports::open(config).map_err(StartError::Socket)?;
    let tls = ports.tls.as_ref().map(|(address, _, tls)| (*address, tls.switch.clone()));
    let (started, server) = mpsc::sync_channel(1);
    let system = std::thread::Builder::new()
        .name("mqtt".into())
        .spawn({
            let shared = shared.clone();
            move || run(ports, shared, &started)
        })
        .map_err(StartError::Thread)?;
    let server = server.recv().map_err(|_| StartError::Runtime)?.map_err(StartError::Socket)?;
    Ok(MqttRunning { addresses, tls, shared, server, system })
}

impl MqttRunning {
    /// Where it listens, in the order of the configuration; with the real ports.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it listens for TLS, with the real port, and how its certificate is replaced.
    pub fn tls(&self) -> Option<(SocketAddr, TlsSwitch)> {
        self.tls.clone()
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

/// The sockets, each with what is served on it.
struct Ports {
    plain: Vec<TcpListener>,
    tls: Option<(SocketAddr, TcpListener, Tls)>,
    workers: usize,
}

impl Ports {
    fn open(config: MqttConfig) -> std::io::Result<Self> {
        let tls = config.tls.map(|TlsConfig { listener, identity, client_dates }| {
            let tls = Tls { switch: TlsSwitch::new(identity), client_dates };
            Ok::<_, std::io::Error>((prepare(&listener)?, listener, tls))
        });
        Ok(Self { plain: config.listeners, tls: tls.transpose()?, workers: config.workers })
    }
}

type Started = mpsc::SyncSender<std::io::Result<Server>>;

fn run(ports: Ports, shared: Arc<Shared>, started: &Started) {
    let started = started.clone();
    System::build().name("mqtt").stack_size(WORKER_STACK_BYTES).ping_interval(0).build(Epoll).block_on(
        async move {
            let server = match serve(ports, &shared) {
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
        },
    );
}

fn serve(ports: Ports, shared: &Arc<Shared>) -> std::io::Result<Server> {
    let limits = limits();
    let drain = Millis(1000 * (u32::from(DRAIN_TIMEOUT_S) + 1));
    let mut builder = ServerBuilder::new()
        .workers(ports.workers.max(1))
        .maxconn(WORKER_CONNECTIONS_MAX)
        .disable_signals()
        .shutdown_timeout(drain);
    let plain = ports.plain.into_iter().map(|listener| (listener, None));
    let tls = ports.tls.into_iter().map(|(_, listener, tls)| (listener, Some(tls)));
    for (index, (listener, tls)) in plain.chain(tls).enumerate() {
        let name = format!("mqtt-{index}");
        let shared = shared.clone();
        builder = builder
            .listen(&name, listener, async move |_| connections(Worker::current(&shared), tls.clone()))?
            .config(&name, limits.clone());
    }
    Ok(builder.run())
}

fn limits() -> SharedCfg {
    let io = IoConfig::new()
        .set_disconnect_timeout(Seconds(LAST_PACKET_TIMEOUT_S))
        .set_read_buf(READ_BUFFER_BYTES, READ_BUFFER_BYTES_MIN, BUFFERS_KEPT_MAX)
        .set_write_buf(WRITE_BUFFER_BYTES, WRITE_BUFFER_BYTES_MIN, BUFFERS_KEPT_MAX);
    SharedCfg::new("mqtt").add(io).build()
}

/// Makes the service that serves one worker's connections.
fn connections(
    worker: Rc<Worker>,
    tls: Option<Tls>,
) -> impl ServiceFactory<Io, SharedCfg, Response = (), Error = (), InitError = ()> {
    fn_factory_with_config(async move |_: SharedCfg| {
        Ok::<_, ()>(Connections { worker: worker.clone(), tls: tls.clone() })
    })
}

/// The connections of one worker on one port.
struct Connections {
    worker: Rc<Worker>,
    tls: Option<Tls>,
}

impl Service<Io> for Connections {
    type Response = ();
    type Error = ();

    async fn call(&self, io: Io, _: ServiceCtx<'_, Self>) -> Result<(), ()> {
        // A task of its own, because the services around this one are asked first whenever it is woken.
        let worker = self.worker.clone();
        // Two kinds of tasks, so that a plain connection is not as large as one with TLS.
        let served = match self.tls.clone() {
            None => ntex::rt::spawn(serve_plain(worker, io)).await,
            Some(tls) => ntex::rt::spawn(serve_tls(worker, io, tls)).await,
        };
        served.map_err(|_| ())
    }

    async fn shutdown(&self) {
        self.worker.drain().await;
    }
}

/// One connection, from accept to end.
async fn serve_plain(worker: Rc<Worker>, io: Io) {
    worker.counters.connections_accepted.count();
    let served = entrance::serve(&worker, &io).await;
    ended(&worker, served);
}

async fn serve_tls(worker: Rc<Worker>, io: Io, tls: Tls) {
    worker.counters.connections_accepted.count();
    let served = entrance::serve_tls(&worker, io, tls).await;
    ended(&worker, served);
}

fn ended(worker: &Worker, served: Result<(), Broken>) {
    let counters = &worker.counters;
    if served == Err(Broken) {
        counters.connects_broken.count();
    }
    counters.connections_ended.count();
}
