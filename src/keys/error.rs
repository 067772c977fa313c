//! What can go wrong with keys.

use std::path::PathBuf;

use crate::base::{ErrorKind, Kinded, PeerId};

/// A key that could not be read, made, or trusted. Never carries key material.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A word of the phrase is not in the BIP-39 list. The word is named by its position, counted from 1.
    #[error("word {position} of the phrase is not in the BIP-39 English word list: check its spelling")]
    UnknownWord { position: usize },
    /// Not 24 words.
    #[error("the phrase has {found} words: it must have 24")]
    WordCount { found: usize },
    /// All words are known, but they do not fit together.
    #[error("the phrase's checksum does not match: a word is wrong or two are swapped")]
    Checksum,
    /// A certificate that its owner did not sign so.
    #[error("the certificate of {peer} is not signed by its owner")]
    Signature { peer: PeerId },
    /// A key file that others may read.
    #[error("{} may be read by others (mode {mode:03o}): run chmod 600 {}", path.display(), path.display())]
    Mode { path: PathBuf, mode: u32 },
    /// Another key is there already.
    #[error("{} holds another key already: move it away first, nothing was overwritten", path.display())]
    Exists { path: PathBuf },
    /// A key file that is none, or is damaged.
    #[error("{} is not a {what} file of this release: {why}; restore it", path.display())]
    Damaged { path: PathBuf, what: &'static str, why: &'static str },
    /// Written by a newer release.
    #[error("{} is of version {found}; this release reads version 1: upgrade openbucket", path.display())]
    Newer { path: PathBuf, found: u32 },
    /// A producer without its secret.
    #[error("{} holds no bucket keys: run openbucket init first, or openbucket init --restore", path.display())]
    NoRoot { path: PathBuf },
    /// The disk did not do as told.
    #[error("{what} {}: {why}", path.display())]
    Disk { what: &'static str, path: PathBuf, why: std::io::Error },
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::UnknownWord { .. } | Error::WordCount { .. } | Error::Checksum => ErrorKind::Invalid,
            Error::Signature { .. } | Error::Mode { .. } => ErrorKind::Denied,
            Error::Exists { .. } => ErrorKind::Exists,
            Error::Damaged { .. } => ErrorKind::Corrupt,
            Error::Newer { .. } => ErrorKind::Invalid,
            Error::NoRoot { .. } => ErrorKind::NotFound,
            Error::Disk { why, .. } => match why.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Full,
                _ => ErrorKind::Unavailable,
            },
        }
    }
}
