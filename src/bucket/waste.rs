//! What staging files hold that nobody needs any more, and how its space comes back.
//!
//! A file system takes longer to make a small hole in a file than an upload takes for the bytes that were there. So small
//! ranges stay until they have grown together or the file goes, unless they are many or the disk is short.

use std::ops::Range;

use parking_lot::MutexGuard;

use super::{
    Error, Inner,
    cell::{Cell, CellState},
};
use crate::{base::limits, store::Sequence};

/// Since when waste is waste whose batch is durable: from the batch before all others on.
const FOR_GOOD: Sequence = Sequence::START;

impl CellState {
    /// What became waste with batches up to this one grows together with what was before.
    fn join_waste(&mut self, durable: Sequence) {
        let is_new = |since: &Sequence| *since > FOR_GOOD && *since <= durable;
        let new: Vec<_> = self.waste.iter().filter(|(_, since)| is_new(since)).map(|(range, _)| range).collect();
        for range in new {
            self.waste.insert(range, FOR_GOOD);
        }
    }

    fn is_all_waste(&self) -> bool {
        self.dirty.is_empty() && self.waste.iter().all(|(_, since)| *since == FOR_GOOD)
    }

    /// Where holes of at least so many bytes may be made: some of them.
    fn next_holes(&self, least: u64) -> Vec<Range<u64>> {
        let free = self.waste.iter().filter(|(_, since)| **since == FOR_GOOD).map(|(range, _)| range);
        free.filter(|range| range.end - range.start >= least).take(limits::HOLES_AT_ONCE).collect()
    }
}

impl Inner {
    /// Finds what the last run has left in a large staging file beside what is staged.
    pub(super) fn find_waste(&self, cell: &Cell) -> Result<(), Error> {
        let mut state = cell.lock();
        if state.inode.size <= limits::HOLE_BYTES {
            return Ok(());
        }
        let length = self.staging_file(cell, &mut state)?.len();
        let length = length.map_err(crate::store::Error::io("cannot look at a staging file in", "staging"))?;
        state.waste.insert(0..length, FOR_GOOD);
        let staged: Vec<_> = state.dirty.iter().map(|(range, _)| range).collect();
        staged.into_iter().for_each(|range| state.waste.remove(range));
        Ok(())
    }

    /// Gives back the staging space that a cell needs no more. All batches up to `durable` are durable: before that
    /// a crash would bring the ranges back. Between holes others get their turn with the cell.
    pub(super) fn reclaim(&self, cell: &Cell, durable: Sequence) {
        let mut state = cell.lock();
        state.join_waste(durable);
        let is_tight = state.waste.covered_bytes() > limits::WASTE_BYTES || self.staging.is_disk_short(0);
        let least = if is_tight { 0 } else { limits::HOLE_BYTES };
        while !state.is_gone && !state.waste.is_empty() {
            if state.is_all_waste() {
                self.drop_staging_file(cell, &mut state);
                return;
            }
            let holes = state.next_holes(least);
            if holes.is_empty() {
                break;
            }
            if let Err(error) = self.punch(cell, &mut state, holes) {
                tracing::warn!(file = cell.ino.0, %error, "cannot give staging space back; it is tried again");
                break;
            }
            MutexGuard::bump(&mut state);
        }
        drop(state);
        self.staging.note_freed();
    }

    fn punch(&self, cell: &Cell, state: &mut CellState, holes: Vec<Range<u64>>) -> Result<(), Error> {
        let file = self.staging_file(cell, state)?;
        for hole in holes {
            let punched = file.punch(hole.start, hole.end - hole.start);
            punched.map_err(crate::store::Error::io("cannot free a part of", "staging"))?;
            state.waste.remove(hole);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{
        super::{
            Allocation, Bucket,
            promises::{self, copy, file, write},
            room::tests::{DISK_BYTES, open, take},
        },
        *,
    };
    use crate::store::{Disk, SimulatedDisk};

    const PAGE: u64 = 4096;
    const BYTES: u64 = 4 * limits::HOLE_BYTES;

    /// A file of which everything is staged and durable.
    struct Setting {
        bucket: Bucket,
        disk: SimulatedDisk,
        cell: Arc<Cell>,
        _directory: tempfile::TempDir,
    }

    impl Setting {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("made");
            let (bucket, disk) = open(directory.path(), 1 << 30);
            let ino = file(&bucket, b"a");
            write(&bucket, ino, 0, &vec![1; BYTES as usize]);
            bucket.fsync_blocking(ino, false).expect("durable");
            let cell = bucket.inner.cell(ino).expect("there");
            Self { bucket, disk, cell, _directory: directory }
        }

        /// This range is not needed any more once the newest batch is durable.
        fn waste(&self, range: Range<u64>) {
            let (mut state, since) = (self.cell.lock(), self.bucket.inner.database.last());
            state.forget_staged(range.clone());
            state.waste.insert(range, since);
        }

        fn reclaim(&self) {
            self.bucket.inner.reclaim(&self.cell, self.bucket.inner.database.last());
        }

        fn free_bytes(&self) -> u64 {
            self.disk.space().expect("known").0
        }

        fn waste_bytes(&self) -> u64 {
            self.cell.lock().waste.covered_bytes()
        }
    }

    #[tokio::test]
    async fn small_ranges_wait_until_they_have_grown_together() {
        let setting = Setting::new();
        let before = setting.free_bytes();
        // Every other page, then those between them: each of a batch of its own.
        for page in (0..limits::HOLE_BYTES / PAGE).step_by(2) {
            setting.waste(page * PAGE..(page + 1) * PAGE);
        }
        setting.reclaim();
        assert_eq!((setting.free_bytes() - before, setting.waste_bytes()), (0, limits::HOLE_BYTES / 2));
        file(&setting.bucket, b"a batch");
        for page in (1..limits::HOLE_BYTES / PAGE).step_by(2) {
            setting.waste(page * PAGE..(page + 1) * PAGE);
        }
        setting.reclaim();
        assert_eq!((setting.free_bytes() - before, setting.waste_bytes()), (limits::HOLE_BYTES, 0));
    }

    #[tokio::test]
    async fn what_a_crash_could_bring_back_stays() {
        let setting = Setting::new();
        let before = (setting.free_bytes(), setting.bucket.inner.database.last());
        file(&setting.bucket, b"a batch");
        setting.waste(0..limits::HOLE_BYTES);
        setting.bucket.inner.reclaim(&setting.cell, before.1);
        assert_eq!((setting.free_bytes(), setting.waste_bytes()), (before.0, limits::HOLE_BYTES));
        setting.waste(limits::HOLE_BYTES..BYTES);
        setting.bucket.inner.reclaim(&setting.cell, before.1);
        assert_eq!(setting.waste_bytes(), BYTES, "the file stays too");
        setting.reclaim();
        assert_eq!((setting.free_bytes() - before.0, setting.waste_bytes()), (BYTES, 0));
    }

    #[tokio::test]
    async fn on_a_short_disk_small_ranges_come_back_too() {
        let setting = Setting::new();
        for page in 0..3 * limits::HOLES_AT_ONCE as u64 {
            setting.waste(2 * page * PAGE..(2 * page + 1) * PAGE);
        }
        setting.reclaim();
        let bytes = 3 * limits::HOLES_AT_ONCE as u64 * PAGE;
        assert_eq!(setting.waste_bytes(), bytes);
        take(&setting.disk, DISK_BYTES - BYTES + 1);
        let before = setting.free_bytes();
        setting.reclaim();
        assert_eq!((setting.free_bytes() - before, setting.waste_bytes()), (bytes, 0));
    }

    #[tokio::test]
    async fn what_the_last_run_has_left_is_found() {
        let (directory, after_crash) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
        let bucket = promises::open(directory.path());
        let ino = file(&bucket, b"a");
        write(&bucket, ino, 0, &vec![1; BYTES as usize]);
        bucket.fallocate(ino, PAGE..3 * PAGE, Allocation::Punch, true).expect("punched");
        bucket.fsync_blocking(ino, false).expect("durable");
        copy(directory.path(), after_crash.path());
        let reopened = promises::open(after_crash.path());
        let cell = reopened.inner.cell(ino).expect("there");
        let waste: Vec<_> = cell.lock().waste.iter().map(|(range, since)| (range, *since)).collect();
        assert_eq!(waste, [(PAGE..3 * PAGE, FOR_GOOD)]);
    }

    #[tokio::test]
    async fn what_is_written_anew_is_not_given_back() {
        let setting = Setting::new();
        setting.waste(0..2 * limits::HOLE_BYTES);
        write(&setting.bucket, setting.cell.ino, PAGE, b"new");
        setting.reclaim();
        let bytes = setting.bucket.read_now(setting.cell.ino, PAGE, 3).expect("reads").expect("all is here");
        assert_eq!(&bytes[..], b"new");
    }
}
