//! Group V: Sparkplug.

use super::case::{Row, unwritten};

pub(super) const ROWS: &[Row] = &[
    unwritten(389, r#"sparkplug profile, CONNECT without will"#),
    unwritten(390, r#"CONNECT with will `spBv1.0/G/NDEATH/N` q1 bdSeq 1, clean, v5 expiry 0"#),
    unwritten(391, r#"will QoS 0, or retain, or expiry missing in v5"#),
    unwritten(392, r#"NBIRTH with bdSeq and metrics"#),
    unwritten(393, r#"DBIRTH for devices D1…D3"#),
    unwritten(394, r#"NDATA Int32 4, Float 1.5, Boolean, String"#),
    unwritten(395, r#"DDEATH"#),
    unwritten(396, r#"node disconnects"#),
    unwritten(397, r#"shared attribute of a birth metric"#),
    unwritten(398, r#"RPC NCMD `{"metricName":"…","value":…}` known / unknown metric"#),
    unwritten(399, r#"metric in sparkplugAttributesMetricNames"#),
    unwritten(400, r#"Double 3.7"#),
];
