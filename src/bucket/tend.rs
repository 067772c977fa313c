//! What is finished later: deletions for consumers that were away, shards that found no consumer.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use tokio::{sync::Notify, time::Instant};

use super::{Error, Inner, commit::blocking, records::Chunk};
use crate::{
    base::{ChunkId, ErrorKind, Kinded, PeerId, ShardId, limits},
    dispatch::{self, Health, Placement},
    runtime::failpoint,
    store::{Batch, Table},
};

/// How often the queues are looked at when nobody wakes the tender.
const TICK: Duration = Duration::from_secs(2);
/// Incomplete chunks that are looked at in a pass, hopeless ones included.
const LOOKS_PER_PASS: usize = 1024;
/// Records of a queue that are read at a time.
const QUEUE_PAGE: usize = 256;
/// Deletions taken from the queue at a time.
const DELETES_PER_PASS: usize = 1024;
/// Deletions on their way at a time.
const DELETES_AT_A_TIME: usize = 16;
/// A consumer is given so long in a pass, and then finishes the deletion it is at: one that takes long for each must not keep
/// the others from theirs.
const DELETES_TIME: Duration = Duration::from_secs(10);
/// Incomplete chunks looked at in one pass.
const CHUNKS_PER_PASS: usize = 16;

/// When something that failed may be tried again.
pub(super) struct Backoff<K> {
    waits: HashMap<K, (Instant, u32)>,
}

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Self { waits: HashMap::new() }
    }
}

impl<K: std::hash::Hash + Eq> Backoff<K> {
    pub fn may_try(&self, key: &K) -> bool {
        self.waits.get(key).is_none_or(|(until, _)| Instant::now() >= *until)
    }

    pub fn failed(&mut self, key: K) {
        if self.waits.len() >= limits::CELLS {
            self.waits.retain(|_, (until, _)| Instant::now() < *until);
        }
        let failures = self.waits.get(&key).map_or(0, |(_, failures)| *failures);
        let wait = limits::RETRY_MIN.saturating_mul(1 << failures.min(6)).min(limits::RETRY_MAX);
        self.waits.insert(key, (Instant::now() + wait, failures + 1));
    }

    pub fn succeeded(&mut self, key: &K) {
        self.waits.remove(key);
    }
}

impl Inner {
    /// There is something to delete, or to complete.
    pub fn wake_tenders(&self) {
        self.delete.notify_one();
        self.complete.notify_one();
    }

    /// Works on the queue of deletions until shutdown; what is left is done after the next mount.
    pub async fn delete_until_shutdown(self: Arc<Self>) {
        let mut peers = Backoff::default();
        while self.is_due(&self.delete).await {
            let pass = async {
                if let Err(error) = self.delete_queued(&mut peers).await {
                    tracing::warn!(%error, "cannot work on the queue of deletions");
                }
            };
            self.unless_shut_down(pass).await;
        }
    }

    /// Ends attempts that were cut short and completes chunks until shutdown. Consumers that are slow to delete do not
    /// keep it from that.
    pub async fn complete_until_shutdown(self: Arc<Self>) {
        let (mut chunks, mut at) = (Backoff::default(), Vec::new());
        while self.is_due(&self.complete).await {
            let pass = async {
                let inner = Arc::clone(&self);
                if let Err(error) = blocking(move || inner.settle_cut_attempts()).await {
                    tracing::warn!(%error, "cannot settle attempts that were cut short");
                }
                if let Err(error) = self.complete_chunks(&mut chunks, &mut at).await {
                    tracing::warn!(%error, "cannot work on incomplete chunks");
                }
            };
            self.unless_shut_down(pass).await;
        }
    }

    /// Waits for the next look at a queue; false at shutdown.
    async fn is_due(&self, wake: &Notify) -> bool {
        tokio::select! {
            biased;
            () = self.tasks.shutdown().started() => false,
            () = wake.notified() => true,
            () = tokio::time::sleep(TICK) => true,
        }
    }

    async fn unless_shut_down(&self, pass: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = self.tasks.shutdown().started() => {}
            () = pass => {}
        }
    }

    /// What a queue has from a key on.
    async fn queued(
        self: &Arc<Self>,
        queue: Table,
        from: Vec<u8>,
        most: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error> {
        let inner = Arc::clone(self);
        blocking(move || Ok(inner.database.scan(queue, b"", &from, most)?)).await
    }

    async fn delete_queued(self: &Arc<Self>, peers: &mut Backoff<PeerId>) -> Result<(), Error> {
        let mut by_peer: BTreeMap<PeerId, Vec<ShardId>> = BTreeMap::new();
        let (mut from, mut has_more) = (Vec::new(), false);
        let inner = Arc::clone(self);
        // Who has woken the tender may still be about to commit what it is to see.
        blocking(move || {
            drop(inner.lock_accounts());
            Ok(())
        })
        .await?;
        // Peers that are away must not hide others behind them: skip from peer to peer.
        loop {
            let page = self.queued(Table::Delete, from, DELETES_PER_PASS).await?;
            let Some((last, _)) = page.last() else { break };
            let last_peer = split(last)?.0;
            for (key, _) in &page {
                let (peer, shard) = split(key)?;
                if peers.may_try(&peer) {
                    by_peer.entry(peer).or_default().push(shard);
                }
            }
            has_more |= page.len() == DELETES_PER_PASS;
            if page.len() < DELETES_PER_PASS || by_peer.len() >= 64 {
                break;
            }
            from = match increment(last_peer.as_bytes()) {
                Some(next) => next,
                None => break,
            };
        }
        if by_peer.is_empty() {
            return Ok(());
        }
        // A crash must not bring back a file whose shards are deleted.
        let inner = Arc::clone(self);
        blocking(move || Ok(inner.database.sync_all()?)).await?;
        failpoint("deletes-flushed");
        let work: Vec<_> = by_peer.into_iter().map(|(peer, shards)| self.delete_at(peer, shards)).collect();
        let results: Vec<_> = futures::stream::iter(work).buffer_unordered(DELETES_AT_A_TIME).collect().await;
        let mut batch = Batch::new();
        for (peer, done, is_reachable) in results {
            for shard in done {
                batch.delete(Table::Delete, &[peer.as_bytes(), shard.as_bytes()]);
            }
            if is_reachable { peers.succeeded(&peer) } else { peers.failed(peer) }
        }
        if !batch.is_empty() {
            self.database.commit(batch)?;
            failpoint("deletes-recorded");
            self.note_change();
            if has_more {
                self.wake_tenders();
            }
        }
        Ok(())
    }

    /// Deletes shards at one consumer until it does not answer or has had its time.
    async fn delete_at(&self, peer: PeerId, shards: Vec<ShardId>) -> (PeerId, Vec<ShardId>, bool) {
        let delete = |shard| async move {
            let deleted = self.dispatcher.delete(peer, shard).await;
            deleted.inspect_err(|error| tracing::debug!(%peer, %shard, %error, "a deletion waits for its consumer"))
        };
        let (done, is_reachable) = delete_some(shards, delete).await;
        (peer, done, is_reachable)
    }

    /// Tries some of the incomplete chunks, from `at` on: those that cannot be completed must not be all that is tried.
    async fn complete_chunks(self: &Arc<Self>, chunks: &mut Backoff<ChunkId>, at: &mut Vec<u8>) -> Result<(), Error> {
        let (mut taken, mut done, mut looked_at) = (0, 0, 0);
        let begin = at.clone();
        let mut is_second_part = begin.is_empty();
        'pages: loop {
            let page = self.queued(Table::Incomplete, at.clone(), QUEUE_PAGE).await?;
            for (key, _) in &page {
                if taken >= CHUNKS_PER_PASS
                    || looked_at >= LOOKS_PER_PASS
                    || (is_second_part && !begin.is_empty() && *key >= begin)
                {
                    break 'pages;
                }
                *at = increment(key).unwrap_or_default();
                let id = ChunkId(key.as_slice().try_into().map_err(|_| Error::Stale)?);
                if self.is_announced(id) || !chunks.may_try(&id) {
                    continue;
                }
                looked_at += 1;
                if !self.is_hopeful(id)? {
                    chunks.failed(id);
                    continue;
                }
                taken += 1;
                match self.complete_chunk(id).await {
                    Ok(()) => {
                        chunks.succeeded(&id);
                        done += 1;
                    }
                    Err(error) => {
                        tracing::debug!(chunk = %id, %error, "a chunk stays incomplete");
                        chunks.failed(id);
                    }
                }
            }
            if page.len() < QUEUE_PAGE {
                at.clear();
                if is_second_part {
                    break;
                }
                is_second_part = true;
            }
        }
        if taken == CHUNKS_PER_PASS && done > 0 {
            self.wake_tenders();
        }
        Ok(())
    }

    /// Whether one of the shards that a chunk lacks may be had: what cannot be placed need not be fetched. One that is suspected
    /// may be sound.
    fn is_hopeful(&self, id: ChunkId) -> Result<bool, Error> {
        let Some(chunk) = self.chunk(id)? else { return Ok(true) };
        let bytes = chunk.layout.shard_len as usize;
        let missing = chunk.placements.iter().enumerate().filter(|(_, placement)| placement.health != Health::Held);
        for (index, placement) in missing {
            let mut others: Vec<PeerId> = holders(&chunk.placements, index).collect();
            if placement.health == Health::Suspect {
                return Ok(true);
            }
            if self.dispatcher.has_place(bytes, &others) {
                others.extend(self.deleters(chunk.roots[index])?);
                if self.dispatcher.has_place(bytes, &others) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Rebuilds the shards that are missing from k good ones and places them.
    async fn complete_chunk(self: &Arc<Self>, id: ChunkId) -> Result<(), Error> {
        let Some(chunk) = self.chunk(id)? else { return Ok(()) };
        let missing: Vec<usize> =
            (0..chunk.roots.len()).filter(|index| chunk.placements[*index].health != Health::Held).collect();
        let rebuilt = {
            let suspects = |found: &[usize]| self.note_suspects(&chunk, found);
            self.dispatcher.rebuild(chunk.shards(&suspects), &missing).await?
        };
        let announced = self.announce(id);
        let announcer = announced.announcer();
        let mut placements = chunk.placements.clone();
        let (mut failure, mut surplus) = (None, Vec::new());
        for (index, data) in missing.into_iter().zip(rebuilt.shards) {
            let shard = chunk.roots[index];
            let deleters = self.deleters(shard)?;
            let holder = placements[index].consumer.filter(|consumer| !deleters.contains(consumer));
            if let Some(consumer) = holder.filter(|_| rebuilt.sound.contains(&index)) {
                // Its consumer has it after all.
                placements[index] = Placement::held(consumer);
                continue;
            }
            let mut others: Vec<PeerId> = holders(&placements, index).collect();
            others.extend(deleters);
            if let (Health::Suspect, Some(consumer)) = (placements[index].health, placements[index].consumer) {
                // A bad copy must not be taken for the good one. Who is away may be so for ever: another takes its place.
                if let Err(error) = self.dispatcher.delete(consumer, shard).await {
                    tracing::debug!(peer = %consumer, %shard, %error, "a bad shard is deleted later");
                    others.push(consumer);
                    surplus.push((consumer, shard));
                }
            }
            match self.dispatcher.place(shard, data, &others, &announcer).await {
                Ok(consumer) => {
                    failpoint("shard-placed");
                    placements[index] = Placement::held(consumer);
                }
                Err(error) => failure = Some(error),
            }
        }
        let inner = Arc::clone(self);
        let update = move || {
            let _until_recorded = (announced, announcer);
            inner.update_placements(&chunk, placements, &surplus)
        };
        blocking(update).await?;
        self.note_change();
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Consumers that are to delete this shard and have not confirmed it. They do not get it again until then: what they
    /// were told may reach them late.
    fn deleters(&self, shard: ShardId) -> Result<Vec<PeerId>, Error> {
        let mut deleters = Vec::new();
        for consumer in self.dispatcher.known().into_iter().map(|candidate| candidate.contact.peer) {
            if self.database.get(Table::Delete, &[consumer.as_bytes(), shard.as_bytes()])?.is_some() {
                deleters.push(consumer);
            }
        }
        Ok(deleters)
    }

    /// Shards of this chunk, as its record was then, were found bad or absent.
    pub fn note_suspects(&self, read: &Chunk, suspects: &[usize]) {
        let id = read.layout.chunk;
        let note = || -> Result<(), Error> {
            let accounts = self.lock_accounts();
            let Some(mut chunk) = self.chunk(id)? else { return Ok(()) };
            let before = chunk.placements.clone();
            for index in suspects {
                // One that was placed anew meanwhile is not meant.
                let asked = read.placements.get(*index).and_then(|placement| placement.consumer);
                let placement = chunk.placements.get_mut(*index);
                if let Some(placement) = placement.filter(|placement| placement.consumer == asked) {
                    placement.health = Health::Suspect;
                }
            }
            if chunk.placements == before {
                return Ok(());
            }
            tracing::warn!(chunk = %id, shards = ?suspects, "shards are bad or absent");
            let mut batch = Batch::new();
            self.put_chunk(&chunk, &mut batch)?;
            self.database.commit(batch)?;
            drop(accounts);
            Ok(())
        };
        if let Err(error) = note() {
            tracing::warn!(chunk = %id, %error, "cannot note a bad shard");
        }
        self.note_change();
    }
}

/// Deletes shards one after the other until their consumer does not answer or has had its time. Returns those that are
/// deleted, and whether it answered and refused none.
async fn delete_some<F>(shards: Vec<ShardId>, delete: impl Fn(ShardId) -> F) -> (Vec<ShardId>, bool)
where
    F: Future<Output = Result<(), dispatch::Error>>,
{
    let (mut done, mut is_reachable, end) = (Vec::new(), true, Instant::now() + DELETES_TIME);
    for shard in shards {
        if Instant::now() >= end {
            break;
        }
        match delete(shard).await {
            Ok(()) => {
                failpoint("shard-deleted");
                done.push(shard);
            }
            Err(error) => {
                is_reachable = false;
                // Who refuses one may do the next.
                if error.kind() == ErrorKind::Unavailable {
                    break;
                }
            }
        }
    }
    (done, is_reachable)
}

/// Who holds the other shards of a chunk.
fn holders(placements: &[Placement], except: usize) -> impl Iterator<Item = PeerId> {
    placements.iter().enumerate().filter(move |(index, _)| *index != except).filter_map(|(_, p)| p.consumer)
}

fn split(key: &[u8]) -> Result<(PeerId, ShardId), Error> {
    match (key.get(..32), key.get(32..)) {
        (Some(peer), Some(shard)) if shard.len() == 32 => {
            Ok((PeerId(peer.try_into().expect("32 bytes")), ShardId(shard.try_into().expect("32 bytes"))))
        }
        _ => Err(Error::Stale),
    }
}

/// The least key after all that begin with this one.
fn increment(key: &[u8]) -> Option<Vec<u8>> {
    let last = key.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut next = key[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{fsck::chunk, promises::open},
        *,
    };
    use crate::runtime::OneThread;

    #[tokio::test(start_paused = true)]
    async fn chunks_that_cannot_be_completed_do_not_keep_the_others_from_being_tried() {
        let _alone = OneThread::enter();
        let directory = tempfile::tempdir().expect("made");
        let bucket = open(directory.path());
        let inner = &bucket.inner;
        inner.tasks.shutdown().start();
        let passes = 3;
        let mut batch = Batch::new();
        for number in 1..=(passes * CHUNKS_PER_PASS) as u8 {
            let mut lacking = chunk(number.into());
            lacking.placements[0].health = Health::Suspect;
            inner.put_chunk(&lacking, &mut batch).expect("readable");
        }
        inner.database.commit(batch).expect("committed");
        let (mut chunks, mut at) = (Backoff::default(), Vec::new());
        for pass in 1..=passes {
            inner.complete_chunks(&mut chunks, &mut at).await.expect("readable");
            assert_eq!(chunks.waits.len(), pass * CHUNKS_PER_PASS);
            // Those that were tried are due again.
            tokio::time::sleep(limits::RETRY_MAX).await; // virtual time
        }
        let failures = |chunks: &Backoff<ChunkId>| chunks.waits.values().map(|(_, failures)| *failures).max();
        assert_eq!(failures(&chunks), Some(1));
        for _ in 0..passes {
            inner.complete_chunks(&mut chunks, &mut at).await.expect("readable");
        }
        assert_eq!(failures(&chunks), Some(2), "and from the beginning again");
        assert_eq!(chunks.waits.len(), passes * CHUNKS_PER_PASS);
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_for_which_there_is_no_place_are_passed_over() {
        let _alone = OneThread::enter();
        let directory = tempfile::tempdir().expect("made");
        let bucket = open(directory.path());
        let inner = &bucket.inner;
        inner.tasks.shutdown().start();
        let mut batch = Batch::new();
        for number in 0..2 * CHUNKS_PER_PASS as u64 {
            let mut lacking = chunk(number);
            lacking.placements[0] = Placement::missing();
            inner.put_chunk(&lacking, &mut batch).expect("readable");
        }
        inner.database.commit(batch).expect("committed");
        let (mut chunks, begun) = (Backoff::default(), Instant::now());
        inner.complete_chunks(&mut chunks, &mut Vec::new()).await.expect("readable");
        assert_eq!((chunks.waits.len(), begun.elapsed()), (2 * CHUNKS_PER_PASS, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_long_to_delete_does_not_keep_the_others_waiting() {
        let shards = || (0..100).map(|number| ShardId([number; 32])).collect::<Vec<_>>();
        let begun = Instant::now();
        let slow = |_| async {
            tokio::time::sleep(limits::REQUEST_TIMEOUT - Duration::from_secs(1)).await; // virtual time
            Ok(())
        };
        assert_eq!(delete_some(shards(), slow).await, (shards()[..1].to_vec(), true));
        assert!(begun.elapsed() <= DELETES_TIME + limits::REQUEST_TIMEOUT);
        let quick = |_| async { Ok(()) };
        assert_eq!(delete_some(shards(), quick).await, (shards(), true));
        let refused = |shard: ShardId| async move {
            if shard.0[0] == 7 { Err(dispatch::Error::Invalid("as told".to_owned())) } else { Ok(()) }
        };
        let (done, is_reachable) = delete_some(shards(), refused).await;
        assert_eq!((done.len(), is_reachable), (99, false));
        let away = |_| async { Err(dispatch::Error::Resting(PeerId([1; 32]))) };
        assert_eq!(delete_some(shards(), away).await, (Vec::new(), false));
    }
}
