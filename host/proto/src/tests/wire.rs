//! A message with a field of each kind, written by another implementation: structures derived at compile time.

use std::collections::BTreeMap;

/// What `Everything` is as a schema; the same text as in the fuzz target.
pub(super) const SCHEMA: &str = super::protobuf_payload::EVERYTHING;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Inner {
    #[prost(int64, tag = "1")]
    pub(super) big: i64,
    #[prost(string, optional, tag = "2")]
    pub(super) note: Option<String>,
    #[prost(double, repeated, tag = "3")]
    pub(super) some_numbers: Vec<f64>,
    #[prost(message, optional, boxed, tag = "4")]
    pub(super) inner: Option<Box<Inner>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Mode {
    Off = 0,
    On = 1,
    Low = -3,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Choice {
    #[prost(int32, tag = "30")]
    Number(i32),
    #[prost(string, tag = "31")]
    Word(String),
    #[prost(message, tag = "32")]
    Thing(Inner),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Everything {
    #[prost(bool, tag = "1")]
    pub(super) b: bool,
    #[prost(int32, tag = "2")]
    pub(super) i32: i32,
    #[prost(int64, tag = "3")]
    pub(super) i64: i64,
    #[prost(uint32, tag = "4")]
    pub(super) u32: u32,
    #[prost(uint64, tag = "5")]
    pub(super) u64: u64,
    #[prost(sint32, tag = "6")]
    pub(super) s32: i32,
    #[prost(sint64, tag = "7")]
    pub(super) s64: i64,
    #[prost(fixed32, tag = "8")]
    pub(super) f32: u32,
    #[prost(fixed64, tag = "9")]
    pub(super) f64: u64,
    #[prost(sfixed32, tag = "10")]
    pub(super) sf32: i32,
    #[prost(sfixed64, tag = "11")]
    pub(super) sf64: i64,
    #[prost(float, tag = "12")]
    pub(super) real: f32,
    #[prost(double, tag = "13")]
    pub(super) long_real: f64,
    #[prost(string, tag = "14")]
    pub(super) some_text: String,
    #[prost(bytes = "vec", tag = "15")]
    pub(super) some_bytes: Vec<u8>,
    #[prost(enumeration = "Mode", tag = "16")]
    pub(super) mode: i32,
    #[prost(message, optional, tag = "17")]
    pub(super) inner: Option<Inner>,
    #[prost(int32, repeated, tag = "18")]
    pub(super) list: Vec<i32>,
    #[prost(string, repeated, tag = "19")]
    pub(super) words: Vec<String>,
    #[prost(message, repeated, tag = "20")]
    pub(super) things: Vec<Inner>,
    #[prost(btree_map = "string, int64", tag = "21")]
    pub(super) counts: BTreeMap<String, i64>,
    #[prost(btree_map = "int32, message", tag = "22")]
    pub(super) by_number: BTreeMap<i32, Inner>,
    #[prost(double, optional, tag = "23")]
    pub(super) maybe: Option<f64>,
    #[prost(message, optional, tag = "24")]
    pub(super) at: Option<prost_types::Timestamp>,
    #[prost(message, optional, tag = "25")]
    pub(super) any_json: Option<prost_types::Value>,
    #[prost(message, optional, tag = "26")]
    pub(super) boxed: Option<prost_types::Struct>,
    #[prost(oneof = "Choice", tags = "30, 31, 32")]
    pub(super) choice: Option<Choice>,
    #[prost(bool, optional, tag = "1000")]
    pub(super) far: Option<bool>,
}

impl Everything {
    pub(super) fn example() -> Self {
        let inner = Inner {
            big: 5,
            note: Some("a \"note\"".into()),
            some_numbers: vec![1.0, 2.5, 1e10],
            inner: Some(Box::default()),
        };
        Self {
            b: true,
            i32: -7,
            i64: i64::MIN,
            u32: u32::MAX,
            u64: u64::MAX,
            s32: -8,
            s64: -9,
            f32: 10,
            f64: 11,
            sf32: -12,
            sf64: -13,
            real: 27.2,
            long_real: 0.1 + 0.2,
            some_text: "hello".into(),
            some_bytes: vec![0xd7, 0x6d, 0xf8],
            mode: Mode::Low as i32,
            inner: Some(inner.clone()),
            list: vec![1, -1, 300],
            words: vec!["25".into(), String::new()],
            things: vec![inner.clone(), Inner::default()],
            counts: BTreeMap::from([("b".into(), 2), ("a".into(), 1)]),
            by_number: BTreeMap::from([(10, Inner::default()), (-2, inner)]),
            maybe: Some(0.0),
            at: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            any_json: Some(prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(42.0)) }),
            boxed: Some(prost_types::Struct {
                fields: BTreeMap::from([
                    (
                        "gone".into(),
                        prost_types::Value { kind: Some(prost_types::value::Kind::NullValue(0)) },
                    ),
                    (
                        "kept".into(),
                        prost_types::Value { kind: Some(prost_types::value::Kind::BoolValue(true)) },
                    ),
                ]),
            }),
            choice: Some(Choice::Word("w".into())),
            far: Some(false),
        }
    }
}
