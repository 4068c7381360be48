//! Milesight's AM series (ambience monitoring): channel, type, value, again and again; little-endian.
//!
//! Models share channels, and which of them a model reports, and how it lays out its records of the past, is told by the
//! setting `model`. Without it every known channel is reported.

use wireglot_sdk::ValueType::{Double, Long, Text};
use wireglot_sdk::{
    keys, malformed, unsupported, Codec, Decoded, Downlink, Metadata, Outgoing, Reader, Refusal, Report,
    Samples, Settings, Uplink,
};

mod device;
mod model;

use device::state;
use model::{Gas, History, Model};

struct MilesightAm {
    model: Model,
    /// Record motion as the converters of ThingsBoard do.
    converter_names: bool,
    /// The AM304L and AM305L take their report interval elsewhere.
    marked_history: bool,
}

wireglot_sdk::export!(MilesightAm);

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
    Temperature,
    State(&'static [&'static str]),
    /// Only 1 means the second name.
    Flag(&'static [&'static str; 2]),
}

const MOTION: &[&str] = &["idle", "trigger"];
const THRESHOLD_ALARM: &[&str] = &[
    "below alarm released",
    "below alarm",
    "above alarm released",
    "above alarm",
    "within alarm released",
    "within alarm",
    "exceed tolerance alarm released",
    "exceed tolerance alarm",
];
const LIGHT_ALARM: &[&str] = &["dim", "bright"];
const CO2_ALARM: &[&str] = &["polluted alarm released", "polluted alarm", "bad alarm released", "bad alarm"];
const ERROR: &[&str] = &["collect abnormal", "out of range"];

const CHANNELS: &[Channel] = &[
    (0x01, 0x75, &[("battery", Read::U8)]),
    (0x03, 0x67, &[("temperature", Read::Temperature)]),
    (0x04, 0x68, &[("humidity", Read::Half)]),
    (0x05, 0x00, &[("pir", Read::State(MOTION))]),
    (0x05, 0x6a, &[("activity", Read::U16(0))]),
    (
        0x06,
        0x65,
        &[("illumination", Read::U16(0)), ("infrared_and_visible", Read::U16(0)), ("infrared", Read::U16(0))],
    ),
    (0x06, 0x9d, &[("illumination", Read::U16(0))]),
    (0x06, 0xcb, &[("light_level", Read::U8)]),
    (0x07, 0x7d, &[("co2", Read::U16(0))]),
    (0x08, 0x7d, &[("tvoc", Read::U16(0))]),
    (0x08, 0xe6, &[("tvoc_ug_m3", Read::U16(0))]),
    (0x09, 0x73, &[("pressure", Read::U16(1))]),
    (0x0a, 0x7d, &[("hcho", Read::U16(2))]),
    (0x0b, 0x7d, &[("pm2_5", Read::U16(0))]),
    (0x0c, 0x7d, &[("pm10", Read::U16(0))]),
    (0x0d, 0x7d, &[("o3", Read::U16(2))]),
    (0x0e, 0x01, &[("beep", Read::Flag(&["no", "yes"]))]),
    (0x83, 0x67, &[("temperature", Read::Temperature), ("temperature_alarm", Read::State(THRESHOLD_ALARM))]),
    (0x86, 0x9d, &[("illumination", Read::U16(0)), ("illumination_alarm", Read::State(LIGHT_ALARM))]),
    (0x87, 0x7d, &[("co2", Read::U16(0)), ("co2_alarm", Read::State(CO2_ALARM))]),
    (0xb3, 0x67, &[("temperature_error", Read::State(ERROR))]),
    (0xb4, 0x68, &[("humidity_error", Read::State(ERROR))]),
    (0xb6, 0xcb, &[("light_level_error", Read::State(ERROR))]),
    (0xb6, 0x9d, &[("illumination_error", Read::State(ERROR))]),
    (0xb7, 0x7d, &[("co2_error", Read::State(ERROR))]),
];

impl Codec for MilesightAm {
    fn describe() -> Metadata {
        Metadata {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            vendor: "Milesight".into(),
            summary: "AM102, AM103, AM104, AM107, AM304L, AM305L, AM307, AM308, AM319; live values, history, commands".into(),
            keys: keys(&[
                ("battery", Long, "%", "Battery"),
                ("temperature", Double, "Cel", "Temperature"),
                ("humidity", Double, "%", "Relative humidity"),
                ("pir", Text, "", "Motion: idle or trigger"),
                ("trigger", Text, "", "Motion in history, with the setting history = converter"),
                ("pir_count", Long, "", "Motion count"),
                ("activity", Long, "", "Activity level"),
                ("illumination", Long, "lx", "Illuminance"),
                ("infrared_and_visible", Long, "", "Infrared and visible light"),
                ("infrared", Long, "", "Infrared light"),
                ("light_level", Long, "", "Light level, 0 to 5"),
                ("co2", Long, "ppm", "Carbon dioxide"),
                ("tvoc", Long, "", "TVOC as sent: ppb (AM107) or hundredths of the index (AM300 series)"),
                ("tvoc_ug_m3", Long, "ug/m3", "TVOC"),
                ("pressure", Double, "hPa", "Air pressure"),
                ("hcho", Double, "mg/m3", "Formaldehyde"),
                ("o3", Double, "ppm", "Ozone"),
                ("pm2_5", Long, "ug/m3", "Particles up to 2.5 um"),
                ("pm10", Long, "ug/m3", "Particles up to 10 um"),
                ("beep", Text, "", "Buzzer: yes or no"),
                ("*_alarm", Text, "", "Threshold alarm"),
                ("*_error", Text, "", "Fault of a sensor"),
                ("sn", Text, "", "Attribute: serial number"),
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
        settings.only(&["model", "history"])?;
        let model = match settings.text("model")? {
            Some(name) => model::find(name)?,
            None => model::ANY,
        };
        let converter_names = match settings.text("history")? {
            None | Some("vendor") => false,
            Some("converter") => true,
            Some(other) => return Err(format!("\"history\" is \"{other}\"; known: vendor, converter")),
        };
        let marked_history = matches!(model.history, Some(History::Marked { .. }));
        Ok(Self { model, converter_names, marked_history })
    }

    fn decode(&self, uplink: Uplink) -> Result<Decoded, Refusal> {
        let mut frame = Reader::new(&uplink.payload);
        let mut report = Report::new();
        if frame.is_empty() {
            return Err(malformed("offset 0: a channel expected, the frame is empty"));
        }
        while !frame.is_empty() {
            let offset = frame.offset();
            let channel = frame.u8("channel")?;
            let type_id = frame.u8("type of a channel")?;
            let known = match (channel, type_id) {
                (0x20 | 0x21, 0xce) => self.record(&mut frame, &mut report, channel)?,
                (0x05, 0x9f) => motion_and_count(&mut frame, &mut report.now)?,
                (0xfe | 0xff, _) => device::decode(&mut frame, &mut report, type_id)?,
                _ => self.values(&mut frame, &mut report.now, channel, type_id)?,
            };
            if !known {
                device::stop(&mut report, offset, channel, type_id)?;
                break;
            }
        }
        Ok(report.into())
    }

    fn encode(&self, downlink: Downlink) -> Result<Vec<Outgoing>, Refusal> {
        // The AM304L and AM305L name the unit: 0 for seconds.
        let interval: &[u8] = if self.marked_history { &[0xf9, 0xbd, 0x00] } else { &[0xff, 0x03] };
        device::encode(downlink, 0x2c, interval)
    }
}

impl MilesightAm {
    /// The values of one channel; those that the model has no sensor for are passed over.
    fn values(
        &self,
        frame: &mut Reader<'_>,
        values: &mut Samples,
        channel: u8,
        type_id: u8,
    ) -> Result<bool, Refusal> {
        let known = CHANNELS.iter().find(|(id, kind, _)| (*id, *kind) == (channel, type_id));
        let Some((_, _, fields)) = known else { return Ok(false) };
        let measured = match (channel, self.model.gas) {
            (0x0a, gas) => matches!(gas, Gas::Formaldehyde | Gas::Unnamed),
            (0x0d, gas) => matches!(gas, Gas::Ozone | Gas::Unnamed),
            (0x0b | 0x0c, _) => self.model.particles,
            _ => true,
        };
        let mut passed_over = Samples::new();
        let values = if measured { values } else { &mut passed_over };
        for (key, read) in *fields {
            match *read {
                Read::U8 => values.long(key, frame.u8(key)?),
                Read::Half => values.decimal(key, i64::from(frame.u8(key)?) * 5, 1),
                Read::U16(0) => values.long(key, frame.u16_le(key)?),
                Read::U16(places) => values.decimal(key, frame.u16_le(key)?, places),
                Read::Temperature => values.decimal(key, device::temperature(frame.u16_le(key)?), 1),
                // Alarms are numbered from 16 on.
                Read::State(names) => values.text(key, state(frame.u8(key)? & 15, names)),
                Read::Flag(names) => values.text(key, names[usize::from(frame.u8(key)? == 1)]),
            };
        }
        Ok(true)
    }

    /// One record of the past: time stamp in seconds, then what the model's layout says.
    fn record(&self, frame: &mut Reader<'_>, report: &mut Report, channel: u8) -> Result<bool, Refusal> {
        let history = match self.model.history {
            Some(history) => history,
            None => History::infer(frame.clone().rest()).ok_or_else(|| {
                unsupported(format!(
                    "offset {}: the layout of records differs by model; set \"model\"",
                    frame.offset()
                ))
            })?,
        };
        if history == History::None {
            return Ok(false);
        }
        let seconds = frame.u32_le("time stamp of a record")?;
        let mut values = Samples::new();
        match history {
            History::None => {}
            History::Short { co2 } => {
                values.decimal("temperature", device::temperature(frame.u16_le("temperature")?), 1);
                values.decimal("humidity", i64::from(frame.u8("humidity")?) * 5, 1);
                if co2 {
                    values.long("co2", frame.u16_le("co2")?);
                }
            }
            History::Marked { co2 } => marked_record(frame, &mut values, channel, co2)?,
            History::Full { particles, gas } => {
                self.full_record(frame, &mut values, channel)?;
                if particles {
                    values.long("pm2_5", frame.u16_le("pm2_5")?).long("pm10", frame.u16_le("pm10")?);
                }
                match gas {
                    Gas::None => {}
                    Gas::Formaldehyde => {
                        values.decimal("hcho", frame.u16_le("hcho")?, 2);
                    }
                    Gas::Ozone => {
                        values.decimal("o3", frame.u16_le("o3")?, 2);
                    }
                    Gas::Unnamed => {
                        frame.u16_le("hcho or o3")?;
                        report
                            .warn("a record's last value is formaldehyde or ozone; set \"model\" to keep it");
                    }
                }
            }
        }
        report.record(i64::from(seconds) * 1000, values);
        Ok(true)
    }

    fn full_record(&self, frame: &mut Reader<'_>, values: &mut Samples, channel: u8) -> Result<(), Refusal> {
        values.decimal("temperature", device::temperature(frame.u16_le("temperature")?), 1);
        values.decimal("humidity", i64::from(frame.u16_le("humidity")?) * 5, 1);
        let motion = frame.u8("pir")?;
        if self.converter_names {
            values.text("trigger", state(motion, &["trigger", "idle"]));
        } else {
            values.text("pir", state(motion, MOTION));
        }
        values.long("light_level", frame.u8("light_level")?).long("co2", frame.u16_le("co2")?);
        // Channel 0x21 is 0x20 with another unit here.
        let tvoc = if channel == 0x21 { "tvoc_ug_m3" } else { "tvoc" };
        values.long(tvoc, frame.u16_le("tvoc")?).decimal("pressure", frame.u16_le("pressure")?, 1);
        Ok(())
    }
}

/// AM304L, AM305L: whether something moves in the highest bit, a count in the others.
fn motion_and_count(frame: &mut Reader<'_>, values: &mut Samples) -> Result<bool, Refusal> {
    let bits = frame.u16_le("pir")?;
    values.text("pir", MOTION[usize::from(bits >> 15)]).long("pir_count", bits & 0x7fff);
    Ok(true)
}

/// AM304L, AM305L: a value counts where the mark before it is 1.
fn marked_record(
    frame: &mut Reader<'_>,
    values: &mut Samples,
    channel: u8,
    co2: bool,
) -> Result<(), Refusal> {
    const VALID: u8 = 1;
    let (mark, raw) = (frame.u8("mark of temperature")?, frame.u16_le("temperature")?);
    if mark == VALID {
        values.decimal("temperature", device::temperature(raw), 1);
    }
    let (mark, raw) = (frame.u8("mark of humidity")?, frame.u8("humidity")?);
    if mark == VALID {
        values.decimal("humidity", i64::from(raw) * 5, 1);
    }
    let (bits, count) = (frame.u8("pir")?, frame.u16_le("pir_count")?);
    if bits >> 6 & 1 == VALID {
        values.text("pir", state(bits & 0x3f, MOTION)).long("pir_count", count);
    }
    let light = if channel == 0x21 { "illumination" } else { "light_level" };
    let (mark, raw) = (frame.u8("mark of light")?, frame.u16_le("light")?);
    if mark == VALID {
        values.long(light, raw);
    }
    if co2 {
        let (mark, raw) = (frame.u8("mark of co2")?, frame.u16_le("co2")?);
        if mark == VALID {
            values.long("co2", raw);
        }
    }
    Ok(())
}

#[cfg(test)]
wireglot_sdk::vectors!(MilesightAm);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_settings_are_refused_by_name() {
        for (settings, word) in [
            (r#"{"model":"AM999"}"#, "AM999"),
            (r#"{"model":7}"#, "model"),
            (r#"{"modle":"AM307"}"#, "modle"),
            (r#"{"history":"both"}"#, "history"),
        ] {
            let error = MilesightAm::configure(&Settings::parse(settings).unwrap()).err().unwrap();
            assert!(error.contains(word), "{settings}: {error}");
        }
    }
}
