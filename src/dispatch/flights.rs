//! The puts of one chunk under way: who has which shard, who is slow, who comes next.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{sync::oneshot, time::Instant};

use super::{
    Error, Placement, Scattered, Settled,
    choose::Chooser,
    dispatcher::{Inner, may_be_stored},
};
use crate::{
    base::{PeerId, ShardId, limits},
    coding::Encoded,
    net,
    runtime::failpoint,
};

type Answer = oneshot::Sender<Result<Scattered, Error>>;

/// A put that has ended.
struct Landed {
    index: usize,
    peer: PeerId,
    result: Result<(), net::Error>,
}

/// A put under way.
struct Flight {
    index: usize,
    peer: PeerId,
    started: Instant,
    is_slow: bool,
}

/// Where the asking of the tracker for more consumers stands.
enum Refresh {
    NotYet,
    Asking(BoxFuture<'static, ()>),
    Done,
}

/// What woke the loop.
enum Event {
    Landed(Landed),
    Refreshed,
    Tick,
    Shutdown,
}

/// The placement of one chunk. Owned by its task.
pub(super) struct Scatter {
    inner: Arc<Inner>,
    encoded: Encoded,
    chooser: Chooser,
    /// Everybody who was ever in the pool: nobody is asked twice.
    seen: HashSet<PeerId>,
    /// Fell out a moment ago; asked only when the threshold cannot be reached without them.
    fallback: Option<Chooser>,
    holders: Vec<Option<PeerId>>,
    puts: FuturesUnordered<BoxFuture<'static, Landed>>,
    flights: Vec<Flight>,
    surplus: Vec<(PeerId, ShardId)>,
    finished: Vec<Duration>,
    refresh: Refresh,
    has_begun: bool,
    answer: Option<Answer>,
    rest: Option<oneshot::Sender<Settled>>,
    deadline: Instant,
    why: Option<String>,
}

impl Scatter {
    pub(super) fn new(inner: Arc<Inner>, encoded: Encoded, answer: Answer) -> Self {
        let n = encoded.shards.len();
        let mut scatter = Self {
            chooser: Chooser::new(Vec::new(), &*inner.chance),
            inner,
            encoded,
            seen: HashSet::new(),
            fallback: None,
            holders: vec![None; n],
            puts: FuturesUnordered::new(),
            flights: Vec::new(),
            surplus: Vec::new(),
            finished: Vec::new(),
            refresh: Refresh::NotYet,
            has_begun: false,
            answer: Some(answer),
            rest: None,
            deadline: Instant::now() + limits::SCATTER_TIMEOUT,
            why: None,
        };
        scatter.find_candidates();
        scatter
    }

    /// Places until all shards are held or nothing more can be done; then lets what is still under way end.
    pub(super) async fn run(mut self) {
        loop {
            self.fill();
            self.answer_at_threshold();
            if self.is_settled() || self.is_abandoned() {
                break;
            }
            match self.next_event().await {
                Event::Landed(landed) => self.land(landed),
                Event::Refreshed => {
                    self.refresh = Refresh::Done;
                    self.find_candidates();
                }
                Event::Tick if Instant::now() >= self.deadline => {
                    self.why.get_or_insert_with(|| "they did not answer in time".to_owned());
                    break;
                }
                Event::Tick => self.mark_slow(),
                Event::Shutdown => {
                    self.finish(true);
                    return;
                }
            }
        }
        let is_abandoned = self.finish(false);
        self.clean_up(is_abandoned).await;
    }

    fn threshold(&self) -> usize {
        self.encoded.layout.scheme.commit_threshold()
    }

    fn held(&self) -> usize {
        self.holders.iter().flatten().count()
    }

    /// Takes in consumers that are not in the pool yet.
    fn find_candidates(&mut self) {
        let bytes = u64::from(self.encoded.layout.shard_len);
        let (good, bad) = self.inner.directory.choices(bytes, &self.seen);
        self.seen.extend(good.iter().map(|candidate| candidate.contact.peer));
        self.chooser.extend(Chooser::new(good, &*self.inner.chance));
        self.fallback = Some(Chooser::new(bad, &*self.inner.chance));
    }

    /// A consumer for every shard that has none, and for those whose consumer is slow.
    fn fill(&mut self) {
        if !self.has_begun && !self.can_begin() {
            return;
        }
        self.has_begun = true;
        loop {
            for index in 0..self.holders.len() {
                let is_coming = self.flights.iter().any(|flight| flight.index == index && !flight.is_slow);
                if self.holders[index].is_some() || is_coming {
                    continue;
                }
                if let Some(candidate) = self.chooser.take() {
                    self.launch(index, candidate);
                }
            }
            if !self.is_short() || !self.take_fallback() {
                break;
            }
        }
        if self.is_idle_somewhere() {
            self.ask_tracker();
        }
    }

    /// Nothing is put before there is somebody for every shard that the threshold needs.
    fn can_begin(&mut self) -> bool {
        if self.chooser.left() < self.threshold() {
            self.ask_tracker();
            if matches!(self.refresh, Refresh::Done) {
                self.take_fallback();
            }
        }
        self.chooser.left() >= self.threshold()
    }

    fn ask_tracker(&mut self) {
        if matches!(self.refresh, Refresh::NotYet) {
            let directory = Arc::clone(&self.inner.directory);
            self.refresh = Refresh::Asking(Box::pin(async move { directory.refresh().await }));
        }
    }

    fn launch(&mut self, index: usize, candidate: Arc<net::Candidate>) {
        let peer = candidate.contact.peer;
        for flight in self.flights.iter().filter(|flight| flight.index == index) {
            // Replaced: the next chunks should not wait for it either.
            self.inner.directory.back_off(flight.peer);
        }
        self.flights.push(Flight { index, peer, started: Instant::now(), is_slow: false });
        let (inner, shard, data) =
            (Arc::clone(&self.inner), self.encoded.roots[index], self.encoded.shards[index].clone());
        self.puts.push(Box::pin(async move {
            let result = inner.put(&candidate, shard, data).await;
            Landed { index, peer, result }
        }));
    }

    /// Shards with no holder and nobody on the way.
    fn is_idle_somewhere(&self) -> bool {
        (0..self.holders.len())
            .any(|index| self.holders[index].is_none() && !self.flights.iter().any(|flight| flight.index == index))
    }

    /// With everybody known and well the threshold cannot be reached.
    fn is_short(&self) -> bool {
        let hopeful = (0..self.holders.len())
            .filter(|index| self.holders[*index].is_some() || self.flights.iter().any(|flight| flight.index == *index));
        matches!(self.refresh, Refresh::Done) && self.chooser.left() == 0 && hopeful.count() < self.threshold()
    }

    /// Lets those in that failed a moment ago; false when there are none.
    fn take_fallback(&mut self) -> bool {
        let Some(fallback) = self.fallback.take().filter(|fallback| fallback.left() > 0) else { return false };
        self.seen.extend(fallback.peers());
        self.chooser.extend(fallback);
        true
    }

    fn is_settled(&self) -> bool {
        let is_all_held = self.holders.iter().all(Option::is_some);
        let is_hopeless = self.flights.is_empty() && !matches!(self.refresh, Refresh::Asking(_));
        // Below the threshold with nothing that could still reach it: the flights need not be awaited.
        is_all_held || is_hopeless || (self.answer.is_some() && self.is_short())
    }

    async fn next_event(&mut self) -> Event {
        let wake = self.next_slow().map_or(self.deadline, |slow| slow.min(self.deadline));
        let shutdown = self.inner.tasks.shutdown().clone();
        let refresh = &mut self.refresh;
        let refreshed = async {
            match refresh {
                Refresh::Asking(asking) => asking.await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shutdown.started() => Event::Shutdown,
            Some(landed) = self.puts.next() => Event::Landed(landed),
            () = refreshed => Event::Refreshed,
            () = tokio::time::sleep_until(wake) => Event::Tick,
        }
    }

    /// Twice the third finisher and a little; a fixed time while there is none.
    fn patience(&self) -> Duration {
        let third = self.holders.len().saturating_sub(1).clamp(1, 3);
        let pace = self.finished.get(third - 1).map(|third| *third * 2 + limits::STALL_FLOOR);
        pace.map_or(limits::STALL_CEILING, |pace| pace.min(limits::STALL_CEILING))
    }

    fn next_slow(&self) -> Option<Instant> {
        let patience = self.patience();
        self.flights.iter().filter(|flight| !flight.is_slow).map(|flight| flight.started + patience).min()
    }

    fn mark_slow(&mut self) {
        let (now, patience) = (Instant::now(), self.patience());
        for flight in &mut self.flights {
            flight.is_slow |= flight.started + patience <= now;
        }
    }

    fn land(&mut self, Landed { index, peer, result }: Landed) {
        let shard = self.encoded.roots[index];
        let flight = self.flights.iter().position(|flight| flight.index == index && flight.peer == peer);
        let flight = flight.map(|position| self.flights.swap_remove(position));
        match result {
            Ok(()) if self.holders[index].is_none() => {
                self.holders[index] = Some(peer);
                failpoint("first-receipt");
                self.finished.extend(flight.map(|flight| flight.started.elapsed()));
            }
            Ok(()) => self.surplus.push((peer, shard)),
            Err(error) => {
                if may_be_stored(&error) {
                    self.surplus.push((peer, shard));
                }
                self.why = Some(error.to_string());
            }
        }
        if self.holders[index] != Some(peer) {
            self.chooser.release(peer);
        }
    }

    /// Everything as it stands; what is under way may yet be stored.
    fn settled(&self) -> Settled {
        let under_way = self.flights.iter().filter(|flight| self.holders[flight.index] != Some(flight.peer));
        let placement = |holder: &Option<PeerId>| holder.map_or_else(Placement::missing, Placement::held);
        Settled {
            placements: self.holders.iter().map(placement).collect(),
            surplus: self
                .surplus
                .iter()
                .copied()
                .chain(under_way.map(|flight| (flight.peer, self.encoded.roots[flight.index])))
                .collect(),
        }
    }

    fn answer_at_threshold(&mut self) {
        if self.held() < self.threshold() || self.answer.is_none() || self.is_settled() {
            return;
        }
        let Some(answer) = self.answer.take() else { return };
        let (rest, settled) = oneshot::channel();
        // Who is still on the way is no surplus yet: the rest will tell.
        let now = Settled { surplus: self.surplus.clone(), ..self.settled() };
        self.rest = Some(rest);
        self.deadline = Instant::now() + limits::SCATTER_TAIL;
        if answer.send(Ok(Scattered { now, rest: Some(settled) })).is_err() {
            self.abandon();
        }
    }

    /// Nobody waits for this chunk any more: everything stored is surplus.
    fn abandon(&mut self) {
        for (index, holder) in self.holders.iter_mut().enumerate() {
            self.surplus.extend(holder.take().map(|peer| (peer, self.encoded.roots[index])));
        }
        self.rest = None;
    }

    fn is_abandoned(&self) -> bool {
        self.answer.is_none() && self.rest.is_none()
    }

    /// Tells the caller the end; true when there is none any more, or nothing to be kept.
    fn finish(&mut self, is_stopping: bool) -> bool {
        let settled = self.settled();
        if let Some(rest) = self.rest.take() {
            // A caller that does not wait for the rest finds the missing shards by its own records.
            let _kept_by_caller = rest.send(settled);
            return false;
        }
        let Some(answer) = self.answer.take() else { return true };
        if self.held() >= self.threshold() {
            if answer.send(Ok(Scattered { now: settled, rest: None })).is_err() {
                self.abandon();
                return true;
            }
            return false;
        }
        let held = self.holders.iter().zip(&self.encoded.roots).filter_map(|(peer, shard)| Some(((*peer)?, *shard)));
        let placed = held.chain(settled.surplus.iter().copied()).collect();
        let error = if is_stopping { Error::Closed { placed } } else { self.not_enough(placed) };
        let is_gone = answer.send(Err(error)).is_err();
        if is_gone {
            self.abandon();
        }
        is_gone
    }

    fn not_enough(&self, placed: Vec<(PeerId, ShardId)>) -> Error {
        let online = self.inner.directory.online();
        let tracker = self.inner.directory.problem().map(|problem| format!("the tracker does not help: {problem}"));
        let space = || format!("{online} are online with {} free bytes or more", self.encoded.layout.shard_len);
        let why = self.why.clone().or(tracker).unwrap_or_else(space);
        Error::NotEnough { needed: self.threshold(), online: self.seen.len().max(online), why, placed }
    }

    /// Deletes what is stored too often, at once when nobody else will, else when it arrives late.
    async fn clean_up(mut self, is_abandoned: bool) {
        let shutdown = self.inner.tasks.shutdown().clone();
        let inner = Arc::clone(&self.inner);
        let mut late = if is_abandoned { std::mem::take(&mut self.surplus) } else { Vec::new() };
        loop {
            for (peer, shard) in late.drain(..) {
                if let Err(error) = inner.delete(peer, shard).await {
                    tracing::warn!(op = "delete", %peer, %shard, %error, "a surplus shard stays until it is collected");
                }
            }
            let landed = tokio::select! {
                biased;
                () = shutdown.started() => return,
                landed = self.puts.next() => landed,
            };
            match landed {
                Some(Landed { index, peer, result: Ok(()) }) => late.push((peer, self.encoded.roots[index])),
                Some(_) => {}
                None => return,
            }
        }
    }
}
