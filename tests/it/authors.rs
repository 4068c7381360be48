//! The author's tools, from a folder that `codec new` makes to values in a running server.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{Server, binary, document, eventually, guest, patiently, scaffold, tool};

/// The frame of the soil probe that every new codec decodes.
const FRAME: [u8; 6] = [0x01, 0x00, 0xd7, 0x29, 0x0c, 0x58];

fn codec(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("codec").args(arguments).current_dir(folder).stdin(Stdio::null());
    command.env("WIREGLOT_TOOLS", tool("codecs"));
    command
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[track_caller]
fn run(mut command: Command) -> String {
    let output = command.output().expect("the tool starts");
    let (out, error) = said(&output);
    assert!(output.status.success(), "{command:?}: {error}\n{out}");
    out
}

/// Gives what it printed, and what it complained about.
#[track_caller]
fn fails(mut command: Command) -> (String, String) {
    let output = command.output().expect("the tool starts");
    let (out, error) = said(&output);
    assert_eq!(output.status.code(), Some(1), "{command:?}: {error}\n{out}");
    assert!(error.starts_with("wireglot: ") && !error.contains("panicked"), "{error}");
    (out, error)
}

fn decodes_in_a_server(languages: &[&str]) {
    let server = Server::spawn();
    for language in languages {
        server.drop_codec(&format!("soil-{language}"), &fs::read(scaffold(language)).expect("a component"));
    }
    for language in languages {
        let name = format!("soil-{language}");
        patiently(&format!("{name} is live"), || {
            let codec = server.rest().codec(&name)?;
            assert_eq!(codec["error"], json!(null));
            (codec["state"] == "live").then_some(())
        });
        let profile = server.codec_profile(&name, &name);
        server.device_of(&profile, &format!("probe-{language}")).telemetry(FRAME);
        let latest = server.rest().latest(&format!("probe-{language}"));
        let values = (&latest["temperature"], &latest["moisture"], &latest["battery"]);
        assert_eq!(values, (&json!(21.5), &json!(41), &json!(3160)), "{language}");
    }
    assert!(!server.log().contains("could not be compiled"), "{}", server.log());
}

#[test]
fn a_new_codec_in_rust_c_or_javascript_decodes_in_a_running_server() {
    decodes_in_a_server(&["rust", "c", "js"]);
}

#[test]
fn a_new_codec_in_python_decodes_in_a_running_server() {
    decodes_in_a_server(&["python"]);
}

#[test]
fn a_large_codec_is_compiled_by_a_process_of_its_own() {
    let server = Server::spawn();
    let mut large = guest("stamp-a");
    // A custom section of five million spaces: id, length, length of the name, name.
    let content = [&b"\x07padding"[..], &vec![b' '; 5_000_000]].concat();
    large.push(0);
    let mut length = content.len();
    while length >= 0x80 {
        large.push(length as u8 | 0x80);
        length >>= 7;
    }
    large.push(length as u8);
    large.extend(content);
    server.drop_codec("stamp", &large);
    eventually("the codec is live", || server.rest().codec("stamp").filter(|codec| codec["state"] == "live"));
    assert!(!server.log().contains("could not be compiled"), "{}", server.log());
}

#[test]
fn the_lines_of_the_manual_make_a_codec_that_a_server_takes() {
    let server = Server::spawn();
    let manual = document("writing-codecs.md");
    let lines = manual.split("## Other languages").nth(1).expect("the section");
    let lines = lines.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("its lines");
    let path = format!(
        "{}:{}",
        binary().parent().expect("a folder").display(),
        std::env::var("PATH").expect("a path")
    );
    let mut shell = Command::new("sh");
    shell
        .args(["-e", "-c", lines])
        .current_dir(server.scratch())
        .env("PATH", path)
        .env("WIREGLOT_TOOLS", tool("codecs"))
        .env("CODECS", server.codecs())
        .stdin(Stdio::null());
    let printed = run(shell);
    assert!(printed.contains("4 passed, 0 failed") && printed.contains("imports  none"), "{printed}");
    assert!(printed.contains("temperature  DOUBLE  21.5"), "{printed}");
    eventually("the codec is live", || server.rest().codec("soil").filter(|codec| codec["state"] == "live"));
}

#[test]
fn a_missing_tool_is_told_with_the_line_that_brings_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lines = [
        ("c", "python3 -m pip install"),
        ("python", "apt-get install --no-install-recommends python3 python3-pip"),
        ("js", "apt-get install --no-install-recommends nodejs npm"),
    ];
    for (language, line) in lines {
        run(codec(folder.path(), &["new", language, "--lang", language]));
        let mut build = codec(folder.path(), &["build", language]);
        build.env("PATH", "/nowhere").env("WIREGLOT_TOOLS", folder.path().join("tools"));
        let (_, error) = fails(build);
        assert!(error.contains(line), "{language}: {error}");
        assert!(!folder.path().join(language).join(format!("{language}.wasm")).exists());
    }
}

#[test]
fn a_failing_vector_is_shown_beside_what_it_expects() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let vectors = json!({ "vectors": [
        { "device": "warm", "hex": "0100d7290c58", "expected": [{ "values": { "temperature": 21.6, "moisture": 41 } }] },
        { "device": "cut", "hex": "01", "refused": "unsupported" },
        { "device": "frost", "hex": "01ffce640a28",
          "expected": [{ "values": { "temperature": -5.0, "moisture": 100, "battery": 2600 } }] },
    ]});
    fs::write(folder.path().join("bad.json"), vectors.to_string()).expect("a file");
    let component = scaffold("c");
    let component = component.to_str().expect("a path of text");
    let (out, error) = fails(codec(folder.path(), &["test", component, "--vectors", "bad.json"]));
    assert!(error.contains("2 of 3 vectors fail"), "{error}");
    for line in [
        "  FAIL  warm  (bad.json)",
        "          temperature  21.6      21.5 (DOUBLE)",
        "          battery      nothing   3160 (LONG)",
        "  ok    frost",
        "1 passed, 2 failed",
    ] {
        assert!(out.lines().any(|found| found == line), "{line}\n{out}");
    }
    let (out, _) = fails(codec(folder.path(), &["test", component, "--vectors", "bad.json", "--json"]));
    let report: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&report["failed"], &report["passed"]), (&json!(2), &json!(1)));
    assert_eq!(report["vectors"][0]["differences"][0]["expected"], "21.6");
}

#[test]
fn a_frame_is_decoded_as_it_is_given() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let component = scaffold("c");
    let component = component.to_str().expect("a path of text");
    for frame in [["--hex", "01 00D7 29 0c58"], ["--base64", "AQDXKQxY"]] {
        let mut command = codec(folder.path(), &["run", component, "--json"]);
        command.args(frame);
        let decoded: Value = serde_json::from_str(&run(command)).expect("JSON");
        assert_eq!(decoded["messages"][0]["telemetry"][0]["values"]["temperature"], 21.5);
    }
    for (arguments, reason) in [
        (["--hex", "0100d7290c5"], "--hex takes two hexadecimal digits for each byte"),
        (["--hex", "01zz"], "'z'"),
        (["--base64", "%"], "--base64"),
        (["--hex", "0100"], "malformed: offset 1: 2 byte(s) of temperature expected, 1 left"),
    ] {
        let mut command = codec(folder.path(), &["run", component]);
        command.args(arguments);
        let (_, error) = fails(command);
        assert!(error.contains(reason), "{arguments:?}: {error}");
    }
}

#[test]
fn bench_and_inspect_tell_what_a_codec_is_and_costs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let component = scaffold("c");
    let component = component.to_str().expect("a path of text");
    let json = |arguments: &[&str]| -> Value {
        let mut command = codec(folder.path(), arguments);
        command.arg("--json");
        serde_json::from_str(&run(command)).expect("JSON")
    };
    let measured = json(&["bench", component, "--milliseconds", "50"]);
    let number = |name: &str| measured[name].as_u64().unwrap_or_else(|| panic!("{name}: {measured}"));
    assert_eq!(number("frames"), 4);
    assert!(number("decodes") >= 4 && number("medianNs") > 0 && number("p99Ns") >= number("medianNs"));
    assert!(number("fuelMost") >= number("fuelMedian") && number("fuelMedian") > 0);
    assert!(number("memoryBytes") < 1024 * 1024, "{measured}");
    let inspected = json(&["inspect", component]);
    assert_eq!(inspected["imports"], json!([]));
    assert_eq!(inspected["world"], "wireglot:codec/codec@1.0.0");
    assert_eq!(inspected["vectors"]["inside"], 4);
    assert_eq!(inspected["metadata"]["keys"][0]["unit"], "Cel");
}

#[test]
fn what_one_command_compiled_the_next_one_does_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tools = folder.path().join("tools");
    let component = scaffold("c");
    let component = component.to_str().expect("a path of text");
    let call = |name: &str| {
        let mut command = codec(folder.path(), &[name, component]);
        command.env("WIREGLOT_TOOLS", &tools);
        run(command)
    };
    let compiled = || -> Vec<_> {
        let entries = fs::read_dir(tools.join("compiled")).expect("the folder of compiled codecs");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm")).collect()
    };
    assert!(call("check").contains("good"));
    let [first] = compiled().try_into().expect("one compiled codec");
    let written = fs::metadata(&first).expect("its metadata").ino();
    assert!(call("test").contains("0 failed"));
    assert_eq!(fs::metadata(&first).expect("its metadata").ino(), written, "it was compiled again");

    // Native code that is not whole would be run as it is: it must not be used.
    fs::write(&first, b"damaged").expect("the file is damaged");
    assert!(call("test").contains("0 failed"));
    assert!(fs::metadata(&first).expect("its metadata").len() > 1_000, "it is made again");
    // How long compiling takes is what `bench` is asked for.
    fs::remove_dir_all(tools.join("compiled")).expect("the folder goes");
    call("bench");
    assert!(!tools.join("compiled").exists());
}
