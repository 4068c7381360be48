//! What a stranger finds at the endpoints of codecs, dead letters, replays and the trace: bad input is named, and changes
//! nothing.

use axum::http::Method;
use serde_json::{Value, json};

use super::Site;

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const DELETE: Method = Method::DELETE;

#[tokio::test]
async fn what_is_named_and_not_there_is_named_in_the_answer() {
    let site = Site::new().await;
    for (method, path, words) in [
        (GET, "/api/codecs/none", "There is no codec 'none'"),
        (GET, "/api/codecs/none/component", "There is no codec 'none'"),
        (GET, "/api/codecs/none/candidate", "no candidate of none"),
        (POST, "/api/codecs/none/candidate/promote", "no candidate of none"),
        (POST, "/api/codecs/none/candidate/discard", "no candidate of none"),
        (GET, "/api/codecs/none/canary", "no canary of none"),
        (DELETE, "/api/codecs/none/canary", "no canary of none"),
        (GET, "/api/dead-letters/5", "There is no dead letter 5"),
        (DELETE, "/api/dead-letters/5", "There is no dead letter 5"),
        (GET, "/api/dead-letters?deviceName=none", "There is no device 'none'"),
        (GET, "/api/dead-letters/export?deviceProfileName=none", "There is no device profile 'none'"),
        (GET, "/api/replay", "No replay has been started"),
        (DELETE, "/api/replay", "No replay is running"),
        (GET, "/api/trace?deviceName=none", "There is no device 'none'"),
        (GET, "/api/trace?deviceProfileName=none", "There is no device profile 'none'"),
        (GET, "/api/trace?codec=none", "There is no codec 'none'"),
    ] {
        site.refused(method, path, "", 404, 32, words).await;
    }
}

#[tokio::test]
async fn parameters_that_nobody_reads_are_refused_where_they_would_widen_what_is_meant() {
    let site = Site::new().await;
    for (method, path, words) in [
        (DELETE, "/api/dead-letters?all=true&deviceNam=d", "There is no parameter 'deviceNam' here"),
        (DELETE, "/api/dead-letters", "Say which"),
        (DELETE, "/api/dead-letters?all=yes", "Say which"),
        (GET, "/api/dead-letters?stag=refused", "There is no parameter 'stag' here"),
        (GET, "/api/dead-letters/export?limit=1", "There is no parameter 'limit' here"),
        (GET, "/api/dead-letters?stage=lost", "'stage' is one of"),
        (GET, "/api/dead-letters?limit=0", "'limit' must be greater than 0"),
        (GET, "/api/dead-letters?limit=-1", "Invalid value of parameter 'limit': -1"),
        (GET, "/api/dead-letters?limit=99999999999999999999", "Invalid value of parameter 'limit'"),
        (GET, "/api/dead-letters?before=x", "Invalid value of parameter 'before'"),
        (GET, "/api/dead-letters?since=1e3", "Invalid value of parameter 'since'"),
        (GET, "/api/dead-letters?since=5&until=5", "'until' has to be later than 'since'"),
        (
            DELETE,
            "/api/dead-letters?since=9223372036854775807&until=-9223372036854775808",
            "'until' has to be later",
        ),
        (GET, "/api/dead-letters?codec=no+ne", "Invalid value of parameter 'codec': a codec name is"),
        (GET, "/api/dead-letters/-5", "A dead letter has a number, not '-5'"),
        (GET, "/api/dead-letters/99999999999999999999", "A dead letter has a number"),
        (GET, "/api/trace?since=1", "There is no parameter 'since' here"),
        (GET, "/api/trace?codec=no+ne", "a codec name is"),
        (GET, "/api/codecs/no%20ne", "a codec name is"),
        (GET, "/api/codecs/%ff", "The path is not UTF-8"),
        (GET, "/api/device/%ff", "The path is not UTF-8"),
    ] {
        site.refused(method, path, "", 400, 31, words).await;
    }
}

#[tokio::test]
async fn bodies_of_another_shape_are_refused() {
    let site = Site::new().await;
    let order = |more: &str| format!("{{\"deviceProfileName\":\"default\"{more}}}");
    for (path, body, words) in [
        ("/api/replay", String::new(), "Invalid JSON"),
        ("/api/replay", "[]".into(), "has to be a JSON object"),
        ("/api/replay", "null".into(), "has to be a JSON object"),
        (
            "/api/replay",
            " [\"default\",null,null,null,null,null,null,true,true]".into(),
            "has to be a JSON object",
        ),
        ("/api/replay", "{}".into(), "missing field `deviceProfileName`"),
        ("/api/replay", "{\"deviceProfileName\":5}".into(), "expected a string"),
        ("/api/replay", "{\"deviceProfileName\":\"none\"}".into(), "There is no device profile 'none'"),
        ("/api/replay", order(",\"deviceName\":\"none\""), "There is no device 'none'"),
        ("/api/replay", order(",\"al\":true"), "unknown field `al`"),
        ("/api/replay", order(",\"all\":true"), "keeps no raw frames: set its rawRetentionHours"),
        ("/api/replay", order(",\"last\":0"), "'last' must be greater than 0"),
        ("/api/replay", order(",\"last\":-1"), "invalid value: integer `-1`"),
        ("/api/replay", order(",\"since\":5,\"until\":1"), "'until' has to be later than 'since'"),
        ("/api/replay", order(",\"since\":1e30"), "Invalid JSON"),
        ("/api/replay", order(",\"stage\":\"lost\""), "'stage' is one of"),
        ("/api/replay", order(",\"codec\":\"no ne\""), "invalid codec"),
        ("/api/replay", order(",\"codec\":\"none@1\""), "codec named none"),
        ("/api/replay", order(""), "a codec has to be named"),
        ("/api/rateLimits", "[]".into(), "has to be a JSON object"),
        ("/api/rateLimits", String::new(), "Invalid JSON"),
        ("/api/codecs/c/canary", "[]".into(), "has to be a JSON object"),
        ("/api/codecs/c/canary", "{\"share\":1e400}".into(), "number out of range"),
        ("/api/codecs/c/candidate", "[0.5]".into(), "has to be a JSON object"),
        ("/api/codecs/c/candidate", String::new(), "Invalid JSON"),
        ("/api/codecs/c/candidate?share=half", String::new(), "Invalid value of parameter 'share': half"),
        ("/api/codecs/c/rollback", "{\"versoin\":\"1\"}".into(), "unknown field `versoin`"),
        ("/api/codecs/c/rollback", "[]".into(), "has to be a JSON object"),
        ("/api/auth/login", "[\"tenant@thingsboard.org\",\"x\"]".into(), "has to be a JSON object"),
        ("/api/device", "[]".into(), "has to be a JSON object"),
    ] {
        site.refused(POST, path, body.clone(), 400, 31, words).await;
    }
    for path in ["/api/codecs/c", "/api/codecs/c/candidate"] {
        site.refused(PUT, path, "", 422, 31, "not a whole WebAssembly component").await;
    }
    let limits = site.get("/api/rateLimits").await;
    assert!(limits.as_object().unwrap().values().all(Value::is_null));
    assert_eq!(site.get("/api/dead-letters").await, json!([]));
}
