//! The memory tier: runs of decoded blocks, the least recently used go first.

use std::{collections::BTreeSet, ops::Range};

use bytes::Bytes;
use lru::LruCache;

use crate::base::{ChunkId, Mutex, limits};

/// What an entry costs beside its bytes: keys, links, table slots and the buffer's header, rounded up.
pub(super) const ENTRY_BYTES: u64 = 256;
/// A run that has more than this part of the room is kept block by block, because it goes as a whole.
const RUNS: u64 = 8;

/// The chunk of a run, and its first block.
type Key = (ChunkId, usize);

struct Runs {
    lru: LruCache<Key, Bytes>,
    /// The same keys in order: runs do not overlap, so the last one up to a block is the only one that may have it.
    keys: BTreeSet<Key>,
    bytes: u64,
}

pub(super) struct Memory {
    limit_bytes: u64,
    runs: Mutex<Runs>,
}

fn cost(plain: &Bytes) -> u64 {
    plain.len() as u64 + ENTRY_BYTES
}

impl Runs {
    fn pop(&mut self, key: &Key) -> u64 {
        self.keys.remove(key);
        let freed = self.lru.pop(key).map_or(0, |plain| cost(&plain));
        self.bytes -= freed;
        freed
    }

    /// The run that a block may be in.
    fn before(&self, chunk: ChunkId, block: usize) -> Option<Key> {
        self.keys.range(..=(chunk, block)).next_back().filter(|(id, _)| *id == chunk).copied()
    }

    /// The last run that has some of these blocks, and which it has.
    fn last_of(&self, chunk: ChunkId, blocks: &Range<usize>) -> Option<(Key, Range<usize>)> {
        let key = self.before(chunk, blocks.end.checked_sub(1)?)?;
        let held = key.1..key.1 + block_count(self.lru.peek(&key)?);
        (held.end > blocks.start).then_some((key, held))
    }

    /// Keeps a run instead of those that have some of the same blocks, unless one has them all.
    fn insert(&mut self, key: Key, plain: Bytes, limit_bytes: u64) {
        let (blocks, cost) = (key.1..key.1 + block_count(&plain), cost(&plain));
        if blocks.is_empty() || cost > limit_bytes {
            return;
        }
        while let Some((other, held)) = self.last_of(key.0, &blocks) {
            if held.start <= blocks.start && held.end >= blocks.end {
                self.lru.promote(&other);
                return;
            }
            self.pop(&other);
        }
        while self.bytes + cost > limit_bytes {
            let (oldest, _) = self.lru.peek_lru().expect("bytes are counted, so there are entries");
            let oldest = *oldest;
            self.pop(&oldest);
        }
        self.bytes += cost;
        self.keys.insert(key);
        self.lru.put(key, plain);
    }
}

fn block_count(plain: &Bytes) -> usize {
    plain.len().div_ceil(limits::BLOCK_BYTES)
}

impl Memory {
    pub(super) fn new(limit_bytes: u64) -> Self {
        // Bounded in bytes, above, instead of in entries.
        let runs = Runs { lru: LruCache::unbounded(), keys: BTreeSet::new(), bytes: 0 };
        Self { limit_bytes, runs: Mutex::new(runs) }
    }

    pub(super) fn get(&self, chunk: ChunkId, bytes: Range<usize>) -> Option<Bytes> {
        let mut runs = self.runs.lock();
        let key = runs.before(chunk, bytes.start / limits::BLOCK_BYTES)?;
        let start = key.1 * limits::BLOCK_BYTES;
        let end = runs.lru.peek(&key)?.len().min(bytes.end.checked_sub(start)?);
        // What is asked for and not there is no use.
        let from = bytes.start - start;
        if from >= end { None } else { Some(runs.lru.get(&key)?.slice(from..end)) }
    }

    pub(super) fn insert(&self, chunk: ChunkId, block: usize, plain: &Bytes) {
        let mut runs = self.runs.lock();
        if cost(plain) <= self.limit_bytes / RUNS {
            runs.insert((chunk, block), plain.clone(), self.limit_bytes);
            return;
        }
        for (index, one) in plain.chunks(limits::BLOCK_BYTES).enumerate() {
            runs.insert((chunk, block + index), Bytes::copy_from_slice(one), self.limit_bytes);
        }
    }

    pub(super) fn forget(&self, chunk: ChunkId) -> u64 {
        let mut runs = self.runs.lock();
        let mut freed = 0;
        while let Some(key) = runs.before(chunk, limits::CHUNK_BLOCKS) {
            freed += runs.pop(&key);
        }
        freed
    }

    #[cfg(test)]
    pub(super) fn limit(&self) -> u64 {
        self.limit_bytes
    }

    pub(super) fn bytes(&self) -> u64 {
        self.runs.lock().bytes
    }
}
