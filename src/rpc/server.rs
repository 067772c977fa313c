//! Serving the API: a socket of mode 0600 from its first instant, and the server on it.

use std::{
    convert::Infallible,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;
use tonic::{
    body::Body,
    codegen::{
        Service,
        http::{Request, Response},
    },
    transport::Server,
};

use super::{
    Error,
    client::short_path,
    daemon_server::{Daemon, DaemonServer},
};
use crate::{base::limits, runtime::Shutdown};

/// A listening socket; its file goes when this is dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    listener: Option<UnixListener>,
}

impl Socket {
    /// Makes the socket, taking the place of one left by a dead process. The caller holds the lock of the
    /// state directory that it is in. Inside a tokio runtime.
    pub fn bind(path: &Path) -> Result<Socket, Error> {
        let listener = bind_private(path).map_err(|source| Error::Socket { socket: path.to_path_buf(), source })?;
        Ok(Socket { path: path.to_path_buf(), listener: Some(listener) })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(op = "unlink socket", %error, "the socket was gone already");
        }
    }
}

/// Made under another name, made private, then moved into place: nobody can connect in between.
fn bind_private(path: &Path) -> std::io::Result<UnixListener> {
    let fresh = path.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (_directory, short) = short_path(&fresh)?;
    let listener = UnixListener::bind(short)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    fs::rename(&fresh, path)?;
    Ok(listener)
}

/// Serves until the signal, then lets running calls end within `limits::RPC_STOP_TIMEOUT`.
pub async fn serve<D: Daemon>(socket: Socket, daemon: D, shutdown: Shutdown) -> Result<(), Error> {
    serve_any(socket, DaemonServer::new(daemon), shutdown).await
}

/// Serves one generated service.
pub(super) async fn serve_any<S>(mut socket: Socket, service: S, shutdown: Shutdown) -> Result<(), Error>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let listener = socket.listener.take().expect("a socket is served once");
    let incoming = futures::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    });
    let signal = shutdown.clone();
    let server = Server::builder().max_concurrent_streams(limits::RPC_CALLS).serve_with_incoming_shutdown(
        service,
        incoming,
        async move { signal.started().await },
    );
    let patience = async {
        shutdown.started().await;
        tokio::time::sleep(limits::RPC_STOP_TIMEOUT).await;
    };
    tokio::select! {
        biased;
        ended = server => ended.map_err(|error| Error::Server(error.to_string())),
        () = patience => Ok(()),
    }
}
