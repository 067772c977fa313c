//! The vectors that the contracts' tests read: shards proven by this module, and the tree over the shards of an agreement.
//!
//! `OPENBUCKET_WRITE_VECTORS=1` writes the file instead of comparing it. Its format stands in `contracts/README.md`.

use serde_json::{Value, json};

use super::merkle::{Tree, root, verify_range};
use crate::base::{ShardId, sha256};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/test/vectors/merkle.json");
const LEAF_COUNTS: [u32; 7] = [1, 2, 3, 5, 8, 13, 17];
const SHARD_COUNTS: [usize; 6] = [0, 1, 2, 3, 5, 7];

/// The bytes (i * 7 + i / 1024 * 13 + salt) mod 251.
fn pattern(leaf_count: u32, salt: usize) -> Vec<u8> {
    (0..leaf_count as usize * 1024).map(|at| ((at * 7 + at / 1024 * 13 + salt) % 251) as u8).collect()
}

fn hex(node: &[u8; 32]) -> String {
    format!("0x{}", hex::encode(node))
}

fn hexes(path: &[[u8; 32]]) -> Vec<String> {
    path.iter().map(hex).collect()
}

fn shard(salt: usize, leaf_count: u32) -> Value {
    let data = pattern(leaf_count, salt);
    let tree = Tree::build(&data);
    let mut picks = vec![0, leaf_count / 2, leaf_count - 1];
    picks.dedup();
    let proofs: Vec<Value> = picks
        .into_iter()
        .map(|leaf| {
            let path = tree.range_proof(leaf..leaf + 1);
            let bytes = &data[leaf as usize * 1024..][..1024];
            assert_eq!(verify_range(tree.root(), leaf_count, leaf..leaf + 1, bytes, &path), Ok(()));
            json!({ "leafIndex": leaf, "path": hexes(&path) })
        })
        .collect();
    json!({ "salt": salt, "leafCount": leaf_count, "root": hex(&root(&data).0), "proofs": proofs })
}

/// A place in the tree over shards: `H(0x03 | index | root of the shard | leaf count)`.
fn place(index: usize, (ShardId(root), leaf_count): &(ShardId, u32)) -> [u8; 32] {
    let index = u32::try_from(index).expect("few shards");
    sha256(&[&[3], &index.to_be_bytes(), root, &leaf_count.to_be_bytes()])
}

/// The top node over places: the left half is the greatest power of two below the count.
fn top(places: &[[u8; 32]]) -> [u8; 32] {
    let [only] = places else {
        let (left, right) = places.split_at(places.len().next_power_of_two() / 2);
        return sha256(&[&[4], &top(left), &top(right)]);
    };
    *only
}

/// The siblings of a place, from the leaf upwards.
fn path(places: &[[u8; 32]], index: usize) -> Vec<[u8; 32]> {
    if places.len() == 1 {
        return Vec::new();
    }
    let half = places.len().next_power_of_two() / 2;
    let (left, right) = places.split_at(half);
    let (mut below, sibling) =
        if index < half { (path(left, index), top(right)) } else { (path(right, index - half), top(left)) };
    below.push(sibling);
    below
}

fn holding(shards: &[(ShardId, u32)]) -> Value {
    let places: Vec<[u8; 32]> = shards.iter().enumerate().map(|(index, shard)| place(index, shard)).collect();
    let count = u32::try_from(shards.len()).expect("few shards");
    let above = if places.is_empty() { [0; 32] } else { top(&places) };
    let entries: Vec<Value> = shards
        .iter()
        .enumerate()
        .map(|(index, (root, leaf_count))| {
            json!({ "root": hex(&root.0), "leafCount": leaf_count, "path": hexes(&path(&places, index)) })
        })
        .collect();
    json!({ "shardCount": count, "root": hex(&sha256(&[&[5], &count.to_be_bytes(), &above])), "shards": entries })
}

#[test]
fn the_contracts_are_tested_with_our_trees() {
    let known: Vec<(ShardId, u32)> =
        LEAF_COUNTS.iter().enumerate().map(|(salt, count)| (root(&pattern(*count, salt)), *count)).collect();
    let shards: Vec<Value> = LEAF_COUNTS.iter().enumerate().map(|(salt, count)| shard(salt, *count)).collect();
    let holdings: Vec<Value> = SHARD_COUNTS.iter().map(|count| holding(&known[..*count])).collect();
    let vectors = json!({ "shards": shards, "holdings": holdings });
    if std::env::var_os("OPENBUCKET_WRITE_VECTORS").is_some() {
        std::fs::write(FILE, serde_json::to_string_pretty(&vectors).unwrap() + "\n").unwrap();
    }
    let stored: Value = serde_json::from_slice(&std::fs::read(FILE).unwrap()).unwrap();
    assert!(stored == vectors, "{FILE} differs: write it with OPENBUCKET_WRITE_VECTORS=1");
}
