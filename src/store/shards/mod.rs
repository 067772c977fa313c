//! Shards packed into append-only segment files, with one flush for all that wait.
//!
//! # On disk
//!
//! `shards/0000002a.segment` is a segment; everything in it begins at a
//! multiple of 4096 bytes, numbers are little-endian, checksums are CRC-32.
//!
//! ```text
//! segment header   0 magic "OBSEGMNT"   8 version u16 = 1   10 zero u16   12 number u32
//! (36 bytes)      16 nonce 16 bytes    32 checksum of the 32 bytes before
//! entry header     0 magic "OBSH"   4 version u8 = 2   5 state u8: 1 live, 2 dead, 3 bad   6 subtree roots u16
//! (128 bytes)      8 body length u32   12 checksum of the body   16 flushed_to u64   24 own offset u64
//!                 32 nonce   48 owner   80 shard   112 segment number u32   116 checksum of the roots
//!                120 zero   124 checksum of the 124 bytes before
//! subtree roots    follow the entry header at once, 32 bytes each
//! body             follows them at once, at most `limits::SHARD_BYTES`
//! ```
//!
//! - The nonce is drawn once per store. It makes entry headers unforgeable by whoever chooses the bodies, so that
//!   a scan may search for the next header behind a damaged one.
//! - `flushed_to` says up to where this segment was flushed when the header was written. The highest value in the last
//!   segment divides what was confirmed from what a crash may have torn: bodies behind it are checked when the
//!   store opens, what does not check was never confirmed and becomes dead. What is before it is never given up.
//! - The subtree roots are those of `coding::merkle::Subtrees`: with them a part of the body is verified, and proven to
//!   others, without the rest. They lead to the shard's id or are wrong: their checksum is for what a crash may have torn.
//!   Version 1 of the entry header has zeros where these two are told, and none follow.
//! - Deleting rewrites the header in place (one sector, so never half), flushes it, and then gives the body's space
//!   back. A segment in which nothing lives is removed.

mod format;
mod queue;
mod recover;
mod state;
mod store;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

pub use state::{ShardUsage, SpaceGuard};
pub use store::{ShardStore, ShardStoreOptions};
