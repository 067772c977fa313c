//! The closed set of error kinds: a kind exists only where a caller acts differently.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of failure an error is. Every error of every module has one, and
/// the edges (errno, gRPC status, exit code, wire code) match on it exhaustively.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The thing named does not exist.
    NotFound,
    /// The thing to be made is there already.
    Exists,
    /// The request is malformed or outside its limits; repeating it will not help.
    Invalid,
    /// The caller may not do this.
    Denied,
    /// There is no space left where it would go.
    Full,
    /// The other side did not answer, or not in time; a later try may succeed.
    Unavailable,
    /// Bytes are not what they must be.
    Corrupt,
    /// The money for it is not there.
    Unpaid,
    /// The service is shutting down, or has been shut.
    Closed,
    /// A defect of this program.
    Bug,
}

impl ErrorKind {
    /// Whether the same request may succeed later without anyone acting.
    pub fn is_transient(self) -> bool {
        matches!(self, ErrorKind::Unavailable | ErrorKind::Full | ErrorKind::Closed)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorKind::NotFound => "not found",
            ErrorKind::Exists => "exists",
            ErrorKind::Invalid => "invalid",
            ErrorKind::Denied => "denied",
            ErrorKind::Full => "full",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::Unpaid => "unpaid",
            ErrorKind::Closed => "closed",
            ErrorKind::Bug => "internal error",
        })
    }
}

/// An error that knows its kind.
pub trait Kinded: std::error::Error {
    /// The kind of this error.
    fn kind(&self) -> ErrorKind;
}
