//! A protobuf message of eight values: read by the schema of a profile, and by a structure that was compiled for it.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use prost::Message as _;
use wireglot_model::{Measurement, Sample, SchemaTexts, Value};
use wireglot_proto::ProtoSchemas;

use super::nanoseconds_each;

/// The usual mix: reals, counters, a state and a text.
const SCHEMA: &str = "syntax = \"proto3\";
message Reading {
  double temperature = 1; float humidity = 2; double pressure = 3; int64 counter = 4; int32 battery = 5;
  bool is_open = 6; string firmware = 7; sint32 rssi = 8;
}";

#[derive(Clone, PartialEq, prost::Message)]
struct Reading {
    #[prost(double, tag = "1")]
    temperature: f64,
    #[prost(float, tag = "2")]
    humidity: f32,
    #[prost(double, tag = "3")]
    pressure: f64,
    #[prost(int64, tag = "4")]
    counter: i64,
    #[prost(int32, tag = "5")]
    battery: i32,
    #[prost(bool, tag = "6")]
    is_open: bool,
    #[prost(string, tag = "7")]
    firmware: String,
    #[prost(sint32, tag = "8")]
    rssi: i32,
}

pub(crate) struct Subject {
    schemas: ProtoSchemas,
    payload: Vec<u8>,
}

impl Subject {
    /// Both sides give the same, or the comparison says nothing.
    pub(crate) fn new() -> Result<Self> {
        let texts = SchemaTexts { telemetry: Some(SCHEMA.to_owned()), ..SchemaTexts::default() };
        let reading = Reading {
            temperature: 21.5,
            humidity: 48.5,
            pressure: 1_013.25,
            counter: 1_234_567,
            battery: 87,
            is_open: true,
            firmware: "v1.8.2-rc1".to_owned(),
            rssi: -71,
        };
        let subject = Self { schemas: ProtoSchemas::compile(&texts)?, payload: reading.encode_to_vec() };
        let (one, other) = (subject.by_schema()?, subject.by_prost()?);
        ensure!(one == other, "by the schema {one:?}, by prost {other:?}");
        Ok(subject)
    }

    fn by_schema(&self) -> Result<Vec<Measurement>> {
        self.schemas.telemetry(black_box(&self.payload)).map_err(|refusal| anyhow!("{refusal}"))
    }

    fn by_prost(&self) -> Result<Vec<Measurement>> {
        let reading = Reading::decode(black_box(self.payload.as_slice()))?;
        let sample = |key: &str, value| Sample { key: key.to_owned(), value };
        let samples = vec![
            sample("temperature", Value::Double(reading.temperature)),
            sample("humidity", Value::Double(f64::from(reading.humidity))),
            sample("pressure", Value::Double(reading.pressure)),
            sample("counter", Value::Long(reading.counter)),
            sample("battery", Value::Long(i64::from(reading.battery))),
            sample("isOpen", Value::Bool(reading.is_open)),
            sample("firmware", Value::Text(reading.firmware)),
            sample("rssi", Value::Long(i64::from(reading.rssi))),
        ];
        Ok(vec![Measurement { ts: None, samples }])
    }

    pub(crate) fn time_schema(&self, calls: u32) -> Result<f64> {
        let start = Instant::now();
        for _ in 0..calls {
            black_box(self.by_schema()?);
        }
        Ok(nanoseconds_each(start, calls))
    }

    pub(crate) fn time_prost(&self, calls: u32) -> Result<f64> {
        let start = Instant::now();
        for _ in 0..calls {
            black_box(self.by_prost()?);
        }
        Ok(nanoseconds_each(start, calls))
    }
}
