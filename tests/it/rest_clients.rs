//! Published REST libraries walk a device's whole life: each is one script, whose own assertions tell the story.
//!
//! The command lines are in `rest_command_lines`. A step that fails ends its script, and its complaint is shown.

use crate::harness::{CommandLine, Server, document, rest_library};

/// Nothing of what a walk made is left, and the device that it had is nobody's any more.
#[track_caller]
fn leaves_nothing(server: &Server) {
    let total = |path: &str| server.rest().get(path).expect("a page")["totalElements"].clone();
    assert_eq!(total("/api/tenant/devices?pageSize=9&page=0"), 0);
    assert_eq!(total("/api/otaPackages?pageSize=9&page=0"), 0);
    assert_eq!(total("/api/deviceProfiles?pageSize=9&page=0"), 1, "the default profile stays");
    assert_eq!(server.rest().sessions(), [""; 0]);
}

#[test]
fn tb_rest_client_walks_a_devices_life() {
    let server = Server::spawn();
    rest_library(&server, "tb-rest-client", "rest_client.py");
    leaves_nothing(&server);
}

#[test]
fn tb_ce_client_walks_a_devices_life() {
    let server = Server::spawn();
    rest_library(&server, "tb-ce-client", "ce_client.py");
    leaves_nothing(&server);
}

/// The lines of one kind in a document, each block by itself.
fn blocks<'a>(document: &'a str, kind: &str) -> Vec<&'a str> {
    let fence = format!("```{kind}\n");
    document.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().expect("its lines")).collect()
}

#[test]
fn the_lines_of_the_document_work() {
    let server = Server::spawn();
    let document = document("rest-clients.md");
    let scripts = blocks(&document, "python");
    for (library, script) in ["tb-rest-client", "tb-ce-client"].into_iter().zip(&scripts) {
        let path = server.scratch().join(format!("{library}.py"));
        std::fs::write(&path, script).expect("the temporary folder takes a file");
        let said = rest_library(&server, library, path.to_str().expect("a path in UTF-8"));
        assert!(said.contains("interval") && said.contains("60"), "{said}");
    }
    // The first block sets the variables that the others use.
    let shell = blocks(&document, "sh");
    let said = CommandLine::tbctl(&server, "reader").documented(shell[1]);
    assert!(said.contains("Access token") && said.contains("\"name\": \"thermo-2\""), "{said}");
    let said = CommandLine::tb(&server, "reader").documented(shell[2]);
    assert!(said.contains("interval") && said.contains("THERMO-4"), "{said}");
    assert_eq!((scripts.len(), shell.len()), (2, 3), "a block is not run");
    for (name, token) in [("thermo-1", "THERMO-1"), ("thermo-2", "THERMO-2"), ("thermo-4", "THERMO-4")] {
        let path = format!("/api/device/{}/credentials", server.rest().device_id(name));
        assert_eq!(server.rest().get(&path).expect("credentials")["credentialsId"], token);
    }
}
