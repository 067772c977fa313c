//! What can go wrong between the shards and their consumers.

use crate::{
    base::{ChunkId, ErrorKind, Kinded, PeerId},
    coding, net,
};

/// A failed placement or collection.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Fewer consumers took a shard than commit a chunk.
    #[error(
        "a chunk needs {needed} consumers and {online} are known to be online: {why}; start more consumers or choose a smaller k+m"
    )]
    NotEnough { needed: usize, online: usize, why: String },
    /// Fewer than k shards of a chunk could be had before the deadline.
    #[error(
        "chunk {chunk} cannot be read: {have} of the {need} shards needed answer ({why}); bring its consumers back"
    )]
    Unreadable { chunk: ChunkId, have: usize, need: usize, why: String },
    /// The consumer was unreachable a moment ago and is left alone for a few seconds.
    #[error("consumer {0} was unreachable a moment ago; it is tried again in a few seconds")]
    Resting(PeerId),
    /// A consumer refused, or could not be talked to.
    #[error(transparent)]
    Net(#[from] net::Error),
    /// Shards that do not decode.
    #[error(transparent)]
    Coding(#[from] coding::Error),
    /// The caller's placements, roots or ranges do not fit the chunk.
    #[error("{0}")]
    Invalid(String),
    /// The caller could not note where shards are about to go, so none went.
    #[error("cannot note where shards go: {why}")]
    Unrecorded { kind: ErrorKind, why: String },
    /// The dispatcher is shutting down.
    #[error("the dispatcher is shutting down")]
    Closed,
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::NotEnough { .. } | Error::Unreadable { .. } | Error::Resting(_) => ErrorKind::Unavailable,
            Error::Net(error) => error.kind(),
            Error::Coding(error) => error.kind(),
            Error::Invalid(_) => ErrorKind::Invalid,
            Error::Unrecorded { kind, .. } => *kind,
            Error::Closed => ErrorKind::Closed,
        }
    }
}
