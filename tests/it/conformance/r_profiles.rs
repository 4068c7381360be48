//! Group R: profiles that are refused.

use super::case::{Row, unwritten};

pub(super) const ROWS: &[Row] = &[
    unwritten(310, r#"`syntax ="proto2"`"#),
    unwritten(311, r#"no syntax line"#),
    unwritten(312, r#"`option java_package=…`"#),
    unwritten(313, r#"`import public "x.proto";` / `import "x.proto";`"#),
    unwritten(314, r#"`extend X {…}`"#),
    unwritten(315, r#"only an enum"#),
    unwritten(316, r#"empty file with syntax only"#),
    unwritten(317, r#"enum with `allow_alias`"#),
    unwritten(318, r#"`reserved 1;` / message option / group / extensions in a message; group in a oneof"#),
    unwritten(319, r#"proto3 with a `required` field at line 6 column 4"#),
    unwritten(320, r#"telemetry message without fields"#),
    unwritten(
        321,
        r#"telemetry {ts string optional, values message} / {ts int64 without optional, …} / {ts optional int64, values int32}"#,
    ),
    unwritten(322, r#"RPC request with two fields; method int32; requestId string; repeated params"#),
    unwritten(323, r#"telemetry schema with a `oneof`"#),
    unwritten(324, r#"two messages; the second uses the first"#),
    unwritten(325, r#"change transportType with a device in the profile"#),
    unwritten(326, r#"same provisionDeviceKey in two profiles"#),
];
