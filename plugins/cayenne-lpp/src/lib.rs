//! Cayenne Low Power Payload: channel, type, value, again and again; all big-endian.
//!
//! The type alone tells how long its value is, so an unknown type ends what can be read of a frame.

use wireglot_sdk::ValueType::{Double, Long, Text};
use wireglot_sdk::{
    keys, malformed, unsupported, Codec, Command, Decoded, Downlink, Metadata, Outgoing, Reader, Refusal,
    Report, Settings, Uplink,
};

struct CayenneLpp;

wireglot_sdk::export!(CayenneLpp);

/// How the value of a type is read.
enum Read {
    U8,
    /// Half steps: 0.5 % for humidity.
    Half,
    U16(u8),
    I16(u8),
    U32(u8),
    /// Three signed numbers of 16 bits: `_x`, `_y`, `_z`.
    Axes(u8),
    /// Red, green, blue.
    Colour,
    /// Three signed numbers of 24 bits: latitude and longitude in 0.0001 degrees, altitude in 0.01 m.
    Gps,
}

/// Type, name in the key, how it is read. A number in brackets is the count of decimal places.
const TYPES: &[(u8, &str, Read)] = &[
    (0, "digital_input", Read::U8),
    (1, "digital_output", Read::U8),
    (2, "analog_input", Read::I16(2)),
    (3, "analog_output", Read::I16(2)),
    (100, "generic", Read::U32(0)),
    (101, "illuminance", Read::U16(0)),
    (102, "presence", Read::U8),
    (103, "temperature", Read::I16(1)),
    (104, "humidity", Read::Half),
    (113, "accelerometer", Read::Axes(3)),
    (115, "barometer", Read::U16(1)),
    (116, "voltage", Read::U16(2)),
    (117, "current", Read::U16(3)),
    (118, "frequency", Read::U32(0)),
    (120, "percentage", Read::U8),
    (121, "altitude", Read::I16(0)),
    (125, "concentration", Read::U16(0)),
    (128, "power", Read::U16(0)),
    (130, "distance", Read::U32(3)),
    (131, "energy", Read::U32(3)),
    (132, "direction", Read::U16(0)),
    (133, "time", Read::U32(0)),
    (134, "gyrometer", Read::Axes(2)),
    (135, "colour", Read::Colour),
    (136, "gps", Read::Gps),
    (142, "switch", Read::U8),
];

impl Codec for CayenneLpp {
    fn describe() -> Metadata {
        Metadata {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            vendor: "myDevices".into(),
            summary: "Cayenne Low Power Payload with the extended IPSO types; actuator commands".into(),
            keys: keys(&[
                ("digital_input_*", Long, "", "Digital input"),
                ("digital_output_*", Long, "", "Digital output"),
                ("analog_input_*", Double, "", "Analog input"),
                ("analog_output_*", Double, "", "Analog output"),
                ("generic_*", Long, "", "Generic sensor"),
                ("illuminance_*", Long, "lx", "Illuminance"),
                ("presence_*", Long, "", "Presence"),
                ("temperature_*", Double, "Cel", "Temperature"),
                ("humidity_*", Double, "%", "Relative humidity"),
                ("accelerometer_*_*", Double, "[g]", "Acceleration by axis"),
                ("barometer_*", Double, "hPa", "Air pressure"),
                ("voltage_*", Double, "V", "Voltage"),
                ("current_*", Double, "A", "Current"),
                ("frequency_*", Long, "Hz", "Frequency"),
                ("percentage_*", Long, "%", "Percentage"),
                ("altitude_*", Long, "m", "Altitude"),
                ("concentration_*", Long, "ppm", "Concentration"),
                ("power_*", Long, "W", "Power"),
                ("distance_*", Double, "m", "Distance"),
                ("energy_*", Double, "kW.h", "Energy"),
                ("direction_*", Long, "deg", "Direction"),
                ("time_*", Long, "s", "Seconds since 1970"),
                ("gyrometer_*_*", Double, "deg/s", "Rotation by axis"),
                ("colour_*", Text, "", "Colour as #rrggbb"),
                ("gps_*_latitude", Double, "deg", "Latitude"),
                ("gps_*_longitude", Double, "deg", "Longitude"),
                ("gps_*_altitude", Double, "m", "Altitude"),
                ("switch_*", Long, "", "Switch"),
            ]),
            encodes: true,
        }
    }

    fn configure(settings: &Settings) -> Result<Self, String> {
        settings.only(&[])?;
        Ok(Self)
    }

    fn decode(&self, uplink: Uplink) -> Result<Decoded, Refusal> {
        let mut frame = Reader::new(&uplink.payload);
        let mut report = Report::new();
        while !frame.is_empty() {
            let channel = frame.u8("channel")?;
            let offset = frame.offset();
            let type_id = frame.u8("type")?;
            let Some((_, name, read)) = TYPES.iter().find(|(known, ..)| *known == type_id) else {
                let remark = format!("offset {offset}: type {type_id} is unknown, and so is its length");
                if report.now.is_empty() {
                    return Err(unsupported(remark));
                }
                report.warn(remark);
                break;
            };
            decode_value(&mut frame, &mut report, &format!("{name}_{channel}"), read)?;
        }
        Ok(report.into())
    }

    fn encode(&self, downlink: Downlink) -> Result<Vec<Outgoing>, Refusal> {
        let Command::RpcRequest(request) = downlink.command else {
            return Err(unsupported("only RPC requests reach a Cayenne device"));
        };
        let params = Settings::parse(&request.params).map_err(malformed)?;
        match request.method.as_str() {
            "setOutput" => set_output(&params),
            "setPeriod" => set_period(&params),
            other => Err(unsupported(format!("method setOutput or setPeriod expected, \"{other}\" found"))),
        }
        .map(|outgoing| vec![outgoing])
    }
}

fn decode_value(frame: &mut Reader<'_>, report: &mut Report, key: &str, read: &Read) -> Result<(), Refusal> {
    let values = &mut report.now;
    match *read {
        Read::U8 => values.long(key, frame.u8(key)?),
        Read::Half => values.decimal(key, i64::from(frame.u8(key)?) * 5, 1),
        Read::U16(0) => values.long(key, frame.u16_be(key)?),
        Read::U16(places) => values.decimal(key, frame.u16_be(key)?, places),
        Read::I16(0) => values.long(key, frame.i16_be(key)?),
        Read::I16(places) => values.decimal(key, frame.i16_be(key)?, places),
        Read::U32(0) => values.long(key, frame.u32_be(key)?),
        Read::U32(places) => values.decimal(key, frame.u32_be(key)?, places),
        Read::Axes(places) => {
            for axis in ["x", "y", "z"] {
                values.decimal(&format!("{key}_{axis}"), frame.i16_be(key)?, places);
            }
            values
        }
        Read::Colour => values.text(key, format!("#{}", wireglot_sdk::hex(frame.bytes(3, key)?))),
        Read::Gps => {
            for (field, places) in [("latitude", 4), ("longitude", 4), ("altitude", 2)] {
                values.decimal(&format!("{key}_{field}"), frame.i24_be(key)?, places);
            }
            values
        }
    };
    Ok(())
}

/// `{"channel": 3, "value": 1}`: channel, value in hundredths, end mark.
fn set_output(params: &Settings) -> Result<Outgoing, Refusal> {
    let channel =
        params.integer("channel").map_err(malformed)?.and_then(|channel| u8::try_from(channel).ok());
    let channel = channel.ok_or_else(|| malformed("\"channel\" from 0 to 255 expected"))?;
    let hundredths = match params.boolean("value") {
        Ok(on) => on.map(|on| i64::from(on) * 100),
        Err(_) => params.scaled("value", 2).map_err(malformed)?,
    };
    let value = hundredths.and_then(|value| i16::try_from(value).ok());
    let value = value.ok_or_else(|| malformed("\"value\" from -327.68 to 327.67, true or false expected"))?;
    let [high, low] = value.to_be_bytes();
    Ok(outgoing("10", vec![channel, high, low, 0xff]))
}

/// `{"seconds": 600}`: how often the device reports.
fn set_period(params: &Settings) -> Result<Outgoing, Refusal> {
    let seconds =
        params.integer("seconds").map_err(malformed)?.and_then(|seconds| u16::try_from(seconds).ok());
    let seconds = seconds.ok_or_else(|| malformed("\"seconds\" from 0 to 65535 expected"))?;
    Ok(outgoing("11", seconds.to_be_bytes().to_vec()))
}

/// Cayenne tells commands apart by their port.
fn outgoing(port: &str, payload: Vec<u8>) -> Outgoing {
    Outgoing { topic: None, payload, metadata: vec![("fPort".into(), port.into())] }
}

#[cfg(test)]
wireglot_sdk::vectors!(CayenneLpp);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, params: &str, expected: Option<(&str, &[u8])>) {
        let command = Command::RpcRequest(wireglot_sdk::RpcRequest {
            id: 1,
            method: method.into(),
            params: params.into(),
        });
        let downlink = Downlink {
            device: None,
            command,
            connected_device: "node".into(),
            profile: "lpp".into(),
            now_ms: 0,
            metadata: Vec::new(),
        };
        let found = CayenneLpp.encode(downlink).ok().and_then(|mut list| list.pop());
        let found = found.as_ref().map(|out| (out.metadata[0].1.as_str(), out.payload.as_slice()));
        assert_eq!(found, expected, "{method} {params}");
    }

    #[test]
    fn commands_become_frames() {
        check("setOutput", r#"{"channel":3,"value":1}"#, Some(("10", &[3, 0, 100, 0xff])));
        check("setOutput", r#"{"channel":3,"value":true}"#, Some(("10", &[3, 0, 100, 0xff])));
        check("setOutput", r#"{"channel":255,"value":-0.5}"#, Some(("10", &[255, 0xff, 0xce, 0xff])));
        check("setPeriod", r#"{"seconds":600}"#, Some(("11", &[2, 88])));
    }

    #[test]
    fn broken_commands_are_refused() {
        for params in
            ["null", "[]", r#"{"channel":256,"value":1}"#, r#"{"channel":1}"#, r#"{"channel":1,"value":400}"#]
        {
            check("setOutput", params, None);
        }
        check("setPeriod", r#"{"seconds":-1}"#, None);
        check("explode", "{}", None);
    }
}
