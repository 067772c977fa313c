//! What is committed and not in sled yet: the layers in memory over the trees.

use std::{
    collections::{BTreeMap, btree_map},
    ops::{Bound, Range},
    sync::Arc,
};

use super::{log::Op, ordered::Query};

/// A key, shared between the layer it is in and who reads that.
pub(super) type Key = Arc<[u8]>;
/// What a key has now; none when it was deleted.
pub(super) type Value = Option<Arc<[u8]>>;

/// Changes, the newest of each key.
#[derive(Default)]
pub(super) struct Overlay(BTreeMap<Key, Value>);

/// Which way pairs are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// From the least key on.
    Up,
    /// From the greatest key on.
    Down,
}

impl Order {
    /// An iterator in its own order, or in the other.
    pub fn of<'a, I>(self, items: I) -> Box<dyn Iterator<Item = I::Item> + 'a>
    where
        I: DoubleEndedIterator + 'a,
    {
        match self {
            Self::Up => Box::new(items),
            Self::Down => Box::new(items.rev()),
        }
    }

    /// Which of two keys comes first.
    pub fn first<'a>(self, one: &'a [u8], other: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Up => one.min(other),
            Self::Down => one.max(other),
        }
    }
}

impl Overlay {
    /// What this layer says of a key, if it says something.
    pub fn get(&self, key: &[u8]) -> Option<&Value> {
        self.0.get(key)
    }

    /// Takes the changes of a batch, whose keys and values are ready.
    pub fn extend(&mut self, changes: Vec<(Key, Value)>) {
        self.0.extend(changes);
    }

    /// All that it says of keys in a range.
    pub fn range(&self, range: &Range<Vec<u8>>) -> btree_map::Range<'_, Key, Value> {
        self.0.range::<[u8], _>((Bound::Included(&range.start[..]), Bound::Excluded(&range.end[..])))
    }

    pub fn iter(&self) -> btree_map::Iter<'_, Key, Value> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// The layers over the trees.
#[derive(Default)]
pub(super) struct Memory {
    /// Committed since the current log file began.
    pub active: Overlay,
    /// Of the log file that is being checkpointed.
    pub frozen: Arc<Overlay>,
    /// Counts how often the active layer has become the frozen one.
    turns: u64,
}

/// The layers at one moment, as far as a query depends on them. It holds no lock, so that who commits need not wait until the
/// trees are read. What is read there is of the same moment if the log [has not turned](Memory::is_turn_of) since.
pub(super) struct Recent {
    /// In the order that was asked for: all, or as many as have the wanted number of values.
    pub active: Vec<(Key, Value)>,
    pub frozen: Arc<Overlay>,
    turns: u64,
}

impl Memory {
    /// What the pairs that are asked for depend on.
    pub fn recent(&self, query: &Query) -> Recent {
        let mut active = Vec::new();
        let mut values = 0;
        for (key, value) in query.order.of(self.active.range(&query.range)) {
            if values >= query.limit {
                break;
            }
            values += usize::from(value.is_some());
            active.push((Arc::clone(key), value.clone()));
        }
        Recent { active, frozen: Arc::clone(&self.frozen), turns: self.turns }
    }

    /// Whether the trees hold nothing that is newer than these layers: the active one is not the frozen one yet.
    pub fn is_turn_of(&self, recent: &Recent) -> bool {
        self.turns == recent.turns
    }

    /// The active layer becomes the frozen one, which goes into the trees now.
    pub fn freeze(&mut self) -> Arc<Overlay> {
        self.turns += 1;
        self.frozen = Arc::new(std::mem::take(&mut self.active));
        Arc::clone(&self.frozen)
    }
}

/// The changes of a batch to keys, and the inodes whose bytes it carries.
pub(super) fn changes(ops: Vec<Op>) -> (Vec<(Key, Value)>, Vec<u64>) {
    let (mut changes, mut inline) = (Vec::with_capacity(ops.len()), Vec::new());
    for op in ops {
        match op {
            Op::Put { key, value } => changes.push((key.into(), Some(value.into()))),
            Op::Delete { key } => changes.push((key.into(), None)),
            Op::Inline { ino, .. } => inline.push(ino),
            Op::Supersede { .. } => {}
        }
    }
    (changes, inline)
}
