//! Each rule of tidy meets text that keeps it and text that breaks it.

use super::*;

fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

#[track_caller]
fn check_introduction(text: &str, good: bool) {
    assert_eq!(introduction(&source("host/src/a.rs", text)).is_none(), good, "{text}");
}

#[test]
fn a_file_introduces_itself() {
    check_introduction("//! What it is for.\nuse a;", true);
    check_introduction("use a;", false);
    check_introduction("//!\n//! Late.", false);
    check_introduction("", false);
}

#[track_caller]
fn check_length(path: &str, code: usize, tests: usize, good: bool) {
    let text = format!("{}#[cfg(test)]\nmod tests {{\n{}}}", "code\n".repeat(code), "test\n".repeat(tests));
    assert_eq!(length(&source(path, &text)).is_none(), good, "{path} {code} {tests}");
}

#[test]
fn long_files_are_found_and_tests_are_not_counted() {
    check_length("host/src/a.rs", 800, 800, true);
    check_length("host/src/a.rs", 801, 0, false);
    check_length("host/src/a/tests.rs", 801, 0, true);
    check_length("tests/it/a.rs", 801, 0, true);
}

#[track_caller]
fn check_leftovers(line: &str, good: bool) {
    assert_eq!(leftovers(&source("host/src/a.rs", line)).is_empty(), good, "{line}");
}

#[test]
fn leftovers_are_found_as_words() {
    for marker in markers() {
        check_leftovers(&format!("    {marker}"), false);
        check_leftovers(&format!("// {marker}: later"), false);
        check_leftovers(&format!("let a{marker} = 1;"), true);
    }
    check_leftovers("let todos = 1;", true);
}

#[track_caller]
fn check_banner(line: &str, good: bool) {
    assert_eq!(banners(&source("host/src/a.rs", line)).is_empty(), good, "{line}");
}

#[test]
fn banners_are_found_and_tables_are_not() {
    check_banner("// ==== helpers ====", false);
    check_banner("    // ---------", false);
    check_banner("//! |------|-----|", true);
    check_banner("let a = \"----\";", true);
    check_banner("// a - b", true);
}

#[track_caller]
fn check_direction(path: &str, dependency: &str, good: bool) {
    let text = format!("[dependencies]\n{dependency} = \"1\"\n[dev-dependencies]\nwireglot-store = \"1\"\n");
    let findings = directions(&source(path, &text)).unwrap();
    assert_eq!(findings.is_empty(), good, "{path} {dependency}");
    assert!(findings.iter().all(|finding| finding.line == 2));
}

#[test]
fn arrows_point_one_way() {
    check_direction("host/device/Cargo.toml", "wireglot-store", true);
    check_direction("host/store/Cargo.toml", "wireglot-device", false);
    check_direction("host/rest/Cargo.toml", "wireglot-store", false);
    check_direction("host/rest/Cargo.toml", "wireglot-mqtt", false);
    check_direction("host/codec/Cargo.toml", "wasmtime", true);
    check_direction("host/device/Cargo.toml", "wasmtime", false);
    check_direction("host/rest/Cargo.toml", "ntex", false);
    check_direction("host/model/Cargo.toml", "tokio", false);
    check_direction("host/Cargo.toml", "wireglot-store", true);
    check_direction("plugins/elsys/Cargo.toml", "wireglot-sdk", true);
    check_direction("plugins/elsys/Cargo.toml", "wireglot-model", false);
}

#[test]
fn a_limit_that_nobody_names_is_found() {
    let limits =
        source("host/model/src/limits.rs", "pub const USED_MAX: u8 = 1;\npub const IDLE_MAX: u8 = 2;\n");
    let user = source("host/store/src/lib.rs", "use limits::USED_MAX;\n// NOT_IDLE_MAX\n");
    let test = source("tests/it/a.rs", "IDLE_MAX");
    let found = unused_limits(&[&limits, &user, &test]);
    assert_eq!(found, [limits.finding(2, "nothing holds to `IDLE_MAX`".to_owned())]);
}

#[track_caller]
fn check_dead(parent: (&str, &str), path: &str, good: bool) {
    let (parent, file) = (source(parent.0, parent.1), source(path, ""));
    let found = dead_files(&[&parent, &file]);
    assert_eq!(found.iter().all(|finding| finding.file != path), good, "{path}");
}

#[test]
fn a_file_that_no_module_declares_is_found() {
    check_dead(("host/src/main.rs", "mod a;"), "host/src/a.rs", true);
    check_dead(("host/src/main.rs", "mod b;"), "host/src/a.rs", false);
    check_dead(("host/src/a.rs", "pub(crate) mod b;"), "host/src/a/b.rs", true);
    check_dead(("host/src/b.rs", "mod b;"), "host/src/a/b.rs", false);
    check_dead(("host/src/main.rs", ""), "tests/load/src/bin/a.rs", true);
}

#[track_caller]
fn check_twins(first: (&str, &str), second: (&str, &str), good: bool) {
    let (first, second) = (source(first.0, first.1), source(second.0, second.1));
    assert_eq!(twins(&[&first, &second]).is_empty(), good, "{} {}", first.path, second.path);
}

#[test]
fn a_function_has_one_home() {
    let line = "fn now_ms() -> u64 {";
    check_twins(("host/rest/src/a.rs", line), ("host/mqtt/src/a.rs", &format!("pub(crate) {line}")), false);
    check_twins(("host/rest/src/a.rs", line), ("host/rest/src/b.rs", line), true);
    check_twins(("host/rest/src/a.rs", line), ("host/mqtt/src/tests.rs", line), true);
    check_twins(("host/rest/src/a.rs", "fn now_ms() -> u32 {"), ("host/mqtt/src/a.rs", line), true);
}

#[test]
fn the_files_of_the_repository_are_found() {
    let sources = sources().unwrap();
    assert!(sources.iter().any(|source| source.path == "xtask/src/tidy.rs"));
}
