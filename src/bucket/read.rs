//! The read path: staged ranges win, else extents, blocks, the cache in two tiers, and the consumers.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::{
    Bucket, Error, FileKind, Inner,
    cache::Flights,
    records::{Chunk, Extent},
};
use crate::{
    base::{ChunkId, Ino, RangeSet, limits},
    coding,
    runtime::spawn_blocking,
    store::Table,
};

/// A part of a read that lies in a chunk: where among the bytes that are read, and what of the chunk.
type Part = (Range<usize>, Extent);

/// Where the bytes of a read are.
#[derive(Debug)]
struct Plan {
    len: usize,
    /// Zeros, with the parts that were at hand filled in. None where all is in one part, which then need not be copied.
    bytes: Option<BytesMut>,
    /// The others.
    remote: Vec<Part>,
    /// It is in more chunks than are worth being fetched whole.
    is_shattered: bool,
}

/// A read that has begun and needs consumers, or the disk.
#[derive(Debug)]
pub struct Begun {
    ino: Ino,
    offset: u64,
    len: u32,
    plan: Plan,
}

/// Fetches under way, by chunk, first block and the block behind the last: the first block, and the bytes of all.
pub(super) type Fetches = Flights<(ChunkId, usize, usize), (usize, Bytes), String>;

/// Runs of blocks of chunks, by the first of each.
type Fetched = BTreeMap<(ChunkId, usize), Bytes>;

/// What of an extent at an offset of its file lies in a window.
fn clipped(at: u64, extent: Extent, window: &Range<u64>) -> (Range<u64>, Extent) {
    let range = at.max(window.start)..(at + u64::from(extent.bytes)).min(window.end);
    let chunk_offset = extent.chunk_offset + (range.start - at) as u32;
    (range.clone(), Extent { bytes: (range.end - range.start) as u32, chunk_offset, ..extent })
}

/// What a stream of reads needs next.
#[derive(Debug)]
pub struct Further {
    ino: Ino,
    offset: u64,
    chunks: u64,
}

/// The bytes of its chunk that a part is.
fn bytes_of(part: &Extent) -> Range<usize> {
    let start = part.chunk_offset as usize;
    start..start + part.bytes as usize
}

/// The blocks of its chunk that a part lies in.
fn blocks_of(part: &Extent) -> Range<usize> {
    let bytes = bytes_of(part);
    bytes.start / limits::BLOCK_BYTES..bytes.end.div_ceil(limits::BLOCK_BYTES)
}

/// Copies a part of a chunk from pieces that begin where they are asked for; false when one is missing.
fn copy_pieces(part: &Extent, piece: impl Fn(Range<usize>) -> Option<Bytes>, target: &mut [u8]) -> bool {
    let Range { start, end } = bytes_of(part);
    let mut at = start;
    while at < end {
        let Some(bytes) = piece(at..end) else { return false };
        target[at - start..at - start + bytes.len()].copy_from_slice(&bytes);
        at += bytes.len();
    }
    true
}

/// The first of these bytes of a chunk, or more, from what was fetched.
fn fetched_piece(fetched: &Fetched, chunk: ChunkId, bytes: Range<usize>) -> Option<Bytes> {
    let (&(id, first), run) = fetched.range(..=(chunk, bytes.start / limits::BLOCK_BYTES)).next_back()?;
    let start = first * limits::BLOCK_BYTES;
    let held = bytes.start - start..run.len().min(bytes.end.checked_sub(start)?);
    (id == chunk && !held.is_empty()).then(|| run.slice(held))
}

impl Plan {
    /// The part that is all.
    fn sole(&self) -> Option<&Extent> {
        match &self.remote[..] {
            [(_, part)] if self.bytes.is_none() => Some(part),
            _ => None,
        }
    }

    /// Takes what pieces there are, and says what has been read if that was all.
    fn take(&mut self, piece: impl Fn(ChunkId, Range<usize>) -> Option<Bytes>) -> Option<Bytes> {
        if let Some(part) = self.sole() {
            let bytes = piece(part.chunk, bytes_of(part))?;
            if bytes.len() == self.len {
                return Some(bytes);
            }
        }
        let bytes = self.bytes.get_or_insert_with(|| BytesMut::zeroed(self.len));
        self.remote
            .retain(|(place, part)| !copy_pieces(part, |range| piece(part.chunk, range), &mut bytes[place.clone()]));
        if self.remote.is_empty() { Some(std::mem::take(bytes).freeze()) } else { None }
    }
}

impl Inner {
    /// Reads the staged parts and finds the others, all at one moment.
    fn plan(&self, ino: Ino, offset: u64, len: u32) -> Result<Plan, Error> {
        let cell = self.cell(ino)?;
        let mut state = cell.lock();
        if state.is_gone {
            return Err(Error::Stale);
        }
        if state.inode.kind != FileKind::File {
            return Err(Error::IsDirectory);
        }
        let end = offset.saturating_add(u64::from(len)).min(state.inode.size);
        if offset >= end {
            return Ok(Plan { len: 0, bytes: None, remote: Vec::new(), is_shattered: false });
        }
        let (window, len) = (offset..end, (end - offset) as usize);
        let mut bytes = None;
        let place = |range: &Range<u64>| (range.start - offset) as usize..(range.end - offset) as usize;
        if !state.dirty.is_empty() {
            let staged: Vec<_> = state.dirty.within(window.clone()).map(|(range, _)| range).collect();
            if !staged.is_empty() {
                let file = self.staging_file(&cell, &mut state)?;
                let bytes = bytes.insert(BytesMut::zeroed(len));
                for range in staged {
                    file.read_at(&mut bytes[place(&range)], range.start)
                        .map_err(crate::store::Error::io("cannot read", "staging"))?;
                }
            }
        }
        let mut remote = Vec::new();
        for gap in state.dirty.gaps(window) {
            for (at, extent) in self.extents(ino, gap.clone(), usize::MAX)? {
                let (range, part) = clipped(at, extent, &gap);
                remote.push((place(&range), part));
            }
        }
        if bytes.is_none() && !matches!(&remote[..], [(place, _)] if place.len() == len) {
            bytes = Some(BytesMut::zeroed(len));
        }
        let chunks: BTreeSet<_> = remote.iter().map(|(_, part): &Part| part.chunk).collect();
        let is_shattered = chunks.len() > limits::AHEAD_FETCHES;
        Ok(Plan { len, bytes, remote, is_shattered })
    }

    /// Takes what is in the memory cache, and says what has been read if that was all.
    fn take_cached(&self, plan: &mut Plan) -> Option<Bytes> {
        plan.take(|chunk, bytes| self.cache.get(chunk, bytes))
    }

    /// Reads a whole extent, fetching what is not cached.
    pub(super) async fn read_extent(self: &Arc<Self>, extent: Extent) -> Result<Bytes, Error> {
        let len = extent.bytes as usize;
        let plan = Plan { len, bytes: None, remote: vec![(0..len, extent)], is_shattered: false };
        self.carry_out(plan, true).await.map_err(|(_, error)| error)
    }

    /// Reads what is planned, fetching what is not cached. What fails names its chunk.
    async fn carry_out(self: &Arc<Self>, mut plan: Plan, is_whole: bool) -> Result<Bytes, (ChunkId, Error)> {
        if let Some(bytes) = self.take_cached(&mut plan) {
            return Ok(bytes);
        }
        let fetched = self.fetch_all(plan.remote.iter().map(|(_, part)| *part).collect(), is_whole).await?;
        let read = plan.take(|chunk, bytes| fetched_piece(&fetched, chunk, bytes));
        read.ok_or_else(|| {
            let chunk = plan.remote[0].1.chunk;
            (chunk, Error::Unreadable(format!("chunk {chunk} is shorter than its extents say")))
        })
    }

    /// Waits until a chunk is not needed any more. Its shards go then, and who has asked for them may wait in vain.
    async fn until_gone(&self, id: ChunkId) -> Result<(), Error> {
        let mut changes = self.changes.subscribe();
        while self.database.get(Table::Chunk, &[id.as_bytes()])?.is_some() {
            changes.changed().await.map_err(|_| Error::Closed)?;
        }
        Ok(())
    }

    /// The blocks that some parts lie in, or their whole chunks, so many fetches at a time.
    async fn fetch_all(self: &Arc<Self>, parts: Vec<Extent>, is_whole: bool) -> Result<Fetched, (ChunkId, Error)> {
        let mut needed: BTreeMap<ChunkId, RangeSet> = BTreeMap::new();
        for part in parts {
            let blocks = blocks_of(&part);
            needed.entry(part.chunk).or_default().insert(blocks.start as u64..blocks.end as u64, ());
        }
        let mut fetches = Vec::new();
        for (id, blocks) in needed {
            let chunk = self.chunk(id).and_then(|chunk| chunk.ok_or(Error::Stale)).map_err(|error| (id, error))?;
            let (all, chunk) = (0..chunk.layout.blocks.len(), Arc::new(chunk));
            if is_whole {
                fetches.push((chunk, all));
                continue;
            }
            let runs = blocks.within(0..all.end as u64).map(|(run, ())| run.start as usize..run.end as usize);
            let parts = runs.flat_map(|run| self.split_by_flights(id, run));
            fetches.extend(parts.map(|part| (Arc::clone(&chunk), part)));
        }
        let fetches = fetches.into_iter().map(|(chunk, run)| {
            let inner = Arc::clone(self);
            async move {
                let key = (chunk.layout.chunk, run.start);
                let blocks = tokio::select! {
                    biased;
                    blocks = inner.blocks(chunk, run) => blocks,
                    gone = inner.until_gone(key.0) => gone.and(Err(Error::Stale)),
                };
                blocks.map(|blocks| (key, blocks)).map_err(|error| (key.0, error))
            }
        });
        futures::stream::iter(fetches).buffer_unordered(limits::READ_FETCHES).try_collect().await
    }

    /// Cuts a run of blocks where fetches that are under way begin and end, so that what they bring is waited for, and
    /// only the rest is asked for.
    fn split_by_flights(&self, id: ChunkId, run: Range<usize>) -> Vec<Range<usize>> {
        let under_way = self.flights.keys(|key| key.0 == id);
        let mut cuts: BTreeSet<usize> = under_way.iter().flat_map(|(_, start, end)| [*start, *end]).collect();
        cuts.retain(|cut| run.contains(cut));
        cuts.extend([run.start, run.end]);
        cuts.iter().zip(cuts.iter().skip(1)).map(|(start, end)| *start..*end).collect()
    }

    /// Blocks of a chunk from the disk tier or the consumers; one fetch for all who ask for some of the same.
    async fn blocks(self: &Arc<Self>, chunk: Arc<Chunk>, blocks: Range<usize>) -> Result<Bytes, Error> {
        let key = (chunk.layout.chunk, blocks.start, blocks.end);
        let (inner, bytes) = (Arc::clone(self), chunk.layout.plain_range(blocks.clone()));
        let is_enough = |(id, start, end): &(ChunkId, usize, usize)| *id == key.0 && *start <= key.1 && key.2 <= *end;
        let wanted = blocks.clone();
        let fetched = self.flights.run(key, is_enough, move || async move {
            let first = wanted.start;
            let fetched = inner.fetch(chunk, wanted).await.map_err(|error| error.to_string())?;
            Ok((first, fetched))
        });
        let (first, fetched) = fetched.await.map_err(|error| Error::Unreadable(error.to_string()))?;
        let start = (blocks.start - first) * limits::BLOCK_BYTES;
        Ok(fetched.slice(start..start + bytes.len()))
    }

    async fn fetch(self: Arc<Self>, chunk: Arc<Chunk>, blocks: Range<usize>) -> Result<Bytes, Error> {
        let (opened, fetched) = self.open_blocks(&chunk, blocks.clone()).await?;
        self.cache.insert(chunk.layout.chunk, blocks.start, &opened);
        // A disk that does not keep up keeps what it can.
        if let Some(sealed) = fetched
            && let Ok(permit) = Arc::clone(&self.cache_writes).try_acquire_many_owned(blocks.len() as u32)
        {
            let inner = Arc::clone(&self);
            self.tasks.spawn(async move {
                let written = spawn_blocking(move || inner.cache.write_sealed(&chunk.layout, blocks, &sealed));
                if let Err(error) = written.await {
                    tracing::error!(%error, "writing to the disk cache failed");
                }
                drop(permit);
            });
        }
        Ok(opened)
    }

    /// Blocks of a chunk from the disk tier, else from consumers: then also as they are sealed. Leaves no trace in the
    /// cache.
    pub(super) async fn open_blocks(
        self: &Arc<Self>,
        chunk: &Arc<Chunk>,
        blocks: Range<usize>,
    ) -> Result<(Bytes, Option<Vec<Bytes>>), Error> {
        if let Some(plain) = self.open_cached(chunk, blocks.clone()).await {
            return Ok((plain, None));
        }
        let (opened, sealed) = self.gather(chunk, blocks).await?;
        Ok((opened, Some(sealed)))
    }

    /// Blocks of a chunk from consumers, and as they are sealed. Shards that are bad are noted, whatever comes of it.
    async fn gather(self: &Arc<Self>, chunk: &Arc<Chunk>, blocks: Range<usize>) -> Result<(Bytes, Vec<Bytes>), Error> {
        let (inner, record, wanted) = (Arc::clone(self), Arc::clone(chunk), blocks.clone());
        let open = move |sealed: Vec<Bytes>| {
            let opened = coding::open_blocks(&inner.key, &record.layout, wanted.clone(), &sealed)?;
            Ok((opened, sealed))
        };
        let suspects = |found: &[usize]| self.note_suspects(chunk, found);
        let gathered = async {
            let (begun, count) = (Instant::now(), blocks.len());
            let gathered = self.dispatcher.gather_blocks(chunk.shards(&suspects), blocks, open).await;
            if gathered.is_ok() || begun.elapsed() >= limits::SLOW_CHUNK {
                self.ahead_pace.note(count, begun.elapsed());
            }
            Ok(gathered?)
        };
        self.unless_unreadable(chunk.layout.chunk, gathered).await
    }

    /// Brings a whole chunk into the disk tier and waits until it is there.
    pub async fn fetch_to_disk(self: &Arc<Self>, chunk: Chunk) -> Result<(), Error> {
        let all = 0..chunk.layout.blocks.len();
        let record = Arc::new(chunk);
        if self.open_cached(&record, all.clone()).await.is_some() {
            return Ok(());
        }
        let (_, sealed) = self.gather(&record, all.clone()).await?;
        let inner = Arc::clone(self);
        super::commit::blocking(move || {
            inner.cache.write_sealed(&record.layout, all, &sealed);
            Ok(())
        })
        .await
    }

    /// Blocks from the disk tier, verified; None when they are not there or damaged.
    async fn open_cached(self: &Arc<Self>, chunk: &Arc<Chunk>, blocks: Range<usize>) -> Option<Bytes> {
        if !self.cache.has_sealed(&chunk.layout, &blocks) {
            return None;
        }
        let (inner, record) = (Arc::clone(self), Arc::clone(chunk));
        self.pool
            .run(move || {
                let sealed = inner.cache.read_sealed(&record.layout, blocks.clone())?;
                let opened = coding::open_blocks(&inner.key, &record.layout, blocks, &[sealed]);
                if opened.is_err() {
                    inner.cache.damaged(record.layout.chunk);
                }
                opened.ok()
            })
            .await
    }

    /// What lies within the length of so many chunks behind an offset, but what staged bytes hide; not all of it where it is
    /// in small pieces.
    fn extents_ahead(&self, ino: Ino, offset: u64, chunks: u64) -> Vec<(u64, Extent)> {
        let ahead = offset..offset.saturating_add(chunks * limits::CHUNK_BYTES as u64);
        let Ok(cell) = self.cell(ino) else { return Vec::new() };
        let state = cell.lock();
        let mut extents = self.extents(ino, ahead, 16).unwrap_or_default();
        extents.retain(|(at, extent)| !state.dirty.covers(*at..*at + u64::from(extent.bytes)));
        extents
    }

    /// Notes a read and says how many chunks to fetch whole, this one first, as far as the network brings them in good time.
    fn note_reading(&self, handle: u64, offset: u64, len: u32) -> u64 {
        let wanted = self.handles.note(handle, offset, u64::from(len));
        match self.ahead_pace.allowed() as u64 {
            // Not even one: what is asked for, and no more.
            0 => 0,
            allowed => wanted.min(1 + allowed),
        }
    }

    /// Fetches the chunks of some extents in the background.
    fn read_ahead(self: &Arc<Self>, extents: impl IntoIterator<Item = (u64, Extent)>) {
        for (_, extent) in extents {
            let end = bytes_of(&extent).end;
            let last_block = end.saturating_sub(1) / limits::BLOCK_BYTES;
            let is_there = self.cache.get(extent.chunk, end.saturating_sub(1)..end).is_some();
            let brings_it = |(id, _, end): &(ChunkId, usize, usize)| *id == extent.chunk && *end > last_block;
            if is_there || !self.flights.keys(brings_it).is_empty() {
                continue;
            }
            let Ok(permit) = Arc::clone(&self.ahead).try_acquire_owned() else { return };
            let inner = Arc::clone(self);
            self.tasks.spawn_until_shutdown(async move {
                let _permit = permit;
                let Ok(Some(chunk)) = inner.chunk(extent.chunk) else { return };
                let all = 0..chunk.layout.blocks.len();
                if let Err(error) = inner.blocks(Arc::new(chunk), all).await {
                    tracing::debug!(chunk = %extent.chunk, %error, "read-ahead failed");
                }
            });
        }
    }

    /// Fetches what the reads after an offset will need, in the background: not whole chunks, of which there are too many.
    fn read_ahead_blocks(self: &Arc<Self>, ino: Ino, offset: u64, len: u64, reads: u64) {
        for read in 0..reads {
            // As the read itself will ask, so that it joins the same fetches.
            let start = offset.saturating_add(read * len);
            let window = start..start.saturating_add(len);
            let Ok(extents) = self.extents(ino, window.clone(), usize::MAX) else { return };
            let parts = extents.into_iter().map(|(at, extent)| clipped(at, extent, &window).1);
            let missing: Vec<Extent> = parts.filter(|part| !self.is_cached(part)).collect();
            if missing.is_empty() {
                continue;
            }
            let Ok(permit) = Arc::clone(&self.ahead).try_acquire_owned() else { return };
            let inner = Arc::clone(self);
            self.tasks.spawn_until_shutdown(async move {
                let _permit = permit;
                if let Err((chunk, error)) = inner.fetch_all(missing, false).await {
                    tracing::debug!(%chunk, %error, "read-ahead failed");
                }
            });
        }
    }

    /// Whether a part of a chunk is in the memory cache.
    fn is_cached(&self, part: &Extent) -> bool {
        let Range { mut start, end } = bytes_of(part);
        while start < end {
            let Some(piece) = self.cache.get(part.chunk, start..end) else { return false };
            start += piece.len();
        }
        true
    }
}

impl Bucket {
    /// Reads when everything is staged, a hole, or in memory; what has begun otherwise is for [`Bucket::read_on`].
    pub fn read_now(&self, ino: Ino, offset: u64, len: u32) -> Result<Result<Bytes, Begun>, Error> {
        let mut plan = self.inner.plan(ino, offset, len)?;
        match self.inner.take_cached(&mut plan) {
            Some(bytes) => Ok(Ok(bytes)),
            None => Ok(Err(Begun { ino, offset, len, plan })),
        }
    }

    /// Reads, from consumers if need be; fewer bytes only at the end of the file. Ends within the read timeout.
    pub async fn read(&self, ino: Ino, handle: u64, offset: u64, len: u32) -> Result<Bytes, Error> {
        let plan = self.inner.plan(ino, offset, len)?;
        self.read_on(Begun { ino, offset, len, plan }, handle).await
    }

    /// Notes a read that is answered at once. If it belongs to a stream, what to do behind it.
    pub fn note_read(&self, ino: Ino, handle: u64, offset: u64, len: u32) -> Option<Further> {
        let end = offset.saturating_add(u64::from(len));
        let ahead = self.inner.note_reading(handle, offset, len);
        let is_due = ahead > 1 && offset / limits::AHEAD_STEP_BYTES != end / limits::AHEAD_STEP_BYTES;
        is_due.then(|| Further { ino, offset: end, chunks: ahead - 1 })
    }

    /// Has what a stream of reads needs next fetched: else no fetch would be under way any more when it comes to what is not here.
    pub fn read_further(&self, Further { ino, offset, chunks }: Further) {
        let extents = self.inner.extents_ahead(ino, offset, chunks);
        // What lies in small pieces of many chunks is not worth these chunks.
        if extents.len() as u64 <= chunks + 1 {
            self.inner.read_ahead(extents);
        }
    }

    /// Goes on with a read.
    pub async fn read_on(&self, begun: Begun, handle: u64) -> Result<Bytes, Error> {
        let timeout = self.inner.options.read_timeout;
        match tokio::time::timeout(timeout, self.read_unbounded(begun, handle)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Unreadable(format!("no answer from consumers within {} s", timeout.as_secs()))),
        }
    }

    async fn read_unbounded(&self, begun: Begun, handle: u64) -> Result<Bytes, Error> {
        let inner = &self.inner;
        let Begun { ino, offset, len, mut plan } = begun;
        let ahead = inner.note_reading(handle, offset, len);
        // A chunk may be replaced between the plan and its reading: then plan anew. It does not come back.
        let mut replaced = BTreeSet::new();
        loop {
            let (is_shattered, next) = (plan.is_shattered, offset + u64::from(len));
            if ahead > 1 && is_shattered {
                inner.read_ahead_blocks(ino, next, u64::from(len), ahead - 1);
            } else if ahead > 1 {
                inner.read_ahead(inner.extents_ahead(ino, next, ahead - 1).into_iter().take(ahead as usize));
            }
            match inner.carry_out(plan, ahead > 0 && !is_shattered).await {
                Ok(bytes) => return Ok(bytes),
                Err((chunk, _)) if inner.chunk(chunk)?.is_none() && replaced.insert(chunk) => {
                    plan = inner.plan(ino, offset, len)?;
                }
                Err((chunk, error)) => {
                    tracing::warn!(op = "read", file = ino.0, %chunk, %error, "a read failed");
                    return Err(error);
                }
            }
        }
    }
}
