//! A running consumer: opens its store, serves, announces itself, stops.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use super::{
    Error,
    announce::Announcer,
    service::{Service, Traffic},
    status::{ConsumerStatus, TrackerReach},
};
use crate::{
    base::{Mutex, limits},
    coding::merkle,
    net::{Network, ServerIdentity, ShardService, TrackerClient, serve_shards},
    runtime::{Chance, Tasks, serve_status, spawn_blocking},
    store::{self, Disk, ShardStore, ShardStoreOptions, StateLock},
};

/// How a consumer runs.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// Its state directory.
    pub directory: PathBuf,
    /// Disk space that shards may take.
    pub limit_bytes: u64,
    /// Addresses of trackers, as [`crate::net::parse_address`] reads them. None is possible.
    pub trackers: Vec<String>,
}

/// What a consumer is given by whoever starts it. `lock` is that of the state directory, `disk` is rooted there.
pub struct ConsumerParts {
    pub lock: StateLock,
    pub disk: Arc<dyn Disk>,
    pub network: Arc<dyn Network>,
    pub identity: ServerIdentity,
    pub chance: Arc<dyn Chance>,
    pub tasks: Tasks,
}

/// A running consumer.
pub struct Consumer {
    reporter: Arc<Reporter>,
    tasks: Tasks,
    announcers: Tasks,
    _lock: StateLock,
}

struct Reporter {
    store: Arc<ShardStore>,
    network: Arc<dyn Network>,
    traffic: Arc<Traffic>,
    trackers: Vec<Arc<Mutex<TrackerReach>>>,
    owner: String,
}

impl Consumer {
    /// Opens the store, keeps everything in it, and serves until [`stop`](Self::stop) or the tasks' shutdown. Bodies
    /// are verified again in the background. An unreachable tracker is no error.
    pub async fn start(options: ConsumerOptions, parts: ConsumerParts) -> Result<Self, Error> {
        let ConsumerParts { lock, disk, network, identity, chance, tasks } = parts;
        let owner = identity.certificate.owner.to_string();
        let clients = options.trackers.iter().map(|address| {
            let one = std::slice::from_ref(address);
            TrackerClient::new(Arc::clone(&network), identity.certificate.clone(), one)
        });
        let clients = clients.collect::<Result<Vec<_>, _>>()?;
        let store = open(disk, options.limit_bytes, Arc::clone(&chance)).await?;
        let traffic = Arc::<Traffic>::default();
        let reach = |address: &String| TrackerReach { address: address.clone(), ..TrackerReach::default() };
        let trackers: Vec<_> = options.trackers.iter().map(|address| Arc::new(Mutex::new(reach(address)))).collect();
        let reporter = Arc::new(Reporter {
            store: Arc::clone(&store),
            network: Arc::clone(&network),
            traffic: Arc::clone(&traffic),
            trackers: trackers.clone(),
            owner,
        });
        let service = Arc::new(Service { store: Arc::clone(&store), traffic, puts: Arc::default() });
        serve_shards(&network, service as Arc<dyn ShardService>, identity, &tasks)?;
        let report = Arc::clone(&reporter);
        serve_status(&options.directory, &tasks, move || {
            serde_json::to_string(&report.status()).expect("a status serialises")
        })?;
        let announcers = Tasks::new(tasks.shutdown().child());
        for (client, reach) in clients.into_iter().zip(trackers) {
            let (network, store, chance) = (Arc::clone(&network), Arc::clone(&store), Arc::clone(&chance));
            let announcer = Announcer { client, network, store, chance, reach };
            announcers.spawn(announcer.run(announcers.shutdown().clone()));
        }
        let shutdown = tasks.shutdown().clone();
        tasks.spawn(async move { store.verify_all(merkle::root, &shutdown).await });
        let status = reporter.status();
        tracing::info!(op = "start", peer = %status.peer, "consumer started with {} shards", status.shards);
        Ok(Self { reporter, tasks, announcers, _lock: lock })
    }

    /// What the consumer says of itself.
    pub fn status(&self) -> ConsumerStatus {
        self.reporter.status()
    }

    /// Says goodbye to the trackers, finishes what is being stored, ends its tasks. Each step has its deadline.
    pub async fn stop(self) {
        if !self.announcers.stop(limits::STOP_TIMEOUT).await {
            tracing::warn!(op = "stop", "a tracker was not told goodbye in time");
        }
        if !self.reporter.store.close(limits::STOP_TIMEOUT).await {
            tracing::warn!(op = "stop", "some shards were still on their way to the disk: they were not confirmed");
        }
        if !self.tasks.stop(limits::STOP_TIMEOUT).await {
            tracing::warn!(op = "stop", "some tasks of the consumer did not end in time");
        }
        tracing::info!(op = "stop", "consumer stopped");
    }
}

async fn open(disk: Arc<dyn Disk>, limit_bytes: u64, chance: Arc<dyn Chance>) -> Result<Arc<ShardStore>, store::Error> {
    let opening =
        spawn_blocking(move || ShardStore::open(disk, ShardStoreOptions::with_limit(limit_bytes), chance.as_ref()));
    match opening.await {
        Ok(result) => result,
        Err(error) => Err(store::Error::Closed(format!("opening it failed: {error}"))),
    }
}

impl Reporter {
    fn status(&self) -> ConsumerStatus {
        let usage = self.store.usage();
        ConsumerStatus {
            peer: self.network.local_peer().to_string(),
            owner: self.owner.clone(),
            addresses: self.network.addresses(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            limit_bytes: usage.limit_bytes,
            used_bytes: usage.used_bytes,
            reserved_bytes: usage.reserved_bytes,
            free_bytes: usage.free_bytes,
            shards: usage.shards,
            bad_shards: usage.bad_shards,
            damaged_headers: usage.damaged_headers,
            verified_shards: usage.verified_shards,
            to_verify_shards: usage.to_verify_shards,
            bytes_in: self.traffic.received.load(Ordering::Relaxed),
            bytes_out: self.traffic.read.load(Ordering::Relaxed),
            trackers: self.trackers.iter().map(|reach| reach.lock().clone()).collect(),
            problem: usage.problem,
        }
    }
}
