//! A whole network in one process for the tests of this module: consumers in memory, a tracker, a producer.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;

use super::{Announce, Dispatcher, Error, Options, Parts, Placement, Rebuilt, Scattered, Shards};
use crate::{
    base::{ErrorKind, Mutex, OwnerId, PeerId, Scheme, ShardId, UnixMillis, limits},
    coding::{BucketKey, Encoded, encode, open_blocks},
    keys::{OwnerKey, PeerKey, Role},
    net::{
        Beat, Candidate, CandidateQuery, Contact, FaultPlan, FaultyNetwork, Network, Refusal, Registration,
        Reservation, Reserved, ServerIdentity, ShardClient, ShardPage, ShardService, ShardStat, SimulatedOptions,
        SimulatedWorld, TrackerClient, TrackerService, serve_shards, serve_tracker,
    },
    runtime::{Chance, CpuPool, ManualClock, SeededChance, Shutdown, Tasks},
};

/// How a consumer behaves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manner {
    pub(super) put_delay: Duration,
    pub(super) get_delay: Duration,
    pub(super) refuses: Option<ErrorKind>,
    /// Parts of shards that need not be proven are wrong.
    pub(super) is_false: bool,
    /// What is to be proven is refused.
    pub(super) is_silent: bool,
}

/// A consumer in memory.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) shards: Mutex<HashMap<ShardId, Bytes>>,
    pub(super) manner: Mutex<Manner>,
    /// Puts and gets begun.
    pub(super) asked: Mutex<usize>,
}

struct Service(Arc<Shelf>);

struct Space {
    shelf: Arc<Shelf>,
    shard: ShardId,
}

impl Reservation for Space {
    fn store(self: Box<Self>, data: Bytes, _: Vec<[u8; 32]>) -> BoxFuture<'static, Result<(), Refusal>> {
        Box::pin(async move {
            let delay = self.shelf.manner.lock().put_delay;
            tokio::time::sleep(delay).await; // the slowness under test, in virtual time
            self.shelf.shards.lock().insert(self.shard, data);
            Ok(())
        })
    }
}

fn not_found() -> Refusal {
    (ErrorKind::NotFound, "no such shard".to_owned())
}

impl Service {
    async fn read(&self, shard: ShardId) -> Result<Bytes, Refusal> {
        *self.0.asked.lock() += 1;
        let delay = self.0.manner.lock().get_delay;
        tokio::time::sleep(delay).await; // the slowness under test, in virtual time
        self.0.shards.lock().get(&shard).cloned().ok_or_else(not_found)
    }
}

#[async_trait]
impl ShardService for Service {
    async fn reserve(&self, _: OwnerId, shard: ShardId, _: u32) -> Result<Reserved, Refusal> {
        *self.0.asked.lock() += 1;
        match self.0.manner.lock().refuses {
            Some(kind) => Err((kind, "as told".to_owned())),
            None => Ok(Reserved::Space(Box::new(Space { shelf: Arc::clone(&self.0), shard }))),
        }
    }

    async fn get_part(&self, _: OwnerId, shard: ShardId, bytes: Range<usize>) -> Result<Bytes, Refusal> {
        let part = self.read(shard).await?.slice(bytes);
        let is_false = self.0.manner.lock().is_false;
        Ok(if is_false { part.iter().map(|byte| byte ^ 1).collect() } else { part })
    }

    async fn get(&self, _: OwnerId, shard: ShardId) -> Result<Bytes, Refusal> {
        let is_silent = self.0.manner.lock().is_silent;
        if is_silent { Err((ErrorKind::Denied, "as told".to_owned())) } else { self.read(shard).await }
    }

    async fn stat(&self, _: OwnerId, shard: ShardId) -> Result<ShardStat, Refusal> {
        let bytes = self.0.shards.lock().get(&shard).map(|data| data.len() as u32);
        bytes.map(|bytes| ShardStat { shard, bytes }).ok_or_else(not_found)
    }

    async fn delete(&self, _: OwnerId, shard: ShardId) -> Result<(), Refusal> {
        self.0.shards.lock().remove(&shard).map(drop).ok_or_else(not_found)
    }

    async fn list(&self, _: OwnerId, _: Option<ShardId>) -> Result<ShardPage, Refusal> {
        Ok(ShardPage { shards: Vec::new(), is_last: true })
    }
}

/// A tracker that knows the listed, and does not name the unnamed by itself.
struct Directory {
    listed: Arc<Mutex<Vec<Candidate>>>,
    unnamed: Arc<Mutex<HashSet<PeerId>>>,
}

#[async_trait]
impl TrackerService for Directory {
    async fn register(&self, _: PeerId, _: OwnerId, _: Registration) -> Result<(), Refusal> {
        Ok(())
    }
    async fn beat(&self, _: PeerId, _: Beat) -> Result<(), Refusal> {
        Ok(())
    }
    async fn leave(&self, _: PeerId) -> Result<(), Refusal> {
        Ok(())
    }
    async fn candidates(&self, _: CandidateQuery) -> Result<Vec<Candidate>, Refusal> {
        let mut named = self.listed.lock().clone();
        let unnamed = self.unnamed.lock();
        named.retain(|candidate| !unnamed.contains(&candidate.contact.peer));
        Ok(named)
    }
    async fn find(&self, peers: Vec<PeerId>) -> Result<Vec<Candidate>, Refusal> {
        let mut found = self.listed.lock().clone();
        found.retain(|candidate| peers.contains(&candidate.contact.peer));
        Ok(found)
    }
}

/// One consumer and its owner.
pub(super) struct Node {
    pub(super) peer: PeerId,
    pub(super) shelf: Arc<Shelf>,
    pub(super) candidate: Candidate,
}

/// The network, with a dispatcher that knows it through its tracker.
pub(super) struct Scene {
    pub(super) world: SimulatedWorld,
    pub(super) faults: Arc<FaultyNetwork>,
    pub(super) nodes: Vec<Node>,
    pub(super) tracker: PeerId,
    pub(super) listed: Arc<Mutex<Vec<Candidate>>>,
    pub(super) unnamed: Arc<Mutex<HashSet<PeerId>>>,
    pub(super) dispatcher: Dispatcher,
    pub(super) tasks: Tasks,
    /// Who may have which shard, as its caller is told.
    pub(super) announced: Arc<Mutex<HashSet<(PeerId, ShardId)>>>,
    chance: Arc<SeededChance>,
}

fn identity(owner: &OwnerKey, seed: u8, role: Role) -> ServerIdentity {
    let peer_key = Arc::new(PeerKey::from_seed([seed; 32]));
    let certificate = owner.certify(peer_key.peer_id(), role, UnixMillis(1));
    ServerIdentity { certificate, peer_key, clock: Arc::new(ManualClock::default()) }
}

impl Scene {
    /// So many consumers, each of its own owner and network.
    pub(super) fn new(consumers: u8, seed: u64) -> Self {
        let chance = Arc::new(SeededChance::new(seed));
        let options = SimulatedOptions { latency: Duration::from_millis(1), ..SimulatedOptions::default() };
        let world = SimulatedWorld::new(chance.clone(), options);
        let tasks = Tasks::new(Shutdown::new());
        let nodes: Vec<Node> = (0..consumers).map(|number| start_consumer(&world, number, &tasks)).collect();

        let owner = OwnerKey::from_seed(&[200; 32]);
        let identity_of_tracker = identity(&owner, 201, Role::Tracker);
        let tracker = identity_of_tracker.peer_key.peer_id();
        let tracker_network: Arc<dyn Network> = world.join(tracker);
        let listed = Arc::new(Mutex::new(nodes.iter().map(|node| node.candidate.clone()).collect::<Vec<_>>()));
        let unnamed = Arc::default();
        let service = Arc::new(Directory { listed: Arc::clone(&listed), unnamed: Arc::clone(&unnamed) });
        serve_tracker(&tracker_network, service, identity_of_tracker, &tasks).expect("the only tracker");

        let producer = identity(&owner, 202, Role::Producer);
        let faults = Arc::new(FaultyNetwork::new(world.join(producer.peer_key.peer_id())));
        let network: Arc<dyn Network> = faults.clone();
        let addresses = tracker_network.addresses();
        let client = TrackerClient::new(network.clone(), producer.certificate.clone(), &addresses);
        let parts = Parts {
            client: Arc::new(ShardClient::new(network, producer.certificate)),
            tracker: Some(Arc::new(client.expect("its address"))),
            clock: Arc::new(ManualClock::default()),
            chance: chance.clone(),
            tasks: tasks.clone(),
            pool: CpuPool::new(2),
        };
        let dispatcher = Dispatcher::new(parts, Options::default());
        Self { world, faults, nodes, tracker, listed, unnamed, dispatcher, tasks, announced: Arc::default(), chance }
    }

    /// A chunk of so many random bytes.
    pub(super) fn chunk(&self, bytes: usize, scheme: Scheme) -> Encoded {
        let mut plain = vec![0; bytes];
        self.chance.fill(&mut plain);
        encode(&key(), &plain, scheme, &*self.chance).expect("a chunk")
    }

    pub(super) fn node(&self, peer: PeerId) -> &Node {
        self.nodes.iter().find(|node| node.peer == peer).expect("a consumer of this scene")
    }

    /// Notes what is announced.
    pub(super) fn announce(&self) -> Announce {
        let announced = Arc::clone(&self.announced);
        Arc::new(move |shards| {
            announced.lock().extend(shards);
            Box::pin(std::future::ready(Ok(())))
        })
    }

    /// Puts a chunk on the consumers of the scene.
    pub(super) async fn scatter(&self, encoded: Encoded) -> Result<Scattered, Error> {
        self.dispatcher.scatter(encoded, self.announce()).await
    }

    /// Whether every shard on a consumer was announced.
    pub(super) fn is_all_announced(&self) -> bool {
        let announced = self.announced.lock();
        let is_known =
            |node: &Node| node.shelf.shards.lock().keys().all(|shard| announced.contains(&(node.peer, *shard)));
        self.nodes.iter().all(is_known)
    }

    /// Deletes all copies of a chunk's shards that may be somewhere, but for those in place.
    pub(super) async fn delete_surplus(&self, placements: &[Placement]) {
        let announced = self.announced.lock().clone();
        for (peer, shard) in announced {
            if placements.iter().all(|placement| placement.consumer != Some(peer)) {
                self.dispatcher.delete(peer, shard).await.expect("gone or deleted");
            }
        }
    }

    /// Fetches blocks of a chunk, as they are sealed; with the shards that turned out bad.
    pub(super) async fn gather(
        &self,
        (encoded, placements): (&Encoded, &[Placement]),
        blocks: Range<usize>,
    ) -> (Result<Bytes, Error>, Vec<usize>) {
        let bad = Mutex::new(Vec::new());
        let suspects = |found: &[usize]| bad.lock().extend_from_slice(found);
        let shards = Shards { layout: &encoded.layout, roots: &encoded.roots, placements, suspects: &suspects };
        let (layout, wanted) = (encoded.layout.clone(), blocks.clone());
        let open = move |sealed: Vec<Bytes>| {
            open_blocks(&key(), &layout, wanted.clone(), &sealed).map(|_| sealed.concat().into())
        };
        (self.dispatcher.gather_blocks(shards, blocks, open).await, bad.into_inner())
    }

    /// Computes shards of a chunk.
    pub(super) async fn rebuild(
        &self,
        (encoded, placements): (&Encoded, &[Placement]),
        missing: &[usize],
    ) -> Result<Rebuilt, Error> {
        let shards = Shards { layout: &encoded.layout, roots: &encoded.roots, placements, suspects: &|_| () };
        self.dispatcher.rebuild(shards, missing).await
    }

    /// Breaks the way to a consumer, or heals it with the default plan.
    pub(super) fn fault(&self, peer: PeerId, plan: FaultPlan) {
        self.faults.set(peer, plan);
        self.world.cut_streams();
    }

    /// How many consumers have this shard.
    pub(super) fn copies(&self, shard: ShardId) -> usize {
        self.nodes.iter().filter(|node| node.shelf.shards.lock().contains_key(&shard)).count()
    }
}

fn key() -> BucketKey {
    BucketKey::new([1; 32])
}

fn start_consumer(world: &SimulatedWorld, number: u8, tasks: &Tasks) -> Node {
    let owner = OwnerKey::from_seed(&[number + 1; 32]);
    let identity = identity(&owner, number + 100, Role::Consumer);
    let peer = identity.peer_key.peer_id();
    let network: Arc<dyn Network> = world.join(peer);
    let shelf = Arc::new(Shelf::default());
    serve_shards(&network, Arc::new(Service(Arc::clone(&shelf))), identity, tasks).expect("the only server");
    let candidate = Candidate {
        contact: Contact { peer, addresses: vec![format!("/ip4/10.0.{number}.1/tcp/4001")] },
        owner: owner.id(),
        limit_bytes: 10 << 30,
        free_bytes: 5 << 30,
        last_beat: UnixMillis(1),
        uptime_permille: 1000,
        is_online: true,
    };
    assert!(candidate.contact.addresses.len() <= limits::ADDRESSES);
    Node { peer, shelf, candidate }
}
