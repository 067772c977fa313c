//! Bytes to shards and back: compress, seal, erasure-code, Merkle roots. Pure and synchronous.
//!
//! # The format, version 1
//!
//! A *chunk* is up to 4 MiB of plain bytes, cut into *blocks* of 64 KiB (the
//! last one shorter; an empty chunk has one empty block). Each block is
//!
//! 1. compressed: one zstd frame, kept only when it is shorter than the block;
//! 2. sealed: AES-256-GCM, the 16 byte tag after the ciphertext. The key is
//!    HKDF-SHA256 with the bucket key as input, the chunk id as salt and
//!    `openbucket chunk key 1` as info. The nonce is the block index as a
//!    12 byte big-endian number. The associated data are the format (1 byte),
//!    the chunk id (32), the block index, the block count, the plain length of
//!    the chunk, the plain length of the block, its sealed length (4 each,
//!    big-endian) and 1 when compressed, else 0 (1 byte): 54 bytes.
//!
//! The sealed blocks are concatenated (S bytes) and padded to k*L, where L is
//! ceil(S / k) rounded up to a whole leaf of 1 KiB. The padding is what zeros
//! encrypt to under the chunk's key and the nonce of 12 bytes 0xff, without
//! associated data and tag; readers ignore it, but it makes every data shard of
//! every chunk another one. Data shard i is bytes `i*L..(i+1)*L` of the whole; a
//! block may lie in several shards.
//!
//! The m parity shards are the systematic Reed-Solomon code over GF(2^8) with
//! polynomial 0x11d, whose matrix is the (k+m) x k Vandermonde matrix with the
//! entries row^column, times the inverse of its top k rows. The code works on
//! each byte position alone, so a range of a lost shard comes from the same
//! range of any k others. With k = 1 all n shards are equal, and so are their ids.
//!
//! A shard's id is its SHA-256 Merkle root, specified in [`merkle`].
//!
//! A chunk id seals one attempt only: [`encode`] draws it afresh each time, so
//! that no key and nonce ever meet twice. Neither k nor m is authenticated with
//! the blocks, so that changing m adds or drops parity and nothing else.
//!
//! What is needed beside the key to read a chunk is its [`Layout`]. It comes
//! from records and peers, so every function here checks it before use.

mod chunk;
mod compress;
mod cpu;
mod erasure;
mod error;
mod layout;
pub mod merkle;
mod seal;

#[cfg(test)]
mod contract_vectors;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod vectors;

pub use chunk::{Encoded, decode, encode, encode_from, open_blocks};
pub use cpu::cpu_supported;
pub use erasure::reconstruct_range;
pub use error::Error;
pub use layout::{BlockEntry, Layout, Slice, leaf_range};
pub use seal::BucketKey;
