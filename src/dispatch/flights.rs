//! The puts of one chunk under way: who has which shard, who is slow, who comes next.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{Announce, Error, Placement, Rest, Scattered, choose::Chooser, dispatcher::Inner};
use crate::{
    base::{PeerId, limits},
    coding::Encoded,
    net,
    runtime::failpoint,
};

/// A put that has ended.
struct Landed {
    index: usize,
    peer: PeerId,
    result: Result<(), Error>,
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

/// A consumer that a shard goes to next.
type Chosen = (usize, Arc<net::Candidate>);

/// The placement of one chunk. It belongs to whoever waits for it: dropped, its puts end where they are, and nothing of
/// them comes after a deletion.
pub(super) struct Scatter {
    inner: Arc<Inner>,
    encoded: Encoded,
    announce: Announce,
    chooser: Chooser,
    /// Everybody who was ever in the pool: nobody is asked twice.
    seen: HashSet<PeerId>,
    /// Fell out a moment ago; asked only when the threshold cannot be reached without them.
    fallback: Option<Chooser>,
    holders: Vec<Option<PeerId>>,
    puts: FuturesUnordered<BoxFuture<'static, Landed>>,
    flights: Vec<Flight>,
    finished: Vec<Duration>,
    refresh: Refresh,
    has_begun: bool,
    has_threshold: bool,
    deadline: Instant,
    why: Option<String>,
    /// Nothing more can be announced.
    failure: Option<Error>,
    _permit: OwnedSemaphorePermit,
}

impl Scatter {
    pub(super) fn new(inner: Arc<Inner>, encoded: Encoded, announce: Announce, permit: OwnedSemaphorePermit) -> Self {
        let n = encoded.shards.len();
        let mut scatter = Self {
            chooser: Chooser::new(Vec::new(), &*inner.chance),
            inner,
            encoded,
            announce,
            seen: HashSet::new(),
            fallback: None,
            holders: vec![None; n],
            puts: FuturesUnordered::new(),
            flights: Vec::new(),
            finished: Vec::new(),
            refresh: Refresh::NotYet,
            has_begun: false,
            has_threshold: false,
            deadline: Instant::now() + limits::SCATTER_TIMEOUT,
            why: None,
            failure: None,
            _permit: permit,
        };
        scatter.find_candidates();
        scatter
    }

    /// Places until enough shards are held, or all, or nothing more can be done.
    pub(super) async fn reach_threshold(mut self) -> Result<Scattered, Error> {
        loop {
            self.fill();
            if self.is_settled() {
                break;
            }
            if self.held() >= self.threshold() {
                self.has_threshold = true;
                self.deadline = Instant::now() + limits::SCATTER_TAIL;
                return Ok(Scattered { now: self.placements(), rest: Some(Rest(self)) });
            }
            if !self.advance().await {
                break;
            }
        }
        if self.held() >= self.threshold() {
            return Ok(Scattered { now: self.placements(), rest: None });
        }
        Err(match self.failure.take() {
            Some(failure) => failure,
            None if self.inner.tasks.shutdown().is_started() => Error::Closed,
            None => self.not_enough(),
        })
    }

    /// Places what is left, while there is hope and time.
    pub(super) async fn settle(mut self) -> Vec<Placement> {
        loop {
            self.fill();
            if self.is_settled() || !self.advance().await {
                return self.placements();
            }
        }
    }

    /// Waits for something to happen; false when it is time to end.
    async fn advance(&mut self) -> bool {
        match self.next_event().await {
            Event::Landed(landed) => self.land(landed),
            Event::Refreshed => {
                self.refresh = Refresh::Done;
                self.find_candidates();
            }
            Event::Tick if Instant::now() >= self.deadline => {
                self.why.get_or_insert_with(|| "they did not answer in time".to_owned());
                for flight in &self.flights {
                    self.inner.directory.back_off(flight.peer);
                }
                return false;
            }
            Event::Tick => self.mark_slow(),
            Event::Shutdown => return false,
        }
        true
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
        let mut chosen = Vec::new();
        loop {
            for index in 0..self.holders.len() {
                let is_coming = self.flights.iter().any(|flight| flight.index == index && !flight.is_slow);
                if self.holders[index].is_some() || is_coming {
                    continue;
                }
                if let Some(candidate) = self.chooser.take() {
                    self.add_flight(index, candidate.contact.peer);
                    chosen.push((index, candidate));
                }
            }
            if !self.is_short(false) || !self.take_fallback() {
                break;
            }
        }
        self.launch(chosen);
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

    fn add_flight(&mut self, index: usize, peer: PeerId) {
        for flight in self.flights.iter().filter(|flight| flight.index == index) {
            // Replaced: the next chunks should not wait for it either.
            self.inner.directory.back_off(flight.peer);
        }
        self.flights.push(Flight { index, peer, started: Instant::now(), is_slow: false });
    }

    /// Announces these, all at once, then puts them.
    fn launch(&mut self, chosen: Vec<Chosen>) {
        if chosen.is_empty() {
            return;
        }
        let roots = &self.encoded.roots;
        let shards = chosen.iter().map(|(index, candidate)| (candidate.contact.peer, roots[*index])).collect();
        let announced = (self.announce)(shards).shared();
        for (index, candidate) in chosen {
            let (inner, announced, peer) = (Arc::clone(&self.inner), announced.clone(), candidate.contact.peer);
            let (shard, data) = (roots[index], self.encoded.shards[index].clone());
            self.puts.push(Box::pin(async move {
                let result = match announced.await {
                    Ok(()) => inner.put(&candidate, shard, data).await.map_err(Error::from),
                    Err(error) => Err(error),
                };
                Landed { index, peer, result }
            }));
        }
    }

    /// Shards with no holder and nobody on the way, or only who is slow.
    fn is_idle_somewhere(&self) -> bool {
        (0..self.holders.len()).any(|index| !self.is_hopeful(index, false))
    }

    /// Whether a shard has a holder, or is on its way to one; with `even_slow` also to one that is slow.
    fn is_hopeful(&self, index: usize, even_slow: bool) -> bool {
        let comes = |flight: &Flight| flight.index == index && (even_slow || !flight.is_slow);
        self.holders[index].is_some() || self.flights.iter().any(comes)
    }

    /// With everybody known and well the threshold cannot be reached; with `even_slow`, nor with those that are slow.
    fn is_short(&self, even_slow: bool) -> bool {
        let hopeful = (0..self.holders.len()).filter(|index| self.is_hopeful(*index, even_slow));
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
        is_all_held || is_hopeless || self.failure.is_some() || (!self.has_threshold && self.is_short(true))
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
        // Where all are slow nobody is: to send the same to others too makes them slower.
        let length = self.encoded.layout.shard_len as usize;
        let alone = limits::STALL_CEILING + Duration::from_secs((length / limits::STALL_BYTES_PER_SECOND) as u64);
        pace.map_or(alone, |pace| pace.min(alone))
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
        let flight = self.flights.iter().position(|flight| flight.index == index && flight.peer == peer);
        let flight = flight.map(|position| self.flights.swap_remove(position));
        match result {
            Ok(()) if self.holders[index].is_none() => {
                self.holders[index] = Some(peer);
                failpoint("first-receipt");
                self.finished.extend(flight.map(|flight| flight.started.elapsed()));
            }
            // Another was faster.
            Ok(()) => {}
            Err(error) => {
                self.why = Some(error.to_string());
                if matches!(error, Error::Unrecorded { .. }) {
                    self.failure = Some(error);
                }
            }
        }
        if self.holders[index] != Some(peer) {
            self.chooser.release(peer);
        }
    }

    fn placements(&self) -> Vec<Placement> {
        self.holders.iter().map(|holder| holder.map_or_else(Placement::missing, Placement::held)).collect()
    }

    fn not_enough(&self) -> Error {
        let online = self.inner.directory.online();
        let tracker = self.inner.directory.problem().map(|problem| format!("the tracker does not help: {problem}"));
        let space = || format!("{online} are online with {} free bytes or more", self.encoded.layout.shard_len);
        let why = self.why.clone().or(tracker).unwrap_or_else(space);
        Error::NotEnough { needed: self.threshold(), online: self.seen.len().max(online), why }
    }
}
