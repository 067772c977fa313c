//! What a check of the bucket tells. The JSON of these types is stable.

use serde::{Deserialize, Serialize};

/// `openbucket fsck --json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsckReport {
    pub inodes: u64,
    pub names: u64,
    pub chunks: u64,
    /// Shards that are to be on consumers.
    pub shards: u64,
    pub problems: Vec<FsckProblem>,
    /// Problems that are not listed, because there are too many.
    pub unlisted_problems: u64,
    /// Consumers that did not tell what they hold, and why.
    pub silent_consumers: Vec<String>,
    /// Why shards that this bucket does not know were not looked for, if so.
    pub unknown_shards_unjudged: Option<String>,
}

impl FsckReport {
    /// Whether nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether something is wrong still.
    pub fn is_wrong_still(&self) -> bool {
        self.unlisted_problems > 0 || self.problems.iter().any(|problem| !problem.repaired)
    }
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsckProblem {
    pub kind: FsckKind,
    /// Where.
    pub what: String,
    pub why: String,
    /// It is put right, or is being put right in the background.
    pub repaired: bool,
}

/// What kinds of problems there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FsckKind {
    /// Bytes that are no record.
    DamagedRecord,
    /// A name of an inode that is not there, or of another kind, or in what is no directory.
    BadName,
    /// A name without its place in the order of its directory, or a place without its name.
    DirectoryOrder,
    /// A directory that thinks it is somewhere else.
    DirectoryParent,
    /// An inode with more or fewer names than it counts.
    LinkCount,
    /// An inode that no name leads to, and that is not on its way out.
    Unreachable,
    /// A mark for removal where none belongs, or none where one does.
    OrphanMark,
    /// A record of an inode that is not there.
    StrayRecord,
    /// An extent that overlaps another, or ends behind its file or its chunk.
    BadExtent,
    /// An extent whose chunk is not there: its bytes are lost.
    MissingChunk,
    /// A chunk that does not know an extent of it, or knows one that is not there.
    ChunkUser,
    /// A file that counts its stored bytes wrong.
    ExtentBytes,
    /// A chunk whose needed bytes are counted wrong.
    LiveBytes,
    /// A chunk that nothing needs.
    UnusedChunk,
    /// A chunk with two shards on one consumer.
    SharedConsumer,
    /// A chunk that lacks shards and is not marked so, or the other way round.
    IncompleteMark,
    /// A deletion in the queue of a shard that is needed.
    NeededDelete,
    /// Staged ranges that do not fit their file.
    StagedRange,
    /// A staging file that nothing needs.
    StagingFile,
    /// A shard that its consumer does not have.
    AbsentShard,
    /// A shard on a consumer that this bucket does not know.
    UnknownShard,
    /// A bucket that counts its files or directories wrong, or would give a number away that is in use.
    Counters,
}

impl std::fmt::Display for FsckKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

/// Where a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsckProgress {
    pub step: &'static str,
    /// Records looked at in this step.
    pub done: u64,
}
