//! Store → bus → devices → codecs → MQTT and REST: the order of construction is the diagram, the drain is its reverse.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info};
use wireglot_bus::Bus;
use wireglot_codec::native::JsonRules;
use wireglot_codec::{CodecConfig, CodecFolder, CodecLimits, CodecTable};
use wireglot_device::{ClaimRules, Devices};
use wireglot_mqtt::{MqttConfig, MqttRunning, TlsConfig, WrongLogins};
use wireglot_rest::RestConfig;
use wireglot_store::{Retained, Store, StoreConfig};

use crate::certificates::Certificates;
use crate::config::Config;
use crate::{activity, audit, fleet, metrics, reload, updates, webhook};

/// How often telemetry that is too old is looked for.
const RETENTION_SWEEP: Duration = Duration::from_secs(3600);

/// How often the clock of RPCs turns at least.
const RPC_TURN: Duration = Duration::from_secs(1);

/// Serves until a signal asks to stop, then drains.
pub(crate) async fn serve(config: Config) -> anyhow::Result<()> {
    // Ports first: a server that cannot listen must not touch the data.
    let mqtt_listener = listen(config.mqtt_bind, "MQTT", "mqtt_bind")?;
    let (tls, certificates) = open_tls(&config)?.unzip();
    let http_listener = listen(config.http_bind, "HTTP", "http_bind")?;
    private_folder(&config.data_dir)?;
    let store = open_store(&config).await?;
    let bus = Bus::new();
    let devices = open_devices(&config, &store, &bus).await?;
    audit::note_settings(&config, &store, &devices).await?;
    let (codecs, folder) = open_codecs(&config)?;
    codecs.observe(audit::observer(devices.clone()));
    reload::scan_until_stable(&folder, &devices).await;
    if let Some(path) = &config.fleet {
        let applied = fleet::read(path)?.apply(&devices, &codecs).await?;
        info!(created = applied.created, updated = applied.updated, "The fleet file was applied.");
    }
    let workers = match config.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        given => given,
    };
    let listeners = vec![mqtt_listener];
    let (wrong_logins, proxy_protocol) = (wrong_logins(&config), config.mqtt_proxy_protocol);
    let (client_rpc, session_inactivity_s) = (webhook::client_rpc(&config), config.session_inactivity_s);
    let mqtt_config = MqttConfig {
        listeners,
        tls,
        workers,
        proxy_protocol,
        wrong_logins,
        client_rpc,
        session_inactivity_s,
        gateway_metrics_s: config.gateway_metrics_s,
        json: JsonRules {
            type_cast: config.json_type_cast,
            string_units_max: Some(config.json_string_chars_max).filter(|max| *max > 0),
        },
    };
    let mqtt = wireglot_mqtt::start(mqtt_config, devices.clone(), codecs.clone())?;
    let parts = Parts { config, store, bus, devices, codecs, folder, mqtt, certificates };
    run(parts, http_listener).await
}

/// The TLS port, where it is configured.
fn open_tls(config: &Config) -> anyhow::Result<Option<(TlsConfig, Certificates)>> {
    let Some((certificates, identity)) = Certificates::open(config)? else { return Ok(None) };
    let listener = listen(config.mqtt_tls_bind, "MQTT over TLS", "mqtt_tls_bind")?;
    let tls = TlsConfig { listener, identity, client_dates: config.mqtt_tls_client_dates };
    Ok(Some((tls, certificates)))
}

fn wrong_logins(config: &Config) -> Option<WrongLogins> {
    let (max, block) = (config.mqtt_wrong_logins_max, config.mqtt_block_s);
    (max > 0).then_some(WrongLogins { max, block })
}

/// Everything that runs.
struct Parts {
    config: Config,
    store: Store,
    bus: Bus,
    devices: Devices,
    codecs: CodecTable,
    folder: CodecFolder,
    mqtt: MqttRunning,
    certificates: Option<Certificates>,
}

async fn run(parts: Parts, http_listener: TcpListener) -> anyhow::Result<()> {
    let (stop, stopping) = watch::channel(false);
    let serving = Arc::new(AtomicBool::new(true));
    let addresses = announce(&parts.mqtt, &http_listener)?;
    let mut rest =
        tokio::spawn(wireglot_rest::serve(rest_config(&parts, http_listener, &serving), async move {
            drop(stopping.clone().wait_for(|stop| *stop).await)
        }));
    let mut followers = follow(&parts);
    let outcome = tokio::select! {
        signal = asked_to_stop() => {
            info!(signal, "Stopping.");
            Ok(())
        }
        ended = &mut rest => match ended {
            Ok(Ok(())) => Err(anyhow::anyhow!("REST ended by itself.")),
            Ok(Err(error)) => Err(anyhow::Error::new(error).context("REST broke off.")),
            Err(error) => Err(anyhow::Error::new(error).context("REST panicked.")),
        },
    };
    // Load balancers see it at `/ready` before sessions end.
    serving.store(false, Ordering::Release);
    followers.shutdown().await;
    drain(parts, addresses).await?;
    if stop.send(true).is_ok() && outcome.is_ok() {
        drop(rest.await);
    }
    outcome
}

fn rest_config(parts: &Parts, listener: TcpListener, serving: &Arc<AtomicBool>) -> RestConfig {
    let mqtt = parts.mqtt.meter();
    let (store, codecs, bus) = (parts.store.clone(), parts.codecs.clone(), parts.bus.clone());
    let serving = serving.clone();
    let devices = parts.devices.clone();
    RestConfig {
        listener,
        devices: parts.devices.clone(),
        codecs: parts.codecs.clone(),
        folder: parts.folder.clone(),
        bus: parts.bus.clone(),
        trusted_proxies: parts.config.http_trusted_proxies.clone(),
        metrics: Box::new({
            let devices = parts.devices.clone();
            move || metrics::page(&mqtt(), &store.counters(), &codecs.counters(), &devices, &bus)
        }),
        ready: Box::new(move || serving.load(Ordering::Acquire) && devices.healthy()),
    }
}

/// The tasks that follow files and the clock. They end when the set is dropped.
fn follow(parts: &Parts) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let poll = parts.config.codecs_poll_s;
    tasks.spawn(reload::follow_codecs(parts.folder.clone(), parts.devices.clone(), poll));
    if let Some(path) = &parts.config.fleet {
        tasks.spawn(reload::follow_fleet(path.clone(), parts.devices.clone(), parts.codecs.clone(), poll));
    }
    if let Some((certificates, (_, switch))) = parts.certificates.clone().zip(parts.mqtt.tls()) {
        tasks.spawn(certificates.follow(switch, poll));
    }
    tasks.spawn(sweep(parts.store.clone()));
    tasks.spawn(updates::follow(parts.devices.clone()));
    tasks.spawn(turn_rpcs(parts.devices.clone()));
    let Config { device_check_s, device_inactivity_s, .. } = parts.config;
    tasks.spawn(activity::follow(parts.devices.clone(), device_check_s, device_inactivity_s));
    tasks
}

/// The clock of all RPCs. It looks at least once in a while, because the wall clock may be set.
async fn turn_rpcs(devices: Devices) {
    loop {
        let next = match devices.turn_rpcs(wireglot_device::now()).await {
            Ok(next) => next,
            Err(error) => {
                error!(%error, "The state of RPCs could not be stored.");
                None
            }
        };
        let left_ms = next.map(|next| next.0.saturating_sub(wireglot_device::now().0));
        let left = left_ms.map(|ms| Duration::from_millis(ms.max(0).unsigned_abs()));
        let pause = left.map_or(RPC_TURN, |left| left.min(RPC_TURN));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = devices.rpcs_changed() => {}
        }
    }
}

async fn sweep(store: Store) {
    let mut turn = tokio::time::interval(RETENTION_SWEEP);
    loop {
        turn.tick().await;
        let store = store.clone();
        let swept = tokio::task::spawn_blocking(move || store.retain(wireglot_device::now())).await;
        match swept {
            Ok(Ok(removed)) if removed != Retained::default() => {
                let Retained { messages, dead_letters, raw_frames, .. } = removed;
                info!(messages, dead_letters, raw_frames, "What is past its retention was removed.");
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => error!(%error, "What is past its retention could not be removed."),
            Err(error) => error!(%error, "The retention sweep broke off."),
        }
    }
}

async fn drain(parts: Parts, (mqtt_address, _): (SocketAddr, SocketAddr)) -> anyhow::Result<()> {
    let Parts { store, mqtt, devices, .. } = parts;
    let broke_off = || format!("The drain of {mqtt_address} broke off.");
    tokio::task::spawn_blocking(move || mqtt.stop()).await.with_context(broke_off)?;
    // What became of RPCs since their clock has stopped.
    if let Err(error) = devices.turn_rpcs(wireglot_device::now()).await {
        error!(%error, "The state of RPCs could not be stored.");
    }
    activity::save(&devices).await;
    tokio::task::spawn_blocking(move || store.close()).await.with_context(broke_off)
}

/// Binds before anything else, with a reason that says which setting to change.
fn listen(address: SocketAddr, what: &str, setting: &str) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address)
        .with_context(|| format!("{what} cannot listen on {address}; set `{setting}` to another address."))?;
    bound.set_nonblocking(true).context("A socket cannot be made non-blocking.")?;
    Ok(bound)
}

fn private_folder(path: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("The data folder {} cannot be made.", path.display()))
}

async fn open_store(config: &Config) -> anyhow::Result<Store> {
    let folder = config.data_dir.join("store");
    let settings = StoreConfig {
        durability: config.durability,
        gather: config.commit_gather_ms,
        file_bytes_max: config.ota_package_mib_max << 20,
        files_bytes_max: config.ota_packages_mib_max << 20,
        ..StoreConfig::default()
    };
    let shown = folder.display().to_string();
    let opened = tokio::task::spawn_blocking(move || Store::open(&folder, settings)).await?;
    opened.with_context(|| format!("The store in {shown} cannot be opened."))
}

async fn open_devices(config: &Config, store: &Store, bus: &Bus) -> anyhow::Result<Devices> {
    let password = config.admin_password.given().map(str::to_owned);
    let now = wireglot_device::now();
    let (devices, first_start) = Devices::open(store.clone(), bus.clone(), password, now).await?;
    devices.set_claim_rules(ClaimRules {
        allowed_by_default: config.claim_allowed_by_default,
        duration_ms: config.claim_duration_ms,
    });
    devices.set_rpc_rules(config.rpc_rules());
    devices.set_devices_max(if config.devices_max == 0 { usize::MAX } else { config.devices_max });
    if let Some(first) = first_start
        && let Some(password) = first.generated_password
    {
        writeln!(
            std::io::stdout().lock(),
            "The administrator {} was made with the password {password}\nIt is shown only this once.",
            first.email
        )?;
    }
    Ok(devices)
}

fn open_codecs(config: &Config) -> anyhow::Result<(CodecTable, CodecFolder)> {
    let limits = CodecLimits {
        deadline_ticks: config.codec_deadline_ms,
        fuel_per_call: config.codec_fuel,
        ..CodecLimits::default()
    };
    let places = CodecConfig { limits, ..CodecConfig::new(&config.data_dir, config.codecs.clone()) };
    let table = CodecTable::open(places).context("The codec engine cannot be started.")?;
    table.engine().compile_large_with(std::env::current_exe().context("This program cannot be found.")?);
    Ok((table.clone(), CodecFolder::new(table)))
}

/// Tells where to connect, on standard output, where a person or a script that chose port 0 looks for it.
fn announce(mqtt: &MqttRunning, http: &TcpListener) -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let tls = mqtt.tls().map(|(address, _)| format!("MQTT over TLS on {address}\n")).unwrap_or_default();
    let mqtt = *mqtt.local_addrs().first().context("MQTT listens nowhere.")?;
    let http = http.local_addr()?;
    writeln!(std::io::stdout().lock(), "MQTT on {mqtt}\n{tls}HTTP on http://{http}")?;
    Ok((mqtt, http))
}

async fn asked_to_stop() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be caught");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}
