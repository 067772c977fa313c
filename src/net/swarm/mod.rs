//! The real network: libp2p over TCP (TLS or noise, and yamux) and QUIC, owned by one task.
//!
//! `streams` opens and accepts plain streams, `tls` secures TCP, `behaviour` puts the swarm together, `task` runs it, and
//! [`Libp2pNetwork`] is the handle that the rest of the process holds.

mod behaviour;
mod bursts;
mod streams;
mod task;
mod tls;

use std::{future::Future, sync::Arc};

use async_trait::async_trait;
use futures::StreamExt;
use libp2p::{Multiaddr, Swarm, multiaddr::Protocol as Part, swarm::SwarmEvent};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use self::{
    behaviour::{Behaviour, build, group_protocol},
    streams::{Accepting, Wish},
    task::{Command, Reached, SwarmTask, plain},
};
use super::{BoxStream, Contact, Error, Incoming, Network, Protocol, parse_address};
use crate::{
    base::{Mutex, PeerId, limits},
    keys::PeerKey,
    runtime::Tasks,
};

/// How a process takes part in the network.
#[derive(Clone)]
pub struct Libp2pOptions {
    pub peer_key: Arc<PeerKey>,
    /// Where to listen, as [`parse_address`] reads it; `0.0.0.0` is every interface, port 0 a free one.
    /// None: this process only connects to others.
    pub listen: Vec<String>,
    /// Peers of other groups are dropped. Letters, digits and `-`.
    pub group: String,
    /// Whether to look for peers in the local network.
    pub enable_mdns: bool,
}

/// The libp2p swarm of this process. Ends with the tasks' shutdown or [`Network::close`].
pub struct Libp2pNetwork {
    peer: PeerId,
    commands: mpsc::Sender<Command>,
    accepting: Accepting,
    listening: Arc<Mutex<Vec<Multiaddr>>>,
    reached: Reached,
}

impl Libp2pNetwork {
    /// Starts the swarm; when it returns, it listens.
    ///
    /// # Errors
    /// [`Error::Address`]; [`Error::Local`] when it cannot listen (the port is in use) or start.
    pub async fn start(options: Libp2pOptions, tasks: &Tasks) -> Result<Arc<Self>, Error> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if options.group.is_empty() || options.group.len() > limits::GROUP_BYTES || !options.group.chars().all(is_name)
        {
            let most = limits::GROUP_BYTES;
            return Err(Error::Local(format!("a group name has 1 to {most} letters, digits and '-'")));
        }
        let accepting = Accepting::default();
        let mut swarm = build(&options, accepting.clone())?;
        let listening = listen(&mut swarm, &options.listen).await?;
        let listening = Arc::new(Mutex::new(listening));
        let (commands, received) = mpsc::channel(limits::SWARM_COMMANDS);
        let reached = Reached::default();
        let task = SwarmTask::new(swarm, group_protocol(&options.group), Arc::clone(&listening), Arc::clone(&reached));
        let (shutdown, ending) = (tasks.shutdown().clone(), accepting.clone());
        tasks.spawn(async move {
            task.run(received, shutdown).await;
            ending.clear();
        });
        Ok(Arc::new(Self { peer: options.peer_key.peer_id(), commands, accepting, listening, reached }))
    }

    async fn command<T>(&self, command: Command, reply: oneshot::Receiver<T>) -> Result<T, Error> {
        self.commands.send(command).await.map_err(|_| Error::Closed)?;
        reply.await.map_err(|_| match self.commands.is_closed() {
            true => Error::Closed,
            false => Error::Unreachable { to: "the peer".into(), why: "the connection closed".into() },
        })
    }

    async fn try_open(&self, to: &Contact, protocol: Protocol) -> Result<BoxStream, Error> {
        let id = id(to.peer);
        let mut addresses = Vec::new();
        for address in to.addresses.iter().take(limits::ADDRESSES) {
            match resolve(address).await {
                Ok(resolved) => addresses.extend(resolved),
                Err(error) => tracing::debug!(peer = %to.peer, %error, "an address is of no use"),
            }
        }
        addresses.truncate(limits::ADDRESSES);
        // A connection may turn out dead only when it is used: then a second attempt makes a new one.
        for _ in 0..2 {
            let (reply, answer) = oneshot::channel();
            let (wish, addresses) = (Wish { protocol, reply }, addresses.clone());
            let command = Command::Open { peer: id, addresses, wish };
            self.commands.send(command).await.map_err(|_| Error::Closed)?;
            match answer.await {
                Ok(opened) => return opened.map_err(|why| Error::Unreachable { to: to.peer.to_string(), why }),
                Err(_) if self.commands.is_closed() => return Err(Error::Closed),
                Err(_) => tracing::debug!(peer = %to.peer, "the connection closed while a stream was opened"),
            }
        }
        Err(Error::Unreachable { to: to.peer.to_string(), why: "the connection closed".into() })
    }
}

#[async_trait]
impl Network for Libp2pNetwork {
    fn local_peer(&self) -> PeerId {
        self.peer
    }

    fn addresses(&self) -> Vec<String> {
        let listening = self.listening.lock();
        let is_loopback = |address: &&Multiaddr| {
            address.iter().any(|part| match part {
                Part::Ip4(ip) => ip.is_loopback(),
                Part::Ip6(ip) => ip.is_loopback(),
                _ => false,
            })
        };
        // Nobody else can use a loopback address: it is told only when there is no other.
        let (loopback, outer): (Vec<_>, Vec<_>) = listening.iter().partition(is_loopback);
        let told = if outer.is_empty() { loopback } else { outer };
        told.into_iter().map(Multiaddr::to_string).collect()
    }

    async fn identify(&self, address: &str) -> Result<PeerId, Error> {
        let asking = async {
            let mut last = Error::Unreachable { to: address.into(), why: "the name has no address".into() };
            for resolved in resolve(address).await?.into_iter().take(limits::ADDRESSES) {
                let (reply, answer) = oneshot::channel();
                match self.command(Command::Identify { address: resolved, reply }, answer).await? {
                    Ok(peer) => return Ok(peer),
                    Err(why) => last = Error::Unreachable { to: address.into(), why },
                }
            }
            Err(last)
        };
        within_connect_timeout(address, asking).await
    }

    async fn open(&self, to: &Contact, protocol: Protocol) -> Result<BoxStream, Error> {
        if to.peer == self.peer {
            return Err(Error::Unreachable { to: to.peer.to_string(), why: "that is this process itself".into() });
        }
        within_connect_timeout(&to.peer.to_string(), self.try_open(to, protocol)).await
    }

    fn reached_at(&self, peer: PeerId) -> Option<String> {
        let address = self.reached.lock().get(&id(peer)).map(plain);
        address.map(|address| address.to_string())
    }

    fn accept(&self, protocol: Protocol) -> Result<Incoming, Error> {
        if self.commands.is_closed() {
            return Err(Error::Closed);
        }
        self.accepting.add(protocol).ok_or_else(|| Error::Local(format!("{} is served already", protocol.name())))
    }

    async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        // An error means that it is closed already. The task bounds the time it takes.
        if self.command(Command::Close { reply }, closed).await.is_err() {
            tracing::debug!("the network was closed already");
        }
    }
}

fn id(peer: PeerId) -> libp2p::PeerId {
    libp2p::PeerId::from_bytes(&peer.to_multihash()).expect("an Ed25519 key is a libp2p peer id")
}

async fn within_connect_timeout<T>(to: &str, connecting: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match timeout(limits::CONNECT_TIMEOUT, connecting).await {
        Ok(result) => result,
        Err(_) => Err(Error::TimedOut { to: to.into(), seconds: limits::CONNECT_TIMEOUT.as_secs() }),
    }
}

/// The numeric forms of an address: names are looked up as the machine does for every program.
async fn resolve(address: &str) -> Result<Vec<Multiaddr>, Error> {
    let bad = || Error::Address(address.chars().take(limits::ADDRESS_BYTES).collect());
    let parsed: Multiaddr = address.parse().map_err(|_| bad())?;
    let (host, wants_v4, wants_v6) = match parsed.iter().next() {
        Some(Part::Dns(host)) => (host.into_owned(), true, true),
        Some(Part::Dns4(host)) => (host.into_owned(), true, false),
        Some(Part::Dns6(host)) => (host.into_owned(), false, true),
        _ => return Ok(vec![parsed]),
    };
    let found = tokio::net::lookup_host((host.as_str(), 0)).await;
    let found = found.map_err(|error| Error::Unreachable { to: host.clone(), why: error.to_string() })?;
    let rest: Multiaddr = parsed.iter().skip(1).collect();
    let wanted = found.map(|socket| socket.ip()).filter(|ip| if ip.is_ipv4() { wants_v4 } else { wants_v6 });
    Ok(wanted.map(|ip| Multiaddr::from(ip).into_iter().chain(rest.iter()).collect()).collect())
}

/// Listens at every address and waits until it does; the addresses it got.
async fn listen(swarm: &mut Swarm<Behaviour>, wanted: &[String]) -> Result<Vec<Multiaddr>, Error> {
    let fail = |text: &str, error: &dyn std::fmt::Display| {
        Error::Local(format!("cannot listen at {text}: {error}; choose another address or stop who uses it"))
    };
    let mut waiting = Vec::new();
    for text in wanted {
        for address in resolve(&parse_address(text)?.0).await? {
            check_free(&address).map_err(|error| fail(text, &error))?;
            let listener = swarm.listen_on(address).map_err(|error| fail(text, &innermost(&error)))?;
            waiting.push((listener, text));
        }
    }
    let mut listening: Vec<Multiaddr> = Vec::new();
    while !waiting.is_empty() {
        let event = timeout(limits::CONNECT_TIMEOUT, swarm.select_next_some()).await;
        match event.map_err(|_| fail(waiting[0].1, &"nothing happened"))? {
            SwarmEvent::NewListenAddr { listener_id, address } => {
                waiting.retain(|(listener, _)| *listener != listener_id);
                listening.push(address);
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                let text = waiting.iter().find(|(listener, _)| *listener == listener_id).map_or("", |(_, text)| text);
                return Err(match reason {
                    Ok(()) => fail(text, &"it closed"),
                    Err(error) => fail(text, &error),
                });
            }
            SwarmEvent::ListenerError { error, .. } => tracing::debug!(%error, "a listener had an error"),
            _ => {}
        }
    }
    Ok(listening)
}

/// Fails when another process listens on the same TCP port: libp2p shares ports (SO_REUSEPORT) and would
/// silently take half of the other one's connections.
fn check_free(address: &Multiaddr) -> std::io::Result<()> {
    let mut parts = address.iter();
    let ip: std::net::IpAddr = match parts.next() {
        Some(Part::Ip4(ip)) => ip.into(),
        Some(Part::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Part::Tcp(port)) if port != 0 => std::net::TcpListener::bind((ip, port)).map(drop),
        _ => Ok(()),
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
