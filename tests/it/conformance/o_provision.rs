//! Group O: provisioning.

use super::case::{Row, unwritten};

pub(super) const ROWS: &[Row] = &[
    unwritten(248, r#"CONNECT user name `provision`"#),
    unwritten(249, r#"CONNECT client id `provision`, no user name"#),
    unwritten(250, r#"v5: subscribe `/provision/response` q1; then `v1/devices/me/attributes`"#),
    unwritten(
        251,
        r#"ALLOW_CREATE: `{"deviceName":"Test Provision device","provisionDeviceKey":"testProvisionKey","provisionDeviceSecret":"testProvisionSecret"}` on `/provision/request`"#,
    ),
    unwritten(252, r#"without subscribing first"#),
    unwritten(253, r#"plus `"gateway":true`"#),
    unwritten(254, r#"plus `"credentialsType":"ACCESS_TOKEN","token":"test_token"`"#),
    unwritten(
        255,
        r#"plus `"credentialsType":"MQTT_BASIC","clientId":"test_clientId","username":"test_username","password":"test_password"`"#,
    ),
    unwritten(256, r#"plus `"credentialsType":"X509_CERTIFICATE","hash":"testHash"`"#),
    unwritten(257, r#"DISABLED"#),
    unwritten(258, r#"wrong key; wrong secret"#),
    unwritten(259, r#"CHECK_PRE_PROVISIONED, device exists"#),
    unwritten(260, r#"259 repeated"#),
    unwritten(261, r#"CHECK_PRE_PROVISIONED, unknown device name"#),
    unwritten(262, r#"ALLOW_CREATE, name of an existing device"#),
    unwritten(263, r#"ALLOW_CREATE without deviceName"#),
    unwritten(264, r#"`"deviceName":"  "`"#),
    unwritten(265, r#"`{"deviceName":"x"}`"#),
    unwritten(266, r#"`"credentialsType":"FOO"`"#),
    unwritten(267, r#"v5: publish `test` on `v1/devices/me/telemetry`"#),
    unwritten(268, r#"publish on `/provision`"#),
    unwritten(269, r#"protobuf ProvisionDeviceRequestMsg on `/provision/request`"#),
    unwritten(270, r#"protobuf with bad key"#),
    unwritten(271, r#"idle after the answer"#),
];
