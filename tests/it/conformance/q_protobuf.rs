//! Group Q: protobuf profiles.

use super::case::{Row, unwritten};

pub(super) const ROWS: &[Row] = &[
    unwritten(
        286,
        r#"schema of key1 string, key2 bool, key3 double, key4 int32 (all optional), key5 message; send all"#,
    ),
    unwritten(287, r#"schema `optional int64 ts` + message values; ts 10000"#),
    unwritten(288, r#"as 287, fields without `optional`, only key5 set"#),
    unwritten(289, r#"optional fields set to "", false, 0.0; key4 not set"#),
    unwritten(290, r#"`v2/t/j` with JSON, compatibility off"#),
    unwritten(291, r#"`v2/t/p` with protobuf"#),
    unwritten(292, r#"compatibility on, JSON on the v1 topic"#),
    unwritten(293, r#"compatibility off, JSON text on the v1 topic, v3, flag off / on"#),
    unwritten(294, r#"compatibility on, malformed JSON, v3, flag off / on"#),
    unwritten(295, r#"int64 field 5"#),
    unwritten(296, r#"`some_key`"#),
    unwritten(297, r#"enum field"#),
    unwritten(298, r#"attributes schema with int32 etc. on v1, `v2/a`, `v2/a/p`"#),
    unwritten(299, r#"AttributesRequest on v1"#),
    unwritten(300, r#"same on `v2/a/req/p/1`; JSON on `v2/a/req/j/1`"#),
    unwritten(301, r#"shared update; delete"#),
    unwritten(
        302,
        r#"compatibility + JSON downlinks: update with v1 / `v2/a` / `v2/a/j` / `v2/a/p` subscription"#,
    ),
    unwritten(303, r#"compatibility on, JSON downlinks off: v1"#),
    unwritten(
        304,
        r#"RPC request schema with params message {pin string, value int32}: REST `{"method":"setGpio","params":{"pin":"23","value":1}}`"#,
    ),
    unwritten(305, r#"answer with RpcResponseMsg payload `{"value1":"A","value2":"B"}`"#),
    unwritten(306, r#"default RPC schema, object params"#),
    unwritten(307, r#"ClaimDevice message; empty payload"#),
    unwritten(308, r#"JSON profile, protobuf on `v2/t/p`"#),
    unwritten(309, r#"client RPC RpcRequest{method, params `{}`} on v1"#),
];
