//! Every bound of the product, with its unit in its name. Nothing is sized from outside beyond these.

use std::time::Duration;

/// Plain bytes of a chunk, at most.
pub const CHUNK_BYTES: usize = 4 << 20;
/// Plain bytes of a block: the unit of compression and encryption.
pub const BLOCK_BYTES: usize = 64 << 10;
/// Bytes that sealing adds to a block: the AES-GCM tag.
pub const SEAL_OVERHEAD_BYTES: usize = 16;
/// Blocks of a chunk, at most.
pub const CHUNK_BLOCKS: usize = CHUNK_BYTES / BLOCK_BYTES;
/// Bytes of a leaf: the unit of the Merkle proof.
pub const LEAF_BYTES: usize = 1 << 10;
/// Bytes of a shard, at most: a whole sealed chunk (k = 1), rounded up to a leaf.
pub const SHARD_BYTES: usize = CHUNK_BYTES + CHUNK_BLOCKS * SEAL_OVERHEAD_BYTES;
/// Leaves of a shard, at most.
pub const SHARD_LEAVES: usize = SHARD_BYTES.div_ceil(LEAF_BYTES);
/// Shards of a chunk, at most.
pub const SHARDS: usize = 64;

/// Erasure coders kept for reuse, one for each scheme seen lately.
pub const CODERS: usize = 16;

/// Bytes of a control message on the wire, at most.
pub const FRAME_BYTES: usize = 256 << 10;
/// Shards named in one answer to list-mine; more come with the next page.
pub const LIST_PAGE: usize = 4096;
/// Candidates in one tracker answer, at most.
pub const CANDIDATES: usize = 256;
/// Addresses of a peer that are kept, at most.
pub const ADDRESSES: usize = 16;
/// Bytes of an address as text, at most.
pub const ADDRESS_BYTES: usize = 256;
/// Streams served to one peer at a time.
pub const STREAMS_PER_PEER: usize = 64;
/// Streams served to all peers at a time.
pub const STREAMS: usize = 1024;

/// Bytes of a file name (POSIX NAME_MAX).
pub const NAME_BYTES: usize = 255;
/// Bytes of a symlink target (PATH_MAX less its NUL).
pub const SYMLINK_BYTES: usize = 4095;
/// Bytes of an extended attribute value (XATTR_SIZE_MAX).
pub const XATTR_BYTES: usize = 64 << 10;
/// Hard links of one inode.
pub const LINKS: u32 = 1 << 20;
/// Bytes of a file, at most: 2^53, so that every offset is exact in JSON too.
pub const FILE_BYTES: u64 = 1 << 53;

/// Connecting to a peer, at most.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One request to a peer, its data included, at most.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// A read through the mount, at most, unless configured.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A stream with no request on it is closed after this.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A consumer says that it is there this often.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(5);
/// A consumer is suspect (no new shards) when its last beat is older.
pub const SUSPECT_AFTER: Duration = Duration::from_secs(15);

/// The tracker is asked for the consumers this often.
pub const TRACKER_REFRESH: Duration = Duration::from_secs(10);
/// The least time between two questions to the tracker; doubles with each failure up to the refresh.
pub const TRACKER_RETRY: Duration = Duration::from_millis(500);
/// Who is short of consumers waits so long for the tracker's next answer.
pub const TRACKER_WAIT: Duration = Duration::from_secs(5);
/// Consumers that a producer remembers.
pub const KNOWN_CONSUMERS: usize = 4096;
/// A consumer that was unreachable or slow is asked last for so long.
pub const CONSUMER_REST: Duration = Duration::from_secs(5);
/// A consumer that failed to take a shard gets no new ones for so long, unless there are no others.
pub const PUT_BACK_OFF: Duration = Duration::from_secs(10);
/// Chunks on their way to consumers at a time, their last shards included.
pub const SCATTERS: usize = 8;
/// Placing the shards of a chunk, the last ones included, at most.
pub const SCATTER_TIMEOUT: Duration = Duration::from_secs(60);
/// After the commit threshold the remaining shards have so long.
pub const SCATTER_TAIL: Duration = Duration::from_secs(15);
/// A put is slow when it takes this more than twice as long as the third finisher of its chunk.
pub const STALL_FLOOR: Duration = Duration::from_millis(500);
/// A put is slow after this when no third has finished.
pub const STALL_CEILING: Duration = Duration::from_secs(3);
/// Consumers that are tried for one shard, at most.
pub const PLACE_TRIES: usize = 4;
/// Times that every consumer of a chunk is asked before a read fails.
pub const GATHER_ROUNDS: u32 = 3;
/// The pause before the second of these rounds; doubles.
pub const GATHER_PAUSE: Duration = Duration::from_millis(500);

/// A read asks another consumer at the earliest after this.
pub const HEDGE_FLOOR: Duration = Duration::from_millis(100);
/// A read asks another consumer at the latest after this.
pub const HEDGE_CEILING: Duration = Duration::from_secs(2);

/// Bytes of a key file, at most.
pub const KEY_FILE_BYTES: usize = 4 << 10;
/// Bytes of a refusal's text on the wire, at most.
pub const REFUSAL_BYTES: usize = 512;
/// Merkle siblings of a range proof on the wire, at most: two for each level of the largest shard.
pub const PROOF_HASHES: usize = 2 * (usize::BITS - SHARD_LEAVES.leading_zeros()) as usize;
/// Peers that a tracker is told to leave out, at most.
pub const EXCLUDED_PEERS: usize = 1024;
/// Shards of one list-mine over all its pages, at most.
pub const LIST_SHARDS: usize = 4 << 20;
/// Shard bytes in the memory of a shard server at a time; a request waits for its part.
pub const SERVED_BYTES: usize = 128 << 20;
/// Idle streams a client keeps to one peer.
pub const IDLE_STREAMS_PER_PEER: usize = 8;
/// Idle streams a client keeps to all peers.
pub const IDLE_STREAMS: usize = 256;
/// A client uses an idle stream again only when it is younger: well before the server closes it.
pub const STREAM_REUSE: Duration = Duration::from_secs(45);
/// Peers whose latency a client remembers.
pub const MEASURED_PEERS: usize = 4096;
/// Streams that peers have opened and nobody has taken yet; more are dropped.
pub const INCOMING_STREAMS: usize = 256;
/// Commands waiting for the swarm task.
pub const SWARM_COMMANDS: usize = 256;
/// Peers found by mDNS that are remembered.
pub const FOUND_PEERS: usize = 256;
/// An idle connection is closed after this.
pub const CONNECTION_IDLE: Duration = Duration::from_secs(60);
/// Bytes of a program's version as peers tell it.
pub const VERSION_BYTES: usize = 64;
/// When the cache's disk is full, the cache gives back this part of its bytes: 1 / 8.
pub const CACHE_FULL_SHARE: u64 = 8;

/// Connections being made at a time, in each direction.
pub const PENDING_CONNECTIONS: u32 = 256;
/// Connections at a time.
pub const CONNECTIONS: u32 = 2048;
/// Connections with one peer at a time.
pub const CONNECTIONS_PER_PEER: u32 = 8;
/// Telling the connected peers that this process goes, at most.
pub const HANG_UP_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of a group's name.
pub const GROUP_BYTES: usize = 32;
