//! The committer: encodes and scatters a gathered chunk, and commits it in one transaction.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::{
    Error, Inner,
    attempts::Announced,
    cell::{Cell, CellState},
    extents::queue_deletes,
    records::Chunk,
    upload::Job,
};
use crate::{
    base::{ChunkId, PeerId, Record, ShardId, limits},
    coding::{self, Encoded},
    dispatch::{self, Placement, Settled},
    runtime::{failpoint, spawn_blocking},
    store::{Batch, Sequence, Table},
};

/// What the mark of an incomplete chunk says when nobody waits for its shards.
const UNAWAITED: &[u8] = &[1];

impl Inner {
    /// Takes one chunk all the way; whatever fails, its bytes stay staged and are tried again.
    pub(super) async fn fly(self: Arc<Self>, job: Job, permit: OwnedSemaphorePermit) {
        let job = Arc::new(job);
        self.note_change();
        // A panic is a failure like others: the bytes must not stay marked as on their way.
        let result = AssertUnwindSafe(self.encode_and_scatter(&job)).catch_unwind().await;
        let result = result.unwrap_or_else(|_| Err(Error::Unreadable("a defect in the upload".to_owned())));
        drop(permit);
        match result {
            Ok(()) => self.uploader.set_problem(None),
            Err(error) => {
                let why = error.to_string();
                tracing::warn!(bytes = job.bytes, error = %why, "an upload failed; the data stays staged");
                self.land_failed(&job, &why);
                self.uploader.set_problem(Some(why));
            }
        }
        self.note_change();
        self.uploader.wake();
    }

    async fn encode_and_scatter(self: &Arc<Self>, job: &Arc<Job>) -> Result<(), Error> {
        let (inner, gathered) = (Arc::clone(self), Arc::clone(job));
        let encoded = self.pool.run_in_background(move || inner.encode_job(&gathered)).await?;
        let landed = Arc::clone(job);
        self.deliver(encoded, move |inner, delivery| inner.land(&landed, delivery)).await
    }

    /// Takes an encoded chunk to its consumers and has it committed by `land`, which returns whether a pinned file is
    /// in it. Whatever fails, no shard stays behind.
    pub(super) async fn deliver(
        self: &Arc<Self>,
        encoded: Encoded,
        land: impl FnOnce(&Inner, &Delivery) -> Result<bool, Error> + Send + 'static,
    ) -> Result<(), Error> {
        let chunk = Chunk { layout: encoded.layout.clone(), roots: encoded.roots.clone(), placements: Vec::new() };
        let announced = self.announce(chunk.layout.chunk, &chunk.roots).await?;
        failpoint("attempt-flushed");
        let data_shards = encoded.shards[..chunk.layout.scheme.k()].to_vec();
        let scattered = match self.dispatcher.scatter(encoded).await {
            Ok(scattered) => scattered,
            Err(failure) => {
                self.forget_failed(chunk.layout.chunk, &failure)?;
                return Err(failure.into());
            }
        };
        let chunk = Chunk { placements: scattered.now.placements, ..chunk };
        let has_rest = scattered.rest.is_some();
        let delivery = Delivery { chunk: chunk.clone(), surplus: scattered.now.surplus, has_rest };
        let inner = Arc::clone(self);
        let committed = blocking(move || {
            match land(&inner, &delivery) {
                Ok(true) => inner.keep_uploaded(&delivery.chunk, &data_shards),
                Ok(false) => {}
                Err(error) => {
                    inner.give_up(&delivery)?;
                    return Err(error);
                }
            }
            Ok(())
        })
        .await;
        self.wake_deleter();
        if let Some(rest) = scattered.rest {
            self.await_rest(announced, chunk, rest);
        }
        committed
    }

    fn encode_job(&self, job: &Job) -> Result<Encoded, Error> {
        let mut plain = vec![0; job.bytes];
        for piece in &job.pieces {
            let start = piece.chunk_offset as usize;
            let end = start + (piece.range.end - piece.range.start) as usize;
            let read = piece.file.read_at(&mut plain[start..end], piece.range.start);
            // The file of what is written anew, cut off or unlinked meanwhile may be gone: then no byte of it lands.
            if let Err(error) = read
                && !piece.cell.lock().unmodified_since(job.flight, piece.range.clone()).is_empty()
            {
                return Err(crate::store::Error::io("cannot read", "staging")(error).into());
            }
        }
        Ok(coding::encode(&self.key, &plain, job.scheme, &*self.chance)?)
    }

    /// Adds a delivered chunk to a batch; one that nobody needs any more goes, and so do its shards.
    pub(super) fn put_delivery(&self, delivery: &Delivery, is_needed: bool, batch: &mut Batch) -> Result<(), Error> {
        if !delivery.has_rest {
            batch.delete(Table::Attempt, &[delivery.chunk.layout.chunk.as_bytes()]);
        }
        put_deletes(&delivery.surplus, batch);
        if is_needed {
            self.put_chunk(&delivery.chunk, batch)?;
        } else {
            queue_deletes(&delivery.chunk, batch);
        }
        Ok(())
    }

    /// Queues the deletion of a chunk's shards whose commit has failed.
    fn give_up(&self, delivery: &Delivery) -> Result<(), Error> {
        let _accounts = self.accounts.lock();
        if self.chunk(delivery.chunk.layout.chunk)?.is_none() {
            let mut batch = Batch::new();
            self.put_delivery(delivery, false, &mut batch)?;
            self.database.commit(batch)?;
        }
        Ok(())
    }

    /// Gives back the staging space that a cell needs no more. All batches up to `durable` are durable: before that
    /// a crash would bring the ranges back.
    pub(super) fn reclaim(&self, cell: &Cell, durable: Sequence) {
        let mut state = cell.lock();
        let ready: Vec<_> =
            state.waste.iter().filter(|(_, since)| **since <= durable).map(|(range, _)| range).collect();
        if state.is_gone || ready.is_empty() {
            return;
        }
        for range in &ready {
            state.waste.remove(range.clone());
        }
        if state.dirty.is_empty() && state.waste.is_empty() {
            self.drop_staging_file(cell, &mut state);
            return;
        }
        let punch = |state: &mut CellState| -> Result<(), Error> {
            let file = self.staging_file(cell, state)?;
            for range in &ready {
                let punched = file.punch(range.start, range.end - range.start);
                punched.map_err(crate::store::Error::io("cannot free a part of", "staging"))?;
            }
            Ok(())
        };
        if let Err(error) = punch(&mut state) {
            tracing::warn!(file = cell.ino.0, %error, "cannot give staging space back; it is freed with the file");
        }
    }

    /// Puts the bytes of a failed upload back in line, later each time.
    fn land_failed(&self, job: &Job, why: &str) {
        self.put_back(job);
        for piece in &job.pieces {
            let mut state = piece.cell.lock();
            if state.problem.is_none() || Instant::now() >= state.retry_at {
                let wait = limits::RETRY_MIN.saturating_mul(1 << state.failures.min(6)).min(limits::RETRY_MAX);
                state.retry_at = Instant::now() + wait;
                state.failures += 1;
            }
            state.is_urgent = false;
            state.problem = Some(why.to_owned());
        }
    }

    /// Queues the deletion of what a failed placement has placed.
    fn forget_failed(&self, id: ChunkId, failure: &dispatch::Error) -> Result<(), Error> {
        if matches!(failure, dispatch::Error::Closed { placed } if placed.is_empty()) {
            // Cut short, it may not know: the attempt stays, and is settled as after a crash.
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.delete(Table::Attempt, &[id.as_bytes()]);
        put_deletes(failure.placed(), &mut batch);
        self.database.commit(batch)?;
        self.wake_deleter();
        Ok(())
    }

    /// Stores a chunk's record, and whether shards of it are missing; whether somebody waits for them stays as it is.
    pub(super) fn put_chunk(&self, chunk: &Chunk, batch: &mut Batch) -> Result<(), Error> {
        let id = chunk.layout.chunk;
        batch.put(Table::Chunk, &[id.as_bytes()], chunk.encode());
        for (placement, root) in chunk.placements.iter().zip(&chunk.roots) {
            if let (Some(consumer), dispatch::Health::Held) = (placement.consumer, placement.health) {
                // It may have been queued while the consumer held a surplus copy.
                batch.delete(Table::Delete, &[consumer.as_bytes(), root.as_bytes()]);
            }
        }
        if chunk.is_whole() {
            batch.delete(Table::Incomplete, &[id.as_bytes()]);
        } else {
            let mark = self.database.get(Table::Incomplete, &[id.as_bytes()])?.unwrap_or_default();
            batch.put(Table::Incomplete, &[id.as_bytes()], mark);
        }
        Ok(())
    }

    /// Whether somebody who waits for all shards waits for this chunk: it lacks some, and carries what programs have
    /// written since all of it was on its consumers. What the collector moves was there before.
    pub(super) fn is_awaited(&self, id: ChunkId) -> Result<bool, Error> {
        Ok(self.database.get(Table::Incomplete, &[id.as_bytes()])?.is_some_and(|mark| mark != UNAWAITED))
    }

    /// Nobody waits for the shards that this chunk lacks.
    pub(super) fn put_unawaited(&self, chunk: &Chunk, batch: &mut Batch) {
        if !chunk.is_whole() {
            batch.put(Table::Incomplete, &[chunk.layout.chunk.as_bytes()], UNAWAITED.to_vec());
        }
    }

    /// Waits in the background for the shards that were still on their way at the commit.
    fn await_rest(self: &Arc<Self>, announced: Announced, chunk: Chunk, rest: oneshot::Receiver<Settled>) {
        let inner = Arc::clone(self);
        self.tasks.spawn(async move {
            let id = chunk.layout.chunk;
            // No answer means shutdown: the chunk stays in the table of incomplete ones, the attempt in that of attempts.
            if let Ok(settled) = rest.await {
                let record = Arc::clone(&inner);
                let updated = blocking(move || record.update_placements(&chunk, settled.placements, &settled.surplus));
                if let Err(error) = updated.await {
                    tracing::warn!(chunk = %id, %error, "cannot record late shards");
                }
            }
            drop(announced);
            inner.note_change();
        });
    }

    /// Records where the shards of a chunk have come to be since its record was as `before`, which ends the attempt. What
    /// others have noted meanwhile of shards that did not move stays. If the chunk is gone, its shards go too.
    pub(super) fn update_placements(
        &self,
        before: &Chunk,
        placements: Vec<Placement>,
        surplus: &[(PeerId, ShardId)],
    ) -> Result<(), Error> {
        let _accounts = self.accounts.lock();
        let mut batch = Batch::new();
        batch.delete(Table::Attempt, &[before.layout.chunk.as_bytes()]);
        put_deletes(surplus, &mut batch);
        if let Some(mut chunk) = self.chunk(before.layout.chunk)? {
            let moved = before.placements.iter().zip(placements);
            for (current, (old, new)) in chunk.placements.iter_mut().zip(moved) {
                if *old != new {
                    *current = new;
                }
            }
            self.put_chunk(&chunk, &mut batch)?;
        } else {
            queue_deletes(&Chunk { placements, ..before.clone() }, &mut batch);
        }
        self.database.commit(batch)?;
        failpoint("rest-recorded");
        self.wake_deleter();
        Ok(())
    }
}

/// A chunk with enough shards on consumers, to be committed.
pub(super) struct Delivery {
    pub chunk: Chunk,
    /// Consumers that may have a shard which is not theirs to keep.
    pub surplus: Vec<(PeerId, ShardId)>,
    /// Whether shards are still on their way.
    pub has_rest: bool,
}

/// Queues deletions of single shards.
fn put_deletes(shards: &[(PeerId, ShardId)], batch: &mut Batch) {
    for (consumer, shard) in shards {
        batch.put(Table::Delete, &[consumer.as_bytes(), shard.as_bytes()], Vec::new());
    }
}

/// Runs what blocks on the disk off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
