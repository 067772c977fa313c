//! The LRU cache of the read path: decoded blocks in memory, sealed blocks on disk, one fetch for many readers.
//!
//! Both tiers are keyed by chunk and block index and bounded in bytes. The
//! disk tier stays sealed: what it returns is opened, and so verified, by the
//! caller, who reports what does not open with [`BlockCache::damaged`].

mod flights;
mod header;
mod memory;
mod sealed;

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

pub use flights::Flights;

use self::{memory::Memory, sealed::Sealed};
use crate::{
    base::ChunkId,
    coding::Layout,
    store::{self, Disk},
};

/// The two tiers. Shared by reference; all calls from any thread.
pub struct BlockCache {
    memory: Memory,
    sealed: Sealed,
}

impl BlockCache {
    /// A cache of so many bytes in memory and so many on this disk, whose root is the cache's alone: files that
    /// are not a cache's are removed. Blocks; the disk tier goes on where it was.
    ///
    /// # Errors
    /// When the root cannot be listed.
    pub fn open(disk: Arc<dyn Disk>, memory_bytes: u64, disk_bytes: u64) -> Result<Self, store::Error> {
        Ok(Self { memory: Memory::new(memory_bytes), sealed: Sealed::open(disk, disk_bytes)? })
    }

    /// Decoded bytes of a chunk, from memory: the first of these or more, as many as lie in one piece. Never waits for a disk.
    pub fn get(&self, chunk: ChunkId, bytes: Range<usize>) -> Option<Bytes> {
        self.memory.get(chunk, bytes)
    }

    /// Keeps decoded blocks in memory, the first of which is this one; they should own their buffer alone.
    pub fn insert(&self, chunk: ChunkId, block: usize, plain: &Bytes) {
        self.memory.insert(chunk, block, plain);
    }

    /// The bytes of `layout.sealed_range(blocks)` from disk, if all these blocks are there. Blocks.
    ///
    /// They are not verified: call [`damaged`](Self::damaged) when they do not open.
    pub fn read_sealed(&self, layout: &Layout, blocks: Range<usize>) -> Option<Vec<u8>> {
        self.sealed.read(layout, blocks)
    }

    /// Whether the disk tier seems to have these blocks. Does not touch the disk.
    pub fn has_sealed(&self, layout: &Layout, blocks: &Range<usize>) -> bool {
        self.sealed.has(layout, blocks)
    }

    /// Keeps the bytes of `layout.sealed_range(blocks)`, in one piece or more, on disk, as far as there is room. Blocks;
    /// never fails: an error of the disk switches the disk tier off, with a warning, until the next start.
    ///
    /// # Panics
    /// When the bytes are not as many as the range.
    pub fn write_sealed(&self, layout: &Layout, blocks: Range<usize>, sealed: &[impl AsRef<[u8]>]) {
        self.sealed.write(layout, blocks, sealed);
    }

    /// Drops a chunk that is deleted, pinned or not, from both tiers. Blocks.
    pub fn forget(&self, chunk: ChunkId) {
        self.memory.forget(chunk);
        self.sealed.forget(chunk);
    }

    /// Drops a chunk whose sealed bytes did not open. It stays pinned, if it is, and may be written again. Blocks.
    pub fn damaged(&self, chunk: ChunkId) {
        tracing::warn!(op = "cache", %chunk, "cached bytes were damaged; they are fetched again");
        self.memory.forget(chunk);
        self.sealed.drop_bytes(chunk);
    }

    /// Drops these chunks, but not the disk bytes of pinned ones; returns how many bytes that freed. Blocks.
    pub fn evict_chunks(&self, chunks: &[ChunkId]) -> u64 {
        chunks.iter().map(|chunk| self.memory.forget(*chunk) + self.sealed.evict(*chunk)).sum()
    }

    /// Drops chunks from disk that are not pinned, the least recently used first, until so many bytes are free that were
    /// not, or none is left. Blocks.
    pub fn give_up(&self, bytes: u64) {
        self.sealed.give_up(bytes);
    }

    /// Whether a chunk is pinned.
    pub fn is_pinned(&self, chunk: ChunkId) -> bool {
        self.sealed.is_pinned(chunk)
    }

    /// Pins or unpins a chunk, cached or not (yet): while pinned it is not evicted from disk. The pins are not
    /// kept over a restart.
    pub fn set_pinned(&self, chunk: ChunkId, is_pinned: bool) {
        self.sealed.set_pinned(chunk, is_pinned);
    }

    /// After the pins are set: gives up what is more than the limit, which may have been higher before. Blocks.
    pub fn trim(&self) {
        self.sealed.trim();
    }

    /// Bytes on disk of these chunks.
    pub fn disk_bytes_of(&self, chunks: &[ChunkId]) -> u64 {
        chunks.iter().map(|chunk| self.sealed.bytes_of(*chunk)).sum()
    }

    /// Bytes in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.memory.bytes()
    }

    /// Bytes on disk, in whole pages.
    pub fn disk_bytes(&self) -> u64 {
        self.sealed.bytes()
    }
}

#[cfg(test)]
mod tests;
