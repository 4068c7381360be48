//! Protobuf payloads: by the schemas of a profile, and the fixed messages of the device API (§9).
//!
//! Read in this order: from the text of a schema to a message and what is refused on the way (`schema.rs`), what a
//! message becomes, field by field (`shape.rs`), bytes to samples (`read.rs`), what is printed as JSON (`print.rs`), JSON
//! into a message (`fill.rs`), the messages that every profile knows (`fixed.rs`, those of gateways: `gateway.rs`), and
//! those of Sparkplug B (`sparkplug.rs`).
//!
//! It guards that a value is what printing the message as proto3 JSON and reading that JSON by device API §8 would make of
//! it, without the text in between, and that no payload can panic, nest or grow without bound. Two things are better than
//! that detour: a `float` or `double` is always a double, and `bytes` are always a text.
//!
//! Not here: which topic is read how (`mqtt`), where a profile's schemas are kept (`device`).
#![warn(missing_docs)]

mod fill;
mod fixed;
mod gateway;
mod print;
mod read;
mod schema;
mod shape;
mod sparkplug;

pub use fixed::{
    attribute_request, claim, client_rpc, provision_request, write_attribute_delete,
    write_attribute_response, write_attribute_update, write_client_rpc_answer, write_provision_response,
};
pub use gateway::{
    gateway_attribute_request, gateway_attributes, gateway_claim, gateway_connect, gateway_disconnect,
    gateway_part_payloads, gateway_rpc_response, gateway_telemetry, write_gateway_attribute_delete,
    write_gateway_attribute_response, write_gateway_attribute_update, write_gateway_disconnect,
    write_gateway_rpc_request,
};
pub use schema::{Schema, SchemaError};
pub use sparkplug::{
    BD_SEQ, DataType, SparkplugCommand, SparkplugMetric, SparkplugPayload, SparkplugValues, sparkplug_params,
    sparkplug_wrapped,
};

use prost_reflect::{DynamicMessage, MessageDescriptor};
use wireglot_model::protobuf::{RPC_REQUEST_SCHEMA, RPC_RESPONSE_SCHEMA};
use wireglot_model::{Measurement, Sample, SchemaTexts};

use crate::print::Printer;
use crate::shape::{AliasNames, Shape};

/// Why a payload is not the message that is due, or a message cannot be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProtoRefusal {
    /// Nobody has said what the bytes mean.
    #[error("the profile has no {0}")]
    NoSchema(Schema),
    /// The bytes are not this message.
    #[error("not the protobuf message {message}: {problem}")]
    Malformed {
        /// Its full name.
        message: String,
        /// What is wrong.
        problem: String,
    },
    /// The message is valid and says what cannot be.
    #[error("{message}.{field}: {problem}")]
    Content {
        /// Its full name.
        message: String,
        /// Which field.
        field: String,
        /// What is wrong.
        problem: String,
    },
}

impl ProtoRefusal {
    pub(crate) fn malformed(message: &str, problem: impl ToString) -> Self {
        Self::Malformed { message: message.to_owned(), problem: problem.to_string() }
    }

    pub(crate) fn content(message: &str, field: &str, problem: impl ToString) -> Self {
        Self::Content { message: message.to_owned(), field: field.to_owned(), problem: problem.to_string() }
    }
}

/// The schemas of a profile, made ready. Shared by all workers.
#[derive(Debug)]
pub struct ProtoSchemas {
    telemetry: Option<Shape>,
    attributes: Option<Shape>,
    rpc_request: MessageDescriptor,
    rpc_response: (MessageDescriptor, AliasNames),
}

impl ProtoSchemas {
    /// Compiles all four, in the order of device profile §4.4.
    pub fn compile(texts: &SchemaTexts) -> Result<Self, SchemaError> {
        let shape = |schema, text: &Option<String>| match text.as_deref() {
            None => Ok(None),
            Some(text) => schema::compile(schema, text).map(Shape::new).map(Some),
        };
        let attributes = shape(Schema::Attributes, &texts.attributes)?;
        let telemetry = shape(Schema::Telemetry, &texts.telemetry)?;
        let rpc_request = texts.rpc_request.as_deref().unwrap_or(RPC_REQUEST_SCHEMA);
        let rpc_request = schema::compile(Schema::RpcRequest, rpc_request)?;
        let rpc_response = texts.rpc_response.as_deref().unwrap_or(RPC_RESPONSE_SCHEMA);
        let rpc_response = schema::compile(Schema::RpcResponse, rpc_response)?;
        let names = AliasNames::of(rpc_response.parent_pool());
        Ok(Self { telemetry, attributes, rpc_request, rpc_response: (rpc_response, names) })
    }

    /// Telemetry. A message without values gives an empty list.
    pub fn telemetry(&self, payload: &[u8]) -> Result<Vec<Measurement>, ProtoRefusal> {
        let shape = self.telemetry.as_ref().ok_or(ProtoRefusal::NoSchema(Schema::Telemetry))?;
        let measurement = read::measurement(shape, payload)?;
        Ok(if measurement.samples.is_empty() { Vec::new() } else { vec![measurement] })
    }

    /// Client attributes.
    pub fn attributes(&self, payload: &[u8]) -> Result<Vec<Sample>, ProtoRefusal> {
        let shape = self.attributes.as_ref().ok_or(ProtoRefusal::NoSchema(Schema::Attributes))?;
        read::samples(shape, payload)
    }

    /// What a device answers to a server-side RPC, as JSON text.
    pub fn rpc_response(&self, payload: &[u8]) -> Result<String, ProtoRefusal> {
        let (descriptor, names) = &self.rpc_response;
        let malformed = |problem: String| ProtoRefusal::malformed(descriptor.full_name(), problem);
        let message = DynamicMessage::decode(descriptor.clone(), payload)
            .map_err(|error| malformed(error.to_string()))?;
        let mut out = String::new();
        Printer::new(names).message(&message, &mut out).map_err(|problem| malformed(problem.to_owned()))?;
        Ok(out)
    }

    /// A server-side RPC (device API §12.2). `params` is JSON text. The error says what of it does not fit the schema.
    pub fn rpc_request(&self, id: i32, method: &str, params: &str) -> Result<Vec<u8>, ProtoRefusal> {
        fill::rpc_request(&self.rpc_request, id, method, params)
    }
}

#[cfg(test)]
mod tests;
