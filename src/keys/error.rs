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
    /// An address that is none.
    #[error("this is no address of an Ethereum account: it has 0x and 40 hexadecimal digits")]
    Address,
    /// An address whose letters are not the checksum of EIP-55.
    #[error("the address's checksum (its capital letters) does not match: a digit is wrong")]
    AddressChecksum,
    /// A password that cannot be one.
    #[error("the password {why}")]
    Password { why: &'static str },
    /// The password does not open it.
    #[error("wrong password (or the file is damaged)")]
    WrongPassword,
    /// An encrypted key or phrase that is none, or is damaged.
    #[error("this is not what it must be: {why}; restore it")]
    Malformed { why: &'static str },
    /// Encrypted with parameters beyond the bounds.
    #[error("it is encrypted in a way that this release does not read: {why}")]
    Parameters { why: &'static str },
    /// The disk did not do as told.
    #[error("{what} {}: {why}", path.display())]
    Disk { what: &'static str, path: PathBuf, why: std::io::Error },
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::UnknownWord { .. } | Error::WordCount { .. } | Error::Checksum => ErrorKind::Invalid,
            Error::Address | Error::AddressChecksum | Error::Password { .. } | Error::Parameters { .. } => {
                ErrorKind::Invalid
            }
            Error::Signature { .. } | Error::Mode { .. } | Error::WrongPassword => ErrorKind::Denied,
            Error::Exists { .. } => ErrorKind::Exists,
            Error::Damaged { .. } | Error::Malformed { .. } => ErrorKind::Corrupt,
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
