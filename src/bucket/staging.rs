//! Staging files: one sparse file per inode with bytes that are not on consumers yet.

use std::{
    collections::BTreeSet,
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use super::{
    own_files::path_of,
    staged::{Hole, StagedFiles},
};
use crate::{
    base::{Ino, limits},
    store::{Disk, DiskFile, Error, StagingFiles, sync_ranges},
};

/// All staging files of a bucket and the account of their bytes.
pub(super) struct Staging {
    files: Arc<StagedFiles>,
    /// Dirty bytes of all inodes.
    bytes: AtomicU64,
    /// Inodes that have such.
    inodes: AtomicU64,
    limit_bytes: u64,
    /// Counts the bytes that went away.
    drained_bytes: AtomicU64,
    freed: Notify,
}

impl Staging {
    /// Takes up what the last run left.
    pub fn open_all(disk: Arc<dyn Disk>, limit_bytes: u64) -> Result<Self, Error> {
        Ok(Self {
            files: StagedFiles::open_all(disk)?,
            bytes: AtomicU64::new(0),
            inodes: AtomicU64::new(0),
            limit_bytes,
            drained_bytes: AtomicU64::new(0),
            freed: Notify::new(),
        })
    }

    /// Opens (or makes) the file of an inode.
    pub fn open(&self, ino: Ino) -> Result<Arc<dyn DiskFile>, Error> {
        let file = self.files.open(ino.0).map_err(Error::io("cannot open staging file", path_of(ino.0)))?;
        Ok(file)
    }

    /// Makes the data of an open staging file durable that was written in these ranges, its directory entry included.
    pub fn flush_file(&self, ino: Ino, file: &dyn DiskFile, ranges: Vec<Range<u64>>) -> Result<(), Error> {
        let path = path_of(ino.0);
        let flushed =
            sync_ranges(file, ranges).and_then(|()| self.files.own.flush_entries(std::slice::from_ref(&path)));
        flushed.map_err(Error::io("cannot flush staging file", &path))
    }

    /// Nobody writes to this part of an inode's file before the hole is dropped: it can be made.
    pub fn hole(&self, ino: Ino, range: Range<u64>) -> Hole {
        self.files.hole(ino.0, range)
    }

    /// Whether a hole is being made in an inode's file, which others wait for.
    pub fn has_holes(&self, ino: Ino) -> bool {
        self.files.has_holes(ino.0)
    }

    /// Removes the file of an inode, if there is one.
    pub fn remove(&self, ino: Ino) {
        if let Err(error) = self.files.remove(ino.0) {
            tracing::warn!(%error, "cannot remove a staging file; it is removed at the next mount");
        }
        self.note_freed();
    }

    /// The inodes that have a staging file, be it in memory.
    pub fn inodes(&self) -> Result<Vec<Ino>, Error> {
        Ok(self.files.own.list()?.into_iter().chain(self.files.all_small()).map(Ino).collect())
    }

    /// Makes the entries of all files durable: the last run may have ended before it did.
    pub fn flush_entries(&self) -> Result<(), Error> {
        self.files.own.flush_all_entries()
    }

    /// Dirty bytes of all inodes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Whether as many inodes have dirty bytes as may: each takes some memory.
    pub fn is_crowded(&self) -> bool {
        self.inodes.load(Ordering::Relaxed) >= limits::STAGED_INODES
    }

    /// Whether so many more bytes may be staged. An empty staging area takes any one write; the last of the
    /// disk's space is left to the database, so that a full disk can be mounted again and emptied.
    pub fn has_room(&self, bytes: u64) -> bool {
        let staged = self.bytes();
        (staged == 0 || staged + bytes <= self.limit_bytes) && !self.is_disk_short(bytes)
    }

    /// The same for an inode of which nothing is staged.
    pub fn has_room_for_one_more(&self, bytes: u64) -> bool {
        !self.is_crowded() && self.has_room(bytes)
    }

    /// Whether so many bytes would leave less free than the disk below must keep.
    pub fn is_disk_short(&self, bytes: u64) -> bool {
        self.missing_bytes(bytes) > 0
    }

    /// What the disk below lacks to keep what it must when so many more bytes are staged.
    pub fn missing_bytes(&self, bytes: u64) -> u64 {
        self.files.own.disk.missing_bytes(bytes)
    }

    /// Accounts a change of an inode's dirty bytes and wakes writers when there is more room.
    pub fn account(&self, before: u64, after: u64) {
        match (before, after) {
            (0, 1..) => _ = self.inodes.fetch_add(1, Ordering::Relaxed),
            (1.., 0) => {
                let less = |count: u64| Some(count.saturating_sub(1));
                // It cannot fail: there is always a next value.
                _ = self.inodes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            }
            _ => {}
        }
        if after >= before {
            self.bytes.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub(before - after, Ordering::Relaxed);
            self.drained_bytes.fetch_add(before - after, Ordering::Relaxed);
            self.note_freed();
        }
    }

    /// Wakes writers: there may be room on the disk.
    pub fn note_freed(&self) {
        self.freed.notify_waiters();
    }

    /// Wakes when there may be more room, in the account or on the disk.
    pub fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }

    /// Dirty bytes that went away since the start.
    pub fn drained_bytes(&self) -> u64 {
        self.drained_bytes.load(Ordering::Relaxed)
    }

    /// (free, total) bytes of the disk below.
    pub fn space(&self) -> (u64, u64) {
        self.files.own.disk.space().unwrap_or((0, 0))
    }
}

impl StagingFiles for Staging {
    fn flush(&self, inodes: &BTreeSet<u64>) -> Result<(), Error> {
        // Those in memory first: what gets a file of its own meanwhile is flushed with it.
        let others = self.files.keep(inodes)?;
        if others.len() > limits::FLUSHED_ALONE
            && self.files.flush_all(&others).map_err(Error::io("cannot flush", "staging"))?
        {
            return Ok(());
        }
        let mut paths = Vec::new();
        for ino in others {
            let path = path_of(ino);
            let synced = match self.files.small(ino) {
                Some(file) => file.sync(),
                None => self.files.own.open(ino).and_then(|file| file.map_or(Ok(()), |file| file.sync())),
            };
            match synced {
                Ok(()) => paths.push(path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("cannot flush staging file", &path)(error)),
            }
        }
        self.files.own.flush_entries(&paths).map_err(Error::io("cannot flush", "staging"))
    }

    fn restore(&self, ino: u64, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.open(Ino(ino))?.write_at(bytes, offset).map_err(Error::io("cannot restore staging file", path_of(ino)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        runtime::SeededChance,
        store::{FaultyDisk, SimulatedDisk},
    };

    #[test]
    fn many_files_are_flushed_also_on_a_disk_that_cannot_be_flushed_as_a_whole() {
        let inodes: BTreeSet<u64> = (0..=limits::FLUSHED_ALONE as u64).collect();
        for seed in 0..10 {
            let disk = SimulatedDisk::new(1 << 30);
            let whole = Arc::new(disk.clone()) as Arc<dyn Disk>;
            let below = if seed % 2 == 0 { whole } else { Arc::new(FaultyDisk::new(whole)) as Arc<dyn Disk> };
            let staging = Staging::open_all(below, 1 << 30).expect("opens");
            for ino in &inodes {
                // Too large for the memory.
                staging.open(Ino(*ino)).unwrap().write_at(b"kept", limits::STAGED_SMALL_BYTES).unwrap();
            }
            staging.flush(&inodes).unwrap();
            disk.crash(&SeededChance::new(seed));
            for ino in &inodes {
                let found = disk.contents(&path_of(*ino)).unwrap_or_default();
                assert!(found.ends_with(b"kept"), "{ino} with seed {seed}");
            }
        }
    }
}
