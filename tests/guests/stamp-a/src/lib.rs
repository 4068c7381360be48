//! Version 1 of the stamping codec.

type Version = stamp::Stamp<1>;

wireglot_sdk::export!(Version);

#[cfg(test)]
wireglot_sdk::vectors!(Version);
