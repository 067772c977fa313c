//! The landing of a chunk: what it carries is staged no more, in as many batches as that needs.
//!
//! A batch may only hold so much, a chunk may replace a great many small extents, and who uses the files must not wait for
//! long. Each batch is right by itself: it lands some parts, with their extents, what these replace, and that they are
//! staged no more. The first one also stores the chunk. After a crash between two of them the other parts are staged
//! still, and go with another chunk.
//!
//! What was written anew meanwhile stays staged. Where somebody waits for what was there before, that lands beneath it:
//! otherwise a program that writes the same bytes again and again would keep an fsync on consumers from ever returning.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::{
    Error, Inner,
    cell::{Cell, CellState, Locked},
    commit::Delivery,
    extents::ExtentChange,
    records::Extent,
    upload::{Job, Piece},
};
use crate::{
    base::{Ino, RangeSet, limits},
    runtime::failpoint,
    store::{Batch, Sequence},
};

/// A chunk that lands.
struct Landing<'a> {
    job: &'a Job,
    delivery: &'a Delivery,
    /// Where it goes on: in this piece, at this offset of its file or at the beginning.
    next: (usize, u64),
    is_stored: bool,
    is_pinned: bool,
    /// The files that some of it is in.
    cells: BTreeMap<Ino, Arc<Cell>>,
}

/// What a batch lands, by inode.
#[derive(Default)]
struct Parts {
    /// Is staged no more.
    taken: BTreeMap<Ino, Vec<Range<u64>>>,
    /// Lies beneath what is staged.
    beneath: BTreeMap<Ino, Vec<Range<u64>>>,
}

impl Parts {
    fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.beneath.is_empty()
    }

    /// All of each file.
    fn by_file(&self) -> BTreeMap<Ino, Vec<Range<u64>>> {
        let mut all = self.taken.clone();
        for (ino, ranges) in &self.beneath {
            all.entry(*ino).or_default().extend(ranges.iter().cloned());
        }
        all
    }
}

impl<'a> Landing<'a> {
    fn is_done(&self) -> bool {
        self.next.0 == self.job.pieces.len()
    }

    /// Those that the next batch lands, if there is room for them.
    fn next_pieces(&self) -> &'a [Piece] {
        let job = self.job;
        &job.pieces[self.next.0..job.pieces.len().min(self.next.0 + limits::LANDED_AT_ONCE)]
    }

    /// Puts into a batch what fits of the parts that are still as the chunk took them.
    fn take_some(
        &mut self,
        locked: &mut Locked<'_>,
        change: &mut ExtentChange<'_>,
        batch: &mut Batch,
    ) -> Result<Parts, Error> {
        let (mut parts, mut count) = (Parts::default(), 0);
        for piece in self.next_pieces() {
            let (ino, state) = (piece.cell.ino, locked.of(piece.cell.ino));
            let rest = piece.range.start.max(self.next.1)..piece.range.end;
            for (part, is_beneath) in self.job.landing_parts(piece, state, rest) {
                let has_room = count < limits::LANDED_AT_ONCE;
                let reached = if has_room { change.cut(ino, part.clone(), batch)? } else { part.start };
                if reached > part.start {
                    let skipped = (part.start - piece.range.start) as u32;
                    let extent = Extent {
                        bytes: (reached - part.start) as u32,
                        chunk: self.delivery.chunk.layout.chunk,
                        chunk_offset: piece.chunk_offset + skipped,
                    };
                    change.insert(ino, part.start, extent, batch);
                    if !is_beneath {
                        batch.supersede(ino.0, part.start, reached);
                    }
                    let landed = if is_beneath { &mut parts.beneath } else { &mut parts.taken };
                    landed.entry(ino).or_default().push(part.start..reached);
                    count += 1;
                }
                if reached < part.end {
                    self.next.1 = reached;
                    return Ok(parts);
                }
            }
            self.next = (self.next.0 + 1, 0);
        }
        Ok(parts)
    }
}

impl Job {
    /// What of the rest of a piece can land, in order, and whether beneath what is staged.
    fn landing_parts(&self, piece: &Piece, state: &CellState, rest: Range<u64>) -> Vec<(Range<u64>, bool)> {
        if state.is_gone {
            return Vec::new();
        }
        let mut beneath = RangeSet::new();
        for part in piece.intact.get().into_iter().flatten() {
            let part = part.start.max(rest.start)..part.end.min(rest.end);
            let wanted = state.awaited.wanted_from(self.flight, &part);
            wanted.iter().for_each(|(part, ())| beneath.insert(part, ()));
        }
        let unmodified = state.unmodified_since(self.flight, rest);
        unmodified.iter().for_each(|part| beneath.remove(part.clone()));
        let mut parts: Vec<_> = unmodified.into_iter().map(|part| (part, false)).collect();
        parts.extend(beneath.iter().map(|(part, ())| (part, true)));
        parts.sort_unstable_by_key(|(part, _)| part.start);
        parts
    }
}

impl Inner {
    /// Commits a scattered chunk: extents, freed chunks, cleared dirty ranges and its record. Returns whether a pinned
    /// file is in it.
    pub(super) fn land(&self, job: &Job, delivery: &Delivery) -> Result<bool, Error> {
        let mut landing =
            Landing { job, delivery, next: (0, 0), is_stored: false, is_pinned: false, cells: BTreeMap::new() };
        let mut last = None;
        while !landing.is_done() {
            match self.land_some(&mut landing)? {
                Some(committed) => last = Some(committed),
                // What had landed is not needed any more, and its shards are on their way out.
                None => {
                    self.put_back(job);
                    break;
                }
            }
        }
        let Some(committed) = last else { return Ok(false) };
        self.database.sync(committed)?;
        failpoint("chunk-flushed");
        for cell in landing.cells.values() {
            self.reclaim(cell, committed);
        }
        failpoint("staging-returned");
        Ok(landing.is_pinned)
    }

    /// Lands as much as fits into a batch; None when the chunk has gone since the batch before.
    fn land_some(&self, landing: &mut Landing<'_>) -> Result<Option<Sequence>, Error> {
        let (job, chunk) = (landing.job, &landing.delivery.chunk);
        let pieces = landing.next_pieces();
        let mut locked = Locked::new(pieces.iter().map(|piece| &piece.cell));
        let mut change = self.change_extents();
        if landing.is_stored && self.chunk(chunk.layout.chunk)?.is_none() {
            return Ok(None);
        }
        let mut batch = Batch::new();
        let parts = landing.take_some(&mut locked, &mut change, &mut batch)?;
        if !landing.is_stored && (!parts.is_empty() || landing.is_done()) {
            self.put_delivery(landing.delivery, !parts.is_empty(), &mut batch)?;
            change.store(chunk);
        }
        let by_file = parts.by_file();
        let gained: Vec<_> = by_file.keys().map(|ino| change.gained(*ino)).collect();
        let dead = change.settle(&mut batch)?;
        // From here on nothing fails but the commit, after which all is as before.
        let mut taken = Vec::new();
        for ((ino, ranges), gained) in by_file.iter().zip(&gained) {
            let state = locked.of(*ino);
            state.count_extents(*gained);
            landing.is_pinned |= state.inode.is_pinned;
            // All in this batch: without the extents in it the ranges must stay. They are no more than a few for each
            // part, because whoever changes ranges tells the database before it lets go of the file.
            for range in parts.taken.get(ino).into_iter().flatten() {
                taken.extend(state.logged.take(range.clone()).into_iter().map(|range| (*ino, range)));
            }
            while !state.logged.put(*ino, &mut batch) {}
            state.put_sized(*ino, landed_size(state, ranges), &mut batch);
        }
        let committed = self.database.commit(batch).inspect_err(|_| {
            for (ino, range) in taken {
                locked.of(ino).logged.insert(range);
            }
            for (ino, gained) in by_file.keys().zip(&gained) {
                locked.of(*ino).count_extents(-gained);
            }
        })?;
        failpoint("chunk-committed");
        landing.is_stored |= !parts.is_empty();
        // Only now, so that a commit that fails leaves everything staged.
        for (ino, ranges) in &by_file {
            let state = locked.of(*ino);
            state.logged_size = landed_size(state, ranges);
            self.note_landed(state, parts.taken.get(ino).map_or(&[], Vec::as_slice), committed);
            for range in parts.beneath.get(ino).into_iter().flatten() {
                state.awaited.settle_beneath(job.flight, range);
            }
        }
        drop(change);
        drop(locked);
        for piece in pieces.iter().filter(|piece| by_file.contains_key(&piece.cell.ino)) {
            landing.cells.entry(piece.cell.ino).or_insert_with(|| Arc::clone(&piece.cell));
        }
        self.forget_chunks(&dead);
        Ok(Some(committed))
    }

    /// A locked cell after ranges of it went into a chunk.
    fn note_landed(&self, state: &mut CellState, ranges: &[Range<u64>], committed: Sequence) {
        let before = state.dirty.covered_bytes();
        for range in ranges {
            state.forget_staged(range.clone());
            state.waste.insert(range.clone(), committed);
        }
        self.staging.account(before, state.dirty.covered_bytes());
        (state.problem, state.failures) = (None, 0);
        state.is_urgent &= !state.dirty.is_empty();
    }

    /// What of a chunk has not landed is carried by none any more.
    pub(super) fn put_back(&self, job: &Job) {
        for piece in &job.pieces {
            let mut state = piece.cell.lock();
            for part in state.unmodified_since(job.flight, piece.range.clone()) {
                state.dirty.insert(part, None);
            }
        }
    }
}

/// The size that may be stored when these ranges are in a chunk.
fn landed_size(state: &CellState, ranges: &[Range<u64>]) -> u64 {
    let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
    state.logged_size.max(end.min(state.inode.size))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::OnceLock;

    use super::{
        super::{
            Bucket, FsckOptions, FsckProgress,
            cell::Flight,
            promises::{copy, file, open, write},
            records::Chunk,
        },
        *,
    };
    use crate::{
        base::{PeerId, Scheme},
        coding::{self, BucketKey},
        dispatch::Placement,
        runtime::SeededChance,
    };

    /// So many extents of one byte that to replace them all is too much for a record of the log.
    const MANY: u64 = 130_000;
    /// So many that they need several batches.
    const SOME: u64 = 10_000;

    /// A chunk of so many bytes that its consumers have.
    pub(in crate::bucket) fn delivery(seed: u64, bytes: usize) -> Delivery {
        let encoded = coding::encode(&BucketKey::new([4; 32]), &vec![7; bytes], Scheme::FREE, &SeededChance::new(seed));
        let encoded = encoded.expect("encodes");
        let placements = (0..encoded.roots.len()).map(|index| Placement::held(PeerId([index as u8 + 1; 32])));
        let chunk = Chunk { placements: placements.collect(), layout: encoded.layout, roots: encoded.roots };
        Delivery { chunk, has_rest: false }
    }

    /// A file whose every byte is an extent of one chunk, in the wrong order.
    pub(in crate::bucket) fn in_pieces(bucket: &Bucket, extents: u64) -> (Ino, Delivery) {
        let inner = &bucket.inner;
        let ino = file(bucket, b"in pieces");
        let old = delivery(1, extents as usize);
        let cell = inner.cell(ino).expect("there");
        let mut state = cell.lock();
        (state.inode.size, state.logged_size) = (extents, extents);
        let offsets: Vec<u64> = (0..extents).collect();
        for some in offsets.chunks(limits::EXTENTS_PER_BATCH) {
            let (mut batch, mut change) = (Batch::new(), inner.change_extents());
            for offset in some {
                let chunk_offset = (extents - 1 - offset) as u32;
                let extent = Extent { bytes: 1, chunk: old.chunk.layout.chunk, chunk_offset };
                change.insert(ino, *offset, extent, &mut batch);
            }
            inner.put_chunk(&old.chunk, &mut batch).expect("readable");
            change.store(&old.chunk);
            state.count_extents(change.gained(ino));
            change.settle(&mut batch).expect("settled");
            state.put(ino, &mut batch);
            inner.database.commit(batch).expect("committed");
        }
        drop(state);
        (ino, old)
    }

    /// Such a file, and all of it written anew, as a chunk takes it.
    fn shattered(bucket: &Bucket, extents: u64) -> (Job, Delivery) {
        let inner = &bucket.inner;
        let (ino, _) = in_pieces(bucket, extents);
        write(bucket, ino, 0, &vec![1; extents as usize]);
        bucket.fsync_blocking(ino, false).expect("durable");
        let cell = inner.cell(ino).expect("there");
        let mut state = cell.lock();
        let flight = Flight(77);
        state.dirty.insert(0..extents, Some(flight));
        let file = inner.staging_file(&cell, &mut state).expect("there");
        drop(state);
        let piece = Piece { cell, file, range: 0..extents, chunk_offset: 0, intact: OnceLock::new() };
        let job =
            Job { flight, scheme: Scheme::FREE, pieces: vec![piece], bytes: extents as usize, unread: OnceLock::new() };
        (job, delivery(2, extents as usize))
    }

    /// Everything in it fits together.
    pub(in crate::bucket) async fn assert_sound(bucket: &Bucket) {
        let (progress, _steps) = tokio::sync::watch::channel(FsckProgress { step: "", done: 0 });
        let report = bucket.fsck(FsckOptions::default(), progress).await.expect("checked");
        assert!(report.is_clean(), "{:?}", report.problems);
    }

    #[tokio::test]
    async fn a_chunk_lands_over_more_extents_than_a_record_holds() {
        let directory = tempfile::tempdir().expect("made");
        let bucket = open(directory.path());
        let (job, delivery) = shattered(&bucket, MANY);
        assert!(!bucket.inner.land(&job, &delivery).expect("landed"));
        let (ino, id) = (job.pieces[0].cell.ino, delivery.chunk.layout.chunk);
        assert_eq!((bucket.staged_bytes(), bucket.inner.live_bytes(id).expect("readable")), (0, MANY));
        let mut reached = 0;
        for (offset, extent) in bucket.inner.extents(ino, 0..u64::MAX, usize::MAX).expect("readable") {
            assert_eq!((offset, extent.chunk, u64::from(extent.chunk_offset)), (reached, id, reached));
            reached += u64::from(extent.bytes);
        }
        assert_eq!(reached, MANY);
        assert_sound(&bucket).await;
    }

    #[tokio::test]
    async fn a_crash_between_two_batches_leaves_the_rest_staged() {
        let (directory, after_crash) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
        let bucket = open(directory.path());
        let (job, delivery) = shattered(&bucket, SOME);
        let mut landing = Landing {
            job: &job,
            delivery: &delivery,
            next: (0, 0),
            is_stored: false,
            is_pinned: false,
            cells: BTreeMap::new(),
        };
        for _ in 0..3 {
            bucket.inner.land_some(&mut landing).expect("landed").expect("there");
        }
        let landed = 3 * limits::EXTENTS_PER_BATCH as u64;
        copy(directory.path(), after_crash.path());
        let reopened = open(after_crash.path());
        let live = reopened.inner.live_bytes(delivery.chunk.layout.chunk).expect("readable");
        assert_eq!((reopened.staged_bytes(), live), (SOME - landed, landed));
        assert_sound(&reopened).await;
        // What comes later replaces the chunk that has landed in part: the rest goes with another one.
        let cell = &job.pieces[0].cell;
        {
            let mut state = cell.lock();
            let (mut batch, mut change) = (Batch::new(), bucket.inner.change_extents());
            change.cut_all(cell.ino, 0..landed, &mut batch).expect("readable");
            state.count_extents(change.gained(cell.ino));
            change.settle(&mut batch).expect("settled");
            bucket.inner.database.commit(batch).expect("committed");
        }
        assert!(bucket.inner.land_some(&mut landing).expect("readable").is_none());
        bucket.inner.put_back(&job);
        assert_eq!(cell.lock().dirty.waiting_bytes(), SOME - landed);
    }
}
