//! The collector: what is still needed of sparse chunks is gathered into new chunks, so that the old ones can go.
//!
//! A chunk's bytes never change, so an extent may refer to any chunk that has the same bytes. When a new chunk is on its
//! consumers, every extent that refers to a gathered range of an old one, then, is moved to the new one; what was
//! overwritten, cut or unlinked meanwhile refers to it no more, and is left alone. The old chunk goes with its last extent.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    Error, Inner,
    cell::{Cell, Locked},
    commit::{Delivery, blocking},
    pressure::Drain,
    records::{Chunk, Extent},
    sparse::Survey,
    tend::Backoff,
};
use crate::{
    base::{ChunkId, Ino, RangeSet, Scheme, limits},
    coding,
    runtime::failpoint,
    store::{Batch, Table},
};

/// How often the index is looked at when nobody wakes the collector, and at least how often whether it must still wait.
const TICK: Duration = Duration::from_secs(1);
/// The shortest wait.
const LOOK: Duration = Duration::from_millis(10);

/// What others tell the collector, and what it tells them.
#[derive(Default)]
pub(super) struct Collector {
    wake: Notify,
    is_hurried: AtomicBool,
    reclaimed_bytes: AtomicU64,
}

impl Collector {
    /// Collects now what would wait for more.
    pub fn hurry(&self) {
        self.is_hurried.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Bytes of chunks that are gone, less those of the chunks in their place, since the start.
    pub fn reclaimed_bytes(&self) -> u64 {
        self.reclaimed_bytes.load(Ordering::Relaxed)
    }
}

/// Sparse chunks of one scheme that go into one new chunk.
struct Group {
    scheme: Scheme,
    surveys: Vec<Survey>,
    bytes: u64,
}

/// What the collector remembers from one round to the next.
struct Rounds {
    waits: Backoff<ChunkId>,
    /// Since when chunks wait for others to share their new one.
    waiting: Option<Instant>,
    /// When the last rewriting began, and its bytes.
    last: (Instant, u64),
}

/// What of an old chunk is in the new one.
struct Move {
    old: ChunkId,
    /// Ranges of the old chunk in order, and where they begin in the new one.
    ranges: Vec<(Range<u64>, u64)>,
}

impl Move {
    /// Where an extent of the old chunk lies in the new one; None when not all of it is there.
    fn place(&self, extent: Extent, new: ChunkId) -> Option<Extent> {
        let start = u64::from(extent.chunk_offset);
        let after = self.ranges.partition_point(|(range, _)| range.start <= start);
        let (range, place) = self.ranges.get(after.checked_sub(1)?)?;
        let is_there = extent.chunk == self.old && start + u64::from(extent.bytes) <= range.end;
        is_there.then(|| Extent { chunk: new, chunk_offset: (place + start - range.start) as u32, ..extent })
    }
}

/// An extent of an old chunk: which move it is of, and its place.
type User = (usize, Ino, u64);

/// A new chunk being committed.
struct Landing<'a> {
    moves: &'a [Move],
    delivery: &'a Delivery,
    is_stored: bool,
    is_pinned: bool,
}

impl Inner {
    /// Collects until shutdown; what is left goes on at the next mount.
    pub(super) async fn collect_until_shutdown(self: Arc<Self>) {
        let mut rounds = Rounds { waits: Backoff::default(), waiting: None, last: (Instant::now(), 0) };
        loop {
            tokio::select! {
                biased;
                () = self.tasks.shutdown().started() => return,
                () = self.collector.wake.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
            if let Err(error) = self.collect_sparse(&mut rounds).await {
                tracing::warn!(%error, "cannot look for sparse chunks; it is tried again");
            }
        }
    }

    /// Goes through the index once.
    async fn collect_sparse(self: &Arc<Self>, rounds: &mut Rounds) -> Result<(), Error> {
        let inner = Arc::clone(self);
        let is_complete = blocking(move || inner.index_earlier_chunks()).await?;
        let is_hurried = self.collector.is_hurried.swap(false, Ordering::Relaxed);
        let mut groups: Vec<Group> = Vec::new();
        let mut from = Vec::new();
        loop {
            let (ids, next) = self.sparse_page(&from)?;
            for id in ids {
                if self.tasks.shutdown().is_started() {
                    return Ok(());
                }
                // One that is being landed may only seem sparse.
                if !rounds.waits.may_try(&id) || self.is_announced(id) {
                    continue;
                }
                let inner = Arc::clone(self);
                let survey = match blocking(move || inner.survey(id)).await {
                    Ok(Some(survey)) => survey,
                    Ok(None) => continue,
                    // The others need not wait for this one.
                    Err(error) => {
                        tracing::warn!(chunk = %id, %error, "a chunk cannot be surveyed; it is tried again");
                        rounds.waits.failed(id);
                        continue;
                    }
                };
                if let Some(full) = add_to_group(&mut groups, survey) {
                    self.rewrite(full, rounds).await;
                }
            }
            match next {
                Some(next) => from = next,
                None => break,
            }
        }
        if groups.is_empty() {
            rounds.waiting = None;
            return Ok(());
        }
        let since = *rounds.waiting.get_or_insert_with(Instant::now);
        if is_complete && (is_hurried || since.elapsed() >= limits::COLLECT_LINGER) {
            rounds.waiting = None;
            for group in groups {
                self.rewrite(group, rounds).await;
            }
        }
        Ok(())
    }

    /// Gathers what is needed of some chunks into a new one. Whatever fails, they stay as they are and are tried later.
    async fn rewrite(self: &Arc<Self>, group: Group, rounds: &mut Rounds) {
        if !self.pace(&mut rounds.last, group.bytes).await {
            return;
        }
        let mut plain = Vec::with_capacity(group.bytes as usize);
        let (mut moves, mut chunks) = (Vec::new(), Vec::new());
        for Survey { chunk, needed } in group.surveys {
            let chunk = Arc::new(chunk);
            let read = tokio::select! {
                biased;
                () = self.tasks.shutdown().started() => return,
                read = self.read_needed(&chunk, &needed, &mut plain) => read,
            };
            match read {
                Ok(ranges) => {
                    moves.push(Move { old: chunk.layout.chunk, ranges });
                    chunks.push(chunk);
                }
                Err(error) => {
                    tracing::warn!(chunk = %chunk.layout.chunk, %error, "a sparse chunk cannot be read; it stays");
                    rounds.waits.failed(chunk.layout.chunk);
                }
            }
        }
        if moves.is_empty() {
            return;
        }
        let rewritten = plain.len() as u64;
        if let Err(error) = self.deliver_moved(plain, group.scheme, moves).await {
            tracing::warn!(bytes = rewritten, %error, "sparse chunks cannot be rewritten; they stay");
        }
        let mut gone = 0;
        for chunk in chunks {
            let id = chunk.layout.chunk;
            match self.chunk(id) {
                Ok(None) => {
                    rounds.waits.succeeded(&id);
                    gone += u64::from(chunk.layout.plain_len);
                }
                _ => rounds.waits.failed(id),
            }
        }
        self.collector.reclaimed_bytes.fetch_add(gone.saturating_sub(rewritten), Ordering::Relaxed);
        self.note_change();
    }

    /// Waits until so many bytes may be rewritten, longer while files are uploaded or programs are busy; false at
    /// shutdown.
    async fn pace(&self, last: &mut (Instant, u64), bytes: u64) -> bool {
        loop {
            let now = Instant::now();
            let drain = self.drain(now);
            let is_busy = self.uploader.is_busy() || drain != Drain::Flows;
            let rate = if is_busy { limits::COLLECT_BUSY_BYTES_PER_SECOND } else { limits::COLLECT_BYTES_PER_SECOND };
            let paid = Duration::from_secs_f64(last.1 as f64 / rate as f64);
            let left = paid.saturating_sub(now.saturating_duration_since(last.0));
            if left.is_zero() && drain != Drain::Yields {
                *last = (now, bytes);
                return !self.tasks.shutdown().is_started();
            }
            tokio::select! {
                biased;
                () = self.tasks.shutdown().started() => return false,
                () = tokio::time::sleep(left.clamp(LOOK, TICK)) => {}
            }
        }
    }

    /// Appends the needed ranges of a chunk to `plain`; returns where each begins there. Nothing of it is cached: nobody
    /// has asked for it, and the chunk is about to go.
    async fn read_needed(
        self: &Arc<Self>,
        chunk: &Arc<Chunk>,
        needed: &RangeSet,
        plain: &mut Vec<u8>,
    ) -> Result<Vec<(Range<u64>, u64)>, Error> {
        let mut blocks = RangeSet::new();
        for (range, ()) in needed.iter() {
            let touched = chunk.layout.blocks_of(range.start as u32..range.end as u32);
            blocks.insert(touched.start as u64..touched.end as u64, ());
        }
        let (first_byte, mut ranges) = (plain.len(), Vec::with_capacity(needed.count()));
        for (run, ()) in blocks.iter() {
            let opened = self.open_blocks(chunk, run.start as usize..run.end as usize).await;
            let (held, _) = opened.inspect_err(|_| plain.truncate(first_byte))?;
            let start = run.start * limits::BLOCK_BYTES as u64;
            for (range, ()) in needed.within(start..start + held.len() as u64) {
                ranges.push((range.clone(), plain.len() as u64));
                plain.extend_from_slice(&held[(range.start - start) as usize..(range.end - start) as usize]);
            }
        }
        Ok(ranges)
    }

    async fn deliver_moved(self: &Arc<Self>, plain: Vec<u8>, scheme: Scheme, moves: Vec<Move>) -> Result<(), Error> {
        let inner = Arc::clone(self);
        let encoded =
            self.pool.run_in_background(move || coding::encode(&inner.key, &plain, scheme, &*inner.chance)).await?;
        self.deliver(encoded, move |inner, delivery| inner.land_moved(&moves, delivery)).await
    }

    /// Commits a new chunk: moves the extents of the old ones to it, in as many batches as they need. Returns whether a
    /// pinned file is in it.
    fn land_moved(&self, moves: &[Move], delivery: &Delivery) -> Result<bool, Error> {
        let mut landing = Landing { moves, delivery, is_stored: false, is_pinned: false };
        let (mut users, mut from) = (Vec::new(), Vec::new());
        for (index, step) in moves.iter().enumerate() {
            loop {
                let room = limits::EXTENTS_PER_BATCH - users.len();
                let page = self.database.scan(Table::User, step.old.as_bytes(), &from, room)?;
                for (key, _) in &page {
                    let (ino, offset) = key.split_at_checked(8).ok_or(Error::Stale)?;
                    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).map_err(|_| Error::Stale);
                    users.push((index, Ino(number(ino)?), number(offset)?));
                }
                match page.last() {
                    Some((last, _)) if page.len() == room => from = [&last[..], &[0]].concat(),
                    _ => break,
                }
                if !self.move_extents(&std::mem::take(&mut users), &mut landing, false)? {
                    return Ok(landing.is_pinned);
                }
            }
            from.clear();
        }
        self.move_extents(&users, &mut landing, true)?;
        Ok(landing.is_pinned)
    }

    /// Moves some extents in one batch, the first of which also stores the chunk; false when the chunk has gone since.
    fn move_extents(&self, users: &[User], landing: &mut Landing<'_>, is_last: bool) -> Result<bool, Error> {
        let cells = self.cells_of(users)?;
        let mut locked = Locked::new(cells.values());
        let mut change = self.change_extents();
        let new = &landing.delivery.chunk;
        let id = new.layout.chunk;
        if landing.is_stored && self.chunk(id)?.is_none() {
            // What was moved before is not needed any more; its shards are on their way out.
            return Ok(false);
        }
        let (mut batch, mut is_needed) = (Batch::new(), false);
        for (index, ino, offset) in users {
            if !cells.contains_key(ino) || locked.of(*ino).is_gone {
                continue;
            }
            let Some(old) = self.extent(*ino, *offset)? else { continue };
            if let Some(moved) = landing.moves[*index].place(old, id) {
                change.move_to((*ino, *offset), old, moved, &mut batch)?;
                landing.is_pinned |= locked.of(*ino).inode.is_pinned;
                is_needed = true;
            }
        }
        if !landing.is_stored && (is_needed || is_last) {
            self.put_delivery(landing.delivery, is_needed, &mut batch)?;
            if is_needed && !self.is_any_awaited(landing.moves)? {
                self.put_unawaited(new, &mut batch);
            }
            change.store(new);
        }
        landing.is_stored |= is_needed;
        let dead = change.settle(&mut batch)?;
        if !batch.is_empty() {
            self.database.commit(batch)?;
            failpoint("extents-moved");
        }
        drop(change);
        drop(locked);
        self.forget_chunks(&dead);
        Ok(true)
    }

    /// Whether somebody still waits for shards of one of the old chunks.
    fn is_any_awaited(&self, moves: &[Move]) -> Result<bool, Error> {
        for step in moves {
            if self.is_awaited(step.old)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The inodes that some extents are of; those that are gone are left out.
    fn cells_of(&self, users: &[User]) -> Result<BTreeMap<Ino, Arc<Cell>>, Error> {
        let mut cells = BTreeMap::new();
        for (_, ino, _) in users {
            if cells.contains_key(ino) {
                continue;
            }
            match self.cell(*ino) {
                Ok(cell) => drop(cells.insert(*ino, cell)),
                Err(Error::Stale) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(cells)
    }
}

/// Puts a chunk to the others of its scheme; when there is no room for it among them, these are returned.
fn add_to_group(groups: &mut Vec<Group>, survey: Survey) -> Option<Group> {
    let (scheme, bytes) = (survey.chunk.layout.scheme, survey.needed.covered_bytes());
    let Some(group) = groups.iter_mut().find(|group| group.scheme == scheme) else {
        groups.push(Group { scheme, surveys: vec![survey], bytes });
        return None;
    };
    let full = (group.bytes + bytes > limits::CHUNK_BYTES as u64).then(|| {
        let empty = Group { scheme, surveys: Vec::new(), bytes: 0 };
        std::mem::replace(group, empty)
    });
    group.surveys.push(survey);
    group.bytes += bytes;
    full
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            Bucket,
            land::tests::{assert_sound, delivery, in_pieces},
            promises::{copy, open},
        },
        *,
    };
    use crate::runtime::OneThread;

    /// So many extents that they need several batches.
    const SOME: u64 = 10_000;
    const BATCH: u64 = limits::EXTENTS_PER_BATCH as u64;

    /// A file in pieces, and a new chunk that holds what its chunk does.
    fn moved(bucket: &Bucket) -> (Ino, Vec<Move>, Delivery) {
        let (ino, old) = in_pieces(bucket, SOME);
        let all = Move { old: old.chunk.layout.chunk, ranges: vec![(0..SOME, 0)] };
        (ino, vec![all], delivery(2, SOME as usize))
    }

    /// Moves the extents of some batches only.
    fn move_some(bucket: &Bucket, ino: Ino, landing: &mut Landing<'_>, batches: Range<u64>) -> bool {
        let users =
            |batch: u64| (batch * BATCH..(batch + 1) * BATCH).map(|offset| (0, ino, offset)).collect::<Vec<_>>();
        batches.map(users).all(|users| bucket.inner.move_extents(&users, landing, false).expect("readable"))
    }

    fn live(bucket: &Bucket, chunk: ChunkId) -> u64 {
        bucket.inner.live_bytes(chunk).expect("readable")
    }

    /// Each byte of the file is the one that it was, in this chunk or that.
    fn assert_same(bucket: &Bucket, ino: Ino, chunk_at: impl Fn(u64) -> ChunkId) {
        let extents = bucket.inner.extents(ino, 0..u64::MAX, usize::MAX).expect("readable");
        assert_eq!(extents.len() as u64, SOME);
        for (offset, extent) in extents {
            assert_eq!((extent.bytes, u64::from(extent.chunk_offset)), (1, SOME - 1 - offset));
            assert_eq!(extent.chunk, chunk_at(offset), "at {offset}");
        }
    }

    #[tokio::test]
    async fn extents_move_in_as_many_batches_as_they_need() {
        let directory = tempfile::tempdir().expect("made");
        let bucket = open(directory.path());
        let (ino, moves, delivery) = moved(&bucket);
        let (old, new) = (moves[0].old, delivery.chunk.layout.chunk);
        assert!(!bucket.inner.land_moved(&moves, &delivery).expect("landed"));
        assert_same(&bucket, ino, |_| new);
        assert_eq!((live(&bucket, old), live(&bucket, new)), (0, SOME));
        assert!(bucket.inner.chunk(old).expect("readable").is_none(), "its last extent has gone");
        assert_sound(&bucket).await;
    }

    #[tokio::test]
    async fn a_crash_between_two_batches_leaves_both_chunks_and_the_next_move_ends_it() {
        let (directory, after_crash) = (tempfile::tempdir().expect("made"), tempfile::tempdir().expect("made"));
        let bucket = open(directory.path());
        let (ino, moves, first) = moved(&bucket);
        let (old, new) = (moves[0].old, first.chunk.layout.chunk);
        let mut landing = Landing { moves: &moves, delivery: &first, is_stored: false, is_pinned: false };
        assert!(move_some(&bucket, ino, &mut landing, 0..3));
        copy(directory.path(), after_crash.path());
        let reopened = open(after_crash.path());
        assert_same(&reopened, ino, |offset| if offset < 3 * BATCH { new } else { old });
        assert_eq!((live(&reopened, old), live(&reopened, new)), (SOME - 3 * BATCH, 3 * BATCH));
        assert_sound(&reopened).await;
        let second = delivery(3, SOME as usize);
        reopened.inner.land_moved(&moves, &second).expect("landed");
        assert_same(&reopened, ino, |offset| if offset < 3 * BATCH { new } else { second.chunk.layout.chunk });
        assert!(reopened.inner.chunk(old).expect("readable").is_none());
        assert_sound(&reopened).await;

        // Where what was moved is cut off before the rest is, the new chunk has gone and takes no more.
        let cell = bucket.inner.cell(ino).expect("there");
        let mut state = cell.lock();
        let (mut batch, mut change) = (Batch::new(), bucket.inner.change_extents());
        change.cut_all(ino, 0..3 * BATCH, &mut batch).expect("readable");
        state.count_extents(change.gained(ino));
        assert_eq!(change.settle(&mut batch).expect("settled"), [new]);
        bucket.inner.database.commit(batch).expect("committed");
        drop((change, state));
        assert!(!move_some(&bucket, ino, &mut landing, 3..4));
        assert_eq!(live(&bucket, old), SOME - 3 * BATCH);
    }

    /// What the collector takes for so many chunks, one after the other.
    async fn paced(bucket: &Bucket, chunks: u32) -> Duration {
        let (begun, mut last) = (Instant::now(), (Instant::now(), 0));
        for _ in 0..=chunks {
            assert!(bucket.inner.pace(&mut last, limits::CHUNK_BYTES as u64).await);
        }
        begun.elapsed()
    }

    /// What that many chunks are to take at a rate.
    fn cost(chunks: u32, bytes_per_second: u64) -> Duration {
        Duration::from_secs_f64(limits::CHUNK_BYTES as f64 * f64::from(chunks) / bytes_per_second as f64)
    }

    #[test]
    fn the_collector_keeps_to_its_rate_and_to_a_lower_one_beside_programs() {
        let _alone = OneThread::enter();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let directory = tempfile::tempdir().expect("made");
            let bucket = open(directory.path());
            let (took, wanted) = (paced(&bucket, 16).await, cost(16, limits::COLLECT_BYTES_PER_SECOND));
            assert!(took >= wanted && took < wanted + 16 * LOOK, "{took:?}, not {wanted:?}");

            let inner = Arc::clone(&bucket.inner);
            let busy = tokio::spawn(async move {
                loop {
                    inner.uploader.pressure.note(Instant::now());
                    tokio::time::sleep(limits::YIELD_REST / 2).await; // virtual time
                }
            });
            tokio::task::yield_now().await;
            let wanted = limits::YIELD_TIME + cost(5, limits::COLLECT_BUSY_BYTES_PER_SECOND);
            let took = paced(&bucket, 5).await;
            assert!(took >= wanted && took < wanted + TICK, "{took:?}, not {wanted:?}");
            busy.abort();

            let mut last = (Instant::now(), 1 << 40);
            let (paced, _) =
                tokio::join!(bucket.inner.pace(&mut last, 1), bucket.inner.tasks.stop(Duration::from_secs(60)));
            assert!(!paced, "nothing is rewritten at shutdown");
        });
    }
}
