//! From a command to a frame: `encodeDownlink`, or the older `Encode` and `Encoder`.
//!
//! A call is `{method: params}` to the script, or its params alone where they are an object; an update of attributes
//! is the object of what was written. The other commands have no place in these conventions.

use rquickjs::{Object, Value as Js};
use wireglot_sdk::{fact, malformed, unsupported, Command, Downlink, Outgoing, Refusal};

use crate::machine::{Call, Entry};
use crate::options::Options;
use crate::uplink::{outer, variables};
use crate::values::{bytes, integer, object_of};

pub(crate) fn encode<'js>(
    call: &Call<'_, 'js>,
    options: &Options,
    downlink: &Downlink,
) -> Result<Vec<Outgoing>, Refusal> {
    let entries = [Entry::EncodeDownlink, Entry::Encode, Entry::Encoder];
    let found = entries.into_iter().find_map(|entry| Some((entry, call.function(entry)?)));
    let (entry, function) = found.ok_or_else(|| {
        unsupported("the script sends nothing: it has no function encodeDownlink, Encode, Encoder")
    })?;
    let told = fact(&downlink.metadata, "fPort").and_then(|port| port.trim().parse().ok());
    let port: Option<i64> = told.or(options.port);
    let data = data(call, &downlink.command)?;
    let result: rquickjs::Result<Js> = match entry {
        Entry::Encode => variables(call, options)
            .and_then(|variables| function.call((port.map(|port| port as i32), data, variables))),
        Entry::Encoder => function.call((data, port.map(|port| port as i32))),
        _ => input(call, options, downlink, data, port).and_then(|input| function.call((input,))),
    };
    let result = result.map_err(|error| call.refused(&error))?;
    let result = call.settled(result, entry)?;
    if entry != Entry::EncodeDownlink {
        return Ok(vec![outgoing(bytes(call, &result, &format!("what {} gave", entry.name()))?, port)]);
    }
    let outer = outer(call, &result, entry, &mut Vec::new())?;
    let frame: Js = outer.get("bytes").map_err(|error| call.refused(&error))?;
    if frame.is_undefined() || frame.is_null() {
        return Err(malformed("encodeDownlink gave neither bytes nor errors"));
    }
    let wanted: Js = outer.get("fPort").map_err(|error| call.refused(&error))?;
    let port = if wanted.is_number() { integer(&wanted) } else { port };
    Ok(vec![outgoing(bytes(call, &frame, "`bytes` of encodeDownlink")?, port)])
}

fn outgoing(payload: Vec<u8>, port: Option<i64>) -> Outgoing {
    let metadata = port.map(|port| ("fPort".to_owned(), port.to_string())).into_iter().collect();
    Outgoing { topic: None, payload, metadata }
}

fn data<'js>(call: &Call<'_, 'js>, command: &Command) -> Result<Js<'js>, Refusal> {
    let data = match command {
        Command::AttributeUpdate(samples) => object_of(&call.ctx, samples).map(Object::into_value),
        Command::RpcRequest(request) => call.ctx.json_parse(request.params.as_str()).and_then(|params| {
            if params.is_object() && !params.is_array() {
                return Ok(params);
            }
            let data = Object::new(call.ctx.clone())?;
            data.set(request.method.as_str(), params)?;
            Ok(data.into_value())
        }),
        Command::AttributeDelete(_) | Command::AttributeResponse(_) | Command::RpcResponse(_) => {
            return Err(unsupported("a script encodes attribute updates and RPC requests only"));
        }
    };
    data.map_err(|error| call.refused(&error))
}

fn input<'js>(
    call: &Call<'_, 'js>,
    options: &Options,
    downlink: &Downlink,
    data: Js<'js>,
    port: Option<i64>,
) -> rquickjs::Result<Object<'js>> {
    let input = Object::new(call.ctx.clone())?;
    input.set("data", data)?;
    input.set("fPort", port.map(|port| port as i32))?;
    input.set("variables", variables(call, options)?)?;
    // Not of the convention: lets a script tell two calls with the same params apart.
    if let Command::RpcRequest(request) = &downlink.command {
        input.set("method", request.method.as_str())?;
    }
    input.set("device", downlink.connected_device.as_str())?;
    Ok(input)
}
