//! What a session may hear: SUBSCRIBE and UNSUBSCRIBE, and the QoS that follows for what it is sent.
//!
//! A session has one interest in attribute updates, and the last subscription decides on which topic they come.

use ntex_mqtt::QoS;
use wireglot_model::limits::SUBSCRIPTIONS_MAX;
use wireglot_route::{Family, ProfileTopics, Subscription, matches, subscription};

/// The subscriptions of one session.
#[derive(Default)]
pub(crate) struct Subscriptions {
    granted: Vec<Granted>,
    updates: Option<Family>,
}

struct Granted {
    filter: Box<str>,
    qos: QoS,
    is_for_updates: bool,
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
        let updates = match meaning {
            Subscription::AttributeUpdates(family) => Some(family),
            Subscription::AttributeUpdatesCustom => Some(Family::V1),
            Subscription::Rpc(_) | Subscription::Passive => None,
        };
        let qos = requested.min(QoS::AtLeastOnce);
        let is_full = self.granted.len() >= SUBSCRIPTIONS_MAX;
        match self.granted.iter_mut().find(|granted| &*granted.filter == filter) {
            Some(granted) => (granted.qos, granted.is_for_updates) = (qos, updates.is_some()),
            None if is_full => return Grant::TooMany,
            None => {
                self.granted.push(Granted { filter: filter.into(), qos, is_for_updates: updates.is_some() });
            }
        }
        self.updates = updates.or(self.updates);
        Grant::Granted(qos)
    }

    /// Grants a filter that makes no interest: it only sets the QoS of what is published there anyway.
    pub(crate) fn subscribe_without_effect(&mut self, filter: &str, requested: QoS) -> Grant {
        let qos = requested.min(QoS::AtLeastOnce);
        let is_full = self.granted.len() >= SUBSCRIPTIONS_MAX;
        match self.granted.iter_mut().find(|granted| &*granted.filter == filter) {
            Some(granted) => granted.qos = qos,
            None if is_full => return Grant::TooMany,
            None => self.granted.push(Granted { filter: filter.into(), qos, is_for_updates: false }),
        }
        Grant::Granted(qos)
    }

    /// Cancels a subscription, and with any one for attribute updates the interest altogether (device API §5.3).
    /// Says whether there was one.
    pub(crate) fn unsubscribe(&mut self, filter: &str) -> bool {
        let Some(index) = self.granted.iter().position(|granted| &*granted.filter == filter) else {
            return false;
        };
        if self.granted.swap_remove(index).is_for_updates {
            self.updates = None;
        }
        true
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
