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
/// Takes about (k+m)/k times the bytes of memory, and CPU time: run it on the CPU pool.
///
/// # Errors
/// [`Error::TooLong`].
pub fn encode(key: &BucketKey, plain: &[u8], scheme: Scheme, chance: &dyn Chance) -> Result<Encoded, Error> {
    encode_as(key, plain, scheme, ChunkId(chance.bytes32()))
}

/// Encodes under a given id. Never twice with one id and different bytes: nonces would repeat.
pub(super) fn encode_as(key: &BucketKey, plain: &[u8], scheme: Scheme, chunk: ChunkId) -> Result<Encoded, Error> {
    if plain.len() > CHUNK_BYTES {
        return Err(Error::TooLong { bytes: plain.len() });
    }
    let most = plain.len() + block_count(plain.len()) * SEAL_OVERHEAD_BYTES;
    let mut buffer = vec![0; scheme.n() * whole(shard_len(most as u64, scheme.k()))];
    let cipher = ChunkCipher::new(key, chunk, block_count(plain.len()), plain.len());
    let blocks = seal_blocks(&cipher, plain, &mut buffer)?;

    let layout = Layout::new(chunk, scheme, plain.len(), blocks);
    let length = layout.shard_len as usize;
    buffer.truncate(scheme.n() * length);
    buffer.shrink_to_fit();
    cipher.pad(&mut buffer[whole(layout.sealed_len())..scheme.k() * length])?;
    erasure::add_parity(scheme, length, &mut buffer)?;

    let buffer = Bytes::from(buffer);
    let shards: Vec<Bytes> = (0..scheme.n()).map(|shard| buffer.slice(shard * length..(shard + 1) * length)).collect();
    let roots = shards.iter().map(|shard| merkle::root(shard)).collect();
    debug_assert_eq!(layout.validate(), Ok(()));
    Ok(Encoded { layout, shards, roots })
}

/// Writes the sealed blocks one after the other into the front of `buffer`.
fn seal_blocks(cipher: &ChunkCipher, plain: &[u8], buffer: &mut [u8]) -> Result<Vec<BlockEntry>, Error> {
    let count = block_count(plain.len());
    let mut compressor = Compressor::new()?;
    let mut blocks = Vec::with_capacity(count);
    let mut rest = buffer;
    for index in 0..count {
        let block = &plain[index * BLOCK_BYTES..plain.len().min((index + 1) * BLOCK_BYTES)];
        let shrunk = compressor.shrink(block, rest);
        if shrunk.is_none() {
            rest[..block.len()].copy_from_slice(block);
        }
        let sealed_len = shrunk.unwrap_or(block.len()) + SEAL_OVERHEAD_BYTES;
        let entry = BlockEntry {
            sealed_len: u32::try_from(sealed_len).expect("a block is far below 4 GiB"),
            is_compressed: shrunk.is_some(),
        };
        let (bytes, behind) = rest.split_at_mut(sealed_len);
        cipher.seal(Place { index, block_plain_len: block.len(), entry }, bytes)?;
        blocks.push(entry);
        rest = behind;
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
/// [`Layout::sealed_range`]. Returns the plain bytes of each block, each in memory of its own.
///
/// # Errors
/// [`Error::Request`] when the blocks or the bytes are not there;
/// [`Error::Unsealed`]; [`Error::Layout`].
pub fn open_blocks(
    key: &BucketKey,
    layout: &Layout,
    blocks: Range<usize>,
    sealed: &[impl AsRef<[u8]>],
) -> Result<Vec<Bytes>, Error> {
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
    let mut opened = Vec::with_capacity(blocks.len());
    for index in blocks {
        // The tag comes with the block, and goes again.
        let mut plain = Vec::with_capacity(layout.block_len(index) + SEAL_OVERHEAD_BYTES);
        opener.open(index, &mut plain)?;
        opened.push(plain.into());
    }
    Ok(opened)
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
    decompressor: Decompressor,
    scratch: Vec<u8>,
}

impl<'a, P: AsRef<[u8]>> Opener<'a, P> {
    fn new(key: &BucketKey, layout: &'a Layout, sealed: &'a [P]) -> Result<Self, Error> {
        let cipher = ChunkCipher::new(key, layout.chunk, layout.blocks.len(), layout.plain_len as usize);
        let sealed = Sealed::new(sealed);
        Ok(Self { layout, sealed, cipher, decompressor: Decompressor::new()?, scratch: Vec::new() })
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
        match self.decompressor.fill(shrunk, &mut plain[start..]) {
            true => Ok(()),
            false => Err(Error::Compression { block: index, expected: length }),
        }
    }
}

/// A length of a validated layout in memory.
fn whole(length: u64) -> usize {
    usize::try_from(length).expect("lengths of a chunk are small")
}
