//! Candidates and canaries, as far as they go without a component; with one they are tried in `tests/it`.

use axum::body::Body;
use axum::http::Method;
use serde_json::json;

use super::Site;

const CANDIDATE: &str = "/api/codecs/c/candidate";
const CANARY: &str = "/api/codecs/c/canary";

#[tokio::test]
async fn where_there_is_no_candidate_nothing_can_be_done_with_one() {
    let site = Site::new().await;
    for (method, path) in [
        (Method::GET, CANDIDATE.to_owned()),
        (Method::GET, CANARY.to_owned()),
        (Method::DELETE, CANARY.to_owned()),
        (Method::POST, CANARY.to_owned()),
        (Method::POST, format!("{CANDIDATE}?share=0.5")),
        (Method::POST, format!("{CANDIDATE}/promote")),
        (Method::POST, format!("{CANDIDATE}/discard")),
    ] {
        site.refused(method, &path, Body::empty(), 404, 32, " of c ").await;
    }
    site.refused(Method::GET, "/api/codecs/No%20Name/candidate", Body::empty(), 400, 31, "a codec name")
        .await;
}

#[tokio::test]
async fn a_rejected_candidate_is_told_until_it_is_discarded() {
    let site = Site::new().await;
    site.refused(Method::PUT, CANDIDATE, "no component", 422, 31, "not start as WebAssembly").await;
    let candidate = site.get(CANDIDATE).await;
    assert_eq!((&candidate["state"], &candidate["file"]), (&json!("rejected"), &json!("c.next.wasm")));
    assert!(candidate["error"].as_str().unwrap().contains("not start as WebAssembly"), "{candidate}");
    assert_eq!(site.get("/api/codecs").await, json!([]), "it is none of the codecs");
    assert_eq!(site.post(&format!("{CANDIDATE}/discard"), json!({})).await, json!(""));
    site.refused(Method::GET, CANDIDATE, Body::empty(), 404, 32, "").await;
}

#[tokio::test]
async fn a_plan_that_makes_no_sense_is_refused_with_the_reason() {
    let site = Site::new().await;
    for (plan, message) in [
        (json!({"share": 0}), "share must be above 0"),
        (json!({"share": "much"}), "Invalid JSON"),
        (json!({"shares": 0.5}), "unknown field `shares`"),
        (json!({"maxErrorRate": 2}), "maxErrorRate must be from 0 to 1"),
        (json!({"maxLatencyRatio": 0}), "maxLatencyRatio must be a number above 0"),
        (json!({"minMessages": 0}), "minMessages must be at least 1"),
        (json!({"durationS": 99_999_999}), "durationS must be at most"),
        (json!({"onSuccess": "cheer"}), "unknown variant"),
    ] {
        site.refused(Method::POST, CANARY, plan.to_string(), 400, 31, message).await;
    }
}
