//! Rate limits where messages come in: what counts as what (device API §17), and what does not count as activity (§18).
//!
//! Nothing here costs more than a load while nothing is limited. How much is left is known to `wireglot-device`.

use std::time::Instant;

use ntex_mqtt::QoS;
use wireglot_device::{Charge, DeviceHandle, RateExceeded, Speaker, now};
use wireglot_model::{Decoded, Timestamp};
use wireglot_route::{ProfileTopics, Subscription, is_sparkplug_filter, subscription};

use crate::session::Session;
use crate::subscribe::{Grant, Subscriptions};
use crate::worker::Worker;

/// Counts a session that a device wants to open.
pub(crate) fn open(worker: &Worker, device: &DeviceHandle) -> Result<(), RateExceeded> {
    if !worker.devices.is_rate_limited() {
        return Ok(());
    }
    worker.devices.charge(device, Speaker::Own, Charge::Message, Instant::now(), now())
}

/// Counts one message without values: whatever the device API counts beside publishes that are decoded.
pub(crate) fn message(session: &Session) -> Result<(), RateExceeded> {
    open(&session.worker, &session.device)
}

/// Counts something without values for a device behind the session's, as soon as it is known which.
pub(crate) fn child_message(session: &Session, child: Option<&DeviceHandle>) -> Result<(), RateExceeded> {
    charge_child(session, child, Charge::Message)
}

/// Counts what the session says for a device behind its own.
pub(crate) fn charge_child(
    session: &Session,
    child: Option<&DeviceHandle>,
    charge: Charge,
) -> Result<(), RateExceeded> {
    let devices = &session.worker.devices;
    if !devices.is_rate_limited() {
        return Ok(());
    }
    devices.charge_child(&session.device, child, charge, Instant::now(), now())
}

/// Counts what a publish said.
pub(crate) fn decoded(
    session: &Session,
    speaker: Speaker,
    decoded: &Decoded,
    received: Timestamp,
) -> Result<(), RateExceeded> {
    let devices = &session.worker.devices;
    if !devices.is_rate_limited() {
        return Ok(());
    }
    devices.charge_decoded(&session.device, speaker, decoded, Instant::now(), received)
}

/// Subscribes. An interest that passes a limit is granted without effect.
pub(crate) fn subscribe(
    session: &Session,
    subscriptions: &mut Subscriptions,
    topics: &ProfileTopics,
    filter: &str,
    requested: QoS,
) -> Grant {
    if session.sparkplug.is_some() {
        return match is_sparkplug_filter(filter) {
            true => subscriptions.subscribe_without_effect(filter, requested),
            false => Grant::Refused,
        };
    }
    if is_refused(session, topics, filter) {
        return subscriptions.subscribe_without_effect(filter, requested);
    }
    subscriptions.subscribe(topics, filter, requested)
}

/// Cancels a subscription, or only says so where that passes a limit.
pub(crate) fn unsubscribe(session: &Session, subscriptions: &mut Subscriptions, filter: &str) -> bool {
    if session.worker.devices.is_rate_limited() && is_refused(session, &session.view().topics, filter) {
        return true;
    }
    subscriptions.unsubscribe(filter)
}

/// Only what makes an interest is counted.
fn is_refused(session: &Session, topics: &ProfileTopics, filter: &str) -> bool {
    if !session.worker.devices.is_rate_limited() {
        return false;
    }
    match subscription(topics, filter) {
        Some(
            Subscription::AttributeUpdates(_) | Subscription::AttributeUpdatesCustom | Subscription::Rpc(_),
        ) => message(session).is_err(),
        Some(Subscription::Passive) | None => false,
    }
}

/// Whether a publish counts as a sign of life: downloads do not.
pub(crate) fn is_activity(topic: &str) -> bool {
    !topic.starts_with("v2/fw/") && !topic.starts_with("v2/sw/")
}
