//! The libp2p behaviour that opens and accepts plain streams. What cannot be taken is dropped and logged.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use libp2p::{
    Multiaddr, Stream, StreamProtocol,
    core::{Endpoint, InboundUpgrade, OutboundUpgrade, UpgradeInfo, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
        NotifyHandler, SubstreamProtocol, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::FuturesAsyncReadCompatExt;

use crate::{
    base::{Mutex, PeerId, limits},
    net::{BoxStream, Protocol},
};

/// Who takes the streams that peers open.
#[derive(Clone, Default)]
pub(super) struct Accepting(Arc<Mutex<HashMap<Protocol, Taker>>>);

type Taker = mpsc::Sender<(PeerId, BoxStream)>;

impl Accepting {
    /// Starts to take the streams of a protocol; None when somebody does already.
    pub fn add(&self, protocol: Protocol) -> Option<mpsc::Receiver<(PeerId, BoxStream)>> {
        let mut takers = self.0.lock();
        if takers.get(&protocol).is_some_and(|taker| !taker.is_closed()) {
            return None;
        }
        let (sender, receiver) = mpsc::channel(limits::INCOMING_STREAMS);
        takers.insert(protocol, sender);
        Some(receiver)
    }

    /// Ends all, and for ever.
    pub fn clear(&self) {
        self.0.lock().clear();
    }

    fn protocols(&self) -> Vec<Protocol> {
        self.0.lock().iter().filter(|(_, taker)| !taker.is_closed()).map(|(protocol, _)| *protocol).collect()
    }

    fn take(&self, peer: Option<PeerId>, protocol: Protocol, stream: Stream) {
        let (Some(peer), Some(taker)) = (peer, self.0.lock().get(&protocol).cloned()) else { return };
        if taker.try_send((peer, Box::new(stream.compat()))).is_err() {
            tracing::warn!(%peer, protocol = protocol.name(), "dropped a stream: too many wait to be served");
        }
    }
}

/// A wish for a stream, and where it goes.
pub(super) struct Wish {
    pub protocol: Protocol,
    pub reply: oneshot::Sender<Result<BoxStream, String>>,
}

impl std::fmt::Debug for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wish").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

/// The behaviour. Wishes go to any connection of their peer.
pub(super) struct Streams {
    accepting: Accepting,
    wishes: VecDeque<(libp2p::PeerId, Wish)>,
    waker: Option<Waker>,
}

impl Streams {
    pub fn new(accepting: Accepting) -> Self {
        Self { accepting, wishes: VecDeque::new(), waker: None }
    }

    /// Opens a stream to a connected peer. The queue drains into the connections at the next poll, and
    /// takes nothing beyond its bound: then the reply is an error.
    pub fn open(&mut self, peer: libp2p::PeerId, wish: Wish) {
        if self.wishes.len() >= limits::SWARM_COMMANDS {
            // A dropped receiver has given up: nobody to tell.
            let _ = wish.reply.send(Err("too many streams are being opened".into()));
            return;
        }
        self.wishes.push_back((peer, wish));
        self.waker.take().inspect(Waker::wake_by_ref);
    }

    fn handler(&self, peer: libp2p::PeerId) -> Handler {
        let peer = PeerId::from_multihash(&peer.to_bytes());
        Handler { peer, accepting: self.accepting.clone(), wishes: VecDeque::new(), waker: None }
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: libp2p::PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: libp2p::PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: libp2p::PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        if let Some((peer_id, event)) = self.wishes.pop_front() {
            return Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::Any, event });
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The streams of one connection. Requests in negotiation are held by the connection itself.
pub(super) struct Handler {
    peer: Option<PeerId>,
    accepting: Accepting,
    wishes: VecDeque<Wish>,
    waker: Option<Waker>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Wish;
    type ToBehaviour = Infallible;
    type InboundProtocol = Upgrade;
    type OutboundProtocol = Upgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Wish;

    fn listen_protocol(&self) -> SubstreamProtocol<Upgrade> {
        SubstreamProtocol::new(Upgrade(self.accepting.protocols()), ()).with_timeout(limits::CONNECT_TIMEOUT)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Upgrade, Wish, Infallible>> {
        if let Some(wish) = self.wishes.pop_front() {
            let protocol =
                SubstreamProtocol::new(Upgrade(vec![wish.protocol]), wish).with_timeout(limits::CONNECT_TIMEOUT);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, wish: Wish) {
        // The swarm hands over one event at a time and polls in between: this queue stays short.
        self.wishes.push_back(wish);
        self.waker.take().inspect(Waker::wake_by_ref);
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Upgrade, Upgrade, (), Wish>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol), ..
            }) => {
                self.accepting.take(self.peer, protocol, stream);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: (stream, _), info }) => {
                // A dropped receiver has given up: the stream closes with it.
                let _ = info.reply.send(Ok(Box::new(stream.compat())));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, info }) => {
                let _ = info.reply.send(Err(format!("no {} stream: {error}", info.protocol.name())));
            }
            _ => {}
        }
    }
}

/// Negotiates one of these protocols and hands the stream over as it is.
pub(super) struct Upgrade(Vec<Protocol>);

/// A protocol as libp2p names it.
#[derive(Clone)]
pub(super) struct Named(Protocol, StreamProtocol);

impl AsRef<str> for Named {
    fn as_ref(&self) -> &str {
        self.1.as_ref()
    }
}

impl UpgradeInfo for Upgrade {
    type Info = Named;
    type InfoIter = Vec<Named>;

    fn protocol_info(&self) -> Vec<Named> {
        self.0.iter().map(|protocol| Named(*protocol, StreamProtocol::new(protocol.name()))).collect()
    }
}

impl InboundUpgrade<Stream> for Upgrade {
    type Output = (Stream, Protocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, info: Named) -> Self::Future {
        ready(Ok((stream, info.0)))
    }
}

impl OutboundUpgrade<Stream> for Upgrade {
    type Output = (Stream, Protocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, info: Named) -> Self::Future {
        ready(Ok((stream, info.0)))
    }
}
