//! Version 2 of the stamping codec.

type Version = stamp::Stamp<2>;

wireglot_sdk::export!(Version);

#[cfg(test)]
wireglot_sdk::vectors!(Version);
