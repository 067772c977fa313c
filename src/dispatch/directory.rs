//! Which consumers there are, and which of them are better left alone for a moment.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    base::{Mutex, PeerId, UnixMillis, limits},
    net::{Candidate, CandidateQuery, Contact, TrackerClient},
    runtime::Tasks,
};

#[derive(Default)]
struct State {
    consumers: BTreeMap<PeerId, Arc<Candidate>>,
    /// Unreachable a moment ago: asked last until then.
    resting: BTreeMap<PeerId, Instant>,
    /// Slower than the others a moment ago: read from last until then.
    lagging: BTreeMap<PeerId, Instant>,
    /// A put failed a moment ago: no new shards until then.
    backing_off: BTreeMap<PeerId, Instant>,
    problem: Option<String>,
    /// Whether the tracker has answered yet.
    is_informed: bool,
}

/// The consumers that this process knows. Shared.
pub(super) struct Directory {
    state: Mutex<State>,
    tracker: Option<Arc<TrackerClient>>,
    changed: watch::Sender<u64>,
    returned: watch::Sender<u64>,
    /// Counts finished tracker queries.
    asked: watch::Sender<u64>,
    wanted: Notify,
}

impl Directory {
    pub(super) fn new(tracker: Option<Arc<TrackerClient>>) -> Arc<Self> {
        let (changed, returned, asked) = (watch::Sender::new(0), watch::Sender::new(0), watch::Sender::new(0));
        Arc::new(Self { state: Mutex::default(), tracker, changed, returned, asked, wanted: Notify::new() })
    }

    /// Keeps asking the tracker until shutdown.
    pub(super) fn start(self: &Arc<Self>, tasks: &Tasks) {
        if self.tracker.is_some() {
            let directory = Arc::clone(self);
            tasks.spawn_until_shutdown(async move { directory.keep_asking().await });
        }
    }

    async fn keep_asking(&self) {
        let mut failures = 0u32;
        loop {
            let is_ok = self.ask().await;
            self.asked.send_modify(|count| *count += 1);
            failures = if is_ok { 0 } else { failures.saturating_add(1) };
            // Even when somebody is short of candidates, not more often than this.
            let least = limits::TRACKER_RETRY * 2u32.pow(failures.saturating_sub(1).min(8));
            let least = least.min(limits::TRACKER_REFRESH);
            tokio::time::sleep(least).await;
            let rest = limits::TRACKER_REFRESH - least;
            // Elapsed or wanted: either way it is time to ask again.
            let _either = tokio::time::timeout(rest, self.wanted.notified()).await;
        }
    }

    async fn ask(&self) -> bool {
        let Some(tracker) = &self.tracker else { return false };
        let query = CandidateQuery { count: 0, free_bytes: 0, exclude: Vec::new() };
        match tracker.candidates(&query).await {
            Ok(candidates) => {
                self.merge(candidates, true);
                self.state.lock().is_informed = true;
                if self.state.lock().problem.take().is_some() {
                    tracing::info!(op = "candidates", "the tracker answers again");
                }
                true
            }
            Err(error) => {
                let text = error.to_string();
                let earlier = self.state.lock().problem.replace(text.clone());
                if earlier.is_none() {
                    tracing::warn!(op = "candidates", error = text, "going on with the consumers known so far");
                }
                false
            }
        }
    }

    /// Waits for the next answer, or failure, of the tracker; at most `limits::TRACKER_WAIT`.
    pub(super) async fn refresh(&self) {
        if self.tracker.is_none() {
            return;
        }
        let mut asked = self.asked.subscribe();
        asked.borrow_and_update();
        self.wanted.notify_one();
        // At the deadline the caller goes on with what is known, as it does after a failure.
        let _either = tokio::time::timeout(limits::TRACKER_WAIT, asked.changed()).await;
    }

    /// Takes in consumers; with `is_fresh` they replace what was known of them.
    pub(super) fn merge(&self, candidates: Vec<Candidate>, is_fresh: bool) {
        let mut state = self.state.lock();
        let (mut is_changed, mut is_returned) = (false, false);
        for candidate in candidates {
            let peer = candidate.contact.peer;
            let known = state.consumers.get(&peer);
            if known.is_some() && !is_fresh {
                continue;
            }
            if known.is_none() && state.consumers.len() >= limits::KNOWN_CONSUMERS {
                forget_oldest(&mut state);
            }
            let is_same = |known: &Arc<Candidate>| known.contact == candidate.contact && known.owner == candidate.owner;
            is_changed |= !state.consumers.get(&peer).is_some_and(is_same);
            let was_online = state.consumers.get(&peer).is_some_and(|known| known.is_online && is_same(known));
            is_returned |= candidate.is_online && !was_online;
            state.consumers.insert(peer, Arc::new(candidate));
        }
        drop(state);
        if is_changed {
            self.changed.send_modify(|version| *version += 1);
        }
        if is_returned {
            self.note_returned();
        }
    }

    fn note_returned(&self) {
        self.returned.send_modify(|count| *count += 1);
    }

    pub(super) fn known(&self) -> Vec<Candidate> {
        self.state.lock().consumers.values().map(|candidate| Candidate::clone(candidate)).collect()
    }

    pub(super) fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn returned(&self) -> watch::Receiver<u64> {
        self.returned.subscribe()
    }

    pub(super) fn problem(&self) -> Option<String> {
        match self.tracker {
            None => Some("no tracker is configured".to_owned()),
            Some(_) => self.state.lock().problem.clone(),
        }
    }

    /// Whether there is nothing more to be learned about who the consumers are: the tracker, if there is one, has answered.
    pub(super) fn is_informed(&self) -> bool {
        self.tracker.is_none() || self.state.lock().is_informed
    }

    /// (total, free) bytes of the consumers that are there.
    pub(super) fn space(&self) -> (u64, u64) {
        let state = self.state.lock();
        let online = state.consumers.values().filter(|candidate| candidate.is_online);
        online.fold((0, 0), |(total, free): (u64, u64), candidate| {
            (total.saturating_add(candidate.limit_bytes), free.saturating_add(candidate.free_bytes))
        })
    }

    /// Where a consumer may be reached; without addresses when it is not known here.
    pub(super) fn contact(&self, peer: PeerId) -> Contact {
        let known = self.state.lock().consumers.get(&peer).map(|candidate| candidate.contact.clone());
        known.unwrap_or_else(|| Contact { peer, addresses: Vec::new() })
    }

    pub(super) fn candidate(&self, peer: PeerId) -> Option<Arc<Candidate>> {
        self.state.lock().consumers.get(&peer).cloned()
    }

    /// Consumers that may take a shard of so many bytes: (the good ones, those that failed a moment ago).
    pub(super) fn choices(&self, bytes: u64, exclude: &HashSet<PeerId>) -> (Vec<Arc<Candidate>>, Vec<Arc<Candidate>>) {
        let now = Instant::now();
        let state = self.state.lock();
        // While the tracker is away nobody knows better who is online than a try.
        let is_blind = self.tracker.is_none() || state.problem.is_some();
        let fits = |candidate: &&Arc<Candidate>| {
            candidate.free_bytes >= bytes
                && (candidate.is_online || is_blind)
                && !exclude.contains(&candidate.contact.peer)
        };
        let is_bad = |candidate: &Arc<Candidate>| {
            let peer = &candidate.contact.peer;
            let until = |map: &BTreeMap<PeerId, Instant>| map.get(peer).is_some_and(|until| *until > now);
            until(&state.backing_off) || until(&state.resting)
        };
        state.consumers.values().filter(fits).cloned().partition(|candidate| !is_bad(candidate))
    }

    /// How many consumers are online, for messages.
    pub(super) fn online(&self) -> usize {
        self.state.lock().consumers.values().filter(|candidate| candidate.is_online).count()
    }

    /// It took a shard: it is there, and has so much less space.
    pub(super) fn took(&self, peer: PeerId, bytes: u64, now: UnixMillis) {
        let mut state = self.state.lock();
        let mut is_returned = state.resting.remove(&peer).is_some();
        state.backing_off.remove(&peer);
        if let Some(known) = state.consumers.get_mut(&peer) {
            let known = Arc::make_mut(known);
            known.free_bytes = known.free_bytes.saturating_sub(bytes);
            known.last_beat = known.last_beat.max(now);
            is_returned |= !std::mem::replace(&mut known.is_online, true);
        }
        drop(state);
        if is_returned {
            self.note_returned();
        }
    }

    /// It is full: no shards for it until the tracker says otherwise.
    pub(super) fn is_full(&self, peer: PeerId) {
        if let Some(known) = self.state.lock().consumers.get_mut(&peer) {
            Arc::make_mut(known).free_bytes = 0;
        }
    }

    /// A put failed or was slow: no new shards for a while.
    pub(super) fn back_off(&self, peer: PeerId) {
        note(&mut self.state.lock().backing_off, peer, limits::PUT_BACK_OFF);
    }

    /// It is slower than the others: read from last for a while.
    pub(super) fn lag(&self, peer: PeerId) {
        note(&mut self.state.lock().lagging, peer, limits::CONSUMER_REST);
    }

    /// It was unreachable: asked last for a while.
    pub(super) fn rest(&self, peer: PeerId) {
        note(&mut self.state.lock().resting, peer, limits::CONSUMER_REST);
    }

    /// It answered.
    pub(super) fn woke(&self, peer: PeerId) {
        let mut state = self.state.lock();
        let is_returned = state.resting.remove(&peer).is_some();
        state.lagging.remove(&peer);
        drop(state);
        if is_returned {
            self.note_returned();
        }
    }

    /// Whether reads should rather go elsewhere for a moment.
    pub(super) fn is_last_choice(&self, peer: PeerId) -> bool {
        let (state, now) = (self.state.lock(), Instant::now());
        [&state.resting, &state.lagging].iter().any(|map| map.get(&peer).is_some_and(|until| *until > now))
    }

    pub(super) fn is_resting(&self, peer: PeerId) -> bool {
        self.state.lock().resting.get(&peer).is_some_and(|until| *until > Instant::now())
    }
}

fn note(map: &mut BTreeMap<PeerId, Instant>, peer: PeerId, length: std::time::Duration) {
    let now = Instant::now();
    if map.len() >= limits::KNOWN_CONSUMERS {
        map.retain(|_, until| *until > now);
    }
    if map.len() < limits::KNOWN_CONSUMERS {
        map.insert(peer, now + length);
    }
}

/// Makes room: offline before online, the longest unheard first.
fn forget_oldest(state: &mut State) {
    let oldest = state.consumers.values().min_by_key(|candidate| (candidate.is_online, candidate.last_beat));
    if let Some(peer) = oldest.map(|candidate| candidate.contact.peer) {
        state.consumers.remove(&peer);
    }
}
