//! What the store knows in memory: where each shard is, and what space is taken.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::format::{EntryHeader, Key, PAGE, footprint, head_bytes};
use crate::base::{Mutex, OwnerId, ShardId, limits};

/// Where a shard's entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    pub segment: u32,
    pub offset: u64,
    pub roots: u16,
    pub roots_crc: u32,
    pub body_bytes: u32,
    pub body_crc: u32,
}

impl Location {
    /// Where the body begins.
    pub fn body_offset(&self) -> u64 {
        self.offset + head_bytes(self.roots.into())
    }

    /// The space of the whole entry.
    pub fn footprint(&self) -> u64 {
        footprint(self.roots.into(), self.body_bytes.into())
    }
}

impl From<&EntryHeader> for Location {
    fn from(header: &EntryHeader) -> Self {
        let EntryHeader { segment, offset, roots, roots_crc, body_bytes, body_crc, .. } = *header;
        Self { segment, offset, roots, roots_crc, body_bytes, body_crc }
    }
}

/// What one segment holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct SegmentUse {
    pub live_entries: u64,
    /// Bytes of disk that it takes.
    pub held_bytes: u64,
    /// Something in it does not read: it is kept for whoever can rescue it.
    pub is_damaged: bool,
}

/// The index and the account of space.
#[derive(Default)]
pub struct State {
    pub index: BTreeMap<Key, Location>,
    /// Bad entries whose mark the disk did not take: not held, but after a restart they would be again.
    pub unmarked: BTreeMap<Key, Location>,
    /// Shards that the disk did not read: when first, and when last.
    pub unread: BTreeMap<Key, (Instant, Instant)>,
    pub segments: BTreeMap<u32, SegmentUse>,
    pub limit_bytes: u64,
    pub used_bytes: u64,
    pub reserved_bytes: u64,
    pub bad_shards: u64,
    pub damaged_headers: u64,
    pub verified_shards: u64,
    pub to_verify_shards: u64,
    /// The disk refused the last write.
    pub problem: Option<String>,
    /// A flush failed: nothing more is accepted.
    pub poison: Option<String>,
    pub is_closed: bool,
}

impl State {
    /// A segment was made or found.
    pub fn add_segment(&mut self, number: u32) {
        self.segments.insert(number, SegmentUse { held_bytes: PAGE, ..SegmentUse::default() });
        self.used_bytes += PAGE;
    }

    /// Space of a segment is taken.
    pub fn hold(&mut self, segment: u32, bytes: u64) {
        self.segments.entry(segment).or_default().held_bytes += bytes;
        self.used_bytes += bytes;
    }

    /// Space of a segment was given back.
    pub fn release(&mut self, segment: u32, bytes: u64) {
        if let Some(held) = self.segments.get_mut(&segment) {
            held.held_bytes = held.held_bytes.saturating_sub(bytes);
            self.used_bytes = self.used_bytes.saturating_sub(bytes);
        }
    }

    /// A live entry is on disk, flushed.
    pub fn add(&mut self, key: Key, location: Location) {
        self.hold(location.segment, location.footprint());
        self.segments.entry(location.segment).or_default().live_entries += 1;
        let before = self.index.insert(key, location);
        debug_assert!(before.is_none(), "a key is live once");
    }

    /// An entry is dead on disk, flushed; its space is not given back yet.
    pub fn forget(&mut self, key: &Key, location: &Location) {
        self.unread.remove(key);
        for entries in [&mut self.index, &mut self.unmarked] {
            if entries.get(key) == Some(location) {
                entries.remove(key);
            }
        }
        if let Some(segment) = self.segments.get_mut(&location.segment) {
            segment.live_entries = segment.live_entries.saturating_sub(1);
        }
    }

    /// Whether a shard that does not read now did not read a while ago either. Trouble that lies far apart is not the same.
    pub fn is_unread_for_long(&mut self, key: Key, location: &Location) -> bool {
        if self.index.get(&key) != Some(location) {
            return false;
        }
        let now = Instant::now();
        let (first, last) = self.unread.entry(key).or_insert((now, now));
        if last.elapsed() >= limits::UNREAD_APART {
            *first = now;
        }
        *last = now;
        first.elapsed() >= limits::UNREAD_FOR
    }

    /// A shard is not held, though its entry says so until it is marked; false when another is there meanwhile.
    pub fn set_aside(&mut self, key: Key, location: Location) -> bool {
        let is_held = self.index.get(&key) == Some(&location);
        if is_held {
            self.index.remove(&key);
            self.unmarked.insert(key, location);
            self.bad_shards += 1;
        }
        is_held
    }

    /// A segment file is gone.
    pub fn remove_segment(&mut self, number: u32) {
        if let Some(segment) = self.segments.remove(&number) {
            self.used_bytes = self.used_bytes.saturating_sub(segment.held_bytes);
        }
    }

    /// Bytes that may still be reserved under the limit.
    pub fn free_bytes(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.used_bytes).saturating_sub(self.reserved_bytes)
    }

    /// The figures for people.
    pub fn usage(&self) -> ShardUsage {
        ShardUsage {
            limit_bytes: self.limit_bytes,
            used_bytes: self.used_bytes,
            reserved_bytes: self.reserved_bytes,
            free_bytes: self.free_bytes(),
            shards: self.index.len() as u64,
            bad_shards: self.bad_shards,
            damaged_headers: self.damaged_headers,
            verified_shards: self.verified_shards,
            to_verify_shards: self.to_verify_shards,
            problem: self.problem(),
        }
    }

    fn problem(&self) -> Option<String> {
        if let Some(poison) = &self.poison {
            return Some(poison.clone());
        }
        if self.used_bytes > self.limit_bytes {
            let (held, limit) = (self.used_bytes, self.limit_bytes);
            return Some(format!(
                "{held} bytes are held, more than the limit of {limit}: nothing is dropped, nothing new is accepted"
            ));
        }
        self.problem.clone()
    }
}

/// What a store holds, in bytes of real disk space, headers included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardUsage {
    pub limit_bytes: u64,
    pub used_bytes: u64,
    pub reserved_bytes: u64,
    pub free_bytes: u64,
    pub shards: u64,
    /// Shards whose bodies did not verify: no longer held.
    pub bad_shards: u64,
    /// Places where a header should be and none reads.
    pub damaged_headers: u64,
    /// Shards verified since the store was opened, of those it held then.
    pub verified_shards: u64,
    pub to_verify_shards: u64,
    /// Why nothing new is accepted, if so.
    pub problem: Option<String>,
}

/// Space held for one shard; given back when dropped.
pub struct SpaceGuard {
    state: Arc<Mutex<State>>,
    bytes: u64,
}

impl SpaceGuard {
    /// Takes `bytes` of disk space; the caller has checked that they are free, under the same lock.
    pub fn take(shared: &Arc<Mutex<State>>, state: &mut State, bytes: u64) -> Self {
        state.reserved_bytes += bytes;
        Self { state: Arc::clone(shared), bytes }
    }

    /// Bytes of disk space that are held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for SpaceGuard {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        debug_assert!(state.reserved_bytes >= self.bytes, "reservations are given back once");
        state.reserved_bytes = state.reserved_bytes.saturating_sub(self.bytes);
    }
}

/// The live shards of one owner after an id, in the order of the ids.
pub fn page(state: &State, owner: OwnerId, after: Option<ShardId>, max: usize) -> Vec<(ShardId, u32)> {
    use std::ops::Bound::{Excluded, Included};
    let from = match after {
        Some(shard) => Excluded((owner, shard)),
        None => Included((owner, ShardId([0; 32]))),
    };
    let to = Included((owner, ShardId([0xff; 32])));
    if matches!(after, Some(ShardId(last)) if last == [0xff; 32]) {
        return Vec::new();
    }
    state.index.range((from, to)).take(max).map(|(key, location)| (key.1, location.body_bytes)).collect()
}
