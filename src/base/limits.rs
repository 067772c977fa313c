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

/// How long the kernel may trust entries and attributes: the mount is the only writer.
pub const KERNEL_TRUST: Duration = Duration::from_secs(24 * 3600);
/// Bytes of one write or read request of the kernel.
pub const KERNEL_REQUEST_BYTES: u32 = 1 << 20;
/// Bytes that the kernel reads ahead.
pub const KERNEL_READAHEAD_BYTES: u32 = 2 << 20;
/// Read-ahead and write-back requests of the kernel under way at a time.
pub const KERNEL_BACKGROUND: u16 = 64;
/// Threads that take requests from the kernel, at most.
pub const KERNEL_THREADS: usize = 4;
/// Directory entries fetched from the bucket for one answer to the kernel.
pub const DIRECTORY_PAGE: usize = 512;
/// Asking a mounted file system whether it is alive, and the mount helper for its work, at most.
pub const MOUNT_PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Unmounting, the kernel's write-back of dirty pages included, at most.
pub const UNMOUNT_TIMEOUT: Duration = Duration::from_secs(60);
/// Dropping the kernel's pages of the inodes of one call, their write-back included, at most.
pub const INVALIDATE_TIMEOUT: Duration = Duration::from_secs(60);
