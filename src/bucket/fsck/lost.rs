//! What no name leads to gets one again, and the bucket's counters are compared with what there is.

use super::{Check, Finding, FsckKind, Mend, number};
use crate::{
    base::{Ino, Record, limits},
    bucket::{
        Error, FileKind, Inner, NewInode,
        cell::Locked,
        records::{Counters, Entry, Inode},
        tree::Namespace,
    },
    store::{Batch, Table},
};

/// The directory in the root for what no name leads to.
const LOST: &[u8] = b"lost+found";
/// Numbers from here on were never given away: they are of damaged keys.
const IDS: u64 = 1 << 62;
/// Counts without a lock that may be spoilt by what programs do meanwhile; then the lock is taken.
const TRIES: u32 = 3;

impl Inner {
    /// The directory for what no name leads to, made when it is needed; None when its name is that of something else.
    fn lost_and_found(&self, names: &mut Namespace) -> Result<Option<Ino>, Error> {
        if let Some(entry) = self.entry(Ino::ROOT, LOST)? {
            return match self.directory(entry.ino) {
                Ok(_) => Ok(Some(entry.ino)),
                Err(Error::NotDirectory | Error::NotFound | Error::Stale) => Ok(None),
                Err(error) => Err(error),
            };
        }
        // Nobody but the owner of the root: what is put there may have been in a directory that others could not enter.
        let (uid, gid) = {
            let root = self.cell(Ino::ROOT)?;
            let state = root.lock();
            (state.inode.uid, state.inode.gid)
        };
        let new = NewInode { kind: FileKind::Directory, mode: 0o700, umask: 0, uid, gid, rdev: 0, target: Vec::new() };
        Ok(Some(self.make_in(names, Ino::ROOT, LOST, new)?.ino))
    }

    /// Gives an inode with so many directories in it a name again; false when that cannot be done.
    fn put_under_a_name(&self, ino: Ino, directories: u32, names: &mut Namespace) -> Result<bool, Error> {
        let Some(lost) = self.lost_and_found(names)? else { return Ok(false) };
        let mut name = format!("#{}", ino.0).into_bytes();
        while self.entry(lost, &name)?.is_some() {
            name.push(b'~');
            if name.len() > limits::NAME_BYTES {
                return Ok(false);
            }
        }
        let (directory, cell) = (self.directory(lost)?, self.cell(ino)?);
        let mut batch = Batch::new();
        let mut locked = Locked::new([&directory, &cell]);
        let state = locked.of(ino);
        if state.is_gone {
            return Ok(true);
        }
        let kind = state.inode.kind;
        let is_directory = kind == FileKind::Directory;
        state.inode.links = if is_directory { 2 + directories } else { 1 };
        if is_directory {
            state.inode.parent = lost;
        }
        state.inode.changed = self.timestamp();
        state.put(ino, &mut batch);
        self.put_entry(&mut batch, lost, &name, &Entry { ino, kind, cookie: names.id() });
        self.touch_directory(lost, i32::from(is_directory), &mut locked, &mut batch);
        names.put(&mut batch);
        self.database.commit(batch)?;
        Ok(true)
    }

    /// An inode that was removed, but counts links still, is let go.
    fn let_go(&self, ino: Ino) -> Result<(), Error> {
        let cell = self.cell(ino)?;
        let mut batch = Batch::new();
        {
            let mut state = cell.lock();
            if state.is_gone {
                return Ok(());
            }
            state.inode.links = 0;
            state.put(ino, &mut batch);
            self.database.commit(batch)?;
        }
        self.reap_if_unused(&cell);
        Ok(())
    }
}

impl Check {
    /// Notes what is wrong with the names of an inode that has so many directories in it, and mends it if that is
    /// asked for. The namespace is locked.
    pub(super) fn note_count(
        &mut self,
        mut finding: Finding,
        (ino, directories): (Ino, u32),
        names: &mut Namespace,
    ) -> Result<(), Error> {
        let inner = self.inner.clone();
        let kind = finding.kind;
        if self.options.is_repair && kind == FsckKind::Unreachable {
            let is_mended = if inner.is_marked_orphan(ino)? {
                inner.let_go(ino)?;
                true
            } else {
                inner.put_under_a_name(ino, directories, names)?
            };
            if is_mended {
                finding.mend = Mend::Batch(Batch::new());
            }
        }
        self.note(finding)?;
        if self.options.is_repair && kind == FsckKind::OrphanMark {
            match inner.cell(ino) {
                Ok(cell) => inner.reap_if_unused(&cell),
                Err(Error::Stale) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The counters of the bucket, after what else is wrong with names is mended.
    pub(super) fn check_counters(&mut self) -> Result<(), Error> {
        let inner = self.inner.clone();
        for _ in 0..TRIES {
            let before = inner.namespace.lock().counters();
            let there = self.count_inodes()?;
            if inner.namespace.lock().counters() == before && is_right(before, there) {
                return Ok(());
            }
        }
        let mut names = inner.namespace.lock();
        let (counted, there) = (names.counters(), self.count_inodes()?);
        if is_right(counted, there) {
            return Ok(());
        }
        let mut batch = Batch::new();
        if self.options.is_repair {
            *names = Namespace::new(Counters { next_id: there.next_id.max(counted.next_id), ..there });
            names.put(&mut batch);
        }
        let why = format!(
            "it counts {} files and {} directories, there are {} and {}; its next number is {}, it must be {} at least",
            counted.files, counted.directories, there.files, there.directories, counted.next_id, there.next_id
        );
        self.note(Finding::new(FsckKind::Counters, "the bucket", why, Mend::Batch(batch)))
    }

    /// A number is in use.
    pub(super) fn note_id(&mut self, id: u64) {
        if id < IDS {
            self.last_id = self.last_id.max(id);
        }
    }

    /// The inodes that have names, and the first number that none has.
    fn count_inodes(&mut self) -> Result<Counters, Error> {
        let mut there = Counters::default();
        self.each(Table::Inode, "counters", |check, key, value| {
            check.note_id(number(key)?);
            match Inode::decode(value) {
                Ok(inode) if inode.links == 0 => {}
                Ok(inode) if inode.kind == FileKind::Directory => there.directories += 1,
                Ok(_) => there.files += 1,
                // Told where the names of inodes are counted.
                Err(_) => {}
            }
            Ok(())
        })?;
        there.next_id = self.last_id.saturating_add(1);
        Ok(there)
    }
}

/// Whether the counters fit what there is.
fn is_right(counted: Counters, there: Counters) -> bool {
    let is_same = (counted.files, counted.directories) == (there.files, there.directories);
    is_same && counted.next_id >= there.next_id
}
