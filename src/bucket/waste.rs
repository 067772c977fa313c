//! What staging files hold that nobody needs any more, and how its space comes back.
//!
//! A file system takes longer to make a small hole in a file than an upload takes for the bytes that were there. So small
//! ranges stay until they have grown together or the file goes, unless they are many or the disk is short.

use std::{io, ops::Range};

use super::{
    Error, Inner,
    cell::{Cell, CellState},
};
use crate::{
    base::{MutexGuard, limits},
    store::Sequence,
};

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

    /// Whether no program writes to it now.
    fn rests(&self) -> bool {
        self.writers == 0 || self.last_write.elapsed() >= limits::HOLE_REST
    }

    /// A range that could not be given back is waste still, but for what it has been used for since.
    fn waste_again(&mut self, range: Range<u64>) {
        for unstaged in self.dirty.gaps(range) {
            for unused in self.waste.gaps(unstaged) {
                self.waste.insert(unused, FOR_GOOD);
            }
        }
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
    /// a crash would bring the ranges back. The file is free for others while the disk works.
    pub(super) fn reclaim(&self, cell: &Cell, durable: Sequence) {
        let mut state = cell.lock();
        state.join_waste(durable);
        let is_tight = state.waste.covered_bytes() > limits::WASTE_BYTES || self.staging.is_disk_short(0);
        let least = if is_tight { 0 } else { limits::HOLE_BYTES };
        let mut dropped = None;
        while !state.is_gone && !state.waste.is_empty() {
            if state.is_all_waste() {
                dropped = self.drop_staging_file(cell, &mut state);
                break;
            }
            let holes = if is_tight || state.rests() { state.next_holes(least) } else { Vec::new() };
            if holes.is_empty() {
                break;
            }
            if let Err(error) = self.punch(cell, &mut state, &holes) {
                tracing::warn!(file = cell.ino.0, %error, "cannot give staging space back; it is tried again");
                break;
            }
        }
        drop(state);
        drop(dropped);
        self.staging.note_freed();
    }

    /// Makes holes in the staging file of a locked cell, which is not locked meanwhile.
    fn punch(&self, cell: &Cell, state: &mut MutexGuard<'_, CellState>, holes: &[Range<u64>]) -> Result<(), Error> {
        let file = self.staging_file(cell, state)?;
        let mut taken = Vec::new();
        for hole in holes {
            taken.push(self.staging.hole(cell.ino, hole.clone()));
            state.waste.remove(hole.clone());
        }
        // Each is let go of when it is made, and all before the cell is locked again: who waits for one holds it.
        let punched = MutexGuard::unlocked(state, || {
            let mut all = holes.iter().zip(taken);
            all.try_for_each(|(hole, _taken)| match file.punch(hole.start, hole.end - hole.start) {
                // Removed meanwhile, with all its space.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                punched => punched,
            })
        });
        if punched.is_err() {
            holes.iter().for_each(|hole| state.waste_again(hole.clone()));
        }
        punched.map_err(|error| crate::store::Error::io("cannot free a part of", "staging")(error).into())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, mpsc},
        thread,
        time::{Duration, Instant},
    };

    use super::{
        super::{
            Allocation, Bucket,
            promises::{self, copy, file, write},
            room::tests::{DISK_BYTES, open_on, take},
        },
        *,
    };
    use crate::store::{Disk, DiskOp, FaultyDisk, SimulatedDisk};

    const PAGE: u64 = 4096;
    const BYTES: u64 = 4 * limits::HOLE_BYTES;

    /// What is to happen does within this.
    const PATIENCE: Duration = Duration::from_secs(20);
    /// Who still waits after this goes on waiting.
    const LONG: Duration = Duration::from_millis(100);

    /// A file of which everything is staged and durable.
    struct Setting {
        bucket: Bucket,
        disk: SimulatedDisk,
        faults: FaultyDisk,
        cell: Arc<Cell>,
        _directory: tempfile::TempDir,
    }

    impl Setting {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("made");
            let disk = SimulatedDisk::new(limits::DISK_RESERVE_BYTES + DISK_BYTES);
            let faults = FaultyDisk::new(Arc::new(disk.clone()));
            let bucket = open_on(directory.path(), 1 << 30, Arc::new(faults.clone()));
            let ino = file(&bucket, b"a");
            write(&bucket, ino, 0, &vec![1; BYTES as usize]);
            bucket.fsync_blocking(ino, false).expect("durable");
            let cell = bucket.inner.cell(ino).expect("there");
            Self { bucket, disk, faults, cell, _directory: directory }
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

    /// Holes in the first half of the file are being made, and take as long as the disk hangs.
    fn holes_being_made(setting: &Setting) -> thread::JoinHandle<()> {
        setting.waste(0..2 * limits::HOLE_BYTES);
        setting.faults.hang(DiskOp::Punch);
        let (inner, cell) = (Arc::clone(&setting.bucket.inner), Arc::clone(&setting.cell));
        let maker = thread::spawn(move || inner.reclaim(&cell, inner.database.last()));
        let until = Instant::now() + PATIENCE;
        while setting.faults.hanging() == 0 {
            assert!(Instant::now() < until, "no hole is made");
            thread::yield_now();
        }
        maker
    }

    #[tokio::test]
    async fn only_who_writes_where_a_hole_is_being_made_waits_for_it() {
        let setting = Setting::new();
        let maker = holes_being_made(&setting);
        assert!(!setting.cell.is_busy(), "somebody holds the file");
        assert!(setting.bucket.is_busy(setting.cell.ino), "the kernel's threads would wait with who writes there");
        write(&setting.bucket, setting.cell.ino, 2 * limits::HOLE_BYTES, b"beside");
        let (sender, written) = mpsc::channel();
        let (bucket, ino) = (setting.bucket.clone(), setting.cell.ino);
        let writer = thread::spawn(move || {
            write(&bucket, ino, limits::HOLE_BYTES - 1, b"within");
            sender.send(()).expect("somebody waits");
        });
        assert!(written.recv_timeout(LONG).is_err(), "written where a hole is being made");
        setting.faults.go_on();
        written.recv_timeout(PATIENCE).expect("written once the hole is there");
        maker.join().expect("no panic");
        writer.join().expect("no panic");
        assert!(!setting.bucket.is_busy(setting.cell.ino));
        for (offset, bytes) in [(limits::HOLE_BYTES - 1, b"within"), (2 * limits::HOLE_BYTES, b"beside")] {
            let found = setting.bucket.read_now(setting.cell.ino, offset, 6).expect("reads").expect("all is here");
            assert_eq!(&found[..], bytes);
        }
    }

    #[tokio::test]
    async fn what_could_not_be_given_back_is_waste_still_but_for_what_was_used_since() {
        let setting = Setting::new();
        setting.faults.fail(DiskOp::Punch, 0, 1, io::ErrorKind::Other);
        let maker = holes_being_made(&setting);
        // Staged again, and waste again with a batch that is not durable.
        let again = |at: u64, bytes: usize| setting.cell.lock().dirty.insert(at..at + bytes as u64, None);
        again(0, 100);
        again(1000, 100);
        setting.waste(1000..1100);
        setting.faults.go_on();
        maker.join().expect("no panic");
        let waste: Vec<_> =
            setting.cell.lock().waste.iter().map(|(range, since)| (range, *since == FOR_GOOD)).collect();
        assert_eq!(waste, [(100..1000, true), (1000..1100, false), (1100..2 * limits::HOLE_BYTES, true)]);
    }

    #[tokio::test]
    async fn a_file_that_is_being_written_has_no_holes_made_unless_space_is_short() {
        let setting = Setting::new();
        let handle = setting.bucket.open(setting.cell.ino, true).expect("opened");
        write(&setting.bucket, setting.cell.ino, 0, b"new");
        // However slow this machine is.
        setting.cell.lock().last_write += PATIENCE;
        let waste = limits::HOLE_BYTES..2 * limits::HOLE_BYTES;
        setting.waste(waste.clone());
        setting.reclaim();
        assert_eq!(setting.waste_bytes(), limits::HOLE_BYTES);
        take(&setting.disk, DISK_BYTES - BYTES + 1);
        setting.reclaim();
        assert_eq!(setting.waste_bytes(), 0);
        setting.waste(waste);
        setting.bucket.release(setting.cell.ino, handle, true);
        setting.reclaim();
        assert_eq!(setting.waste_bytes(), 0);
    }
}
