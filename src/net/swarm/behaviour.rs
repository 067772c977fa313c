//! What the swarm does beside streams: identify, ping, mDNS, Kademlia, and limits on connections.

use std::{num::NonZeroUsize, time::Duration};

use libp2p::{
    StreamProtocol, Swarm, SwarmBuilder,
    connection_limits::{self, ConnectionLimits},
    identify,
    identity::Keypair,
    kad::{self, store::MemoryStore},
    mdns, noise, ping,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, yamux,
};

use super::{
    Libp2pOptions,
    streams::{Accepting, Streams},
    tls::Tls,
};
use crate::{base::limits, net::Error};

/// A connection that is dead without a word is found so after some of these: until then no other is made to its peer.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub mdns: Toggle<mdns::tokio::Behaviour>,
    pub kademlia: kad::Behaviour<MemoryStore>,
    pub streams: Streams,
}

/// What peers of this group say in identify.
pub(super) fn group_protocol(group: &str) -> String {
    format!("/openbucket/{group}/1")
}

pub(super) fn build(options: &Libp2pOptions, accepting: Accepting) -> Result<Swarm<Behaviour>, Error> {
    let local = |what: &str, error: &dyn std::fmt::Display| Error::Local(format!("cannot start {what}: {error}"));
    let mut seed = options.peer_key.seed();
    let keypair = Keypair::ed25519_from_bytes(seed.as_mut_slice()).map_err(|error| local("the swarm", &error))?;
    let behaviour = behaviour(options, &keypair, accepting)?;
    let swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), (Tls::new, noise::Config::new), yamux::Config::default)
        .map_err(|error| local("the TCP transport", &error))?
        .with_quic()
        .with_behaviour(|_| behaviour)
        .map_err(|error| local("the swarm", &error))?
        .with_swarm_config(|config| {
            config
                .with_idle_connection_timeout(limits::CONNECTION_IDLE)
                .with_max_negotiating_inbound_streams(limits::INCOMING_STREAMS)
        })
        .build();
    Ok(swarm)
}

fn behaviour(options: &Libp2pOptions, keypair: &Keypair, accepting: Accepting) -> Result<Behaviour, Error> {
    let peer = keypair.public().to_peer_id();
    let connection_limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(limits::PENDING_CONNECTIONS))
        .with_max_pending_outgoing(Some(limits::PENDING_CONNECTIONS))
        .with_max_established(Some(limits::CONNECTIONS))
        .with_max_established_per_peer(Some(limits::CONNECTIONS_PER_PEER));
    let identify = identify::Config::new(group_protocol(&options.group), keypair.public())
        .with_agent_version(concat!("openbucket/", env!("CARGO_PKG_VERSION")).into())
        .with_cache_size(limits::FOUND_PEERS);
    let mdns = options.enable_mdns.then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), peer));
    let mdns = mdns.transpose().map_err(|error| {
        Error::Local(format!("cannot start mDNS: {error}; switch it off if this machine has no multicast"))
    })?;
    Ok(Behaviour {
        limits: connection_limits::Behaviour::new(connection_limits),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT)),
        mdns: mdns.into(),
        kademlia: kademlia(options, peer)?,
        streams: Streams::new(accepting),
    })
}

/// Only the routing table is used: it finds peers' addresses. No record of others is kept.
fn kademlia(options: &Libp2pOptions, peer: libp2p::PeerId) -> Result<kad::Behaviour<MemoryStore>, Error> {
    let name = format!("/openbucket/{}/kad/1", options.group);
    let name = StreamProtocol::try_from_owned(name).map_err(|error| Error::Local(error.to_string()))?;
    let mut config = kad::Config::new(name);
    config
        .set_query_timeout(limits::REQUEST_TIMEOUT)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_parallelism(NonZeroUsize::new(3).expect("not zero"));
    let mut kademlia = kad::Behaviour::with_config(peer, MemoryStore::new(peer), config);
    let mode = if options.listen.is_empty() { kad::Mode::Client } else { kad::Mode::Server };
    kademlia.set_mode(Some(mode));
    Ok(kademlia)
}
