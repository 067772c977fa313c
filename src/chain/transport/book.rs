//! What is known of each node: which one is asked, which ones rest.

use tokio::time::Instant;

use crate::base::limits;

#[derive(Clone, Default)]
struct Entry {
    /// In a row.
    failures: u32,
    rests_until: Option<Instant>,
    is_verified: bool,
}

/// The book of all nodes, by their places in the list of URLs.
pub(super) struct Book {
    entries: Vec<Entry>,
    current: usize,
    generation: u64,
}

impl Book {
    pub fn new(count: usize) -> Self {
        Self { entries: vec![Entry::default(); count], current: 0, generation: 0 }
    }

    pub fn current(&self) -> usize {
        self.current
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn is_verified(&self, index: usize) -> bool {
        self.entries[index].is_verified
    }

    pub fn verified(&mut self, index: usize) {
        self.entries[index].is_verified = true;
    }

    /// Whom to ask, best first: the current one, the others, then those that rest, by the end of their rest.
    pub fn order(&self, now: Instant) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.entries.len()).collect();
        let rest = |index: usize| self.entries[index].rests_until.filter(|until| *until > now);
        order.sort_by_key(|&index| (rest(index), index != self.current, index));
        order
    }

    /// From now on this one is asked.
    pub fn worked(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        (entry.failures, entry.rests_until) = (0, None);
        if self.current != index {
            self.current = index;
            self.generation += 1;
        }
    }

    /// It rests, and must tell its chain again before it is used.
    pub fn failed(&mut self, index: usize, now: Instant) {
        let entry = &mut self.entries[index];
        entry.is_verified = false;
        let rest = limits::NODE_REST_MIN * 2u32.saturating_pow(entry.failures.min(16));
        entry.rests_until = Some(now + rest.min(limits::NODE_REST_MAX));
        entry.failures = entry.failures.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_works_is_asked_until_it_fails() {
        let now = Instant::now();
        let mut book = Book::new(3);
        assert_eq!(book.order(now), [0, 1, 2]);
        book.failed(0, now);
        assert_eq!(book.order(now), [1, 2, 0]);
        book.worked(1);
        assert_eq!((book.current(), book.generation()), (1, 1));
        let later = now + limits::NODE_REST_MAX * 2;
        assert_eq!(book.order(later), [1, 0, 2], "it stays where it works");
        book.worked(1);
        assert_eq!(book.generation(), 1);
    }

    #[test]
    fn who_fails_again_rests_longer_and_must_show_its_chain_again() {
        let now = Instant::now();
        let mut book = Book::new(2);
        book.verified(0);
        assert!(book.is_verified(0));
        book.failed(0, now);
        assert!(!book.is_verified(0));
        book.failed(1, now);
        book.failed(1, now);
        assert_eq!(book.order(now), [0, 1], "all rest: the one whose rest ends first");
        for _ in 0..100 {
            book.failed(0, now);
        }
        assert_eq!(book.order(now + limits::NODE_REST_MAX), [0, 1], "no rest is longer than the longest");
        assert!(book.order(now + limits::NODE_REST_MIN)[0] == 1);
    }
}
