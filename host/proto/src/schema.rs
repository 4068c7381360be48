//! The text of a schema → its last top-level message, or where it is wrong and why (device profile §4).
//!
//! What `protoc` accepts as proto3 is accepted, options, imports of the well-known types and reserved fields included,
//! which is more than upstream takes; what both refuse is refused in upstream's words.

use std::fmt;

use prost_reflect::{DescriptorError, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};
use wireglot_model::limits::{PROTO_SCHEMA_BYTES_MAX, PROTO_SCHEMA_DEPTH_MAX};

/// One of the four schemas of a profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Schema {
    /// `deviceTelemetryProtoSchema`
    Telemetry,
    /// `deviceAttributesProtoSchema`
    Attributes,
    /// `deviceRpcRequestProtoSchema`
    RpcRequest,
    /// `deviceRpcResponseProtoSchema`
    RpcResponse,
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Schema::Telemetry => "telemetry proto schema",
            Schema::Attributes => "attributes proto schema",
            Schema::RpcRequest => "rpc request proto schema",
            Schema::RpcResponse => "rpc response proto schema",
        })
    }
}

/// Why a schema is not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SchemaError {
    /// It is not valid; lines and columns count from 1.
    #[error("failed to parse {schema} due to: Syntax error in :{line}:{column}: {reason}")]
    Syntax {
        /// Which one.
        schema: Schema,
        /// Where,
        line: usize,
        /// and where in the line.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// Another language.
    #[error("invalid schema syntax: {} for {schema} provided! Only proto3 allowed!", stated.as_deref().unwrap_or("null"))]
    NotProto3 {
        /// Which one.
        schema: Schema,
        /// The syntax that it states.
        stated: Option<String>,
    },
    /// It breaks a rule for schemas of devices.
    #[error("invalid {schema} provided! {rule}")]
    Rule {
        /// Which one.
        schema: Schema,
        /// Which rule, and where.
        rule: String,
    },
}

/// How the file of a schema is called where it has to have a name.
const FILE: &str = "schema.proto";

/// The message that counts: the last one at the top level.
pub(crate) fn compile(schema: Schema, text: &str) -> Result<MessageDescriptor, SchemaError> {
    let broken = |rule: String| SchemaError::Rule { schema, rule };
    if text.len() > PROTO_SCHEMA_BYTES_MAX {
        return Err(broken(format!("A schema has at most {PROTO_SCHEMA_BYTES_MAX} bytes!")));
    }
    if depth(text) > PROTO_SCHEMA_DEPTH_MAX {
        return Err(broken(format!("Blocks may be nested {PROTO_SCHEMA_DEPTH_MAX} levels deep!")));
    }
    let mut file = parse(schema, text)?;
    if file.syntax.as_deref() != Some("proto3") {
        return Err(SchemaError::NotProto3 { schema, stated: stated_syntax(&file) });
    }
    check_file(&file).map_err(broken)?;
    file.message_type.iter_mut().for_each(forget_json_names);
    let last = file.message_type.len() - 1;
    let pool = resolve(schema, file)?;
    let found = pool.get_file_by_name(FILE).and_then(|file| file.messages().nth(last));
    let message = found.expect("the file was added, and has this message");
    match schema {
        Schema::Telemetry => check_telemetry(&message).map_err(broken)?,
        Schema::RpcRequest => check_rpc_request(&message).map_err(broken)?,
        Schema::Attributes | Schema::RpcResponse => {}
    }
    Ok(message)
}

/// How deep blocks are nested; what stands in texts and comments does not count.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        match first {
            b'{' | b'[' | b'<' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' | b'>' => depth = depth.saturating_sub(1),
            b'/' if behind.starts_with(b"/") => rest = behind_end(behind, b"\n"),
            b'/' if behind.starts_with(b"*") => rest = behind_end(behind, b"*/"),
            quote @ (b'"' | b'\'') => rest = behind_text(behind, *quote),
            _ => {}
        }
    }
    deepest
}

fn behind_end<'a>(bytes: &'a [u8], end: &[u8]) -> &'a [u8] {
    let at = bytes.windows(end.len()).position(|window| window == end);
    at.and_then(|at| bytes.get(at + end.len()..)).unwrap_or_default()
}

/// A text ends at its quote, and no later than its line.
fn behind_text(mut bytes: &[u8], quote: u8) -> &[u8] {
    while let [first, behind @ ..] = bytes {
        bytes = behind;
        match first {
            b'\\' => bytes = behind.get(1..).unwrap_or_default(),
            b'\n' => break,
            end if *end == quote => break,
            _ => {}
        }
    }
    bytes
}

fn parse(schema: Schema, text: &str) -> Result<FileDescriptorProto, SchemaError> {
    let error = match protox_parse::parse(FILE, text) {
        Ok(file) => return Ok(file),
        Err(error) => error,
    };
    // Without a syntax it was read as proto2. Where it would be proto3, that is what is missing.
    if protox_parse::parse(FILE, &format!("syntax = \"proto3\";{text}")).is_ok() {
        return Err(SchemaError::NotProto3 { schema, stated: None });
    }
    let span = error.span();
    let start = span.as_ref().map_or(text.len(), |span| span.start);
    let (line, column) = position(text, start);
    let word = span.and_then(|span| text.get(span)).unwrap_or_default();
    if is_group(word) {
        let before = text.get(..start).unwrap_or_default();
        let place = if is_in_oneof(before) { "OneOf" } else { "Message" };
        let rule = format!("{place} definition groups don't support! (line {line}, column {column})");
        return Err(SchemaError::Rule { schema, rule });
    }
    let reason = match word {
        "required" => "'required' label forbidden in proto3 field declarations".to_owned(),
        _ => error.to_string(),
    };
    Err(SchemaError::Syntax { schema, line, column, reason })
}

/// `group` or a label before it is how the field begins.
fn is_group(field: &str) -> bool {
    let mut words = field.split_whitespace();
    match words.next() {
        Some("group") => true,
        Some("optional" | "repeated") => words.next() == Some("group"),
        Some(_) | None => false,
    }
}

/// The innermost block that is open at the end of the text is a oneof.
fn is_in_oneof(before: &str) -> bool {
    let mut closed = 0usize;
    for (at, brace) in before.rmatch_indices(['{', '}']) {
        match (brace, closed) {
            ("}", _) => closed += 1,
            (_, 0) => {
                let head = before.get(..at).unwrap_or_default().rsplit(['{', '}', ';']).next();
                return head.is_some_and(|head| head.trim_start().starts_with("oneof"));
            }
            _ => closed -= 1,
        }
    }
    false
}

/// Line and column of a byte, both from 1.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// The parser leaves proto2 out, as it is the default; that it was stated is known from where it stands.
fn stated_syntax(file: &FileDescriptorProto) -> Option<String> {
    const SYNTAX: i32 = 12;
    let mut places = file.source_code_info.iter().flat_map(|info| &info.location);
    let is_stated = places.any(|place| place.path == [SYNTAX]);
    file.syntax.clone().or_else(|| is_stated.then(|| "proto2".to_owned()))
}

fn check_file(file: &FileDescriptorProto) -> Result<(), String> {
    let well_known = DescriptorPool::global();
    for (index, import) in file.dependency.iter().enumerate() {
        if well_known.get_file_by_name(import).is_some() {
            continue;
        }
        let is_public = file.public_dependency.iter().any(|public| usize::try_from(*public) == Ok(index));
        let kind = if is_public { "Schema public imports" } else { "Schema imports" };
        return Err(format!(
            "{kind} don't support! ('{import}': only the well-known types can be imported, as \
             'google/protobuf/timestamp.proto')"
        ));
    }
    if !file.extension.iter().all(extends_options) {
        return Err("Schema extend declarations don't support!".into());
    }
    if file.message_type.is_empty() {
        return Err(if file.enum_type.is_empty() && file.service.is_empty() && file.extension.is_empty() {
            "Type elements is empty!".into()
        } else {
            "At least one Message definition should exists!".into()
        });
    }
    file.message_type.iter().try_for_each(check_message)
}

fn check_message(message: &DescriptorProto) -> Result<(), String> {
    if !message.extension_range.is_empty() {
        return Err("Message definition extensions don't support!".into());
    }
    if !message.extension.iter().all(extends_options) {
        return Err("Schema extend declarations don't support!".into());
    }
    message.nested_type.iter().try_for_each(check_message)
}

/// In proto3 only options can be extended.
fn extends_options(extension: &FieldDescriptorProto) -> bool {
    let extended = extension.extendee().trim_start_matches('.');
    extended.starts_with("google.protobuf.") && extended.ends_with("Options")
}

/// Names in JSON come from the names of the fields alone (device API §9).
fn forget_json_names(message: &mut DescriptorProto) {
    message.field.iter_mut().for_each(|field| field.json_name = None);
    message.nested_type.iter_mut().for_each(forget_json_names);
}

/// All types known, and what the parser alone cannot see checked.
fn resolve(schema: Schema, file: FileDescriptorProto) -> Result<DescriptorPool, SchemaError> {
    let well_known = DescriptorPool::global();
    let mut pool = DescriptorPool::new();
    for import in &file.dependency {
        add_well_known(&well_known, import, &mut pool).map_err(|error| at(schema, &error))?;
    }
    pool.add_file_descriptor_proto(file).map_err(|error| at(schema, &error))?;
    Ok(pool)
}

/// Only the files that are imported, so that a schema without imports keeps none in memory.
fn add_well_known(
    from: &DescriptorPool,
    name: &str,
    pool: &mut DescriptorPool,
) -> Result<(), DescriptorError> {
    if pool.get_file_by_name(name).is_some() {
        return Ok(());
    }
    let file = from.get_file_by_name(name).expect("the imports of a checked schema are known");
    for import in &file.file_descriptor_proto().dependency {
        add_well_known(from, import, pool)?;
    }
    pool.add_file_descriptor_proto(file.file_descriptor_proto().clone())
}

fn at(schema: Schema, error: &DescriptorError) -> SchemaError {
    let from_1 = |place: Option<usize>| place.map_or(1, |place| place + 1);
    let (line, column) = (from_1(error.line()), from_1(error.column()));
    SchemaError::Syntax { schema, line, column, reason: error.to_string() }
}

/// A message of just `ts` and `values` is a timestamped record, and has to look like one.
fn check_telemetry(message: &MessageDescriptor) -> Result<(), String> {
    if message.fields().len() == 0 {
        return Err(format!("{} fields is empty!", message.name()));
    }
    let (Some(ts), Some(values)) = (message.get_field_by_name("ts"), message.get_field_by_name("values"))
    else {
        return Ok(());
    };
    if message.fields().len() > 2 {
        return Ok(());
    }
    if !matches!(values.kind(), Kind::Message(_)) {
        return Err("Field 'values' has invalid data type. Only message type is supported!".into());
    }
    if !matches!(ts.kind(), Kind::Int64) {
        return Err("Field 'ts' has invalid data type. Only int64 type is supported!".into());
    }
    if !ts.supports_presence() || ts.is_list() {
        return Err("Field 'ts' has invalid label. Field 'ts' should have optional keyword!".into());
    }
    Ok(())
}

fn check_rpc_request(message: &MessageDescriptor) -> Result<(), String> {
    if message.fields().len() != 3 {
        let name = message.name();
        return Err(format!("{name} message should always contains 3 fields: method, requestId and params!"));
    }
    let check = |name: &str, expected: Option<(&str, Kind)>| {
        let field: FieldDescriptor = message
            .get_field_by_name(name)
            .ok_or_else(|| format!("Failed to get field descriptor for field: {name}!"))?;
        if let Some((word, kind)) = expected
            && field.kind() != kind
        {
            return Err(format!("Field '{name}' has invalid data type. Only {word} type is supported!"));
        }
        if field.is_list() { Err(format!("Field '{name}' has invalid label!")) } else { Ok(()) }
    };
    check("method", Some(("string", Kind::String)))?;
    check("requestId", Some(("int32", Kind::Int32)))?;
    check("params", None)
}
