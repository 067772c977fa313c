//! Waiting until what a file had staged is on consumers, whatever is written to it meanwhile.

use std::{ops::Range, sync::Arc};

use tokio::{sync::Notify, time::Instant};

use super::{
    Error, Inner,
    cell::{Cell, CellState, Flight},
};
use crate::base::{RangeSet, limits};

/// What one caller waits for.
pub(super) struct Awaited {
    number: u64,
    /// Chunks begun up to this one may carry bytes that were older than those waited for.
    since: Flight,
    /// What is not on consumers yet, neither as it was nor newer.
    rest: RangeSet,
    /// Told when that is nothing.
    is_over: Arc<Notify>,
}

impl Awaited {
    fn settle(&mut self, range: &Range<u64>) {
        self.rest.remove(range.clone());
        if self.rest.is_empty() {
            self.is_over.notify_one();
        }
    }
}

/// All that wait for one file.
#[derive(Default)]
pub(super) struct AllAwaited {
    next: u64,
    waiting: Vec<Awaited>,
}

impl AllAwaited {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn begin(&mut self, since: Flight, rest: RangeSet, is_over: Arc<Notify>) -> u64 {
        self.next += 1;
        self.waiting.push(Awaited { number: self.next, since, rest, is_over });
        self.next
    }

    /// This range is on consumers as it is, or the file has it no more.
    pub fn settle(&mut self, range: &Range<u64>) {
        self.waiting.iter_mut().for_each(|awaited| awaited.settle(range));
    }

    /// What a chunk carries of this range is on consumers; newer bytes are staged.
    pub fn settle_beneath(&mut self, flight: Flight, range: &Range<u64>) {
        let waiting = self.waiting.iter_mut().filter(|awaited| awaited.since < flight);
        waiting.for_each(|awaited| awaited.settle(range));
    }

    /// The parts of a range that somebody waits for and this chunk carries as they were then, or newer.
    pub fn wanted_from(&self, flight: Flight, range: &Range<u64>) -> RangeSet {
        let mut wanted = RangeSet::new();
        for awaited in self.waiting.iter().filter(|awaited| awaited.since < flight) {
            awaited.rest.within(range.clone()).for_each(|(part, ())| wanted.insert(part, ()));
        }
        wanted
    }

    fn is_settled(&self, number: u64) -> bool {
        self.waiting.iter().any(|awaited| awaited.number == number && awaited.rest.is_empty())
    }

    fn end(&mut self, number: u64) {
        self.waiting.retain(|awaited| awaited.number != number);
    }
}

impl CellState {
    /// Whether somebody waits for bytes that no chunk carries yet.
    pub fn is_awaited(&self) -> bool {
        let mut ranges = self.awaited.waiting.iter().flat_map(|awaited| awaited.rest.iter());
        ranges.any(|(range, ())| self.dirty.within(range).any(|(_, flight)| flight.is_none()))
    }
}

/// One wait for what a file had staged when it began; dropped, it is over.
pub(super) struct Waiting {
    cell: Arc<Cell>,
    number: u64,
    is_over: Arc<Notify>,
}

impl Waiting {
    /// Whether each of these bytes is on consumers, as it was or newer, or is not there any more.
    pub fn is_settled(&self) -> bool {
        self.cell.lock().awaited.is_settled(self.number)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.cell.lock().awaited.end(self.number);
    }
}

impl Inner {
    /// Has a file uploaded now. None when nothing is staged of it.
    pub(super) fn await_staged(&self, cell: &Arc<Cell>) -> Option<Waiting> {
        let is_over = Arc::new(Notify::new());
        let mut state = cell.lock();
        let mut rest = RangeSet::new();
        state.dirty.iter().for_each(|(range, _)| rest.insert(range, ()));
        if rest.is_empty() {
            return None;
        }
        let number = state.awaited.begin(self.uploader.newest_flight(), rest, Arc::clone(&is_over));
        // Now, whatever has failed before; should it fail again, it waits for its retry.
        state.retry_at = Instant::now();
        drop(state);
        self.uploader.note(cell.ino, true);
        Some(Waiting { cell: Arc::clone(cell), number, is_over })
    }

    /// Has a file uploaded now, and waits until each byte that is staged of it now is on consumers, as it is now or
    /// newer, or is not there any more; at most `limits::DURABILITY_TIMEOUT`. What is written later is not waited for.
    pub(super) async fn upload_and_wait(&self, cell: &Arc<Cell>) -> Result<(), Error> {
        let Some(waiting) = self.await_staged(cell) else { return Ok(()) };
        tokio::time::timeout(limits::DURABILITY_TIMEOUT, waiting.is_over.notified()).await.map_err(|_| {
            let why = cell.lock().problem.clone().unwrap_or_else(|| "the upload has not ended".to_owned());
            Error::Unreadable(format!("the file is safe here but not on consumers: {why}"))
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use futures::poll;

    use super::super::{
        Bucket,
        commit::Delivery,
        land::tests::assert_sound,
        promises::{copy, file, open, write},
        records::Chunk,
        upload::Job,
    };
    use crate::{
        base::{Ino, PeerId},
        coding::Encoded,
        dispatch::Placement,
    };

    pub(in crate::bucket) fn taken(bucket: &Bucket) -> Job {
        bucket.inner.next_job().expect("readable").expect("a chunk is due")
    }

    pub(in crate::bucket) fn delivered(encoded: Encoded) -> Delivery {
        let placements = (0..encoded.roots.len()).map(|index| Placement::held(PeerId([index as u8 + 1; 32])));
        let chunk = Chunk { placements: placements.collect(), layout: encoded.layout, roots: encoded.roots };
        Delivery { chunk, has_rest: false }
    }

    pub(in crate::bucket) fn land(bucket: &Bucket, job: &Job, encoded: Encoded) {
        bucket.inner.land(job, &delivered(encoded)).expect("landed");
    }

    fn written(bucket: &Bucket) -> Ino {
        let ino = file(bucket, b"file");
        write(bucket, ino, 0, &[1; 5000]);
        bucket.fsync_blocking(ino, false).expect("durable");
        ino
    }

    #[tokio::test]
    async fn what_is_overwritten_on_its_way_lands_beneath_for_who_waits() {
        let (directory, after_crash) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
        let bucket = open(directory.path());
        let ino = written(&bucket);
        let cell = bucket.inner.cell(ino).expect("there");
        let mut waiting = Box::pin(bucket.inner.upload_and_wait(&cell));
        assert!(poll!(&mut waiting).is_pending());
        let job = taken(&bucket);
        let encoded = bucket.inner.encode_job(&job).expect("readable");
        let id = encoded.layout.chunk;
        write(&bucket, ino, 1000, &[2; 100]);
        land(&bucket, &job, encoded);
        assert!(matches!(poll!(&mut waiting), std::task::Poll::Ready(Ok(()))));
        assert!(cell.lock().awaited.is_empty());
        let live = |bucket: &Bucket| bucket.inner.live_bytes(id).expect("readable");
        assert_eq!((bucket.staged_bytes(), live(&bucket)), (100, 5000));
        assert_eq!(bucket.read_now(ino, 1000, 100).expect("staged").expect("at hand"), vec![2; 100]);
        assert_sound(&bucket).await;
        copy(directory.path(), after_crash.path());
        let reopened = open(after_crash.path());
        assert_eq!((reopened.staged_bytes(), live(&reopened)), (100, 5000), "what was promised of it here is kept");
        assert_sound(&reopened).await;

        cell.lock().is_urgent = true;
        let job = taken(&bucket);
        let encoded = bucket.inner.encode_job(&job).expect("readable");
        land(&bucket, &job, encoded);
        assert_eq!((bucket.staged_bytes(), live(&bucket)), (0, 4900));
        assert_sound(&bucket).await;
    }

    #[tokio::test]
    async fn nothing_lands_beneath_that_nobody_waits_for() {
        let directory = tempfile::tempdir().expect("made");
        let bucket = open(directory.path());
        let ino = written(&bucket);
        bucket.inner.cell(ino).expect("there").lock().is_urgent = true;
        let job = taken(&bucket);
        let encoded = bucket.inner.encode_job(&job).expect("readable");
        let id = encoded.layout.chunk;
        write(&bucket, ino, 1000, &[2; 100]);
        land(&bucket, &job, encoded);
        assert_eq!((bucket.staged_bytes(), bucket.inner.live_bytes(id).expect("readable")), (100, 4900));
    }

    #[tokio::test]
    async fn older_bytes_and_torn_ones_are_not_taken_for_those_waited_for() {
        let directory = tempfile::tempdir().expect("made");
        let bucket = open(directory.path());
        let ino = written(&bucket);
        let cell = bucket.inner.cell(ino).expect("there");
        cell.lock().is_urgent = true;
        let older = taken(&bucket);
        write(&bucket, ino, 0, &[2; 10]);
        let mut waiting = Box::pin(bucket.inner.upload_and_wait(&cell));
        assert!(poll!(&mut waiting).is_pending());
        let encoded = bucket.inner.encode_job(&older).expect("readable");
        land(&bucket, &older, encoded);
        assert!(poll!(&mut waiting).is_pending(), "the chunk is older");

        cell.lock().is_urgent = false;
        let torn = taken(&bucket);
        write(&bucket, ino, 5, &[3; 5]);
        let encoded = bucket.inner.encode_job(&torn).expect("readable");
        land(&bucket, &torn, encoded);
        assert!(poll!(&mut waiting).is_pending(), "they were written before they were read");
        assert_eq!(bucket.staged_bytes(), 5);

        let last = taken(&bucket);
        let encoded = bucket.inner.encode_job(&last).expect("readable");
        land(&bucket, &last, encoded);
        assert!(matches!(poll!(&mut waiting), std::task::Poll::Ready(Ok(()))));
        assert_sound(&bucket).await;
    }

    #[tokio::test]
    async fn what_is_cut_off_is_waited_for_no_longer() {
        let directory = tempfile::tempdir().expect("made");
        let bucket = open(directory.path());
        let ino = written(&bucket);
        let cell = bucket.inner.cell(ino).expect("there");
        let mut waiting = Box::pin(bucket.inner.upload_and_wait(&cell));
        assert!(poll!(&mut waiting).is_pending());
        bucket.inner.resize(&cell, &mut cell.lock(), 0).expect("cut");
        assert!(matches!(poll!(&mut waiting), std::task::Poll::Ready(Ok(()))));
    }
}
