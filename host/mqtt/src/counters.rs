//! What the listener counts. Each worker counts for itself, without locked instructions; a reader sums.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Totals over all workers since the start.
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct MqttCounters {
            $($(#[$doc])* pub $name: u64,)+
        }

        /// The counts of one worker: it alone writes them.
        #[derive(Default)]
        pub(crate) struct WorkerCounters {
            $(pub(crate) $name: Counter,)+
        }

        impl WorkerCounters {
            pub(crate) fn add_to(&self, sum: &mut MqttCounters) {
                $(sum.$name += self.$name.read();)+
            }
        }
    };
}

counters! {
    /// TCP connections accepted.
    connections_accepted,
    /// TCP connections that have ended.
    connections_ended,
    /// Connections dropped because of earlier wrong logins from their address.
    connections_blocked,
    /// TLS handshakes that failed.
    handshakes_failed,
    /// Connections that ended before a CONNECT was whole and understood.
    connects_broken,
    /// CONNECTs answered with a refusal.
    connects_refused,
    /// Sessions begun.
    sessions_begun,
    /// Sessions ended.
    sessions_ended,
    /// Sessions ended by the server because the device broke the protocol.
    sessions_broken,
    /// Sessions ended by the server because nothing was heard.
    sessions_silent,
    /// Payload bytes of publishes received.
    publish_bytes,
    /// Requests to provision that were granted.
    provisions_granted,
    /// Requests to provision that were refused, or could not be read.
    provisions_refused,
    /// Publishes accepted and durable.
    publishes_accepted,
    /// Publishes refused because of their payload; kept as dead letters.
    publishes_refused,
    /// Publishes that failed in the codec; kept as dead letters.
    publishes_undecoded,
    /// Publishes on a topic that means nothing.
    publishes_unknown_topic,
    /// Messages of a network server that brought no frame: joins, acknowledgements and the like.
    publishes_without_frame,
    /// Publishes that passed a rate limit, each of which ended its session.
    publishes_limited,
    /// Publishes that were sent again before they were answered.
    publishes_repeated,
    /// Publishes that could not be stored.
    publishes_failed,
    /// Requests of devices that hold no connection.
    device_requests,
    /// Gaps in the numbers of what Sparkplug nodes say.
    sparkplug_gaps,
    /// Client-side RPCs.
    client_calls,
    /// Client-side RPCs that nobody answers, or not in time.
    client_calls_unanswered,
    /// Publishes sent to devices.
    downlinks_sent,
    /// Downlinks given up: no format, larger than the device takes, or no subscription any more.
    downlinks_dropped,
    /// Parts of packages sent to devices.
    ota_parts,
    /// Bytes of them.
    ota_bytes,
    /// Requests of such parts that were answered on an error topic.
    ota_refusals,
    /// Sessions ended because a part was not read in time.
    ota_timeouts,
}

/// A count with one writer.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        // One thread writes, so a load and a store lose nothing and need no locked instruction.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    pub(crate) fn count(&self) {
        self.add(1);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_summed() {
        let (one, other) = (WorkerCounters::default(), WorkerCounters::default());
        one.publishes_accepted.count();
        other.publishes_accepted.add(2);
        other.publish_bytes.add(7);
        let mut sum = MqttCounters::default();
        one.add_to(&mut sum);
        other.add_to(&mut sum);
        assert_eq!(sum, MqttCounters { publishes_accepted: 3, publish_bytes: 7, ..MqttCounters::default() });
    }
}
