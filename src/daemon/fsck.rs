//! The check of the bucket as a call: progress while it runs, then its report.

use std::path::{Path, PathBuf};

use tokio::sync::{mpsc, watch};
use tonic::Status;

use crate::{
    base::limits,
    bucket::{self, Bucket, FsckOptions},
    rpc::{FsckProgress, FsckRequest, to_status},
};

/// Checks and tells, until it is done or nobody listens.
pub(super) async fn run(
    bucket: Bucket,
    directory: PathBuf,
    request: FsckRequest,
    sender: mpsc::Sender<Result<FsckProgress, Status>>,
) {
    let options = FsckOptions {
        is_repair: request.is_repair,
        deletes_unknown_shards: request.deletes_unknown_shards,
        unknown_shards_unjudged: unjudged(&directory),
    };
    let (progress, mut steps) = watch::channel(bucket::FsckProgress { step: "names", done: 0 });
    let mut check = Box::pin(bucket.fsck(options, progress));
    let answer = loop {
        tokio::select! {
            biased;
            () = sender.closed() => return,
            report = &mut check => break report,
            () = tokio::time::sleep(limits::PROGRESS_INTERVAL) => {}
        }
        let bucket::FsckProgress { step, done } = *steps.borrow_and_update();
        // When nobody listens any more the loop ends.
        let told = FsckProgress { step: step.to_owned(), done, is_done: false, json: String::new() };
        let _ = sender.try_send(Ok(told));
    };
    let answer = answer.map_err(|error| to_status(&error)).map(|report| {
        let json = serde_json::to_string(&report).expect("reports serialise");
        FsckProgress { step: String::new(), done: 0, is_done: true, json }
    });
    if sender.send(answer).await.is_err() {
        tracing::debug!(op = "fsck", "whoever asked for a check went away");
    }
}

/// Why shards that the bucket does not know say nothing: those of other buckets have the same owner.
fn unjudged(directory: &Path) -> Option<String> {
    let others = |parent: &Path| -> std::io::Result<usize> {
        let entries = std::fs::read_dir(parent)?.collect::<Result<Vec<_>, _>>()?;
        Ok(entries.iter().filter(|entry| entry.path() != directory).count())
    };
    match directory.parent().map(others) {
        Some(Ok(0)) => None,
        Some(Ok(_)) => Some("there are other buckets in this state directory, and they have shards too".to_owned()),
        Some(Err(error)) => Some(format!("the state directory cannot be listed: {error}")),
        None => Some("the bucket has no directory of its own".to_owned()),
    }
}
