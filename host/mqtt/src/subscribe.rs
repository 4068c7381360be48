//! What a session may hear: SUBSCRIBE and UNSUBSCRIBE, and the QoS that follows for what it is sent.
//!
//! A session has one interest in attribute updates and one in RPCs, and the last subscription for each decides on which
//! topic they come.

use ntex_mqtt::QoS;
use wireglot_model::limits::SUBSCRIPTIONS_MAX;
use wireglot_route::{Family, ProfileTopics, Subscription, matches, subscription};

/// The subscriptions of one session.
#[derive(Default)]
pub(crate) struct Subscriptions {
    granted: Vec<Granted>,
    updates: Option<Family>,
    rpcs: Option<Family>,
    /// The interest in RPCs was said, or taken back, and nobody has heard of it yet.
    has_news: bool,
}

struct Granted {
    filter: Box<str>,
    qos: QoS,
    interest: Interest,
}

/// What a filter makes the session hear.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interest {
    Updates(Family),
    Rpcs(Family),
    Nothing,
}

/// The answer to one filter of a SUBSCRIBE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Grant {
    Granted(QoS),
    /// Not a filter that a device may have.
    Refused,
    /// More filters than a connection may have.
    TooMany,
}

impl Subscriptions {
    /// Registers the interest before it is acknowledged, so that nothing after the SUBACK is missed.
    pub(crate) fn subscribe(&mut self, topics: &ProfileTopics, filter: &str, requested: QoS) -> Grant {
        let Some(meaning) = subscription(topics, filter) else { return Grant::Refused };
        let interest = match meaning {
            Subscription::AttributeUpdates(family) => Interest::Updates(family),
            Subscription::AttributeUpdatesCustom => Interest::Updates(Family::V1),
            Subscription::Rpc(family) => Interest::Rpcs(family),
            Subscription::Passive => Interest::Nothing,
        };
        let grant = self.grant(filter, requested, interest);
        match interest {
            _ if grant == Grant::TooMany => {}
            Interest::Updates(family) => self.updates = Some(family),
            Interest::Rpcs(family) => (self.rpcs, self.has_news) = (Some(family), true),
            Interest::Nothing => {}
        }
        grant
    }

    fn grant(&mut self, filter: &str, requested: QoS, interest: Interest) -> Grant {
        let qos = requested.min(QoS::AtLeastOnce);
        let is_full = self.granted.len() >= SUBSCRIPTIONS_MAX;
        match self.granted.iter_mut().find(|granted| &*granted.filter == filter) {
            Some(granted) => {
                granted.qos = qos;
                // What is granted without effect leaves an interest that is there alone.
                if interest != Interest::Nothing {
                    granted.interest = interest;
                }
            }
            None if is_full => return Grant::TooMany,
            None => self.granted.push(Granted { filter: filter.into(), qos, interest }),
        }
        Grant::Granted(qos)
    }

    /// Grants a filter that makes no interest: it only sets the QoS of what is published there anyway.
    pub(crate) fn subscribe_without_effect(&mut self, filter: &str, requested: QoS) -> Grant {
        self.grant(filter, requested, Interest::Nothing)
    }

    /// Cancels a subscription, and with any one for attribute updates or for RPCs that interest altogether (device API
    /// §5.3). Says whether there was one.
    pub(crate) fn unsubscribe(&mut self, filter: &str) -> bool {
        let Some(index) = self.granted.iter().position(|granted| &*granted.filter == filter) else {
            return false;
        };
        match self.granted.swap_remove(index).interest {
            Interest::Updates(_) => self.updates = None,
            Interest::Rpcs(_) => (self.rpcs, self.has_news) = (None, true),
            Interest::Nothing => {}
        }
        true
    }

    /// Makes both interests without a subscription: whoever they are of is told on topics of its own.
    pub(crate) fn hear_unasked(&mut self) {
        (self.updates, self.rpcs, self.has_news) = (Some(Family::V1), Some(Family::V1), true);
    }

    /// Makes both interests for a request that waits: which one it means is known to its line.
    pub(crate) fn await_in(&mut self, family: Family) {
        (self.updates, self.rpcs) = (Some(family), Some(family));
    }

    /// On which topics RPCs go out, if at all.
    pub(crate) fn rpcs(&self) -> Option<Family> {
        self.rpcs
    }

    /// Whether the interest in RPCs was said or taken back since this was asked last. Saying it again counts: the device
    /// wants what waits.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    /// Ends the interest in server-side RPCs; whether there was one.
    pub(crate) fn forget_rpcs(&mut self) -> bool {
        self.rpcs.take().is_some()
    }

    /// On which topics attribute updates go out, if at all.
    pub(crate) fn updates(&self) -> Option<Family> {
        self.updates
    }

    /// The QoS of a publish to the device: as granted, or 1 where it has not subscribed (device API §2.6).
    pub(crate) fn qos_of(&self, topic: &str) -> QoS {
        let matching = self.granted.iter().find(|granted| matches(&granted.filter, topic));
        matching.map_or(QoS::AtLeastOnce, |granted| granted.qos)
    }
}

#[cfg(test)]
mod tests {
    use wireglot_model::profile::MqttTransport;

    use super::*;

    fn subscribed(filters: &[(&str, QoS)]) -> Subscriptions {
        let topics = ProfileTopics::new(&MqttTransport::json());
        let mut subscriptions = Subscriptions::default();
        for (filter, qos) in filters {
            assert_ne!(subscriptions.subscribe(&topics, filter, *qos), Grant::Refused, "{filter}");
        }
        subscriptions
    }

    #[test]
    fn qos_2_is_granted_as_1() {
        let topics = ProfileTopics::new(&MqttTransport::json());
        let grant = Subscriptions::default().subscribe(&topics, "v2/a", QoS::ExactlyOnce);
        assert_eq!(grant, Grant::Granted(QoS::AtLeastOnce));
    }

    #[test]
    fn the_last_subscription_for_updates_wins() {
        let both = [("v1/devices/me/attributes", QoS::AtLeastOnce), ("v2/a/j", QoS::AtMostOnce)];
        let mut subscriptions = subscribed(&both);
        assert_eq!(subscriptions.updates(), Some(Family::V2Json));
        assert!(subscriptions.unsubscribe("v1/devices/me/attributes"));
        assert_eq!(subscriptions.updates(), None, "any unsubscribe of the family cancels the interest");
        assert!(!subscriptions.unsubscribe("v1/devices/me/attributes"));
    }

    #[test]
    fn other_subscriptions_leave_updates_alone() {
        let mut subscriptions =
            subscribed(&[("v2/a", QoS::AtLeastOnce), ("v1/devices/me/rpc/request/+", QoS::AtMostOnce)]);
        assert!(subscriptions.unsubscribe("v1/devices/me/rpc/request/+"));
        assert_eq!(subscriptions.updates(), Some(Family::V2));
    }

    #[test]
    fn the_last_subscription_for_rpcs_wins_and_every_one_is_news() {
        let both = [("v2/r/req/p/+", QoS::AtLeastOnce), ("v2/r/req/j/+", QoS::AtMostOnce)];
        let mut subscriptions = subscribed(&both);
        assert_eq!((subscriptions.rpcs(), subscriptions.updates()), (Some(Family::V2Json), None));
        assert!(subscriptions.take_news() && !subscriptions.take_news());
        let topics = ProfileTopics::new(&MqttTransport::json());
        subscriptions.subscribe(&topics, "v2/a", QoS::AtMostOnce);
        assert!(!subscriptions.take_news());
        subscriptions.subscribe(&topics, "v2/r/req/j/+", QoS::AtLeastOnce);
        assert!(subscriptions.take_news(), "the same once more");
        assert!(subscriptions.unsubscribe("v2/r/req/p/+") && subscriptions.take_news());
        assert_eq!(subscriptions.rpcs(), None, "any unsubscribe of the family cancels the interest");
        assert_eq!(subscriptions.updates(), Some(Family::V2));
    }

    #[test]
    fn the_qos_is_the_granted_one_or_1() {
        let subscriptions = subscribed(&[("v1/devices/me/attributes/response/+", QoS::AtMostOnce)]);
        assert_eq!(subscriptions.qos_of("v1/devices/me/attributes/response/7"), QoS::AtMostOnce);
        assert_eq!(subscriptions.qos_of("v1/devices/me/attributes"), QoS::AtLeastOnce);
    }

    #[test]
    fn subscriptions_are_bounded() {
        let wide = MqttTransport { attributes_subscribe_topic: "#".into(), ..MqttTransport::json() };
        let topics = ProfileTopics::new(&wide);
        let mut subscriptions = Subscriptions::default();
        let mut subscribe =
            |index: usize| subscriptions.subscribe(&topics, &format!("x/{index}"), QoS::AtMostOnce);
        for index in 0..SUBSCRIPTIONS_MAX {
            assert_eq!(subscribe(index), Grant::Granted(QoS::AtMostOnce));
        }
        assert_eq!(subscribe(SUBSCRIPTIONS_MAX), Grant::TooMany);
        assert_eq!(subscribe(0), Grant::Granted(QoS::AtMostOnce), "one that is there can be renewed");
    }
}
