//! Listings under way: each shows what was there when it began.
//!
//! What a program makes or renames in a directory while it lists it would otherwise come behind what it has seen, and a
//! loop over the entries that does so would never end.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::base::Mutex;

/// The newest cookie that each listing shows. As many as the kernel has directories open.
#[derive(Default)]
pub(super) struct Listings {
    next: AtomicU64,
    newest: Mutex<HashMap<u64, u64>>,
}

impl Listings {
    /// A directory is opened; the handle of its listing.
    pub fn open(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn close(&self, listing: u64) {
        self.newest.lock().remove(&listing);
    }

    /// The last cookie that a listing shows. It begins, also anew, where nothing was shown yet: with what there is `now`.
    pub fn last(&self, listing: u64, is_beginning: bool, now: impl FnOnce() -> u64) -> u64 {
        if is_beginning {
            let now = now();
            self.newest.lock().insert(listing, now);
            return now;
        }
        self.newest.lock().get(&listing).copied().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_shows_what_was_there_when_it_began_or_began_anew() {
        let listings = Listings::default();
        let (one, other) = (listings.open(), listings.open());
        assert_eq!(listings.last(one, true, || 20), 20);
        assert_eq!(listings.last(other, true, || 30), 30);
        assert_eq!(listings.last(one, false, || 40), 20);
        assert_eq!(listings.last(one, true, || 50), 50);
        assert_eq!((listings.last(one, false, || 60), listings.last(other, false, || 60)), (50, 30));
        listings.close(one);
        listings.close(other);
        assert!(listings.newest.lock().is_empty());
    }
}
