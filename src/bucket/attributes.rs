//! Attributes of inodes: stat, chmod, chown, utimens, truncate, extended attributes.

use super::{Attr, Bucket, Error, FileKind, Inner, SetAttr, SetTime, XattrMode, cell::CellState, policy};
use crate::{
    base::{Ino, limits},
    store::{Batch, Table},
};

/// Access control lists and the like: kept, they would promise what nobody enforces.
const SYSTEM_PREFIX: &[u8] = b"system.";

impl Inner {
    /// The attributes of a locked cell.
    pub(super) fn attr_of(&self, ino: Ino, state: &CellState) -> Attr {
        let bytes = if state.inode.kind == FileKind::File { taken_bytes(state) } else { 0 };
        state.inode.attr(ino, bytes)
    }
}

/// The bytes of a file that take space: those in extents, and staged ones. What was overwritten counts twice until its
/// upload, but never beyond the size. A file that is open for writing is never shown as empty: the kernel may hold data
/// of it, and tar(1) takes no blocks for no data.
fn taken_bytes(state: &CellState) -> u64 {
    let bytes = state.inode.extent_bytes.unwrap_or(0) + state.dirty.covered_bytes();
    let bytes = bytes.min(state.inode.size);
    if state.writers > 0 { bytes.max(limits::PAGE_BYTES) } else { bytes }
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
        if name.starts_with(policy::PREFIX) {
            return self.policy_attribute(&cell, name);
        }
        self.inner.database.get(Table::Xattr, &[&ino.0.to_be_bytes(), name])?.ok_or(Error::NoAttribute)
    }

    /// Sets an extended attribute.
    pub fn setxattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> Result<(), Error> {
        if name.is_empty() || name.len() > limits::NAME_BYTES {
            return Err(Error::Invalid("an attribute's name has 1 to 255 bytes"));
        }
        if value.len() > limits::XATTR_BYTES {
            return Err(Error::AttributeTooLarge);
        }
        if name.starts_with(policy::PREFIX) {
            return self.set_policy(ino, name, Some(value));
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
        if name.starts_with(policy::PREFIX) {
            return self.set_policy(ino, name, None);
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
