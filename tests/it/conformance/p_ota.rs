//! Group P: over-the-air updates.

use super::case::{Row, unwritten};

pub(super) const ROWS: &[Row] = &[
    unwritten(272, r#"D subscribed to `v1/devices/me/attributes`; assign the firmware"#),
    unwritten(273, r#"telemetry of D then"#),
    unwritten(274, r#"publish `400` to `v2/fw/request/1/chunk/0`, `…/1`, `…/2`"#),
    unwritten(275, r#"`…/chunk/3`"#),
    unwritten(276, r#"empty payload on `v2/fw/request/1/chunk/1` after 274"#),
    unwritten(277, r#"empty payload on a fresh requestId `2`"#),
    unwritten(278, r#"payload `65537`"#),
    unwritten(279, r#"payload `abc`"#),
    unwritten(280, r#"device without firmware"#),
    unwritten(281, r#"URL firmware"#),
    unwritten(282, r#"software: `v2/sw/request/1/chunk/0` on a fresh connection"#),
    unwritten(283, r#"new firmware assigned, same requestId on the same connection"#),
    unwritten(284, r#"firmware on the profile, none on D"#),
    unwritten(285, r#"withdraw"#),
];
