//! What holds for the document as a whole.

use std::collections::BTreeSet;

use super::*;

/// Each operation with its method and path.
fn each(document: &Json) -> Vec<(String, &Json)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((format!("{method} {path}"), operation));
        }
    }
    found
}

#[test]
fn the_committed_document_is_that_of_the_handlers() {
    let committed = include_str!("../../openapi.json");
    assert!(committed == openapi(), "host/rest/openapi.json is out of date; `cargo xtask docs` writes it");
}

#[test]
fn every_operation_is_described_for_readers_and_programs() {
    let document = document();
    let tags: BTreeSet<&str> = TAGS.iter().map(|(name, _)| *name).collect();
    let (mut ids, mut used) = (BTreeSet::new(), BTreeSet::new());
    let operations = each(&document);
    assert_eq!(operations.len(), crate::routes::operations().len(), "no two rows are one operation");
    for (name, operation) in operations {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{name}: the id {id} is taken");
        assert!(id.starts_with(|c: char| c.is_ascii_lowercase()) && !id.contains('_'), "{name}: {id}");
        let summary = operation["summary"].as_str().unwrap_or_default();
        assert!(
            summary.ends_with('.') && !summary.contains('\n') && summary.len() < 120,
            "{name}: {summary:?}"
        );
        for tag in operation["tags"].as_array().unwrap() {
            assert!(tags.contains(tag.as_str().unwrap()), "{name}: {tag}");
            used.insert(tag.as_str().unwrap());
        }
        assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{name} is in one group");
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let in_path = |parameter: &&Json| parameter["in"] == "path";
        let stated: Vec<_> = parameters.iter().filter(in_path).map(|p| p["name"].as_str().unwrap()).collect();
        let path = name.split_once(' ').unwrap().1;
        let needed: Vec<_> = path.split('/').filter_map(|p| p.strip_prefix('{')?.strip_suffix('}')).collect();
        assert_eq!(stated, needed, "{name}: the parameters of its path");
        for parameter in &parameters {
            assert!(parameter["description"].is_string(), "{name}: {parameter} is not described");
        }
        let answers = operation["responses"].as_object().unwrap();
        assert!(
            answers.keys().any(|status| status.starts_with('2') || status == "101"),
            "{name}: no good answer"
        );
    }
    assert_eq!(used, tags, "no group is empty");
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} is not in the document");
    }
}

fn collect(value: &Json, references: &mut BTreeSet<String>) {
    match value {
        Json::Object(members) => {
            references.extend(members.get("$ref").and_then(Json::as_str).map(str::to_owned));
            members.values().for_each(|member| collect(member, references));
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}
