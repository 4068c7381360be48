//! The provisioning configuration of a profile: as it is written it is read back.

use axum::http::Method;
use serde_json::{Value, json};

use super::Site;

fn profile(name: &str, kind: &str, key: &str, configuration: Value) -> Value {
    json!({
        "name": name, "type": "DEFAULT", "transportType": "DEFAULT", "provisionType": kind, "provisionDeviceKey": key,
        "profileData": {"provisionConfiguration": configuration},
    })
}

#[tokio::test]
async fn a_profile_gives_back_its_provisioning() {
    let site = Site::new().await;
    for kind in ["ALLOW_CREATE_NEW_DEVICES", "CHECK_PRE_PROVISIONED_DEVICES"] {
        let asked = json!({"type": kind, "provisionDeviceSecret": "s", "unknown": 1});
        let saved = site.post("/api/deviceProfile", profile(kind, kind, kind, asked)).await;
        assert_eq!((&saved["provisionType"], &saved["provisionDeviceKey"]), (&json!(kind), &json!(kind)));
        let kept = json!({"type": kind, "provisionDeviceSecret": "s"});
        assert_eq!(saved["profileData"]["provisionConfiguration"], kept);
        let path = format!("/api/deviceProfile/{}", saved["id"]["id"].as_str().unwrap());
        assert_eq!(site.get(&path).await, saved);
        // As it was read it can be saved again, and disabled.
        let mut again = site.post("/api/deviceProfile", saved.clone()).await;
        assert_eq!(again["profileData"]["provisionConfiguration"], kept);
        again["provisionType"] = json!("DISABLED");
        again["profileData"]["provisionConfiguration"] =
            json!({"type": "DISABLED", "provisionDeviceSecret": "s"});
        let disabled = site.post("/api/deviceProfile", again).await;
        assert_eq!(disabled["provisionDeviceKey"], Value::Null);
        let kept = json!({"type": "DISABLED", "provisionDeviceSecret": null});
        assert_eq!(disabled["profileData"]["provisionConfiguration"], kept);
    }
    let chain = json!({
        "type": "X509_CERTIFICATE_CHAIN", "provisionDeviceSecret": "TUlJ", "certificateRegExPattern": "([^@]+)",
        "allowCreateNewDevicesByX509Certificate": true,
    });
    let asked = profile("chain", "X509_CERTIFICATE_CHAIN", "whatever", chain.clone());
    let saved = site.post("/api/deviceProfile", asked).await;
    assert_eq!(saved["profileData"]["provisionConfiguration"], chain);
    let key = saved["provisionDeviceKey"].as_str().unwrap();
    assert!(key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
    let plain =
        json!({"name": "plain", "type": "DEFAULT", "transportType": "DEFAULT", "provisionType": null});
    let plain = site.post("/api/deviceProfile", plain).await;
    assert_eq!((&plain["provisionType"], &plain["provisionDeviceKey"]), (&json!("DISABLED"), &Value::Null));
}

#[tokio::test]
async fn a_provisioning_that_makes_no_sense_is_refused() {
    let site = Site::new().await;
    let new = "ALLOW_CREATE_NEW_DEVICES";
    let secret = |kind: &str| json!({"type": kind, "provisionDeviceSecret": "s"});
    site.post("/api/deviceProfile", profile("first", new, "k", secret(new))).await;
    for (shape, words) in [
        (
            profile("p", new, "k", secret(new)),
            "Device profile with such provision device key already exists!",
        ),
        (profile("p", new, "", secret(new)), "provision device key should be specified!"),
        (profile("p", new, "l", json!({"type": new})), "provision device secret should be specified!"),
        (profile("p", "DISABLED", "l", secret(new)), "they have to agree!"),
        (profile("p", "SOME", "l", secret("SOME")), "not 'SOME'"),
        (profile("p", new, "l", json!([])), "'provisionConfiguration' is an object"),
        (
            profile("p", new, "l", json!({"type": new, "provisionDeviceSecret": 5})),
            "'provisionDeviceSecret' is a text",
        ),
        (
            profile("p", "X509_CERTIFICATE_CHAIN", "l", json!({"allowCreateNewDevicesByX509Certificate": 1})),
            "'allowCreateNewDevicesByX509Certificate' is true or false",
        ),
    ] {
        site.refused(Method::POST, "/api/deviceProfile", shape.to_string(), 400, 31, words).await;
    }
}
