//! The file tree, its write path, its read path, its cache.

mod report;

pub use report::{
    Availability, BucketStatus, CacheReport, ChunkReport, FileReport, FileState, FileSummary, Pending, PolicyReport,
    ShardReport,
};
