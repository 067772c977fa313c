//! The clients of both protocols: kept streams, deadlines, and everything verified that a peer sends.

mod calls;
mod session;
mod shards;
mod tracker;

pub use shards::ShardClient;
pub use tracker::TrackerClient;
