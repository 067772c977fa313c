//! A bucket over a simulated network of real consumers, which can crash, close and lose consumers.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use openbucket::{
    base::{BucketId, OwnerId, PeerId, Scheme, UnixMillis},
    bucket::{self, Bucket, FileState, FsckOptions, FsckProgress, FsckReport},
    coding::BucketKey,
    consumer::{Consumer, ConsumerOptions, ConsumerParts},
    dispatch::{self, Dispatcher},
    keys::{OwnerKey, PeerKey, Role},
    net::{Candidate, Contact, Network, ServerIdentity, ShardClient, SimulatedOptions, SimulatedWorld},
    runtime::{Chance, Clock, CpuPool, SeededChance, Shutdown, SystemClock, Tasks},
    store::{SimulatedDisk, StateLock},
};

const LIMIT_BYTES: u64 = 1 << 30;
/// Nothing in these tests takes this long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const READ_TIMEOUT: Duration = Duration::from_secs(3);

pub struct Node {
    pub consumer: Consumer,
    network: Arc<dyn Network>,
    owner: OwnerId,
    is_up: bool,
}

pub struct Fixture {
    pub bucket: Bucket,
    pub nodes: Vec<Node>,
    world: SimulatedWorld,
    chance: Arc<dyn Chance>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    directory: tempfile::TempDir,
    staging_bytes: u64,
    generation: u32,
    producer: PeerId,
    pub client: Arc<ShardClient>,
    _node_tasks: Tasks,
}

fn identity(number: u8, role: Role, clock: &Arc<dyn Clock>) -> ServerIdentity {
    let peer_key = Arc::new(PeerKey::from_seed([number; 32]));
    let certificate = OwnerKey::from_seed(&[number; 32]).certify(peer_key.peer_id(), role, UnixMillis(1));
    ServerIdentity { certificate, peer_key, clock: Arc::clone(clock) }
}

impl Fixture {
    /// A new bucket with so many consumers.
    pub async fn new(seed: u64, consumers: u8) -> Self {
        Self::with(seed, consumers, SimulatedOptions::default()).await
    }

    /// The same in a world that behaves like this.
    pub async fn with(seed: u64, consumers: u8, world: SimulatedOptions) -> Self {
        Self::with_staging(seed, consumers, world, 256 << 20).await
    }

    /// The same with a staging area of this size.
    pub async fn with_staging(seed: u64, consumers: u8, world: SimulatedOptions, staging_bytes: u64) -> Self {
        let chance: Arc<dyn Chance> = Arc::new(SeededChance::new(seed));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let world = SimulatedWorld::new(Arc::clone(&chance), world);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let node_tasks = Tasks::new(Shutdown::new());
        let mut nodes = Vec::new();
        for number in 0..consumers {
            let identity = identity(10 + number, Role::Consumer, &clock);
            let owner = identity.certificate.owner;
            let network: Arc<dyn Network> = world.join(identity.peer_key.peer_id());
            let place = directory.path().join(format!("consumer-{number}"));
            let parts = ConsumerParts {
                lock: StateLock::acquire(&place, "consumer").expect("free"),
                disk: Arc::new(SimulatedDisk::new(LIMIT_BYTES * 2)),
                network: Arc::clone(&network),
                identity,
                chance: Arc::clone(&chance),
                tasks: node_tasks.clone(),
            };
            let options = ConsumerOptions { directory: place, limit_bytes: LIMIT_BYTES, trackers: Vec::new() };
            let consumer = Consumer::start(options, parts).await.expect("starts");
            nodes.push(Node { consumer, network, owner, is_up: true });
        }
        let producer = identity(1, Role::Producer, &clock);
        let peer = producer.peer_key.peer_id();
        let network: Arc<dyn Network> = world.join(peer);
        let client = Arc::new(ShardClient::new(network, producer.certificate));
        let tasks = Tasks::new(Shutdown::new());
        let candidates: Vec<_> = nodes.iter().map(Node::candidate).collect();
        let place = directory.path().join("bucket-0");
        let bucket = open((&place, staging_bytes), &client, (&clock, &chance), &tasks, candidates);
        Self {
            bucket,
            nodes,
            world,
            chance,
            clock,
            tasks,
            directory,
            staging_bytes,
            generation: 0,
            producer: peer,
            client,
            _node_tasks: node_tasks,
        }
    }

    fn place(&self) -> PathBuf {
        self.directory.path().join(format!("bucket-{}", self.generation))
    }

    fn reopen(&mut self) {
        self.tasks = Tasks::new(Shutdown::new());
        let candidates = self.nodes.iter().map(Node::candidate).collect();
        let place = (&*self.place(), self.staging_bytes);
        self.bucket = open(place, &self.client, (&self.clock, &self.chance), &self.tasks, candidates);
    }

    /// Closes the bucket in order and opens it again.
    pub async fn close_and_open(&mut self) {
        self.bucket.close(PATIENCE).await.expect("closes");
        self.copy_state();
        self.reopen();
    }

    /// Ends the bucket without closing it, as when its process is killed, and opens what is on the disk.
    pub async fn crash_and_open(&mut self) {
        assert!(self.tasks.stop(PATIENCE).await, "background work ends");
        self.copy_state();
        self.reopen();
    }

    /// Ends the bucket in the middle of what it does, as `kill -9` would, and opens what is on the disk. Nothing may be
    /// written to files meanwhile.
    pub async fn kill_and_open(&mut self) {
        self.world.set_up(self.producer, false);
        self.copy_state();
        assert!(self.tasks.stop(PATIENCE).await, "background work ends");
        self.world.set_up(self.producer, true);
        self.reopen();
    }

    /// What the old bucket does to its files from here on no longer counts. They are copied one by one, and so again if
    /// something was written meanwhile, as by a checkpoint: together they would be of no one moment.
    fn copy_state(&mut self) {
        let old = self.place();
        self.generation += 1;
        let end = Instant::now() + PATIENCE;
        loop {
            let before = written(&old);
            copy_tree(&old, &self.place());
            if written(&old) == before {
                return;
            }
            assert!(Instant::now() < end, "the state is written to all the time");
            fs::remove_dir_all(self.place()).expect("removed");
        }
    }

    /// Takes a consumer off the network, or puts it back.
    pub fn set_up(&mut self, node: usize, is_up: bool) {
        self.nodes[node].is_up = is_up;
        self.world.set_up(self.nodes[node].network.local_peer(), is_up);
    }

    pub fn count_up(&self) -> usize {
        self.nodes.iter().filter(|node| node.is_up).count()
    }

    /// Waits until everything has reached a level.
    pub async fn upload(&self, level: FileState) {
        let pending = || self.bucket.pending(b"", level).expect("readable");
        self.until(|| pending().files == 0, || format!("{:?}", pending())).await;
    }

    /// Waits for a condition, hurrying uploads along.
    pub async fn until(&self, condition: impl Fn() -> bool, describe: impl Fn() -> String) {
        let end = tokio::time::Instant::now() + PATIENCE;
        let mut changes = self.bucket.changes();
        while !condition() {
            self.bucket.hurry();
            let step = tokio::time::Instant::now() + Duration::from_millis(200);
            // Whether something changed or the step is over: the condition is looked at again.
            drop(tokio::time::timeout_at(step, changes.changed()).await);
            assert!(tokio::time::Instant::now() < end, "it never came: {}", describe());
        }
    }

    /// Bytes that all consumers keep.
    pub fn held_bytes(&self) -> u64 {
        self.nodes.iter().map(|node| node.consumer.status().used_bytes).sum()
    }

    /// Checks the bucket, with consumers as far as they are up.
    pub async fn fsck(&self, is_repair: bool) -> FsckReport {
        let options = FsckOptions { is_repair, deletes_unknown_shards: is_repair, unknown_shards_unjudged: None };
        let (progress, _steps) = tokio::sync::watch::channel(FsckProgress { step: "", done: 0 });
        self.bucket.fsck(options, progress).await.expect("checked")
    }

    /// Everything fits together.
    pub async fn assert_sound(&self, when: &str) {
        let report = self.fsck(false).await;
        assert!(report.is_clean(), "{when}: {:#?}", report.problems);
    }

    /// Shards on all consumers.
    pub fn shards(&self) -> u64 {
        self.nodes.iter().map(|node| node.consumer.status().shards).sum()
    }
}

impl Node {
    pub fn candidate(&self) -> Candidate {
        Candidate {
            contact: Contact { peer: self.network.local_peer(), addresses: self.network.addresses() },
            owner: self.owner,
            limit_bytes: LIMIT_BYTES,
            free_bytes: LIMIT_BYTES,
            last_beat: SystemClock.now(),
            uptime_permille: 1000,
            is_online: true,
        }
    }
}

fn open(
    (place, staging_bytes): (&Path, u64),
    client: &Arc<ShardClient>,
    (clock, chance): (&Arc<dyn Clock>, &Arc<dyn Chance>),
    tasks: &Tasks,
    candidates: Vec<Candidate>,
) -> Bucket {
    let (clock, chance) = (Arc::clone(clock), Arc::clone(chance));
    let parts = dispatch::Parts {
        client: Arc::clone(client),
        tracker: None,
        clock: Arc::clone(&clock),
        chance: Arc::clone(&chance),
        tasks: tasks.clone(),
        pool: CpuPool::for_this_machine(),
    };
    let options = dispatch::Options { read_timeout: READ_TIMEOUT, ..dispatch::Options::default() };
    let dispatcher = Arc::new(Dispatcher::new(parts, options));
    dispatcher.learn(candidates.into_iter().map(Into::into).collect());
    let options = bucket::Options {
        name: "model".to_owned(),
        id: BucketId([5; 32]),
        directory: place.to_path_buf(),
        scheme: Scheme::BASIC,
        staging_bytes,
        cache_memory_bytes: 4 << 20,
        cache_disk_bytes: 16 << 20,
        read_timeout: READ_TIMEOUT,
        is_durability_network: false,
        uid: 0,
        gid: 0,
    };
    let key = BucketKey::new([6; 32]);
    let parts = bucket::Parts { key, dispatcher, clock, chance, tasks: tasks.clone() };
    Bucket::start(options, parts).expect("opens")
}

/// The files below a directory, each with its size and when it was last written to.
fn written(directory: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("readable") {
        let entry = entry.expect("readable");
        // What has gone is not there.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            files.append(&mut written(&entry.path()));
        } else {
            files.insert(entry.path(), (metadata.len(), metadata.modified().expect("known")));
        }
    }
    files
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            match fs::copy(entry.path(), target) {
                // Gone meanwhile: then all is copied again.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                copied => drop(copied.expect("copied")),
            }
        }
    }
}
