//! What survives a restart: the key-value checkpoint with its intent log, staging files, shard segments.
//!
//! Every process owns one state directory, held by a [`StateLock`]. Files go
//! through the [`Disk`] seam, so that a test can lose what was not flushed.

mod batch;
mod database;
#[cfg(test)]
mod database_tests;
mod disk;
mod error;
mod kept;
mod lock;
mod log;
mod ordered;
mod overlay;
mod replay;
mod schema;
mod shards;
mod table;
mod trees;

pub use batch::Batch;
pub use database::{Database, Sequence, StagingFiles};
pub use disk::{Disk, DiskFile, DiskOp, FaultyDisk, RealDisk, SimulatedDisk, sync_ranges};
pub use error::Error;
pub use kept::Kept;
pub use lock::StateLock;
#[cfg(test)]
pub use log::Op;
pub use schema::Table;
pub use shards::{ShardStore, ShardStoreOptions, ShardUsage, SpaceGuard};
pub use table::{RecordTable, Tables};
