//! The store as its users see it: reserve, put, get, stat, delete, list.

use std::{collections::BTreeMap, io, ops::Range, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::{
    format::{DIRECTORY, ENTRY_HEADER, EntryState, Key, Node, Nonce, PAGE, footprint, most_roots, segment_path},
    queue::{Change, Queue},
    recover,
    state::{Location, ShardUsage, SpaceGuard, State, page},
    writer::Writer,
};
use crate::{
    base::{Mutex, OwnerId, ShardId, limits},
    runtime::{Chance, spawn_blocking},
    store::{Disk, DiskFile, Error},
};

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct ShardStoreOptions {
    /// Disk space that the store may take, headers included.
    pub limit_bytes: u64,
    /// A segment is closed when it would grow beyond this.
    pub segment_bytes: u64,
}

impl ShardStoreOptions {
    /// Segments of the usual size.
    pub fn with_limit(limit_bytes: u64) -> Self {
        Self { limit_bytes, segment_bytes: limits::SEGMENT_BYTES }
    }
}

/// Shards in segment files. All calls need a tokio runtime.
pub struct ShardStore {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) nonce: Nonce,
    pub(super) segment_bytes: u64,
    pub(super) state: Arc<Mutex<State>>,
    pub(super) writer: Mutex<Writer>,
    pub(super) queue: Mutex<Queue>,
    pub(super) permits: Arc<Semaphore>,
    handles: Mutex<BTreeMap<u32, Arc<dyn DiskFile>>>,
}

impl ShardStore {
    /// Opens what is there, reading headers only, and repairs what a crash has torn. Reads the disk: call it off the
    /// async threads. A limit below what is held is no error; nothing new is accepted then.
    pub fn open(disk: Arc<dyn Disk>, options: ShardStoreOptions, chance: &dyn Chance) -> Result<Arc<Self>, Error> {
        let recovered = recover::recover(disk.as_ref(), chance)?;
        let mut state = recovered.state;
        state.limit_bytes = options.limit_bytes;
        Ok(Arc::new(Self {
            disk,
            nonce: recovered.nonce,
            segment_bytes: options.segment_bytes.clamp(2 * PAGE, u64::from(u32::MAX)),
            state: Arc::new(Mutex::new(state)),
            writer: Mutex::new(recovered.writer),
            queue: Mutex::default(),
            permits: Arc::new(Semaphore::new(limits::STORE_QUEUE)),
            handles: Mutex::default(),
        }))
    }

    /// Holds space for a shard of so many bytes. `Full` when the limit or the disk has no room for it.
    pub fn reserve(&self, body_bytes: u32) -> Result<SpaceGuard, Error> {
        if body_bytes as usize > limits::SHARD_BYTES {
            return Err(Error::Invalid(format!(
                "a shard of {body_bytes} bytes is too large: at most {} are taken",
                limits::SHARD_BYTES
            )));
        }
        let need = footprint(most_roots(body_bytes as usize), body_bytes.into());
        let (disk_free, _) = self.disk.space().map_err(Error::io("cannot ask for the free space of", DIRECTORY))?;
        let mut state = self.state.lock();
        self.accepting(&state)?;
        // One more page, should it open a segment.
        if state.free_bytes() < need + PAGE {
            let (free, limit) = (state.free_bytes(), state.limit_bytes);
            return Err(Error::Full(format!("{need} bytes do not fit: {free} of the limit of {limit} are free")));
        }
        if disk_free < state.reserved_bytes + need + PAGE {
            let text = format!("{need} bytes do not fit: the disk has {disk_free} free, some of it promised already");
            state.problem = Some(text.clone());
            return Err(Error::Full(text));
        }
        state.problem = None;
        Ok(SpaceGuard::take(&self.state, &mut state, need))
    }

    /// Stores a shard and the roots of its subtrees; returns when it is on disk, flushed. A shard that is held already
    /// is left as it is. Dropping the future does not stop a write that has begun. The caller has verified that the body
    /// hashes to the id.
    pub async fn put(
        self: &Arc<Self>,
        (owner, shard): (OwnerId, ShardId),
        body: Bytes,
        roots: Vec<[u8; 32]>,
        guard: SpaceGuard,
    ) -> Result<(), Error> {
        let (count, length) = (roots.len(), body.len());
        if count > most_roots(length) || guard.bytes() < footprint(count, length as u64) {
            let held = guard.bytes();
            let why = format!("shard {shard}: {length} bytes and {count} roots came for {held} bytes of space");
            return Err(Error::Invalid(why));
        }
        self.change(Change::Put { key: (owner, shard), roots, body, guard }).await
    }

    /// The whole body, its checksum verified. `NotFound` when this owner has no such shard here, `Corrupt` when it
    /// rotted: then it is no longer held.
    pub async fn get(self: &Arc<Self>, owner: OwnerId, shard: ShardId) -> Result<Bytes, Error> {
        let store = Arc::clone(self);
        let read = spawn_blocking(move || store.read_checked((owner, shard)));
        let (location, outcome) = match tokio::time::timeout(limits::STORE_TIMEOUT, read).await {
            Err(_) => return Err(Error::TimedOut(format!("reading shard {shard}: the disk does not answer"))),
            Ok(Err(error)) => return Err(Error::Closed(format!("reading shard {shard} failed: {error}"))),
            Ok(Ok(read)) => read?,
        };
        match outcome {
            Some(body) => Ok(body),
            None => {
                self.condemn((owner, shard), location, "its checksum does not match").await;
                Err(Error::Corrupt {
                    path: segment_path(location.segment),
                    why: format!("shard {shard} has rotted on this disk and was given up"),
                })
            }
        }
    }

    /// Some bytes of a body as the disk has them now: nothing is verified.
    ///
    /// # Errors
    /// `NotFound` when this owner has no such shard here, `Invalid` when the range goes past its end.
    pub async fn get_part(
        self: &Arc<Self>,
        owner: OwnerId,
        shard: ShardId,
        bytes: Range<usize>,
    ) -> Result<Bytes, Error> {
        let place = |location: &Location| {
            if bytes.is_empty() || bytes.end > location.body_bytes as usize {
                return Err(Error::Invalid(format!("bytes {bytes:?} of a shard of {}", location.body_bytes)));
            }
            Ok((location.body_offset() + bytes.start as u64, bytes.len()))
        };
        self.read_off_thread((owner, shard), place).await
    }

    /// The subtree roots of a body as the disk has them now, as unverified as [`get_part`](Self::get_part); none when
    /// an earlier release stored the shard.
    ///
    /// # Errors
    /// `NotFound` when this owner has no such shard here.
    pub async fn get_roots(self: &Arc<Self>, owner: OwnerId, shard: ShardId) -> Result<Vec<[u8; 32]>, Error> {
        let place = |location: &Location| {
            Ok((location.offset + ENTRY_HEADER as u64, usize::from(location.roots) * size_of::<Node>()))
        };
        Ok(self.read_off_thread((owner, shard), place).await?.as_chunks().0.to_vec())
    }

    /// A part of an entry: from where, and how many bytes.
    async fn read_off_thread(
        self: &Arc<Self>,
        key: Key,
        place: impl Fn(&Location) -> Result<(u64, usize), Error>,
    ) -> Result<Bytes, Error> {
        let (shard, mut location) = (key.1, self.find(key)?);
        for _ in 0..2 {
            let (store, (offset, bytes)) = (Arc::clone(self), place(&location)?);
            let read = spawn_blocking(move || store.read_patiently((key, &location), offset, bytes));
            let read = match tokio::time::timeout(limits::STORE_TIMEOUT, read).await {
                Err(_) => return Err(Error::TimedOut(format!("reading shard {shard}: the disk does not answer"))),
                Ok(Err(error)) => return Err(Error::Closed(format!("reading shard {shard} failed: {error}"))),
                Ok(Ok(read)) => read,
            };
            // It may have been deleted, and its space given back, while it was read; and stored anew.
            match self.find(key)? {
                same if same == location => return read,
                another => location = another,
            }
        }
        Err(Error::NotFound(format!("shard {shard} is not here any more")))
    }

    fn find(&self, key: Key) -> Result<Location, Error> {
        let missing = || Error::NotFound(format!("shard {} is not here", key.1));
        self.state.lock().index.get(&key).copied().ok_or_else(missing)
    }

    /// The length of the body, if this owner has the shard here.
    pub fn stat(&self, owner: OwnerId, shard: ShardId) -> Option<u32> {
        self.state.lock().index.get(&(owner, shard)).map(|location| location.body_bytes)
    }

    /// Forgets a shard; returns when that is flushed. `NotFound` when it is not there.
    pub async fn delete(self: &Arc<Self>, owner: OwnerId, shard: ShardId) -> Result<(), Error> {
        self.change(Change::Drop { key: (owner, shard), only: None, to: EntryState::Dead }).await
    }

    /// This owner's shards and their lengths after an id, in the order of the ids, at most `max`.
    pub fn list(&self, owner: OwnerId, after: Option<ShardId>, max: usize) -> Vec<(ShardId, u32)> {
        page(&self.state.lock(), owner, after, max)
    }

    /// What is held and what is free; `free_bytes` is no more than the disk has.
    pub fn usage(&self) -> ShardUsage {
        let (mut usage, is_poisoned) = {
            let state = self.state.lock();
            (state.usage(), state.poison.is_some())
        };
        match self.disk.space() {
            Ok((free, _)) => usage.free_bytes = usage.free_bytes.min(free.saturating_sub(usage.reserved_bytes)),
            Err(error) => usage.problem = Some(format!("the disk does not tell its free space: {error}")),
        }
        if is_poisoned {
            usage.free_bytes = 0;
        }
        usage
    }

    /// Accepts nothing more and waits for what is on its way; false when some was still not done at the deadline.
    pub async fn close(&self, deadline: Duration) -> bool {
        self.state.lock().is_closed = true;
        let all = u32::try_from(limits::STORE_QUEUE).expect("a small number");
        tokio::time::timeout(deadline, self.permits.acquire_many(all)).await.is_ok()
    }

    /// Whether new shards are accepted at all.
    pub(super) fn accepting(&self, state: &State) -> Result<(), Error> {
        match &state.poison {
            Some(poison) => Err(Error::Closed(poison.clone())),
            None if state.is_closed => Err(Error::Closed("it is shutting down".into())),
            None => Ok(()),
        }
    }

    /// Gives up a shard whose body does not verify, durably, unless it changed meanwhile.
    pub(super) async fn condemn(self: &Arc<Self>, key: Key, location: Location, why: &str) {
        tracing::error!(op = "verify", shard = %key.1, "a shard on this disk is bad and is no longer held: {why}; check the disk");
        let outcome = self.change(Change::Drop { key, only: Some(location), to: EntryState::Bad }).await;
        if let Err(error) = outcome {
            // It must not be served even when the disk does not take the mark.
            self.state.lock().set_aside(key, location);
            tracing::warn!(op = "verify", shard = %key.1, "a bad shard could not be marked on disk: {error}");
        }
    }

    /// A body and where it was; no body when it does not match its checksum twice. Reads the disk.
    pub(super) fn read_checked(&self, key: Key) -> Result<(Location, Option<Bytes>), Error> {
        let location = self.find(key)?;
        let missing = || Error::NotFound(format!("shard {} is not here", key.1));
        for is_again in [false, true] {
            let (offset, bytes) = (location.body_offset(), location.body_bytes as usize);
            let read = match is_again {
                false => self.read_patiently((key, &location), offset, bytes),
                true => self.read(location.segment, offset, bytes, true),
            };
            let body = match read {
                Ok(body) => body,
                Err(error) if matches!(error, Error::Corrupt { .. }) || self.find(key)? == location => {
                    return Err(error);
                }
                Err(_) => return Err(missing()),
            };
            if crc32fast::hash(&body) == location.body_crc {
                return Ok((location, Some(body)));
            }
            // It may have been deleted, and its space given back, while it was read.
            if self.find(key)? != location {
                return Err(missing());
            }
        }
        Ok((location, None))
    }

    /// What is there. One that the disk does not read is asked for again, in another way; when it still fails a while after it
    /// first did, that is no passing trouble of the whole disk, and whoever asks is told that the shard is bad.
    fn read_patiently(&self, (key, location): (Key, &Location), offset: u64, bytes: usize) -> Result<Bytes, Error> {
        let first = match self.read(location.segment, offset, bytes, false) {
            Err(error) if is_bad_spot(&error) => self.read(location.segment, offset, bytes, true),
            read => read,
        };
        match first {
            Ok(read) => {
                self.state.lock().unread.remove(&key);
                Ok(read)
            }
            Err(error) if is_bad_spot(&error) && self.state.lock().is_unread_for_long(key, location) => {
                let shard = key.1;
                tracing::error!(op = "get", %shard, "a shard does not read for a while: {error}; check the disk");
                let why = format!("shard {shard} does not read on this disk: {error}");
                Err(Error::Corrupt { path: segment_path(location.segment), why })
            }
            Err(error) => Err(error),
        }
    }

    /// The same as [`Self::get`] for a receipt that says that the shard is here, and stays here: not in a file that is open
    /// still and has no name any more.
    pub async fn get_to_confirm(self: &Arc<Self>, owner: OwnerId, shard: ShardId) -> Result<Bytes, Error> {
        let segment = self.find((owner, shard))?.segment;
        if !self.has_segment(segment) {
            self.drop_handle(segment);
        }
        self.get(owner, shard).await
    }

    /// Whether the file of a segment is still there; true also when that cannot be told, as of a disk that was taken away with its
    /// directory.
    pub(super) fn has_segment(&self, segment: u32) -> bool {
        let opened = self.disk.open(&segment_path(segment), false);
        let is_missing = opened.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        !is_missing || self.disk.list(Path::new(DIRECTORY)).is_err()
    }

    /// What is there. Before it is taken for bad it is read again, in another way than at first.
    fn read(&self, segment: u32, offset: u64, bytes: usize, is_again: bool) -> Result<Bytes, Error> {
        let path = segment_path(segment);
        let file = self.handle(segment).map_err(Error::io("cannot open", &path))?;
        assert!(bytes <= limits::SHARD_BYTES, "the index holds checked lengths");
        let read = if is_again { file.read_new(bytes, offset).map(Bytes::from) } else { file.read_once(bytes, offset) };
        read.map_err(Error::io("cannot read", &path))
    }

    /// A segment, opened if it is not.
    pub(super) fn handle(&self, segment: u32) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = self.handles.lock().get(&segment) {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&segment_path(segment), false)?;
        let mut handles = self.handles.lock();
        if handles.len() >= limits::OPEN_SEGMENTS {
            let other = handles.keys().next().copied();
            other.and_then(|other| handles.remove(&other));
        }
        handles.insert(segment, Arc::clone(&file));
        Ok(file)
    }

    /// Forgets an open segment.
    pub(super) fn drop_handle(&self, segment: u32) {
        self.handles.lock().remove(&segment);
    }

    /// Makes a new segment file; it is not flushed yet.
    pub(super) fn create_segment(&self, number: u32) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(&segment_path(number), true)?;
        file.set_len(0)?;
        file.write_at(&super::format::encode_segment(number, &self.nonce), 0)?;
        self.handles.lock().insert(number, Arc::clone(&file));
        Ok(file)
    }

    /// Makes a new segment's directory entry durable.
    pub(super) fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory(Path::new(DIRECTORY))?;
        self.disk.sync_directory(Path::new(""))
    }
}

/// Whether a read failed because of what the disk has there, not for want of something else.
fn is_bad_spot(error: &Error) -> bool {
    use rustix::io::Errno;
    let Error::Io { source, .. } = error else { return false };
    let errno = Errno::from_io_error(source);
    matches!(errno, Some(Errno::IO | Errno::UCLEAN | Errno::BADMSG | Errno::NODATA | Errno::REMOTEIO))
}
