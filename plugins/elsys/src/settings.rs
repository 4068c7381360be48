//! The settings of an Elsys device: 0x3E, a length, then number and value of each setting.

use wireglot_sdk::{hex, malformed, unsupported, Reader, Refusal, Report, Scalar, Settings};

use crate::SETTINGS_HEADER;

/// What a setting holds.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A number of so many bytes.
    Number(usize),
    /// Bytes that are shown as they are.
    Bytes(usize),
    /// Session and application keys: passed over, so that no key ends up among the attributes.
    Secret(usize),
}
use Kind::{Bytes, Number, Secret};

/// Number of the setting, its name, what it holds.
const SETTINGS: &[(u8, &str, Kind)] = &[
    (1, "appSKey", Secret(16)),
    (2, "nwkSKey", Secret(16)),
    (3, "devEui", Bytes(8)),
    (4, "appEui", Bytes(8)),
    (5, "appKey", Secret(16)),
    (6, "devAddr", Bytes(4)),
    (7, "ota", Number(1)),
    (8, "port", Number(1)),
    (9, "mode", Number(1)),
    (10, "ack", Number(1)),
    (11, "drDef", Number(1)),
    (12, "drMax", Number(1)),
    (13, "drMin", Number(1)),
    (14, "class", Number(1)),
    (15, "power", Number(1)),
    (16, "extCfg", Number(1)),
    (17, "pirCfg", Number(1)),
    (18, "co2Cfg", Number(1)),
    (19, "accCfg", Bytes(4)),
    (20, "splPer", Number(4)),
    (21, "tempPer", Number(4)),
    (22, "rhPer", Number(4)),
    (23, "lightPer", Number(4)),
    (24, "pirPer", Number(4)),
    (25, "co2Per", Number(4)),
    (26, "extPer", Number(4)),
    (27, "extPwrTime", Number(4)),
    (28, "triggTime", Number(4)),
    (29, "accPer", Number(4)),
    (30, "vddPer", Number(4)),
    (31, "sendPer", Number(4)),
    (32, "lock", Number(4)),
    (34, "link", Bytes(4)),
    (35, "pressPer", Number(4)),
    (36, "soundPer", Number(4)),
    (37, "plan", Number(1)),
    (38, "subBand", Number(1)),
    (39, "lbt", Number(1)),
    (40, "ledConfig", Number(1)),
    (42, "waterPer", Number(4)),
    (43, "reedPer", Number(4)),
    (44, "reedCfg", Number(4)),
    (45, "pirSens", Number(1)),
    (46, "qSize", Number(1)),
    (47, "qOffset", Number(1)),
    (48, "qPurge", Number(1)),
    (49, "co2Ref", Number(2)),
    (50, "co2Cal", Number(1)),
    (51, "co2Abc", Number(2)),
    (244, "nfcDisable", Number(1)),
    (245, "sensor", Number(1)),
    (250, "external", Number(1)),
    (251, "version", Number(2)),
    (252, "sleep", Bytes(4)),
];
const REBOOT: u8 = 254;

/// Settings become attributes `settings_NAME`. One of unknown length ends what can be read.
pub(crate) fn decode(frame: &mut Reader<'_>, report: &mut Report) -> Result<(), Refusal> {
    frame.u8("settings header")?;
    let length = frame.u8("length of settings")?;
    let mut body = Reader::new(frame.bytes(usize::from(length), "settings")?);
    while !body.is_empty() {
        let offset = 2 + body.offset();
        let number = body.u8("setting")?;
        let Some((_, name, kind)) = SETTINGS.iter().find(|(known, ..)| *known == number) else {
            let remark = format!("offset {offset}: setting {number} is unknown, and so is its length");
            if report.attributes.is_empty() {
                return Err(unsupported(remark));
            }
            report.warn(remark);
            break;
        };
        let key = format!("settings_{name}");
        match *kind {
            Number(count) => {
                let value =
                    body.bytes(count, name)?.iter().fold(0, |value, byte| value << 8 | i64::from(*byte));
                report.attributes.long(&key, value);
            }
            Bytes(count) => {
                report.attributes.text(&key, hex(body.bytes(count, name)?));
            }
            Secret(count) => {
                body.bytes(count, name)?;
            }
        }
    }
    Ok(())
}

/// Numbers by name, true and false as 1 and 0; in the order of [`SETTINGS`].
pub(crate) fn encode(params: &Settings) -> Result<Vec<u8>, Refusal> {
    let numbers = || {
        SETTINGS.iter().filter_map(|(number, name, kind)| match kind {
            Number(count) => Some((*number, *name, *count)),
            Bytes(_) | Secret(_) => None,
        })
    };
    let names: Vec<&str> = numbers().map(|(_, name, _)| name).collect();
    params.only(&names).map_err(unsupported)?;
    let mut body = Vec::new();
    for (number, name, count) in numbers() {
        let value = match params.get(name) {
            None => continue,
            Some(Scalar::Boolean(on)) => i64::from(*on),
            Some(_) => params.integer(name).map_err(malformed)?.unwrap_or_default(),
        };
        if value < 0 || value >= 1 << (8 * count) {
            return Err(malformed(format!("\"{name}\" holds {count} byte(s), {value} does not fit")));
        }
        body.push(number);
        body.extend(value.to_be_bytes().iter().skip(8 - count));
    }
    if body.is_empty() {
        return Err(malformed("at least one setting expected, as in {\"splPer\": 600}"));
    }
    frame(body)
}

pub(crate) fn reboot() -> Vec<u8> {
    vec![SETTINGS_HEADER, 1, REBOOT]
}

fn frame(body: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    let length = u8::try_from(body.len()).map_err(|_| malformed("more settings than one frame holds"))?;
    let mut frame = vec![SETTINGS_HEADER, length];
    frame.extend(body);
    Ok(frame)
}
