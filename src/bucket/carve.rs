//! Ranges of a file as a whole: truncate, punch, zero, allocate, and where data and holes are.

use std::ops::Range;

use super::{
    Bucket, Error, FileKind, Inner,
    cell::{Cell, CellState},
    records::Extent,
};
use crate::{
    base::{Ino, limits},
    store::{Batch, Sequence},
};

/// What `fallocate` does to a range (fallocate(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// Nothing but the size, where that is to grow: space is taken when data comes.
    Reserve,
    /// It becomes a hole.
    Punch,
    /// It reads as zeros; here that is a hole too.
    Zero,
}

/// What `seek` looks for (lseek(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    Data,
    Hole,
}

/// Extents that are cut off a file at a time: fewer than a batch takes.
const CUT_EXTENTS: usize = limits::EXTENTS_PER_BATCH / 2;
/// Extents looked at in one step of a search, at first and at most.
const FIRST_PAGE: usize = 16;
const EXTENTS_PAGE: usize = 1024;

impl Inner {
    /// Takes a range of a locked file away: its staged bytes and its extents, in as many batches as that needs. The
    /// last batch also carries the inode as `finish` leaves it.
    fn carve(
        &self,
        cell: &Cell,
        state: &mut CellState,
        range: Range<u64>,
        finish: impl FnOnce(&mut CellState),
    ) -> Result<(), Error> {
        let mut dead = Vec::new();
        let mut change = self.change_extents();
        let mut reached = range.start;
        let mut batch = loop {
            let mut batch = Batch::new();
            reached = change.cut(cell.ino, reached..range.end, &mut batch)?;
            state.count_extents(change.gained(cell.ino));
            dead.extend(change.settle(&mut batch)?);
            if reached == range.end {
                break batch;
            }
            state.put(cell.ino, &mut batch);
            self.database.commit(batch)?;
        };
        // Only now, when nothing fails any more but the log.
        let waste = self.drop_staged(state, range.clone());
        finish(state);
        state.put(cell.ino, &mut batch);
        // Only what is staged no more, in the database too, needs no bytes from the log.
        self.put_ranges(cell.ino, &mut state.logged, &mut batch)?;
        batch.supersede(cell.ino.0, range.start, range.end);
        let committed = self.database.commit(batch)?;
        state.waste_all(waste, committed);
        drop(change);
        self.forget_chunks(&dead);
        Ok(())
    }

    /// Forgets the staged bytes of a range; returns where they lie in the staging file.
    pub(super) fn drop_staged(&self, state: &mut CellState, range: Range<u64>) -> Vec<Range<u64>> {
        let before = state.dirty.covered_bytes();
        let staged = state.dirty.within(range.clone()).map(|(part, _)| part).collect();
        state.forget_staged(range);
        self.staging.account(before, state.dirty.covered_bytes());
        staged
    }

    /// The sizes by which a file is cut to this one, the last: no more extents than a batch takes lie between two.
    fn steps_to(&self, ino: Ino, size: u64) -> Result<Vec<u64>, Error> {
        let mut steps = vec![size];
        loop {
            let from = steps.last().copied().unwrap_or(size);
            let page = self.extents(ino, from..u64::MAX, CUT_EXTENTS)?;
            match page.last() {
                Some((offset, extent)) if page.len() == CUT_EXTENTS => steps.push(offset + u64::from(extent.bytes)),
                _ => break,
            }
        }
        steps.reverse();
        Ok(steps)
    }

    /// Cuts or extends a locked file.
    pub(super) fn resize(&self, cell: &Cell, state: &mut CellState, size: u64) -> Result<(), Error> {
        if state.inode.kind != FileKind::File {
            let is_directory = state.inode.kind == FileKind::Directory;
            return Err(if is_directory { Error::IsDirectory } else { Error::Invalid("only files have a size") });
        }
        if size > limits::FILE_BYTES {
            return Err(Error::TooLarge);
        }
        let now = self.timestamp();
        (state.inode.modified, state.inode.changed) = (now, now);
        if size < state.inode.size {
            state.cuts += 1;
            // From the end, in steps of one batch each: after a crash the file ends somewhere, and is whole up to there.
            for end in self.steps_to(cell.ino, size)? {
                self.carve(cell, state, end..u64::MAX, |state| {
                    // What was written before the cut and is not durable yet still is not.
                    state.logged_size = state.logged_size.min(end);
                    state.inode.size = state.inode.size.min(end);
                })?;
            }
            return Ok(());
        }
        state.inode.size = size;
        state.is_changed = true;
        // What is written and not durable yet would be zeros after a crash, were the size behind it stored.
        if state.unlogged.is_empty() {
            state.logged_size = size;
        }
        let mut batch = Batch::new();
        state.put(cell.ino, &mut batch);
        self.database.commit(batch)?;
        Ok(())
    }

    /// The first run of data at or after this byte of a locked file; its end is only right for a search of a hole.
    fn data_at(&self, cell: &Cell, state: &CellState, from: u64, seek: Seek) -> Result<Run, Error> {
        let window = from..state.inode.size;
        let mut run = Run { start: u64::MAX, end: from };
        let (mut at, mut page) = (from, FIRST_PAGE);
        // Some extents at a time, merged with as much of what is staged: as a rule the first of them is the answer.
        loop {
            let extents = self.extents(cell.ino, at..window.end, page)?;
            let mut reached = if extents.len() < page { window.end } else { last_end(&extents) };
            let staged: Vec<_> = state.dirty.within(at..reached).map(|(range, _)| range).take(page).collect();
            if let Some(last) = staged.last().filter(|_| staged.len() == page) {
                reached = last.end;
            }
            let stored = extents.iter().map(|(offset, extent)| *offset..offset + u64::from(extent.bytes));
            let mut parts: Vec<_> = stored.filter(|part| part.start < reached).chain(staged).collect();
            parts.sort_by_key(|part| part.start);
            page = (4 * page).min(EXTENTS_PAGE);
            for part in parts {
                if run.start == u64::MAX {
                    run = Run { start: part.start.max(from), end: part.end };
                    if seek == Seek::Data || run.start > from {
                        return Ok(run);
                    }
                } else if part.start <= run.end {
                    run.end = run.end.max(part.end);
                } else {
                    return Ok(run);
                }
            }
            if reached >= window.end {
                return Ok(run);
            }
            at = reached;
        }
    }
}

/// A run of data; `start` is `u64::MAX` when there is none.
struct Run {
    start: u64,
    end: u64,
}

fn last_end(extents: &[(u64, Extent)]) -> u64 {
    extents.last().map_or(0, |(offset, extent)| offset + u64::from(extent.bytes))
}

impl CellState {
    /// Ranges of the staging file may be given back when this batch is durable.
    pub(super) fn waste_all(&mut self, ranges: Vec<Range<u64>>, since: Sequence) {
        for range in ranges {
            self.waste.insert(range, since);
        }
    }
}

impl Bucket {
    /// `fallocate`. With `is_size_kept` bytes past the end are not made part of the file.
    ///
    /// # Errors
    /// `TooLarge`, `Full` when the network has not so much space, `Invalid` for what is no file or an empty range.
    pub fn fallocate(
        &self,
        ino: Ino,
        range: Range<u64>,
        allocation: Allocation,
        is_size_kept: bool,
    ) -> Result<(), Error> {
        let inner = &*self.inner;
        if range.is_empty() {
            return Err(Error::Invalid("the range is empty"));
        }
        if range.end > limits::FILE_BYTES {
            return Err(Error::TooLarge);
        }
        let cell = inner.cell(ino)?;
        let mut state = cell.lock();
        if state.is_gone {
            return Err(Error::Stale);
        }
        if state.inode.kind != FileKind::File {
            return Err(Error::Invalid("only files have space"));
        }
        let size = if is_size_kept { state.inode.size } else { state.inode.size.max(range.end) };
        if allocation == Allocation::Reserve {
            if range.end.saturating_sub(state.inode.size) > inner.space().1 {
                return Err(Error::Full("the network has not so much free space".to_owned()));
            }
        } else if range.start < state.inode.size {
            let now = inner.timestamp();
            (state.inode.modified, state.inode.changed) = (now, now);
            inner.carve(&cell, &mut state, range, |_| {})?;
        }
        if size > state.inode.size { inner.resize(&cell, &mut state, size) } else { Ok(()) }
    }

    /// The next byte of data, or of a hole, at or after an offset; the end of the file counts as a hole.
    ///
    /// # Errors
    /// `NoData` at or past the end, and when there is no data any more.
    pub fn seek(&self, ino: Ino, offset: u64, seek: Seek) -> Result<u64, Error> {
        let cell = self.inner.cell(ino)?;
        let state = cell.lock();
        if state.is_gone {
            return Err(Error::Stale);
        }
        if state.inode.kind != FileKind::File {
            return Err(Error::Invalid("only files have holes"));
        }
        let size = state.inode.size;
        if offset >= size {
            return Err(Error::NoData);
        }
        let run = self.inner.data_at(&cell, &state, offset, seek)?;
        match seek {
            Seek::Data if run.start < size => Ok(run.start),
            Seek::Data => Err(Error::NoData),
            Seek::Hole if run.start == offset => Ok(run.end.min(size)),
            Seek::Hole => Ok(offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::promises::{file, open, write},
        *,
    };
    use crate::{
        base::{ChunkId, Record},
        store::Table,
    };

    #[tokio::test]
    async fn a_file_of_many_extents_is_cut_from_its_end_in_steps() {
        let directory = tempfile::tempdir().expect("made");
        let bucket = open(directory.path());
        let ino = file(&bucket, b"scattered");
        let count = 5 * CUT_EXTENTS as u64 / 2;
        let mut batch = Batch::new();
        for number in 0..count {
            let extent = Extent { bytes: 2, chunk: ChunkId([1; 32]), chunk_offset: 0 };
            batch.put(Table::Extent, &[&ino.0.to_be_bytes(), &(3 * number).to_be_bytes()], extent.encode());
        }
        bucket.inner.database.commit(batch).expect("committed");
        let steps = bucket.inner.steps_to(ino, 1).expect("readable");
        assert_eq!(steps.last(), Some(&1));
        assert!(steps.is_sorted_by(|one, next| one > next), "{steps:?}");
        let ends = std::iter::once(u64::MAX).chain(steps.iter().copied());
        let all = || bucket.inner.extents(ino, 0..u64::MAX, usize::MAX).expect("readable").into_iter();
        for (end, start) in ends.zip(&steps) {
            let cut =
                all().filter(|(offset, extent)| *offset < end && offset + u64::from(extent.bytes) > *start).count();
            assert!(cut <= CUT_EXTENTS, "{cut} from {start} on");
        }
        assert_eq!(bucket.inner.steps_to(ino, 3 * count).expect("readable"), [3 * count]);
    }

    #[tokio::test]
    async fn data_and_holes_are_found_among_many_stored_and_staged_parts() {
        let directory = tempfile::tempdir().expect("made");
        let bucket = open(directory.path());
        let ino = file(&bucket, b"scattered");
        let size = 4000;
        let mut is_data = vec![false; size];
        let mut batch = Batch::new();
        for number in 0..300 {
            // Alone, side by side and upon each other.
            let (stored, staged) = (7 * number + 1, 11 * number + 3);
            let extent = Extent { bytes: 3, chunk: ChunkId([1; 32]), chunk_offset: 0 };
            batch.put(Table::Extent, &[&ino.0.to_be_bytes(), &(stored as u64).to_be_bytes()], extent.encode());
            write(&bucket, ino, staged as u64, b"ab");
            is_data[stored..stored + 3].fill(true);
            is_data[staged..staged + 2].fill(true);
        }
        bucket.inner.database.commit(batch).expect("committed");
        write(&bucket, ino, size as u64 - 1, b"z");
        is_data[size - 1] = true;
        for from in 0..size {
            let next = |wanted| (from..size).find(|at| is_data[*at] == wanted).unwrap_or(size) as u64;
            assert_eq!(bucket.seek(ino, from as u64, Seek::Data).expect("the last byte is data"), next(true));
            assert_eq!(bucket.seek(ino, from as u64, Seek::Hole).expect("the end is a hole"), next(false));
        }
    }
}
