//! Users, their passwords, the keys of their programs and the ends of their sessions: the rules, and that all of it is
//! still so after a restart.

use std::sync::Arc;

use uuid::Uuid;
use wireglot_model::limits::{
    ADDITIONAL_INFO_BYTES_MAX, API_KEY_DESCRIPTION_CHARS_MAX, API_KEYS_MAX, API_KEYS_PER_USER_MAX,
    LOGOUTS_KEPT_MAX, LOGOUTS_PER_USER_MAX, PROFILES_MAX,
};
use wireglot_model::{Actor, ApiKey, ApiKeyId, AuditAction, CustomerId, Timestamp, User, UserId};

use super::{NOW, PASSWORD, Site, draft};
use crate::users::Ended;
use crate::{
    ADMINISTRATOR_EMAIL, ApiKeyChange, ApiKeyDraft, ApiKeyRefusal, CustomerDraft, DeviceDraft, DeviceError,
    Devices, HashedPassword, ProfileChoice, ProfileDraft, Rule, UserDraft,
};

const OTHER: &str = "correct horse 2";

fn later(ms: i64) -> Timestamp {
    Timestamp(NOW.0 + ms)
}

fn named(email: &str, customer: Option<CustomerId>) -> UserDraft {
    let (first_name, last_name) = (Some("F".into()), None);
    UserDraft {
        email: email.into(),
        first_name,
        last_name,
        phone: None,
        additional_info: "{}".into(),
        customer,
    }
}

fn key(description: &str, expires: Option<Timestamp>) -> ApiKeyDraft {
    ApiKeyDraft { description: description.into(), enabled: true, expires }
}

#[track_caller]
fn check<T>(outcome: Result<T, DeviceError>, rule: Rule) {
    match outcome {
        Err(DeviceError::Invalid(broken)) => assert_eq!(broken, rule),
        Err(other) => panic!("{other} instead of {rule}"),
        Ok(_) => panic!("saved in spite of {rule}"),
    }
}

fn administrator(devices: &Devices) -> Arc<User> {
    devices.login(ADMINISTRATOR_EMAIL, PASSWORD).unwrap()
}

async fn customer(devices: &Devices, title: &str) -> CustomerId {
    let draft = CustomerDraft { title: title.into(), details: "{}".into() };
    devices.create_customer(draft, NOW).await.unwrap().id
}

async fn activated(devices: &Devices, user: &User) {
    let token = devices.activation(user.id, NOW).await.unwrap();
    devices.activate(&token, HashedPassword::new(OTHER).unwrap(), NOW).await.unwrap();
}

#[tokio::test]
async fn a_user_is_changed_but_not_turned_into_another() {
    let site = Site::new().await;
    let devices = &site.devices;
    let one = customer(devices, "one").await;
    let user = devices.create_user(named("a@b", Some(one)), NOW).await.unwrap();
    let change = UserDraft { phone: Some("+43".into()), ..named("c@d", Some(one)) };
    let changed = devices.update_user(user.id, change.clone(), Some(1), NOW).await.unwrap();
    assert_eq!((changed.email.as_str(), changed.version), ("c@d", 2));
    let stale = devices.update_user(user.id, change, Some(1), NOW).await;
    assert!(matches!(stale, Err(DeviceError::VersionConflict)));
    for (draft, rule) in [
        (named("c@d", None), Rule::UserStays),
        (named(ADMINISTRATOR_EMAIL, Some(one)), Rule::EmailTaken(ADMINISTRATOR_EMAIL.into())),
        (
            UserDraft { additional_info: "[]".into(), ..named("c@d", Some(one)) },
            Rule::AdditionalInfoNotObject,
        ),
    ] {
        check(devices.update_user(user.id, draft, None, NOW).await, rule);
    }
    let nobody = devices.update_user(UserId(Uuid::nil()), named("c@d", None), None, NOW).await;
    assert!(matches!(nobody, Err(DeviceError::NotFound)));
    let site = site.reopen().await;
    let found = site.devices.user(user.id).unwrap();
    assert_eq!((found.email.as_str(), found.phone.as_deref(), found.version), ("c@d", Some("+43"), 2));
    assert!(found.activation.is_some(), "what is not written stays");
}

#[tokio::test]
async fn there_is_always_an_administrator_who_can_log_in() {
    let site = Site::new().await;
    let devices = &site.devices;
    let first = administrator(devices);
    check(devices.delete_user(first.id, NOW).await, Rule::LastAdministrator);
    let second = devices.create_user(named("a@b", None), NOW).await.unwrap();
    check(devices.delete_user(first.id, NOW).await, Rule::LastAdministrator);
    activated(devices, &second).await;
    devices.delete_user(first.id, NOW).await.unwrap();
    let site = site.reopen().await;
    assert!(site.devices.user(first.id).is_none());
    assert!(site.devices.login("a@b", OTHER).unwrap().customer.is_none());
    check(site.devices.delete_user(second.id, NOW).await, Rule::LastAdministrator);
    assert!(matches!(site.devices.delete_user(first.id, NOW).await, Err(DeviceError::NotFound)));
}

#[tokio::test]
async fn a_new_password_is_another_one_and_ends_what_began_under_the_old_one() {
    let site = Site::new().await;
    let devices = &site.devices;
    let user = administrator(devices);
    check(devices.check_password(&user, "wrong"), Rule::WrongPassword);
    devices.check_password(&user, PASSWORD).unwrap();
    check(HashedPassword::after(PASSWORD, PASSWORD), Rule::SamePassword);
    check(HashedPassword::after(PASSWORD, "short"), Rule::PasswordTooShort);
    let password = || HashedPassword::after(PASSWORD, OTHER).unwrap();
    let changed = devices.change_password(user.id, password(), user.generation, NOW).await.unwrap();
    assert_ne!(changed.generation, user.generation);
    let twice = devices.change_password(user.id, password(), user.generation, NOW).await;
    assert!(matches!(twice, Err(DeviceError::VersionConflict)), "somebody else was faster");
    let site = site.reopen().await;
    assert!(site.devices.login(ADMINISTRATOR_EMAIL, PASSWORD).is_err());
    assert_eq!(site.devices.login(ADMINISTRATOR_EMAIL, OTHER).unwrap().generation, changed.generation);
    let told = site.devices.audit_log(&|entry| entry.action == AuditAction::PasswordChanged).unwrap();
    assert_eq!((told.len(), told[0].1.target.as_str()), (1, ADMINISTRATOR_EMAIL));
}

#[tokio::test]
async fn a_first_password_is_told_of_like_another_one() {
    let site = Site::new().await;
    let user = site.devices.create_user(named("a@b", None), NOW).await.unwrap();
    activated(&site.devices, &user).await;
    let told = site.devices.audit_log(&|entry| entry.action == AuditAction::PasswordChanged).unwrap();
    let [(_, entry)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((entry.target.as_str(), entry.detail.as_str()), ("a@b", "the first one"));
    assert_eq!(entry.actor, Actor::User("a@b".into()));
}

#[tokio::test]
async fn a_session_that_has_ended_stays_so_after_a_restart() {
    let site = Site::new().await;
    let user = administrator(&site.devices).id;
    let [one, other] = [Uuid::new_v4(), Uuid::new_v4()];
    site.devices.end_session(user, one, later(1_000), NOW).await.unwrap();
    let site = site.reopen().await;
    assert!(site.devices.is_session_ended(one) && !site.devices.is_session_ended(other));
    // When its tokens have ended by themselves, it is forgotten.
    site.devices.end_session(user, other, later(9_000), later(1_000)).await.unwrap();
    assert!(!site.devices.is_session_ended(one));
    let site = site.reopen().await;
    assert!(!site.devices.is_session_ended(one) && site.devices.is_session_ended(other));
}

/// As if that many sessions of a user had logged out already.
fn ended(devices: &Devices, user: UserId, count: usize) {
    let more = (0..count).map(|_| (Uuid::new_v4(), Ended { user, until: later(9_000) }));
    devices.0.ended_sessions.0.lock().extend(more);
}

fn kept(devices: &Devices, user: UserId) -> usize {
    devices.0.ended_sessions.0.lock().values().filter(|ended| ended.user == user).count()
}

#[tokio::test]
async fn who_logs_out_too_often_loses_all_sessions_and_no_end_is_forgotten() {
    let site = Site::new().await;
    let devices = &site.devices;
    let (user, other) = (administrator(devices), devices.create_user(named("a@b", None), NOW).await.unwrap());
    let [first, last, once_more] = [(); 3].map(|()| Uuid::new_v4());
    devices.end_session(other.id, Uuid::new_v4(), later(9_000), NOW).await.unwrap();
    devices.end_session(user.id, first, later(1), NOW).await.unwrap();
    ended(devices, user.id, LOGOUTS_PER_USER_MAX - 2);
    devices.end_session(user.id, last, later(9_000), NOW).await.unwrap();
    assert!(devices.is_session_ended(first) && devices.is_session_ended(last), "as many as may be");
    devices.end_session(user.id, last, later(9_000), NOW).await.unwrap();
    assert_eq!(kept(devices, user.id), LOGOUTS_PER_USER_MAX, "the same one needs no more room");
    assert_eq!(devices.user(user.id).unwrap().generation, user.generation);
    devices.end_session(user.id, once_more, later(9_000), NOW).await.unwrap();
    let site = site.reopen().await;
    let devices = &site.devices;
    // By another generation, which tokens have to show, every session has ended, `first` and `once_more` among them.
    assert_eq!(devices.user(user.id).unwrap().generation, user.generation + 1);
    assert_eq!((kept(devices, user.id), kept(devices, other.id)), (0, 1));
    assert_eq!(devices.user(other.id).unwrap().generation, other.generation, "nobody else loses anything");
    devices.login(ADMINISTRATOR_EMAIL, PASSWORD).unwrap();
}

#[tokio::test]
async fn where_there_is_no_room_at_all_the_user_with_the_most_logouts_makes_it() {
    let site = Site::new().await;
    let devices = &site.devices;
    let mut users = Vec::new();
    for number in 0..LOGOUTS_KEPT_MAX / (LOGOUTS_PER_USER_MAX - 1) {
        users.push(devices.create_user(named(&format!("{number}@b"), None), NOW).await.unwrap());
    }
    for user in &users {
        ended(devices, user.id, LOGOUTS_PER_USER_MAX - 2);
    }
    let most = users.last().unwrap();
    ended(devices, most.id, 1);
    // Of nobody that is known, from early versions: never forgotten before its time.
    let (nobody, [nobodys, new]) = (UserId(Uuid::nil()), [(); 2].map(|()| Uuid::new_v4()));
    devices.0.ended_sessions.0.lock().insert(nobodys, Ended { user: nobody, until: later(9_000) });
    let room = LOGOUTS_KEPT_MAX - devices.0.ended_sessions.0.lock().len();
    ended(devices, nobody, room);
    let user = administrator(devices);
    devices.end_session(user.id, new, later(9_000), NOW).await.unwrap();
    assert!(devices.0.ended_sessions.0.lock().len() <= LOGOUTS_KEPT_MAX);
    assert!(devices.is_session_ended(new) && devices.is_session_ended(nobodys));
    assert_eq!(kept(devices, most.id), 0);
    assert_eq!(devices.user(most.id).unwrap().generation, most.generation + 1);
    for other in users.iter().take(users.len() - 1).chain([&user]) {
        assert_eq!(devices.user(other.id).unwrap().generation, other.generation);
    }
}

#[tokio::test]
async fn a_key_is_its_user_until_it_ends() {
    let site = Site::new().await;
    let devices = &site.devices;
    let user = administrator(devices);
    let (ever, secret) = devices.create_api_key(user.id, key("ever", None), NOW).await.unwrap();
    let (_, brief) = devices.create_api_key(user.id, key("brief", Some(later(9))), NOW).await.unwrap();
    assert!(secret.starts_with("wg_") && secret.len() == 43 && secret != brief, "{secret}");
    for (draft, rule) in [
        (key(" ", None), Rule::ApiKeyDescriptionMissing),
        (key(&"d".repeat(API_KEY_DESCRIPTION_CHARS_MAX + 1), None), Rule::ApiKeyDescriptionTooLong),
        (key("past", Some(NOW)), Rule::ApiKeyInPast),
    ] {
        check(devices.create_api_key(user.id, draft, NOW).await, rule);
    }
    let nobody = devices.create_api_key(UserId(Uuid::nil()), key("k", None), NOW).await;
    assert!(matches!(nobody, Err(DeviceError::NotFound)));

    let site = site.reopen().await;
    let devices = &site.devices;
    assert_eq!(devices.user_of_api_key(&secret, later(i64::from(u32::MAX))).unwrap().id, user.id);
    assert_eq!(devices.user_of_api_key(&brief, later(8)).unwrap().id, user.id);
    assert_eq!(devices.user_of_api_key(&brief, later(9)), Err(ApiKeyRefusal::Expired));
    for wrong in ["", "wg_", secret.get(..42).unwrap(), &ever.digest] {
        assert_eq!(devices.user_of_api_key(wrong, NOW), Err(ApiKeyRefusal::Unknown), "{wrong}");
    }
    let off = ApiKeyChange { description: Some("off".into()), enabled: Some(false) };
    let changed = devices.change_api_key(ever.id, off, NOW).await.unwrap();
    assert_eq!((changed.description.as_str(), changed.enabled, changed.version), ("off", false, 2));
    assert_eq!(devices.user_of_api_key(&secret, NOW), Err(ApiKeyRefusal::Disabled));
    let on = ApiKeyChange { description: None, enabled: Some(true) };
    devices.change_api_key(ever.id, on, NOW).await.unwrap();
    assert!(devices.user_of_api_key(&secret, NOW).is_ok());
    devices.delete_api_key(ever.id, NOW).await.unwrap();
    assert!(matches!(devices.delete_api_key(ever.id, NOW).await, Err(DeviceError::NotFound)));
    let site = site.reopen().await;
    assert_eq!(site.devices.user_of_api_key(&secret, NOW), Err(ApiKeyRefusal::Unknown));
    assert_eq!(site.devices.api_keys_of(user.id).len(), 1);
    let told = site.devices.audit_log(&|entry| entry.target == ADMINISTRATOR_EMAIL).unwrap();
    let actions: Vec<_> = told.iter().rev().map(|(_, entry)| entry.action).collect();
    let (made, changed) = (AuditAction::ApiKeyCreated, AuditAction::ApiKeyChanged);
    assert_eq!(actions, [made, made, changed, changed, AuditAction::ApiKeyDeleted]);
    assert!(!format!("{told:?}").contains(secret.get(3..).unwrap()));
}

/// Neither a secret nor a password is in any file.
#[tokio::test]
async fn no_secret_is_on_the_disk() {
    let site = Site::new().await;
    let user = administrator(&site.devices);
    let (kept, secret) = site.devices.create_api_key(user.id, key("needle", None), NOW).await.unwrap();
    let Site { folder, store, bus, devices } = site;
    drop((bus, devices));
    store.close();
    let mut folders = vec![folder.path().to_owned()];
    let mut bytes = Vec::new();
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() { folders.push(entry) } else { bytes.extend(std::fs::read(entry).unwrap()) }
        }
    }
    let is_there = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(is_there("needle") && is_there(&kept.digest), "the search finds what is there");
    assert!(!is_there(&secret) && !is_there(secret.get(3..).unwrap()) && !is_there(PASSWORD));
}

#[tokio::test]
async fn keys_go_with_their_user_and_their_users_customer() {
    let site = Site::new().await;
    let devices = &site.devices;
    let one = customer(devices, "one").await;
    let [first, second] = ["a@b", "c@d"].map(|email| named(email, Some(one)));
    let first = devices.create_user(first, NOW).await.unwrap();
    let second = devices.create_user(second, NOW).await.unwrap();
    let (_, of_first) = devices.create_api_key(first.id, key("k", None), NOW).await.unwrap();
    let (_, of_second) = devices.create_api_key(second.id, key("k", None), NOW).await.unwrap();
    devices.delete_user(first.id, NOW).await.unwrap();
    assert_eq!(devices.user_of_api_key(&of_first, NOW), Err(ApiKeyRefusal::Unknown));
    assert!(devices.user_of_api_key(&of_second, NOW).is_ok());
    devices.delete_customer(one, NOW).await.unwrap();
    assert_eq!(devices.user_of_api_key(&of_second, NOW), Err(ApiKeyRefusal::Unknown));
    let site = site.reopen().await;
    assert!(site.store.api_keys().unwrap().is_empty());
    let gone = site.devices.audit_log(&|entry| entry.action == AuditAction::UserDeleted).unwrap();
    assert_eq!(gone.len(), 2);
}

#[tokio::test]
async fn keys_are_bounded() {
    let site = Site::new().await;
    let devices = &site.devices;
    let user = administrator(devices);
    let fill = |user: UserId, count: usize| {
        let mut tables = devices.0.tables.write();
        for number in 0..count {
            tables.api_keys.insert(ApiKey {
                id: ApiKeyId(Uuid::new_v4()),
                created: NOW,
                user,
                description: "k".into(),
                enabled: true,
                expires: None,
                digest: format!("{user}{number}"),
                version: 1,
            });
        }
    };
    fill(user.id, API_KEYS_PER_USER_MAX - 1);
    devices.create_api_key(user.id, key("last", None), NOW).await.unwrap();
    check(devices.create_api_key(user.id, key("k", None), NOW).await, Rule::TooManyApiKeysOfUser);
    let other = devices.create_user(named("a@b", None), NOW).await.unwrap();
    fill(UserId(Uuid::nil()), API_KEYS_MAX);
    check(devices.create_api_key(other.id, key("k", None), NOW).await, Rule::TooManyApiKeys);
}

#[tokio::test]
async fn texts_of_devices_and_users_are_bounded() {
    let site = Site::new().await;
    let devices = &site.devices;
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(ADDITIONAL_INFO_BYTES_MAX));
    let make = |draft: DeviceDraft| devices.create_device(draft, None, NOW);
    let wordy = DeviceDraft { additional_info: long.clone(), ..draft("d") };
    check(make(wordy).await, Rule::AdditionalInfoTooLong);
    check(make(DeviceDraft { label: Some("l".repeat(256)), ..draft("d") }).await, Rule::LabelTooLong);
    let kind = |chars: usize| ProfileChoice::Name("t".repeat(chars));
    check(make(DeviceDraft { profile: kind(256), ..draft("d") }).await, Rule::NameTooLong);
    make(DeviceDraft { profile: kind(255), ..draft("d") }).await.unwrap();
    let wordy = UserDraft { additional_info: long.clone(), ..named("a@b", None) };
    check(devices.create_user(wordy, NOW).await, Rule::AdditionalInfoTooLong);
    let wordy = CustomerDraft { title: "t".into(), details: long };
    check(devices.create_customer(wordy, NOW).await, Rule::CustomerDetailsTooLong);
    {
        let mut tables = devices.0.tables.write();
        let slot = tables.profiles.values().next().unwrap().clone();
        for _ in 0..PROFILES_MAX {
            tables.profiles.insert(wireglot_model::ProfileId(Uuid::new_v4()), slot.clone());
        }
    }
    check(make(DeviceDraft { profile: kind(9), ..draft("e") }).await, Rule::TooManyProfiles);
    check(devices.create_profile(ProfileDraft::named("p"), NOW).await, Rule::TooManyProfiles);
}

#[tokio::test]
async fn every_device_is_shown_once_however_many_there_are() {
    let site = Site::new().await;
    let mut making = tokio::task::JoinSet::new();
    for number in 0..2_100 {
        let devices = site.devices.clone();
        making.spawn(async move {
            devices.create_device(draft(&format!("d{number}")), None, NOW).await.map(drop)
        });
    }
    making.join_all().await.into_iter().for_each(Result::unwrap);
    let mut shown = std::collections::HashSet::new();
    site.devices.each_device(&mut |device| assert!(shown.insert(device.id())));
    assert_eq!((shown.len(), site.devices.devices().len()), (2_100, 2_100));
}
