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
    sync::Arc,
};

use rustix::{
    buffer::spare_capacity,
    fs::{Advice, FallocateFlags},
    io::Errno,
};

use super::{Disk, DiskFile};

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
}

impl RealDisk {
    /// A tree at this directory, made with mode 0700 when missing.
    pub fn new(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        crate::runtime::make_directory(&root)?;
        let handle = Arc::new(fs::File::open(&root)?);
        Ok(Self { root, handle })
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
        Ok(Arc::new(RealFile(file)))
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
}

struct RealFile(fs::File);

impl DiskFile for RealFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.0.read_at(&mut bytes[filled..], offset + filled as u64) {
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
            match rustix::io::pread(&self.0, spare_capacity(&mut read), at) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        read.resize(bytes, 0);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(self.0.as_fd(), flags, offset, bytes).map_err(Into::into)
    }

    fn allocated(&self) -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt;
        Ok(self.0.metadata()?.blocks() * 512)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
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
        let outcome = unsafe { libc::syscall(libc::SYS_sync_file_range, self.0.as_raw_fd(), start, length, wholly) };
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
            && let Err(error) = rustix::fs::fadvise(&self.0, range.start, Some(length), Advice::DontNeed)
        {
            tracing::debug!("the system keeps what it was told to forget: {error}");
        }
    }
}
