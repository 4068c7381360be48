//! Replays what the fuzz target of provisioning bodies was started with and what it has found.

use wireglot_codec::native;
use wireglot_proto as proto;

#[path = "../../../../tests/fuzz/src/provision_body.rs"]
#[allow(unreachable_pub, reason = "public for the fuzz target, which includes it too")]
mod provision_body;

#[test]
fn fuzzed_requests_stay_harmless() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/provision_body");
    let inputs: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!inputs.is_empty());
    for file in inputs {
        let whole = std::fs::read(file).unwrap();
        provision_body::check(&whole);
        // Whatever is cut off or damaged: a request or a refusal.
        for at in 0..whole.len() {
            provision_body::check(&whole[..at]);
            let mut damaged = whole.clone();
            damaged[at] ^= 0xFF;
            provision_body::check(&damaged);
        }
    }
}
