//! The end of the producer's process: drain as far as the deadline allows, unmount, tell what is left.

use std::time::Duration;

use tokio::{sync::mpsc, time::Instant};

use super::Error;
use crate::{
    base::limits,
    bucket::{Bucket, FileState, Pending},
    mount::Mounted,
    rpc::Progress,
    runtime::Shutdown,
};

/// Somebody asks the daemon to stop, and listens.
pub(super) struct StopCall {
    pub deadline: Duration,
    pub is_lazy: bool,
    /// Progress; the last one has `is_done`. An error ends the call, and the daemon goes on.
    pub progress: mpsc::Sender<Result<Progress, String>>,
}

/// Waits until the process is to end, for whatever reason, and takes the mount off.
pub(super) async fn wait_and_stop(
    bucket: &Bucket,
    mounted: Option<&Mounted>,
    calls: &mut mpsc::Receiver<StopCall>,
    shutdown: Shutdown,
) -> Result<(), Error> {
    loop {
        let unmounted = async {
            match mounted {
                Some(mounted) => mounted.wait_unmounted().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = unmounted => {
                tracing::info!("unmounted from outside");
                return Ok(());
            }
            () = shutdown.started() => {
                drain(bucket, limits::STOP_TIMEOUT, None).await;
                return unmount_for_good(mounted).await;
            }
            Some(call) = calls.recv() => {
                if stop_on_call(bucket, mounted, call).await {
                    return Ok(());
                }
            }
        }
    }
}

/// Signalled: files may be open, but the process must end.
async fn unmount_for_good(mounted: Option<&Mounted>) -> Result<(), Error> {
    let Some(mounted) = mounted else { return Ok(()) };
    if let Err(error) = mounted.unmount().await {
        tracing::warn!(%error, "files are open on the mount; it is taken off all the same");
        mounted.unmount_lazily().await?;
    }
    Ok(())
}

/// Drains and unmounts because a command said so; false when the mount stays.
async fn stop_on_call(bucket: &Bucket, mounted: Option<&Mounted>, call: StopCall) -> bool {
    drain(bucket, call.deadline, Some(&call.progress)).await;
    if let Some(mounted) = mounted {
        let unmounted = match mounted.unmount().await {
            Err(_) if call.is_lazy => mounted.unmount_lazily().await,
            other => other,
        };
        if let Err(error) = unmounted {
            // Whoever asked may be gone; the mount stays either way.
            let _gone = call.progress.send(Err(error.to_string())).await;
            return false;
        }
    }
    let last = Progress { is_done: true, ..progress_of(&pending(bucket).await) };
    let _gone = call.progress.send(Ok(last)).await;
    true
}

/// Uploads what is staged until nothing is left or the deadline has come.
async fn drain(bucket: &Bucket, deadline: Duration, progress: Option<&mpsc::Sender<Result<Progress, String>>>) {
    let end = Instant::now() + deadline;
    let mut changes = bucket.changes();
    while bucket.staged_bytes() > 0 && Instant::now() < end {
        bucket.hurry();
        if let Some(progress) = progress
            && progress.send(Ok(progress_of(&pending(bucket).await))).await.is_err()
        {
            tracing::debug!("nobody listens to the progress of the drain any more");
        }
        let step = (Instant::now() + limits::PROGRESS_INTERVAL).min(end);
        while bucket.staged_bytes() > 0 {
            match tokio::time::timeout_at(step, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => break,
            }
        }
    }
}

/// What is not with consumers yet.
async fn pending(bucket: &Bucket) -> Pending {
    let bucket = bucket.clone();
    let asked = tokio::task::spawn_blocking(move || bucket.pending(b"", FileState::Degraded));
    match asked.await {
        Ok(Ok(pending)) => pending,
        Ok(Err(error)) => Pending { reasons: vec![error.to_string()], ..Pending::default() },
        Err(error) => Pending { reasons: vec![error.to_string()], ..Pending::default() },
    }
}

/// A pending as the API tells it.
pub(super) fn progress_of(pending: &Pending) -> Progress {
    Progress {
        files_left: pending.files,
        bytes_left: pending.bytes,
        files_total: pending.total_files,
        bytes_total: pending.total_bytes,
        is_done: false,
        json: serde_json::to_string(pending).expect("reports serialise"),
    }
}
