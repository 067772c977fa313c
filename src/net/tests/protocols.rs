//! What must hold over any network; run over the simulated one here, and over libp2p in `real`.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::fixture::*;
use crate::{
    base::{ErrorKind, Kinded, limits},
    keys::Role,
    net::*,
};

fn kind<T>(result: Result<T, Error>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

async fn what_rots_is_not_proven(shards: &ShardClient, to: &Contact, memory: &MemoryNode) {
    let rotten = shard(40 << 10, 3);
    shards.put(to, rotten.0, rotten.1.clone()).await.unwrap();
    assert_eq!(shards.get_proven(to, rotten.0, 40 << 10, 2..4).await.unwrap(), rotten.1.slice(2048..4096));
    let reads = memory.reads.load(Ordering::Relaxed);
    assert_eq!(shards.get_proven(to, rotten.0, 40 << 10, 0..2).await.unwrap(), rotten.1.slice(..2048));
    assert_eq!(memory.reads.load(Ordering::Relaxed), reads, "the roots were kept: only the part is read");
    memory.rot(rotten.0, 30_000);
    assert_eq!(shards.get_proven(to, rotten.0, 40 << 10, 0..2).await.unwrap(), rotten.1.slice(..2048), "elsewhere");
    assert_ne!(
        shards.get(to, rotten.0, 40 << 10, 29..30).await.unwrap(),
        rotten.1.slice(29 << 10..30 << 10),
        "as it is"
    );
    assert_eq!(kind(shards.get_proven(to, rotten.0, 40 << 10, 29..30).await), Some(ErrorKind::Corrupt));
    shards.delete(to, rotten.0).await.unwrap();
}

/// Put, get, range, stat, delete, list; held twice, full, wrong hash, wrong owner, wrong role.
pub async fn shards_are_kept(client: Arc<dyn Network>, other: Arc<dyn Network>, node: Arc<dyn Network>) {
    let (tasks, to) = (tasks(), contact(&node));
    let memory = MemoryNode::new(3 << 20);
    serve_shards(&node, memory.clone(), identity(3, Role::Consumer), &tasks).unwrap();
    let shards = ShardClient::new(Arc::clone(&client), certificate(1, 1, Role::Producer));
    let (id, data) = shard(1 << 20, 7);
    let len = data.len() as u32;

    let receipt = shards.put(&to, id, data.clone()).await.unwrap();
    assert_eq!((receipt.shard, receipt.bytes, receipt.consumer), (id, len, to.peer));
    let again = shards.put(&to, id, data.clone()).await.unwrap();
    assert_eq!(again.shard, id, "held already");
    assert_eq!(whole(&shards, &to, id, len).await.unwrap(), data);
    for range in [0..1, 5..70, 1000..1024, 0..1024] {
        let expected = data.slice(range.start as usize * 1024..range.end as usize * 1024);
        assert_eq!(shards.get_proven(&to, id, len, range.clone()).await.unwrap(), expected);
        assert_eq!(shards.get(&to, id, len, range).await.unwrap(), expected);
    }
    assert_eq!(shards.stat(&to, id).await.unwrap().bytes, len);
    assert!(shards.bytes_sent() > 1 << 20 && shards.bytes_sent() < 3 << 20, "sent once: it was held");
    assert!(shards.bytes_received() > 2 << 20);
    assert!(shards.latency(to.peer).is_some());

    let short = shard(1500, 9);
    shards.put(&to, short.0, short.1.clone()).await.unwrap();
    assert_eq!(shards.get_proven(&to, short.0, 1500, 1..2).await.unwrap(), short.1.slice(1024..));
    assert_eq!(shards.get(&to, short.0, 1500, 1..2).await.unwrap(), short.1.slice(1024..));
    // A client that believes that it is longer.
    assert_eq!(kind(shards.get(&to, short.0, 4096, 1..3).await), Some(ErrorKind::Invalid));
    assert_eq!(kind(shards.get_proven(&to, short.0, 4096, 1..3).await), Some(ErrorKind::Invalid));
    let mut expected = [(id, len), (short.0, 1500)];
    expected.sort();
    let listed = shards.list(&to).await.unwrap();
    assert_eq!(listed.iter().map(|stat| (stat.shard, stat.bytes)).collect::<Vec<_>>(), expected);

    what_rots_is_not_proven(&shards, &to, &memory).await;

    let wrong = shard(4096, 1).0;
    assert_eq!(kind(shards.put(&to, wrong, shard(4096, 2).1).await), Some(ErrorKind::Corrupt));
    assert_eq!(
        kind(shards.put(&to, shard(limits::SHARD_BYTES, 2).0, shard(limits::SHARD_BYTES, 2).1).await),
        Some(ErrorKind::Full)
    );
    assert_eq!(kind(whole(&shards, &to, wrong, 4096).await), Some(ErrorKind::NotFound));

    let stranger = ShardClient::new(Arc::clone(&other), certificate(2, 2, Role::Producer));
    assert_eq!(kind(whole(&stranger, &to, id, len).await), Some(ErrorKind::NotFound));
    for range in [0..1, 0..1024] {
        assert_eq!(kind(stranger.get(&to, id, len, range).await), Some(ErrorKind::NotFound));
    }
    assert_eq!(kind(stranger.stat(&to, id).await), Some(ErrorKind::NotFound));
    assert!(stranger.list(&to).await.unwrap().is_empty());
    stranger.delete(&to, id).await.unwrap();
    assert!(shards.stat(&to, id).await.is_ok(), "another owner's delete does nothing");
    let same_owner = ShardClient::new(Arc::clone(&other), certificate(2, 1, Role::Producer));
    assert_eq!(whole(&same_owner, &to, id, len).await.unwrap(), data, "the owner is authorised, not the peer");

    for bad in [certificate(2, 1, Role::Consumer), certificate(1, 1, Role::Producer), {
        let mut forged = certificate(2, 2, Role::Producer);
        forged.owner = certificate(1, 1, Role::Producer).owner;
        forged
    }] {
        let client = ShardClient::new(Arc::clone(&other), bad);
        assert_eq!(kind(whole(&client, &to, id, len).await), Some(ErrorKind::Denied));
        assert_eq!(kind(client.get(&to, id, len, 0..1).await), Some(ErrorKind::Denied));
    }

    shards.delete(&to, id).await.unwrap();
    shards.delete(&to, id).await.unwrap();
    assert_eq!(kind(whole(&shards, &to, id, len).await), Some(ErrorKind::NotFound));
    assert_eq!(memory.shards.lock().len(), 1);
    assert!(tasks.stop(limits::CONNECT_TIMEOUT).await);
    assert_eq!(kind(shards.stat(&to, short.0).await), Some(ErrorKind::Unavailable), "nobody serves any more");
}

/// Register, beat, leave, candidates; only consumers register; a tracker that is away is passed over.
pub async fn the_tracker_answers(producer: Arc<dyn Network>, consumer: Arc<dyn Network>, tracker: Arc<dyn Network>) {
    let tasks = tasks();
    let memory = Arc::new(MemoryTracker::default());
    serve_tracker(&tracker, memory.clone(), identity(3, Role::Tracker), &tasks).unwrap();
    let away = "/ip4/127.0.0.1/tcp/9".to_owned();
    let full = format!("{}/p2p/{}", tracker.addresses()[0], tracker.local_peer());
    let addresses = [away, tracker.addresses()[0].clone(), full];
    let node = TrackerClient::new(consumer, certificate(2, 2, Role::Consumer), &addresses[..2]).unwrap();
    let same = Arc::clone(&producer);
    let owner = TrackerClient::new(producer, certificate(1, 1, Role::Producer), &addresses[..2]).unwrap();
    let registration = Registration {
        addresses: vec!["/ip4/192.0.2.7/tcp/1".into()],
        limit_bytes: 10,
        free_bytes: 9,
        version: "0".into(),
    };
    let query = CandidateQuery { count: 5, free_bytes: 1, exclude: vec![] };

    assert!(owner.candidates(&query).await.unwrap().is_empty());
    node.beat(Beat { free_bytes: 8 }, &registration).await.unwrap();
    node.beat(Beat { free_bytes: 7 }, &registration).await.unwrap();
    let found = owner.candidates(&query).await.unwrap();
    assert_eq!((found.len(), found[0].free_bytes, found[0].contact.peer), (1, 7, key(2).peer_id()));
    assert_eq!(found[0].owner, certificate(2, 2, Role::Consumer).owner);
    let excluding = CandidateQuery { exclude: vec![key(2).peer_id()], ..query.clone() };
    assert!(owner.candidates(&excluding).await.unwrap().is_empty());
    assert_eq!(owner.find(vec![key(3).peer_id(), key(2).peer_id()]).await.unwrap(), found);
    assert!(owner.find(vec![key(3).peer_id()]).await.unwrap().is_empty());
    let greedy = CandidateQuery { count: u16::MAX, ..query.clone() };
    let alone = &addresses[2..];
    let owner_alone = TrackerClient::new(same, certificate(1, 1, Role::Producer), alone).unwrap();
    assert_eq!(kind(owner_alone.candidates(&greedy).await), Some(ErrorKind::Invalid));
    let too_many = vec![key(2).peer_id(); limits::CANDIDATES + 1];
    assert_eq!(kind(owner_alone.find(too_many).await), Some(ErrorKind::Invalid));
    assert_eq!(kind(owner_alone.register(&registration).await), Some(ErrorKind::Denied));
    assert_eq!(kind(owner_alone.leave().await), Some(ErrorKind::Denied));
    node.leave().await.unwrap();
    assert!(memory.0.lock().is_empty());
    assert!(tasks.stop(limits::CONNECT_TIMEOUT).await);
}

#[tokio::test]
async fn shards_are_kept_in_a_simulation() {
    let world = world();
    let [a, b, c] = [1, 2, 3].map(|number| world.join(key(number).peer_id()) as Arc<dyn Network>);
    shards_are_kept(a, b, c).await;
}

#[tokio::test(start_paused = true)]
async fn shards_are_kept_far_away() {
    let options = SimulatedOptions {
        latency: Duration::from_millis(40),
        jitter: Duration::from_millis(20),
        ..SimulatedOptions::default()
    };
    let world = SimulatedWorld::new(Arc::new(crate::runtime::SeededChance::new(1)), options);
    let [a, b, c] = [1, 2, 3].map(|number| world.join(key(number).peer_id()) as Arc<dyn Network>);
    shards_are_kept(a, b, c).await;
}

#[tokio::test(start_paused = true)]
async fn a_simulation_is_slow_silent_and_lossy_as_told() {
    let calm = SimulatedOptions { latency: Duration::from_millis(1), ..SimulatedOptions::default() };
    let world = SimulatedWorld::new(Arc::new(crate::runtime::SeededChance::new(1)), calm);
    let (client, node) = (world.join(key(1).peer_id()), world.join(key(3).peer_id()) as Arc<dyn Network>);
    let (here, there, tasks, to) = (key(1).peer_id(), key(3).peer_id(), tasks(), contact(&node));
    serve_shards(&node, MemoryNode::new(1), identity(3, Role::Consumer), &tasks).unwrap();
    let client = ShardClient::new(client, certificate(1, 1, Role::Producer));
    let timed = || async {
        let start = tokio::time::Instant::now();
        (client.list(&to).await, start.elapsed())
    };
    let quick = timed().await;
    assert!(quick.0.is_ok() && quick.1 < Duration::from_millis(20), "{quick:?}");
    world.set_slow(there, Duration::from_secs(1));
    assert!(timed().await.1 >= Duration::from_secs(2), "there and back on the kept stream");
    world.set_slow(there, Duration::ZERO);
    world.set_silent(here, there, true);
    let heal = async {
        tokio::time::sleep(Duration::from_secs(3)).await; // virtual time
        world.set_silent(here, there, false);
    };
    let (waited, ()) = tokio::join!(timed(), heal);
    assert!(waited.0.is_ok() && waited.1 >= Duration::from_secs(3), "{waited:?}");
    world.cut_streams();
    world.set_silent(here, there, true);
    let hung = timed().await;
    assert_eq!(kind(hung.0), Some(ErrorKind::Unavailable));
    assert!(hung.1 >= limits::CONNECT_TIMEOUT && hung.1 < limits::CONNECT_TIMEOUT * 2, "{:?}", hung.1);
    world.set_silent(here, there, false);
    world.set_options(SimulatedOptions { cut_permille: 1000, ..calm });
    assert_eq!(kind(timed().await.0), Some(ErrorKind::Unavailable));
    world.set_options(calm);
    assert!(timed().await.0.is_ok());
}

#[tokio::test]
async fn the_tracker_answers_in_a_simulation() {
    let world = world();
    let [a, b, c] = [1, 2, 3].map(|number| world.join(key(number).peer_id()) as Arc<dyn Network>);
    the_tracker_answers(a, b, c).await;
}

#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let world = world();
    let (client, node) = (world.join(key(1).peer_id()), world.join(key(3).peer_id()) as Arc<dyn Network>);
    let (tasks, to, memory) = (tasks(), contact(&node), MemoryNode::new(usize::MAX));
    let certificate = certificate(1, 1, Role::Producer);
    for number in 0..10_000_u32 {
        let id = crate::base::ShardId(crate::base::sha256(&[&number.to_le_bytes()]));
        memory.shards.lock().insert((certificate.owner, id), bytes::Bytes::new());
    }
    serve_shards(&node, memory, identity(3, Role::Consumer), &tasks).unwrap();
    let listed = ShardClient::new(client, certificate).list(&to).await.unwrap();
    assert_eq!(listed.len(), 10_000);
    assert!(listed.is_sorted_by(|a, b| a.shard < b.shard));
}

#[tokio::test]
async fn a_kept_stream_that_died_is_replaced() {
    let world = world();
    let (client, node) = (world.join(key(1).peer_id()), world.join(key(3).peer_id()) as Arc<dyn Network>);
    let (tasks, to) = (tasks(), contact(&node));
    serve_shards(&node, MemoryNode::new(1 << 20), identity(3, Role::Consumer), &tasks).unwrap();
    let shards = ShardClient::new(client, certificate(1, 1, Role::Producer));
    let (id, data) = shard(2048, 1);
    shards.put(&to, id, data).await.unwrap();
    world.cut_streams();
    assert!(whole(&shards, &to, id, 2048).await.is_ok());
    world.set_up(to.peer, false);
    assert_eq!(kind(whole(&shards, &to, id, 2048).await), Some(ErrorKind::Unavailable));
    world.set_up(to.peer, true);
    assert!(whole(&shards, &to, id, 2048).await.is_ok());
    world.set_parted(to.peer, key(1).peer_id(), true);
    assert_eq!(kind(whole(&shards, &to, id, 2048).await), Some(ErrorKind::Unavailable));
}

#[tokio::test]
async fn one_peer_gets_only_its_streams() {
    let world = world();
    let (client, node) = (world.join(key(1).peer_id()), world.join(key(3).peer_id()) as Arc<dyn Network>);
    let (tasks, to) = (tasks(), contact(&node));
    serve_shards(&node, MemoryNode::new(1 << 20), identity(3, Role::Consumer), &tasks).unwrap();
    let mut held = Vec::new();
    for _ in 0..limits::STREAMS_PER_PEER {
        held.push(client.open(&to, Protocol::Shard).await.unwrap());
    }
    tokio::task::yield_now().await;
    let shards = ShardClient::new(client, certificate(1, 1, Role::Producer));
    assert_eq!(kind(shards.list(&to).await), Some(ErrorKind::Unavailable));
    drop(held);
    tokio::task::yield_now().await;
    assert!(shards.list(&to).await.is_ok());
}
