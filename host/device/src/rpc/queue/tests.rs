//! Every transition of device API §12.5 and every strategy of §12.6, with times that are only numbers.

use uuid::Uuid;
use wireglot_model::DeviceId;

use super::*;

const SESSION: SessionId = SessionId(1);
const EXPIRES: i64 = 60_000;

/// One device, the rules it lives by, and what it was sent.
struct Story {
    queue: Queue,
    rules: RpcRules,
    out: Effects,
    waiting: Vec<oneshot::Receiver<RpcOutcome>>,
    numbers: u64,
}

impl Story {
    fn new(strategy: RpcStrategy) -> Self {
        Self {
            queue: Queue::default(),
            rules: RpcRules { strategy, ..RpcRules::default() },
            out: Effects::default(),
            waiting: Vec::new(),
            numbers: 0,
        }
    }

    fn listening(strategy: RpcStrategy) -> Self {
        let mut story = Self::new(strategy);
        story.listen();
        story
    }

    fn listen(&mut self) {
        self.queue.listen(SESSION, &self.rules, &mut self.out);
    }

    fn record(&mut self, is_one_way: bool, retries: Option<u32>) -> RpcRecord {
        self.numbers += 1;
        RpcRecord {
            id: RpcId(Uuid::from_u128(self.numbers.into())),
            number: self.numbers,
            device: DeviceId(Uuid::from_u128(1)),
            created: Timestamp(0),
            expires: Timestamp(EXPIRES),
            method: "m".into(),
            params: "null".into(),
            is_one_way,
            retries,
            additional_info: None,
            status: RpcStatus::Queued,
            response: None,
        }
    }

    fn persistent(&mut self, is_one_way: bool, retries: Option<u32>) -> i32 {
        let record = self.record(is_one_way, retries);
        self.queue.arrive(record, None, &self.rules, &mut self.out)
    }

    fn two_way(&mut self) -> i32 {
        self.persistent(false, None)
    }

    fn two_ways(&mut self, count: i32) {
        for _ in 0..count {
            self.two_way();
        }
    }

    /// Somebody waits for it.
    fn awaited(&mut self, is_one_way: bool) -> i32 {
        let (waiter, outcome) = oneshot::channel();
        self.waiting.push(outcome);
        let record = self.record(is_one_way, None);
        self.queue.arrive(record, Some(waiter), &self.rules, &mut self.out)
    }

    fn written(&mut self, id: i32, at: i64) {
        self.queue.written(id, Written::Unacknowledged, Timestamp(at), &self.rules, &mut self.out);
    }

    fn acknowledged(&mut self, id: i32, at: i64) {
        self.queue.acknowledged(id, Timestamp(at), &self.rules, &mut self.out);
    }

    fn respond(&mut self, id: i32, text: &str) -> Option<RpcRecord> {
        let mut out = Effects::default();
        let record = self.queue.respond(id, text, &self.rules, &mut out);
        self.out.sends.append(&mut out.sends);
        self.out.changed.append(&mut out.changed);
        self.out.answers.append(&mut out.answers);
        record
    }

    fn turn(&mut self, at: i64) {
        self.queue.turn(Timestamp(at), &self.rules, &mut self.out);
    }

    /// The request ids that were sent since this was asked last.
    fn sent(&mut self) -> Vec<i32> {
        let id = |downlink: Downlink| match downlink {
            Downlink::RpcRequest { id, .. } => id,
            other => panic!("{other:?}"),
        };
        self.out.sends.drain(..).map(id).collect()
    }

    /// The statuses that were to be kept since this was asked last.
    fn statuses(&mut self) -> Vec<RpcStatus> {
        self.out.changed.drain(..).map(|record| record.status).collect()
    }

    fn last_response(&self) -> Option<&str> {
        self.out.changed.last().and_then(|record| record.response.as_deref())
    }

    /// The outcomes that were told.
    fn outcomes(&mut self) -> Vec<RpcOutcome> {
        for (waiter, outcome) in self.out.answers.drain(..) {
            waiter.send(outcome).expect("the story still waits");
        }
        self.waiting.iter_mut().filter_map(|outcome| outcome.try_recv().ok()).collect()
    }
}

const ALL: [RpcStrategy; 3] =
    [RpcStrategy::Burst, RpcStrategy::SequentialOnAck, RpcStrategy::SequentialOnResponse];

#[test]
fn a_two_way_rpc_is_queued_sent_delivered_and_successful() {
    for strategy in ALL {
        let mut story = Story::new(strategy);
        assert_eq!(story.two_way(), 0, "ids begin at 0");
        assert_eq!((story.sent(), story.statuses()), (vec![], vec![]), "nobody listens");
        story.listen();
        assert_eq!(story.sent(), [0]);
        story.written(0, 1);
        story.acknowledged(0, 2);
        let record = story.respond(0, "{\"a\":1}").expect("a persistent one");
        assert_eq!((record.status, record.response.as_deref()), (RpcStatus::Successful, Some("{\"a\":1}")));
        let all = [RpcStatus::Sent, RpcStatus::Delivered, RpcStatus::Successful];
        assert_eq!(story.statuses(), all, "{strategy:?}");
        assert_eq!(story.respond(0, "{}"), None, "answered already");
        assert_eq!(story.respond(9, "{}"), None, "never asked");
        assert_eq!(story.two_way(), 1);
        assert_eq!(story.queue.next_due(), Some(Timestamp(EXPIRES)));
    }
}

#[test]
fn a_response_needs_no_acknowledgement() {
    let mut story = Story::listening(RpcStrategy::Burst);
    story.two_way();
    story.written(0, 1);
    story.respond(0, "1");
    story.acknowledged(0, 2);
    assert_eq!(story.statuses(), [RpcStatus::Sent, RpcStatus::Successful]);
    story.two_way();
    story.respond(1, "1");
    assert_eq!(story.statuses(), [RpcStatus::Successful], "not even written");
    story.written(1, 3);
    assert_eq!(story.queue.next_due(), None);
}

#[test]
fn a_response_that_is_no_json_is_kept_as_an_error() {
    for (text, kept) in [
        ("plain \"text\"", Some("{\"error\":\"plain \\\"text\\\"\"}")),
        ("", None),
        ("{\"a\":", Some("{\"error\":\"{\\\"a\\\":\"}")),
        ("null", Some("null")),
        ("12", Some("12")),
    ] {
        let mut story = Story::listening(RpcStrategy::Burst);
        story.two_way();
        let record = story.respond(0, text).expect("a persistent one");
        assert_eq!((record.status, record.response.as_deref()), (RpcStatus::Successful, kept), "{text}");
    }
}

#[test]
fn a_persistent_one_way_rpc_ends_delivered() {
    for strategy in ALL {
        let mut story = Story::listening(strategy);
        story.persistent(true, None);
        story.written(0, 1);
        story.acknowledged(0, 2);
        assert_eq!(story.statuses(), [RpcStatus::Sent, RpcStatus::Delivered]);
        story.persistent(true, None);
        story.queue.written(1, Written::Finally, Timestamp(3), &story.rules, &mut story.out);
        assert_eq!(story.statuses(), [RpcStatus::Delivered], "no acknowledgement is due");
        assert_eq!(story.queue.load().0, 0);
    }
}

#[test]
fn whoever_waits_is_told_the_outcome() {
    let mut story = Story::listening(RpcStrategy::Burst);
    story.awaited(true);
    assert_eq!(story.outcomes(), []);
    story.written(0, 1);
    assert_eq!(story.outcomes(), [RpcOutcome::Done], "whether or not it is acknowledged");
    story.awaited(false);
    story.written(1, 1);
    story.acknowledged(1, 2);
    story.respond(1, "not json");
    assert_eq!(story.outcomes(), [RpcOutcome::Response("not json".into())], "as it is");
    story.awaited(true);
    story.respond(2, "{}");
    assert_eq!(story.outcomes(), [RpcOutcome::Done], "a response ends a one-way RPC as well");
    story.awaited(false);
    story.queue.fail(3, "{\"error\":1}", &story.rules, &mut story.out);
    assert_eq!(story.outcomes(), [RpcOutcome::Response("{\"error\":1}".into())]);
    assert_eq!(story.statuses(), [], "nothing of them is kept");
    story.awaited(false);
    std::mem::take(&mut story.queue).end(&mut story.out);
    assert_eq!(story.outcomes(), [RpcOutcome::Gone]);
    for strategy in [RpcStrategy::SequentialOnAck, RpcStrategy::SequentialOnResponse] {
        let mut story = Story::listening(strategy);
        story.awaited(true);
        story.written(0, 1);
        assert_eq!(story.outcomes(), []);
        story.acknowledged(0, 2);
        assert_eq!(story.outcomes(), [RpcOutcome::Done], "when it is delivered");
    }
}

#[test]
fn what_is_not_answered_in_time_expires() {
    for strategy in ALL {
        let mut story = Story::new(strategy);
        story.two_way();
        story.awaited(false);
        story.awaited(true);
        assert_eq!(story.queue.next_due(), Some(Timestamp(EXPIRES)));
        story.turn(EXPIRES - 1);
        assert_eq!(story.queue.load().0, 3);
        story.turn(EXPIRES);
        assert_eq!(story.statuses(), [RpcStatus::Expired]);
        assert_eq!(story.outcomes(), [RpcOutcome::NoSession, RpcOutcome::NoSession]);
    }
    let mut story = Story::listening(RpcStrategy::Burst);
    story.two_way();
    story.awaited(false);
    for id in [0, 1] {
        story.written(id, 1);
        story.acknowledged(id, 2);
    }
    story.turn(EXPIRES);
    assert_eq!(story.outcomes(), [RpcOutcome::NoResponse]);
    assert_eq!(story.statuses(), [RpcStatus::Sent, RpcStatus::Delivered, RpcStatus::Expired]);
}

#[test]
fn without_an_acknowledgement_it_times_out_and_fails_at_last() {
    let mut story = Story::listening(RpcStrategy::Burst);
    story.persistent(false, Some(1));
    story.written(0, 0);
    assert_eq!(story.queue.next_due(), Some(Timestamp(10_000)));
    story.turn(10_000);
    assert_eq!(story.statuses(), [RpcStatus::Sent, RpcStatus::Timeout]);
    assert_eq!(story.sent(), [0], "in a burst it is sent again only to a new subscription");
    story.listen();
    assert_eq!(story.sent(), [0]);
    story.written(0, 20_000);
    story.turn(30_000);
    let text = "{\"error\":\"There was a Timeout and all retry attempts have been exhausted. Retry attempts set: 1\"}";
    assert_eq!(story.last_response(), Some(text));
    assert_eq!(story.statuses(), [RpcStatus::Sent, RpcStatus::Failed]);
    assert_eq!(story.queue.load().0, 0);
}

#[test]
fn retries_are_those_that_were_asked_for_but_no_more_than_the_rules_allow() {
    for (asked, made) in [(None, 5), (Some(0), 0), (Some(2), 2), (Some(9), 5)] {
        let mut story = Story::listening(RpcStrategy::SequentialOnAck);
        story.persistent(false, asked);
        let mut now = 0;
        while story.queue.load().0 > 0 {
            story.queue.calls.values_mut().for_each(|call| call.record.expires = Timestamp(i64::MAX));
            story.written(0, now);
            now += 10_000;
            story.turn(now);
        }
        assert_eq!(story.sent().len(), 1 + made, "{asked:?}");
        let text = format!("Retry attempts set: {made}\"}}");
        assert!(story.last_response().is_some_and(|response| response.ends_with(&text)));
    }
}

#[test]
fn a_device_that_does_not_acknowledge_can_lose_its_session_instead() {
    for is_one_way in [true, false] {
        let mut story = Story::listening(RpcStrategy::Burst);
        story.rules.closes_session = true;
        story.persistent(is_one_way, Some(0));
        story.written(0, 0);
        story.turn(10_000);
        assert!(story.out.closes);
        assert_eq!(story.last_response(), None);
        assert_eq!(story.statuses(), [RpcStatus::Sent, RpcStatus::Queued]);
        assert_eq!(story.sent(), [0]);
        story.listen();
        assert_eq!(story.sent(), [0], "the next session gets it");
    }
}

#[test]
fn a_burst_is_sent_in_order_to_every_new_subscription() {
    let mut story = Story::new(RpcStrategy::Burst);
    story.two_ways(5);
    story.listen();
    assert_eq!(story.sent(), [0, 1, 2, 3, 4]);
    (0..5).for_each(|id| story.written(id, 1));
    story.acknowledged(1, 2);
    story.respond(2, "1");
    story.statuses();
    story.listen();
    assert_eq!(story.sent(), [0, 1, 3, 4], "delivered but unanswered ones too");
    story.written(1, 3);
    assert_eq!(story.statuses(), [], "it stays delivered");
}

#[test]
fn a_burst_leaves_room_for_others() {
    let mut story = Story::new(RpcStrategy::Burst);
    let many = 2 * RPCS_UNDER_WAY_MAX as i32;
    story.two_ways(many);
    story.listen();
    let mut sent = story.sent();
    assert_eq!(sent.len(), RPCS_UNDER_WAY_MAX);
    for id in 0..many {
        story.written(id, 1);
        sent.append(&mut story.sent());
    }
    assert!(sent.into_iter().eq(0..many), "each once, in order");
}

#[test]
fn a_withdrawn_rpc_keeps_its_place_until_it_is_written() {
    let mut story = Story::new(RpcStrategy::Burst);
    let many = RPCS_UNDER_WAY_MAX as i32;
    story.two_ways(many + 2);
    story.listen();
    assert_eq!(story.sent().len(), RPCS_UNDER_WAY_MAX);
    story.queue.withdraw(0, &story.rules, &mut story.out);
    assert_eq!(story.sent(), [0; 0], "it is on its way into the session all the same");
    story.queue.withdraw(many, &story.rules, &mut story.out);
    story.written(0, 1);
    assert_eq!(story.sent(), [many + 1], "one that was not on its way is not sent");
    story.respond(0, "1");
    story.turn(1_000_000);
}

#[test]
fn on_ack_the_next_one_waits_for_the_acknowledgement() {
    let mut story = Story::new(RpcStrategy::SequentialOnAck);
    story.two_ways(4);
    story.listen();
    assert_eq!(story.sent(), [0]);
    story.written(0, 1);
    assert_eq!(story.sent(), [0; 0]);
    story.acknowledged(0, 2);
    assert_eq!(story.sent(), [1], "the first is not answered yet");
    story.respond(1, "1");
    assert_eq!(story.sent(), [2], "an answer stands for an acknowledgement");
    story.queue.withdraw(2, &story.rules, &mut story.out);
    assert_eq!(story.sent(), [3]);
    story.listen();
    assert_eq!(story.sent(), [3], "a new subscription gets what is not delivered");
    story.written(3, 3);
    story.turn(10_003);
    assert_eq!(story.sent(), [3], "what is not acknowledged goes again at once");
    assert_eq!(story.two_way(), 4);
    assert_eq!(story.sent(), [0; 0]);
}

#[test]
fn on_response_the_next_one_waits_for_the_answer() {
    let mut story = Story::new(RpcStrategy::SequentialOnResponse);
    story.two_way();
    story.persistent(true, None);
    story.two_way();
    story.two_way();
    story.listen();
    story.written(0, 1);
    story.acknowledged(0, 2);
    assert_eq!(story.sent(), [0]);
    story.listen();
    assert_eq!(story.sent(), [0; 0], "the device has it");
    story.respond(0, "1");
    assert_eq!(story.sent(), [1]);
    story.acknowledged(1, 3);
    assert_eq!(story.sent(), [2], "a one-way one is done when it is delivered");
    story.acknowledged(2, 4);
    assert_eq!(story.queue.next_due(), Some(Timestamp(30_004)));
    story.turn(30_004);
    let text = "{\"error\":\"There was a timeout awaiting for RPC response from device.\"}";
    assert_eq!(story.last_response(), Some(text));
    assert_eq!(story.statuses().last(), Some(&RpcStatus::Failed));
    assert_eq!(story.sent(), [3]);
}

#[test]
fn what_was_under_way_into_a_session_that_ended_is_not_lost() {
    for strategy in ALL {
        let mut story = Story::listening(strategy);
        story.two_way();
        assert_eq!(story.sent(), [0]);
        story.queue.cease(SessionId(9));
        story.two_way();
        assert_eq!(story.sent().len(), usize::from(strategy == RpcStrategy::Burst), "another one's end");
        story.queue.cease(SESSION);
        story.two_way();
        assert_eq!(story.sent(), [0; 0]);
        story.listen();
        assert_eq!(story.sent().first(), Some(&0));
    }
}

#[test]
fn what_found_no_room_is_tried_again_later() {
    let mut story = Story::listening(RpcStrategy::Burst);
    story.two_way();
    story.queue.give_back(0, Some(Timestamp(500)));
    story.two_way();
    assert_eq!(story.sent(), [0], "everything waits, so that the order stays");
    assert_eq!(story.queue.next_due(), Some(Timestamp(500)));
    story.turn(500);
    assert_eq!(story.sent(), [0, 1]);
    story.queue.give_back(1, None);
    story.written(0, 501);
    assert_eq!(story.sent(), [1], "with the next thing that happens");
}

/// The requests that were told since this was asked last, each with the request id of its RPC.
fn polled(story: &mut Story) -> Vec<(u64, i32)> {
    let told = |(poll, downlink): (SessionId, Downlink)| match downlink {
        Downlink::RpcRequest { id, .. } => (poll.0, id),
        other => panic!("{other:?}"),
    };
    story.out.polls.drain(..).map(told).collect()
}

impl Story {
    fn poll(&mut self, poll: u64) {
        self.queue.await_one(SessionId(poll), &self.rules, &mut self.out);
    }

    fn taken(&mut self, id: i32) {
        self.queue.taken(id, Timestamp(0), &self.rules, &mut self.out);
    }

    fn give_up(&mut self, poll: u64) {
        self.queue.give_up(SessionId(poll));
        self.queue.pump(&self.rules, &mut self.out);
    }
}

#[test]
fn a_request_that_waits_takes_one_rpc_and_none_that_was_taken() {
    for strategy in [RpcStrategy::Burst, RpcStrategy::SequentialOnAck] {
        let mut story = Story::new(strategy);
        story.two_ways(2);
        story.poll(5);
        assert_eq!(polled(&mut story), [(5, 0)], "{strategy:?}");
        story.taken(0);
        assert_eq!(story.statuses(), [RpcStatus::Delivered]);
        story.poll(6);
        assert_eq!(polled(&mut story), [(6, 1)]);
        story.taken(1);
        story.poll(7);
        assert_eq!(polled(&mut story), [], "the device thinks about both");
        story.two_way();
        assert_eq!(polled(&mut story), [(7, 2)]);
        assert_eq!(story.sent(), [0; 0], "there is no session");
    }
}

#[test]
fn the_session_and_all_requests_that_wait_are_told() {
    let mut story = Story::listening(RpcStrategy::Burst);
    story.poll(5);
    story.poll(6);
    story.two_way();
    assert_eq!((story.sent(), polled(&mut story)), (vec![0], vec![(5, 0), (6, 0)]));
    story.taken(0);
    story.written(0, 1);
    assert_eq!(story.statuses(), [RpcStatus::Delivered], "what has it need not acknowledge it again");
    story.taken(0);
    story.respond(0, "1");
    assert_eq!(story.statuses(), [RpcStatus::Successful]);
}

#[test]
fn what_a_request_did_not_take_is_for_the_next() {
    let mut story = Story::new(RpcStrategy::Burst);
    story.poll(5);
    story.two_way();
    assert_eq!(polled(&mut story), [(5, 0)]);
    story.give_up(5);
    story.poll(6);
    story.poll(7);
    assert_eq!(polled(&mut story), [(6, 0)]);
    story.give_up(6);
    assert_eq!(polled(&mut story), [(7, 0)], "one waits already");
    story.give_up(7);
    story.listen();
    assert_eq!(story.sent(), [0], "and a session takes it as well");
    story.written(0, 1);
    story.poll(8);
    story.two_way();
    assert_eq!((story.sent(), polled(&mut story)), (vec![1], vec![(8, 1)]));
    story.give_up(8);
    story.poll(9);
    assert_eq!(polled(&mut story), [], "the session has it");
}

#[test]
fn a_request_gets_what_a_session_took_along() {
    let mut story = Story::listening(RpcStrategy::Burst);
    story.two_ways(2);
    assert_eq!(story.sent(), [0, 1]);
    story.written(0, 1);
    story.acknowledged(0, 2);
    story.queue.cease(SESSION);
    story.poll(5);
    assert_eq!(polled(&mut story), [(5, 1)], "the device has the first");
}

#[test]
fn a_one_way_rpc_is_done_when_a_request_takes_it() {
    let mut story = Story::new(RpcStrategy::Burst);
    story.awaited(true);
    story.poll(5);
    story.taken(0);
    assert!(matches!(story.out.answers.as_slice(), [(_, RpcOutcome::Done)]));
}
