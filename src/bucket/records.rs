//! What the bucket keeps in its database: inodes, entries, extents, chunks. Formats are for ever.

use serde::{Deserialize, Serialize};

use super::{Attr, FileKind, Timestamp};
use crate::{
    base::{ChunkId, Ino, Record, Scheme, ShardId},
    coding::Layout,
    dispatch::Placement,
};

/// An inode as stored. `size` counts only bytes that survive a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inode {
    pub kind: FileKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub links: u32,
    pub rdev: u32,
    pub size: u64,
    pub accessed: Timestamp,
    pub modified: Timestamp,
    pub changed: Timestamp,
    pub created: Timestamp,
    /// Of a directory: where it is.
    pub parent: Ino,
    /// Of a symlink.
    pub target: Vec<u8>,
    /// How its data is to be kept; None: as its bucket says.
    pub scheme: Option<Scheme>,
    pub is_pinned: bool,
}

impl Record for Inode {
    const NAME: &'static str = "inode";
}

impl Inode {
    /// The attributes with the live size and the bytes that take space.
    pub fn attr(&self, ino: Ino, stored_bytes: u64) -> Attr {
        Attr {
            ino,
            kind: self.kind,
            mode: self.mode,
            links: self.links,
            uid: self.uid,
            gid: self.gid,
            rdev: self.rdev,
            size: self.size,
            blocks: stored_bytes.div_ceil(512),
            accessed: self.accessed,
            modified: self.modified,
            changed: self.changed,
            created: self.created,
        }
    }
}

/// A directory entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub ino: Ino,
    pub kind: FileKind,
    /// Its place in the stable order of the directory.
    pub cookie: u64,
}

impl Record for Entry {
    const NAME: &'static str = "entry";
}

/// A run of bytes of a file inside one chunk. The file offset is in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extent {
    pub bytes: u32,
    pub chunk: ChunkId,
    /// Where the run begins among the plain bytes of the chunk.
    pub chunk_offset: u32,
}

impl Record for Extent {
    const NAME: &'static str = "extent";
}

/// Staged ranges of a file that are durable on the local disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dirty(pub Vec<(u64, u64)>);

impl Record for Dirty {
    const NAME: &'static str = "dirty ranges";
}

/// A committed chunk: all that is needed to read it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chunk {
    pub layout: Layout,
    pub roots: Vec<ShardId>,
    pub placements: Vec<Placement>,
}

impl Record for Chunk {
    const NAME: &'static str = "chunk";
}

/// An upload that was begun: its shards may be on consumers without a chunk record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempt {
    pub roots: Vec<ShardId>,
}

impl Record for Attempt {
    const NAME: &'static str = "attempt";
}

/// Counters that outlive a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counters {
    /// The first inode number and cookie not yet given away.
    pub next_id: u64,
    pub files: u64,
    pub directories: u64,
}

impl Record for Counters {
    const NAME: &'static str = "counters";
}
