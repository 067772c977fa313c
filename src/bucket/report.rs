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

#[cfg(test)]
mod tests {
    use super::*;

    /// The JSON of a value, which must be read back as the same.
    fn json<T: Serialize + for<'a> Deserialize<'a> + PartialEq + fmt::Debug>(value: &T) -> String {
        let text = serde_json::to_string(value).expect("reports serialise");
        assert_eq!(serde_json::from_str::<T>(&text).expect("it reads"), *value);
        text
    }

    const AVAILABILITY: Availability = Availability { actual: 2, desired: 3 };

    #[test]
    fn the_states_have_their_names_and_their_order() {
        use FileState::*;
        let states = [Lost, Failed, Local, Uploading, Degraded, Available, Uploaded, Expired];
        let names = r#"["lost","failed","local","uploading","degraded","available","uploaded","expired"]"#;
        assert_eq!(json(&states.to_vec()), names);
        assert!(states.is_sorted(), "from least to most safe");
    }

    #[test]
    fn the_json_of_files_is_stable() {
        let summary = FileSummary {
            path: "a/b".to_owned(),
            id: 7,
            kind: "file".to_owned(),
            state: FileState::Available,
            size: 10,
            availability: AVAILABILITY,
            is_pinned: true,
        };
        let head = r#"{"path":"a/b","id":7,"kind":"file","state":"available","size":10"#;
        let availability = r#""availability":{"actual":2,"desired":3}"#;
        assert_eq!(json(&summary), format!(r#"{head},{availability},"is_pinned":true}}"#));
        let shard = ShardReport { index: 1, id: "s".to_owned(), consumer: "c".to_owned(), state: "held".to_owned() };
        let report = FileReport {
            path: summary.path,
            id: summary.id,
            kind: summary.kind,
            state: summary.state,
            size: summary.size,
            staged_bytes: 5,
            availability: AVAILABILITY,
            policy: PolicyReport { k: 4, m: 2, expires: "never".to_owned() },
            is_pinned: false,
            reason: None,
            chunks: vec![ChunkReport { id: "x".to_owned(), live_bytes: 9, shards: vec![shard] }],
        };
        let policy = r#""policy":{"k":4,"m":2,"expires":"never"},"is_pinned":false,"reason":null"#;
        let shards = r#""shards":[{"index":1,"id":"s","consumer":"c","state":"held"}]"#;
        let chunks = format!(r#""chunks":[{{"id":"x","live_bytes":9,{shards}}}]"#);
        assert_eq!(json(&report), format!(r#"{head},"staged_bytes":5,{availability},{policy},{chunks}}}"#));
        let earlier = r#"{"k":4,"m":2}"#;
        assert_eq!(serde_json::from_str::<PolicyReport>(earlier).expect("it reads").expires, "");
    }

    #[test]
    fn the_json_of_sums_is_stable() {
        let pending = Pending { files: 1, bytes: 2, total_files: 3, total_bytes: 4, ..Pending::default() };
        let wanted = r#"{"files":1,"bytes":2,"total_files":3,"total_bytes":4,"reasons":[],"examples":[]}"#;
        assert_eq!(json(&pending), wanted);
        let cache = CacheReport { files: 1, bytes: 2, kept_dirty_bytes: 3, kept_pinned_bytes: 4 };
        assert_eq!(json(&cache), r#"{"files":1,"bytes":2,"kept_dirty_bytes":3,"kept_pinned_bytes":4}"#);
        let wanted = concat!(
            r#"{"bucket":"","bucket_id":"","files":0,"directories":0,"staged_bytes":0,"staging_limit_bytes":0,"#,
            r#""pending_uploads":0,"pending_deletes":0,"chunks":0,"incomplete_chunks":0,"sparse_chunks":0,"#,
            r#""sparse_bytes":0,"reclaimed_bytes":0,"cache_memory_bytes":0,"cache_disk_bytes":0,"#,
            r#""cache_limit_bytes":0,"upload_problem":null}"#
        );
        assert_eq!(json(&BucketStatus::default()), wanted);
    }

    #[test]
    fn the_words_of_an_attribute_are_stable() {
        let held = Durability::Consumers { held: 5, n: 6, consumers: 7 };
        let words = [Durability::Memory, Durability::Local, held].map(|it| it.to_string());
        assert_eq!(words, ["memory", "local", "5/6 shards on 7 consumers"]);
        assert_eq!(AVAILABILITY.to_string(), "2/3");
    }
}
