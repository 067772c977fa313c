//! A node that stands before another one and fails, hangs or lies as a test wants it to.

use std::{io, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// What becomes of a request.
pub enum Fate {
    /// It is answered by the node behind.
    Forward,
    /// The node behind does it, and the answer is lost.
    Swallow,
    /// The connection is closed.
    Close,
    /// Nothing happens, for a long time.
    Hang,
    /// This is the result.
    Result(Value),
    /// This is the error.
    Error(i64, &'static str),
    /// This is the body, with this HTTP status; more headers may come before it.
    Body(&'static str, String),
    /// An answer without end.
    Endless,
}

type Judge = dyn Fn(&str, &Value) -> Fate + Send + Sync;

pub struct Gate {
    pub url: String,
    server: JoinHandle<()>,
}

impl Gate {
    /// `behind` is a URL of the loopback, or empty when nothing is forwarded.
    pub async fn start(behind: &str, judge: impl Fn(&str, &Value) -> Fate + Send + Sync + 'static) -> Self {
        Self::serve(behind, None, judge).await
    }

    pub async fn start_tls(
        acceptor: TlsAcceptor,
        judge: impl Fn(&str, &Value) -> Fate + Send + Sync + 'static,
    ) -> Self {
        Self::serve("", Some(acceptor), judge).await
    }

    async fn serve(
        behind: &str,
        acceptor: Option<TlsAcceptor>,
        judge: impl Fn(&str, &Value) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let behind = behind.trim_start_matches("http://").to_owned();
        let judge: Arc<Judge> = Arc::new(judge);
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let server = tokio::spawn(async move {
            let room = Arc::new(Semaphore::new(64));
            while let Ok((stream, _)) = listener.accept().await {
                let (behind, judge, acceptor) = (behind.clone(), Arc::clone(&judge), acceptor.clone());
                let place = Arc::clone(&room).acquire_owned().await.expect("open");
                tokio::spawn(async move {
                    // A client that goes away is no failure of the test.
                    drop(match acceptor {
                        None => converse(stream, &behind, &*judge).await,
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => converse(stream, &behind, &*judge).await,
                            Err(error) => Err(error),
                        },
                    });
                    drop(place);
                });
            }
        });
        Self { url: format!("{scheme}://127.0.0.1:{port}"), server }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, behind: &str, judge: &Judge) -> io::Result<()> {
    while let Some(body) = message(&mut stream).await? {
        let request: Value = serde_json::from_slice(&body).expect("a request is JSON");
        let answer =
            |field: &str, value: Value| json!({ "jsonrpc": "2.0", "id": request["id"], field: value }).to_string();
        let ok = "200 OK";
        let (status, body) = match judge(request["method"].as_str().expect("a method"), &request["params"]) {
            Fate::Forward => (ok, forward(behind, &body).await?),
            Fate::Swallow => {
                forward(behind, &body).await?;
                return Ok(());
            }
            Fate::Close => return Ok(()),
            Fate::Hang => {
                tokio::time::sleep(Duration::from_secs(600)).await; // hangs longer than anybody waits
                return Ok(());
            }
            Fate::Result(value) => (ok, answer("result", value)),
            Fate::Error(code, message) => (ok, answer("error", json!({ "code": code, "message": message }))),
            Fate::Body(status, body) => (status, body),
            Fate::Endless => {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
                stream.write_all(head.as_bytes()).await?;
                loop {
                    stream.write_all(&[b' '; 1 << 16]).await?;
                }
            }
        };
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.flush().await?;
    }
    Ok(())
}

/// The body of the next HTTP message; None at the end of the connection.
async fn message(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).expect("a length");
    let mut body = vec![0; length.trim().parse().expect("a number")];
    stream.read_exact(&mut body).await?;
    Ok(Some(body))
}

async fn forward(behind: &str, body: &[u8]) -> io::Result<String> {
    let mut stream = TcpStream::connect(behind).await?;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {behind}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let answer = message(&mut stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(String::from_utf8(answer).expect("an answer is UTF-8"))
}
