//! Power cuts, which kill -9 is not: what was not flushed is lost or torn on every disk, and what was promised is there.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail with it")]

#[path = "powercut/content.rs"]
mod content;
#[path = "powercut/cuts.rs"]
mod cuts;
#[path = "powercut/database.rs"]
mod database;
#[path = "powercut/disk.rs"]
mod disk;
#[path = "devnet/fixture.rs"]
mod fixture;
#[path = "powercut/image.rs"]
mod image;
#[path = "powercut/lab.rs"]
mod lab;
#[path = "powercut/model.rs"]
mod model;
#[path = "powercut/round.rs"]
mod round;
#[path = "powercut/tables.rs"]
mod tables;
#[path = "devnet/tree.rs"]
mod tree;
#[path = "devnet/whole.rs"]
mod whole;
#[path = "powercut/writer.rs"]
mod writer;
