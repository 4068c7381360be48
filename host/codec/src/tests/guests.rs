//! Components for the tests: a core module in the text format, whose memory holds the results ready-made.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

/// What `decode` does is chosen by the first byte of the payload.
pub(super) const GOOD: &[u8] = &[0];
pub(super) const TRAP: &[u8] = &[1];
pub(super) const ENDLESS: &[u8] = &[2];
pub(super) const MEMORY_BOMB: &[u8] = &[3];
pub(super) const DEEP: &[u8] = &[4];
pub(super) const HUGE: &[u8] = &[5];
pub(super) const NOT_A_NUMBER: &[u8] = &[6];
pub(super) const MALFORMED: &[u8] = &[7];
pub(super) const WILD_POINTER: &[u8] = &[8];
pub(super) const GREEDY: &[u8] = &[9];
pub(super) const COUNT: &[u8] = &[10];

/// Settings that the guest's `configure` refuses: it looks at the length.
pub(super) const REFUSED_SETTINGS: &str = "{ }";

/// A codec of this version that gives `value` for the key `v`.
pub(super) fn codec(version: &str, value: i64) -> Vec<u8> {
    component(&module(version, value, "i32.const 1024"))
}

/// The same with so many pages of 64 KiB to begin with.
pub(super) fn codec_of_pages(version: &str, pages: u32) -> Vec<u8> {
    let memory = "(memory (export \"memory\")";
    let text = module(version, 7, "i32.const 1024");
    component(&text.replace(&format!("{memory} 8)"), &format!("{memory} {pages})")))
}

/// The same, with one part of its text replaced.
pub(super) fn changed(version: &str, value: i64, part: &str, by: &str) -> Vec<u8> {
    let text = module(version, value, "i32.const 1024");
    assert!(text.contains(part), "{part}");
    component(&text.replace(part, by))
}

/// What `decode` begins with.
pub(super) const BEGIN: &str = "(global.set $calls (i64.add (global.get $calls) (i64.const 1)))";
/// What a codec begins with instead that takes its time.
pub(super) const SLOWLY: &str = "(global.set $calls (i64.const 500000))
    (loop $again (global.set $calls (i64.sub (global.get $calls) (i64.const 1)))
      (br_if $again (i64.ne (global.get $calls) (i64.const 0))))";
/// What a codec begins with that refuses frames whose second byte is 9.
pub(super) const REFUSING: &str =
    "(if (i32.eq (i32.load8_u offset=1 (local.get 0)) (i32.const 9)) (then (return (i32.const 2500))))";
/// What a codec begins with that traps on them.
pub(super) const TRAPPING: &str =
    "(if (i32.eq (i32.load8_u offset=1 (local.get 0)) (i32.const 9)) (then unreachable))";
/// Where the settings of two bytes, `{}`, are accepted; and where they are not.
pub(super) const ACCEPTING_NONE: [&str; 2] =
    ["(i32.eq (local.get 1) (i32.const 3))", "(i32.eq (local.get 1) (i32.const 2))"];

/// A codec that traps in `describe`.
pub(super) fn traps_in_describe() -> Vec<u8> {
    component(&module("1.0.0", 0, "unreachable"))
}

/// A core module, as a compiler leaves it behind.
pub(super) fn core_module() -> Vec<u8> {
    wat::parse_str(module("1.0.0", 0, "i32.const 1024")).unwrap()
}

/// A codec that wants the clock.
pub(super) fn imports(interface: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(component (import "{interface}" (instance (export "now" (func (result u64))))))"#
    ))
    .unwrap()
}

/// What the tests ask of WASI, with the shapes of its release 0.2.0 as far as they go.
const WASI: [&str; 4] = [
    "package wasi:clocks@0.2.0;
    interface wall-clock { record datetime { seconds: u64, nanoseconds: u32 } now: func() -> datetime; }
    interface monotonic-clock { now: func() -> u64; }",
    "package wasi:random@0.2.0;
    interface random { get-random-bytes: func(len: u64) -> list<u8>; get-random-u64: func() -> u64; }
    interface insecure-seed { insecure-seed: func() -> tuple<u64, u64>; }",
    "package wasi:filesystem@0.2.0;
    interface types { enum error-code { would-block, access, io } open: func() -> result<_, error-code>; }
    interface preopens { get-directories: func() -> list<tuple<u32, string>>; }",
    "package wasi:cli@0.2.0;
    interface environment { get-environment: func() -> list<tuple<string, string>>; }
    interface exit { exit: func(status: result); }",
];
const WASI_WORLD: &str = "package test:wasi;
    world probing {
        include wireglot:codec/codec@1.0.0;
        import wasi:clocks/wall-clock@0.2.0;
        import wasi:clocks/monotonic-clock@0.2.0;
        import wasi:random/random@0.2.0;
        import wasi:random/insecure-seed@0.2.0;
        import wasi:filesystem/types@0.2.0;
        import wasi:filesystem/preopens@0.2.0;
        import wasi:cli/environment@0.2.0;
        import wasi:cli/exit@0.2.0;
    }";

/// A codec whose value is what `$probe`, a function of the module, finds out by WASI.
pub(super) fn wasi(probe: &str) -> Vec<u8> {
    let text = module("1.0.0", 0, "i32.const 1024")
        .replacen("(module", &format!("(module {probe}"), 1)
        .replace("(i64.const 0))\n    (block", "(call $probe))\n    (block");
    assert!(text.contains("(call $probe))"), "the module stores what was found");
    let mut resolve = Resolve::default();
    resolve.push_dir("../../wit").unwrap();
    for package in WASI {
        resolve.push_str("wasi.wit", package).unwrap();
    }
    let package = resolve.push_str("world.wit", WASI_WORLD).unwrap();
    let world = resolve.select_world(&[package], Some("probing")).unwrap();
    encoded(&text, &resolve, world)
}

/// The same component, longer than `bytes`.
pub(super) fn padded(component: &[u8], bytes: usize) -> Vec<u8> {
    with_section(component, "padding", &" ".repeat(bytes))
}

/// A component of quite another world.
pub(super) fn other_world() -> Vec<u8> {
    wat::parse_str("(component)").unwrap()
}

/// The same codec with vectors inside.
pub(super) fn with_vectors(component: &[u8], vectors: &str) -> Vec<u8> {
    with_section(component, "wireglot:vectors", vectors)
}

fn with_section(component: &[u8], name: &str, text: &str) -> Vec<u8> {
    let mut section = leb(name.len());
    section.extend_from_slice(name.as_bytes());
    section.extend_from_slice(text.as_bytes());
    let mut bytes = component.to_vec();
    bytes.push(0);
    bytes.extend(leb(section.len()));
    bytes.extend(section);
    bytes
}

fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn component(text: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir("../../wit").unwrap();
    let world = resolve.select_world(&[package], Some("codec")).unwrap();
    encoded(text, &resolve, world)
}

fn encoded(text: &str, resolve: &Resolve, world: WorldId) -> Vec<u8> {
    let mut module = wat::parse_str(text).unwrap();
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
}

/// The module's memory from 1024 on. The layouts are those of the canonical ABI.
fn image(version: &str) -> Vec<u8> {
    let mut image = Image(vec![0; 4096 - 1024]);
    // metadata at 1024
    image.string(1024, 1200, "test");
    image.string(1032, 1220, version);
    image.string(1040, 1300, "Wireglot");
    image.string(1048, 1320, "for tests");
    // result<decoded, refusal> at 2048: one message, no warnings
    image.words(2052, &[2100, 1]);
    // the message at 2100: no child device, telemetry with one measurement
    image.words(2116, &[2200, 1]);
    // the measurement at 2200: no time stamp, one sample
    image.words(2216, &[2304, 1]);
    // the sample at 2304: key `v`; `decode` writes the value
    image.string(2304, 2400, "v");
    // a refusal at 2500: malformed
    image.words(2500, &[1, 0]);
    image.string(2508, 2560, "bad checksum");
    // a huge result at 2600: no messages, a million warnings
    image.words(2608, &[0, 0, 1_000_000]);
    // a wild one at 2700: a message far outside
    image.words(2704, &[0x7fff_0000, 1]);
    // result<_, string> at 3000 and 3016
    image.words(3016, &[1]);
    image.string(3020, 3100, "no such setting");
    // result<list<outgoing>, refusal> at 3200: one frame, `hi` on the topic `t`
    image.words(3204, &[3300, 1]);
    image.words(3300, &[1]);
    image.string(3304, 3400, "t");
    image.string(3312, 3410, "hi");
    image.0
}

struct Image(Vec<u8>);

impl Image {
    fn bytes(&mut self, at: usize, bytes: &[u8]) {
        self.0[at - 1024..at - 1024 + bytes.len()].copy_from_slice(bytes);
    }

    fn words(&mut self, at: usize, words: &[u32]) {
        words.iter().enumerate().for_each(|(index, word)| self.bytes(at + 4 * index, &word.to_le_bytes()));
    }

    fn string(&mut self, at: usize, text_at: usize, text: &str) {
        self.words(at, &[u32::try_from(text_at).unwrap(), u32::try_from(text.len()).unwrap()]);
        self.bytes(text_at, text.as_bytes());
    }
}

fn module(version: &str, value: i64, describe: &str) -> String {
    let data: String = image(version).iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!(
        r#"(module
  (memory (export "memory") 8)
  (global $heap (mut i32) (i32.const 65536))
  (global $calls (mut i64) (i64.const 0))
  (data (i32.const 1024) "{data}")
  ;; Bumps, and begins anew where half of the memory is passed: a call never needs that much.
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (if (i32.gt_u (global.get $heap) (i32.const 262144)) (then (global.set $heap (i32.const 65536))))
    (global.set $heap (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.get $heap)
    (global.set $heap (i32.add (global.get $heap) (local.get 3))))
  (func (export "describe") (result i32) {describe})
  (func (export "configure") (param i32 i32) (result i32)
    (select (i32.const 3016) (i32.const 3000) (i32.eq (local.get 1) (i32.const 3))))
  (func (export "encode") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32) (result i32) i32.const 3200)
  (func $deep (param i64) (result i64)
    (i64.add (i64.const 1) (call $deep (i64.add (local.get 0) (call $deep (local.get 0))))))
  (func (export "decode") (param i32 i32 i32 i32 i64 i32 i32 i32 i32 i32 i32) (result i32)
    (global.set $calls (i64.add (global.get $calls) (i64.const 1)))
    (i32.store (i32.const 2312) (i32.const 1))
    (i64.store (i32.const 2320) (i64.const {value}))
    (block $count (block $greedy (block $wild (block $malformed (block $nan (block $huge (block $deep (block $bomb
    (block $endless (block $trap (block $good
      (br_table $good $trap $endless $bomb $deep $huge $nan $malformed $wild $greedy $count $good
        (i32.load8_u (local.get 0))))
      (return (i32.const 2048)))
      unreachable)
      (loop $again (br $again)))
      (loop $again (drop (memory.grow (i32.const 16))) (br $again)))
      (drop (call $deep (i64.const 1))))
      (drop (memory.grow (i32.const 128)))
      (return (i32.const 2600)))
      (i32.store (i32.const 2312) (i32.const 2))
      (f64.store (i32.const 2320) (f64.const nan))
      (return (i32.const 2048)))
      (return (i32.const 2500)))
      (return (i32.const 2700)))
      (drop (memory.grow (i32.const 128)))
      (return (i32.const 2048)))
    (i64.store (i32.const 2320) (global.get $calls))
    (i32.const 2048)))"#
    )
}
