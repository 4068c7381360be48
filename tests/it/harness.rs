//! What the stories are told with: a server, its REST side, and devices under exact control.

mod bare;
mod command_line;
mod device;
mod folders;
mod line;
mod metrics;
mod rest;
mod server;
mod site;
mod spoken;
mod swarm;
mod tools;
mod trace;
mod wait;
mod webhook;

pub(crate) use bare::BareRequest;
pub(crate) use command_line::CommandLine;
pub(crate) use device::{Closed, Device};
pub(crate) use folders::{binary, document, guest, plugin, root, scaffold, tool, vectors};
pub(crate) use line::{Identity, Line, TlsClient};
pub(crate) use rest::{Refusal, Rest};
pub(crate) use server::Server;
pub(crate) use site::Site;
pub(crate) use spoken::HttpDevice;
pub(crate) use swarm::Swarm;
pub(crate) use tools::{
    bash, browser, documented, node, operator, python, rest_library, schemathesis, sdk, shell,
    sparkplug_node, sparkplug_python, websocket, wireglot,
};
pub(crate) use wait::{TIMEOUT, eventually, patiently, pause};
pub(crate) use webhook::{Question, Reply, Webhook};
