//! The Merkle tree over the shards that an agreement holds, as `contracts/src/HoldingTree.sol` specifies it.
//!
//! `|` concatenates, numbers are big-endian, H is SHA-256:
//!
//! - leaf: `H(0x03 | index, 4 bytes | root of the shard, 32 bytes | leaves of the shard, 4 bytes)`
//! - inner node: `H(0x04 | left | right)`
//! - root: `H(0x05 | count of shards, 4 bytes | top node)`; without a shard the top node is 32 zero bytes
//!
//! Each level pairs the nodes of the one below from the left; a last node without a partner moves up unchanged. A path gives the
//! siblings from the leaf upwards and skips levels on which the node has none.

use super::words::HoldingRoot;
use crate::{
    base::{ShardId, sha256},
    chain::Error,
};

type Node = [u8; 32];

/// A shard that an agreement holds, by its Merkle root, and how many leaves it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldShard {
    pub shard: ShardId,
    pub leaf_count: u32,
}

/// The tree over shards in the order that the parties chose.
#[derive(Clone, Debug)]
pub struct HoldingTree {
    /// The leaves first; the last level has the top node.
    levels: Vec<Vec<Node>>,
}

impl HoldingTree {
    /// Over these shards. Refused when their number does not fit its 32 bits.
    pub fn new(shards: &[HeldShard]) -> Result<Self, Error> {
        if u32::try_from(shards.len()).is_err() {
            return Err(Error::Invalid(format!("{} shards are more than an agreement can hold", shards.len())));
        }
        let leaves = shards.iter().zip(0u32..).map(|(held, index)| leaf(index, held)).collect();
        let mut levels: Vec<Vec<Node>> = vec![leaves];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            let next = level.chunks(2).map(|pair| match pair {
                [left, right] => inner(left, right),
                alone => alone[0],
            });
            let next = next.collect();
            levels.push(next);
        }
        Ok(Self { levels })
    }

    /// How many shards it is over.
    pub fn count(&self) -> u32 {
        u32::try_from(self.levels[0].len()).expect("checked when it was made")
    }

    /// What both parties sign.
    pub fn root(&self) -> HoldingRoot {
        let top = self.levels.last().and_then(|level| level.first()).copied().unwrap_or_default();
        seal(self.count(), &top)
    }

    /// The path of a shard to the root; None when there is no such shard.
    pub fn path(&self, index: u32) -> Option<Vec<Node>> {
        let mut at = usize::try_from(index).ok().filter(|at| *at < self.levels[0].len())?;
        let mut path = Vec::new();
        for level in &self.levels[..self.levels.len() - 1] {
            path.extend(level.get(at ^ 1));
            at /= 2;
        }
        Some(path)
    }
}

/// Whether a shard is at this place of a root.
pub fn holds(root: HoldingRoot, count: u32, index: u32, held: &HeldShard, path: &[Node]) -> bool {
    if index >= count {
        return false;
    }
    let mut node = leaf(index, held);
    let (mut at, mut level) = (index, count);
    let mut path = path.iter();
    while level > 1 {
        let is_right = at % 2 == 1;
        if is_right || at + 1 < level {
            let Some(sibling) = path.next() else { return false };
            node = if is_right { inner(sibling, &node) } else { inner(&node, sibling) };
        }
        at /= 2;
        level = level.div_ceil(2);
    }
    path.next().is_none() && root == seal(count, &node)
}

fn leaf(index: u32, held: &HeldShard) -> Node {
    sha256(&[&[3], &index.to_be_bytes(), &held.shard.0, &held.leaf_count.to_be_bytes()])
}

fn inner(left: &Node, right: &Node) -> Node {
    sha256(&[&[4], left, right])
}

fn seal(count: u32, top: &Node) -> HoldingRoot {
    HoldingRoot(sha256(&[&[5], &count.to_be_bytes(), top]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shards(count: usize) -> Vec<HeldShard> {
        let shard = |n: usize| HeldShard { shard: ShardId(sha256(&[&n.to_be_bytes()])), leaf_count: n as u32 + 1 };
        (0..count).map(shard).collect()
    }

    #[test]
    fn the_root_of_nothing_and_of_one_are_as_specified() {
        let none = HoldingTree::new(&[]).unwrap();
        assert_eq!(none.root().0, sha256(&[&[5], &[0; 4], &[0; 32]]));
        assert_eq!(none.path(0), None);
        let one = HoldingTree::new(&shards(1)).unwrap();
        assert_eq!(one.path(0), Some(vec![]));
        let leaf = sha256(&[&[3], &[0; 4], &shards(1)[0].shard.0, &[0, 0, 0, 1]]);
        assert_eq!(one.root().0, sha256(&[&[5], &[0, 0, 0, 1], &leaf]));
    }

    proptest! {
        #[test]
        fn every_shard_is_held_at_its_place_and_nowhere_else(count in 1usize..70, at in any::<prop::sample::Index>()) {
            let shards = shards(count);
            let tree = HoldingTree::new(&shards).unwrap();
            let index = at.index(count) as u32;
            let path = tree.path(index).unwrap();
            let held = shards[index as usize];
            let root = tree.root();
            prop_assert!(holds(root, tree.count(), index, &held, &path));
            prop_assert!(!holds(root, tree.count(), index + 1, &held, &path));
            prop_assert!(!holds(root, tree.count() + 1, index, &held, &path));
            let other = HeldShard { leaf_count: 0, ..held };
            prop_assert!(!holds(root, tree.count(), index, &other, &path));
            prop_assert!(!holds(root, tree.count(), index, &held, &[path.clone(), vec![[0; 32]]].concat()));
            if let Some((_, shorter)) = path.split_last() {
                prop_assert!(!holds(root, tree.count(), index, &held, shorter));
            }
        }
    }
}
