//! The contract as Rust: generated from `wit/`, and nothing else.
#![allow(missing_docs, reason = "what is generated carries the comments of the WIT files")]

wit_bindgen::generate!({
    world: "codec",
    path: "wit",
    pub_export_macro: true,
    export_macro_name: "export_guest",
});
