//! The life of the producer's process.

use std::{path::Path, sync::Arc};

use tokio::{runtime::Handle, sync::mpsc};
use zeroize::Zeroizing;

use super::{
    Error, Options,
    api::{Api, Context},
    claim::claim,
    stop::{self, StopCall},
};
use crate::{
    base::{OwnerId, PeerId, limits},
    bucket::{self, Bucket},
    coding::BucketKey,
    dispatch::{self, Dispatcher},
    keys::{Certificate, Fresh, Identity, KeyStore, Role, RootSecret},
    mount::Mounted,
    net::{Libp2pNetwork, Libp2pOptions, Network, ShardClient, TrackerClient},
    rpc,
    runtime::{Chance, Clock, CpuPool, Shutdown, SystemChance, SystemClock, Tasks},
};

/// How far the process is, for whoever supervises it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Files can be used.
    Ready,
    /// It is unmounted, or will be; what is left is closing.
    Stopping,
}

/// Is told each phase once, in order.
pub type Observer = Box<dyn Fn(Phase) + Send + Sync>;

/// Runs the producer's process; returns after it is drained and unmounted. Waits for an earlier daemon of the same state
/// that is closing.
pub async fn run(options: Options, shutdown: Shutdown, observer: Observer) -> Result<(), Error> {
    check_name(&options.bucket)?;
    let _lock = claim(&options.state_directory).await?;
    let (root, identity) = open_keys(&options.state_directory)?;
    let net_tasks = Tasks::new(Shutdown::new());
    let network = Libp2pNetwork::start(
        Libp2pOptions {
            peer_key: Arc::new(identity.peer_key),
            listen: options.listen.clone(),
            group: options.group.clone(),
            enable_mdns: options.is_mdns,
        },
        &net_tasks,
    )
    .await?;
    let network: Arc<dyn Network> = network;
    let outcome = run_on(&options, &network, (&root, &identity.certificate), shutdown, observer).await;
    // Whatever failed: what was started is stopped.
    network.close().await;
    if !net_tasks.stop(limits::STOP_TIMEOUT).await {
        tracing::warn!("the network did not end in time");
    }
    outcome
}

/// Opens the bucket over this network, serves it, and closes it again.
async fn run_on(
    options: &Options,
    network: &Arc<dyn Network>,
    (root, certificate): (&RootSecret, &Certificate),
    shutdown: Shutdown,
    observer: Observer,
) -> Result<(), Error> {
    let tasks = Tasks::new(Shutdown::new());
    let client = Arc::new(ShardClient::new(Arc::clone(network), certificate.clone()));
    let tracker = match options.trackers.as_slice() {
        [] => None,
        addresses => Some(Arc::new(TrackerClient::new(Arc::clone(network), certificate.clone(), addresses)?)),
    };
    let (clock, chance) =
        (Arc::new(SystemClock) as Arc<dyn Clock>, Arc::new(SystemChance::default()) as Arc<dyn Chance>);
    let dispatcher = Arc::new(Dispatcher::new(
        dispatch::Parts {
            client,
            tracker,
            clock: Arc::clone(&clock),
            chance: Arc::clone(&chance),
            tasks: tasks.clone(),
            pool: CpuPool::for_this_machine(),
        },
        dispatch::Options { read_timeout: options.read_timeout, ..dispatch::Options::default() },
    ));
    let bucket = match open_bucket(options, root, &dispatcher, (clock, chance), tasks.clone()).await {
        Ok(bucket) => bucket,
        Err(error) => {
            if !tasks.stop(limits::STOP_TIMEOUT).await {
                tracing::warn!("background work did not end in time");
            }
            return Err(error);
        }
    };
    let parts = Parts { bucket: bucket.clone(), dispatcher, peer: network.local_peer(), owner: certificate.owner };
    let outcome = serve(options, parts, shutdown, observer).await;
    let closed = bucket.close(limits::STOP_TIMEOUT).await;
    outcome.and(closed.map_err(Error::from))
}

/// What is served.
struct Parts {
    bucket: Bucket,
    dispatcher: Arc<Dispatcher>,
    peer: PeerId,
    owner: OwnerId,
}

fn check_name(name: &str) -> Result<(), Error> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(is_plain) {
        return Err(Error::Name(name.chars().take(80).collect()));
    }
    Ok(())
}

fn open_keys(state: &Path) -> Result<(RootSecret, Identity), Error> {
    let keys = KeyStore::open(state.join("keys"))?;
    let root = keys.root()?.ok_or_else(|| Error::NoKeys(state.to_path_buf()))?;
    let chance = SystemChance::default();
    let fresh = Fresh { peer: Zeroizing::new(chance.bytes32()), owner: Zeroizing::new(chance.bytes32()) };
    let identity = keys.identity(Role::Producer, fresh, SystemClock.now())?;
    Ok((root, identity))
}

/// Opens the bucket on a thread that may wait for the disk.
async fn open_bucket(
    options: &Options,
    root: &RootSecret,
    dispatcher: &Arc<Dispatcher>,
    (clock, chance): (Arc<dyn Clock>, Arc<dyn Chance>),
    tasks: Tasks,
) -> Result<Bucket, Error> {
    let parts = bucket::Parts {
        key: BucketKey::new(*root.bucket_key(&options.bucket)),
        dispatcher: Arc::clone(dispatcher),
        clock,
        chance,
        tasks,
    };
    let bucket_options = bucket::Options {
        name: options.bucket.clone(),
        id: root.bucket_id(&options.bucket),
        directory: options.bucket_directory(),
        scheme: options.scheme,
        staging_bytes: options.staging_bytes,
        cache_memory_bytes: options.cache_memory_bytes,
        cache_disk_bytes: options.cache_disk_bytes,
        read_timeout: options.read_timeout,
        is_durability_network: options.is_durability_network,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
    };
    join(tokio::task::spawn_blocking(move || Bucket::start(bucket_options, parts))).await?.map_err(Error::from)
}

async fn join<T>(task: tokio::task::JoinHandle<T>) -> Result<T, Error> {
    task.await.map_err(|error| Error::Bug(error.to_string()))
}

/// Mounts, answers the API, and stops in order when told to, signalled, or unmounted from outside.
async fn serve(options: &Options, parts: Parts, shutdown: Shutdown, observer: Observer) -> Result<(), Error> {
    let Parts { bucket, dispatcher, peer, owner } = parts;
    let socket = rpc::Socket::bind(&options.state_directory.join("socket"))?;
    let io_tasks = Tasks::new(Shutdown::new());
    let mounted = match &options.mount {
        Some(mount) => Some(Arc::new(attach(mount, socket.path(), &bucket, &io_tasks).await?)),
        None => None,
    };
    let (calls, mut stop_calls) = mpsc::channel::<StopCall>(1);
    let api = Api::new(Context {
        bucket: bucket.clone(),
        directory: options.bucket_directory(),
        dispatcher,
        invalidator: mounted.as_ref().map(|mounted| mounted.invalidator()),
        mountpoint: options.mount.as_ref().map(|mount| mount.mountpoint.clone()),
        socket: socket.path().to_path_buf(),
        peer,
        owner,
        trackers: options.trackers.clone(),
        options: options.words(),
        stop: calls,
    });
    let (stop, api_shutdown) = (shutdown.child(), Shutdown::new());
    let server = tokio::spawn({
        let (stop, api_shutdown) = (stop.clone(), api_shutdown.clone());
        async move {
            let served = rpc::serve(socket, api, api_shutdown).await;
            // A daemon that no command reaches must not go on: it stops as if signalled.
            stop.start();
            served
        }
    });
    observer(Phase::Ready);
    let stopped = stop::wait_and_stop(&bucket, mounted.as_deref(), &mut stop_calls, stop).await;
    observer(Phase::Stopping);
    api_shutdown.start();
    let served = join(server).await;
    if !io_tasks.stop(limits::STOP_TIMEOUT).await {
        tracing::warn!("reads and writes did not end in time");
    }
    stopped?;
    served?.map_err(Error::from)
}

async fn attach(mount: &super::MountOptions, socket: &Path, bucket: &Bucket, tasks: &Tasks) -> Result<Mounted, Error> {
    let options = mount.for_mount(socket);
    let (bucket, tasks, handle) = (bucket.clone(), tasks.clone(), Handle::current());
    join(tokio::task::spawn_blocking(move || crate::mount::mount(bucket, options, tasks, handle)))
        .await?
        .map_err(Error::from)
}
