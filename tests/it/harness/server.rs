//! The real binary on free ports and fresh folders.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;
use wireglot_load::wire::Version;

use super::bare::BareRequest;
use super::device::Device;
use super::folders;
use super::metrics::Metrics;
use super::rest::Rest;
use super::spoken::HttpDevice;
use super::trace::Trace;
use super::wait::eventually;

const PASSWORD: &str = "correct horse battery";

/// A running server. Dropping it kills it and removes its folders; a failing test shows its log.
pub(crate) struct Server {
    process: Child,
    folder: TempDir,
    mqtt: SocketAddr,
    http: SocketAddr,
    settings: Vec<(&'static str, &'static str)>,
    rest: Rest,
}

/// A server that is gone; its folders are still there.
pub(crate) struct Killed(Option<Server>);

impl Server {
    /// A server with default settings, ready for devices.
    pub(crate) fn spawn() -> Self {
        Self::spawn_with(&[])
    }

    /// A server with other settings than the default ones, by their names in the environment.
    pub(crate) fn spawn_with(settings: &[(&'static str, &'static str)]) -> Self {
        let folder = TempDir::with_prefix("wireglot-it-").expect("a temporary folder");
        fs::create_dir(folder.path().join("codecs")).expect("a fresh folder");
        let (mqtt, http) = (free_address(), free_address());
        let settings = settings.to_vec();
        let process = start(folder.path(), mqtt, http, &settings);
        let rest = Rest::new(http);
        let mut server = Self { process, folder, mqtt, http, settings, rest };
        server.wait_until_ready();
        server.rest.login(PASSWORD);
        server
    }

    /// The management side, logged in as the administrator.
    pub(crate) fn rest(&self) -> &Rest {
        &self.rest
    }

    /// What the operator's commands read: where the server is, and who asks.
    pub(crate) fn login_variables(&self) -> [(&'static str, String); 2] {
        [("WIREGLOT_URL", format!("http://{}", self.http)), ("WIREGLOT_PASSWORD", PASSWORD.to_owned())]
    }

    /// The head of a request of the administrator, over a bare socket.
    pub(crate) fn bare_post(&self, path: &str, kind: &str, bytes: usize) -> BareRequest {
        BareRequest::post(self.http, self.rest.token(), path, kind, bytes)
    }

    /// Where devices and users speak HTTP.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// A connection of a device that speaks HTTP, with this token.
    pub(crate) fn http_device(&self, token: &str) -> HttpDevice {
        HttpDevice::connect(self.http, token)
    }

    /// Where devices connect.
    pub(crate) fn mqtt(&self) -> SocketAddr {
        self.mqtt
    }

    /// The folder that codecs are dropped into.
    pub(crate) fn codecs(&self) -> PathBuf {
        self.folder.path().join("codecs")
    }

    /// A place for files of the test, on the same file system as the codecs folder.
    pub(crate) fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// Everything that the server has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A new device of the default profile, connected with MQTT 3.1.1. Its token is its name.
    pub(crate) fn device(&self, name: &str) -> Device {
        self.rest.create_device(name, None);
        self.connect(name)
    }

    /// A new device of a profile, connected with MQTT 5. Its token is its name.
    pub(crate) fn device_of(&self, profile: &str, name: &str) -> Device {
        self.rest.create_device(name, Some(profile));
        Device::connect(self.mqtt, Version::V5, name)
    }

    /// Another connection, with MQTT 3.1.1, of a device that is there.
    pub(crate) fn connect(&self, name: &str) -> Device {
        Device::connect(self.mqtt, Version::V3, name)
    }

    /// Puts a component into the codecs folder as a careful operator does (written beside, then renamed), and
    /// waits until it is live.
    pub(crate) fn install_codec(&self, name: &str, component: &[u8]) -> Value {
        self.drop_codec(name, component);
        let live = || self.rest.codec(name).filter(|codec| codec["state"] == "live");
        eventually(&format!("codec {name} is live"), live)
    }

    /// Puts a file into the codecs folder without waiting for anything.
    pub(crate) fn drop_codec(&self, name: &str, bytes: &[u8]) {
        let beside = self.folder.path().join(format!("{name}.part"));
        fs::write(&beside, bytes).expect("the temporary folder takes a file");
        fs::rename(&beside, self.codecs().join(format!("{name}.wasm"))).expect("one file system");
    }

    /// A profile whose telemetry is decoded by a codec; returns its name.
    pub(crate) fn codec_profile(&self, name: &str, codec: &str) -> String {
        self.codec_profile_with(name, codec, json!({}))
    }

    /// The same with members of the transport configuration or the payload configuration set.
    pub(crate) fn codec_profile_with(&self, name: &str, codec: &str, more: Value) -> String {
        let mut payload = json!({ "transportPayloadType": "CODEC", "codec": codec });
        let mut transport = json!({ "type": "MQTT" });
        for (key, value) in more.as_object().expect("an object").clone() {
            let place = if key.starts_with("device") { &mut transport } else { &mut payload };
            place[key] = value;
        }
        transport["transportPayloadTypeConfiguration"] = payload;
        self.rest.create_profile(name, &transport);
        name.to_owned()
    }

    /// Ends the process as a power cut would, as far as another process can.
    pub(crate) fn kill_9(mut self) -> Killed {
        self.process.kill().expect("the server is running");
        self.process.wait().expect("a killed process can be waited for");
        Killed(Some(self))
    }

    /// Whether the process still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("our own child").is_none()
    }

    /// The process id, for the kernel's books.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Listens to the live trace with this query.
    pub(crate) fn trace(&self, query: &str) -> Trace {
        Trace::listen(self.http, self.rest.token(), query)
    }

    /// The page of metrics, valid or the story fails.
    #[track_caller]
    pub(crate) fn metrics(&self) -> Metrics {
        let page = self.rest.stranger().get("/metrics").expect("metrics are for everybody");
        Metrics::parse(page.as_str().expect("a text"))
    }

    fn wait_until_ready(&mut self) {
        eventually("the server is ready", || {
            assert!(self.is_running(), "the server ended at start:\n{}", self.log());
            self.rest.is_ready().then_some(())
        });
    }
}

impl Killed {
    /// Starts a new process on the same folders and ports.
    pub(crate) fn restart(mut self) -> Server {
        let mut server = self.0.take().expect("`restart` consumes");
        server.process = start(server.folder.path(), server.mqtt, server.http, &server.settings);
        server.wait_until_ready();
        server.rest.login(PASSWORD);
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone after `kill_9`; both calls then only say so.
        self.process.kill().ok();
        self.process.wait().ok();
        if std::thread::panicking() {
            let log = self.log();
            let start = log.char_indices().rev().nth(4_000).map_or(0, |(at, _)| at);
            eprintln!("--- end of the server's log ---\n{}", log.get(start..).unwrap_or(&log));
        }
    }
}

fn start(folder: &Path, mqtt: SocketAddr, http: SocketAddr, settings: &[(&str, &str)]) -> Child {
    let log = File::options().append(true).create(true).open(folder.join("log")).expect("a log file");
    Command::new(folders::binary())
        .arg("serve")
        .arg("--data-dir")
        .arg(folder.join("data"))
        .arg("--codecs")
        .arg(folder.join("codecs"))
        .args(["--mqtt-bind", &mqtt.to_string(), "--http-bind", &http.to_string()])
        .current_dir(folder)
        .env("WIREGLOT_ADMIN_PASSWORD", PASSWORD)
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file can be opened twice"))
        .stderr(log)
        .spawn()
        .expect("the server can be started")
}

/// An address that nobody else takes: below the ports that the system gives out by itself, so that a restarted
/// server finds its own free again.
pub(super) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = (std::process::id() as u16).wrapping_mul(64).wrapping_add(turn) % 12_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 20_000 + offset));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
