//! The check of a codec's result, opened for the fuzz target in `tests/fuzz`. The server itself never comes here.

pub use crate::bindings::wireglot::codec::types;

use wireglot_model::{Decoded, FailureStage};

/// What a codec's result becomes, or which stage refuses it.
pub fn decoded(result: types::Decoded) -> Result<Decoded, FailureStage> {
    crate::convert::decoded(result, &crate::CodecLimits::default()).map_err(|invalid| invalid.stage)
}

#[cfg(test)]
#[path = "../../../tests/fuzz/src/codec_result.rs"]
#[allow(unreachable_pub, reason = "public for the fuzz target, which includes it too")]
mod codec_result;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzzed_results_stay_harmless() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/codec_result");
        let inputs: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!inputs.is_empty());
        inputs.iter().for_each(|file| codec_result::check(&std::fs::read(file).unwrap()));
    }
}
