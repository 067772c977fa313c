//! Which consumers there are, and which of them are better left alone for a moment.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    base::{Mutex, PeerId, UnixMillis, limits},
    net::{Candidate, CandidateQuery, Contact, ShardClient, TrackerClient},
    runtime::Tasks,
};

/// A consumer that is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The address where it answered last, if that is known, comes first.
    pub candidate: Candidate,
    /// Whether it has ever answered this producer: it may hold shards, and is not forgotten for one that never did.
    pub has_answered: bool,
}

impl From<Candidate> for Remembered {
    /// One that has not answered yet.
    fn from(candidate: Candidate) -> Self {
        Self { candidate, has_answered: false }
    }
}

struct Consumer {
    candidate: Arc<Candidate>,
    has_answered: bool,
    /// Where it answered last: not given up for what a tracker says.
    proven: Option<String>,
    /// When the tracker has named it, or it has answered.
    heard: Instant,
}

impl Consumer {
    /// Whether it is there: a tracker has said so, not too long ago, or it has answered since. `since` is when the tracker began
    /// to answer; what was heard before it fell silent counts from then.
    fn is_there(&self, since: Option<Instant>) -> bool {
        let heard = since.map_or(self.heard, |since| self.heard.max(since));
        self.candidate.is_online && heard.elapsed() < limits::CONSUMER_UNHEARD
    }

    /// Where it may be reached if a tracker says so.
    fn contact(&self, said: &Contact) -> Contact {
        let proven = self.proven.iter();
        let others = said.addresses.iter().filter(|address| Some(*address) != self.proven.as_ref());
        Contact { peer: said.peer, addresses: proven.chain(others).take(limits::ADDRESSES).cloned().collect() }
    }
}

#[derive(Default)]
struct State {
    consumers: BTreeMap<PeerId, Consumer>,
    /// Not known, or not where they were: the tracker is asked for them.
    sought: BTreeSet<PeerId>,
    /// The tracker was asked for one that is not known: not at once again until then.
    asked_for: BTreeMap<PeerId, Instant>,
    /// Unreachable a moment ago: asked last until then.
    resting: BTreeMap<PeerId, Instant>,
    /// Slower than the others a moment ago: read from last until then.
    lagging: BTreeMap<PeerId, Instant>,
    /// A put failed a moment ago: no new shards until then.
    backing_off: BTreeMap<PeerId, Instant>,
    problem: Option<String>,
    /// Since when the tracker answers; None until it has.
    answers_since: Option<Instant>,
}

impl State {
    /// What is known of consumers, and whether they are there.
    fn candidates(&self) -> impl Iterator<Item = (&Arc<Candidate>, bool)> {
        // While no tracker answers nobody knows better than before.
        let is_silent = self.problem.is_some() || self.answers_since.is_none();
        self.consumers.values().map(move |known| {
            let is_there = if is_silent { known.candidate.is_online } else { known.is_there(self.answers_since) };
            (&known.candidate, is_there)
        })
    }

    /// Takes in a new one; when there are too many, in the place of the longest unheard of those that never answered and are not
    /// there, or have not as the new one has; else of those that did and are not there. Whether it has.
    fn take_in(&mut self, new: Consumer) -> bool {
        if self.consumers.len() >= limits::KNOWN_CONSUMERS {
            let yields = |known: &&Consumer| {
                let is_better = new.has_answered || !known.is_there(self.answers_since);
                !known.has_answered && is_better
            };
            let is_away = |known: &&Consumer| !known.is_there(self.answers_since);
            let unheard = |known: &&Consumer| known.heard;
            let least = self.consumers.values().filter(yields).min_by_key(unheard);
            let least = least.or_else(|| self.consumers.values().filter(is_away).min_by_key(unheard));
            let Some(peer) = least.map(|known| known.candidate.contact.peer) else { return false };
            self.consumers.remove(&peer);
        }
        self.consumers.insert(new.candidate.contact.peer, new);
        true
    }

    /// Whether all may be named in one answer of a tracker.
    fn are_few(&self) -> bool {
        self.consumers.len() < limits::CANDIDATES
    }

    /// A peer has answered. Whether something is known now that was not.
    fn answered(&mut self, peer: PeerId, client: &ShardClient) -> bool {
        let Some(known) = self.consumers.get_mut(&peer) else { return false };
        known.heard = Instant::now();
        if known.has_answered {
            return false;
        }
        known.has_answered = true;
        known.proven = client.reached_at(peer);
        let contact = known.contact(&known.candidate.contact);
        Arc::make_mut(&mut known.candidate).contact = contact;
        true
    }

    fn seek(&mut self, peer: PeerId) {
        if self.sought.len() < limits::CANDIDATES {
            self.sought.insert(peer);
        }
    }
}

/// What may concern others.
#[derive(Default)]
struct News {
    is_changed: bool,
    is_returned: bool,
}

impl News {
    fn note(&mut self, known: &Candidate, new: &Candidate) {
        let is_same = known.contact == new.contact && known.owner == new.owner;
        self.is_changed |= !is_same;
        self.is_returned |= new.is_online && !(is_same && known.is_online);
    }

    /// One more is known; where there are many, uploads did not wait for it.
    fn note_new(&mut self, new: &Candidate, was_few: bool) {
        self.is_changed = true;
        self.is_returned |= new.is_online && was_few;
    }
}

/// The consumers that this process knows. Shared.
pub(super) struct Directory {
    state: Mutex<State>,
    client: Arc<ShardClient>,
    tracker: Option<Arc<TrackerClient>>,
    changed: watch::Sender<u64>,
    returned: watch::Sender<u64>,
    /// Counts finished tracker queries.
    asked: watch::Sender<u64>,
    wanted: Notify,
}

impl Directory {
    pub(super) fn new(client: Arc<ShardClient>, tracker: Option<Arc<TrackerClient>>) -> Arc<Self> {
        let (changed, returned, asked) = (watch::Sender::new(0), watch::Sender::new(0), watch::Sender::new(0));
        Arc::new(Self { state: Mutex::default(), client, tracker, changed, returned, asked, wanted: Notify::new() })
    }

    /// Keeps asking the tracker until shutdown.
    pub(super) fn start(self: &Arc<Self>, tasks: &Tasks) {
        if self.tracker.is_some() {
            let directory = Arc::clone(self);
            let shutdown = tasks.shutdown().clone();
            tasks.spawn_worker("candidates", move || {
                let (directory, shutdown) = (Arc::clone(&directory), shutdown.clone());
                async move {
                    tokio::select! {
                        biased;
                        () = shutdown.started() => {}
                        () = directory.keep_asking() => {}
                    }
                }
            });
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
                let named = candidates.iter().map(|candidate| candidate.contact.peer).collect();
                self.merge(candidates);
                self.seek(tracker, &named).await;
                let mut state = self.state.lock();
                let was_silent = state.problem.take().is_some();
                if was_silent || state.answers_since.is_none() {
                    state.answers_since = Some(Instant::now());
                }
                drop(state);
                if was_silent {
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

    /// Asks for those that are sought and were not named just now: an answer names some of the consumers only.
    async fn seek(&self, tracker: &TrackerClient, named: &BTreeSet<PeerId>) {
        let sought = std::mem::take(&mut self.state.lock().sought);
        let sought: Vec<PeerId> = sought.difference(named).copied().collect();
        if sought.is_empty() {
            return;
        }
        match tracker.find(sought).await {
            Ok(found) => self.merge(found),
            // They are sought again by whoever needs them.
            Err(error) => tracing::debug!(op = "find", %error),
        }
    }

    /// Takes in consumers remembered from earlier, those that have answered first; what is known of one already stays.
    pub(super) fn learn(&self, mut remembered: Vec<Remembered>) {
        remembered.sort_by_key(|it| !it.has_answered);
        let mut news = News::default();
        let mut state = self.state.lock();
        for Remembered { candidate, has_answered } in remembered {
            if state.consumers.contains_key(&candidate.contact.peer) {
                continue;
            }
            let proven = candidate.contact.addresses.first().filter(|_| has_answered).cloned();
            let (was_few, candidate) = (state.are_few(), Arc::new(candidate));
            let new = Consumer { candidate: Arc::clone(&candidate), has_answered, proven, heard: Instant::now() };
            if state.take_in(new) {
                news.note_new(&candidate, was_few);
            }
        }
        drop(state);
        self.tell(news);
    }

    /// Takes in what a tracker says of consumers. It replaces what was known of them, but for where they have answered.
    fn merge(&self, candidates: Vec<Candidate>) {
        let mut news = News::default();
        let mut state = self.state.lock();
        for mut candidate in candidates {
            let was_few = state.are_few();
            let Some(known) = state.consumers.get_mut(&candidate.contact.peer) else {
                let (heard, candidate) = (Instant::now(), Arc::new(candidate));
                let new = Consumer { candidate: Arc::clone(&candidate), has_answered: false, proven: None, heard };
                if state.take_in(new) {
                    news.note_new(&candidate, was_few);
                }
                continue;
            };
            if known.has_answered {
                known.proven = self.client.reached_at(candidate.contact.peer).or(known.proven.take());
            }
            candidate.contact = known.contact(&candidate.contact);
            news.note(&known.candidate, &candidate);
            known.candidate = Arc::new(candidate);
            known.heard = Instant::now();
        }
        drop(state);
        self.tell(news);
    }

    fn tell(&self, news: News) {
        if news.is_changed {
            self.changed.send_modify(|version| *version += 1);
        }
        if news.is_returned {
            self.note_returned();
        }
    }

    fn note_returned(&self) {
        self.returned.send_modify(|count| *count += 1);
    }

    pub(super) fn known(&self) -> Vec<Candidate> {
        let state = self.state.lock();
        state.candidates().map(|(known, is_online)| Candidate { is_online, ..Candidate::clone(known) }).collect()
    }

    /// What [`Self::learn`] is to be told at the next start.
    pub(super) fn remembered(&self) -> Vec<Remembered> {
        let state = self.state.lock();
        let remembered = state.consumers.values().map(|known| Remembered {
            candidate: Candidate::clone(&known.candidate),
            has_answered: known.has_answered,
        });
        remembered.collect()
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
        self.tracker.is_none() || self.state.lock().answers_since.is_some()
    }

    /// (total, free) bytes of the consumers that are there.
    pub(super) fn space(&self) -> (u64, u64) {
        let state = self.state.lock();
        let online = state.candidates().filter(|(_, is_there)| *is_there);
        online.fold((0, 0), |(total, free): (u64, u64), (candidate, _)| {
            (total.saturating_add(candidate.limit_bytes), free.saturating_add(candidate.free_bytes))
        })
    }

    /// Where a consumer may be reached; without addresses when it is not known here.
    pub(super) fn contact(&self, peer: PeerId) -> Contact {
        let mut state = self.state.lock();
        match state.consumers.get(&peer) {
            Some(known) => known.candidate.contact.clone(),
            None => {
                state.seek(peer);
                // Now, but for one that no tracker has known a moment ago.
                let is_asked_for = state.asked_for.get(&peer).is_some_and(|until| *until > Instant::now());
                if !is_asked_for {
                    note(&mut state.asked_for, peer, limits::TRACKER_REFRESH);
                    self.wanted.notify_one();
                }
                Contact { peer, addresses: Vec::new() }
            }
        }
    }

    pub(super) fn candidate(&self, peer: PeerId) -> Option<Arc<Candidate>> {
        self.state.lock().consumers.get(&peer).map(|known| Arc::clone(&known.candidate))
    }

    /// Consumers that may take a shard of so many bytes: (the good ones, those that failed a moment ago).
    pub(super) fn choices(&self, bytes: u64, exclude: &HashSet<PeerId>) -> (Vec<Arc<Candidate>>, Vec<Arc<Candidate>>) {
        let now = Instant::now();
        let state = self.state.lock();
        // While the tracker is away nobody knows better who is online than a try.
        let is_blind = self.tracker.is_none() || state.problem.is_some();
        let fits = |(candidate, is_there): &(&Arc<Candidate>, bool)| {
            candidate.free_bytes >= bytes && (*is_there || is_blind) && !exclude.contains(&candidate.contact.peer)
        };
        let is_bad = |candidate: &Arc<Candidate>| {
            let peer = &candidate.contact.peer;
            let until = |map: &BTreeMap<PeerId, Instant>| map.get(peer).is_some_and(|until| *until > now);
            until(&state.backing_off) || until(&state.resting)
        };
        state.candidates().filter(fits).map(|(candidate, _)| Arc::clone(candidate)).partition(|it| !is_bad(it))
    }

    /// How many consumers are online, for messages.
    pub(super) fn online(&self) -> usize {
        self.state.lock().candidates().filter(|(_, is_there)| *is_there).count()
    }

    /// It took a shard: it is there, and has so much less space.
    pub(super) fn took(&self, peer: PeerId, bytes: u64, now: UnixMillis) {
        let mut state = self.state.lock();
        let mut is_returned = state.resting.remove(&peer).is_some();
        state.backing_off.remove(&peer);
        let is_changed = state.answered(peer, &self.client);
        if let Some(known) = state.consumers.get_mut(&peer) {
            let known = Arc::make_mut(&mut known.candidate);
            known.free_bytes = known.free_bytes.saturating_sub(bytes);
            known.last_beat = known.last_beat.max(now);
            is_returned |= !std::mem::replace(&mut known.is_online, true);
        }
        drop(state);
        self.tell(News { is_changed, is_returned });
    }

    /// It is full: no shards for it until the tracker says otherwise.
    pub(super) fn is_full(&self, peer: PeerId) {
        if let Some(known) = self.state.lock().consumers.get_mut(&peer) {
            Arc::make_mut(&mut known.candidate).free_bytes = 0;
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
        let mut state = self.state.lock();
        note(&mut state.resting, peer, limits::CONSUMER_REST);
        state.seek(peer);
    }

    /// It answered.
    pub(super) fn woke(&self, peer: PeerId) {
        let mut state = self.state.lock();
        let is_returned = state.resting.remove(&peer).is_some();
        state.lagging.remove(&peer);
        let is_changed = state.answered(peer, &self.client);
        drop(state);
        self.tell(News { is_changed, is_returned });
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
