//! The write path up to the local disk: write, flush, fsync. Nothing here waits for the network.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{runtime::Handle, sync::Notify};

use super::{
    Attr, Bucket, Error, FileKind, Inner, SetTime, Timestamp,
    cell::{Cell, CellState},
    commit::blocking,
};
use crate::{
    base::{Ino, Mutex, MutexGuard, limits},
    runtime::{Prompt, failpoint},
    store::Batch,
};

/// Files with so much written that the disk begins with it before an fsync asks for it.
#[derive(Default)]
pub(super) struct WriteBack {
    heavy: Mutex<BTreeSet<Ino>>,
    wake: Notify,
}

impl WriteBack {
    fn note(&self, ino: Ino) {
        self.heavy.lock().insert(ino);
        self.wake.notify_one();
    }
}

impl Inner {
    /// Makes changed files durable now and then, and much written ones at once, without an fsync.
    pub(super) async fn write_back_until_shutdown(self: Arc<Self>) {
        let mut next = tokio::time::Instant::now() + limits::WRITEBACK_INTERVAL;
        loop {
            tokio::select! {
                biased;
                () = self.tasks.shutdown().started() => return,
                () = tokio::time::sleep_until(next) => {}
                () = self.write_back.wake.notified() => {}
            }
            let is_due = tokio::time::Instant::now() >= next;
            let inner = Arc::clone(&self);
            let done = blocking(move || if is_due { inner.log_all() } else { inner.log_heavy() }).await;
            if let Err(error) = done {
                tracing::warn!(%error, "background write-back failed");
            }
            if is_due {
                next = tokio::time::Instant::now() + limits::WRITEBACK_INTERVAL;
            }
        }
    }

    fn log_heavy(&self) -> Result<(), Error> {
        let heavy = std::mem::take(&mut *self.write_back.heavy.lock());
        for cell in heavy.into_iter().filter_map(|ino| self.cell(ino).ok()) {
            if cell.lock().unlogged.covered_bytes() >= limits::EARLY_FLUSH_BYTES {
                self.log_cell(&cell)?;
            }
        }
        Ok(())
    }

    /// Puts bytes into a locked file's staging file.
    pub(super) fn stage(&self, cell: &Cell, state: &mut CellState, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.stage_bytes(cell, state, offset, data)?;
        let now = self.timestamp();
        (state.inode.modified, state.inode.changed) = (now, now);
        state.inode.size = state.inode.size.max(offset + data.len() as u64);
        state.is_changed = true;
        Ok(())
    }

    /// The same without a change of the inode.
    pub(super) fn stage_bytes(
        &self,
        cell: &Cell,
        state: &mut CellState,
        offset: u64,
        data: &[u8],
    ) -> Result<(), Error> {
        let file = self.staging_file(cell, state)?;
        file.write_at(data, offset).map_err(crate::store::Error::io("cannot write staging file in", "staging"))?;
        let end = offset + data.len() as u64;
        let before = state.dirty.covered_bytes();
        let now = tokio::time::Instant::now();
        if before == 0 {
            state.staged_since = now;
        }
        if state.dirty.waiting_bytes() == 0 {
            state.waiting_since = now;
            // Behind those that wait already.
            state.last_flight = state.last_flight.max(self.uploader.newest_flight());
        }
        state.dirty.insert(offset..end, None);
        state.waste.remove(offset..end);
        let epoch = state.epoch;
        state.unlogged.insert(offset..end, epoch);
        self.staging.account(before, state.dirty.covered_bytes());
        state.last_write = now;
        Ok(())
    }

    /// Writes to a locked file what fits into staging; None when staging is full.
    fn write_locked(&self, cell: &Cell, state: &mut CellState, offset: u64, data: &[u8]) -> Result<Option<u32>, Error> {
        let length = u32::try_from(data.len()).map_err(|_| Error::TooLarge)?;
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > limits::FILE_BYTES) {
            return Err(Error::TooLarge);
        }
        if data.is_empty() {
            return Ok(Some(0));
        }
        let has_room = match state.dirty.is_empty() {
            true => self.staging.has_room_for_one_more(u64::from(length)),
            false => self.staging.has_room(u64::from(length)),
        };
        if !has_room {
            self.uploader.wake();
            return Ok(None);
        }
        if state.is_gone {
            return Err(Error::Stale);
        }
        if state.inode.kind != FileKind::File {
            return Err(Error::Invalid("only files are written to"));
        }
        self.stage(cell, state, offset, data)?;
        Ok(Some(length))
    }

    /// Tells all who take care of staged data that a file has more of it.
    fn note_write(&self, ino: Ino, state: MutexGuard<'_, CellState>) {
        self.uploader.pressure.note(state.last_write);
        let is_much = state.dirty.waiting_bytes() >= limits::CHUNK_BYTES as u64;
        let is_heavy = state.unlogged.covered_bytes() >= limits::EARLY_FLUSH_BYTES;
        drop(state);
        if is_heavy {
            self.write_back.note(ino);
        }
        self.uploader.note(ino, is_much);
    }

    /// Makes what a cell knows, and the data before it, part of the log; the caller flushes the log.
    pub(super) fn log_cell(&self, cell: &Cell) -> Result<crate::store::Sequence, Error> {
        let mut prompt = Prompt::enter();
        let mut state = cell.lock();
        if state.is_gone || (!state.is_changed && state.unlogged.is_empty()) {
            // Its earlier changes are in the log already.
            return Ok(self.database.last());
        }
        let mut batch = Batch::new();
        if state.unlogged.covered_bytes() <= limits::INLINE_BYTES {
            self.log_inline(cell, &mut state, &mut batch)?;
        } else {
            self.flush_data(cell, &mut state, &mut prompt, &mut batch)?;
            if state.is_gone {
                return Ok(self.database.last());
            }
        }
        self.put_ranges(cell.ino, &mut state.logged, &mut batch)?;
        state.put(cell.ino, &mut batch);
        state.logged_at = self.database.commit(batch)?;
        Ok(state.logged_at)
    }

    /// The same if there is little of it.
    fn log_if_small(&self, cell: &Cell) -> Result<(), Error> {
        let is_small = cell.lock().unlogged.covered_bytes() <= limits::INLINE_AT_CLOSE_BYTES;
        if is_small {
            self.log_cell(cell)?;
        }
        Ok(())
    }

    /// Small data goes into the log itself.
    fn log_inline(&self, cell: &Cell, state: &mut CellState, batch: &mut Batch) -> Result<(), Error> {
        let ranges: Vec<_> = state.unlogged.iter().map(|(range, _)| range).collect();
        if !ranges.is_empty() {
            let file = self.staging_file(cell, state)?;
            for range in &ranges {
                let mut bytes = vec![0; (range.end - range.start) as usize];
                file.read_at(&mut bytes, range.start).map_err(crate::store::Error::io("cannot read", "staging"))?;
                batch.inline(cell.ino.0, range.start, bytes);
            }
        }
        state.epoch += 1;
        let epoch = state.epoch;
        state.settle_flushed(epoch);
        state.logged_size = state.inode.size;
        Ok(())
    }

    /// Large data is flushed in its staging file first, without the lock, so that writers go on meanwhile.
    fn flush_data(
        &self,
        cell: &Cell,
        state: &mut MutexGuard<'_, CellState>,
        prompt: &mut Prompt,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let file = self.staging_file(cell, state)?;
        // What is written during the flush is of the next epoch. Until its end nothing counts as durable: others may
        // log the same cell meanwhile.
        state.epoch += 1;
        let (epoch, cuts, size) = (state.epoch, state.cuts, state.inode.size);
        let written = state.unlogged.iter().map(|(range, _)| range).collect();
        // Others may have the processors until then, too.
        let flush = || prompt.interrupted(|| self.staging.flush_file(cell.ino, &*file, written));
        // A flush that is tried again succeeds, and what the disk did not take is lost all the same.
        MutexGuard::unlocked(state, flush).inspect_err(|error| self.database.fail(error))?;
        failpoint("staging-flushed");
        // What somebody else has put into the log meanwhile is not listed any more, and stands.
        for some in state.settle_flushed(epoch).chunks(limits::RANGES_PER_BATCH) {
            if !batch.is_empty() {
                self.database.commit(std::mem::take(batch))?;
            }
            for range in some {
                batch.supersede(cell.ino.0, range.start, range.end);
            }
        }
        // After a truncate in between the size waits for the next to log it.
        if state.cuts == cuts {
            state.logged_size = state.logged_size.max(size);
        }
        Ok(())
    }

    /// Logs every changed cell and flushes once; in the background and at unmount. One that fails does not keep
    /// the others back.
    pub(super) fn log_all(&self) -> Result<(), Error> {
        let mut cells: Vec<Arc<Cell>> = self.cells.lock().values().cloned().collect();
        // The order of a hash map is no seed's.
        cells.sort_unstable_by_key(|cell| cell.ino);
        let mut outcome = Ok(());
        let mut wasteful = Vec::new();
        for cell in cells {
            let (is_changed, has_waste) = {
                let state = cell.lock();
                let is_changed = state.is_changed || !state.unlogged.is_empty();
                (!state.is_gone && is_changed, !state.is_gone && !state.waste.is_empty())
            };
            if is_changed && let Err(error) = self.log_cell(&cell) {
                outcome = outcome.and(Err(error));
            }
            if has_waste {
                wasteful.push(cell);
            }
        }
        let last = self.database.last();
        self.database.sync(last)?;
        for cell in wasteful {
            self.reclaim(&cell, last);
        }
        outcome
    }
}

impl Bucket {
    /// Writes what fits into staging; None when staging is full and [`Bucket::write`] must wait for the drain.
    pub fn write_now(&self, ino: Ino, offset: u64, data: &[u8]) -> Result<Option<u32>, Error> {
        let cell = self.inner.cell(ino)?;
        let mut state = cell.lock();
        let written = self.inner.write_locked(&cell, &mut state, offset, data)?;
        if written.is_some_and(|bytes| bytes > 0) {
            self.inner.note_write(ino, state);
        }
        Ok(written)
    }

    /// The same for some writes, in order, none of which lets go of the file before the next: as many as fit into
    /// staging.
    pub fn write_each_now(&self, ino: Ino, writes: &[(u64, Bytes)]) -> Result<Vec<Result<u32, Error>>, Error> {
        let cell = self.inner.cell(ino)?;
        let mut state = cell.lock();
        let write =
            |(offset, data): &(u64, Bytes)| self.inner.write_locked(&cell, &mut state, *offset, data).transpose();
        let written: Vec<_> = writes.iter().map_while(write).collect();
        if written.iter().any(|outcome| matches!(outcome, Ok(1..))) {
            self.inner.note_write(ino, state);
        }
        Ok(written)
    }

    /// Writes, waiting for the drain while staging is full. Fails with `Full` when nothing drained for
    /// `limits::STAGING_TIMEOUT` and no chunk is under way any more that was then.
    pub async fn write(&self, ino: Ino, offset: u64, data: Bytes) -> Result<u32, Error> {
        if let Some(written) = self.write_now(ino, offset, &data)? {
            return Ok(written);
        }
        self.inner.wait_for_room(data.len() as u64, || self.write_now(ino, offset, &data)).await
    }

    /// Notes when a file was last written, as the kernel tells it at close(2) and fsync(2), after the data. A small file
    /// goes into the log with it, not flushed, so that it survives the end of this process; a large one follows with the
    /// next write-back or fsync.
    pub fn note_written(&self, ino: Ino, modified: SetTime, changed: Timestamp) -> Result<Attr, Error> {
        let cell = self.inner.cell(ino)?;
        let mut state = cell.lock();
        if state.is_gone {
            return Err(Error::Stale);
        }
        state.inode.modified = match modified {
            SetTime::Now => self.inner.timestamp(),
            SetTime::At(time) => time,
        };
        state.inode.changed = changed;
        state.is_changed = true;
        let attr = self.inner.attr_of(ino, &state);
        drop(state);
        self.inner.log_if_small(&cell)?;
        Ok(attr)
    }

    /// Whether others are at this file and stay: who asks for something of it would wait.
    pub fn is_busy(&self, ino: Ino) -> bool {
        self.inner.staging.has_holes(ino) || self.inner.cell(ino).is_ok_and(|cell| cell.is_busy())
    }

    /// Whether much of this file is written and not flushed, or others are at it and stay: then more of it is likely to come, and
    /// its fsync takes a while.
    pub fn is_written_much(&self, ino: Ino) -> bool {
        let is_much = |state: &CellState| state.unlogged.covered_bytes() > limits::INLINE_BYTES;
        self.inner.cell(ino).is_ok_and(|cell| cell.glance(is_much).unwrap_or(true))
    }

    /// Whether an fsync of this inode is no more than one flush of the log: little is written, nobody is at it who stays,
    /// and no consumer is waited for.
    pub fn is_fsync_short(&self, ino: Ino) -> bool {
        let is_little = |state: &CellState| state.unlogged.covered_bytes() <= limits::INLINE_BYTES;
        let may_be_short = !self.inner.options.is_durability_network && !self.inner.staging.has_holes(ino);
        may_be_short && self.inner.cell(ino).is_ok_and(|cell| cell.glance(is_little).unwrap_or(false))
    }

    /// Makes a file durable as the bucket's durability says: on the local disk, and on its consumers too if
    /// that is asked for. Blocks; not for an async thread.
    pub fn fsync_blocking(&self, ino: Ino, _data_only: bool) -> Result<(), Error> {
        let cell = self.inner.cell(ino)?;
        self.inner.uploader.pressure.note(tokio::time::Instant::now());
        let logged = self.inner.log_cell(&cell)?;
        self.inner.database.sync(logged)?;
        if self.inner.options.is_durability_network {
            Handle::current().block_on(self.inner.upload_and_wait(&cell))?;
        }
        Ok(())
    }

    /// Has a file uploaded now and waits until nothing that is staged of it now is only here, at most
    /// `limits::DURABILITY_TIMEOUT`.
    pub async fn upload(&self, ino: Ino) -> Result<(), Error> {
        let cell = self.inner.cell(ino)?;
        self.inner.upload_and_wait(&cell).await
    }

    /// Makes everything durable on the local disk. Blocks on the disk.
    pub fn sync_all_blocking(&self) -> Result<(), Error> {
        self.inner.log_all()
    }

    /// Opens a file or directory; the handle is for [`Bucket::read`] and [`Bucket::release`], which is to be told the
    /// same of whether it may write.
    pub fn open(&self, ino: Ino, is_writer: bool) -> Result<u64, Error> {
        let cell = self.inner.cell(ino)?;
        let mut state = cell.lock();
        if state.is_gone {
            return Err(Error::Stale);
        }
        state.handles += 1;
        state.writers += u32::from(is_writer);
        drop(state);
        Ok(self.inner.handles.open())
    }

    /// Closes a handle.
    pub fn release(&self, ino: Ino, handle: u64, is_writer: bool) {
        self.inner.handles.close(handle);
        let Ok(cell) = self.inner.cell(ino) else { return };
        let (is_dirty, has_names) = {
            let mut state = cell.lock();
            state.handles = state.handles.saturating_sub(1);
            state.writers = state.writers.saturating_sub(u32::from(is_writer));
            if state.handles == 0 {
                state.file = None;
            }
            (state.handles == 0 && !state.dirty.is_empty(), state.inode.links > 0)
        };
        if is_dirty {
            self.inner.uploader.note(ino, false);
        }
        // The kernel tells no time when it is that of an earlier write. What has no name any more goes with its last user.
        if is_writer
            && has_names
            && let Err(error) = self.inner.log_if_small(&cell)
        {
            tracing::warn!(op = "release", file = ino.0, %error, "a closed file is not in the log yet");
        }
        self.inner.reap_if_unused(&cell);
    }

    /// Counts lookups that the kernel remembers.
    pub fn remember(&self, ino: Ino, count: u64) {
        if let Ok(cell) = self.inner.cell(ino) {
            cell.lock().lookups += count;
        }
    }

    /// The kernel forgot so many lookups.
    pub fn forget(&self, ino: Ino, count: u64) {
        // Not loaded only for this: what is not in memory has no lookups.
        let cell = self.inner.cells.lock().get(&ino).cloned();
        if let Some(cell) = cell {
            let mut state = cell.lock();
            state.lookups = state.lookups.saturating_sub(count);
            drop(state);
            self.inner.reap_if_unused(&cell);
        }
    }

    /// Whether somebody has the file open for writing, so that the kernel may hold data of it that is not here yet.
    pub fn has_writers(&self, ino: Ino) -> Result<bool, Error> {
        Ok(self.inner.cell(ino)?.lock().writers > 0)
    }

    /// How long a read may take.
    pub fn read_timeout(&self) -> Duration {
        self.inner.options.read_timeout
    }
}
