//! The file tree, its write path, its read path, its cache.

mod attr;
pub mod cache;
mod report;

pub use attr::{Attr, DirItem, FileKind, NewInode, RenameMode, SetAttr, SetTime, Space, Timestamp, XattrMode};
pub use report::{
    Availability, BucketStatus, CacheReport, ChunkReport, FileReport, FileState, FileSummary, Pending, PolicyReport,
    ShardReport,
};
