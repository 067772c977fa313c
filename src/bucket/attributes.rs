//! Attributes of inodes: stat, chmod, chown, utimens, truncate, extended attributes.

use std::sync::Arc;

use super::{
    Attr, Bucket, Error, FileKind, Inner, SetAttr, SetTime, XattrMode,
    cell::{Cell, CellState},
};
use crate::{
    base::{Ino, limits},
    store::{Batch, Table},
};

/// The attributes that the bucket computes.
const OWN_PREFIX: &[u8] = b"user.openbucket.";
/// Access control lists and the like: kept, they would promise what nobody enforces.
const SYSTEM_PREFIX: &[u8] = b"system.";
const OWN_NAMES: [&[u8]; 5] = [
    b"user.openbucket.id",
    b"user.openbucket.state",
    b"user.openbucket.availability",
    b"user.openbucket.tier",
    b"user.openbucket.pinned",
];

impl Inner {
    /// The attributes of a locked cell.
    pub(super) fn attr_of(&self, ino: Ino, state: &CellState) -> Attr {
        // Holes within extents and staged ranges are not known here; a file's bytes are its size.
        let bytes = if state.inode.kind == FileKind::File { state.inode.size } else { 0 };
        state.inode.attr(ino, bytes)
    }

    /// Cuts or extends a locked file.
    fn resize(&self, cell: &Cell, state: &mut CellState, size: u64) -> Result<(), Error> {
        if state.inode.kind != FileKind::File {
            let is_directory = state.inode.kind == FileKind::Directory;
            return Err(if is_directory { Error::IsDirectory } else { Error::Invalid("only files have a size") });
        }
        if size > limits::FILE_BYTES {
            return Err(Error::TooLarge);
        }
        let now = self.timestamp();
        (state.inode.modified, state.inode.changed) = (now, now);
        let is_cut = size < state.inode.size;
        let mut waste = Vec::new();
        if is_cut {
            let before = state.dirty.covered_bytes();
            waste.extend(state.dirty.within(size..u64::MAX).map(|(range, _)| range));
            state.forget_staged(size..u64::MAX);
            state.cuts += 1;
            self.staging.account(before, state.dirty.covered_bytes());
        }
        let mut dead = Vec::new();
        let mut change = self.change_extents();
        let committed = loop {
            let mut batch = Batch::new();
            let is_done = !is_cut || change.cut(cell.ino, size..u64::MAX, &mut batch)?;
            dead.extend(change.settle(&mut batch)?);
            if is_done {
                // What was written before the cut and is not durable yet still is not.
                state.logged_size = if is_cut { state.logged_size.min(size) } else { size };
                state.inode.size = size;
                if is_cut {
                    batch.supersede(cell.ino.0, size, u64::MAX);
                    state.put_dirty(cell.ino, &mut batch);
                }
                state.put(cell.ino, &mut batch);
            }
            let committed = self.database.commit(batch)?;
            if is_done {
                break committed;
            }
        };
        for range in waste {
            state.waste.insert(range, committed);
        }
        drop(change);
        self.forget_chunks(&dead);
        Ok(())
    }
}

impl Bucket {
    /// The attributes of an inode.
    pub fn getattr(&self, ino: Ino) -> Result<Attr, Error> {
        let cell = self.inner.cell(ino)?;
        let state = cell.lock();
        if state.is_gone {
            return Err(Error::Stale);
        }
        Ok(self.inner.attr_of(ino, &state))
    }

    /// Changes attributes; a size change is a truncate.
    pub fn setattr(&self, ino: Ino, set: SetAttr) -> Result<Attr, Error> {
        let inner = &*self.inner;
        let cell = inner.cell(ino)?;
        let mut state = cell.lock();
        if state.is_gone {
            return Err(Error::Stale);
        }
        let now = inner.timestamp();
        if let Some(size) = set.size {
            inner.resize(&cell, &mut state, size)?;
        }
        let time = |set| match set {
            SetTime::Now => now,
            SetTime::At(time) => time,
        };
        let inode = &mut state.inode;
        inode.mode = set.mode.map_or(inode.mode, |mode| mode & 0o7777);
        inode.uid = set.uid.unwrap_or(inode.uid);
        inode.gid = set.gid.unwrap_or(inode.gid);
        inode.accessed = set.accessed.map_or(inode.accessed, time);
        inode.modified = set.modified.map_or(inode.modified, time);
        inode.changed = set.changed.unwrap_or(now);
        let mut batch = Batch::new();
        state.put(ino, &mut batch);
        inner.database.commit(batch)?;
        Ok(inner.attr_of(ino, &state))
    }

    /// The value of an extended attribute.
    pub fn getxattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>, Error> {
        let cell = self.inner.cell(ino)?;
        if name.starts_with(OWN_PREFIX) {
            return self.own_attribute(&cell, name);
        }
        self.inner.database.get(Table::Xattr, &[&ino.0.to_be_bytes(), name])?.ok_or(Error::NoAttribute)
    }

    fn own_attribute(&self, cell: &Arc<Cell>, name: &[u8]) -> Result<Vec<u8>, Error> {
        let text = match name {
            b"user.openbucket.id" => cell.ino.to_string(),
            b"user.openbucket.state" => self.state_of(cell)?.state.to_string(),
            b"user.openbucket.availability" => {
                let availability = self.state_of(cell)?.availability;
                format!("{}/{}", availability.actual, availability.desired)
            }
            b"user.openbucket.tier" => {
                let scheme = self.inner.scheme_of(&cell.lock().inode);
                scheme.tier().map_or_else(|| scheme.to_string(), str::to_owned)
            }
            b"user.openbucket.pinned" => u8::from(cell.lock().inode.is_pinned).to_string(),
            _ => return Err(Error::NoAttribute),
        };
        Ok(text.into_bytes())
    }

    /// Sets an extended attribute.
    pub fn setxattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> Result<(), Error> {
        if name.is_empty() || name.len() > limits::NAME_BYTES {
            return Err(Error::Invalid("an attribute's name has 1 to 255 bytes"));
        }
        if value.len() > limits::XATTR_BYTES {
            return Err(Error::AttributeTooLarge);
        }
        if name.starts_with(OWN_PREFIX) {
            return self.set_own_attribute(ino, name, value);
        }
        if name.starts_with(SYSTEM_PREFIX) {
            return Err(Error::Unsupported);
        }
        let cell = self.inner.cell(ino)?;
        let mut state = cell.lock();
        if state.is_gone {
            return Err(Error::Stale);
        }
        let key = [&ino.0.to_be_bytes()[..], name];
        let is_there = self.inner.database.get(Table::Xattr, &key)?.is_some();
        match (mode, is_there) {
            (XattrMode::Create, true) => return Err(Error::Exists),
            (XattrMode::Replace, false) => return Err(Error::NoAttribute),
            (_, false) if self.xattr_names(ino)?.len() >= limits::XATTRS => {
                return Err(Error::Full(format!("a file has at most {} attributes", limits::XATTRS)));
            }
            _ => {}
        }
        let mut batch = Batch::new();
        batch.put(Table::Xattr, &key, value.to_vec());
        state.inode.changed = self.inner.timestamp();
        state.put(ino, &mut batch);
        self.inner.database.commit(batch)?;
        Ok(())
    }

    fn set_own_attribute(&self, ino: Ino, name: &[u8], value: &[u8]) -> Result<(), Error> {
        let text = std::str::from_utf8(value).map_err(|_| Error::Invalid("the value is not text"))?.trim();
        let cell = self.inner.cell(ino)?;
        let mut state = cell.lock();
        if state.is_gone {
            return Err(Error::Stale);
        }
        match name {
            b"user.openbucket.tier" => {
                let scheme = text.parse().map_err(|_| Error::Invalid("no such tier"))?;
                state.inode.scheme = Some(scheme);
            }
            b"user.openbucket.pinned" => match text {
                "0" => state.inode.is_pinned = false,
                "1" => state.inode.is_pinned = true,
                _ => return Err(Error::Invalid("write 0 or 1")),
            },
            _ if OWN_NAMES.contains(&name) => return Err(Error::NotPermitted),
            _ => return Err(Error::Invalid("no such attribute of OpenBucket")),
        }
        state.inode.changed = self.inner.timestamp();
        let mut batch = Batch::new();
        state.put(ino, &mut batch);
        self.inner.database.commit(batch)?;
        Ok(())
    }

    /// The names of the extended attributes that were set; those of the bucket itself are asked for by name.
    pub fn listxattr(&self, ino: Ino) -> Result<Vec<Vec<u8>>, Error> {
        self.inner.cell(ino)?;
        self.xattr_names(ino)
    }

    fn xattr_names(&self, ino: Ino) -> Result<Vec<Vec<u8>>, Error> {
        let pairs = self.inner.database.scan(Table::Xattr, &ino.0.to_be_bytes(), b"", limits::XATTRS)?;
        Ok(pairs.into_iter().map(|(name, _)| name).collect())
    }

    /// Removes an extended attribute.
    pub fn removexattr(&self, ino: Ino, name: &[u8]) -> Result<(), Error> {
        if name.starts_with(OWN_PREFIX) {
            return Err(Error::NotPermitted);
        }
        let cell = self.inner.cell(ino)?;
        let mut state = cell.lock();
        if state.is_gone {
            return Err(Error::Stale);
        }
        let key = [&ino.0.to_be_bytes()[..], name];
        if self.inner.database.get(Table::Xattr, &key)?.is_none() {
            return Err(Error::NoAttribute);
        }
        let mut batch = Batch::new();
        batch.delete(Table::Xattr, &key);
        state.inode.changed = self.inner.timestamp();
        state.put(ino, &mut batch);
        self.inner.database.commit(batch)?;
        Ok(())
    }
}
