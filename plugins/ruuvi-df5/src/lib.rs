//! Ruuvi's advertisement formats with fixed offsets: 5 and its relatives 3, C5, 6 and E1. All big-endian.
//!
//! The first byte is the format. A field that holds its "not available" pattern is left out.

use wireglot_sdk::ValueType::{Boolean, Double, Long, Text};
use wireglot_sdk::{
    keys, malformed, unsupported, Codec, Decoded, Metadata, Reader, Refusal, Samples, Settings, Uplink,
};

struct RuuviDf5;

wireglot_sdk::export!(RuuviDf5);

/// Gateways forward the manufacturer data with or without Ruuvi's company id, 0x0499 in little-endian.
const COMPANY_ID: &[u8] = &[0x99, 0x04];

impl Codec for RuuviDf5 {
    fn describe() -> Metadata {
        Metadata {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            vendor: "Ruuvi".into(),
            summary: "RuuviTag data format 5 (RAWv2); also 3 (RAWv1), C5, and 6 and E1 of Ruuvi Air".into(),
            keys: keys(&[
                ("temperature", Double, "Cel", "Temperature"),
                ("humidity", Double, "%", "Relative humidity"),
                ("pressure", Long, "Pa", "Air pressure"),
                ("acceleration_x", Double, "[g]", "Acceleration, x"),
                ("acceleration_y", Double, "[g]", "Acceleration, y"),
                ("acceleration_z", Double, "[g]", "Acceleration, z"),
                ("tx_power", Long, "dBm", "Radio power"),
                ("battery_voltage", Double, "V", "Battery voltage"),
                ("movement_counter", Long, "", "Movements"),
                ("measurement_sequence", Long, "", "Number of the measurement"),
                ("mac", Text, "", "Address; format 6 has its last three bytes only"),
                ("pm1_0", Double, "ug/m3", "Particles up to 1.0 um"),
                ("pm2_5", Double, "ug/m3", "Particles up to 2.5 um"),
                ("pm4_0", Double, "ug/m3", "Particles up to 4.0 um"),
                ("pm10_0", Double, "ug/m3", "Particles up to 10.0 um"),
                ("co2", Long, "ppm", "Carbon dioxide"),
                ("voc_index", Long, "", "VOC index"),
                ("nox_index", Long, "", "NOx index"),
                ("luminosity", Double, "lx", "Light"),
                ("calibrating", Boolean, "", "Whether the sensors still calibrate"),
            ]),
            encodes: false,
        }
    }

    fn configure(settings: &Settings) -> Result<Self, String> {
        settings.only(&[])?;
        Ok(Self)
    }

    fn decode(&self, uplink: Uplink) -> Result<Decoded, Refusal> {
        let payload = uplink.payload.strip_prefix(COMPANY_ID).unwrap_or(&uplink.payload);
        let mut frame = Frame { reader: Reader::new(payload), values: Samples::new() };
        match frame.reader.u8("data format")? {
            3 => frame.format_3()?,
            5 => frame.format_5()?,
            6 => frame.format_6()?,
            0xc5 => frame.format_c5()?,
            0xe1 => frame.format_e1()?,
            other => {
                return Err(unsupported(format!("data format 3, 5, 6, C5 or E1 expected, {other:X} found")))
            }
        }
        if !frame.reader.is_empty() {
            let (offset, left) = (frame.reader.offset(), frame.reader.left());
            return Err(malformed(format!("offset {offset}: {left} byte(s) after the end of the format")));
        }
        Ok(frame.values.into())
    }
}

/// A frame whose first byte has been read, and what it said so far.
struct Frame<'a> {
    reader: Reader<'a>,
    values: Samples,
}

impl Frame<'_> {
    /// RAWv1 has no "not available" patterns.
    fn format_3(&mut self) -> Result<(), Refusal> {
        let humidity = self.reader.u8("humidity")?;
        let whole = self.reader.u8("temperature")?;
        let hundredths = i64::from(whole & 0x7f) * 100 + i64::from(self.reader.u8("temperature fraction")?);
        // Sign and magnitude, not two's complement.
        let signed = if whole & 0x80 == 0 { hundredths } else { -hundredths };
        let pressure = self.reader.u16_be("pressure")?;
        self.values
            .decimal("temperature", signed, 2)
            .decimal("humidity", i64::from(humidity) * 5, 1)
            .long("pressure", i64::from(pressure) + 50_000);
        for key in ACCELERATIONS {
            let raw = self.reader.i16_be(key)?;
            self.values.decimal(key, raw, 3);
        }
        let battery = self.reader.u16_be("battery voltage")?;
        self.values.decimal("battery_voltage", battery, 3);
        Ok(())
    }

    fn format_5(&mut self) -> Result<(), Refusal> {
        self.climate()?;
        for key in ACCELERATIONS {
            let raw = self.reader.i16_be(key)?;
            if raw != i16::MIN {
                self.values.decimal(key, raw, 3);
            }
        }
        self.power_and_counters()?;
        self.mac::<6>()
    }

    /// Format 5 without acceleration.
    fn format_c5(&mut self) -> Result<(), Refusal> {
        self.climate()?;
        self.power_and_counters()?;
        self.mac::<6>()
    }

    fn format_6(&mut self) -> Result<(), Refusal> {
        self.climate()?;
        self.particles("pm2_5")?;
        self.co2()?;
        let (voc, nox) = (self.reader.u8("VOC")?, self.reader.u8("NOX")?);
        let light = self.reader.u8("luminosity")?;
        if light != u8::MAX {
            self.values.decimal("luminosity", logarithmic_light(light), 2);
        }
        self.reader.u8("reserved byte")?;
        let sequence = self.reader.u8("measurement sequence")?;
        self.values.long("measurement_sequence", sequence);
        self.air_flags(voc, nox)?;
        self.mac::<3>()
    }

    fn format_e1(&mut self) -> Result<(), Refusal> {
        self.climate()?;
        for key in ["pm1_0", "pm2_5", "pm4_0", "pm10_0"] {
            self.particles(key)?;
        }
        self.co2()?;
        let (voc, nox) = (self.reader.u8("VOC")?, self.reader.u8("NOX")?);
        let light = self.reader.u24_be("luminosity")?;
        if light != 0xff_ffff {
            self.values.decimal("luminosity", light, 2);
        }
        self.reader.bytes(3, "reserved bytes")?;
        let sequence = self.reader.u24_be("measurement sequence")?;
        if sequence != 0xff_ffff {
            self.values.long("measurement_sequence", sequence);
        }
        self.air_flags(voc, nox)?;
        self.reader.bytes(5, "reserved bytes")?;
        self.mac::<6>()
    }

    /// Temperature in 0.005 °C, humidity in 0.0025 %, pressure in Pa above 50 kPa.
    fn climate(&mut self) -> Result<(), Refusal> {
        let temperature = self.reader.i16_be("temperature")?;
        if temperature != i16::MIN {
            self.values.decimal("temperature", i64::from(temperature) * 5, 3);
        }
        let humidity = self.reader.u16_be("humidity")?;
        if humidity != u16::MAX {
            self.values.decimal("humidity", i64::from(humidity) * 25, 4);
        }
        let pressure = self.reader.u16_be("pressure")?;
        if pressure != u16::MAX {
            self.values.long("pressure", i64::from(pressure) + 50_000);
        }
        Ok(())
    }

    /// 11 bits of millivolts above 1.6 V and 5 bits of 2 dBm above -40 dBm; then two counters.
    fn power_and_counters(&mut self) -> Result<(), Refusal> {
        let power = self.reader.u16_be("power info")?;
        let (battery, radio) = (power >> 5, power & 0x1f);
        if battery != 0x7ff {
            self.values.decimal("battery_voltage", battery + 1600, 3);
        }
        if radio != 0x1f {
            self.values.long("tx_power", i64::from(radio) * 2 - 40);
        }
        let movements = self.reader.u8("movement counter")?;
        if movements != u8::MAX {
            self.values.long("movement_counter", movements);
        }
        let sequence = self.reader.u16_be("measurement sequence")?;
        if sequence != u16::MAX {
            self.values.long("measurement_sequence", sequence);
        }
        Ok(())
    }

    fn particles(&mut self, key: &str) -> Result<(), Refusal> {
        let raw = self.reader.u16_be(key)?;
        if raw != u16::MAX {
            self.values.decimal(key, raw, 1);
        }
        Ok(())
    }

    fn co2(&mut self) -> Result<(), Refusal> {
        let raw = self.reader.u16_be("CO2")?;
        if raw != u16::MAX {
            self.values.long("co2", raw);
        }
        Ok(())
    }

    /// The flags also hold the lowest bit of both nine-bit indexes.
    fn air_flags(&mut self, voc: u8, nox: u8) -> Result<(), Refusal> {
        let flags = self.reader.u8("flags")?;
        for (key, high, low) in [("voc_index", voc, flags >> 6 & 1), ("nox_index", nox, flags >> 7)] {
            let index = u16::from(high) << 1 | u16::from(low);
            if index != 0x1ff {
                self.values.long(key, index);
            }
        }
        self.values.boolean("calibrating", flags & 1 == 1);
        Ok(())
    }

    fn mac<const BYTES: usize>(&mut self) -> Result<(), Refusal> {
        let address = self.reader.array::<BYTES>("MAC address")?;
        if address == [u8::MAX; BYTES] {
            return Ok(());
        }
        let mut text = String::with_capacity(3 * BYTES);
        for (index, byte) in address.iter().enumerate() {
            if index > 0 {
                text.push(':');
            }
            text.push_str(&wireglot_sdk::hex(&[*byte]).to_ascii_uppercase());
        }
        self.values.text("mac", text);
        Ok(())
    }
}

const ACCELERATIONS: [&str; 3] = ["acceleration_x", "acceleration_y", "acceleration_z"];

/// Hundredths of a lux of format 6: 255 steps whose ratio is constant, up to 65,535 lx.
fn logarithmic_light(code: u8) -> i64 {
    /// The 254th root of 65,536.
    const STEP: f64 = 1.044_630_061_412_595_6;
    let mut ratio = 1.0;
    for _ in 0..code {
        ratio *= STEP;
    }
    ((ratio - 1.0) * 100.0 + 0.5) as i64
}

#[cfg(test)]
wireglot_sdk::vectors!(RuuviDf5);
