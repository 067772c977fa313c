//! What can go wrong between bytes and shards.

use crate::base::{ErrorKind, Kinded, limits::CHUNK_BYTES};

/// A failure of the coding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More plain bytes than a chunk holds.
    #[error("{bytes} bytes do not fit into a chunk of at most {CHUNK_BYTES}: cut them first")]
    TooLong { bytes: usize },
    /// A block table whose numbers contradict each other or the limits.
    #[error("the block table of a chunk is damaged: {0}")]
    Layout(String),
    /// The caller asked for what the chunk or the shard does not have.
    #[error("{0}")]
    Request(String),
    /// Fewer than k shards.
    #[error("{present} shards of the {needed} that a chunk needs are at hand: bring back more of its consumers")]
    TooFew { present: usize, needed: usize },
    /// A shard, or a range of one, of another length than the block table says.
    #[error("shard {index} has {found} bytes instead of {expected}: fetch it from another consumer")]
    ShardLength { index: usize, found: usize, expected: usize },
    /// A block that was not sealed under this key, chunk id and place, or was altered since.
    #[error("block {block} of a chunk does not open: its bytes were altered, or the bucket key is another one")]
    Unsealed { block: usize },
    /// A block that opens but does not decompress to its length: written by a defective encoder.
    #[error("block {block} of a chunk does not decompress to its {expected} bytes")]
    Compression { block: usize, expected: usize },
    /// Bytes of a shard that do not belong to its root.
    #[error("bytes of shard {shard} do not verify against its root: {why}")]
    Proof { shard: String, why: &'static str },
    /// The processor lacks instructions that the erasure code was compiled for.
    #[error(
        "this processor lacks {0}: openbucket needs an x86-64-v3 processor (Intel Haswell, AMD Excavator or later)"
    )]
    Processor(String),
    /// A library refused what its documentation accepts.
    #[error("{0}: this is a defect of openbucket")]
    Defect(String),
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::TooLong { .. } | Error::Request(_) | Error::Processor(_) => ErrorKind::Invalid,
            Error::TooFew { .. } => ErrorKind::Unavailable,
            Error::Layout(_)
            | Error::ShardLength { .. }
            | Error::Unsealed { .. }
            | Error::Compression { .. }
            | Error::Proof { .. } => ErrorKind::Corrupt,
            Error::Defect(_) => ErrorKind::Bug,
        }
    }
}
