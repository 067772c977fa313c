//! The consumers that a tracker knows: in memory for answering, in a table for the next start.

use std::collections::{HashMap, HashSet};

use super::{
    address,
    record::{ConsumerRecord, Outage, TrackerRecord, Uptime},
    select::{Choice, Taken, choose},
};
use crate::{
    base::{ErrorKind, OwnerId, PeerId, UnixMillis, limits},
    net::{Beat, Candidate, CandidateQuery, Refusal, Registration},
    runtime::Chance,
    store::{Error, RecordTable, Tables},
};

const PAGE: usize = 1024;
const TRACKER_KEY: &[u8] = b"tracker";

/// All known consumers.
pub struct Registry {
    consumers: HashMap<PeerId, ConsumerRecord>,
    records: RecordTable<ConsumerRecord>,
    own: RecordTable<TrackerRecord>,
    outage: Outage,
}

impl Registry {
    /// Reads what was known; the time since the last sign of life was the tracker's own absence.
    pub fn open(tables: &Tables, now: UnixMillis) -> Result<Self, Error> {
        let (records, own) = (tables.table("consumers")?, tables.table::<TrackerRecord>("tracker")?);
        let alive = own.get(TRACKER_KEY)?.map_or(now, |record| record.alive);
        let outage = Outage { from: alive.min(now), to: now };
        let mut registry = Self { consumers: HashMap::new(), records, own, outage };
        registry.load()?;
        registry.alive(now)?;
        Ok(registry)
    }

    fn load(&mut self) -> Result<(), Error> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.records.scan(after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, record) in page {
                let Ok(peer) = <[u8; 32]>::try_from(key.as_slice()).map(PeerId) else {
                    return Err(Error::Invalid("the registry holds a key that is no peer".into()));
                };
                match record {
                    Ok(mut record) if self.consumers.len() < limits::CONSUMERS => {
                        record.not_observed(self.outage);
                        self.records.put(&key, &record)?;
                        self.consumers.insert(peer, record);
                    }
                    Ok(_) => self.records.delete(&key)?,
                    // It registers again by itself; a newer format must not be overwritten.
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// The tracker is there: so much a later start knows.
    pub fn alive(&self, now: UnixMillis) -> Result<(), Error> {
        self.own.put(TRACKER_KEY, &TrackerRecord { alive: now })
    }

    /// A consumer comes, or tells its new addresses.
    pub fn register(
        &mut self,
        peer: PeerId,
        owner: OwnerId,
        registration: &Registration,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        let invalid = |why: String| (ErrorKind::Invalid, why);
        let addresses = address::clean(&registration.addresses).map_err(|error| invalid(error.to_string()))?;
        if addresses.is_empty() {
            return Err(invalid("none of the addresses can be dialled by others: listen at another one".into()));
        }
        if !self.consumers.contains_key(&peer) && self.consumers.len() >= limits::CONSUMERS {
            self.make_room(now)?;
        }
        let outage = self.outage;
        let record = self.consumers.entry(peer).or_insert_with(|| ConsumerRecord {
            owner,
            addresses: Vec::new(),
            limit_bytes: 0,
            free_bytes: 0,
            version: String::new(),
            registered: now,
            last_beat: now,
            has_left: false,
            uptime: Uptime::default(),
        });
        record.owner = owner;
        record.addresses = addresses;
        record.limit_bytes = registration.limit_bytes;
        record.free_bytes = registration.free_bytes.min(registration.limit_bytes);
        record.version = address::clean_version(&registration.version);
        record.beat(now, outage);
        self.keep(peer)
    }

    /// Forgets whoever has been away longest; refuses when all are there.
    fn make_room(&mut self, now: UnixMillis) -> Result<(), Refusal> {
        let away = self.consumers.iter().filter(|(_, record)| !record.is_online(now, self.outage));
        match away.min_by_key(|(_, record)| record.last_beat).map(|(peer, _)| *peer) {
            Some(peer) => self.forget(peer),
            None => Err((ErrorKind::Full, format!("{} consumers are known here already", limits::CONSUMERS))),
        }
    }

    fn forget(&mut self, peer: PeerId) -> Result<(), Refusal> {
        self.consumers.remove(&peer);
        self.records.delete(peer.as_bytes()).map_err(unwritten)
    }

    fn keep(&self, peer: PeerId) -> Result<(), Refusal> {
        match self.consumers.get(&peer) {
            Some(record) => self.records.put(peer.as_bytes(), record).map_err(unwritten),
            None => Ok(()),
        }
    }

    fn known(&mut self, peer: PeerId) -> Result<&mut ConsumerRecord, Refusal> {
        self.consumers
            .get_mut(&peer)
            .ok_or_else(|| (ErrorKind::NotFound, "this consumer is not registered here".into()))
    }

    /// A registered consumer is there.
    pub fn beat(&mut self, peer: PeerId, beat: Beat, now: UnixMillis) -> Result<(), Refusal> {
        let outage = self.outage;
        let record = self.known(peer)?;
        if record.has_left {
            return Err((ErrorKind::NotFound, "this consumer has said goodbye: it must register again".into()));
        }
        record.free_bytes = beat.free_bytes.min(record.limit_bytes);
        record.beat(now, outage);
        self.keep(peer)
    }

    /// A consumer goes. Going twice is no error.
    pub fn leave(&mut self, peer: PeerId) -> Result<(), Refusal> {
        self.known(peer)?.has_left = true;
        self.keep(peer)
    }

    /// Forgets consumers that were away for too long.
    pub fn sweep(&mut self, now: UnixMillis) -> Result<(), Error> {
        let is_old = |record: &ConsumerRecord| now.since(record.last_beat) > limits::FORGET_AFTER;
        let old: Vec<PeerId> =
            self.consumers.iter().filter(|(_, record)| is_old(record)).map(|(peer, _)| *peer).collect();
        for peer in old {
            self.consumers.remove(&peer);
            self.records.delete(peer.as_bytes())?;
        }
        Ok(())
    }

    /// Consumers for new shards; with `count` 0 all, or some of those that are there when they are too many for an answer.
    pub fn candidates(&self, query: &CandidateQuery, now: UnixMillis, chance: &dyn Chance) -> Vec<Candidate> {
        if query.count == 0 && self.consumers.len() <= limits::CANDIDATES {
            return self.all(now, limits::CANDIDATES);
        }
        let exclude: HashSet<PeerId> = query.exclude.iter().take(limits::EXCLUDED_PEERS).copied().collect();
        // Whoever is excluded holds a part of the same chunk: its neighbours are the last choice.
        let mut taken = Taken::default();
        for record in exclude.iter().filter_map(|peer| self.consumers.get(peer)) {
            taken.owners.insert(record.owner);
            taken.prefixes.insert(address::prefix(&record.addresses));
        }
        // One that is full may still be read from and told to delete.
        let (count, least_free) = match usize::from(query.count) {
            0 => (limits::CANDIDATES, query.free_bytes),
            count => (count.min(limits::CANDIDATES), query.free_bytes.max(1)),
        };
        let is_fit = |record: &ConsumerRecord| record.is_online(now, self.outage) && record.free_bytes >= least_free;
        let pool = self.consumers.iter().filter(|(peer, record)| !exclude.contains(peer) && is_fit(record));
        let mut pool: Vec<Choice> = pool
            .map(|(peer, record)| Choice {
                peer: *peer,
                owner: record.owner,
                prefix: address::prefix(&record.addresses),
                // A sample of all is one of the full and the small too.
                free_bytes: if query.count == 0 { 1 } else { record.free_bytes },
            })
            .collect();
        // The order of a hash map is no seed's.
        pool.sort_by_key(|choice| choice.peer);
        let chosen = choose(pool, count, taken, chance);
        chosen.iter().map(|peer| self.consumers[peer].candidate(*peer, now, self.outage)).collect()
    }

    /// Those of these that are known.
    pub fn find(&self, peers: &[PeerId], now: UnixMillis) -> Vec<Candidate> {
        let known = peers.iter().filter_map(|peer| Some((*peer, self.consumers.get(peer)?)));
        known.map(|(peer, record)| record.candidate(peer, now, self.outage)).collect()
    }

    /// At most `max` known consumers, those that are there first, then the last seen.
    pub fn all(&self, now: UnixMillis, max: usize) -> Vec<Candidate> {
        let mut all: Vec<_> = self.consumers.iter().collect();
        let key = |peer: &PeerId, record: &ConsumerRecord| {
            let online = record.is_online(now, self.outage);
            (!online, if online { 0 } else { u64::MAX - record.last_beat.0 }, *peer)
        };
        all.sort_by_cached_key(|(peer, record)| key(peer, record));
        all.truncate(max);
        all.into_iter().map(|(peer, record)| record.candidate(*peer, now, self.outage)).collect()
    }

    /// The version that a consumer told.
    pub fn version(&self, peer: &PeerId) -> String {
        self.consumers.get(peer).map(|record| record.version.clone()).unwrap_or_default()
    }

    /// (known, online, free bytes of those online).
    pub fn counts(&self, now: UnixMillis) -> (u64, u64, u64) {
        let online = self.consumers.values().filter(|record| record.is_online(now, self.outage));
        let (count, free) =
            online.fold((0, 0u64), |(count, free), record| (count + 1, free.saturating_add(record.free_bytes)));
        (self.consumers.len() as u64, count, free)
    }
}

fn unwritten(error: Error) -> Refusal {
    tracing::error!(op = "register", "the registry cannot be written: {error}; check the disk");
    (ErrorKind::Unavailable, "the registry cannot be written now".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::SeededChance;

    const START: u64 = 1_000_000_000;

    fn tables() -> (Tables, tempfile::TempDir) {
        let directory = tempfile::tempdir().expect("a directory");
        (Tables::open(directory.path()).expect("opens"), directory)
    }

    fn at(seconds: u64) -> UnixMillis {
        UnixMillis((START + seconds) * 1000)
    }

    fn registration(number: u8, free_bytes: u64) -> Registration {
        let addresses = vec![format!("/ip4/192.0.{number}.7/tcp/4001")];
        Registration { addresses, limit_bytes: 1000, free_bytes, version: "1".into() }
    }

    fn register(registry: &mut Registry, number: u8, free_bytes: u64, seconds: u64) {
        let (peer, owner) = (PeerId([number; 32]), OwnerId([number; 32]));
        registry.register(peer, owner, &registration(number, free_bytes), at(seconds)).expect("registered");
    }

    fn offered(registry: &Registry, free_bytes: u64, exclude: &[u8], seconds: u64) -> Vec<u8> {
        let exclude = exclude.iter().map(|number| PeerId([*number; 32])).collect();
        let query = CandidateQuery { count: 100, free_bytes, exclude };
        let list = registry.candidates(&query, at(seconds), &SeededChance::new(1));
        let mut numbers: Vec<u8> = list.iter().map(|candidate| candidate.contact.peer.0[0]).collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn only_those_that_are_there_and_have_room_are_offered() {
        let (tables, _directory) = tables();
        let mut registry = Registry::open(&tables, at(0)).expect("opens");
        for (number, free_bytes) in [(1, 900), (2, 500), (3, 100), (4, 5000), (5, 900)] {
            register(&mut registry, number, free_bytes, 1);
        }
        assert_eq!(offered(&registry, 100, &[], 2), [1, 2, 3, 4, 5]);
        assert_eq!(offered(&registry, 101, &[1], 2), [2, 4, 5]);
        assert_eq!(offered(&registry, 1001, &[], 2), [0; 0], "more is free than the limit: not believed");
        registry.beat(PeerId([2; 32]), Beat { free_bytes: 50 }, at(15)).expect("known");
        registry.beat(PeerId([1; 32]), Beat { free_bytes: 900 }, at(15)).expect("known");
        assert_eq!(offered(&registry, 100, &[], 17), [1], "the others are suspect, or full");
        registry.leave(PeerId([1; 32])).expect("known");
        assert_eq!(offered(&registry, 1, &[], 17), [2]);
        let gone = registry.beat(PeerId([1; 32]), Beat { free_bytes: 1 }, at(18)).expect_err("it left");
        assert_eq!(gone.0, ErrorKind::NotFound);
        let unknown = registry.beat(PeerId([77; 32]), Beat { free_bytes: 1 }, at(18)).expect_err("never came");
        assert_eq!(unknown.0, ErrorKind::NotFound);
        let all = CandidateQuery { count: 0, free_bytes: 0, exclude: Vec::new() };
        assert_eq!(registry.candidates(&all, at(18), &SeededChance::new(1)).len(), 5);
    }

    #[test]
    fn of_very_many_each_is_named_by_and_by_and_found_at_once() {
        let (tables, _directory) = tables();
        let mut registry = Registry::open(&tables, at(0)).expect("opens");
        let peer = |number: u16| {
            let mut id = [0; 32];
            id[..2].copy_from_slice(&number.to_be_bytes());
            PeerId(id)
        };
        let count = 2 * limits::CANDIDATES as u16;
        for number in 0..count {
            // One owner has them all but a few, with the smallest ids.
            let owner = OwnerId([if number < count - 5 { 1 } else { number as u8 }; 32]);
            registry.register(peer(number), owner, &registration(1, 900), at(1)).expect("registered");
        }
        let all = CandidateQuery { count: 0, free_bytes: 0, exclude: Vec::new() };
        let chance = SeededChance::new(1);
        let mut named = HashSet::new();
        for round in 0..20 {
            let answer: Vec<PeerId> =
                registry.candidates(&all, at(2), &chance).iter().map(|candidate| candidate.contact.peer).collect();
            assert_eq!(answer.len(), limits::CANDIDATES);
            assert!((count - 5..count).all(|number| answer.contains(&peer(number))), "round {round}: strangers first");
            named.extend(answer);
        }
        assert!(named.len() > usize::from(count) - 10, "{} were named", named.len());
        let found = registry.find(&[peer(7), peer(count), peer(3)], at(30));
        let found: Vec<(PeerId, bool)> = found.iter().map(|it| (it.contact.peer, it.is_online)).collect();
        assert_eq!(found, [(peer(7), false), (peer(3), false)]);
    }

    #[test]
    fn a_restart_forgets_nobody_and_believes_who_was_there() {
        let (tables, _directory) = tables();
        let mut registry = Registry::open(&tables, at(0)).expect("opens");
        register(&mut registry, 1, 900, 1);
        register(&mut registry, 2, 900, 95);
        registry.alive(at(100)).expect("written");
        drop(registry);
        let mut registry = Registry::open(&tables, at(5000)).expect("opens again");
        assert_eq!(offered(&registry, 1, &[], 5001), [2]);
        assert_eq!(offered(&registry, 1, &[], 5016), [0; 0], "the benefit of the doubt ends");
        registry.beat(PeerId([2; 32]), Beat { free_bytes: 900 }, at(5020)).expect("known");
        let candidate = registry.all(at(5020), 1).remove(0);
        assert_eq!((candidate.is_online, candidate.uptime_permille), (true, 1000));
    }

    #[test]
    fn whoever_was_away_for_very_long_is_forgotten() {
        let (tables, _directory) = tables();
        let mut registry = Registry::open(&tables, at(0)).expect("opens");
        register(&mut registry, 1, 900, 1);
        let forget = limits::FORGET_AFTER.as_secs();
        registry.sweep(at(forget)).expect("written");
        assert_eq!(registry.counts(at(forget)).0, 1);
        registry.sweep(at(forget + 2)).expect("written");
        assert_eq!(registry.counts(at(forget)).0, 0);
        assert_eq!(Registry::open(&tables, at(forget + 3)).expect("opens").counts(at(0)).0, 0);
    }

    #[test]
    fn addresses_that_lead_nowhere_are_refused() {
        let (tables, _directory) = tables();
        let mut registry = Registry::open(&tables, at(0)).expect("opens");
        let addresses = vec!["/ip4/0.0.0.0/tcp/4001".to_owned()];
        let registration = Registration { addresses, ..registration(1, 1) };
        let refusal = registry.register(PeerId([1; 32]), OwnerId([1; 32]), &registration, at(0)).expect_err("nowhere");
        assert_eq!(refusal.0, ErrorKind::Invalid);
        assert_eq!(registry.counts(at(0)).0, 0);
    }
}
