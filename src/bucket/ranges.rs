//! The staged ranges of a file: in memory with the chunks that carry them away, and as far as the database names them.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::{Deref, Range},
};

use super::{Error, Inner, cell::Flight, records::Dirty};
use crate::{
    base::{Ino, RangeMap, RangeSet, Record, limits},
    store::{self, Batch, Table},
};

/// Staged ranges, each with the chunk that carries it away, if one does.
#[derive(Default)]
pub(super) struct DirtyRanges {
    map: RangeMap<Option<Flight>>,
    carried_bytes: u64,
}

impl Deref for DirtyRanges {
    type Target = RangeMap<Option<Flight>>;

    fn deref(&self) -> &Self::Target {
        &self.map
    }
}

impl DirtyRanges {
    /// This range is staged, and this chunk carries it.
    pub fn insert(&mut self, range: Range<u64>, flight: Option<Flight>) {
        self.carried_bytes -= self.carried_within(range.clone());
        if flight.is_some() {
            self.carried_bytes += range.end.saturating_sub(range.start);
        }
        self.map.insert(range, flight);
    }

    /// This range is staged no more.
    pub fn remove(&mut self, range: Range<u64>) {
        self.carried_bytes -= self.carried_within(range.clone());
        self.map.remove(range);
    }

    /// Bytes that no chunk carries yet.
    pub fn waiting_bytes(&self) -> u64 {
        self.map.covered_bytes() - self.carried_bytes
    }

    /// Bytes on their way.
    pub fn carried_bytes(&self) -> u64 {
        self.carried_bytes
    }

    fn carried_within(&self, range: Range<u64>) -> u64 {
        let carried = self.map.within(range).filter(|(_, flight)| flight.is_some());
        carried.map(|(part, _)| part.end - part.start).sum()
    }
}

/// The staged ranges that a crash leaves. The database keeps one record for each, so that a change costs what it
/// changes however many there are.
#[derive(Default)]
pub(super) struct LoggedRanges {
    ranges: RangeSet,
    /// What the database does not know yet: where ranges begin now and end, or begin no more.
    untold: BTreeMap<u64, Option<u64>>,
}

impl LoggedRanges {
    /// Those that the database names.
    pub fn stored(ranges: RangeSet) -> Self {
        Self { ranges, untold: BTreeMap::new() }
    }

    #[cfg(test)]
    pub fn covered_bytes(&self) -> u64 {
        self.ranges.covered_bytes()
    }

    pub fn insert(&mut self, range: Range<u64>) {
        self.change(range, |ranges, range| ranges.insert(range, ()));
    }

    /// Takes a range out; returns what of it was there.
    pub fn take(&mut self, range: Range<u64>) -> Vec<Range<u64>> {
        let taken = self.ranges.within(range.clone()).map(|(part, ())| part).collect();
        self.change(range, RangeMap::remove);
        taken
    }

    fn change(&mut self, range: Range<u64>, change: impl FnOnce(&mut RangeSet, Range<u64>)) {
        if range.is_empty() {
            return;
        }
        let mut window = range.clone();
        for (old, ()) in self.ranges.touching(range.clone()) {
            window = window.start.min(old.start)..window.end.max(old.end);
            self.untold.insert(old.start, None);
        }
        change(&mut self.ranges, range);
        for (new, ()) in self.ranges.within(window) {
            self.untold.insert(new.start, Some(new.end));
        }
    }

    /// Adds what the database has to be told to a batch, at most `limits::RANGES_PER_BATCH` steps of it; true when
    /// that was all.
    pub fn put(&mut self, ino: Ino, batch: &mut Batch) -> bool {
        let ino = ino.0.to_be_bytes();
        for _ in 0..limits::RANGES_PER_BATCH {
            let Some((start, end)) = self.untold.pop_first() else { break };
            let key: [&[u8]; 2] = [&ino, &start.to_be_bytes()];
            match end {
                Some(end) => batch.put(Table::Staged, &key, end.to_be_bytes().to_vec()),
                None => batch.delete(Table::Staged, &key),
            }
        }
        self.untold.is_empty()
    }
}

impl Inner {
    /// Adds the staged ranges that a crash leaves to a batch. What is too much for one goes before it: a crash in between
    /// leaves some of the ranges as they were.
    pub fn put_ranges(&self, ino: Ino, logged: &mut LoggedRanges, batch: &mut Batch) -> Result<(), Error> {
        while logged.untold.len() > limits::RANGES_PER_BATCH {
            let mut before = Batch::new();
            logged.put(ino, &mut before);
            self.database.commit(before)?;
        }
        logged.put(ino, batch);
        Ok(())
    }

    /// The staged ranges of all files as the database names them.
    pub fn stored_ranges(&self) -> Result<BTreeMap<Ino, RangeSet>, Error> {
        self.move_dirty_records()?;
        let mut found: BTreeMap<Ino, RangeSet> = BTreeMap::new();
        let mut from = Vec::new();
        loop {
            let page = self.database.scan(Table::Staged, b"", &from, limits::RANGES_PER_BATCH)?;
            for (key, value) in &page {
                let (ino, start, end) = (number(key.get(..8))?, number(key.get(8..))?, number(Some(value))?);
                found.entry(Ino(ino)).or_default().insert(start..end, ());
            }
            let Some((last, _)) = page.last() else { return Ok(found) };
            from = [last.as_slice(), &[0]].concat();
        }
    }

    /// Whether a file has staged bytes.
    pub fn is_staged(&self, ino: Ino) -> bool {
        let cell = self.cells.lock().get(&ino).cloned();
        cell.is_some_and(|cell| !cell.lock().dirty.is_empty())
    }

    /// States written earlier have all ranges of a file in one record.
    fn move_dirty_records(&self) -> Result<(), Error> {
        while let Some((key, value)) = self.database.scan(Table::Dirty, b"", b"", 1)?.pop() {
            let mut left = VecDeque::from(Dirty::decode(&value).map_err(store::Error::from)?.0);
            while !left.is_empty() {
                let mut batch = Batch::new();
                for (start, end) in left.drain(..left.len().min(limits::RANGES_PER_BATCH)) {
                    batch.put(Table::Staged, &[&key, &start.to_be_bytes()], end.to_be_bytes().to_vec());
                }
                self.database.commit(batch)?;
            }
            let mut batch = Batch::new();
            batch.delete(Table::Dirty, &[&key]);
            self.database.commit(batch)?;
        }
        Ok(())
    }
}

fn number(bytes: Option<&[u8]>) -> Result<u64, Error> {
    Ok(u64::from_be_bytes(bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(Error::Stale)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::Op;

    proptest! {
        /// What the database was told is what there is, and the account of carried bytes is right.
        #[test]
        fn the_records_are_the_ranges(ops in prop::collection::vec((0u64..60, 1u64..20, 0u8..4), 1..60)) {
            let (mut logged, mut dirty) = (LoggedRanges::default(), DirtyRanges::default());
            let mut stored = BTreeMap::new();
            for (start, length, kind) in ops {
                let range = start..start + length;
                match kind {
                    0 => logged.insert(range.clone()),
                    1 => drop(logged.take(range.clone())),
                    _ => {
                        let mut batch = Batch::new();
                        prop_assert!(logged.put(Ino(7), &mut batch));
                        for op in batch.ops() {
                            match op {
                                Op::Put { key, value } => drop(stored.insert(key.clone(), value.clone())),
                                Op::Delete { key } => drop(stored.remove(key)),
                                other => panic!("{other:?}"),
                            }
                        }
                        let expected: Vec<_> = logged.ranges.iter().map(|(range, ())| (range.start, range.end)).collect();
                        let found: Vec<_> = stored
                            .iter()
                            .map(|(key, value)| (number(key.get(9..)).unwrap(), number(Some(value)).unwrap()))
                            .collect();
                        prop_assert_eq!(found, expected);
                    }
                }
                match kind {
                    0 => dirty.remove(range),
                    1 => dirty.insert(range, Some(Flight(1))),
                    2 => dirty.insert(range, Some(Flight(2))),
                    _ => dirty.insert(range, None),
                }
                let carried: u64 = dirty.iter().filter(|(_, flight)| flight.is_some()).map(|(r, _)| r.end - r.start).sum();
                prop_assert_eq!(dirty.carried_bytes(), carried);
                prop_assert_eq!(dirty.waiting_bytes() + carried, dirty.covered_bytes());
            }
        }
    }
}
