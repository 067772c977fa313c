//! Assembles the producer's process.

mod options;

pub use options::{MountOptions, Options};

use crate::{
    base::{ErrorKind, Kinded},
    runtime::Shutdown,
};

/// A daemon that could not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// In so many words.
    #[error("{0}")]
    Start(String),
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Start(_) => ErrorKind::Unavailable,
        }
    }
}

/// Runs the producer's process; returns after it is drained and unmounted.
pub async fn run(options: Options, _shutdown: Shutdown, _ready: Box<dyn FnOnce() + Send>) -> Result<(), Error> {
    Err(Error::Start(format!("the daemon of bucket '{}' is not part of this build", options.bucket)))
}
