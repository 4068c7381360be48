//! The frame that NB-IoT models (EM300, EM400, EM410) put around their channels; big-endian, texts in ASCII.

use wireglot_sdk::{malformed, Reader, Refusal, Report};

/// Start flag, then the device id 1, then the length.
pub(crate) fn is_header(payload: &[u8]) -> bool {
    // No model has a channel 02 of type 00.
    payload.starts_with(&[0x02, 0x00, 0x01])
}

/// Reads up to the first channel.
pub(crate) fn decode(frame: &mut Reader<'_>, report: &mut Report) -> Result<(), Refusal> {
    frame.bytes(3, "start flag and id")?;
    frame.u16_be("length")?;
    frame.bytes(3, "flag and frame count")?;
    frame.u8("protocol version")?;
    for (key, count) in [
        ("firmware_version", 4),
        ("hardware_version", 4),
        ("sn", 16),
        ("imei", 15),
        ("imsi", 15),
        ("iccid", 20),
    ] {
        let text = frame.bytes(count, key)?;
        if !text.iter().all(u8::is_ascii_graphic) {
            let offset = frame.offset() - count;
            return Err(malformed(format!("offset {offset}: {key} of {count} characters expected")));
        }
        report.attributes.text(key, String::from_utf8_lossy(text));
    }
    report.now.long("csq", frame.u8("signal quality")?);
    let length = usize::from(frame.u16_be("length of the channels")?);
    if length != frame.left() {
        let offset = frame.offset();
        return Err(malformed(format!(
            "offset {offset}: {length} byte(s) of channels expected, {} left",
            frame.left()
        )));
    }
    Ok(())
}
