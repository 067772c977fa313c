//! A disk in memory that forgets at a crash what was not flushed, sector by sector.
//!
//! What it models: an unflushed write survives a crash or not per 512-byte
//! sector, in any combination (a sector is never half written); an unflushed
//! length likewise; changes to directory entries survive in order, up to any
//! point, unless their directory was flushed. A directory is such an entry too,
//! of the one above it: to flush it does not keep its own name.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Disk, DiskFile};
use crate::{base::Mutex, runtime::Chance};

const SECTOR: usize = 512;
const PAGE: usize = 4096;

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    flushed: Vec<u8>,
    dirty: BTreeSet<usize>,
    /// Pages that take space.
    pages: BTreeSet<usize>,
}

impl Content {
    fn allocated(&self) -> u64 {
        (self.pages.len() * PAGE) as u64
    }

    fn touch(&mut self, offset: usize, bytes: usize) {
        self.dirty.extend(offset / SECTOR..(offset + bytes).div_ceil(SECTOR));
    }

    fn flush(&mut self) {
        self.flushed.resize(self.now.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let end = ((sector + 1) * SECTOR).min(self.now.len());
            if let Some(from) = self.now.get(sector * SECTOR..end) {
                self.flushed[sector * SECTOR..end].copy_from_slice(from);
            }
        }
    }

    fn crash(&mut self, chance: &dyn Chance) {
        let (short, long) = (self.now.len().min(self.flushed.len()), self.now.len().max(self.flushed.len()));
        let mut kept = self.flushed.clone();
        kept.resize(long, 0);
        self.now.resize(long, 0);
        for sector in std::mem::take(&mut self.dirty) {
            let end = ((sector + 1) * SECTOR).min(long);
            if chance.below(2) == 0 && sector * SECTOR < end {
                kept[sector * SECTOR..end].copy_from_slice(&self.now[sector * SECTOR..end]);
            }
        }
        kept.truncate(match chance.below(3) {
            0 => self.flushed.len(),
            1 => self.now.len(),
            _ => short + usize::try_from(chance.below((long - short) as u64 + 1)).expect("a length in memory"),
        });
        let is_held = |page: &[u8]| page.iter().any(|&byte| byte != 0);
        self.pages = kept.chunks(PAGE).enumerate().filter(|(_, page)| is_held(page)).map(|(index, _)| index).collect();
        self.flushed = kept.clone();
        self.now = kept;
    }
}

type Shared = Arc<Mutex<Content>>;
type Names = BTreeMap<PathBuf, Shared>;

/// Directories and what is in them.
#[derive(Clone, Default)]
struct Entries {
    names: Names,
    directories: BTreeSet<PathBuf>,
}

/// The directories above a path, but for the root.
fn above(path: &Path) -> impl Iterator<Item = &Path> {
    path.ancestors().skip(1).filter(|directory| !directory.as_os_str().is_empty())
}

impl Entries {
    /// What is in a directory that is not there is not there.
    fn drop_unreachable(&mut self) {
        let directories = &self.directories;
        self.names.retain(|path, _| above(path).all(|directory| directories.contains(directory)));
    }
}

/// A change of directory entries, not flushed yet.
enum Change {
    Make(PathBuf),
    Add(PathBuf, Shared),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl Change {
    fn is_in(&self, directory: &Path) -> bool {
        match self {
            Change::Make(path) | Change::Add(path, _) | Change::Remove(path) | Change::Rename(_, path) => {
                path.parent() == Some(directory)
            }
        }
    }

    fn apply(self, entries: &mut Entries) {
        let names = &mut entries.names;
        match self {
            Change::Make(path) => drop(entries.directories.insert(path)),
            Change::Add(path, content) => drop(names.insert(path, content)),
            Change::Remove(path) => drop(names.remove(&path)),
            Change::Rename(from, to) => {
                if let Some(content) = names.remove(&from) {
                    names.insert(to, content);
                }
            }
        }
    }
}

#[derive(Default)]
struct Tree {
    now: Entries,
    flushed: Entries,
    changes: Vec<Change>,
    /// Operations that still take effect before the power goes.
    power: Option<u64>,
}

/// A disk in memory. Clones share it. For tests and simulations.
#[derive(Clone)]
pub struct SimulatedDisk {
    tree: Arc<Mutex<Tree>>,
    capacity_bytes: u64,
}

impl SimulatedDisk {
    /// An empty disk of this size.
    pub fn new(capacity_bytes: u64) -> Self {
        Self { tree: Arc::default(), capacity_bytes }
    }

    /// After so many more changing operations the power is off: nothing has effect and everything fails, until [`crash`](Self::crash).
    pub fn power_off_after(&self, operations: u64) {
        self.tree.lock().power = Some(operations);
    }

    /// There is power again and nothing is lost, as after the end of a process that went with [`power_off_after`](Self::power_off_after).
    pub fn power_on(&self) {
        self.tree.lock().power = None;
    }

    /// Loses and tears what was not flushed, and starts again with the power on. Open files of before are stale.
    pub fn crash(&self, chance: &dyn Chance) {
        let mut tree = self.tree.lock();
        let mut entries = std::mem::take(&mut tree.flushed);
        let changes = std::mem::take(&mut tree.changes);
        let kept = usize::try_from(chance.below(changes.len() as u64 + 1)).expect("a length in memory");
        for change in changes.into_iter().take(kept) {
            change.apply(&mut entries);
        }
        entries.drop_unreachable();
        for content in entries.names.values_mut() {
            let mut crashed = std::mem::take(&mut *content.lock());
            crashed.crash(chance);
            *content = Arc::new(Mutex::new(crashed));
        }
        tree.now = entries.clone();
        tree.flushed = entries;
        tree.power = None;
    }

    /// A disk of its own with what a crash now would leave for sure.
    pub fn flushed(&self) -> Self {
        let tree = self.tree.lock();
        let copy = |content: &Shared| {
            let flushed = content.lock().flushed.clone();
            let is_held = |page: &[u8]| page.iter().any(|&byte| byte != 0);
            let pages = flushed.chunks(PAGE).enumerate().filter(|(_, page)| is_held(page)).map(|(index, _)| index);
            let pages = pages.collect();
            Arc::new(Mutex::new(Content { now: flushed.clone(), flushed, dirty: BTreeSet::new(), pages }))
        };
        let mut entries = tree.flushed.clone();
        entries.drop_unreachable();
        entries.names.values_mut().for_each(|content| *content = copy(content));
        let tree = Tree { now: entries.clone(), flushed: entries, ..Tree::default() };
        Self { tree: Arc::new(Mutex::new(tree)), capacity_bytes: self.capacity_bytes }
    }

    /// The bytes of a file as a reader sees them now.
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let content = self.tree.lock().now.names.get(path).cloned()?;
        let bytes = content.lock().now.clone();
        Some(bytes)
    }

    /// Damages one byte of a file, as a rotting disk does: flushed, and noticed by nobody.
    pub fn flip(&self, path: &Path, offset: usize) {
        let content = self.tree.lock().now.names.get(path).cloned();
        if let Some(content) = content {
            let content = &mut *content.lock();
            for bytes in [&mut content.now, &mut content.flushed] {
                if let Some(byte) = bytes.get_mut(offset) {
                    *byte ^= 0x55;
                }
            }
        }
    }

    fn spend(&self, tree: &mut Tree) -> io::Result<()> {
        match &mut tree.power {
            None => Ok(()),
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn powered(&self) -> io::Result<()> {
        self.spend(&mut self.tree.lock())
    }

    fn used(tree: &Tree) -> u64 {
        tree.now.names.values().map(|content| content.lock().allocated()).sum()
    }
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut tree = self.tree.lock();
        let content = match tree.now.names.get(path) {
            Some(content) => Arc::clone(content),
            None if create => {
                self.spend(&mut tree)?;
                let above: Vec<_> = above(path).map(Path::to_path_buf).collect();
                for directory in above.into_iter().rev() {
                    if tree.now.directories.insert(directory.clone()) {
                        tree.changes.push(Change::Make(directory));
                    }
                }
                let content = Shared::default();
                tree.now.names.insert(path.to_path_buf(), Arc::clone(&content));
                tree.changes.push(Change::Add(path.to_path_buf(), Arc::clone(&content)));
                content
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(SimulatedFile { content, disk: self.clone() }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut tree = self.tree.lock();
        self.spend(&mut tree)?;
        tree.now.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        tree.changes.push(Change::Remove(path.to_path_buf()));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = self.tree.lock();
        self.spend(&mut tree)?;
        let content = tree.now.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        tree.now.names.insert(to.to_path_buf(), content);
        tree.changes.push(Change::Rename(from.to_path_buf(), to.to_path_buf()));
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let tree = self.tree.lock();
        let names = tree.now.names.keys().filter_map(|path| path.strip_prefix(directory).ok()?.components().next());
        let unique: BTreeSet<PathBuf> = names.map(|name| PathBuf::from(name.as_os_str())).collect();
        Ok(unique.into_iter().collect())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut tree = self.tree.lock();
        self.spend(&mut tree)?;
        if !directory.as_os_str().is_empty() && !tree.now.directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let changes = std::mem::take(&mut tree.changes);
        for change in changes {
            if change.is_in(directory) {
                change.apply(&mut tree.flushed);
            } else {
                tree.changes.push(change);
            }
        }
        Ok(())
    }

    fn sync_all(&self) -> io::Result<bool> {
        let mut tree = self.tree.lock();
        self.spend(&mut tree)?;
        tree.changes.clear();
        tree.flushed = tree.now.clone();
        tree.now.names.values().for_each(|content| content.lock().flush());
        Ok(true)
    }

    fn space(&self) -> io::Result<(u64, u64)> {
        let used = Self::used(&self.tree.lock());
        Ok((self.capacity_bytes.saturating_sub(used), self.capacity_bytes))
    }
}

struct SimulatedFile {
    content: Shared,
    disk: SimulatedDisk,
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let offset = position(offset)?;
        let content = self.content.lock();
        let there = content.now.get(offset..).unwrap_or_default();
        let count = there.len().min(bytes.len());
        bytes[..count].copy_from_slice(&there[..count]);
        bytes[count..].fill(0);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.powered()?;
        let offset = position(offset)?;
        let end = offset + bytes.len();
        let mut content = self.content.lock();
        if end as u64 > self.disk.capacity_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if content.now.len() < end {
            content.now.resize(end, 0);
        }
        content.now[offset..end].copy_from_slice(bytes);
        content.touch(offset, bytes.len());
        content.pages.extend(offset / PAGE..end.div_ceil(PAGE));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().now.len() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.disk.powered()?;
        let target = position(bytes)?;
        let mut content = self.content.lock();
        let before = content.now.len();
        content.now.resize(target, 0);
        let (low, high) = (before.min(target), before.max(target));
        content.touch(low, high - low);
        content.pages.split_off(&target.div_ceil(PAGE));
        Ok(())
    }

    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.disk.powered()?;
        let (offset, bytes) = (position(offset)?, position(bytes)?);
        let mut content = self.content.lock();
        let end = (offset + bytes).min(content.now.len());
        if offset < end {
            content.now[offset..end].fill(0);
            content.touch(offset, end - offset);
            let is_last = end == content.now.len();
            let whole = offset.div_ceil(PAGE)..if is_last { end.div_ceil(PAGE) } else { end / PAGE };
            content.pages.retain(|page| !whole.contains(page));
        }
        Ok(())
    }

    fn allocated(&self) -> io::Result<u64> {
        Ok(self.content.lock().allocated())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.powered()?;
        self.content.lock().flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::SeededChance;

    #[test]
    fn a_crash_keeps_what_was_flushed_and_only_that_for_sure() {
        let mut is_torn = false;
        for seed in 0..50 {
            let disk = SimulatedDisk::new(1 << 20);
            let path = Path::new("d/a");
            let file = disk.open(path, true).expect("made");
            file.write_at(&[1; 4096], 0).expect("written");
            file.sync().expect("flushed");
            disk.sync_directory(Path::new("d")).expect("flushed");
            disk.sync_directory(Path::new("")).expect("flushed");
            file.write_at(&[2; 4096], 4096).expect("written");
            disk.crash(&SeededChance::new(seed));
            let bytes = disk.contents(path).expect("its entry was flushed");
            assert_eq!(bytes[..4096], [1; 4096]);
            let survivors = bytes[4096..].iter().filter(|&&byte| byte == 2).count();
            is_torn |= survivors > 0 && survivors < 4096;
        }
        assert!(is_torn, "some crash tears a write");
    }

    #[test]
    fn an_entry_that_was_not_flushed_may_vanish() {
        let is_there = |seed, flushed: &[&str]| {
            let disk = SimulatedDisk::new(1 << 20);
            let file = disk.open(Path::new("d/a"), true).expect("made");
            file.sync().expect("flushed");
            flushed.iter().for_each(|directory| disk.sync_directory(Path::new(directory)).expect("flushed"));
            let is_sure = disk.flushed().contents(Path::new("d/a")).is_some();
            disk.crash(&SeededChance::new(seed));
            let is_there = disk.contents(Path::new("d/a")).is_some();
            assert!(is_there || !is_sure);
            is_there
        };
        for flushed in [&[][..], &["d"], &[""]] {
            let count = (0..50).filter(|&seed| is_there(seed, flushed)).count();
            assert!(count > 0 && count < 50, "{count} with {flushed:?} flushed");
        }
        assert!((0..50).all(|seed| is_there(seed, &["d", ""])));
    }

    #[test]
    fn a_flush_of_the_whole_disk_keeps_names_and_data() {
        for seed in 0..20 {
            let disk = SimulatedDisk::new(1 << 20);
            disk.open(Path::new("d/a"), true).expect("made").write_at(&[1; 4096], 0).expect("written");
            assert!(disk.sync_all().expect("flushed"));
            disk.crash(&SeededChance::new(seed));
            assert_eq!(disk.contents(Path::new("d/a")).as_deref(), Some(&[1; 4096][..]));
        }
    }

    #[test]
    fn nothing_happens_after_the_power_went() {
        let disk = SimulatedDisk::new(1 << 20);
        let file = disk.open(Path::new("a"), true).expect("made");
        disk.power_off_after(1);
        file.write_at(b"1", 0).expect("the last one");
        file.write_at(b"2", 0).expect_err("off");
        file.sync().expect_err("off");
        disk.sync_directory(Path::new("")).expect_err("off");
        disk.power_on();
        file.write_at(b"3", 1).expect("on");
        assert_eq!(disk.contents(Path::new("a")).as_deref(), Some(&b"13"[..]));
    }
}
