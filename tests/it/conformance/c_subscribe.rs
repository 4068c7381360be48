//! Group C: SUBSCRIBE and UNSUBSCRIBE.

use serde_json::json;
use wireglot_load::wire::Version;

use super::case::{ATTRIBUTES, Row, both, v3, v5};

/// Every filter that is granted, whatever the profile says.
const FILTERS: [&str; 23] = [
    "v1/devices/me/attributes",
    "v2/a",
    "v2/a/j",
    "v2/a/p",
    "v1/devices/me/rpc/request/+",
    "v2/r/req/+",
    "v2/r/req/j/+",
    "v2/r/req/p/+",
    "v1/devices/me/rpc/response/+",
    "v2/r/res/+",
    "v2/r/res/j/+",
    "v2/r/res/p/+",
    "v1/devices/me/attributes/response/+",
    "v2/a/res/+",
    "v2/a/res/j/+",
    "v2/a/res/p/+",
    "v2/fw/response/+/chunk/+",
    "v2/fw/error",
    "v2/sw/response/+/chunk/+",
    "v2/sw/error",
    "v1/gateway/attributes",
    "v1/gateway/attributes/response",
    "v1/gateway/rpc",
];

pub(super) const ROWS: &[Row] = &[
    v5(61, "v5 subscribe `v1/devices/me/attributes` at QoS 0", |c| {
        assert_eq!(c.client().subscribe_at(&[(ATTRIBUTES, 0)]), [0]);
    }),
    v5(62, "v5 subscribe `wrong/topic/+`", |c| {
        let mut client = c.client();
        assert_eq!(client.subscribe("wrong/topic/+"), 0x8f);
        client.stays();
    }),
    v3(63, "v3 subscribe `wrong/topic/+`", |c| {
        let mut client = c.client();
        assert_eq!(client.subscribe("wrong/topic/+"), 0x80);
        client.stays();
    }),
    both(64, "subscribe `#`, `v1/devices/me/#`, `v1/devices/me/rpc/request/7`", |c| {
        let mut client = c.client();
        let refused = if c.version == Version::V3 { 0x80 } else { 0x8f };
        for filter in ["#", "v1/devices/me/#", "v1/devices/me/rpc/request/7"] {
            assert_eq!(client.subscribe(filter), refused, "{filter}");
        }
    }),
    both(65, "one SUBSCRIBE with a good, a bad and a good filter", |c| {
        let codes = c.client().subscribe_at(&[(ATTRIBUTES, 1), ("bad", 1), ("v2/r/req/+", 0)]);
        assert_eq!(codes, [1, if c.version == Version::V3 { 0x80 } else { 0x8f }, 0]);
    }),
    both(66, "each of the 23 filters at QoS 1", |c| {
        let mut client = c.client();
        for filter in FILTERS {
            assert_eq!(client.subscribe(filter), 1, "{filter}");
        }
    }),
    v5(67, "v5 unsubscribe after 61", |c| {
        let mut client = c.client();
        client.subscribe_at(&[(ATTRIBUTES, 0)]);
        assert_eq!(client.unsubscribe(ATTRIBUTES), 0);
        c.share(json!({ "a": 1 }));
        client.hears_nothing();
    }),
    v5(68, "v5 unsubscribe without having subscribed", |c| {
        assert_eq!(c.client().unsubscribe(ATTRIBUTES), 0x11);
    }),
    both(69, "two families of attribute updates: the last one wins", |c| {
        let mut client = c.client();
        client.subscribe(ATTRIBUTES);
        client.subscribe("v2/a/j");
        c.share(json!({ "a": 1 }));
        assert_eq!(client.json_on("v2/a/j"), json!({ "a": 1 }));
        client.hears_nothing();
    }),
    both(70, "as 69, then unsubscribe the first one", |c| {
        let mut client = c.client();
        client.subscribe(ATTRIBUTES);
        client.subscribe("v2/a/j");
        client.unsubscribe(ATTRIBUTES);
        c.share(json!({ "a": 1 }));
        client.hears_nothing();
    }),
    both(71, "subscribe RPC at QoS 0, an RPC arrives", |c| {
        let mut client = c.client();
        assert_eq!(client.subscribe_at(&[("v1/devices/me/rpc/request/+", 0)]), [0]);
        let body = json!({ "method": "m", "params": {} });
        let path = format!("/api/rpc/oneway/{}", c.rest().device_id(&c.name()));
        c.rest().post(&path, &body).expect("the RPC went out");
        assert_eq!(client.message().qos, 0);
    }),
    both(72, "a device that is no gateway subscribes `v1/gateway/rpc`", |c| {
        assert_eq!(c.client().subscribe("v1/gateway/rpc"), 1);
    }),
];
