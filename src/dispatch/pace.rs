//! How long requests usually take, so that a slow one is noticed.

use std::time::Duration;

/// Share of a new sample in the average: 1 / 8.
const WEIGHT: f64 = 0.125;
/// Requests up to this tell the latency, larger ones the rate.
const SMALL_BYTES: usize = 16 << 10;

/// Moving averages of latency and of time per byte.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    latency_seconds: Option<f64>,
    seconds_per_byte: Option<f64>,
}

impl Pace {
    /// Adds one finished request.
    pub(super) fn add(&mut self, bytes: usize, took: Duration) {
        let seconds = took.as_secs_f64();
        if bytes <= SMALL_BYTES || self.latency_seconds.is_none_or(|latency| seconds < latency) {
            average(&mut self.latency_seconds, seconds);
        } else {
            let latency = self.latency_seconds.unwrap_or(0.0);
            average(&mut self.seconds_per_byte, (seconds - latency).max(0.0) / bytes as f64);
        }
    }

    /// How long so many bytes usually take; None before the first request.
    pub(super) fn expect(&self, bytes: usize) -> Option<Duration> {
        let latency = self.latency_seconds?;
        Some(Duration::from_secs_f64(latency + self.seconds_per_byte.unwrap_or(0.0) * bytes as f64))
    }
}

fn average(value: &mut Option<f64>, sample: f64) {
    *value = Some(value.map_or(sample, |old| old + WEIGHT * (sample - old)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_follow_what_was_seen() {
        let mut pace = Pace::default();
        assert_eq!(pace.expect(1), None);
        for _ in 0..100 {
            pace.add(1024, Duration::from_millis(2));
            pace.add(1 << 20, Duration::from_millis(12));
        }
        let whole = pace.expect(1 << 20).expect("samples");
        assert!((11..14).contains(&whole.as_millis()), "{whole:?}");
        assert!(pace.expect(1024).expect("samples") < Duration::from_millis(3));
    }
}
