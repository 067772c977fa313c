//! The storage node: keeps shards under a limit, proves nothing and promises little, but what it has
//! confirmed is on its disk.
//!
//! It lives without trackers: it goes on serving while one is away, and tells it again as soon as it is back.
//! A shard belongs to the owner that put it; to anyone else it does not exist.

mod announce;
mod error;
mod service;
mod start;
mod status;

pub use error::Error;
pub use start::{Consumer, ConsumerOptions, ConsumerParts};
pub use status::{ConsumerStatus, TrackerReach};
