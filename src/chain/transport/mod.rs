//! The way to the chain: JSON-RPC over HTTP to one of several nodes.
//!
//! One node is asked until it fails; then the next, and it stays there. A node that failed rests, longer each time, and is
//! asked before its rest is over only when all others failed too. Before the first request after a failure a node is asked for its
//! chain: one of another chain is never used. What a node answers in error is an answer, and no reason to ask another, unless it
//! says that it is asked too much.

mod book;
mod http;
mod tls;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ethers::providers::{JsonRpcClient, JsonRpcError, ProviderError, RpcError};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};

use self::{
    book::Book,
    http::{Endpoint, Failure},
};
use super::{ChainId, Error};
use crate::base::{Mutex, limits};

/// Where the nodes are, and which chain they must be of.
#[derive(Clone)]
pub struct TransportOptions {
    /// `http` or `https`, in the order in which they are tried first. They may carry keys: they are never shown.
    pub urls: Vec<String>,
    /// What every node must be of.
    pub chain: ChainId,
    /// One request to one node, at most.
    pub attempt_timeout: Duration,
    /// One request, with all its tries.
    pub request_timeout: Duration,
    /// Certificates (DER) of authorities that are trusted beside those of the system.
    pub extra_roots: Vec<Vec<u8>>,
}

impl TransportOptions {
    /// These nodes, with the usual bounds.
    pub fn new(urls: Vec<String>, chain: ChainId) -> Self {
        Self {
            urls,
            chain,
            attempt_timeout: limits::NODE_ATTEMPT_TIMEOUT,
            request_timeout: limits::NODE_REQUEST_TIMEOUT,
            extra_roots: Vec::new(),
        }
    }
}

/// Asks nodes. Clones share what is known of them.
#[derive(Clone)]
pub struct Transport(Arc<Inner>);

struct Inner {
    options: TransportOptions,
    endpoints: Vec<Endpoint>,
    book: Mutex<Book>,
    next_id: AtomicU64,
}

impl Transport {
    /// No node is asked yet.
    pub fn new(options: TransportOptions) -> Result<Self, Error> {
        if options.urls.is_empty() || options.urls.len() > limits::NODES {
            return Err(Error::Options(format!("give 1 to {} URLs of Ethereum nodes", limits::NODES)));
        }
        let client = http::client(&options.extra_roots)?;
        let endpoint = |(index, url): (usize, &String)| Endpoint::new(&client, url, index + 1);
        let endpoints = options.urls.iter().enumerate().map(endpoint).collect::<Result<Vec<_>, _>>()?;
        let book = Mutex::new(Book::new(endpoints.len()));
        Ok(Self(Arc::new(Inner { options, endpoints, book, next_id: AtomicU64::new(1) })))
    }

    /// The chain that every node must be of.
    pub fn chain(&self) -> ChainId {
        self.0.options.chain
    }

    /// The host of the node that is asked now.
    pub fn host(&self) -> String {
        self.0.endpoints[self.0.book.lock().current()].host.clone()
    }

    /// Grows whenever another node is asked: answers with the same number are of one node.
    pub fn generation(&self) -> u64 {
        self.0.book.lock().generation()
    }

    /// Asks a node, or another when that fails, within the request's time. May be cancelled.
    async fn ask(&self, method: &str, params: &RawValue) -> Result<Box<RawValue>, TransportError> {
        let inner = &*self.0;
        let deadline = Instant::now() + inner.options.request_timeout;
        let order = inner.book.lock().order(Instant::now());
        let mut failed = Vec::new();
        for index in order {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let limit = left.min(inner.options.attempt_timeout);
            let asked = timeout(limit, inner.ask_one(index, method, params)).await;
            let host = &inner.endpoints[index].host;
            match asked.unwrap_or(Err(Failure::Way(format!("no answer within {} ms", limit.as_millis())))) {
                Ok(answer) => {
                    inner.book.lock().worked(index);
                    return Ok(answer);
                }
                Err(Failure::Node(error)) => {
                    inner.book.lock().worked(index);
                    return Err(TransportError::Node { host: host.clone(), method: method.to_owned(), error });
                }
                Err(failure) => {
                    tracing::debug!(peer = %host, op = method, %failure, "an Ethereum node failed");
                    inner.book.lock().failed(index, Instant::now());
                    failed.push((host.clone(), failure));
                }
            }
        }
        Err(TransportError::of(failed, inner.options.chain))
    }
}

impl Inner {
    async fn ask_one(&self, index: usize, method: &str, params: &RawValue) -> Result<Box<RawValue>, Failure> {
        let endpoint = &self.endpoints[index];
        let id = || self.next_id.fetch_add(1, Ordering::Relaxed);
        if !self.book.lock().is_verified(index) {
            let nothing = serde_json::value::to_raw_value(&[(); 0]).expect("an empty list is JSON");
            let answer = endpoint.exchange(id(), "eth_chainId", &nothing).await?;
            let found = serde_json::from_str::<ethers::types::U64>(answer.get());
            let found = found.map_err(|_| Failure::Lie("its chain's id is no number".to_owned()))?;
            if found.as_u64() != self.options.chain.0 {
                return Err(Failure::Chain(ChainId(found.as_u64())));
            }
            self.book.lock().verified(index);
        }
        endpoint.exchange(id(), method, params).await
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.0.endpoints.iter().map(|endpoint| &endpoint.host).collect();
        f.debug_struct("Transport").field("chain", &self.0.options.chain).field("hosts", &hosts).finish()
    }
}

#[async_trait::async_trait]
impl JsonRpcClient for Transport {
    type Error = TransportError;

    async fn request<T, R>(&self, method: &str, params: T) -> Result<R, TransportError>
    where
        T: fmt::Debug + Serialize + Send + Sync,
        R: DeserializeOwned + Send,
    {
        let mut params = serde_json::value::to_raw_value(&params).map_err(TransportError::Parameters)?;
        if params.get() == "null" {
            params = RawValue::from_string("[]".to_owned()).map_err(TransportError::Parameters)?;
        }
        let answer = self.ask(method, &params).await?;
        serde_json::from_str(answer.get()).map_err(|error| TransportError::Answer {
            host: self.host(),
            method: method.to_owned(),
            error,
        })
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// A node answered with an error.
    #[error("the node at {host} refuses {method}: {}", .error.message)]
    Node { host: String, method: String, error: JsonRpcError },
    /// The answer is not what the method gives.
    #[error("the node at {host} answers {method} with something else: {error}")]
    Answer { host: String, method: String, error: serde_json::Error },
    /// What is asked cannot be written as JSON.
    #[error("a request that is no JSON: {0}")]
    Parameters(serde_json::Error),
    /// No node answered; each with its reason.
    #[error("{0}")]
    Down(String),
    /// Some node is of another chain, and no other answered.
    #[error("the node at {host} is of chain {found}, not {expected}")]
    WrongChain { host: String, found: ChainId, expected: ChainId },
    /// Some node answered what cannot be, and no other answered.
    #[error("the node at {host} gives answers that cannot be true: {why}")]
    Lie { host: String, why: String },
    /// Some node answered with too much, and no other answered.
    #[error("the node at {host} answers with more than {limit} bytes")]
    TooLarge { host: String, limit: usize },
}

impl TransportError {
    /// What to say when every node failed: the reason that a person can do most about.
    fn of(failed: Vec<(String, Failure)>, expected: ChainId) -> Self {
        let said: Vec<String> = failed.iter().map(|(host, failure)| format!("{host}: {failure}")).collect();
        let weight = |failure: &Failure| match failure {
            Failure::Chain(_) => 3,
            Failure::Large(_) => 2,
            Failure::Lie(_) => 1,
            Failure::Way(_) | Failure::Node(_) => 0,
        };
        let telling = failed.into_iter().max_by_key(|(_, failure)| weight(failure));
        match telling {
            Some((host, Failure::Chain(found))) => Self::WrongChain { host, found, expected },
            Some((host, Failure::Large(limit))) => Self::TooLarge { host, limit },
            Some((host, Failure::Lie(why))) => Self::Lie { host, why },
            _ => Self::Down(said.join("; ")),
        }
    }
}

impl RpcError for TransportError {
    fn as_error_response(&self) -> Option<&JsonRpcError> {
        match self {
            Self::Node { error, .. } => Some(error),
            _ => None,
        }
    }

    fn as_serde_error(&self) -> Option<&serde_json::Error> {
        match self {
            Self::Answer { error, .. } | Self::Parameters(error) => Some(error),
            _ => None,
        }
    }
}

impl From<TransportError> for ProviderError {
    fn from(error: TransportError) -> Self {
        ProviderError::JsonRpcClientError(Box::new(error))
    }
}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Node { host, method, error } => {
                let message = error.message.chars().take(limits::NODE_MESSAGE_CHARS).collect();
                Error::Node { host, method, code: error.code, message }
            }
            TransportError::Answer { host, method, .. } => {
                Error::Lying { host, why: format!("{method} is answered with something else") }
            }
            TransportError::Parameters(error) => Error::Invalid(error.to_string()),
            TransportError::Down(why) => Error::NodeDown(why),
            TransportError::WrongChain { host, found, expected } => Error::WrongChain { host, found, expected },
            TransportError::Lie { host, why } => Error::Lying { host, why },
            TransportError::TooLarge { host, limit } => Error::TooLarge { host, limit },
        }
    }
}
