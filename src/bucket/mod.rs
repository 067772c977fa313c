//! The file tree, its write path, its read path, its cache.
//!
//! A [`Bucket`] knows no kernel: the mount translates for it, tests call it
//! directly. Metadata calls are plain functions that do not wait (`rename` may, `rename_now` says
//! when); what may wait for the local disk ends in `_blocking`; what may wait for the network is async.
//!
//! - `tree` and `rename`: names and directories; `attributes`: stat and extended attributes; `acl`: access control lists
//! - `write`: write, fsync and the intent log; `staging` and `staged`: the files or the memory below that; `ranges`: what is staged
//! - `upload`: what goes to consumers next; `commit` and `land`: how it gets there; `pressure` and `pace`: when it yields; `room` and
//!   `awaited` and `arriving`: who waits for it; `waste`: how its space comes back
//! - `read`: staged bytes, cache, consumers; `cache`: the LRU in two tiers; `unreadable`: what could not be had
//! - `extents`: which bytes lie in which chunk; `carve`: holes, truncate; `share`: copies that move no data
//! - `policy`: how a file is to be kept; `apply`: to what is there already; `reap`: what goes when a file goes
//! - `sparse`: which chunks hold more than is needed; `collect`: what becomes of them
//! - `attempts`: shards on their way; `tend`: late shards, queued deletions; `consumers`: who they are
//! - `inspect` and `local`: what the commands ask; `fsck`: the check of all of it
//!
//! Locks, in the order in which they may be taken: the namespace, cells by
//! inode, the chunk accounts, the database. Builds with debug assertions see to it, but for the database's.

/// The ranks of the locks; cells have those between, in the order of their inodes.
const NAMESPACE_RANK: u64 = 1;
const ACCOUNTS_RANK: u64 = u64::MAX;

mod acl;
mod apply;
mod arriving;
mod attempts;
mod attr;
mod attributes;
mod awaited;
mod cache;
mod carve;
mod cell;
mod collect;
mod commit;
mod consumers;
mod error;
mod extents;
#[cfg(test)]
mod flushes;
mod fsck;
mod handles;
mod inspect;
mod land;
mod local;
mod open;
mod own_files;
mod pace;
mod policy;
mod pressure;
#[cfg(test)]
mod promises;
mod ranges;
mod read;
mod reap;
mod records;
mod rename;
mod report;
mod room;
mod share;
mod sparse;
mod staged;
mod staging;
mod tend;
mod tree;
mod unreadable;
mod upload;
mod waste;
mod write;

use std::{collections::HashSet, sync::Arc};

use tokio::sync::{Notify, Semaphore, watch};

pub use arriving::Arriving;
pub use attr::{Attr, DirItem, FileKind, NewInode, RenameMode, SetAttr, SetTime, Space, Timestamp, XattrMode};
pub use carve::{Allocation, Seek};
pub use error::Error;
pub use fsck::{FsckKind, FsckOptions, FsckProblem, FsckProgress, FsckReport};
pub use open::{Options, Parts};
#[cfg(test)]
pub(crate) use promises::open;
pub use read::Further;
pub use report::{
    Availability, BucketStatus, CacheReport, ChunkReport, Durability, FileReport, FileState, FileSummary, Pending,
    PolicyReport, ShardReport,
};

use crate::{
    base::{ChunkId, Mutex},
    coding::BucketKey,
    dispatch::Dispatcher,
    runtime::{Chance, Clock, CpuPool, Tasks},
    store::{Database, StateLock},
};

/// An open bucket. Clones share it.
#[derive(Clone)]
pub struct Bucket {
    inner: Arc<Inner>,
}

/// What the parts of a bucket share.
struct Inner {
    options: Options,
    key: BucketKey,
    database: Database,
    staging: Arc<staging::Staging>,
    cache: cache::BlockCache,
    flights: read::Fetches,
    dispatcher: Arc<Dispatcher>,
    pool: CpuPool,
    clock: Arc<dyn Clock>,
    chance: Arc<dyn Chance>,
    tasks: Tasks,
    /// Orders changes of names.
    namespace: Mutex<tree::Namespace>,
    cells: Mutex<cell::Cells>,
    /// Orders changes of what chunks are needed for.
    accounts: Mutex<()>,
    handles: handles::Handles,
    uploader: upload::Uploader,
    reaper: reap::Reaper,
    write_back: write::WriteBack,
    collector: collect::Collector,
    /// Wakes who applies changed policies.
    apply: Notify,
    /// Chunks with shards on their way.
    announced: Mutex<HashSet<ChunkId>>,
    /// Wakes who works on the queue of deletions.
    delete: Notify,
    /// Wakes who completes chunks.
    complete: Notify,
    /// Nothing drains, as somebody has found.
    stall: room::Stall,
    /// Chunks that cannot be had now.
    unreadable: unreadable::Unreadable,
    /// Read-ahead fetches at a time.
    ahead: Arc<Semaphore>,
    /// How many of them the network brings in good time.
    ahead_pace: pace::Pace,
    /// Blocks that are being written to the disk cache at a time.
    cache_writes: Arc<Semaphore>,
    /// Counts what changed: states of files, placements.
    changes: watch::Sender<u64>,
    _lock: StateLock,
}
