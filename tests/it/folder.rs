//! What file systems really do to a folder that is watched.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use wireglot_load::frame::frame;

use crate::harness::{Server, eventually, guest};

/// So rare a poll that only an event can be the reason.
const NO_POLL: (&str, &str) = ("WIREGLOT_CODECS_POLL_S", "3600");
const EVERY_SECOND: (&str, &str) = ("WIREGLOT_CODECS_POLL_S", "1");

#[track_caller]
fn becomes(server: &Server, name: &str, version: &str) {
    eventually(&format!("{name} {version} is live"), || {
        let codec = server.rest().codec(name)?;
        (codec["state"] == "live" && codec["version"] == version && codec["error"].is_null()).then_some(())
    });
}

#[test]
fn an_editor_that_renames_and_a_copy_over_the_file_are_seen() {
    let server = Server::spawn_with(&[NO_POLL]);
    let file = server.codecs().join("stamp.wasm");
    // As editors save: the old file is moved away, the new one is written beside and renamed over.
    fs::write(&file, guest("stamp-a")).expect("the folder takes a file");
    becomes(&server, "stamp", "1.0.0");
    fs::rename(&file, server.codecs().join("stamp.wasm~")).expect("one folder");
    fs::write(server.codecs().join(".stamp.wasm.swp"), guest("stamp-b")).expect("a hidden file");
    fs::rename(server.codecs().join(".stamp.wasm.swp"), &file).expect("one folder");
    becomes(&server, "stamp", "2.0.0");
    // As `cp` does: the same file, cut to nothing and written again.
    fs::write(&file, guest("stamp-a")).expect("the file is written over");
    becomes(&server, "stamp", "1.0.0");
}

#[test]
fn a_file_that_grows_slowly_is_taken_when_it_is_whole() {
    use std::io::Write as _;
    let server = Server::spawn_with(&[NO_POLL]);
    server.install_codec("stamp", &guest("stamp-a"));
    let profile = server.codec_profile("stamped", "stamp");
    let mut device = server.device_of(&profile, "thermo");
    let mut file = fs::File::create(server.codecs().join("stamp.wasm")).expect("the folder takes a file");
    for (number, part) in (1..).zip(guest("stamp-b").chunks(8 * 1024)) {
        file.write_all(part).expect("the disk takes it");
        device.telemetry(frame(number));
        let version = server.rest().latest("thermo")["version"].clone();
        assert!(version == 1 || version == 2, "half a file was taken: {version}");
    }
    drop(file);
    becomes(&server, "stamp", "2.0.0");
}

#[test]
fn a_kubernetes_config_map_is_followed_through_its_swaps() {
    let server = Server::spawn_with(&[NO_POLL]);
    // As the kubelet lays it out: files are links through `..data`, and only `..data` is ever replaced.
    let generation = |number: u32, component: &str| {
        let folder = format!("..2026_0{number}");
        fs::create_dir(server.codecs().join(&folder)).expect("a fresh folder");
        fs::write(server.codecs().join(&folder).join("stamp.wasm"), guest(component)).expect("a file");
        symlink(&folder, server.codecs().join("..data_tmp")).expect("a link");
        fs::rename(server.codecs().join("..data_tmp"), server.codecs().join("..data")).expect("one folder");
    };
    generation(1, "stamp-a");
    symlink("..data/stamp.wasm", server.codecs().join("stamp.wasm")).expect("a link");
    becomes(&server, "stamp", "1.0.0");
    generation(2, "stamp-b");
    fs::remove_dir_all(server.codecs().join("..2026_01")).expect("nobody needs it");
    becomes(&server, "stamp", "2.0.0");
}

#[test]
fn a_change_that_no_event_tells_is_found_by_the_poll() {
    let server = Server::spawn_with(&[EVERY_SECOND]);
    // The file behind the link changes in a folder that nobody watches, as on a network file system.
    let behind = server.scratch().join("far-away");
    fs::create_dir(&behind).expect("a fresh folder");
    let replace = |component: &str| {
        fs::write(behind.join("new"), guest(component)).expect("a file");
        fs::rename(behind.join("new"), behind.join("stamp.wasm")).expect("one folder");
    };
    replace("stamp-a");
    symlink(behind.join("stamp.wasm"), server.codecs().join("stamp.wasm")).expect("a link");
    becomes(&server, "stamp", "1.0.0");
    replace("stamp-b");
    becomes(&server, "stamp", "2.0.0");
}

#[test]
fn thousands_of_events_at_once_are_one_hint() {
    let server = Server::spawn_with(&[NO_POLL]);
    for number in 0..5_000 {
        fs::write(server.codecs().join(format!("noise-{number}.txt")), b"x").expect("a file");
    }
    server.install_codec("stamp", &guest("stamp-a"));
    for number in 0..5_000 {
        fs::remove_file(server.codecs().join(format!("noise-{number}.txt"))).expect("it is there");
    }
    fs::write(server.codecs().join("stamp.wasm"), guest("stamp-b")).expect("the file is written over");
    becomes(&server, "stamp", "2.0.0");
}

/// Removes what the server watches and puts something else in its place, again and again.
fn replaced(server: &Server, replace: impl Fn(&Path, u32)) {
    let folder = server.codecs();
    let profile = server.codec_profile("stamped", "stamp");
    fs::write(folder.join("stamp.wasm"), guest("stamp-a")).expect("a file");
    becomes(server, "stamp", "1.0.0");
    let mut device = server.device_of(&profile, "thermo");
    for (round, version) in [(1, "2.0.0"), (2, "1.0.0"), (3, "2.0.0")] {
        replace(&folder, round);
        // Once the new folder has been looked at, only an event of its own can tell what comes into it.
        eventually("the file is missed", || {
            let codec = server.rest().codec("stamp")?;
            codec["error"].as_str()?.contains("file is gone").then_some(())
        });
        device.telemetry(frame(round));
        assert_eq!(server.rest().latest("thermo")["seq"], round, "the last version serves on meanwhile");
        let component = guest(if version == "1.0.0" { "stamp-a" } else { "stamp-b" });
        fs::write(folder.join("stamp.wasm"), component).expect("a file");
        becomes(server, "stamp", version);
    }
}

#[test]
fn a_folder_that_is_removed_and_made_again_is_watched_again() {
    let server = Server::spawn_with(&[NO_POLL]);
    replaced(&server, |folder, _| {
        fs::remove_dir_all(folder).expect("the folder is there");
        fs::create_dir(folder).expect("it is gone");
    });
}

#[test]
fn a_folder_that_becomes_a_link_to_another_is_watched_again() {
    let server = Server::spawn_with(&[NO_POLL]);
    let scratch = server.scratch().to_owned();
    replaced(&server, |folder, round| {
        let target = scratch.join(format!("generation-{round}"));
        fs::create_dir(&target).expect("a fresh folder");
        symlink(&target, scratch.join("link")).expect("a link");
        if round == 1 {
            fs::rename(folder, scratch.join("away")).expect("one file system");
        }
        fs::rename(scratch.join("link"), folder).expect("one file system");
    });
}
