//! The API of a devnet's supervisor: starts and stops its processes.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use tonic::{Request, Response, Status, transport::Channel};

use super::{
    Document, Error, Socket,
    client::{dial, within_time},
    server::serve_any,
    v1::{
        ProcessRequest, supervisor_client,
        supervisor_server::{Supervisor, SupervisorServer},
    },
};
use crate::{
    base::{ErrorKind, Kinded, limits},
    runtime::Shutdown,
};

/// A supervisor of processes.
#[async_trait]
pub trait SupervisorService: Send + Sync + 'static {
    /// Starts a process that is down; words for people.
    async fn start(&self, name: String) -> Result<String, (ErrorKind, String)>;
    /// Stops a process; words for people.
    async fn stop(&self, name: String) -> Result<String, (ErrorKind, String)>;
}

/// Serves a supervisor until the signal.
pub async fn serve_supervisor(
    socket: Socket,
    supervisor: impl SupervisorService,
    shutdown: Shutdown,
) -> Result<(), Error> {
    serve_any(socket, SupervisorServer::new(SupervisorAdapter(supervisor)), shutdown).await
}

struct SupervisorAdapter<T>(T);

#[async_trait]
impl<T: SupervisorService> Supervisor for SupervisorAdapter<T> {
    async fn start(&self, request: Request<ProcessRequest>) -> Result<Response<Document>, Status> {
        answer(self.0.start(request.into_inner().name).await)
    }

    async fn stop(&self, request: Request<ProcessRequest>) -> Result<Response<Document>, Status> {
        answer(self.0.stop(request.into_inner().name).await)
    }
}

fn answer(result: Result<String, (ErrorKind, String)>) -> Result<Response<Document>, Status> {
    match result {
        Ok(json) => Ok(Response::new(Document { json })),
        Err((kind, words)) => Err(super::to_status(&Refused { kind, words })),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{words}")]
struct Refused {
    kind: ErrorKind,
    words: String,
}

impl Kinded for Refused {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// A connection to a supervisor.
#[derive(Debug)]
pub struct SupervisorClient {
    socket: PathBuf,
    inner: supervisor_client::SupervisorClient<Channel>,
    _directory: Arc<OwnedFd>,
}

impl SupervisorClient {
    /// Connects to a supervisor's socket.
    pub async fn connect(socket: &Path) -> Result<Self, Error> {
        let (channel, directory) = dial(socket).await?;
        let inner = supervisor_client::SupervisorClient::new(channel);
        Ok(Self { socket: socket.to_path_buf(), inner, _directory: directory })
    }

    /// Starts a process and waits until it is ready.
    pub async fn start(&mut self, name: String) -> Result<String, Error> {
        Ok(within_time(&self.socket, limits::SUPERVISOR_TIMEOUT, self.inner.start(ProcessRequest { name }))
            .await?
            .into_inner()
            .json)
    }

    /// Stops a process in order.
    pub async fn stop(&mut self, name: String) -> Result<String, Error> {
        Ok(within_time(&self.socket, limits::SUPERVISOR_TIMEOUT, self.inner.stop(ProcessRequest { name }))
            .await?
            .into_inner()
            .json)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Fixed;

    #[async_trait]
    impl SupervisorService for Fixed {
        async fn start(&self, name: String) -> Result<String, (ErrorKind, String)> {
            Ok(format!("{name} started"))
        }

        async fn stop(&self, name: String) -> Result<String, (ErrorKind, String)> {
            Err((ErrorKind::NotFound, format!("no process '{name}'")))
        }
    }

    #[tokio::test]
    async fn calls_and_refusals_cross_a_private_socket_at_a_long_path() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let deep = directory.path().join("d".repeat(120));
        std::fs::create_dir(&deep).expect("made");
        let path = deep.join("socket");
        let refused = SupervisorClient::connect(&path).await.expect_err("nobody there");
        assert_eq!(refused.kind(), ErrorKind::Unavailable);

        let socket = Socket::bind(&path).expect("bound");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let shutdown = Shutdown::new();
        let server = tokio::spawn(serve_supervisor(socket, Fixed, shutdown.clone()));
        let mut client = SupervisorClient::connect(&path).await.expect("connected");
        assert_eq!(client.start("mount".into()).await.expect("started"), "mount started");
        let error = client.stop("x".into()).await.expect_err("refused");
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::NotFound, "no process 'x'"));

        drop(client);
        shutdown.start();
        server.await.expect("no panic").expect("ended well");
        assert!(!path.exists(), "the socket is removed at the end");
    }

    #[tokio::test]
    async fn a_socket_of_a_dead_process_is_replaced() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(SupervisorClient::connect(&path).await.is_err());
        drop(Socket::bind(&path).expect("the dead one is replaced"));
        assert!(!path.exists());
    }
}
