//! People on the management side who are not the administrator.

use std::sync::Mutex;

use serde_json::json;

use super::case::Case;
use crate::harness::Rest;

/// Two customers of the server that most rows share, each by the token of its one user. They are shared because logins are
/// limited for each address.
static TOKENS: Mutex<[Option<String>; 2]> = Mutex::new([None, None]);

/// The user of the first customer, or of the second.
#[track_caller]
pub(super) fn customer_user(c: &Case, index: usize) -> Rest {
    let mut tokens = TOKENS.lock().expect("a customer is made");
    let token = tokens[index].get_or_insert_with(|| new_user(c.rest(), &format!("customer-{index}")));
    c.rest().of(token)
}

#[track_caller]
fn new_user(rest: &Rest, name: &str) -> String {
    let customer = rest.post("/api/customer", &json!({ "title": name })).expect("a customer");
    let user = json!({
        "email": format!("{name}@example.com"),
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
    login["token"].as_str().expect("a token").to_owned()
}
