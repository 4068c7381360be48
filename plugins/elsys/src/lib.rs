//! Elsys' payload: type, value, again and again; big-endian but for the position.
//!
//! A frame that begins with 0x3E carries a device's settings instead; they become client attributes. The same form goes
//! down to the device to change them.

use wireglot_sdk::ValueType::{Boolean, Double, Json, Long, Text};
use wireglot_sdk::{
    hex, keys, malformed, unsupported, Codec, Command, Decoded, Downlink, Metadata, Outgoing, Reader,
    Refusal, Report, Settings, Uplink,
};

mod settings;

struct Elsys;

wireglot_sdk::export!(Elsys);

/// How the value of a type is read.
enum Read {
    U8,
    I8,
    U16,
    I16,
    /// Tenths.
    Tenths,
    U32,
    I32,
    /// Thousandths of 32 bits.
    Thousandths,
    Flag,
    Hex4,
}

/// Types with one value: type, key, how it is read. The others are in [`decode_special`].
const TYPES: &[(u8, &str, Read)] = &[
    (0x01, "temperature", Read::Tenths),
    (0x02, "humidity", Read::U8),
    (0x04, "light", Read::U16),
    (0x05, "pir", Read::U8),
    (0x06, "co2", Read::U16),
    (0x07, "vdd", Read::U16),
    (0x08, "analog1", Read::U16),
    (0x0a, "pulse1", Read::U16),
    (0x0b, "pulseAbs", Read::U32),
    (0x0c, "externalTemperature", Read::Tenths),
    (0x0d, "digital", Read::U8),
    (0x0e, "distance", Read::U16),
    (0x0f, "accMotion", Read::U8),
    (0x11, "occupancy", Read::U8),
    (0x12, "waterleak", Read::U8),
    (0x14, "pressure", Read::Thousandths),
    (0x16, "pulse2", Read::U16),
    (0x17, "pulseAbs2", Read::U32),
    (0x18, "analog2", Read::U16),
    (0x1a, "digital2", Read::U8),
    (0x1b, "analogUv", Read::I32),
    (0x1c, "tvoc", Read::U16),
    (0x1d, "iaq", Read::U8),
    (0x1e, "genericBool", Read::Flag),
    (0x1f, "genericInt8", Read::I8),
    (0x20, "genericInt16", Read::I16),
    (0x21, "view", Read::U8),
    (0x22, "setpoint", Read::Tenths),
    (0x23, "speed", Read::U8),
    (0x24, "externalHumidity", Read::U8),
    (0x3c, "crc", Read::Hex4),
    (0x3d, "debug", Read::U32),
];

const SETTINGS_HEADER: u8 = 0x3e;
/// Settings go down on this port.
const SETTINGS_PORT: &str = "6";

impl Codec for Elsys {
    fn describe() -> Metadata {
        Metadata {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            vendor: "Elsys".into(),
            summary:
                "Elsys sensors (ERS, ERS2, EMS, ELT, ESM5k, ERS Eye, Sound, Desk, TVOC) and their settings"
                    .into(),
            keys: keys(&[
                ("temperature", Double, "Cel", "Temperature"),
                ("humidity", Long, "%", "Relative humidity"),
                ("x", Long, "", "Acceleration, x; 63 is 1 g"),
                ("y", Long, "", "Acceleration, y; 63 is 1 g"),
                ("z", Long, "", "Acceleration, z; 63 is 1 g"),
                ("light", Long, "lx", "Light"),
                ("pir", Long, "", "Motion count"),
                ("co2", Long, "ppm", "Carbon dioxide"),
                ("vdd", Long, "mV", "Battery voltage"),
                ("analog1", Long, "mV", "Analog input 1"),
                ("lat", Double, "deg", "Latitude"),
                ("long", Double, "deg", "Longitude"),
                ("pulse1", Long, "", "Pulses of input 1 since the last report"),
                ("pulseAbs", Long, "", "Pulses of input 1"),
                ("externalTemperature*", Double, "Cel", "External temperature"),
                ("digital", Long, "", "Digital input 1"),
                ("distance", Long, "mm", "Distance"),
                ("accMotion", Long, "", "Movements"),
                ("irInternalTemperature", Double, "Cel", "Infrared sensor, internal"),
                ("irExternalTemperature", Double, "Cel", "Infrared sensor, external"),
                ("occupancy", Long, "", "Occupancy: 0 none, 1 pending, 2 occupied"),
                ("waterleak", Long, "", "Water leak"),
                ("grideye", Json, "Cel", "64 temperatures of the infrared array"),
                ("pressure", Double, "hPa", "Air pressure"),
                ("soundPeak", Long, "dB", "Sound, peak"),
                ("soundAvg", Long, "dB", "Sound, average"),
                ("pulse2", Long, "", "Pulses of input 2 since the last report"),
                ("pulseAbs2", Long, "", "Pulses of input 2"),
                ("analog2", Long, "mV", "Analog input 2"),
                ("digital2", Long, "", "Digital input 2"),
                ("analogUv", Long, "uV", "Load cell"),
                ("tvoc", Long, "ppb", "Volatile organic compounds"),
                ("iaq", Long, "", "Air quality index"),
                ("genericBool", Boolean, "", "Generic flag"),
                ("genericInt*", Long, "", "Generic number"),
                ("view", Long, "", "Shown view of the display"),
                ("setpoint", Double, "Cel", "Thermostat setpoint"),
                ("speed", Long, "", "Fan speed"),
                ("externalHumidity", Long, "%", "External humidity"),
                ("bytes", Text, "", "Raw bytes as hexadecimal digits"),
                ("crc", Text, "", "Checksum as hexadecimal digits"),
                ("debug", Long, "", "Debug information"),
                ("settings_*", Long, "", "Attribute: a setting of the device, numbers"),
                ("settings_*", Text, "", "Attribute: a setting of the device, other"),
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
        if frame.peek() == Some(SETTINGS_HEADER) {
            settings::decode(&mut frame, &mut report)?;
            return Ok(report.into());
        }
        let mut probes = 0;
        while !frame.is_empty() {
            let offset = frame.offset();
            let type_id = frame.u8("type")?;
            if let Some((_, key, read)) = TYPES.iter().find(|(known, ..)| *known == type_id) {
                decode_value(&mut frame, &mut report, key, read)?;
            } else if !decode_special(&mut frame, &mut report, type_id, &mut probes)? {
                let remark =
                    format!("offset {offset}: type 0x{} is unknown, and so is its length", hex(&[type_id]));
                if report.now.is_empty() {
                    return Err(unsupported(remark));
                }
                report.warn(remark);
                break;
            }
        }
        Ok(report.into())
    }

    fn encode(&self, downlink: Downlink) -> Result<Vec<Outgoing>, Refusal> {
        let Command::RpcRequest(request) = downlink.command else {
            return Err(unsupported("only RPC requests reach an Elsys device"));
        };
        let params = Settings::parse(&request.params).map_err(malformed)?;
        let payload = match request.method.as_str() {
            "setSettings" => settings::encode(&params)?,
            "reboot" => settings::reboot(),
            other => {
                return Err(unsupported(format!("method setSettings or reboot expected, \"{other}\" found")))
            }
        };
        Ok(vec![Outgoing { topic: None, payload, metadata: vec![("fPort".into(), SETTINGS_PORT.into())] }])
    }
}

fn decode_value(frame: &mut Reader<'_>, report: &mut Report, key: &str, read: &Read) -> Result<(), Refusal> {
    let values = &mut report.now;
    match read {
        Read::U8 => values.long(key, frame.u8(key)?),
        Read::I8 => values.long(key, frame.i8(key)?),
        Read::U16 => values.long(key, frame.u16_be(key)?),
        Read::I16 => values.long(key, frame.i16_be(key)?),
        Read::Tenths => values.decimal(key, frame.i16_be(key)?, 1),
        Read::U32 => values.long(key, frame.u32_be(key)?),
        Read::I32 => values.long(key, frame.i32_be(key)?),
        Read::Thousandths => values.decimal(key, frame.u32_be(key)?, 3),
        Read::Flag => values.boolean(key, frame.u8(key)? != 0),
        Read::Hex4 => values.text(key, hex(frame.bytes(4, key)?)),
    };
    Ok(())
}

/// Types that hold several values or a list; false where the type is unknown.
fn decode_special(
    frame: &mut Reader<'_>,
    report: &mut Report,
    type_id: u8,
    probes: &mut u32,
) -> Result<bool, Refusal> {
    let values = &mut report.now;
    match type_id {
        0x03 => {
            for axis in ["x", "y", "z"] {
                values.long(axis, frame.i8("acceleration")?);
            }
        }
        // The one little-endian type.
        0x09 => {
            for key in ["lat", "long"] {
                values.decimal(key, frame.i24_le("position")?, 4);
            }
        }
        0x10 => {
            for key in ["irInternalTemperature", "irExternalTemperature"] {
                values.decimal(key, frame.i16_be(key)?, 1);
            }
        }
        0x13 => {
            let grid = frame.bytes(65, "infrared array")?;
            values.json("grideye", grid_json(grid));
        }
        0x15 => {
            values.long("soundPeak", frame.u8("sound peak")?).long("soundAvg", frame.u8("sound average")?);
        }
        // Comes once per probe of a chain: 2, 3, 4 and so on.
        0x19 => {
            let raw = frame.i16_be("external temperature 2")?;
            values.decimal(&format!("externalTemperature{}", *probes + 2), raw, 1);
            *probes += 1;
        }
        0x3b => {
            let length = frame.u8("length of bytes")?;
            values.text("bytes", hex(frame.bytes(usize::from(length), "bytes")?));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// A reference in whole degrees, then 64 pixels in tenths above it.
fn grid_json(grid: &[u8]) -> String {
    let mut text = String::from("[");
    let reference = u32::from(grid.first().copied().unwrap_or_default()) * 10;
    for (index, pixel) in grid.iter().skip(1).enumerate() {
        let tenths = reference + u32::from(*pixel);
        let comma = if index == 0 { "" } else { "," };
        text.push_str(&format!("{comma}{}.{}", tenths / 10, tenths % 10));
    }
    text.push(']');
    text
}

#[cfg(test)]
wireglot_sdk::vectors!(Elsys);

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, params: &str, expected: Option<&str>) {
        let command = Command::RpcRequest(wireglot_sdk::RpcRequest {
            id: 1,
            method: method.into(),
            params: params.into(),
        });
        let downlink = Downlink {
            device: None,
            command,
            connected_device: "ers".into(),
            profile: "elsys".into(),
            now_ms: 0,
            metadata: Vec::new(),
        };
        let found = Elsys.encode(downlink).ok().map(|list| hex(&list[0].payload));
        assert_eq!(found.as_deref(), expected, "{method} {params}");
    }

    #[test]
    fn commands_become_settings_frames() {
        check("setSettings", r#"{"splPer":600}"#, Some("3e051400000258"));
        check("setSettings", r#"{"sendPer":2,"ack":true,"plan":3}"#, Some("3e090a011f000000022503"));
        check("reboot", "null", Some("3e01fe"));
    }

    #[test]
    fn broken_commands_are_refused() {
        for params in
            ["{}", r#"{"appKey":1}"#, r#"{"port":256}"#, r#"{"splPer":"often"}"#, r#"{"splPer":-1}"#]
        {
            check("setSettings", params, None);
        }
        check("explode", "{}", None);
    }
}
