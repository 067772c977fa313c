//! What can go wrong with a consumer.

use crate::{
    base::{ErrorKind, Kinded},
    net, runtime, store,
};

/// A consumer that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its state does not read or write.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Its network does not serve.
    #[error(transparent)]
    Net(#[from] net::Error),
    /// Its status cannot be told.
    #[error(transparent)]
    Status(#[from] runtime::StatusError),
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Store(error) => error.kind(),
            Error::Net(error) => error.kind(),
            Error::Status(error) => error.kind(),
        }
    }
}
