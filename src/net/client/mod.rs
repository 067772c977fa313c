//! The clients of both protocols: kept streams, deadlines, and what a peer sends verified, or said not to be.

mod calls;
mod session;
mod shards;
mod tracker;

pub use shards::ShardClient;
pub use tracker::TrackerClient;
