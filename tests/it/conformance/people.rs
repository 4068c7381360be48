//! People on the management side who are not the administrator.

use serde_json::json;

use super::case::Case;
use crate::harness::Rest;

/// A new customer with one user, who has logged in.
#[track_caller]
pub(super) fn customer_user(c: &Case, name: &str) -> Rest {
    let rest = c.rest();
    let name = c.named(name);
    let customer = rest.post("/api/customer", &json!({ "title": name })).expect("a customer");
    let user = json!({
        "email": format!("{}@example.com", name.to_lowercase()),
        "authority": "CUSTOMER_USER",
        "customerId": customer["id"],
    });
    let user = rest.post("/api/user?sendActivationMail=false", &user).expect("a user");
    let id = user["id"]["id"].as_str().expect("an id");
    let link = rest.get(&format!("/api/user/{id}/activationLink")).expect("a link");
    let link = link.as_str().expect("a text");
    let token = link.split("activateToken=").nth(1).expect("a token in the link").trim();
    let claim = json!({ "activateToken": token, "password": "correct horse battery" });
    let login = rest.post("/api/noauth/activate?sendActivationMail=false", &claim).expect("activated");
    rest.of(login["token"].as_str().expect("a token"))
}
