//! Which bytes of a file lie in which chunk, and how many bytes of a chunk are still needed.

use std::{collections::BTreeMap, ops::Range};

use super::{
    Error, Inner,
    records::{Chunk, Extent},
    sparse::LiveChange,
};
use crate::{
    base::{ChunkId, Ino, MutexGuard, Record, limits},
    runtime::Prompt,
    store::{self, Batch, Table},
};

/// A change of extents in the making. Holds the lock on all chunks' accounts until it is dropped,
/// which must be after its batch was committed.
pub(super) struct ExtentChange<'a> {
    inner: &'a Inner,
    /// Extents put (Some) or taken (None) by the batch in the making.
    pending: BTreeMap<(Ino, u64), Option<Extent>>,
    /// Live bytes that chunks gain or lose.
    live: BTreeMap<ChunkId, i64>,
    /// Bytes of them that are used once more, by extents that share them.
    shared: BTreeMap<ChunkId, u64>,
    /// The chunk that the batch stores, and how many bytes it holds.
    stored: Option<(ChunkId, u32)>,
    /// Bytes that files gain or lose.
    gained: BTreeMap<Ino, i64>,
    /// Extents that the batch in the making takes.
    cut_extents: usize,
    _accounts: Accounts<'a>,
}

/// The lock on all chunks' accounts: records, live bytes, who waits for shards. Whoever takes bytes of files out of chunks
/// waits for it; so who has it to change them gets its turns soon.
pub(super) struct Accounts<'a> {
    _held: MutexGuard<'a, ()>,
    /// Dropped after it.
    _prompt: Prompt,
}

/// Extents read in one step: few at first, since most of who asks need few.
const FIRST_PAGE: usize = 4;
const PAGE: usize = 256;

fn decode(key: &[u8], value: &[u8]) -> Result<(u64, Extent), Error> {
    let offset = u64::from_be_bytes(key.try_into().map_err(|_| Error::Stale)?);
    Ok((offset, Extent::decode(value).map_err(store::Error::from)?))
}

impl Inner {
    /// The extents of a file that overlap a range, in order, with their file offsets.
    pub fn extents(&self, ino: Ino, range: Range<u64>, limit: usize) -> Result<Vec<(u64, Extent)>, Error> {
        let prefix = ino.0.to_be_bytes();
        let (mut found, mut from) = (Vec::new(), range.start.to_be_bytes().to_vec());
        // They do not overlap, so that of those before only the last may reach into the range; and none is longer than
        // a chunk.
        let earliest = range.start.saturating_sub(limits::CHUNK_BYTES as u64).to_be_bytes();
        if let Some((key, value)) = self.database.last_within(Table::Extent, &prefix, &earliest..&from)? {
            let (offset, extent) = decode(&key, &value)?;
            if offset + u64::from(extent.bytes) > range.start {
                found.push((offset, extent));
            }
        }
        let mut page_size = FIRST_PAGE;
        loop {
            let step = limit.saturating_sub(found.len()).clamp(1, page_size);
            page_size = PAGE;
            let page = self.database.scan(Table::Extent, &prefix, &from, step)?;
            for (key, value) in &page {
                let (offset, extent) = decode(key, value)?;
                if offset >= range.end || found.len() >= limit {
                    return Ok(found);
                }
                found.push((offset, extent));
                from = (offset + 1).to_be_bytes().to_vec();
            }
            if page.len() < step {
                return Ok(found);
            }
        }
    }

    /// The extent at an offset of a file.
    pub fn extent(&self, ino: Ino, offset: u64) -> Result<Option<Extent>, Error> {
        let bytes = self.database.get(Table::Extent, &[&ino.0.to_be_bytes(), &offset.to_be_bytes()])?;
        Ok(bytes.map(|bytes| Extent::decode(&bytes)).transpose().map_err(store::Error::from)?)
    }

    /// A chunk's record.
    pub fn chunk(&self, id: ChunkId) -> Result<Option<Chunk>, Error> {
        let Some(bytes) = self.database.get(Table::Chunk, &[id.as_bytes()])? else { return Ok(None) };
        let chunk = Chunk::decode(&bytes).map_err(store::Error::from)?;
        chunk.layout.validate()?;
        Ok(Some(chunk))
    }

    /// Bytes of a chunk that extents need.
    pub fn live_bytes(&self, id: ChunkId) -> Result<u64, Error> {
        let bytes = self.database.get(Table::Live, &[id.as_bytes()])?;
        Ok(bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes))
    }

    /// Waits for the lock on all chunks' accounts.
    pub fn lock_accounts(&self) -> Accounts<'_> {
        let prompt = Prompt::enter();
        Accounts { _held: self.accounts.lock(), _prompt: prompt }
    }

    /// Begins a change of extents.
    pub fn change_extents(&self) -> ExtentChange<'_> {
        ExtentChange {
            inner: self,
            pending: BTreeMap::new(),
            live: BTreeMap::new(),
            shared: BTreeMap::new(),
            stored: None,
            gained: BTreeMap::new(),
            cut_extents: 0,
            _accounts: self.lock_accounts(),
        }
    }
}

impl ExtentChange<'_> {
    /// Takes a range of a file out of its chunks, from its beginning on, as far as the batch may change extents. Returns
    /// up to where: what is left goes in the next batch.
    pub fn cut(&mut self, ino: Ino, range: Range<u64>, batch: &mut Batch) -> Result<u64, Error> {
        let room = limits::EXTENTS_PER_BATCH.saturating_sub(self.cut_extents);
        self.cut_some(ino, range, room, batch)
    }

    /// The same for a range of which is known that it is not too much for a batch.
    pub fn cut_all(&mut self, ino: Ino, range: Range<u64>, batch: &mut Batch) -> Result<(), Error> {
        self.cut_some(ino, range, usize::MAX, batch).map(|_| ())
    }

    fn cut_some(&mut self, ino: Ino, range: Range<u64>, room: usize, batch: &mut Batch) -> Result<u64, Error> {
        let mut extents = self.current(ino, range.clone(), room.saturating_add(1))?;
        let reached = extents.get(room).map_or(range.end, |(offset, _)| (*offset).max(range.start));
        extents.truncate(room);
        self.cut_extents += extents.len();
        for (offset, extent) in extents {
            let end = offset + u64::from(extent.bytes);
            self.remove(ino, offset, extent, batch);
            if offset < range.start {
                let bytes = (range.start - offset) as u32;
                self.insert(ino, offset, Extent { bytes, ..extent }, batch);
            }
            if end > range.end {
                let skipped = (range.end - offset) as u32;
                let rest = Extent {
                    bytes: extent.bytes - skipped,
                    chunk_offset: extent.chunk_offset + skipped,
                    chunk: extent.chunk,
                };
                self.insert(ino, range.end, rest, batch);
            }
        }
        Ok(reached)
    }

    /// The first extents of a file that overlap a range, the batch in the making included: so many, or more.
    fn current(&self, ino: Ino, range: Range<u64>, count: usize) -> Result<Vec<(u64, Extent)>, Error> {
        let changed = self.pending.range((ino, range.start)..(ino, range.end));
        // As many more as the batch may take of them, and one that begins before the range.
        let limit = count.saturating_add(changed.clone().count()).saturating_add(1);
        let mut extents: BTreeMap<u64, Extent> = self.inner.extents(ino, range.clone(), limit)?.into_iter().collect();
        let known = if extents.len() < limit { range.end } else { extents.keys().next_back().map_or(0, |at| at + 1) };
        extents.retain(|offset, _| *offset >= range.start || !self.pending.contains_key(&(ino, *offset)));
        // They do not overlap: of those before the range only the last may reach into it.
        let from = range.start.saturating_sub(limits::CHUNK_BYTES as u64);
        let before = self.pending.range((ino, from)..(ino, range.start)).rev();
        if let Some((offset, extent)) = before.filter_map(|((_, offset), extent)| Some((*offset, (*extent)?))).next()
            && offset + u64::from(extent.bytes) > range.start
        {
            extents.insert(offset, extent);
        }
        for ((_, offset), extent) in changed.take_while(|((_, offset), _)| *offset < known) {
            match extent {
                Some(extent) => extents.insert(*offset, *extent),
                None => extents.remove(offset),
            };
        }
        Ok(extents.into_iter().collect())
    }

    /// Puts a run of a chunk into a file; the range must have been cut before.
    pub fn insert(&mut self, ino: Ino, offset: u64, extent: Extent, batch: &mut Batch) {
        let (ino, at) = (ino.0.to_be_bytes(), offset.to_be_bytes());
        batch.put(Table::Extent, &[&ino, &at], extent.encode());
        batch.put(Table::User, &[extent.chunk.as_bytes(), &ino, &at], Vec::new());
        self.pending.insert((Ino(u64::from_be_bytes(ino)), offset), Some(extent));
        *self.live.entry(extent.chunk).or_default() += i64::from(extent.bytes);
        *self.gained.entry(Ino(u64::from_be_bytes(ino))).or_default() += i64::from(extent.bytes);
    }

    /// The same with bytes that another extent may refer to as well.
    pub fn share(&mut self, ino: Ino, offset: u64, extent: Extent, batch: &mut Batch) {
        *self.shared.entry(extent.chunk).or_default() += u64::from(extent.bytes);
        self.insert(ino, offset, extent, batch);
    }

    /// An extent refers to the same bytes in another chunk from now on.
    pub fn move_to(
        &mut self,
        (ino, offset): (Ino, u64),
        old: Extent,
        new: Extent,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let is_shared = self.inner.shared_bound(old.chunk)?.is_some();
        self.remove(ino, offset, old, batch);
        if is_shared {
            self.share(ino, offset, new, batch);
        } else {
            self.insert(ino, offset, new, batch);
        }
        Ok(())
    }

    /// The batch stores this chunk.
    pub fn store(&mut self, chunk: &Chunk) {
        self.stored = Some((chunk.layout.chunk, chunk.layout.plain_len));
    }

    fn remove(&mut self, ino: Ino, offset: u64, extent: Extent, batch: &mut Batch) {
        let (ino, at) = (ino.0.to_be_bytes(), offset.to_be_bytes());
        batch.delete(Table::Extent, &[&ino, &at]);
        batch.delete(Table::User, &[extent.chunk.as_bytes(), &ino, &at]);
        self.pending.insert((Ino(u64::from_be_bytes(ino)), offset), None);
        *self.live.entry(extent.chunk).or_default() -= i64::from(extent.bytes);
        *self.gained.entry(Ino(u64::from_be_bytes(ino))).or_default() -= i64::from(extent.bytes);
    }

    /// The bytes that a file has gained since this was last asked; to be put into its record in the same batch.
    pub fn gained(&mut self, ino: Ino) -> i64 {
        self.gained.remove(&ino).unwrap_or(0)
    }

    /// Settles the accounts: chunks that nobody needs any more go, and their shards are queued for deletion.
    /// Returns the chunks that went. Call once, last, before the commit.
    pub fn settle(&mut self, batch: &mut Batch) -> Result<Vec<ChunkId>, Error> {
        self.pending.clear();
        self.cut_extents = 0;
        let mut dead = Vec::new();
        let mut shared = std::mem::take(&mut self.shared);
        for (id, change) in std::mem::take(&mut self.live) {
            let shared = shared.remove(&id).unwrap_or(0);
            if change == 0 && shared == 0 {
                continue;
            }
            let live = self.inner.live_bytes(id)?.saturating_add_signed(change);
            if live > 0 {
                batch.put(Table::Live, &[id.as_bytes()], live.to_be_bytes().to_vec());
                let new_bytes = self.stored.filter(|(stored, _)| *stored == id).map(|(_, bytes)| bytes);
                let is_landing = change > 0 && shared == 0;
                self.inner.index_sparse(id, LiveChange { live, shared, new_bytes, is_landing }, batch)?;
                continue;
            }
            if let Some(chunk) = self.inner.chunk(id)? {
                queue_deletes(&chunk, batch);
            }
            for table in [Table::Chunk, Table::Live, Table::Incomplete, Table::Sparse, Table::Shared] {
                batch.delete(table, &[id.as_bytes()]);
            }
            dead.push(id);
        }
        Ok(dead)
    }
}

/// Queues the deletion of every shard of a chunk on its consumer.
pub(super) fn queue_deletes(chunk: &Chunk, batch: &mut Batch) {
    for (placement, root) in chunk.placements.iter().zip(&chunk.roots) {
        if let Some(consumer) = placement.consumer {
            batch.put(Table::Delete, &[consumer.as_bytes(), root.as_bytes()], Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{Bucket, promises::open},
        *,
    };

    const FILE_BYTES: u64 = 60;
    const INO: Ino = Ino(100);

    /// What each byte of the file is: of which chunk, which byte.
    type Model = Vec<Option<(u8, u32)>>;

    fn id(chunk: u8) -> ChunkId {
        ChunkId([chunk; 32])
    }

    fn show(extents: &[(u64, Extent)]) -> Model {
        let mut shown = vec![None; 2 * FILE_BYTES as usize];
        for (offset, extent) in extents {
            for byte in 0..extent.bytes {
                let place = &mut shown[*offset as usize + byte as usize];
                assert_eq!(*place, None, "extents overlap");
                *place = Some((extent.chunk.as_bytes()[0], extent.chunk_offset + byte));
            }
        }
        shown
    }

    /// A batch of changes: each cuts a range and, with a chunk, fills it.
    fn batches() -> impl Strategy<Value = Vec<Vec<(u64, u32, Option<u8>)>>> {
        let change = (0..FILE_BYTES, 1u32..20, proptest::option::of(1u8..9));
        prop::collection::vec(prop::collection::vec(change, 1..12), 1..6)
    }

    fn apply(bucket: &Bucket, changes: &[(u64, u32, Option<u8>)], model: &mut Model) {
        let (mut batch, mut change) = (Batch::new(), bucket.inner.change_extents());
        for (offset, bytes, chunk) in changes {
            let range = *offset..offset + u64::from(*bytes);
            change.cut_all(INO, range.clone(), &mut batch).expect("readable");
            if let Some(chunk) = chunk {
                let extent = Extent { bytes: *bytes, chunk: id(*chunk), chunk_offset: 0 };
                change.insert(INO, *offset, extent, &mut batch);
            }
            for byte in range.clone() {
                model[byte as usize] = chunk.map(|chunk| (chunk, (byte - offset) as u32));
            }
            // Also of what only the batch knows, and from wherever one looks.
            for from in [0, range.start.saturating_sub(3), range.start, range.start + 1] {
                let found = change.current(INO, from..range.end + 2, usize::MAX).expect("readable");
                let (shown, window) = (show(&found), from as usize..range.end as usize + 2);
                assert_eq!(shown[window.clone()], model[window]);
                let first = change.current(INO, from..range.end + 2, 2).expect("readable");
                assert_eq!(first.iter().take(2).collect::<Vec<_>>(), found.iter().take(2).collect::<Vec<_>>());
            }
        }
        bucket.inner.database.commit(batch).expect("committed");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
        /// What is cut and inserted, in one batch or in several, is what is found.
        #[test]
        fn extents_are_what_was_put_there_last(batches in batches()) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let _runtime = runtime.enter();
            let directory = tempfile::tempdir().expect("made");
            let bucket = open(directory.path());
            let mut model = vec![None; 2 * FILE_BYTES as usize];
            for changes in batches {
                apply(&bucket, &changes, &mut model);
                prop_assert_eq!(show(&bucket.inner.extents(INO, 0..u64::MAX, usize::MAX).expect("readable")), model.clone());
            }
        }
    }
}
