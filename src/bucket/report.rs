//! What the bucket tells people and programs about itself. The JSON of these types is stable.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How far a file is on its way to its consumers; ordered from least to most safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// Fewer than k shards of some chunk answer.
    Lost,
    /// Could not be uploaded for a reason that needs somebody; the data is still local.
    Failed,
    /// Staged here, not yet on its way.
    Local,
    /// On its way.
    Uploading,
    /// Committed, but a shard is known to be missing or bad.
    Degraded,
    /// Enough shards to survive a loss.
    Available,
    /// All n shards of all chunks confirmed. Also a file with no bytes.
    Uploaded,
    /// Its term is over: nobody waits for it.
    Expired,
}

/// How many consumers may vanish before data is gone, plus one: healthy shards - k + 1, the least over the chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Availability {
    pub actual: i32,
    pub desired: i32,
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.actual, self.desired)
    }
}

/// What it takes to lose the newest bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: they are not flushed yet.
    Memory,
    /// The loss of this machine's disk.
    Local,
    /// The loss of more consumers than there is parity: at least `held` of the `n` shards of each chunk are held,
    /// by so many consumers in all.
    Consumers { held: usize, n: usize, consumers: usize },
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Local => f.write_str("local"),
            Self::Consumers { held, n, consumers } => write!(f, "{held}/{n} shards on {consumers} consumers"),
        }
    }
}

/// How a file is to be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyReport {
    pub k: u8,
    pub m: u8,
    /// A time of RFC 3339, or `never`.
    #[serde(default)]
    pub expires: String,
}

/// One line of `file ls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSummary {
    /// Relative to the bucket's root, no leading slash; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// The inode number.
    pub id: u64,
    /// `file`, `directory`, `symlink` or `other`.
    pub kind: String,
    pub state: FileState,
    pub size: u64,
    pub availability: Availability,
    pub is_pinned: bool,
}

/// Where one shard is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardReport {
    pub index: u8,
    pub id: String,
    pub consumer: String,
    /// `held`, `pending` (not confirmed yet), `suspect` (a read found it bad or absent).
    pub state: String,
}

/// One chunk of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkReport {
    pub id: String,
    pub live_bytes: u64,
    pub shards: Vec<ShardReport>,
}

/// `file stat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileReport {
    pub path: String,
    pub id: u64,
    pub kind: String,
    pub state: FileState,
    pub size: u64,
    pub staged_bytes: u64,
    pub availability: Availability,
    pub policy: PolicyReport,
    pub is_pinned: bool,
    /// Why it is not further, if something is in the way.
    pub reason: Option<String>,
    pub chunks: Vec<ChunkReport>,
}

/// What is still missing under a path for a level.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Files not there yet.
    pub files: u64,
    /// Their bytes that are not there yet.
    pub bytes: u64,
    /// All files under the path.
    pub total_files: u64,
    /// All their bytes.
    pub total_bytes: u64,
    /// Up to a few reasons, most recent first, each once.
    pub reasons: Vec<String>,
    /// Up to a few paths of files not there yet.
    pub examples: Vec<String>,
}

/// What `cache evict` and `cache pin` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheReport {
    pub files: u64,
    pub bytes: u64,
    /// Dirty bytes that stay because they exist nowhere else.
    pub kept_dirty_bytes: u64,
    /// Bytes on disk that stay because they are pinned.
    pub kept_pinned_bytes: u64,
}

/// The bucket's part of `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketStatus {
    pub bucket: String,
    pub bucket_id: String,
    pub files: u64,
    pub directories: u64,
    pub staged_bytes: u64,
    pub staging_limit_bytes: u64,
    /// Files with bytes not yet committed.
    pub pending_uploads: u64,
    pub pending_deletes: u64,
    pub chunks: u64,
    /// Chunks with fewer than n confirmed shards.
    pub incomplete_chunks: u64,
    /// Chunks of which less than half may be needed: the collector looks at them.
    pub sparse_chunks: u64,
    /// Bytes of theirs that nobody needs, at least.
    pub sparse_bytes: u64,
    /// Bytes that the collector has given back since the start.
    pub reclaimed_bytes: u64,
    pub cache_memory_bytes: u64,
    pub cache_disk_bytes: u64,
    pub cache_limit_bytes: u64,
    /// Why uploads are not going on, if they are not.
    pub upload_problem: Option<String>,
}
