//! What people and programs ask: states of files, what is missing under a path, the bucket's figures.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    sync::Arc,
};

use super::{
    Availability, Bucket, BucketStatus, ChunkReport, DirItem, Durability, Error, FileKind, FileReport, FileState,
    FileSummary, Inner, Pending, PolicyReport, ShardReport, Space,
    cell::Cell,
    records::{Chunk, Inode},
};
use crate::{
    base::{ChunkId, Ino, Scheme, limits},
    dispatch::Health,
    store::Table,
};

/// Examples and reasons in a [`Pending`].
const EXAMPLES: usize = 5;
/// Directory entries read at a time.
const PAGE: usize = 512;

/// The state of a file and how safe it is.
pub(super) struct Standing {
    pub state: FileState,
    pub availability: Availability,
    pub reason: Option<String>,
}

impl fmt::Display for FileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            FileState::Lost => "lost",
            FileState::Failed => "failed",
            FileState::Local => "local",
            FileState::Uploading => "uploading",
            FileState::Degraded => "degraded",
            FileState::Available => "available",
            FileState::Uploaded => "uploaded",
            FileState::Expired => "expired",
        })
    }
}

impl FileKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            FileKind::File => "file",
            FileKind::Directory => "directory",
            FileKind::Symlink => "symlink",
            FileKind::Fifo | FileKind::Socket | FileKind::CharDevice | FileKind::BlockDevice => "other",
        }
    }
}

/// Why somebody asks for the state of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    HowItIs,
    WhetherToWait,
}

/// Something under a path: its place and its cell.
struct Found {
    path: Vec<u8>,
    cell: Arc<Cell>,
}

impl Inner {
    /// How the data of an inode is to be kept.
    pub fn scheme_of(&self, inode: &Inode) -> Scheme {
        inode.scheme.unwrap_or(self.options.scheme)
    }

    /// The chunks that a file's extents name, each once, in the order of the file.
    pub fn chunks_of(&self, ino: Ino) -> Result<Vec<ChunkId>, Error> {
        let mut seen = BTreeSet::new();
        let mut chunks = Vec::new();
        for (_, extent) in self.extents(ino, 0..u64::MAX, usize::MAX)? {
            if seen.insert(extent.chunk) {
                chunks.push(extent.chunk);
            }
        }
        Ok(chunks)
    }
}

/// How a committed chunk stands.
fn chunk_state(chunk: &Chunk) -> (FileState, i32) {
    let held = chunk.placements.iter().filter(|placement| placement.health == Health::Held).count();
    let has_suspects = chunk.placements.iter().any(|placement| placement.health == Health::Suspect);
    let scheme = chunk.layout.scheme;
    let state = match held {
        held if held >= scheme.n() => FileState::Uploaded,
        held if held < scheme.k() => FileState::Lost,
        held if has_suspects || held < scheme.commit_threshold() => FileState::Degraded,
        _ => FileState::Available,
    };
    (state, held as i32 - scheme.k() as i32 + 1)
}

impl Bucket {
    /// The inode of a path relative to the root; symlinks are not followed.
    pub fn resolve(&self, path: &[u8]) -> Result<Ino, Error> {
        let mut ino = Ino::ROOT;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
            ino = self.lookup(ino, name)?.ino;
        }
        Ok(ino)
    }

    /// Calls `visit` for a path and everything under it, each directory before what is in it.
    fn walk(&self, path: &[u8], mut visit: impl FnMut(Found) -> Result<(), Error>) -> Result<(), Error> {
        let path: Vec<u8> = path.split(|b| *b == b'/').filter(|n| !n.is_empty()).collect::<Vec<_>>().join(&b'/');
        let root = self.resolve(&path)?;
        let mut stack = vec![(path, root)];
        while let Some((path, ino)) = stack.pop() {
            let cell = match self.inner.cell(ino) {
                Ok(cell) => cell,
                // Gone since its name was read.
                Err(Error::Stale) => continue,
                Err(error) => return Err(error),
            };
            let is_directory = cell.lock().inode.kind == FileKind::Directory;
            visit(Found { path: path.clone(), cell })?;
            if is_directory {
                self.each_item(ino, |item| {
                    let separator: &[u8] = if path.is_empty() { b"" } else { b"/" };
                    stack.push(([&path[..], separator, &item.name[..]].concat(), item.ino));
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Calls `visit` for each entry of a directory.
    fn each_item(&self, ino: Ino, mut visit: impl FnMut(DirItem) -> Result<(), Error>) -> Result<(), Error> {
        let mut after = 0;
        loop {
            let items = self.readdir(ino, after, PAGE)?;
            let Some(last) = items.last() else { return Ok(()) };
            after = last.cookie;
            items.into_iter().try_for_each(&mut visit)?;
        }
    }

    /// The state of a file.
    pub(super) fn state_of(&self, cell: &Arc<Cell>) -> Result<Standing, Error> {
        self.state_for(cell, Asked::HowItIs)
    }

    pub(super) fn state_for(&self, cell: &Arc<Cell>, asked: Asked) -> Result<Standing, Error> {
        let mut standing = self.standing(cell, asked)?;
        if cell.lock().inode.is_expired(self.inner.timestamp().seconds) {
            (standing.state, standing.reason) = (FileState::Expired, Some("its term is over".to_owned()));
        }
        Ok(standing)
    }

    /// What it takes to lose the newest bytes of a file.
    pub(super) fn durability(&self, cell: &Arc<Cell>) -> Result<Durability, Error> {
        let inner = &self.inner;
        let (is_dirty, is_flushed) = {
            let state = cell.lock();
            (!state.dirty.is_empty(), state.unlogged.is_empty() && inner.database.is_durable(state.logged_at))
        };
        if !is_flushed {
            return Ok(Durability::Memory);
        }
        let chunks = if is_dirty { Vec::new() } else { inner.chunks_of(cell.ino)? };
        let (mut least, mut consumers) = (None::<(usize, usize)>, HashSet::new());
        for id in chunks {
            let Some(chunk) = inner.chunk(id)? else { continue };
            let holders = chunk.placements.iter().filter(|placement| placement.health == Health::Held);
            let holders: Vec<_> = holders.filter_map(|placement| placement.consumer).collect();
            let here = (holders.len(), chunk.roots.len());
            least = Some(least.map_or(here, |least| least.min(here)));
            consumers.extend(holders);
        }
        Ok(least.map_or(Durability::Local, |(held, n)| Durability::Consumers { held, n, consumers: consumers.len() }))
    }

    fn standing(&self, cell: &Arc<Cell>, asked: Asked) -> Result<Standing, Error> {
        let inner = &self.inner;
        let state = cell.lock();
        let scheme = inner.scheme_of(&state.inode);
        let desired = scheme.m() as i32 + 1;
        let (is_dirty, is_uploading) = (!state.dirty.is_empty(), state.dirty.carried_bytes() > 0);
        let problem = state.problem.clone();
        drop(state);
        if is_dirty {
            let state = match (is_uploading, &problem) {
                (true, _) => FileState::Uploading,
                (false, Some(_)) => FileState::Failed,
                (false, None) => FileState::Local,
            };
            return Ok(Standing { state, availability: Availability { actual: 0, desired }, reason: problem });
        }
        let standing = self.placed(cell, &inner.chunks_of(cell.ino)?, asked)?;
        if standing.state > FileState::Available && inner.is_policy_queued(cell.ino)? {
            let reason = Some("its policy has changed and is being applied".to_owned());
            return Ok(Standing { state: FileState::Available, reason, ..standing });
        }
        Ok(standing)
    }

    /// How a file with nothing staged stands, if it is these chunks.
    pub(super) fn placed(&self, cell: &Cell, chunks: &[ChunkId], asked: Asked) -> Result<Standing, Error> {
        let inner = &self.inner;
        let desired = inner.scheme_of(&cell.lock().inode).m() as i32 + 1;
        let mut worst = (FileState::Uploaded, desired);
        for id in chunks {
            let Some(chunk) = inner.chunk(*id)? else { continue };
            let (mut state, actual) = chunk_state(&chunk);
            if asked == Asked::WhetherToWait && state == FileState::Available && !inner.is_awaited(*id)? {
                state = FileState::Uploaded;
            }
            worst = (worst.0.min(state), worst.1.min(actual));
        }
        let reason = match worst.0 {
            FileState::Uploaded => None,
            FileState::Available => Some("not all shards have found a consumer yet".to_owned()),
            FileState::Degraded => Some("shards were found bad or absent and are being replaced".to_owned()),
            _ => Some("fewer than k shards are left".to_owned()),
        };
        Ok(Standing { state: worst.0, availability: Availability { actual: worst.1, desired }, reason })
    }

    fn summary(&self, found: &Found) -> Result<FileSummary, Error> {
        let standing = self.state_of(&found.cell)?;
        let state = found.cell.lock();
        Ok(FileSummary {
            path: String::from_utf8_lossy(&found.path).into_owned(),
            id: found.cell.ino.0,
            kind: state.inode.kind.name().to_owned(),
            state: standing.state,
            size: state.inode.size,
            availability: standing.availability,
            is_pinned: state.inode.is_pinned,
        })
    }

    /// A path, and what is in it (all the way down when `is_recursive`), sorted by path. Blocks on the disk.
    pub fn list(&self, path: &[u8], is_recursive: bool) -> Result<Vec<FileSummary>, Error> {
        let mut summaries = Vec::new();
        if is_recursive {
            self.walk(path, |found| {
                summaries.push(self.summary(&found)?);
                Ok(())
            })?;
        } else {
            let ino = self.resolve(path)?;
            let cell = self.inner.cell(ino)?;
            let is_directory = cell.lock().inode.kind == FileKind::Directory;
            if is_directory {
                self.each_item(ino, |item| {
                    let separator: &[u8] = if path.is_empty() || path.ends_with(b"/") { b"" } else { b"/" };
                    let path = [path, separator, &item.name].concat();
                    match self.inner.cell(item.ino) {
                        Ok(cell) => summaries.push(self.summary(&Found { path, cell })?),
                        // Gone since its name was read.
                        Err(Error::Stale) => {}
                        Err(error) => return Err(error),
                    }
                    Ok(())
                })?;
            } else {
                summaries.push(self.summary(&Found { path: path.to_vec(), cell })?);
            }
        }
        summaries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(summaries)
    }

    /// Everything about one file. Blocks on the disk.
    pub fn report(&self, path: &[u8]) -> Result<FileReport, Error> {
        let cell = self.inner.cell(self.resolve(path)?)?;
        let standing = self.state_of(&cell)?;
        let mut chunks = Vec::new();
        for id in self.inner.chunks_of(cell.ino)? {
            if let Some(chunk) = self.inner.chunk(id)? {
                chunks.push(chunk_report(&chunk, self.inner.live_bytes(id)?));
            }
        }
        let state = cell.lock();
        let scheme = self.inner.scheme_of(&state.inode);
        Ok(FileReport {
            path: String::from_utf8_lossy(path).into_owned(),
            id: cell.ino.0,
            kind: state.inode.kind.name().to_owned(),
            state: standing.state,
            size: state.inode.size,
            staged_bytes: state.dirty.covered_bytes(),
            availability: standing.availability,
            policy: PolicyReport { k: scheme.k() as u8, m: scheme.m() as u8, expires: state.inode.expires_text() },
            is_pinned: state.inode.is_pinned,
            reason: standing.reason,
            chunks,
        })
    }

    /// What that programs have written under a path has not reached a state. What the collector moves to other chunks
    /// was there before, and nobody waits for it. Blocks on the disk.
    pub fn pending(&self, path: &[u8], level: FileState) -> Result<Pending, Error> {
        self.pending_by(path, level, |cell| self.state_for(cell, Asked::WhetherToWait).map(Some))
    }

    /// The same of those files that `stand` tells how they stand.
    pub(super) fn pending_by(
        &self,
        path: &[u8],
        level: FileState,
        mut stand: impl FnMut(&Arc<Cell>) -> Result<Option<Standing>, Error>,
    ) -> Result<Pending, Error> {
        let mut pending = Pending::default();
        let mut reasons = Vec::new();
        self.walk(path, |found| {
            let (kind, size) = {
                let state = found.cell.lock();
                (state.inode.kind, state.inode.size)
            };
            if kind != FileKind::File {
                return Ok(());
            }
            let Some(standing) = stand(&found.cell)? else { return Ok(()) };
            pending.total_files += 1;
            pending.total_bytes += size;
            if standing.state >= level {
                return Ok(());
            }
            pending.files += 1;
            let staged = found.cell.lock().dirty.covered_bytes();
            pending.bytes += if staged > 0 { staged } else { size };
            if pending.examples.len() < EXAMPLES {
                pending.examples.push(String::from_utf8_lossy(&found.path).into_owned());
            }
            if let Some(reason) = standing.reason
                && reasons.len() < EXAMPLES
                && !reasons.contains(&reason)
            {
                reasons.push(reason);
            }
            Ok(())
        })?;
        pending.reasons = reasons;
        Ok(pending)
    }

    /// Files under a path. Blocks on the disk.
    pub(super) fn files_under(&self, path: &[u8]) -> Result<Vec<Ino>, Error> {
        let mut files = Vec::new();
        self.walk(path, |found| {
            if found.cell.lock().inode.kind == FileKind::File {
                files.push(found.cell.ino);
            }
            Ok(())
        })?;
        Ok(files)
    }

    /// The bucket's figures. Blocks on the disk.
    pub fn status(&self) -> Result<BucketStatus, Error> {
        let inner = &*self.inner;
        let count = |table| -> Result<u64, Error> {
            let mut count = 0;
            let mut from = Vec::new();
            loop {
                let page = inner.database.scan(table, b"", &from, 4096)?;
                count += page.len() as u64;
                match page.last() {
                    Some((last, _)) if page.len() == 4096 => from = [&last[..], &[0]].concat(),
                    _ => return Ok(count),
                }
            }
        };
        let (files, directories) = {
            let namespace = inner.namespace.lock();
            (namespace.files, namespace.directories.saturating_sub(1))
        };
        let sparse = inner.sparse_totals()?;
        Ok(BucketStatus {
            bucket: inner.options.name.clone(),
            bucket_id: inner.options.id.to_string(),
            files,
            directories,
            staged_bytes: inner.staging.bytes(),
            staging_limit_bytes: inner.staging.limit_bytes(),
            pending_uploads: inner.uploader.pending(),
            pending_deletes: count(Table::Delete)?,
            chunks: count(Table::Live)?,
            incomplete_chunks: count(Table::Incomplete)?,
            sparse_chunks: sparse.chunks,
            sparse_bytes: sparse.bytes,
            reclaimed_bytes: inner.collector.reclaimed_bytes(),
            cache_memory_bytes: inner.cache.memory_bytes(),
            cache_disk_bytes: inner.cache.disk_bytes(),
            cache_limit_bytes: inner.options.cache_disk_bytes,
            upload_problem: inner.uploader.problem(),
        })
    }

    /// Space as `df` shows it: what the network offers, divided by what coding costs; from memory.
    pub fn statfs(&self) -> Space {
        let inner = &*self.inner;
        let (total, free) = inner.space();
        let inodes = {
            let namespace = inner.namespace.lock();
            namespace.files + namespace.directories
        };
        Space { total_bytes: total, free_bytes: free.min(total), inodes }
    }
}

impl Inner {
    /// The (total, free) bytes of data that the network has room for; from memory, but for a look at the disk.
    pub(super) fn space(&self) -> (u64, u64) {
        let (total, free) = self.dispatcher.network_space();
        let scheme = self.options.scheme;
        let usable = |bytes: u64| (u128::from(bytes) * scheme.k() as u128 / scheme.n() as u128) as u64;
        let (local_free, local_total) = self.staging.space();
        // Nobody known yet: what can be staged here.
        if total == 0 { (local_total, local_free) } else { (usable(total), usable(free)) }
    }
}

fn chunk_report(chunk: &Chunk, live_bytes: u64) -> ChunkReport {
    let shards = chunk.placements.iter().zip(&chunk.roots).enumerate().take(limits::SHARDS);
    let shards = shards.map(|(index, (placement, root))| ShardReport {
        index: index as u8,
        id: root.to_string(),
        consumer: placement.consumer.map_or_else(String::new, |consumer| consumer.to_string()),
        state: match placement.health {
            Health::Held => "held",
            Health::Missing => "pending",
            Health::Suspect => "suspect",
        }
        .to_owned(),
    });
    ChunkReport { id: chunk.layout.chunk.to_string(), live_bytes, shards: shards.collect() }
}
