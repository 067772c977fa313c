//! What was moved, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::net;

/// Sums since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Bytes of shards that consumers confirmed.
    pub bytes_sent: u64,
    /// Bytes of shards from consumers.
    pub bytes_received: u64,
    /// Shards that consumers confirmed.
    pub shards_sent: u64,
    /// Requests for a shard or a range that succeeded.
    pub ranges_received: u64,
    /// Requests that failed because a consumer was not there, or went away in the middle.
    pub unreachable: u64,
    /// Requests that were not answered in time: nobody waited any longer, or another consumer was quicker.
    pub late: u64,
    /// Answers that were wrong: bytes or receipts that do not verify, too much, too little, no answer to the request.
    pub wrong: u64,
    /// Requests that consumers refused: no space, no such shard, a shard that is damaged there.
    pub refused: u64,
    /// Times that another consumer was asked because one was slow.
    pub hedges: u64,
    /// Shards or ranges computed from k others.
    pub reconstructions: u64,
}

/// The same, being counted.
#[derive(Default)]
pub(super) struct Counting {
    pub(super) shard_bytes: AtomicU64,
    pub(super) range_bytes: AtomicU64,
    pub(super) shards_sent: AtomicU64,
    pub(super) ranges_received: AtomicU64,
    pub(super) unreachable: AtomicU64,
    pub(super) late: AtomicU64,
    pub(super) wrong: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) hedges: AtomicU64,
    pub(super) reconstructions: AtomicU64,
}

/// Adds to a counter.
pub(super) fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

impl Counting {
    /// A request that failed.
    pub(super) fn failed(&self, error: &net::Error) {
        let counter = match error {
            net::Error::Refused { .. } => &self.refused,
            net::Error::Misbehaved { .. } => &self.wrong,
            net::Error::TimedOut { .. } => &self.late,
            net::Error::Unreachable { .. } => &self.unreachable,
            // Nobody was asked.
            net::Error::Address(_) | net::Error::Local(_) | net::Error::Closed => return,
        };
        count(counter, 1);
    }

    pub(super) fn read(&self) -> Counters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            bytes_sent: load(&self.shard_bytes),
            bytes_received: load(&self.range_bytes),
            shards_sent: load(&self.shards_sent),
            ranges_received: load(&self.ranges_received),
            unreachable: load(&self.unreachable),
            late: load(&self.late),
            wrong: load(&self.wrong),
            refused: load(&self.refused),
            hedges: load(&self.hedges),
            reconstructions: load(&self.reconstructions),
        }
    }
}
