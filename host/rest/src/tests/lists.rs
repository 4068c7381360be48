//! Lists of devices, customers and profiles in all the words that clients have for them (REST §2, §2.2, §2.9).

use axum::http::Method;
use serde_json::{Value, json};
use wireglot_model::limits::{PAGE_ITEMS_MAX, PROFILE_KEYS_DEVICES_MAX};

use super::Site;
use super::customers::{call, customer};

const NOBODY: &str = "13814000-1dd2-11b2-8080-808080808080";

fn names(list: &Value) -> Vec<&str> {
    let list = if list.is_array() { list } else { &list["data"] };
    list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_customers_user_finds_its_devices_in_every_list_and_no_others() {
    let site = Site::new().await;
    let (one, header) = customer(&site, "one").await;
    let (other, _) = customer(&site, "other").await;
    let mut ids = Vec::new();
    for (name, owner) in
        [("mine", Some(&one)), ("also mine", Some(&one)), ("theirs", Some(&other)), ("free", None)]
    {
        let id = site.device(name).await;
        if let Some(owner) = owner {
            let path = format!("/api/owner/CUSTOMER/{owner}/DEVICE/{id}");
            let (status, answer) = site.call(Method::POST, &path, "").await;
            assert_eq!((status.as_u16(), answer), (200, json!("")));
        }
        ids.push(id);
    }
    let by_ids = format!("/api/devices?deviceIds={}", ids.join(","));
    let paged = "pageSize=9&page=0&sortProperty=name&includeCustomers=true";
    let own = [
        format!("/api/deviceInfos/all?{paged}"),
        format!("/api/user/devices?{paged}"),
        format!("/api/customer/{one}/devices?{paged}"),
        format!("/api/customer/{one}/deviceInfos?{paged}"),
    ];
    for path in &own {
        let (status, list) = call(&site, &header, Method::GET, path, "").await;
        assert_eq!((status, names(&list)), (200, vec!["also mine", "mine"]), "{path}");
    }
    let (_, list) = call(&site, &header, Method::GET, &by_ids, "").await;
    assert_eq!(names(&list), ["mine", "also mine"]);
    assert_eq!(names(&site.get(&by_ids).await), ["mine", "also mine", "theirs", "free"]);
    assert_eq!(site.get(&format!("/api/devices?deviceIds={NOBODY}")).await, json!([]));
    for path in
        ["/api/tenant/devices", "/api/tenant/deviceInfos", &format!("/api/customer/{other}/deviceInfos")]
    {
        assert_eq!(call(&site, &header, Method::GET, &format!("{path}?{paged}"), "").await.0, 403, "{path}");
    }
    let infos = site.get("/api/deviceInfos/all?pageSize=9&page=0&sortProperty=customerTitle").await;
    let titles: Vec<_> =
        infos["data"].as_array().unwrap().iter().map(|info| &info["customerTitle"]).collect();
    assert_eq!(json!(titles), json!([null, "one", "one", "other"]));
    site.refused(Method::GET, "/api/devices", "", 400, 31, "deviceIds").await;
    site.refused(Method::GET, "/api/devices?deviceIds=x", "", 400, 31, "Invalid UUID string: x").await;
    let many = vec![NOBODY; PAGE_ITEMS_MAX + 1].join(",");
    site.refused(Method::GET, &format!("/api/devices?deviceIds={many}"), "", 400, 31, "at most 1000").await;
}

#[tokio::test]
async fn an_owner_is_a_customer_or_the_tenant() {
    let site = Site::new().await;
    let (one, header) = customer(&site, "one").await;
    let id = site.device("d").await;
    let tenant = site.api.devices.tenant();
    let path = |kind: &str, owner: &str, entity: &str| format!("/api/owner/{kind}/{owner}/{entity}/{id}");
    for (path, status, words) in [
        (path("CUSTOMER", NOBODY, "DEVICE"), 404, ""),
        (path("TENANT", NOBODY, "DEVICE"), 404, ""),
        (path("CUSTOMER", "x", "DEVICE"), 400, "Invalid UUID string: x"),
        (path("CUSTOMER", &one, "ASSET"), 400, "'ASSET'"),
        (path("EDGE", &one, "DEVICE"), 400, "'EDGE'"),
        (format!("/api/owner/CUSTOMER/{one}/DEVICE/{NOBODY}"), 404, ""),
    ] {
        let code = if status == 404 { 32 } else { 31 };
        site.refused(Method::POST, &path, "", status, code, words).await;
    }
    let owner = async || site.get(&format!("/api/device/{id}")).await["customerId"]["id"].clone();
    for (kind, by, expected) in [
        ("CUSTOMER", one.clone(), &*one),
        ("TENANT", tenant.to_string(), NOBODY),
        ("TENANT", tenant.to_string(), NOBODY),
    ] {
        assert_eq!(site.call(Method::POST, &path(kind, &by, "DEVICE"), "").await.0, 200);
        assert_eq!(owner().await, expected);
    }
    assert_eq!(call(&site, &header, Method::POST, &path("CUSTOMER", &one, "DEVICE"), "").await.0, 403);
}

#[tokio::test]
async fn customers_are_listed_and_found_by_title() {
    let site = Site::new().await;
    for (title, city) in [("b", "Graz"), ("A", "Wien"), ("other", "Linz")] {
        site.post("/api/customer", json!({"title": title, "city": city})).await;
    }
    let list = async |query: &str| {
        let page = site.get(&format!("/api/customers?pageSize=2&page=0&{query}")).await;
        (json!(names(&page)), page["totalElements"].clone(), page["hasNext"].clone())
    };
    assert_eq!(list("sortProperty=title").await, (json!(["A", "b"]), json!(3), json!(true)));
    assert_eq!(list("sortProperty=city&sortOrder=DESC").await.0, json!(["A", "other"]));
    assert_eq!(list("textSearch=B").await, (json!(["b"]), json!(1), json!(false)));
    for sort in ["createdTime", "name", "email", "country"] {
        assert_eq!(list(&format!("sortProperty={sort}")).await.1, 3, "{sort}");
    }
    let bad = "/api/customers?pageSize=2&page=0&sortProperty=zip";
    site.refused(Method::GET, bad, "", 400, 31, "Invalid sort property: zip").await;
    site.refused(Method::GET, "/api/customers?page=0", "", 400, 31, "pageSize").await;
    assert_eq!(site.get("/api/tenant/customers?customerTitle=b").await["city"], "Graz");
    site.refused(Method::GET, "/api/tenant/customers?customerTitle=B", "", 404, 32, "").await;
    site.refused(Method::GET, "/api/tenant/customers", "", 400, 31, "customerTitle").await;
}

#[tokio::test]
async fn users_are_sorted_by_each_of_their_properties() {
    let site = Site::new().await;
    for (email, first, last) in [("b@x", "Ada", "Z"), ("a@x", "Cleo", "Y"), ("c@x", "Bob", "X")] {
        let draft =
            json!({"email": email, "authority": "TENANT_ADMIN", "firstName": first, "lastName": last});
        site.post("/api/user", draft).await;
    }
    let list = async |query: &str| {
        let page = site.get(&format!("/api/users?pageSize=2&page=0&textSearch=@x&{query}")).await;
        (json!(names(&page)), page["totalElements"].clone(), page["hasNext"].clone())
    };
    for (sort, expected) in [
        ("sortProperty=email", ["a@x", "b@x"]),
        ("sortProperty=name&sortOrder=DESC", ["c@x", "b@x"]),
        ("sortProperty=firstName", ["b@x", "c@x"]),
        ("sortProperty=lastName", ["c@x", "a@x"]),
        ("sortProperty=createdTime", ["b@x", "a@x"]),
    ] {
        assert_eq!(list(sort).await, (json!(expected), json!(3), json!(true)), "{sort}");
    }
    assert_eq!(list("sortProperty=authority").await.1, 3);
    let bad = "/api/users?pageSize=2&page=0&sortProperty=phone";
    site.refused(Method::GET, bad, "", 400, 31, "Invalid sort property: phone").await;
}

#[tokio::test]
async fn profiles_are_named_and_filtered() {
    let site = Site::new().await;
    let (_, header) = customer(&site, "one").await;
    site.post("/api/device", json!({"name": "d", "type": "used"})).await;
    site.post("/api/deviceProfile", json!({"name": "mqtt", "type": "DEFAULT", "transportType": "MQTT"}))
        .await;
    assert_eq!(names(&site.get("/api/deviceProfile/names").await), ["default", "mqtt", "used"]);
    let used = site.get("/api/deviceProfile/names?activeOnly=true").await;
    assert_eq!((names(&used), &used[0]["id"]["entityType"]), (vec!["used"], &json!("DEVICE_PROFILE")));
    let types = site.get("/api/device/types").await;
    assert_eq!((&types[1]["type"], &types[1]["entityType"]), (&json!("mqtt"), &json!("DEVICE")));
    let by_ids = format!(
        "/api/deviceProfileInfos/list?deviceProfileIds={NOBODY},{}",
        used[0]["id"]["id"].as_str().unwrap()
    );
    assert_eq!(names(&site.get(&by_ids).await), ["used"]);
    let infos = "/api/deviceProfileInfos?pageSize=9&page=0";
    assert_eq!(names(&site.get(&format!("{infos}&transportType=MQTT")).await), ["mqtt"]);
    assert_eq!(names(&site.get(&format!("{infos}&transportType=COAP")).await), Vec::<&str>::new());
    // A user of a customer sees what kinds there are, but not how they are set up.
    let profile = site.get("/api/deviceProfileInfo/default").await["id"]["id"].as_str().unwrap().to_owned();
    for (path, status) in [
        (infos.to_owned(), 200),
        ("/api/deviceProfileInfo/default".into(), 200),
        (format!("/api/deviceProfileInfo/{profile}"), 200),
        ("/api/deviceProfile/names".into(), 200),
        ("/api/device/types".into(), 200),
        ("/api/system/info".into(), 200),
        (format!("/api/deviceProfile/{profile}"), 403),
        ("/api/deviceProfiles?pageSize=9&page=0".into(), 403),
    ] {
        assert_eq!(call(&site, &header, Method::GET, &path, "").await.0, status, "{path}");
    }
}

#[tokio::test]
async fn the_keys_of_a_profile_are_those_of_some_of_its_devices() {
    let site = Site::new().await;
    for (name, kind) in [("a", "x"), ("b", "x"), ("c", "y")] {
        let device = site.post("/api/device", json!({"name": name, "type": kind})).await;
        let path = format!("/api/plugins/telemetry/DEVICE/{}", device["id"]["id"].as_str().unwrap());
        site.post(&format!("{path}/timeseries/ANY"), json!({format!("t_{name}"): 1, "t": 1})).await;
        site.post(&format!("{path}/SHARED_SCOPE"), json!({format!("s_{name}"): 1})).await;
    }
    let x = site.get("/api/tenant/device?deviceName=a").await["deviceProfileId"]["id"].clone();
    let (prefix, x) = ("/api/deviceProfile/devices/keys", x.as_str().unwrap());
    let keys = async |rest: &str| site.get(&format!("{prefix}/{rest}")).await;
    assert_eq!(keys(&format!("timeseries?deviceProfileId={x}")).await, json!(["t", "t_a", "t_b"]));
    assert_eq!(keys(&format!("attributes?deviceProfileId={x}")).await, json!(["s_a", "s_b"]));
    assert_eq!(keys("timeseries").await, json!(["t", "t_a", "t_b", "t_c"]));
    let unknown = format!("{prefix}/timeseries?deviceProfileId={NOBODY}");
    site.refused(Method::GET, &unknown, "", 404, 32, "").await;
    site.refused(Method::GET, &format!("{prefix}/timeseries?deviceProfileId=x"), "", 400, 31, "UUID").await;
    for number in 0..PROFILE_KEYS_DEVICES_MAX + 5 {
        let id = site.device(&format!("d{number}")).await;
        site.post(
            &format!("/api/plugins/telemetry/DEVICE/{id}/SHARED_SCOPE"),
            json!({format!("k{number}"): 1}),
        )
        .await;
    }
    let default = site.get("/api/deviceProfileInfo/default").await["id"]["id"].clone();
    let some = keys(&format!("attributes?deviceProfileId={}", default.as_str().unwrap())).await;
    assert_eq!(some.as_array().unwrap().len(), PROFILE_KEYS_DEVICES_MAX);
}

#[tokio::test]
async fn a_device_is_active_as_its_attribute_says() {
    let site = Site::new().await;
    let id = site.device("d").await;
    site.device("other").await;
    let active = async |wanted: bool| {
        let list = site.get(&format!("/api/tenant/deviceInfos?pageSize=9&page=0&active={wanted}")).await;
        json!(names(&list))
    };
    assert_eq!(active(true).await, json!([]));
    let device = site.api.devices.device(id.parse().unwrap()).unwrap();
    site.api.devices.heard([(&device, wireglot_device::now())]);
    site.api.devices.save_activity(wireglot_device::now()).await.unwrap();
    assert_eq!((active(true).await, active(false).await), (json!(["d"]), json!(["other"])));
    assert_eq!(site.get(&format!("/api/device/info/{id}")).await["active"], true);
}

#[tokio::test]
async fn a_customers_user_changes_its_device_but_not_what_it_may_do() {
    let site = Site::new().await;
    let (one, header) = customer(&site, "one").await;
    let id = site.device("mine").await;
    let free = site.get(&format!("/api/device/{}", site.device("free").await)).await;
    let mine = site.post(&format!("/api/customer/{one}/device/{id}"), json!({})).await;
    let mut wanted = mine.clone();
    wanted["label"] = json!("L");
    wanted["additionalInfo"] = json!({"description": "in the hall"});
    let (status, saved) = call(&site, &header, Method::POST, "/api/device", &wanted.to_string()).await;
    assert_eq!((status, &saved["label"]), (200, &json!("L")), "{saved}");
    let (status, answer) = call(&site, &header, Method::POST, "/api/device", &wanted.to_string()).await;
    assert_eq!((status, &answer["errorCode"]), (409, &json!(35)), "{answer}");
    let with = |name: &str, value: Value| {
        let mut body = saved.clone();
        body[name] = value;
        body
    };
    for body in [
        json!({"name": "new"}),
        free,
        with("id", json!({"id": NOBODY})),
        with("additionalInfo", json!({"gateway": true})),
        with("additionalInfo", json!({"lastConnectedGateway": id})),
        with("deviceProfileId", json!({"id": NOBODY})),
        with("firmwareId", json!({"id": NOBODY})),
    ] {
        let (status, answer) = call(&site, &header, Method::POST, "/api/device", &body.to_string()).await;
        assert_eq!((status, &answer["errorCode"]), (403, &json!(20)), "{body}: {answer}");
    }
    let path = "/api/device?accessToken=MINE";
    assert_eq!(call(&site, &header, Method::POST, path, &saved.to_string()).await.0, 403);
    let mut by_name = with("deviceProfileId", Value::Null);
    for (kind, status) in [("another", 403), ("default", 200)] {
        by_name["type"] = json!(kind);
        assert_eq!(call(&site, &header, Method::POST, "/api/device", &by_name.to_string()).await.0, status);
    }
}

#[tokio::test]
async fn rpcs_belong_to_who_owns_their_device() {
    let site = Site::new().await;
    let (one, header) = customer(&site, "one").await;
    let (_, stranger) = customer(&site, "other").await;
    let id = site.device("mine").await;
    site.post(&format!("/api/customer/{one}/device/{id}"), json!({})).await;
    let body = r#"{"method":"m","persistent":true}"#;
    let (status, kept) = call(&site, &header, Method::POST, &format!("/api/rpc/twoway/{id}"), body).await;
    assert_eq!(status, 200, "{kept}");
    let path = format!("/api/rpc/persistent/{}", kept["rpcId"].as_str().unwrap());
    let list = format!("/api/rpc/persistent/device/{id}?pageSize=9&page=0");
    for path in [&path, &list] {
        assert_eq!(call(&site, &header, Method::GET, path, "").await.0, 200, "{path}");
        assert_eq!(call(&site, &stranger, Method::GET, path, "").await.0, 403, "{path}");
    }
    let unknown = format!("/api/rpc/persistent/{NOBODY}");
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(call(&site, &header, method.clone(), &unknown, "").await.0, 403);
        site.refused(method, &unknown, "", 404, 32, "").await;
    }
    assert_eq!(call(&site, &stranger, Method::DELETE, &path, "").await.0, 403);
    assert_eq!(call(&site, &header, Method::DELETE, &path, "").await.0, 200);
    site.refused(Method::GET, &path, "", 404, 32, "").await;
}

#[tokio::test]
async fn credentials_that_are_taken_change_nothing_of_a_device() {
    let site = Site::new().await;
    site.post("/api/device?accessToken=TAKEN", json!({"name": "other"})).await;
    let mut device = site.post("/api/device", json!({"name": "d"})).await;
    device["label"] = json!("changed");
    let taken = "Specified credentials are already registered!";
    site.refused(Method::POST, "/api/device?accessToken=TAKEN", device.to_string(), 400, 31, taken).await;
    let id = device["id"]["id"].as_str().unwrap();
    assert_eq!(site.get(&format!("/api/device/{id}")).await["label"], Value::Null);
    let strategy = "/api/device?nameConflictPolicy=UNIQUIFY&uniquifyStrategy=LUCKY";
    site.refused(Method::POST, strategy, "{\"name\":\"d\"}", 400, 31, "RANDOM and INCREMENTAL").await;
}
