//! All roles in one process: a tracker, consumers of several owners, a producer; each can crash and come back.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use openbucket::{
    base::{BucketId, OwnerId, PeerId, Scheme, UnixMillis},
    bucket::{self, Bucket},
    coding::BucketKey,
    consumer::{Consumer, ConsumerOptions, ConsumerParts},
    dispatch::{self, Dispatcher},
    keys::{OwnerKey, PeerKey, Role},
    net::{FaultPlan, FaultyNetwork, Network, ServerIdentity, ShardClient, SimulatedWorld, TrackerClient},
    runtime::{Chance, Clock, CpuPool, SeededChance, Shutdown, Tasks},
    store::{FaultyDisk, SimulatedDisk, StateLock},
    tracker::{Tracker, TrackerOptions, TrackerParts},
};

use super::liar::{self, Lie};

/// Disk space of a consumer.
const LIMIT_BYTES: u64 = 256 << 20;
/// A role that is told to end ends within this virtual time.
const PATIENCE: Duration = Duration::from_secs(150);
/// So many owners share the consumers.
const OWNERS: u8 = 5;
/// Shorter than a request may take: a read must not wait for one consumer.
pub const READ_TIMEOUT: Duration = Duration::from_secs(12);

/// A role that runs: its network, which a crash closes, and its tasks.
struct Running<T> {
    process: T,
    network: Arc<dyn Network>,
    tasks: Tasks,
}

impl<T> Running<T> {
    /// Ends it without a word to anybody.
    async fn crash(self) {
        self.network.close().await;
        assert!(self.tasks.stop(PATIENCE).await, "the tasks of a role do not end");
        drop(self.process);
    }
}

/// One consumer.
pub struct Node {
    pub peer: PeerId,
    pub disk: SimulatedDisk,
    pub faults: FaultyDisk,
    /// It was born a liar.
    pub lie: Option<Lie>,
    /// It will never come back.
    pub is_gone: bool,
    identity: ServerIdentity,
    place: PathBuf,
    running: Option<Running<Option<Consumer>>>,
}

/// The producer while it runs.
struct Producer {
    bucket: Bucket,
    faults: Arc<FaultyNetwork>,
}

pub struct Cluster {
    pub nodes: Vec<Node>,
    pub world: SimulatedWorld,
    pub chance: Arc<SeededChance>,
    pub scheme: Scheme,
    pub tracker: PeerId,
    tracker_identity: ServerIdentity,
    tracker_address: String,
    running_tracker: Option<Running<Tracker>>,
    producer: ServerIdentity,
    running: Option<Running<Producer>>,
    plans: Vec<FaultPlan>,
    directory: tempfile::TempDir,
    /// Counts crashes of the producer: each start has a directory of its own.
    generation: u32,
    staging_bytes: u64,
}

fn identity(number: u8, owner: u8, role: Role, clock: &Arc<dyn Clock>) -> ServerIdentity {
    let peer_key = Arc::new(PeerKey::from_seed([number; 32]));
    let certificate = OwnerKey::from_seed(&[owner; 32]).certify(peer_key.peer_id(), role, UnixMillis(1));
    ServerIdentity { certificate, peer_key, clock: Arc::clone(clock) }
}

/// What a cluster is made of.
pub struct Shape {
    pub consumers: u8,
    pub scheme: Scheme,
    pub lies: Vec<Lie>,
    pub staging_bytes: u64,
}

impl Cluster {
    /// Everything started. The first consumers are the liars.
    pub async fn start(shape: Shape, world: SimulatedWorld, chance: Arc<SeededChance>, clock: Arc<dyn Clock>) -> Self {
        // In memory where that is possible: what a flush costs is no matter of a simulation.
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let directory = directory.expect("a temporary directory");
        let tracker_identity = identity(2, 2, Role::Tracker, &clock);
        let tracker = tracker_identity.peer_key.peer_id();
        let tracker_address = world.join(tracker).addresses().remove(0);
        let nodes = (0..shape.consumers).map(|number| {
            let identity = identity(10 + number, 100 + number % OWNERS, Role::Consumer, &clock);
            let disk = SimulatedDisk::new(LIMIT_BYTES * 2);
            Node {
                peer: identity.peer_key.peer_id(),
                faults: FaultyDisk::new(Arc::new(disk.clone())),
                disk,
                lie: shape.lies.get(usize::from(number)).copied(),
                is_gone: false,
                identity,
                place: directory.path().join(format!("consumer-{number}")),
                running: None,
            }
        });
        let mut cluster = Self {
            nodes: nodes.collect(),
            plans: vec![FaultPlan::default(); usize::from(shape.consumers)],
            world,
            chance,
            scheme: shape.scheme,
            tracker,
            tracker_identity,
            tracker_address,
            running_tracker: None,
            producer: identity(1, 1, Role::Producer, &clock),
            running: None,
            directory,
            generation: 0,
            staging_bytes: shape.staging_bytes,
        };
        cluster.start_tracker().await;
        for number in 0..cluster.nodes.len() {
            cluster.start_consumer(number).await;
        }
        cluster.start_producer();
        cluster
    }

    pub async fn start_tracker(&mut self) {
        let directory = self.directory.path().join("tracker");
        let network: Arc<dyn Network> = self.world.join(self.tracker);
        let tasks = Tasks::new(Shutdown::new());
        let parts = TrackerParts {
            lock: StateLock::acquire(&directory, "tracker").expect("free"),
            network: Arc::clone(&network),
            identity: self.tracker_identity.clone(),
            chance: Arc::clone(&self.chance) as Arc<dyn Chance>,
            tasks: tasks.clone(),
        };
        let process = Tracker::start(TrackerOptions { directory }, parts).await.expect("starts");
        self.running_tracker = Some(Running { process, network, tasks });
    }

    pub async fn crash_tracker(&mut self) {
        if let Some(running) = self.running_tracker.take() {
            running.crash().await;
        }
    }

    pub async fn start_consumer(&mut self, number: usize) {
        let chance: Arc<dyn Chance> = self.chance.clone();
        let node = &mut self.nodes[number];
        let network: Arc<dyn Network> = self.world.join(node.peer);
        let tasks = Tasks::new(Shutdown::new());
        let process = if let Some(lie) = node.lie {
            liar::start(&network, node.identity.clone(), &self.tracker_address, lie, &tasks);
            None
        } else {
            let parts = ConsumerParts {
                lock: StateLock::acquire(&node.place, "consumer").expect("free"),
                disk: Arc::new(node.faults.clone()),
                network: Arc::clone(&network),
                identity: node.identity.clone(),
                chance,
                tasks: tasks.clone(),
            };
            let trackers = vec![self.tracker_address.clone()];
            let options = ConsumerOptions { directory: node.place.clone(), limit_bytes: LIMIT_BYTES, trackers };
            Some(Consumer::start(options, parts).await.expect("starts"))
        };
        node.running = Some(Running { process, network, tasks });
    }

    /// Its power goes: what it did not flush is lost or torn.
    pub async fn crash_consumer(&mut self, number: usize) {
        let chance = Arc::clone(&self.chance);
        let node = &mut self.nodes[number];
        if let Some(running) = node.running.take() {
            node.disk.power_off_after(0);
            running.crash().await;
            node.disk.crash(&*chance);
        }
    }

    pub fn is_up(&self, number: usize) -> bool {
        self.nodes[number].running.is_some()
    }

    pub fn producer_peer(&self) -> PeerId {
        self.producer.peer_key.peer_id()
    }

    pub fn owner(&self) -> OwnerId {
        self.producer.certificate.owner
    }

    pub fn bucket(&self) -> &Bucket {
        &self.running.as_ref().expect("the producer is up").process.bucket
    }

    pub fn is_producer_up(&self) -> bool {
        self.running.is_some()
    }

    fn place(&self) -> PathBuf {
        self.directory.path().join(format!("bucket-{}", self.generation))
    }

    pub fn start_producer(&mut self) {
        let network: Arc<dyn Network> = self.world.join(self.producer_peer());
        let faults = Arc::new(FaultyNetwork::new(Arc::clone(&network)));
        for (node, plan) in self.nodes.iter().zip(&self.plans) {
            faults.set(node.peer, plan.clone());
        }
        let faulty: Arc<dyn Network> = faults.clone();
        let certificate = self.producer.certificate.clone();
        let address = [self.tracker_address.clone()];
        let tracker = TrackerClient::new(Arc::clone(&faulty), certificate.clone(), &address).expect("an address");
        let tasks = Tasks::new(Shutdown::new());
        let (chance, clock): (Arc<dyn Chance>, _) = (self.chance.clone(), Arc::clone(&self.producer.clock));
        let parts = dispatch::Parts {
            client: Arc::new(ShardClient::new(faulty, certificate)),
            tracker: Some(Arc::new(tracker)),
            clock: Arc::clone(&clock),
            chance: Arc::clone(&chance),
            tasks: tasks.clone(),
            pool: CpuPool::new(2),
        };
        let options = dispatch::Options { read_timeout: READ_TIMEOUT, ..dispatch::Options::default() };
        let dispatcher = Arc::new(Dispatcher::new(parts, options));
        let options = bucket_options(self.place(), self.scheme, self.staging_bytes);
        let parts = bucket_parts(dispatcher, clock, chance, tasks.clone());
        let bucket = Bucket::start(options, parts).expect("opens");
        self.running = Some(Running { process: Producer { bucket, faults }, network, tasks });
    }

    /// As kill -9 does: what its disk has at this moment is what it comes back with.
    pub async fn crash_producer(&mut self) {
        if let Some(running) = self.running.take() {
            self.end_producer(running).await;
        }
    }

    async fn end_producer(&mut self, running: Running<Producer>) {
        let old = self.place();
        self.generation += 1;
        copy_tree(&old, &self.place());
        running.crash().await;
        fs::remove_dir_all(old).expect("removed");
    }

    /// The producer's state, while it is down, in a place beside; whoever asked for it removes it.
    pub fn copy_of_state(&self) -> PathBuf {
        assert!(!self.is_producer_up(), "what is written meanwhile would be half there");
        let place = self.directory.path().join("copy");
        copy_tree(&self.place(), &place);
        place
    }

    /// Closes the bucket in order and opens it again.
    pub async fn restart_producer(&mut self) {
        let Some(running) = self.running.take() else { return };
        running.process.bucket.close(PATIENCE).await.expect("closes");
        self.end_producer(running).await;
        self.start_producer();
    }

    /// From now on the producer's new streams to a consumer are so broken.
    pub fn set_plan(&mut self, number: usize, plan: FaultPlan) {
        if let Some(running) = &self.running {
            running.process.faults.set(self.nodes[number].peer, plan.clone());
        }
        self.plans[number] = plan;
    }
}

/// How the producer's bucket is kept.
pub fn bucket_options(directory: PathBuf, scheme: Scheme, staging_bytes: u64) -> bucket::Options {
    bucket::Options {
        name: "simulated".to_owned(),
        id: BucketId([5; 32]),
        directory,
        scheme,
        staging_bytes,
        cache_memory_bytes: 1 << 20,
        cache_disk_bytes: 4 << 20,
        read_timeout: READ_TIMEOUT,
        is_durability_network: false,
        uid: 0,
        gid: 0,
    }
}

/// What it is opened with.
pub fn bucket_parts(
    dispatcher: Arc<Dispatcher>,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
    tasks: Tasks,
) -> bucket::Parts {
    bucket::Parts { key: BucketKey::new([6; 32]), dispatcher, clock, chance, tasks }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        let kind = entry.file_type().expect("known");
        if kind.is_dir() {
            copy_tree(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}
