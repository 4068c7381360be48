//! Devices, credentials and profiles in the shapes of REST §2.2 to §2.4.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use super::Site;

const NOBODY: &str = "13814000-1dd2-11b2-8080-808080808080";

fn codec_profile(name: &str) -> Value {
    json!({
        "name": name,
        "type": "DEFAULT",
        "transportType": "MQTT",
        "image": "data:image/png;base64,AA==",
        "ours": {"kept": [1, 2.50]},
        "retentionDays": 30,
        "profileData": {
            "configuration": {"type": "DEFAULT"},
            "transportConfiguration": {
                "type": "MQTT",
                "deviceTelemetryTopic": "up/+",
                "deviceAttributesTopic": null,
                "sendAckOnValidationException": true,
                "transportPayloadTypeConfiguration": {
                    "transportPayloadType": "CODEC",
                    "codec": "elsys",
                    "settings": {"prefix": "a", "n": 1.0},
                    "onFailure": "accept",
                    "limits": {"deadlineMs": 50, "memoryMiB": null, "values": 100},
                    "future": "kept",
                },
            },
        },
    })
}

#[tokio::test]
async fn a_device_lives() {
    let site = Site::new().await;
    let made =
        site.post("/api/device?accessToken=TOK", json!({"name": "d", "label": "L", "type": "thermo"})).await;
    let id = made["id"]["id"].as_str().unwrap();
    let path = format!("/api/device/{id}");
    assert_eq!(made["id"]["entityType"], "DEVICE");
    assert_eq!((&made["type"], &made["label"], &made["version"]), (&json!("thermo"), &json!("L"), &json!(1)));
    assert_eq!(made["customerId"], json!({"entityType": "CUSTOMER", "id": NOBODY}));
    assert_eq!(made["deviceProfileId"]["entityType"], "DEVICE_PROFILE");
    assert_eq!(made["deviceData"]["transportConfiguration"], json!({"type": "DEFAULT"}));
    assert!(made["createdTime"].is_u64() && made["additionalInfo"].is_null());
    for same in
        [path.clone(), "/api/tenant/device?deviceName=d".into(), "/api/tenant/devices?deviceName=d".into()]
    {
        assert_eq!(site.get(&same).await, made, "{same}");
    }
    let mut changed = made.clone();
    changed["name"] = json!("renamed");
    changed["additionalInfo"] = json!({"gateway": true, "x": 1.50});
    let saved = site.post("/api/device?params=ignored", changed.clone()).await;
    changed["version"] = json!(2);
    assert_eq!(saved, changed, "clients send whole objects back");
    changed["version"] = json!(1);
    site.refused(Method::POST, "/api/device", changed.to_string(), 409, 35, "").await;
    let info = site.get(&format!("/api/device/info/{id}")).await;
    assert_eq!((&info["active"], &info["deviceProfileName"]), (&json!(false), &json!("thermo")));
    let (status, _) = site.call(Method::DELETE, &path, Body::empty()).await;
    assert_eq!(status.as_u16(), 200);
    site.refused(Method::GET, &path, Body::empty(), 404, 32, "Requested item wasn't found!").await;
    site.refused(Method::DELETE, &path, Body::empty(), 404, 32, "").await;
}

#[tokio::test]
async fn bad_devices_are_refused() {
    let site = Site::new().await;
    site.device("d").await;
    for (body, status, code, message) in [
        (json!({}), 400, 31, "Device name should be specified!"),
        (json!({"name": "d"}), 400, 31, "Device with such name already exists!"),
        (json!({"name": "e", "deviceProfileId": {"id": NOBODY}}), 400, 31, "device profile"),
        (json!({"name": "e", "deviceProfileId": {"id": "x"}}), 400, 31, "Invalid UUID string: x"),
        (json!({"name": "e", "additionalInfo": 1}), 400, 31, "JSON object"),
        (json!({"name": 5}), 400, 31, "Invalid JSON"),
        (json!({"id": {"id": NOBODY}, "name": "e"}), 404, 32, ""),
    ] {
        site.refused(Method::POST, "/api/device", body.to_string(), status, code, message).await;
    }
    site.refused(Method::GET, "/api/device/x", Body::empty(), 400, 31, "Invalid UUID string: x").await;
    site.refused(Method::GET, "/api/tenant/device?deviceName=nobody", Body::empty(), 404, 32, "").await;
    let unique = "/api/device?nameConflictPolicy=UNIQUIFY&uniquifySeparator=-&uniquifyStrategy=INCREMENTAL";
    assert_eq!(site.post(unique, json!({"name": "d"})).await["name"], "d-1");
    assert_eq!(site.post(unique, json!({"name": "d"})).await["name"], "d-2");
}

#[tokio::test]
async fn lists_come_in_pages() {
    let site = Site::new().await;
    for name in ["b", "a", "C", "other"] {
        site.post(
            "/api/device",
            json!({"name": name, "label": "L", "type": if name == "C" { "x" } else { "y" }}),
        )
        .await;
    }
    let names = async |query: &str| {
        let page = site.get(&format!("/api/tenant/devices?{query}")).await;
        let names: Vec<_> =
            page["data"].as_array().unwrap().iter().map(|device| device["name"].clone()).collect();
        (json!(names), page["totalPages"].clone(), page["totalElements"].clone(), page["hasNext"].clone())
    };
    let all = (json!(["C", "a", "b", "other"]), json!(1), json!(4), json!(false));
    assert_eq!(names("pageSize=10&page=0&sortProperty=name&includeCustomers=true").await, all);
    let page = (json!(["b", "a"]), json!(2), json!(4), json!(false));
    assert_eq!(names("pageSize=2&page=1&sortProperty=name&sortOrder=DESC").await.0, json!(["a", "C"]));
    assert_eq!(names("pageSize=2&page=0&sortProperty=name&sortOrder=DESC").await.3, json!(true));
    assert_eq!(names("pageSize=2&page=1&sortProperty=name&sortOrder=DESC").await.1, page.1);
    assert_eq!(names("pageSize=2&page=7").await.0, json!([]));
    assert_eq!(names("pageSize=10&page=0&textSearch=OTH").await.0, json!(["other"]));
    assert_eq!(names("pageSize=10&page=0&type=x").await.0, json!(["C"]));
    let infos = site.get("/api/tenant/deviceInfos?pageSize=10&page=0&active=true").await;
    assert_eq!(infos["totalElements"], 0);
    for (query, message) in [
        ("page=0", "pageSize"),
        ("pageSize=10", "page"),
        ("pageSize=x&page=0", "pageSize"),
        ("pageSize=0&page=0", "page size"),
        ("pageSize=1&page=0&sortProperty=colour", "Invalid sort property: colour"),
        ("pageSize=1&page=0&sortOrder=UP", "sort order"),
    ] {
        let path = format!("/api/tenant/devices?{query}");
        site.refused(Method::GET, &path, Body::empty(), 400, 31, message).await;
    }
}

#[tokio::test]
async fn credentials_are_read_and_replaced() {
    let site = Site::new().await;
    let id = site.device("d").await;
    let path = format!("/api/device/{id}/credentials");
    let mut credentials = site.get(&path).await;
    assert_eq!(credentials["credentialsId"].as_str().unwrap().len(), 20);
    assert_eq!(
        (&credentials["credentialsType"], &credentials["credentialsValue"]),
        (&json!("ACCESS_TOKEN"), &json!(null))
    );
    assert_eq!(credentials["deviceId"], json!({"entityType": "DEVICE", "id": id}));
    assert!(credentials["id"]["entityType"].is_null(), "the one id without a type");
    credentials["credentialsType"] = json!("MQTT_BASIC");
    credentials["credentialsValue"] = json!("{\"clientId\":\"c\",\"userName\":\"u\",\"password\":\"p\"}");
    let saved = site.post("/api/device/credentials", credentials.clone()).await;
    assert_eq!(saved["credentialsId"].as_str().unwrap().len(), 64);
    let parsed =
        |object: &Value| serde_json::from_str::<Value>(object["credentialsValue"].as_str().unwrap()).unwrap();
    assert_eq!(parsed(&saved), parsed(&credentials));
    assert_eq!(site.get(&path).await, saved);

    let other = site.device("other").await;
    site.post("/api/device?accessToken=TAKEN", json!({"name": "third"})).await;
    let body = |change: Value| {
        let mut body =
            json!({"deviceId": {"id": other}, "credentialsType": "ACCESS_TOKEN", "credentialsId": "X"});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body.to_string()
    };
    for (change, message) in [
        (json!({"credentialsId": "TAKEN"}), "Specified credentials are already registered!"),
        (json!({"credentialsId": ""}), "Device credentials id should be specified!"),
        (json!({"credentialsType": null}), "Device credentials type should be specified!"),
        (json!({"deviceId": null}), "Device credentials should be assigned to device!"),
        (json!({"credentialsType": "MQTT_BASIC"}), "Invalid credentials body"),
        (
            json!({"credentialsType": "MQTT_BASIC", "credentialsValue": "{\"clientId\":\"c\",\"password\":\"p\"}"}),
            "Password cannot be specified along with client id",
        ),
        (
            json!({"credentialsType": "MQTT_BASIC", "credentialsValue": "{}"}),
            "Both mqtt client id and user name are empty!",
        ),
        (json!({"credentialsType": "LWM2M_CREDENTIALS"}), "not served"),
    ] {
        site.refused(Method::POST, "/api/device/credentials", body(change), 400, 31, message).await;
    }
    let both = json!({
        "device": {"name": "imported"},
        "credentials": {"credentialsType": "ACCESS_TOKEN", "credentialsId": "IMPORTED"},
    });
    let imported = site.post("/api/device-with-credentials", both).await;
    let path = format!("/api/device/{}/credentials", imported["id"]["id"].as_str().unwrap());
    assert_eq!(site.get(&path).await["credentialsId"], "IMPORTED");
}

#[tokio::test]
async fn a_codec_profile_survives_reading_and_saving() {
    let site = Site::new().await;
    let made = site.post("/api/deviceProfile", codec_profile("tag")).await;
    let transport = &made["profileData"]["transportConfiguration"];
    let payload = &transport["transportPayloadTypeConfiguration"];
    assert_eq!(transport["deviceTelemetryTopic"], "up/+");
    assert_eq!(transport["deviceAttributesTopic"], "v1/devices/me/attributes");
    assert_eq!(
        (&transport["sparkplug"], &transport["sendAckOnValidationException"]),
        (&json!(false), &json!(true))
    );
    assert_eq!((&payload["codec"], &payload["onFailure"]), (&json!("elsys"), &json!("accept")));
    assert_eq!((&payload["future"], &payload["isolation"]), (&json!("kept"), &json!("instance")));
    assert_eq!(payload["settings"].to_string(), "{\"n\":1.0,\"prefix\":\"a\"}");
    assert_eq!(payload["limits"], json!({"deadlineMs": 50, "values": 100}));
    assert_eq!(
        (&made["ours"].to_string(), &made["retentionDays"]),
        (&"{\"kept\":[1,2.5]}".to_owned(), &json!(30))
    );
    assert_eq!((&made["provisionType"], &made["default"]), (&json!("DISABLED"), &json!(false)));
    assert_eq!(made["image"], "data:image/png;base64,AA==");
    let id = made["id"]["id"].as_str().unwrap();
    assert_eq!(site.get(&format!("/api/deviceProfile/{id}")).await, made);
    let mut again = made.clone();
    let saved = site.post("/api/deviceProfile", made.clone()).await;
    again["version"] = json!(2);
    assert_eq!(saved, again);

    let info = site.get(&format!("/api/deviceProfileInfo/{id}")).await;
    let mut names: Vec<_> = info.as_object().unwrap().keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["defaultDashboardId", "id", "image", "name", "tenantId", "transportType", "type"]);
    assert_eq!(site.get("/api/deviceProfileInfo/default").await["name"], "default");
    let found = site.get("/api/deviceProfileInfos?pageSize=10&page=0&textSearch=TAG").await;
    assert_eq!(found["data"], json!([info]));
    let all = site.get("/api/deviceProfiles?pageSize=10&page=0&sortProperty=name").await;
    assert_eq!((&all["totalElements"], &all["data"][1]), (&json!(2), &saved));

    let default = site.post(&format!("/api/deviceProfile/{id}/default"), json!({})).await;
    assert_eq!(default["default"], true);
    let path = format!("/api/deviceProfile/{id}");
    site.refused(Method::DELETE, &path, Body::empty(), 400, 31, "Default Device Profile").await;
}

/// The profile with these members of its payload configuration set.
fn with_members(members: Value) -> Value {
    let mut profile = codec_profile("p");
    let payload = &mut profile["profileData"]["transportConfiguration"]["transportPayloadTypeConfiguration"];
    for (name, value) in members.as_object().unwrap() {
        payload[name] = value.clone();
    }
    profile
}

#[tokio::test]
async fn an_envelope_survives_reading_and_saving() {
    let site = Site::new().await;
    let payload = |profile: &Value| {
        profile["profileData"]["transportConfiguration"]["transportPayloadTypeConfiguration"].clone()
    };
    let plain = site.post("/api/deviceProfile", with_members(json!({}))).await;
    assert_eq!(payload(&plain)["envelope"], "none");
    assert!(payload(&plain).get("carriedDevicesMax").is_none());
    let id = plain["id"].clone();
    for (members, names, max) in [
        (json!({"envelope": "chirpstack"}), "name", 0),
        (
            json!({"envelope": "tts", "carriedDeviceNames": "devEui", "carriedDevicesMax": 10_000}),
            "devEui",
            10_000,
        ),
    ] {
        let mut profile = with_members(members.clone());
        profile["id"] = id.clone();
        let saved = payload(&site.post("/api/deviceProfile", profile).await);
        assert_eq!(saved["envelope"], members["envelope"]);
        assert_eq!((&saved["carriedDeviceNames"], &saved["carriedDevicesMax"]), (&json!(names), &json!(max)));
    }
    let mut none = with_members(json!({"envelope": "none"}));
    none["id"] = id;
    assert_eq!(payload(&site.post("/api/deviceProfile", none).await), payload(&plain), "and gone again");
}

#[tokio::test]
async fn bad_profiles_are_refused() {
    let site = Site::new().await;
    let with = |pointer: &str, value: Value| {
        let mut profile = codec_profile("p");
        *profile.pointer_mut(pointer).unwrap() = value;
        profile
    };
    let payload = "/profileData/transportConfiguration/transportPayloadTypeConfiguration";
    for (profile, message) in [
        (json!([]), "JSON object"),
        (with("/name", json!(null)), "Device profile name should be specified!"),
        (with("/name", json!("default")), "Device profile with such name already exists!"),
        (with("/type", json!(null)), "Device profile type should be specified!"),
        (with("/transportType", json!(null)), "Device profile transport type should be specified!"),
        (with("/transportType", json!("COAP")), "differ"),
        (with("/retentionDays", json!(0)), "retentionDays"),
        (with(&format!("{payload}/transportPayloadType"), json!("AVRO")), "payloads of type 'AVRO'"),
        (
            with(payload, json!({ "transportPayloadType": "PROTOBUF" })),
            "[Transport Configuration] invalid schema syntax: null for attributes proto schema provided! Only proto3",
        ),
        (
            with(
                payload,
                json!({
                    "transportPayloadType": "PROTOBUF",
                    "deviceTelemetryProtoSchema": "syntax = \"proto3\";\nmessage M {\n  double t = 1\n}",
                    "deviceAttributesProtoSchema": "syntax = \"proto3\";\nmessage M { double t = 1; }",
                }),
            ),
            "failed to parse telemetry proto schema due to: Syntax error in :4:",
        ),
        (with(&format!("{payload}/codec"), json!("../x")), "a codec name is"),
        (with(&format!("{payload}/codec"), json!(null)), "names the codec"),
        (with(&format!("{payload}/settings"), json!([1])), "codec settings should be a JSON object!"),
        (with(&format!("{payload}/onFailure"), json!("ignore")), "onFailure"),
        (with(&format!("{payload}/limits"), json!([])), "limits is an object"),
        (
            with(&format!("{payload}/limits"), json!({"memory": 1})),
            "there is no limit 'memory'; the limits are",
        ),
        (
            with(&format!("{payload}/limits"), json!({"deadlineMs": 1_001})),
            "the limit 'deadlineMs' is a whole number from 1 to 1000",
        ),
        (with(&format!("{payload}/limits"), json!({"values": -1})), "the limit 'values' is a whole number"),
        (with(&format!("{payload}/limits"), json!({"values": 1.5})), "the limit 'values' is a whole number"),
        (with(&format!("{payload}/transportPayloadType"), json!("JSON")), "only payloads of type 'CODEC'"),
    ] {
        site.refused(Method::POST, "/api/deviceProfile", profile.to_string(), 400, 31, message).await;
    }
}

#[tokio::test]
async fn bad_envelopes_and_topics_are_refused() {
    let site = Site::new().await;
    for (members, message) in [
        (json!({"envelope": "chirpstack3"}), "envelope is 'none', 'chirpstack' and 'tts', not 'chirpstack3'"),
        (
            json!({"envelope": "tts", "carriedDeviceNames": "label"}),
            "carriedDeviceNames is 'name' and 'devEui'",
        ),
        (json!({"envelope": "tts", "carriedDevicesMax": -1}), "'carriedDevicesMax' is a whole number"),
        (json!({"envelope": "tts", "carriedDevicesMax": 10_001}), "'carriedDevicesMax' is at most 10000"),
        (json!({"carriedDevicesMax": 5}), "need an 'envelope'"),
        (json!({"envelope": "none", "carriedDeviceNames": "name"}), "need an 'envelope'"),
        (json!({"envelope": "tts", "transportPayloadType": "JSON"}), "'transportPayloadType' is CODEC"),
    ] {
        let body = with_members(members).to_string();
        site.refused(Method::POST, "/api/deviceProfile", body, 400, 31, message).await;
    }
    for (topic, message) in [
        ("up/{fPort", "'up/{fPort' is not a topic filter: '{fPort' is not a named segment"),
        ("{a}/{a}", "{a} is there twice"),
    ] {
        let mut profile = codec_profile("p");
        profile["profileData"]["transportConfiguration"]["deviceTelemetryTopic"] = json!(topic);
        site.refused(Method::POST, "/api/deviceProfile", profile.to_string(), 400, 31, message).await;
    }
    let mut named = with_members(json!({"envelope": "tts"}));
    named["profileData"]["transportConfiguration"]["deviceTelemetryTopic"] =
        json!("v3/{app}/devices/{id}/up");
    let message = "with an 'envelope', 'deviceTelemetryTopic' has no named segments";
    site.refused(Method::POST, "/api/deviceProfile", named.to_string(), 400, 31, message).await;
}

#[tokio::test]
async fn there_is_one_default_profile() {
    let site = Site::new().await;
    let mut second = codec_profile("p");
    second["default"] = json!(true);
    let message = "Another default device profile is present in scope of current tenant!";
    site.refused(Method::POST, "/api/deviceProfile", second.to_string(), 400, 31, message).await;
}

/// What cannot be read is not passed over: the member is named, and nothing is saved.
#[tokio::test]
async fn a_body_with_a_member_of_another_type_is_refused_by_its_name() {
    let site = Site::new().await;
    let customer = site.post("/api/customer", json!({"title": "one", "additionalInfo": [1]})).await;
    let kind = json!({"name": "kind", "type": "DEFAULT", "transportType": "DEFAULT"});
    let profile = site.post("/api/deviceProfile", kind).await;
    let device = site.post("/api/device", json!({"name": "d"})).await;
    let user = site.get("/api/auth/user").await;
    for (path, entity, members) in [
        ("/api/customer", &customer, vec!["id", "id.id", "version", "title", "email", "zip"]),
        ("/api/deviceProfile", &profile, vec!["id", "id.id", "version", "name"]),
        ("/api/device", &device, vec!["id", "id.id", "version", "name", "label"]),
        ("/api/user", &user, vec!["id", "id.id", "version", "email", "customerId.id"]),
    ] {
        for member in members {
            let mut body = entity.clone();
            *body.pointer_mut(&format!("/{}", member.replace('.', "/"))).unwrap() = json!(true);
            // The shape of profiles has words of its own.
            let words = match (path, member) {
                ("/api/deviceProfile", "name") => "'name'".to_owned(),
                _ => format!("{member}: invalid type"),
            };
            site.refused(Method::POST, path, body.to_string(), 400, 31, &words).await;
        }
        for version in [json!(-1), json!(1.5), json!("1")] {
            let mut body = entity.clone();
            body["version"] = version;
            site.refused(Method::POST, path, body.to_string(), 400, 31, "version: invalid").await;
        }
        let mut body = entity.clone();
        body["version"] = json!(17);
        site.refused(Method::POST, path, body.to_string(), 409, 35, "changed").await;
        body["version"] = json!(null);
        body["id"]["id"] = json!("x");
        site.refused(Method::POST, path, body.to_string(), 400, 31, "Invalid UUID string: x").await;
        let saved = site.post(path, entity.clone()).await;
        assert_eq!(
            saved["version"],
            json!(entity["version"].as_u64().unwrap() + 1),
            "{path}: nothing was saved"
        );
    }
    let path = format!("/api/customer/{}", customer["id"]["id"].as_str().unwrap());
    assert_eq!(site.get(&path).await["additionalInfo"], json!([1]));
    let trailing = "{\"title\":\"t\"} x";
    site.refused(Method::POST, "/api/customer", trailing, 400, 31, "trailing characters").await;
}
