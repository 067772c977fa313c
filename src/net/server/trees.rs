//! The Merkle trees of shards that were read in part lately, so that the next part costs only itself.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    base::{OwnerId, ShardId, limits},
    coding::merkle::Tree,
};

type Key = (OwnerId, ShardId);

/// Trees by shard, the least recently used go first.
#[derive(Default)]
pub(super) struct Trees(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    trees: HashMap<Key, (u64, Arc<Tree>)>,
    bytes: usize,
    clock: u64,
}

impl Trees {
    /// The tree of a shard, if it is kept.
    pub fn get(&self, key: Key) -> Option<Arc<Tree>> {
        let mut kept = self.0.lock();
        kept.clock += 1;
        let clock = kept.clock;
        let (used, tree) = kept.trees.get_mut(&key)?;
        *used = clock;
        Some(Arc::clone(tree))
    }

    /// Keeps a tree, in place of the least recently used ones.
    pub fn insert(&self, key: Key, tree: Arc<Tree>) {
        let mut kept = self.0.lock();
        kept.clock += 1;
        let clock = kept.clock;
        kept.bytes += tree.memory_bytes();
        if let Some((_, old)) = kept.trees.insert(key, (clock, tree)) {
            kept.bytes -= old.memory_bytes();
        }
        while kept.bytes > limits::TREES_BYTES
            && let Some(oldest) = kept.trees.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key)
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
    fn remove(&mut self, key: Key) {
        if let Some((_, tree)) = self.trees.remove(&key) {
            self.bytes -= tree.memory_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_go_first() {
        let (trees, tree) = (Trees::default(), Arc::new(Tree::build(&vec![1; limits::SHARD_BYTES])));
        let key = |number: usize| (OwnerId([1; 32]), ShardId([number as u8; 32]));
        let most = limits::TREES_BYTES / tree.memory_bytes();
        for number in 0..most {
            trees.insert(key(number), Arc::clone(&tree));
        }
        assert!(trees.get(key(0)).is_some());
        trees.insert(key(most), Arc::clone(&tree));
        assert!(trees.get(key(0)).is_some() && trees.get(key(1)).is_none() && trees.get(key(most)).is_some());
        trees.insert(key(most), Arc::clone(&tree));
        trees.remove(key(most));
        trees.remove(key(most));
        assert_eq!(trees.0.lock().bytes, (most - 1) * tree.memory_bytes());
    }
}
