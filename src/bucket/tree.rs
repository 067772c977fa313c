//! The namespace: names, links, directories. One lock orders its changes; each is one batch.

use std::sync::Arc;

use super::{
    Attr, Bucket, DirItem, Error, FileKind, Inner, NewInode, Timestamp,
    cell::{Cell, Locked},
    records::{Counters, Entry, Inode},
};
use crate::{
    base::{Ino, RangeSet, Record, limits},
    runtime::failpoint,
    store::{self, Batch, Table},
};

/// The ids below are never cookies or inode numbers of new inodes: 1 is the root, and a
/// directory reader needs numbers of its own for `.` and `..`.
pub(super) const FIRST_ID: u64 = 16;
/// Ids are reserved in the database in steps, so that not every new file writes a counter.
const ID_STEP: u64 = 4096;

/// What the namespace lock guards.
pub(super) struct Namespace {
    next_id: u64,
    reserved: u64,
    pub files: u64,
    pub directories: u64,
}

impl Namespace {
    pub fn new(counters: Counters) -> Self {
        let next_id = counters.next_id.max(FIRST_ID);
        Self { next_id, reserved: next_id, files: counters.files, directories: counters.directories }
    }

    pub(super) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// The newest inode may be this one; those that come later have higher numbers.
    pub(super) fn newest(&self) -> Ino {
        Ino(self.next_id - 1)
    }

    /// Counters are exact at the end of each batch that calls this.
    pub(super) fn put(&mut self, batch: &mut Batch) {
        if self.next_id + 8 > self.reserved {
            self.reserved = self.next_id + ID_STEP;
        }
        let counters = Counters { next_id: self.reserved, files: self.files, directories: self.directories };
        batch.put(Table::Meta, &[b"counters"], counters.encode());
    }

    /// What is stored of it, but that ids are reserved ahead.
    pub(super) fn counters(&self) -> Counters {
        Counters { next_id: self.next_id, files: self.files, directories: self.directories }
    }

    fn count(&mut self, kind: FileKind, is_new: bool) {
        let counter = if kind == FileKind::Directory { &mut self.directories } else { &mut self.files };
        *counter = if is_new { *counter + 1 } else { counter.saturating_sub(1) };
    }
}

/// Refuses names that no directory may hold.
pub(super) fn check_name(name: &[u8]) -> Result<(), Error> {
    match name {
        [] | b"." | b".." => Err(Error::Invalid("this name cannot be used")),
        name if name.len() > limits::NAME_BYTES => Err(Error::NameTooLong),
        name if name.contains(&b'/') || name.contains(&0) => Err(Error::Invalid("a name cannot contain / or NUL")),
        _ => Ok(()),
    }
}

impl Inner {
    pub(super) fn entry(&self, parent: Ino, name: &[u8]) -> Result<Option<Entry>, Error> {
        let bytes = self.database.get(Table::Entry, &[&parent.0.to_be_bytes(), name])?;
        bytes.map(|bytes| Entry::decode(&bytes).map_err(|error| store::Error::from(error).into())).transpose()
    }

    pub(super) fn put_entry(&self, batch: &mut Batch, parent: Ino, name: &[u8], entry: &Entry) {
        let parent = parent.0.to_be_bytes();
        batch.put(Table::Entry, &[&parent, name], entry.encode());
        batch.put(Table::Cookie, &[&parent, &entry.cookie.to_be_bytes()], name.to_vec());
    }

    pub(super) fn delete_entry(&self, batch: &mut Batch, parent: Ino, name: &[u8], entry: &Entry) {
        let parent = parent.0.to_be_bytes();
        batch.delete(Table::Entry, &[&parent, name]);
        batch.delete(Table::Cookie, &[&parent, &entry.cookie.to_be_bytes()]);
    }

    pub(super) fn directory(&self, ino: Ino) -> Result<Arc<Cell>, Error> {
        let cell = self.cell(ino)?;
        let state = cell.lock();
        if state.inode.kind != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        if state.is_gone || state.inode.links == 0 {
            return Err(Error::NotFound);
        }
        drop(state);
        Ok(cell)
    }

    pub(super) fn is_empty(&self, directory: Ino) -> Result<bool, Error> {
        Ok(self.database.scan(Table::Entry, &directory.0.to_be_bytes(), b"", 1)?.is_empty())
    }

    /// A directory's links and times after an entry came or went.
    pub(super) fn touch_directory(&self, ino: Ino, links: i32, locked: &mut Locked<'_>, batch: &mut Batch) {
        let now = self.timestamp();
        let state = locked.of(ino);
        state.inode.links = state.inode.links.saturating_add_signed(links);
        state.inode.modified = now;
        state.inode.changed = now;
        state.put(ino, batch);
    }

    /// Takes one link of an inode away. Whoever holds it open keeps it; the reaper takes it after that.
    pub(super) fn drop_link(&self, ino: Ino, locked: &mut Locked<'_>, namespace: &mut Namespace, batch: &mut Batch) {
        let state = locked.of(ino);
        let is_directory = state.inode.kind == FileKind::Directory;
        state.inode.links = if is_directory { 0 } else { state.inode.links.saturating_sub(1) };
        state.inode.changed = self.timestamp();
        if state.inode.links == 0 {
            namespace.count(state.inode.kind, false);
            batch.put(Table::Orphan, &[&ino.0.to_be_bytes()], Vec::new());
        }
        state.put(ino, batch);
    }

    pub fn timestamp(&self) -> Timestamp {
        let nanos = self.clock.unix_nanos();
        Timestamp {
            seconds: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
            nanos: (nanos % 1_000_000_000) as u32,
        }
    }

    /// Makes the root of a new bucket.
    pub fn make_root(&self, uid: u32, gid: u32) -> Result<(), Error> {
        if self.database.get(Table::Inode, &[&Ino::ROOT.0.to_be_bytes()])?.is_some() {
            return Ok(());
        }
        let now = self.timestamp();
        let new = NewInode { kind: FileKind::Directory, mode: 0o755, umask: 0, uid, gid, rdev: 0, target: Vec::new() };
        let mut batch = Batch::new();
        batch.put(Table::Inode, &[&Ino::ROOT.0.to_be_bytes()], new_inode(&new, Ino::ROOT, now).encode());
        let mut namespace = self.namespace.lock();
        namespace.count(FileKind::Directory, true);
        namespace.put(&mut batch);
        // Not flushed: whatever is flushed later is behind it in the log.
        self.database.commit(batch)?;
        Ok(())
    }

    /// Makes something in the locked namespace.
    pub(super) fn make_in(
        &self,
        namespace: &mut Namespace,
        parent: Ino,
        name: &[u8],
        new: NewInode,
    ) -> Result<Attr, Error> {
        check_name(name)?;
        if new.target.len() > limits::SYMLINK_BYTES {
            return Err(Error::NameTooLong);
        }
        let directory = self.directory(parent)?;
        if self.entry(parent, name)?.is_some() {
            return Err(Error::Exists);
        }
        let mut locked = Locked::new([&directory]);
        let ino = Ino(namespace.id());
        let mut inode = new_inode(&new, parent, self.timestamp());
        inode.inherit(&locked.of(parent).inode);
        let entry = Entry { ino, kind: new.kind, cookie: namespace.id() };
        let mut batch = Batch::new();
        let has_acl = self.inherit_acl((parent, locked.of(parent)), (ino, &mut inode), &new, &mut batch)?;
        batch.put(Table::Inode, &[&ino.0.to_be_bytes()], inode.encode());
        self.put_entry(&mut batch, parent, name, &entry);
        self.touch_directory(parent, i32::from(new.kind == FileKind::Directory), &mut locked, &mut batch);
        namespace.count(new.kind, true);
        namespace.put(&mut batch);
        let attr = inode.attr(ino, 0);
        let cell = Cell::new(ino, inode, RangeSet::new());
        cell.lock().has_attributes = Some(has_acl);
        self.adopt(Arc::new(cell));
        self.database.commit(batch)?;
        Ok(attr)
    }
}

pub(super) fn new_inode(new: &NewInode, parent: Ino, now: Timestamp) -> Inode {
    let is_directory = new.kind == FileKind::Directory;
    Inode {
        kind: new.kind,
        mode: new.mode & 0o7777,
        uid: new.uid,
        gid: new.gid,
        links: if is_directory { 2 } else { 1 },
        rdev: new.rdev,
        size: new.target.len() as u64,
        accessed: now,
        modified: now,
        changed: now,
        created: now,
        parent,
        target: new.target.clone(),
        scheme: None,
        is_pinned: false,
        expires: None,
        extent_bytes: Some(0),
    }
}

impl Bucket {
    /// The inode of a name in a directory.
    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr, Error> {
        if name.len() > limits::NAME_BYTES {
            return Err(Error::NameTooLong);
        }
        let entry = self.inner.entry(parent, name)?;
        match entry {
            Some(entry) => self.getattr(entry.ino),
            None => {
                self.inner.directory(parent)?;
                Err(Error::NotFound)
            }
        }
    }

    /// The directory that a directory is in; the root is in itself.
    pub fn parent(&self, ino: Ino) -> Result<Ino, Error> {
        Ok(self.inner.cell(ino)?.lock().inode.parent)
    }

    /// The target of a symlink.
    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>, Error> {
        let cell = self.inner.cell(ino)?;
        let state = cell.lock();
        match state.inode.kind {
            FileKind::Symlink => Ok(state.inode.target.clone()),
            _ => Err(Error::Invalid("not a symbolic link")),
        }
    }

    /// No cookie is higher than this one yet.
    pub fn newest_cookie(&self) -> u64 {
        self.inner.namespace.lock().newest().0
    }

    /// Up to `limit` entries after a cookie (0: from the start), without `.` and `..`.
    pub fn readdir(&self, ino: Ino, after: u64, limit: usize) -> Result<Vec<DirItem>, Error> {
        let directory = ino.0.to_be_bytes();
        let mut after = after;
        loop {
            let from = after.saturating_add(1).to_be_bytes();
            let page = self.inner.database.scan(Table::Cookie, &directory, &from, limit)?;
            let is_last = page.len() < limit.max(1);
            let mut items = Vec::new();
            for (cookie, name) in page {
                let cookie = u64::from_be_bytes(cookie.as_slice().try_into().map_err(|_| Error::Stale)?);
                after = cookie;
                // Gone between the two reads, or made anew further on: as if it had gone before.
                let entry = self.inner.entry(ino, &name)?.filter(|entry| entry.cookie == cookie);
                items.extend(entry.map(|entry| DirItem { cookie, ino: entry.ino, kind: entry.kind, name }));
            }
            // None is the end of the directory, not a page of which all went.
            if is_last || !items.is_empty() {
                return Ok(items);
            }
        }
    }

    /// Makes a file, directory, symlink or special file.
    pub fn make(&self, parent: Ino, name: &[u8], new: NewInode) -> Result<Attr, Error> {
        self.inner.make_in(&mut self.inner.namespace.lock(), parent, name, new)
    }

    /// Gives an inode one more name.
    pub fn link(&self, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr, Error> {
        check_name(name)?;
        let inner = &*self.inner;
        let mut namespace = inner.namespace.lock();
        let directory = inner.directory(parent)?;
        if inner.entry(parent, name)?.is_some() {
            return Err(Error::Exists);
        }
        let cell = inner.cell(ino)?;
        let mut batch = Batch::new();
        let mut locked = Locked::new([&directory, &cell]);
        let state = locked.of(ino);
        if state.inode.kind == FileKind::Directory {
            return Err(Error::NotPermitted);
        }
        if state.is_gone || state.inode.links == 0 {
            return Err(Error::NotFound);
        }
        if state.inode.links >= limits::LINKS {
            return Err(Error::TooManyLinks);
        }
        state.inode.links += 1;
        state.inode.changed = inner.timestamp();
        state.put(ino, &mut batch);
        let entry = Entry { ino, kind: state.inode.kind, cookie: namespace.id() };
        inner.put_entry(&mut batch, parent, name, &entry);
        inner.touch_directory(parent, 0, &mut locked, &mut batch);
        namespace.put(&mut batch);
        inner.database.commit(batch)?;
        drop(locked);
        drop(namespace);
        self.getattr(ino)
    }

    /// Takes a name of a file away.
    pub fn unlink(&self, parent: Ino, name: &[u8]) -> Result<(), Error> {
        self.remove(parent, name, false)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, parent: Ino, name: &[u8]) -> Result<(), Error> {
        match name {
            b"." => Err(Error::Invalid("a directory cannot be removed by the name .")),
            b".." => Err(Error::NotEmpty),
            _ => self.remove(parent, name, true),
        }
    }

    fn remove(&self, parent: Ino, name: &[u8], is_rmdir: bool) -> Result<(), Error> {
        if name.len() > limits::NAME_BYTES {
            return Err(Error::NameTooLong);
        }
        let inner = &*self.inner;
        let mut namespace = inner.namespace.lock();
        let directory = inner.directory(parent)?;
        let entry = inner.entry(parent, name)?.ok_or(Error::NotFound)?;
        match (entry.kind == FileKind::Directory, is_rmdir) {
            (true, false) => return Err(Error::IsDirectory),
            (false, true) => return Err(Error::NotDirectory),
            (true, true) if !inner.is_empty(entry.ino)? => return Err(Error::NotEmpty),
            _ => {}
        }
        let cell = inner.cell(entry.ino)?;
        let mut batch = Batch::new();
        inner.delete_entry(&mut batch, parent, name, &entry);
        let mut locked = Locked::new([&directory, &cell]);
        inner.drop_link(entry.ino, &mut locked, &mut namespace, &mut batch);
        inner.touch_directory(parent, -i32::from(is_rmdir), &mut locked, &mut batch);
        namespace.put(&mut batch);
        inner.database.commit(batch)?;
        failpoint("name-removed");
        drop(locked);
        drop(namespace);
        inner.reap_if_unused(&cell);
        Ok(())
    }
}
