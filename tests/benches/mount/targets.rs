//! What every row is to reach, in one table.

/// What a row is held against, and the ratio that it is to reach: at least for a rate, at most for a wait or an amount.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// Of the empty file system on FUSE.
    Empty(f64),
    /// Of the plain directory.
    Plain(f64),
    /// Of the best other system, which does so many.
    Peer(f64, f64),
    /// So much, whatever else is measured.
    Fixed(f64),
    /// So much, or this share of another row, whichever is less.
    FixedOrShare(f64, &'static str, f64),
}

use Goal::{Empty, Fixed, FixedOrShare, Peer, Plain};

/// As near as a bucket is to come to an empty file system: "within 3x".
const NEAR: f64 = 1.0 / 3.0;
/// First place.
const FIRST: f64 = 1.0;
/// So much ahead of the best other system is first place by a wide margin: "most of them by far".
const AHEAD: f64 = 2.0;
/// The peers' rates are in MiB/s, ours in MB/s.
const MIB: f64 = 1.048_576;

/// Every row that has a target. `Peer` is the best of the other systems in PEERS.md; where the best returned from fsync
/// before the data was safe, the best honest one; all others are of DESIGN, section 10, if no other source is named.
pub const TARGETS: &[(&str, &[Goal])] = &[
    // "create, stat, rename, unlink within 3x of an empty FUSE filesystem"
    ("create empty", &[Empty(NEAR)]),
    ("create 1 KiB", &[Empty(NEAR)]),
    ("create 4 KiB", &[Empty(NEAR), Peer(1017.0, AHEAD)]),
    ("stat, known", &[Empty(NEAR), Peer(13_667.0, AHEAD)]),
    ("stat, forgotten", &[Empty(NEAR)]),
    ("rename", &[Empty(NEAR), Peer(4375.0, AHEAD)]),
    ("unlink", &[Empty(NEAR), Peer(4639.0, AHEAD)]),
    ("untar, entries", &[Peer(652.0, AHEAD)]),
    ("replace safely, p50", &[Peer(1.4, FIRST)]),
    // "sequential write of 1 GiB through the mount with a final fsync: at least 0.7 of the plain directory"
    ("write 1 GiB + fsync", &[Plain(0.7), Peer(210.0 * MIB, FIRST)]),
    // "the drain to uploaded (4+2): at least a quarter of the plain directory's rate"
    ("write + drain, 4+2", &[Plain(0.25)]),
    // "warm read: the page cache's speed": that of a file system on FUSE, whose pages are smaller than those of a disk's
    ("read warm", &[Empty(0.9)]),
    // "cold sequential read: at least 300 MB/s or a third of the warm read, whichever is less"
    ("read cold", &[FixedOrShare(300.0, "read warm", 1.0 / 3.0), Peer(523.0 * MIB, FIRST)]),
    ("first byte, cold mount", &[Peer(2.7, FIRST)]),
    // "a cold 4 KiB random read moves at most 256 KiB when its data shards answer, k times that when one is missing"
    // Of the peers is known how large their file was, not whether each read was of a new block.
    ("random read cold", &[Peer(7565.0, FIRST)]),
    ("random read, new blocks", &[Peer(7565.0, FIRST)]),
    ("KiB moved a read, p99", &[Fixed(256.0)]),
    ("KiB moved, one away, p99", &[Fixed(4.0 * 256.0)]),
    ("random write, fsync/32", &[Peer(3919.0, FIRST)]),
    // "a 4 KiB append with fsync: at least half of the plain directory's rate"
    ("append + fsync", &[Plain(0.5)]),
    ("append + fsync, p50", &[Plain(2.0), Peer(0.8, FIRST)]),
    ("append + fsync, p99", &[Plain(2.0), Peer(1.9, FIRST)]),
    // "append + fsync at p99 no more than 2x the plain directory's p99 under the same background I/O in the same run"
    ("append, loaded, p99", &[Plain(2.0)]),
    // "10,000 files of 1 KiB copied in: at most 1 shard per 20 files on each consumer"
    ("files for one shard", &[Fixed(20.0)]),
    ("small read cold", &[Peer(1959.0, FIRST)]),
    ("git clone, 563 entries", &[Peer(2.3, FIRST)]),
    // "memory of the mount under 400 MiB while 10 GiB pass through"
    ("peak memory of mount", &[Fixed(400.0)]),
    // "CPU under 10 ns per byte in all processes together"
    ("CPU, write + drain", &[Fixed(10.0)]),
];

/// The goals of a row.
pub fn of(row: &str) -> &'static [Goal] {
    TARGETS.iter().find(|(name, _)| *name == row).map_or(&[], |(_, goals)| *goals)
}

/// What holds a row back, as profiles show it: said when it misses a target.
const HELD: &[(&str, &str)] = &[
    (
        "write 1 GiB + fsync",
        "the kernel's protocol: each byte is copied to the daemon and from there to the disk; see the empty file system",
    ),
    (
        "write + drain, 4+2",
        "the processors: hashing a fifth, the kernel's files a sixth, encryption a ninth, TCP a tenth; see CPU, write + drain",
    ),
    ("read warm", "the page cache of FUSE, whose pages are smaller than a disk's"),
    (
        "read cold",
        "the processors: the kernel's files a fifth, copies between buffers a sixth, TCP an eighth, encryption a tenth of what \
         mount and consumers spend together",
    ),
    ("first byte, cold mount", "connections that are still being made, and cold caches of consumers"),
    ("random read cold", "each block of 64 KiB is fetched and opened for its first 4 KiB, by one reader at a time"),
    ("random read, new blocks", "a block of 64 KiB is fetched and opened for each 4 KiB, by one reader at a time"),
    (
        "append, loaded, p99",
        "turns on busy processors for three requests of the kernel's protocol, the first of them behind all that is written \
         back, and a flush of a disk with much to do",
    ),
    ("create empty", "the kernel's protocol and its changes of threads: two appends to the intent log are the rest"),
    ("create 1 KiB", "the kernel's protocol and its changes of threads: two appends to the intent log are the rest"),
    ("create 4 KiB", "the kernel's protocol and its changes of threads: two appends to the intent log are the rest"),
    ("stat, known", "the kernel's protocol"),
    ("stat, forgotten", "the kernel's protocol, and one look into the overlay and the trees"),
    ("rename", "the kernel's protocol, and an append to the intent log"),
    ("unlink", "the kernel's protocol, and an append to the intent log"),
    ("untar, entries", "creates: the kernel's protocol and its changes of threads"),
    ("replace safely, p50", "two flushes of the disk: of the file, of the directory"),
    ("append + fsync", "a flush of the disk, and three requests of the kernel's protocol"),
    ("append + fsync, p50", "a flush of the disk, and three requests of the kernel's protocol"),
    ("append + fsync, p99", "flushes of the disk that are on their way already"),
    ("KiB moved a read, p99", "whole blocks"),
    ("KiB moved, one away, p99", "whole blocks of k shards"),
    ("random write, fsync/32", "flushes of the disk"),
    ("files for one shard", "files that come too slowly to share a chunk"),
    ("small read cold", "a round trip for each chunk that is not there yet"),
    ("git clone, 563 entries", "creates: the kernel's protocol and its changes of threads"),
    ("CPU, write + drain", "hashing a fifth, the kernel's files a sixth, encryption a ninth, TCP a tenth"),
    ("peak memory of mount", "chunks on their way, each with its shards"),
];

/// What holds a row back, where that is known.
pub fn held_by(row: &str) -> Option<&'static str> {
    HELD.iter().find(|(name, _)| *name == row).map(|(_, why)| *why)
}
