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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A valid table: blocks that shrank by `shrunk` bytes, or not at all.
    fn layout(scheme: Scheme, plain_len: usize, shrunk: &[usize]) -> Layout {
        let blocks = (0..block_count(plain_len)).map(|index| {
            let plain = plain_len.saturating_sub(index * BLOCK_BYTES).min(BLOCK_BYTES);
            let less = shrunk[index % shrunk.len()].min(plain.saturating_sub(1));
            let sealed_len = u32::try_from(plain + SEAL_OVERHEAD_BYTES - less).unwrap();
            BlockEntry { sealed_len, is_compressed: less > 0 }
        });
        Layout::new(ChunkId([7; 32]), scheme, plain_len, blocks.collect())
    }

    #[test]
    fn lengths_are_those_of_the_format() {
        let table = layout(Scheme::BASIC, CHUNK_BYTES, &[0]);
        assert_eq!(table.validate(), Ok(()));
        assert_eq!((table.sealed_len(), table.shard_len, table.leaves()), (4_195_328, 1_049_600, 1025));
        let empty = layout(Scheme::PREMIUM, 0, &[0]);
        assert_eq!((empty.validate(), empty.sealed_len(), empty.shard_len), (Ok(()), 16, 1024));
        let whole = layout(Scheme::FREE, CHUNK_BYTES, &[0]);
        assert_eq!(whole.shard_len as usize, crate::base::limits::SHARD_BYTES);
    }

    #[test]
    fn every_contradiction_is_refused() {
        let good = layout(Scheme::BASIC, 150_000, &[0, 30_000]);
        assert_eq!(good.validate(), Ok(()));
        let changes: [fn(&mut Layout); 14] = [
            |it| it.format = 0,
            |it| it.format = 2,
            |it| it.plain_len += 1,
            |it| it.plain_len = 4 * BLOCK_BYTES as u32,
            |it| it.plain_len = u32::MAX,
            |it| it.shard_len += 1024,
            |it| it.shard_len -= 1024,
            |it| it.scheme = Scheme::PREMIUM,
            |it| it.blocks.clear(),
            |it| it.blocks.truncate(2),
            |it| it.blocks[0].is_compressed = true,
            |it| it.blocks[1].is_compressed = false,
            |it| it.blocks[1].sealed_len = 16,
            |it| it.blocks[1].sealed_len = BLOCK_BYTES as u32 + 16,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut bad = good.clone();
            change(&mut bad);
            assert!(matches!(bad.validate(), Err(Error::Layout(_))), "change {number}");
        }
    }

    #[test]
    fn ranges_outside_the_chunk_are_empty() {
        let table = layout(Scheme::BASIC, 150_000, &[0]);
        assert_eq!(table.blocks_of(150_000..u32::MAX), 0..0);
        assert_eq!(table.blocks_of(5..5), 0..0);
        assert_eq!(table.blocks_of(0..u32::MAX), 0..3);
        assert_eq!(table.blocks_of(65_535..65_537), 0..2);
        assert_eq!(table.plain_range(1..3), 65_536..150_000);
        assert_eq!(table.plain_range(9..usize::MAX), 150_000..150_000);
        assert!(table.sealed_range(3..9).is_empty());
        assert_eq!(table.slices(u64::MAX - 1..u64::MAX), []);
        assert_eq!(leaf_range(0..0), 0..0);
        assert_eq!(leaf_range(1023..1025), 0..2);
        assert_eq!(leaf_range(1024..2048), 1..2);
        assert_eq!(leaf_range(u32::MAX - 1..u32::MAX), 4_194_303..4_194_304);
    }

    proptest! {
        #[test]
        fn slices_cover_exactly_the_blocks_of_a_range(
            k in 1u64..=64,
            plain_len in 0..=CHUNK_BYTES,
            shrunk in proptest::collection::vec(0..BLOCK_BYTES, 1..5),
            ends in any::<[proptest::sample::Index; 2]>(),
        ) {
            let table = layout(Scheme::new(k, 0).unwrap(), plain_len, &shrunk);
            prop_assert_eq!(table.validate(), Ok(()));
            let mut ends = ends.map(|end| end.index(plain_len + 1) as u32);
            ends.sort_unstable();
            let plain = ends[0]..ends[1];
            let blocks = table.blocks_of(plain.clone());
            let held = table.plain_range(blocks.clone());
            if !plain.is_empty() {
                prop_assert!(held.start <= plain.start && plain.end <= held.end);
                prop_assert!(plain.start - held.start < BLOCK_BYTES as u32 && held.end - plain.end < BLOCK_BYTES as u32);
            }
            let sealed = table.sealed_range(blocks);
            let mut at = sealed.start;
            for slice in table.slices(sealed.clone()) {
                let first = slice.shard_index as u64 * u64::from(table.shard_len);
                prop_assert!(slice.shard_index < table.scheme.k() && slice.range.end <= table.shard_len);
                prop_assert!(!slice.range.is_empty());
                prop_assert_eq!(first + u64::from(slice.range.start), at);
                at = first + u64::from(slice.range.end);
            }
            prop_assert_eq!(at, sealed.end);
        }
    }
}
