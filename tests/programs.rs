//! Programs that people use every day, on a real mount as on a disk, by root and by an ordinary user.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail with it")]

#[path = "programs/backups.rs"]
mod backups;
#[path = "programs/builds.rs"]
mod builds;
#[path = "programs/databases.rs"]
mod databases;
#[path = "devnet/fixture.rs"]
mod devnet;
#[path = "programs/editors.rs"]
mod editors;
#[path = "programs/fixture.rs"]
mod fixture;
#[path = "programs/locks.rs"]
mod locks;
#[path = "programs/names.rs"]
mod names;
#[path = "programs/repositories.rs"]
mod repositories;
#[path = "programs/sharing.rs"]
mod sharing;
#[path = "devnet/tree.rs"]
mod tree;
#[path = "programs/trees.rs"]
mod trees;
