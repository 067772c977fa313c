//! The bytes of one file in two images: what programs see, and what a power cut leaves.

use std::{collections::BTreeMap, sync::Arc};

use openbucket::runtime::Chance;

/// What is written and torn as a whole: a sector is never half new.
const SECTOR: usize = 512;
/// What is kept in memory as a whole.
pub const PAGE: usize = 4096;

/// Shared by the copies of a disk until one of them changes it.
type Page = Arc<[u8; PAGE]>;

/// Pages that are not there are zeros.
#[derive(Clone, Default)]
pub struct Content {
    pages: BTreeMap<u64, Page>,
    pub length: u64,
    /// What is durable of the pages that were changed since the last flush.
    before: BTreeMap<u64, Option<Page>>,
    flushed_length: u64,
}

impl Content {
    pub fn allocated(&self) -> u64 {
        self.pages.len() as u64 * PAGE as u64
    }

    pub fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let length = usize::try_from(self.length.saturating_sub(offset)).map_or(length, |left| left.min(length));
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = offset + bytes.len() as u64;
            let (page, from) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let count = (PAGE - from).min(length - bytes.len());
            match self.pages.get(&page) {
                Some(page) => bytes.extend_from_slice(&page[from..from + count]),
                None => bytes.resize(bytes.len() + count, 0),
            }
        }
        bytes
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (page, from) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let count = (PAGE - from).min(bytes.len() - done);
            self.page(page)[from..from + count].copy_from_slice(&bytes[done..done + count]);
            done += count;
        }
        self.length = self.length.max(offset + bytes.len() as u64);
    }

    pub fn set_length(&mut self, length: u64) {
        if length < self.length {
            self.zero(length, self.length - length);
        }
        self.length = length;
    }

    /// A hole: whole pages go, parts of pages become zeros.
    pub fn zero(&mut self, offset: u64, bytes: u64) {
        let end = offset + bytes;
        let touched: Vec<u64> =
            self.pages.range(offset / PAGE as u64..end.div_ceil(PAGE as u64)).map(|(page, _)| *page).collect();
        for page in touched {
            let begin = page * PAGE as u64;
            let from = offset.saturating_sub(begin) as usize;
            let to = (end - begin).min(PAGE as u64) as usize;
            self.page(page)[from..to].fill(0);
            if (from, to) == (0, PAGE) {
                self.pages.remove(&page);
            }
        }
    }

    /// A page to be changed; its durable bytes are kept beside.
    fn page(&mut self, page: u64) -> &mut [u8; PAGE] {
        let now = self.pages.get(&page);
        self.before.entry(page).or_insert_with(|| now.cloned());
        Arc::make_mut(self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE])))
    }

    /// Data and length are durable.
    pub fn flush(&mut self) {
        self.before.clear();
        self.flushed_length = self.length;
    }

    /// The power goes: each sector that was not flushed is old or new, and so is the length.
    pub fn cut(&mut self, chance: &dyn Chance) {
        // Of a hundred; so that some files are lost whole, some kept whole, and some torn.
        let kept = [0, 50, 95, 100][chance.below(4) as usize];
        let (short, long) = (self.length.min(self.flushed_length), self.length.max(self.flushed_length));
        for (page, old) in std::mem::take(&mut self.before) {
            let old = old.unwrap_or_else(|| Arc::new([0; PAGE]));
            let new = Arc::make_mut(self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE])));
            for sector in (0..PAGE).step_by(SECTOR) {
                if chance.below(100) >= kept {
                    new[sector..sector + SECTOR].copy_from_slice(&old[sector..sector + SECTOR]);
                }
            }
        }
        self.length = match chance.below(3) {
            0 => self.flushed_length,
            1 => self.length,
            _ => short + chance.below(long - short + 1),
        };
        let length = self.length;
        self.zero(length, long - length);
        self.pages.retain(|_, page| page.iter().any(|byte| *byte != 0));
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use openbucket::runtime::SeededChance;

    use super::*;

    #[test]
    fn what_was_flushed_stays_and_the_rest_is_old_or_new() {
        let (mut kept, mut lost, mut torn) = (0, 0, 0);
        for seed in 0..100 {
            let mut content = Content::default();
            content.write(0, &[1; 10_000]);
            content.flush();
            content.write(5_000, &[2; 10_000]);
            content.cut(&SeededChance::new(seed));
            let bytes = content.read(0, 1 << 20);
            assert!(bytes.len() >= 10_000 && bytes.len() <= 15_000, "{}", bytes.len());
            assert!(bytes[..5_000].iter().all(|byte| *byte == 1));
            assert!(bytes[5_000..10_000].iter().all(|byte| [1, 2].contains(byte)));
            assert!(bytes[10_000..].iter().all(|byte| [0, 2].contains(byte)));
            let new = bytes.iter().filter(|byte| **byte == 2).count();
            match new {
                0 => lost += 1,
                10_000 => kept += 1,
                _ => torn += 1,
            }
        }
        assert!(kept > 0 && lost > 0 && torn > 0, "{kept} {lost} {torn}");
    }

    #[test]
    fn a_hole_and_a_cut_off_end_may_come_back() {
        let mut seen = [false; 2];
        for seed in 0..50 {
            let mut content = Content::default();
            content.write(0, &[1; 3 * PAGE]);
            content.flush();
            content.zero(PAGE as u64, PAGE as u64);
            content.set_length(PAGE as u64);
            assert_eq!((content.read(0, 1 << 20).len(), content.allocated()), (PAGE, PAGE as u64));
            content.cut(&SeededChance::new(seed));
            seen[usize::from(content.length == 3 * PAGE as u64)] = true;
        }
        assert_eq!(seen, [true; 2]);
    }
}
