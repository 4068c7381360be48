//! What all Milesight LoRaWAN devices share: the channels 0xFE and 0xFF about the device itself, and the commands.
//!
//! `milesight-em` compiles this very file, so that the two codecs stay separate components without a second copy.

use wireglot_sdk::{
    hex, malformed, unsupported, Command, Downlink, Outgoing, Reader, Refusal, Report, Settings,
};

/// Commands and their answers go by this port unless the device was told otherwise.
const PORT: &str = "85";

/// What follows a type of the channels 0xFE and 0xFF.
enum Answer {
    /// A little-endian number of so many bytes: attribute `config_NAME`.
    Number(usize),
    /// Several numbers, shown as they are: attribute `config_NAME` in hexadecimal digits.
    Bytes(usize),
    /// A command that was carried out, or a key that must not be shown.
    Nothing(usize),
}
use Answer::{Bytes, Nothing, Number};

/// How a device answers a command: it repeats it. Type, name, what follows.
const ANSWERS: &[(u8, &str, Answer)] = &[
    (0x02, "collection_interval", Number(2)),
    (0x03, "report_interval", Number(2)),
    (0x06, "alarm", Bytes(9)),
    (0x10, "reboot", Nothing(1)),
    (0x11, "timestamp", Nothing(4)),
    (0x17, "time_zone", Bytes(2)),
    (0x18, "sensor_enable", Bytes(2)),
    (0x1c, "recollection", Bytes(2)),
    (0x25, "child_lock", Number(1)),
    (0x27, "clear_history", Nothing(1)),
    (0x28, "report_status", Nothing(1)),
    (0x2c, "query_status", Nothing(1)),
    (0x2d, "screen_display_enable", Number(1)),
    (0x2e, "led_indicator_mode", Number(1)),
    (0x2f, "led_indicator_mode", Number(1)),
    (0x35, "d2d_key", Nothing(8)),
    (0x39, "co2_abc_calibration", Bytes(5)),
    (0x3a, "report_interval", Number(2)),
    (0x3b, "time_sync_enable", Number(1)),
    (0x3d, "stop_buzzer", Nothing(1)),
    (0x3e, "buzzer_enable", Number(1)),
    (0x4a, "sync_time", Nothing(1)),
    (0x54, "co2_alarm", Bytes(5)),
    (0x56, "screen_intelligent_enable", Number(1)),
    (0x57, "clear_report_schedule", Nothing(1)),
    (0x59, "reset_battery", Nothing(1)),
    (0x5a, "screen_refresh_interval", Number(2)),
    (0x65, "pm2_5_collection_interval", Number(2)),
    (0x68, "history_enable", Number(1)),
    (0x69, "retransmit_enable", Number(1)),
    (0x6a, "retransmit_interval", Bytes(3)),
    (0x6d, "stop_transmit", Nothing(1)),
    (0x75, "hibernate", Bytes(7)),
    (0x79, "d2d_master", Bytes(6)),
    (0x84, "d2d_enable", Number(1)),
    (0x85, "screen_display_time_enable", Number(1)),
    (0x86, "screen_last_refresh_interval", Number(1)),
    (0x87, "altitude_calibration", Bytes(3)),
    (0x95, "pir_idle_interval", Number(2)),
    (0x96, "d2d_master", Bytes(8)),
    (0xea, "calibration", Bytes(3)),
    (0xeb, "tvoc_unit", Number(1)),
    (0xf0, "screen_display_elements", Bytes(4)),
    (0xf1, "calibration", Bytes(4)),
    (0xf2, "alarm_report_counts", Number(2)),
    (0xf4, "co2_calibration_enable", Number(1)),
    (0xf5, "alarm_release_enable", Number(1)),
];

/// Reads what follows `type_id` of the channels 0xFE and 0xFF into attributes; false where the type is unknown.
pub(crate) fn decode(frame: &mut Reader<'_>, report: &mut Report, type_id: u8) -> Result<bool, Refusal> {
    let attributes = &mut report.attributes;
    match type_id {
        0x01 => {
            let version = frame.u8("protocol version")?;
            attributes.text("ipso_version", format!("v{}.{}", version >> 4, version & 15));
        }
        0x08 => {
            attributes.text("sn", hex(frame.bytes(6, "serial number")?));
        }
        0x09 => {
            let [major, minor] = frame.array("hardware version")?;
            attributes.text("hardware_version", format!("v{major:x}.{}", minor >> 4));
        }
        0x0a => {
            let [major, minor] = frame.array("firmware version")?;
            attributes.text("firmware_version", format!("v{major:x}.{minor:x}"));
        }
        0x0b => {
            frame.u8("device status")?;
            attributes.text("device_status", "on");
        }
        0x0f => {
            let class = frame.u8("LoRaWAN class")?;
            attributes.text("lorawan_class", state(class, &["Class A", "Class B", "Class C", "Class CtoB"]));
        }
        0x16 => {
            attributes.text("sn", hex(frame.bytes(8, "serial number")?));
        }
        0x1a => {
            // Mode 2, calibration by hand, names the value.
            if frame.u8("CO2 calibration mode")? == 2 {
                frame.bytes(2, "CO2 calibration value")?;
            }
        }
        0xfe => {
            frame.u8("reset event")?;
            attributes.text("reset_event", "reset");
        }
        0xff => {
            let [major, minor] = frame.array("TSL version")?;
            attributes.text("tsl_version", format!("v{major}.{minor}"));
        }
        _ => return answer(frame, report, type_id),
    }
    Ok(true)
}

fn answer(frame: &mut Reader<'_>, report: &mut Report, type_id: u8) -> Result<bool, Refusal> {
    let Some((_, name, answer)) = ANSWERS.iter().find(|(known, ..)| *known == type_id) else {
        return Ok(false);
    };
    let key = format!("config_{name}");
    match *answer {
        Number(count) => {
            let bytes = frame.bytes(count, name)?;
            report
                .attributes
                .long(&key, bytes.iter().rev().fold(0, |number, byte| number << 8 | i64::from(*byte)));
        }
        Bytes(count) => {
            report.attributes.text(&key, hex(frame.bytes(count, name)?));
        }
        Nothing(count) => {
            frame.bytes(count, name)?;
        }
    }
    Ok(true)
}

/// The name of a state by its number.
pub(crate) fn state(number: u8, names: &'static [&'static str]) -> &'static str {
    names.get(usize::from(number)).copied().unwrap_or("unknown")
}

/// Tenths of a degree.
///
/// The format is signed. Published examples of history records hold numbers that only make sense unsigned (5760.0 °C), so
/// what would lie below absolute zero is read that way.
pub(crate) fn temperature(raw: u16) -> i64 {
    const ABSOLUTE_ZERO: i16 = -2731;
    let signed = raw as i16;
    if signed < ABSOLUTE_ZERO {
        i64::from(raw)
    } else {
        i64::from(signed)
    }
}

/// Ends a frame at a channel that is not known: its length is not either.
pub(crate) fn stop(report: &mut Report, offset: usize, channel: u8, type_id: u8) -> Result<(), Refusal> {
    let remark = format!(
        "offset {offset}: channel {} of type {} is unknown, and so is its length",
        hex(&[channel]),
        hex(&[type_id])
    );
    if report.now.is_empty() && report.attributes.is_empty() {
        return Err(unsupported(remark));
    }
    report.warn(remark);
    Ok(())
}

/// Translates an RPC request. `status_query` differs between the series; `interval_prefix` is what comes before the
/// seconds of the report interval.
pub(crate) fn encode(
    downlink: Downlink,
    status_query: u8,
    interval_prefix: &[u8],
) -> Result<Vec<Outgoing>, Refusal> {
    let Command::RpcRequest(request) = downlink.command else {
        return Err(unsupported("only RPC requests reach a Milesight device"));
    };
    let params = Settings::parse(&request.params).map_err(malformed)?;
    let payload = match request.method.as_str() {
        "reboot" => vec![0xff, 0x10, 0xff],
        "queryStatus" => vec![0xff, status_query, 0xff],
        "syncTime" => vec![0xff, 0x4a, 0xff],
        "clearHistory" => vec![0xff, 0x27, 0x01],
        "setReportInterval" => seconds(&params, interval_prefix)?,
        "setCollectionInterval" => seconds(&params, &[0xff, 0x02])?,
        "setHistory" => {
            let on = params.boolean("enabled").map_err(malformed)?;
            vec![0xff, 0x68, u8::from(on.ok_or_else(|| malformed("\"enabled\" expected"))?)]
        }
        other => {
            return Err(unsupported(format!(
                "\"{other}\" is unknown; known: reboot, queryStatus, syncTime, clearHistory, setHistory, \
                 setReportInterval, setCollectionInterval"
            )));
        }
    };
    Ok(vec![Outgoing { topic: None, payload, metadata: vec![("fPort".into(), PORT.into())] }])
}

fn seconds(params: &Settings, prefix: &[u8]) -> Result<Vec<u8>, Refusal> {
    let seconds =
        params.integer("seconds").map_err(malformed)?.and_then(|seconds| u16::try_from(seconds).ok());
    let seconds = seconds.filter(|seconds| *seconds > 0);
    let mut payload = prefix.to_vec();
    payload.extend(seconds.ok_or_else(|| malformed("\"seconds\" from 1 to 65535 expected"))?.to_le_bytes());
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, params: &str, expected: Option<&str>) {
        let request = wireglot_sdk::RpcRequest { id: 1, method: method.into(), params: params.into() };
        let downlink = Downlink {
            device: None,
            command: Command::RpcRequest(request),
            connected_device: "sensor".into(),
            profile: "milesight".into(),
            now_ms: 0,
            metadata: Vec::new(),
        };
        let found = encode(downlink, 0x28, &[0xff, 0x03]).ok().map(|list| hex(&list[0].payload));
        assert_eq!(found.as_deref(), expected, "{method} {params}");
    }

    #[test]
    fn commands_become_frames() {
        check("reboot", "null", Some("ff10ff"));
        check("setReportInterval", r#"{"seconds":1200}"#, Some("ff03b004"));
        check("setCollectionInterval", r#"{"seconds":1200}"#, Some("ff02b004"));
        check("setHistory", r#"{"enabled":true}"#, Some("ff6801"));
        check("queryStatus", "null", Some("ff28ff"));
    }

    #[test]
    fn broken_commands_are_refused() {
        check("setReportInterval", r#"{"seconds":0}"#, None);
        check("setReportInterval", r#"{"seconds":65536}"#, None);
        check("setReportInterval", "null", None);
        check("setHistory", r#"{"enabled":1}"#, None);
        check("explode", "null", None);
    }

    #[test]
    fn temperatures_are_signed_down_to_absolute_zero() {
        for (raw, expected) in [(0x0118, 280), (0xff9c, -100), (0xf555, -2731), (0xe100, 57_600)] {
            assert_eq!(temperature(raw), expected);
        }
    }
}
