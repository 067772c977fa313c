//! Collecting: the ranges that are needed, from the shards that hold them or from k others, verified, in time.
//!
//! What comes is verified as a whole first, by whoever knows it: the seal of the blocks, or the root of a shard that was
//! computed. Only when that fails, proofs are asked for, and what had come without is compared with what was proven then: who
//! had sent something else is a suspect. A consumer that lies costs time, and one that does not costs no hashing.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::Instant;

use super::{
    Dispatcher, Error, Health, Placement,
    counters::count,
    dispatcher::Inner,
    fetch::{Fetch, Fetched, is_damage},
    sources::{Flight, Piece, Source, State, Want, covers},
};
use crate::{
    base::{
        ShardId,
        limits::{self, LEAF_BYTES},
    },
    coding::{self, Layout, leaf_range, merkle, reconstruct_range},
    net,
};

/// The shards of one chunk: what they are, where they lie, and who is told of bad ones.
#[derive(Clone, Copy)]
pub struct Shards<'a> {
    pub layout: &'a Layout,
    /// The root of each shard.
    pub roots: &'a [ShardId],
    /// Where each shard is.
    pub placements: &'a [Placement],
    /// Told once of the shards, if any, that their consumers do not have any more or sent wrong bytes of: whether what
    /// was asked for could be had or not, and also when it is waited for no longer.
    pub suspects: &'a (dyn Fn(&[usize]) + Sync),
}

/// Shards that were asked for whole.
#[derive(Clone, Debug)]
pub struct Rebuilt {
    /// Their bytes, in the order asked for.
    pub shards: Vec<Bytes>,
    /// Those of them that were not computed: their own consumers, suspected before, have them whole and right.
    pub sound: Vec<usize>,
}

impl Dispatcher {
    /// Fetches the bytes of `layout.sealed_range(blocks)` and opens them: from the data shards that hold them, and where one
    /// is away, bad or slow, the same range from k others. They come in the pieces that the shards have of them, in their
    /// order. What `open` refuses was not what was sealed: it is asked for again with proofs. May be dropped.
    ///
    /// # Errors
    /// [`Error::Unreadable`] when fewer than k shards could be had within the read timeout;
    /// [`Error::Invalid`] and [`Error::Coding`] when the arguments do not fit each other, or `open` refuses also what was
    /// proven.
    pub async fn gather_blocks<T: Send + 'static>(
        &self,
        shards: Shards<'_>,
        blocks: Range<usize>,
        open: impl Fn(Vec<Bytes>) -> Result<T, coding::Error> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let layout = shards.layout;
        if blocks.start >= blocks.end || blocks.end > layout.blocks.len() {
            return Err(Error::Invalid(format!("blocks {blocks:?} of a chunk of {}", layout.blocks.len())));
        }
        layout.validate()?;
        let slices = layout.slices(layout.sealed_range(blocks));
        let wants = slices.iter().map(|slice| Want::new(slice.shard_index, leaf_range(slice.range.clone()))).collect();
        let ranges = slices.into_iter().map(|slice| {
            let start = slice.range.start as usize / LEAF_BYTES * LEAF_BYTES;
            slice.range.start as usize - start..slice.range.end as usize - start
        });
        let ranges: Vec<Range<usize>> = ranges.collect();
        let open = move |pieces: Vec<Bytes>| {
            open(pieces.into_iter().zip(&ranges).map(|(piece, range)| piece.slice(range.clone())).collect())
        };
        Gather::new(&self.inner, shards)?.collect(wants, open).await
    }

    /// Computes whole shards from any k others, and checks them against their roots. Where there are fewer
    /// than k, suspected ones are asked for again, those that are missing among them. May be dropped.
    ///
    /// # Errors
    /// As [`gather_blocks`](Self::gather_blocks); a shard that does not match its root after all is
    /// [`Error::Coding`]: the recorded roots are not those of one chunk.
    pub async fn rebuild(&self, shards: Shards<'_>, missing: &[usize]) -> Result<Rebuilt, Error> {
        let Shards { layout, roots, placements, .. } = shards;
        layout.validate()?;
        let mut gather = Gather::new(&self.inner, shards)?;
        if let Some(index) = missing.iter().find(|index| **index >= roots.len()) {
            return Err(Error::Invalid(format!("shard {index} of a chunk of {}", roots.len())));
        }
        for index in missing.iter().filter(|index| placements[**index].health != Health::Suspect) {
            gather.sources[*index].state = State::Absent;
        }
        let leaves = merkle::leaf_count(layout.shard_len as usize);
        let wants = missing.iter().map(|index| Want::new(*index, 0..leaves)).collect();
        let expected: Vec<ShardId> = missing.iter().map(|index| roots[*index]).collect();
        let check = move |shards: Vec<Bytes>| match shards
            .iter()
            .zip(&expected)
            .find(|(shard, root)| merkle::root(shard) != **root)
        {
            None => Ok(shards),
            Some((_, root)) => {
                let why = "the shard computed from k verified others is another one";
                Err(coding::Error::Proof { shard: root.to_string(), why })
            }
        };
        let shards = gather.collect(wants, check).await?;
        let has_own = |index: &usize| gather.sources[*index].piece(&(0..leaves)).is_some();
        let sound = missing.iter().copied().filter(has_own).collect();
        Ok(Rebuilt { shards, sound })
    }
}

/// One collection.
struct Gather<'a> {
    inner: &'a Inner,
    layout: &'a Layout,
    roots: &'a [ShardId],
    suspects: &'a (dyn Fn(&[usize]) + Sync),
    sources: Vec<Source>,
    wants: Vec<Want>,
    requests: FuturesUnordered<BoxFuture<'a, Fetched>>,
    flights: Vec<Flight>,
    /// Bytes that may still be asked for only because somebody is slow.
    hedge_bytes: usize,
    /// Proofs are asked for.
    is_proven: bool,
    /// What came before they were, of shards by their index.
    doubted: Vec<(usize, Piece)>,
    why: Option<String>,
}

impl<'a> Gather<'a> {
    fn new(inner: &'a Inner, shards: Shards<'a>) -> Result<Self, Error> {
        let Shards { layout, roots, placements, suspects } = shards;
        let n = layout.scheme.n();
        if roots.len() != n || placements.len() != n {
            let (roots, placements) = (roots.len(), placements.len());
            return Err(Error::Invalid(format!("{roots} roots and {placements} placements for a chunk of {n} shards")));
        }
        let source = |placement: &Placement| Source {
            consumer: placement.consumer,
            state: match (placement.consumer, placement.health) {
                (None, _) | (_, Health::Missing) => State::Absent,
                _ => State::Ready,
            },
            // A shard that was bad before is only asked for again when there are too few others.
            is_last_choice: placement.health == Health::Suspect
                || placement.consumer.is_some_and(|peer| inner.directory.is_last_choice(peer)),
            pieces: Vec::new(),
        };
        let sources = placements.iter().map(source).collect();
        Ok(Self {
            inner,
            layout,
            roots,
            suspects,
            sources,
            wants: Vec::new(),
            requests: FuturesUnordered::new(),
            flights: Vec::new(),
            hedge_bytes: 0,
            is_proven: false,
            doubted: Vec::new(),
            why: None,
        })
    }

    /// What `check` makes of the bytes of the wants, within the read timeout. When it refuses them, it is asked for once more
    /// with what was proven.
    async fn collect<T: Send + 'static>(
        &mut self,
        wants: Vec<Want>,
        check: impl Fn(Vec<Bytes>) -> Result<T, coding::Error> + Clone + Send + 'static,
    ) -> Result<T, Error> {
        let total: usize = wants.iter().map(Want::bytes).sum();
        let largest = wants.iter().map(Want::bytes).max().unwrap_or(0);
        self.wants = wants;
        let timeout = self.inner.options.read_timeout;
        let deadline = Instant::now() + timeout;
        loop {
            self.hedge_bytes = total.max(self.layout.scheme.k() * largest);
            let is_complete = match tokio::time::timeout_at(deadline, self.fetch_all()).await {
                Ok(is_complete) => is_complete,
                Err(_) => {
                    self.why = Some(format!("no answer within {} s", timeout.as_secs_f32()));
                    false
                }
            };
            self.leave_losers();
            if !is_complete {
                self.judge().await;
                return Err(self.unreadable());
            }
            let (assembled, check) = (self.assemble().await?, check.clone());
            match self.inner.pool.run_over(total, move || check(assembled)).await {
                Err(_) if self.doubt().await => {}
                checked => {
                    self.judge().await;
                    return Ok(checked?);
                }
            }
        }
    }

    /// Requests under way are dropped with their streams.
    fn leave_losers(&mut self) {
        self.requests.clear();
        let late = self.flights.drain(..).filter(|flight| flight.is_slow).count();
        count(&self.inner.counting.late, late);
    }

    /// What came does not hold, so that proofs are asked for from now on. Whole shards prove themselves. False when they were
    /// asked for already.
    async fn doubt(&mut self) -> bool {
        if std::mem::replace(&mut self.is_proven, true) {
            return false;
        }
        let all = 0..merkle::leaf_count(self.layout.shard_len as usize);
        for (index, root) in self.roots.iter().enumerate() {
            for piece in std::mem::take(&mut self.sources[index].pieces) {
                let (bytes, root) = (piece.bytes.clone(), *root);
                if piece.leaves != all {
                    self.doubted.push((index, piece));
                } else if self.inner.pool.run(move || merkle::root(&bytes) == root).await {
                    self.sources[index].pieces.push(piece);
                } else {
                    self.lied(index);
                }
            }
        }
        true
    }

    /// Finds out whose doubted bytes were wrong, from what was proven since.
    async fn judge(&mut self) {
        for (index, piece) in std::mem::take(&mut self.doubted) {
            let want = Want { index, leaves: piece.leaves };
            if self.is_had(&want) && self.had(&want).await.is_ok_and(|bytes| bytes != piece.bytes) {
                self.lied(index);
            }
        }
    }

    fn lied(&mut self, index: usize) {
        let Some(peer) = self.sources[index].consumer else { return };
        let error =
            net::Error::Misbehaved { peer, why: format!("its bytes are not those of shard {}", self.roots[index]) };
        self.inner.counting.failed(&error);
        self.fail(index, &error);
    }

    fn unreadable(&self) -> Error {
        let have = self.wants.iter().filter(|want| !self.is_had(want)).map(|want| self.had_pieces(want)).min();
        Error::Unreadable {
            chunk: self.layout.chunk,
            have: have.unwrap_or(0),
            need: self.layout.scheme.k(),
            why: self.why.clone().unwrap_or_else(|| "its shards are placed nowhere".to_owned()),
        }
    }

    /// Asks until every want is had; false when nobody is left to ask.
    async fn fetch_all(&mut self) -> bool {
        let mut round = 1;
        loop {
            self.plan();
            if self.wants.iter().all(|want| self.is_had(want)) {
                return true;
            }
            if self.flights.is_empty() {
                let is_hopeful = self.sources.iter().any(|source| source.state == State::Failed);
                if !is_hopeful || round >= limits::GATHER_ROUNDS {
                    return false;
                }
                tokio::time::sleep(limits::GATHER_PAUSE * 2u32.pow(round - 1)).await;
                round += 1;
                self.revive();
                continue;
            }
            let slow_at = self.flights.iter().filter_map(Flight::next_look).min();
            tokio::select! {
                biased;
                Some(fetched) = self.requests.next() => self.land(fetched),
                () = tokio::time::sleep_until(slow_at.unwrap_or_else(Instant::now)), if slow_at.is_some() => {
                    self.mark_slow();
                }
            }
        }
    }

    fn revive(&mut self) {
        for source in self.sources.iter_mut().filter(|source| source.state == State::Failed) {
            source.state = State::Ready;
        }
    }

    fn mark_slow(&mut self) {
        let now = Instant::now();
        for flight in self.flights.iter_mut().filter(|flight| flight.next_look().is_some_and(|look| look <= now)) {
            flight.is_stalled = flight.is_slow;
            flight.is_slow = true;
            if let Some(peer) = self.sources[flight.index].consumer {
                self.inner.directory.lag(peer);
            }
        }
    }

    fn land(&mut self, fetched: Fetched) {
        let Fetched { index, leaves, result } = fetched;
        self.flights.retain(|flight| !(flight.index == index && flight.leaves == leaves));
        match result {
            Ok(bytes) => self.sources[index].pieces.push(Piece { leaves, bytes }),
            Err(error) => self.fail(index, &error),
        }
    }

    fn fail(&mut self, index: usize, error: &net::Error) {
        self.sources[index].state = if is_damage(error) { State::Damaged } else { State::Failed };
        if is_damage(error) {
            let (shard, chunk) = (self.roots[index], self.layout.chunk);
            tracing::warn!(op = "gather", %chunk, %shard, %error, "a bad shard; reading from others");
        }
        self.why = Some(error.to_string());
    }

    fn had_pieces(&self, want: &Want) -> usize {
        self.sources.iter().filter(|source| source.piece(&want.leaves).is_some()).count()
    }

    fn is_had(&self, want: &Want) -> bool {
        self.sources[want.index].piece(&want.leaves).is_some() || self.had_pieces(want) >= self.layout.scheme.k()
    }

    fn flight(&self, index: usize, leaves: &Range<u32>) -> Option<&Flight> {
        self.flights.iter().find(|flight| flight.index == index && covers(&flight.leaves, leaves))
    }

    fn is_coming(&self, index: usize, leaves: &Range<u32>) -> bool {
        self.flight(index, leaves).is_some_and(|flight| !flight.is_slow)
    }

    /// Sends whatever requests the wants need beyond those under way.
    fn plan(&mut self) {
        for want in self.wants.clone() {
            if !self.is_had(&want) && !self.is_coming(want.index, &want.leaves) {
                self.plan_want(&want);
            }
        }
    }

    fn plan_want(&mut self, want: &Want) {
        let k = self.layout.scheme.k();
        let direct = &self.sources[want.index];
        let can_ask_direct = direct.state == State::Ready && self.flight(want.index, &want.leaves).is_none();
        let others: Vec<usize> = (0..self.sources.len()).filter(|index| *index != want.index).collect();
        let settled = |index: &&usize| {
            self.sources[**index].piece(&want.leaves).is_some() || self.is_coming(**index, &want.leaves)
        };
        let count = others.iter().filter(settled).count();
        let mut spares: Vec<(bool, Duration, usize)> = others
            .iter()
            .filter(|index| !settled(index) && self.flight(**index, &want.leaves).is_none())
            .map(|index| (*index, &self.sources[*index]))
            .filter(|(_, source)| source.state == State::Ready)
            .map(|(index, source)| (source.is_last_choice, self.latency(source), index))
            .collect();
        let good = spares.iter().filter(|spare| !spare.0).count();
        if can_ask_direct && (!direct.is_last_choice || count + good < k) {
            self.launch(want.index, want.leaves.clone());
            return;
        }
        if count + spares.len() < k {
            return;
        }
        let is_hedge = self
            .flights
            .iter()
            .any(|flight| flight.is_slow && !flight.is_stalled && covers(&flight.leaves, &want.leaves));
        if is_hedge && count < k {
            let extra = (k - count) * want.bytes();
            if extra > self.hedge_bytes {
                return;
            }
            self.hedge_bytes -= extra;
            count_hedge(self.inner);
        }
        spares.sort_unstable();
        for (_, _, index) in spares.into_iter().take(k.saturating_sub(count)) {
            self.launch(index, want.leaves.clone());
        }
    }

    /// What the consumer usually takes to answer; unknown ones count as quick, so that they become known.
    fn latency(&self, source: &Source) -> Duration {
        source.consumer.and_then(|peer| self.inner.client.latency(peer)).unwrap_or_default()
    }

    fn launch(&mut self, index: usize, leaves: Range<u32>) {
        let consumer = self.sources[index].consumer.expect("a ready source has a consumer");
        let shard_len = self.layout.shard_len;
        let (shard, is_proven) = (self.roots[index], self.is_proven);
        let fetch = Fetch { index, consumer, shard, shard_len, leaves: leaves.clone(), is_proven };
        let usual = self.inner.pace.lock().expect(fetch.bytes());
        let patience = usual.map_or(limits::HEDGE_CEILING, |usual| usual * 3 + limits::HEDGE_FLOOR);
        let slow_at = Instant::now() + patience.min(limits::HEDGE_CEILING);
        self.flights.push(Flight { index, leaves, slow_at, is_slow: false, is_stalled: false });
        self.requests.push(Box::pin(fetch.run(self.inner)));
    }

    /// The bytes of each want.
    async fn assemble(&mut self) -> Result<Vec<Bytes>, Error> {
        let mut results = Vec::with_capacity(self.wants.len());
        for want in self.wants.clone() {
            results.push(self.had(&want).await?);
        }
        Ok(results)
    }

    /// The bytes of a want from its own shard, or computed.
    async fn had(&mut self, want: &Want) -> Result<Bytes, Error> {
        if let Some(bytes) = self.sources[want.index].piece(&want.leaves) {
            return Ok(bytes);
        }
        let pieces = self.sources.iter().enumerate();
        let pieces = pieces.filter_map(|(index, source)| Some((index, source.piece(&want.leaves)?)));
        let pieces: Vec<(usize, Bytes)> = pieces.take(self.layout.scheme.k()).collect();
        let (layout, index) = (self.layout.clone(), want.index);
        count(&self.inner.counting.reconstructions, 1);
        Ok(self.inner.pool.run(move || reconstruct_range(&layout, index, &pieces)).await?)
    }
}

fn count_hedge(inner: &Inner) {
    count(&inner.counting.hedges, 1);
}

impl Drop for Gather<'_> {
    fn drop(&mut self) {
        self.leave_losers();
        let is_bad = |index: &usize| self.sources[*index].state == State::Damaged;
        let bad: Vec<usize> = (0..self.sources.len()).filter(is_bad).collect();
        if !bad.is_empty() {
            (self.suspects)(&bad);
        }
    }
}
