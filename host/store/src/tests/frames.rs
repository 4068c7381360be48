//! Dead letters within the bounds of their profile, raw frames, and values that are replaced.

use std::collections::BTreeSet;

use wireglot_model::profile::{MqttTransport, TransportKind};
use wireglot_model::{
    DeadLetter, DeadLetterBounds, Envelope, FailureStage, FrameTrace, Measurement, Profile, RawFrame,
    Timestamp, Value,
};

use super::{Disk, block_on, device, id, measured, no_bounds, profile, stamp};
use crate::{Batch, LetterFilter, Removal, StoreConfig};

const DAY_MS: i64 = 86_400_000;

fn letter(of: u8, received: i64, payload: &[u8]) -> DeadLetter {
    DeadLetter {
        device: id(of),
        device_name: "d".to_owned(),
        profile_id: profile(of),
        profile: "p".to_owned(),
        topic: "t".to_owned(),
        payload: payload.to_vec(),
        envelope: Some(Envelope::Tts),
        frame_received: None,
        received: Timestamp(received),
        codec: (of == 1).then(|| stamp("1")),
        stage: if of == 1 { FailureStage::Trapped } else { FailureStage::NoCodec },
        reason: "because".to_owned(),
    }
}

fn kept(disk: &Disk, filter: &LetterFilter) -> Vec<u8> {
    let letters = disk.store().dead_letters(filter, None, 1_000).unwrap();
    letters.into_iter().map(|(_, letter)| letter.payload[0]).collect()
}

fn a_profile(number: u8, raw_retention_hours: Option<u32>, dead_letters: DeadLetterBounds) -> Profile {
    Profile {
        id: profile(number),
        created: Timestamp(1),
        name: format!("p{number}"),
        description: String::new(),
        is_default: false,
        transport: TransportKind::Mqtt(MqttTransport::json()),
        version: 1,
        passthrough: "{}".to_owned(),
        retention_days: None,
        raw_retention_hours,
        dead_letters,
        provisioning: wireglot_model::Provisioning::Disabled,
        ota: wireglot_model::OtaTargets::default(),
        client_rpc: wireglot_model::ClientRpc::default(),
    }
}

#[test]
fn each_profile_has_its_own_bounds() {
    let mut disk = Disk::new();
    let few = DeadLetterBounds { count_max: 2, ..no_bounds() };
    disk.commit(|batch| batch.dead_letter(letter(2, 9, &[20]), few));
    for number in 0..5 {
        disk.commit(|batch| batch.dead_letter(letter(1, 9, &[number]), few));
    }
    assert_eq!(kept(&disk, &LetterFilter::default()), [4, 3, 20], "the other profile's letter is the oldest");
    assert_eq!(disk.store().counters().dead_letters_evicted, 3);
    disk.reopen();
    let bytes = crate::dead::encode(&letter(1, 9, &[5; 100])).len() as u64;
    let small = DeadLetterBounds { bytes_max: 2 * bytes - 1, ..no_bounds() };
    disk.commit(|batch| {
        batch.dead_letter(letter(1, 9, &[5; 100]), small);
        batch.dead_letter(letter(1, 9, &[6; 100]), small);
    });
    assert_eq!(kept(&disk, &LetterFilter::default()), [6, 20], "bytes count too");
    let young = DeadLetterBounds { age_days_max: 1, ..no_bounds() };
    disk.commit(|batch| batch.dead_letter(letter(1, 9 + DAY_MS, &[7]), young));
    assert_eq!(kept(&disk, &LetterFilter::default()), [7, 6, 20], "exactly as old as may be");
    disk.commit(|batch| batch.dead_letter(letter(1, 10 + DAY_MS, &[8]), young));
    assert_eq!(kept(&disk, &LetterFilter::default()), [8, 7, 20]);
    disk.reopen();
    assert_eq!(kept(&disk, &LetterFilter::default()), [8, 7, 20]);
}

#[test]
fn past_the_bound_of_all_the_largest_makes_room() {
    let config = StoreConfig { dead_letters_max: 3, ..StoreConfig::default() };
    let disk = Disk::with(config);
    disk.commit(|batch| batch.dead_letter(letter(2, 9, &[20]), no_bounds()));
    for number in 0..9 {
        disk.commit(|batch| batch.dead_letter(letter(1, 9, &[number]), no_bounds()));
    }
    assert_eq!(kept(&disk, &LetterFilter::default()), [8, 7, 20]);
}

#[test]
fn letters_are_filtered_paged_and_deleted() {
    let mut disk = Disk::new();
    for number in 0..40 {
        let of = 1 + number % 2;
        disk.commit(|batch| batch.dead_letter(letter(of, i64::from(number), &[number]), no_bounds()));
    }
    let everything = LetterFilter::default();
    let only = |filter: LetterFilter| kept(&disk, &filter);
    let odd: Vec<u8> = (0..40).rev().filter(|number| number % 2 == 1).collect();
    let even: Vec<u8> = (0..40).rev().filter(|number| number % 2 == 0).collect();
    assert_eq!(only(LetterFilter { profile: Some(profile(2)), ..everything.clone() }), odd);
    assert_eq!(only(LetterFilter { device: Some(id(1)), ..everything.clone() }), even);
    assert_eq!(only(LetterFilter { codec: Some(stamp("1").name), ..everything.clone() }), even);
    assert_eq!(only(LetterFilter { stage: Some(FailureStage::NoCodec), ..everything.clone() }), odd);
    let some = LetterFilter { since: Some(Timestamp(3)), until: Some(Timestamp(6)), ..everything.clone() };
    assert_eq!(only(some), [5, 4, 3]);
    let page = disk.store().dead_letters(&everything, Some(10), 2).unwrap();
    assert_eq!(page.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [9, 8]);
    disk.commit(|batch| {
        batch.delete_dead_letter(9);
        batch.delete_dead_letter(9);
        batch.delete_dead_letter(4_711);
    });
    for _ in 0..2 {
        assert_eq!(disk.store().dead_letter(9).unwrap(), None);
        assert_eq!(disk.store().dead_letters(&everything, Some(10), 1).unwrap()[0].0, 8);
        assert_eq!(disk.store().counters().dead_letters, 39);
        disk.reopen();
    }
    assert_eq!(disk.store().counters().dead_letters_evicted, 0);
}

fn raw(of: u8, received: i64, payload: &[u8]) -> RawFrame {
    RawFrame {
        device: id(of),
        profile: profile(of),
        topic: "up/1".to_owned(),
        payload: payload.to_vec(),
        envelope: [None, Some(Envelope::Chirpstack), Some(Envelope::Tts)][usize::from(of % 3)],
        received: Timestamp(received),
        codec: (received % 2 == 0).then(|| stamp("12")),
        traces: vec![FrameTrace { device: id(9), first: Timestamp(-5), last: Timestamp(i64::MAX) }],
    }
}

#[test]
fn raw_frames_come_in_whole_units() {
    let mut disk = Disk::new();
    let frames = [raw(1, 5, b"a"), raw(1, 7, b"b"), raw(2, 7, b"x"), raw(1, 7, b"c"), raw(1, 8, b"d")];
    for (number, frame) in (0..).zip(&frames) {
        disk.commit(|batch| batch.raw_frame(number, frame));
    }
    disk.reopen();
    let read = |from, until, count| {
        let found = disk.store().raw_frames(profile(1), Timestamp(from), Timestamp(until), count).unwrap();
        (found.0.into_iter().map(|(_, frame)| frame).collect::<Vec<_>>(), found.1.map(|next| next.0))
    };
    let [a, b, _, c, d] = frames.clone();
    assert_eq!(read(0, 99, 1), (vec![a.clone()], Some(7)));
    assert_eq!(read(7, 99, 1), (vec![b.clone(), c.clone()], Some(8)), "one time, one unit");
    assert_eq!(read(0, 8, 9), (vec![a, b, c], None));
    assert_eq!(read(8, 99, 9), (vec![d], None));
    assert_eq!(read(9, 99, 9), (vec![], None));
    assert_eq!(read(9, 3, 9), (vec![], None));
    let begin = |until, count| {
        let begin = disk.store().raw_frames_begin(profile(1), Timestamp(until), count).unwrap();
        begin.map(|begin| begin.0)
    };
    assert_eq!(
        [begin(99, 1), begin(99, 2), begin(99, 9), begin(8, 1), begin(5, 1)],
        [Some(8), Some(7), Some(5), Some(7), None]
    );
    assert_eq!(begin(99, 0), None);
}

#[test]
fn the_sweep_removes_what_profiles_no_longer_keep() {
    const HOUR_MS: i64 = 3_600_000;
    let disk = Disk::new();
    let brief = DeadLetterBounds { age_days_max: 1, ..no_bounds() };
    disk.commit(|batch| {
        batch.put_profile(&a_profile(1, Some(1), brief));
        batch.put_profile(&a_profile(2, Some(3), no_bounds()));
        for (number, (of, received)) in
            (0..).zip([(1, 0), (1, 2 * HOUR_MS), (2, 0), (2, HOUR_MS), (3, HOUR_MS)])
        {
            batch.raw_frame(number, &raw(of, received, &[of]));
        }
        batch.dead_letter(letter(1, 0, &[1]), brief);
        batch.dead_letter(letter(2, 0, &[2]), no_bounds());
    });
    let swept = disk.store().retain(Timestamp(3 * HOUR_MS)).unwrap();
    assert_eq!((swept.raw_frames, swept.dead_letters), (2, 0), "one that is too old, one that nobody keeps");
    let left =
        |of| disk.store().raw_frames(profile(of), Timestamp(0), Timestamp(i64::MAX), 9).unwrap().0.len();
    assert_eq!([left(1), left(2), left(3)], [1, 2, 0]);
    let swept = disk.store().retain(Timestamp(DAY_MS + 1)).unwrap();
    assert_eq!((swept.raw_frames, swept.dead_letters), (3, 1));
    assert_eq!(kept(&disk, &LetterFilter::default()), [2]);
}

#[test]
fn the_oldest_raw_frames_make_room_on_the_disk() {
    let config = StoreConfig { raw_bytes_max: 1, ..StoreConfig::default() };
    let disk = Disk::with(config);
    disk.commit(|batch| {
        batch.put_profile(&a_profile(1, Some(1_000), no_bounds()));
        (0..2_000).for_each(|number| batch.raw_frame(number, &raw(1, 100 + number as i64, &[1; 400])));
    });
    disk.store().core().raw.rotate_memtable_and_wait().unwrap();
    let swept = disk.store().retain(Timestamp(5_000)).unwrap();
    assert!(swept.raw_frames >= 1_990, "{swept:?}");
}

/// What a codec made of frames received at some times: each gives `t` one millisecond earlier, and `old` as it came.
fn store_frames(disk: &Disk, times: impl Iterator<Item = i64>) {
    for received in times {
        let measurements = [
            measured(Some(received - 1), &[("t", Value::Long(received))]),
            measured(None, &[("old", Value::Bool(true))]),
        ];
        let codec = stamp("1");
        disk.commit(|batch| batch.telemetry(id(1), Timestamp(received), Some(&codec), &measurements));
    }
}

fn revise(disk: &Disk, times: &[i64], make: impl Fn(i64) -> Vec<Measurement>) {
    let mut rows = Batch::default();
    for received in times {
        rows.telemetry(id(1), Timestamp(*received), Some(&stamp("22")), &make(*received));
    }
    let draft = disk.store().draft(&rows).unwrap();
    let defined = block_on(disk.store().define()).unwrap();
    let removal = Removal {
        device: id(1),
        received: times.iter().map(|time| Timestamp(*time)).collect::<BTreeSet<_>>(),
        first: Timestamp(times[0] - 1),
        last: Timestamp(times[times.len() - 1]),
    };
    disk.store().revise(&[removal], &draft, defined).unwrap();
}

fn latest(disk: &Disk) -> Vec<(String, i64, Value)> {
    let latest = disk.store().latest(id(1), None).unwrap();
    let mut latest: Vec<_> =
        latest.into_iter().map(|latest| (latest.key, latest.ts.0, latest.value)).collect();
    latest.sort_by(|one, other| one.0.cmp(&other.0));
    latest
}

#[test]
fn revised_values_take_the_place_of_the_old_ones() {
    let mut disk = Disk::new();
    disk.commit(|batch| batch.put_device(&device(1)));
    store_frames(&disk, [1_000, 2_000].into_iter());
    disk.checkpoint();
    store_frames(&disk, [3_000, 4_000].into_iter());
    // Not from a codec, but received at the same time.
    disk.commit(|batch| {
        batch.telemetry(id(1), Timestamp(3_000), None, &[measured(Some(2_999), &[("json", Value::Long(1))])]);
    });
    let corrected = |received: i64| vec![measured(Some(received - 1), &[("t", Value::Double(0.5))])];
    for round in 0..3 {
        revise(&disk, &[2_000, 3_000], corrected);
        let points = disk.history(1, "t", (0, 9_999), 99, false);
        let expected = [
            (999, Value::Long(1_000)),
            (1_999, Value::Double(0.5)),
            (2_999, Value::Double(0.5)),
            (3_999, Value::Long(4_000)),
        ];
        assert_eq!(points, expected, "round {round}");
        let old = disk.history(1, "old", (0, 9_999), 99, false);
        assert_eq!(old, [(1_000, Value::Bool(true)), (4_000, Value::Bool(true))]);
        assert_eq!(disk.history(1, "json", (0, 9_999), 99, false), [(2_999, Value::Long(1))]);
        let messages = disk.store().messages(id(1), Timestamp(0), Timestamp(9_999), 99).unwrap();
        assert_eq!(messages.len(), 7);
        let revised: Vec<i64> = messages
            .iter()
            .filter(|message| message.codec == Some(stamp("22")))
            .map(|message| message.received.0)
            .collect();
        assert_eq!(revised, [2_000, 3_000], "the time of receipt stays");
        disk.reopen();
    }
}

#[test]
fn a_latest_value_that_goes_gives_way_to_the_one_before() {
    let disk = Disk::new();
    disk.commit(|batch| batch.put_device(&device(1)));
    // Over several hours, so that there are several chunks.
    let times: Vec<i64> = (1..=50).map(|minute| minute * 600_000).collect();
    store_frames(&disk, times.iter().copied());
    disk.checkpoint();
    let last = times[49];
    revise(&disk, &[last], |received| vec![measured(Some(received), &[("new", Value::Long(7))])]);
    let before = times[48];
    let expected = [
        ("new".to_owned(), last, Value::Long(7)),
        ("old".to_owned(), before, Value::Bool(true)),
        ("t".to_owned(), before - 1, Value::Long(before)),
    ];
    assert_eq!(latest(&disk), expected);
    // All of them, so that nothing of a key is left.
    revise(&disk, &times, |_| Vec::new());
    assert_eq!(latest(&disk), []);
    assert_eq!(disk.store().messages(id(1), Timestamp(0), Timestamp(i64::MAX), 99).unwrap(), []);
    store_frames(&disk, std::iter::once(1));
    assert_eq!(latest(&disk).len(), 2);
}

#[test]
fn a_revision_of_many_rows_of_one_time_loses_none() {
    let disk = Disk::new();
    disk.commit(|batch| batch.put_device(&device(1)));
    let rows: Vec<Measurement> = (0..2_000)
        .map(|number| measured(Some(5), &[(&format!("k{}", number % 700), Value::Long(number))]))
        .collect();
    disk.commit(|batch| batch.telemetry(id(1), Timestamp(9), Some(&stamp("1")), &rows));
    disk.checkpoint();
    let all = || disk.store().messages(id(1), Timestamp(0), Timestamp(99), 9_999).unwrap();
    assert_eq!(all().len(), 2_000);
    let times: Vec<i64> = vec![9];
    for _ in 0..2 {
        let mut batch = Batch::default();
        batch.telemetry(id(1), Timestamp(9), Some(&stamp("22")), &rows);
        let draft = disk.store().draft(&batch).unwrap();
        let defined = block_on(disk.store().define()).unwrap();
        let received = times.iter().map(|time| Timestamp(*time)).collect();
        let removal = Removal { device: id(1), received, first: Timestamp(0), last: Timestamp(9) };
        disk.store().revise(&[removal], &draft, defined).unwrap();
        let found = all();
        assert_eq!(found.len(), 2_000);
        assert!(found.iter().all(|message| message.codec == Some(stamp("22"))));
    }
    let latest = disk.store().latest(id(1), Some(&["k3".to_owned()])).unwrap();
    assert_eq!(latest[0].value, Value::Long(1_403), "of one time, the later one");
}

#[test]
fn what_is_shortened_takes_no_other_chunks_place() {
    let disk = Disk::new();
    let keeps = Profile { retention_days: Some(1), ..a_profile(0xee, None, no_bounds()) };
    disk.commit(|batch| {
        batch.put_profile(&keeps);
        batch.put_device(&device(1));
    });
    // Of one revision, so all its chunks have the same numbers; the second one begins at the time that the first ends with.
    let young = 2 * DAY_MS;
    let rows: Vec<Measurement> = (0..2_000)
        .map(|number| {
            let ts = if number < 3 { number } else { young };
            measured(Some(ts), &[(&format!("k{}", number % 700), Value::Long(number))])
        })
        .collect();
    let mut batch = Batch::default();
    batch.telemetry(id(1), Timestamp(9), Some(&stamp("22")), &rows);
    let draft = disk.store().draft(&batch).unwrap();
    let defined = block_on(disk.store().define()).unwrap();
    disk.store().revise(&[], &draft, defined).unwrap();
    let left = || disk.store().messages(id(1), Timestamp(0), Timestamp(i64::MAX), 9_999).unwrap().len();
    assert_eq!(left(), 2_000);
    assert_eq!(disk.store().retain(Timestamp(young + DAY_MS)).unwrap().messages, 3);
    assert_eq!(left(), 1_997, "what is young stays");
}

#[test]
fn a_sweep_goes_on_after_each_of_its_steps() {
    let disk = Disk::new();
    let keeps = Profile { retention_days: Some(1), ..a_profile(0xee, None, no_bounds()) };
    disk.commit(|batch| {
        batch.put_profile(&keeps);
        batch.put_device(&device(1));
    });
    // Three steps' worth, and one message that stays.
    let text = "x".repeat(100_000);
    let old = i64::try_from(3 * crate::erase::STEP_BYTES / text.len()).unwrap();
    for number in 0..old {
        disk.send(1, number, &[("k", Value::Text(text.clone()))]);
    }
    disk.send(1, 5 * DAY_MS, &[("k", Value::Text(text))]);
    disk.checkpoint();
    let removed = disk.store().retain(Timestamp(5 * DAY_MS)).unwrap();
    assert_eq!(removed.messages, usize::try_from(old).unwrap());
    assert_eq!(disk.store().messages(id(1), Timestamp(0), Timestamp(i64::MAX), 9_999).unwrap().len(), 1);
    assert_eq!(disk.store().retain(Timestamp(5 * DAY_MS)).unwrap(), crate::Retained::default());
}
