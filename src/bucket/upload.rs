//! What goes to consumers next: the files with staged bytes, and their gathering into chunks.

use std::{
    collections::BTreeSet,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use super::{
    Error, Inner,
    cell::{Cell, Flight},
    pace::Pace,
    pressure::{Drain, Pressure},
};
use crate::{
    base::{Ino, Mutex, Scheme, limits},
    store::DiskFile,
};

/// How often files are looked at that nobody announced.
const TICK: Duration = Duration::from_millis(250);

pub(super) const DEFECT: &str = "a defect in the upload";

/// Which of the files that may go is to go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// Somebody waits for it.
    Awaited,
    /// It fills chunks, or has waited long enough.
    Due,
    /// It may fill what others leave of a chunk.
    Fills,
}

/// Which files have bytes to upload, and how it goes.
pub(super) struct Uploader {
    dirty: Mutex<BTreeSet<Ino>>,
    wake: Notify,
    /// Somebody waits: upload now what would linger or wait for a retry.
    is_hurried: AtomicBool,
    next_flight: AtomicU64,
    flights: Arc<Semaphore>,
    /// How many of them the network takes in good time.
    pub pace: Pace,
    under_way: Mutex<BTreeSet<Flight>>,
    /// What failed before this is tried again before its time.
    released_at: Mutex<Option<Instant>>,
    /// What programs do meanwhile.
    pub pressure: Pressure,
    problem: Mutex<Option<String>>,
}

/// A run of a file on its way into a chunk.
pub(super) struct Piece {
    pub cell: Arc<Cell>,
    pub file: Arc<dyn DiskFile>,
    pub range: Range<u64>,
    pub chunk_offset: u32,
    /// The parts of it that nobody changed until they were read, if somebody waits for the file.
    pub intact: OnceLock<Vec<Range<u64>>>,
}

impl Piece {
    /// Where it ends in its chunk.
    pub fn end(&self) -> usize {
        self.chunk_offset as usize + (self.range.end - self.range.start) as usize
    }
}

/// A chunk in the making.
pub(super) struct Job {
    pub flight: Flight,
    pub scheme: Scheme,
    pub pieces: Vec<Piece>,
    pub bytes: usize,
    /// The file that could not be read, if that is why it failed.
    pub unread: OnceLock<Ino>,
}

impl Uploader {
    pub fn new() -> Self {
        Self {
            dirty: Mutex::default(),
            wake: Notify::new(),
            is_hurried: AtomicBool::new(false),
            next_flight: AtomicU64::new(1),
            flights: Arc::new(Semaphore::new(limits::FLIGHTS)),
            pace: Pace::new(limits::FIRST_FLIGHTS, 1, limits::FLIGHTS),
            under_way: Mutex::default(),
            released_at: Mutex::new(None),
            pressure: Pressure::default(),
            problem: Mutex::new(None),
        }
    }

    /// A file has bytes to upload; with `is_ready` they may go at once.
    pub fn note(&self, ino: Ino, is_ready: bool) {
        self.dirty.lock().insert(ino);
        if is_ready {
            self.wake();
        }
    }

    /// Looks for work now.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Uploads everything now: no lingering, no waiting for a retry.
    pub fn hurry(&self) {
        self.is_hurried.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Tries again what has failed up to now, though no more often than `limits::RETRY_MIN`.
    pub fn release(&self) {
        *self.released_at.lock() = Some(Instant::now());
        self.wake();
    }

    /// The youngest chunk that was begun.
    pub fn newest_flight(&self) -> Flight {
        Flight(self.next_flight.load(Ordering::Relaxed) - 1)
    }

    /// A chunk is under way.
    pub fn begun(&self, flight: Flight) {
        self.under_way.lock().insert(flight);
    }

    /// The youngest chunk under way.
    pub fn last_flight(&self) -> Option<Flight> {
        self.under_way.lock().last().copied()
    }

    /// Whether this chunk or an older one is under way.
    pub fn is_under_way(&self, flight: Flight) -> bool {
        self.under_way.lock().range(..=flight).next().is_some()
    }

    /// A chunk has landed, or failed.
    pub fn ended(&self, flight: Flight) {
        self.under_way.lock().remove(&flight);
    }

    /// Why uploads fail, if the last one did.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    /// Notes how the last upload went.
    pub fn set_problem(&self, problem: Option<String>) {
        *self.problem.lock() = problem;
    }

    /// Whether chunks are on their way.
    pub fn is_busy(&self) -> bool {
        self.flights.available_permits() < limits::FLIGHTS
    }

    /// Files that are not wholly on their consumers.
    pub fn pending(&self) -> u64 {
        self.dirty.lock().len() as u64
    }
}
impl Inner {
    /// Uploads until shutdown.
    pub async fn upload_until_shutdown(self: Arc<Self>) {
        let mut returned = self.dispatcher.returned();
        loop {
            tokio::select! {
                biased;
                () = self.tasks.shutdown().started() => return,
                () = self.uploader.wake.notified() => {}
                Ok(()) = returned.changed() => {
                    self.stall.end();
                    self.unreadable.clear();
                    self.uploader.release();
                }
                () = tokio::time::sleep(TICK) => {}
            }
            if self.uploader.is_hurried.swap(false, Ordering::Relaxed) {
                self.mark_urgent();
            }
            loop {
                let permit = tokio::select! {
                    biased;
                    () = self.tasks.shutdown().started() => return,
                    permit = Arc::clone(&self.uploader.flights).acquire_owned() => permit,
                };
                let permit = permit.expect("the flights are never closed");
                if self.uploader.under_way.lock().len() >= self.uploader.pace.allowed() {
                    break;
                }
                match self.next_job() {
                    Ok(Some(job)) => {
                        self.uploader.begun(job.flight);
                        self.tasks.spawn(Arc::clone(&self).fly(job, permit));
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, "cannot gather staged files");
                        *self.uploader.problem.lock() = Some(error.to_string());
                        break;
                    }
                }
            }
        }
    }

    /// What is dirty now goes at once, and once: if it fails, it waits for its retry like everything else.
    fn mark_urgent(&self) {
        let dirty: Vec<Ino> = self.uploader.dirty.lock().iter().copied().collect();
        for cell in dirty.into_iter().filter_map(|ino| self.cell(ino).ok()) {
            cell.lock().is_urgent = true;
        }
    }

    /// How many chunks that nobody waits for may be on their way.
    pub(super) fn drain(&self, now: Instant) -> Drain {
        if self.staging.is_crowded() {
            return Drain::Flows;
        }
        self.uploader.pressure.drain(now, self.staging.bytes(), self.staging.limit_bytes())
    }

    /// Whether such a chunk may begin now.
    fn may_drain(&self, now: Instant) -> bool {
        match self.drain(now) {
            Drain::Yields => false,
            // The permit of the chunk that would begin is taken already.
            Drain::Trickles => self.uploader.flights.available_permits() + 1 >= limits::FLIGHTS,
            Drain::Flows => true,
        }
    }

    /// The files that may go now, in the order in which they are to. Small ones wait for each other: until they fill a chunk,
    /// or one of them has waited long enough, or somebody waits for one.
    fn ready_files(&self, flight: Flight) -> Vec<Ino> {
        let candidates: Vec<Ino> = self.uploader.dirty.lock().iter().copied().collect();
        let now = Instant::now();
        let may_flow = self.may_drain(now);
        let released_at = *self.uploader.released_at.lock();
        // Whoever always waits for something does not take all.
        let is_shared = flight.0.is_multiple_of(limits::SHARED_FLIGHTS);
        let (mut ready, mut bytes, mut is_any_due) = (Vec::new(), 0, false);
        for ino in candidates {
            let Ok(cell) = self.cell(ino) else {
                self.uploader.dirty.lock().remove(&ino);
                continue;
            };
            let state = cell.lock();
            if state.is_gone || state.dirty.is_empty() {
                self.uploader.dirty.lock().remove(&ino);
                continue;
            }
            let waiting = state.dirty.waiting_bytes();
            let linger = if state.handles == 0 { limits::PACK_LINGER } else { limits::LINGER };
            let rested = now.duration_since(state.last_write);
            let is_large = waiting >= limits::CHUNK_BYTES as u64;
            let may_try = now >= state.retry_at || state.is_released(now, released_at);
            let is_urgent = state.is_urgent || (may_try && state.is_awaited());
            // What is changed all the time would never rest.
            let is_overdue = now.duration_since(state.waiting_since) >= limits::STAGED_FOR;
            let is_ready = is_urgent || (may_flow && may_try && (rested >= linger || is_large || is_overdue));
            if waiting > 0 && is_ready {
                let is_due = is_urgent || is_overdue || rested >= limits::PACK_WINDOW;
                let turn = if is_urgent && !is_shared {
                    Turn::Awaited
                } else if is_due || is_large || is_urgent {
                    Turn::Due
                } else {
                    Turn::Fills
                };
                ready.push((turn, state.last_flight, ino));
                bytes += waiting;
                is_any_due |= is_due;
            }
        }
        if !is_any_due && bytes < limits::CHUNK_BYTES as u64 {
            return Vec::new();
        }
        // Whoever had a chunk goes behind those that had none since: a large file must not hold up all others.
        ready.sort_unstable();
        ready.into_iter().map(|(.., ino)| ino).collect()
    }

    /// Gathers the next chunk from files that are ready: one large file, or many small ones of one policy.
    pub(super) fn next_job(&self) -> Result<Option<Job>, Error> {
        let mut job = None;
        // The bytes must not stay marked as on their way.
        match catch_unwind(AssertUnwindSafe(|| self.gather_job(&mut job))) {
            Ok(gathered) => gathered.map(|()| job),
            Err(_) => {
                if let Some(job) = job {
                    self.land_failed(&job, DEFECT);
                }
                Err(Error::Unreadable(DEFECT.to_owned()))
            }
        }
    }

    fn gather_job(&self, job: &mut Option<Job>) -> Result<(), Error> {
        let flight = Flight(self.uploader.next_flight.fetch_add(1, Ordering::Relaxed));
        let now = Instant::now();
        for ino in self.ready_files(flight) {
            let Ok(cell) = self.cell(ino) else { continue };
            let mut state = cell.lock();
            let waiting = state.dirty.waiting_bytes();
            let is_large = waiting >= limits::CHUNK_BYTES as u64;
            if state.is_gone || waiting == 0 {
                continue;
            }
            let scheme = self.scheme_of(&state.inode);
            if job.as_ref().is_some_and(|job| is_large || job.scheme != scheme) {
                continue;
            }
            let file = match self.staging_file(&cell, &mut state) {
                Ok(file) => file,
                Err(error) => {
                    // Others that were gathered already must not wait for this one.
                    tracing::warn!(file = ino.0, %error, "a staged file cannot be read; it is tried again");
                    state.problem = Some(error.to_string());
                    (state.retry_at, state.failed_at) = (now + limits::RETRY_MAX, Some(now));
                    state.is_urgent = false;
                    continue;
                }
            };
            let job = job.get_or_insert_with(|| Job {
                flight,
                scheme,
                pieces: Vec::new(),
                bytes: 0,
                unread: OnceLock::new(),
            });
            let waiting = state.dirty.iter().filter(|(_, flight)| flight.is_none()).map(|(range, _)| range);
            let ranges: Vec<_> = waiting.take(limits::PIECES_PER_CHUNK - job.pieces.len()).collect();
            for range in ranges {
                let room = (limits::CHUNK_BYTES - job.bytes) as u64;
                if room == 0 {
                    break;
                }
                let range = range.start..range.end.min(range.start + room);
                state.dirty.insert(range.clone(), Some(flight));
                let chunk_offset = job.bytes as u32;
                job.bytes += (range.end - range.start) as usize;
                let (cell, file) = (Arc::clone(&cell), Arc::clone(&file));
                job.pieces.push(Piece { cell, file, range, chunk_offset, intact: OnceLock::new() });
            }
            state.last_flight = flight;
            // Whoever waits for bytes that come later says so again.
            state.is_urgent &= state.dirty.waiting_bytes() > 0;
            if job.bytes == limits::CHUNK_BYTES || job.pieces.len() >= limits::PIECES_PER_CHUNK {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Bucket,
            promises::{file, open, write},
        },
        *,
    };
    use crate::store::{Disk, DiskOp, FaultyDisk, SimulatedDisk};

    const CHUNK: usize = limits::CHUNK_BYTES;

    /// The files of the next chunk, which stays on its way.
    fn next(bucket: &Bucket) -> Vec<Ino> {
        let job = bucket.inner.next_job().expect("readable");
        job.map_or_else(Vec::new, |job| job.pieces.iter().map(|piece| piece.cell.ino).collect())
    }

    fn mark_urgent(bucket: &Bucket, ino: Ino) {
        bucket.inner.cell(ino).expect("there").lock().is_urgent = true;
    }

    /// A bucket whose own uploader does nothing, with a large file that is older than the small one.
    fn scene(directory: &std::path::Path) -> (Bucket, Ino, Ino) {
        let bucket = open(directory);
        bucket.inner.tasks.shutdown().start();
        let (large, small) = (file(&bucket, b"large"), file(&bucket, b"small"));
        for at in 0..4 {
            write(&bucket, large, at * CHUNK as u64, &vec![1; CHUNK]);
        }
        (bucket, large, small)
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_file_does_not_hold_up_one_that_somebody_waits_for_nor_another_large_one() {
        let directory = tempfile::tempdir().expect("made");
        let (bucket, large, small) = scene(directory.path());
        assert_eq!(next(&bucket), [large]);
        write(&bucket, small, 0, b"small");
        mark_urgent(&bucket, small);
        assert_eq!(next(&bucket), [small]);
        let other = file(&bucket, b"other");
        write(&bucket, other, 0, &vec![2; 2 * CHUNK]);
        assert_eq!([next(&bucket), next(&bucket)], [[large], [other]]);
        // Nor do those for which somebody always waits take all.
        let mut went = Vec::new();
        for _ in 0..2 * limits::SHARED_FLIGHTS {
            write(&bucket, small, 0, b"again");
            mark_urgent(&bucket, small);
            went.extend(next(&bucket));
        }
        assert!(went.contains(&large) && went.contains(&other), "{went:?}");
        assert!(went.iter().filter(|ino| **ino == small).count() > 4, "{went:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_rests_goes_after_a_while_and_what_is_wanted_at_once_goes_once() {
        let directory = tempfile::tempdir().expect("made");
        let (bucket, large, busy) = scene(directory.path());
        for _ in 0..4 {
            assert_eq!(next(&bucket), [large]);
        }
        let begun = Instant::now();
        let mut went = Vec::new();
        while begun.elapsed() < limits::STAGED_FOR * 5 / 2 {
            write(&bucket, busy, 0, b"again and again");
            if !next(&bucket).is_empty() {
                went.push(begun.elapsed().as_secs());
            }
            tokio::time::sleep(Duration::from_millis(500)).await; // virtual time
        }
        assert_eq!(went, [30, 60]);
        write(&bucket, busy, 0, b"now");
        mark_urgent(&bucket, busy);
        assert_eq!(next(&bucket), [busy]);
        write(&bucket, busy, 0, b"later");
        assert_eq!(next(&bucket), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_does_not_read_does_not_keep_the_others_of_its_chunk() {
        let directory = tempfile::tempdir().expect("made");
        let bucket = open(directory.path());
        bucket.inner.tasks.shutdown().start();
        let [bad, good] = [&b"bad"[..], b"good"].map(|name| {
            let ino = file(&bucket, name);
            write(&bucket, ino, 0, name);
            mark_urgent(&bucket, ino);
            ino
        });
        let disk = FaultyDisk::new(Arc::new(SimulatedDisk::new(1 << 20)));
        let mut job = bucket.inner.next_job().expect("readable").expect("both are to go");
        assert_eq!(job.pieces.iter().map(|piece| piece.cell.ino).collect::<Vec<_>>(), [bad, good]);
        job.pieces[0].file = disk.open(std::path::Path::new("bad"), true).expect("made");
        disk.fail_with(DiskOp::Read, u64::MAX, rustix::io::Errno::IO);
        let error = bucket.inner.encode_job(&job).expect_err("it does not read");
        bucket.inner.land_failed(&job, &error.to_string());
        let failures = [bad, good].map(|ino| bucket.inner.cell(ino).expect("there").lock().failures);
        assert_eq!(failures, [1, 0]);
        mark_urgent(&bucket, good);
        assert_eq!(next(&bucket), [good]);
    }
}
