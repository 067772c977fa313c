//! The seam to the disk: positioned files in one directory tree, with explicit flushes.
//!
//! [`RealDisk`] is the machine's own. [`SimulatedDisk`] forgets at a crash what
//! was not flushed; [`FaultyDisk`] fails on demand. Both are for tests and simulations.

mod faulty;
mod real;
mod simulated;

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use crate::base::limits;

pub use faulty::{DiskOp, FaultyDisk};
pub use real::RealDisk;
pub use simulated::SimulatedDisk;

/// An open file. All calls may be made from many threads at a time.
pub trait DiskFile: Send + Sync {
    /// Reads exactly `bytes.len()` bytes; bytes past the end are zero.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// So many bytes from here on; bytes past the end are zero. A disk that can does not fill their memory before.
    fn read_new(&self, bytes: usize, offset: u64) -> io::Result<Vec<u8>> {
        let mut read = vec![0; bytes];
        self.read_at(&mut read, offset)?;
        Ok(read)
    }
    /// The same of what nobody reads again soon: a disk that can reads much of it past the system's cache, in which others have
    /// what they use.
    fn read_once(&self, bytes: usize, offset: u64) -> io::Result<Bytes> {
        self.read_new(bytes, offset).map(Bytes::from)
    }
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
    /// Has the disk take what was written in a range, and waits for that. Nothing is durable before the flush that
    /// follows; an error may be told here and not there again.
    fn write_out(&self, _: Range<u64>) -> io::Result<()> {
        Ok(())
    }
    /// Nobody will read soon what is in a range, flushed: memory that the system keeps it in may go to others.
    fn forget(&self, _: Range<u64>) {}
}

/// Flushes a file in which these ranges were written, in order. Much is handed to the disk piece by piece: a disk works
/// off what it is given at once in turn, and all others' flushes would wait for the whole.
pub fn sync_ranges(file: &dyn DiskFile, ranges: impl IntoIterator<Item = Range<u64>>) -> io::Result<()> {
    let pieces = pieces(ranges);
    if pieces.len() > 1 {
        pieces.into_iter().try_for_each(|piece| file.write_out(piece))?;
    }
    file.sync()
}

/// What covers the ranges, each with at most `limits::FLUSHED_AT_ONCE_BYTES` of their bytes, from at most
/// `limits::FLUSHED_AT_ONCE_RANGES` of them.
fn pieces(ranges: impl IntoIterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut pieces: Vec<Range<u64>> = Vec::new();
    let (mut bytes_left, mut ranges_left) = (0, 0);
    for mut range in ranges {
        while range.start < range.end {
            if bytes_left == 0 || ranges_left == 0 {
                pieces.push(range.start..range.start);
                (bytes_left, ranges_left) = (limits::FLUSHED_AT_ONCE_BYTES, limits::FLUSHED_AT_ONCE_RANGES);
            }
            let taken = bytes_left.min(range.end - range.start);
            range.start += taken;
            bytes_left -= taken;
            ranges_left -= 1;
            pieces.last_mut().expect("pushed before").end = range.start;
        }
    }
    pieces
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
        missing(self.space(), more)
    }
}

fn missing(space: io::Result<(u64, u64)>, more: u64) -> u64 {
    let (free, total) = space.unwrap_or((0, 0));
    // One that does not tell is not held to it.
    if total == 0 { 0 } else { limits::DISK_RESERVE_BYTES.saturating_add(more).saturating_sub(free) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_flushed_goes_out_in_pieces_of_few_bytes_however_it_lies() {
        const MOST: u64 = limits::FLUSHED_AT_ONCE_BYTES;
        assert_eq!(pieces([]), []);
        assert_eq!(pieces([5..5, 7..MOST]), vec![7..MOST; 1]);
        assert_eq!(pieces(Some(1..2 * MOST + 3)), [1..MOST + 1, MOST + 1..2 * MOST + 1, 2 * MOST + 1..2 * MOST + 3]);
        const RANGES: u64 = limits::FLUSHED_AT_ONCE_RANGES as u64;
        let scattered: Vec<_> = (0..2 * RANGES).map(|page| page * 20_000..page * 20_000 + 4096).collect();
        let (first, second) = (0..(RANGES - 1) * 20_000 + 4096, RANGES * 20_000..(2 * RANGES - 1) * 20_000 + 4096);
        assert_eq!(pieces(scattered), [first, second]);
    }

    /// A file that notes what is asked of it.
    #[derive(Default)]
    struct Noted {
        written_out: crate::base::Mutex<Vec<Range<u64>>>,
        fails: bool,
        flushes: std::sync::atomic::AtomicU64,
    }

    impl DiskFile for Noted {
        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
            unreachable!()
        }
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            unreachable!()
        }
        fn len(&self) -> io::Result<u64> {
            unreachable!()
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            unreachable!()
        }
        fn punch(&self, _: u64, _: u64) -> io::Result<()> {
            unreachable!()
        }
        fn allocated(&self) -> io::Result<u64> {
            unreachable!()
        }
        fn sync(&self) -> io::Result<()> {
            self.flushes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        }
        fn write_out(&self, range: Range<u64>) -> io::Result<()> {
            self.written_out.lock().push(range);
            if self.fails { Err(io::Error::other("as told")) } else { Ok(()) }
        }
    }

    #[test]
    fn a_flush_ends_with_a_flush_and_tells_a_failure_before_it() {
        let mut file = Noted::default();
        sync_ranges(&file, [0..4096, 8192..9000]).expect("little goes at once");
        assert!(file.written_out.lock().is_empty());
        sync_ranges(&file, Some(0..3 << 20)).expect("in three pieces");
        assert_eq!(file.written_out.lock().len(), 3);
        assert_eq!(*file.flushes.get_mut(), 2);
        file.fails = true;
        assert!(sync_ranges(&file, Some(0..3 << 20)).is_err(), "the flush may not tell it again");
        assert_eq!(*file.flushes.get_mut(), 2);
    }

    #[test]
    fn the_real_disk_takes_what_is_written_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = RealDisk::new(directory.path()).expect("a disk").open(Path::new("file"), true).expect("made");
        file.write_at(&vec![7; 3 << 20], 4096).expect("written");
        file.write_out(0..2 << 20).expect("taken");
        file.write_out(0..0).expect("nothing is nothing");
        assert!(file.write_out(1..u64::MAX).is_err(), "there is no such place");
        sync_ranges(&*file, Some(4096..4096 + (3 << 20))).expect("flushed");
    }

    #[test]
    fn what_was_forgotten_is_read_from_the_disk() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = RealDisk::new(directory.path()).expect("a disk").open(Path::new("file"), true).expect("made");
        let data: Vec<u8> = (0..3_u32 << 20).map(|at| (at / 4096) as u8).collect();
        file.write_at(&data, 0).and_then(|()| file.sync()).expect("flushed");
        file.forget(0..0);
        file.forget(5000..2 << 20);
        // What is not flushed is not lost either.
        file.write_at(&[9; 100], 1 << 20).expect("written");
        file.forget(0..3 << 20);
        let read = file.read_new(data.len(), 0).expect("read");
        assert!(read[..1 << 20] == data[..1 << 20] && read[1 << 20..][..100] == [9; 100]);
        assert!(read[(1 << 20) + 100..] == data[(1 << 20) + 100..]);
    }

    #[test]
    fn every_disk_reads_the_same_in_each_way() {
        const MOST: usize = limits::DIRECT_READ_BYTES;
        let directory = tempfile::tempdir().expect("a directory");
        let real = Arc::new(RealDisk::new(directory.path()).expect("a disk")) as Arc<dyn Disk>;
        let faulty = FaultyDisk::new(Arc::clone(&real));
        for disk in [real, Arc::new(SimulatedDisk::new(8 << 20)), Arc::new(faulty)] {
            let file = disk.open(Path::new("file"), true).expect("made");
            let data: Vec<u8> = (0..3 * MOST as u32 + 100).map(|at| (at * 7 / 3) as u8).collect();
            file.write_at(&data, 0).expect("written");
            let small = [(0, 0), (10_000, 0), (200, data.len() - 100), (7, data.len() + 20_000), (4096, 33)];
            let large = [(MOST, 0), (MOST, 4096), (MOST + 1, 4095), (data.len() - 1, 1), (MOST, data.len() - MOST)];
            let beyond = [(MOST, data.len() - 5000), (MOST, data.len() + 5000)];
            for (bytes, offset) in small.into_iter().chain(large).chain(beyond) {
                let (mut old, at) = (vec![9; bytes], offset as u64);
                file.read_at(&mut old, at).expect("read");
                assert_eq!(file.read_new(bytes, at).expect("read"), old, "{bytes} from {offset}");
                assert_eq!(file.read_once(bytes, at).expect("read"), old, "{bytes} from {offset}");
                let known = data.iter().skip(offset).chain(std::iter::repeat(&0)).take(bytes);
                assert!(old.iter().eq(known), "{bytes} from {offset}");
            }
            // What was written since, also in part of a page.
            file.write_at(b"newer", 5000).expect("written");
            assert_eq!(
                file.read_once(MOST, 5000).expect("read")[..6],
                [b"newer".as_slice(), &data[5005..5006]].concat()
            );
        }
    }
}
