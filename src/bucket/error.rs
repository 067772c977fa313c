//! What a bucket refuses or fails to do; each variant is one errno at the mount.

use crate::{
    base::{ErrorKind, Kinded},
    coding, dispatch, store,
};

/// A failed operation on a bucket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no such file or directory")]
    NotFound,
    #[error("it exists already")]
    Exists,
    #[error("not a directory")]
    NotDirectory,
    #[error("it is a directory")]
    IsDirectory,
    #[error("the directory is not empty")]
    NotEmpty,
    #[error("the name is longer than 255 bytes")]
    NameTooLong,
    #[error("too many hard links")]
    TooManyLinks,
    #[error("the file would be larger than the largest file")]
    TooLarge,
    #[error("{0}")]
    Invalid(&'static str),
    #[error("permission denied")]
    Denied,
    #[error("operation not permitted")]
    NotPermitted,
    #[error("no such attribute")]
    NoAttribute,
    #[error("the attribute is too large")]
    AttributeTooLarge,
    #[error("the bucket is mounted read-only")]
    ReadOnly,
    #[error("{0}")]
    Full(String),
    /// Fewer than k good shards answered in time.
    #[error("{0}")]
    Unreadable(String),
    #[error("there is no data from there on")]
    NoData,
    /// Copy by reading and writing instead.
    #[error("the two files cannot share data")]
    Apart,
    #[error("the file is gone")]
    Stale,
    #[error("not supported")]
    Unsupported,
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the bucket is shutting down")]
    Closed,
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::NotFound | Error::NoAttribute | Error::NoData | Error::Stale => ErrorKind::NotFound,
            Error::Exists => ErrorKind::Exists,
            Error::NotDirectory
            | Error::IsDirectory
            | Error::NotEmpty
            | Error::NameTooLong
            | Error::TooManyLinks
            | Error::TooLarge
            | Error::AttributeTooLarge
            | Error::Unsupported
            | Error::Apart
            | Error::Invalid(_) => ErrorKind::Invalid,
            Error::Denied | Error::NotPermitted | Error::ReadOnly => ErrorKind::Denied,
            Error::Full(_) => ErrorKind::Full,
            Error::Unreadable(_) => ErrorKind::Unavailable,
            Error::Store(error) => error.kind(),
            Error::Closed => ErrorKind::Closed,
        }
    }
}

impl From<coding::Error> for Error {
    fn from(error: coding::Error) -> Self {
        Error::Unreadable(error.to_string())
    }
}

impl From<dispatch::Error> for Error {
    fn from(error: dispatch::Error) -> Self {
        Error::Unreadable(error.to_string())
    }
}
