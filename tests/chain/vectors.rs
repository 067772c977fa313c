//! The examples of both trees that the tests of the contracts read: what this program computes.

use openbucket::{
    chain::{HeldShard, HoldingTree, holds},
    coding::merkle,
};
use serde_json::{Value, json};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contracts/test/vectors/merkle.json");
/// Leaves of each shard; its salt is its place.
const LEAVES: [u32; 7] = [1, 2, 3, 5, 8, 13, 17];
const HOLDINGS: [usize; 6] = [0, 1, 2, 3, 5, 7];

fn text(node: &[u8; 32]) -> Value {
    json!(format!("0x{}", hex::encode(node)))
}

fn data(salt: usize, leaves: u32) -> Vec<u8> {
    (0..leaves as usize * 1024).map(|i| ((i * 7 + i / 1024 * 13 + salt) % 251) as u8).collect()
}

fn vectors() -> Value {
    let trees: Vec<merkle::Tree> =
        LEAVES.iter().enumerate().map(|(salt, leaves)| merkle::Tree::build(&data(salt, *leaves))).collect();
    let shard = |(salt, tree): (usize, &merkle::Tree)| {
        let count = tree.leaf_count();
        let mut leaves = vec![0, count / 2, count - 1];
        leaves.dedup();
        let proof = |leaf: &u32| {
            let path: Vec<Value> = tree.range_proof(*leaf..leaf + 1).iter().map(text).collect();
            json!({ "leafIndex": leaf, "path": path })
        };
        let proofs: Vec<Value> = leaves.iter().map(proof).collect();
        json!({ "salt": salt, "leafCount": count, "root": text(&tree.root().0), "proofs": proofs })
    };
    let holding = |count: &usize| {
        let held: Vec<HeldShard> = trees[..*count]
            .iter()
            .map(|tree| HeldShard { shard: tree.root(), leaf_count: tree.leaf_count() })
            .collect();
        let tree = HoldingTree::new(&held).expect("few shards");
        let shard = |(index, held): (usize, &HeldShard)| {
            let path = tree.path(index as u32).expect("a shard");
            assert!(holds(tree.root(), tree.count(), index as u32, held, &path));
            let path: Vec<Value> = path.iter().map(text).collect();
            json!({ "root": text(&held.shard.0), "leafCount": held.leaf_count, "path": path })
        };
        let shards: Vec<Value> = held.iter().enumerate().map(shard).collect();
        json!({ "shardCount": count, "root": text(&tree.root().0), "shards": shards })
    };
    let shards: Vec<Value> = trees.iter().enumerate().map(shard).collect();
    let holdings: Vec<Value> = HOLDINGS.iter().map(holding).collect();
    json!({ "shards": shards, "holdings": holdings })
}

#[test]
fn both_trees_are_those_that_the_contracts_are_tested_with() {
    let stored = std::fs::read_to_string(PATH).expect("the vectors are there");
    let stored: Value = serde_json::from_str(&stored).expect("JSON");
    assert_eq!(stored, vectors());
}
