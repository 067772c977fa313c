//! Why a bucket cannot be mounted or unmounted.

use std::{io, path::PathBuf};

use crate::base::{ErrorKind, Kinded};

/// A failure to mount, unmount or reach the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such directory.
    #[error("mount point {} does not exist: make it with mkdir", .0.display())]
    Missing(PathBuf),
    /// There is something else.
    #[error("mount point {} is not a directory: name an empty directory", .0.display())]
    NotDirectory(PathBuf),
    /// Files would be hidden.
    #[error("mount point {} is not empty: name an empty directory, so that no file is hidden", .0.display())]
    NotEmpty(PathBuf),
    /// Something is mounted there.
    #[error("{} is already a mount point, {by}: unmount it first, or name another directory", path.display())]
    Mounted { path: PathBuf, by: String },
    /// The kernel has no FUSE.
    #[error("/dev/fuse is missing: load the kernel module (modprobe fuse), or give the container --device /dev/fuse")]
    NoDevice,
    /// The kernel has it, but not for this user.
    #[error("/dev/fuse may not be opened by this user: as root, chmod 666 /dev/fuse, or mount as root")]
    DeviceDenied,
    /// An ordinary user needs the helper.
    #[error("fusermount3 is not installed and only root mounts without it: install the package fuse3, or run as root")]
    NoHelper,
    /// The helper refused.
    #[error("fusermount3 refused {}: {why}", path.display())]
    Helper { path: PathBuf, why: String },
    /// Somebody has a file open or works in a directory there.
    #[error("{} is in use: close the files and leave the directories in it (see fuser -vm), then try again", .0.display())]
    Busy(PathBuf),
    /// The kernel lets only root change what is mounted.
    #[error("only root may change how {} is mounted: try again as root", .0.display())]
    RemountDenied(PathBuf),
    /// An ordinary user's helper needs to write there.
    #[error("{} is guarded, and only root mounts over a guarded directory: mount it as root, or name another", .0.display())]
    Guarded(PathBuf),
    /// The user may not.
    #[error("only root (CAP_LINUX_IMMUTABLE) makes a directory immutable: guard {} as root", .0.display())]
    GuardDenied(PathBuf),
    /// The file system cannot.
    #[error("the file system of {} has no immutable directories: have the mount point on ext4, xfs, btrfs or tmpfs, or \
        chmod 0500 it, which keeps out everybody but root", .0.display())]
    GuardUnsupported(PathBuf),
    /// The wait was over.
    #[error("{what} {} took longer than {seconds} s", path.display())]
    Slow { what: &'static str, path: PathBuf, seconds: u64 },
    /// The operating system said no.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The mount is gone.
    #[error("{} is no longer mounted", .0.display())]
    Closed(PathBuf),
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Missing(_) => ErrorKind::NotFound,
            Error::NotDirectory(_) | Error::NotEmpty(_) => ErrorKind::Invalid,
            Error::Mounted { .. } => ErrorKind::Exists,
            Error::NoDevice | Error::NoHelper | Error::Busy(_) | Error::Slow { .. } => ErrorKind::Unavailable,
            Error::DeviceDenied
            | Error::Helper { .. }
            | Error::RemountDenied(_)
            | Error::Guarded(_)
            | Error::GuardDenied(_) => ErrorKind::Denied,
            Error::GuardUnsupported(_) => ErrorKind::Invalid,
            Error::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                _ => ErrorKind::Unavailable,
            },
            Error::Closed(_) => ErrorKind::Closed,
        }
    }
}
