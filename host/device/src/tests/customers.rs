//! Customers and their users: the rules for saving, and that everything is still so after a restart.

use wireglot_model::limits::{
    ACTIVATION_LEFT_MS_MIN, ACTIVATION_MS, CUSTOMERS_MAX, TITLE_CHARS_MAX, USERS_MAX,
};
use wireglot_model::{CustomerId, Timestamp};

use super::{NOW, Site, token};
use crate::{CustomerDraft, DeviceError, HashedPassword, Rule, UserDraft};

fn titled(title: &str) -> CustomerDraft {
    CustomerDraft { title: title.into(), details: "{}".into() }
}

fn user(email: &str, customer: CustomerId) -> UserDraft {
    UserDraft {
        email: email.into(),
        first_name: None,
        last_name: None,
        phone: None,
        additional_info: "null".into(),
        customer: Some(customer),
    }
}

#[track_caller]
fn check<T>(outcome: Result<T, DeviceError>, rule: Rule) {
    match outcome {
        Err(DeviceError::Invalid(broken)) => assert_eq!(broken, rule),
        Err(other) => panic!("{other} instead of {rule}"),
        Ok(_) => panic!("saved in spite of {rule}"),
    }
}

#[tokio::test]
async fn customers_keep_their_rules() {
    let site = Site::new().await;
    let devices = &site.devices;
    let one = devices.create_customer(titled("one"), NOW).await.unwrap();
    check(devices.create_customer(titled("one"), NOW).await, Rule::CustomerTitleTaken);
    check(devices.create_customer(titled(" "), NOW).await, Rule::CustomerTitleMissing);
    let long = "t".repeat(TITLE_CHARS_MAX + 1);
    check(devices.create_customer(titled(&long), NOW).await, Rule::TitleTooLong);
    let stale = devices.update_customer(one.id, titled("uno"), Some(9)).await;
    assert!(matches!(stale, Err(DeviceError::VersionConflict)));
    devices.update_customer(one.id, titled("uno"), Some(1)).await.unwrap();
    let nobody = CustomerId(uuid::Uuid::nil());
    let unknown = devices.update_customer(nobody, titled("x"), None).await;
    assert!(matches!(unknown, Err(DeviceError::NotFound)));
    assert!(matches!(devices.delete_customer(nobody, NOW).await, Err(DeviceError::NotFound)));
    let site = site.reopen().await;
    let found = site.devices.customer(one.id).unwrap();
    assert_eq!((found.title.as_str(), found.version), ("uno", 2));
    {
        let mut tables = site.devices.0.tables.write();
        for _ in 0..CUSTOMERS_MAX {
            tables.customers.insert(CustomerId(uuid::Uuid::new_v4()), one.clone());
        }
    }
    check(site.devices.create_customer(titled("one more"), NOW).await, Rule::TooManyCustomers);
}

#[tokio::test]
async fn a_customer_goes_with_its_users_and_leaves_its_devices() {
    let site = Site::new().await;
    let devices = &site.devices;
    let one = devices.create_customer(titled("one"), NOW).await.unwrap().id;
    let device = site.device("d", token("T")).await;
    let nobody = CustomerId(uuid::Uuid::nil());
    assert!(matches!(devices.assign_device(device.id(), Some(nobody)).await, Err(DeviceError::NotFound)));
    check(devices.assign_device(device.id(), None).await, Rule::NotAssigned);
    devices.assign_device(device.id(), Some(one)).await.unwrap();
    let person = devices.create_user(user("a@b", one), NOW).await.unwrap();
    let site = site.reopen().await;
    assert_eq!(site.devices.device(device.id()).unwrap().customer(), Some(one));
    assert_eq!(site.devices.user(person.id).unwrap().customer, Some(one));
    site.devices.delete_customer(one, NOW).await.unwrap();
    let site = site.reopen().await;
    assert_eq!(site.devices.device(device.id()).unwrap().customer(), None);
    assert!(site.devices.user(person.id).is_none() && site.devices.customer(one).is_none());
}

#[tokio::test]
async fn a_customer_goes_however_many_devices_it_has() {
    let site = Site::new().await;
    let one = site.devices.create_customer(titled("one"), NOW).await.unwrap().id;
    let person = site.devices.create_user(user("a@b", one), NOW).await.unwrap();
    let count = crate::customers::DEVICES_AT_ONCE + 2;
    for number in 0..count {
        let device = site.device(&format!("d{number}"), token(&format!("T{number}"))).await;
        site.devices.assign_device(device.id(), Some(one)).await.unwrap();
    }
    site.devices.delete_customer(one, NOW).await.unwrap();
    let site = site.reopen().await;
    assert!(site.devices.customer(one).is_none() && site.devices.user(person.id).is_none());
    let free = site.devices.devices().into_iter().filter(|device| device.customer().is_none());
    assert_eq!(free.count(), count);
}

#[tokio::test]
async fn a_user_sets_a_password_once() {
    let site = Site::new().await;
    let devices = &site.devices;
    let one = devices.create_customer(titled("one"), NOW).await.unwrap().id;
    for (email, rule) in [
        ("no address", Rule::InvalidEmail("no address".into())),
        ("a@", Rule::InvalidEmail("a@".into())),
        ("a b@c", Rule::InvalidEmail("a b@c".into())),
        ("TENANT@thingsboard.org", Rule::EmailTaken("TENANT@thingsboard.org".into())),
        (&format!("{}@b", "a".repeat(TITLE_CHARS_MAX)), Rule::TitleTooLong),
    ] {
        check(devices.create_user(user(email, one), NOW).await, rule);
    }
    let nobody = CustomerId(uuid::Uuid::nil());
    check(devices.create_user(user("a@b", nobody), NOW).await, Rule::UnknownCustomer);
    let person = devices.create_user(user(" a@b ", one), NOW).await.unwrap();
    let activation = person.activation.clone().unwrap();
    for password in ["", "correct horse"] {
        assert!(devices.login("a@b", password).is_err(), "nobody logs in before that");
    }
    assert!(matches!(HashedPassword::new("short"), Err(DeviceError::Invalid(Rule::PasswordTooShort))));
    let site = site.reopen().await;
    let devices = &site.devices;
    devices.check_activation(&activation, NOW).unwrap();
    check(devices.check_activation("", NOW), Rule::InvalidActivation);
    let password = || HashedPassword::new("correct horse 2").unwrap();
    check(devices.activate("wrong", password(), NOW).await, Rule::InvalidActivation);
    devices.activate(&activation, password(), NOW).await.unwrap();
    check(devices.activate(&activation, password(), NOW).await, Rule::InvalidActivation);
    let site = site.reopen().await;
    assert_eq!(site.devices.login("A@b", "correct horse 2").unwrap().customer, Some(one));
    {
        let mut tables = site.devices.0.tables.write();
        let person = tables.users.values().next().unwrap().clone();
        while tables.users.len() < USERS_MAX {
            tables.users.insert(wireglot_model::UserId(uuid::Uuid::new_v4()), person.clone());
        }
    }
    check(site.devices.create_user(user("c@d", one), NOW).await, Rule::TooManyUsers);
}

#[tokio::test]
async fn an_activation_ends_and_can_be_had_again() {
    let site = Site::new().await;
    let customer = site.devices.create_customer(titled("one"), NOW).await.unwrap().id;
    let person = site.devices.create_user(user("a@b", customer), NOW).await.unwrap();
    let first = person.activation.clone().unwrap();
    let site = site.reopen().await;
    let devices = &site.devices;
    let after = |ms: i64| Timestamp(NOW.0 + ms);
    let password = || HashedPassword::new("correct horse 2").unwrap();
    let last = after(ACTIVATION_MS - ACTIVATION_LEFT_MS_MIN);
    assert_eq!(devices.activation(person.id, last).await.unwrap(), first, "it holds long enough");
    devices.check_activation(&first, after(ACTIVATION_MS - 1)).unwrap();
    check(devices.check_activation(&first, after(ACTIVATION_MS)), Rule::ActivationEnded);
    check(devices.activate(&first, password(), after(ACTIVATION_MS)).await, Rule::ActivationEnded);

    let second = devices.activation(person.id, Timestamp(last.0 + 1)).await.unwrap();
    assert_ne!(second, first);
    let site = site.reopen().await;
    let devices = &site.devices;
    check(devices.check_activation(&first, NOW), Rule::InvalidActivation);
    devices.activate(&second, password(), after(ACTIVATION_MS)).await.unwrap();
    check(devices.activation(person.id, NOW).await, Rule::AlreadyActivated);
}

/// Users of before there was an end have one, too.
#[tokio::test]
async fn an_activation_without_an_end_holds_from_when_the_user_was_made() {
    let site = Site::new().await;
    let customer = site.devices.create_customer(titled("one"), NOW).await.unwrap().id;
    let person = site.devices.create_user(user("a@b", customer), NOW).await.unwrap();
    for user in site.devices.0.tables.write().users.values_mut() {
        std::sync::Arc::make_mut(user).activation_ends = None;
    }
    let token = person.activation.clone().unwrap();
    site.devices.check_activation(&token, Timestamp(NOW.0 + ACTIVATION_MS - 1)).unwrap();
    check(site.devices.check_activation(&token, Timestamp(NOW.0 + ACTIVATION_MS)), Rule::ActivationEnded);
}
