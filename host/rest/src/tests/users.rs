//! Users over HTTP (REST §2.9): administrators among them, and what users of a customer may do.

use axum::http::Method;
use serde_json::{Value, json};
use wireglot_device::ADMINISTRATOR_EMAIL;

use super::Site;
use super::customers::{call, customer};

const NOBODY: &str = "13814000-1dd2-11b2-8080-808080808080";

fn path(user: &Value) -> String {
    format!("/api/user/{}", user["id"]["id"].as_str().unwrap())
}

async fn activated(site: &Site, user: &Value) {
    let link = site.get(&format!("{}/activationLink", path(user))).await;
    let (_, token) = link.as_str().unwrap().split_once("activateToken=").unwrap();
    let body = json!({"activateToken": token, "password": "correct horse 2"}).to_string();
    let (status, pair) = site.call_as(&[], Method::POST, "/api/noauth/activate", body).await;
    assert_eq!(status.as_u16(), 200, "{pair}");
}

#[tokio::test]
async fn users_are_read_changed_and_deleted() {
    let site = Site::new().await;
    let (one, header) = customer(&site, "one").await;
    let (_, stranger) = customer(&site, "other").await;
    let (_, me) = call(&site, &header, Method::GET, "/api/auth/user", "").await;
    let user = site.get(&path(&me)).await;
    assert_eq!(user, me);
    let mut wanted = user.clone();
    wanted["lastName"] = json!("L");
    wanted["phone"] = json!("+43");
    wanted["additionalInfo"] = json!({"lang": "de"});
    wanted["ownerId"] = json!("ignored");
    let saved = site.post("/api/user?sendActivationMail=false", wanted.clone()).await;
    assert_eq!((&saved["lastName"], &saved["phone"]), (&json!("L"), &json!("+43")));
    assert_eq!((&saved["additionalInfo"], &saved["version"]), (&json!({"lang": "de"}), &json!(2)));
    site.refused(Method::POST, "/api/user", wanted.to_string(), 409, 35, "changed").await;
    wanted["version"] = json!(null);
    let with = |name: &str, value: Value| {
        let mut body = wanted.clone();
        body[name] = value;
        body.to_string()
    };
    for (body, words) in [
        (with("authority", json!("TENANT_ADMIN")), "cannot be changed"),
        (with("customerId", json!({"id": NOBODY})), "cannot be changed"),
        (with("authority", json!("SYS_ADMIN")), "there are TENANT_ADMIN and CUSTOMER_USER"),
        (with("email", json!(ADMINISTRATOR_EMAIL)), "already present"),
        (with("email", json!("nobody")), "Invalid email address"),
        (with("additionalInfo", json!(1)), "JSON object"),
        (with("id", json!({"id": "x"})), "Invalid UUID string: x"),
    ] {
        site.refused(Method::POST, "/api/user", body, 400, 31, words).await;
    }
    site.refused(Method::POST, "/api/user", with("id", json!({"id": NOBODY})), 404, 32, "").await;

    // A user of a customer changes itself and sees its colleagues, and nobody else.
    let body = with("firstName", json!("Me"));
    let (status, mine) = call(&site, &header, Method::POST, "/api/user", &body).await;
    assert_eq!((status, &mine["firstName"]), (200, &json!("Me")));
    let list = format!("/api/customer/{one}/users?pageSize=9&page=0");
    for (header, method, path, body) in [
        (&stranger, Method::POST, "/api/user".to_owned(), body),
        (&header, Method::POST, "/api/user".to_owned(), with("id", Value::Null)),
        (&stranger, Method::GET, path(&me), String::new()),
        (&stranger, Method::GET, format!("/api/user/{NOBODY}"), String::new()),
        (&stranger, Method::GET, list.clone(), String::new()),
        (&header, Method::DELETE, path(&me), String::new()),
    ] {
        let (status, answer) = call(&site, header, method, &path, &body).await;
        assert_eq!(status, 403, "{path}: {answer}");
    }
    let (_, colleagues) = call(&site, &header, Method::GET, "/api/users?pageSize=9&page=0", "").await;
    let (_, same) = call(&site, &header, Method::GET, &list, "").await;
    assert_eq!((&colleagues, &colleagues["totalElements"]), (&same, &json!(1)));
    let infos = site.get("/api/userInfos/all?pageSize=9&page=0&textSearch=USER@ONE").await;
    assert_eq!((&infos["data"][0]["customerTitle"], &infos["totalElements"]), (&json!("one"), &json!(1)));
    let (_, title) = call(&site, &header, Method::GET, &format!("/api/customer/{one}/title"), "").await;
    assert_eq!(title, "one");
    let all = site.get("/api/users?pageSize=9&page=0&sortProperty=email").await;
    let emails: Vec<_> = all["data"].as_array().unwrap().iter().map(|user| &user["email"]).collect();
    assert_eq!(json!(emails), json!([ADMINISTRATOR_EMAIL, "user@one", "user@other"]));
    assert_eq!(site.get("/api/users?pageSize=9&page=0&textSearch=me").await["totalElements"], 1);

    assert_eq!(site.call(Method::DELETE, &path(&me), "").await.0, 200);
    site.refused(Method::GET, &path(&me), "", 404, 32, "").await;
    site.refused(Method::DELETE, &path(&me), "", 404, 32, "").await;
    assert_eq!(call(&site, &header, Method::GET, "/api/auth/user", "").await.0, 401);
}

#[tokio::test]
async fn there_may_be_more_administrators_but_never_none() {
    let site = Site::new().await;
    let first = site.get("/api/auth/user").await;
    site.refused(Method::DELETE, &path(&first), "", 400, 31, "last administrator").await;
    let draft = json!({"email": "second@b", "authority": "TENANT_ADMIN", "customerId": {"id": NOBODY}});
    let second = site.post("/api/user?sendActivationMail=false", draft).await;
    assert_eq!((&second["authority"], &second["customerId"]["id"]), (&json!("TENANT_ADMIN"), &json!(NOBODY)));
    site.refused(Method::DELETE, &path(&first), "", 400, 31, "last administrator").await;
    activated(&site, &second).await;
    let login = json!({"username": "second@b", "password": "correct horse 2"}).to_string();
    let (_, pair) = site.call_as(&[], Method::POST, "/api/auth/login", login).await;
    let header = format!("Bearer {}", pair["token"].as_str().unwrap());
    assert_eq!(call(&site, &header, Method::DELETE, &path(&first), "").await.0, 200);
    assert_eq!(site.call(Method::GET, "/api/auth/user", "").await.0, 401, "its sessions are over");
    let (status, answer) = call(&site, &header, Method::DELETE, &path(&second), "").await;
    assert_eq!(status, 400, "{answer}");
    let (_, told) =
        call(&site, &header, Method::GET, "/api/audit?pageSize=9&page=0&target=second@b", "").await;
    let actions = [0, 1].map(|number| &told["data"][number]["action"]);
    assert_eq!(actions, ["PASSWORD_CHANGED", "USER_CREATED"]);
}
