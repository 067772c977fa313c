//! Staging files on the disk, one for each inode that has one there: which there are, and whose names are not durable yet.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    base::Mutex,
    store::{Disk, DiskFile, Error},
};

/// The staging files on a disk.
pub(super) struct OwnFiles {
    pub disk: Arc<dyn Disk>,
    /// All inodes that may have one: others are not looked for.
    known: Mutex<HashSet<u64>>,
    /// Files that exist but whose directory entry was not flushed yet.
    new_entries: Mutex<BTreeMap<PathBuf, u64>>,
    /// Tells a new file from an earlier one of the same name.
    made: AtomicU64,
}

/// Where the file of an inode is.
pub(super) fn path_of(ino: u64) -> PathBuf {
    PathBuf::from(format!("{:02x}/{ino:x}", ino & 0xff))
}

impl OwnFiles {
    /// Those that are there.
    pub fn find(disk: Arc<dyn Disk>) -> Result<Self, Error> {
        let (known, new_entries) = (Mutex::default(), Mutex::default());
        let files = Self { disk, known, new_entries, made: AtomicU64::new(0) };
        files.list()?;
        Ok(files)
    }

    /// The inodes that have one, as the disk says.
    pub fn list(&self) -> Result<HashSet<u64>, Error> {
        let mut found = HashSet::new();
        let list = |path: &Path| self.disk.list(path).map_err(Error::io("cannot list staging files in", path));
        for directory in list(Path::new(""))? {
            if directory.to_str().is_some_and(|name| name.len() == 2) {
                let names = list(&directory)?;
                found.extend(names.iter().filter_map(|name| u64::from_str_radix(name.to_str()?, 16).ok()));
            }
        }
        self.known.lock().extend(&found);
        Ok(found)
    }

    /// The file of an inode, if it is there.
    pub fn open(&self, ino: u64) -> io::Result<Option<Arc<dyn DiskFile>>> {
        if !self.known.lock().contains(&ino) {
            return Ok(None);
        }
        match self.disk.open(&path_of(ino), false) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The file of an inode, as it is or new.
    pub fn create(&self, ino: u64) -> io::Result<Arc<dyn DiskFile>> {
        let path = path_of(ino);
        let file = self.disk.open(&path, true)?;
        self.known.lock().insert(ino);
        self.new_entries.lock().insert(path, self.made.fetch_add(1, Ordering::Relaxed));
        Ok(file)
    }

    /// Removes the file of an inode, if there is one.
    pub fn remove(&self, ino: u64) -> io::Result<()> {
        if !self.known.lock().remove(&ino) {
            return Ok(());
        }
        let path = path_of(ino);
        self.new_entries.lock().remove(&path);
        match self.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.known.lock().insert(ino);
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Makes the entries of all files durable, whoever has made them.
    pub fn flush_all_entries(&self) -> Result<(), Error> {
        let found = self.list()?;
        let directories: BTreeSet<_> =
            found.iter().filter_map(|ino| Some(path_of(*ino).parent()?.to_owned())).collect();
        for directory in directories.iter().map(PathBuf::as_path).chain([Path::new("")]) {
            self.disk.sync_directory(directory).map_err(Error::io("cannot flush", directory))?;
        }
        Ok(())
    }

    /// Makes the directory entries of files durable, where they are new: each directory is flushed once.
    pub fn flush_entries(&self, paths: &[PathBuf]) -> io::Result<()> {
        let new: BTreeMap<&PathBuf, u64> = {
            let entries = self.new_entries.lock();
            paths.iter().filter_map(|path| Some((path, *entries.get(path)?))).collect()
        };
        if new.is_empty() {
            return Ok(());
        }
        let directories: BTreeSet<&Path> = new.keys().filter_map(|path| path.parent()).collect();
        for directory in directories.into_iter().chain([Path::new("")]) {
            self.disk.sync_directory(directory)?;
        }
        let mut entries = self.new_entries.lock();
        for (path, made) in new {
            if entries.get(path) == Some(&made) {
                entries.remove(path);
            }
        }
        Ok(())
    }

    /// Flushes the disk as a whole; false when it cannot do so at once.
    pub fn flush_disk(&self) -> io::Result<bool> {
        // Those that are made from here on are not covered.
        let made = self.made.load(Ordering::Relaxed);
        let is_flushed = self.disk.sync_all()?;
        if is_flushed {
            self.new_entries.lock().retain(|_, number| *number >= made);
        }
        Ok(is_flushed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{DiskOp, FaultyDisk, SimulatedDisk};

    #[test]
    fn what_was_made_found_and_removed_is_known() {
        let disk = SimulatedDisk::new(1 << 20);
        let files = OwnFiles::find(Arc::new(disk.clone())).expect("found");
        assert!(files.open(7).expect("looked for").is_none());
        files.create(7).expect("made");
        assert!(files.open(7).expect("looked for").is_some());
        // By the run before.
        disk.open(&path_of(8), true).expect("made");
        let again = OwnFiles::find(Arc::new(disk.clone())).expect("found");
        assert_eq!(again.list().expect("listed"), HashSet::from([7, 8]));
        again.remove(8).expect("removed");
        again.remove(9).expect("is not there");
        assert!(again.open(8).expect("looked for").is_none() && disk.open(&path_of(8), false).is_err());
        // A check finds what nobody has told, and it can be removed then.
        assert_eq!(files.list().expect("listed"), HashSet::from([7]));
        disk.open(&path_of(300), true).expect("made");
        files.list().expect("listed");
        files.remove(300).expect("removed");
        assert!(disk.open(&path_of(300), false).is_err());
    }

    #[test]
    fn what_could_not_be_removed_is_there_still() {
        let disk = FaultyDisk::new(Arc::new(SimulatedDisk::new(1 << 20)));
        let files = OwnFiles::find(Arc::new(disk.clone())).expect("found");
        files.create(7).expect("made");
        disk.fail(DiskOp::Remove, 0, u64::MAX, io::ErrorKind::Other);
        files.remove(7).expect_err("the disk does not");
        assert!(files.open(7).expect("looked for").is_some());
        disk.heal();
        files.remove(7).expect("removed");
        assert!(files.open(7).expect("looked for").is_none());
    }
}
