//! Opening and closing a bucket.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{Notify, Semaphore, watch};

use super::{
    ACCOUNTS_RANK, Bucket, Error, Inner, NAMESPACE_RANK, cache, collect::Collector, commit::blocking, handles::Handles,
    pace::Pace, reap::Reaper, records::Counters, room::Stall, staging::Staging, tree::Namespace,
    unreadable::Unreadable, upload::Uploader, write::WriteBack,
};
use crate::{
    base::{BucketId, Ino, Mutex, Record, Scheme, limits},
    coding::BucketKey,
    dispatch::Dispatcher,
    runtime::{Chance, Clock, CpuPool, Tasks},
    store::{self, Database, Disk, RealDisk, StagingFiles, StateLock, Table},
};

/// How a bucket is kept.
#[derive(Clone, Debug)]
pub struct Options {
    pub name: String,
    pub id: BucketId,
    /// The bucket's own directory: database, log, staging, cache.
    pub directory: PathBuf,
    /// How files are kept that say nothing of their own.
    pub scheme: Scheme,
    pub staging_bytes: u64,
    pub cache_memory_bytes: u64,
    pub cache_disk_bytes: u64,
    pub read_timeout: Duration,
    /// Whether fsync waits for consumers.
    pub is_durability_network: bool,
    /// Who owns the root of a new bucket.
    pub uid: u32,
    pub gid: u32,
}

/// What a bucket needs from outside.
pub struct Parts {
    pub key: BucketKey,
    pub dispatcher: Arc<Dispatcher>,
    pub clock: Arc<dyn Clock>,
    pub chance: Arc<dyn Chance>,
    pub tasks: Tasks,
}

impl Bucket {
    /// Opens a bucket (its state directory), replays what a crash left, and starts its background work. Blocks on the disk;
    /// call it inside a tokio runtime.
    pub fn start(options: Options, parts: Parts) -> Result<Self, Error> {
        Self::start_on(options, parts, |path| {
            Ok(Arc::new(RealDisk::new(path).map_err(store::Error::io("cannot create", path))?))
        })
    }

    /// The same with the log, the staging files and the cache on disks of the caller's.
    pub(super) fn start_on(
        options: Options,
        parts: Parts,
        disk: impl Fn(&Path) -> Result<Arc<dyn Disk>, Error>,
    ) -> Result<Self, Error> {
        let lock = StateLock::acquire(&options.directory, "mount")?;
        let disk = |name| disk(&options.directory.join(name));
        let log_disk = disk("log")?;
        let staging = Arc::new(Staging::open_all(disk("staging")?, options.staging_bytes)?);
        // A killed process may have made them and not flushed their names, which the log stands for until it begins anew.
        staging.flush_entries()?;
        let files = Arc::clone(&staging) as Arc<dyn StagingFiles>;
        let database = Database::open(&options.directory, &*log_disk, files)?;
        let cache = cache::BlockCache::open(disk("cache")?, options.cache_memory_bytes, options.cache_disk_bytes)?;
        let counters = match database.get(Table::Meta, &[b"counters"])? {
            Some(bytes) => Counters::decode(&bytes).map_err(store::Error::from)?,
            None => Counters::default(),
        };
        let inner = Arc::new(Inner {
            key: parts.key,
            database,
            staging,
            cache,
            flights: cache::Flights::default(),
            dispatcher: parts.dispatcher,
            pool: CpuPool::for_this_machine(),
            clock: parts.clock,
            chance: parts.chance,
            tasks: parts.tasks,
            namespace: Mutex::ranked(NAMESPACE_RANK, Namespace::new(counters)),
            cells: Mutex::default(),
            accounts: Mutex::ranked(ACCOUNTS_RANK, ()),
            handles: Handles::default(),
            uploader: Uploader::new(),
            reaper: Reaper::default(),
            write_back: WriteBack::default(),
            collector: Collector::default(),
            apply: Notify::new(),
            announced: Mutex::default(),
            stall: Stall::default(),
            unreadable: Unreadable::default(),
            delete: Notify::new(),
            complete: Notify::new(),
            ahead: Arc::new(Semaphore::new(limits::AHEAD_FETCHES)),
            ahead_pace: Pace::new(1, 0, limits::AHEAD_FETCHES),
            cache_writes: Arc::new(Semaphore::new(limits::CACHE_WRITE_BLOCKS)),
            changes: watch::Sender::new(0),
            _lock: lock,
            options,
        });
        inner.make_root(inner.options.uid, inner.options.gid)?;
        inner.recover()?;
        inner.start();
        Ok(Self { inner })
    }

    /// Makes everything durable on the local disk, ends the background work and closes the database.
    /// What is staged and not uploaded yet goes on at the next mount.
    pub async fn close(&self, deadline: Duration) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        let logged = blocking(move || inner.log_all()).await;
        if !self.inner.tasks.stop(deadline).await {
            tracing::warn!("background work of the bucket did not end in time; it goes on at the next mount");
        }
        let inner = Arc::clone(&self.inner);
        // Closed whatever else fails: what is in the log goes on at the next mount.
        let closed = blocking(move || {
            let logged = inner.log_all();
            inner.database.close()?;
            logged
        });
        closed.await.and(logged)
    }
}

impl Inner {
    /// Takes up what the last run left: staged files, orphans, uploads cut short, known consumers.
    fn recover(&self) -> Result<(), Error> {
        self.recall_consumers()?;
        for (ino, stored) in self.stored_ranges()? {
            let bytes = stored.covered_bytes();
            let cell = self.cell_with(ino, || stored)?;
            if let Err(error) = self.find_waste(&cell) {
                // What uploads it says so, too.
                tracing::warn!(file = ino.0, %error, "a staging file cannot be looked at");
            }
            self.staging.account(0, bytes);
            self.uploader.note(ino, true);
        }
        for (key, _) in self.database.scan(Table::Orphan, b"", b"", usize::MAX)? {
            self.reap(Ino(u64::from_be_bytes(key.as_slice().try_into().map_err(|_| Error::Stale)?)));
        }
        for ino in self.staging.inodes()? {
            if !self.is_staged(ino) {
                self.staging.remove(ino);
            }
        }
        for chunk in self.pinned_chunks()? {
            self.cache.set_pinned(chunk, true);
        }
        self.cache.trim();
        Ok(())
    }

    fn start(self: &Arc<Self>) {
        self.work("upload", Self::upload_until_shutdown);
        self.work("reap", Self::reap_until_shutdown);
        self.work("apply", Self::apply_until_shutdown);
        self.work("delete", Self::delete_until_shutdown);
        self.work("complete", Self::complete_until_shutdown);
        self.work("collect", Self::collect_until_shutdown);
        self.work("write-back", Self::write_back_until_shutdown);
        self.work("remember-consumers", Self::remember_consumers_until_shutdown);
    }

    fn work<F: Future<Output = ()> + Send + 'static>(self: &Arc<Self>, name: &'static str, work: fn(Arc<Self>) -> F) {
        let inner = Arc::clone(self);
        self.tasks.spawn_worker(name, move || work(Arc::clone(&inner)));
    }

    /// Tells whoever waits that a state has changed.
    pub fn note_change(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}
