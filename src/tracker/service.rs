//! A running tracker: serves its protocol and its status, keeps its registry.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Error, registry::Registry};
use crate::{
    base::{Mutex, OwnerId, PeerId, UnixMillis, limits},
    net::{
        Beat, Candidate, CandidateQuery, Network, Refusal, Registration, ServerIdentity, TrackerService, serve_tracker,
    },
    runtime::{Chance, Clock, Tasks, serve_status, spawn_blocking},
    store::{self, StateLock, Tables},
};

/// Times of `TABLE_FLUSH` between two sweeps of the registry.
const SWEEP_EVERY: u64 = 60;

/// How a tracker runs.
#[derive(Clone, Debug)]
pub struct TrackerOptions {
    /// Its state directory.
    pub directory: PathBuf,
}

/// What a tracker is given by whoever starts it. `lock` is that of the state directory.
pub struct TrackerParts {
    pub lock: StateLock,
    pub network: Arc<dyn Network>,
    pub identity: ServerIdentity,
    pub chance: Arc<dyn Chance>,
    pub tasks: Tasks,
}

/// A running tracker.
pub struct Tracker {
    service: Arc<Service>,
    tables: Tables,
    tasks: Tasks,
    _lock: StateLock,
}

struct Service {
    registry: Mutex<Registry>,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
    started: UnixMillis,
}

impl Tracker {
    /// Opens the registry and serves, until [`stop`](Self::stop) or the tasks' shutdown.
    pub async fn start(options: TrackerOptions, parts: TrackerParts) -> Result<Self, Error> {
        let TrackerParts { lock, network, identity, chance, tasks } = parts;
        let clock = Arc::clone(&identity.clock);
        let started = clock.now();
        let path = options.directory.join("registry");
        let (tables, registry) = blocking(&path, move |path| {
            let tables = Tables::open(path)?;
            let registry = Registry::open(&tables, started)?;
            Ok((tables, registry))
        })
        .await?;
        let registry = Mutex::new(registry);
        let service = Arc::new(Service { registry, network: Arc::clone(&network), clock, chance, started });
        serve_tracker(&network, Arc::clone(&service) as Arc<dyn TrackerService>, identity, &tasks)?;
        let reporter = Arc::clone(&service);
        serve_status(&options.directory, &tasks, move || {
            serde_json::to_string(&reporter.status()).expect("a status serialises")
        })?;
        let keeper = Arc::clone(&service);
        tasks.spawn_until_shutdown(async move { keeper.keep().await });
        tracing::info!(op = "start", peer = %network.local_peer(), "tracker started");
        Ok(Self { service, tables, tasks, _lock: lock })
    }

    /// What the tracker says of itself.
    pub fn status(&self) -> TrackerStatus {
        self.service.status()
    }

    /// Ends its tasks and flushes the registry.
    pub async fn stop(self) -> Result<(), Error> {
        if !self.tasks.stop(limits::STOP_TIMEOUT).await {
            tracing::warn!(op = "stop", "some tasks of the tracker did not end in time");
        }
        self.service.registry.lock().alive(self.service.clock.now())?;
        let tables = self.tables.clone();
        blocking(Path::new("registry"), move |_| tables.flush()).await?;
        tracing::info!(op = "stop", "tracker stopped");
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> Result<T, store::Error> + Send + 'static,
) -> Result<T, store::Error> {
    let path = path.to_path_buf();
    match spawn_blocking(move || work(&path)).await {
        Ok(result) => result,
        Err(error) => Err(store::Error::Trees(format!("its task failed: {error}"))),
    }
}

impl Service {
    /// Leaves signs of life and forgets who is long gone.
    async fn keep(&self) {
        let mut ticks = tokio::time::interval(limits::TABLE_FLUSH);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut count = 0u64;
        loop {
            ticks.tick().await;
            let now = self.clock.now();
            let mut registry = self.registry.lock();
            let mut kept = registry.alive(now);
            if count.is_multiple_of(SWEEP_EVERY) && kept.is_ok() {
                kept = registry.sweep(now);
            }
            if let Err(error) = kept {
                tracing::error!(op = "keep", "the registry cannot be written: {error}; check the disk");
            }
            count += 1;
        }
    }

    fn status(&self) -> TrackerStatus {
        let now = self.clock.now();
        let registry = self.registry.lock();
        let (known, online, free_bytes) = registry.counts(now);
        let consumers = registry.all(now, limits::CANDIDATES);
        TrackerStatus {
            peer: self.network.local_peer().to_string(),
            addresses: self.network.addresses(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started,
            known_consumers: known,
            online_consumers: online,
            free_bytes,
            consumers: consumers.iter().map(|c| ConsumerStatus::new(c, registry.version(&c.contact.peer))).collect(),
        }
    }
}

#[async_trait]
impl TrackerService for Service {
    async fn register(&self, peer: PeerId, owner: OwnerId, registration: Registration) -> Result<(), Refusal> {
        tracing::debug!(op = "register", %peer, "a consumer comes");
        self.registry.lock().register(peer, owner, &registration, self.clock.now())
    }

    async fn beat(&self, peer: PeerId, beat: Beat) -> Result<(), Refusal> {
        self.registry.lock().beat(peer, beat, self.clock.now())
    }

    async fn leave(&self, peer: PeerId) -> Result<(), Refusal> {
        tracing::debug!(op = "leave", %peer, "a consumer goes");
        self.registry.lock().leave(peer)
    }

    async fn candidates(&self, query: CandidateQuery) -> Result<Vec<Candidate>, Refusal> {
        Ok(self.registry.lock().candidates(&query, self.clock.now(), self.chance.as_ref()))
    }

    async fn find(&self, peers: Vec<PeerId>) -> Result<Vec<Candidate>, Refusal> {
        Ok(self.registry.lock().find(&peers, self.clock.now()))
    }
}

/// `tracker status`. The JSON is stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackerStatus {
    pub peer: String,
    pub addresses: Vec<String>,
    pub version: String,
    pub started: UnixMillis,
    pub known_consumers: u64,
    pub online_consumers: u64,
    /// Of the consumers online.
    pub free_bytes: u64,
    /// At most `limits::CANDIDATES`, those online first.
    pub consumers: Vec<ConsumerStatus>,
}

/// A consumer in `tracker status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerStatus {
    pub peer: String,
    pub owner: String,
    pub addresses: Vec<String>,
    pub limit_bytes: u64,
    pub free_bytes: u64,
    pub last_beat: UnixMillis,
    pub uptime_permille: u16,
    pub is_online: bool,
    pub version: String,
}

impl ConsumerStatus {
    fn new(candidate: &Candidate, version: String) -> Self {
        Self {
            peer: candidate.contact.peer.to_string(),
            owner: candidate.owner.to_string(),
            addresses: candidate.contact.addresses.clone(),
            limit_bytes: candidate.limit_bytes,
            free_bytes: candidate.free_bytes,
            last_beat: candidate.last_beat,
            uptime_permille: candidate.uptime_permille,
            is_online: candidate.is_online,
            version,
        }
    }
}
