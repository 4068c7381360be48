//! The page to explore the API with, in a real browser.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Server, browser, root};

#[test]
fn a_browser_shows_every_operation_logs_in_and_asks() {
    let server = Server::spawn();
    let text = std::fs::read(root().join("host/rest/openapi.json")).expect("the document is there");
    let document: Value = serde_json::from_slice(&text).expect("the document is JSON");
    let shown: Value = serde_json::from_str(&browser(&server, "explorer.py")).expect("it prints JSON");
    // Nothing is blocked by the page's own policy, nothing is fetched from elsewhere, no script fails.
    assert_eq!(shown["faults"], json!([]));
    let groups: Vec<&Value> =
        document["tags"].as_array().expect("tags").iter().map(|tag| &tag["name"]).collect();
    assert_eq!(shown["groups"], json!(groups));
    let operations = document["paths"].as_object().expect("paths").values();
    let operations = operations.flat_map(|item| item.as_object().expect("operations").values());
    let summaries: BTreeSet<&str> =
        operations.filter_map(|operation| operation["summary"].as_str()).collect();
    let seen: BTreeSet<&str> =
        shown["summaries"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(seen, summaries);
    assert_eq!((&shown["login"][0], &shown["user"][0]), (&json!("200"), &json!("200")), "{shown}");
    // The token of the answer to the login is the one that the page shows.
    assert!(shown["user"][1].as_str().is_some_and(|user| user.contains("TENANT_ADMIN")), "{}", shown["user"]);
}
