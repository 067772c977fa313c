//! What can go wrong between a command and its daemon.

use std::{io, path::PathBuf};

use super::status::kind_of;
use crate::base::{ErrorKind, Kinded};

/// A failed conversation with the daemon, or a socket that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens there.
    #[error(
        "no daemon answers at {}: {why}; is the bucket mounted? (openbucket mount, or name its socket with --socket)",
        socket.display()
    )]
    Unreachable { socket: PathBuf, why: String },
    /// The daemon said nothing for too long.
    #[error("the daemon at {} did not answer within {seconds} s", socket.display())]
    TimedOut { socket: PathBuf, seconds: u64 },
    /// The daemon refused or failed; its own words.
    #[error("{}", words(.0))]
    Status(Box<tonic::Status>),
    /// The socket could not be made.
    #[error("cannot make the socket {}: {source}", socket.display())]
    Socket { socket: PathBuf, source: io::Error },
    /// The server ended by itself.
    #[error("the daemon's API ended: {0}")]
    Server(String),
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Unreachable { .. } | Error::TimedOut { .. } => ErrorKind::Unavailable,
            Error::Status(status) => kind_of(status),
            Error::Socket { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                _ => ErrorKind::Unavailable,
            },
            Error::Server(_) => ErrorKind::Closed,
        }
    }
}

fn words(status: &tonic::Status) -> String {
    match status.message() {
        "" => format!("the daemon failed: {}", status.code().description()),
        text => text.to_owned(),
    }
}
