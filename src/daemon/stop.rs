//! The end of the producer's process: drain as far as the deadline allows, unmount, tell what is left.

use std::time::Duration;

use tokio::{sync::mpsc, time::Instant};

use super::Error;
use crate::{
    base::limits,
    bucket::{Bucket, FileState, Pending},
    mount::{self, Mounted},
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
                drain(bucket, Instant::now() + limits::STOP_TIMEOUT, std::iter::empty()).await;
                return unmount_for_good(mounted).await;
            }
            Some(call) = calls.recv() => {
                let waiting = drain_for(bucket, call, calls, &shutdown).await;
                if !waiting.is_empty() && unmount_on_call(bucket, mounted, &waiting).await {
                    return Ok(());
                }
            }
        }
    }
}

/// Drains for whoever has asked for an unmount, and for those who ask meanwhile, as long as the most hasty of them waits.
/// Returns those for whom to unmount now; none when there is nobody any more: the drain may have a week, a signal has not, and
/// whoever has given up meant the unmount.
async fn drain_for(
    bucket: &Bucket,
    first: StopCall,
    calls: &mut mpsc::Receiver<StopCall>,
    shutdown: &Shutdown,
) -> Vec<StopCall> {
    let mut waiting = vec![(Instant::now() + first.deadline, first)];
    loop {
        let end = waiting.iter().map(|(end, _)| *end).min().expect("somebody waits");
        tracing::info!(op = "umount", "draining");
        tokio::select! {
            biased;
            () = shutdown.started() => return Vec::new(),
            () = any_closed(waiting.iter().map(|(_, call)| &call.progress)) => {
                waiting.retain(|(_, call)| !call.progress.is_closed());
                if waiting.is_empty() {
                    tracing::info!(op = "umount", "whoever asked for it has given up: the mount stays");
                    return Vec::new();
                }
            }
            Some(later) = calls.recv(), if waiting.len() < limits::STOP_CALLS => waiting.push((Instant::now() + later.deadline, later)),
            () = drain(bucket, end, waiting.iter().map(|(_, call)| &call.progress)) => {
                return waiting.into_iter().map(|(_, call)| call).collect();
            }
        }
    }
}

/// Waits until one of them listens no more.
async fn any_closed(listeners: impl Iterator<Item = &mpsc::Sender<Result<Progress, String>>>) {
    futures::future::select_all(listeners.map(|listener| Box::pin(listener.closed()))).await;
}

/// Signalled: files may be open, but the process must end.
async fn unmount_for_good(mounted: Option<&Mounted>) -> Result<(), Error> {
    let Some(mounted) = mounted else { return Ok(()) };
    if let Err(error) = mounted.unmount().await {
        let why = who_or(error).await;
        tracing::warn!(why, "the mount is taken off all the same");
        mounted.unmount_lazily().await?;
    }
    Ok(())
}

/// Unmounts because commands said so, after the drain; false when the mount stays.
async fn unmount_on_call(bucket: &Bucket, mounted: Option<&Mounted>, calls: &[StopCall]) -> bool {
    if let Some(mounted) = mounted {
        let unmounted = mounted.unmount().await;
        if unmounted.is_err() && calls.iter().any(|call| call.is_lazy) {
            // Whoever uses it goes on, and this process with them.
            let detached = mounted.detach().await.map_err(|error| error.to_string());
            tell(calls, &detached.map(|()| Progress { is_done: true, ..Progress::default() })).await;
            return false;
        }
        if let Err(error) = unmounted {
            tell(calls, &Err(who_or(error).await)).await;
            return false;
        }
    }
    let left = pending(bucket, Instant::now() + limits::STOP_TIMEOUT).await;
    tell(calls, &Ok(Progress { is_done: true, ..progress_of(&left) })).await;
    true
}

/// Why a mount stays: its users, when it is in use.
async fn who_or(error: mount::Error) -> String {
    let words = error.to_string();
    let mount::Error::Busy(path) = error else { return words };
    tokio::task::spawn_blocking(move || mount::who_holds(&path)).await.unwrap_or(words)
}

/// Says the last word to those who asked, who may be gone, or listen no more.
async fn tell(calls: &[StopCall], word: &Result<Progress, String>) {
    let told = calls.iter().map(|call| async move {
        if call.progress.send_timeout(word.clone(), limits::RPC_STOP_TIMEOUT).await.is_err() {
            tracing::debug!("whoever asked for the stop does not listen any more");
        }
    });
    futures::future::join_all(told).await;
}

/// Uploads what is staged until nothing is left or the end has come.
async fn drain<'a>(
    bucket: &Bucket,
    end: Instant,
    listeners: impl Iterator<Item = &'a mpsc::Sender<Result<Progress, String>>> + Clone,
) {
    let mut changes = bucket.changes();
    while bucket.staged_bytes() > 0 && Instant::now() < end {
        bucket.hurry();
        let mut open = listeners.clone().filter(|listener| !listener.is_closed()).peekable();
        if open.peek().is_some() {
            let progress = progress_of(&pending(bucket, end).await);
            for listener in open {
                // A listener that is slow misses one; it must not hold up the stop.
                if listener.try_send(Ok(progress.clone())).is_err() {
                    tracing::debug!("progress of the drain was not taken");
                }
            }
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

/// What is not with consumers yet, found out until `end` at most: the walk over a large tree takes its time.
async fn pending(bucket: &Bucket, end: Instant) -> Pending {
    let walked = bucket.clone();
    let asked = tokio::task::spawn_blocking(move || walked.pending(b"", FileState::Degraded));
    let unknown = |why: String| Pending { bytes: bucket.staged_bytes(), reasons: vec![why], ..Pending::default() };
    match tokio::time::timeout_at(end, asked).await {
        Ok(Ok(Ok(pending))) => pending,
        Ok(Ok(Err(error))) => unknown(error.to_string()),
        Ok(Err(error)) => unknown(error.to_string()),
        Err(_) => unknown("there are too many files to count those that are left".to_owned()),
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
