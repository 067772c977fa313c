//! What can go wrong between two peers.

use crate::base::{ErrorKind, Kinded, PeerId};

/// A failed conversation with a peer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The peer refused; the kind and the text came over the wire.
    #[error("{peer} refused: {text}")]
    Refused { peer: PeerId, kind: ErrorKind, text: String },
    /// The peer could not be reached, or the connection broke.
    #[error("{to} is unreachable: {why}")]
    Unreachable { to: String, why: String },
    /// The peer did not answer in time.
    #[error("{to} did not answer within {seconds} s")]
    TimedOut { to: String, seconds: u64 },
    /// The peer broke the protocol, or sent bytes that do not verify.
    #[error("{peer} sent bad bytes: {why}")]
    Misbehaved { peer: PeerId, why: String },
    /// The address is not one.
    #[error("'{0}' is not an address: write a multiaddr such as /ip4/192.0.2.7/tcp/4001 or 192.0.2.7:4001")]
    Address(String),
    /// This machine could not listen or start its swarm.
    #[error("{0}")]
    Local(String),
    /// The network is shut down.
    #[error("the network is shut down")]
    Closed,
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Refused { kind, .. } => *kind,
            Error::Unreachable { .. } | Error::TimedOut { .. } => ErrorKind::Unavailable,
            Error::Misbehaved { .. } => ErrorKind::Corrupt,
            Error::Address(_) | Error::Local(_) => ErrorKind::Invalid,
            Error::Closed => ErrorKind::Closed,
        }
    }
}
