//! Attempts: shards on their way, which a crash could leave on consumers without a record that says where.

use std::{collections::HashSet, sync::Arc};

use super::{Error, Inner, commit::blocking, records::Attempt};
use crate::{
    base::{ChunkId, PeerId, Record, ShardId, limits},
    runtime::failpoint,
    store::{self, Batch, Table},
};

/// Attempts looked at in one step.
const ATTEMPTS_PAGE: usize = 256;

/// The right to place shards of a chunk: while it is held, nobody takes the attempt for one that a crash cut short.
pub(super) struct Announced {
    inner: Arc<Inner>,
    chunk: ChunkId,
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.inner.announced.lock().remove(&self.chunk);
    }
}

impl Inner {
    /// Says, durably, that shards of a chunk are about to be placed: else a crash forgets where they may be. The record
    /// goes with the batch that says of every shard where it is.
    pub(super) async fn announce(self: &Arc<Self>, chunk: ChunkId, roots: &[ShardId]) -> Result<Announced, Error> {
        self.announced.lock().insert(chunk);
        let announced = Announced { inner: Arc::clone(self), chunk };
        let mut batch = Batch::new();
        batch.put(Table::Attempt, &[chunk.as_bytes()], Attempt { roots: roots.to_vec() }.encode());
        let inner = Arc::clone(self);
        blocking(move || Ok(inner.database.sync(inner.database.commit(batch)?)?)).await?;
        Ok(announced)
    }

    /// Whether shards of a chunk are on their way.
    pub(super) fn is_announced(&self, chunk: ChunkId) -> bool {
        self.announced.lock().contains(&chunk)
    }

    /// Attempts that a crash cut short: their shards may be anywhere, so every known consumer that is not on record with
    /// a shard is asked to delete it. With nobody known the attempts stay.
    pub(super) fn settle_cut_attempts(&self) -> Result<(), Error> {
        let mut from = Vec::new();
        let mut consumers = Vec::new();
        loop {
            let page = self.database.scan(Table::Attempt, b"", &from, ATTEMPTS_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            from = [&last[..], &[0]].concat();
            for (key, _) in page {
                let chunk = ChunkId(key.as_slice().try_into().map_err(|_| Error::Stale)?);
                if self.is_announced(chunk) {
                    continue;
                }
                if consumers.is_empty() {
                    consumers = self.dispatcher.known().into_iter().map(|candidate| candidate.contact.peer).collect();
                }
                if consumers.is_empty() {
                    return Ok(());
                }
                self.settle_cut_attempt(chunk, &consumers)?;
            }
        }
    }

    fn settle_cut_attempt(&self, id: ChunkId, consumers: &[PeerId]) -> Result<(), Error> {
        let _accounts = self.accounts.lock();
        // It may have come to its end since it was listed.
        let Some(value) = self.database.get(Table::Attempt, &[id.as_bytes()])? else { return Ok(()) };
        let attempt = Attempt::decode(&value).map_err(store::Error::from)?;
        let mut held = HashSet::new();
        if let Some(chunk) = self.chunk(id)? {
            held.extend(chunk.placements.iter().map(|placement| placement.consumer).zip(chunk.roots));
        }
        let mut batch = Batch::new();
        for root in attempt.roots {
            for consumer in consumers.iter().filter(|consumer| !held.contains(&(Some(**consumer), root))) {
                batch.put(Table::Delete, &[consumer.as_bytes(), root.as_bytes()], Vec::new());
                if batch.len() >= limits::DELETES_PER_BATCH {
                    self.database.commit(std::mem::take(&mut batch))?;
                }
            }
        }
        batch.delete(Table::Attempt, &[id.as_bytes()]);
        self.database.commit(batch)?;
        failpoint("attempts-queued");
        tracing::info!(op = "attempt", chunk = %id, "shards of an upload that was cut short are deleted");
        self.wake_deleter();
        Ok(())
    }
}
