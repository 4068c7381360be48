//! Payloads by chance, damaged ones and those that fuzzing has left: none may disturb anybody.

use serde_json::Value as Judge;

use super::FIVE_TYPES;

#[path = "../../../../../tests/fuzz/src/json_conversion.rs"]
#[allow(unreachable_pub, reason = "public for the fuzz target, which includes it too")]
mod json_conversion;
#[path = "../../../../../tests/fuzz/src/rpc_body.rs"]
#[allow(unreachable_pub, reason = "public for the fuzz target, which includes it too")]
mod rpc_body;

/// Pieces that meet in all orders: what one parser takes for a token, another must not take for its end.
const PIECES: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    ";",
    "=",
    "=>",
    "#",
    "/",
    "//",
    "/*",
    "*/",
    "\\",
    "\"",
    "'",
    " ",
    "\n",
    "\u{feff}",
    ")]}'\n",
    "a",
    "true",
    "NULL",
    "1",
    "-0",
    "1.50",
    "1e5",
    "1e-401",
    ".5",
    "5.",
    "\"ts\"",
    "\"values\"",
    "ts:1",
    "values:{a:1}",
    "\\u00e4",
    "\\ud83d",
    "ä",
    "\u{0}",
    "\"x\":\"1\"",
];

/// A small generator is enough, and its failures repeat (xorshift64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

#[test]
fn random_payloads_disturb_nobody() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..5_000 {
        let pieces = (0..dice.roll(24)).map(|_| PIECES[dice.roll(PIECES.len())]);
        let payload = pieces.collect::<String>();
        json_conversion::check(payload.as_bytes());
        rpc_body::check(payload.as_bytes());
        rpc_body::check(format!("{{\"method\":\"m\",\"params\":{payload}}}").as_bytes());
        let bytes: Vec<u8> = (0..dice.roll(64)).map(|_| u8::try_from(dice.roll(256)).unwrap()).collect();
        json_conversion::check(&bytes);
    }
}

#[test]
fn damaged_payloads_disturb_nobody() {
    let mut dice = Dice(7);
    let whole = format!(
        r#"[{{"ts":"10000","values":{FIVE_TYPES}}},{{'a':"\ud83d\ude00\u00e4",b=.5;"c":[1,,-2.50e3]}}]"#
    );
    for end in 0..whole.len() {
        json_conversion::check(&whole.as_bytes()[..end]);
    }
    for _ in 0..5_000 {
        let mut damaged = whole.clone().into_bytes();
        for _ in 0..=dice.roll(3) {
            let at = dice.roll(damaged.len());
            damaged[at] = u8::try_from(dice.roll(256)).unwrap();
        }
        json_conversion::check(&damaged);
    }
}

#[test]
fn strict_json_means_what_serde_json_says() {
    for payload in [
        FIVE_TYPES,
        r#"{"a":1,"a":{"b":2,"b":3}}"#,
        r#"{"a":[[],{},"",0,-0,-0.0,1E400,1.5e-3,"\u0000\ud83d\ude00\/"]}"#,
        "\t{\"a\": [ true ,\r\nfalse , null ] ,\"b\":\"25\",\"c\":1.5e3}",
        r#"{"a":"/*no comment*/","b":-0,"c":0.1e-2,"":1}"#,
    ] {
        json_conversion::check(payload.as_bytes());
        assert!(serde_json::from_str::<Judge>(payload).is_ok(), "{payload}");
    }
}

#[test]
fn fuzzed_payloads_stay_harmless() {
    let replay = |target: &str, check: fn(&[u8])| {
        let corpus = format!("{}/../../tests/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        let inputs: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!inputs.is_empty());
        inputs.iter().for_each(|file| check(&std::fs::read(file).unwrap()));
    };
    replay("json_conversion", json_conversion::check);
    replay("rpc_body", rpc_body::check);
}
