//! System tests: stories told with the real binary, socket, store and codecs.
//!
//! `cargo xtask test` builds what they need and runs them. They wait for a state, never for a time.

#![allow(clippy::indexing_slicing, reason = "a panic that names its line is how a test fails")]

mod harness;

mod activity;
mod attributes;
mod authors;
mod candidates;
mod claim;
mod client_rpc;
mod clients;
mod codecs;
mod conformance;
mod connect;
mod crash;
mod envelopes;
mod explorer;
mod folder;
mod gateway;
mod gateway_bounds;
mod gateway_frames;
mod hostile;
mod http_bare;
mod http_device;
mod iot_gateway;
mod letters;
mod limits;
mod live;
mod management;
mod observe;
mod openapi;
mod ota;
mod profile_limits;
mod protobuf;
mod provision;
mod rate_limits;
mod reload;
mod rest_api;
mod rest_clients;
mod rest_command_lines;
mod rpc;
mod scripts;
mod sdk;
mod series;
mod sparkplug;
mod telemetry;
mod tls;
mod versions;
