//! The file tree, its write path, its read path, its cache.

mod attr;
mod fake;
mod report;

pub use attr::{Attr, DirItem, FileKind, NewInode, RenameMode, SetAttr, SetTime, Space, Timestamp, XattrMode};
pub use fake::{Bucket, Error};
pub use report::{
    Availability, BucketStatus, CacheReport, ChunkReport, FileReport, FileState, FileSummary, Pending, PolicyReport,
    ShardReport,
};
