//! The machine's own file system behind the disk seam.

use std::{
    fs, io,
    num::NonZeroU64,
    ops::Range,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Instant,
};

use bytes::Bytes;
use rustix::{
    buffer::spare_capacity,
    fs::{Advice, FallocateFlags},
    io::Errno,
};

use super::{Disk, DiskFile, missing};
use crate::base::{Mutex, limits};

/// File systems whose syncfs(2) makes data and names durable: ext2 to ext4, XFS, Btrfs, F2FS, Bcachefs, ZFS; overlayfs, which
/// asks the one above which it lies; and tmpfs, which keeps nothing anyway. Others may do nothing and say that it was done:
/// FUSE is not even asked by the kernel.
const KEEP_SYNCFS: [rustix::fs::FsWord; 8] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0xca45_1a4e, 0x2fc1_2fc1, 0x794c_7630, 0x0102_1994];

/// The machine's own file system.
#[derive(Debug, Clone)]
pub struct RealDisk {
    root: PathBuf,
    /// Held open, so that a failed write-back since then is told by the next flush of the whole disk (syncfs(2)).
    handle: Arc<fs::File>,
    plenty: Arc<Mutex<Plenty>>,
}

/// Space beyond what must be free, that was there a moment ago: to ask for it before every small write costs more than
/// to check the write.
#[derive(Debug, Default)]
struct Plenty {
    bytes: u64,
    seen: Option<Instant>,
}

impl Plenty {
    /// What a look at the disk has found.
    fn found(free: u64, now: Instant) -> Self {
        let least = limits::DISK_RESERVE_BYTES + limits::DISK_PLENTY_BYTES;
        Self { bytes: free.saturating_sub(least), seen: Some(now) }
    }

    /// Whether there is room for so many bytes without another look.
    fn has(&self, bytes: u64, now: Instant) -> bool {
        let is_fresh = self.seen.is_some_and(|seen| now.saturating_duration_since(seen) < limits::DISK_LOOK);
        is_fresh && bytes <= self.bytes
    }
}

impl RealDisk {
    /// A tree at this directory, made with mode 0700 when missing.
    pub fn new(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        crate::runtime::make_directory(&root)?;
        let handle = Arc::new(fs::File::open(&root)?);
        Ok(Self { root, handle, plenty: Arc::default() })
    }

    /// Where the tree is.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let full = self.root.join(path);
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(create).truncate(false).mode(0o600);
        let file = match options.open(&full) {
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
                if let Some(parent) = full.parent() {
                    make_directory(parent)?;
                }
                options.open(&full)?
            }
            other => other?,
        };
        Ok(Arc::new(RealFile { file, direct: OnceLock::new() }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(self.root.join(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(self.root.join(directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        entries.map(|entry| Ok(PathBuf::from(entry?.file_name()))).collect()
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        fs::File::open(self.root.join(directory))?.sync_all()
    }

    fn sync_all(&self) -> io::Result<bool> {
        let is_kept = KEEP_SYNCFS.contains(&rustix::fs::fstatfs(&*self.handle)?.f_type);
        if is_kept {
            rustix::fs::syncfs(&*self.handle)?;
        }
        Ok(is_kept)
    }

    fn space(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
    }

    fn missing_bytes(&self, more: u64) -> u64 {
        let now = Instant::now();
        if self.plenty.lock().has(more, now) {
            return 0;
        }
        let space = self.space();
        *self.plenty.lock() = space.as_ref().map_or_else(|_| Plenty::default(), |(free, _)| Plenty::found(*free, now));
        missing(space, more)
    }
}

struct RealFile {
    file: fs::File,
    /// The same past the system's cache, opened for the first large read; none where that is not to be had.
    direct: OnceLock<Option<fs::File>>,
}

impl RealFile {
    fn direct(&self) -> Option<&fs::File> {
        let open = || {
            let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let opened = fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path);
            opened.inspect_err(|error| tracing::debug!("large reads go through the system's cache: {error}")).ok()
        };
        self.direct.get_or_init(open).as_ref()
    }
}

/// Bytes of a file that was opened past the system's cache; none where it ends before. Fails also where the file system wants
/// another alignment.
#[allow(
    unsafe_code,
    reason = "what is read into the spare memory of a vector belongs to it; no package says so of a part"
)]
fn read_direct(file: &fs::File, bytes: usize, offset: u64) -> io::Result<Option<Bytes>> {
    let start = offset - offset % limits::PAGE_BYTES;
    let Some(end) = offset.checked_add(bytes as u64).and_then(|end| end.checked_next_multiple_of(limits::PAGE_BYTES))
    else {
        return Ok(None);
    };
    let (length, page) = ((end - start) as usize, limits::PAGE_BYTES as usize);
    let mut read: Vec<u8> = Vec::with_capacity(length + page);
    // The disk writes to pages of the memory, too.
    let before = read.as_ptr().align_offset(page);
    read.resize(before, 0);
    while read.len() < before + length {
        let filled = read.len() - before;
        let free = &mut read.spare_capacity_mut()[..length - filled];
        let count = match rustix::io::pread(file, free, start + filled as u64) {
            Ok((found, _)) => found.len(),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        // SAFETY: so many bytes behind the others have just been read.
        unsafe { read.set_len(before + filled + count) };
        if count == 0 || count % page != 0 {
            break;
        }
    }
    let wanted = before + (offset - start) as usize;
    let is_all = read.len() >= wanted + bytes;
    Ok(is_all.then(|| Bytes::from(read).slice(wanted..wanted + bytes)))
}

impl DiskFile for RealFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes[filled..].fill(0);
        Ok(())
    }

    fn read_new(&self, bytes: usize, offset: u64) -> io::Result<Vec<u8>> {
        let mut read = Vec::with_capacity(bytes);
        while read.len() < bytes {
            let at = offset + read.len() as u64;
            match rustix::io::pread(&self.file, spare_capacity(&mut read), at) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        read.resize(bytes, 0);
        Ok(read)
    }

    fn read_once(&self, bytes: usize, offset: u64) -> io::Result<Bytes> {
        if bytes >= limits::DIRECT_READ_BYTES
            && let Some(file) = self.direct()
        {
            match read_direct(file, bytes, offset) {
                Ok(Some(read)) => return Ok(read),
                Ok(None) => {}
                // It may be the way, not the disk: what is wrong with that is told once more.
                Err(error) => tracing::debug!("a read past the system's cache failed: {error}"),
            }
        }
        self.read_new(bytes, offset).map(Bytes::from)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(self.file.as_fd(), flags, offset, bytes).map_err(Into::into)
    }

    fn allocated(&self) -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt;
        Ok(self.file.metadata()?.blocks() * 512)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Not through the C library, in whose place this program has a function of its own: see `store::trees`.
    #[allow(unsafe_code, reason = "a call without pointers; no package has it")]
    fn write_out(&self, range: Range<u64>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let too_far = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let start = i64::try_from(range.start).map_err(too_far)?;
        let length = i64::try_from(range.end.saturating_sub(range.start)).map_err(too_far)?;
        let wholly = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
        // SAFETY: all arguments are numbers, and the descriptor is open as long as `self` lives.
        let outcome = unsafe { libc::syscall(libc::SYS_sync_file_range, self.file.as_raw_fd(), start, length, wholly) };
        if outcome == 0 {
            return Ok(());
        }
        match io::Error::last_os_error() {
            // Where the system or the file system has no such call, the flush does it all.
            error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::ESPIPE | libc::EPERM)) => {
                Ok(())
            }
            error => Err(error),
        }
    }

    fn forget(&self, range: Range<u64>) {
        if let Some(length) = NonZeroU64::new(range.end.saturating_sub(range.start))
            && let Err(error) = rustix::fs::fadvise(&self.file, range.start, Some(length), Advice::DontNeed)
        {
            tracing::debug!("the system keeps what it was told to forget: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plenty_is_believed_for_a_moment() {
        const LEAST: u64 = limits::DISK_RESERVE_BYTES + limits::DISK_PLENTY_BYTES;
        let now = Instant::now();
        assert!(!Plenty::default().has(0, now), "nobody has looked");
        let plenty = Plenty::found(LEAST + 10, now);
        assert_eq!([11, 10, 6, 5].map(|bytes| plenty.has(bytes, now)), [false, true, true, true]);
        assert!(!plenty.has(1, now + limits::DISK_LOOK), "others may have taken it");
        assert!(!Plenty::found(LEAST, now).has(1, now), "little is looked at every time");
    }
}
