//! Group S: rate limits.

use super::case::{Row, unwritten};

pub(super) const ROWS: &[Row] = &[
    unwritten(327, r#"device messages `3:600`: CONNECT, then 3 attribute requests"#),
    unwritten(328, r#"as 327, telemetry in between"#),
    unwritten(329, r#"device telemetry messages `1:600`: two telemetry publishes"#),
    unwritten(330, r#"device data points `3:600`: `{"a":1,"b":2}` twice"#),
    unwritten(331, r#"device messages `1:600`: connect, disconnect, connect"#),
    unwritten(332, r#"`1:1,2:3600`"#),
    unwritten(333, r#"50 PINGREQs, 50 unknown topics, 50 getSessionLimits under `1:600`"#),
    unwritten(334, r#"gateway messages `3:600`; telemetry for DeviceA, then DeviceB"#),
    unwritten(335, r#"gateway telemetry messages `1:600` (or data points): A then B"#),
    unwritten(336, r#"gateway-device telemetry `1:600`: gateway's own telemetry twice over two sessions"#),
];
