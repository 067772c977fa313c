//! What a consumer says of itself.

use serde::{Deserialize, Serialize};

/// `consumer status`. The JSON is stable; sizes are bytes of real disk space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerStatus {
    pub peer: String,
    pub owner: String,
    pub addresses: Vec<String>,
    pub version: String,
    pub limit_bytes: u64,
    pub used_bytes: u64,
    pub reserved_bytes: u64,
    pub free_bytes: u64,
    pub shards: u64,
    /// Shards that rotted and are no longer held.
    pub bad_shards: u64,
    /// Places on disk where a shard's header should be and none reads.
    pub damaged_headers: u64,
    /// Shards verified since the start, of those held then.
    pub verified_shards: u64,
    pub to_verify_shards: u64,
    /// Shard bytes received since the start.
    pub bytes_in: u64,
    /// Shard bytes read for producers since the start.
    pub bytes_out: u64,
    pub trackers: Vec<TrackerReach>,
    /// Why nothing new is accepted, if so.
    pub problem: Option<String>,
}

/// Whether a tracker knows this consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackerReach {
    pub address: String,
    pub is_reachable: bool,
    /// Why it is not reachable, if so.
    pub problem: Option<String>,
}
