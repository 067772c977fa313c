//! Placements against what consumers list.
//!
//! A shard's id is new with its chunk's id and never comes back. It is announced for a consumer (`Attempt`) before it
//! leaves, then belongs to a chunk, then is queued for deletion; each step of that is one batch. So a shard on a consumer
//! that is found in none of the three, looked for in this order, is known to nobody; unless it was deleted since it was
//! listed, or a repair has come between: hence the second look.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures::StreamExt;

use super::{Check, Finding, FsckKind, FsckProblem, Mend};
use crate::{
    base::{ChunkId, PeerId, Record, ShardId, limits},
    bucket::{
        Error, Inner,
        attempts::split_attempt,
        commit::blocking,
        records::{Attempt, Chunk},
    },
    dispatch::{self, Dispatcher, Health},
    store::{Batch, Table},
};

/// A part of all shard ids: those whose first bytes are in here, the end included.
#[derive(Clone, Copy)]
struct Window {
    first: u64,
    last: u64,
}

/// A shard that a consumer confirmed.
#[derive(Clone, Copy)]
struct Held {
    chunk: ChunkId,
    index: usize,
    bytes: u32,
}

type Expected = BTreeMap<PeerId, HashMap<ShardId, Held>>;
type Listed = BTreeMap<ShardId, u32>;

impl Window {
    /// All ids in so many parts.
    fn parts(count: u64) -> impl Iterator<Item = Self> {
        let step = u64::MAX / count;
        (0..count).map(move |part| Self {
            first: part * step,
            last: if part + 1 == count { u64::MAX } else { (part + 1) * step - 1 },
        })
    }

    fn has(&self, shard: &ShardId) -> bool {
        (self.first..=self.last).contains(&prefix(shard))
    }

    /// The greatest id before it.
    fn before(&self) -> Option<ShardId> {
        let before = self.first.checked_sub(1)?;
        let mut id = [u8::MAX; 32];
        id[..8].copy_from_slice(&before.to_be_bytes());
        Some(ShardId(id))
    }
}

fn prefix(shard: &ShardId) -> u64 {
    u64::from_be_bytes(shard.as_bytes()[..8].try_into().expect("32 bytes have eight"))
}

impl Inner {
    /// Calls `visit` for each chunk that can be read; returns how many cannot.
    fn each_chunk(&self, mut visit: impl FnMut(Chunk)) -> Result<u64, Error> {
        let (mut from, mut unreadable) = (Vec::new(), 0);
        loop {
            if self.tasks.shutdown().is_started() {
                return Err(Error::Closed);
            }
            let page = self.database.scan(Table::Chunk, b"", &from, limits::FSCK_PAGE)?;
            for (_, value) in &page {
                Chunk::decode(value).map_or_else(|_| unreadable += 1, &mut visit);
            }
            match page.last() {
                Some((last, _)) if page.len() == limits::FSCK_PAGE => from = [&last[..], &[0]].concat(),
                _ => return Ok(unreadable),
            }
        }
    }

    fn expected(&self, window: Window) -> Result<Expected, Error> {
        let mut expected: Expected = BTreeMap::new();
        for candidate in self.dispatcher.known() {
            expected.insert(candidate.contact.peer, HashMap::new());
        }
        self.each_chunk(|chunk| {
            for (index, (placement, root)) in chunk.placements.iter().zip(&chunk.roots).enumerate() {
                if let (Some(consumer), Health::Held) = (placement.consumer, placement.health)
                    && window.has(root)
                {
                    let held = Held { chunk: chunk.layout.chunk, index, bytes: chunk.layout.shard_len };
                    expected.entry(consumer).or_default().insert(*root, held);
                }
            }
        })?;
        Ok(expected)
    }

    /// Takes out of these shards on consumers what this bucket knows of, in the order of a shard's life: all of them when it
    /// cannot read all that it knows.
    fn drop_known(&self, unknown: &mut HashSet<(PeerId, ShardId)>) -> Result<(), Error> {
        let (mut earlier, mut unreadable) = (HashSet::new(), 0);
        for (key, value) in self.database.scan(Table::Attempt, b"", b"", usize::MAX)? {
            match key.get(32..).and_then(split_attempt) {
                Some(announced) => drop(unknown.remove(&announced)),
                None => match Attempt::decode(&value) {
                    Ok(attempt) => earlier.extend(attempt.roots),
                    Err(_) => unreadable += 1,
                },
            }
        }
        unknown.retain(|(_, shard)| !earlier.contains(shard));
        unreadable += self.each_chunk(|chunk| {
            for (placement, root) in chunk.placements.iter().zip(&chunk.roots) {
                placement.consumer.map(|consumer| unknown.remove(&(consumer, *root)));
            }
        })?;
        if unreadable > 0 {
            unknown.clear();
        }
        let mut left = HashSet::new();
        for (consumer, shard) in unknown.drain() {
            if self.database.get(Table::Delete, &[consumer.as_bytes(), shard.as_bytes()])?.is_none() {
                left.insert((consumer, shard));
            }
        }
        *unknown = left;
        Ok(())
    }
}

/// What a consumer has of a part of the ids, of which it is to have so many. A list that goes on long after these is not
/// believed.
async fn list(
    dispatcher: &Dispatcher,
    consumer: PeerId,
    window: Window,
    expected: usize,
) -> Result<Listed, dispatch::Error> {
    let mut listed = Listed::new();
    let mut after = window.before();
    let most = expected.saturating_mul(2).saturating_add(limits::FSCK_UNKNOWN_SHARDS);
    let end = tokio::time::Instant::now() + limits::FSCK_LIST_TIME;
    loop {
        if listed.len() > most || tokio::time::Instant::now() >= end {
            let why =
                format!("it lists far more shards than the {expected} that are to be there, or takes too long for it");
            return Err(dispatch::Error::Invalid(why));
        }
        let page = dispatcher.list_page(consumer, after).await?;
        after = page.shards.last().map(|stat| stat.shard);
        let is_last = page.is_last || after.is_none_or(|last| !window.has(&last));
        listed.extend(page.shards.iter().filter(|it| window.has(&it.shard)).map(|it| (it.shard, it.bytes)));
        if is_last {
            return Ok(listed);
        }
    }
}

impl Check {
    /// Compares all placements with what consumers list, a part of the ids at a time.
    pub(super) async fn check_consumers(mut self) -> Result<Self, Error> {
        let mut silent = BTreeSet::new();
        let parts = self.report.shards.div_ceil(limits::FSCK_SHARDS).max(1);
        for (done, window) in Window::parts(parts).enumerate() {
            self.go_on("shards on consumers", done as u64 * limits::FSCK_SHARDS)?;
            let inner = self.inner.clone();
            let expected = blocking(move || inner.expected(window)).await?;
            let asked: Vec<PeerId> = expected.keys().filter(|peer| !silent.contains(*peer)).copied().collect();
            let dispatcher = self.inner.dispatcher.clone();
            let lists = asked.into_iter().map(|peer| {
                let (dispatcher, most) = (&dispatcher, expected[&peer].len());
                async move { (peer, list(dispatcher, peer, window, most).await) }
            });
            let mut lists = futures::stream::iter(lists).buffer_unordered(limits::FSCK_CONSUMERS);
            let (mut absent, mut unknown) = (Vec::new(), HashSet::new());
            while let Some((peer, listed)) = lists.next().await {
                self.go_on("shards on consumers", done as u64 * limits::FSCK_SHARDS)?;
                match listed {
                    Ok(listed) => {
                        let held = &expected[&peer];
                        let is_there = |it: &(&ShardId, &Held)| listed.get(it.0) == Some(&it.1.bytes);
                        absent.extend(held.iter().filter(|it| !is_there(it)).map(|it| (peer, *it.0, *it.1)));
                        unknown.extend(listed.keys().filter(|it| !held.contains_key(*it)).map(|it| (peer, *it)));
                    }
                    Err(error) => {
                        silent.insert(peer);
                        self.report.silent_consumers.push(format!("{peer}: {error}"));
                    }
                }
            }
            drop(lists);
            self.judge_absent(absent).await?;
            if self.options.unknown_shards_unjudged.is_none() {
                self = self.judge_unknown(unknown).await?;
            }
        }
        Ok(self)
    }

    /// Shards that were not listed: asked for one by one, if they still are to be there.
    async fn judge_absent(&mut self, absent: Vec<(PeerId, ShardId, Held)>) -> Result<(), Error> {
        for (consumer, shard, held) in absent {
            self.go_on("shards on consumers", self.report.shards)?;
            let found = self.inner.dispatcher.stat(consumer, shard).await;
            // A damaged one is told where the chunks are looked at.
            let Some(bytes) = self.inner.database.get(Table::Chunk, &[held.chunk.as_bytes()])? else { continue };
            let Ok(chunk) = Chunk::decode(&bytes) else { continue };
            let is_meant = chunk
                .placements
                .get(held.index)
                .is_some_and(|placement| placement.consumer == Some(consumer) && placement.health == Health::Held);
            let why = match found {
                Ok(Some(bytes)) if bytes == held.bytes => continue,
                Ok(Some(bytes)) => format!("consumer {consumer} has {bytes} bytes of it instead of {}", held.bytes),
                Ok(None) => format!("consumer {consumer} does not have it"),
                Err(_) => continue,
            };
            if !is_meant {
                continue;
            }
            if self.options.is_repair {
                // From there on the tender rebuilds it.
                self.inner.note_suspects(&chunk, &[held.index]);
            }
            let what = format!("shard {shard} of chunk {}", held.chunk);
            self.push(FsckProblem { kind: FsckKind::AbsentShard, what, why, repaired: self.options.is_repair });
        }
        Ok(())
    }

    /// Shards that were listed and are not in a placement.
    async fn judge_unknown(mut self, unknown: HashSet<(PeerId, ShardId)>) -> Result<Self, Error> {
        let mut unknown = unknown;
        for look in 0..2 {
            let inner = self.inner.clone();
            unknown = blocking(move || inner.drop_known(&mut unknown).map(|()| unknown)).await?;
            if unknown.is_empty() {
                return Ok(self);
            }
            if look == 0 {
                tokio::time::sleep(limits::FSCK_SECOND_LOOK).await;
            }
        }
        for (consumer, shard) in unknown {
            self.go_on("shards on consumers", self.report.shards)?;
            let Ok(Some(bytes)) = self.inner.dispatcher.stat(consumer, shard).await else { continue };
            let mend = if self.options.deletes_unknown_shards {
                let mut batch = Batch::new();
                batch.put(Table::Delete, &[consumer.as_bytes(), shard.as_bytes()], Vec::new());
                Mend::Batch(batch)
            } else {
                Mend::Nothing
            };
            let (what, why) = (
                format!("shard {shard} on consumer {consumer}"),
                format!("{bytes} bytes that this bucket does not know"),
            );
            self =
                self.blocking(move |check| check.note(Finding::new(FsckKind::UnknownShard, what, why, mend))).await?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::promises::open;

    #[tokio::test]
    async fn what_a_record_may_know_that_cannot_be_read_is_not_judged() {
        let directory = tempfile::tempdir().expect("made");
        let bucket = open(directory.path());
        let inner = &*bucket.inner;
        let shard = (PeerId([1; 32]), ShardId([2; 32]));
        let unknown = || {
            let mut unknown = HashSet::from([shard]);
            inner.drop_known(&mut unknown).expect("readable");
            unknown
        };
        assert_eq!(unknown(), HashSet::from([shard]));
        for (table, key) in [(Table::Chunk, &[8; 32]), (Table::Attempt, &[9; 32])] {
            let mut batch = Batch::new();
            batch.put(table, &[key], b"of a later release".to_vec());
            inner.database.commit(batch).expect("committed");
            assert_eq!(unknown(), HashSet::new());
            let mut batch = Batch::new();
            batch.delete(table, &[key]);
            inner.database.commit(batch).expect("committed");
            assert_eq!(unknown(), HashSet::from([shard]));
        }
    }
}
