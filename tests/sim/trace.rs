//! What can be seen of a simulation from outside, each line with its virtual time, and the hash of it all; its clock too.

use std::{sync::Arc, time::Duration};

use openbucket::{
    base::sha256,
    runtime::{Chance, Clock, SeededChance},
};
use tokio::time::Instant;

/// The wall clock of a simulation: it goes with tokio's paused one.
pub struct VirtualClock(Instant);

impl Default for VirtualClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for VirtualClock {
    fn unix_nanos(&self) -> u128 {
        // 2026-01-01, so that no certificate is of the future.
        1_767_225_600_000_000_000 + self.0.elapsed().as_nanos()
    }
}

/// The lines of one simulation.
pub struct Trace {
    begun: Instant,
    hash: [u8; 32],
    lines: Vec<String>,
    is_printed: bool,
    world: Arc<SeededChance>,
}

/// Lines that a failure shows.
const SHOWN: usize = 120;

impl Trace {
    /// `world` is what the product and the network draw from: how far it has come is part of the trace.
    pub fn new(world: Arc<SeededChance>, is_printed: bool) -> Self {
        Self { begun: Instant::now(), hash: [0; 32], lines: Vec::new(), is_printed, world }
    }

    /// Notes what has happened.
    pub fn note(&mut self, what: impl AsRef<str>) {
        let line = format!("{:>12.6} {}", self.now().as_secs_f64(), what.as_ref());
        if self.is_printed {
            println!("{line}");
        }
        self.hash = sha256(&[&self.hash, line.as_bytes(), &self.world.u64().to_le_bytes()]);
        self.lines.push(line);
    }

    /// Virtual time since the start.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Of all lines and of all that was drawn.
    pub fn hash(&self) -> String {
        self.hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The last lines, for a failure.
    pub fn tail(&self) -> String {
        self.lines[self.lines.len().saturating_sub(SHOWN)..].join("\n")
    }
}
