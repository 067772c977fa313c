//! How many chunks go over the network at a time: as many as it takes in good time.
//!
//! Nobody tells how fast a link is. On a slow one, chunks that share it are all late, and what is late is given up and sent
//! again. So one more goes at a time when they are quick, and one less when they are slow (as TCP does, RFC 5681).

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use crate::base::limits;

/// The number for one direction.
pub(super) struct Pace {
    allowed: AtomicUsize,
    least: usize,
    most: usize,
}

impl Pace {
    /// Begins with this many, and stays within these bounds.
    pub fn new(first: usize, least: usize, most: usize) -> Self {
        Self { allowed: AtomicUsize::new(first), least, most }
    }

    /// How many may be on their way now.
    pub fn allowed(&self) -> usize {
        self.allowed.load(Ordering::Relaxed)
    }

    /// So many of the blocks of a chunk were on their way for so long. Few of them that were slow tell little: they may have
    /// waited for nothing but the distance. Where none goes ahead they may be all that is asked for: then one is tried.
    pub fn note(&self, blocks: usize, took: Duration) {
        if blocks == 0 {
            return;
        }
        let is_telling = blocks >= limits::CHUNK_BLOCKS / 4 || took >= limits::TELLING_TIME;
        let whole = took * u32::try_from(limits::CHUNK_BLOCKS / blocks.min(limits::CHUNK_BLOCKS)).expect("few");
        let step = |allowed: usize| match allowed {
            0 if took <= limits::TELLING_TIME / 4 => Some(1),
            _ if whole <= limits::QUICK_CHUNK => Some((allowed + 1).min(self.most)),
            _ if whole >= limits::SLOW_CHUNK && is_telling => Some(allowed.saturating_sub(1).max(self.least)),
            _ => None,
        };
        // The closure answers for every value, or for none: either is fine.
        let _unchanged = self.allowed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_chunks_make_more_of_them_and_slow_ones_fewer() {
        let pace = Pace::new(1, 0, 4);
        let whole = limits::CHUNK_BLOCKS;
        (0..10).for_each(|_| pace.note(whole, Duration::from_millis(20)));
        assert_eq!(pace.allowed(), 4);
        pace.note(whole, limits::QUICK_CHUNK + Duration::from_secs(1));
        assert_eq!(pace.allowed(), 4, "neither quick nor slow");
        pace.note(whole, limits::SLOW_CHUNK);
        assert_eq!(pace.allowed(), 3);
        // A quarter of a chunk tells as well; a block only when it took very long.
        pace.note(whole / 4, limits::SLOW_CHUNK / 4);
        assert_eq!(pace.allowed(), 2);
        (0..10).for_each(|_| pace.note(2, limits::TELLING_TIME - Duration::from_millis(1)));
        assert_eq!(pace.allowed(), 2);
        (0..10).for_each(|_| pace.note(2, limits::TELLING_TIME));
        assert_eq!(pace.allowed(), 0);
        // A reader of few blocks at a time is not slow for ever, however far away the consumers are.
        pace.note(2, limits::TELLING_TIME / 4 + Duration::from_millis(1));
        assert_eq!(pace.allowed(), 0);
        (0..3).for_each(|_| pace.note(2, limits::TELLING_TIME / 4));
        assert_eq!(pace.allowed(), 1);
        (0..9).for_each(|_| pace.note(2, Duration::from_millis(50)));
        assert_eq!(pace.allowed(), 4);
    }
}
