//! A staging file: bytes in memory while it is small, a file on the disk from then on.
//!
//! To make a file on the disk costs more than all else that a small file needs, and most small files are on their consumers before
//! anything wants them there: until then the intent log alone carries them. They go to the disk when they grow, when
//! the memory for them is full, and when the log can carry them no longer.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    base::{Condvar, Mutex, RangeSet, limits},
    store::{Disk, DiskFile},
};

/// What all staging files share.
pub(super) struct StagedFiles {
    pub disk: Arc<dyn Disk>,
    /// Those in memory, which have no other copy. A file's own lock may be held when this one is taken.
    small: Mutex<HashMap<u64, Arc<StagedFile>>>,
    small_bytes: AtomicU64,
    /// Files that exist but whose directory entry was not flushed yet.
    new_entries: Mutex<BTreeMap<PathBuf, u64>>,
    /// Tells a new file from an earlier one of the same name.
    made: AtomicU64,
    /// Parts of files that are being given back. Who writes there waits.
    holes: Mutex<HashMap<u64, RangeSet>>,
    hole_made: Condvar,
}

/// A part of a staging file that is being given back: nothing is written there before this is dropped.
pub(super) struct Hole {
    files: Arc<StagedFiles>,
    ino: u64,
    range: Range<u64>,
}

impl Drop for Hole {
    fn drop(&mut self) {
        let mut holes = self.files.holes.lock();
        if let Some(of_file) = holes.get_mut(&self.ino) {
            of_file.remove(self.range.clone());
            if of_file.is_empty() {
                holes.remove(&self.ino);
            }
        }
        self.files.hole_made.notify_all();
    }
}

/// The staging file of one inode.
pub(super) struct StagedFile {
    ino: u64,
    files: Arc<StagedFiles>,
    place: Mutex<Place>,
}

enum Place {
    Memory(Vec<u8>),
    /// Held open only when it is large: of the small ones there may be more than a process may open.
    Disk(Option<Arc<dyn DiskFile>>),
    Removed,
}

pub(super) fn path_of(ino: u64) -> PathBuf {
    PathBuf::from(format!("{:02x}/{ino:x}", ino & 0xff))
}

impl StagedFiles {
    pub fn new(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            small: Mutex::default(),
            small_bytes: AtomicU64::new(0),
            new_entries: Mutex::default(),
            made: AtomicU64::new(0),
            holes: Mutex::default(),
            hole_made: Condvar::new(),
        }
    }

    /// Nobody writes to this part of a file from here on: a hole can be made there.
    pub fn hole(self: &Arc<Self>, ino: u64, range: Range<u64>) -> Hole {
        self.holes.lock().entry(ino).or_default().insert(range.clone(), ());
        Hole { files: Arc::clone(self), ino, range }
    }

    /// Whether there are holes of this file that are not dropped yet.
    pub fn has_holes(&self, ino: u64) -> bool {
        self.holes.lock().contains_key(&ino)
    }

    fn wait_for_holes(&self, ino: u64, range: &Range<u64>) {
        let mut holes = self.holes.lock();
        while holes.get(&ino).is_some_and(|of_file| of_file.within(range.clone()).next().is_some()) {
            self.hole_made.wait(&mut holes);
        }
    }

    /// The file of an inode, as it is or new.
    pub fn open(self: &Arc<Self>, ino: u64) -> io::Result<Arc<StagedFile>> {
        let mut small = self.small.lock();
        if let Some(file) = small.get(&ino) {
            return Ok(Arc::clone(file));
        }
        let found = match self.disk.open(&path_of(ino), false) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let place = match found {
            Some(file) => Place::Disk((file.len()? > limits::STAGED_SMALL_BYTES).then_some(file)),
            None => Place::Memory(Vec::new()),
        };
        let is_small = matches!(place, Place::Memory(_));
        let file = Arc::new(StagedFile { ino, files: Arc::clone(self), place: Mutex::new(place) });
        if is_small {
            small.insert(ino, Arc::clone(&file));
        }
        Ok(file)
    }

    /// The file of an inode that is in memory.
    pub fn small(&self, ino: u64) -> Option<Arc<StagedFile>> {
        self.small.lock().get(&ino).cloned()
    }

    /// Removes the file of an inode, if there is one.
    pub fn remove(&self, ino: u64) -> io::Result<()> {
        let small = self.small.lock().remove(&ino);
        if let Some(file) = small
            && let Place::Memory(bytes) = std::mem::replace(&mut *file.place.lock(), Place::Removed)
        {
            self.small_bytes.fetch_sub(bytes.len() as u64, Ordering::Relaxed);
            return Ok(());
        }
        let path = path_of(ino);
        self.new_entries.lock().remove(&path);
        match self.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
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

    /// Puts these inodes' files on the disk and flushes it as a whole; false when it cannot do so at once.
    pub fn flush_all(&self, inodes: &BTreeSet<u64>) -> io::Result<bool> {
        for file in inodes.iter().filter_map(|ino| self.small(*ino)) {
            file.spill(&mut file.place.lock(), false)?;
        }
        // Those that are made from here on are not covered.
        let made = self.made.load(Ordering::Relaxed);
        let is_flushed = self.disk.sync_all()?;
        if is_flushed {
            self.new_entries.lock().retain(|_, number| *number >= made);
        }
        Ok(is_flushed)
    }

    fn create(&self, ino: u64) -> io::Result<Arc<dyn DiskFile>> {
        let path = path_of(ino);
        let file = self.disk.open(&path, true)?;
        self.new_entries.lock().insert(path, self.made.fetch_add(1, Ordering::Relaxed));
        Ok(file)
    }
}

impl StagedFile {
    /// Its bytes, if they are in memory.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match &*self.place.lock() {
            Place::Memory(bytes) => Some(bytes.clone()),
            Place::Disk(_) | Place::Removed => None,
        }
    }

    /// Puts it on the disk, if it is in memory.
    fn spill(&self, place: &mut Place, is_kept_open: bool) -> io::Result<()> {
        if let Place::Memory(bytes) = place {
            let length = bytes.len() as u64;
            let file = self.files.create(self.ino)?;
            file.write_at(bytes, 0)?;
            *place = Place::Disk(is_kept_open.then_some(file));
            self.files.small.lock().remove(&self.ino);
            self.files.small_bytes.fetch_sub(length, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The file on the disk, if it is there.
    fn on_disk(&self, place: &Place) -> io::Result<Option<Arc<dyn DiskFile>>> {
        match place {
            Place::Memory(_) => Ok(None),
            Place::Disk(Some(file)) => Ok(Some(Arc::clone(file))),
            Place::Disk(None) => self.files.disk.open(&path_of(self.ino), false).map(Some),
            Place::Removed => Err(io::Error::new(io::ErrorKind::NotFound, "the staging file was removed")),
        }
    }

    /// The file on the disk when it is to become so long and no longer may be in memory.
    fn grow(&self, place: &mut Place, end: u64) -> io::Result<Option<Arc<dyn DiskFile>>> {
        if let Place::Memory(bytes) = place {
            let more = end.saturating_sub(bytes.len() as u64);
            let total = self.files.small_bytes.load(Ordering::Relaxed) + more;
            if end > limits::STAGED_SMALL_BYTES || total > limits::STAGED_MEMORY_BYTES {
                self.spill(place, end > limits::STAGED_SMALL_BYTES)?;
            } else if more > 0 {
                self.files.small_bytes.fetch_add(more, Ordering::Relaxed);
                bytes.resize(end as usize, 0);
            }
        }
        let file = self.on_disk(place)?;
        if let (Place::Disk(kept @ None), true) = (place, end > limits::STAGED_SMALL_BYTES) {
            kept.clone_from(&file);
        }
        Ok(file)
    }
}

/// The part of `bytes` that begins at an offset.
fn tail(bytes: &[u8], offset: u64) -> &[u8] {
    usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or_default()
}

impl DiskFile for StagedFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let place = self.place.lock();
        if let Place::Memory(kept) = &*place {
            let found = tail(kept, offset);
            let count = found.len().min(bytes.len());
            bytes[..count].copy_from_slice(&found[..count]);
            bytes[count..].fill(0);
            return Ok(());
        }
        let file = self.on_disk(&place)?;
        drop(place);
        file.map_or(Ok(()), |file| file.read_at(bytes, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        self.files.wait_for_holes(self.ino, &(offset..end));
        let mut place = self.place.lock();
        let file = self.grow(&mut place, end)?;
        if let Place::Memory(kept) = &mut *place {
            kept[offset as usize..end as usize].copy_from_slice(bytes);
        }
        drop(place);
        file.map_or(Ok(()), |file| file.write_at(bytes, offset))
    }

    fn write_out(&self, range: Range<u64>) -> io::Result<()> {
        let place = self.place.lock();
        if matches!(*place, Place::Removed) {
            return Ok(());
        }
        let file = self.on_disk(&place)?;
        drop(place);
        file.map_or(Ok(()), |file| file.write_out(range))
    }

    fn len(&self) -> io::Result<u64> {
        let place = self.place.lock();
        match &*place {
            Place::Memory(bytes) => Ok(bytes.len() as u64),
            _ => self.on_disk(&place)?.map_or(Ok(0), |file| file.len()),
        }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut place = self.place.lock();
        let file = self.grow(&mut place, bytes)?;
        if let Place::Memory(kept) = &mut *place {
            self.files.small_bytes.fetch_sub(kept.len() as u64 - bytes, Ordering::Relaxed);
            kept.truncate(bytes as usize);
        }
        file.map_or(Ok(()), |file| file.set_len(bytes))
    }

    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()> {
        let mut place = self.place.lock();
        if let Place::Memory(kept) = &mut *place {
            let end = offset.saturating_add(bytes).min(kept.len() as u64);
            if offset < end {
                kept[offset as usize..end as usize].fill(0);
            }
            return Ok(());
        }
        let file = self.on_disk(&place)?;
        drop(place);
        file.map_or(Ok(()), |file| file.punch(offset, bytes))
    }

    fn allocated(&self) -> io::Result<u64> {
        let place = self.place.lock();
        self.on_disk(&place)?.map_or(Ok(0), |file| file.allocated())
    }

    /// On the disk, whatever it was before.
    fn sync(&self) -> io::Result<()> {
        let mut place = self.place.lock();
        if matches!(*place, Place::Removed) {
            return Ok(());
        }
        self.spill(&mut place, false)?;
        let file = self.on_disk(&place)?;
        drop(place);
        file.map_or(Ok(()), |file| file.sync())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{runtime::SeededChance, store::SimulatedDisk};

    fn files() -> (SimulatedDisk, Arc<StagedFiles>) {
        let disk = SimulatedDisk::new(1 << 30);
        (disk.clone(), Arc::new(StagedFiles::new(Arc::new(disk))))
    }

    fn read(file: &StagedFile, length: usize, offset: u64) -> Vec<u8> {
        let mut bytes = vec![0xee; length];
        file.read_at(&mut bytes, offset).unwrap();
        bytes
    }

    fn is_on_disk(disk: &SimulatedDisk, ino: u64) -> bool {
        disk.open(&path_of(ino), false).is_ok()
    }

    #[test]
    fn a_small_file_is_in_memory_until_it_grows() {
        let (disk, files) = files();
        files.open(7).unwrap().write_at(b"small", 3).unwrap();
        let file = files.open(7).unwrap();
        assert_eq!(read(&file, 10, 0), b"\0\0\0small\0\0");
        file.punch(4, 100).unwrap();
        assert_eq!((read(&file, 3, 2), file.len().unwrap()), (b"\0s\0".to_vec(), 8));
        assert!(!is_on_disk(&disk, 7));
        file.write_at(b"end", limits::STAGED_SMALL_BYTES).unwrap();
        assert!(is_on_disk(&disk, 7) && file.bytes().is_none());
        assert_eq!(read(&files.open(7).unwrap(), 3, 2), b"\0s\0");
        assert_eq!(read(&file, 3, limits::STAGED_SMALL_BYTES), b"end");
        assert_eq!(files.small_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_memory_for_small_files_is_bounded() {
        let (disk, files) = files();
        let bytes = vec![1; limits::STAGED_SMALL_BYTES as usize];
        let most = limits::STAGED_MEMORY_BYTES / limits::STAGED_SMALL_BYTES;
        for ino in 0..=most {
            files.open(ino).unwrap().write_at(&bytes, 0).unwrap();
        }
        assert!(!is_on_disk(&disk, most - 1) && is_on_disk(&disk, most));
        files.remove(0).unwrap();
        files.open(most + 1).unwrap().write_at(&bytes, 0).unwrap();
        assert!(!is_on_disk(&disk, most + 1), "what was removed makes room");
    }

    #[test]
    fn a_flushed_file_survives_a_power_cut() {
        let (disk, files) = files();
        let file = files.open(7).unwrap();
        file.write_at(b"kept", 0).unwrap();
        file.sync().unwrap();
        files.flush_entries(&[path_of(7)]).unwrap();
        file.write_at(b"!", 4).unwrap();
        disk.crash(&SeededChance::new(1));
        let again = Arc::new(StagedFiles::new(Arc::new(disk)));
        assert_eq!(read(&again.open(7).unwrap(), 4, 0), b"kept");
        again.remove(7).unwrap();
        assert_eq!(read(&again.open(7).unwrap(), 4, 0), [0; 4]);
    }

    #[test]
    fn what_was_removed_does_not_come_back() {
        let (disk, files) = files();
        let file = files.open(7).unwrap();
        file.write_at(b"old", 0).unwrap();
        files.remove(7).unwrap();
        file.sync().unwrap();
        assert!(!is_on_disk(&disk, 7) && file.read_at(&mut [0], 0).is_err());
    }
}
