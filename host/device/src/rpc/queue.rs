//! The RPCs of one device and what becomes of them: device API §12.3 to §12.7, without a clock, a bus or a disk.
//!
//! Whatever happens is told to a `Queue` with the time at which it happened, and what follows from it comes out as
//! `Effects`. An RPC is *due* when it wants to be sent, *under way* from then until the session has written it, and it
//! leaves the queue when nothing more is waited for.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use tokio::sync::oneshot;
use wireglot_model::limits::RPCS_UNDER_WAY_MAX;
use wireglot_model::{Downlink, RpcId, RpcRecord, RpcStatus, SessionId, Timestamp};

use super::{RpcOutcome, RpcRules, RpcStrategy};

/// Who waits for the outcome of an RPC.
pub(crate) type Waiter = oneshot::Sender<RpcOutcome>;

/// What follows from what has happened.
#[derive(Default)]
pub(crate) struct Effects {
    /// To be put into the device's session, in this order.
    pub(crate) sends: Vec<Downlink>,
    /// To be put into requests of the device that wait.
    pub(crate) polls: Vec<(SessionId, Downlink)>,
    /// The device's session has to end.
    pub(crate) closes: bool,
    /// Persistent RPCs whose record is another one now.
    pub(crate) changed: Vec<RpcRecord>,
    pub(crate) answers: Vec<(Waiter, RpcOutcome)>,
}

/// One device.
#[derive(Default)]
pub(crate) struct Queue {
    next_id: i32,
    /// The session that takes RPCs.
    listener: Option<SessionId>,
    /// Requests of the device that each wait for one RPC; bounded by those that may wait at all.
    polls: Vec<SessionId>,
    /// By request id, which is the order in which they are sent.
    calls: BTreeMap<i32, Call>,
    /// What is due is looked at again then, because its worker had fallen behind.
    again: Option<Timestamp>,
}

/// One RPC that something is waited for.
struct Call {
    record: RpcRecord,
    is_persistent: bool,
    waiter: Option<Waiter>,
    stage: Stage,
    is_due: bool,
    is_under_way: bool,
    /// The requests that waited and to which it is under way; none of them has taken it yet.
    polled_by: Vec<SessionId>,
    was_sent: bool,
    /// Nobody wants it any more.
    is_withdrawn: bool,
    /// How often it was not acknowledged.
    retries: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Not written since it came, or since it was given up for this session.
    Waiting,
    /// Written; the acknowledgement is waited for until then.
    Sent { until: Timestamp },
    /// Not acknowledged in time.
    TimedOut,
    /// The device has it; where the strategy says so, the response is waited for until then.
    Delivered { until: Option<Timestamp> },
}

/// How an RPC was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// The device will acknowledge it.
    Unacknowledged,
    /// No acknowledgement is due.
    Finally,
}

impl Queue {
    /// A new RPC. It gets the next request id, whatever becomes of it.
    pub(crate) fn arrive(
        &mut self,
        record: RpcRecord,
        waiter: Option<Waiter>,
        rules: &RpcRules,
        out: &mut Effects,
    ) -> i32 {
        let id = self.next_id;
        self.next_id = id.checked_add(1).unwrap_or(0);
        let call = Call {
            record,
            is_persistent: waiter.is_none(),
            waiter,
            stage: Stage::Waiting,
            is_due: true,
            is_under_way: false,
            polled_by: Vec::new(),
            was_sent: false,
            is_withdrawn: false,
            retries: 0,
        };
        self.calls.insert(id, call);
        self.pump(rules, out);
        id
    }

    /// The session takes RPCs from now on: what waits is sent, also what was sent before and is not settled.
    pub(crate) fn listen(&mut self, session: SessionId, rules: &RpcRules, out: &mut Effects) {
        // A session that was taken over is served until it hears of it.
        if self.listener.is_some_and(|newer| newer > session) {
            return;
        }
        self.listener = Some(session);
        self.calls.retain(|_, call| !call.is_withdrawn);
        for call in self.calls.values_mut() {
            call.is_under_way = false;
            call.is_due = rules.strategy == RpcStrategy::Burst || !call.is_delivered();
        }
        self.pump(rules, out);
    }

    /// A request of the device waits for one RPC. It gets the first that nobody has taken: what the device has heard of
    /// already is told again by a session only, or a device that thinks about one would never hear of the next.
    pub(crate) fn await_one(&mut self, poll: SessionId, rules: &RpcRules, out: &mut Effects) {
        self.polls.push(poll);
        if self.listener.is_none() {
            for call in self.calls.values_mut() {
                call.is_due |= !call.is_delivered() && !call.is_under_way && call.polled_by.is_empty();
            }
        }
        self.pump(rules, out);
    }

    /// The request waits no longer. What was under way to it and nobody else has goes to the next one.
    pub(crate) fn give_up(&mut self, poll: SessionId) {
        self.polls.retain(|other| *other != poll);
        let has_listener = self.listener.is_some();
        for call in self.calls.values_mut().filter(|call| call.polled_by.contains(&poll)) {
            call.polled_by.retain(|other| *other != poll);
            // A session has it, or will have.
            let is_elsewhere = call.is_under_way || (has_listener && call.stage != Stage::Waiting);
            call.is_due |= call.polled_by.is_empty() && !is_elsewhere && !call.is_delivered();
        }
    }

    /// The session takes none any more.
    pub(crate) fn cease(&mut self, session: SessionId) {
        if self.listener == Some(session) {
            self.lose_listener();
        }
    }

    /// What was under way did not get anywhere: the session has ended, or takes no RPCs.
    pub(crate) fn lose_listener(&mut self) {
        self.listener = None;
        self.calls.retain(|_, call| !call.is_withdrawn);
        for call in self.calls.values_mut() {
            call.is_due |= std::mem::take(&mut call.is_under_way);
        }
    }

    /// This one did not get into a session. It goes with the next thing that happens, or at `again`.
    pub(crate) fn give_back(&mut self, id: i32, again: Option<Timestamp>) {
        self.drop_withdrawn(id);
        if let Some(call) = self.calls.get_mut(&id) {
            call.is_due |= std::mem::take(&mut call.is_under_way);
        }
        self.again = self.again.max(again);
    }

    /// The session has written it.
    pub(crate) fn written(
        &mut self,
        id: i32,
        written: Written,
        now: Timestamp,
        rules: &RpcRules,
        out: &mut Effects,
    ) {
        if self.drop_withdrawn(id) {
            return self.pump(rules, out);
        }
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.is_under_way = false;
        self.sent(id, written, now, rules, out);
    }

    /// A request that waited was answered with it. As with a publish of QoS 0, no acknowledgement is due.
    pub(crate) fn taken(&mut self, id: i32, now: Timestamp, rules: &RpcRules, out: &mut Effects) {
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.is_withdrawn) else { return };
        call.polled_by.clear();
        self.sent(id, Written::Finally, now, rules, out);
    }

    fn sent(&mut self, id: i32, written: Written, now: Timestamp, rules: &RpcRules, out: &mut Effects) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.was_sent = true;
        let is_done = call.record.is_one_way && !call.is_persistent && rules.strategy == RpcStrategy::Burst;
        match written {
            // The device has it already, and is only told again.
            _ if call.is_delivered() => {}
            _ if is_done => self.finish(id, None, RpcOutcome::Done, out),
            Written::Finally => self.deliver(id, now, rules, out),
            Written::Unacknowledged => {
                call.stage = Stage::Sent { until: after(now, rules.ack_timeout_ms) };
                call.set_status(RpcStatus::Sent, out);
            }
        }
        self.pump(rules, out);
    }

    /// The device has acknowledged it.
    pub(crate) fn acknowledged(&mut self, id: i32, now: Timestamp, rules: &RpcRules, out: &mut Effects) {
        if self.calls.get(&id).is_some_and(|call| !call.is_delivered()) {
            self.deliver(id, now, rules, out);
            self.pump(rules, out);
        }
    }

    /// The device has responded. Gives the record as it is now where it is a persistent one.
    pub(crate) fn respond(
        &mut self,
        id: i32,
        text: &str,
        rules: &RpcRules,
        out: &mut Effects,
    ) -> Option<RpcRecord> {
        if self.drop_withdrawn(id) {
            self.pump(rules, out);
        }
        let is_one_way = self.calls.get(&id)?.record.is_one_way;
        let outcome = if is_one_way { RpcOutcome::Done } else { RpcOutcome::Response(text.to_owned()) };
        self.finish(id, Some((RpcStatus::Successful, kept_response(text))), outcome, out);
        let record = out.changed.last().cloned();
        self.pump(rules, out);
        record
    }

    /// It cannot be sent: answered on the device's behalf.
    pub(crate) fn fail(&mut self, id: i32, response: &str, rules: &RpcRules, out: &mut Effects) {
        self.drop_withdrawn(id);
        let outcome = RpcOutcome::Response(response.to_owned());
        self.finish(id, Some((RpcStatus::Failed, Some(response.to_owned()))), outcome, out);
        self.pump(rules, out);
    }

    /// Nobody wants it any more. One that is on its way into the session keeps its place until that tells of it, so that no
    /// more are under way than a session has room for.
    pub(crate) fn withdraw(&mut self, id: i32, rules: &RpcRules, out: &mut Effects) {
        match self.calls.get_mut(&id) {
            Some(call) if call.is_under_way => (call.is_withdrawn, call.waiter) = (true, None),
            Some(_) | None => drop(self.calls.remove(&id)),
        }
        self.pump(rules, out);
    }

    /// Forgets a withdrawn RPC of which something was heard; whether it was one.
    fn drop_withdrawn(&mut self, id: i32) -> bool {
        let is_one = self.calls.get(&id).is_some_and(|call| call.is_withdrawn);
        if is_one {
            self.calls.remove(&id);
        }
        is_one
    }

    /// The device is gone: nobody waits for anything any more.
    pub(crate) fn end(self, out: &mut Effects) {
        let waiters = self.calls.into_values().filter_map(|call| call.waiter);
        out.answers.extend(waiters.map(|waiter| (waiter, RpcOutcome::Gone)));
    }

    /// When the next thing happens by itself.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.calls.values().map(Call::next_due).chain(self.again).min()
    }

    /// What happens by itself until now.
    pub(crate) fn turn(&mut self, now: Timestamp, rules: &RpcRules, out: &mut Effects) {
        if self.again.is_some_and(|again| again <= now) {
            self.again = None;
        }
        let due: Vec<i32> =
            self.calls.iter().filter(|(_, call)| call.next_due() <= now).map(|(id, _)| *id).collect();
        for id in due {
            self.pass(id, now, rules, out);
        }
        self.pump(rules, out);
    }

    /// RPCs that wait, and the bytes of them.
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.calls.len(), self.calls.values().map(|call| call.record.bytes()).sum())
    }

    /// Under which request id an RPC waits.
    pub(crate) fn id_of(&self, rpc: RpcId) -> Option<i32> {
        self.calls.iter().find(|(_, call)| call.record.id == rpc).map(|(id, _)| *id)
    }

    /// The record of a waiting RPC as it is now.
    pub(crate) fn record(&self, id: i32) -> Option<&RpcRecord> {
        self.calls.get(&id).map(|call| &call.record)
    }

    /// A time has come for this RPC.
    fn pass(&mut self, id: i32, now: Timestamp, rules: &RpcRules, out: &mut Effects) {
        if self.drop_withdrawn(id) {
            return;
        }
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.record.expires <= now {
            let outcome = if call.was_sent { RpcOutcome::NoResponse } else { RpcOutcome::NoSession };
            return self.finish(id, Some((RpcStatus::Expired, None)), outcome, out);
        }
        match call.stage {
            Stage::Sent { until } if until <= now => self.time_out(id, rules, out),
            Stage::Delivered { until: Some(until) } if until <= now => {
                let response = "{\"error\":\"There was a timeout awaiting for RPC response from device.\"}";
                let end = Some((RpcStatus::Failed, Some(response.to_owned())));
                self.finish(id, end, RpcOutcome::NoResponse, out);
            }
            Stage::Waiting | Stage::Sent { .. } | Stage::TimedOut | Stage::Delivered { .. } => {}
        }
    }

    /// It was not acknowledged in time.
    fn time_out(&mut self, id: i32, rules: &RpcRules, out: &mut Effects) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let retries_max = call.record.retries.map_or(rules.retries_max, |given| given.min(rules.retries_max));
        if call.retries < retries_max {
            call.retries += 1;
            call.stage = Stage::TimedOut;
            call.is_due = rules.strategy != RpcStrategy::Burst;
            call.set_status(RpcStatus::Timeout, out);
        } else if rules.closes_session {
            call.retries = 0;
            call.stage = Stage::Waiting;
            call.is_due = true;
            call.set_status(RpcStatus::Queued, out);
            self.lose_listener();
            out.closes = true;
        } else {
            let response = format!(
                "{{\"error\":\"There was a Timeout and all retry attempts have been exhausted. Retry attempts set: \
                 {retries_max}\"}}"
            );
            self.finish(id, Some((RpcStatus::Failed, Some(response))), RpcOutcome::NoResponse, out);
        }
    }

    /// The device has it. That is all that is asked of a one-way RPC.
    fn deliver(&mut self, id: i32, now: Timestamp, rules: &RpcRules, out: &mut Effects) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.was_sent = true;
        if call.record.is_one_way {
            return self.finish(id, Some((RpcStatus::Delivered, None)), RpcOutcome::Done, out);
        }
        let waits = rules.strategy == RpcStrategy::SequentialOnResponse;
        let until = waits.then(|| after(now, rules.response_timeout_ms));
        call.stage = Stage::Delivered { until };
        call.is_due = false;
        call.set_status(RpcStatus::Delivered, out);
    }

    fn finish(
        &mut self,
        id: i32,
        end: Option<(RpcStatus, Option<String>)>,
        outcome: RpcOutcome,
        out: &mut Effects,
    ) {
        let Some(mut call) = self.calls.remove(&id) else { return };
        if let Some((status, response)) = end {
            call.record.response = response;
            call.set_status(status, out);
        }
        if let Some(waiter) = call.waiter {
            out.answers.push((waiter, outcome));
        }
    }

    /// Sends what is due and may go now.
    pub(crate) fn pump(&mut self, rules: &RpcRules, out: &mut Effects) {
        let has_listener = self.listener.is_some();
        if (!has_listener && self.polls.is_empty()) || self.again.is_some() {
            return;
        }
        let under_way = self.calls.values().filter(|call| call.is_under_way).count();
        // Requests take one each, and all that wait take the same one: whoever is subscribed is told.
        let room = if has_listener { RPCS_UNDER_WAY_MAX.saturating_sub(under_way) } else { 1 };
        let is_ready = |call: &&mut Call| call.is_due && !call.is_under_way && call.polled_by.is_empty();
        let polls = &mut self.polls;
        let mut send = |id: i32, call: &mut Call| {
            (call.is_due, call.is_under_way) = (false, has_listener);
            call.polled_by.clone_from(polls);
            let request = || {
                let RpcRecord { method, params, .. } = call.record.clone();
                Downlink::RpcRequest { id, method, params }
            };
            if has_listener {
                out.sends.push(request());
            }
            out.polls.extend(polls.drain(..).map(|poll| (poll, request())));
        };
        match rules.strategy {
            RpcStrategy::Burst => {
                let ready = self.calls.iter_mut().filter(|(_, call)| is_ready(call));
                ready.take(room).for_each(|(id, call)| send(*id, call));
            }
            RpcStrategy::SequentialOnAck | RpcStrategy::SequentialOnResponse => {
                let on_response = rules.strategy == RpcStrategy::SequentialOnResponse;
                let mut wanted = self.calls.iter_mut().filter(|(_, call)| !call.is_withdrawn);
                let first = wanted.find(|(_, call)| on_response || !call.is_delivered());
                first.filter(|(_, call)| is_ready(call)).into_iter().for_each(|(id, call)| send(*id, call));
            }
        }
    }
}

impl Call {
    fn is_delivered(&self) -> bool {
        matches!(self.stage, Stage::Delivered { .. })
    }

    fn next_due(&self) -> Timestamp {
        let stage = match self.stage {
            Stage::Waiting | Stage::TimedOut | Stage::Delivered { until: None } => self.record.expires,
            Stage::Sent { until } | Stage::Delivered { until: Some(until) } => until,
        };
        stage.min(self.record.expires)
    }

    fn set_status(&mut self, status: RpcStatus, out: &mut Effects) {
        self.record.status = status;
        if self.is_persistent {
            out.changed.push(self.record.clone());
        }
    }
}

/// What is kept of a response: JSON as it is, other text as an error, nothing of none.
fn kept_response(text: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let is_json = serde_json::from_str::<&RawValue>(text).is_ok();
    Some(if is_json { text.to_owned() } else { serde_json::json!({ "error": text }).to_string() })
}

fn after(now: Timestamp, ms: i64) -> Timestamp {
    Timestamp(now.0.saturating_add(ms))
}

#[cfg(test)]
mod tests;
