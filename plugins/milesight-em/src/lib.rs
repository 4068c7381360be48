//! Milesight's EM series (environment monitoring): channel, type, value, again and again; little-endian.
//!
//! Models share a few channels with different meanings and lay out their records of the past differently; the setting
//! `model` tells. Without it a shared channel is read by its neighbours, and records are refused.

use wireglot_sdk::ValueType::{Double, Long, Text};
use wireglot_sdk::{
    keys, malformed, unsupported, Codec, Decoded, Downlink, Metadata, Outgoing, Reader, Refusal, Report,
    Samples, Settings, Uplink,
};

// What all Milesight devices share has one home, beside the AM series.
#[path = "../../milesight-am/src/device.rs"]
mod device;
mod model;
mod nb_iot;

use device::state;
use model::{Contact, Field, Model};

struct MilesightEm {
    /// None: not set.
    model: Option<Model>,
}

wireglot_sdk::export!(MilesightEm);

/// Keys and how their values are read, in the order of the frame.
type Fields = &'static [(&'static str, Read)];
/// Channel, type, and the values it holds.
type Channel = (u8, u8, Fields);

/// How the value of a channel is read.
enum Read {
    U8,
    /// Half steps: 0.5 % for humidity.
    Half,
    U16(u8),
    I16(u8),
    U32,
    Temperature,
    /// Hundredths; the two highest numbers are errors.
    Moisture,
    Conductivity,
    State(&'static [&'static str]),
    /// A 32-bit float, shown with two decimals.
    Float,
}

const POSITION: &[&str] = &["normal", "tilt"];
const LEAK: &[&str] = &["normal", "leak"];
const LEVEL: &[&str] = &["low", "high"];
const MAGNET: &[&str] = &["close", "open"];
const THRESHOLD: &[&str] = &["normal", "trigger"];
const LIQUID: &[&str] = &["uncalibrated", "full", "critical liquid level alert"];
const LIQUID_ALARM: &[&str] = &["critical liquid level alarm release", "critical liquid level alarm"];
const ALARM: &[&str] = &["threshold alarm release", "threshold alarm", "mutation alarm"];
const INPUT_ALARM: &[&str] = &["gpio alarm release", "gpio alarm"];
const WATER_ALARM: &[&str] = &[
    "none",
    "water outage timeout alarm",
    "water outage timeout alarm release",
    "water flow timeout alarm",
    "water flow timeout alarm release",
    "gpio alarm",
    "gpio alarm release",
];
const EXCEPTION: &[&str] = &["blind alarm release", "blind alarm", "no target", "sensor exception"];

const WATER: Fields = &[("water_conv", Read::U16(1)), ("pulse_conv", Read::U16(1)), ("water", Read::Float)];

/// What depends on the model is in [`MilesightEm::shared_channel`].
const CHANNELS: &[Channel] = &[
    (0x01, 0x75, &[("battery", Read::U8)]),
    (0x03, 0x67, &[("temperature", Read::Temperature)]),
    (0x03, 0x77, &[("water_level", Read::U16(0))]),
    (0x03, 0x7b, &[("pressure", Read::I16(0))]),
    (0x03, 0x82, &[("distance", Read::U16(0))]),
    (0x03, 0x94, &[("illumination", Read::U32)]),
    (0x03, 0xed, &[("liquid", Read::State(LIQUID))]),
    (0x04, 0x00, &[("position", Read::State(POSITION))]),
    (0x04, 0x82, &[("distance", Read::U16(0))]),
    (0x04, 0xca, &[("moisture", Read::Moisture)]),
    (0x04, 0xee, &[("calibration_result", Read::State(&["failed", "success"]))]),
    (0x05, 0x7d, &[("co2", Read::U16(0))]),
    (0x05, 0x7f, &[("ec", Read::Conductivity)]),
    (0x05, 0xc8, &[("pulse", Read::U32)]),
    (0x05, 0xe1, WATER),
    (0x06, 0x00, &[("magnet_status", Read::State(MAGNET))]),
    (0x06, 0x73, &[("pressure", Read::U16(1))]),
    (0x06, 0xe1, WATER),
    (0x83, 0x67, &[("temperature", Read::Temperature), ("temperature_alarm", Read::State(ALARM))]),
    (
        0x83,
        0xd7,
        &[
            ("temperature", Read::Temperature),
            ("temperature_change", Read::I16(1)),
            ("temperature_alarm", Read::State(ALARM)),
        ],
    ),
    (
        0x83,
        0xe9,
        &[
            ("distance", Read::U16(0)),
            ("distance_change", Read::I16(0)),
            ("distance_alarm", Read::State(&["normal", "threshold alarm", "mutation alarm"])),
        ],
    ),
    (0x83, 0xed, &[("liquid", Read::State(LIQUID)), ("liquid_alarm", Read::State(LIQUID_ALARM))]),
    (0x84, 0x82, &[("distance", Read::U16(0)), ("distance_alarm", Read::State(ALARM))]),
    (0x85, 0x00, &[("gpio", Read::State(LEVEL)), ("gpio_alarm", Read::State(INPUT_ALARM))]),
    (
        0x85,
        0xe1,
        &[
            ("water_conv", Read::U16(1)),
            ("pulse_conv", Read::U16(1)),
            ("water", Read::Float),
            ("water_alarm", Read::State(WATER_ALARM)),
        ],
    ),
    (
        0x94,
        0x82,
        &[
            ("distance", Read::U16(0)),
            ("distance_change", Read::I16(0)),
            ("distance_alarm", Read::State(ALARM)),
        ],
    ),
    (0xb4, 0x82, &[("distance", Read::U16(0)), ("distance_exception", Read::State(EXCEPTION))]),
];

impl Codec for MilesightEm {
    fn describe() -> Metadata {
        Metadata {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            vendor: "Milesight".into(),
            summary: "EM300, EM310, EM320, EM330, EM400, EM410 and EM500 series; live values, history, alarms, commands"
                .into(),
            keys: keys(&[
                ("battery", Long, "%", "Battery"),
                ("temperature", Double, "Cel", "Temperature"),
                ("temperature_change", Double, "Cel", "Sudden change of temperature"),
                ("humidity", Double, "%", "Relative humidity"),
                ("moisture", Double, "%", "Soil moisture"),
                ("moisture", Long, "%", "Soil moisture of devices with half steps, without its fraction"),
                ("ec", Long, "uS/cm", "Conductivity"),
                ("co2", Long, "ppm", "Carbon dioxide"),
                ("pressure", Double, "hPa", "Air pressure (EM500-CO2)"),
                ("pressure", Long, "kPa", "Pipe pressure (EM500-PP)"),
                ("illumination", Long, "lx", "Illuminance"),
                ("water_level", Long, "cm", "Depth of water"),
                ("distance", Long, "mm", "Distance"),
                ("distance_change", Long, "mm", "Sudden change of distance"),
                ("distance_exception", Text, "", "Why there is no distance"),
                ("position", Text, "", "normal or tilt"),
                ("leakage_status", Text, "", "normal or leak"),
                ("magnet_status", Text, "", "close or open"),
                ("gpio", Text, "", "low or high"),
                ("pulse", Long, "", "Pulses"),
                ("water", Double, "", "Water, in the unit of water_conv"),
                ("*_conv", Double, "", "Conversion of pulses to water"),
                ("liquid", Text, "", "Liquid level"),
                ("calibration_result", Text, "", "failed or success"),
                ("angle_*", Double, "deg", "Angle by axis"),
                ("threshold_*", Text, "", "normal or trigger, by axis"),
                ("latitude", Double, "deg", "Latitude"),
                ("longitude", Double, "deg", "Longitude"),
                ("motion_status", Text, "", "Motion"),
                ("geofence_status", Text, "", "inside, outside, unset or unknown"),
                ("event", Text, "", "What made a record"),
                ("*_alarm", Text, "", "Alarm"),
                ("*_error", Text, "", "Fault of a sensor"),
                ("csq", Long, "", "Radio signal quality (NB-IoT)"),
                ("sn", Text, "", "Attribute: serial number"),
                ("imei", Text, "", "Attribute: NB-IoT modem"),
                ("imsi", Text, "", "Attribute: NB-IoT subscriber"),
                ("iccid", Text, "", "Attribute: NB-IoT card"),
                ("*_version", Text, "", "Attribute: hardware, firmware, protocol"),
                ("device_status", Text, "", "Attribute: the device was switched on"),
                ("reset_event", Text, "", "Attribute: the device was reset"),
                ("lorawan_class", Text, "", "Attribute: LoRaWAN class"),
                ("config_*", Long, "", "Attribute: a setting that the device confirmed"),
                ("config_*", Text, "", "Attribute: settings that the device confirmed, as bytes"),
            ]),
            encodes: true,
        }
    }

    fn configure(settings: &Settings) -> Result<Self, String> {
        settings.only(&["model"])?;
        Ok(Self { model: settings.text("model")?.map(model::find).transpose()? })
    }

    fn decode(&self, uplink: Uplink) -> Result<Decoded, Refusal> {
        let mut frame = Reader::new(&uplink.payload);
        let mut report = Report::new();
        if frame.is_empty() {
            return Err(malformed("offset 0: a channel expected, the frame is empty"));
        }
        if nb_iot::is_header(&uplink.payload) {
            nb_iot::decode(&mut frame, &mut report)?;
        }
        while !frame.is_empty() {
            let offset = frame.offset();
            let channel = frame.u8("channel")?;
            let type_id = frame.u8("type of a channel")?;
            let known = match (channel, type_id) {
                (0x20, 0xce) => self.record(&mut frame, &mut report)?,
                (0x21, 0xce) => water_record(&mut frame, &mut report)?,
                (0xfe | 0xff, _) => device::decode(&mut frame, &mut report, type_id)?,
                _ => {
                    self.shared_channel(&mut frame, &mut report, channel, type_id)?
                        || plain_channel(&mut frame, &mut report, channel, type_id)?
                }
            };
            if !known {
                device::stop(&mut report, offset, channel, type_id)?;
                break;
            }
        }
        Ok(report.into())
    }

    fn encode(&self, downlink: Downlink) -> Result<Vec<Outgoing>, Refusal> {
        device::encode(downlink, 0x28, &[0xff, 0x03])
    }
}

impl MilesightEm {
    /// Channels whose meaning depends on the model, and those that hold bit fields; false where it is neither.
    fn shared_channel(
        &self,
        frame: &mut Reader<'_>,
        report: &mut Report,
        channel: u8,
        type_id: u8,
    ) -> Result<bool, Refusal> {
        let values = &mut report.now;
        match (channel, type_id) {
            (0x03, 0xcf) => angles_and_status(frame, values)?,
            (0x03, 0xd4) => angles_with_flags(frame, values)?,
            (0x04, 0x68) => {
                let raw = frame.u8("humidity")?;
                // A soil probe tells its conductivity next.
                let soil = match self.model {
                    Some(model) => model.soil,
                    None => frame.clone().rest().starts_with(&[0x05, 0x7f]),
                };
                if soil {
                    values.long("moisture", raw / 2);
                } else {
                    values.decimal("humidity", i64::from(raw) * 5, 1);
                }
            }
            (0x05, 0x00) => {
                let raw = frame.u8("state of a contact")?;
                match self.contact(values) {
                    Contact::Leak => values.text("leakage_status", state(raw, LEAK)),
                    Contact::Position => values.text("position", state(raw, POSITION)),
                    Contact::Input => values.text("gpio", state(raw, LEVEL)),
                };
            }
            (0x06, 0x88) => self.location(frame, report)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Without a model: only distance sensors tell a position after their distance.
    fn contact(&self, values: &Samples) -> Contact {
        match self.model {
            Some(model) => model.contact,
            None if values.holds("distance") => Contact::Position,
            None => Contact::Leak,
        }
    }

    fn location(&self, frame: &mut Reader<'_>, report: &mut Report) -> Result<(), Refusal> {
        let (first, second) = (frame.i32_le("location")?, frame.i32_le("location")?);
        let bits = frame.u8("motion status")?;
        let values = &mut report.now;
        match self.model {
            Some(model) => {
                let (latitude, longitude) =
                    if model.latitude_first { (first, second) } else { (second, first) };
                values.decimal("latitude", latitude, 6).decimal("longitude", longitude, 6);
            }
            None => report
                .warn("models differ in the order of latitude and longitude; set \"model\" to keep them"),
        }
        report
            .now
            .text("motion_status", state(bits & 15, &["unknown", "start moving", "moving", "stop moving"]))
            .text("geofence_status", state(bits >> 4, &["inside", "outside", "unset", "unknown"]));
        Ok(())
    }

    /// One record of the past: time stamp in seconds, then what the model's layout says.
    fn record(&self, frame: &mut Reader<'_>, report: &mut Report) -> Result<bool, Refusal> {
        let Some(model) = self.model else {
            let offset = frame.offset();
            return Err(unsupported(format!(
                "offset {offset}: the layout of records differs by model; set \"model\""
            )));
        };
        if model.record.is_empty() {
            return Ok(false);
        }
        let seconds = frame.u32_le("time stamp of a record")?;
        let mut values = Samples::new();
        for field in model.record {
            record_field(frame, &mut values, *field)?;
        }
        report.record(i64::from(seconds) * 1000, values);
        Ok(true)
    }
}

fn plain_channel(
    frame: &mut Reader<'_>,
    report: &mut Report,
    channel: u8,
    type_id: u8,
) -> Result<bool, Refusal> {
    let known = CHANNELS.iter().find(|(id, kind, _)| (*id, *kind) == (channel, type_id));
    let Some((_, _, fields)) = known else { return Ok(false) };
    for (key, read) in *fields {
        value(frame, &mut report.now, key, read)?;
    }
    Ok(true)
}

fn value(frame: &mut Reader<'_>, values: &mut Samples, key: &str, read: &Read) -> Result<(), Refusal> {
    match *read {
        Read::U8 => values.long(key, frame.u8(key)?),
        Read::Half => values.decimal(key, i64::from(frame.u8(key)?) * 5, 1),
        Read::U16(0) => values.long(key, frame.u16_le(key)?),
        Read::U16(places) => values.decimal(key, frame.u16_le(key)?, places),
        Read::I16(0) => values.long(key, frame.i16_le(key)?),
        Read::I16(places) => values.decimal(key, frame.i16_le(key)?, places),
        Read::U32 => values.long(key, frame.u32_le(key)?),
        Read::Temperature => values.decimal(key, device::temperature(frame.u16_le(key)?), 1),
        Read::Moisture => match frame.u16_le(key)? {
            raw if raw >= SENSOR_ERROR => values.text("moisture_error", sensor_error(raw)),
            raw => values.decimal(key, raw, 2),
        },
        Read::Conductivity => match frame.u16_le(key)? {
            raw if raw >= SENSOR_ERROR => values.text("ec_error", sensor_error(raw)),
            raw => values.long(key, raw),
        },
        Read::State(names) => match frame.u8(key)? {
            u8::MAX => values.text(key, "error"),
            number => values.text(key, state(number, names)),
        },
        Read::Float => {
            let hundredths = f64::from(frame.f32_le(key)?) * 100.0;
            // Nothing that a meter shows; NaN is in no range either.
            if !(-1e15..1e15).contains(&hundredths) {
                return Err(malformed(format!("offset {}: {key} is no number", frame.offset() - 4)));
            }
            values.decimal(key, (hundredths + if hundredths < 0.0 { -0.5 } else { 0.5 }) as i64, 2)
        }
    };
    Ok(())
}

/// From here on 16 bits are no measurement.
const SENSOR_ERROR: u16 = 0xfffd;

fn sensor_error(raw: u16) -> &'static str {
    if raw == SENSOR_ERROR {
        "out of range"
    } else {
        "read failed"
    }
}

/// EM310-TILT: hundredths of a degree, then one alarm bit for each axis.
fn angles_and_status(frame: &mut Reader<'_>, values: &mut Samples) -> Result<(), Refusal> {
    for key in ["angle_x", "angle_y", "angle_z"] {
        values.decimal(key, frame.i16_le(key)?, 2);
    }
    let bits = frame.u8("status")?;
    for (bit, key) in ["threshold_x", "threshold_y", "threshold_z"].into_iter().enumerate() {
        values.text(key, state(bits >> bit & 1, THRESHOLD));
    }
    Ok(())
}

/// EM320-TILT: the lowest bit of each angle is its alarm.
fn angles_with_flags(frame: &mut Reader<'_>, values: &mut Samples) -> Result<(), Refusal> {
    for axis in ["x", "y", "z"] {
        let raw = frame.i16_le("angle")?;
        values.decimal(&format!("angle_{axis}"), raw >> 1, 2);
        values.text(&format!("threshold_{axis}"), THRESHOLD[usize::from(raw & 1 == 1)]);
    }
    Ok(())
}

fn record_field(frame: &mut Reader<'_>, values: &mut Samples, field: Field) -> Result<(), Refusal> {
    let (key, read) = match field {
        Field::Temperature => ("temperature", Read::Temperature),
        Field::Humidity => ("humidity", Read::Half),
        Field::Magnet => ("magnet_status", Read::State(MAGNET)),
        Field::Leak => ("leakage_status", Read::State(LEAK)),
        Field::Co2 => ("co2", Read::U16(0)),
        Field::AirPressure => ("pressure", Read::U16(1)),
        Field::Illumination => ("illumination", Read::U32),
        Field::WaterLevel => ("water_level", Read::U16(0)),
        Field::Distance => ("distance", Read::U16(0)),
        Field::PipePressure => ("pressure", Read::I16(0)),
        Field::DistanceChange => ("distance_change", Read::I16(0)),
        Field::Reserved(count) => return frame.bytes(count, "reserved bytes").map(drop),
        Field::Soil => {
            value(frame, values, "ec", &Read::Conductivity)?;
            value(frame, values, "temperature", &Read::Temperature)?;
            ("moisture", Read::Moisture)
        }
        Field::Input => return input(frame, values),
        Field::RadarEvents => return radar_events(frame, values),
    };
    value(frame, values, key, &read)
}

/// EM300-DI: 1 means a level, 2 means pulses.
fn input(frame: &mut Reader<'_>, values: &mut Samples) -> Result<(), Refusal> {
    let kind = frame.u8("kind of input")?;
    let (level, pulses) = (frame.u8("gpio")?, frame.u32_le("pulse")?);
    match kind {
        1 => values.text("gpio", state(level, LEVEL)),
        2 => values.long("pulse", pulses),
        _ => values,
    };
    Ok(())
}

/// EM410-RDL: one bit for each thing that can make a record.
fn radar_events(frame: &mut Reader<'_>, values: &mut Samples) -> Result<(), Refusal> {
    const EVENTS: [&str; 5] = [
        "threshold alarm",
        "threshold alarm release",
        "blind alarm",
        "blind alarm release",
        "mutation alarm",
    ];
    let bits = frame.u8("event")?;
    values.text("position", state(bits >> 5 & 1, POSITION));
    for (bit, event) in EVENTS.into_iter().enumerate() {
        if bits >> bit & 1 == 1 {
            values.text("event", event);
        }
    }
    Ok(())
}

/// EM300-DI: a record with water; no other model uses channel 21.
fn water_record(frame: &mut Reader<'_>, report: &mut Report) -> Result<bool, Refusal> {
    let seconds = frame.u32_le("time stamp of a record")?;
    let mut values = Samples::new();
    value(frame, &mut values, "temperature", &Read::Temperature)?;
    value(frame, &mut values, "humidity", &Read::Half)?;
    let alarm = frame.u8("alarm")?;
    let (kind, level) = (frame.u8("kind of input")?, frame.u8("gpio")?);
    let mut water = Samples::new();
    for (key, read) in WATER {
        value(frame, &mut water, key, read)?;
    }
    match kind {
        1 => {
            values.text("gpio", state(level, LEVEL));
        }
        2 => values.append(water),
        _ => {}
    }
    if alarm != 0 {
        values.text("water_alarm", state(alarm, WATER_ALARM));
    }
    report.record(i64::from(seconds) * 1000, values);
    Ok(true)
}

#[cfg(test)]
wireglot_sdk::vectors!(MilesightEm);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_settings_are_refused_by_name() {
        for (settings, word) in
            [(r#"{"model":"EM300"}"#, "EM300-TH"), (r#"{"model":true}"#, "model"), (r#"{"m":1}"#, "\"m\"")]
        {
            let error = MilesightEm::configure(&Settings::parse(settings).unwrap()).err().unwrap();
            assert!(error.contains(word), "{settings}: {error}");
        }
    }
}
