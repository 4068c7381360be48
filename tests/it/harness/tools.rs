//! Clients of other people, as a user runs them.

use std::path::Path;
use std::process::{Command, Stdio};

use super::folders;
use super::rest::Rest;
use super::server::Server;

/// A client that has said nothing for this long hangs.
const LIMIT_S: &str = "30";
/// And a page of them.
const PAGE_LIMIT_S: &str = "180";
/// The same for a script that walks through all that a client can do, on a busy machine.
const WALK_LIMIT_S: &str = "300";

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

/// Runs a script of `tests/it/clients` in Python, with the Python SDK at hand. What it writes stays with the test.
#[track_caller]
pub(crate) fn sdk(server: &Server, token: &str, script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.arg(LIMIT_S).arg(folders::tool("sdk/bin/python")).arg(client(script)).args(arguments);
    command.current_dir(server.scratch());
    run(command, server, token)
}

/// Runs a script of `tests/it/clients` in Python, with pysparkplug at hand.
#[track_caller]
pub(crate) fn sparkplug_python(server: &Server, token: &str, script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.arg(LIMIT_S).arg(folders::tool("sparkplug/bin/python")).arg(client(script)).args(arguments);
    run(command, server, token)
}

/// Runs a script of `tests/it/clients` in Node, with sparkplug-client at hand.
#[track_caller]
pub(crate) fn sparkplug_node(server: &Server, token: &str, script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.args([LIMIT_S, "node"]).arg(client(script)).args(arguments);
    command.env("NODE_PATH", folders::tool("sparkplug-node/node_modules"));
    run(command, server, token)
}

/// Runs a script of `tests/it/clients` in Python, with websocket-client at hand, logged in as the administrator.
#[track_caller]
pub(crate) fn websocket(server: &Server, script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    command.arg(LIMIT_S).arg(folders::tool("websocket/bin/python")).arg(client(script)).args(arguments);
    command.envs(server.login_variables()).env("WIREGLOT_TOKEN", server.rest().token());
    run(command, server, "")
}

/// Runs a script of `tests/it/clients` in Python that steers a browser, for somebody who knows the administrator's
/// password.
#[track_caller]
pub(crate) fn browser(server: &Server, script: &str) -> String {
    let mut command = Command::new("timeout");
    command.arg(PAGE_LIMIT_S).arg(folders::tool("websocket/bin/python")).arg(client(script));
    command.envs(server.login_variables());
    run(command, server, "")
}

/// Runs a whole page of lines in bash, with the variables that the page on REST names. What goes wrong in a line is in what
/// it says.
#[track_caller]
pub(crate) fn bash(server: &Server, lines: &str) -> String {
    let [(_, url), (_, password)] = server.login_variables();
    let mut command = Command::new("timeout");
    command.args([PAGE_LIMIT_S, "bash", "-c", lines]).current_dir(server.scratch());
    command.env("URL", url).env("PASSWORD", password).env("MQTT_HOST", server.mqtt().ip().to_string());
    run(command, server, "")
}

/// Lets schemathesis make up requests from `openapi.json` as whoever is logged in there, for so many seconds at most, where
/// these parameters have these values.
#[track_caller]
pub(crate) fn schemathesis(
    server: &Server,
    rest: &Rest,
    arguments: &[String],
    parameters: &[(&str, &str)],
    phase: &str,
    checks: &str,
    seconds: u32,
) {
    let settings = server.scratch().join("schemathesis.toml");
    let lines: String =
        parameters.iter().map(|(name, value)| format!("\"{name}\" = \"{value}\"\n")).collect();
    std::fs::write(&settings, format!("[parameters]\n{lines}")).expect("the settings are written");
    let mut command = Command::new("timeout");
    // What is past its time ends by itself; this is for a tool that does not.
    command.arg((seconds + 60).to_string()).arg(folders::tool("schemathesis/bin/st"));
    command.arg("--config-file").arg(settings).arg("run").arg(folders::root().join("host/rest/openapi.json"));
    command.arg("--url").arg(rest.base()).args(["--seed", "1", "--max-time", &seconds.to_string()]);
    command.args(["--phases", phase, "--checks", checks, "--request-timeout", "20", "--continue-on-failure"]);
    command.args(["--warnings", "off", "--no-color"]).args(arguments);
    command.args(["--header", &format!("X-Authorization: Bearer {}", rest.token())]);
    command.current_dir(server.scratch());
    run(command, server, "");
}

/// Runs a script of `tests/it/clients` in Python, with this library of the management side at hand, and a device
/// written with paho.
#[track_caller]
pub(crate) fn rest_library(server: &Server, library: &str, script: &str) -> String {
    let mut command = Command::new("timeout");
    command.arg(WALK_LIMIT_S).arg(folders::tool(&format!("{library}/bin/python"))).arg(client(script));
    command.envs(server.login_variables()).env("DEVICE_PYTHON", folders::tool("venv/bin/python"));
    command.env("NO_PROXY", "127.0.0.1");
    run(command, server, "")
}

/// Runs a `wireglot` command against the server, logged in as its administrator.
#[track_caller]
pub(crate) fn operator(server: &Server, arguments: &[&str]) -> String {
    let (succeeded, said, complaint) =
        wireglot(server, arguments, &[("WIREGLOT_TOKEN", server.rest().token())]);
    assert!(succeeded, "wireglot {arguments:?}\n{said}\n{complaint}");
    said
}

/// The same with other variables, whatever comes of it: success, standard output and standard error.
pub(crate) fn wireglot(
    server: &Server,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> (bool, String, String) {
    let mut command = Command::new("timeout");
    command.arg(LIMIT_S).arg(folders::binary()).args(arguments).current_dir(server.scratch());
    command.envs(server.login_variables());
    command.envs(variables.iter().copied());
    let output = command.stdin(Stdio::null()).output().expect("`timeout` of coreutils runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// Runs lines of a document in one real shell, where `wireglot` is the server's own binary.
#[track_caller]
pub(crate) fn documented(server: &Server, lines: &str) -> String {
    let binary = folders::binary();
    let folder = binary.parent().expect("the binary lies in a folder");
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("timeout");
    command.args([LIMIT_S, "sh", "-exc", lines]).current_dir(server.scratch()).env("PATH", path);
    command.envs(server.login_variables());
    run(command, server, "")
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
