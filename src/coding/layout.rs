//! The block table of a chunk: where its blocks lie in the data shards.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::Error;
use crate::base::{
    ChunkId, Scheme,
    limits::{BLOCK_BYTES, CHUNK_BYTES, LEAF_BYTES, SEAL_OVERHEAD_BYTES},
};

/// The format that this release writes and reads.
pub(super) const FORMAT: u8 = 1;

/// One sealed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockEntry {
    /// Bytes of the sealed block, its tag of 16 bytes included.
    pub sealed_len: u32,
    /// Whether the plain bytes were compressed before sealing.
    pub is_compressed: bool,
}

/// The block table: what must be known of a chunk, beside its key, to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Version of the format; 1.
    pub format: u8,
    /// The id that the chunk was sealed under.
    pub chunk: ChunkId,
    /// Data and parity shards.
    pub scheme: Scheme,
    /// Plain bytes of the chunk.
    pub plain_len: u32,
    /// Bytes of every shard: whole leaves.
    pub shard_len: u32,
    /// The sealed blocks, in order.
    pub blocks: Vec<BlockEntry>,
}

/// A part of one data shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Which data shard.
    pub shard_index: usize,
    /// Which bytes of it.
    pub range: Range<u32>,
}

impl Layout {
    /// The table of freshly sealed blocks.
    pub(super) fn new(chunk: ChunkId, scheme: Scheme, plain_len: usize, blocks: Vec<BlockEntry>) -> Self {
        let plain_len = u32::try_from(plain_len).expect("a chunk is far below 4 GiB");
        let sealed = sum(&blocks);
        let shard_len = u32::try_from(shard_len(sealed, scheme.k())).expect("a shard is far below 4 GiB");
        Self { format: FORMAT, chunk, scheme, plain_len, shard_len, blocks }
    }

    /// Checks every number against the others and the limits. Call it on what was
    /// read from a disk or a peer before anything is sized by it.
    ///
    /// # Errors
    /// [`Error::Layout`] names what does not fit.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |why: String| Err(Error::Layout(why));
        if self.format != FORMAT {
            return refuse(format!("format {} is not known here: upgrade openbucket", self.format));
        }
        if self.plain_len as usize > CHUNK_BYTES {
            return refuse(format!("{} plain bytes are more than a chunk holds", self.plain_len));
        }
        if self.blocks.len() != block_count(self.plain_len as usize) {
            return refuse(format!("{} blocks for {} plain bytes", self.blocks.len(), self.plain_len));
        }
        for (index, block) in self.blocks.iter().enumerate() {
            let (sealed, whole) = (block.sealed_len as usize, self.block_len(index) + SEAL_OVERHEAD_BYTES);
            let is_right = match block.is_compressed {
                true => sealed > SEAL_OVERHEAD_BYTES && sealed < whole,
                false => sealed == whole,
            };
            if !is_right {
                return refuse(format!("block {index} has {sealed} sealed bytes"));
            }
        }
        if u64::from(self.shard_len) != shard_len(self.sealed_len(), self.scheme.k()) {
            return refuse(format!(
                "shards of {} bytes for {} sealed bytes in {}",
                self.shard_len,
                self.sealed_len(),
                self.scheme
            ));
        }
        Ok(())
    }

    /// Bytes of all sealed blocks together, without the padding.
    pub fn sealed_len(&self) -> u64 {
        sum(&self.blocks)
    }

    /// Leaves of every shard.
    pub fn leaves(&self) -> u32 {
        self.shard_len / LEAF_BYTES as u32
    }

    /// The blocks that hold these plain bytes; bytes beyond the chunk have none.
    pub fn blocks_of(&self, plain: Range<u32>) -> Range<usize> {
        let end = plain.end.min(self.plain_len) as usize;
        let start = plain.start as usize;
        if start >= end {
            return 0..0;
        }
        start / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES).min(self.blocks.len())
    }

    /// The plain bytes of these blocks: as [`open_blocks`](super::open_blocks) returns them, in order.
    pub fn plain_range(&self, blocks: Range<usize>) -> Range<u32> {
        let at = |block: usize| {
            let byte = block.saturating_mul(BLOCK_BYTES).min(self.plain_len as usize);
            u32::try_from(byte).expect("at most the plain length, a u32")
        };
        at(blocks.start)..at(blocks.end)
    }

    /// Where these blocks lie in the concatenation of all sealed blocks; blocks beyond the last have no bytes.
    pub fn sealed_range(&self, blocks: Range<usize>) -> Range<u64> {
        let end = blocks.end.min(self.blocks.len());
        let start = blocks.start.min(end);
        let first = sum(&self.blocks[..start]);
        first..first + sum(&self.blocks[start..end])
    }

    /// The parts of data shards that hold these sealed bytes, in order; their concatenation is the range.
    /// Bytes beyond the data shards have none.
    pub fn slices(&self, sealed: Range<u64>) -> Vec<Slice> {
        let length = u64::from(self.shard_len);
        let end = sealed.end.min(length * self.scheme.k() as u64);
        let mut at = sealed.start;
        let mut slices = Vec::new();
        while at < end {
            let shard = at / length;
            let stop = end.min((shard + 1) * length);
            let offset =
                |byte: u64| u32::try_from(byte - shard * length).expect("within a shard, whose length is a u32");
            slices.push(Slice { shard_index: shard as usize, range: offset(at)..offset(stop) });
            at = stop;
        }
        slices
    }

    /// Plain bytes of this block.
    pub(super) fn block_len(&self, index: usize) -> usize {
        self.plain_range(index..index + 1).len()
    }
}

/// The leaves that hold these bytes of a shard.
pub fn leaf_range(bytes: Range<u32>) -> Range<u32> {
    if bytes.start >= bytes.end {
        return 0..0;
    }
    bytes.start / LEAF_BYTES as u32..bytes.end.div_ceil(LEAF_BYTES as u32)
}

/// How many blocks so many plain bytes have.
pub(super) fn block_count(plain_len: usize) -> usize {
    plain_len.div_ceil(BLOCK_BYTES).max(1)
}

/// Bytes of each shard when so many sealed bytes go into k data shards.
pub(super) fn shard_len(sealed_len: u64, k: usize) -> u64 {
    sealed_len.div_ceil(k as u64).next_multiple_of(LEAF_BYTES as u64)
}

fn sum(blocks: &[BlockEntry]) -> u64 {
    blocks.iter().map(|block| u64::from(block.sealed_len)).sum()
}
