//! What a tracker keeps of one consumer, and its uptime as a union of intervals.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    base::{OwnerId, PeerId, Record, UnixMillis, limits},
    net::{Candidate, Contact},
};

/// One consumer, as stored. The key is its peer id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerRecord {
    pub owner: OwnerId,
    /// Cleaned, the best first.
    pub addresses: Vec<String>,
    pub limit_bytes: u64,
    pub free_bytes: u64,
    pub version: String,
    pub registered: UnixMillis,
    pub last_beat: UnixMillis,
    /// It said goodbye.
    pub has_left: bool,
    pub uptime: Uptime,
}

impl Record for ConsumerRecord {
    const NAME: &'static str = "consumer";
}

/// When the tracker itself was last there; tells a later start how long it was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackerRecord {
    pub alive: UnixMillis,
}

impl Record for TrackerRecord {
    const NAME: &'static str = "tracker";
}

/// Presence: the last intervals one by one, earlier ones as their sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uptime {
    /// From, to; in order, apart.
    intervals: Vec<(UnixMillis, UnixMillis)>,
    earlier_millis: u64,
    /// Time in which the tracker was away and saw nobody.
    unobserved_millis: u64,
}

impl Uptime {
    /// It was there from one time to another.
    fn add(&mut self, from: UnixMillis, to: UnixMillis) {
        match self.intervals.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => self.intervals.push((from, to.max(from))),
        }
        if self.intervals.len() > limits::UPTIME_INTERVALS {
            let (from, to) = self.intervals.remove(0);
            self.earlier_millis += millis(to.since(from));
        }
    }

    /// How long it was there.
    fn present(&self) -> u64 {
        self.earlier_millis + self.intervals.iter().map(|(from, to)| millis(to.since(*from))).sum::<u64>()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl ConsumerRecord {
    /// When it was last known to be there: a tracker that has just started gives whoever was there when it went the
    /// benefit of the doubt.
    fn seen(&self, outage: Outage) -> UnixMillis {
        if self.was_here_at(outage.from) { self.last_beat.max(outage.to) } else { self.last_beat }
    }

    fn was_here_at(&self, time: UnixMillis) -> bool {
        !self.has_left && time.since(self.last_beat) <= limits::SUSPECT_AFTER
    }

    /// Whether its last beat is recent.
    pub fn is_online(&self, now: UnixMillis, outage: Outage) -> bool {
        !self.has_left && now.since(self.seen(outage)) <= limits::SUSPECT_AFTER
    }

    /// It is there now. A gap of less than `SUSPECT_AFTER` since the last beat is no absence.
    pub fn beat(&mut self, now: UnixMillis, outage: Outage) {
        let is_after_outage = self.last_beat <= outage.to && now.since(outage.to) <= limits::RESTART_GRACE;
        let from = if is_after_outage && self.was_here_at(outage.from) {
            self.uptime.add(self.last_beat, outage.from);
            outage.to.min(now)
        } else if self.was_here_at(now) {
            self.last_beat.min(now)
        } else {
            now
        };
        self.uptime.add(from, now);
        self.last_beat = self.last_beat.max(now);
        self.has_left = false;
    }

    /// The tracker was away for this long.
    pub fn not_observed(&mut self, outage: Outage) {
        let from = outage.from.max(self.registered);
        self.uptime.unobserved_millis += millis(outage.to.since(from));
    }

    /// Share of the observed time since registration that it was there, 0..=1000.
    pub fn uptime_permille(&self, now: UnixMillis) -> u16 {
        let observed = millis(now.since(self.registered)).saturating_sub(self.uptime.unobserved_millis);
        if observed == 0 {
            return 1000;
        }
        let permille = u128::from(self.uptime.present()) * 1000 / u128::from(observed);
        u16::try_from(permille.min(1000)).expect("at most 1000")
    }

    /// As a producer is told.
    pub fn candidate(&self, peer: PeerId, now: UnixMillis, outage: Outage) -> Candidate {
        Candidate {
            contact: Contact { peer, addresses: self.addresses.clone() },
            owner: self.owner,
            limit_bytes: self.limit_bytes,
            free_bytes: self.free_bytes,
            last_beat: self.last_beat,
            uptime_permille: self.uptime_permille(now),
            is_online: self.is_online(now, outage),
        }
    }
}

/// The last time in which the tracker was away: from its last sign of life to its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    pub from: UnixMillis,
    pub to: UnixMillis,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Outage = Outage { from: UnixMillis(0), to: UnixMillis(0) };

    fn record(at: u64) -> ConsumerRecord {
        ConsumerRecord {
            owner: OwnerId([1; 32]),
            addresses: vec!["/ip4/192.0.2.7/tcp/1".into()],
            limit_bytes: 10,
            free_bytes: 5,
            version: "1".into(),
            registered: UnixMillis(at),
            last_beat: UnixMillis(at),
            has_left: false,
            uptime: Uptime::default(),
        }
    }

    fn beat_through(record: &mut ConsumerRecord, from: u64, to: u64, outage: Outage) {
        for second in (from..=to).step_by(5) {
            record.beat(UnixMillis(second * 1000), outage);
        }
    }

    #[test]
    fn uptime_is_the_share_of_the_time_it_was_there() {
        let mut record = record(1_000_000);
        beat_through(&mut record, 1000, 2000, NONE);
        assert_eq!(record.uptime_permille(UnixMillis(2_000_000)), 1000);
        beat_through(&mut record, 3000, 4000, NONE);
        assert_eq!(record.uptime_permille(UnixMillis(4_000_000)), 666);
        assert!(record.is_online(UnixMillis(4_014_000), NONE));
        assert!(!record.is_online(UnixMillis(4_016_000), NONE));
    }

    #[test]
    fn a_short_restart_is_not_punished_and_beats_twice_count_once() {
        let mut record = record(1_000_000);
        beat_through(&mut record, 1000, 2000, NONE);
        beat_through(&mut record, 1500, 2000, NONE);
        beat_through(&mut record, 2014, 3014, NONE);
        assert_eq!(record.uptime_permille(UnixMillis(3_014_000)), 1000);
        assert_eq!(record.uptime.intervals.len(), 1);
    }

    #[test]
    fn intervals_are_bounded_and_their_sum_is_kept() {
        let mut record = record(0);
        for hour in 0..200 {
            beat_through(&mut record, hour * 3600, hour * 3600 + 1800, NONE);
        }
        assert_eq!(record.uptime.intervals.len(), limits::UPTIME_INTERVALS);
        assert_eq!(record.uptime_permille(UnixMillis(200 * 3_600_000)), 500);
    }

    #[test]
    fn the_trackers_own_absence_counts_neither_way() {
        let (mut there, mut away) = (record(1_000_000), record(1_000_000));
        beat_through(&mut there, 1000, 2000, NONE);
        beat_through(&mut away, 1000, 1500, NONE);
        let outage = Outage { from: UnixMillis(2_000_000), to: UnixMillis(9_000_000) };
        for record in [&mut there, &mut away] {
            record.not_observed(outage);
        }
        assert!(there.is_online(UnixMillis(9_001_000), outage) && !away.is_online(UnixMillis(9_001_000), outage));
        assert_eq!(away.uptime_permille(UnixMillis(9_000_000)), 500);
        beat_through(&mut there, 9020, 10_000, outage);
        assert_eq!(there.uptime_permille(UnixMillis(10_000_000)), 1000);
    }

    #[test]
    fn the_golden_record_reads() {
        let mut record = record(1_000_000);
        beat_through(&mut record, 1000, 1010, NONE);
        let golden = concat!(
            "01",
            "0101010101010101010101010101010101010101010101010101010101010101",
            "01142f6970342f3139322e302e322e372f7463702f31",
            "0a05",
            "0131",
            "c0843dd0d23d00",
            "01c0843dd0d23d0000"
        );
        assert_eq!(hex::encode(record.encode()), golden);
        assert_eq!(ConsumerRecord::decode(&hex::decode(golden).expect("hex")), Ok(record));
    }
}
