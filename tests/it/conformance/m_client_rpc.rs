//! Group M: RPC from the device, and the limits of its session.

use super::case::{Row, unwritten};

pub(super) const ROWS: &[Row] = &[
    unwritten(
        231,
        r#"rule chain answers `{"response":"requestReceived"}`; D subscribed only to `v1/devices/me/rpc/request/+`; publish `{"method":"getResponse","params":true}` to `v1/devices/me/rpc/request/42`"#,
    ),
    unwritten(232, r#"on `v2/r/req/j/5`"#),
    unwritten(233, r#"no node answers"#),
    unwritten(234, r#"`{"method":"m"}`"#),
    unwritten(235, r#"`{"params":{}}`"#),
    unwritten(
        236,
        r#"device limits "20:600", "10:600", "40:600"; `{"method":"getSessionLimits","params":{}}` to `v1/devices/me/rpc/request/1`"#,
    ),
    unwritten(
        237,
        r#"same on a gateway with gateway limits 100/50/200 and gateway-device limits 20/10/40 (":600")"#,
    ),
    unwritten(238, r#"limits unset"#),
    unwritten(239, r#"getSessionLimits on `v2/r/req/1`"#),
];
