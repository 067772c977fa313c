//! The dispatcher itself: what it is made of, and the calls that are one request.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{Semaphore, watch};

use super::{
    Announce, Counters, Error,
    choose::Chooser,
    counters::{Counting, count},
    directory::{Directory, Remembered},
    pace::Pace,
};
use crate::{
    base::{ErrorKind, Kinded, Mutex, PeerId, ShardId, limits},
    net::{self, Candidate, ShardClient, ShardPage, TrackerClient},
    runtime::{Chance, Clock, CpuPool, Tasks},
};

/// What a dispatcher works with.
pub struct Parts {
    pub client: Arc<ShardClient>,
    /// Without one only the consumers given to [`Dispatcher::learn`] are known.
    pub tracker: Option<Arc<TrackerClient>>,
    pub clock: Arc<dyn Clock>,
    pub chance: Arc<dyn Chance>,
    pub tasks: Tasks,
    pub pool: CpuPool,
}

/// What may be configured.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A gather or rebuild fails after this.
    pub read_timeout: Duration,
    /// Chunks on their way at a time, their last shards included: bounds the memory.
    pub scatters: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { read_timeout: limits::READ_TIMEOUT, scatters: limits::SCATTERS }
    }
}

/// Places shards on consumers and collects them again. Clones share it.
#[derive(Clone)]
pub struct Dispatcher {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) client: Arc<ShardClient>,
    pub(super) directory: Arc<Directory>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) chance: Arc<dyn Chance>,
    pub(super) tasks: Tasks,
    pub(super) pool: CpuPool,
    pub(super) options: Options,
    pub(super) pace: Mutex<Pace>,
    pub(super) counting: Counting,
    pub(super) scatters: Arc<Semaphore>,
}

impl Dispatcher {
    /// A dispatcher that knows nobody yet; it begins to ask the tracker at once. Call within a tokio runtime.
    pub fn new(parts: Parts, options: Options) -> Self {
        let directory = Directory::new(Arc::clone(&parts.client), parts.tracker);
        let mut changed = directory.changed();
        directory.start(&parts.tasks);
        let inner = Arc::new(Inner {
            client: parts.client,
            directory,
            clock: parts.clock,
            chance: parts.chance,
            tasks: parts.tasks,
            pool: parts.pool,
            options,
            pace: Mutex::default(),
            counting: Counting::default(),
            scatters: Arc::new(Semaphore::new(options.scatters.max(1))),
        });
        let ahead = Arc::clone(&inner);
        inner.tasks.spawn_until_shutdown(async move {
            // An error means that this dispatcher has ended.
            if changed.changed().await.is_ok() {
                ahead.connect_ahead().await;
            }
        });
        Self { inner }
    }

    /// Consumers remembered from earlier; what the tracker said since is not replaced.
    pub fn learn(&self, remembered: Vec<Remembered>) {
        self.inner.directory.learn(remembered);
    }

    /// What [`Self::learn`] is to be told at the next start.
    pub fn remembered(&self) -> Vec<Remembered> {
        self.inner.directory.remembered()
    }

    /// All consumers known.
    pub fn known(&self) -> Vec<Candidate> {
        self.inner.directory.known()
    }

    /// Whether the tracker has named the consumers since the start; true without a tracker.
    pub fn is_informed(&self) -> bool {
        self.inner.directory.is_informed()
    }

    /// Changes whenever a consumer or its addresses become known.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.inner.directory.changed()
    }

    /// Changes whenever a consumer becomes known, or is there again that was away.
    pub fn returned(&self) -> watch::Receiver<u64> {
        self.inner.directory.returned()
    }

    /// Why the tracker cannot be asked, if so.
    pub fn tracker_problem(&self) -> Option<String> {
        self.inner.directory.problem()
    }

    /// (total, free) raw bytes of the consumers online; a chunk takes n/k of its size of them.
    pub fn network_space(&self) -> (u64, u64) {
        self.inner.directory.space()
    }

    /// What was moved so far.
    pub fn counters(&self) -> Counters {
        self.inner.counting.read()
    }

    /// Makes a consumer forget a shard, durably; one that has no such shard is fine.
    ///
    /// # Errors
    /// [`Error::Resting`] at once while the consumer is known to be away; [`Error::Net`].
    pub async fn delete(&self, consumer: PeerId, shard: ShardId) -> Result<(), Error> {
        if self.inner.directory.is_resting(consumer) {
            return Err(Error::Resting(consumer));
        }
        self.inner.delete(consumer, shard).await.map_err(Error::from)
    }

    /// The next of this producer's shards that a consumer has, above an id, in order.
    pub async fn list_page(&self, consumer: PeerId, after: Option<ShardId>) -> Result<ShardPage, Error> {
        let contact = self.inner.directory.contact(consumer);
        Ok(self.inner.client.list_page(&contact, after).await?)
    }

    /// How many bytes of a shard a consumer says it has; None when it has no such shard.
    pub async fn stat(&self, consumer: PeerId, shard: ShardId) -> Result<Option<u32>, Error> {
        let contact = self.inner.directory.contact(consumer);
        match self.inner.client.stat(&contact, shard).await {
            Ok(stat) => Ok(Some(stat.bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether [`Self::place`] has somebody to ask, as far as is known.
    pub fn has_place(&self, bytes: usize, exclude: &[PeerId]) -> bool {
        self.inner.chooser_for_one(bytes, exclude).left() > 0
    }

    /// Puts one shard on a consumer that is none of `exclude` (the holders of the chunk's other shards), of
    /// another owner and network than theirs if there is one, and returns it. Tries a few; may take a minute. Each was
    /// announced before, and may have the shard whatever came of its try.
    ///
    /// # Errors
    /// [`Error::NotEnough`] when none took it; what `announce` fails with.
    pub async fn place(
        &self,
        shard: ShardId,
        data: Bytes,
        exclude: &[PeerId],
        announce: &Announce,
    ) -> Result<PeerId, Error> {
        let inner = &self.inner;
        let mut chooser = inner.chooser_for_one(data.len(), exclude);
        if chooser.left() == 0 {
            inner.directory.refresh().await;
            chooser = inner.chooser_for_one(data.len(), exclude);
        }
        let mut why = "none online has the space and holds no shard of the chunk yet".to_owned();
        for _ in 0..limits::PLACE_TRIES {
            let Some(candidate) = chooser.take() else { break };
            let consumer = candidate.contact.peer;
            announce(vec![(consumer, shard)]).await?;
            match inner.put(&candidate, shard, data.clone()).await {
                Ok(()) => return Ok(consumer),
                Err(error) => {
                    chooser.release(consumer);
                    why = error.to_string();
                }
            }
        }
        Err(Error::NotEnough { needed: 1, online: inner.directory.online(), why })
    }
}

impl Inner {
    /// Connects to some of the consumers that are known first, so that a read need not: those that have answered earlier, then
    /// those that were heard of last.
    async fn connect_ahead(&self) {
        let mut known = self.directory.remembered();
        known.sort_by_key(|it| (!it.candidate.is_online, !it.has_answered, Reverse(it.candidate.last_beat)));
        let connecting = known.into_iter().take(limits::CONNECTED_AHEAD).map(|it| async move {
            if let Err(error) = self.client.connect(&it.candidate.contact).await {
                tracing::debug!(op = "connect", peer = %it.candidate.contact.peer, %error);
            }
        });
        futures::future::join_all(connecting).await;
    }

    fn chooser_for_one(&self, bytes: usize, exclude: &[PeerId]) -> Chooser {
        let (good, bad) = self.directory.choices(bytes as u64, &exclude.iter().copied().collect());
        let mut chooser = Chooser::new(if good.is_empty() { bad } else { good }, &*self.chance);
        for holder in exclude.iter().filter_map(|peer| self.directory.candidate(*peer)) {
            chooser.hold(&holder);
        }
        chooser
    }

    /// Puts a shard and remembers how the consumer did. One that refuses may have it all the same: a flush that failed
    /// may yet reach the disk.
    pub(super) async fn put(&self, to: &Candidate, shard: ShardId, data: Bytes) -> Result<(), net::Error> {
        let (peer, bytes) = (to.contact.peer, data.len());
        match self.client.put(&to.contact, shard, data).await {
            Ok(_) => {
                self.directory.took(peer, bytes as u64, self.clock.now());
                count(&self.counting.shards_sent, 1);
                count(&self.counting.shard_bytes, bytes);
                Ok(())
            }
            Err(error) => {
                self.counting.failed(&error);
                tracing::debug!(op = "put", %peer, %shard, %error);
                match error.kind() {
                    ErrorKind::Full => self.directory.is_full(peer),
                    ErrorKind::Unavailable => {
                        self.directory.rest(peer);
                        self.directory.back_off(peer);
                    }
                    _ => self.directory.back_off(peer),
                }
                Err(error)
            }
        }
    }

    pub(super) async fn delete(&self, consumer: PeerId, shard: ShardId) -> Result<(), net::Error> {
        let contact = self.directory.contact(consumer);
        match self.client.delete(&contact, shard).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => {
                if error.kind() == ErrorKind::Unavailable {
                    self.directory.rest(consumer);
                }
                Err(error)
            }
        }
    }
}
