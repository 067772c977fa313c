//! A map from disjoint byte ranges to values: dirty ranges, flights, replayed data.

use std::{collections::BTreeMap, ops::Range};

/// Disjoint half-open ranges with a value each; neighbours of equal value are one range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeMap<V> {
    /// start -> (end, value), start < end, disjoint.
    map: BTreeMap<u64, (u64, V)>,
    covered: u64,
}

/// Disjoint half-open ranges.
pub type RangeSet = RangeMap<()>;

impl<V> Default for RangeMap<V> {
    fn default() -> Self {
        Self { map: BTreeMap::new(), covered: 0 }
    }
}

impl<V: Clone + PartialEq> RangeMap<V> {
    /// No ranges.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is no range.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// How many ranges there are.
    pub fn count(&self) -> usize {
        self.map.len()
    }

    /// The sum of the lengths.
    pub fn covered_bytes(&self) -> u64 {
        self.covered
    }

    /// The end of the last range, 0 when empty.
    pub fn end(&self) -> u64 {
        self.map.last_key_value().map_or(0, |(_, (end, _))| *end)
    }

    /// All ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = (Range<u64>, &V)> {
        self.map.iter().map(|(start, (end, value))| (*start..*end, value))
    }

    /// The parts of the ranges that lie inside `window`, in order.
    pub fn within(&self, window: Range<u64>) -> impl Iterator<Item = (Range<u64>, &V)> {
        let first = match self.map.range(..=window.start).next_back() {
            Some((start, (end, _))) if *end > window.start => *start,
            _ => window.start,
        };
        let clip = window.clone();
        self.map
            .range(first..window.end.max(first))
            .map(move |(start, (end, value))| ((*start).max(clip.start)..(*end).min(clip.end), value))
            .filter(|(range, _)| range.start < range.end)
    }

    /// The whole ranges that overlap the window or end where it begins or begin where it ends, in order.
    pub fn touching(&self, window: Range<u64>) -> impl Iterator<Item = (Range<u64>, &V)> {
        let first = match self.map.range(..window.start).next_back() {
            Some((start, (end, _))) if *end >= window.start => *start,
            _ => window.start,
        };
        self.map.range(first..=window.end.max(first)).map(|(start, (end, value))| (*start..*end, value))
    }

    /// Whether every byte of the window is covered.
    pub fn covers(&self, window: Range<u64>) -> bool {
        let mut reached = window.start;
        for (range, _) in self.within(window.clone()) {
            if range.start > reached {
                return false;
            }
            reached = range.end;
        }
        reached >= window.end
    }

    /// The parts of the window that no range covers, in order.
    pub fn gaps(&self, window: Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut reached = window.start;
        for (range, _) in self.within(window.clone()) {
            if range.start > reached {
                gaps.push(reached..range.start);
            }
            reached = range.end;
        }
        if reached < window.end {
            gaps.push(reached..window.end);
        }
        gaps
    }

    /// Gives every byte of the range this value.
    pub fn insert(&mut self, range: Range<u64>, value: V) {
        if range.start >= range.end {
            return;
        }
        self.remove(range.clone());
        self.covered += range.end - range.start;
        let (mut start, mut end) = (range.start, range.end);
        if let Some((before, (before_end, before_value))) = self.map.range(..start).next_back()
            && *before_end == start
            && *before_value == value
        {
            start = *before;
        }
        if let Some((after_end, after_value)) = self.map.get(&end)
            && *after_value == value
        {
            let joined = end;
            end = *after_end;
            self.map.remove(&joined);
        }
        self.map.insert(start, (end, value));
    }

    /// Takes every byte of the range out.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.start >= range.end {
            return;
        }
        if let Some((&start, (end, value))) = self.map.range_mut(..range.start).next_back()
            && *end > range.start
        {
            debug_assert!(start < range.start);
            let (old_end, value) = (*end, value.clone());
            *end = range.start;
            self.covered -= old_end - range.start;
            if old_end > range.end {
                self.map.insert(range.end, (old_end, value));
                self.covered += old_end - range.end;
            }
        }
        while let Some((&start, _)) = self.map.range(range.start..range.end).next() {
            let (end, value) = self.map.remove(&start).expect("the key was just seen");
            self.covered -= end - start;
            if end > range.end {
                self.map.insert(range.end, (end, value));
                self.covered += end - range.end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The map agrees with an array of bytes, whatever is inserted and removed.
        #[test]
        fn agrees_with_an_array(ops in prop::collection::vec((0u64..60, 0u64..20, prop::option::of(0u8..3)), 0..40)) {
            let mut map = RangeMap::new();
            let mut model = [None; 80];
            for (start, len, value) in ops {
                match value {
                    Some(value) => map.insert(start..start + len, value),
                    None => map.remove(start..start + len),
                }
                model[start as usize..(start + len) as usize].fill(value);
            }
            let mut seen = [None; 80];
            let mut last = None;
            for (range, value) in map.iter() {
                prop_assert!(range.start < range.end);
                prop_assert!(last != Some((range.start, *value)), "neighbours of equal value must be one");
                last = Some((range.end, *value));
                seen[range.start as usize..range.end as usize].fill(Some(*value));
            }
            prop_assert_eq!(seen, model);
            prop_assert_eq!(map.covered_bytes(), model.iter().flatten().count() as u64);
            for start in 0..80u64 {
                let window = start..(start + 13).min(80);
                let slice = &model[window.start as usize..window.end as usize];
                prop_assert_eq!(map.covers(window.clone()), slice.iter().all(Option::is_some));
                let gap_bytes: u64 = map.gaps(window.clone()).iter().map(|gap| gap.end - gap.start).sum();
                prop_assert_eq!(gap_bytes, slice.iter().filter(|byte| byte.is_none()).count() as u64);
                let inside: u64 = map.within(window.clone()).map(|(range, _)| range.end - range.start).sum();
                prop_assert_eq!(inside + gap_bytes, slice.len() as u64);
                let touching: Vec<_> = map.touching(window.clone()).map(|(range, _)| range).collect();
                let meets = |range: &Range<u64>| range.start <= window.end && range.end >= window.start;
                let expected: Vec<_> = map.iter().map(|(range, _)| range).filter(meets).collect();
                prop_assert_eq!(touching, expected);
            }
        }
    }
}
