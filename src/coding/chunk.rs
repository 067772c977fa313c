//! A chunk from plain bytes to shards, and back.

use std::ops::Range;

use bytes::Bytes;

use super::{
    BlockEntry, BucketKey, Error, Layout,
    compress::{Compressor, Decompressor},
    erasure,
    layout::{block_count, shard_len},
    merkle,
    seal::{ChunkCipher, Place},
};
use crate::{
    base::{
        ChunkId, Scheme, ShardId,
        limits::{BLOCK_BYTES, CHUNK_BYTES, SEAL_OVERHEAD_BYTES},
    },
    runtime::Chance,
};

/// A chunk ready to be scattered.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The block table, its chunk id drawn afresh.
    pub layout: Layout,
    /// The n shards, data first, `layout.shard_len` bytes each. They share one buffer.
    pub shards: Vec<Bytes>,
    /// The id of each shard.
    pub roots: Vec<ShardId>,
}

/// Encodes up to [`CHUNK_BYTES`] plain bytes (none make a chunk too) under a chunk id
/// drawn here, afresh for every call. `chance` must be fit for keys.
///
/// Takes about n/k times the bytes of memory, and CPU time: run it on the CPU pool.
///
/// # Errors
/// [`Error::TooLong`].
pub fn encode(key: &BucketKey, plain: &[u8], scheme: Scheme, chance: &dyn Chance) -> Result<Encoded, Error> {
    encode_as(key, plain, scheme, ChunkId(chance.bytes32()))
}

/// The same of bytes that are elsewhere yet: `fill` is given the range of each block in turn, and memory for its bytes, all
/// of which it is to write. So a block goes all the way while it is in the processor's cache.
///
/// # Errors
/// [`Error::TooLong`], and what `fill` fails with.
pub fn encode_from<E: From<Error>>(
    key: &BucketKey,
    plain_len: usize,
    scheme: Scheme,
    chance: &dyn Chance,
    fill: impl FnMut(Range<usize>, &mut [u8]) -> Result<(), E>,
) -> Result<Encoded, E> {
    encode_blocks(key, plain_len, scheme, ChunkId(chance.bytes32()), fill)
}

/// Encodes under a given id. Never twice with one id and different bytes: nonces would repeat.
pub(super) fn encode_as(key: &BucketKey, plain: &[u8], scheme: Scheme, chunk: ChunkId) -> Result<Encoded, Error> {
    encode_blocks(key, plain.len(), scheme, chunk, |range, bytes| {
        bytes.copy_from_slice(&plain[range]);
        Ok(())
    })
}

fn encode_blocks<E: From<Error>>(
    key: &BucketKey,
    plain_len: usize,
    scheme: Scheme,
    chunk: ChunkId,
    fill: impl FnMut(Range<usize>, &mut [u8]) -> Result<(), E>,
) -> Result<Encoded, E> {
    if plain_len > CHUNK_BYTES {
        return Err(Error::TooLong { bytes: plain_len }.into());
    }
    let count = block_count(plain_len);
    let most = plain_len + count * SEAL_OVERHEAD_BYTES;
    let mut buffer = Vec::with_capacity(scheme.n() * whole(shard_len(most as u64, scheme.k())));
    let cipher = ChunkCipher::new(key, chunk, count, plain_len);
    let blocks = seal_blocks(&cipher, plain_len, &mut buffer, fill)?;

    let layout = Layout::new(chunk, scheme, plain_len, blocks);
    let length = layout.shard_len as usize;
    buffer.resize(scheme.n() * length, 0);
    buffer.shrink_to_fit();
    cipher.pad(&mut buffer[whole(layout.sealed_len())..scheme.k() * length])?;
    erasure::add_parity(scheme, length, &mut buffer)?;

    let buffer = Bytes::from(buffer);
    let shards: Vec<Bytes> = (0..scheme.n()).map(|shard| buffer.slice(shard * length..(shard + 1) * length)).collect();
    let roots = shards.iter().map(|shard| merkle::root(shard)).collect();
    debug_assert_eq!(layout.validate(), Ok(()));
    Ok(Encoded { layout, shards, roots })
}

/// Appends the sealed blocks, one after the other.
fn seal_blocks<E: From<Error>>(
    cipher: &ChunkCipher,
    plain_len: usize,
    sealed: &mut Vec<u8>,
    mut fill: impl FnMut(Range<usize>, &mut [u8]) -> Result<(), E>,
) -> Result<Vec<BlockEntry>, E> {
    let count = block_count(plain_len);
    let mut compressor = Compressor::new()?;
    let mut compressed = vec![0; BLOCK_BYTES];
    let mut blocks = Vec::with_capacity(count);
    for index in 0..count {
        let (start, range) = (sealed.len(), index * BLOCK_BYTES..plain_len.min((index + 1) * BLOCK_BYTES));
        let block_plain_len = range.len();
        sealed.resize(start + block_plain_len, 0);
        fill(range, &mut sealed[start..])?;
        let shrunk = compressor.shrink(&sealed[start..], &mut compressed);
        if let Some(length) = shrunk {
            sealed.truncate(start);
            sealed.extend_from_slice(&compressed[..length]);
        }
        sealed.extend_from_slice(&[0; SEAL_OVERHEAD_BYTES]);
        let entry = BlockEntry {
            sealed_len: u32::try_from(sealed.len() - start).expect("a block is far below 4 GiB"),
            is_compressed: shrunk.is_some(),
        };
        cipher.seal(Place { index, block_plain_len, entry }, &mut sealed[start..])?;
        blocks.push(entry);
    }
    Ok(blocks)
}

/// Decodes a chunk from whole shards, in their order; any k suffice. Shards that are
/// verified against their roots beforehand cannot fail here.
///
/// # Errors
/// [`Error::TooFew`]; [`Error::ShardLength`]; [`Error::Unsealed`] when a shard was
/// altered or the key is another one; [`Error::Layout`].
pub fn decode(key: &BucketKey, layout: &Layout, shards: Vec<Option<Bytes>>) -> Result<Vec<u8>, Error> {
    layout.validate()?;
    let data = data_shards(layout, shards)?;
    let mut opener = Opener::new(key, layout, &data)?;
    let mut plain = Vec::with_capacity(layout.plain_len as usize + SEAL_OVERHEAD_BYTES);
    (0..layout.blocks.len()).try_for_each(|index| opener.open(index, &mut plain))?;
    Ok(plain)
}

/// The k data shards, the missing ones reconstructed.
fn data_shards(layout: &Layout, shards: Vec<Option<Bytes>>) -> Result<Vec<Bytes>, Error> {
    let scheme = layout.scheme;
    if shards.len() != scheme.n() {
        return Err(Error::Request(format!("{} places for shards of a chunk of {}", shards.len(), scheme.n())));
    }
    let present: Vec<(usize, Bytes)> =
        shards.iter().enumerate().filter_map(|(index, shard)| Some((index, shard.clone()?))).collect();
    let expected = layout.shard_len as usize;
    if let Some((index, shard)) = present.iter().find(|(_, shard)| shard.len() != expected) {
        return Err(Error::ShardLength { index: *index, found: shard.len(), expected });
    }
    if present.len() < scheme.k() {
        return Err(Error::TooFew { present: present.len(), needed: scheme.k() });
    }
    shards
        .into_iter()
        .take(scheme.k())
        .enumerate()
        .map(|(index, shard)| shard.map_or_else(|| erasure::reconstruct_range(layout, index, &present), Ok))
        .collect()
}

/// Opens consecutive blocks from their sealed bytes, in one piece or more: exactly those of
/// [`Layout::sealed_range`]. Returns their plain bytes, in memory of their own.
///
/// # Errors
/// [`Error::Request`] when the blocks or the bytes are not there;
/// [`Error::Unsealed`]; [`Error::Layout`].
pub fn open_blocks(
    key: &BucketKey,
    layout: &Layout,
    blocks: Range<usize>,
    sealed: &[impl AsRef<[u8]>],
) -> Result<Bytes, Error> {
    layout.validate()?;
    if blocks.start > blocks.end || blocks.end > layout.blocks.len() {
        return Err(Error::Request(format!("blocks {blocks:?} of a chunk of {}", layout.blocks.len())));
    }
    let range = layout.sealed_range(blocks.clone());
    let given: usize = sealed.iter().map(|piece| piece.as_ref().len()).sum();
    if given as u64 != range.end - range.start {
        return Err(Error::Request(format!("{given} sealed bytes for blocks {blocks:?}, which have {range:?}")));
    }
    let mut opener = Opener::new(key, layout, sealed)?;
    // Each tag comes with its block, and goes again.
    let mut plain = Vec::with_capacity(layout.plain_range(blocks.clone()).len() + SEAL_OVERHEAD_BYTES);
    for index in blocks {
        opener.open(index, &mut plain)?;
    }
    Ok(plain.into())
}

/// Sealed bytes in their order, in pieces of any lengths.
struct Sealed<'a, P> {
    piece: &'a [u8],
    next: std::slice::Iter<'a, P>,
}

impl<'a, P: AsRef<[u8]>> Sealed<'a, P> {
    fn new(pieces: &'a [P]) -> Self {
        Self { piece: &[], next: pieces.iter() }
    }

    /// Appends the next bytes to others.
    ///
    /// # Panics
    /// When there are not as many.
    fn append(&mut self, bytes: usize, to: &mut Vec<u8>) {
        let mut left = bytes;
        while left > 0 {
            if self.piece.is_empty() {
                self.piece = self.next.next().expect("as many bytes as the blocks have").as_ref();
            }
            let (appended, behind) = self.piece.split_at(left.min(self.piece.len()));
            to.extend_from_slice(appended);
            left -= appended.len();
            self.piece = behind;
        }
    }
}

/// Opens and decompresses consecutive blocks of one chunk.
struct Opener<'a, P> {
    layout: &'a Layout,
    sealed: Sealed<'a, P>,
    cipher: ChunkCipher,
    /// Made for the first block that needs it.
    decompressor: Option<Decompressor>,
    scratch: Vec<u8>,
}

impl<'a, P: AsRef<[u8]>> Opener<'a, P> {
    fn new(key: &BucketKey, layout: &'a Layout, sealed: &'a [P]) -> Result<Self, Error> {
        let cipher = ChunkCipher::new(key, layout.chunk, layout.blocks.len(), layout.plain_len as usize);
        let sealed = Sealed::new(sealed);
        Ok(Self { layout, sealed, cipher, decompressor: None, scratch: Vec::new() })
    }

    /// Opens block `index`, whose bytes are next, and appends it to others. On an error they are arbitrary: drop them.
    fn open(&mut self, index: usize, plain: &mut Vec<u8>) -> Result<(), Error> {
        let entry = self.layout.blocks[index];
        let (start, length) = (plain.len(), self.layout.block_len(index));
        let place = Place { index, block_plain_len: length, entry };
        if !entry.is_compressed {
            self.sealed.append(entry.sealed_len as usize, plain);
            self.cipher.open(place, &mut plain[start..])?;
            plain.truncate(start + length);
            return Ok(());
        }
        self.scratch.clear();
        self.sealed.append(entry.sealed_len as usize, &mut self.scratch);
        let shrunk = self.cipher.open(place, &mut self.scratch)?;
        plain.resize(start + length, 0);
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new()?),
        };
        match decompressor.fill(shrunk, &mut plain[start..]) {
            true => Ok(()),
            false => Err(Error::Compression { block: index, expected: length }),
        }
    }
}

/// A length of a validated layout in memory.
fn whole(length: u64) -> usize {
    usize::try_from(length).expect("lengths of a chunk are small")
}
