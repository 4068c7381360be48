//! The messages of Sparkplug B, field by field as its schema has them. Fields that nobody reads are left out.

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Payload {
    #[prost(uint64, optional, tag = "1")]
    pub(super) timestamp: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    pub(super) metrics: Vec<Metric>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) seq: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Metric {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    pub(super) alias: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "4")]
    pub(super) datatype: Option<u32>,
    #[prost(bool, optional, tag = "7")]
    pub(super) is_null: Option<bool>,
    #[prost(oneof = "metric::Value", tags = "10, 11, 12, 13, 14, 15, 16, 17, 18")]
    pub(super) value: Option<metric::Value>,
}

pub(super) mod metric {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(in super::super) enum Value {
        #[prost(uint32, tag = "10")]
        Int(u32),
        #[prost(uint64, tag = "11")]
        Long(u64),
        #[prost(float, tag = "12")]
        Float(f32),
        #[prost(double, tag = "13")]
        Double(f64),
        #[prost(bool, tag = "14")]
        Boolean(bool),
        #[prost(string, tag = "15")]
        Text(String),
        #[prost(bytes = "vec", tag = "16")]
        Bytes(Vec<u8>),
        #[prost(message, tag = "17")]
        DataSet(super::DataSet),
        #[prost(message, tag = "18")]
        Template(super::Template),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DataSet {
    #[prost(string, repeated, tag = "2")]
    pub(super) columns: Vec<String>,
    #[prost(uint32, repeated, packed = "false", tag = "3")]
    pub(super) types: Vec<u32>,
    #[prost(message, repeated, tag = "4")]
    pub(super) rows: Vec<Row>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Row {
    #[prost(message, repeated, tag = "1")]
    pub(super) elements: Vec<Element>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Element {
    #[prost(oneof = "element::Value", tags = "1, 2, 3, 4, 5, 6")]
    pub(super) value: Option<element::Value>,
}

pub(super) mod element {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(in super::super) enum Value {
        #[prost(uint32, tag = "1")]
        Int(u32),
        #[prost(uint64, tag = "2")]
        Long(u64),
        #[prost(float, tag = "3")]
        Float(f32),
        #[prost(double, tag = "4")]
        Double(f64),
        #[prost(bool, tag = "5")]
        Boolean(bool),
        #[prost(string, tag = "6")]
        Text(String),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Template {
    #[prost(string, optional, tag = "1")]
    pub(super) version: Option<String>,
    #[prost(message, repeated, tag = "2")]
    pub(super) metrics: Vec<Metric>,
    #[prost(message, repeated, tag = "3")]
    pub(super) parameters: Vec<Parameter>,
    #[prost(string, optional, tag = "4")]
    pub(super) template_ref: Option<String>,
    #[prost(bool, optional, tag = "5")]
    pub(super) is_definition: Option<bool>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Parameter {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(uint32, optional, tag = "2")]
    pub(super) kind: Option<u32>,
    #[prost(oneof = "parameter::Value", tags = "3, 4, 5, 6, 7, 8")]
    pub(super) value: Option<parameter::Value>,
}

pub(super) mod parameter {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(in super::super) enum Value {
        #[prost(uint32, tag = "3")]
        Int(u32),
        #[prost(uint64, tag = "4")]
        Long(u64),
        #[prost(float, tag = "5")]
        Float(f32),
        #[prost(double, tag = "6")]
        Double(f64),
        #[prost(bool, tag = "7")]
        Boolean(bool),
        #[prost(string, tag = "8")]
        Text(String),
    }
}
