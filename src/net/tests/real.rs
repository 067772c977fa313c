//! Real libp2p swarms on loopback, in one process.

use std::sync::Arc;

use futures::StreamExt;
use libp2p::{
    Swarm, SwarmBuilder, identify,
    identity::Keypair,
    noise,
    swarm::{SwarmEvent, dial_opts::DialOpts},
    tcp, tls, yamux,
};

use super::{fixture::*, protocols};
use crate::{
    base::{ErrorKind, Kinded, limits},
    keys::Role,
    net::*,
    runtime::Tasks,
};

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

async fn start(number: u8, listen: &[&str], group: &str, tasks: &Tasks) -> Result<Arc<dyn Network>, Error> {
    let listen = listen.iter().map(|text| (*text).to_owned()).collect();
    let options = Libp2pOptions { peer_key: Arc::new(key(number)), listen, group: group.into(), enable_mdns: false };
    Ok(Libp2pNetwork::start(options, tasks).await? as Arc<dyn Network>)
}

async fn three(listen: &str, tasks: &Tasks) -> [Arc<dyn Network>; 3] {
    let [a, b] = [1, 2].map(|number| start(number, &[], "test", tasks));
    [a.await.unwrap(), b.await.unwrap(), start(3, &[listen], "test", tasks).await.unwrap()]
}

#[tokio::test]
async fn shards_are_kept_over_tcp() {
    let tasks = tasks();
    let [a, b, c] = three(TCP, &tasks).await;
    protocols::shards_are_kept(a, b, c).await;
    assert!(tasks.stop(limits::CONNECT_TIMEOUT).await);
}

#[tokio::test]
async fn shards_are_kept_over_quic() {
    let tasks = tasks();
    let [a, b, c] = three(QUIC, &tasks).await;
    protocols::shards_are_kept(a, b, c).await;
    assert!(tasks.stop(limits::CONNECT_TIMEOUT).await);
}

#[tokio::test]
async fn the_tracker_answers_over_tcp() {
    let tasks = tasks();
    let [a, b, c] = three("127.0.0.1:0", &tasks).await;
    protocols::the_tracker_answers(a, b, c).await;
    assert!(tasks.stop(limits::CONNECT_TIMEOUT).await);
}

/// A peer of another make is reached, and reaches this one, in time.
async fn meets(stranger: Swarm<identify::Behaviour>) {
    tokio::time::timeout(limits::CONNECT_TIMEOUT * 3, meets_at_last(stranger)).await.unwrap();
}

async fn meets_at_last(mut stranger: Swarm<identify::Behaviour>) {
    let tasks = tasks();
    let network = start(3, &[TCP], "test", &tasks).await.unwrap();
    let here = network.addresses()[0].parse().unwrap();
    stranger.dial(DialOpts::unknown_peer_id().address(here).build()).unwrap();
    let reached = async {
        loop {
            match stranger.select_next_some().await {
                SwarmEvent::Behaviour(identify::Event::Received { peer_id, .. }) => break peer_id.to_bytes(),
                SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    };
    assert_eq!(reached.await, key(3).peer_id().to_multihash());
    stranger.listen_on(TCP.parse().unwrap()).unwrap();
    let there = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = stranger.select_next_some().await {
            break address.to_string();
        }
    };
    let id = stranger.local_peer_id().to_bytes();
    // Another network, so that it has to connect.
    let other = start(4, &[], "test", &tasks).await.unwrap();
    let found = tokio::select! {
        found = other.identify(&there) => found.unwrap(),
        () = async { loop { stranger.select_next_some().await; } } => unreachable!("it goes on for ever"),
    };
    assert_eq!(found.to_multihash().to_vec(), id);
    assert!(tasks.stop(limits::CONNECT_TIMEOUT).await);
}

#[tokio::test]
async fn peers_that_secure_tcp_in_one_way_alone_are_met() {
    let describe =
        |key: &Keypair| identify::Behaviour::new(identify::Config::new("/openbucket/test/1".to_owned(), key.public()));
    let [first, second] = [(); 2].map(|()| SwarmBuilder::with_new_identity().with_tokio());
    let noise = first.with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default).unwrap();
    meets(noise.with_behaviour(describe).unwrap().build()).await;
    let tls = second.with_tcp(tcp::Config::default(), tls::Config::new, yamux::Config::default).unwrap();
    meets(tls.with_behaviour(describe).unwrap().build()).await;
}

#[tokio::test]
async fn many_streams_open_at_once() {
    let tasks = tasks();
    let [a, _, c] = three(TCP, &tasks).await;
    serve_shards(&c, MemoryNode::new(1 << 30), identity(3, Role::Consumer), &tasks).unwrap();
    let (client, to) = (ShardClient::new(a, certificate(1, 1, Role::Producer)), contact(&c));
    let puts = (0..48).map(|seed| {
        let (id, data) = shard(64 << 10, seed);
        client.put(&to, id, data)
    });
    for put in futures::future::join_all(puts).await {
        put.unwrap();
    }
    assert!(tasks.stop(limits::CONNECT_TIMEOUT).await);
}

#[tokio::test]
async fn another_group_is_kept_out() {
    let tasks = tasks();
    let inside = start(3, &[TCP], "inside", &tasks).await.unwrap();
    let outside = start(1, &[], "outside", &tasks).await.unwrap();
    serve_shards(&inside, MemoryNode::new(0), identity(3, Role::Consumer), &tasks).unwrap();
    let refused = outside.open(&contact(&inside), Protocol::Shard).await;
    assert!(matches!(refused, Err(Error::Unreachable { .. })));
    let unknown = outside.identify(&inside.addresses()[0]).await;
    assert!(matches!(unknown, Err(Error::Unreachable { .. })), "{unknown:?}");
    assert!(tasks.stop(limits::CONNECT_TIMEOUT).await);
}

#[tokio::test]
async fn bad_places_are_named() {
    let tasks = tasks();
    let network = start(3, &[TCP], "test", &tasks).await.unwrap();
    let taken = network.addresses()[0].clone();
    let error = start(4, &[&taken], "test", &tasks).await.err().unwrap();
    assert!(error.to_string().contains(&taken) && error.to_string().contains("in use"), "{error}");
    assert!(matches!(start(4, &["nonsense"], "test", &tasks).await, Err(Error::Address(_))));
    assert!(matches!(start(4, &[TCP], "a b", &tasks).await, Err(Error::Local(_))));

    let nobody = Contact { peer: key(9).peer_id(), addresses: vec!["/ip4/127.0.0.1/tcp/9".into()] };
    let error = network.open(&nobody, Protocol::Shard).await.err().unwrap();
    assert!(error.to_string().contains("refused"), "{error}");
    let nowhere = Contact { peer: key(9).peer_id(), addresses: vec![] };
    assert!(matches!(network.open(&nowhere, Protocol::Shard).await, Err(Error::Unreachable { .. })));
    let other = start(1, &[TCP], "test", &tasks).await.unwrap();
    let impostor = Contact { peer: key(9).peer_id(), addresses: other.addresses() };
    assert!(matches!(network.open(&impostor, Protocol::Shard).await, Err(Error::Unreachable { .. })));
    let unserved = network.open(&contact(&other), Protocol::Shard).await;
    assert!(matches!(unserved, Err(Error::Unreachable { .. })));
    assert_eq!(network.identify(&other.addresses()[0]).await.unwrap(), key(1).peer_id());

    network.close().await;
    assert!(matches!(network.accept(Protocol::Shard), Err(Error::Closed)));
    assert!(matches!(network.open(&contact(&other), Protocol::Shard).await, Err(Error::Closed)));
    assert!(tasks.stop(limits::CONNECT_TIMEOUT).await);
}

#[tokio::test]
async fn a_restarted_consumer_is_found_again() {
    let tasks = tasks();
    let client = start(1, &[], "test", &tasks).await.unwrap();
    let node = start(3, &[TCP], "test", &tasks).await.unwrap();
    let (to, memory) = (contact(&node), MemoryNode::new(1 << 20));
    serve_shards(&node, memory.clone(), identity(3, Role::Consumer), &tasks).unwrap();
    let shards = ShardClient::new(client, certificate(1, 1, Role::Producer));
    let (id, data) = shard(4096, 3);
    shards.put(&to, id, data.clone()).await.unwrap();
    node.close().await;
    drop(node);
    let error = whole(&shards, &to, id, 4096).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let node = start(3, &[&to.addresses[0]], "test", &tasks).await.unwrap();
    serve_shards(&node, memory, identity(3, Role::Consumer), &tasks).unwrap();
    assert_eq!(whole(&shards, &to, id, 4096).await.unwrap(), data);
    assert!(tasks.stop(limits::CONNECT_TIMEOUT).await);
}

#[tokio::test]
async fn every_interface_is_named() {
    let tasks = tasks();
    let node = start(3, &["0.0.0.0:0"], "test", &tasks).await.unwrap();
    let addresses = node.addresses();
    assert!(!addresses.is_empty() && addresses.iter().all(|address| !address.contains("0.0.0.0")), "{addresses:?}");
    let client = start(1, &[], "test", &tasks).await.unwrap();
    assert_eq!(client.identify(&addresses[0]).await.unwrap(), node.local_peer());
    assert!(tasks.stop(limits::CONNECT_TIMEOUT).await);
}

#[tokio::test]
async fn names_are_looked_up() {
    let tasks = tasks();
    let node = start(3, &[TCP], "test", &tasks).await.unwrap();
    let client = start(1, &[], "test", &tasks).await.unwrap();
    let port = node.addresses()[0].rsplit('/').next().unwrap().to_owned();
    let (address, _) = parse_address(&format!("localhost:{port}")).unwrap();
    assert_eq!(client.identify(&address).await.unwrap(), node.local_peer());
    assert!(tasks.stop(limits::CONNECT_TIMEOUT).await);
}
