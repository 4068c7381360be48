//! People and their programs on the management side: what they have proven, and what they have ended, survives a kill.

use serde_json::{Value, json};

use crate::harness::{Refusal, Rest, Server};

const EMAIL: &str = "second@example.com";
const FIRST: &str = "correct horse 1";
const SECOND: &str = "correct horse 2";

/// A second administrator, who has set the first password.
fn administrator(server: &Server) -> Value {
    let rest = server.rest();
    let draft = json!({ "email": EMAIL, "authority": "TENANT_ADMIN" });
    let user = rest.post("/api/user?sendActivationMail=false", &draft).expect("the user is made");
    let path = format!("/api/user/{}/activationLink", user["id"]["id"].as_str().expect("an id"));
    let link = rest.get(&path).expect("a link");
    let (_, token) = link.as_str().expect("a text").split_once("activateToken=").expect("a token");
    let activation = json!({ "activateToken": token, "password": FIRST });
    rest.stranger().post("/api/noauth/activate", &activation).expect("the user sets a password");
    user
}

fn login(rest: &Rest, password: &str) -> Result<Value, Refusal> {
    rest.stranger().post("/api/auth/login", &json!({ "username": EMAIL, "password": password }))
}

fn of(rest: &Rest, pair: &Value) -> Rest {
    rest.of(pair["token"].as_str().expect("a token"))
}

fn me(rest: &Rest) -> Result<Value, u16> {
    rest.get("/api/auth/user").map_err(|refusal| refusal.status)
}

/// What the refresh token of a pair is good for.
fn renewal(rest: &Rest, pair: &Value) -> Result<Value, u16> {
    let body = json!({ "refreshToken": pair["refreshToken"] });
    rest.stranger().post("/api/auth/token", &body).map_err(|refusal| refusal.status)
}

#[test]
fn keys_passwords_and_logouts_survive_a_kill() {
    let server = Server::spawn();
    administrator(&server);
    let pair = login(server.rest(), FIRST).expect("the first password is right");
    let elsewhere = login(server.rest(), FIRST).expect("and right again");
    let user = of(server.rest(), &pair);
    let make = |description: &str| {
        let key = user.post("/api/apiKey", &json!({ "description": description, "expirationTime": 0 }));
        key.expect("a key")
    };
    let (good, off) = (make("a script"), make("an old script"));
    let path = format!("/api/apiKey/{}/enabled/false", off["id"]["id"].as_str().expect("an id"));
    user.put(&path).expect("the key is switched off");
    let change = json!({ "currentPassword": FIRST, "newPassword": SECOND });
    let fresh = user.post("/api/auth/changePassword", &change).expect("the password is changed");
    let ended = login(server.rest(), SECOND).expect("the second password is right");
    of(server.rest(), &ended).post("/api/auth/logout", &json!({})).expect("the session ends");

    let server = server.kill_9().restart();
    let rest = server.rest();
    let by_key = |key: &Value| me(&rest.of(key["value"].as_str().expect("the secret")));
    assert_eq!(by_key(&good).expect("the key is as it was")["email"], EMAIL);
    assert_eq!(by_key(&off), Err(401));
    for old in [&pair, &elsewhere, &ended] {
        assert_eq!((me(&of(rest, old)), renewal(rest, old)), (Err(401), Err(401)));
    }
    assert_eq!(me(&of(rest, &fresh)).expect("the new session goes on")["email"], EMAIL);
    renewal(rest, &fresh).expect("and can be renewed");
    assert_eq!(login(rest, FIRST).expect_err("the old password").status, 401);
    login(rest, SECOND).expect("the new password was durable");
    assert!(!server.log().contains(good["value"].as_str().expect("the secret")), "no secret is in the log");
}

#[test]
fn a_key_goes_with_its_user_and_nobody_is_left_without_an_administrator() {
    let server = Server::spawn();
    let second = administrator(&server);
    let pair = login(server.rest(), FIRST).expect("the password is right");
    let key = of(server.rest(), &pair).post("/api/apiKey", &json!({ "description": "k" })).expect("a key");
    let by_key = server.rest().of(key["value"].as_str().expect("the secret"));
    // A program manages devices as its user does, but not what is secret.
    by_key.create_device("thermo", None);
    assert_eq!(by_key.post("/api/apiKey", &json!({ "description": "k" })).expect_err("no key").status, 403);
    let path = |user: &Value| format!("/api/user/{}", user["id"]["id"].as_str().expect("an id"));
    server.rest().delete(&path(&second)).expect("the user is deleted");
    assert_eq!((me(&by_key), me(&of(server.rest(), &pair))), (Err(401), Err(401)));

    let server = server.kill_9().restart();
    let by_key = server.rest().of(key["value"].as_str().expect("the secret"));
    assert_eq!(me(&by_key), Err(401));
    let first = me(server.rest()).expect("the first administrator");
    let refused = server.rest().delete(&path(&first)).expect_err("the last administrator");
    assert!(refused.mentions("The last administrator cannot be deleted"), "{refused:?}");
    let told = server.rest().get("/api/audit?pageSize=20&page=0&target=second@example.com").expect("a page");
    let actions: Vec<_> =
        told["data"].as_array().expect("an array").iter().map(|row| &row["action"]).collect();
    assert_eq!(
        json!(actions),
        json!(["USER_DELETED", "API_KEY_CREATED", "PASSWORD_CHANGED", "USER_CREATED"])
    );
}
