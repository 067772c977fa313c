//! The tables of the bucket's database and their keys. All keys are big-endian, so that scans are in order.
//!
//! | table | key | value |
//! |---|---|---|
//! | `Meta` | name | format, counters |
//! | `Inode` | ino u64 | inode record |
//! | `Entry` | parent u64, name | child ino, kind, cookie |
//! | `Cookie` | parent u64, cookie u64 | name: the directory in a stable order |
//! | `Xattr` | ino u64, name | value |
//! | `Extent` | ino u64, offset u64 | length, chunk, offset in the chunk |
//! | `Dirty` | ino u64 | as `Staged`, all of a file in one record: in earlier states, only read now |
//! | `Orphan` | ino u64 | unlinked, still open |
//! | `Chunk` | chunk id | layout, shard ids, placements |
//! | `Live` | chunk id | bytes that extents still need, u64 |
//! | `User` | chunk id, ino u64, offset u64 | which extents use the chunk |
//! | `Attempt` | chunk id, peer, shard id | who may have a shard that is on its way: of an upload, or of a repair |
//! | `Attempt` | chunk id | the same in earlier states, with the shards and without the peers: only read now |
//! | `Delete` | peer, shard id | a shard to delete |
//! | `Incomplete` | chunk id | a committed chunk with shards not confirmed; `1` when nobody waits for them: all of it was whole before the collector moved it |
//! | `Consumer` | peer | who and where it was last |
//! | `Policy` | ino u64 | a file whose policy was changed and is not applied to all its data yet |
//! | `Staged` | ino u64, start u64 | the end of a staged range that is durable here, u64 |
//! | `Sparse` | chunk id | a chunk of which less than half may be needed |
//! | `Shared` | chunk id | of a chunk that extents share: with fewer live bytes less than half may be needed, u64 |

/// A table of the bucket's database: the first byte of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    Meta = 0,
    Inode = 1,
    Entry = 2,
    Cookie = 3,
    Xattr = 4,
    Extent = 5,
    Dirty = 6,
    Orphan = 7,
    Chunk = 8,
    Live = 9,
    User = 10,
    Attempt = 11,
    Delete = 12,
    Incomplete = 13,
    Consumer = 14,
    Policy = 15,
    Staged = 16,
    Sparse = 17,
    Shared = 18,
}

/// A key of a table: its parts, one after another.
pub fn key(table: Table, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(table as u8);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}
