//! The model: a file tree in a map, and random operations that a bucket must answer in the same way.

use std::collections::{BTreeMap, BTreeSet};

use openbucket::{
    base::Ino,
    bucket::{Error, FileKind, FileState, NewInode, RenameMode, SetAttr, XattrMode},
    runtime::{Chance, SeededChance},
};

use super::{fixture::Fixture, ranges::check_holes};

/// What an inode must be.
#[derive(Clone, Debug)]
enum Node {
    Directory(BTreeMap<Vec<u8>, Ino>),
    File(File),
    Symlink(Vec<u8>),
}

#[derive(Clone, Debug, Default)]
pub struct File {
    pub data: Vec<u8>,
    /// What it was since it was last made durable, the durable version first; empty when the newest is.
    /// An upload in the background may have made any of them durable.
    pub earlier: Vec<Vec<u8>>,
    mode: u32,
    xattr: Option<Vec<u8>>,
}

pub struct Model {
    nodes: BTreeMap<Ino, Node>,
    pub chance: SeededChance,
    pub log: Vec<String>,
}

const NAMES: [&[u8]; 6] = [b"a", b"b", b"c", b"\xff\x01 odd", b"long-long-long-name", b"f"];

impl Model {
    pub fn new(seed: u64) -> Self {
        let nodes = BTreeMap::from([(Ino::ROOT, Node::Directory(BTreeMap::new()))]);
        Self { nodes, chance: SeededChance::new(seed), log: Vec::new() }
    }

    pub fn below(&self, bound: usize) -> usize {
        self.chance.below(bound as u64) as usize
    }

    fn pick(&self, wanted: impl Fn(&Node) -> bool) -> Option<Ino> {
        let all: Vec<Ino> = self.nodes.iter().filter(|(_, node)| wanted(node)).map(|(ino, _)| *ino).collect();
        (!all.is_empty()).then(|| all[self.below(all.len())])
    }

    fn directory(&self) -> Ino {
        self.pick(|node| matches!(node, Node::Directory(_))).expect("the root is always there")
    }

    fn name(&self) -> Vec<u8> {
        NAMES[self.below(NAMES.len())].to_vec()
    }

    fn entries(&mut self, ino: Ino) -> &mut BTreeMap<Vec<u8>, Ino> {
        match self.nodes.get_mut(&ino) {
            Some(Node::Directory(entries)) => entries,
            other => panic!("{ino} is {other:?}"),
        }
    }

    fn links(&self, ino: Ino) -> u32 {
        let names = self.nodes.values().filter_map(|node| match node {
            Node::Directory(entries) => Some(entries.values().filter(|child| **child == ino).count() as u32),
            _ => None,
        });
        names.sum()
    }

    fn is_within(&self, inner: Ino, outer: Ino) -> bool {
        inner == outer
            || match &self.nodes[&outer] {
                Node::Directory(entries) => entries.values().any(|child| self.is_within(inner, *child)),
                _ => false,
            }
    }

    fn forget_unnamed(&mut self) {
        let named: BTreeSet<Ino> = self
            .nodes
            .values()
            .filter_map(|node| match node {
                Node::Directory(entries) => Some(entries.values().copied()),
                _ => None,
            })
            .flatten()
            .collect();
        self.nodes.retain(|ino, _| *ino == Ino::ROOT || named.contains(ino));
    }

    /// One random operation.
    pub async fn step(&mut self, fixture: &mut Fixture) {
        match self.below(100) {
            0..14 => self.make(fixture),
            14..18 => self.link(fixture),
            18..28 => self.remove(fixture),
            28..38 => self.rename(fixture),
            38..53 => self.write(fixture).await,
            53..57 => self.truncate(fixture),
            57..61 => self.fallocate(fixture),
            61..65 => self.copy(fixture),
            65 => self.change_policy(fixture),
            66..80 => self.read(fixture).await,
            80..86 => self.fsync(fixture),
            86..89 => self.attributes(fixture),
            89..92 => self.upload_or_evict(fixture).await,
            92..95 => self.toggle(fixture).await,
            95..98 => self.reopen(fixture).await,
            _ => self.check(fixture).await,
        }
    }

    fn make(&mut self, fixture: &Fixture) {
        let (parent, name) = (self.directory(), self.name());
        let (kind, node) = match self.below(4) {
            0 => (FileKind::Directory, Node::Directory(BTreeMap::new())),
            1 => (FileKind::Symlink, Node::Symlink(b"to/somewhere".to_vec())),
            _ => (FileKind::File, Node::File(File { mode: 0o644, ..File::default() })),
        };
        let target = if let Node::Symlink(target) = &node { target.clone() } else { Vec::new() };
        let new = NewInode { kind, mode: 0o644, umask: 0, uid: 0, gid: 0, rdev: 0, target };
        let made = fixture.bucket.make(parent, &name, new);
        self.log.push(format!("make {kind:?} {parent}/{name:?}: {made:?}"));
        let is_taken = self.entries(parent).contains_key(&name);
        if is_taken {
            assert!(matches!(made, Err(Error::Exists)), "{made:?}");
        } else {
            let ino = made.expect("made").ino;
            self.entries(parent).insert(name, ino);
            assert!(self.nodes.insert(ino, node).is_none(), "inode numbers are used once");
        }
    }

    fn link(&mut self, fixture: &Fixture) {
        let Some(ino) = self.pick(|node| !matches!(node, Node::Directory(_))) else { return };
        let (parent, name) = (self.directory(), self.name());
        let linked = fixture.bucket.link(ino, parent, &name);
        self.log.push(format!("link {ino} {parent}/{name:?}: {linked:?}"));
        let is_taken = self.entries(parent).contains_key(&name);
        if is_taken {
            assert!(matches!(linked, Err(Error::Exists)), "{linked:?}");
        } else {
            self.entries(parent).insert(name, ino);
            assert_eq!(linked.expect("linked").links, self.links(ino));
        }
    }

    fn remove(&mut self, fixture: &Fixture) {
        let (parent, name, is_rmdir) = (self.directory(), self.name(), self.below(3) == 0);
        let bucket = &fixture.bucket;
        let removed = if is_rmdir { bucket.rmdir(parent, &name) } else { bucket.unlink(parent, &name) };
        self.log.push(format!("remove {parent}/{name:?} {is_rmdir}: {removed:?}"));
        let child = self.entries(parent).get(&name).copied();
        let expected = match child.map(|ino| &self.nodes[&ino]) {
            None => Err("NotFound"),
            Some(Node::Directory(_)) if !is_rmdir => Err("IsDirectory"),
            Some(Node::Directory(entries)) if !entries.is_empty() => Err("NotEmpty"),
            Some(Node::File(_) | Node::Symlink(_)) if is_rmdir => Err("NotDirectory"),
            Some(_) => Ok(()),
        };
        same(&removed, expected);
        if expected.is_ok() {
            self.entries(parent).remove(&name);
            self.forget_unnamed();
        }
    }

    fn rename(&mut self, fixture: &Fixture) {
        let (parent, name, to, new_name) = (self.directory(), self.name(), self.directory(), self.name());
        let mode = [RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange][self.below(3)];
        let renamed = fixture.bucket.rename(parent, &name, to, &new_name, mode);
        self.log.push(format!("rename {parent}/{name:?} {to}/{new_name:?} {mode:?}: {renamed:?}"));
        let source = self.entries(parent).get(&name).copied();
        let target = self.entries(to).get(&new_name).copied();
        let expected = self.judge_rename((parent, source), (to, target), mode);
        same(&renamed, expected);
        if let (Ok(()), Some(source)) = (expected, source) {
            match target {
                Some(target) if target == source => return,
                Some(target) if mode == RenameMode::Exchange => drop(self.entries(parent).insert(name, target)),
                _ => drop(self.entries(parent).remove(&name)),
            }
            self.entries(to).insert(new_name, source);
            self.forget_unnamed();
        }
    }

    fn judge_rename(
        &self,
        (parent, source): (Ino, Option<Ino>),
        (to, target): (Ino, Option<Ino>),
        mode: RenameMode,
    ) -> Result<(), &'static str> {
        let Some(source) = source else { return Err("NotFound") };
        let is_directory = |ino: Ino| matches!(self.nodes[&ino], Node::Directory(_));
        if is_directory(source) && self.is_within(to, source) {
            return Err("Invalid");
        }
        match (mode, target) {
            (RenameMode::NoReplace, Some(_)) => Err("Exists"),
            (RenameMode::Exchange, None) => Err("NotFound"),
            (RenameMode::Exchange, Some(target)) => {
                let is_loop = is_directory(target) && self.is_within(parent, target);
                if is_loop { Err("Invalid") } else { Ok(()) }
            }
            (_, None) => Ok(()),
            (_, Some(target)) if target == source => Ok(()),
            (_, Some(target)) => match (is_directory(source), &self.nodes[&target]) {
                (true, Node::Directory(entries)) if entries.is_empty() => Ok(()),
                (true, Node::Directory(_)) => Err("NotEmpty"),
                (true, _) => Err("NotDirectory"),
                (false, Node::Directory(_)) => Err("IsDirectory"),
                (false, _) => Ok(()),
            },
        }
    }

    pub fn file(&mut self, ino: Ino) -> &mut File {
        match self.nodes.get_mut(&ino) {
            Some(Node::File(file)) => file,
            other => panic!("{ino} is {other:?}"),
        }
    }

    pub fn some_file(&self) -> Option<Ino> {
        self.pick(|node| matches!(node, Node::File(_)))
    }

    async fn write(&mut self, fixture: &Fixture) {
        let Some(ino) = self.some_file() else { return };
        let size = [1, 100, 5_000, 70_000, 300_000, 5 << 20][[0, 1, 1, 2, 2, 3, 3, 4, 4, 5][self.below(10)]];
        let offset = self.below(400_000);
        let mut data = vec![0; 1 + self.below(size)];
        self.chance.fill(&mut data);
        let written = fixture.bucket.write(ino, offset as u64, data.clone().into()).await;
        self.log.push(format!("write {ino} {offset}+{}: {written:?}", data.len()));
        assert_eq!(written.expect("written") as usize, data.len());
        let file = self.file(ino);
        file.earlier.push(file.data.clone());
        let end = offset + data.len();
        if file.data.len() < end {
            file.data.resize(end, 0);
        }
        file.data[offset..end].copy_from_slice(&data);
    }

    fn truncate(&mut self, fixture: &Fixture) {
        let Some(ino) = self.some_file() else { return };
        let size = [0, self.below(500_000), self.below(5_000)][self.below(3)];
        let set = SetAttr { size: Some(size as u64), ..SetAttr::default() };
        let cut = fixture.bucket.setattr(ino, set).expect("cut");
        self.log.push(format!("truncate {ino} {size}"));
        assert_eq!(cut.size, size as u64);
        let file = self.file(ino);
        file.earlier.push(file.data.clone());
        file.data.resize(size, 0);
    }

    fn fsync(&mut self, fixture: &Fixture) {
        let Some(ino) = self.some_file() else { return };
        fixture.bucket.fsync_blocking(ino, false).expect("synced");
        self.log.push(format!("fsync {ino}"));
        self.file(ino).earlier.clear();
    }

    async fn read(&mut self, fixture: &Fixture) {
        let Some(ino) = self.some_file() else { return };
        let (offset, len) = (self.below(450_000), 1 + self.below(200_000));
        self.log.push(format!("read {ino} {offset}+{len}"));
        let handle = fixture.bucket.open(ino, false).expect("opens");
        let read = fixture.bucket.read(ino, handle, offset as u64, len as u32).await.expect("four consumers are up");
        fixture.bucket.release(ino, handle, false);
        let data = &self.file(ino).data;
        let expected = &data[offset.min(data.len())..(offset + len).min(data.len())];
        assert!(read == expected, "{ino} {offset}+{len} differs");
    }

    fn attributes(&mut self, fixture: &Fixture) {
        let Some(ino) = self.some_file() else { return };
        let mode = self.below(0o1000) as u32;
        let set = SetAttr { mode: Some(mode), ..SetAttr::default() };
        assert_eq!(fixture.bucket.setattr(ino, set).expect("set").mode, mode);
        let value = mode.to_string().into_bytes();
        fixture.bucket.setxattr(ino, b"user.mode", &value, XattrMode::Set).expect("set");
        self.log.push(format!("attributes {ino} {mode:o}"));
        let file = self.file(ino);
        (file.mode, file.xattr) = (mode, Some(value));
    }

    async fn upload_or_evict(&mut self, fixture: &Fixture) {
        let up = fixture.count_up();
        self.log.push(format!("upload with {up} consumers, evict"));
        if up >= 5 {
            fixture.upload(if up == 6 { FileState::Uploaded } else { FileState::Available }).await;
        }
        fixture.bucket.evict(Vec::new()).await.expect("evicted");
    }

    /// One or two consumers go, once every shard has found its place, or all come back. So k of every chunk's
    /// shards are always up, also of chunks that are committed with one consumer away.
    async fn toggle(&mut self, fixture: &mut Fixture) {
        if fixture.count_up() < fixture.nodes.len() {
            self.log.push("all consumers are up".into());
            (0..fixture.nodes.len()).for_each(|node| fixture.set_up(node, true));
            return;
        }
        fixture.upload(FileState::Uploaded).await;
        for _ in 0..1 + self.below(2) {
            let node = self.below(fixture.nodes.len());
            self.log.push(format!("consumer {node} is down"));
            fixture.set_up(node, false);
        }
    }

    async fn reopen(&mut self, fixture: &mut Fixture) {
        if self.below(2) == 0 {
            self.log.push("close and open".into());
            fixture.close_and_open().await;
            let inodes: Vec<Ino> = self.nodes.keys().copied().collect();
            for ino in inodes {
                if let Some(Node::File(file)) = self.nodes.get_mut(&ino) {
                    file.earlier.clear();
                }
            }
        } else {
            self.log.push("crash and open".into());
            fixture.crash_and_open().await;
            self.adopt_unsynced(fixture).await;
        }
        fixture.assert_sound("opened again").await;
        self.check(fixture).await;
    }

    /// After a crash, what was not synced may be old or new, byte by byte; it must not be anything else.
    async fn adopt_unsynced(&mut self, fixture: &Fixture) {
        let inodes: Vec<Ino> = self.nodes.keys().copied().collect();
        for ino in inodes {
            let Some(Node::File(file)) = self.nodes.get_mut(&ino) else { continue };
            if file.earlier.is_empty() {
                continue;
            }
            let found = whole(fixture, ino).await;
            for (at, byte) in found.iter().enumerate() {
                let mut versions = file.earlier.iter().chain([&file.data]);
                let is_known = versions.any(|version| version.get(at).copied().unwrap_or(0) == *byte);
                assert!(is_known, "{ino} at {at}: garbage after a crash");
            }
            file.earlier.clear();
            file.data = found;
        }
    }

    /// Compares everything.
    pub async fn check(&mut self, fixture: &Fixture) {
        self.log.push("check".into());
        for (ino, node) in &self.nodes {
            let attr = fixture.bucket.getattr(*ino).expect("there");
            match node {
                Node::Directory(entries) => {
                    let mut found = BTreeMap::new();
                    let mut after = 0;
                    loop {
                        // Pages of two, so that cookies matter.
                        let page = fixture.bucket.readdir(*ino, after, 2).expect("readable");
                        let Some(last) = page.last() else { break };
                        after = last.cookie;
                        found.extend(page.into_iter().map(|item| (item.name, item.ino)));
                    }
                    assert_eq!(&found, entries, "directory {ino}");
                    let directories = entries.values().filter(|child| matches!(self.nodes[child], Node::Directory(_)));
                    assert_eq!(attr.links, 2 + directories.count() as u32, "links of directory {ino}");
                }
                Node::Symlink(target) => assert_eq!(&fixture.bucket.readlink(*ino).expect("readable"), target),
                Node::File(file) => {
                    assert_eq!((attr.size, attr.mode), (file.data.len() as u64, file.mode), "file {ino}");
                    assert_eq!(attr.links, self.links(*ino), "links of {ino}");
                    assert_eq!(fixture.bucket.getxattr(*ino, b"user.mode").ok(), file.xattr, "attribute of {ino}");
                    assert!(whole(fixture, *ino).await == file.data, "contents of {ino}");
                    check_holes(fixture, *ino, &file.data);
                }
            }
        }
    }

    /// Removes everything.
    pub fn clear(&mut self, fixture: &Fixture) {
        self.clear_directory(fixture, Ino::ROOT);
        self.forget_unnamed();
    }

    fn clear_directory(&mut self, fixture: &Fixture, ino: Ino) {
        for (name, child) in std::mem::take(self.entries(ino)) {
            let is_directory = matches!(self.nodes[&child], Node::Directory(_));
            if is_directory {
                self.clear_directory(fixture, child);
                fixture.bucket.rmdir(ino, &name).expect("removed");
            } else {
                fixture.bucket.unlink(ino, &name).expect("removed");
            }
        }
    }
}

/// All bytes of a file.
pub async fn whole(fixture: &Fixture, ino: Ino) -> Vec<u8> {
    let size = fixture.bucket.getattr(ino).expect("there").size as u32;
    let handle = fixture.bucket.open(ino, false).expect("opens");
    let read = fixture.bucket.read(ino, handle, 0, size).await;
    fixture.bucket.release(ino, handle, false);
    read.expect("four consumers are up").to_vec()
}

fn same(found: &Result<(), Error>, expected: Result<(), &'static str>) {
    match (found, expected) {
        (Ok(()), Ok(())) => {}
        (Err(error), Err(variant)) => assert!(format!("{error:?}").starts_with(variant), "{error:?}, not {variant}"),
        _ => panic!("{found:?} instead of {expected:?}"),
    }
}
