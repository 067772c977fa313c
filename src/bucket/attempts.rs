//! Attempts: who may have which shards of a chunk, noted before these leave, until a record says of each where it is.
//!
//! Every shard on a consumer has a record of its own all the time: an attempt before it leaves, then the placement in
//! its chunk or a deletion that the consumer has not confirmed. An attempt ends in one batch with what follows it. One
//! that nobody is about to end any more, for whatever reason, is ended by the tender.

use std::{collections::HashSet, sync::Arc};

use super::{
    Error, Inner,
    commit::blocking,
    records::{Attempt, Chunk},
};
use crate::{
    base::{ChunkId, Kinded, PeerId, Record, ShardId, limits},
    dispatch::{self, Announce},
    runtime::failpoint,
    store::{self, Batch, Table},
};

/// Attempts looked at in one step.
const ATTEMPTS_PAGE: usize = 256;

/// The right to place shards of a chunk: while it is held, nobody takes the attempt for one that was cut short. So it is
/// held by all that may still send a shard or commit the chunk.
pub(super) struct Announced {
    inner: Arc<Inner>,
    chunk: ChunkId,
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.inner.announced.lock().remove(&self.chunk);
    }
}

impl Announced {
    /// What the dispatcher tells who may have shards from now on. It holds the right.
    pub fn announcer(self: &Arc<Self>) -> Announce {
        let announced = Arc::clone(self);
        Arc::new(move |shards| Box::pin(record(Arc::clone(&announced), shards)))
    }
}

async fn record(announced: Arc<Announced>, shards: Vec<(PeerId, ShardId)>) -> Result<(), dispatch::Error> {
    let recorded = blocking(move || {
        let mut batch = Batch::new();
        for (consumer, shard) in shards {
            let key: [&[u8]; 3] = [announced.chunk.as_bytes(), consumer.as_bytes(), shard.as_bytes()];
            batch.put(Table::Attempt, &key, Vec::new());
        }
        let database = &announced.inner.database;
        Ok(database.sync(database.commit(batch)?)?)
    });
    recorded.await.map_err(|error| dispatch::Error::Unrecorded { kind: error.kind(), why: error.to_string() })?;
    failpoint("attempt-flushed");
    Ok(())
}

/// Who may have which shard, by the rest of an attempt's key behind its chunk; None when it is of an earlier format.
pub(super) fn split_attempt(key: &[u8]) -> Option<(PeerId, ShardId)> {
    let (consumer, shard) = key.split_at_checked(32)?;
    Some((PeerId(consumer.try_into().ok()?), ShardId(shard.try_into().ok()?)))
}

impl Inner {
    /// Begins to place shards of a chunk.
    pub(super) fn announce(self: &Arc<Self>, chunk: ChunkId) -> Arc<Announced> {
        self.announced.lock().insert(chunk);
        Arc::new(Announced { inner: Arc::clone(self), chunk })
    }

    /// Whether shards of a chunk are on their way.
    pub(super) fn is_announced(&self, chunk: ChunkId) -> bool {
        self.announced.lock().contains(&chunk)
    }

    /// Ends the attempts for a chunk in the batch that stores it as `chunk`, or in one that does not: whoever may have a
    /// shard and is not on record with it is to delete it. Nothing of them may be on its way any more.
    pub(super) fn end_attempts(&self, id: ChunkId, chunk: Option<&Chunk>, batch: &mut Batch) -> Result<(), Error> {
        let mut held = HashSet::new();
        if let Some(chunk) = chunk {
            held.extend(chunk.placements.iter().map(|placement| placement.consumer).zip(&chunk.roots));
        }
        for (key, _) in self.database.scan(Table::Attempt, id.as_bytes(), b"", limits::DELETES_PER_BATCH)? {
            let Some((consumer, shard)) = split_attempt(&key) else { continue };
            batch.delete(Table::Attempt, &[id.as_bytes(), &key]);
            if !held.contains(&(Some(consumer), &shard)) {
                batch.put(Table::Delete, &[consumer.as_bytes(), shard.as_bytes()], Vec::new());
                // It looks when the batch is committed: the caller has the accounts until then.
                self.wake_tenders();
            }
        }
        Ok(())
    }

    /// Ends the attempts that nobody else will: those of uploads and repairs that have failed, were given up, or were
    /// cut short by a crash.
    pub(super) fn settle_cut_attempts(&self) -> Result<(), Error> {
        let (mut from, mut last) = (Vec::new(), None);
        // Who has woken the tender may still be about to commit what it is to see.
        drop(self.lock_accounts());
        loop {
            let page = self.database.scan(Table::Attempt, b"", &from, ATTEMPTS_PAGE)?;
            for (key, value) in &page {
                let (chunk, rest) = key.split_at_checked(32).ok_or(Error::Stale)?;
                let chunk = ChunkId(chunk.try_into().map_err(|_| Error::Stale)?);
                if rest.is_empty() {
                    self.settle_earlier_attempt(chunk, value)?;
                } else if last.replace(chunk) != Some(chunk) && !self.is_announced(chunk) {
                    self.settle_cut_attempt(chunk)?;
                }
            }
            match page.last() {
                Some((key, _)) if page.len() == ATTEMPTS_PAGE => from = [&key[..], &[0]].concat(),
                _ => return Ok(()),
            }
        }
    }

    fn settle_cut_attempt(&self, id: ChunkId) -> Result<(), Error> {
        let _accounts = self.lock_accounts();
        let mut batch = Batch::new();
        self.end_attempts(id, self.chunk(id)?.as_ref(), &mut batch)?;
        self.database.commit(batch)?;
        failpoint("attempts-queued");
        tracing::info!(op = "attempt", chunk = %id, "shards of an attempt that was cut short are deleted");
        Ok(())
    }

    /// Earlier attempts do not say who may have the shards: it may be every consumer that is known once the tracker has
    /// named them. From then on this is an attempt like others.
    fn settle_earlier_attempt(&self, id: ChunkId, value: &[u8]) -> Result<(), Error> {
        let known = self.dispatcher.known();
        if known.is_empty() || !self.dispatcher.is_informed() {
            return Ok(());
        }
        let attempt = Attempt::decode(value).map_err(store::Error::from)?;
        let mut batch = Batch::new();
        for (consumer, root) in known.iter().flat_map(|it| attempt.roots.iter().map(|root| (it.contact.peer, root))) {
            batch.put(Table::Attempt, &[id.as_bytes(), consumer.as_bytes(), root.as_bytes()], Vec::new());
            if batch.len() >= limits::DELETES_PER_BATCH {
                self.database.commit(std::mem::take(&mut batch))?;
            }
        }
        batch.delete(Table::Attempt, &[id.as_bytes()]);
        self.database.commit(batch)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{OwnerId, Scheme, UnixMillis},
        bucket::{Bucket, promises::open},
        coding::{self, BucketKey},
        dispatch::Placement,
        net::{Candidate, Contact},
        runtime::SeededChance,
    };

    fn peer(number: u8) -> PeerId {
        PeerId([number; 32])
    }

    /// A chunk of two shards, held by peers 1 and 2.
    fn chunk() -> Chunk {
        let (key, scheme) = (BucketKey::new([4; 32]), Scheme::new(2, 0).expect("a scheme"));
        let encoded = coding::encode(&key, &[7; 3000], scheme, &SeededChance::new(1)).expect("encodes");
        let placements = vec![Placement::held(peer(1)), Placement::held(peer(2))];
        Chunk { layout: encoded.layout, roots: encoded.roots, placements }
    }

    fn change(bucket: &Bucket, change: impl FnOnce(&Inner, &mut Batch)) {
        let mut batch = Batch::new();
        change(&bucket.inner, &mut batch);
        bucket.inner.database.commit(batch).expect("committed");
    }

    fn put_attempt(bucket: &Bucket, chunk: &Chunk, consumer: PeerId, index: usize) {
        let key: [&[u8]; 3] = [chunk.layout.chunk.as_bytes(), consumer.as_bytes(), chunk.roots[index].as_bytes()];
        change(bucket, |_, batch| batch.put(Table::Attempt, &key, Vec::new()));
    }

    fn count(bucket: &Bucket, table: Table) -> usize {
        bucket.inner.database.scan(table, b"", b"", usize::MAX).expect("read").len()
    }

    fn deletes(bucket: &Bucket) -> Vec<(PeerId, ShardId)> {
        let keys = bucket.inner.database.scan(Table::Delete, b"", b"", usize::MAX).expect("read");
        keys.iter().map(|(key, _)| split_attempt(key).expect("a peer and a shard")).collect()
    }

    #[tokio::test]
    async fn an_attempt_ends_as_placements_and_deletions_and_not_while_it_is_under_way() {
        let directory = tempfile::tempdir().expect("made");
        let (bucket, chunk) = (open(directory.path()), chunk());
        let announced = bucket.inner.announce(chunk.layout.chunk);
        let shards = vec![(peer(1), chunk.roots[0]), (peer(2), chunk.roots[1]), (peer(3), chunk.roots[0])];
        announced.announcer()(shards).await.expect("recorded");
        change(&bucket, |inner, batch| inner.put_chunk(&chunk, batch).expect("readable"));
        bucket.inner.settle_cut_attempts().expect("settled");
        assert_eq!((count(&bucket, Table::Attempt), deletes(&bucket)), (3, vec![]));
        drop(announced);
        bucket.inner.settle_cut_attempts().expect("settled");
        assert_eq!((count(&bucket, Table::Attempt), deletes(&bucket)), (0, vec![(peer(3), chunk.roots[0])]));
    }

    #[tokio::test]
    async fn an_attempt_whose_chunk_was_not_committed_ends_as_deletions() {
        let directory = tempfile::tempdir().expect("made");
        let (bucket, chunk) = (open(directory.path()), chunk());
        put_attempt(&bucket, &chunk, peer(1), 0);
        put_attempt(&bucket, &chunk, peer(2), 1);
        bucket.inner.settle_cut_attempts().expect("settled");
        let all = vec![(peer(1), chunk.roots[0]), (peer(2), chunk.roots[1])];
        assert_eq!((count(&bucket, Table::Attempt), deletes(&bucket)), (0, all));
    }

    #[tokio::test]
    async fn a_repair_does_not_forget_an_attempt_that_was_cut_short_before() {
        let directory = tempfile::tempdir().expect("made");
        let (bucket, chunk) = (open(directory.path()), chunk());
        let lacking = Chunk { placements: vec![Placement::held(peer(1)), Placement::missing()], ..chunk.clone() };
        change(&bucket, |inner, batch| inner.put_chunk(&lacking, batch).expect("readable"));
        put_attempt(&bucket, &chunk, peer(9), 1);
        put_attempt(&bucket, &chunk, peer(2), 1);
        bucket.inner.update_placements(&lacking, chunk.placements.clone(), &[]).expect("updated");
        assert_eq!((count(&bucket, Table::Attempt), deletes(&bucket)), (0, vec![(peer(9), chunk.roots[1])]));
        assert_eq!(bucket.inner.chunk(chunk.layout.chunk).expect("read"), Some(chunk));
    }

    #[tokio::test]
    async fn an_attempt_of_an_earlier_state_waits_until_consumers_are_known() {
        let directory = tempfile::tempdir().expect("made");
        let (bucket, chunk) = (open(directory.path()), chunk());
        let value = Attempt { roots: chunk.roots.clone() }.encode();
        change(&bucket, |inner, batch| {
            batch.put(Table::Attempt, &[chunk.layout.chunk.as_bytes()], value);
            inner.put_chunk(&chunk, batch).expect("readable");
        });
        bucket.inner.settle_cut_attempts().expect("settled");
        assert_eq!((count(&bucket, Table::Attempt), deletes(&bucket)), (1, vec![]));
        let known = [1, 2, 3].map(|number| Candidate {
            contact: Contact { peer: peer(number), addresses: Vec::new() },
            owner: OwnerId([1; 32]),
            limit_bytes: 0,
            free_bytes: 0,
            last_beat: UnixMillis(1),
            uptime_permille: 0,
            is_online: false,
        });
        bucket.inner.dispatcher.learn(known.map(Into::into).to_vec());
        for _ in 0..2 {
            bucket.inner.settle_cut_attempts().expect("settled");
        }
        let mut expected: Vec<_> =
            [(1, 1), (2, 0), (3, 0), (3, 1)].map(|(it, root)| (peer(it), chunk.roots[root])).into();
        expected.sort_unstable();
        assert_eq!((count(&bucket, Table::Attempt), deletes(&bucket)), (0, expected));
    }
}
