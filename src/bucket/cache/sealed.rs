//! The disk tier: one sparse file per chunk with its sealed blocks, the least recently used go first.
//!
//! Nothing is flushed: after a power cut a header may promise what is not there, and the caller, who opens
//! the blocks, finds out. State and directory entries change together under one lock; data moves outside it.

use std::{
    collections::HashSet,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use lru::LruCache;

use super::header::{DATA_OFFSET, HEADER_BYTES, Header, PAGE_BYTES};
use crate::{
    base::{ChunkId, Mutex, limits},
    coding::Layout,
    store::{Disk, DiskFile, Error},
};

/// A hit renews the stamp in the file when so many other files were used since.
const STAMP_SLACK: u64 = 64;

#[derive(Clone, Copy)]
struct Entry {
    header: Header,
    /// Blocks that are there or being written: what is charged for.
    reserved: u64,
    /// Tells an entry from a later one of the same chunk.
    generation: u64,
}

struct State {
    unpinned: LruCache<ChunkId, Entry>,
    pinned: LruCache<ChunkId, Entry>,
    pins: HashSet<ChunkId>,
    bytes: u64,
    /// Counts uses and entries: larger is later.
    counter: u64,
    is_off: bool,
}

pub(super) struct Sealed {
    disk: Arc<dyn Disk>,
    limit_bytes: u64,
    state: Mutex<State>,
}

impl Sealed {
    pub(super) fn open(disk: Arc<dyn Disk>, limit_bytes: u64) -> Result<Self, Error> {
        let state = State {
            unpinned: LruCache::unbounded(),
            pinned: LruCache::unbounded(),
            pins: HashSet::new(),
            bytes: 0,
            counter: 0,
            is_off: false,
        };
        let mut found = scan(&*disk).map_err(Error::io("cannot list the cache", "."))?;
        found.sort_by_key(|header| header.stamp);
        let sealed = Self { disk, limit_bytes, state: Mutex::new(state) };
        let mut state = sealed.state.lock();
        for header in found {
            state.counter = state.counter.max(header.stamp) + 1;
            state.bytes += u64::from(header.charged);
            let generation = state.counter;
            state.unpinned.put(header.chunk, Entry { header, reserved: header.present, generation });
        }
        drop(state);
        Ok(sealed)
    }

    /// Gives up what is more than the limit, the least recently used first and nothing that is pinned.
    pub(super) fn trim(&self) {
        self.make_room(&mut self.state.lock(), 0);
    }

    pub(super) fn has(&self, layout: &Layout, blocks: &Range<usize>) -> bool {
        let Some(mask) = mask(layout, blocks) else { return false };
        self.state.lock().entry(layout.chunk).is_some_and(|entry| entry.header.present & mask == mask)
    }

    pub(super) fn read(&self, layout: &Layout, blocks: Range<usize>) -> Option<Vec<u8>> {
        let mask = mask(layout, &blocks)?;
        let generation = {
            let mut state = self.state.lock();
            let entry = state.touch(layout.chunk)?;
            if entry.header.sealed_len != layout.sealed_len() {
                self.remove(&mut state, layout.chunk);
                return None;
            }
            if entry.header.present & mask != mask {
                return None;
            }
            entry.generation
        };
        let range = layout.sealed_range(blocks);
        let bytes = usize::try_from(range.end - range.start).ok()?;
        let read = self.disk.open(&path(layout.chunk), false).and_then(|file| {
            let sealed = file.read_new(bytes, DATA_OFFSET + range.start)?;
            Ok((file, sealed))
        });
        let mut state = self.state.lock();
        let is_same = state.entry(layout.chunk).is_some_and(|entry| entry.generation == generation);
        match read {
            Ok((file, sealed)) if is_same => {
                self.renew(&mut state, layout.chunk, &*file);
                Some(sealed)
            }
            Ok(_) => None,
            Err(error) => {
                if is_same {
                    tracing::warn!(op = "cache", chunk = %layout.chunk, %error, "a cache file is unreadable");
                    self.remove(&mut state, layout.chunk);
                }
                None
            }
        }
    }

    /// Writes a stamp that has fallen behind, so that the order survives a restart about right.
    fn renew(&self, state: &mut State, chunk: ChunkId, file: &dyn DiskFile) {
        state.counter += 1;
        let counter = state.counter;
        let Some(entry) = state.entry_mut(chunk) else { return };
        if entry.header.stamp + STAMP_SLACK < counter {
            entry.header.stamp = counter;
            let header = entry.header;
            if let Err(error) = file.write_at(&header.encode(), 0) {
                self.failed(state, chunk, &error);
            }
        }
    }

    pub(super) fn write(&self, layout: &Layout, blocks: Range<usize>, sealed: &[impl AsRef<[u8]>]) {
        let range = layout.sealed_range(blocks.clone());
        let given: usize = sealed.iter().map(|piece| piece.as_ref().len()).sum();
        assert_eq!(given as u64, range.end - range.start, "the sealed bytes of these blocks");
        let Some(mask) = mask(layout, &blocks) else { return };
        let Some((file, generation)) = self.reserve(layout, mask) else { return };
        let mut at = DATA_OFFSET + range.start;
        let written = sealed.iter().map(AsRef::as_ref).try_for_each(|piece| {
            file.write_at(piece, at)?;
            at += piece.len() as u64;
            Ok(())
        });
        let mut state = self.state.lock();
        let is_same = |entry: &&mut Entry| entry.generation == generation;
        let Some(entry) = state.entry_mut(layout.chunk).filter(is_same) else { return };
        let header = Header { present: entry.header.present | mask, ..entry.header };
        entry.header = header;
        if let Err(error) = written.and_then(|()| file.write_at(&header.encode(), 0)) {
            self.failed(&mut state, layout.chunk, &error);
        }
    }

    /// Room, an entry and a file for these blocks; None when they are there or do not fit.
    pub(super) fn reserve(&self, layout: &Layout, mask: u64) -> Option<(Arc<dyn DiskFile>, u64)> {
        let mut state = self.state.lock();
        if state.is_off {
            return None;
        }
        let old = state.touch(layout.chunk);
        if old.is_some_and(|entry| entry.header.present & mask == mask) {
            return None;
        }
        let mut old = old;
        loop {
            let (reserved, charged) = old.map_or((0, 0), |entry| (entry.reserved, entry.header.charged));
            if !self.make_room(&mut state, u64::from(charge(layout, reserved | mask).saturating_sub(charged))) {
                return None;
            }
            // Making room may have taken the entry itself, when it was the last: once more without it.
            let left = state.entry(layout.chunk);
            if left.is_some() == old.is_some() {
                break;
            }
            old = left;
        }
        let file = match self.disk.open(&path(layout.chunk), true) {
            Ok(file) => file,
            Err(error) => {
                self.failed(&mut state, layout.chunk, &error);
                return None;
            }
        };
        state.counter += 1;
        let (stamp, generation) = (state.counter, old.map_or(state.counter, |entry| entry.generation));
        let (reserved, charged) = old.map_or((0, 0), |entry| (entry.reserved, entry.header.charged));
        let (reserved, present) = (reserved | mask, old.map_or(0, |entry| entry.header.present));
        // A run that ended early may have been charged for more than it left, and have written some of it.
        let charge = charge(layout, reserved).max(charged);
        let header = Header { chunk: layout.chunk, present, sealed_len: layout.sealed_len(), stamp, charged: charge };
        state.bytes += u64::from(charge - charged);
        state.put(Entry { header, reserved, generation });
        Some((file, generation))
    }

    /// Evicts until so many more bytes fit, and the disk keeps free what it must; false when they cannot.
    fn make_room(&self, state: &mut State, more: u64) -> bool {
        if more > self.limit_bytes {
            return false;
        }
        while state.bytes + more > self.limit_bytes {
            let Some((chunk, _)) = state.unpinned.peek_lru() else { return false };
            let chunk = *chunk;
            self.remove(state, chunk);
        }
        let missing = self.disk.missing_bytes(more);
        self.evict_some(state, missing) >= missing
    }

    /// Evicts the least recently used until so many bytes are freed or none is left that may go; returns how many were.
    fn evict_some(&self, state: &mut State, bytes: u64) -> u64 {
        let mut freed = 0;
        while freed < bytes {
            let Some((chunk, _)) = state.unpinned.peek_lru() else { break };
            let chunk = *chunk;
            freed += self.remove(state, chunk);
        }
        freed
    }

    pub(super) fn give_up(&self, bytes: u64) {
        let mut state = self.state.lock();
        let freed = self.evict_some(&mut state, bytes);
        if freed > 0 {
            tracing::info!(op = "cache", bytes = freed, "the disk is nearly full; cached copies made room for writes");
        }
    }

    /// Drops the entry and its file; returns the bytes freed.
    fn remove(&self, state: &mut State, chunk: ChunkId) -> u64 {
        let Some(entry) = state.unpinned.pop(&chunk).or_else(|| state.pinned.pop(&chunk)) else { return 0 };
        let freed = u64::from(entry.header.charged);
        state.bytes -= freed;
        if let Err(error) = self.disk.remove(&path(chunk))
            && error.kind() != io::ErrorKind::NotFound
        {
            switch_off(state, &error);
        }
        freed
    }

    /// A write failed: a full disk costs a part of the cache, anything else the whole tier.
    fn failed(&self, state: &mut State, chunk: ChunkId, error: &io::Error) {
        self.remove(state, chunk);
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            self.evict_some(state, state.bytes / limits::CACHE_FULL_SHARE);
            tracing::warn!(op = "cache", bytes = state.bytes, "the disk is full; a part of the cache was dropped");
        } else {
            switch_off(state, error);
        }
    }

    pub(super) fn forget(&self, chunk: ChunkId) {
        let mut state = self.state.lock();
        state.pins.remove(&chunk);
        self.remove(&mut state, chunk);
    }

    pub(super) fn drop_bytes(&self, chunk: ChunkId) {
        self.remove(&mut self.state.lock(), chunk);
    }

    pub(super) fn evict(&self, chunk: ChunkId) -> u64 {
        let mut state = self.state.lock();
        if state.pins.contains(&chunk) {
            return 0;
        }
        self.remove(&mut state, chunk)
    }

    pub(super) fn set_pinned(&self, chunk: ChunkId, is_pinned: bool) {
        let mut state = self.state.lock();
        let entry = state.unpinned.pop(&chunk).or_else(|| state.pinned.pop(&chunk));
        if is_pinned {
            state.pins.insert(chunk);
        } else {
            state.pins.remove(&chunk);
        }
        if let Some(entry) = entry {
            state.put(entry);
        }
    }

    pub(super) fn is_pinned(&self, chunk: ChunkId) -> bool {
        self.state.lock().pins.contains(&chunk)
    }

    pub(super) fn bytes_of(&self, chunk: ChunkId) -> u64 {
        self.state.lock().entry(chunk).map_or(0, |entry| u64::from(entry.header.charged))
    }

    pub(super) fn bytes(&self) -> u64 {
        self.state.lock().bytes
    }

    #[cfg(test)]
    pub(super) fn limit(&self) -> u64 {
        self.limit_bytes
    }
}

impl State {
    fn put(&mut self, entry: Entry) {
        let chunk = entry.header.chunk;
        let tier = if self.pins.contains(&chunk) { &mut self.pinned } else { &mut self.unpinned };
        tier.put(chunk, entry);
    }

    /// The entry, which becomes the most recently used; none while the tier is off.
    fn touch(&mut self, chunk: ChunkId) -> Option<Entry> {
        if self.is_off {
            return None;
        }
        self.unpinned.get(&chunk).or_else(|| self.pinned.get(&chunk)).copied()
    }

    fn entry(&self, chunk: ChunkId) -> Option<Entry> {
        self.unpinned.peek(&chunk).or_else(|| self.pinned.peek(&chunk)).copied()
    }

    fn entry_mut(&mut self, chunk: ChunkId) -> Option<&mut Entry> {
        self.unpinned.peek_mut(&chunk).or_else(|| self.pinned.peek_mut(&chunk))
    }
}

fn switch_off(state: &mut State, error: &io::Error) {
    if !state.is_off {
        state.is_off = true;
        tracing::warn!(op = "cache", %error, "the disk cache is off until the next start; check its disk");
    }
}

/// The bits of these blocks; None when the chunk has no such blocks.
fn mask(layout: &Layout, blocks: &Range<usize>) -> Option<u64> {
    let is_there = blocks.start < blocks.end && blocks.end <= layout.blocks.len().min(limits::CHUNK_BLOCKS);
    is_there.then(|| blocks.clone().fold(0, |mask, block| mask | 1 << block))
}

/// The bytes of the pages that these blocks and the header take.
fn charge(layout: &Layout, present: u64) -> u32 {
    let (mut at, mut next_page, mut pages) = (0, 0, 1);
    for (index, block) in layout.blocks.iter().enumerate().take(limits::CHUNK_BLOCKS) {
        let end = at + u64::from(block.sealed_len);
        if present & (1 << index) != 0 {
            let first = (at / PAGE_BYTES).max(next_page);
            next_page = end.div_ceil(PAGE_BYTES);
            pages += next_page.saturating_sub(first);
        }
        at = end;
    }
    u32::try_from(pages * PAGE_BYTES).expect("a chunk is far below 4 GiB")
}

/// Where the file of a chunk is: two digits, then the whole id.
fn path(chunk: ChunkId) -> PathBuf {
    let name = chunk.to_string();
    Path::new(&name[..2]).join(&name)
}

/// The headers of all cache files; everything else is removed.
fn scan(disk: &dyn Disk) -> io::Result<Vec<Header>> {
    let mut found = Vec::new();
    for directory in disk.list(Path::new(""))? {
        let files = match disk.list(&directory) {
            Ok(files) => files,
            Err(_) => {
                // Not a directory.
                clear_away(disk, &directory);
                continue;
            }
        };
        for file in files {
            let full = directory.join(&file);
            match read_header(disk, &full) {
                Ok(Some(header)) if path(header.chunk) == full => found.push(header),
                Ok(_) => clear_away(disk, &full),
                Err(error) => {
                    tracing::warn!(op = "cache", %error, "a cache file is unreadable");
                    clear_away(disk, &full);
                }
            }
        }
    }
    Ok(found)
}

fn read_header(disk: &dyn Disk, path: &Path) -> io::Result<Option<Header>> {
    let mut bytes = [0; HEADER_BYTES];
    disk.open(path, false)?.read_at(&mut bytes, 0)?;
    Ok(Header::decode(&bytes))
}

fn clear_away(disk: &dyn Disk, path: &Path) {
    match disk.remove(path) {
        Ok(()) => tracing::info!(op = "cache", "removed a file that is no intact cache file"),
        Err(error) => tracing::warn!(op = "cache", %error, "a foreign file stays in the cache directory"),
    }
}
