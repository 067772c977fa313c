//! What can go wrong with a wallet.

use std::{io, path::PathBuf};

use crate::{
    base::{ErrorKind, Kinded, limits},
    keys::{self, EthereumAddress},
    store,
};

/// A wallet that could not be read, made or changed. Nothing was lost, and what was asked for is not half done. Never
/// carries a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No wallet there.
    #[error("{} holds no wallet: run openbucket wallet create, or openbucket wallet restore with its phrase", directory.display())]
    NotFound { directory: PathBuf },
    /// One is there already.
    #[error("{} holds a wallet already: nothing was changed; name another directory with --wallet", directory.display())]
    Exists { directory: PathBuf },
    /// That of another phrase is there.
    #[error("{} holds the wallet of another phrase: nothing was changed; name another directory with --wallet", directory.display())]
    OtherPhrase { directory: PathBuf },
    /// Key files are there, their list is not.
    #[error(
        "{} holds the keys of a wallet whose wallet.json is missing: nothing was changed; run openbucket wallet restore with \
         its phrase, or move it away",
        directory.display()
    )]
    NoList { directory: PathBuf },
    /// An account that the wallet does not have.
    #[error("the wallet has no account {address}: openbucket wallet accounts lists them")]
    UnknownAccount { address: EthereumAddress },
    /// More accounts than a wallet has.
    #[error("a wallet has at most {} accounts", limits::WALLET_ACCOUNTS)]
    TooManyAccounts,
    /// A file that others may read.
    #[error("{} may be read by others (mode {mode:03o}): run chmod 600 {}", path.display(), path.display())]
    Mode { path: PathBuf, mode: u32 },
    /// A file that is damaged or missing.
    #[error("{}: {why}; restore the wallet with its phrase", path.display())]
    Damaged { path: PathBuf, why: &'static str },
    /// Written by a newer release.
    #[error("{} is of version {found}; this release reads version 1: upgrade openbucket", path.display())]
    Newer { path: PathBuf, found: u64 },
    /// A key file does not open.
    #[error("{}: {source}", path.display())]
    Key { path: PathBuf, source: keys::Error },
    /// Another process changes the wallet.
    #[error(transparent)]
    Lock(#[from] store::Error),
    /// The disk did not do as told.
    #[error("{what} {}: {why}", path.display())]
    Disk { what: &'static str, path: PathBuf, why: io::Error },
}

impl Error {
    /// For `map_err` on file operations.
    pub(super) fn disk(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |why| Error::Disk { what, path, why }
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::NotFound { .. } | Error::UnknownAccount { .. } => ErrorKind::NotFound,
            Error::Exists { .. } | Error::OtherPhrase { .. } | Error::NoList { .. } => ErrorKind::Exists,
            Error::TooManyAccounts | Error::Newer { .. } => ErrorKind::Invalid,
            Error::Mode { .. } => ErrorKind::Denied,
            Error::Damaged { .. } => ErrorKind::Corrupt,
            Error::Key { source, .. } => source.kind(),
            Error::Lock(error) => error.kind(),
            Error::Disk { why, .. } => match why.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
                _ => ErrorKind::Unavailable,
            },
        }
    }
}
