//! Real processes, a real network, a real mount: what a person does with a bucket, and what goes wrong meanwhile.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail with it")]

#[path = "cluster/crashes.rs"]
mod crashes;
#[path = "cluster/durability.rs"]
mod durability;
#[path = "devnet/fixture.rs"]
mod fixture;
#[path = "cluster/loss.rs"]
mod loss;
#[path = "cluster/money.rs"]
mod money;
#[path = "cluster/operations.rs"]
mod operations;
#[path = "cluster/refusals.rs"]
mod refusals;
#[path = "cluster/shortage.rs"]
mod shortage;
#[path = "cluster/signals.rs"]
mod signals;
#[path = "cluster/space.rs"]
mod space;
#[path = "devnet/tree.rs"]
mod tree;
#[path = "devnet/whole.rs"]
mod whole;
