//! Group N: claiming. A device says that it may be had, and who knows its secret has it.

use std::time::Duration;

use serde_json::{Value, json};

use super::case::{Case, Row, both, v5};
use super::people::customer_user;
use crate::harness::{Refusal, Rest, pause};

const TOPIC: &str = "v1/devices/me/claim";
const CLAIM: &str = r#"{"secretKey":"value","durationMs":60000}"#;

pub(super) const ROWS: &[Row] = &[
    both(240, "announced with a secret, claimed with it", |c| drop(claimed(c))),
    both(241, "then another customer claims", |c| {
        claimed(c);
        let refusal = claim(c, &customer_user(c, 1), "value").expect_err("taken");
        is_refused(&refusal, "CLAIMED");
    }),
    both(242, "an empty payload; claimed without a body", |c| {
        c.client().accepted(TOPIC, "");
        let user = customer_user(c, 0);
        let answer = claim_of(&c.name(), &user, &json!({})).expect("claimed");
        assert_eq!(answer["response"], "SUCCESS");
    }),
    both(243, "the wrong secret drops the announcement", |c| {
        c.client().accepted(TOPIC, CLAIM);
        let user = customer_user(c, 0);
        is_refused(&claim(c, &user, "wrong").expect_err("wrong"), "FAILURE");
        is_refused(&claim(c, &user, "value").expect_err("dropped"), "FAILURE");
    }),
    both(244, "the announcement has run out", |c| {
        let user = customer_user(c, 0);
        c.client().accepted(TOPIC, r#"{"secretKey":"value","durationMs":1}"#);
        pause(Duration::from_millis(20));
        is_refused(&claim(c, &user, "value").expect_err("too late"), "FAILURE");
    }),
    both(245, "`[1]`", |c| c.invalid(&mut c.client(), TOPIC, "[1]")),
    both(246, "a device that has an owner announces itself", |c| {
        claimed(c);
        c.connect(&c.name()).accepted(TOPIC, CLAIM);
        let refusal = claim(c, &customer_user(c, 1), "value").expect_err("taken");
        is_refused(&refusal, "CLAIMED");
    }),
    v5(247, "v5, as 240", |c| drop(claimed(c))),
];

fn path(device: &str) -> String {
    format!("/api/customer/device/{device}/claim")
}

pub(super) fn claim(c: &Case, user: &Rest, secret: &str) -> Result<Value, Refusal> {
    claim_of(&c.name(), user, &json!({ "secretKey": secret }))
}

/// The same of another device, with any body.
pub(super) fn claim_of(device: &str, user: &Rest, body: &Value) -> Result<Value, Refusal> {
    user.post(&path(device), body)
}

#[track_caller]
fn is_refused(refusal: &Refusal, word: &str) {
    assert_eq!((refusal.status, &refusal.body), (400, &json!(word)));
}

/// A device that is announced and claimed.
#[track_caller]
fn claimed(c: &Case) -> Rest {
    c.client().accepted(TOPIC, CLAIM);
    let user = customer_user(c, 0);
    let answer = claim(c, &user, "value").expect("claimed");
    assert_eq!(answer["response"], "SUCCESS");
    let customer = user.get("/api/auth/user").expect("who I am")["customerId"].clone();
    let device = c.rest().get(&format!("/api/device/{}", c.id())).expect("the device");
    assert_eq!(device["customerId"], customer, "the device is the customer's");
    user
}
