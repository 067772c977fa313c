//! The servers of both protocols: bounded streams, certified peers, deadlines on every step.

mod accept;
mod shards;
mod tracker;

pub use accept::ServerIdentity;
pub use shards::serve_shards;
pub use tracker::serve_tracker;
