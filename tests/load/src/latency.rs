//! How long acknowledgements took.

use std::time::Duration;

/// Every latency of a run, in microseconds; runs are short enough to keep them all.
#[derive(Default, Debug)]
pub struct Latencies {
    micros: Vec<u32>,
}

impl Latencies {
    /// Adds one.
    pub fn record(&mut self, taken: Duration) {
        self.micros.push(u32::try_from(taken.as_micros()).unwrap_or(u32::MAX));
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.micros.clear();
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.micros.len()
    }

    /// The latency that a share of all stayed within, in microseconds; 0 when there is none.
    pub fn percentile(&mut self, percent: f64) -> u32 {
        let last = match self.micros.len() {
            0 => return 0,
            count => count - 1,
        };
        let rank = ((last as f64) * percent / 100.0).round() as usize;
        let (_, value, _) = self.micros.select_nth_unstable(rank.min(last));
        *value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_hundred() {
        let mut latencies = Latencies::default();
        for micros in (0..=100).rev() {
            latencies.record(Duration::from_micros(micros));
        }
        assert_eq!(latencies.percentile(50.0), 50);
        assert_eq!(latencies.percentile(99.0), 99);
        assert_eq!(latencies.percentile(100.0), 100);
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert_eq!(Latencies::default().percentile(50.0), 0);
    }
}
