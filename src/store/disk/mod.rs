//! The seam to the disk: positioned files in one directory tree, with explicit flushes.
//!
//! [`RealDisk`] is the machine's own. [`SimulatedDisk`] forgets at a crash what
//! was not flushed; [`FaultyDisk`] fails on demand. Both are for tests and simulations.

mod faulty;
mod real;
mod simulated;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::base::limits;

pub use faulty::{DiskOp, FaultyDisk};
pub use real::RealDisk;
pub use simulated::SimulatedDisk;

/// An open file. All calls may be made from many threads at a time.
pub trait DiskFile: Send + Sync {
    /// Reads exactly `bytes.len()` bytes; bytes past the end are zero.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all bytes.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends (with zeros).
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Gives the space of a range back; it reads as zeros. The length stays.
    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()>;
    /// Bytes that really take space.
    fn allocated(&self) -> io::Result<u64>;
    /// Makes the data, and the length needed to read it back, durable (fdatasync).
    fn sync(&self) -> io::Result<()>;
}

/// A directory tree. Paths are relative to its root and never contain `..`.
pub trait Disk: Send + Sync + 'static {
    /// Opens for reading and writing; `create` makes the file, mode 0600, and its parent directories.
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Moves a file over another, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// The names of the files and directories directly in a directory, in no order; none when it does not exist.
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes the entries of a directory durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
    /// Makes everything durable at once, which is far quicker than many files one by one; false when it cannot, and nothing
    /// is.
    fn sync_all(&self) -> io::Result<bool> {
        Ok(false)
    }
    /// (free, total) bytes of the file system.
    fn space(&self) -> io::Result<(u64, u64)>;
    /// What the file system lacks to keep `limits::DISK_RESERVE_BYTES` free when it takes so many more bytes.
    fn missing_bytes(&self, more: u64) -> u64 {
        let (free, total) = self.space().unwrap_or((0, 0));
        // One that does not tell is not held to it.
        if total == 0 { 0 } else { limits::DISK_RESERVE_BYTES.saturating_add(more).saturating_sub(free) }
    }
}
