//! Steps on the disk, off the async threads.

use super::Error;
use crate::runtime::spawn_blocking;

/// Runs a step that blocks. Once begun it goes on to its end, also when nobody waits any more.
pub(super) async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = spawn_blocking(step).await;
    done.unwrap_or_else(|error| Err(Error::Closed(format!("a step on the disk failed: {error}"))))
}
