//! What both servers share: the accept loop with its bounds, hello, and the loop over a stream's requests.

use std::{collections::HashMap, future::Future, io, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use tokio::{io::AsyncWriteExt, sync::Semaphore, time::timeout};

use crate::{
    base::{ErrorKind, Mutex, OwnerId, PeerId, limits},
    keys::{Certificate, PeerKey, Role},
    net::{
        BoxStream, Error, Incoming, Network, Protocol, Refusal,
        wire::{FrameError, Hello, HelloAnswer, Refused, read_frame, write_frame},
    },
    runtime::{Clock, Tasks},
};

/// Who a server is. Clones share the key.
#[derive(Clone)]
pub struct ServerIdentity {
    /// Of role consumer for shards, tracker for the directory.
    pub certificate: Certificate,
    pub peer_key: Arc<PeerKey>,
    pub clock: Arc<dyn Clock>,
}

/// A certified client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub peer: PeerId,
    pub owner: OwnerId,
    pub role: Role,
}

/// What a server does with one request.
#[async_trait]
pub(super) trait Answerer: Send + Sync + 'static {
    type Request: DeserializeOwned + Send;

    /// The roles that may speak this protocol.
    const ROLES: &'static [Role];

    fn identity(&self) -> &ServerIdentity;

    /// How long the answer to a request may take.
    fn timeout(_: &Self::Request) -> Duration {
        limits::REQUEST_TIMEOUT
    }

    /// Answers on the stream, whole. An error closes the stream.
    async fn answer(&self, stream: &mut BoxStream, client: Client, request: Self::Request) -> io::Result<()>;

    /// Answers that a request was refused.
    async fn refuse(&self, stream: &mut BoxStream, refusal: Refusal) -> io::Result<()>;
}

/// Starts to serve a protocol, until the tasks' shutdown or the network's end.
pub(super) fn serve<A: Answerer>(
    network: &dyn Network,
    protocol: Protocol,
    answerer: Arc<A>,
    tasks: Tasks,
) -> Result<(), Error> {
    assert_eq!(answerer.identity().certificate.peer, network.local_peer(), "a server shows its own certificate");
    let incoming = network.accept(protocol)?;
    tasks.clone().spawn_until_shutdown(accept_loop(incoming, protocol, answerer, tasks));
    Ok(())
}

async fn accept_loop<A: Answerer>(mut incoming: Incoming, protocol: Protocol, answerer: Arc<A>, tasks: Tasks) {
    let (all, of_peer) = (Arc::new(Semaphore::new(limits::STREAMS)), Arc::new(PerPeer::default()));
    while let Some((peer, stream)) = incoming.recv().await {
        let (Ok(permit), Some(place)) = (Arc::clone(&all).try_acquire_owned(), PerPeer::enter(&of_peer, peer)) else {
            tracing::debug!(%peer, protocol = protocol.name(), "dropped a stream: too many are open");
            continue;
        };
        let answerer = Arc::clone(&answerer);
        tasks.spawn_until_shutdown(async move {
            let _held = (permit, place);
            if let Err(error) = converse(answerer.as_ref(), peer, stream).await {
                tracing::debug!(%peer, protocol = protocol.name(), %error, "closed a stream");
            }
        });
    }
}

/// Counts the streams of each peer; peers without any take no memory.
#[derive(Default)]
struct PerPeer(Mutex<HashMap<PeerId, usize>>);

struct Place(Arc<PerPeer>, PeerId);

impl PerPeer {
    fn enter(counts: &Arc<PerPeer>, peer: PeerId) -> Option<Place> {
        let mut held = counts.0.lock();
        let count = held.entry(peer).or_default();
        if *count >= limits::STREAMS_PER_PEER {
            return None;
        }
        *count += 1;
        Some(Place(Arc::clone(counts), peer))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.0.0.lock();
        let count = held.get_mut(&self.1).expect("a place is counted while it is held");
        *count -= 1;
        if *count == 0 {
            held.remove(&self.1);
        }
    }
}

async fn converse<A: Answerer>(answerer: &A, peer: PeerId, mut stream: BoxStream) -> io::Result<()> {
    let Some(client) = within(limits::CONNECT_TIMEOUT, greet(answerer, peer, &mut stream)).await? else {
        return Ok(());
    };
    loop {
        let request: A::Request = match timeout(limits::IDLE_TIMEOUT, read_frame(&mut stream)).await {
            Ok(Ok((request, _))) => request,
            Ok(Err(FrameError::Invalid(why))) => {
                let refusal = (ErrorKind::Invalid, why.to_owned());
                within(limits::CONNECT_TIMEOUT, answerer.refuse(&mut stream, refusal)).await?;
                return within(limits::CONNECT_TIMEOUT, stream.shutdown()).await;
            }
            Ok(Err(FrameError::Broken(error))) => return Err(error),
            Ok(Err(FrameError::Ended(_))) | Err(_) => return Ok(()),
        };
        within(A::timeout(&request), answerer.answer(&mut stream, client, request)).await?;
    }
}

async fn within<T>(limit: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match timeout(limit, step).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Exchanges certificates. None when the client was refused, and told so.
async fn greet<A: Answerer>(answerer: &A, peer: PeerId, stream: &mut BoxStream) -> io::Result<Option<Client>> {
    let refusal = match read_frame::<Hello>(stream).await {
        Ok((hello, _)) => match hello.check(peer, A::ROLES) {
            Ok(()) => {
                let own = Hello { certificate: answerer.identity().certificate.clone() };
                // Not flushed: it goes out with the first answer.
                write_frame(stream, &HelloAnswer::Hello(own)).await?;
                let Certificate { owner, role, .. } = hello.certificate;
                return Ok(Some(Client { peer, owner, role }));
            }
            Err(why) => (ErrorKind::Denied, why),
        },
        Err(FrameError::Invalid(why)) => (ErrorKind::Invalid, why.to_owned()),
        Err(FrameError::Ended(error) | FrameError::Broken(error)) => return Err(error),
    };
    write_frame(stream, &HelloAnswer::Refused(Refused::from(refusal))).await?;
    stream.shutdown().await?;
    Ok(None)
}
