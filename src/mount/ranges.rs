//! What fallocate, lseek and copy_file_range need besides their one call of the bucket.

use super::Invalidator;
use crate::{
    base::Ino,
    bucket::{Allocation, Bucket, Error, Seek},
};

const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;
const KEEP_SIZE: i32 = 0x01;
const PUNCH_HOLE: i32 = 0x02;
const ZERO_RANGE: i32 = 0x10;

/// What a mode of fallocate(2) asks for, and whether the size is kept. The kernel lets no others through than these.
pub(super) fn allocation(mode: i32) -> Result<(Allocation, bool), Error> {
    let is_size_kept = mode & KEEP_SIZE != 0;
    match mode & !KEEP_SIZE {
        0 => Ok((Allocation::Reserve, is_size_kept)),
        PUNCH_HOLE if is_size_kept => Ok((Allocation::Punch, true)),
        ZERO_RANGE => Ok((Allocation::Zero, is_size_kept)),
        _ => Err(Error::Unsupported),
    }
}

/// What lseek(2) looks for, and from where; the kernel knows the other ways itself.
pub(super) fn seek(whence: i32, offset: i64) -> Result<(Seek, u64), Error> {
    let offset = u64::try_from(offset).map_err(|_| Error::NoData)?;
    match whence {
        SEEK_DATA => Ok((Seek::Data, offset)),
        SEEK_HOLE => Ok((Seek::Hole, offset)),
        _ => Err(Error::Invalid("lseek looks for data or holes")),
    }
}

/// Has the kernel write back what it holds of a file that somebody writes to: it looks for data here without doing so,
/// and what is only in its cache would pass for a hole.
pub(super) fn flush_kernel(bucket: &Bucket, ino: Ino, kernel: Option<&Invalidator>) -> Result<(), Error> {
    match kernel {
        Some(kernel) if bucket.has_writers(ino)? => {
            kernel.flush(ino).map_err(|error| Error::Unreadable(error.to_string()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_the_kernel() {
        assert_eq!(allocation(0).unwrap(), (Allocation::Reserve, false));
        assert_eq!(allocation(1).unwrap(), (Allocation::Reserve, true));
        assert_eq!(allocation(3).unwrap(), (Allocation::Punch, true));
        assert_eq!(allocation(0x10).unwrap(), (Allocation::Zero, false));
        assert_eq!(allocation(0x11).unwrap(), (Allocation::Zero, true));
        for mode in [2, 8, 0x20, 0x40, 0x12, -1] {
            assert!(matches!(allocation(mode), Err(Error::Unsupported)), "{mode:#x}");
        }
        assert!(matches!(seek(3, -1), Err(Error::NoData)));
        assert_eq!(seek(4, 7).unwrap(), (Seek::Hole, 7));
        assert!(seek(0, 0).is_err());
    }
}
