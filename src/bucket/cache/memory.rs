//! The memory tier: decoded blocks, the least recently used go first.

use bytes::Bytes;
use lru::LruCache;

use crate::base::{ChunkId, Mutex, limits::CHUNK_BLOCKS};

/// What an entry costs beside its bytes: key, links, table slot and the buffer's header, rounded up.
pub(super) const ENTRY_BYTES: u64 = 192;

struct Blocks {
    lru: LruCache<(ChunkId, u16), Bytes>,
    bytes: u64,
}

impl Blocks {
    fn pop(&mut self, key: &(ChunkId, u16)) -> u64 {
        let freed = self.lru.pop(key).map_or(0, |plain| cost(&plain));
        self.bytes -= freed;
        freed
    }
}

pub(super) struct Memory {
    limit_bytes: u64,
    blocks: Mutex<Blocks>,
}

fn cost(plain: &Bytes) -> u64 {
    plain.len() as u64 + ENTRY_BYTES
}

impl Memory {
    pub(super) fn new(limit_bytes: u64) -> Self {
        // Bounded in bytes, below, instead of in entries.
        Self { limit_bytes, blocks: Mutex::new(Blocks { lru: LruCache::unbounded(), bytes: 0 }) }
    }

    pub(super) fn get(&self, chunk: ChunkId, block: u16) -> Option<Bytes> {
        self.blocks.lock().lru.get(&(chunk, block)).cloned()
    }

    pub(super) fn insert(&self, chunk: ChunkId, block: u16, plain: Bytes) {
        let cost = cost(&plain);
        let mut blocks = self.blocks.lock();
        blocks.pop(&(chunk, block));
        if cost > self.limit_bytes {
            return;
        }
        while blocks.bytes + cost > self.limit_bytes {
            let (_, oldest) = blocks.lru.pop_lru().expect("bytes are counted, so there are entries");
            blocks.bytes -= self::cost(&oldest);
        }
        blocks.bytes += cost;
        blocks.lru.put((chunk, block), plain);
    }

    pub(super) fn forget(&self, chunk: ChunkId) -> u64 {
        let mut blocks = self.blocks.lock();
        let indexes = 0..u16::try_from(CHUNK_BLOCKS).expect("a chunk has few blocks");
        indexes.map(|block| blocks.pop(&(chunk, block))).sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.blocks.lock().bytes
    }
}
