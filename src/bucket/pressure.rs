//! How busy programs are with the bucket, so that the drain yields to them.

use std::time::Duration;

use tokio::time::Instant;

use crate::base::{Mutex, limits};

/// When programs wrote or waited for the disk.
#[derive(Default)]
pub(super) struct Pressure(Mutex<Times>);

#[derive(Default)]
struct Times {
    last: Option<Instant>,
    /// The beginning of the present busy time.
    since: Option<Instant>,
}

/// How many chunks may be on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drain {
    /// None but those that somebody waits for.
    Yields,
    /// One at a time.
    Trickles,
    /// As many as the bounds allow.
    Flows,
}

impl Pressure {
    /// A program writes, or waits for an fsync, now.
    pub fn note(&self, now: Instant) {
        let mut times = self.0.lock();
        if times.last.is_none_or(|last| now.saturating_duration_since(last) > limits::YIELD_REST) {
            times.since = Some(now);
        }
        times.last = Some(now);
    }

    /// What the drain may do: it yields to programs for a while, as long as there is plenty of room.
    pub fn drain(&self, now: Instant, staged_bytes: u64, limit_bytes: u64) -> Drain {
        let times = self.0.lock();
        let is_busy = times.last.is_some_and(|last| now.saturating_duration_since(last) <= limits::YIELD_REST);
        if !is_busy || staged_bytes >= limits::YIELD_BYTES.min(limit_bytes / 4) {
            return Drain::Flows;
        }
        let busy = times.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if busy < limits::YIELD_TIME { Drain::Yields } else { Drain::Trickles }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drain_yields_to_programs_but_not_for_ever() {
        let (pressure, start) = (Pressure::default(), Instant::now());
        let limit = limits::STAGING_BYTES;
        assert_eq!(pressure.drain(start, 0, limit), Drain::Flows);
        let mut now = start;
        while now < start + limits::YIELD_TIME {
            pressure.note(now);
            assert_eq!(pressure.drain(now, 0, limit), Drain::Yields);
            assert_eq!(pressure.drain(now, limits::YIELD_BYTES, limit), Drain::Flows);
            assert_eq!(pressure.drain(now, 1 << 20, 4 << 20), Drain::Flows);
            now += limits::YIELD_REST;
        }
        pressure.note(now);
        assert_eq!(pressure.drain(now, 0, limit), Drain::Trickles);
        now += limits::YIELD_REST + Duration::from_millis(1);
        assert_eq!(pressure.drain(now, 0, limit), Drain::Flows);
        pressure.note(now);
        assert_eq!(pressure.drain(now, 0, limit), Drain::Yields);
    }
}
