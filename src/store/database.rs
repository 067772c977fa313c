//! The bucket's database: batches in the intent log and in memory, checkpointed into sled.
//!
//! A [`Batch`] is all or nothing. `commit` appends it to the log (one write,
//! no flush) and makes it visible; `sync` makes everything committed so far
//! durable with one fdatasync, shared by all who wait (group commit). A
//! background thread moves batches from the log into sled: it flushes the log
//! first, so that sled never holds what the log could lose, then the staging
//! files whose data the log carries, then sled itself; only then the log file
//! is free for its next turn. In a simulation who finds the log full does that thread's work.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use super::{
    Batch, Disk, Error,
    log::{self, LOG_BYTES, LogFile, RECORD_BYTES},
    overlay::{Memory, changes},
    replay::replay,
    schema::{Table, key},
    trees::{self, Trees, trees_error},
};
use crate::{
    base::{Condvar, Mutex, MutexGuard, RwLock, limits},
    runtime::{OneThread, Prompt, failpoint},
};

/// The place of a batch in the order of all batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence(u64);

impl Sequence {
    /// Before all batches of this run.
    pub const START: Self = Self(0);
}

/// Where the staging files are flushed and replayed; the database calls it.
pub trait StagingFiles: Send + Sync + 'static {
    /// Makes all data of these inodes' staging files durable. Files that are gone are fine.
    fn flush(&self, inodes: &BTreeSet<u64>) -> Result<(), Error>;
    /// Puts replayed bytes into a staging file.
    fn restore(&self, ino: u64, offset: u64, bytes: &[u8]) -> Result<(), Error>;
}

/// A key, without table byte and prefix, and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

struct Log {
    /// The one at `current` is written, the other waits for its checkpoint or its turn.
    files: [LogFile; 2],
    current: usize,
    epoch: u64,
    committed: u64,
    /// Inodes whose staging data only the current file carries.
    inline: BTreeSet<u64>,
    checkpoint: Checkpoint,
    is_closing: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Checkpoint {
    Idle,
    Wanted,
    Running,
}

#[derive(Default)]
struct Flushed {
    upto: u64,
    /// What each flush under way makes durable at least. More than one at a time: who comes a moment after a flush has
    /// begun begins the next and does not wait for two.
    running: [Option<u64>; limits::LOG_FLUSHES],
    failure: Option<String>,
}

pub(super) struct Inner {
    pub(super) trees: Trees,
    pub(super) memory: RwLock<Memory>,
    log: Mutex<Log>,
    /// Signals the checkpoint thread, and writers that wait for a free log file.
    turn: Condvar,
    flushed: Mutex<Flushed>,
    flushed_changed: Condvar,
    staging: Arc<dyn StagingFiles>,
    /// There is no checkpoint thread: who finds the log full does its work.
    is_alone: bool,
}

/// The open database. One per state directory.
pub struct Database {
    pub(super) inner: Arc<Inner>,
    checkpointer: Mutex<Option<JoinHandle<()>>>,
}

impl Database {
    /// Opens the trees in `directory` and the log on `disk`, and replays what the last run left.
    pub fn open(directory: &Path, disk: &dyn Disk, staging: Arc<dyn StagingFiles>) -> Result<Self, Error> {
        let trees = trees::open(&directory.join("trees"))?;
        // The disk's root is not known to the log.
        let placed = |error| match error {
            Error::Corrupt { path, why } if path.is_relative() => {
                Error::Corrupt { path: directory.join("log").join(path), why }
            }
            other => other,
        };
        let file = |name: &str| LogFile::open_whole(disk, PathBuf::from(name), LOG_BYTES).map_err(placed);
        let mut files = [file("log-0")?, file("log-1")?];
        LogFile::check_turns(&files).map_err(placed)?;
        let newest = replay(&files, &trees, &*staging).map_err(placed)?;
        disk.sync_directory(Path::new("")).map_err(Error::io("cannot flush", directory))?;
        failpoint("log-replayed");
        // The older file first: a crash in between must not leave an older log without its newer one.
        let older = usize::from(files[0].read_epoch()? > files[1].read_epoch()?);
        let (current, epoch) = (1 - older, newest + 2);
        files[older].begin(newest + 1)?;
        failpoint("log-older-begun");
        files[current].begin(epoch)?;
        let inner = Arc::new(Inner {
            trees,
            memory: RwLock::default(),
            log: Mutex::new(Log {
                files,
                current,
                epoch,
                committed: 0,
                inline: BTreeSet::new(),
                checkpoint: Checkpoint::Idle,
                is_closing: false,
            }),
            turn: Condvar::new(),
            flushed: Mutex::default(),
            flushed_changed: Condvar::new(),
            staging,
            is_alone: OneThread::is_entered(),
        });
        let start = || {
            let worker = Arc::clone(&inner);
            let thread = std::thread::Builder::new().name("checkpoint".to_owned());
            thread.spawn(move || worker.checkpoint_until_closed())
        };
        let checkpointer = (!inner.is_alone).then(start).transpose();
        let checkpointer = checkpointer.map_err(Error::io("cannot start the checkpoint thread for", directory))?;
        Ok(Self { inner, checkpointer: Mutex::new(checkpointer) })
    }

    /// The value of a key.
    pub fn get(&self, table: Table, parts: &[&[u8]]) -> Result<Option<Vec<u8>>, Error> {
        let key = key(table, parts);
        let frozen = {
            let memory = self.inner.memory.read();
            if let Some(value) = memory.active.get(&key) {
                return Ok(value.as_deref().map(<[u8]>::to_vec));
            }
            Arc::clone(&memory.frozen)
        };
        if let Some(value) = frozen.get(&key) {
            return Ok(value.as_deref().map(<[u8]>::to_vec));
        }
        Ok(self.inner.trees.get(&key).map_err(trees_error)?.map(|value| value.to_vec()))
    }

    /// Appends a batch and makes it visible. Waits for the local disk only when both log files are full.
    pub fn commit(&self, batch: Batch) -> Result<Sequence, Error> {
        self.inner.commit(batch)
    }

    /// The newest batch.
    pub fn last(&self) -> Sequence {
        Sequence(self.inner.log.lock().committed)
    }

    /// Makes every batch up to this one durable; shared with all who wait at the same time. Blocks on the disk.
    pub fn sync(&self, upto: Sequence) -> Result<(), Error> {
        self.inner.sync(upto.0)
    }

    /// Whether a batch is durable.
    pub fn is_durable(&self, sequence: Sequence) -> bool {
        self.inner.flushed.lock().upto >= sequence.0
    }

    /// Takes no more changes until a restart: the disk has not taken what was to be durable beside the log.
    pub fn fail(&self, error: &Error) {
        self.inner.fail(error);
    }

    /// Makes every batch committed so far durable.
    pub fn sync_all(&self) -> Result<(), Error> {
        let committed = self.inner.log.lock().committed;
        self.inner.sync(committed)
    }

    /// Makes everything durable, checkpoints it and stops. Later commits fail with [`Error::Closed`].
    pub fn close(&self) -> Result<(), Error> {
        let flushed = self.sync_all();
        let was_closing = std::mem::replace(&mut self.inner.log.lock().is_closing, true);
        self.inner.turn.notify_all();
        if self.inner.is_alone && !was_closing {
            self.inner.checkpoint_once();
        }
        if let Some(thread) = self.checkpointer.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the checkpoint thread panicked; the intent log still holds everything");
        }
        flushed
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the state directory could not be flushed");
        }
    }
}

impl Inner {
    fn check(&self) -> Result<(), Error> {
        match &self.flushed.lock().failure {
            Some(why) => Err(Error::Closed(why.clone())),
            None => Ok(()),
        }
    }

    fn fail(&self, error: &Error) {
        tracing::error!(%error, "the state directory cannot be written; the bucket is read-only until a restart");
        self.flushed.lock().failure = Some(error.to_string());
        self.flushed_changed.notify_all();
        self.turn.notify_all();
    }

    fn commit(&self, batch: Batch) -> Result<Sequence, Error> {
        self.check()?;
        let body = log::encode(&batch.ops);
        if body.len() > RECORD_BYTES {
            return Err(Error::Full(format!("a change of {} bytes is larger than a log record", body.len())));
        }
        // Before the lock: who has it keeps all others.
        let (changes, inline) = changes(batch.ops);
        let _prompt = Prompt::enter();
        let mut log = self.log.lock();
        while !log.files[log.current].fits(body.len()) {
            // Seen before the wait: nobody signals once the checkpoint thread has ended.
            self.check()?;
            if log.is_closing {
                break;
            }
            if log.checkpoint == Checkpoint::Idle {
                log.checkpoint = Checkpoint::Wanted;
                self.turn.notify_all();
            }
            if self.is_alone {
                MutexGuard::unlocked(&mut log, || self.checkpoint_once());
            } else {
                self.turn.wait(&mut log);
            }
        }
        if log.is_closing {
            return Err(Error::Closed("the bucket is shutting down".to_owned()));
        }
        let current = log.current;
        if let Err(error) = log.files[current].append(&body) {
            self.fail(&error);
            return Err(error);
        }
        failpoint("log-appended");
        log.committed += 1;
        if log.files[current].is_half_full() && log.checkpoint == Checkpoint::Idle {
            log.checkpoint = Checkpoint::Wanted;
            self.turn.notify_all();
        }
        // Still under the log's lock, so that memory and log have one order.
        self.memory.write().active.extend(changes);
        log.inline.extend(inline);
        Ok(Sequence(log.committed))
    }

    fn sync(&self, upto: u64) -> Result<(), Error> {
        let mut flushed = self.flushed.lock();
        let place = loop {
            if let Some(why) = &flushed.failure {
                return Err(Error::Closed(why.clone()));
            }
            if flushed.upto >= upto {
                return Ok(());
            }
            let is_coming = flushed.running.iter().flatten().any(|running| *running >= upto);
            let free = flushed.running.iter().position(Option::is_none);
            match free.filter(|_| !is_coming) {
                Some(place) => break place,
                None => self.flushed_changed.wait(&mut flushed),
            }
        };
        flushed.running[place] = Some(upto);
        drop(flushed);
        let (committed, (file, path)) = {
            let log = self.log.lock();
            (log.committed, log.files[log.current].flush_handle(place))
        };
        self.flushed.lock().running[place] = Some(committed);
        let result = file.sync().map_err(Error::io("cannot flush", &path));
        failpoint("log-flushed");
        let mut flushed = self.flushed.lock();
        flushed.running[place] = None;
        match &result {
            // Earlier log files were flushed when they were frozen.
            Ok(()) => flushed.upto = flushed.upto.max(committed),
            // At once: a flush that is tried again succeeds, and the data is lost all the same.
            Err(error) => flushed.failure = Some(error.to_string()),
        }
        drop(flushed);
        if let Err(error) = &result {
            self.fail(error);
        }
        self.flushed_changed.notify_all();
        result
    }

    fn checkpoint_until_closed(&self) {
        loop {
            let is_closing = {
                let mut log = self.log.lock();
                while log.checkpoint == Checkpoint::Idle && !log.is_closing {
                    self.turn.wait(&mut log);
                }
                log.checkpoint = Checkpoint::Running;
                log.is_closing
            };
            self.checkpoint_once();
            if is_closing || self.check().is_err() {
                return;
            }
        }
    }

    /// Checkpoints, notes a failure, and gives the turn to who waits.
    fn checkpoint_once(&self) {
        // A panic must not leave writers waiting for a turn that never comes.
        let result = catch_unwind(AssertUnwindSafe(|| self.check().and_then(|()| self.checkpoint())))
            .unwrap_or_else(|_| Err(Error::Closed("the checkpoint panicked; restart openbucket".to_owned())));
        // Known before the thread is seen idle: else a writer waits for a turn that never comes.
        if let Err(error) = result
            && self.check().is_ok()
        {
            self.fail(&error);
        }
        self.log.lock().checkpoint = Checkpoint::Idle;
        self.turn.notify_all();
    }

    /// Moves the current log file's batches into sled while the other file takes the new ones.
    fn checkpoint(&self) -> Result<(), Error> {
        let (next, epoch, header, committed) = {
            let log = self.log.lock();
            let next = 1 - log.current;
            (next, log.epoch + 1, log.files[next].handle(), log.committed)
        };
        // What takes long goes before the turn, while others commit; only this thread turns.
        self.sync(committed)?;
        log::write_header(&header, epoch)?;
        failpoint("log-begun");
        let (old, inline, frozen) = {
            let _prompt = Prompt::enter();
            let mut log = self.log.lock();
            let old = log.files[log.current].handle();
            // The rest is flushed before the turn, under the lock: a sync of the new file stands for the old one too.
            if let Err(source) = old.0.sync() {
                let error = Error::io("cannot flush", &old.1)(source);
                // Still under the lock: no sync may try the same file again and believe it.
                self.fail(&error);
                return Err(error);
            }
            log.files[next].start(epoch);
            (log.current, log.epoch) = (next, epoch);
            let frozen = self.memory.write().freeze();
            (old, std::mem::take(&mut log.inline), frozen)
        };
        failpoint("log-turned");
        self.turn.notify_all();
        tracing::debug!(log = %old.1.display(), keys = frozen.len(), "checkpoint");
        self.staging.flush(&inline)?;
        failpoint("staged-flushed");
        let mut steps = self.trees.steps();
        for (key, value) in frozen.iter() {
            steps.set(key, value.as_deref())?;
        }
        failpoint("trees-applied");
        steps.finish()?;
        failpoint("trees-flushed");
        self.memory.write().frozen = Arc::default();
        Ok(())
    }
}
