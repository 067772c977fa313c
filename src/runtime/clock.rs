//! Wall-clock time. Durations and deadlines come from tokio's clock, which a test can pause.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::base::UnixMillis;

/// Tells the wall-clock time.
pub trait Clock: Send + Sync + 'static {
    /// Time since the Unix epoch, in nanoseconds.
    fn unix_nanos(&self) -> u128;

    /// Time since the Unix epoch, in milliseconds.
    fn now(&self) -> UnixMillis {
        UnixMillis(u64::try_from(self.unix_nanos() / 1_000_000).unwrap_or(u64::MAX))
    }
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_nanos(&self) -> u128 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos()
    }
}

/// A clock that a simulation moves by hand; starts at 2001-09-09.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self(AtomicU64::new(1_000_000_000_000_000_000))
    }
}

impl Clock for ManualClock {
    fn unix_nanos(&self) -> u128 {
        u128::from(self.0.load(Ordering::SeqCst))
    }
}
