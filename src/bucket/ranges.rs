//! The staged ranges of a file: in memory with the chunks that carry them away, and as far as the database names them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::{Deref, Range},
};

use super::{
    Error, Inner,
    cell::Flight,
    records::{Dirty, Inode},
};
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
    /// What the database does not know yet: ranges that begin here, and where each ends.
    begun: BTreeMap<u64, u64>,
    /// What it does not know yet: where no range begins any more.
    gone: BTreeSet<u64>,
}

impl LoggedRanges {
    /// Those that the database names.
    pub fn stored(ranges: RangeSet) -> Self {
        Self { ranges, ..Self::default() }
    }

    /// Those that records of the database name, whatever a crash has left of them: some may overlap, or end behind the
    /// file. The database is to be told what becomes of them.
    fn read(records: &[(u64, u64)], size: u64) -> Self {
        let mut ranges = RangeSet::new();
        for &(start, end) in records {
            ranges.insert(start..end.min(size), ());
        }
        let mut begun: BTreeMap<u64, u64> = ranges.iter().map(|(range, ())| (range.start, range.end)).collect();
        let mut gone = BTreeSet::new();
        for (start, end) in records {
            if begun.get(start) == Some(end) {
                begun.remove(start);
            } else if !begun.contains_key(start) {
                gone.insert(*start);
            }
        }
        Self { ranges, begun, gone }
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
        let taken: Vec<_> = self.ranges.within(range.clone()).map(|(part, ())| part).collect();
        if !taken.is_empty() {
            self.change(range, RangeMap::remove);
        }
        taken
    }

    fn change(&mut self, range: Range<u64>, change: impl FnOnce(&mut RangeSet, Range<u64>)) {
        if range.is_empty() {
            return;
        }
        let mut window = range.clone();
        for (old, ()) in self.ranges.touching(range.clone()) {
            window = window.start.min(old.start)..window.end.max(old.end);
            self.begun.remove(&old.start);
            self.gone.insert(old.start);
        }
        change(&mut self.ranges, range);
        for (new, ()) in self.ranges.within(window) {
            self.gone.remove(&new.start);
            self.begun.insert(new.start, new.end);
        }
    }

    /// Whether the database knows everything.
    pub fn is_told(&self) -> bool {
        self.begun.is_empty() && self.gone.is_empty()
    }

    /// Adds what the database has to be told to a batch, at most `limits::RANGES_PER_BATCH` steps of it; true when
    /// that was all.
    pub fn put(&mut self, ino: Ino, batch: &mut Batch) -> bool {
        self.put_some(ino, limits::RANGES_PER_BATCH, batch)
    }

    /// In an order in which no step takes away what stays: the last ranges first, so that what a shortened one leaves
    /// is there before it is shortened, and what is gone goes in the end. A crash between two steps may leave ranges
    /// that overlap, or some that are gone.
    fn put_some(&mut self, ino: Ino, limit: usize, batch: &mut Batch) -> bool {
        let ino = ino.0.to_be_bytes();
        for _ in 0..limit {
            if let Some((start, end)) = self.begun.pop_last() {
                batch.put(Table::Staged, &[&ino, &start.to_be_bytes()], end.to_be_bytes().to_vec());
            } else if let Some(start) = self.gone.pop_first() {
                batch.delete(Table::Staged, &[&ino, &start.to_be_bytes()]);
            } else {
                break;
            }
        }
        self.is_told()
    }
}

impl Inner {
    /// Adds the staged ranges that a crash leaves to a batch. When that is too much for one, the batch as it is goes
    /// first, with some of them: so what it holds must be right while some of the ranges are as they were.
    pub fn put_ranges(&self, ino: Ino, logged: &mut LoggedRanges, batch: &mut Batch) -> Result<(), Error> {
        while !logged.put(ino, batch) {
            self.database.commit(std::mem::take(batch))?;
        }
        Ok(())
    }

    /// The staged ranges of all files. The database names exactly these from then on, whatever a crash has left.
    pub fn stored_ranges(&self) -> Result<BTreeMap<Ino, RangeSet>, Error> {
        self.move_dirty_records()?;
        let mut found: BTreeMap<Ino, RangeSet> = BTreeMap::new();
        let mut from = Vec::new();
        // A file at a time, so that no more than one file's records are in memory beside the ranges.
        while let Some((key, _)) = self.database.scan(Table::Staged, b"", &from, 1)?.pop() {
            let ino = Ino(number(key.get(..8))?);
            found.insert(ino, self.read_ranges(ino)?);
            let Some(next) = ino.0.checked_add(1) else { break };
            from = next.to_be_bytes().to_vec();
        }
        found.retain(|_, ranges| !ranges.is_empty());
        Ok(found)
    }

    fn read_ranges(&self, ino: Ino) -> Result<RangeSet, Error> {
        let (key, mut records, mut from) = (ino.0.to_be_bytes(), Vec::new(), Vec::new());
        loop {
            let page = self.database.scan(Table::Staged, &key, &from, limits::RANGES_PER_BATCH)?;
            for (start, end) in &page {
                records.push((number(Some(start))?, number(Some(end))?));
            }
            let Some((last, _)) = page.last() else { break };
            from = [last.as_slice(), &[0]].concat();
        }
        let inode = self.database.get(Table::Inode, &[&key])?;
        let inode = inode.map(|bytes| Inode::decode(&bytes)).transpose().map_err(store::Error::from)?;
        if inode.is_none() {
            tracing::warn!(file = ino.0, "staged bytes of a file that is not there are dropped");
        }
        let mut logged = LoggedRanges::read(&records, inode.map_or(0, |inode| inode.size));
        if !logged.is_told() {
            let mut batch = Batch::new();
            self.put_ranges(ino, &mut logged, &mut batch)?;
            self.database.commit(batch)?;
        }
        Ok(logged.ranges)
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

    /// What is stored, by where it begins.
    type Stored = BTreeMap<u64, u64>;

    fn apply(batch: &Batch, stored: &mut Stored) {
        for op in batch.ops() {
            match op {
                Op::Put { key, value } => {
                    stored.insert(number(key.get(9..)).unwrap(), number(Some(value)).unwrap());
                }
                Op::Delete { key } => {
                    stored.remove(&number(key.get(9..)).unwrap());
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn tell(logged: &mut LoggedRanges, stored: &mut Stored) {
        let mut batch = Batch::new();
        assert!(logged.put(Ino(7), &mut batch));
        apply(&batch, stored);
    }

    fn records(stored: &Stored) -> Vec<(u64, u64)> {
        stored.iter().map(|(start, end)| (*start, *end)).collect()
    }

    fn joined(records: &[(u64, u64)]) -> RangeSet {
        let mut joined = RangeSet::new();
        records.iter().for_each(|(start, end)| joined.insert(*start..*end, ()));
        joined
    }

    /// Ranges that come and go.
    fn changes(count: usize) -> impl Strategy<Value = Vec<(u64, u64, bool)>> {
        prop::collection::vec((0u64..60, 1u64..20, any::<bool>()), 1..count)
    }

    fn change(logged: &mut LoggedRanges, changes: Vec<(u64, u64, bool)>) {
        for (start, length, comes) in changes {
            if comes { logged.insert(start..start + length) } else { drop(logged.take(start..start + length)) }
        }
    }

    proptest! {
        /// What the database was told is what there is, and the account of carried bytes is right.
        #[test]
        fn the_records_are_the_ranges(ops in prop::collection::vec((0u64..60, 1u64..20, 0u8..4), 1..60)) {
            let (mut logged, mut dirty) = (LoggedRanges::default(), DirtyRanges::default());
            let mut stored = Stored::new();
            for (start, length, kind) in ops {
                let range = start..start + length;
                match kind {
                    0 => logged.insert(range.clone()),
                    1 => drop(logged.take(range.clone())),
                    _ => {
                        tell(&mut logged, &mut stored);
                        let expected: Vec<_> = logged.ranges.iter().map(|(range, ())| (range.start, range.end)).collect();
                        prop_assert_eq!(records(&stored), expected);
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

        /// Wherever a crash falls while they are told, nothing is lost that stays, and what is read then is what the
        /// database says from there on.
        #[test]
        fn a_crash_between_two_batches_leaves_ranges_that_are_right(
            before in changes(30), after in changes(30), later in changes(10),
            limit in 1usize..4, told in 0usize..20, size in 40u64..90,
        ) {
            let (mut logged, mut stored) = (LoggedRanges::default(), Stored::new());
            change(&mut logged, before);
            tell(&mut logged, &mut stored);
            let old = logged.ranges.clone();
            change(&mut logged, after);
            for _ in 0..told {
                let mut batch = Batch::new();
                logged.put_some(Ino(7), limit, &mut batch);
                apply(&batch, &mut stored);
            }
            let found = joined(&records(&stored));
            for byte in 0..80 {
                let (was, is) = (old.covers(byte..byte + 1), logged.ranges.covers(byte..byte + 1));
                let is_found = found.covers(byte..byte + 1);
                prop_assert!(is_found || !(was && is), "byte {} is lost", byte);
                prop_assert!(!is_found || was || is, "byte {} comes from nowhere", byte);
            }
            let mut reopened = LoggedRanges::read(&records(&stored), size);
            let mut expected = found;
            expected.remove(size..u64::MAX);
            prop_assert_eq!(&reopened.ranges, &expected);
            tell(&mut reopened, &mut stored);
            prop_assert_eq!(&joined(&records(&stored)), &expected);
            change(&mut reopened, later);
            tell(&mut reopened, &mut stored);
            let expected: Vec<_> = reopened.ranges.iter().map(|(range, ())| (range.start, range.end)).collect();
            prop_assert_eq!(records(&stored), expected);
        }
    }
}
