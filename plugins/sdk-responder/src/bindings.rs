//! The contract as Rust: generated from `wit/`, and nothing else.
#![allow(
    missing_docs,
    clippy::too_many_arguments,
    reason = "what is generated carries the comments of the WIT files, and the flat signatures of the ABI"
)]

wit_bindgen::generate!({
    world: "responder",
    path: "wit",
    pub_export_macro: true,
    export_macro_name: "export_guest",
});
