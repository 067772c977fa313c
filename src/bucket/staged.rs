//! A staging file: bytes in memory while it is small, a file on the disk from then on.
//!
//! To make a file on the disk costs more than all else that a small file needs, and most small files are on their consumers before
//! long: until then the intent log carries them, and when it can carry them no longer, one file for all of them
//! ([`Kept`]). They become files of their own when they grow and when the memory for them is full.
//!
//! What is kept of an inode that has a file of its own would be taken for its newer bytes: so it is forgotten, durably, before
//! anybody writes more to that file.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    io,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::own_files::{OwnFiles, path_of};
use crate::{
    base::{Condvar, Mutex, RangeSet, limits},
    runtime::failpoint,
    store::{Disk, DiskFile, Error, Kept},
};

/// What all staging files share.
pub(super) struct StagedFiles {
    /// Those on the disk.
    pub own: OwnFiles,
    /// Those in memory. A file's own lock may be held when this one is taken.
    small: Mutex<HashMap<u64, Arc<StagedFile>>>,
    /// Where those go, too, that the log can carry no longer. Any other lock here may be held when its own is taken.
    kept: Kept,
    small_bytes: AtomicU64,
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

/// What became of a content that is to be kept.
#[derive(PartialEq, Eq)]
enum Outcome {
    /// It is kept, so many bytes.
    Kept(u64),
    /// It is in memory only.
    NoRoom,
    /// It is not in memory.
    Elsewhere,
}

enum Place {
    Memory(Vec<u8>),
    /// Held open only when it is large: of the small ones there may be more than a process may open.
    Disk(Option<Arc<dyn DiskFile>>),
    Removed,
}

/// The same failure as the operating system told it.
fn into_io(error: Error) -> io::Error {
    match error {
        Error::Io { source, .. } => source,
        other => io::Error::other(other),
    }
}

impl StagedFiles {
    /// Takes up what the last run kept.
    pub fn open_all(disk: Arc<dyn Disk>) -> Result<Arc<Self>, Error> {
        let (kept, contents) = Kept::open(&*disk)?;
        let files = Arc::new(Self {
            own: OwnFiles::find(disk)?,
            small: Mutex::default(),
            kept,
            small_bytes: AtomicU64::new(0),
            holes: Mutex::default(),
            hole_made: Condvar::new(),
        });
        for (ino, bytes) in contents {
            let path = path_of(ino);
            files.take_up(ino, bytes).map_err(Error::io("cannot restore staging file", path))?;
        }
        Ok(files)
    }

    /// Puts what was kept of an inode into memory, or into its own file where a crash came before it was forgotten.
    fn take_up(self: &Arc<Self>, ino: u64, bytes: Vec<u8>) -> io::Result<()> {
        let Some(file) = self.own.open(ino)? else {
            self.small_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            let file = StagedFile { ino, files: Arc::clone(self), place: Mutex::new(Place::Memory(bytes)) };
            self.small.lock().insert(ino, Arc::new(file));
            return Ok(());
        };
        file.write_at(&bytes, 0)?;
        file.sync()?;
        // The run before may not have flushed its name.
        for directory in path_of(ino).parent().into_iter().chain([Path::new("")]) {
            self.own.disk.sync_directory(directory)?;
        }
        self.kept.forget(ino).map_err(into_io)
    }

    /// The inodes whose staged bytes are in memory.
    pub fn all_small(&self) -> Vec<u64> {
        self.small.lock().keys().copied().collect()
    }

    /// Makes those of these inodes durable that are in memory, as far as there is room. Returns the others. One thread does
    /// this at a time.
    pub fn keep(&self, inodes: &BTreeSet<u64>) -> Result<BTreeSet<u64>, Error> {
        let small: HashSet<u64> = self.all_small().into_iter().collect();
        let needed = || self.kept.needed_bytes(|ino| small.contains(&ino));
        let turned = if self.kept.is_turn_due(needed()) { self.kept.turn()? } else { None };
        // What finds no room stays where it was, and the turn goes on with the next.
        let mut is_moved = turned.is_some();
        for ino in turned.into_iter().flatten() {
            is_moved &= self.keep_one(ino, u64::MAX)? != Outcome::NoRoom;
        }
        let mut needed = needed();
        let mut others = BTreeSet::new();
        for ino in inodes {
            // What is kept already may be kept anew.
            let room = if self.kept.has(*ino) { u64::MAX } else { limits::KEPT_BYTES.saturating_sub(needed) };
            match self.keep_one(*ino, room)? {
                Outcome::Kept(bytes) if room < u64::MAX => needed += bytes,
                Outcome::Kept(_) => {}
                Outcome::NoRoom | Outcome::Elsewhere => drop(others.insert(*ino)),
            }
        }
        if is_moved {
            self.kept.end_turn()?
        } else {
            self.kept.flush()?
        }
        Ok(others)
    }

    fn keep_one(&self, ino: u64, room: u64) -> Result<Outcome, Error> {
        let Some(file) = self.small(ino) else { return Ok(Outcome::Elsewhere) };
        let place = file.place.lock();
        let Place::Memory(bytes) = &*place else { return Ok(Outcome::Elsewhere) };
        let length = bytes.len() as u64;
        let is_kept = length <= room && self.kept.put(ino, bytes)?;
        Ok(if is_kept { Outcome::Kept(length) } else { Outcome::NoRoom })
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
        let found = self.own.open(ino)?;
        if found.is_some() && self.kept.has(ino) {
            // Of what was there before, as that file is.
            self.kept.forget(ino).map_err(into_io)?;
        }
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
        self.own.remove(ino)
    }

    /// Puts these inodes' files on the disk and flushes it as a whole; false when it cannot do so at once.
    pub fn flush_all(&self, inodes: &BTreeSet<u64>) -> io::Result<bool> {
        for file in inodes.iter().filter_map(|ino| self.small(*ino)) {
            file.spill(&mut file.place.lock(), false)?;
        }
        self.own.flush_disk()
    }

    /// Removes a file that was not finished; what is left of it is removed at the next start.
    fn remove_file(&self, ino: u64) {
        if let Err(error) = self.own.remove(ino) {
            tracing::warn!(%error, "cannot remove an unfinished staging file");
        }
    }
}

impl StagedFile {
    /// Puts it on the disk, if it is in memory.
    fn spill(&self, place: &mut Place, is_kept_open: bool) -> io::Result<()> {
        if let Place::Memory(bytes) = place {
            let length = bytes.len() as u64;
            let file = self.written_out(bytes)?;
            *place = Place::Disk(is_kept_open.then_some(file));
            self.files.small.lock().remove(&self.ino);
            self.files.small_bytes.fetch_sub(length, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A file of its own with these bytes. What is kept of it is forgotten, once that file is durable.
    fn written_out(&self, bytes: &[u8]) -> io::Result<Arc<dyn DiskFile>> {
        let (ino, files) = (self.ino, &self.files);
        let is_kept = files.kept.has(ino);
        if is_kept {
            // A file may be there from before a failure, and all that there is.
            files.kept.check().map_err(into_io)?;
        }
        let file = files.own.create(ino)?;
        let write = || -> io::Result<()> {
            file.write_at(bytes, 0)?;
            if is_kept {
                file.sync()?;
                files.own.flush_entries(&[path_of(ino)])?;
            }
            Ok(())
        };
        write().inspect_err(|_| files.remove_file(ino))?;
        if is_kept {
            failpoint("small-grown");
            // When it is not known whether it is forgotten, the file may be all that there is; then nothing is written any more.
            files.kept.forget(ino).map_err(into_io).inspect_err(|_| {
                if files.kept.check().is_ok() {
                    files.remove_file(ino);
                }
            })?;
        }
        Ok(file)
    }

    /// The file on the disk, if it is there.
    fn on_disk(&self, place: &Place) -> io::Result<Option<Arc<dyn DiskFile>>> {
        match place {
            Place::Memory(_) => Ok(None),
            Place::Disk(Some(file)) => Ok(Some(Arc::clone(file))),
            Place::Disk(None) => self.files.own.disk.open(&path_of(self.ino), false).map(Some),
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
    use crate::{
        runtime::SeededChance,
        store::{DiskOp, FaultyDisk, SimulatedDisk},
    };

    fn files() -> (SimulatedDisk, Arc<StagedFiles>) {
        let disk = SimulatedDisk::new(1 << 30);
        (disk.clone(), StagedFiles::open_all(Arc::new(disk)).unwrap())
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
        assert!(is_on_disk(&disk, 7) && !files.all_small().contains(&7));
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
        files.own.flush_entries(&[path_of(7)]).unwrap();
        file.write_at(b"!", 4).unwrap();
        disk.crash(&SeededChance::new(1));
        let again = StagedFiles::open_all(Arc::new(disk)).unwrap();
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

    #[test]
    fn what_the_log_carries_no_longer_is_kept_without_a_file_of_its_own() {
        for seed in 0..8 {
            let (disk, files) = files();
            let inodes: BTreeSet<u64> = (0..300).collect();
            for ino in &inodes {
                files.open(*ino).unwrap().write_at(&[*ino as u8; 100], 0).unwrap();
            }
            // On the disk already, and gone.
            files.open(1000).unwrap().write_at(b"end", limits::STAGED_SMALL_BYTES).unwrap();
            let all = inodes.iter().copied().chain([1000, 1001]).collect();
            assert_eq!(files.keep(&all).unwrap(), BTreeSet::from([1000, 1001]));
            disk.crash(&SeededChance::new(seed));
            let again = StagedFiles::open_all(Arc::new(disk.clone())).unwrap();
            assert_eq!(again.all_small().into_iter().collect::<BTreeSet<_>>(), inodes);
            for ino in &inodes {
                assert_eq!(read(&again.open(*ino).unwrap(), 100, 0), [*ino as u8; 100]);
                assert!(!is_on_disk(&disk, *ino));
            }
            assert_eq!(again.small_bytes.load(Ordering::Relaxed), 300 * 100);
        }
    }

    /// What is kept of an inode must never be taken for what its own file has: neither when that file grew out of it, nor
    /// when it is another that came later.
    #[test]
    fn what_was_kept_does_not_come_back_over_newer_bytes() {
        let mut promised = [0; 2];
        let cases = (0..20).flat_map(|seed| (1..16).flat_map(move |cut| [(seed, cut, false), (seed, cut, true)]));
        for (seed, cut, is_removed) in cases {
            let (disk, files) = files();
            files.open(7).unwrap().write_at(&[1; 100], 0).unwrap();
            files.keep(&BTreeSet::from([7])).unwrap();
            if is_removed {
                files.remove(7).unwrap();
            }
            disk.power_off_after(cut);
            let grown = || -> io::Result<()> {
                let file = files.open(7)?;
                file.write_at(&[2; 100_000], 0)?;
                file.sync()?;
                files.own.flush_entries(&[path_of(7)])
            };
            let is_promised = grown().is_ok();
            promised[usize::from(is_promised)] += 1;
            disk.crash(&SeededChance::new(seed));
            for round in 0..2 {
                let again = StagedFiles::open_all(Arc::new(disk.clone())).unwrap();
                let found = read(&again.open(7).unwrap(), 100_000, 0);
                let context = format!("seed {seed}, cut after {cut}, removed: {is_removed}, round {round}");
                if is_promised {
                    assert!(found.iter().all(|byte| *byte == 2), "{context}");
                } else if !is_removed {
                    assert!(found[..100].iter().all(|byte| [1, 2].contains(byte)), "{context}");
                }
                disk.crash(&SeededChance::new(seed));
            }
        }
        assert!(promised.iter().all(|count| *count > 50), "{promised:?}");
    }

    #[test]
    fn a_killed_process_that_was_about_to_forget_loses_nothing_at_a_cut_of_the_next() {
        let mut outcomes = [0; 2];
        for (seed, killed, cut) in
            (0..10).flat_map(|seed| (1..8).flat_map(move |killed| (0..12).map(move |cut| (seed, killed, cut))))
        {
            let (disk, files) = files();
            files.open(7).unwrap().write_at(&[1; 100], 0).unwrap();
            files.keep(&BTreeSet::from([7])).unwrap();
            disk.power_off_after(killed);
            let _grown = files.open(7).unwrap().write_at(&[2; 100_000], 0);
            disk.power_on();
            disk.power_off_after(cut);
            outcomes[usize::from(StagedFiles::open_all(Arc::new(disk.clone())).is_ok())] += 1;
            disk.crash(&SeededChance::new(seed));
            let again = StagedFiles::open_all(Arc::new(disk)).unwrap();
            let found = read(&again.open(7).unwrap(), 100, 0);
            assert!(
                found.iter().all(|byte| [1, 2].contains(byte)),
                "seed {seed}, killed after {killed}, cut after {cut}"
            );
        }
        assert!(outcomes.iter().all(|count| *count > 50), "{outcomes:?}");
    }

    /// A disk that fails on demand, and a file that is kept.
    fn kept_on_a_faulty_disk() -> (SimulatedDisk, FaultyDisk, Arc<StagedFiles>, Arc<StagedFile>) {
        let (disk, _) = files();
        let faulty = FaultyDisk::new(Arc::new(disk.clone()));
        let files = StagedFiles::open_all(Arc::new(faulty.clone())).unwrap();
        let file = files.open(7).unwrap();
        file.write_at(&[1; 100], 0).unwrap();
        files.keep(&BTreeSet::from([7])).unwrap();
        (disk, faulty, files, file)
    }

    #[test]
    fn a_file_that_could_not_be_finished_leaves_nothing_behind() {
        let (disk, faulty, files, file) = kept_on_a_faulty_disk();
        for op in [DiskOp::Write, DiskOp::Sync] {
            faulty.fail(op, 0, 1, io::ErrorKind::StorageFull);
            let error = file.write_at(&[2; 100_000], 0).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            assert!(!is_on_disk(&disk, 7));
            assert_eq!(read(&file, 100, 0), [1; 100]);
        }
        // What was kept of it is of no use to the file that comes later.
        files.remove(7).unwrap();
        let file = files.open(7).unwrap();
        file.write_at(&[3; 100_000], 0).unwrap();
        assert!(is_on_disk(&disk, 7) && !files.kept.has(7));
    }

    #[test]
    fn when_it_is_not_known_whether_it_was_forgotten_nothing_newer_is_written() {
        let (disk, faulty, files, file) = kept_on_a_faulty_disk();
        files.open(8).unwrap().write_at(&[8; 100_000], 0).unwrap();
        // That of its own file goes well, that of what is kept does not.
        faulty.fail(DiskOp::Sync, 1, 1, io::ErrorKind::Other);
        for _ in 0..3 {
            assert!(file.write_at(&[2; 100_000], 0).is_err());
            assert!(is_on_disk(&disk, 7), "it may be all that there is");
        }
        assert!(files.keep(&BTreeSet::from([7])).is_err());
        assert_eq!(read(&files.open(8).unwrap(), 100, 50_000), [8; 100], "what is there can be read");
        // Uploaded meanwhile, it is written to again: what was kept would come back over that.
        files.remove(7).unwrap();
        assert!(files.open(7).is_err());
        disk.crash(&SeededChance::new(1));
        let again = StagedFiles::open_all(Arc::new(disk)).unwrap();
        assert_eq!(read(&again.open(7).unwrap(), 100, 0), [1; 100]);
    }

    #[test]
    fn a_turn_that_finds_no_room_goes_on_later() {
        let (disk, _) = files();
        let faulty = FaultyDisk::new(Arc::new(disk.clone()));
        let files = StagedFiles::open_all(Arc::new(faulty.clone())).unwrap();
        let inodes: BTreeSet<u64> = (0..40).collect();
        for ino in &inodes {
            files.open(*ino).unwrap().write_at(&[*ino as u8; 60_000], 0).unwrap();
        }
        files.keep(&inodes).unwrap();
        inodes.iter().filter(|ino| **ino > 1).for_each(|ino| files.remove(*ino).unwrap());
        // The header of the other file, then the second of the two that are needed.
        for skip in [0, 2] {
            faulty.fail(DiskOp::Write, skip, 1, io::ErrorKind::StorageFull);
            assert!(files.keep(&BTreeSet::new()).unwrap().is_empty());
            let copy = StagedFiles::open_all(Arc::new(disk.clone())).unwrap();
            assert!([0, 1].iter().all(|ino| read(&copy.open(*ino).unwrap(), 60_000, 0) == vec![*ino as u8; 60_000]));
        }
        files.keep(&BTreeSet::new()).unwrap();
        let kept_bytes = ["small-0", "small-1"].map(|name| disk.contents(Path::new(name)).unwrap().len());
        assert!(kept_bytes.iter().sum::<usize>() < 130_000, "{kept_bytes:?}");
        disk.crash(&SeededChance::new(1));
        let again = StagedFiles::open_all(Arc::new(disk)).unwrap();
        assert!([0, 1].iter().all(|ino| read(&again.open(*ino).unwrap(), 60_000, 0) == vec![*ino as u8; 60_000]));
    }

    #[test]
    fn what_nobody_needs_any_more_takes_little_space() {
        let (disk, files) = files();
        let kept_bytes = || ["small-0", "small-1"].map(|name| disk.contents(Path::new(name)).unwrap().len() as u64);
        let mut most = 0;
        for round in 0..50 {
            let inodes: BTreeSet<u64> = (round * 20..(round + 1) * 20).collect();
            for ino in &inodes {
                files.open(*ino).unwrap().write_at(&[1; 50_000], 0).unwrap();
            }
            files.keep(&inodes).unwrap();
            most = most.max(kept_bytes().iter().sum());
            // The first is needed all the time.
            inodes.iter().filter(|ino| **ino != 0).for_each(|ino| files.remove(*ino).unwrap());
        }
        assert!(most < limits::KEPT_WASTE_BYTES + 3 * 1_000_000, "{most}");
        disk.crash(&SeededChance::new(1));
        let again = StagedFiles::open_all(Arc::new(disk)).unwrap();
        assert_eq!(read(&again.open(0).unwrap(), 50_000, 0), vec![1; 50_000]);
    }

    #[test]
    fn what_finds_no_room_becomes_a_file() {
        let (disk, files) = files();
        let size = limits::STAGED_SMALL_BYTES as usize;
        let count = limits::KEPT_BYTES / size as u64;
        let write = |ino: u64| files.open(ino).unwrap().write_at(&vec![ino as u8; size], 0).unwrap();
        let inodes: BTreeSet<u64> = (0..count + 2).collect();
        inodes.iter().for_each(|ino| write(*ino));
        let others = BTreeSet::from([count, count + 1]);
        assert_eq!(files.keep(&inodes).unwrap(), others);
        assert!(files.flush_all(&others).unwrap());
        assert!(!is_on_disk(&disk, count - 1) && is_on_disk(&disk, count));
        disk.crash(&SeededChance::new(1));
        let again = StagedFiles::open_all(Arc::new(disk)).unwrap();
        for ino in inodes {
            assert_eq!(read(&again.open(ino).unwrap(), size, 0), vec![ino as u8; size]);
        }
    }
}
