//! Requests to peers over kept streams: opens, says hello, tries again when a kept stream turns out dead.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, atomic::Ordering},
};

use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant;

use super::session::{Nothing, Session, Traffic};
use crate::{
    base::{Mutex, PeerId, limits},
    keys::{Certificate, Role},
    net::{Contact, Error, Network, Protocol, wire::Hello},
};

/// Makes the requests of one protocol.
pub(super) struct Calls {
    network: Arc<dyn Network>,
    protocol: Protocol,
    server_role: Role,
    hello: Hello,
    traffic: Arc<Traffic>,
    kept: Mutex<BTreeMap<PeerId, Vec<(Instant, Session)>>>,
}

impl Calls {
    pub fn new(network: Arc<dyn Network>, protocol: Protocol, certificate: Certificate) -> Self {
        let server_role = match protocol {
            Protocol::Shard => Role::Consumer,
            Protocol::Tracker => Role::Tracker,
        };
        let (hello, traffic, kept) = (Hello { certificate }, Arc::default(), Mutex::default());
        Self { network, protocol, server_role, hello, traffic, kept }
    }

    pub fn network(&self) -> &Arc<dyn Network> {
        &self.network
    }

    pub fn certificate(&self) -> &Certificate {
        &self.hello.certificate
    }

    pub fn bytes_sent(&self) -> u64 {
        self.traffic.sent.load(Ordering::Relaxed)
    }

    pub fn bytes_received(&self) -> u64 {
        self.traffic.received.load(Ordering::Relaxed)
    }

    /// Sends a request and receives the first message of its answer, and the stream for the rest of it.
    ///
    /// A kept stream may have been closed by the peer meanwhile. When it ends before any byte of an answer,
    /// the request is made again, once, on a fresh stream: every request may be repeated.
    pub async fn call<T: DeserializeOwned>(
        &self,
        to: &Contact,
        request: &impl Serialize,
    ) -> Result<(Session, T), Error> {
        if let Some(mut session) = self.take(to.peer) {
            match exchange(&mut session, request).await {
                Ok(answer) => return Ok((session, answer?)),
                Err(Nothing(error)) => tracing::debug!(peer = %to.peer, %error, "a kept stream had died"),
            }
        }
        let mut session = self.open(to).await?;
        match exchange(&mut session, request).await {
            Ok(answer) => Ok((session, answer?)),
            Err(Nothing(error)) => Err(error),
        }
    }

    /// Opens a stream, says hello, and keeps it for the next request, which reads the answer to that.
    pub async fn connect(&self, to: &Contact) -> Result<(), Error> {
        let mut session = self.open(to).await?;
        session.flush().await?;
        self.keep(to.peer, session);
        Ok(())
    }

    async fn open(&self, to: &Contact) -> Result<Session, Error> {
        let stream = self.network.open(to, self.protocol).await?;
        let mut session = Session::new(to.peer, stream, Arc::clone(&self.traffic), self.server_role);
        session.hello(&self.hello).await?;
        Ok(session)
    }

    fn take(&self, peer: PeerId) -> Option<Session> {
        let mut kept = self.kept.lock();
        forget_old(&mut kept);
        let streams = kept.get_mut(&peer)?;
        let session = streams.pop().map(|(_, session)| session);
        if streams.is_empty() {
            kept.remove(&peer);
        }
        session
    }

    /// Keeps a stream whose answer was read to its end.
    pub fn keep(&self, peer: PeerId, session: Session) {
        let mut kept = self.kept.lock();
        forget_old(&mut kept);
        if kept.values().map(Vec::len).sum::<usize>() >= limits::IDLE_STREAMS {
            return;
        }
        let streams = kept.entry(peer).or_default();
        if streams.len() < limits::IDLE_STREAMS_PER_PEER {
            streams.push((Instant::now(), session));
        }
    }

    /// Gives a whole request, with so many bytes of data, its deadline. After it, no kept stream to this peer is trusted any
    /// more.
    pub async fn within_deadline<T>(
        &self,
        to: PeerId,
        bytes: usize,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let timeout = limits::request_timeout(bytes);
        match tokio::time::timeout(timeout, request).await {
            Ok(result) => result,
            Err(_) => {
                self.kept.lock().remove(&to);
                Err(Error::TimedOut { to: to.to_string(), seconds: timeout.as_secs() })
            }
        }
    }
}

fn forget_old(kept: &mut BTreeMap<PeerId, Vec<(Instant, Session)>>) {
    kept.retain(|_, streams| {
        streams.retain(|(since, _)| since.elapsed() < limits::STREAM_REUSE);
        !streams.is_empty()
    });
}

async fn exchange<T: DeserializeOwned>(
    session: &mut Session,
    request: &impl Serialize,
) -> Result<Result<T, Error>, Nothing> {
    // A server that refuses a hello may close before it has read the request: its refusal is still there.
    let sent = session.send(request).await;
    match (session.receive().await, sent) {
        (Err(Nothing(_)), Err(error)) => Err(Nothing(error)),
        (answer, _) => answer,
    }
}
