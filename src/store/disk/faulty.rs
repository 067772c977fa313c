//! A disk that fails or hangs on demand: the nth operation of a kind, for as long as told.

use std::{
    collections::{HashMap, HashSet},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::io::Errno;

use super::{Disk, DiskFile};
use crate::base::{Condvar, Mutex};

/// What an operation on a disk is, for choosing which fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskOp {
    Open,
    Read,
    Write,
    SetLen,
    Punch,
    WriteOut,
    Sync,
    SyncDirectory,
    Remove,
    Rename,
}

#[derive(Clone, Copy)]
struct Fault {
    skip: u64,
    times: u64,
    failure: Failure,
}

#[derive(Clone, Copy)]
enum Failure {
    Kind(io::ErrorKind),
    Errno(Errno),
}

#[derive(Default)]
struct Hanging {
    kinds: HashSet<DiskOp>,
    operations: usize,
}

/// Passes everything to another disk, except what it was told to fail. A failed operation has no effect.
#[derive(Clone)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    faults: Arc<Mutex<HashMap<DiskOp, Fault>>>,
    hanging: Arc<(Mutex<Hanging>, Condvar)>,
}

impl FaultyDisk {
    /// A disk without faults so far.
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, faults: Arc::default(), hanging: Arc::default() }
    }

    /// From now on lets `skip` operations of this kind pass, then fails `times` of them.
    pub fn fail(&self, op: DiskOp, skip: u64, times: u64, kind: io::ErrorKind) {
        self.faults.lock().insert(op, Fault { skip, times, failure: Failure::Kind(kind) });
    }

    /// The same with an error of the system, from the next operation on.
    pub fn fail_with(&self, op: DiskOp, times: u64, errno: Errno) {
        self.faults.lock().insert(op, Fault { skip: 0, times, failure: Failure::Errno(errno) });
    }

    /// From now on operations of this kind wait until they are to go on.
    pub fn hang(&self, op: DiskOp) {
        self.hanging.0.lock().kinds.insert(op);
    }

    /// How many operations wait.
    pub fn hanging(&self) -> usize {
        self.hanging.0.lock().operations
    }

    /// What waits goes on.
    pub fn go_on(&self) {
        self.hanging.0.lock().kinds.clear();
        self.hanging.1.notify_all();
    }

    /// No more faults.
    pub fn heal(&self) {
        self.faults.lock().clear();
        self.go_on();
    }

    fn check(&self, op: DiskOp) -> io::Result<()> {
        let mut hanging = self.hanging.0.lock();
        while hanging.kinds.contains(&op) {
            hanging.operations += 1;
            self.hanging.1.wait(&mut hanging);
            hanging.operations -= 1;
        }
        drop(hanging);
        let mut faults = self.faults.lock();
        let Some(fault) = faults.get_mut(&op) else { return Ok(()) };
        if fault.skip > 0 {
            fault.skip -= 1;
            return Ok(());
        }
        if fault.times == 0 {
            return Ok(());
        }
        fault.times -= 1;
        Err(match fault.failure {
            Failure::Kind(kind) => io::Error::new(kind, format!("injected fault: {op:?}")),
            Failure::Errno(errno) => errno.into(),
        })
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        self.check(DiskOp::Open)?;
        let inner = self.inner.open(path, create)?;
        Ok(Arc::new(FaultyFile { inner, disk: self.clone() }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(DiskOp::Remove)?;
        self.inner.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(DiskOp::Rename)?;
        self.inner.rename(from, to)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.inner.list(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.check(DiskOp::SyncDirectory)?;
        self.inner.sync_directory(directory)
    }

    fn space(&self) -> io::Result<(u64, u64)> {
        self.inner.space()
    }
}

struct FaultyFile {
    inner: Arc<dyn DiskFile>,
    disk: FaultyDisk,
}

impl DiskFile for FaultyFile {
    fn forget(&self, range: Range<u64>) {
        self.inner.forget(range);
    }

    fn write_out(&self, range: Range<u64>) -> io::Result<()> {
        self.disk.check(DiskOp::WriteOut)?;
        self.inner.write_out(range)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.check(DiskOp::Read)?;
        self.inner.read_at(bytes, offset)
    }

    fn read_new(&self, bytes: usize, offset: u64) -> io::Result<Vec<u8>> {
        self.disk.check(DiskOp::Read)?;
        self.inner.read_new(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.check(DiskOp::Write)?;
        self.inner.write_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.disk.check(DiskOp::SetLen)?;
        self.inner.set_len(bytes)
    }

    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.disk.check(DiskOp::Punch)?;
        self.inner.punch(offset, bytes)
    }

    fn allocated(&self) -> io::Result<u64> {
        self.inner.allocated()
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.check(DiskOp::Sync)?;
        self.inner.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::SimulatedDisk, *};

    #[test]
    fn the_chosen_operations_fail_and_no_others() {
        let disk = FaultyDisk::new(Arc::new(SimulatedDisk::new(1 << 20)));
        let file = disk.open(Path::new("a"), true).expect("made");
        disk.fail(DiskOp::Write, 1, 1, io::ErrorKind::StorageFull);
        file.write_at(b"1", 0).expect("skipped");
        assert_eq!(file.write_at(b"2", 0).expect_err("injected").kind(), io::ErrorKind::StorageFull);
        file.write_at(b"3", 0).expect("once only");
        disk.fail(DiskOp::Sync, 0, u64::MAX, io::ErrorKind::Other);
        file.sync().expect_err("injected");
        disk.heal();
        file.sync().expect("healed");
    }
}
