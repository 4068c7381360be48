//! From a frame to values: `decodeUplink`, the older `Decode` and `Decoder`, and `normalizeUplink` behind the first.

use rquickjs::{Function, Object, Value as Js};
use wireglot_sdk::{fact, malformed, unsupported, Decoded, Refusal, Report, Samples, Uplink};

use crate::machine::{Call, Entry};
use crate::options::{Direction, Normalize, Options};
use crate::values::{byte_array, date, flattened, length, samples, text_of, texts};

/// Measurements that one normalised result may have.
const MEASUREMENTS_MAX: u32 = 1_024;
/// Objects within objects that become names with dots; what lies deeper is JSON.
const NAMES_DEPTH_MAX: u8 = 4;

pub(crate) fn decode<'js>(
    call: &Call<'_, 'js>,
    options: &Options,
    uplink: &Uplink,
) -> Result<Decoded, Refusal> {
    let (entry, function) = call
        .decoder(options.direction)
        .ok_or_else(|| unsupported("the script no longer declares the function that decodes"))?;
    let port = port(options, uplink);
    let result = match entry {
        Entry::Decode => {
            positional(call, |bytes, variables| function.call((port, bytes, variables)), options, uplink)
        }
        Entry::Decoder => positional(call, |bytes, _| function.call((bytes, port)), options, uplink),
        _ => structured(call, &function, options, uplink, port),
    };
    let result = result.map_err(|error| call.refused(&error))?;
    let result = call.settled(result, entry)?;
    let mut report = Report::new();
    let mut warnings = Vec::new();
    if matches!(entry, Entry::Decode | Entry::Decoder) {
        report.now = samples(call, &data_object(&result, entry)?, &mut warnings)?;
    } else {
        decoded(call, options, entry, &result, &mut report, &mut warnings)?;
    }
    for warning in warnings {
        report.warn(warning);
    }
    Ok(report.into())
}

/// The port that came with the frame, or else the profile's.
fn port(options: &Options, uplink: &Uplink) -> Option<i32> {
    let told = fact(&uplink.metadata, "fPort").and_then(|port| port.trim().parse().ok());
    told.or_else(|| options.port.and_then(|port| i32::try_from(port).ok()))
}

fn positional<'js>(
    call: &Call<'_, 'js>,
    function: impl FnOnce(Js<'js>, Js<'js>) -> rquickjs::Result<Js<'js>>,
    options: &Options,
    uplink: &Uplink,
) -> rquickjs::Result<Js<'js>> {
    function(byte_array(&call.ctx, &uplink.payload)?.into_value(), variables(call, options)?)
}

fn structured<'js>(
    call: &Call<'_, 'js>,
    function: &Function<'js>,
    options: &Options,
    uplink: &Uplink,
    port: Option<i32>,
) -> rquickjs::Result<Js<'js>> {
    let input = Object::new(call.ctx.clone())?;
    input.set("bytes", byte_array(&call.ctx, &uplink.payload)?)?;
    input.set("fPort", port)?;
    input.set("recvTime", date(&call.ctx, uplink.received_ms))?;
    input.set("variables", variables(call, options)?)?;
    // Not of the convention: what codecs in other languages are told.
    input.set("topic", uplink.topic.as_str())?;
    input.set("device", uplink.device.as_str())?;
    input.set("profile", uplink.profile.as_str())?;
    let metadata = Object::new(call.ctx.clone())?;
    for (name, value) in &uplink.metadata {
        metadata.set(name.as_str(), value.as_str())?;
    }
    input.set("metadata", metadata)?;
    function.call((input,))
}

/// A fresh object for every message, so that a script cannot keep notes in it.
pub(crate) fn variables<'js>(call: &Call<'_, 'js>, options: &Options) -> rquickjs::Result<Js<'js>> {
    match &options.variables {
        None => Ok(Object::new(call.ctx.clone())?.into_value()),
        Some(json) => call.ctx.json_parse(json.as_str()),
    }
}

fn decoded<'js>(
    call: &Call<'_, 'js>,
    options: &Options,
    entry: Entry,
    result: &Js<'js>,
    report: &mut Report,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let outer = outer(call, result, entry, warnings)?;
    let data: Js = outer.get("data").map_err(|error| call.refused(&error))?;
    if data.is_undefined() || data.is_null() {
        return Err(malformed(format!("{} gave neither data nor errors", entry.name())));
    }
    let data = data_object(&data, entry)?;
    let normalizer = call
        .function(Entry::NormalizeUplink)
        .filter(|_| options.direction == Direction::Up && options.normalize != Normalize::Off);
    if normalizer.is_none() || options.normalize == Normalize::Beside {
        report.now = samples(call, &data, warnings)?;
    }
    match normalizer {
        None => Ok(()),
        Some(normalizer) => normalized(call, &normalizer, data, report, warnings),
    }
}

/// The object that a function gave, once it is known that it tells of no errors. Its warnings are kept.
pub(crate) fn outer<'a, 'js>(
    call: &Call<'_, 'js>,
    result: &'a Js<'js>,
    entry: Entry,
    warnings: &mut Vec<String>,
) -> Result<&'a Object<'js>, Refusal> {
    let outer = result
        .as_object()
        .filter(|_| !result.is_function())
        .ok_or_else(|| malformed(format!("{} gave {}, and not an object", entry.name(), kind(result))))?;
    let errors: Js = outer.get("errors").map_err(|error| call.refused(&error))?;
    let errors = texts(call, &errors)?;
    if !errors.is_empty() {
        return Err(malformed(errors.join("; ")));
    }
    let told: Js = outer.get("warnings").map_err(|error| call.refused(&error))?;
    warnings.extend(texts(call, &told)?);
    Ok(outer)
}

fn data_object<'js>(data: &Js<'js>, entry: Entry) -> Result<Object<'js>, Refusal> {
    match data.as_object() {
        Some(object) if !data.is_array() && !data.is_function() => Ok(object.clone()),
        Some(_) | None => Err(malformed(format!(
            "the data of {} is {}, and not an object of named values",
            entry.name(),
            kind(data)
        ))),
    }
}

fn kind(value: &Js<'_>) -> &'static str {
    if value.is_array() {
        "an array"
    } else if value.is_function() {
        "a function"
    } else if value.is_undefined() {
        "nothing"
    } else {
        value.type_name()
    }
}

/// One measurement or a list of them, each with a time of its own where it names one.
fn normalized<'js>(
    call: &Call<'_, 'js>,
    function: &Function<'js>,
    data: Object<'js>,
    report: &mut Report,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let entry = Entry::NormalizeUplink;
    let input = Object::new(call.ctx.clone()).and_then(|input| input.set("data", data).map(|()| input));
    let result = input.and_then(|input| function.call((input,))).map_err(|error| call.refused(&error))?;
    let result: Js = call.settled(result, entry)?;
    let outer = outer(call, &result, entry, warnings)?;
    let data: Js = outer.get("data").map_err(|error| call.refused(&error))?;
    if data.is_undefined() || data.is_null() {
        return Ok(());
    }
    let Some(list) = data.as_object().filter(|_| data.is_array()) else {
        return measurement(call, &data_object(&data, entry)?, report, warnings);
    };
    let count = length(call, list)?;
    if count > MEASUREMENTS_MAX {
        return Err(malformed(format!(
            "normalizeUplink gave {count} measurements, more than {MEASUREMENTS_MAX}"
        )));
    }
    for index in 0..count {
        let item: Js = list.get(index).map_err(|error| call.refused(&error))?;
        measurement(call, &data_object(&item, entry)?, report, warnings)?;
    }
    Ok(())
}

fn measurement<'js>(
    call: &Call<'_, 'js>,
    data: &Object<'js>,
    report: &mut Report,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let time: Js = data.get("time").map_err(|error| call.refused(&error))?;
    let ts = match text_of(&time).filter(|_| time.is_string() || time.is_object()) {
        None => None,
        Some(text) => {
            let ts = call.parse_date(&text);
            if ts.is_none() {
                warnings.push(format!("the time {text} is no date; the time of receipt is taken"));
            }
            ts
        }
    };
    let mut values = Samples::new();
    flattened(call, "", data, NAMES_DEPTH_MAX, warnings, &mut values)?;
    match ts {
        Some(ts) => report.record(ts, values),
        None => report.now.append(values),
    }
    Ok(())
}
