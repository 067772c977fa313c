//! The Merkle trees of shards that were stored or read in part lately, so that the next part costs only itself.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::{
    base::{OwnerId, ShardId, limits},
    coding::merkle::Tree,
};

type Key = (OwnerId, ShardId);

/// What keeping a tree takes besides its nodes, in bytes, about.
const ENTRY_BYTES: usize = 256;

/// Trees by shard, the least recently used go first.
#[derive(Default)]
pub(super) struct Trees(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// Each with when it was last used.
    trees: HashMap<Key, (u64, Arc<Tree>)>,
    /// The same by that.
    order: BTreeMap<u64, Key>,
    bytes: usize,
    clock: u64,
}

impl Trees {
    /// The tree of a shard, if it is kept.
    pub fn get(&self, key: Key) -> Option<Arc<Tree>> {
        let mut kept = self.0.lock();
        let tree = kept.remove(key)?;
        kept.insert(key, Arc::clone(&tree));
        Some(tree)
    }

    /// Keeps a tree, in place of the least recently used ones.
    pub fn insert(&self, key: Key, tree: Arc<Tree>) {
        let mut kept = self.0.lock();
        kept.remove(key);
        kept.insert(key, tree);
        while kept.bytes > limits::TREES_BYTES
            && let Some(oldest) = kept.order.values().next().copied()
        {
            kept.remove(oldest);
        }
    }

    /// Forgets a tree.
    pub fn remove(&self, key: Key) {
        self.0.lock().remove(key);
    }
}

impl Kept {
    fn insert(&mut self, key: Key, tree: Arc<Tree>) {
        self.clock += 1;
        self.bytes += cost(&tree);
        self.order.insert(self.clock, key);
        self.trees.insert(key, (self.clock, tree));
    }

    fn remove(&mut self, key: Key) -> Option<Arc<Tree>> {
        let (used, tree) = self.trees.remove(&key)?;
        self.order.remove(&used);
        self.bytes -= cost(&tree);
        Some(tree)
    }
}

fn cost(tree: &Tree) -> usize {
    tree.memory_bytes() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_go_first() {
        let (trees, tree) = (Trees::default(), Arc::new(Tree::build(&vec![1; limits::SHARD_BYTES])));
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
        assert_eq!(kept.bytes, (most - 1) * cost(&tree));
        assert_eq!((kept.trees.len(), kept.order.len()), (most - 1, most - 1));
    }
}
