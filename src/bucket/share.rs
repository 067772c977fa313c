//! Copies within the bucket: extents are shared, so that a copy of uploaded data moves none.

use std::ops::Range;

use super::{
    Bucket, Error, FileKind, Inner,
    cell::{Cell, CellState, Locked},
    records::Extent,
};
use crate::{
    base::{Ino, RangeSet, limits},
    store::Batch,
};

/// Bytes that are copied at a time from one staging file to another.
const STEP_BYTES: usize = 1 << 20;

/// A run of the source: staged, or in an extent. Holes are what lies between.
struct Run {
    range: Range<u64>,
    extent: Option<Extent>,
}

/// What a target gets.
struct Shared {
    /// Where that takes the place of what is there.
    replaced: RangeSet,
    extents: Vec<(u64, Extent)>,
    /// The target reaches up to here at least.
    end: u64,
}

/// What one call copies.
struct Plan {
    runs: Vec<Run>,
    /// Up to here in the source.
    end: u64,
}

impl Inner {
    /// What of the window one batch can copy: runs in order.
    fn plan_copy(&self, ino: Ino, state: &CellState, window: Range<u64>) -> Result<Plan, Error> {
        let mut runs = Vec::new();
        let beyond = state.dirty.within(window.clone()).nth(limits::EXTENTS_PER_BATCH);
        let window = window.start..beyond.map_or(window.end, |(range, _)| range.start);
        for gap in state.dirty.gaps(window.clone()) {
            for (at, extent) in self.extents(ino, gap.clone(), limits::EXTENTS_PER_BATCH)? {
                let range = at.max(gap.start)..(at + u64::from(extent.bytes)).min(gap.end);
                let extent = Extent {
                    bytes: (range.end - range.start) as u32,
                    chunk: extent.chunk,
                    chunk_offset: extent.chunk_offset + (range.start - at) as u32,
                };
                runs.push(Run { range, extent: Some(extent) });
            }
            if runs.len() >= limits::EXTENTS_PER_BATCH {
                break;
            }
        }
        runs.extend(state.dirty.within(window.clone()).map(|(range, _)| Run { range, extent: None }));
        runs.sort_by_key(|run| run.range.start);
        // Beyond the last extent that was looked at nothing is known.
        let mut end = window.end;
        if runs.len() >= limits::EXTENTS_PER_BATCH {
            runs.truncate(limits::EXTENTS_PER_BATCH);
            end = runs.last().map_or(end, |run| run.range.end);
        }
        let mut staged = 0;
        for run in runs.iter().filter(|run| run.extent.is_none()) {
            staged += run.range.end - run.range.start;
            if staged > limits::COPY_STAGED_BYTES {
                end = run.range.end - (staged - limits::COPY_STAGED_BYTES);
                break;
            }
        }
        Ok(Plan { runs, end }.until(end))
    }

    /// Where the target's extents are too many for one batch, if they are.
    fn room_in_target(&self, ino: Ino, window: Range<u64>) -> Result<u64, Error> {
        let found = self.extents(ino, window.clone(), limits::EXTENTS_PER_BATCH + 1)?;
        let excess = found.get(limits::EXTENTS_PER_BATCH).map(|(offset, _)| *offset);
        Ok(excess.unwrap_or(window.end).min(window.end))
    }

    /// Copies staged bytes from one locked file's staging file to another's.
    fn copy_staged(
        &self,
        locked: &mut Locked<'_>,
        source: (&Cell, Range<u64>),
        target: (&Cell, u64),
    ) -> Result<(), Error> {
        let (source, range) = source;
        let file = self.staging_file(source, locked.of(source.ino))?;
        let mut buffer = vec![0; STEP_BYTES.min((range.end - range.start) as usize)];
        let mut at = range.start;
        while at < range.end {
            let count = buffer.len().min((range.end - at) as usize);
            file.read_at(&mut buffer[..count], at).map_err(crate::store::Error::io("cannot read", "staging"))?;
            let place = target.1 + (at - range.start);
            self.stage(target.0, locked.of(target.0.ino), place, &buffer[..count])?;
            at += count as u64;
        }
        Ok(())
    }
}

impl Plan {
    /// The same, cut off at an offset of the source.
    fn until(mut self, end: u64) -> Self {
        self.end = self.end.min(end);
        let end = self.end;
        self.runs.retain(|run| run.range.start < end);
        if let Some(last) = self.runs.last_mut().filter(|run| run.range.end > end) {
            if let Some(extent) = &mut last.extent {
                extent.bytes -= (last.range.end - end) as u32;
            }
            last.range.end = end;
        }
        self
    }
}

impl Bucket {
    /// `copy_file_range`: copies a range from one file (inode and offset) to another, or within one; returns how many
    /// bytes were copied, fewer than asked for when there are fewer, or when the rest is for another call. Extents are
    /// shared; what is only staged is copied on the local disk.
    ///
    /// # Errors
    /// `Apart` when the files are kept in different ways, or staging has no room: then read and write.
    pub fn copy_range(&self, source: (Ino, u64), target: (Ino, u64), length: u64) -> Result<u64, Error> {
        let inner = &*self.inner;
        let (from, to) = (inner.cell(source.0)?, inner.cell(target.0)?);
        let mut locked = Locked::new([&from, &to]);
        let length = inner.check_copy(&mut locked, source, target, length)?;
        if length == 0 {
            return Ok(0);
        }
        let plan = inner.plan_copy(source.0, locked.of(source.0), source.1..source.1 + length)?;
        let room = inner.room_in_target(target.0, target.1..target.1 + (plan.end - source.1))?;
        let plan = plan.until(source.1 + (room - target.1));
        let staged: u64 =
            plan.runs.iter().filter(|run| run.extent.is_none()).map(|run| run.range.end - run.range.start).sum();
        if staged > 0 && !inner.staging.has_room(staged) {
            return Err(Error::Apart);
        }
        let copied = plan.end - source.1;
        // What is staged lies over what the target has there, as after a write; all else replaces it.
        let mut replaced = RangeSet::new();
        replaced.insert(target.1..target.1 + copied, ());
        let place = |range: &Range<u64>| target.1 + (range.start - source.1)..target.1 + (range.end - source.1);
        for run in plan.runs.iter().filter(|run| run.extent.is_none()) {
            inner.copy_staged(
                &mut locked,
                (&from, run.range.clone()),
                (&to, target.1 + (run.range.start - source.1)),
            )?;
            replaced.remove(place(&run.range));
        }
        let shared = plan.runs.iter().filter_map(|run| Some((place(&run.range).start, run.extent?))).collect();
        inner.put_shared(&to, locked.of(target.0), Shared { replaced, extents: shared, end: target.1 + copied })?;
        drop(locked);
        if staged > 0 {
            inner.uploader.note(target.0, false);
        }
        Ok(copied)
    }
}

impl Inner {
    /// Whether this may be copied, and how much of it there is.
    fn check_copy(
        &self,
        locked: &mut Locked<'_>,
        source: (Ino, u64),
        target: (Ino, u64),
        length: u64,
    ) -> Result<u64, Error> {
        for ino in [source.0, target.0] {
            let state = locked.of(ino);
            if state.is_gone {
                return Err(Error::Stale);
            }
            match state.inode.kind {
                FileKind::File => {}
                FileKind::Directory => return Err(Error::IsDirectory),
                _ => return Err(Error::Invalid("only files are copied")),
            }
        }
        let size = locked.of(source.0).inode.size;
        let length = length.min(size.saturating_sub(source.1));
        if target.1.checked_add(length).is_none_or(|end| end > limits::FILE_BYTES) {
            return Err(Error::TooLarge);
        }
        if source.0 == target.0 && source.1 < target.1 + length && target.1 < source.1 + length {
            return Err(Error::Invalid("the ranges overlap"));
        }
        let is_alike = self.scheme_of(&locked.of(source.0).inode) == self.scheme_of(&locked.of(target.0).inode);
        if length > 0 && (!is_alike || self.is_policy_queued(source.0)?) {
            return Err(Error::Apart);
        }
        Ok(length)
    }

    /// Puts shared extents into a locked file, in one batch.
    fn put_shared(&self, cell: &Cell, state: &mut CellState, shared: Shared) -> Result<(), Error> {
        let mut batch = Batch::new();
        let mut change = self.change_extents();
        for (range, ()) in shared.replaced.iter() {
            // The plan leaves no more extents than a batch may cut.
            change.cut_all(cell.ino, range.clone(), &mut batch)?;
        }
        let mut reached = 0;
        for (offset, extent) in shared.extents {
            change.share(cell.ino, offset, extent, &mut batch);
            if state.inode.is_pinned {
                self.cache.set_pinned(extent.chunk, true);
            }
            reached = offset + u64::from(extent.bytes);
        }
        let dead = change.settle(&mut batch)?;
        // Only now, when nothing fails any more but the log.
        let mut waste = Vec::new();
        for (range, ()) in shared.replaced.iter() {
            waste.extend(self.drop_staged(state, range.clone()));
        }
        state.count_extents(change.gained(cell.ino));
        let now = self.timestamp();
        (state.inode.modified, state.inode.changed) = (now, now);
        state.inode.size = state.inode.size.max(shared.end);
        // As with a write, bytes that only this run of the daemon knows of do not count for a crash; extents do.
        state.logged_size = if state.unlogged.is_empty() { state.inode.size } else { state.logged_size.max(reached) };
        state.is_changed = true;
        state.put(cell.ino, &mut batch);
        self.put_ranges(cell.ino, &mut state.logged, &mut batch)?;
        for (range, ()) in shared.replaced.iter() {
            batch.supersede(cell.ino.0, range.start, range.end);
        }
        let committed = self.database.commit(batch)?;
        state.waste_all(waste, committed);
        drop(change);
        self.forget_chunks(&dead);
        Ok(())
    }
}
