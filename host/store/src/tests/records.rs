//! Small records: what is put is read, what is deleted is not, and the last of several writes wins.

use wireglot_model::{
    ApiKey, ApiKeyId, Attribute, ClaimRecord, Credentials, CredentialsId, CredentialsKind, Customer,
    CustomerId, DeadLetter, DeadLetterBounds, FailureStage, Scope, Timestamp, User, UserId, Value,
};

use super::{Disk, device, id, profile, stamp};
use crate::LetterFilter;

fn uuid(number: u8) -> uuid::Uuid {
    uuid::Uuid::from_bytes([number; 16])
}

fn user() -> User {
    User {
        id: UserId(uuid(4)),
        created: Timestamp(1),
        email: "a@b".to_owned(),
        password_hash: "hash".to_owned(),
        first_name: None,
        last_name: None,
        customer: Some(CustomerId(uuid(5))),
        activation: Some("token".to_owned()),
        activation_ends: Some(Timestamp(2)),
        phone: None,
        additional_info: "{}".to_owned(),
        version: 1,
        generation: 3,
    }
}

#[test]
fn records_survive_and_go_when_deleted() {
    let mut disk = Disk::new();
    let credentials = Credentials {
        id: CredentialsId(uuid(3)),
        created: Timestamp(1),
        device: id(1),
        kind: CredentialsKind::AccessToken,
        lookup: "token".to_owned(),
        version: 1,
    };
    let user = user();
    let key = ApiKey {
        id: ApiKeyId(uuid(6)),
        created: Timestamp(1),
        user: user.id,
        description: "script".to_owned(),
        enabled: true,
        expires: Some(Timestamp(9)),
        digest: "ab".to_owned(),
        version: 1,
    };
    let customer = Customer {
        id: CustomerId(uuid(5)),
        created: Timestamp(1),
        title: "ACME".to_owned(),
        details: "{}".to_owned(),
        version: 1,
    };
    let claim = ClaimRecord { device: id(1), secret: "s".to_owned(), expires: Timestamp(2) };
    disk.commit(|batch| {
        batch.put_device(&device(1));
        batch.put_credentials(&credentials);
        batch.put_user(&user);
        batch.put_customer(&customer);
        batch.put_claim(&claim);
        batch.put_api_key(&key);
        batch.put_ended_session(uuid(7), UserId(uuid(4)), Timestamp(-5));
        batch.put_setting("key", b"\0secret");
    });
    disk.reopen();
    let store = disk.store();
    assert_eq!(store.devices().unwrap(), [device(1)]);
    assert_eq!(store.credentials().unwrap(), [credentials]);
    assert_eq!(store.users().unwrap(), [user]);
    assert_eq!(store.customers().unwrap(), [customer]);
    assert_eq!(store.claims().unwrap(), [claim]);
    assert_eq!(store.api_keys().unwrap(), std::slice::from_ref(&key));
    assert_eq!(store.ended_sessions().unwrap(), [(uuid(7), UserId(uuid(4)), Timestamp(-5))]);
    assert_eq!(store.setting("key").unwrap().as_deref(), Some(b"\0secret".as_slice()));
    assert_eq!(store.setting("kex").unwrap(), None);
    disk.commit(|batch| {
        batch.delete_credentials(CredentialsId(uuid(3)));
        batch.delete_user(UserId(uuid(4)));
        batch.delete_customer(CustomerId(uuid(5)));
        batch.delete_claim(id(1));
        batch.delete_api_key(key.id);
        batch.delete_ended_session(uuid(7));
        batch.delete_device(id(1));
    });
    disk.reopen();
    let store = disk.store();
    assert!(store.api_keys().unwrap().is_empty() && store.ended_sessions().unwrap().is_empty());
    assert!(store.devices().unwrap().is_empty() && store.credentials().unwrap().is_empty());
    assert!(store.users().unwrap().is_empty());
    assert!(store.customers().unwrap().is_empty() && store.claims().unwrap().is_empty());
}

#[test]
fn the_last_change_of_a_batch_wins() {
    let disk = Disk::new();
    disk.commit(|batch| {
        batch.put_setting("a", b"1");
        batch.put_setting("a", b"2");
        batch.put_device(&device(1));
        batch.delete_device(id(1));
    });
    assert_eq!(disk.store().setting("a").unwrap().as_deref(), Some(b"2".as_slice()));
    assert!(disk.store().devices().unwrap().is_empty());
}

#[test]
fn attributes_are_kept_by_scope_and_go_with_their_device() {
    let mut disk = Disk::new();
    let attribute = |key: &str, value| Attribute { key: key.to_owned(), value, updated: Timestamp(5) };
    disk.commit(|batch| {
        batch.put_attribute(id(1), Scope::Client, &attribute("k", Value::Double(-0.0)));
        batch.put_attribute(id(1), Scope::Shared, &attribute("k", Value::Json("[1]".to_owned())));
        batch.put_attribute(id(1), Scope::Server, &attribute("ü", Value::Long(i64::MIN)));
        batch.put_attribute(id(2), Scope::Server, &attribute("k", Value::Text(String::new())));
        [1, 2].iter().for_each(|number| batch.put_device(&device(*number)));
    });
    disk.reopen();
    let all = disk.store().attributes_all().unwrap();
    let expected = [
        (id(1), Scope::Client, attribute("k", Value::Double(-0.0))),
        (id(1), Scope::Shared, attribute("k", Value::Json("[1]".to_owned()))),
        (id(1), Scope::Server, attribute("ü", Value::Long(i64::MIN))),
        (id(2), Scope::Server, attribute("k", Value::Text(String::new()))),
    ];
    assert_eq!(all, expected);
    disk.commit(|batch| {
        batch.delete_attribute(id(1), Scope::Client, "k");
        // In the same batch as the deletion, so not yet readable when it is carried out.
        batch.put_attribute(id(1), Scope::Client, &attribute("new", Value::Bool(true)));
        batch.delete_device(id(1));
    });
    assert_eq!(disk.store().attributes_all().unwrap(), expected[3..]);
}

#[test]
fn dead_letters_come_newest_first_and_by_device() {
    let mut disk = Disk::new();
    let letter = |number: u8, payload: &[u8]| DeadLetter {
        device: id(number),
        device_name: "d".to_owned(),
        profile_id: profile(number),
        profile: "p".to_owned(),
        topic: "t".to_owned(),
        payload: payload.to_vec(),
        envelope: None,
        frame_received: None,
        received: Timestamp(9),
        codec: Some(stamp("1")),
        stage: FailureStage::Trapped,
        reason: "because".to_owned(),
    };
    for (number, payload) in [(1, b"a"), (2, b"b"), (1, b"c")] {
        disk.commit(|batch| batch.dead_letter(letter(number, payload), DeadLetterBounds::default()));
    }
    for _ in 0..2 {
        let all = disk.store().dead_letters(&LetterFilter::default(), None, 9).unwrap();
        assert_eq!(all, [(2, letter(1, b"c")), (1, letter(2, b"b")), (0, letter(1, b"a"))]);
        let of_one = {
            let filter = LetterFilter { device: Some(id(1)), ..LetterFilter::default() };
            disk.store().dead_letters(&filter, None, 1).unwrap()
        };
        assert_eq!(of_one, [(2, letter(1, b"c"))]);
        disk.reopen();
    }
}

#[test]
fn records_from_before_there_were_customers_belong_to_nobody() {
    let stored = r#"{"id":"01010101-0101-0101-0101-010101010101","created":1,"name":"device 1","label":null,
        "profile":"eeeeeeee-eeee-eeee-eeee-eeeeeeeeeeee","additional_info":"{}","is_gateway":false,"version":1}"#;
    assert_eq!(crate::records::parse::<wireglot_model::Device>(stored.as_bytes()).unwrap(), device(1));
    let stored = r#"{"id":"04040404-0404-0404-0404-040404040404","created":1,"email":"a@b","password_hash":"hash",
        "first_name":null,"last_name":null}"#;
    let user: User = crate::records::parse(stored.as_bytes()).unwrap();
    assert_eq!((user.customer, user.activation), (None, None));
    let stored = r#"{"id":"04040404-0404-0404-0404-040404040404","created":1,"name":"p","description":"",
        "is_default":true,"transport":"Default","version":1,"passthrough":"{}","retention_days":null}"#;
    let profile: wireglot_model::Profile = crate::records::parse(stored.as_bytes()).unwrap();
    assert_eq!(profile.provisioning, wireglot_model::Provisioning::Disabled);
}
