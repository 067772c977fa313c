//! A real bucket that knows no consumer, mounted.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use openbucket::{
    base::{BucketId, Ino, Scheme},
    bucket::{self, Bucket},
    coding::BucketKey,
    dispatch::{self, Dispatcher},
    keys::{OwnerKey, PeerKey, Role},
    mount::{self, Mounted, Options},
    net::{ShardClient, SimulatedOptions, SimulatedWorld},
    runtime::{Chance, Clock, CpuPool, SeededChance, Shutdown, SystemClock, Tasks},
};
use tokio::runtime::Runtime;

/// A mounted bucket, and the directory where it is.
pub struct Fixture {
    mounted: Option<Mounted>,
    pub bucket: Bucket,
    pub dir: tempfile::TempDir,
    pub runtime: Runtime,
    _state: tempfile::TempDir,
}

/// A real bucket that knows no consumer: everything stays staged.
fn bucket_without_consumers(state: &Path) -> Bucket {
    let chance: Arc<dyn Chance> = Arc::new(SeededChance::new(1));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let tasks = Tasks::new(Shutdown::new());
    let network = SimulatedWorld::new(Arc::clone(&chance), SimulatedOptions::default());
    let peer = PeerKey::from_seed([7; 32]).peer_id();
    let certificate = OwnerKey::from_seed(&[8; 32]).certify(peer, Role::Producer, clock.now());
    let dispatcher = Dispatcher::new(
        dispatch::Parts {
            client: Arc::new(ShardClient::new(network.join(peer), certificate)),
            tracker: None,
            clock: Arc::clone(&clock),
            chance: Arc::clone(&chance),
            tasks: tasks.clone(),
            pool: CpuPool::new(1),
        },
        dispatch::Options::default(),
    );
    let options = bucket::Options {
        name: "test".into(),
        id: BucketId([9; 32]),
        directory: state.join("bucket"),
        scheme: Scheme::BASIC,
        staging_bytes: 1 << 30,
        cache_memory_bytes: 1 << 20,
        cache_disk_bytes: 1 << 20,
        read_timeout: Duration::from_secs(5),
        is_durability_network: false,
        uid: 0,
        gid: 0,
    };
    let key = BucketKey::new([3; 32]);
    let parts = bucket::Parts { key, dispatcher: Arc::new(dispatcher), clock, chance, tasks };
    Bucket::start(options, parts).unwrap()
}

impl Fixture {
    /// None, with a line that says so, where nothing can be mounted.
    pub fn new(change: impl FnOnce(&mut Options)) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        use mount::Error::{DeviceDenied, NoDevice, NoHelper};
        if let Err(error @ (NoDevice | DeviceDenied | NoHelper)) = mount::check_mountpoint(dir.path()) {
            println!("skipped: {error}");
            return None;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut options = Options::new(dir.path(), "/run/ob/api.sock");
        change(&mut options);
        let state = tempfile::tempdir().unwrap();
        let bucket = runtime.block_on(async { bucket_without_consumers(state.path()) });
        let tasks = Tasks::new(Shutdown::new());
        let mounted = mount::mount(bucket.clone(), options, tasks, runtime.handle().clone()).unwrap();
        Some(Self { mounted: Some(mounted), bucket, dir, runtime, _state: state })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn mounted(&self) -> &Mounted {
        self.mounted.as_ref().unwrap()
    }

    pub fn unmount(self) {
        self.runtime.block_on(self.mounted().unmount()).unwrap();
        assert!(self.mounted().is_unmounted());
        assert_eq!(fs::read_dir(self.dir.path()).unwrap().count(), 0, "the directory below is seen again");
    }

    /// Drops the kernel's pages and attributes of a file.
    pub fn invalidate(&self, path: &Path) {
        let ino = Ino(fs::metadata(path).unwrap().ino());
        self.runtime.block_on(self.mounted().invalidator().invalidate_all(vec![ino])).unwrap();
    }
}
