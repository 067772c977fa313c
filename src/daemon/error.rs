//! Why the producer's process could not start, or did not end well.

use std::path::PathBuf;

use crate::{
    base::{ErrorKind, Kinded},
    bucket, keys, mount, net, rpc, store,
};

/// A daemon that could not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no phrase's secret in the state directory.
    #[error("{} has no keys yet: make them first with openbucket init --state {}", .0.display(), .0.display())]
    NoKeys(PathBuf),
    /// The bucket's name cannot be a directory's.
    #[error("'{0}' cannot be a bucket's name: use letters, digits, '-', '_' and '.', at most 64")]
    Name(String),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error(transparent)]
    Net(#[from] net::Error),
    #[error(transparent)]
    Bucket(#[from] bucket::Error),
    #[error(transparent)]
    Mount(#[from] mount::Error),
    #[error(transparent)]
    Rpc(#[from] rpc::Error),
    /// A thread of this process panicked.
    #[error("internal error: {0}; please report it")]
    Bug(String),
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::NoKeys(_) => ErrorKind::NotFound,
            Error::Name(_) => ErrorKind::Invalid,
            Error::Store(error) => error.kind(),
            Error::Keys(error) => error.kind(),
            Error::Net(error) => error.kind(),
            Error::Bucket(error) => error.kind(),
            Error::Mount(error) => error.kind(),
            Error::Rpc(error) => error.kind(),
            Error::Bug(_) => ErrorKind::Bug,
        }
    }
}
