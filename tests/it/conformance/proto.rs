//! Protobuf as it is on the wire: enough to write a message and to look into one.

/// A field that is text.
pub(super) fn text(number: u8, text: &str) -> Vec<u8> {
    message(number, text.as_bytes())
}

/// A field that is a message, or bytes.
pub(super) fn message(number: u8, bytes: &[u8]) -> Vec<u8> {
    [varint(u64::from(number) << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

/// A field that is an integer, a boolean or an enum.
pub(super) fn int(number: u8, value: i64) -> Vec<u8> {
    [varint(u64::from(number) << 3), varint(value.cast_unsigned())].concat()
}

/// A field that is a double.
pub(super) fn double(number: u8, value: f64) -> Vec<u8> {
    [varint(u64::from(number) << 3 | 1), value.to_le_bytes().to_vec()].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// One field: its number and what it holds.
enum Held<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The last number that a field holds.
#[track_caller]
pub(super) fn number(message: &[u8], wanted: u64) -> Option<i64> {
    fields(message).into_iter().rev().find_map(|(number, held)| match held {
        Held::Number(value) if number == wanted => Some(value.cast_signed()),
        Held::Number(_) | Held::Bytes(_) => None,
    })
}

/// Every message or text that a field holds.
#[track_caller]
pub(super) fn all(message: &[u8], wanted: u64) -> Vec<Vec<u8>> {
    let bytes = |(number, held)| match held {
        Held::Bytes(bytes) if number == wanted => Some(bytes.to_vec()),
        Held::Bytes(_) | Held::Number(_) => None,
    };
    fields(message).into_iter().filter_map(bytes).collect()
}

/// The last text that a field holds.
#[track_caller]
pub(super) fn string(message: &[u8], wanted: u64) -> Option<String> {
    all(message, wanted).pop().map(|bytes| String::from_utf8(bytes).expect("a text"))
}

#[track_caller]
fn fields(mut rest: &[u8]) -> Vec<(u64, Held<'_>)> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let key = take_varint(&mut rest);
        let held = match key & 7 {
            0 => Held::Number(take_varint(&mut rest)),
            1 => {
                let (bytes, after) = rest.split_first_chunk::<8>().expect("eight bytes");
                rest = after;
                Held::Number(u64::from_le_bytes(*bytes))
            }
            2 => {
                let length = usize::try_from(take_varint(&mut rest)).expect("a length");
                let (bytes, after) = rest.split_at(length);
                rest = after;
                Held::Bytes(bytes)
            }
            other => panic!("nothing here is of wire type {other}"),
        };
        fields.push((key >> 3, held));
    }
    fields
}

#[track_caller]
fn take_varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().expect("a number goes on");
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a number of more than ten bytes")
}
