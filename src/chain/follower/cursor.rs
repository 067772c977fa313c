//! How far events are handed over, and how the chain looked there.

use serde::{Deserialize, Serialize};

use crate::{
    base::{Record, limits},
    chain::BlockHash,
};

/// A block as it was when its events were handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub block: u64,
    pub hash: BlockHash,
}

/// The place after the last event that was handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Of the newest block; those before are handed over whole. None: it is, too.
    next_index: Option<u64>,
    /// Oldest first, never empty, at most `limits::CURSOR_MARKS`.
    marks: Vec<Mark>,
}

impl Record for Cursor {
    const NAME: &'static str = "event cursor";
}

impl Cursor {
    /// Everything up to this block is handed over.
    pub(in crate::chain) fn after_block(earlier: Option<Cursor>, block: u64, hash: BlockHash) -> Self {
        Self::at(earlier, Mark { block, hash }, None)
    }

    /// Everything up to this event is handed over.
    pub(super) fn after_event(earlier: Option<Cursor>, block: u64, hash: BlockHash, index: u64) -> Self {
        Self::at(earlier, Mark { block, hash }, Some(index + 1))
    }

    fn at(earlier: Option<Cursor>, mark: Mark, next_index: Option<u64>) -> Self {
        let mut marks = earlier.map_or_else(Vec::new, |cursor| cursor.marks);
        marks.retain(|old| old.block < mark.block);
        marks.push(mark);
        thin(&mut marks);
        Self { next_index, marks }
    }

    /// The newest block of which something is handed over.
    pub fn newest(&self) -> &Mark {
        self.marks.last().expect("a cursor has a mark")
    }

    /// The remembered blocks, oldest first.
    pub(in crate::chain) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The cursor at the end of an earlier mark, whose block was handed over whole by then.
    pub(in crate::chain) fn back_to(&self, index: usize) -> Self {
        let is_newest = index + 1 == self.marks.len();
        Self { next_index: self.next_index.filter(|_| is_newest), marks: self.marks[..=index].to_vec() }
    }

    /// The first block that may have events to hand over.
    pub(in crate::chain) fn next_block(&self) -> u64 {
        let block = self.newest().block;
        if self.next_index.is_some() { block } else { block + 1 }
    }

    /// Whether an event is still to be handed over.
    pub fn is_before(&self, block: u64, index: u64) -> bool {
        match self.next_index {
            Some(next) => (block, index) >= (self.newest().block, next),
            None => block > self.newest().block,
        }
    }
}

/// Keeps the marks bounded: the newer, the closer together, so that a short re-organisation costs little and a long one is
/// still found. The oldest stays.
fn thin(marks: &mut Vec<Mark>) {
    while marks.len() > limits::CURSOR_MARKS {
        let newest = marks.last().expect("more than a few").block;
        // The one whose neighbours are closest, measured by their age.
        let crowding = |index: usize| {
            let gap = u128::from(marks[index + 1].block - marks[index - 1].block);
            gap * 1_000_000 / u128::from(newest - marks[index].block + 1)
        };
        let half = marks.len() / 2;
        let most = (1..half).min_by_key(|index| crowding(*index)).expect("more than a few");
        marks.remove(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(block: u64) -> BlockHash {
        BlockHash([block as u8; 32])
    }

    #[test]
    fn a_cursor_knows_what_is_left() {
        let cursor = Cursor::after_event(None, 5, hash(5), 3);
        assert_eq!(cursor.next_block(), 5);
        assert!(!cursor.is_before(5, 3) && cursor.is_before(5, 4) && cursor.is_before(6, 0) && !cursor.is_before(4, 9));
        let cursor = Cursor::after_block(Some(cursor), 5, hash(5));
        assert_eq!((cursor.next_block(), cursor.marks().len()), (6, 1));
        assert!(!cursor.is_before(5, 4) && cursor.is_before(6, 0));
        assert_eq!(Cursor::decode(&cursor.encode()).unwrap(), cursor);
    }

    #[test]
    fn marks_are_bounded_close_together_at_the_end_and_reach_far_back() {
        let mut cursor = None;
        for block in 0..10_000 {
            cursor = Some(Cursor::after_block(cursor, block, hash(block)));
        }
        let marks: Vec<u64> = cursor.as_ref().unwrap().marks().iter().map(|mark| mark.block).collect();
        assert_eq!(marks.len(), limits::CURSOR_MARKS);
        assert_eq!(marks[0], 0);
        assert!(marks[marks.len() - 32..].windows(2).all(|pair| pair[1] == pair[0] + 1), "{marks:?}");
        let old = marks.iter().filter(|block| **block < 9_900).count();
        assert!(old > 5, "{marks:?}");
    }

    #[test]
    fn the_first_version_is_read() {
        let cursor = Cursor::after_event(Some(Cursor::after_block(None, 2, hash(2))), 300, hash(44), 1);
        let golden = format!("0101020202{}ac02{}", "02".repeat(32), "2c".repeat(32));
        assert_eq!(hex::encode(cursor.encode()), golden);
        assert_eq!(Cursor::decode(&hex::decode(golden).unwrap()).unwrap(), cursor);
    }
}
