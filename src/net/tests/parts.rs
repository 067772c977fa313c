//! Parts of shards that were stored by an earlier process.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;

use super::fixture::*;
use crate::{
    base::{ErrorKind, Kinded, ShardId, limits::LEAF_BYTES},
    keys::Role,
    net::*,
};

const LEAVES: u32 = 100;

/// Two servers of one store: what the second one serves it did not see coming.
struct Parts {
    memory: Arc<MemoryNode>,
    client: ShardClient,
    first: Contact,
    second: Contact,
}

impl Parts {
    fn new() -> Self {
        let world = world();
        let memory = MemoryNode::new(1 << 20);
        let [first, second] = [3, 4].map(|number| {
            let node = world.join(key(number).peer_id()) as Arc<dyn Network>;
            serve_shards(&node, memory.clone(), identity(number, Role::Consumer), &tasks()).unwrap();
            contact(&node)
        });
        let client = ShardClient::new(world.join(key(1).peer_id()), certificate(1, 1, Role::Producer));
        Self { memory, client, first, second }
    }

    /// Reads leaves through the second server; also how many whole shards it read for that.
    async fn read(&self, (shard, data): &(ShardId, Bytes), leaves: Range<u32>) -> (bool, u64) {
        let before = self.memory.reads.load(Ordering::Relaxed);
        let length = data.len() as u32;
        let read = self.client.get_proven(&self.second, *shard, length, leaves.clone()).await;
        let is_right = match read {
            Ok(bytes) => {
                assert_eq!(bytes, data.slice(leaves.start as usize * LEAF_BYTES..leaves.end as usize * LEAF_BYTES));
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                false
            }
        };
        (is_right, self.memory.reads.load(Ordering::Relaxed) - before)
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_roots_of_its_subtrees_only_a_part_of_a_shard_is_read() {
    let parts = Parts::new();
    let one = shard(LEAVES as usize * LEAF_BYTES, 1);
    parts.client.put(&parts.first, one.0, one.1.clone()).await.unwrap();
    assert_eq!(parts.memory.roots.lock().values().next().map(Vec::len), Some(7));
    for leaves in [3..4, 17..83, 0..LEAVES, 99..LEAVES, 15..17] {
        assert_eq!(parts.read(&one, leaves).await, (true, 0));
    }
    // What rots next to a part is not its matter, what rots in its subtrees has the whole looked at.
    parts.memory.rot(one.0, 40 * LEAF_BYTES);
    assert_eq!(parts.read(&one, 3..4).await, (true, 0));
    assert_eq!(parts.read(&one, 47..49).await, (false, 1));
}

#[tokio::test(start_paused = true)]
async fn without_roots_that_are_right_all_of_a_shard_is_read() {
    let parts = Parts::new();
    for (seed, damage) in [
        // As an earlier release stored it.
        (1, (|roots| roots.clear()) as fn(&mut Vec<[u8; 32]>)),
        (2, |roots| roots[5][7] ^= 1),
        (3, |roots| roots.truncate(6)),
        (4, |roots| roots.push([0; 32])),
    ] {
        let one = shard(LEAVES as usize * LEAF_BYTES, seed);
        parts.client.put(&parts.first, one.0, one.1.clone()).await.unwrap();
        parts.memory.roots.lock().values_mut().for_each(damage);
        assert_eq!(parts.read(&one, 20..21).await, (true, 1), "{seed}");
        parts.client.delete(&parts.first, one.0).await.unwrap();
        parts.memory.roots.lock().clear();
    }
}
