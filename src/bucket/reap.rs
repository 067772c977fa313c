//! What goes when a file's last name and its last user are gone: its extents, in steps, then its inode.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{
    Error, Inner,
    cell::{Cell, Locked},
};
use crate::{
    base::{ChunkId, Ino, Mutex, limits},
    runtime::failpoint,
    store::{Batch, Table},
};

/// The line of inodes to remove; the database's orphans are its durable form.
#[derive(Default)]
pub(super) struct Reaper {
    line: Mutex<Vec<Ino>>,
    wake: Notify,
}

impl Inner {
    /// Puts an inode in line when nothing names it and nobody uses it.
    pub fn reap_if_unused(&self, cell: &Cell) {
        let state = cell.lock();
        if state.inode.links == 0 && state.lookups == 0 && state.handles == 0 && !state.is_gone {
            drop(state);
            self.reap(cell.ino);
        }
    }

    /// Puts an inode in line.
    pub fn reap(&self, ino: Ino) {
        self.reaper.line.lock().push(ino);
        self.reaper.wake.notify_one();
    }

    /// Removes what is in line until shutdown; the rest goes at the next mount.
    pub async fn reap_until_shutdown(self: Arc<Self>) {
        loop {
            tokio::select! {
                biased;
                () = self.tasks.shutdown().started() => return,
                () = self.reaper.wake.notified() => {}
            }
            // Others follow: one flush and few batches for all, and no race with who unlinks them.
            tokio::select! {
                biased;
                () = self.tasks.shutdown().started() => return,
                () = tokio::time::sleep(limits::REAP_LINGER) => {}
            }
            let inner = Arc::clone(&self);
            let reaped = super::commit::blocking(move || {
                let line = std::mem::take(&mut *inner.reaper.line.lock());
                inner.remove_inodes(line)
            });
            if let Err(error) = reaped.await {
                tracing::warn!(%error, "cannot remove an unlinked file; it goes at the next mount");
            }
            self.wake_tenders();
            self.note_change();
        }
    }

    /// Removes inodes, and their staged bytes once that is durable: until then a crash would bring them back.
    fn remove_inodes(&self, line: Vec<Ino>) -> Result<(), Error> {
        let mut outcome = Ok(());
        let mut removed = Vec::new();
        for some in line.chunks(limits::INODES_PER_BATCH) {
            let mut claimed = Vec::new();
            for ino in some {
                match self.claim(*ino) {
                    Ok(cell) => claimed.extend(cell),
                    Err(error) => outcome = outcome.and(Err(error)),
                }
            }
            match self.remove_claimed(&claimed) {
                Ok(()) => removed.extend(claimed),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        self.database.sync_all()?;
        if !removed.is_empty() {
            failpoint("inodes-flushed");
        }
        for cell in removed {
            self.staging.remove(cell.ino);
        }
        outcome
    }

    /// Takes an inode out of use; None when it is gone already or used again.
    fn claim(&self, ino: Ino) -> Result<Option<Arc<Cell>>, Error> {
        let cell = match self.cell(ino) {
            Ok(cell) => cell,
            Err(Error::Stale) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut state = cell.lock();
        if state.is_gone || state.inode.links > 0 || state.lookups > 0 || state.handles > 0 {
            return Ok(None);
        }
        state.is_gone = true;
        let staged = state.dirty.covered_bytes();
        state.dirty = Default::default();
        state.unlogged = Default::default();
        state.logged.take(0..u64::MAX);
        state.awaited.settle(&(0..u64::MAX));
        self.staging.account(staged, 0);
        drop(state);
        Ok(Some(cell))
    }

    /// Removes inodes that are out of use from the database, in as many batches as their extents need.
    fn remove_claimed(&self, claimed: &[Arc<Cell>]) -> Result<(), Error> {
        let mut left: Vec<_> = claimed.iter().collect();
        while !left.is_empty() {
            let mut batch = Batch::new();
            let mut locked = Locked::new(left.iter().copied());
            let mut change = self.change_extents();
            let mut later = Vec::new();
            for cell in left {
                let is_last = batch.len() < limits::EXTENTS_PER_BATCH
                    && locked.of(cell.ino).logged.put(cell.ino, &mut batch)
                    && change.cut(cell.ino, 0..u64::MAX, &mut batch)? == u64::MAX;
                if is_last {
                    self.delete_records(cell.ino, &mut batch)?;
                } else {
                    later.push(cell);
                }
            }
            let dead = change.settle(&mut batch)?;
            self.database.commit(batch)?;
            failpoint("inodes-removed");
            drop(change);
            drop(locked);
            self.forget_chunks(&dead);
            left = later;
        }
        for cell in claimed {
            cell.lock().file = None;
            self.cells.lock().remove(&cell.ino);
        }
        Ok(())
    }

    fn delete_records(&self, ino: Ino, batch: &mut Batch) -> Result<(), Error> {
        let key = ino.0.to_be_bytes();
        for table in [Table::Inode, Table::Orphan, Table::Policy] {
            batch.delete(table, &[&key]);
        }
        for (name, _) in self.database.scan(Table::Xattr, &key, b"", limits::XATTRS)? {
            batch.delete(Table::Xattr, &[&key, &name]);
        }
        batch.supersede(ino.0, 0, u64::MAX);
        Ok(())
    }

    /// Drops what is cached of chunks that are gone, tells who reads them, and lets the deleter go to work.
    pub fn forget_chunks(&self, dead: &[ChunkId]) {
        for id in dead {
            self.cache.forget(*id);
        }
        if !dead.is_empty() {
            self.wake_tenders();
            self.note_change();
        }
    }
}
