//! The upper parts of the Merkle trees of shards that were stored or read in part lately: what they say is verified.

use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use crate::{
    base::{OwnerId, ShardId, limits},
    coding::merkle::Subtrees,
};

/// What names a shard in a server.
pub(super) type Key = (OwnerId, ShardId);

/// What keeping a tree takes besides its nodes, in bytes, about.
const ENTRY_BYTES: usize = 256;

/// Trees by shard, the least recently used go first.
pub(super) struct Trees(Mutex<Kept>);

struct Kept {
    lru: LruCache<Key, Arc<Subtrees>>,
    bytes: usize,
}

impl Default for Trees {
    fn default() -> Self {
        // Bounded in bytes, below, instead of in entries.
        Self(Mutex::new(Kept { lru: LruCache::unbounded(), bytes: 0 }))
    }
}

impl Trees {
    /// The tree of a shard, if it is kept.
    pub fn get(&self, key: Key) -> Option<Arc<Subtrees>> {
        self.0.lock().lru.get(&key).cloned()
    }

    /// Keeps a tree, in place of the least recently used ones.
    pub fn insert(&self, key: Key, tree: Arc<Subtrees>) {
        let mut kept = self.0.lock();
        kept.bytes += cost(&tree);
        let replaced = kept.lru.put(key, tree);
        kept.bytes -= replaced.as_deref().map_or(0, cost);
        while kept.bytes > limits::TREES_BYTES
            && let Some((_, oldest)) = kept.lru.pop_lru()
        {
            kept.bytes -= cost(&oldest);
        }
    }

    /// Forgets a tree.
    pub fn remove(&self, key: Key) {
        let mut kept = self.0.lock();
        let removed = kept.lru.pop(&key);
        kept.bytes -= removed.as_deref().map_or(0, cost);
    }
}

fn cost(tree: &Subtrees) -> usize {
    tree.memory_bytes() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_go_first() {
        let (trees, tree) = (Trees::default(), Arc::new(Subtrees::build(&vec![1; limits::SHARD_BYTES])));
        let key = |number: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            (OwnerId([1; 32]), ShardId(id))
        };
        let most = limits::TREES_BYTES / cost(&tree);
        for number in 0..most {
            trees.insert(key(number), Arc::clone(&tree));
        }
        assert!(trees.get(key(0)).is_some());
        trees.insert(key(most), Arc::clone(&tree));
        assert!(trees.get(key(0)).is_some() && trees.get(key(1)).is_none() && trees.get(key(most)).is_some());
        trees.insert(key(most), Arc::clone(&tree));
        trees.remove(key(most));
        trees.remove(key(most));
        let kept = trees.0.lock();
        assert_eq!((kept.bytes, kept.lru.len()), ((most - 1) * cost(&tree), most - 1));
    }
}
