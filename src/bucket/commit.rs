//! The committer: encodes and scatters a gathered chunk, and commits it in one transaction.

use std::{ops::Range, panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use super::{
    Error, Inner,
    attempts::Announced,
    records::Chunk,
    upload::{DEFECT, Job, Piece},
};
use crate::{
    base::{ChunkId, PeerId, Record, ShardId, limits},
    coding::{self, Encoded},
    dispatch::{Health, Placement, Rest},
    runtime::{failpoint, spawn_blocking},
    store::{self, Batch, Table},
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
        let result = result.unwrap_or_else(|_| Err(Error::Unreadable(DEFECT.to_owned())));
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
        self.uploader.ended(job.flight);
        // It held staging files open that are removed since: their space is free only now.
        drop(job);
        self.staging.note_freed();
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
        let announced = self.announce(chunk.layout.chunk);
        let data_shards = encoded.shards[..chunk.layout.scheme.k()].to_vec();
        let (begun, blocks) = (Instant::now(), chunk.layout.blocks.len());
        let scattered = match self.dispatcher.scatter(encoded, announced.announcer()).await {
            Ok(scattered) => {
                self.uploader.pace.note(blocks, begun.elapsed());
                scattered
            }
            Err(failure) => {
                if begun.elapsed() >= limits::SLOW_CHUNK {
                    self.uploader.pace.note(blocks, begun.elapsed());
                }
                drop(announced);
                self.wake_tenders();
                return Err(failure.into());
            }
        };
        let chunk = Chunk { placements: scattered.now, ..chunk };
        let delivery = Delivery { chunk: chunk.clone(), has_rest: scattered.rest.is_some() };
        let is_settled = delivery.has_rest || delivery.chunk.is_whole();
        let (landing, landed) = oneshot::channel();
        if let Some(rest) = scattered.rest {
            self.await_rest(Arc::clone(&announced), chunk, rest, landed);
        }
        let inner = Arc::clone(self);
        let committed = blocking(move || {
            // This goes on when nobody waits for it any more: until it has ended the attempt has not.
            let _until_landed = (landing, announced);
            if land(&inner, &delivery)? {
                inner.keep_uploaded(&delivery.chunk, &data_shards);
            }
            Ok(())
        })
        .await;
        if committed.is_err() || !is_settled {
            self.wake_tenders();
        }
        committed
    }

    pub(super) fn encode_job(&self, job: &Job) -> Result<Encoded, Error> {
        if !job.pieces.iter().any(|piece| !piece.cell.lock().awaited.is_empty()) {
            return coding::encode_from(&self.key, job.bytes, job.scheme, &*self.chance, |range, bytes| {
                read_staged(job, range, bytes)
            });
        }
        // Somebody waits for bytes that a program may go on writing: all are read now, before more of them change.
        let mut plain = vec![0; job.bytes];
        read_staged(job, 0..job.bytes, &mut plain)?;
        for pieces in job.pieces.chunk_by(|one, next| Arc::ptr_eq(&one.cell, &next.cell)) {
            let state = pieces[0].cell.lock();
            for piece in pieces.iter().filter(|_| !state.awaited.is_empty()) {
                piece.intact.get_or_init(|| state.unmodified_since(job.flight, piece.range.clone()));
            }
        }
        Ok(coding::encode(&self.key, &plain, job.scheme, &*self.chance)?)
    }

    /// Adds a delivered chunk to a batch, and the end of its attempt if nothing is on its way any more. One that nobody
    /// needs any more is not stored: its shards go with the attempt.
    pub(super) fn put_delivery(&self, delivery: &Delivery, is_needed: bool, batch: &mut Batch) -> Result<(), Error> {
        let stored = is_needed.then_some(&delivery.chunk);
        if let Some(chunk) = stored {
            self.put_chunk(chunk, batch)?;
        }
        if !delivery.has_rest {
            self.end_attempts(delivery.chunk.layout.chunk, stored, batch)?;
        }
        Ok(())
    }

    /// Puts the bytes of a failed upload back in line, later each time. One file that does not read is alone to blame.
    pub(super) fn land_failed(&self, job: &Job, why: &str) {
        self.put_back(job);
        let is_to_blame = |piece: &&Piece| job.unread.get().is_none_or(|unread| *unread == piece.cell.ino);
        for piece in job.pieces.iter().filter(is_to_blame) {
            let mut state = piece.cell.lock();
            if state.problem.is_none() || Instant::now() >= state.retry_at {
                let wait = limits::RETRY_MIN.saturating_mul(1 << state.failures.min(6)).min(limits::RETRY_MAX);
                state.retry_at = Instant::now() + wait;
                state.failures += 1;
            }
            state.failed_at = Some(Instant::now());
            state.is_urgent = false;
            state.problem = Some(why.to_owned());
        }
    }

    /// Stores a chunk's record, and whether shards of it are missing; whether somebody waits for them stays as it is.
    pub(super) fn put_chunk(&self, chunk: &Chunk, batch: &mut Batch) -> Result<(), Error> {
        let id = chunk.layout.chunk;
        batch.put(Table::Chunk, &[id.as_bytes()], chunk.encode());
        for (placement, root) in chunk.placements.iter().zip(&chunk.roots) {
            if let (Some(consumer), Health::Held) = (placement.consumer, placement.health) {
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

    /// Brings the shards to their consumers in the background that are still on their way at the commit, and records
    /// where they are once that has `landed`, well or not.
    fn await_rest(
        self: &Arc<Self>,
        announced: Arc<Announced>,
        chunk: Chunk,
        rest: Rest,
        landed: oneshot::Receiver<()>,
    ) {
        let inner = Arc::clone(self);
        self.tasks.spawn(async move {
            let id = chunk.layout.chunk;
            let placements = rest.settle().await;
            // The other end is only dropped.
            let _landed = landed.await;
            let record = Arc::clone(&inner);
            let updated = blocking(move || {
                let _until_recorded = announced;
                record.update_placements(&chunk, placements, &[])
            });
            if let Err(error) = updated.await {
                tracing::warn!(chunk = %id, %error, "cannot record late shards");
            }
            inner.note_change();
        });
    }

    /// Records where the shards of a chunk have come to be since its record was as `before`, which ends the attempt. What
    /// others have noted meanwhile of shards that did not move stays. `surplus` are copies that lie where they should
    /// not. If the chunk is gone, its shards go too.
    pub(super) fn update_placements(
        &self,
        before: &Chunk,
        placements: Vec<Placement>,
        surplus: &[(PeerId, ShardId)],
    ) -> Result<(), Error> {
        let _accounts = self.lock_accounts();
        let mut batch = Batch::new();
        for (consumer, shard) in surplus {
            batch.put(Table::Delete, &[consumer.as_bytes(), shard.as_bytes()], Vec::new());
        }
        let mut chunk = self.chunk(before.layout.chunk)?;
        if let Some(chunk) = &mut chunk {
            let moved = before.placements.iter().zip(placements);
            for (current, (old, new)) in chunk.placements.iter_mut().zip(moved) {
                if *old != new {
                    *current = new;
                }
            }
            self.put_chunk(chunk, &mut batch)?;
        }
        self.end_attempts(before.layout.chunk, chunk.as_ref(), &mut batch)?;
        self.database.commit(batch)?;
        failpoint("rest-recorded");
        if !surplus.is_empty() || !chunk.is_some_and(|chunk| chunk.is_whole()) {
            self.wake_tenders();
        }
        Ok(())
    }
}

/// Reads some of the bytes of a chunk in the making, from the pieces that have them.
fn read_staged(job: &Job, range: Range<usize>, bytes: &mut [u8]) -> Result<(), Error> {
    let first = job.pieces.partition_point(|piece| piece.end() <= range.start);
    for piece in job.pieces[first..].iter().take_while(|piece| (piece.chunk_offset as usize) < range.end) {
        let begin = piece.chunk_offset as usize;
        let part = range.start.max(begin)..range.end.min(piece.end());
        let offset = piece.range.start + (part.start - begin) as u64;
        let read = piece.file.read_at(&mut bytes[part.start - range.start..part.end - range.start], offset);
        // The file of what is written anew, cut off or unlinked meanwhile may be gone: then no byte of it lands.
        if let Err(error) = read
            && !piece.cell.lock().unmodified_since(job.flight, piece.range.clone()).is_empty()
        {
            job.unread.get_or_init(|| piece.cell.ino);
            return Err(store::Error::io("cannot read", "staging")(error).into());
        }
    }
    Ok(())
}

/// A chunk with enough shards on consumers, to be committed.
pub(super) struct Delivery {
    pub chunk: Chunk,
    /// Whether shards are still on their way.
    pub has_rest: bool,
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
