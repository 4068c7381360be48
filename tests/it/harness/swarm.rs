//! Many devices at full load in the background, with books of what was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wireglot_load::fleet::{Fleet, Names, Pace, Plan};
use wireglot_load::wire::Version;

use super::server::Server;
use super::wait::{TIMEOUT, eventually};

/// Devices that publish frames of the stamping codec until they are told to stop, or until the server is gone.
pub(crate) struct Swarm {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: JoinHandle<Outcome>,
}

/// What became of the swarm.
pub(crate) struct Outcome {
    pub(crate) devices: Vec<Booked>,
    /// Whether everything that was sent was acknowledged in the end.
    pub(crate) drained: bool,
    pub(crate) refused: u64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// The books of one device.
pub(crate) struct Booked {
    pub(crate) name: String,
    /// Messages sent: their counters are 1 up to this.
    pub(crate) sent: u32,
    /// Counters of acknowledged messages, in rising order.
    pub(crate) acknowledged: Vec<u32>,
    pub(crate) closed: Option<String>,
}

impl Swarm {
    /// Makes `devices` devices of a profile, connects them and starts to publish.
    pub(crate) fn start(server: &Server, profile: &str, devices: usize, window: u16, pace: Pace) -> Self {
        let pattern = format!("{profile}-{{}}");
        for number in 0..devices {
            server.rest().create_device(&Names::of(&pattern, number), Some(profile));
        }
        let plan = Plan {
            address: server.mqtt(),
            version: Version::V5,
            connections: devices,
            window,
            names: Names {
                client_id: pattern.clone(),
                user_name: pattern.clone(),
                topic: "v1/devices/me/telemetry".into(),
            },
            keep_counters: true,
        };
        let fleet = Fleet::connect(&plan).expect("the swarm connects");
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, booked) = (stop.clone(), acknowledged.clone());
        let thread = thread::spawn(move || publish(fleet, pace, &pattern, &stopped, &booked));
        Self { stop, acknowledged, thread }
    }

    /// Messages acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until this many more messages were acknowledged.
    pub(crate) fn progress(&self, messages: u64) {
        let goal = self.acknowledged() + messages;
        eventually("the swarm makes progress", || {
            assert!(!self.thread.is_finished(), "every connection of the swarm was closed");
            (self.acknowledged() >= goal).then_some(())
        });
    }

    /// Stops publishing, waits for what is in flight, and gives the books. Also after the server was killed.
    pub(crate) fn finish(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the swarm does not panic")
    }
}

fn publish(
    mut fleet: Fleet,
    pace: Pace,
    pattern: &str,
    stop: &AtomicBool,
    acknowledged: &AtomicU64,
) -> Outcome {
    let go_on = &mut |tally: &wireglot_load::fleet::Tally, _| {
        acknowledged.store(tally.acknowledged, Ordering::Relaxed);
        !stop.load(Ordering::Relaxed)
    };
    fleet.run(pace, go_on).expect("epoll works");
    let drained = fleet.drain(TIMEOUT).expect("epoll works");
    let refused = fleet.tally().refused;
    let mut within = |percent| Duration::from_micros(u64::from(fleet.tally().latencies.percentile(percent)));
    let (p50, p99) = (within(50.0), within(99.0));
    let devices = fleet.reports().enumerate().map(|(number, report)| {
        let mut acknowledged = report.acknowledged.to_vec();
        acknowledged.sort_unstable();
        Booked {
            name: Names::of(pattern, number),
            sent: report.last_counter,
            acknowledged,
            closed: report.closed.map(str::to_owned),
        }
    });
    Outcome { devices: devices.collect(), drained, refused, p50, p99 }
}
