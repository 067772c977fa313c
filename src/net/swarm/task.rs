//! The one task that owns the swarm: takes commands, dials, keeps the list of addresses, drops strangers.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm,
    core::ConnectedPoint,
    identify, mdns,
    multiaddr::Protocol as Part,
    ping,
    swarm::{
        ConnectionId, DialError, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    behaviour::{Behaviour, BehaviourEvent},
    streams::Wish,
};
use crate::{
    base::{Mutex, PeerId, limits},
    runtime::Shutdown,
};

/// What the rest of the process asks of the swarm. Replies that nobody waits for any more are dropped.
pub(super) enum Command {
    /// A stream to this peer, dialled at these addresses if it is not connected.
    Open { peer: libp2p::PeerId, addresses: Vec<Multiaddr>, wish: Wish },
    /// Who is at this address?
    Identify { address: Multiaddr, reply: oneshot::Sender<Result<PeerId, String>> },
    /// Close everything.
    Close { reply: oneshot::Sender<()> },
}

/// What waits for a peer to be connected and known to be of this group.
enum Waiting {
    Stream(Wish),
    Identity(oneshot::Sender<Result<PeerId, String>>),
}

impl Waiting {
    fn is_given_up(&self) -> bool {
        match self {
            Waiting::Stream(wish) => wish.reply.is_closed(),
            Waiting::Identity(reply) => reply.is_closed(),
        }
    }

    fn fail(self, why: &str) {
        // A dropped receiver has given up: nobody to tell.
        match self {
            Waiting::Stream(wish) => _ = wish.reply.send(Err(why.into())),
            Waiting::Identity(reply) => _ = reply.send(Err(why.into())),
        }
    }
}

/// Where peers answered when they were dialled last.
pub(super) type Reached = Arc<Mutex<HashMap<libp2p::PeerId, Multiaddr>>>;

pub(super) struct SwarmTask {
    swarm: Swarm<Behaviour>,
    group_protocol: String,
    listening: Arc<Mutex<Vec<Multiaddr>>>,
    reached: Reached,
    /// Connected peers that identified themselves as of this group.
    members: HashSet<libp2p::PeerId>,
    waiting: HashMap<libp2p::PeerId, Vec<Waiting>>,
    /// Dials on behalf of `waiting`.
    dials: HashMap<ConnectionId, libp2p::PeerId>,
    /// Dials to addresses whose peer is not known yet.
    identifying: HashMap<ConnectionId, oneshot::Sender<Result<PeerId, String>>>,
}

impl SwarmTask {
    pub fn new(
        swarm: Swarm<Behaviour>,
        group_protocol: String,
        listening: Arc<Mutex<Vec<Multiaddr>>>,
        reached: Reached,
    ) -> Self {
        Self {
            swarm,
            group_protocol,
            listening,
            reached,
            members: HashSet::new(),
            waiting: HashMap::new(),
            dials: HashMap::new(),
            identifying: HashMap::new(),
        }
    }

    /// Runs until the shutdown, a close, or until every handle is gone.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>, shutdown: Shutdown) {
        let closed = loop {
            tokio::select! {
                biased;
                () = shutdown.started() => break None,
                command = commands.recv() => match command {
                    Some(Command::Open { peer, addresses, wish }) => self.open(peer, addresses, wish),
                    Some(Command::Identify { address, reply }) => self.identify(address, reply),
                    Some(Command::Close { reply }) => break Some(reply),
                    None => break None,
                },
                event = self.swarm.select_next_some() => self.on_event(event),
            }
        };
        drop(commands);
        self.hang_up().await;
        if let Some(reply) = closed {
            let _ = reply.send(());
        }
    }

    /// Tells the connected peers, so that they do not have to find out.
    async fn hang_up(&mut self) {
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // An error means that it is gone already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let gone = async {
            while self.swarm.network_info().num_peers() > 0 {
                let _ = self.swarm.next().await;
            }
        };
        if timeout(limits::HANG_UP_TIMEOUT, gone).await.is_err() {
            tracing::debug!("some connections did not close in time");
        }
        self.listening.lock().clear();
    }

    fn open(&mut self, peer: libp2p::PeerId, addresses: Vec<Multiaddr>, wish: Wish) {
        if self.members.contains(&peer) {
            return self.swarm.behaviour_mut().streams.open(peer, wish);
        }
        let is_dialling = self.dials.values().any(|dialled| *dialled == peer);
        self.wait(peer, Waiting::Stream(wish));
        if is_dialling || self.swarm.is_connected(&peer) {
            return;
        }
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::Always)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .build();
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => _ = self.dials.insert(connection, peer),
            Err(error) => self.fail(peer, &why(&error)),
        }
    }

    fn wait(&mut self, peer: libp2p::PeerId, waiting: Waiting) {
        let held: usize = self.waiting.values().map(Vec::len).sum();
        if held >= limits::SWARM_COMMANDS {
            self.waiting.values_mut().for_each(|held| held.retain(|waiting| !waiting.is_given_up()));
            self.waiting.retain(|_, held| !held.is_empty());
            if self.waiting.values().map(Vec::len).sum::<usize>() >= limits::SWARM_COMMANDS {
                return waiting.fail("too many connections are being opened");
            }
        }
        self.waiting.entry(peer).or_default().push(waiting);
    }

    fn identify(&mut self, address: Multiaddr, reply: oneshot::Sender<Result<PeerId, String>>) {
        self.identifying.retain(|_, reply| !reply.is_closed());
        let options = DialOpts::unknown_peer_id().address(address).build();
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => _ = self.identifying.insert(connection, reply),
            Err(error) => _ = reply.send(Err(why(&error))),
        }
    }

    fn fail(&mut self, peer: libp2p::PeerId, why: &str) {
        for waiting in self.waiting.remove(&peer).into_iter().flatten() {
            waiting.fail(why);
        }
    }

    /// A peer is connected and of this group: what waited for it goes on.
    fn release(&mut self, peer: libp2p::PeerId) {
        for waiting in self.waiting.remove(&peer).into_iter().flatten() {
            match waiting {
                Waiting::Stream(wish) => self.swarm.behaviour_mut().streams.open(peer, wish),
                Waiting::Identity(reply) => {
                    let known = PeerId::from_multihash(&peer.to_bytes());
                    let _ = reply.send(known.ok_or_else(|| "its key is not Ed25519".to_owned()));
                }
            }
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.dials.remove(&connection_id);
                if let ConnectedPoint::Dialer { address, .. } = endpoint {
                    self.note_reached(peer_id, address);
                }
                if let Some(reply) = self.identifying.remove(&connection_id) {
                    self.wait(peer_id, Waiting::Identity(reply));
                }
                if self.members.contains(&peer_id) {
                    self.release(peer_id);
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
                self.members.remove(&peer_id);
                self.fail(peer_id, "the connection closed before it was identified");
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some(reply) = self.identifying.remove(&connection_id) {
                    let _ = reply.send(Err(why(&error)));
                }
                if let Some(peer) = self.dials.remove(&connection_id)
                    && !self.swarm.is_connected(&peer)
                {
                    self.fail(peer, &why(&error));
                }
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                let mut listening = self.listening.lock();
                if !listening.contains(&address) && listening.len() < limits::ADDRESSES {
                    listening.push(address);
                }
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => self.listening.lock().retain(|held| *held != address),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                self.listening.lock().retain(|held| !addresses.contains(held));
                if let Err(error) = reason {
                    tracing::error!(%error, "stopped listening; restart to listen again");
                }
            }
            _ => {}
        }
    }

    fn note_reached(&mut self, peer: libp2p::PeerId, address: Multiaddr) {
        let mut reached = self.reached.lock();
        if reached.len() >= limits::KNOWN_CONSUMERS {
            reached.retain(|peer, _| self.swarm.is_connected(peer));
        }
        reached.insert(peer, address);
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.on_identified(peer_id, info);
            }
            BehaviourEvent::Identify(identify::Event::Error { peer_id, error, .. })
                if !self.members.contains(&peer_id) =>
            {
                self.fail(peer_id, &format!("it does not say who it is: {error}"));
            }
            BehaviourEvent::Ping(ping::Event { peer, connection, result: Err(error) })
                if !matches!(error, ping::Failure::Unsupported) =>
            {
                tracing::debug!(%peer, %error, "closed a dead connection");
                self.swarm.close_connection(connection);
            }
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.on_found(&found),
            _ => {}
        }
    }

    fn on_identified(&mut self, peer: libp2p::PeerId, info: identify::Info) {
        if info.protocol_version != self.group_protocol {
            tracing::debug!(%peer, "dropped a peer of another group");
            self.fail(peer, "it is of another group");
            // An error means that it is gone already.
            let _ = self.swarm.disconnect_peer_id(peer);
            return;
        }
        // Those that it says at first: one that goes on saying others would fill the table.
        let is_known = self.members.contains(&peer);
        let addresses = info.listen_addrs.into_iter().take(if is_known { 0 } else { limits::ADDRESSES });
        for address in addresses.filter(|address| address.len() <= limits::ADDRESS_BYTES) {
            self.swarm.behaviour_mut().kademlia.add_address(&peer, address);
        }
        if self.swarm.is_connected(&peer) {
            self.members.insert(peer);
            self.release(peer);
        }
    }

    /// mDNS itself keeps what it found and gives it to dials; here it is only kept within its bound.
    #[expect(deprecated, reason = "libp2p-mdns 0.49 has no other way to forget a peer")]
    fn on_found(&mut self, found: &[(libp2p::PeerId, Multiaddr)]) {
        let Some(mdns) = self.swarm.behaviour_mut().mdns.as_mut() else { return };
        for (peer, _) in found {
            if mdns.discovered_nodes().len() > limits::FOUND_PEERS {
                mdns.expire_node(peer);
            }
        }
    }
}

/// Why a dial failed, for people: without the repetitions of the nested errors.
fn why(error: &DialError) -> String {
    let tried = match error {
        DialError::Transport(tried) => tried,
        DialError::WrongPeerId { obtained, address } => {
            return format!("{} is {obtained}, another peer", plain(address));
        }
        other => return other.to_string(),
    };
    let reasons = tried.iter().take(4).map(|(address, error)| {
        let mut innermost: &dyn std::error::Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        format!("{}: {innermost}", plain(address))
    });
    reasons.collect::<Vec<_>>().join("; ")
}

/// An address without the peer's id.
pub(super) fn plain(address: &Multiaddr) -> Multiaddr {
    address.iter().filter(|part| !matches!(part, Part::P2p(_))).collect()
}
