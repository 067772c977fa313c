//! What the bucket keeps in its database: inodes, entries, extents, chunks. Formats are for ever.

use serde::{Deserialize, Serialize};

use super::{Attr, FileKind, Timestamp};
use crate::{
    base::{ChunkId, Ino, Record, RecordError, Scheme, ShardId},
    coding::Layout,
    dispatch::{Health, Placement, Shards},
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
    /// Until when its data is to be kept; None: for ever.
    pub expires: Option<Expiry>,
    /// Bytes of its extents; None: the record is of version 1, which did not count them.
    pub extent_bytes: Option<u64>,
}

/// Until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Expiry {
    /// Seconds since the Unix epoch.
    At(i64),
    /// Of a directory: seconds after a file was made in it.
    After(u64),
}

impl Record for Inode {
    const NAME: &'static str = "inode";
    const VERSION: u8 = 2;

    fn decode_earlier(version: u8, body: &[u8]) -> Result<Self, RecordError> {
        // Version 2 has two more options at the end.
        match (version, postcard::take_from_bytes(&[body, &[0, 0]].concat())) {
            (1, Ok((inode, []))) => Ok(inode),
            _ => Err(RecordError::Damaged(Self::NAME)),
        }
    }
}

impl Inode {
    /// The attributes, and the bytes that take space.
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

impl Chunk {
    /// Whether all its shards are confirmed.
    pub fn is_whole(&self) -> bool {
        self.placements.iter().all(|placement| placement.health == Health::Held)
    }

    /// Its shards, for the dispatcher, which tells of bad ones.
    pub fn shards<'a>(&'a self, suspects: &'a (dyn Fn(&[usize]) + Sync)) -> Shards<'a> {
        Shards { layout: &self.layout, roots: &self.roots, placements: &self.placements, suspects }
    }
}

/// An attempt of earlier states, which does not say on whom the shards may be.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::PeerId, coding::BlockEntry, dispatch::Health};

    fn sample_inode() -> Inode {
        let time = |seconds| Timestamp { seconds, nanos: 999_999_999 };
        Inode {
            kind: FileKind::Symlink,
            mode: 0o4755,
            uid: 1000,
            gid: 70_000,
            links: 3,
            rdev: 0x0801,
            size: 1 << 40,
            accessed: time(-1),
            modified: time(1 << 33),
            changed: time(2),
            created: time(3),
            parent: Ino(77),
            target: b"to/\xff".to_vec(),
            scheme: Some(Scheme::PLUS),
            is_pinned: true,
            expires: Some(Expiry::After(90 * 86_400)),
            extent_bytes: Some(1 << 33),
        }
    }

    /// One record of each kind, with every field away from its default.
    fn samples() -> Vec<(&'static str, Vec<u8>)> {
        let layout = Layout {
            format: 1,
            chunk: ChunkId([7; 32]),
            scheme: Scheme::BASIC,
            plain_len: 65_537,
            shard_len: 17_408,
            blocks: vec![
                BlockEntry { sealed_len: 65_552, is_compressed: false },
                BlockEntry { sealed_len: 17, is_compressed: true },
            ],
        };
        let placements = vec![
            Placement { consumer: Some(PeerId([9; 32])), health: Health::Held },
            Placement { consumer: None, health: Health::Missing },
            Placement { consumer: Some(PeerId([8; 32])), health: Health::Suspect },
        ];
        let roots = vec![ShardId([1; 32]), ShardId([2; 32]), ShardId([3; 32])];
        vec![
            ("inode", sample_inode().encode()),
            ("entry", Entry { ino: Ino(300), kind: FileKind::Directory, cookie: 1 << 50 }.encode()),
            ("extent", Extent { bytes: 4 << 20, chunk: ChunkId([5; 32]), chunk_offset: 65_536 }.encode()),
            ("dirty", Dirty(vec![(0, 4096), (1 << 40, (1 << 40) + 1)]).encode()),
            ("chunk", Chunk { layout, roots: roots.clone(), placements }.encode()),
            ("attempt", Attempt { roots }.encode()),
            ("counters", Counters { next_id: 4112, files: 10, directories: 2 }.encode()),
        ]
    }

    fn reencoded(kind: &str, bytes: &[u8]) -> Vec<u8> {
        match kind {
            "inode" => Inode::decode(bytes).expect("reads").encode(),
            "entry" => Entry::decode(bytes).expect("reads").encode(),
            "extent" => Extent::decode(bytes).expect("reads").encode(),
            "dirty" => Dirty::decode(bytes).expect("reads").encode(),
            "chunk" => Chunk::decode(bytes).expect("reads").encode(),
            "attempt" => Attempt::decode(bytes).expect("reads").encode(),
            "counters" => Counters::decode(bytes).expect("reads").encode(),
            other => panic!("a golden record of an unknown kind: {other}"),
        }
    }

    fn kept(golden: &'static str) -> Vec<(&'static str, Vec<u8>)> {
        let lines = golden.lines().filter_map(|line| line.split_once(' '));
        lines.map(|(kind, text)| (kind, hex::decode(text).expect("hex"))).collect()
    }

    /// What this version writes, it has always written so. Only inodes are of version 2.
    #[test]
    fn records_are_written_as_ever() {
        let mut golden = kept(include_str!("../../tests/golden/bucket-records-v1.txt"));
        let inodes = kept(include_str!("../../tests/golden/bucket-records-v2.txt"));
        golden.retain(|(kind, _)| inodes.iter().all(|(newer, _)| newer != kind));
        let golden: Vec<_> = inodes.into_iter().chain(golden).collect();
        assert_eq!(golden, samples(), "a stored format has changed: it needs a new version that reads the old one");
        for (kind, bytes) in golden {
            assert_eq!(reencoded(kind, &bytes), bytes, "{kind}");
        }
    }

    #[test]
    fn inodes_of_version_1_are_read() {
        let golden = kept(include_str!("../../tests/golden/bucket-records-v1.txt"));
        let (_, bytes) = golden.into_iter().find(|(kind, _)| *kind == "inode").expect("there is one");
        let expected = Inode { expires: None, extent_bytes: None, ..sample_inode() };
        assert_eq!(Inode::decode(&bytes), Ok(expected));
        assert!(Inode::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(Inode::decode(&[&[0], &bytes[1..]].concat()).is_err(), "there is no version 0");
    }
}
