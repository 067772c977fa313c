//! Which chunks hold more than files need: an index of those that may be sparse, and the survey that tells.
//!
//! A chunk is sparse when less than half of its bytes are needed. Counting them needs all its extents; a chunk's live
//! bytes are at hand, but count each use, and copies share extents. So each chunk has a bound: half its bytes, and
//! whatever it is used for beyond once. A use that comes raises live bytes and bound alike, one that goes lowers the live
//! bytes by at least the bytes that nobody needs any more: a chunk cannot become sparse before its live bytes fall below
//! its bound. Then it goes into the index, in the same batch, and is surveyed; one that is not sparse leaves the index
//! with a bound that says how many bytes it may still lose.

use super::{
    Error, Inner,
    records::{Chunk, Extent},
};
use crate::{
    base::{ChunkId, RangeSet, Record, limits},
    store::{self, Batch, Table},
};

/// Chunks that are looked at in one step.
const CHUNKS_PAGE: usize = 1024;
/// How far the index of a state of an earlier release has come; empty when it is complete.
const CURSOR: &[u8] = b"sparse";

/// What files need of a sparse chunk.
pub(super) struct Survey {
    pub chunk: Chunk,
    /// Ranges of its plain bytes.
    pub needed: RangeSet,
}

/// How a batch changes the live bytes of a chunk.
pub(super) struct LiveChange {
    /// What they are from then on.
    pub live: u64,
    /// What came for extents that share bytes with others.
    pub shared: u64,
    /// The bytes that the chunk holds, if the same batch stores it.
    pub new_bytes: Option<u32>,
    /// Whether bytes of it come into use for the first time.
    pub is_landing: bool,
}

/// What the collector has to do.
#[derive(Default)]
pub(super) struct SparseTotals {
    pub chunks: u64,
    /// Bytes that nobody needs, at least.
    pub bytes: u64,
}

impl Inner {
    /// Keeps the index when a chunk's live bytes change.
    pub(super) fn index_sparse(&self, id: ChunkId, change: LiveChange, batch: &mut Batch) -> Result<(), Error> {
        let held = match change.new_bytes {
            Some(bytes) => bytes,
            None => match self.chunk(id)? {
                Some(chunk) => chunk.layout.plain_len,
                None => return Ok(()),
            },
        };
        let bound = self.shared_bound(id)?.unwrap_or_else(|| half(held)) + change.shared;
        if change.shared > 0 {
            batch.put(Table::Shared, &[id.as_bytes()], bound.to_be_bytes().to_vec());
        }
        if change.live < bound {
            batch.put(Table::Sparse, &[id.as_bytes()], Vec::new());
        } else if change.is_landing {
            // In several batches, and between the first ones too little of it was needed.
            batch.delete(Table::Sparse, &[id.as_bytes()]);
        }
        Ok(())
    }

    /// The bound of a chunk that extents share.
    pub(super) fn shared_bound(&self, id: ChunkId) -> Result<Option<u64>, Error> {
        let bytes = self.database.get(Table::Shared, &[id.as_bytes()])?;
        Ok(bytes.and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes))
    }

    /// What of a chunk files need; None when that is half of it or more: then it leaves the index.
    pub(super) fn survey(&self, id: ChunkId) -> Result<Option<Survey>, Error> {
        let before = (self.live_bytes(id)?, self.shared_bound(id)?);
        let Some(chunk) = self.chunk(id)? else {
            let mut batch = Batch::new();
            batch.delete(Table::Sparse, &[id.as_bytes()]);
            self.database.commit(batch)?;
            return Ok(None);
        };
        let needed = self.needed_ranges(id)?;
        let (covered, half) = (needed.covered_bytes(), half(chunk.layout.plain_len));
        if (1..half).contains(&covered) {
            return Ok(Some(Survey { chunk, needed }));
        }
        let _accounts = self.lock_accounts();
        if (self.live_bytes(id)?, self.shared_bound(id)?) != before {
            // What was counted is history: it is looked at again.
            return Ok(None);
        }
        let mut batch = Batch::new();
        batch.delete(Table::Sparse, &[id.as_bytes()]);
        if before.0 == covered {
            batch.delete(Table::Shared, &[id.as_bytes()]);
        } else {
            let bound = before.0.saturating_sub(covered.saturating_sub(half));
            batch.put(Table::Shared, &[id.as_bytes()], bound.to_be_bytes().to_vec());
        }
        self.database.commit(batch)?;
        Ok(None)
    }

    /// The ranges of a chunk that extents refer to, each once.
    fn needed_ranges(&self, id: ChunkId) -> Result<RangeSet, Error> {
        let mut needed = RangeSet::new();
        let mut from = Vec::new();
        loop {
            let page = self.database.scan(Table::User, id.as_bytes(), &from, limits::EXTENTS_PER_BATCH)?;
            for (place, _) in &page {
                let Some(extent) = self.database.get(Table::Extent, &[place])? else { continue };
                let extent = Extent::decode(&extent).map_err(store::Error::from)?;
                if extent.chunk == id {
                    let start = u64::from(extent.chunk_offset);
                    needed.insert(start..start + u64::from(extent.bytes), ());
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == limits::EXTENTS_PER_BATCH => from = [&last[..], &[0]].concat(),
                _ => return Ok(needed),
            }
        }
    }

    /// States of earlier releases have no index: every chunk goes into it once, to be surveyed. One step; true when
    /// nothing is left to do.
    pub(super) fn index_earlier_chunks(&self) -> Result<bool, Error> {
        let from = match self.database.get(Table::Meta, &[CURSOR])? {
            Some(cursor) if cursor.is_empty() => return Ok(true),
            cursor => cursor.unwrap_or_default(),
        };
        let page = self.database.scan(Table::Live, b"", &from, CHUNKS_PAGE)?;
        let mut batch = Batch::new();
        for (id, _) in &page {
            batch.put(Table::Sparse, &[id], Vec::new());
        }
        let cursor = match page.last() {
            Some((last, _)) if page.len() == CHUNKS_PAGE => [&last[..], &[0]].concat(),
            _ => Vec::new(),
        };
        let is_complete = cursor.is_empty();
        batch.put(Table::Meta, &[CURSOR], cursor);
        self.database.commit(batch)?;
        Ok(is_complete)
    }

    /// Up to a page of the index from a key on, and where the next page begins, if there is one.
    pub(super) fn sparse_page(&self, from: &[u8]) -> Result<(Vec<ChunkId>, Option<Vec<u8>>), Error> {
        let page = self.database.scan(Table::Sparse, b"", from, CHUNKS_PAGE)?;
        let next = page.last().filter(|_| page.len() == CHUNKS_PAGE).map(|(last, _)| [&last[..], &[0]].concat());
        let ids = page.into_iter().map(|(key, _)| key.try_into().map(ChunkId).map_err(|_| Error::Stale));
        Ok((ids.collect::<Result<_, _>>()?, next))
    }

    /// The index in figures.
    pub(super) fn sparse_totals(&self) -> Result<SparseTotals, Error> {
        let mut totals = SparseTotals::default();
        let mut from = Vec::new();
        loop {
            let (ids, next) = self.sparse_page(&from)?;
            for id in ids {
                let held = self.chunk(id)?.map_or(0, |chunk| u64::from(chunk.layout.plain_len));
                totals.chunks += 1;
                totals.bytes += held.saturating_sub(self.live_bytes(id)?);
            }
            match next {
                Some(next) => from = next,
                None => return Ok(totals),
            }
        }
    }
}

/// With fewer needed bytes a chunk is sparse.
fn half(held_bytes: u32) -> u64 {
    u64::from(held_bytes).div_ceil(2)
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::{super::promises::open, *};
    use crate::{
        base::{Ino, Scheme},
        coding::{self, BucketKey},
        runtime::{Chance, SeededChance},
    };

    const FILES: u64 = 4;
    const FILE_BYTES: u64 = 4000;

    fn below(chance: &SeededChance, bound: u64) -> u64 {
        chance.below(bound)
    }

    fn some_file(chance: &SeededChance) -> Ino {
        Ino(100 + below(chance, FILES))
    }

    /// Cuts a place for so many bytes in some file.
    fn make_place(inner: &Inner, bytes: u64, chance: &SeededChance) -> (Ino, u64) {
        let (ino, offset) = (some_file(chance), below(chance, FILE_BYTES));
        cut(inner, ino, offset..offset + bytes);
        (ino, offset)
    }

    fn cut(inner: &Inner, ino: Ino, range: Range<u64>) {
        let (mut batch, mut change) = (Batch::new(), inner.change_extents());
        change.cut_all(ino, range, &mut batch).expect("readable");
        change.settle(&mut batch).expect("readable");
        inner.database.commit(batch).expect("committed");
    }

    /// A new chunk of which some runs land in files.
    fn store(inner: &Inner, chance: &SeededChance) {
        let encoded = coding::encode(&BucketKey::new([1; 32]), &[7; 1000], Scheme::FREE, chance).expect("a chunk");
        let chunk = Chunk { layout: encoded.layout, roots: encoded.roots, placements: Vec::new() };
        let mut runs: Vec<_> = (0..10).filter(|_| below(chance, 4) > 0).collect();
        runs.push(0);
        let places: Vec<_> = runs.iter().map(|run| (run * 100, make_place(inner, 100, chance))).collect();
        for (index, (chunk_offset, (ino, offset))) in places.into_iter().enumerate() {
            let (mut batch, mut change) = (Batch::new(), inner.change_extents());
            change.cut_all(ino, offset..offset + 100, &mut batch).expect("readable");
            let extent = Extent { bytes: 100, chunk: chunk.layout.chunk, chunk_offset };
            // The same run may come twice: as what a collected copy is.
            if index == 0 {
                inner.put_chunk(&chunk, &mut batch).expect("readable");
                change.store(&chunk);
            }
            if chunk_offset == 0 {
                change.share(ino, offset, extent, &mut batch);
            } else {
                change.insert(ino, offset, extent, &mut batch);
            }
            change.settle(&mut batch).expect("readable");
            inner.database.commit(batch).expect("committed");
        }
    }

    /// A part of some extent is used once more.
    fn share(inner: &Inner, chance: &SeededChance) {
        let found = inner.extents(some_file(chance), 0..u64::MAX, usize::MAX).expect("readable");
        if found.is_empty() {
            return;
        }
        let (_, extent) = found[below(chance, found.len() as u64) as usize];
        let skipped = below(chance, u64::from(extent.bytes)) as u32;
        let part =
            Extent { bytes: extent.bytes - skipped, chunk_offset: extent.chunk_offset + skipped, chunk: extent.chunk };
        let (ino, offset) = make_place(inner, u64::from(part.bytes), chance);
        if inner.chunk(part.chunk).expect("readable").is_some() {
            let (mut batch, mut change) = (Batch::new(), inner.change_extents());
            change.share(ino, offset, part, &mut batch);
            change.settle(&mut batch).expect("readable");
            inner.database.commit(batch).expect("committed");
        }
    }

    fn is_indexed(inner: &Inner, id: &[u8]) -> bool {
        inner.database.get(Table::Sparse, &[id]).expect("readable").is_some()
    }

    /// Every sparse chunk is in the index. With `is_surveyed` the index is worked off, and has nothing else then.
    fn check(inner: &Inner, is_surveyed: bool) -> usize {
        let mut sparse = 0;
        let files =
            (0..FILES).flat_map(|ino| inner.extents(Ino(100 + ino), 0..u64::MAX, usize::MAX).expect("readable"));
        let extents: Vec<Extent> = files.map(|(_, extent)| extent).collect();
        for (key, _) in inner.database.scan(Table::Chunk, b"", b"", usize::MAX).expect("readable") {
            let id = ChunkId(key.as_slice().try_into().expect("an id"));
            let mut needed = RangeSet::new();
            for extent in extents.iter().filter(|extent| extent.chunk == id) {
                let start = u64::from(extent.chunk_offset);
                needed.insert(start..start + u64::from(extent.bytes), ());
            }
            let is_sparse = needed.covered_bytes() < 500;
            sparse += usize::from(is_sparse);
            assert!(!is_sparse || is_indexed(inner, &key), "{} bytes needed", needed.covered_bytes());
            if is_surveyed && is_indexed(inner, &key) {
                let survey = inner.survey(id).expect("readable");
                assert_eq!(survey.map(|survey| survey.needed), is_sparse.then_some(needed));
                assert_eq!(is_indexed(inner, &key), is_sparse);
            }
        }
        for table in [Table::Sparse, Table::Shared] {
            for (key, _) in inner.database.scan(table, b"", b"", usize::MAX).expect("readable") {
                assert!(inner.database.get(Table::Chunk, &[&key]).expect("readable").is_some(), "of a chunk that went");
            }
        }
        sparse
    }

    #[tokio::test]
    async fn no_sparse_chunk_escapes_the_index_however_extents_share_it() {
        let directory = tempfile::tempdir().expect("made");
        let bucket = open(directory.path());
        let (inner, chance) = (&*bucket.inner, SeededChance::new(21));
        let mut found = 0;
        for step in 0..400 {
            match below(&chance, 8) {
                0 => store(inner, &chance),
                1..4 => share(inner, &chance),
                _ => drop(make_place(inner, 1 + below(&chance, 150), &chance)),
            }
            found += check(inner, below(&chance, 4) == 0);
            if step == 200 {
                // As a state of an earlier release, which had no index.
                let mut batch = Batch::new();
                for table in [Table::Sparse, Table::Shared] {
                    for (key, _) in inner.database.scan(table, b"", b"", usize::MAX).expect("readable") {
                        batch.delete(table, &[&key]);
                    }
                }
                batch.delete(Table::Meta, &[CURSOR]);
                inner.database.commit(batch).expect("committed");
                while !inner.index_earlier_chunks().expect("readable") {}
            }
        }
        assert!(found > 50, "{found} sparse chunks were seen");
    }
}
