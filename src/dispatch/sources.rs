//! What is wanted of the shards of a chunk, who has them, and what came of that so far.

use std::ops::Range;

use bytes::Bytes;
use tokio::time::Instant;

use crate::base::{
    PeerId,
    limits::{self, LEAF_BYTES},
};

/// Some leaves of one shard.
#[derive(Clone)]
pub(super) struct Want {
    pub index: usize,
    pub leaves: Range<u32>,
}

impl Want {
    pub fn new(index: usize, leaves: Range<u32>) -> Self {
        Self { index, leaves }
    }

    pub fn bytes(&self) -> usize {
        self.leaves.len() * LEAF_BYTES
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// May be asked.
    Ready,
    /// Failed in this round; may be asked again in the next.
    Failed,
    /// Bad or gone.
    Damaged,
    /// Placed nowhere, or not to be used.
    Absent,
}

/// One shard: who has it, and what came of it so far.
pub(super) struct Source {
    pub consumer: Option<PeerId>,
    pub state: State,
    pub is_last_choice: bool,
    pub pieces: Vec<Piece>,
}

/// What came of a shard.
pub(super) struct Piece {
    pub leaves: Range<u32>,
    pub bytes: Bytes,
}

impl Source {
    pub fn piece(&self, leaves: &Range<u32>) -> Option<Bytes> {
        let piece = self.pieces.iter().find(|piece| covers(&piece.leaves, leaves))?;
        let at = |leaf: u32| (leaf - piece.leaves.start) as usize * LEAF_BYTES;
        Some(piece.bytes.slice(at(leaves.start)..at(leaves.end)))
    }
}

/// A request under way.
pub(super) struct Flight {
    pub index: usize,
    pub leaves: Range<u32>,
    pub slow_at: Instant,
    pub is_slow: bool,
    /// So slow that it counts as away: no bound on bytes keeps others from being asked in its place.
    pub is_stalled: bool,
}

impl Flight {
    /// When it is looked at next, if ever.
    pub fn next_look(&self) -> Option<Instant> {
        match (self.is_slow, self.is_stalled) {
            (false, _) => Some(self.slow_at),
            (true, false) => Some(self.slow_at + limits::HEDGE_CEILING),
            (true, true) => None,
        }
    }
}

pub(super) fn covers(outer: &Range<u32>, inner: &Range<u32>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}
