//! `consumer` and `tracker`: one process each, assembled here and run until stopped.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use super::{
    UsageError,
    args::{Global, some_list},
    child,
    init::keys_directory,
    locate,
    node_args::{ConsumerStartArgs, NetworkArgs, NodeStatusArgs, TrackerStartArgs},
    output,
};
use crate::{
    base::limits,
    config::{Layer, Settings},
    consumer::{Consumer, ConsumerOptions, ConsumerParts},
    keys::{Fresh, KeyStore, Role},
    net::{Libp2pNetwork, Libp2pOptions, Network, ServerIdentity},
    runtime::{Chance, Clock, Shutdown, SystemChance, SystemClock, Tasks, process_in_background, read_status},
    store::{RealDisk, StateLock},
    tracker::{Tracker, TrackerOptions, TrackerParts},
};

/// Runs a consumer until SIGINT or SIGTERM.
pub fn start_consumer(global: &Global, args: ConsumerStartArgs) -> anyhow::Result<()> {
    child::adopt(&args.network.child)?;
    // Its disk and network are what it lends; the owner's own programs come first.
    process_in_background();
    let flags = Layer {
        consumer_dir: args.dir,
        consumer_limit: args.limit,
        trackers: some_list(&args.tracker),
        consumer_listen: some_list(&args.network.listen),
        ..network_layer(&args.network)
    };
    let settings = locate::settings(global, flags)?;
    let directory = named(settings.consumer_dir.clone(), "consumer.dir")?;
    let Some(limit) = settings.consumer_limit else {
        return Err(UsageError::of("how much may it keep? give --limit, for example --limit \"5 GB\""));
    };
    if limit.0 == 0 {
        return Err(UsageError::of(
            "a consumer with limit 0 keeps nothing: give --limit, for example --limit \"5 GB\"",
        ));
    }
    let options = ConsumerOptions { directory, limit_bytes: limit.0, trackers: settings.trackers.clone() };
    child::run_service(async move {
        let shutdown = Shutdown::new();
        child::stop_on_signals(shutdown.clone())?;
        let node = Node::start(&options.directory, Role::Consumer, &settings, &settings.consumer_listen).await?;
        let disk =
            RealDisk::new(&options.directory).with_context(|| format!("cannot use {}", options.directory.display()))?;
        let parts = ConsumerParts {
            lock: node.lock,
            disk: Arc::new(disk),
            network: Arc::clone(&node.network) as Arc<dyn Network>,
            identity: node.identity,
            chance: Arc::new(SystemChance::default()),
            tasks: Tasks::new(Shutdown::new()),
        };
        let consumer = Consumer::start(options, parts).await?;
        child::say_ready(&address_words(node.network.as_ref()));
        shutdown.started().await;
        consumer.stop().await;
        close(&node.network, &node.tasks).await;
        Ok(())
    })
}

/// Runs a tracker until SIGINT or SIGTERM.
pub fn start_tracker(global: &Global, args: TrackerStartArgs) -> anyhow::Result<()> {
    child::adopt(&args.network.child)?;
    let flags = Layer {
        tracker_dir: args.dir,
        tracker_listen: some_list(&args.network.listen),
        ..network_layer(&args.network)
    };
    let settings = locate::settings(global, flags)?;
    let options = TrackerOptions { directory: named(settings.tracker_dir.clone(), "tracker.dir")? };
    child::run_service(async move {
        let shutdown = Shutdown::new();
        child::stop_on_signals(shutdown.clone())?;
        let node = Node::start(&options.directory, Role::Tracker, &settings, &settings.tracker_listen).await?;
        let parts = TrackerParts {
            lock: node.lock,
            network: Arc::clone(&node.network) as Arc<dyn Network>,
            identity: node.identity,
            chance: Arc::new(SystemChance::default()),
            tasks: Tasks::new(Shutdown::new()),
        };
        let tracker = Tracker::start(options, parts).await?;
        child::say_ready(&address_words(node.network.as_ref()));
        shutdown.started().await;
        let stopped = tracker.stop().await;
        close(&node.network, &node.tasks).await;
        Ok(stopped?)
    })
}

/// Prints what a running consumer or tracker says of itself.
pub async fn status(global: &Global, args: NodeStatusArgs, role: Role) -> anyhow::Result<()> {
    let settings = locate::settings(global, Layer::default())?;
    let (configured, key) = match role {
        Role::Tracker => (settings.tracker_dir, "tracker.dir"),
        Role::Consumer | Role::Producer => (settings.consumer_dir, "consumer.dir"),
    };
    let directory = named(args.dir.or(configured), key)?;
    let status = read_status(&directory).await?;
    let (is_tracker, wants_tracker) = (status.get("known_consumers").is_some(), role == Role::Tracker);
    if is_tracker != wants_tracker {
        let other = if is_tracker { "tracker" } else { "consumer" };
        bail!("{} is the directory of a {other}: ask with openbucket {other} status", directory.display());
    }
    output::line(&if args.json { status.to_string() } else { output::describe(&status) })
}

fn network_layer(args: &NetworkArgs) -> Layer {
    Layer { group: args.group.clone(), mdns: args.no_mdns.then_some(false), ..Layer::default() }
}

fn named(directory: Option<PathBuf>, key: &str) -> anyhow::Result<PathBuf> {
    let missing =
        || UsageError::of(format!("which directory? name it with --dir, or set {key} in a configuration file"));
    std::path::absolute(directory.ok_or_else(missing)?).context("the directory")
}

/// What a node has before its service: the lock, the keys, the network.
struct Node {
    lock: StateLock,
    identity: ServerIdentity,
    network: Arc<Libp2pNetwork>,
    tasks: Tasks,
}

impl Node {
    async fn start(directory: &Path, role: Role, settings: &Settings, listen: &[String]) -> anyhow::Result<Node> {
        let lock = StateLock::acquire(directory, &role.to_string())?;
        let chance = SystemChance::default();
        let fresh = Fresh { peer: Zeroizing::new(chance.bytes32()), owner: Zeroizing::new(chance.bytes32()) };
        let identity = KeyStore::open(keys_directory(directory))?.identity(role, fresh, SystemClock.now())?;
        let peer_key = Arc::new(identity.peer_key);
        let options = Libp2pOptions {
            peer_key: Arc::clone(&peer_key),
            listen: listen.to_vec(),
            group: settings.group.clone(),
            enable_mdns: settings.is_mdns,
        };
        // Not the service's tasks: the network outlives them, so that goodbyes are said.
        let tasks = Tasks::new(Shutdown::new());
        let network = Libp2pNetwork::start(options, &tasks).await?;
        let identity = ServerIdentity { peer_key, certificate: identity.certificate, clock: Arc::new(SystemClock) };
        Ok(Node { lock, identity, network, tasks })
    }
}

async fn close(network: &Libp2pNetwork, tasks: &Tasks) {
    network.close().await;
    if !tasks.stop(limits::STOP_TIMEOUT).await {
        tracing::warn!(op = "stop", "the network did not close in time");
    }
}

/// `PEER ADDRESS`: the first address.
fn address_words(network: &dyn Network) -> String {
    let address = network.addresses().into_iter().next().unwrap_or_default();
    format!("{} {address}", network.local_peer())
}
