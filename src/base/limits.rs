//! Every bound of the product, with its unit in its name. Nothing is sized from outside beyond these.

use std::time::Duration;

use super::Wei;

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
/// Leaves of a subtree whose root a consumer stores beside the shard: a part of it is then verified and proven with
/// the rest of its own subtrees, 15 KiB at most on either side, instead of the whole shard.
pub const SUBTREE_LEAVES: usize = 16;
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
/// Entries of an access control list: as many as the kernel takes in one page.
pub const ACL_ENTRIES: usize = (4096 - 4) / 8;
/// Hard links of one inode.
pub const LINKS: u32 = 1 << 20;
/// Bytes of a file, at most: 2^53, so that every offset is exact in JSON too.
pub const FILE_BYTES: u64 = 1 << 53;

/// Connecting to a peer, at most.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One request to a peer, its data included, at most.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Data adds so much to that: a link of which a stream gets less than this is of no use, and one of which it gets little more
/// is used.
pub const SLOWEST_BYTES_PER_SECOND: usize = 16 << 10;
/// A read through the mount, at most, unless configured.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A stream with no request on it is closed after this.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A consumer says that it is there this often.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(5);
/// A consumer is suspect (no new shards) when its last beat is older.
pub const SUSPECT_AFTER: Duration = Duration::from_secs(15);

/// Inodes kept in memory before idle ones are dropped.
pub const CELLS: usize = 1 << 17;
/// Dirty bytes of one fsync that the intent log carries itself.
pub const INLINE_BYTES: u64 = 64 << 10;
/// Unsynced bytes of a closed file that the intent log carries, so that only a power cut loses them.
pub const INLINE_AT_CLOSE_BYTES: u64 = 16 << 10;
/// Bytes of a staging file that is kept in memory, at most.
pub const STAGED_SMALL_BYTES: u64 = 64 << 10;
/// Bytes of all staging files that are kept in memory, at most.
pub const STAGED_MEMORY_BYTES: u64 = 64 << 20;
/// Staging files that are flushed one by one, at most: more go with one flush of the whole disk.
pub const FLUSHED_ALONE: usize = 64;
/// Bytes of small staging files that are in memory and kept in one file, when the intent log carries them no longer, at most.
/// More become files of their own, in the background: what comes next is to find room in memory.
pub const KEPT_BYTES: u64 = 24 << 20;
/// Bytes of small staging files that nobody needs any more and that are kept all the same, at most, until those that are
/// needed are written anew; and as many again as are needed.
pub const KEPT_WASTE_BYTES: u64 = 1 << 20;
/// Free bytes of the disk that staging leaves to the database, its log, what a checkpoint writes of small staging files
/// (what is in memory, and what is kept of them written anew), and the log of the process.
pub const DISK_RESERVE_BYTES: u64 = 128 << 20;
/// While a disk has so many free bytes beyond these, it is looked at only so often: nobody takes them in that time.
pub const DISK_PLENTY_BYTES: u64 = 1 << 30;
/// How long what a disk had free is believed.
pub const DISK_LOOK: Duration = Duration::from_millis(50);
/// Reads of so many bytes or more that nobody needs again soon go past the system's cache. What is smaller goes through it: the
/// system reads on behind it, which spares a slow disk the way to what comes next.
pub const DIRECT_READ_BYTES: usize = 128 << 10;
/// A page of memory, the least that the kernel keeps and writes back.
pub const PAGE_BYTES: u64 = 4 << 10;
/// Staged bytes that one copy within the bucket moves, at most; the caller asks for the rest.
pub const COPY_STAGED_BYTES: u64 = 32 << 20;
/// Staged ranges that one batch tells the database, at most: 2 MiB of the log.
pub const RANGES_PER_BATCH: usize = 64 << 10;
/// A thread that takes requests of the kernel waits so long, awake, for others at a file before it leaves that to another one.
pub const CELL_PATIENCE: Duration = Duration::from_micros(100);
/// Parts of files that land before others may have their turn with these files.
pub const LANDED_AT_ONCE: usize = 32;
/// Bytes of a staging file that are given back as a hole in it, at least.
pub const HOLE_BYTES: u64 = 1 << 20;
/// Bytes of a staging file that nobody needs, at most, before smaller holes are made too.
pub const WASTE_BYTES: u64 = 1 << 30;
/// Holes that are made in a staging file at a time.
pub const HOLES_AT_ONCE: usize = 16;
/// So long after a write to an open file no hole is made in its staging file: the file system would keep the next one waiting.
pub const HOLE_REST: Duration = Duration::from_secs(1);
/// Extents changed in one batch, at most.
pub const EXTENTS_PER_BATCH: usize = 1024;
/// Deletions of shards queued in one batch, at most.
pub const DELETES_PER_BATCH: usize = 16 << 10;
/// Unlinked inodes wait for others so long, to be removed together.
pub const REAP_LINGER: Duration = Duration::from_millis(50);
/// Unlinked inodes that are removed in one batch, at most.
pub const INODES_PER_BATCH: usize = 64;
/// A chunk that could not be had is for so long asked for with no more than this time.
pub const UNREADABLE_TIME: Duration = Duration::from_secs(1);
/// Chunks of which that is remembered, at most.
pub const UNREADABLE_CHUNKS: usize = 1024;
/// Bytes that the collector rewrites in a second, at most.
pub const COLLECT_BYTES_PER_SECOND: u64 = 32 << 20;
/// The same while files are uploaded.
pub const COLLECT_BUSY_BYTES_PER_SECOND: u64 = 4 << 20;
/// Sparse chunks wait for others to share their new chunk at most this long.
pub const COLLECT_LINGER: Duration = Duration::from_secs(5);
/// A stream of reads that is answered from memory looks so often whether there is more to fetch ahead.
pub const AHEAD_STEP_BYTES: u64 = 1 << 20;
/// A chunk that was on its way for so long or less lets one more go at the same time.
pub const QUICK_CHUNK: Duration = Duration::from_secs(4);
/// After one that was on its way for so long or longer, one less goes.
pub const SLOW_CHUNK: Duration = Duration::from_secs(8);
/// A few blocks that were on their way for less say nothing of that.
pub const TELLING_TIME: Duration = Duration::from_secs(1);
/// Chunks on their way at a time at first.
pub const FIRST_FLIGHTS: usize = 3;
/// Chunks fetched ahead at a time, of all readers.
pub const AHEAD_FETCHES: usize = 4;
/// Blocks that are being written to the disk cache at a time, some chunks of them. What comes beyond them is not kept there.
pub const CACHE_WRITE_BLOCKS: usize = 8 * CHUNK_BLOCKS;
/// Runs of blocks that one read fetches at a time.
pub const READ_FETCHES: usize = 32;
/// Chunks being encoded or scattered at a time.
pub const FLIGHTS: usize = 6;
/// Records that a check of the bucket reads in one step.
pub const FSCK_PAGE: usize = 1024;
/// Inodes whose names a check counts in one pass over all names.
pub const FSCK_INODES: usize = 1 << 18;
/// Shards that a check compares with what consumers list in one pass over all chunks.
pub const FSCK_SHARDS: u64 = 1 << 18;
/// Shards that a consumer may list in one pass beside twice those that it is to have.
pub const FSCK_UNKNOWN_SHARDS: usize = 1 << 18;
/// A consumer has told what it has within this, in one pass.
pub const FSCK_LIST_TIME: Duration = Duration::from_secs(600);
/// Consumers that a check asks at a time.
pub const FSCK_CONSUMERS: usize = 8;
/// Problems that a check lists; more are only counted.
pub const FSCK_PROBLEMS: usize = 4096;
/// A check looks a second time, after this, at what may be about to be put right.
pub const FSCK_SECOND_LOOK: Duration = Duration::from_secs(2);
/// Pieces of files in one chunk, at most.
pub const PIECES_PER_CHUNK: usize = 4096;
/// Uploads yield to programs that write or wait for an fsync, until they have rested for so long.
pub const YIELD_REST: Duration = Duration::from_millis(100);
/// Uploads yield so long; then they go on one at a time.
pub const YIELD_TIME: Duration = Duration::from_secs(10);
/// Uploads yield while less is staged: this, or a quarter of the staging area if that is less.
pub const YIELD_BYTES: u64 = 2 << 30;
/// Written bytes of one file that are put on the local disk in the background, before an fsync asks for it.
pub const EARLY_FLUSH_BYTES: u64 = 32 << 20;
/// What a flush hands to the disk at once, in bytes: a disk of 500 MB/s has it after 2 ms.
pub const FLUSHED_AT_ONCE_BYTES: u64 = 1 << 20;
/// From so many places of a file at most.
pub const FLUSHED_AT_ONCE_RANGES: usize = 32;
/// A file that was not written to for this long is uploaded though it is open.
pub const LINGER: Duration = Duration::from_secs(2);
/// A closed file that was not written to for this long is uploaded.
pub const PACK_LINGER: Duration = Duration::from_secs(1);
/// Small files wait for others to share their chunk at most this long.
pub const PACK_WINDOW: Duration = Duration::from_secs(3);
/// Changed data and metadata are made durable at least this often without an fsync.
pub const WRITEBACK_INTERVAL: Duration = Duration::from_secs(5);
/// Files of which bytes are staged, at most: each takes about 2 KiB of memory.
pub const STAGED_INODES: u64 = 100_000;
/// Commands that wait for the end of one mount, at most.
pub const STOP_CALLS: usize = 16;
/// A shard that a consumer's disk does not read for so long is bad.
pub const UNREAD_FOR: Duration = Duration::from_secs(60);
/// What a disk does not read so long after it has not read it before is trouble of its own.
pub const UNREAD_APART: Duration = Duration::from_secs(600);
/// Each chunk of so many goes to whoever had none for longest, though others are waited for.
pub const SHARED_FLIGHTS: u64 = 4;
/// What a program keeps on changing goes to consumers after this, as it is then.
pub const STAGED_FOR: Duration = Duration::from_secs(30);
/// A background worker that panicked begins again after this.
pub const WORKER_REST: Duration = Duration::from_secs(5);
/// The first wait after a failed upload; doubles up to `RETRY_MAX`.
pub const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest wait between tries.
pub const RETRY_MAX: Duration = Duration::from_secs(60);
/// A writer that finds the staging area full gives up when nothing drained for this long.
pub const STAGING_TIMEOUT: Duration = Duration::from_secs(30);
/// While a writer waits for room, failed uploads are tried again, and the disk looked at, this often.
pub const STAGING_RETRY: Duration = Duration::from_secs(2);
/// Chunks that are under way when a writer would give up are waited for so much longer, at most.
pub const STAGING_FLIGHT_TIMEOUT: Duration = Duration::from_secs(150);
/// Bytes of cached copies that are given up at least, when the disk is short.
pub const CACHE_GIVEN_UP_BYTES: u64 = 16 << 20;
/// Extended attributes of one inode, at most.
pub const XATTRS: usize = 1024;
/// Bytes of the names of an inode's extended attributes, each with its NUL (XATTR_LIST_MAX).
pub const XATTR_LIST_BYTES: usize = 64 << 10;
/// Bytes of a segment file of shards, unless one shard needs more.
pub const SEGMENT_BYTES: u64 = 256 << 20;
/// Shards on their way to the disk at a time, in one store.
pub const STORE_QUEUE: usize = 64;
/// Files and connections that a service asks the system to let it have open, at most.
pub const OPEN_FILES: u64 = 64 << 10;
/// Segment files held open at a time, some twice: for reads past the system's cache, too.
pub const OPEN_SEGMENTS: usize = 128;
/// One operation of a store on its disk, its waiting included, at most.
pub const STORE_TIMEOUT: Duration = Duration::from_secs(60);
/// Connecting to the daemon's socket, at most.
pub const RPC_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence of the daemon within a call, at most.
pub const RPC_TIMEOUT: Duration = Duration::from_secs(600);
/// Bytes of one answer of the daemon's API: what is said of a file has a kilobyte for each chunk.
pub const REPORT_BYTES: usize = 1 << 30;
/// Starting or stopping a process of a devnet, at most: a mount that stops uploads first.
pub const SUPERVISOR_TIMEOUT: Duration = Duration::from_secs(120);
/// A daemon that does not even answer a ping for so long hangs.
pub const RPC_PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Calls of the daemon's API that are still running at its stop are given this.
pub const RPC_STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Calls on one connection of the daemon's API at a time.
pub const RPC_CALLS: u32 = 64;

/// Bytes staged for upload, at most, unless configured.
pub const STAGING_BYTES: u64 = 10 << 30;
/// Bytes of the sealed cache on disk, at most, unless configured.
pub const CACHE_DISK_BYTES: u64 = 10 << 30;
/// Bytes of the cache in memory, at most, unless configured.
pub const CACHE_MEMORY_BYTES: u64 = 64 << 20;
/// Bytes of a key file, at most.
pub const KEY_FILE_BYTES: usize = 4 << 10;
/// Bytes of an encrypted key or phrase, at most.
pub const KEYSTORE_BYTES: usize = 16 << 10;
/// Bytes of the list of a wallet's accounts, at most.
pub const WALLET_FILE_BYTES: usize = 256 << 10;
/// Accounts of a wallet, at most.
pub const WALLET_ACCOUNTS: usize = 1024;
/// The last number of a wallet's key files: each change of the password takes one.
pub const WALLET_GENERATION: u64 = 1 << 32;
/// Bytes of a password, at most.
pub const PASSWORD_BYTES: usize = 1024;
/// Bytes of the salt of an encrypted key, at most.
pub const SALT_BYTES: usize = 128;
/// Memory that scrypt may take for an encrypted key: twice what geth asks for.
pub const SCRYPT_BYTES: u64 = 512 << 20;
/// Memory times passes of scrypt, at most: some ten seconds.
pub const SCRYPT_WORK_BYTES: u64 = 2 << 30;
/// Rounds of PBKDF2 for an encrypted key, at most: some ten seconds.
pub const PBKDF2_ROUNDS: u32 = 10_000_000;
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
/// The same for one owner.
pub const SERVED_BYTES_OF_ONE: usize = SERVED_BYTES / 4;
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
/// The tracker is asked for the consumers this often.
pub const TRACKER_REFRESH: Duration = Duration::from_secs(10);
/// The least time between two questions to the tracker; doubles with each failure up to the refresh.
pub const TRACKER_RETRY: Duration = Duration::from_millis(500);
/// Who is short of consumers waits so long for the tracker's next answer.
pub const TRACKER_WAIT: Duration = Duration::from_secs(5);
/// Consumers that a mount connects to before it needs them.
pub const CONNECTED_AHEAD: usize = 32;
/// Consumers that a producer remembers.
pub const KNOWN_CONSUMERS: usize = 4096;
/// A consumer that neither the tracker has named nor an answer has shown for so long is not taken to be online any more.
pub const CONSUMER_UNHEARD: Duration = Duration::from_secs(600);
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
/// A put is not slow while its shard could still come at this rate, as long as no others have.
pub const STALL_BYTES_PER_SECOND: usize = 256 << 10;
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
/// How long the kernel may trust entries and attributes: the mount is the only writer.
pub const KERNEL_TRUST: Duration = Duration::from_secs(24 * 3600);
/// Bytes of one write or read request of the kernel.
pub const KERNEL_REQUEST_BYTES: u32 = 1 << 20;
/// Bytes that the kernel reads ahead.
pub const KERNEL_READAHEAD_BYTES: u32 = 2 << 20;
/// Flushes of the intent log under way at a time.
pub const LOG_FLUSHES: usize = 2;
/// Read-ahead and write-back requests of the kernel under way at a time. What it writes back beyond them waits in order, and
/// an fsync with it: these are more than a program makes that syncs each megabyte of pages written here and there. Each that
/// waits for room in staging is held in memory: no more than the kernel lets be dirty, which is a percent of what it lets be
/// dirty of all files.
pub const KERNEL_BACKGROUND: u16 = 512;
/// Bytes of all files together that wait in memory for those who are at their files. What comes beyond them waits on the thread
/// that takes requests.
pub const LINES_BYTES: usize = 64 << 20;
/// What the kernel writes back of a file with much unflushed is left to another thread when it has fewer bytes: to write
/// more takes the disk longer than to copy them for that.
pub const LINE_PIECE_BYTES: usize = 256 << 10;
/// Threads that may wait for the disk or for a file, for those who use it: more than lines there can be.
pub const WAITING_THREADS: usize = 2 * KERNEL_BACKGROUND as usize;
/// Threads that take requests from the kernel.
pub const KERNEL_THREADS: usize = 4;
/// Those of them that may wait for a flush of the disk at a time.
pub const KERNEL_FLUSHES: usize = 2;
/// A request that waits looks this often whether a signal has ended the process that made it.
pub const CALLER_WATCH: Duration = Duration::from_millis(200);
/// Directory entries fetched from the bucket for one answer to the kernel.
pub const DIRECTORY_PAGE: usize = 512;
/// Asking a mounted file system whether it is alive, and the mount helper for its work, at most.
pub const MOUNT_PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Unmounting, the kernel's write-back of dirty pages included, at most.
pub const UNMOUNT_TIMEOUT: Duration = Duration::from_secs(60);
/// Processes that are named when a mount is in use.
pub const HOLDERS: usize = 8;
/// Paths that are named of each of them.
pub const HOLDER_PATHS: usize = 3;
/// Telling the service manager one word, at most.
pub const NOTIFY_TIMEOUT: Duration = Duration::from_secs(2);
/// Looking for who uses a mount, at most.
pub const HOLDERS_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a process's memory map that are looked at.
pub const PROCESS_MAP_BYTES: u64 = 4 << 20;
/// A mount waits so long for the daemon that had the state before and is closing.
pub const CLOSING_TIMEOUT: Duration = Duration::from_secs(40);
/// How often it looks whether the state is free, and an unmount whether it is done.
pub const CLOSING_LOOK: Duration = Duration::from_millis(50);
/// Dropping the kernel's pages of the inodes of one call, their write-back included, at most.
pub const INVALIDATE_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of a status document.
pub const STATUS_BYTES: usize = 4 << 20;
/// Asking a local process for its status, at most.
pub const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
/// Status documents given at a time.
pub const STATUS_READERS: usize = 8;
/// A key-value table is flushed this often.
pub const TABLE_FLUSH: Duration = Duration::from_secs(1);
/// Consumers that a tracker knows.
pub const CONSUMERS: usize = 65_536;
/// A tracker forgets a consumer that was away for longer: 90 days.
pub const FORGET_AFTER: Duration = Duration::from_secs(90 * 24 * 3600);
/// Times of presence kept one by one; older ones only as their sum.
pub const UPTIME_INTERVALS: usize = 64;
/// After its own restart a tracker takes a beat within this for unbroken presence.
pub const RESTART_GRACE: Duration = Duration::from_secs(60);
/// Saying goodbye and finishing what is on its way, at most.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// When the cache's disk is full, the cache gives back this part of its bytes: 1 / 8.
pub const CACHE_FULL_SHARE: u64 = 8;

/// A request with so many bytes of data, from the first byte sent to the last received.
pub fn request_timeout(bytes: usize) -> Duration {
    REQUEST_TIMEOUT + Duration::from_secs((bytes / SLOWEST_BYTES_PER_SECOND) as u64)
}

/// Connections being made at a time, in each direction.
pub const PENDING_CONNECTIONS: u32 = 256;
/// Connections at a time.
pub const CONNECTIONS: u32 = 2048;
/// Connections with one peer at a time.
pub const CONNECTIONS_PER_PEER: u32 = 8;
/// Bytes that are read from a stream at a time: as many as yamux has in a frame.
pub const STREAM_READ_BYTES: usize = 16 << 10;
/// Bytes that are read from a connection at a time before TLS opens them.
pub const TLS_READ_BYTES: usize = 32 << 10;
/// Bytes that are gathered for TLS before it seals and sends them, at most: four of its records.
pub const TLS_WRITE_BYTES: usize = 64 << 10;
/// Telling the connected peers that this process goes, at most.
pub const HANG_UP_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of a group's name.
pub const GROUP_BYTES: usize = 32;
/// Progress is told at least this often.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// The longest sync or drain that can be asked for, in seconds: a week.
pub const SYNC_SECONDS: u64 = 7 * 24 * 3600;
/// An fsync that waits for consumers gives up after this; the data stays safe on the local disk.
pub const DURABILITY_TIMEOUT: Duration = Duration::from_secs(60);

/// Characters of the key of an action on the chain.
pub const ACTION_KEY_BYTES: usize = 200;
/// Ethereum nodes that stand in for each other, at most.
pub const NODES: usize = 8;
/// One request to one Ethereum node, at most.
pub const NODE_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// One request to Ethereum nodes, with all its tries, at most.
pub const NODE_REQUEST_TIMEOUT: Duration = Duration::from_secs(25);
/// The first rest of an Ethereum node that failed; doubles with each failure.
pub const NODE_REST_MIN: Duration = Duration::from_secs(1);
/// The longest rest of an Ethereum node that failed.
pub const NODE_REST_MAX: Duration = Duration::from_secs(60);
/// Idle connections kept to one Ethereum node.
pub const NODE_IDLE_CONNECTIONS: usize = 2;
/// Bytes of an answer of an Ethereum node.
pub const NODE_ANSWER_BYTES: usize = 8 << 20;
/// Characters of what a node or a contract says in an error.
pub const NODE_MESSAGE_CHARS: usize = 300;
/// Gas of a transaction, at most.
pub const TRANSACTION_GAS: u64 = 15_000_000;
/// A unit of gas costs this at most, unless somebody says otherwise.
pub const GAS_CEILING: Wei = Wei(100 * Wei::GWEI.0);
/// Offers that are listed, at most.
pub const OFFERS_SHOWN: u64 = 1000;
/// The addresses of offers are looked for in the logs of a chain for so long.
pub const OFFER_ADDRESSES_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two looks at the chain.
pub const CHAIN_POLL: Duration = Duration::from_secs(2);
/// A transaction or an event counts when its block and those after it are so many, unless configured.
pub const CONFIRMATIONS: u64 = 6;
/// Actions that wait for the chain.
pub const OUTBOX_ACTIONS: usize = 1024;
/// Transactions of an account that are under way at a time.
pub const OUTBOX_FLIGHTS: usize = 16;
/// Times that a transaction is priced: from a gwei to a hundred it takes 40.
pub const OUTBOX_ATTEMPTS: usize = 48;
/// A transaction that is not mined after this is replaced.
pub const OUTBOX_STUCK: Duration = Duration::from_secs(90);
/// A transaction that is not mined is looked for at the node this often.
pub const OUTBOX_RESEND: Duration = Duration::from_secs(30);
/// Commands waiting for an outbox.
pub const OUTBOX_COMMANDS: usize = 64;
/// Those who wait for an action.
pub const OUTBOX_WAITERS: usize = 1024;
/// Outcomes looked through in one step.
pub const OUTBOX_PAGE: usize = 1024;
/// Actions that have ended and are listed, at most.
pub const OUTBOX_SHOWN: usize = 100;
/// What became of an action is kept for so long: 400 days.
pub const OUTBOX_KEPT: Duration = Duration::from_secs(400 * 24 * 3600);
/// Blocks whose events are asked for at a time, at most; fewer when a node does not give so many.
pub const EVENT_BLOCKS: u64 = 2000;
/// Events handed over at a time.
pub const EVENTS_PER_BATCH: usize = 256;
/// Blocks that a cursor remembers, to find where a re-organisation began.
pub const CURSOR_MARKS: usize = 64;
