//! What is said to a node, and through it to the devices behind it: commands, their metrics in the types that the birth
//! has given them (Sparkplug §4).
//!
//! A command is not answered by the node: whoever has asked by RPC hears of it when the publish is written.

use std::time::Instant;

use ntex::util::{ByteString, Bytes};
use wireglot_device::now;
use wireglot_model::value::write_json_string;
use wireglot_model::{DeviceId, Downlink, Sample, Timestamp, Value};
use wireglot_proto::{
    SparkplugCommand, SparkplugMetric, SparkplugPayload, sparkplug_params, sparkplug_wrapped,
};
use wireglot_route::sparkplug_command_topic;

use super::{Node, REBIRTH};
use crate::rpc::Asked;
use crate::session::Session;
use crate::{deliver, rpc};

/// The types by which a JSON attribute wraps a metric: of a node, and of a device.
const NODE_WRAPPERS: [&str; 3] = ["NCMD", "NDATA", "NRECORD"];
const DEVICE_WRAPPERS: [&str; 3] = ["DCMD", "DDATA", "DRECORD"];
const BAD_PARAMS: &str = "BAD_REQUEST_PARAMS";

/// Why there is no command.
enum NoCommand {
    /// No birth has told of this metric.
    UnknownMetric(String),
    /// The value is none of the metric's type.
    Unfit(String),
}

/// Tells the node what came through the mailbox for it, or for the device behind it that is called `child`.
pub(crate) fn tell(
    session: &Session,
    node: &Node,
    child: Option<&str>,
    device: DeviceId,
    downlink: &Downlink,
) {
    match downlink {
        Downlink::AttributeUpdate(samples) => update(session, node, child, samples),
        Downlink::RpcRequest { id, method, params } => {
            ask(session, node, child, Asked { device, id: *id }, method, params);
        }
        // No metric says that there is none, and nothing of a node asks for the others.
        Downlink::AttributeDelete(_)
        | Downlink::AttributeResponse { .. }
        | Downlink::ClientRpcAnswer { .. }
        | Downlink::Close(_) => {}
    }
}

/// Shared attributes were written: those that are metrics are told, all of one write at once.
fn update(session: &Session, node: &Node, child: Option<&str>, samples: &[Sample]) {
    let device = child.map(|child| node.short(child));
    let at = now();
    let mut metrics = Vec::new();
    for Sample { key, value } in samples {
        let wrappers = if device.is_some() { DEVICE_WRAPPERS } else { NODE_WRAPPERS };
        let wrapped = match value {
            Value::Json(json) if wrappers.contains(&key.as_str()) => sparkplug_wrapped(json),
            Value::Json(_) | Value::Bool(_) | Value::Long(_) | Value::Double(_) | Value::Text(_) => None,
        };
        let (name, value) = wrapped.as_ref().map_or((key.as_str(), value), |(name, value)| (name, value));
        match metric(node, device, name, value, at) {
            Ok(metric) => metrics.push(metric),
            // An attribute like any other.
            Err(NoCommand::UnknownMetric(_)) => {}
            Err(NoCommand::Unfit(reason)) => deliver::give_up(session, &reason),
        }
    }
    if !metrics.is_empty() {
        deliver::push(session, vec![publish(node, device, metrics, at)], None);
    }
}

fn ask(session: &Session, node: &Node, child: Option<&str>, asked: Asked, method: &str, params: &str) {
    let device = child.map(|child| node.short(child));
    let devices = &session.worker.devices;
    let refuse = |error: &str| {
        deliver::give_up(session, error);
        devices.rpc_refused(asked.device, asked.id, &bad_params(error), now());
    };
    let due = method_of(child.is_some());
    let whose = if child.is_some() { "Device" } else { "Node" };
    if method != due {
        let reason = format!("the method of an RPC to this {whose} of Sparkplug is {due}, not {method}");
        return match child {
            Some(_) => refuse(&reason),
            None => devices.rpc_failed(asked.device, asked.id, &reason, now()),
        };
    }
    let Some((name, value)) = sparkplug_params(params) else {
        return refuse(r#"the params are {"metricName": a text, "value": what it is to be}"#);
    };
    let at = now();
    match metric(node, device, &name, &value, at) {
        Ok(metric) => rpc::publish(session, asked, Ok(vec![publish(node, device, vec![metric], at)])),
        Err(NoCommand::UnknownMetric(name)) => refuse(&format!(
            "Failed send To {whose} Rpc Request: {due}. This {} does not have a metricName: [{name}]",
            whose.to_lowercase()
        )),
        Err(NoCommand::Unfit(reason)) => refuse(&reason),
    }
}

/// The publish of an RPC is written, which is all that is heard of it.
pub(crate) fn answer(session: &Session, asked: Asked) {
    let method = method_of(asked.device != session.device.id());
    let response = format!("{{\"result\":\"Success: {method}\"}}");
    session.worker.devices.rpc_answered(asked.device, asked.id, &response, now());
}

/// Something of the node was missed: asks it to be born again, unless that was asked not long ago.
pub(super) fn ask_births(session: &Session, node: &Node) {
    node.asking.borrow_mut().miss(Instant::now());
    ask_belated(session, node);
}

/// Asks for the births that were to be asked for, as soon as it is time. A node that has no such metric is left alone.
pub(super) fn ask_belated(session: &Session, node: &Node) {
    let mut asking = node.asking.borrow_mut();
    if !asking.is_owed() {
        return;
    }
    let now = Instant::now();
    if !asking.is_due(now) {
        return;
    }
    asking.ask(now);
    drop(asking);
    let at = wireglot_device::now();
    if let Ok(metric) = metric(node, None, REBIRTH, &Value::Bool(true), at) {
        deliver::push(session, vec![publish(node, None, vec![metric], at)], None);
    }
}

fn metric(
    node: &Node,
    device: Option<&str>,
    name: &str,
    value: &Value,
    ts: Timestamp,
) -> Result<SparkplugMetric, NoCommand> {
    let births = node.births.borrow();
    let owner = births.of(device);
    let born = owner.and_then(|birth| birth.metric(name));
    let born = born.ok_or_else(|| NoCommand::UnknownMetric(name.to_owned()))?;
    let fills_field = owner.is_some_and(|birth| birth.fills_fields.get());
    let command = SparkplugCommand { name, alias: born.alias, kind: born.kind, value, fills_field, ts };
    command.metric().map_err(NoCommand::Unfit)
}

fn publish(
    node: &Node,
    device: Option<&str>,
    metrics: Vec<SparkplugMetric>,
    ts: Timestamp,
) -> (ByteString, Bytes) {
    let payload = SparkplugPayload { timestamp: Some(ts), seq: None, metrics };
    let topic = sparkplug_command_topic(&node.identity.group, &node.identity.node, device);
    (topic.into(), payload.write().into())
}

fn method_of(is_device: bool) -> &'static str {
    if is_device { "DCMD" } else { "NCMD" }
}

fn bad_params(error: &str) -> String {
    let mut out = format!("{{\"result\":\"{BAD_PARAMS}\",\"error\":");
    write_json_string(error, &mut out);
    out.push('}');
    out
}
