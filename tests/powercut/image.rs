//! A disk in two images, as programs see it and as a power cut leaves it: names and files.
//!
//! What it models is a journalling file system that keeps what POSIX promises and nothing more:
//!
//! - fsync and fdatasync make the data and the length of one file durable, not its name.
//! - fsync of a directory makes the changes of its entries durable, and of no other directory.
//! - What was not flushed survives a cut or does not: data sector by sector, changes of one directory's entries in
//!   their order up to some point, directories independently of each other. A rename between two directories happens in
//!   both or in none.
//! - Modes, owners and times are not torn.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    time::SystemTime,
};

use fuser::{Errno, FileAttr, FileType, INodeNo};
use openbucket::runtime::Chance;

use crate::content::{Content, PAGE};

pub const ROOT: u64 = 1;

/// A file, directory, link or socket.
#[derive(Clone)]
pub struct Node {
    pub attr: FileAttr,
    pub content: Content,
    /// Of a directory.
    pub names: BTreeMap<OsString, u64>,
    flushed_names: BTreeMap<OsString, u64>,
}

/// A change of entries that no fsync has covered.
#[derive(Clone)]
enum Change {
    Add { parent: u64, name: OsString, ino: u64 },
    Remove { parent: u64, name: OsString },
    Move { from: (u64, OsString), to: (u64, OsString) },
}

impl Change {
    fn directories(&self) -> [u64; 2] {
        match self {
            Change::Add { parent, .. } | Change::Remove { parent, .. } => [*parent; 2],
            Change::Move { from, to } => [from.0, to.0],
        }
    }
}

/// All of a disk.
#[derive(Clone)]
pub struct Image {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    changes: Vec<Change>,
}

fn attr(ino: u64, kind: FileType, mode: u32, (uid, gid): (u32, u32)) -> FileAttr {
    let now = SystemTime::now();
    FileAttr {
        ino: INodeNo(ino),
        size: 0,
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
        crtime: now,
        kind,
        perm: (mode & 0o7777) as u16,
        nlink: 1,
        uid,
        gid,
        rdev: 0,
        blksize: PAGE as u32,
        flags: 0,
    }
}

impl Node {
    fn new(attr: FileAttr) -> Self {
        Self { attr, content: Content::default(), names: BTreeMap::new(), flushed_names: BTreeMap::new() }
    }

    pub fn attr(&self) -> FileAttr {
        FileAttr { size: self.content.length, blocks: self.content.allocated() / 512, ..self.attr }
    }
}

impl Image {
    /// An empty disk of this owner.
    pub fn new(owner: (u32, u32)) -> Self {
        let root = Node::new(attr(ROOT, FileType::Directory, 0o700, owner));
        Self { nodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1, changes: Vec::new() }
    }

    pub fn node(&mut self, ino: u64) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&ino).ok_or(Errno::ESTALE)
    }

    pub fn find(&mut self, parent: u64, name: &OsStr) -> Result<u64, Errno> {
        self.node(parent)?.names.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// A new node under this name.
    pub fn make(
        &mut self,
        (parent, name): (u64, &OsStr),
        kind: FileType,
        mode: u32,
        owner: (u32, u32),
    ) -> Result<FileAttr, Errno> {
        let ino = self.next;
        let attr = attr(ino, kind, mode, owner);
        self.add((parent, name), ino)?;
        self.next += 1;
        self.nodes.insert(ino, Node::new(attr));
        Ok(attr)
    }

    /// One more name.
    pub fn add(&mut self, (parent, name): (u64, &OsStr), ino: u64) -> Result<(), Errno> {
        if self.find(parent, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.node(parent)?.names.insert(name.to_owned(), ino);
        self.changes.push(Change::Add { parent, name: name.to_owned(), ino });
        Ok(())
    }

    pub fn remove(&mut self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        let ino = self.find(parent, name)?;
        if !self.node(ino)?.names.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.node(parent)?.names.remove(name);
        self.changes.push(Change::Remove { parent, name: name.to_owned() });
        Ok(())
    }

    pub fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Errno> {
        let ino = self.find(from.0, from.1)?;
        self.node(to.0)?.names.insert(to.1.to_owned(), ino);
        self.node(from.0)?.names.remove(from.1);
        let owned = |(parent, name): (u64, &OsStr)| (parent, name.to_owned());
        self.changes.push(Change::Move { from: owned(from), to: owned(to) });
        Ok(())
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Add { parent, name, ino } => drop(self.flushed(parent).insert(name, ino)),
            Change::Remove { parent, name } => drop(self.flushed(parent).remove(&name)),
            Change::Move { from, to } => {
                if let Some(ino) = self.flushed(from.0).remove(&from.1) {
                    self.flushed(to.0).insert(to.1, ino);
                }
            }
        }
    }

    fn flushed(&mut self, directory: u64) -> &mut BTreeMap<OsString, u64> {
        &mut self.nodes.get_mut(&directory).expect("nodes stay until a cut").flushed_names
    }

    /// The entries of a directory are durable; with a rename that touched it, what the other directory had before.
    pub fn flush_directory(&mut self, directory: u64) {
        let mut directories = BTreeSet::from([directory]);
        let mut is_covered: Vec<bool> = Vec::with_capacity(self.changes.len());
        for change in self.changes.iter().rev() {
            let touched = change.directories();
            let covers = touched.iter().any(|it| directories.contains(it));
            if covers {
                directories.extend(touched);
            }
            is_covered.push(covers);
        }
        let is_covered = is_covered.into_iter().rev();
        for (change, covers) in std::mem::take(&mut self.changes).into_iter().zip(is_covered) {
            if covers {
                self.apply(change);
            } else {
                self.changes.push(change);
            }
        }
    }

    /// The power goes. What nobody can reach any more is gone.
    pub fn cut(&mut self, chance: &dyn Chance) {
        // Of a hundred, at each change.
        let end = [0, 5, 30, 100][chance.below(4) as usize];
        let mut ended: BTreeSet<u64> = BTreeSet::new();
        for change in std::mem::take(&mut self.changes) {
            let touched = change.directories();
            if chance.below(100) < end || touched.iter().any(|it| ended.contains(it)) {
                ended.extend(touched);
            } else {
                self.apply(change);
            }
        }
        let (mut reached, mut left) = (BTreeSet::from([ROOT]), vec![ROOT]);
        while let Some(node) = left.pop().and_then(|ino| self.nodes.get_mut(&ino)) {
            node.names.clone_from(&node.flushed_names);
            left.extend(node.names.values().filter(|ino| reached.insert(**ino)));
            node.content.cut(chance);
        }
        self.nodes.retain(|ino, _| reached.contains(ino));
    }
}

#[cfg(test)]
mod tests {
    use openbucket::runtime::SeededChance;

    use super::*;

    fn make(image: &mut Image, parent: u64, name: &str, kind: FileType) -> u64 {
        image.make((parent, OsStr::new(name)), kind, 0o700, (0, 0)).unwrap().ino.0
    }

    #[test]
    fn a_name_is_durable_when_every_directory_above_it_was_flushed() {
        let mut there = [0; 3];
        for seed in 0..60 {
            let mut image = Image::new((0, 0));
            for (flushed, name) in ["nothing", "the file's", "all"].iter().enumerate() {
                let directory = make(&mut image, ROOT, name, FileType::Directory);
                let file = make(&mut image, directory, "file", FileType::RegularFile);
                image.node(file).unwrap().content.flush();
                if flushed > 0 {
                    image.flush_directory(directory);
                }
                if flushed > 1 {
                    image.flush_directory(ROOT);
                }
                image.cut(&SeededChance::new(seed));
                let found = image.find(ROOT, OsStr::new(name)).and_then(|it| image.find(it, OsStr::new("file")));
                there[flushed] += usize::from(found.is_ok());
            }
        }
        assert!(there[0] > 0 && there[0] < 60 && there[1] > 0 && there[1] < 60 && there[2] == 60, "{there:?}");
    }

    #[test]
    fn a_rename_over_leaves_the_old_or_the_new() {
        let mut seen = BTreeSet::new();
        for seed in 0..60 {
            let mut image = Image::new((0, 0));
            let (a, b) = (OsStr::new("a"), OsStr::new("b"));
            let old = make(&mut image, ROOT, "a", FileType::RegularFile);
            image.flush_directory(ROOT);
            let new = make(&mut image, ROOT, "b", FileType::RegularFile);
            image.rename((ROOT, b), (ROOT, a)).unwrap();
            image.cut(&SeededChance::new(seed));
            let found = image.find(ROOT, a).unwrap();
            assert!(found == old || found == new);
            seen.insert((found == new, image.find(ROOT, b).is_ok()));
        }
        assert_eq!(seen, BTreeSet::from([(false, false), (false, true), (true, false)]));
    }
}
