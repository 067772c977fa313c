//! What can be wrong with a configuration.

use std::{io, path::PathBuf};

use super::Origin;
use crate::base::{ErrorKind, Kinded};

/// A configuration that is not taken, as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key that nobody knows.
    #[error("{origin}: unknown key '{key}'{}", .close.map(|known| format!(" (did you mean '{known}'?)")).unwrap_or_default())]
    UnknownKey { origin: Origin, key: String, close: Option<&'static str> },
    /// A value that is none of its key.
    #[error("{origin}: {key}: {why}")]
    Value { origin: Origin, key: String, why: String },
    /// The file is not TOML.
    #[error("{}: line {line}: {why}", path.display())]
    Syntax { path: PathBuf, line: usize, why: String },
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A mount option that nobody knows.
    #[error("unknown mount option '{0}' (see openbucket mount --help)")]
    UnknownOption(String),
    /// A mount option with a bad value.
    #[error("mount option '{option}': {why}")]
    Option { option: String, why: String },
    /// Nothing says where the state is.
    #[error("HOME is not set: name the state directory with --state, or state= in fstab")]
    NoHome,
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Read { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                _ => ErrorKind::Unavailable,
            },
            Error::UnknownKey { .. }
            | Error::Value { .. }
            | Error::Syntax { .. }
            | Error::UnknownOption(_)
            | Error::Option { .. }
            | Error::NoHome => ErrorKind::Invalid,
        }
    }
}
