//! The kernel's words and the bucket's words for the same things: errors, attributes, times, modes.

use std::time::{Duration, SystemTime};

use fuser::{Errno, FileAttr, FileType, INodeNo, TimeOrNow};

use super::Options;
use crate::{
    base::{ErrorKind, Ino, Kinded},
    bucket::{self, Attr, FileKind, SetTime, Timestamp},
};

const SET_USER_ID: u32 = 0o4000;
pub(super) const SET_GROUP_ID: u32 = 0o2000;
const GROUP_EXECUTE: u32 = 0o010;
const PERMISSION_BITS: u32 = 0o7777;
const BLOCK_BYTES: u32 = 4096;

/// The errno of a bucket's error: a positive number.
pub fn errno(error: &bucket::Error) -> i32 {
    refusal(error).code()
}

pub(super) fn refusal(error: &bucket::Error) -> Errno {
    use bucket::Error;
    match error {
        Error::NotFound => Errno::ENOENT,
        Error::Exists => Errno::EEXIST,
        Error::NotDirectory => Errno::ENOTDIR,
        Error::IsDirectory => Errno::EISDIR,
        Error::NotEmpty => Errno::ENOTEMPTY,
        Error::NameTooLong => Errno::ENAMETOOLONG,
        Error::TooManyLinks => Errno::EMLINK,
        Error::TooLarge => Errno::EFBIG,
        Error::Invalid(_) => Errno::EINVAL,
        Error::Denied => Errno::EACCES,
        Error::NotPermitted => Errno::EPERM,
        Error::NoAttribute => Errno::ENODATA,
        // What setxattr(2) and the kernel's own limit say of a value that is too large.
        Error::AttributeTooLarge => Errno::E2BIG,
        Error::ReadOnly => Errno::EROFS,
        Error::Full(_) => Errno::ENOSPC,
        Error::Unreadable(_) => Errno::EIO,
        Error::Stale => Errno::ESTALE,
        Error::NoData => Errno::ENXIO,
        Error::Apart => Errno::EXDEV,
        Error::Unsupported => Errno::EOPNOTSUPP,
        Error::Store(error) => store_errno(error.kind()),
        Error::Closed => Errno::EIO,
    }
}

/// The state directory's troubles are not the file's: only a full disk has a name of its own.
fn store_errno(kind: ErrorKind) -> Errno {
    match kind {
        ErrorKind::Full => Errno::ENOSPC,
        ErrorKind::NotFound
        | ErrorKind::Exists
        | ErrorKind::Invalid
        | ErrorKind::Denied
        | ErrorKind::Unavailable
        | ErrorKind::Corrupt
        | ErrorKind::Unpaid
        | ErrorKind::Closed
        | ErrorKind::Bug => Errno::EIO,
    }
}

pub(super) fn ino(number: INodeNo) -> Ino {
    Ino(number.0)
}

pub(super) fn number(ino: Ino) -> INodeNo {
    INodeNo(ino.0)
}

/// What `stat` shows, with the owner, group and permissions that the options put over it.
pub(super) fn file_attr(attr: &Attr, options: &Options) -> FileAttr {
    let mode = options.umask.map_or(attr.mode, |umask| 0o777 & !umask);
    FileAttr {
        ino: number(attr.ino),
        size: attr.size,
        blocks: attr.blocks,
        atime: system_time(attr.accessed),
        mtime: system_time(attr.modified),
        ctime: system_time(attr.changed),
        crtime: system_time(attr.created),
        kind: file_type(attr.kind),
        perm: (mode & PERMISSION_BITS) as u16,
        nlink: attr.links,
        uid: options.uid.unwrap_or(attr.uid),
        gid: options.gid.unwrap_or(attr.gid),
        rdev: attr.rdev,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

/// The reply that the kernel remembers as "there is no such name": inode 0, the rest is not looked at.
pub(super) fn absent() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

/// What mknod(2) is asked to make; None when it cannot.
pub(super) fn node_kind(mode: u32) -> Option<FileKind> {
    match rustix::fs::FileType::from_raw_mode(mode) {
        rustix::fs::FileType::RegularFile => Some(FileKind::File),
        rustix::fs::FileType::Fifo => Some(FileKind::Fifo),
        rustix::fs::FileType::Socket => Some(FileKind::Socket),
        rustix::fs::FileType::CharacterDevice => Some(FileKind::CharDevice),
        rustix::fs::FileType::BlockDevice => Some(FileKind::BlockDevice),
        _ => None,
    }
}

/// Only the permission bits of a mode.
pub(super) fn permissions(mode: u32) -> u32 {
    mode & PERMISSION_BITS
}

/// The mode that a file has left after somebody without privilege wrote to it or gave it away; None when that
/// changes nothing.
pub(super) fn without_privilege(attr: &Attr, leaves_group: impl FnOnce(u32) -> bool) -> Option<u32> {
    if attr.kind == FileKind::Directory {
        return None;
    }
    let mut mode = attr.mode & !SET_USER_ID;
    // Without group execution the bit means mandatory locking, and members of the group and the privileged leave it.
    if mode & SET_GROUP_ID != 0 && (mode & GROUP_EXECUTE != 0 || !leaves_group(attr.gid)) {
        mode &= !SET_GROUP_ID;
    }
    (mode != attr.mode).then_some(mode)
}

pub(super) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(timestamp(time)),
    }
}

/// A time as the FUSE library hands it over. Before the epoch that library subtracts the nanoseconds where the kernel
/// adds them; they are taken here as the kernel meant them.
pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => {
            Timestamp { seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX), nanos: after.subsec_nanos() }
        }
        Err(error) => {
            let before = error.duration();
            Timestamp { seconds: 0i64.saturating_sub_unsigned(before.as_secs()), nanos: before.subsec_nanos() }
        }
    }
}

/// The same time for a reply, where the library's conversion is right. What no clock can show becomes the epoch.
pub(super) fn system_time(time: Timestamp) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    whole.and_then(|whole| whole.checked_add(Duration::from_nanos(time.nanos.into()))).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    fn attr(kind: FileKind, mode: u32) -> Attr {
        let time = Timestamp { seconds: 5, nanos: 7 };
        Attr {
            ino: Ino(9),
            kind,
            mode,
            links: 2,
            uid: 3,
            gid: 4,
            rdev: 0,
            size: 10,
            blocks: 8,
            accessed: time,
            modified: time,
            changed: time,
            created: time,
        }
    }

    #[test]
    fn errors_have_the_number_that_programs_look_for() {
        use rustix::io::Errno as E;
        let table = [
            (bucket::Error::NotFound, E::NOENT),
            (bucket::Error::Exists, E::EXIST),
            (bucket::Error::NotDirectory, E::NOTDIR),
            (bucket::Error::IsDirectory, E::ISDIR),
            (bucket::Error::NotEmpty, E::NOTEMPTY),
            (bucket::Error::NameTooLong, E::NAMETOOLONG),
            (bucket::Error::TooManyLinks, E::MLINK),
            (bucket::Error::TooLarge, E::FBIG),
            (bucket::Error::Invalid("x"), E::INVAL),
            (bucket::Error::Denied, E::ACCESS),
            (bucket::Error::NotPermitted, E::PERM),
            (bucket::Error::NoAttribute, E::NODATA),
            (bucket::Error::AttributeTooLarge, E::TOOBIG),
            (bucket::Error::ReadOnly, E::ROFS),
            (bucket::Error::Full("x".into()), E::NOSPC),
            (bucket::Error::Unreadable("x".into()), E::IO),
            (bucket::Error::Stale, E::STALE),
            (bucket::Error::NoData, E::NXIO),
            (bucket::Error::Apart, E::XDEV),
            (bucket::Error::Unsupported, E::OPNOTSUPP),
            (bucket::Error::Store(store::Error::Full("x".into())), E::NOSPC),
            (bucket::Error::Store(store::Error::Trees("x".into())), E::IO),
            (bucket::Error::Closed, E::IO),
        ];
        for (error, expected) in table {
            assert_eq!(errno(&error), expected.raw_os_error(), "{error:?}");
        }
    }

    #[test]
    fn times_survive_the_way_to_a_reply() {
        for (seconds, nanos) in [(0, 0), (5, 999_999_999), (-1, 0), (-1, 1), (-7, 999_999_999), (1 << 40, 3)] {
            let shown = system_time(Timestamp { seconds, nanos });
            let expected = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
            let actual = match shown.duration_since(SystemTime::UNIX_EPOCH) {
                Ok(after) => after.as_nanos() as i128,
                Err(before) => -(before.duration().as_nanos() as i128),
            };
            assert_eq!(actual, expected);
        }
        assert!(system_time(Timestamp { seconds: i64::MAX, nanos: 0 }).elapsed().is_err());
    }

    #[test]
    fn times_before_the_epoch_come_as_the_kernel_meant_them() {
        // The kernel says -2 s + 0.8 s; the library makes it 2.8 s before the epoch.
        let from_library = SystemTime::UNIX_EPOCH - Duration::new(2, 800_000_000);
        assert_eq!(timestamp(from_library), Timestamp { seconds: -2, nanos: 800_000_000 });
        let after = SystemTime::UNIX_EPOCH + Duration::new(2, 800_000_000);
        assert_eq!(timestamp(after), Timestamp { seconds: 2, nanos: 800_000_000 });
    }

    #[test]
    fn options_are_put_over_what_is_stored() {
        let mut options = Options::new("/m", "/s");
        let plain = file_attr(&attr(FileKind::File, 0o4755), &options);
        assert_eq!((plain.perm, plain.uid, plain.gid), (0o4755, 3, 4));
        options.uid = Some(7);
        options.gid = Some(8);
        options.umask = Some(0o027);
        let shown = file_attr(&attr(FileKind::File, 0o4755), &options);
        assert_eq!((shown.perm, shown.uid, shown.gid), (0o750, 7, 8));
    }

    #[test]
    fn privilege_is_taken_from_all_but_directories() {
        let (member, stranger) = (|_| true, |_| false);
        assert_eq!(without_privilege(&attr(FileKind::File, 0o6755), member), Some(0o755));
        assert_eq!(without_privilege(&attr(FileKind::File, 0o2744), member), None);
        assert_eq!(without_privilege(&attr(FileKind::File, 0o2744), stranger), Some(0o744));
        assert_eq!(without_privilege(&attr(FileKind::File, 0o6744), |gid| gid == 4), Some(0o2744));
        assert_eq!(without_privilege(&attr(FileKind::File, 0o755), stranger), None);
        assert_eq!(without_privilege(&attr(FileKind::Fifo, 0o4755), member), Some(0o755));
        assert_eq!(without_privilege(&attr(FileKind::Directory, 0o6755), stranger), None);
    }

    #[test]
    fn node_kinds_come_from_the_mode() {
        assert_eq!(node_kind(0o100644), Some(FileKind::File));
        assert_eq!(node_kind(0o010644), Some(FileKind::Fifo));
        assert_eq!(node_kind(0o020644), Some(FileKind::CharDevice));
        assert_eq!(node_kind(0o060644), Some(FileKind::BlockDevice));
        assert_eq!(node_kind(0o140644), Some(FileKind::Socket));
        assert_eq!(node_kind(0o040755), None);
    }
}
