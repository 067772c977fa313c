//! A local socket that tells a process's status: one JSON document per connection, to its own user only.

use std::{
    fs, io,
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};

use super::Tasks;
use crate::base::{ErrorKind, Kinded, limits};

/// The socket's name in the state directory.
const NAME: &str = "socket";
const NEW_NAME: &str = "socket.new";

/// A status that could not be given or had.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Nothing answers there.
    #[error("nothing runs in {}: {source}", directory.display())]
    NotRunning { directory: PathBuf, source: io::Error },
    /// It did not answer in time.
    #[error("the process in {} does not answer within {seconds} s", directory.display())]
    TimedOut { directory: PathBuf, seconds: u64 },
    /// What it answered is no status.
    #[error("the process in {} answered no status: {why}", directory.display())]
    Invalid { directory: PathBuf, why: String },
    /// The socket cannot be made.
    #[error("cannot make the status socket in {}: {source}", directory.display())]
    Socket { directory: PathBuf, source: io::Error },
}

impl Kinded for StatusError {
    fn kind(&self) -> ErrorKind {
        match self {
            StatusError::NotRunning { .. } | StatusError::TimedOut { .. } => ErrorKind::Unavailable,
            StatusError::Invalid { .. } => ErrorKind::Corrupt,
            StatusError::Socket { .. } => ErrorKind::Invalid,
        }
    }
}

/// Serves `DIRECTORY/socket` (mode 0600) until the tasks' shutdown. The caller holds the directory's lock: a socket
/// of before is a leftover and is replaced. `report` writes the document; it must not wait.
pub fn serve_status(
    directory: &Path,
    tasks: &Tasks,
    report: impl Fn() -> String + Send + Sync + 'static,
) -> Result<(), StatusError> {
    let fail = |source| StatusError::Socket { directory: directory.to_path_buf(), source };
    let listener = bind(directory).map_err(fail)?;
    let (path, report) = (directory.join(NAME), Arc::new(report));
    let shutdown = tasks.shutdown().clone();
    let readers = Arc::new(Semaphore::new(limits::STATUS_READERS));
    let answers = tasks.clone();
    tasks.spawn(async move {
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.started() => break,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Too many open files, as a rule: that passes.
                    tracing::warn!(op = "status", "the status socket failed: {error}");
                    tokio::select! {
                        biased;
                        () = shutdown.started() => break,
                        () = tokio::time::sleep(limits::WORKER_REST) => continue,
                    }
                }
            };
            let Ok(place) = Arc::clone(&readers).try_acquire_owned() else { continue };
            let report = Arc::clone(&report);
            answers.spawn_until_shutdown(async move {
                let _place = place;
                answer(stream, report()).await;
            });
        }
        if let Err(error) = fs::remove_file(&path) {
            tracing::debug!(op = "status", "the status socket was gone already: {error}");
        }
    });
    Ok(())
}

async fn answer(mut stream: UnixStream, document: String) {
    let sent = async {
        stream.write_all(document.as_bytes()).await?;
        stream.shutdown().await
    };
    match timeout(limits::STATUS_TIMEOUT, sent).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(op = "status", "whoever asked for the status went: {error}"),
        Err(_) => tracing::debug!(op = "status", "whoever asked for the status does not read it"),
    }
}

/// The status of the process whose state directory this is, as JSON.
pub async fn read_status(directory: &Path) -> Result<serde_json::Value, StatusError> {
    let directory = directory.to_path_buf();
    let failed = |source| StatusError::NotRunning { directory: directory.clone(), source };
    let read = async {
        let mut stream = connect(&directory).await.map_err(failed)?;
        let mut bytes = Vec::new();
        let most = limits::STATUS_BYTES as u64;
        (&mut stream).take(most + 1).read_to_end(&mut bytes).await.map_err(failed)?;
        let invalid = |why: String| StatusError::Invalid { directory: directory.clone(), why };
        if bytes.len() > limits::STATUS_BYTES {
            return Err(invalid(format!("more than {most} bytes")));
        }
        serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))
    };
    match timeout(limits::STATUS_TIMEOUT, read).await {
        Ok(result) => result,
        Err(_) => {
            Err(StatusError::TimedOut { directory: directory.clone(), seconds: limits::STATUS_TIMEOUT.as_secs() })
        }
    }
}

/// Socket addresses hold about a hundred bytes; through the open directory every path is short.
fn short(directory: &fs::File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

fn bind(directory: &Path) -> io::Result<UnixListener> {
    let open = fs::File::open(directory)?;
    let (new, place) = (directory.join(NEW_NAME), directory.join(NAME));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(short(&open, NEW_NAME))?;
    // Nobody finds it before its mode is set.
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
    fs::rename(&new, &place)?;
    Ok(listener)
}

async fn connect(directory: &Path) -> io::Result<UnixStream> {
    let open = fs::File::open(directory)?;
    UnixStream::connect(short(&open, NAME)).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::Shutdown;

    #[tokio::test]
    async fn a_status_is_read_from_a_long_path_and_ends_with_its_process() {
        let directory = tempfile::tempdir().expect("a directory").keep().join("x".repeat(120));
        fs::create_dir(&directory).expect("made");
        fs::write(directory.join(NAME), "a leftover").expect("written");
        let tasks = Tasks::new(Shutdown::new());
        serve_status(&directory, &tasks, || "{\"shards\":3}".into()).expect("served");
        for _ in 0..3 {
            assert_eq!(read_status(&directory).await.expect("answers")["shards"], 3);
        }
        let mode = fs::metadata(directory.join(NAME)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(tasks.stop(Duration::from_secs(5)).await);
        assert!(matches!(read_status(&directory).await, Err(StatusError::NotRunning { .. })));
        fs::remove_dir_all(directory.parent().expect("a parent")).expect("removed");
    }

    #[tokio::test]
    async fn what_is_no_json_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let tasks = Tasks::new(Shutdown::new());
        serve_status(directory.path(), &tasks, || "hello".into()).expect("served");
        assert!(matches!(read_status(directory.path()).await, Err(StatusError::Invalid { .. })));
    }
}
