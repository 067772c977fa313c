//! Renames: over nothing, over something, and in exchange.

use std::{collections::HashSet, sync::Arc};

use super::{
    Bucket, Error, FileKind, Inner, RenameMode,
    cell::{Cell, Locked},
    records::Entry,
    tree::{Namespace, check_name},
};
use crate::{
    base::{Ino, limits},
    runtime::failpoint,
    store::Batch,
};

impl Bucket {
    /// Renames, as renameat2(2) does. Blocks on the disk where [`Bucket::rename_now`] would have to.
    #[expect(clippy::too_many_arguments, reason = "the five of renameat2(2)")]
    pub fn rename(
        &self,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
        new_name: &[u8],
        mode: RenameMode,
    ) -> Result<(), Error> {
        while self.rename_now(parent, name, new_parent, new_name, mode)?.is_none() {
            // Written to meanwhile, it may need another round; the writer cannot outrun that for ever.
            let cell = self.inner.cell(self.lookup(parent, name)?.ino)?;
            self.inner.log_cell(&cell)?;
        }
        Ok(())
    }

    /// The same when it need not wait for the disk, otherwise None. A file that takes another's place has its data
    /// ordered before that: after a power cut the name holds the old contents or the new, never none.
    #[expect(clippy::too_many_arguments, reason = "the five of renameat2(2)")]
    pub fn rename_now(
        &self,
        parent: Ino,
        name: &[u8],
        new_parent: Ino,
        new_name: &[u8],
        mode: RenameMode,
    ) -> Result<Option<()>, Error> {
        check_name(name)?;
        check_name(new_name)?;
        let inner = &*self.inner;
        let mut namespace = inner.namespace.lock();
        let (from, to) = (inner.directory(parent)?, inner.directory(new_parent)?);
        let source = inner.entry(parent, name)?.ok_or(Error::NotFound)?;
        let target = inner.entry(new_parent, new_name)?;
        if source.kind == FileKind::Directory && inner.is_within(new_parent, source.ino)? {
            return Err(Error::Invalid("a directory cannot be moved into itself"));
        }
        let moved = Move { from, to, name, new_name, source };
        match (mode, target) {
            (RenameMode::NoReplace, Some(_)) => Err(Error::Exists),
            (RenameMode::Exchange, None) => Err(Error::NotFound),
            (_, Some(target)) if target.ino == moved.source.ino => Ok(Some(())),
            (RenameMode::Exchange, Some(target)) => {
                if target.kind == FileKind::Directory && inner.is_within(parent, target.ino)? {
                    return Err(Error::Invalid("a directory cannot be moved into itself"));
                }
                inner.exchange(&mut namespace, &moved, target).map(Some)
            }
            (_, target) => {
                if target.is_some() && !inner.order_data(moved.source.ino)? {
                    return Ok(None);
                }
                if target.is_some() {
                    failpoint("rename-ordered");
                }
                let replaced = inner.replace(&mut namespace, &moved, target)?;
                drop(namespace);
                if let Some(cell) = replaced {
                    inner.reap_if_unused(&cell);
                }
                Ok(Some(()))
            }
        }
    }
}

/// A rename that was looked up.
struct Move<'a> {
    from: Arc<Cell>,
    to: Arc<Cell>,
    name: &'a [u8],
    new_name: &'a [u8],
    source: Entry,
}

impl Inner {
    /// Whether `inner` is `outer` or lies below it.
    fn is_within(&self, inner: Ino, outer: Ino) -> Result<bool, Error> {
        let (mut at, mut seen) = (inner, HashSet::new());
        loop {
            // In a circle, which only damage makes, everything is within everything.
            if at == outer || !seen.insert(at) {
                return Ok(true);
            }
            if at == Ino::ROOT {
                return Ok(false);
            }
            at = self.cell(at)?.lock().inode.parent;
        }
    }

    /// Puts what little data of a file the log does not have into it, and its size; false when it is more than the log takes.
    fn order_data(&self, ino: Ino) -> Result<bool, Error> {
        let cell = self.cell(ino)?;
        let (unlogged_bytes, is_size_logged) = {
            let state = cell.lock();
            (state.unlogged.covered_bytes(), state.logged_size == state.inode.size)
        };
        if unlogged_bytes > limits::INLINE_BYTES {
            return Ok(false);
        }
        if unlogged_bytes > 0 || !is_size_logged {
            self.log_cell(&cell)?;
        }
        Ok(true)
    }

    /// Moves the source over the target, if there is one; returns what lost its name.
    fn replace(
        &self,
        namespace: &mut Namespace,
        moved: &Move<'_>,
        target: Option<Entry>,
    ) -> Result<Option<Arc<Cell>>, Error> {
        let is_directory = moved.source.kind == FileKind::Directory;
        let cell = self.cell(moved.source.ino)?;
        let replaced = match &target {
            Some(target) => Some(self.cell(target.ino)?),
            None => None,
        };
        let mut batch = Batch::new();
        let mut locked = Locked::new([&moved.from, &moved.to, &cell].into_iter().chain(&replaced));
        if let Some(target) = &target {
            match (is_directory, target.kind == FileKind::Directory) {
                (true, false) => return Err(Error::NotDirectory),
                (false, true) => return Err(Error::IsDirectory),
                (true, true) if !self.is_empty(target.ino)? => return Err(Error::NotEmpty),
                _ => {}
            }
            self.delete_entry(&mut batch, moved.to.ino, moved.new_name, target);
            self.drop_link(target.ino, &mut locked, namespace, &mut batch);
        }
        self.delete_entry(&mut batch, moved.from.ino, moved.name, &moved.source);
        // A listing shows it once, and a name that is there all the time where it was.
        let cookie = match &target {
            Some(target) => target.cookie,
            None if moved.from.ino == moved.to.ino => moved.source.cookie,
            None => namespace.id(),
        };
        let entry = Entry { cookie, ..moved.source.clone() };
        self.put_entry(&mut batch, moved.to.ino, moved.new_name, &entry);
        self.reparent(moved.source.ino, moved.to.ino, &mut locked, &mut batch);
        let lost = i32::from(is_directory && target.is_some());
        if moved.from.ino == moved.to.ino {
            self.touch_directory(moved.from.ino, -lost, &mut locked, &mut batch);
        } else {
            self.touch_directory(moved.from.ino, -i32::from(is_directory), &mut locked, &mut batch);
            self.touch_directory(moved.to.ino, i32::from(is_directory) - lost, &mut locked, &mut batch);
        }
        namespace.put(&mut batch);
        self.database.commit(batch)?;
        if replaced.is_some() {
            failpoint("rename-committed");
        }
        drop(locked);
        Ok(replaced)
    }

    fn exchange(&self, namespace: &mut Namespace, moved: &Move<'_>, target: Entry) -> Result<(), Error> {
        let mut batch = Batch::new();
        let cells = [self.cell(moved.source.ino)?, self.cell(target.ino)?];
        let mut locked = Locked::new([&moved.from, &moved.to].into_iter().chain(&cells));
        self.delete_entry(&mut batch, moved.from.ino, moved.name, &moved.source);
        self.delete_entry(&mut batch, moved.to.ino, moved.new_name, &target);
        let there = Entry { cookie: target.cookie, ..moved.source.clone() };
        let here = Entry { cookie: moved.source.cookie, ..target.clone() };
        self.put_entry(&mut batch, moved.to.ino, moved.new_name, &there);
        self.put_entry(&mut batch, moved.from.ino, moved.name, &here);
        self.reparent(moved.source.ino, moved.to.ino, &mut locked, &mut batch);
        self.reparent(target.ino, moved.from.ino, &mut locked, &mut batch);
        let leaves = i32::from(moved.source.kind == FileKind::Directory);
        let change = i32::from(target.kind == FileKind::Directory) - leaves;
        if moved.from.ino == moved.to.ino {
            self.touch_directory(moved.from.ino, 0, &mut locked, &mut batch);
        } else {
            self.touch_directory(moved.from.ino, change, &mut locked, &mut batch);
            self.touch_directory(moved.to.ino, -change, &mut locked, &mut batch);
        }
        namespace.put(&mut batch);
        self.database.commit(batch)?;
        Ok(())
    }

    /// A renamed inode's change time, and a directory's new place.
    fn reparent(&self, ino: Ino, parent: Ino, locked: &mut Locked<'_>, batch: &mut Batch) {
        let state = locked.of(ino);
        state.inode.parent = parent;
        state.inode.changed = self.timestamp();
        state.put(ino, batch);
    }
}
