//! Attributes of inodes: stat, chmod, chown, utimens, truncate, extended attributes.

use super::{Attr, Bucket, Error, FileKind, Inner, SetAttr, SetTime, XattrMode, acl, cell::CellState, policy};
use crate::{
    base::{Ino, limits},
    store::{Batch, Table},
};

/// The name spaces whose rules the kernel enforces. Of `system.` there are access control lists only: what else was kept
/// there would promise what nobody enforces.
const NAME_SPACES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

/// Refuses the names that xattr(7) does not have.
fn check_name_space(name: &[u8]) -> Result<(), Error> {
    if acl::is_acl(name) {
        return Ok(());
    }
    match NAME_SPACES.iter().find_map(|space| name.strip_prefix(*space)) {
        None => Err(Error::Unsupported),
        Some([]) => Err(Error::Invalid("an attribute's name is more than its name space")),
        Some(_) => Ok(()),
    }
}

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
        let mut batch = Batch::new();
        if let Some(mode) = set.mode {
            inner.chmod_acl(ino, &mut state, mode, &mut batch)?;
        }
        let inode = &mut state.inode;
        inode.mode = set.mode.map_or(inode.mode, |mode| mode & 0o7777);
        inode.uid = set.uid.unwrap_or(inode.uid);
        inode.gid = set.gid.unwrap_or(inode.gid);
        inode.accessed = set.accessed.map_or(inode.accessed, time);
        inode.modified = set.modified.map_or(inode.modified, time);
        inode.changed = set.changed.unwrap_or(now);
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
        check_name_space(name)?;
        // The kernel asks for access control lists and capabilities that most files do not have.
        if !self.inner.has_attributes(ino, &mut cell.lock())? {
            return Err(Error::NoAttribute);
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
        check_name_space(name)?;
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
            (_, false) => self.check_room(ino, name)?,
            _ => {}
        }
        let mut batch = Batch::new();
        if acl::is_acl(name) {
            self.inner.set_acl(ino, &mut state, (name, value), &mut batch)?;
        } else {
            batch.put(Table::Xattr, &key, value.to_vec());
        }
        state.has_attributes = Some(true);
        state.inode.changed = self.inner.timestamp();
        state.put(ino, &mut batch);
        self.inner.database.commit(batch)?;
        Ok(())
    }

    /// The names of the extended attributes that were set; those of the bucket itself are asked for by name.
    pub fn listxattr(&self, ino: Ino) -> Result<Vec<Vec<u8>>, Error> {
        let cell = self.inner.cell(ino)?;
        let has_attributes = self.inner.has_attributes(ino, &mut cell.lock())?;
        if has_attributes { self.xattr_names(ino) } else { Ok(Vec::new()) }
    }

    /// Refuses one more attribute when listxattr(2) could not name them all.
    fn check_room(&self, ino: Ino, name: &[u8]) -> Result<(), Error> {
        let names = self.xattr_names(ino)?;
        let bytes: usize = names.iter().map(Vec::as_slice).chain([name]).map(|name| name.len() + 1).sum();
        if names.len() >= limits::XATTRS || bytes > limits::XATTR_LIST_BYTES {
            let (count, bytes) = (limits::XATTRS, limits::XATTR_LIST_BYTES);
            return Err(Error::Full(format!("a file has at most {count} attributes, with {bytes} bytes of names")));
        }
        Ok(())
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
        check_name_space(name)?;
        let cell = self.inner.cell(ino)?;
        let mut state = cell.lock();
        if state.is_gone {
            return Err(Error::Stale);
        }
        let key = [&ino.0.to_be_bytes()[..], name];
        if !self.inner.has_attributes(ino, &mut state)? || self.inner.database.get(Table::Xattr, &key)?.is_none() {
            // setxattr(2) does not say so of access control lists, but disks let them be removed twice.
            return if acl::is_acl(name) { Ok(()) } else { Err(Error::NoAttribute) };
        }
        let mut batch = Batch::new();
        batch.delete(Table::Xattr, &key);
        state.inode.changed = self.inner.timestamp();
        state.put(ino, &mut batch);
        self.inner.database.commit(batch)?;
        Ok(())
    }
}
