//! What the tests need besides Rust: a broker's client, a browser, Python and Node with the clients of other people, C
//! compilers.
//!
//! On Debian as root everything is installed; elsewhere what is missing is named, in one message.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::process::{program, run, say, succeeds, target};

/// Pinned: a test that breaks shall break because of us.
const PAHO: &str = "paho-mqtt==2.1.0";
/// The SDK installs the other one by itself when it is imported, unless it is there.
const SDK: [&str; 2] = ["tb-mqtt-client==1.13.14", "mmh3==5.3.1"];
/// The IoT gateway and the clients that it speaks with. What another connector than MQTT needs, it would install by itself.
const GATEWAY: [&str; 3] =
    ["thingsboard-gateway==3.8.5", "tb-mqtt-client==1.13.13", "tb-paho-mqtt-client==2.1.2"];
const WEBSOCKET_CLIENT: &str = "websocket-client==1.9.2";
const MQTT_JS: &str = "mqtt@5.10.1";
/// Makes up requests from the OpenAPI document.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
const PYSPARKPLUG: &str = "pysparkplug==0.6.1";
const SPARKPLUG_CLIENT: &str = "sparkplug-client@3.2.4";

/// The clients of the management side with what each asks for, in a folder of its own.
const TB_REST_CLIENT: [&str; 6] = [
    "tb-rest-client==4.4",
    "PyJWT==2.15.1",
    "python-dateutil==4.0.0",
    "requests==2.34.2",
    "six==1.17.0",
    "urllib3==2.8.0",
];
const TB_CE_CLIENT: [&str; 5] = [
    "tb-ce-client==4.4.0",
    "pydantic==2.14.3",
    "python-dateutil==2.9.0.post0",
    "typing_extensions==4.16.0",
    "urllib3==2.8.0",
];
/// It draws with what plotext 6 has not any more.
const TBCTL: [&str; 9] = [
    "tbctl==0.4.0",
    "keyring==25.7.0",
    "plotext==5.3.2",
    "pydantic==2.14.3",
    "python-dateutil==4.0.0",
    "rich==15.0.0",
    "tomli_w==1.2.0",
    "typer==0.29.2",
    "urllib3==2.8.0",
];
const THINGSBOARD_CLI: [&str; 13] = [
    "thingsboard-cli==4.4.0.1",
    "click==8.5.1",
    "filelock==3.32.7",
    "httpx==0.28.1",
    "packaging==26.3",
    "pydantic-settings==2.16.3",
    "pydantic==2.14.3",
    "questionary==2.1.1",
    "rich==14.3.4",
    "tb-pe-client==4.4.0",
    "textual==1.0.0",
    "typer==0.29.2",
    "tzdata==2026.6",
];

/// A thing that must be there, how to tell, and the Debian packages that bring it.
struct Need {
    name: &'static str,
    is_there: fn() -> bool,
    packages: &'static [&'static str],
}

const NEEDS: [Need; 7] = [
    Need { name: "mosquitto_pub", is_there: || on_path("mosquitto_pub"), packages: &["mosquitto-clients"] },
    Need { name: "mosquitto", is_there: || on_path("mosquitto"), packages: &["mosquitto"] },
    Need { name: "Python with venv", is_there: python_can_venv, packages: &["python3", "python3-venv"] },
    Need {
        name: "pip",
        is_there: || succeeds(program("python3").args(["-m", "pip", "--version"])),
        packages: &["python3-pip"],
    },
    Need {
        name: "Node with npm",
        is_there: || on_path("node") && on_path("npm"),
        packages: &["nodejs", "npm"],
    },
    Need { name: "a C++ compiler", is_there: || on_path("c++"), packages: &["g++"] },
    Need {
        name: "Chromium",
        is_there: || ["chromium-headless-shell", "chromium"].into_iter().any(on_path),
        packages: &["chromium-headless-shell"],
    },
];

/// Brings the clients of other people that the system tests run, with the Python and Node that `system_packages` brought.
pub(crate) fn clients() -> anyhow::Result<()> {
    python_client("venv", &[PAHO], "paho.mqtt.client")?;
    python_client("sdk", &SDK, "tb_device_mqtt")?;
    python_client("gateway", &GATEWAY, "thingsboard_gateway.tb_gateway")?;
    python_client("sparkplug", &[PYSPARKPLUG], "pysparkplug")?;
    python_client("websocket", &[WEBSOCKET_CLIENT], "websocket")?;
    python_client("schemathesis", &[SCHEMATHESIS], "schemathesis")?;
    python_client("tb-rest-client", &TB_REST_CLIENT, "tb_rest_client.configuration")?;
    python_client("tb-ce-client", &TB_CE_CLIENT, "tb_ce_client.configuration")?;
    python_client("tbctl", &TBCTL, "tbctl.cli")?;
    python_client("thingsboard-cli", &THINGSBOARD_CLI, "thingsboard_cli")?;
    node_client("node", MQTT_JS, "mqtt")?;
    node_client("sparkplug-node", SPARKPLUG_CLIENT, "sparkplug-client")
}

/// Brings what comes from Debian.
pub(crate) fn system_packages() -> anyhow::Result<()> {
    install(&NEEDS)
}

/// Brings a Python that can make environments, which bring everything else from PyPI.
pub(crate) fn python() -> anyhow::Result<()> {
    let python = NEEDS.iter().find(|need| need.packages.contains(&"python3"));
    install(std::slice::from_ref(python.expect("it is in the list")))
}

fn install(needs: &[Need]) -> anyhow::Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.is_there)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(|need| need.name).collect::<Vec<_>>().join(", ");
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    let line = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    if !on_path("apt-get") || !rustix::process::geteuid().is_root() {
        bail!("{names} must be installed; on Debian, as root: {line}");
    }
    say(format_args!("Installing {names}: {line}"))?;
    run(apt_get().args(["update", "-qq"]))?;
    run(apt_get().args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages))?;
    match needs.iter().find(|need| !(need.is_there)()) {
        None => Ok(()),
        Some(need) => bail!("{} is still missing after `{line}`", need.name),
    }
}

fn apt_get() -> std::process::Command {
    let mut command = program("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// A folder of its own for each, because the SDK brings its own version of paho under the same name.
fn python_client(folder: &str, packages: &[&str], module: &str) -> anyhow::Result<()> {
    let (venv, shown) = (target().join("tools").join(folder), packages.join(" "));
    let python = venv.join("bin/python");
    let installed = || succeeds(program(&python).args(["-c", &format!("import {module}")]));
    if up_to_date(&venv, &shown)? && installed() {
        return Ok(());
    }
    say(format_args!("Installing {shown} into {} …", venv.display()))?;
    run(program("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    // Compiling thousands of modules of which a test imports some takes longer than fetching them.
    let install = ["-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"];
    run(program(&python).args(install).args(packages))?;
    remember(&venv, &shown)
}

/// A folder of its own for each, because a library brings its own version of MQTT.js under the same name.
fn node_client(folder: &str, package: &str, module: &str) -> anyhow::Result<()> {
    let folder = target().join("tools").join(folder);
    if up_to_date(&folder, package)? && folder.join("node_modules").join(module).is_dir() {
        return Ok(());
    }
    say(format_args!("Installing {package} into {} …", folder.display()))?;
    run(program("npm")
        .args(["install", "--no-audit", "--no-fund", "--no-save", "--loglevel=error", "--prefix"])
        .arg(&folder)
        .arg(package))?;
    remember(&folder, package)
}

/// Whether a folder holds this version, as `remember` noted.
pub(crate) fn up_to_date(folder: &Path, version: &str) -> anyhow::Result<bool> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(std::fs::read_to_string(note(folder)).is_ok_and(|noted| noted == version))
}

/// Notes which version a folder holds.
pub(crate) fn remember(folder: &Path, version: &str) -> anyhow::Result<()> {
    std::fs::write(note(folder), version)
        .with_context(|| format!("{} cannot be written to", folder.display()))
}

fn note(folder: &Path) -> PathBuf {
    folder.join("installed-by-xtask")
}

/// Debian splits the module `venv` off, and what is left of it fails only when it is used.
fn python_can_venv() -> bool {
    succeeds(program("python3").args(["-c", "import venv, ensurepip"]))
}

/// Servers lie where an ordinary path does not look.
fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).any(|folder| folder.join(name).is_file())
}
