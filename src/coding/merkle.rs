//! The Merkle tree of a shard: its root is the shard's id.
//!
//! # Specification
//!
//! The bytes are cut into *leaves* of 1024 bytes. Only the last one may be
//! shorter (shards are always whole leaves); no bytes at all are one empty leaf.
//! `|` concatenates, numbers are big-endian, H is SHA-256.
//!
//! - leaf: `H(0x00 | bytes of the leaf)`
//! - inner node: `H(0x01 | left | right)`, both 32 bytes
//! - root: `H(0x02 | leaf count, 4 bytes | top node)`
//!
//! Each level pairs the nodes of the one below from the left; a last node
//! without a partner moves up unchanged. The top node is the only node of the
//! last level. (This is the shape of RFC 6962, section 2.1.)
//!
//! A *range proof* for leaves `start..end` of `count` holds the nodes that the
//! range does not determine itself, from the leaves upwards. On each level,
//! with `start..end` the nodes known and `count` all the nodes of the level:
//!
//! 1. when `start` is odd, the proof gives node `start - 1`, and `start -= 1`;
//! 2. when `end` is odd and `end < count`, it gives node `end`, and `end += 1`;
//! 3. pair the known nodes; a lone last node moves up; then
//!    `start = start / 2`, `end = ceil(end / 2)`, `count = ceil(count / 2)`.
//!
//! It ends when `count` is 1, with no node of the proof left over. A proof of
//! one leaf is therefore the usual path, and a verifier for one leaf `i` is
//! short enough for a contract (`sha256` being the precompile):
//!
//! ```solidity
//! bytes32 node = sha256(abi.encodePacked(uint8(0), leaf));
//! uint32 n = count;
//! uint256 next = 0;
//! for (uint32 at = i; n > 1; at /= 2) {
//!     if (at % 2 == 1) node = sha256(abi.encodePacked(uint8(1), proof[next++], node));
//!     else if (at + 1 < n) node = sha256(abi.encodePacked(uint8(1), node, proof[next++]));
//!     n = n / 2 + n % 2;
//! }
//! require(i < count && next == proof.length);
//! require(root == sha256(abi.encodePacked(uint8(2), count, node)));
//! ```
//!
//! Since leaves, inner nodes and roots are hashed in domains of their own and
//! the count is part of the root, an inner node is no leaf, a path of another
//! length or index does not verify, and no other data have the same root.

use std::ops::Range;

use super::Error;
use crate::base::{
    ShardId,
    limits::{LEAF_BYTES, SHARD_LEAVES, SUBTREE_LEAVES},
    sha256, sha256_chunks,
};

type Node = [u8; 32];

const _: () = assert!(SUBTREE_LEAVES.is_power_of_two(), "whole levels lie below the root of a subtree");

const LEAF: [u8; 1] = [0];
const INNER: [u8; 1] = [1];
const ROOT: [u8; 1] = [2];

/// The root over these bytes: what a shard is called.
pub fn root(data: &[u8]) -> ShardId {
    let mut level: Vec<Node> = leaf_hashes(data);
    let count = leaf_count(data.len());
    while level.len() > 1 {
        level = fold(&level);
    }
    seal_root(count, &level[0])
}

/// How many leaves so many bytes have.
pub fn leaf_count(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(LEAF_BYTES).max(1)).expect("no shard in memory has 2^32 leaves")
}

/// A tree whose nodes are kept, so that proofs cost no hashing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// From the leaves up to the top node.
    levels: Vec<Vec<Node>>,
}

impl Tree {
    /// The tree over these bytes.
    pub fn build(data: &[u8]) -> Self {
        Self::from_leaves(leaf_hashes(data))
    }

    /// The tree over stored leaf hashes. They are believed: compare the root.
    ///
    /// # Panics
    /// Without a leaf.
    pub fn from_leaves(leaves: Vec<[u8; 32]>) -> Self {
        assert!(!leaves.is_empty(), "a tree has at least one leaf");
        let mut levels = vec![leaves];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            levels.push(fold(below));
        }
        Self { levels }
    }

    /// The hashes of the leaves, for storing.
    pub fn leaves(&self) -> &[[u8; 32]] {
        &self.levels[0]
    }

    /// How many leaves there are.
    pub fn leaf_count(&self) -> u32 {
        u32::try_from(self.levels[0].len()).expect("no shard in memory has 2^32 leaves")
    }

    /// The root.
    pub fn root(&self) -> ShardId {
        seal_root(self.leaf_count(), self.top())
    }

    fn top(&self) -> &Node {
        &self.levels.last().expect("a tree has a top level")[0]
    }

    /// The proof for these leaves: at most two nodes a level.
    ///
    /// # Panics
    /// When the range is empty or beyond the leaves.
    pub fn range_proof(&self, leaves: Range<u32>) -> Vec<[u8; 32]> {
        assert!(leaves.start < leaves.end && leaves.end <= self.leaf_count(), "a range of leaves of this tree");
        let mut ascent = Ascent::new(leaves, self.leaf_count());
        for level in &self.levels[..self.levels.len() - 1] {
            ascent.pass(level, 0);
        }
        ascent.proof
    }
}

/// The way of a range up the tree, and the nodes beside it.
struct Ascent {
    known: Range<usize>,
    /// Nodes of the whole level.
    count: usize,
    proof: Vec<Node>,
}

impl Ascent {
    fn new(leaves: Range<u32>, leaf_count: u32) -> Self {
        Self { known: leaves.start as usize..leaves.end as usize, count: leaf_count as usize, proof: Vec::new() }
    }

    /// Takes what the proof needs of a level, of which the nodes from `first` on are given.
    fn pass(&mut self, level: &[Node], first: usize) {
        let Range { mut start, end } = self.known;
        if start % 2 == 1 {
            start -= 1;
            self.proof.push(level[start - first]);
        }
        if end % 2 == 1 && end < self.count {
            self.proof.push(level[end - first]);
        }
        self.known = start / 2..end.div_ceil(2);
        self.count = self.count.div_ceil(2);
    }
}

/// The tree of a shard from the roots of its subtrees of [`SUBTREE_LEAVES`] leaves upwards (the last may have fewer): few
/// enough nodes to be stored beside every shard, and all it takes to prove a part of it without reading the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subtrees {
    leaf_count: u32,
    upper: Tree,
}

impl Subtrees {
    /// Those of these bytes.
    pub fn build(data: &[u8]) -> Self {
        let roots = subtree_levels(data).pop().expect("there are levels");
        Self { leaf_count: leaf_count(data.len()), upper: Tree::from_leaves(roots) }
    }

    /// Those of a shard of so many leaves, from the stored roots. They are believed: compare the root of the shard. None
    /// when there are not as many as such a shard has.
    pub fn from_roots(leaf_count: u32, roots: Vec<[u8; 32]>) -> Option<Self> {
        let is_right = leaf_count > 0 && roots.len() == (leaf_count as usize).div_ceil(SUBTREE_LEAVES);
        is_right.then(|| Self { leaf_count, upper: Tree::from_leaves(roots) })
    }

    /// The roots of the subtrees, for storing.
    pub fn roots(&self) -> &[[u8; 32]] {
        self.upper.leaves()
    }

    /// The root of the shard.
    pub fn root(&self) -> ShardId {
        seal_root(self.leaf_count, self.upper.top())
    }

    /// The leaves of all subtrees that have one of these.
    pub fn around(&self, leaves: &Range<u32>) -> Range<u32> {
        let subtree = SUBTREE_LEAVES as u32;
        leaves.start / subtree * subtree..leaves.end.next_multiple_of(subtree).min(self.leaf_count)
    }

    /// The proof for these leaves, from the bytes of the leaves [`around`](Self::around) them; None when those are not
    /// the shard's.
    ///
    /// # Panics
    /// When the range is empty or beyond the leaves.
    pub fn range_proof(&self, leaves: Range<u32>, around: &[u8]) -> Option<Vec<[u8; 32]>> {
        assert!(leaves.start < leaves.end && leaves.end <= self.leaf_count, "a range of leaves of this shard");
        let first = self.around(&leaves).start as usize;
        let levels = subtree_levels(around);
        let (roots, lower) = levels.split_last().expect("there are levels");
        let kept = self.roots().get(first / SUBTREE_LEAVES..)?;
        if !kept.starts_with(roots) || roots.len() < (leaves.end as usize - first).div_ceil(SUBTREE_LEAVES) {
            return None;
        }
        let mut ascent = Ascent::new(leaves, self.leaf_count);
        for (height, level) in lower.iter().enumerate() {
            ascent.pass(level, first >> height);
        }
        for level in &self.upper.levels[..self.upper.levels.len() - 1] {
            ascent.pass(level, 0);
        }
        Some(ascent.proof)
    }
}

/// The levels over the leaves of whole subtrees, up to the roots of these.
fn subtree_levels(data: &[u8]) -> Vec<Vec<Node>> {
    let mut levels = vec![leaf_hashes(data)];
    for height in 0..SUBTREE_LEAVES.ilog2() as usize {
        levels.push(fold(&levels[height]));
    }
    levels
}

/// Checks that `data` are the leaves `leaves` of a shard of `leaf_count` leaves with this root.
///
/// `data` must be whole leaves; only the last leaf of the shard may be shorter.
/// The cost is that of hashing `data` and the proof, whatever `leaf_count` is.
///
/// # Errors
/// [`Error::Proof`], when anything is amiss: the bytes, the range, the count, the proof.
pub fn verify_range(
    root: ShardId,
    leaf_count: u32,
    leaves: Range<u32>,
    data: &[u8],
    proof: &[[u8; 32]],
) -> Result<(), Error> {
    let refuse = |why| Err(Error::Proof { shard: root.to_string(), why });
    if leaf_count as usize > SHARD_LEAVES {
        return refuse("more leaves than a shard may have");
    }
    if leaves.start >= leaves.end || leaves.end > leaf_count {
        return refuse("no such leaves");
    }
    let most = leaves.len() * LEAF_BYTES;
    let is_last = leaves.end == leaf_count;
    let is_length_right = match data.len() {
        0 => leaf_count == 1,
        length if is_last => length <= most && length > most - LEAF_BYTES,
        length => length == most,
    };
    if !is_length_right {
        return refuse("the bytes are not as many as the leaves");
    }
    match top_of(leaf_count, leaves, leaf_hashes(data), proof) {
        Err(why) => refuse(why),
        Ok(top) if seal_root(leaf_count, &top) != root => refuse("the hashes differ"),
        Ok(_) => Ok(()),
    }
}

/// The top node that the known nodes of the lowest level and the proof lead to.
fn top_of(count: u32, range: Range<u32>, mut known: Vec<Node>, proof: &[Node]) -> Result<Node, &'static str> {
    const SHORT: &str = "the proof is too short";
    let (mut start, mut end, mut count) = (range.start, range.end, count);
    let mut rest = proof.iter();
    while count > 1 {
        if start % 2 == 1 {
            known.insert(0, *rest.next().ok_or(SHORT)?);
        }
        if end % 2 == 1 && end < count {
            known.push(*rest.next().ok_or(SHORT)?);
        }
        known = fold(&known);
        (start, end, count) = (start / 2, end.div_ceil(2), count.div_ceil(2));
    }
    if rest.next().is_some() {
        return Err("the proof is too long");
    }
    Ok(known[0])
}

/// One level up: pairs from the left, a lone last node moves up.
fn fold(level: &[Node]) -> Vec<Node> {
    let (pairs, lone) = level.split_at(level.len() / 2 * 2);
    let mut above = sha256_chunks(&INNER, pairs.as_flattened(), 2 * size_of::<Node>());
    above.extend_from_slice(lone);
    above
}

fn leaf_hashes(data: &[u8]) -> Vec<Node> {
    if data.is_empty() {
        return vec![sha256(&[&LEAF])];
    }
    sha256_chunks(&LEAF, data, LEAF_BYTES)
}

fn seal_root(count: u32, top: &Node) -> ShardId {
    ShardId(sha256(&[&ROOT, &count.to_be_bytes(), top]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes of which no two leaves are equal.
    fn sample(length: usize) -> Vec<u8> {
        (0..length).map(|at| ((at * 7 + at / LEAF_BYTES * 13) % 251) as u8).collect()
    }

    fn of(data: &[u8], leaves: &Range<u32>) -> Vec<u8> {
        let end = data.len().min(leaves.end as usize * LEAF_BYTES);
        data[leaves.start as usize * LEAF_BYTES..end].to_vec()
    }

    fn ranges(count: u32) -> impl Iterator<Item = Range<u32>> {
        (0..count).flat_map(move |start| (start + 1..=count).map(move |end| start..end))
    }

    #[test]
    fn every_range_of_small_trees_verifies() {
        for length in (0..=17 * LEAF_BYTES).step_by(LEAF_BYTES / 2) {
            let (data, tree) = (sample(length), Tree::build(&sample(length)));
            assert_eq!(tree.root(), root(&data));
            assert_eq!(tree.leaf_count(), leaf_count(length));
            assert_eq!(Tree::from_leaves(tree.leaves().to_vec()), tree);
            for leaves in ranges(tree.leaf_count()) {
                let proof = tree.range_proof(leaves.clone());
                let verified =
                    verify_range(tree.root(), tree.leaf_count(), leaves.clone(), &of(&data, &leaves), &proof);
                assert_eq!(verified, Ok(()), "{leaves:?} of {length} bytes");
            }
        }
    }

    #[test]
    fn another_place_count_or_path_is_refused() {
        for count in 1..=9u32 {
            let (data, tree) = (sample(count as usize * LEAF_BYTES), Tree::build(&sample(count as usize * LEAF_BYTES)));
            for leaves in ranges(count) {
                let (bytes, proof) = (of(&data, &leaves), tree.range_proof(leaves.clone()));
                let check = |count, at: Range<u32>, proof: &[Node]| verify_range(tree.root(), count, at, &bytes, proof);
                for other in ranges(count).filter(|other| *other != leaves) {
                    assert!(check(count, other.clone(), &proof).is_err(), "{leaves:?} as {other:?} of {count}");
                    let theirs = tree.range_proof(other.clone());
                    assert!(check(count, other.clone(), &theirs).is_err(), "{leaves:?} as {other:?} of {count}");
                }
                for other in (0..=20).filter(|other| *other != count) {
                    assert!(check(other, leaves.clone(), &proof).is_err(), "{leaves:?} of {count} as of {other}");
                }
                assert!(check(count, leaves.clone(), &[proof.clone(), vec![[0; 32]]].concat()).is_err());
                if let Some((_, short)) = proof.split_last() {
                    assert!(check(count, leaves.clone(), short).is_err());
                    assert!(check(count, leaves.clone(), &proof[1..]).is_err());
                }
            }
        }
    }

    #[test]
    fn an_inner_node_is_no_leaf_and_a_top_node_no_root() {
        let (data, tree) = (sample(4 * LEAF_BYTES), Tree::build(&sample(4 * LEAF_BYTES)));
        let (left, right) = (tree.levels[1][0], tree.levels[1][1]);
        let pair = [left, right].concat();
        assert!(verify_range(tree.root(), 1, 0..1, &pair, &[]).is_err());
        assert!(verify_range(tree.root(), 2, 0..1, &tree.levels[0][..2].concat(), &[right]).is_err());
        assert!(verify_range(tree.root(), 2, 1..2, &tree.levels[0][2..].concat(), &[left]).is_err());
        assert_ne!(root(&pair), tree.root());
        assert_ne!(leaf_hashes(&pair)[0], tree.levels[2][0]);
        assert_ne!(ShardId(tree.levels[2][0]), tree.root());
        // As a tree of two leaves whose hashes are these inner nodes: only the count tells them apart.
        assert_ne!(Tree::from_leaves(vec![left, right]).root(), Tree::build(&data).root());
    }

    #[test]
    fn hostile_lengths_are_refused_before_hashing() {
        let root = root(&[]);
        for (count, leaves) in [(0, 0..0), (0, 0..1), (1, 1..1), (1, 0..2), (u32::MAX, 0..1), (u32::MAX, 5..u32::MAX)] {
            assert!(verify_range(root, count, leaves.clone(), &[], &[]).is_err(), "{leaves:?} of {count}");
        }
        let backwards = Range { start: 3, end: 1 };
        assert!(verify_range(root, 4, backwards, &[], &[]).is_err());
        assert_eq!(verify_range(root, 1, 0..1, &[], &[]), Ok(()));
    }

    #[test]
    fn a_short_leaf_is_refused_but_at_the_end() {
        // The tree of three leaves whose second is a byte short: no data has it, so no proof for it may verify.
        let data = sample(3 * LEAF_BYTES);
        let short = &data[LEAF_BYTES..2 * LEAF_BYTES - 1];
        let mut leaves = Tree::build(&data).leaves().to_vec();
        leaves[1] = sha256(&[&LEAF, short]);
        let tree = Tree::from_leaves(leaves);
        assert!(verify_range(tree.root(), 3, 1..2, short, &tree.range_proof(1..2)).is_err());
    }

    #[test]
    fn subtrees_prove_every_range_as_the_whole_tree_does() {
        for length in (0..=50 * LEAF_BYTES).step_by(LEAF_BYTES / 2) {
            let (data, tree) = (sample(length), Tree::build(&sample(length)));
            let count = tree.leaf_count();
            let subtrees = Subtrees::build(&data);
            assert_eq!(subtrees.root(), tree.root());
            assert_eq!(Subtrees::from_roots(count, subtrees.roots().to_vec()).as_ref(), Some(&subtrees));
            assert_eq!(Subtrees::from_roots(count + SUBTREE_LEAVES as u32, subtrees.roots().to_vec()), None);
            for leaves in ranges(count) {
                let around = of(&data, &subtrees.around(&leaves));
                let proof = subtrees.range_proof(leaves.clone(), &around);
                assert_eq!(proof, Some(tree.range_proof(leaves.clone())), "{leaves:?} of {length} bytes");
            }
        }
    }

    proptest! {
        #[test]
        fn subtrees_prove_nothing_but_their_own_bytes(
            data in proptest::collection::vec(any::<u8>(), 1..60 * LEAF_BYTES),
            pick in any::<[proptest::sample::Index; 4]>(),
        ) {
            let subtrees = Subtrees::build(&data);
            let count = leaf_count(data.len());
            let start = pick[0].index(count as usize) as u32;
            let leaves = start..start + 1 + pick[1].index((count - start) as usize) as u32;
            let mut around = of(&data, &subtrees.around(&leaves));
            let bit = pick[2].index(around.len() * 8);
            around[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(subtrees.range_proof(leaves.clone(), &around), None);
            around[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(subtrees.range_proof(leaves.clone(), &around).is_some());
            around.truncate(pick[3].index(around.len()));
            prop_assert_eq!(subtrees.range_proof(leaves, &around), None);
        }

        #[test]
        fn every_flipped_bit_is_noticed(
            data in proptest::collection::vec(any::<u8>(), 1..12 * LEAF_BYTES),
            pick in any::<[proptest::sample::Index; 4]>(),
        ) {
            let tree = Tree::build(&data);
            let start = pick[0].index(tree.leaf_count() as usize) as u32;
            let end = start + 1 + pick[1].index((tree.leaf_count() - start) as usize) as u32;
            let (mut bytes, mut proof) = (of(&data, &(start..end)), tree.range_proof(start..end));

            let bit = pick[2].index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(verify_range(tree.root(), tree.leaf_count(), start..end, &bytes, &proof).is_err());
            let mut whole = data.clone();
            whole[start as usize * LEAF_BYTES..][..bytes.len()].copy_from_slice(&bytes);
            prop_assert_ne!(root(&whole), tree.root());

            bytes[bit / 8] ^= 1 << (bit % 8);
            if !proof.is_empty() {
                let bit = pick[3].index(proof.len() * 256);
                proof[bit / 256][bit % 256 / 8] ^= 1 << (bit % 8);
                prop_assert!(verify_range(tree.root(), tree.leaf_count(), start..end, &bytes, &proof).is_err());
            }
        }
    }
}
