//! Ends of processes at every failpoint and at random moments: what was synced is there, nothing is garbage, the bucket's
//! records fit together, and consumers keep no shard that nobody needs.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail with it")]

#[path = "crash/checks.rs"]
mod checks;
#[path = "crash/copies.rs"]
mod copies;
#[path = "crash/exerciser.rs"]
mod exerciser;
#[path = "crash/failpoints.rs"]
mod failpoints;
#[path = "devnet/fixture.rs"]
mod fixture;
#[path = "crash/kills.rs"]
mod kills;
#[path = "crash/model.rs"]
mod model;
#[path = "crash/network.rs"]
mod network;
#[path = "posix/suite.rs"]
mod suite;
#[path = "devnet/tree.rs"]
mod tree;
#[path = "devnet/whole.rs"]
mod whole;
#[path = "crash/workload.rs"]
mod workload;
