//! Clients of other people, as a user runs them.

use std::path::Path;
use std::process::{Command, Stdio};

use super::folders;
use super::server::Server;

/// A client that has said nothing for this long hangs.
const LIMIT_S: &str = "30";

/// Runs one line in a real shell, with the variables that the documents use.
#[track_caller]
pub(crate) fn shell(server: &Server, token: &str, line: &str) -> String {
    let mut command = Command::new("timeout");
    command.args([LIMIT_S, "sh", "-c", line]).current_dir(server.scratch());
    run(command, server, token)
}

/// Runs a script of `tests/it/clients` in Node, with MQTT.js at hand.
#[track_caller]
pub(crate) fn node(server: &Server, token: &str, script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.args([LIMIT_S, "node"]).arg(client(script)).args(arguments);
    command.env("NODE_PATH", folders::tool("node/node_modules"));
    run(command, server, token)
}

/// Runs a script of `tests/it/clients` in Python, with paho at hand.
#[track_caller]
pub(crate) fn python(server: &Server, token: &str, script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.arg(LIMIT_S).arg(folders::tool("venv/bin/python")).arg(client(script)).args(arguments);
    run(command, server, token)
}

fn client(script: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("it/clients").join(script)
}

#[track_caller]
fn run(mut command: Command, server: &Server, token: &str) -> String {
    command
        .env("THINGSBOARD_HOST_NAME", server.mqtt().ip().to_string())
        .env("MQTT_PORT", server.mqtt().port().to_string())
        .env("ACCESS_TOKEN", token);
    let output = command.stdin(Stdio::null()).output().expect("`timeout` of coreutils runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}\n{complaint}", output.status);
    said
}
