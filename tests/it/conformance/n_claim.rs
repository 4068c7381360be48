//! Group N: claiming.

use super::case::{Row, unwritten};

pub(super) const ROWS: &[Row] = &[
    unwritten(
        240,
        r#"publish `{"secretKey":"value","durationMs":60000}` to `v1/devices/me/claim`; customer user claims with `{"secretKey":"value"}`"#,
    ),
    unwritten(241, r#"then another customer user claims"#),
    unwritten(242, r#"empty payload; claim without body"#),
    unwritten(243, r#"wrong secret in REST"#),
    unwritten(244, r#"`durationMs` 1000, REST after 2 s"#),
    unwritten(245, r#"`[1]`"#),
    unwritten(246, r#"device already assigned publishes a claim"#),
    unwritten(247, r#"v5"#),
];
