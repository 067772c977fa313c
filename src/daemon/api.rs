//! The daemon's side of the local API: every command ends in one of these calls.

use std::{collections::BTreeMap, path::PathBuf, pin::Pin, time::Duration};

use futures::Stream;
use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, time::Instant};
use tonic::{Request, Response, Status, async_trait};

use super::{
    fsck,
    stop::{StopCall, progress_of},
};
use crate::{
    base::{OwnerId, PeerId, limits},
    bucket::{self, Bucket, BucketStatus, FileState, Pending},
    dispatch::{Counters, Dispatcher},
    mount::{self, Invalidator},
    rpc::{
        Document, EvictRequest, FsckProgress, FsckRequest, Level, ListFilesRequest, PinRequest, Progress,
        StatFileRequest, StatusRequest, StopRequest, SyncRequest, daemon_server::Daemon, to_status,
    },
};

/// What the API speaks of.
pub(super) struct Context {
    pub bucket: Bucket,
    /// The bucket's own directory, beside those of others.
    pub directory: PathBuf,
    pub dispatcher: std::sync::Arc<Dispatcher>,
    pub invalidator: Option<Invalidator>,
    pub mountpoint: Option<PathBuf>,
    pub socket: PathBuf,
    pub peer: PeerId,
    pub owner: OwnerId,
    pub trackers: Vec<String>,
    pub options: BTreeMap<&'static str, String>,
    pub stop: mpsc::Sender<StopCall>,
}

/// `openbucket status --json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DaemonStatus {
    pub version: String,
    pub pid: u32,
    pub mountpoint: Option<PathBuf>,
    pub socket: PathBuf,
    pub peer: String,
    pub owner: String,
    pub trackers: Vec<String>,
    /// The mount options in force, by their names.
    pub options: BTreeMap<String, String>,
    /// Why the tracker is of no use now, if it is.
    pub tracker_problem: Option<String>,
    pub known_consumers: u64,
    pub online_consumers: u64,
    #[serde(flatten)]
    pub bucket: BucketStatus,
    #[serde(flatten)]
    pub counters: Counters,
}

/// Answers the calls of one daemon.
#[derive(Clone)]
pub(super) struct Api {
    context: std::sync::Arc<Context>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Api {
    pub fn new(context: Context) -> Self {
        Self { context: std::sync::Arc::new(context) }
    }

    /// Runs what blocks on the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Bucket) -> Result<T, bucket::Error> + Send + 'static,
    ) -> Result<T, Status> {
        let bucket = self.context.bucket.clone();
        let done = tokio::task::spawn_blocking(move || work(&bucket)).await;
        done.map_err(|error| Status::internal(error.to_string()))?.map_err(|error| to_status(&error))
    }
}

fn document(value: &impl Serialize) -> Document {
    Document { json: serde_json::to_string(value).expect("reports serialise") }
}

fn stream<T: Send + 'static>(receiver: mpsc::Receiver<Result<T, Status>>) -> Response<Answers<T>> {
    Response::new(Box::pin(futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    })))
}

#[async_trait]
impl Daemon for Api {
    type SyncStream = Answers<Progress>;
    type ListFilesStream = Answers<Document>;
    type StopStream = Answers<Progress>;
    type FsckStream = Answers<FsckProgress>;

    async fn status(&self, _request: Request<StatusRequest>) -> Result<Response<Document>, Status> {
        let bucket = self.blocking(Bucket::status).await?;
        let context = &self.context;
        let known = context.dispatcher.known();
        Ok(Response::new(document(&DaemonStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            mountpoint: context.mountpoint.clone(),
            socket: context.socket.clone(),
            peer: context.peer.to_string(),
            owner: context.owner.to_string(),
            trackers: context.trackers.clone(),
            options: context.options.iter().map(|(name, word)| ((*name).to_owned(), word.clone())).collect(),
            tracker_problem: context.dispatcher.tracker_problem(),
            known_consumers: known.len() as u64,
            online_consumers: known.iter().filter(|candidate| candidate.is_online).count() as u64,
            bucket,
            counters: context.dispatcher.counters(),
        })))
    }

    async fn sync(&self, request: Request<SyncRequest>) -> Result<Response<Self::SyncStream>, Status> {
        let request = request.into_inner();
        let level = match request.level() {
            Level::Uploaded => FileState::Uploaded,
            Level::Available => FileState::Available,
        };
        let end = match request.timeout_seconds {
            0 => None,
            seconds => Some(Instant::now() + Duration::from_secs(seconds.min(limits::SYNC_SECONDS))),
        };
        // A path that is not there fails the call, not the stream.
        let path = request.path;
        let asked = path.clone();
        self.blocking(move |bucket| bucket.resolve(&asked)).await?;
        let (sender, receiver) = mpsc::channel(4);
        let api = self.clone();
        tokio::spawn(async move {
            let failed = sync(&api, path, level, end, &sender).await.err();
            if let Some(status) = failed
                && sender.send(Err(status)).await.is_err()
            {
                tracing::debug!("whoever waited for a sync went away");
            }
        });
        Ok(stream(receiver))
    }

    async fn list_files(&self, request: Request<ListFilesRequest>) -> Result<Response<Self::ListFilesStream>, Status> {
        let request = request.into_inner();
        let summaries = self.blocking(move |bucket| bucket.list(&request.path, request.is_recursive)).await?;
        Ok(Response::new(Box::pin(futures::stream::iter(summaries.into_iter().map(|summary| Ok(document(&summary)))))))
    }

    async fn stat_file(&self, request: Request<StatFileRequest>) -> Result<Response<Document>, Status> {
        let path = request.into_inner().path;
        let report = self.blocking(move |bucket| bucket.report(&path)).await?;
        Ok(Response::new(document(&report)))
    }

    async fn evict(&self, request: Request<EvictRequest>) -> Result<Response<Document>, Status> {
        let path = request.into_inner().path;
        let evicted = self.context.bucket.evict(path).await;
        let (report, files) = evicted.map_err(|error| to_status(&error))?;
        if let Some(invalidator) = &self.context.invalidator {
            invalidator.invalidate_all(files).await.map_err(|error| to_status(&error))?;
        }
        Ok(Response::new(document(&report)))
    }

    async fn pin(&self, request: Request<PinRequest>) -> Result<Response<Document>, Status> {
        let request = request.into_inner();
        let pinned = self.context.bucket.pin(request.path, request.is_pinned).await;
        Ok(Response::new(document(&pinned.map_err(|error| to_status(&error))?)))
    }

    async fn fsck(&self, request: Request<FsckRequest>) -> Result<Response<Self::FsckStream>, Status> {
        let (sender, receiver) = mpsc::channel(4);
        let (bucket, directory) = (self.context.bucket.clone(), self.context.directory.clone());
        tokio::spawn(fsck::run(bucket, directory, request.into_inner(), sender));
        Ok(stream(receiver))
    }

    async fn stop(&self, request: Request<StopRequest>) -> Result<Response<Self::StopStream>, Status> {
        let request = request.into_inner();
        let (progress, mut updates) = mpsc::channel(4);
        let call = StopCall {
            deadline: Duration::from_secs(request.deadline_seconds.min(limits::SYNC_SECONDS)),
            is_lazy: request.is_lazy,
            progress,
        };
        self.context.stop.try_send(call).map_err(|_| Status::unavailable("the daemon is stopping already"))?;
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(async move {
            loop {
                let update = tokio::select! {
                    // The daemon is to know at once that nobody waits any more.
                    () = sender.closed() => return,
                    update = updates.recv() => update,
                };
                let Some(update) = update else { return };
                if sender.send(update.map_err(Status::unavailable)).await.is_err() {
                    return;
                }
            }
        });
        Ok(stream(receiver))
    }
}

/// Uploads what is under a path now and tells how far it is, until the level is reached or the time is over.
async fn sync(
    api: &Api,
    path: Vec<u8>,
    level: FileState,
    end: Option<Instant>,
    sender: &mpsc::Sender<Result<Progress, Status>>,
) -> Result<(), Status> {
    tokio::select! {
        () = sender.closed() => return Ok(()),
        fetched = fetch_written(api, &path, level, end, sender) => fetched?,
    }
    let bucket = &api.context.bucket;
    let mut arriving = bucket.arriving(path, level);
    let mut changes = bucket.changes();
    let mut is_logged = false;
    loop {
        bucket.hurry();
        let asked = Instant::now();
        let pending;
        (arriving, pending) = api
            .blocking(move |_| {
                let pending = arriving.pending()?;
                Ok((arriving, pending))
            })
            .await?;
        if !is_logged {
            // Names and empty files have no upload: they are safe when the local log is.
            api.blocking(Bucket::sync_all_blocking).await?;
            is_logged = true;
        }
        let is_done = pending.files == 0;
        if sender.send(Ok(Progress { is_done, ..progress_of(&pending) })).await.is_err() || is_done {
            return Ok(());
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return Err(Status::unavailable(format!("{} files are not there yet", pending.files)));
        }
        // A walk over a large tree must not be all that the daemon does.
        let pause = (asked.elapsed() * 4).max(limits::PROGRESS_INTERVAL / 4);
        let not_before = Instant::now() + pause;
        let step = end.unwrap_or(not_before + limits::PROGRESS_INTERVAL).min(not_before + limits::PROGRESS_INTERVAL);
        tokio::select! {
            () = sender.closed() => return Ok(()),
            () = async {
                tokio::time::sleep_until(not_before.min(step)).await;
                // Either something changed, or it is time to say that nothing did.
                let _changed = tokio::time::timeout_at(step, changes.changed()).await;
            } => {}
        }
    }
}

/// Has the kernel hand over what it holds of files that programs write to: they have written it before this. It drops what it
/// has of these files. While staging is full, that takes as long as until there is room.
async fn fetch_written(
    api: &Api,
    path: &[u8],
    level: FileState,
    end: Option<Instant>,
    sender: &mpsc::Sender<Result<Progress, Status>>,
) -> Result<(), Status> {
    let Some(invalidator) = &api.context.invalidator else { return Ok(()) };
    loop {
        let asked = path.to_vec();
        let (written, pending) = api
            .blocking(move |bucket| {
                bucket.hurry();
                let written = bucket.written_under(&asked)?;
                // Told while it takes long.
                let pending = if written.is_empty() { Pending::default() } else { bucket.pending(&asked, level)? };
                Ok((written, pending))
            })
            .await?;
        if written.is_empty() {
            return Ok(());
        }
        if sender.send(Ok(progress_of(&pending))).await.is_err() {
            return Ok(());
        }
        let dropped = invalidator.invalidate_all(written);
        let dropped = match end {
            Some(end) => tokio::time::timeout_at(end, dropped).await.map_err(|_| {
                Status::unavailable(
                    "the kernel still holds what programs have written: staging is full, or the disk is slow",
                )
            })?,
            None => dropped.await,
        };
        match dropped {
            Ok(()) => return Ok(()),
            Err(mount::Error::Slow { .. }) => {}
            // It holds nothing of a mount that is gone.
            Err(mount::Error::Closed(_)) => return Ok(()),
            Err(error) => return Err(to_status(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The names in the JSON of a value.
    fn names(value: &impl Serialize) -> BTreeSet<String> {
        let value = serde_json::to_value(value).expect("reports serialise");
        value.as_object().expect("an object").keys().cloned().collect()
    }

    #[test]
    fn status_has_the_names_of_its_parts_each_once() {
        let (bucket, counters) = (BucketStatus::default(), Counters::default());
        let parts = [names(&bucket), names(&counters)];
        let status = DaemonStatus {
            version: String::new(),
            pid: 1,
            mountpoint: None,
            socket: PathBuf::new(),
            peer: String::new(),
            owner: String::new(),
            trackers: Vec::new(),
            options: BTreeMap::new(),
            tracker_problem: None,
            known_consumers: 0,
            online_consumers: 0,
            bucket,
            counters,
        };
        let all = names(&status);
        let own: Vec<&str> =
            all.iter().filter(|name| !parts.iter().any(|part| part.contains(*name))).map(|it| &**it).collect();
        let wanted = [
            "known_consumers",
            "mountpoint",
            "online_consumers",
            "options",
            "owner",
            "peer",
            "pid",
            "socket",
            "tracker_problem",
            "trackers",
            "version",
        ];
        assert_eq!(own, wanted);
        // One of the same name would hide another.
        assert_eq!(all.len(), own.len() + parts[0].len() + parts[1].len());
        let text = serde_json::to_string(&status).expect("reports serialise");
        assert_eq!(names(&serde_json::from_str::<DaemonStatus>(&text).expect("it reads")), all);
    }
}
