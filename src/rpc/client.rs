//! The client of a daemon: every wait has a deadline, every failure words.

use std::{
    future::Future,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::{Mode, OFlags};
use tonic::{
    Response, Status, Streaming,
    transport::{Channel, Endpoint},
};

use super::{
    Document, Error, EvictRequest, FsckProgress, FsckRequest, Level, ListFilesRequest, PinRequest, Progress,
    StatFileRequest, StatusRequest, StopRequest, SyncRequest, v1::daemon_client::DaemonClient,
};
use crate::base::limits;

/// How hyper says that a ping was not answered.
const UNANSWERED_PING: &str = "keep-alive timed out";

/// A connection to one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    inner: DaemonClient<Channel>,
    /// The socket's directory: it is dialled through this, so that a long path is no obstacle.
    _directory: Arc<OwnedFd>,
}

impl Client {
    /// Connects to a daemon's socket, within `limits::RPC_CONNECT_TIMEOUT`.
    pub async fn connect(socket: &Path) -> Result<Client, Error> {
        let (channel, directory) = dial(socket).await?;
        let inner = DaemonClient::new(channel).max_decoding_message_size(limits::REPORT_BYTES);
        Ok(Client { socket: socket.to_path_buf(), inner, _directory: directory })
    }

    /// The daemon's status as JSON.
    pub async fn status(&self) -> Result<String, Error> {
        let mut inner = self.inner.clone();
        Ok(self.answer(inner.status(StatusRequest {})).await?.json)
    }

    /// Uploads what is under a path; the stream ends when it is there. `timeout_seconds` 0: no limit.
    pub async fn sync(&self, path: Vec<u8>, level: Level, timeout_seconds: u64) -> Result<ProgressStream, Error> {
        let request = SyncRequest { path, level: level.into(), timeout_seconds };
        let mut inner = self.inner.clone();
        let stream = self.answer(inner.sync(request)).await?;
        Ok(ProgressStream { socket: self.socket.clone(), stream })
    }

    /// The files under a path.
    pub async fn list_files(&self, path: Vec<u8>, is_recursive: bool) -> Result<Documents, Error> {
        let mut inner = self.inner.clone();
        let stream = self.answer(inner.list_files(ListFilesRequest { path, is_recursive })).await?;
        Ok(Documents { socket: self.socket.clone(), stream })
    }

    /// Everything about one file, as JSON.
    pub async fn stat_file(&self, path: Vec<u8>) -> Result<String, Error> {
        let mut inner = self.inner.clone();
        Ok(self.answer(inner.stat_file(StatFileRequest { path })).await?.json)
    }

    /// Drops the clean cached bytes of a path; what was dropped, as JSON.
    pub async fn evict(&self, path: Vec<u8>) -> Result<String, Error> {
        let mut inner = self.inner.clone();
        Ok(self.answer(inner.evict(EvictRequest { path })).await?.json)
    }

    /// Keeps a path's bytes in the cache, or no longer; what was changed, as JSON.
    pub async fn pin(&self, path: Vec<u8>, is_pinned: bool) -> Result<String, Error> {
        let mut inner = self.inner.clone();
        Ok(self.answer(inner.pin(PinRequest { path, is_pinned })).await?.json)
    }

    /// Checks the bucket; the last progress has the report.
    pub async fn fsck(&self, request: FsckRequest) -> Result<FsckStream, Error> {
        let mut inner = self.inner.clone();
        let stream = self.answer(inner.fsck(request)).await?;
        Ok(FsckStream { socket: self.socket.clone(), stream })
    }

    /// Drains, unmounts and ends the daemon.
    pub async fn stop(&self, deadline_seconds: u64, is_lazy: bool) -> Result<ProgressStream, Error> {
        let mut inner = self.inner.clone();
        let stream = self.answer(inner.stop(StopRequest { deadline_seconds, is_lazy })).await?;
        Ok(ProgressStream { socket: self.socket.clone(), stream })
    }

    async fn answer<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Error> {
        within(&self.socket, call).await.map(Response::into_inner)
    }
}

/// Progress of a long call.
#[derive(Debug)]
pub struct ProgressStream {
    socket: PathBuf,
    stream: Streaming<Progress>,
}

impl ProgressStream {
    /// The next progress; None at the end. Fails when the daemon is silent for `limits::RPC_TIMEOUT`.
    pub async fn next(&mut self) -> Result<Option<Progress>, Error> {
        within(&self.socket, self.stream.message()).await
    }
}

/// Progress of a check.
#[derive(Debug)]
pub struct FsckStream {
    socket: PathBuf,
    stream: Streaming<FsckProgress>,
}

impl FsckStream {
    /// The next progress; None at the end. Fails when the daemon is silent for `limits::RPC_TIMEOUT`.
    pub async fn next(&mut self) -> Result<Option<FsckProgress>, Error> {
        within(&self.socket, self.stream.message()).await
    }
}

/// Documents one after the other.
#[derive(Debug)]
pub struct Documents {
    socket: PathBuf,
    stream: Streaming<Document>,
}

impl Documents {
    /// The next document's JSON; None at the end.
    pub async fn next(&mut self) -> Result<Option<String>, Error> {
        Ok(within(&self.socket, self.stream.message()).await?.map(|document| document.json))
    }
}

/// Connects to the socket through its opened directory, which must stay open as long as the channel.
pub(super) async fn dial(socket: &Path) -> Result<(Channel, Arc<OwnedFd>), Error> {
    let unreachable = |why: String| Error::Unreachable { socket: socket.to_path_buf(), why };
    let (directory, dialled) = short_path(socket).map_err(|error| unreachable(error.to_string()))?;
    let meta = std::fs::symlink_metadata(&dialled).map_err(|error| unreachable(error.to_string()))?;
    if !std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type()) {
        return Err(unreachable("it is not a socket".into()));
    }
    let endpoint =
        Endpoint::from_shared(format!("unix://{dialled}")).map_err(|error| unreachable(error.to_string()))?;
    // A call may take its time; a daemon that hangs is told from one that works.
    let endpoint = endpoint
        .http2_keep_alive_interval(limits::RPC_PING_TIMEOUT)
        .keep_alive_timeout(limits::RPC_PING_TIMEOUT)
        .keep_alive_while_idle(true);
    match tokio::time::timeout(limits::RPC_CONNECT_TIMEOUT, endpoint.connect()).await {
        Ok(Ok(channel)) => Ok((channel, Arc::new(directory))),
        Ok(Err(error)) => Err(unreachable(deepest(&error))),
        Err(_) => {
            let seconds = limits::RPC_CONNECT_TIMEOUT.as_secs();
            Err(Error::TimedOut { socket: socket.to_path_buf(), seconds })
        }
    }
}

pub(super) async fn within<T>(socket: &Path, call: impl Future<Output = Result<T, Status>>) -> Result<T, Error> {
    within_time(socket, limits::RPC_TIMEOUT, call).await
}

pub(super) async fn within_time<T>(
    socket: &Path,
    deadline: Duration,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(deadline, call).await {
        Ok(answer) => answer.map_err(|status| explain(socket, status)),
        Err(_) => Err(Error::TimedOut { socket: socket.to_path_buf(), seconds: deadline.as_secs() }),
    }
}

/// What a status says that may not be the daemon's.
fn explain(socket: &Path, status: Status) -> Error {
    let chain = std::iter::successors(Some(&status as &dyn std::error::Error), |error| error.source());
    if chain.skip(1).any(|error| error.to_string() == UNANSWERED_PING) {
        return Error::TimedOut { socket: socket.to_path_buf(), seconds: 2 * limits::RPC_PING_TIMEOUT.as_secs() };
    }
    Error::Status(Box::new(status))
}

/// The socket through its opened directory: a socket address holds 107 bytes only.
pub(super) fn short_path(socket: &Path) -> std::io::Result<(OwnedFd, String)> {
    let invalid = || std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a path of a socket");
    let name = socket.file_name().and_then(|name| name.to_str()).ok_or_else(invalid)?;
    let parent = match socket.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(parent, flags, Mode::empty())?;
    let path = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    Ok((directory, path))
}

fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
