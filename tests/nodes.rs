//! Consumers and a tracker together, over a simulated network and real directories.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use openbucket::{
    base::{ErrorKind, Kinded, PeerId, ShardId},
    coding::merkle,
    consumer::{Consumer, ConsumerOptions, ConsumerParts, ConsumerStatus},
    keys::{Certificate, OwnerKey, PeerKey, Role},
    net::{
        Candidate, CandidateQuery, Contact, Error, Network, ServerIdentity, ShardClient, SimulatedOptions,
        SimulatedWorld, TrackerClient,
    },
    runtime::{SeededChance, Shutdown, SystemClock, Tasks, read_status},
    store::{RealDisk, StateLock},
    tracker::{Tracker, TrackerOptions, TrackerParts},
};

const LIMIT: u64 = 64 << 20;

struct Stage {
    world: SimulatedWorld,
    chance: Arc<SeededChance>,
    directory: tempfile::TempDir,
}

/// One process: its network, its keys, its tasks.
struct Process {
    network: Arc<dyn Network>,
    identity: ServerIdentity,
    tasks: Tasks,
}

impl Stage {
    fn new() -> Self {
        let chance = Arc::new(SeededChance::new(3));
        let world = SimulatedWorld::new(chance.clone(), SimulatedOptions::default());
        Self { world, chance, directory: tempfile::tempdir().expect("a directory") }
    }

    fn certificate(&self, number: u8, owner: u8, role: Role) -> (Certificate, PeerKey) {
        let key = PeerKey::from_seed([number; 32]);
        (OwnerKey::from_seed(&[owner; 32]).certify(key.peer_id(), role, openbucket::base::UnixMillis(1)), key)
    }

    fn process(&self, number: u8, owner: u8, role: Role) -> Process {
        let (certificate, key) = self.certificate(number, owner, role);
        let network: Arc<dyn Network> = self.world.join(key.peer_id());
        let identity = ServerIdentity { certificate, peer_key: Arc::new(key), clock: Arc::new(SystemClock) };
        Process { network, identity, tasks: Tasks::new(Shutdown::new()) }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    async fn tracker(&self) -> (Tracker, Arc<dyn Network>) {
        let Process { network, identity, tasks } = self.process(1, 1, Role::Tracker);
        let directory = self.path("tracker");
        let lock = StateLock::acquire(&directory, "tracker").expect("free");
        let parts = TrackerParts { lock, network: network.clone(), identity, chance: self.chance.clone(), tasks };
        (Tracker::start(TrackerOptions { directory }, parts).await.expect("starts"), network)
    }

    async fn consumer(&self, number: u8, tracker: &str) -> (Consumer, Arc<dyn Network>) {
        let Process { network, identity, tasks } = self.process(number, number, Role::Consumer);
        let directory = self.path(&format!("consumer-{number}"));
        let lock = StateLock::acquire(&directory, "consumer").expect("free");
        let disk = Arc::new(RealDisk::new(&directory).expect("a disk"));
        let (chance, networks) = (self.chance.clone(), network.clone());
        let parts = ConsumerParts { lock, disk, network: networks, identity, chance, tasks };
        let options = ConsumerOptions { directory, limit_bytes: LIMIT, trackers: vec![tracker.into()] };
        (Consumer::start(options, parts).await.expect("starts"), network)
    }

    fn producer(&self, number: u8, tracker: &str) -> (ShardClient, TrackerClient) {
        let Process { network, identity, .. } = self.process(number, number, Role::Producer);
        let shards = ShardClient::new(network.clone(), identity.certificate.clone());
        let trackers = TrackerClient::new(network, identity.certificate, &[tracker.into()]).expect("an address");
        (shards, trackers)
    }
}

fn address(network: &Arc<dyn Network>) -> String {
    network.addresses()[0].clone()
}

/// A whole shard, verified.
async fn whole(client: &ShardClient, from: &Contact, shard: ShardId, length: u32) -> Result<Bytes, Error> {
    client.get_proven(from, shard, length, 0..merkle::leaf_count(length as usize)).await
}

fn contact(network: &Arc<dyn Network>) -> Contact {
    Contact { peer: network.local_peer(), addresses: network.addresses() }
}

/// Asks until so many are offered.
async fn offered(trackers: &TrackerClient, count: usize) -> Vec<Candidate> {
    let query = CandidateQuery { count: 50, free_bytes: 1 << 20, exclude: Vec::new() };
    for _ in 0..500 {
        match trackers.candidates(&query).await {
            Ok(list) if list.len() == count => return list,
            _ => tokio::time::sleep(Duration::from_millis(20)).await, // between two looks, bounded
        }
    }
    panic!("never {count} candidates: {:?}", trackers.candidates(&query).await);
}

async fn status_of(directory: &Path) -> ConsumerStatus {
    serde_json::from_value(read_status(directory).await.expect("answers")).expect("a status")
}

fn shard(fill: u8, bytes: usize) -> (ShardId, Bytes) {
    let data = Bytes::from(vec![fill; bytes]);
    (merkle::root(&data), data)
}

#[tokio::test]
async fn consumers_are_offered_keep_shards_and_say_goodbye() {
    let stage = Stage::new();
    let (tracker, tracker_network) = stage.tracker().await;
    let tracker_address = address(&tracker_network);
    let (first, first_network) = stage.consumer(2, &tracker_address).await;
    let (second, _) = stage.consumer(3, &tracker_address).await;
    let (shards, trackers) = stage.producer(9, &tracker_address);
    let list = offered(&trackers, 2).await;
    assert!(list.iter().all(|candidate| candidate.is_online && candidate.free_bytes <= LIMIT));
    let (id, data) = shard(7, 100_000);
    let to = contact(&first_network);
    let receipt = shards.put(&to, id, data.clone()).await.expect("a receipt");
    assert_eq!((receipt.consumer, receipt.bytes), (to.peer, 100_000));
    shards.put(&to, id, data.clone()).await.expect("held already");
    let status = status_of(&stage.path("consumer-2")).await;
    assert_eq!((status.shards, status.bytes_in, status.trackers[0].is_reachable), (1, 100_000, true));
    assert!(status.used_bytes > 100_000 && status.free_bytes < LIMIT - 100_000);

    let (strangers, _) = stage.producer(8, &tracker_address);
    let denied = whole(&strangers, &to, id, 100_000).await.expect_err("not theirs");
    assert_eq!(denied.kind(), ErrorKind::NotFound);
    assert_eq!(whole(&shards, &to, id, 100_000).await.expect("ours"), data);
    assert_eq!(shards.get_proven(&to, id, 100_000, 3..5).await.expect("leaves"), data.slice(3072..5120));
    assert_eq!(shards.list(&to).await.expect("lists").len(), 1);
    shards.delete(&to, id).await.expect("deleted");
    assert_eq!(shards.stat(&to, id).await.expect_err("gone").kind(), ErrorKind::NotFound);

    second.stop().await;
    offered(&trackers, 1).await;
    first.stop().await;
    offered(&trackers, 0).await;
    let all = CandidateQuery { count: 0, free_bytes: 0, exclude: Vec::new() };
    assert_eq!(trackers.candidates(&all).await.expect("known").len(), 2);
    tracker.stop().await.expect("flushed");
}

#[tokio::test]
async fn restarts_keep_shards_and_registrations() {
    let stage = Stage::new();
    let (tracker, network) = stage.tracker().await;
    let tracker_address = address(&network);
    let (consumer, consumer_network) = stage.consumer(2, &tracker_address).await;
    let (shards, trackers) = stage.producer(9, &tracker_address);
    offered(&trackers, 1).await;
    let (id, data) = shard(1, 5000);
    let to = contact(&consumer_network);
    shards.put(&to, id, data.clone()).await.expect("a receipt");

    // The tracker is away: the consumer goes on. It returns: the consumer is offered at once, without a new beat.
    tracker.stop().await.expect("flushed");
    network.close().await;
    assert_eq!(whole(&shards, &to, id, 5000).await.expect("served"), data);
    let (tracker, network) = stage.tracker().await;
    let status: serde_json::Value = read_status(&stage.path("tracker")).await.expect("answers");
    assert_eq!((status["known_consumers"].as_u64(), status["online_consumers"].as_u64()), (Some(1), Some(1)));
    offered(&trackers, 1).await;

    consumer.stop().await;
    consumer_network.close().await;
    let (again, again_network) = stage.consumer(2, &tracker_address).await;
    assert_eq!(whole(&shards, &contact(&again_network), id, 5000).await.expect("kept"), data);
    offered(&trackers, 1).await;
    again.stop().await;
    tracker.stop().await.expect("flushed");
    network.close().await;
}

#[tokio::test]
async fn a_shard_that_rotted_while_the_consumer_was_down_is_noticed() {
    let stage = Stage::new();
    let (consumer, network) = stage.consumer(2, "/memory/77").await;
    let (shards, _) = stage.producer(9, "/memory/77");
    let (rotten, data) = shard(1, 5000);
    let (sound, other) = shard(2, 5000);
    shards.put(&contact(&network), rotten, data.clone()).await.expect("a receipt");
    shards.put(&contact(&network), sound, other).await.expect("a receipt");
    consumer.stop().await;
    network.close().await;
    let segment = stage.path("consumer-2").join("shards/00000001.segment");
    let mut bytes = std::fs::read(&segment).expect("reads");
    // Behind the segment's first page, the header of the entry and the root of its one subtree.
    bytes[4096 + 128 + 32 + 7] ^= 1;
    std::fs::write(&segment, bytes).expect("written");

    let (consumer, network) = stage.consumer(2, "/memory/77").await;
    let mut status = consumer.status();
    for _ in 0..500 {
        if status.verified_shards == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await; // between two looks, bounded
        status = consumer.status();
    }
    assert_eq!((status.verified_shards, status.bad_shards, status.shards), (2, 1, 1));
    assert!(!status.trackers[0].is_reachable);
    let to = contact(&network);
    assert_eq!(whole(&shards, &to, rotten, 5000).await.expect_err("given up").kind(), ErrorKind::NotFound);
    assert_eq!(shards.list(&to).await.expect("lists").iter().map(|stat| stat.shard).collect::<Vec<_>>(), [sound]);
    shards.put(&to, rotten, data).await.expect("stored anew");
    consumer.stop().await;
}

#[tokio::test]
async fn a_second_consumer_in_the_same_directory_is_refused() {
    let stage = Stage::new();
    let (consumer, _) = stage.consumer(2, "/memory/77").await;
    let second = StateLock::acquire(&stage.path("consumer-2"), "consumer").expect_err("taken");
    assert!(second.to_string().contains("openbucket consumer, process"), "{second}");
    consumer.stop().await;
    StateLock::acquire(&stage.path("consumer-2"), "consumer").expect("free again");
}

#[tokio::test]
async fn the_limit_is_kept_and_refused_with_its_kind() {
    let stage = Stage::new();
    let Process { network, identity, tasks } = stage.process(2, 2, Role::Consumer);
    let directory = stage.path("small");
    let lock = StateLock::acquire(&directory, "consumer").expect("free");
    let disk = Arc::new(RealDisk::new(&directory).expect("a disk"));
    let parts = ConsumerParts { lock, disk, network: network.clone(), identity, chance: stage.chance.clone(), tasks };
    let options = ConsumerOptions { directory, limit_bytes: 1 << 20, trackers: Vec::new() };
    let consumer = Consumer::start(options, parts).await.expect("starts");
    let (shards, _) = stage.producer(9, "/memory/77");
    let to = contact(&network);
    let mut refusals: Vec<ErrorKind> = Vec::new();
    for fill in 0..12 {
        let (id, data) = shard(fill, 100_000);
        if let Err(error) = shards.put(&to, id, data).await {
            refusals.push(error.kind());
        }
    }
    assert_eq!(refusals, [ErrorKind::Full; 2]);
    let status = consumer.status();
    assert!(status.used_bytes <= status.limit_bytes && status.reserved_bytes == 0, "{status:?}");
    assert_eq!(status.shards, 10);
    let unknown = Contact { peer: PeerId([99; 32]), ..to };
    assert!(shards.list(&unknown).await.is_err());
    consumer.stop().await;
}
