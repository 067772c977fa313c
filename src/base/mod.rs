//! The words every module speaks: ids, hashes, units, limits, error kinds.
//!
//! Nothing here waits, allocates from an unchecked length, or knows of a disk
//! or a peer.

mod amount;
mod hash;
mod ids;
mod kind;
pub mod limits;
mod lock;
mod ranges;
mod record;
mod scheme;
mod time;
mod units;

pub use amount::{AmountError, Wei};
pub use hash::{Sha256, sha256, sha256_chunks};
pub use ids::{BucketId, ChunkId, IdError, Ino, OwnerId, PeerId, ShardId};
pub use kind::{ErrorKind, Kinded};
pub use lock::{Condvar, Mutex, MutexGuard, RwLock};
pub use ranges::{RangeMap, RangeSet};
pub use record::{Record, RecordError};
pub use scheme::{Scheme, SchemeError};
pub use time::UnixMillis;
pub use units::{ByteSize, UnitError, format_bytes, parse_bytes};
