//! Takes hold of a state directory, also when the daemon before is still closing it.

use std::path::{Path, PathBuf};

use tokio::time::{Instant, sleep, timeout};

use super::Error;
use crate::{
    base::limits,
    mount::{self, Occupant},
    rpc::Client,
    store::{self, StateLock},
};

/// How the lock names the role of a daemon.
const ROLE: &str = "mount";

/// The lock of the state. A daemon that was unmounted from outside closes its bucket behind the back of whoever mounts it
/// again: that is waited for. One that still serves a mount is a reason to refuse.
pub(super) async fn claim(state: &Path) -> Result<StateLock, Error> {
    let end = Instant::now() + limits::CLOSING_TIMEOUT;
    loop {
        let locked = match StateLock::acquire(state, ROLE) {
            Ok(lock) => return Ok(lock),
            Err(locked @ store::Error::Locked { .. }) => locked,
            Err(error) => return Err(error.into()),
        };
        if Instant::now() > end || !is_daemon(&locked) || serves(state).await {
            return Err(locked.into());
        }
        // A lock tells nobody when it is free.
        sleep(limits::CLOSING_LOOK).await;
    }
}

fn is_daemon(error: &store::Error) -> bool {
    matches!(error, store::Error::Locked { holder, .. } if holder.starts_with("openbucket mount,"))
}

/// Whether a daemon answers for this state, and what it says is mounted is.
async fn serves(state: &Path) -> bool {
    let asked = async {
        let status = Client::connect(&state.join("socket")).await.ok()?.status().await.ok()?;
        let status: serde_json::Value = serde_json::from_str(&status).ok()?;
        let mountpoint = PathBuf::from(status.get("mountpoint")?.as_str()?);
        Some(mount::occupant(&mountpoint).ok()? == Some(Occupant::Bucket))
    };
    matches!(timeout(limits::STATUS_TIMEOUT, asked).await, Ok(Some(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_daemon_that_is_closing_is_waited_for_and_others_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path();
        let other = StateLock::acquire(state, "init").unwrap();
        let error = claim(state).await.unwrap_err().to_string();
        assert!(error.contains("is in use by openbucket init"), "{error}");
        drop(other);

        let closing = StateLock::acquire(state, ROLE).unwrap();
        let waiting = tokio::spawn({
            let state = state.to_path_buf();
            async move { claim(&state).await }
        });
        // Long enough to have looked more than once.
        sleep(limits::CLOSING_LOOK * 4).await;
        assert!(!waiting.is_finished());
        drop(closing);
        waiting.await.unwrap().unwrap();
    }
}
