//! The published IoT gateway as a process of its own, with a broker that only it and its sensors know.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use wireglot_load::wire::Version;

use super::device::Device;
use super::folders;
use super::server::{Server, free_address};
use super::wait::eventually;

/// A gateway between its broker and the server. Dropping it ends both; a failing test shows what they said.
pub(crate) struct Site {
    broker: Child,
    gateway: Option<Child>,
    sensors: SocketAddr,
    folder: TempDir,
}

impl Site {
    /// Starts both. The gateway has this access token, and its MQTT connector this configuration, without the broker.
    pub(crate) fn start(server: &Server, token: &str, connector: Value) -> Self {
        let folder = TempDir::with_prefix("wireglot-site-").expect("a temporary folder");
        let sensors = free_address();
        let broker = start_broker(folder.path(), sensors);
        let mut site = Self { broker, gateway: None, sensors, folder };
        eventually("the broker listens", || std::net::TcpStream::connect(sensors).ok().map(drop));
        site.configure(server, token, connector);
        site.gateway = Some(start_gateway(site.folder.path()));
        site
    }

    /// A sensor that is connected to the broker.
    pub(crate) fn sensor(&self, client_id: &str) -> Device {
        Device::connect(self.sensors, Version::V3, client_id)
    }

    fn configure(&self, server: &Server, token: &str, mut connector: Value) {
        let general = json!({
            "thingsboard": {
                "host": server.mqtt().ip().to_string(),
                "port": server.mqtt().port(),
                "remoteShell": false,
                "remoteConfiguration": false,
                "statistics": { "enable": false },
                "handleDeviceRenaming": true,
                "minPackSendDelayMS": 50,
                "security": { "type": "accessToken", "accessToken": token },
                "qos": 1,
            },
            "storage": { "type": "memory", "read_records_count": 100, "max_records_count": 100_000 },
            "grpc": { "enabled": false },
            "connectors": [{ "type": "mqtt", "name": "broker", "configuration": "mqtt.json" }],
        });
        connector["broker"] = json!({
            "host": self.sensors.ip().to_string(),
            "port": self.sensors.port(),
            "clientId": "the gateway",
            "version": 4,
            "security": { "type": "anonymous" },
        });
        let folder = self.folder.path();
        for (name, content) in [("tb_gateway.json", general), ("mqtt.json", connector)] {
            fs::write(folder.join(name), content.to_string()).expect("the temporary folder takes a file");
        }
    }

    fn logs(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        format!("--- the broker ---\n{}\n--- the gateway ---\n{}", read("broker.log"), read("gateway.log"))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for process in self.gateway.iter_mut().chain([&mut self.broker]) {
            process.kill().ok();
            process.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

fn start_broker(folder: &Path, address: SocketAddr) -> Child {
    let settings = folder.join("broker.conf");
    let text = format!("listener {} 127.0.0.1\nallow_anonymous true\npersistence false\n", address.port());
    fs::write(&settings, text).expect("the temporary folder takes a file");
    // Servers lie where an ordinary path does not look.
    let line = r#"PATH="$PATH:/usr/sbin"; exec mosquitto -c "$1""#;
    let mut command = Command::new("sh");
    command.args(["-c", line, "sh"]).arg(&settings);
    start(command, folder, "broker.log")
}

fn start_gateway(folder: &Path) -> Child {
    let mut command = Command::new(folders::tool("gateway/bin/thingsboard-gateway"));
    // It asks its maker for news when it starts, which are nobody's business here.
    command.env("TB_GW_CONFIG_DIR", folder).env("HTTPS_PROXY", "http://127.0.0.1:9");
    start(command, folder, "gateway.log")
}

fn start(mut command: Command, folder: &Path, log: &str) -> Child {
    let log = File::create(folder.join(log)).expect("a log file");
    command.current_dir(folder).stdin(Stdio::null()).stdout(log.try_clone().expect("a file"));
    command.stderr(log).spawn().expect("the process starts")
}
