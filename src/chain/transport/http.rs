//! One exchange with one node: a JSON-RPC 2.0 request over HTTP/1.1, its answer checked and bounded.

use std::{collections::BTreeMap, fmt};

use ethers::providers::JsonRpcError;
use reqwest::{Client, Response, StatusCode, Url, header, redirect};
use serde_json::value::RawValue;

use super::tls;
use crate::{
    base::limits,
    chain::{ChainId, Error},
};

/// A client that goes where it is told and nowhere else: no redirects, no proxies of the environment.
pub(super) fn client(extra_roots: &[Vec<u8>]) -> Result<Client, Error> {
    let builder = Client::builder()
        .tls_backend_preconfigured(tls::config(extra_roots)?)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(limits::CONNECT_TIMEOUT)
        .pool_max_idle_per_host(limits::NODE_IDLE_CONNECTIONS)
        .user_agent(concat!("openbucket/", env!("CARGO_PKG_VERSION")));
    builder.build().map_err(|error| Error::Options(format!("no HTTP client: {}", error.without_url())))
}

/// A node's address. Its URL may carry a key and is never shown.
pub(super) struct Endpoint {
    client: Client,
    url: Url,
    /// Host and port.
    pub host: String,
}

/// Why one node gave no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// It could not be asked, or said that it is asked too much.
    Way(String),
    /// It answered with something that is no answer.
    Lie(String),
    /// It answered with more than this many bytes.
    Large(usize),
    /// It is of another chain.
    Chain(ChainId),
    /// It answered with an error.
    Node(JsonRpcError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Way(why) | Failure::Lie(why) => f.write_str(why),
            Failure::Large(limit) => write!(f, "more than {limit} bytes"),
            Failure::Chain(found) => write!(f, "it is of chain {found}"),
            Failure::Node(error) => f.write_str(&error.message),
        }
    }
}

/// What a node answers who is asked too much (EIP-1474: limit exceeded).
const LIMIT_EXCEEDED: i64 = -32005;

impl Endpoint {
    /// `place` is told in errors instead of the URL.
    pub fn new(client: &Client, url: &str, place: usize) -> Result<Self, Error> {
        let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let host = parsed.as_ref().and_then(Url::host_str);
        let (Some(url), Some(host)) = (&parsed, host) else {
            return Err(Error::Options(format!(
                "URL number {place} of the Ethereum nodes is none: it must look like http://127.0.0.1:8545 or https://..."
            )));
        };
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Ok(Self { client: client.clone(), url: url.clone(), host })
    }

    /// The result of a request. May be cancelled; the caller bounds its time.
    pub async fn exchange(&self, id: u64, method: &str, params: &RawValue) -> Result<Box<RawValue>, Failure> {
        let method_text = serde_json::to_string(method).expect("text is JSON");
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method_text},"params":{}}}"#, params.get());
        let request = self.client.post(self.url.clone()).header(header::CONTENT_TYPE, "application/json").body(body);
        let response = request.send().await.map_err(|error| Failure::Way(explain(error)))?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_redirection() {
            return Err(Failure::Way(format!("HTTP status {status}")));
        }
        let body = read(response).await?;
        match parse(&body, id) {
            Ok(Ok(result)) if status.is_success() => Ok(result),
            // The same code says of the logs that there are too many: that is for who asked.
            Ok(Err(error)) if error.code == LIMIT_EXCEEDED && method != "eth_getLogs" => {
                Err(Failure::Way(format!("it is asked too much: {}", error.message)))
            }
            Ok(Err(error)) => Err(Failure::Node(error)),
            _ if !status.is_success() => Err(Failure::Way(format!("HTTP status {status}"))),
            Ok(Ok(_)) => Err(Failure::Lie(format!("a result with HTTP status {status}"))),
            Err(why) => Err(Failure::Lie(why)),
        }
    }
}

/// The body, piece by piece, never more than the limit.
async fn read(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| Failure::Way(explain(error)))? {
        if body.len() + piece.len() > limits::NODE_ANSWER_BYTES {
            return Err(Failure::Large(limits::NODE_ANSWER_BYTES));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// The result or the error that a body holds; Err when it is no answer to the request of this id.
fn parse(body: &[u8], id: u64) -> Result<Result<Box<RawValue>, JsonRpcError>, String> {
    let fields: BTreeMap<String, Box<RawValue>> =
        serde_json::from_slice(body).map_err(|_| "an answer that is no JSON object".to_owned())?;
    let field = |name: &str| fields.get(name).map(|value| value.get());
    if field("jsonrpc") != Some("\"2.0\"") {
        return Err("an answer that is not JSON-RPC 2.0".to_owned());
    }
    let is_ours = field("id") == Some(id.to_string().as_str());
    let error = field("error").filter(|error| *error != "null");
    match (fields.get("result"), error) {
        // A request that a node cannot read it answers without an id.
        (None, Some(error)) if is_ours || field("id") == Some("null") => {
            serde_json::from_str(error).map(Err).map_err(|_| "an error that is none".to_owned())
        }
        _ if !is_ours => Err("an answer to another request".to_owned()),
        (Some(result), None) => Ok(Ok(result.clone())),
        _ => Err("an answer with neither result nor error, or with both".to_owned()),
    }
}

/// The whole reason, without the URL.
fn explain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words.chars().take(limits::NODE_MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod answers {
    use super::*;

    #[test]
    fn answers_are_taken_and_anything_else_is_refused() {
        let ok = |body: &str| parse(body.as_bytes(), 7).unwrap().unwrap().get().to_owned();
        assert_eq!(ok(r#"{"jsonrpc":"2.0","id":7,"result":"0x1"}"#), r#""0x1""#);
        assert_eq!(ok(r#"{"id":7,"result":null,"jsonrpc":"2.0"}"#), "null");
        assert_eq!(ok(r#"{"id":7,"result":1,"jsonrpc":"2.0","error":null}"#), "1");
        let error = parse(br#"{"jsonrpc":"2.0","id":7,"error":{"code":3,"message":"no","data":"0x"}}"#, 7);
        assert_eq!(error.unwrap().unwrap_err().code, 3);
        for lie in [
            r#"{"jsonrpc":"2.0","id":8,"result":"0x1"}"#,
            r#"{"jsonrpc":"2.0","id":"7","result":"0x1"}"#,
            r#"{"jsonrpc":"2.0","id":null,"result":"0x1"}"#,
            r#"{"jsonrpc":"2.0","id":8,"error":{"code":3,"message":"no"}}"#,
            r#"{"jsonrpc":"1.0","id":7,"result":"0x1"}"#,
            r#"{"jsonrpc":"2.0","id":7}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":1,"error":{"code":3,"message":"no"}}"#,
            r#"[{"jsonrpc":"2.0","id":7,"result":1}]"#,
            "<html>",
            "",
        ] {
            assert!(parse(lie.as_bytes(), 7).is_err(), "{lie}");
        }
    }
}
