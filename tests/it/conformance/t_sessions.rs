//! Group T: sessions and activity.

use super::case::{Row, unwritten};

pub(super) const ROWS: &[Row] = &[
    unwritten(337, r#"v5: connect D twice with the same token"#),
    unwritten(338, r#"v3 as 337"#),
    unwritten(339, r#"delete D while connected"#),
    unwritten(340, r#"change D's token while connected"#),
    unwritten(341, r#"connect"#),
    unwritten(342, r#"disconnect"#),
    unwritten(343, r#"`inactivityTimeout` = 5000 on D, silence"#),
    unwritten(344, r#"silent for 600 s"#),
    unwritten(345, r#"PINGREQ every 60 s"#),
];
