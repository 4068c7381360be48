//! History, rollback, pins and the audit log, as clients see them. What lies behind is tested where it lives.

use axum::http::Method;
use serde_json::json;
use wireglot_model::{Actor, AuditAction, AuditEntry, Timestamp};

use super::Site;

fn profile(codec: &str) -> serde_json::Value {
    json!({
        "name": "p",
        "type": "DEFAULT",
        "transportType": "MQTT",
        "profileData": {"transportConfiguration": {
            "type": "MQTT",
            "transportPayloadTypeConfiguration": {"transportPayloadType": "CODEC", "codec": codec},
        }},
    })
}

#[tokio::test]
async fn what_is_not_there_is_told_with_the_way_out() {
    let site = Site::new().await;
    for (method, path) in [
        (Method::GET, "/api/codecs/none/history"),
        (Method::GET, "/api/codecs/none/versions"),
        (Method::POST, "/api/codecs/none/rollback"),
        (Method::GET, "/api/codecs/none/component?version=1.0.0"),
    ] {
        site.refused(method, path, "", 404, 32, "There is no codec 'none'").await;
    }
    let save = |codec: &str| profile(codec).to_string();
    let unknown = "codec named none is kept";
    site.refused(Method::POST, "/api/deviceProfile", save("none@1.0.0"), 400, 31, unknown).await;
    site.refused(Method::POST, "/api/deviceProfile", save("none@"), 400, 31, "no version behind").await;
    site.refused(Method::POST, "/api/deviceProfile", save("No@1.0.0"), 400, 31, "invalid codec").await;
    // Without a pin a codec may come later.
    let saved = site.post("/api/deviceProfile", profile("none")).await;
    let payload = &saved["profileData"]["transportConfiguration"]["transportPayloadTypeConfiguration"];
    assert_eq!((&payload["codec"], &payload["codecHash"]), (&json!("none"), &json!(null)));
}

#[tokio::test]
async fn the_audit_log_is_paged_and_filtered_newest_first() {
    let site = Site::new().await;
    for number in 0..5 {
        let entry = AuditEntry {
            at: Timestamp(1_000 + number),
            actor: if number % 2 == 0 { Actor::Server } else { Actor::File("c.wasm".into()) },
            action: if number == 0 { AuditAction::CodecRejected } else { AuditAction::CodecLive },
            target: format!("codec-{number}"),
            detail: format!("version {number}.0.0"),
        };
        site.api.devices.audit(entry).await.unwrap();
    }
    let targets = async |query: &str| {
        let page = site.get(&format!("/api/audit?pageSize=3&page=0{query}")).await;
        let rows = page["data"].as_array().unwrap().clone();
        let targets: Vec<String> =
            rows.iter().map(|row| row["target"].as_str().unwrap().to_owned()).collect();
        (targets.join(" ").replace("codec-", ""), page["totalElements"].as_u64().unwrap())
    };
    assert_eq!(targets("").await, ("4 3 2".into(), 5));
    assert_eq!(targets("&sortOrder=ASC").await, ("0 1 2".into(), 5));
    assert_eq!(targets("&action=codec_rejected").await, ("0".into(), 1));
    assert_eq!(targets("&target=codec-2").await, ("2".into(), 1));
    assert_eq!(targets("&actor=c.wasm").await, ("3 1".into(), 2));
    assert_eq!(targets("&startTs=1001&endTs=1002").await, ("2 1".into(), 2));
    assert_eq!(targets("&textSearch=3.0.0").await, ("3".into(), 1));
    let page = site.get("/api/audit?pageSize=1&page=1").await;
    let expected = json!({"type": "FILE", "name": "c.wasm"});
    assert_eq!((&page["data"][0]["actor"], &page["hasNext"]), (&expected, &json!(true)));
    site.refused(Method::GET, "/api/audit?pageSize=1&page=0&startTs=x", "", 400, 31, "startTs").await;
    // Who saves a profile over REST is told by login name.
    site.post("/api/deviceProfile", profile("none")).await;
    let page = site.get("/api/audit?pageSize=1&page=0").await;
    let told = &page["data"][0];
    assert_eq!((&told["action"], &told["target"]), (&json!("PROFILE_CREATED"), &json!("p")));
    assert_eq!(told["actor"]["name"], wireglot_device::ADMINISTRATOR_EMAIL);
}
