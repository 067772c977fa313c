//! What can go wrong with the state on disk.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::base::{ErrorKind, Kinded, RecordError};

/// A failure of the state directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system said no.
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// Another process owns the state.
    #[error("{} is in use by {holder}: stop that process first, or choose another directory", path.display())]
    Locked { path: PathBuf, holder: String },
    /// The state was written by something else, or is damaged.
    #[error("{}: {why}", path.display())]
    Corrupt { path: PathBuf, why: String },
    /// A record does not decode.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The key-value store failed.
    #[error("key-value store: {0}")]
    Trees(String),
    /// No space left under the limit.
    #[error("{0}")]
    Full(String),
    /// What was asked for is not here.
    #[error("{0}")]
    NotFound(String),
    /// The request is outside its limits.
    #[error("{0}")]
    Invalid(String),
    /// The disk did not answer in time.
    #[error("{0}")]
    TimedOut(String),
    /// The store was closed, or a flush failed and nothing more is accepted.
    #[error("the store is closed: {0}")]
    Closed(String),
}

impl Error {
    /// For `map_err` on file operations.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { action, path, source }
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
                _ => ErrorKind::Unavailable,
            },
            Error::Locked { .. } => ErrorKind::Unavailable,
            Error::Corrupt { .. } | Error::Record(_) => ErrorKind::Corrupt,
            Error::Trees(_) => ErrorKind::Unavailable,
            Error::Full(_) => ErrorKind::Full,
            Error::NotFound(_) => ErrorKind::NotFound,
            Error::Invalid(_) => ErrorKind::Invalid,
            Error::TimedOut(_) => ErrorKind::Unavailable,
            Error::Closed(_) => ErrorKind::Closed,
        }
    }
}
