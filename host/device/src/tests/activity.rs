//! Device API §18: what the server attributes tell of a device, conformance cases 341 to 343.

use std::time::Duration;

use wireglot_bus::mailbox;
use wireglot_model::limits::ACTIVITY_DEVICES_PER_COMMIT;
use wireglot_model::{Sample, Scope, SessionId, Timestamp, Value};

use super::{NOW, Site, sample, token};
use crate::{ConnectClaim, DeviceHandle};

const TEN_MINUTES: Duration = Duration::from_secs(600);

fn after(ms: i64) -> Timestamp {
    Timestamp(NOW.0 + ms)
}

impl Site {
    fn server(&self, device: &DeviceHandle, key: &str) -> Option<Value> {
        let found = self.devices.attributes(device.id(), Scope::Server, Some(&[key.to_owned()])).unwrap();
        found.into_iter().next().map(|attribute| attribute.value)
    }

    #[track_caller]
    fn check(&self, device: &DeviceHandle, active: bool, times: [(&str, Option<i64>); 4]) {
        assert_eq!(self.server(device, "active"), Some(Value::Bool(active)));
        for (key, ms) in times {
            assert_eq!(self.server(device, key), ms.map(|ms| Value::Long(NOW.0 + ms)), "{key}");
        }
    }

    async fn look(&self, ms: i64) -> u64 {
        self.devices.save_activity(after(ms)).await.unwrap();
        let overdue = self.devices.overdue(after(ms), TEN_MINUTES);
        self.devices.turn_inactive(&overdue, after(ms), TEN_MINUTES).await.unwrap()
    }

    fn admitted(&self, user_name: &str) -> DeviceHandle {
        let claim = ConnectClaim { client_id: "", user_name: Some(user_name), password: None };
        self.devices.authenticate(&claim).unwrap()
    }
}

// 341, 342
#[tokio::test]
async fn coming_and_going_is_told_once_for_all_sessions_of_a_device() {
    let site = Site::new().await;
    site.device("d", token("TOK")).await;
    let device = site.admitted("TOK");
    let (mailbox, _receiver) = mailbox();
    let open =
        |session, ms| site.devices.open_session(&device, SessionId(session), &mailbox, after(ms)).unwrap();
    open(1, 0);
    site.devices.save_activity(after(1)).await.unwrap();
    let connected = ("lastConnectTime", Some(0));
    site.check(
        &device,
        true,
        [
            connected,
            ("lastDisconnectTime", None),
            ("lastActivityTime", Some(0)),
            ("inactivityAlarmTime", None),
        ],
    );
    open(2, 5_000);
    site.devices.close_session(&device, SessionId(1), after(5_001));
    site.devices.save_activity(after(5_002)).await.unwrap();
    site.check(
        &device,
        true,
        [
            connected,
            ("lastDisconnectTime", None),
            ("lastActivityTime", Some(5_000)),
            ("inactivityAlarmTime", None),
        ],
    );
    site.devices.close_session(&device, SessionId(2), after(9_000));
    site.devices.save_activity(after(9_001)).await.unwrap();
    let told = [
        connected,
        ("lastDisconnectTime", Some(9_000)),
        ("lastActivityTime", Some(5_000)),
        ("inactivityAlarmTime", None),
    ];
    site.check(&device, true, told);
    let site = site.reopen().await;
    site.check(&site.admitted("TOK"), true, told);
}

// 343
#[tokio::test]
async fn a_silent_device_becomes_inactive_after_its_own_time() {
    let site = Site::new().await;
    let device = site.device("d", token("TOK")).await;
    assert_eq!(site.look(0).await, 0, "who never came is not overdue");
    site.devices.heard([(&device, after(0))]);
    assert_eq!(site.look(600_000).await, 0);
    assert_eq!(site.look(600_001).await, 1);
    assert_eq!(site.look(700_000).await, 0, "once");
    let silent = [("inactivityAlarmTime", Some(600_001)), ("lastActivityTime", Some(0))];
    site.check(&device, false, [silent[0], silent[1], silent[0], silent[1]]);
    site.devices.heard([(&device, after(700_000))]);
    for (own, timeout) in [(Some(5_000), 5_000), (Some(0), 600_000), (Some(-1), 600_000), (None, 600_000)] {
        let key = "inactivityTimeout".to_owned();
        match own {
            Some(ms) => {
                let samples = vec![Sample { key, value: Value::Long(ms) }];
                site.devices.write_attributes(device.id(), Scope::Server, samples, NOW).await.unwrap();
            }
            None => site.devices.delete_attributes(device.id(), Scope::Server, vec![key]).await.unwrap(),
        }
        site.devices.heard([(&device, after(700_000))]);
        assert_eq!(site.look(700_000 + timeout).await, 0, "{own:?}");
        assert_eq!(site.look(700_001 + timeout).await, 1, "{own:?}");
    }
    assert_eq!(site.devices.activity_counters().inactive, 5);
}

// 341
#[tokio::test]
async fn many_devices_at_once_cost_few_commits_and_the_newest_report_counts() {
    let site = Site::new().await;
    let mut devices = Vec::new();
    for number in 0..ACTIVITY_DEVICES_PER_COMMIT + 8 {
        devices.push(site.device(&format!("d{number}"), token(&format!("t{number}"))).await);
    }
    let commits = site.store.counters().commits;
    for ms in [7, 3_000, 1] {
        site.devices.heard(devices.iter().map(|device| (device, after(ms))));
    }
    assert_eq!(site.devices.save_activity(after(3_001)).await.unwrap(), devices.len() as u64);
    let commits = site.store.counters().commits - commits;
    assert!(commits <= 2, "{commits} commits");
    let last = || devices.iter().map(|device| site.server(device, "lastActivityTime"));
    assert!(last().all(|last| last == Some(Value::Long(NOW.0 + 3_000))));
    // What only moves on is told at once, and kept once a minute.
    let commits = site.store.counters().commits;
    site.devices.heard(devices.iter().map(|device| (device, after(9_000))));
    site.devices.save_activity(after(9_001)).await.unwrap();
    assert!(last().all(|last| last == Some(Value::Long(NOW.0 + 9_000))));
    assert_eq!(site.store.counters().commits, commits);
    let site = site.reopen().await;
    let device = site.devices.device_by_name("d0").unwrap();
    assert_eq!(site.server(&device, "lastActivityTime"), Some(Value::Long(NOW.0 + 3_000)));
}

#[tokio::test]
async fn a_device_that_goes_leaves_nothing_behind() {
    let site = Site::new().await;
    let device = site.device("d", token("TOK")).await;
    site.devices.heard([(&device, NOW)]);
    site.devices.delete_device(device.id(), crate::now()).await.unwrap();
    assert_eq!(site.devices.save_activity(after(1)).await.unwrap(), 0);
    assert_eq!(site.store.attributes_all().unwrap().len(), 0);
}

#[tokio::test]
async fn the_own_keys_of_the_server_need_no_room() {
    let site = Site::new().await;
    let device = site.device("d", token("TOK")).await;
    let full = 0..wireglot_model::limits::ATTRIBUTES_PER_SCOPE_MAX as i64;
    let samples = full.map(|number| sample(&format!("k{number}"), number)).collect();
    site.devices.write_attributes(device.id(), Scope::Server, samples, NOW).await.unwrap();
    site.devices.heard([(&device, NOW)]);
    site.devices.save_activity(after(1)).await.unwrap();
    assert_eq!(site.server(&device, "active"), Some(Value::Bool(true)));
}
