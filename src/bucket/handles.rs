//! Open handles and how each is read: sequentially, or here and there.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::base::{Mutex, limits};

/// How far around the last read the next may be and still count as sequential: the kernel reads
/// ahead in several requests at a time, which arrive in any order.
const WINDOW_BYTES: u64 = 2 << 20;
/// As many lengths of the read, at most: small reads that are merely near each other are no stream.
const WINDOW_READS: u64 = 16;

#[derive(Clone, Copy, Default)]
struct Pattern {
    furthest: u64,
    streak: u32,
}

/// All open handles.
#[derive(Default)]
pub(super) struct Handles {
    next: AtomicU64,
    patterns: Mutex<HashMap<u64, Pattern>>,
}

impl Handles {
    /// A new handle.
    pub fn open(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A handle is used no more.
    pub fn close(&self, handle: u64) {
        self.patterns.lock().remove(&handle);
    }

    /// Notes a read and says how many chunks to fetch whole, this one first: 0 for a read that stands alone.
    pub fn note(&self, handle: u64, offset: u64, len: u64) -> u64 {
        let mut patterns = self.patterns.lock();
        if patterns.len() >= limits::CELLS && !patterns.contains_key(&handle) {
            return 0;
        }
        let pattern = patterns.entry(handle).or_default();
        let window = WINDOW_BYTES.min(len * WINDOW_READS);
        let is_near = offset + window >= pattern.furthest && offset <= pattern.furthest + window;
        let is_forward = offset + len > pattern.furthest;
        if !is_near || (pattern.streak == 0 && offset != pattern.furthest) {
            *pattern = Pattern { furthest: offset + len, streak: 1 };
            return 0;
        }
        if is_forward {
            pattern.furthest = offset + len;
            pattern.streak += 1;
        }
        match pattern.streak {
            0 | 1 => 0,
            2 | 3 => 1,
            4..8 => 2,
            8..16 => 3,
            _ => 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequential_reads_grow_and_random_reads_stay_small() {
        let handles = Handles::default();
        let (a, b) = (handles.open(), handles.open());
        let ahead: Vec<_> = (0..20).map(|i| handles.note(a, i * 131_072, 131_072)).collect();
        assert_eq!(ahead[0], 0);
        assert_eq!(ahead[1], 1);
        assert_eq!((ahead[9], ahead[19]), (3, 5));
        let random = [900, 5, 700, 33, 512, 100].map(|mib: u64| handles.note(b, mib << 20, 4096));
        assert_eq!(random, [0; 6]);
        // Here and there in a small file.
        let near = [100, 900, 200, 700, 400, 1200].map(|kib: u64| handles.note(b, kib << 10, 4096));
        assert_eq!(near, [0; 6]);
        // In requests that overtake each other.
        let c = handles.open();
        let ahead = [0, 2, 1, 4, 3, 5].map(|i| handles.note(c, i << 17, 1 << 17));
        assert!(ahead[5] > 0, "{ahead:?}");
    }
}
