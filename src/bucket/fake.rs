//! A bucket in memory, for as long as the real one is not there.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Attr, DirItem, FileKind, NewInode, RenameMode, SetAttr, SetTime, Space, Timestamp, XattrMode};
use crate::{
    base::{ErrorKind, Ino, Kinded, limits},
    store,
};

/// A failed operation on a bucket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no such file or directory")]
    NotFound,
    #[error("it exists already")]
    Exists,
    #[error("not a directory")]
    NotDirectory,
    #[error("it is a directory")]
    IsDirectory,
    #[error("the directory is not empty")]
    NotEmpty,
    #[error("the name is longer than 255 bytes")]
    NameTooLong,
    #[error("too many hard links")]
    TooManyLinks,
    #[error("the file would be larger than the largest file")]
    TooLarge,
    #[error("{0}")]
    Invalid(&'static str),
    #[error("permission denied")]
    Denied,
    #[error("operation not permitted")]
    NotPermitted,
    #[error("no such attribute")]
    NoAttribute,
    #[error("the attribute is too large")]
    AttributeTooLarge,
    #[error("the bucket is mounted read-only")]
    ReadOnly,
    #[error("{0}")]
    Full(String),
    /// Fewer than k good shards answered in time.
    #[error("{0}")]
    Unreadable(String),
    #[error("the file is gone")]
    Stale,
    #[error("not supported")]
    Unsupported,
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the bucket is shutting down")]
    Closed,
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::NotFound | Error::NoAttribute | Error::Stale => ErrorKind::NotFound,
            Error::Exists => ErrorKind::Exists,
            Error::NotDirectory
            | Error::IsDirectory
            | Error::NotEmpty
            | Error::NameTooLong
            | Error::TooManyLinks
            | Error::TooLarge
            | Error::AttributeTooLarge
            | Error::Unsupported
            | Error::Invalid(_) => ErrorKind::Invalid,
            Error::Denied | Error::NotPermitted | Error::ReadOnly => ErrorKind::Denied,
            Error::Full(_) => ErrorKind::Full,
            Error::Unreadable(_) => ErrorKind::Unavailable,
            Error::Store(error) => error.kind(),
            Error::Closed => ErrorKind::Closed,
        }
    }
}

type Result<T> = std::result::Result<T, Error>;

struct Node {
    attr: Attr,
    data: Vec<u8>,
    target: Vec<u8>,
    entries: BTreeMap<Vec<u8>, (u64, Ino)>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    parent: Ino,
    known: u64,
    opened: u64,
}

struct Tree {
    nodes: HashMap<Ino, Node>,
    next: u64,
}

/// The bucket.
#[derive(Clone)]
pub struct Bucket {
    tree: Arc<Mutex<Tree>>,
    calls: Arc<AtomicU64>,
}

fn now() -> Timestamp {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { seconds: time.as_secs() as i64, nanos: time.subsec_nanos() }
}

impl Tree {
    fn node(&mut self, ino: Ino) -> Result<&mut Node> {
        self.nodes.get_mut(&ino).ok_or(Error::Stale)
    }

    fn child(&mut self, parent: Ino, name: &[u8]) -> Result<Ino> {
        if name.len() > limits::NAME_BYTES {
            return Err(Error::NameTooLong);
        }
        let node = self.node(parent)?;
        if node.attr.kind != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        node.entries.get(name).map(|(_, ino)| *ino).ok_or(Error::NotFound)
    }

    fn free(&mut self, parent: Ino, name: &[u8]) -> Result<()> {
        match self.child(parent, name) {
            Ok(_) => Err(Error::Exists),
            Err(Error::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn enter(&mut self, parent: Ino, name: &[u8], ino: Ino) -> Result<()> {
        self.next += 1;
        let cookie = self.next;
        let node = self.node(parent)?;
        node.entries.insert(name.to_vec(), (cookie, ino));
        node.attr.modified = now();
        node.attr.changed = now();
        if self.node(ino)?.attr.kind == FileKind::Directory {
            self.node(parent)?.attr.links += 1;
            self.node(ino)?.parent = parent;
        }
        Ok(())
    }

    fn leave(&mut self, parent: Ino, name: &[u8]) -> Result<Ino> {
        let ino = self.child(parent, name)?;
        let is_directory = self.node(ino)?.attr.kind == FileKind::Directory;
        let node = self.node(parent)?;
        node.entries.remove(name);
        node.attr.modified = now();
        node.attr.changed = now();
        if is_directory {
            node.attr.links -= 1;
        }
        Ok(ino)
    }

    fn drop_link(&mut self, ino: Ino) -> Result<()> {
        let node = self.node(ino)?;
        node.attr.links = if node.attr.kind == FileKind::Directory { 0 } else { node.attr.links - 1 };
        node.attr.changed = now();
        self.reap(ino);
        Ok(())
    }

    fn reap(&mut self, ino: Ino) {
        if let Some(node) = self.nodes.get(&ino)
            && node.attr.links == 0
            && node.known == 0
            && node.opened == 0
        {
            self.nodes.remove(&ino);
        }
    }
}

fn empty(ino: Ino, parent: Ino, new: NewInode) -> Node {
    let links = if new.kind == FileKind::Directory { 2 } else { 1 };
    let attr = Attr {
        ino,
        kind: new.kind,
        mode: new.mode,
        links,
        uid: new.uid,
        gid: new.gid,
        rdev: new.rdev,
        size: new.target.len() as u64,
        blocks: 0,
        accessed: now(),
        modified: now(),
        changed: now(),
        created: now(),
    };
    let (entries, xattrs) = (BTreeMap::new(), BTreeMap::new());
    Node { attr, data: Vec::new(), target: new.target, entries, xattrs, parent, known: 0, opened: 0 }
}

#[allow(clippy::missing_errors_doc, missing_docs)]
impl Bucket {
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let new = NewInode { kind: FileKind::Directory, mode: 0o755, uid: 0, gid: 0, rdev: 0, target: Vec::new() };
        let nodes = HashMap::from([(Ino::ROOT, empty(Ino::ROOT, Ino::ROOT, new))]);
        Self { tree: Arc::new(Mutex::new(Tree { nodes, next: 100 })), calls: Arc::default() }
    }

    /// Inodes that exist, unlinked ones that are still known or open among them.
    pub fn inodes(&self) -> usize {
        self.tree.lock().nodes.len()
    }

    pub fn lookup(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        assert_ne!(name, b"panic", "asked for");
        let mut tree = self.tree.lock();
        let ino = tree.child(parent, name)?;
        Ok(tree.node(ino)?.attr)
    }

    pub fn remember(&self, ino: Ino, count: u64) {
        if let Ok(node) = self.tree.lock().node(ino) {
            node.known += count;
        }
    }

    pub fn forget(&self, ino: Ino, count: u64) {
        let mut tree = self.tree.lock();
        if let Ok(node) = tree.node(ino) {
            node.known = node.known.checked_sub(count).expect("never forgets more than it knows");
        }
        tree.reap(ino);
    }

    pub fn getattr(&self, ino: Ino) -> Result<Attr> {
        Ok(self.tree.lock().node(ino)?.attr)
    }

    pub fn setattr(&self, ino: Ino, set: SetAttr) -> Result<Attr> {
        let mut tree = self.tree.lock();
        let node = tree.node(ino)?;
        let attr = &mut node.attr;
        attr.mode = set.mode.unwrap_or(attr.mode);
        attr.uid = set.uid.unwrap_or(attr.uid);
        attr.gid = set.gid.unwrap_or(attr.gid);
        attr.changed = set.changed.unwrap_or_else(now);
        if let Some(size) = set.size {
            if size > 1 << 30 {
                return Err(Error::TooLarge);
            }
            attr.size = size;
            attr.modified = now();
            node.data.resize(size as usize, 0);
        }
        let time = |time| match time {
            SetTime::Now => now(),
            SetTime::At(time) => time,
        };
        attr.accessed = set.accessed.map_or(attr.accessed, time);
        attr.modified = set.modified.map_or(attr.modified, time);
        Ok(*attr)
    }

    pub fn make(&self, parent: Ino, name: &[u8], new: NewInode) -> Result<Attr> {
        let mut tree = self.tree.lock();
        tree.free(parent, name)?;
        tree.next += 1;
        let ino = Ino(tree.next);
        tree.nodes.insert(ino, empty(ino, parent, new));
        tree.enter(parent, name, ino)?;
        Ok(tree.node(ino)?.attr)
    }

    pub fn link(&self, ino: Ino, parent: Ino, name: &[u8]) -> Result<Attr> {
        let mut tree = self.tree.lock();
        tree.free(parent, name)?;
        tree.enter(parent, name, ino)?;
        let attr = &mut tree.node(ino)?.attr;
        attr.links += 1;
        attr.changed = now();
        Ok(*attr)
    }

    pub fn unlink(&self, parent: Ino, name: &[u8]) -> Result<()> {
        let mut tree = self.tree.lock();
        let ino = tree.child(parent, name)?;
        if tree.node(ino)?.attr.kind == FileKind::Directory {
            return Err(Error::IsDirectory);
        }
        tree.leave(parent, name)?;
        tree.drop_link(ino)
    }

    pub fn rmdir(&self, parent: Ino, name: &[u8]) -> Result<()> {
        let mut tree = self.tree.lock();
        let ino = tree.child(parent, name)?;
        if tree.node(ino)?.attr.kind != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        if !tree.node(ino)?.entries.is_empty() {
            return Err(Error::NotEmpty);
        }
        tree.leave(parent, name)?;
        tree.drop_link(ino)
    }

    pub fn rename(&self, parent: Ino, name: &[u8], new_parent: Ino, new_name: &[u8], mode: RenameMode) -> Result<()> {
        let mut tree = self.tree.lock();
        let source = tree.child(parent, name)?;
        let target = match tree.child(new_parent, new_name) {
            Ok(target) => Some(target),
            Err(Error::NotFound) => None,
            Err(error) => return Err(error),
        };
        match (mode, target) {
            (RenameMode::NoReplace, Some(_)) => return Err(Error::Exists),
            (RenameMode::Exchange, None) => return Err(Error::NotFound),
            (_, Some(target)) if target == source => return Ok(()),
            (RenameMode::Replace, Some(target)) if !tree.node(target)?.entries.is_empty() => {
                return Err(Error::NotEmpty);
            }
            _ => {}
        }
        tree.leave(parent, name)?;
        if let Some(target) = target {
            tree.leave(new_parent, new_name)?;
            if mode == RenameMode::Exchange {
                tree.enter(parent, name, target)?;
            } else {
                tree.drop_link(target)?;
            }
        }
        tree.enter(new_parent, new_name, source)
    }

    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>> {
        Ok(self.tree.lock().node(ino)?.target.clone())
    }

    pub fn readdir(&self, ino: Ino, after: u64, limit: usize) -> Result<Vec<DirItem>> {
        let mut tree = self.tree.lock();
        let mut all: Vec<_> = tree.node(ino)?.entries.iter().map(|(name, (c, ino))| (*c, *ino, name.clone())).collect();
        all.sort();
        let mut items = Vec::new();
        for (cookie, ino, name) in all.into_iter().filter(|item| item.0 > after).take(limit) {
            items.push(DirItem { cookie, ino, kind: tree.node(ino)?.attr.kind, name });
        }
        Ok(items)
    }

    pub fn parent(&self, ino: Ino) -> Result<Ino> {
        Ok(self.tree.lock().node(ino)?.parent)
    }

    pub fn open(&self, ino: Ino) -> Result<u64> {
        self.tree.lock().node(ino)?.opened += 1;
        Ok(7)
    }

    pub fn release(&self, ino: Ino, handle: u64) {
        assert_eq!(handle, 7);
        let mut tree = self.tree.lock();
        if let Ok(node) = tree.node(ino) {
            node.opened -= 1;
        }
        tree.reap(ino);
    }

    /// Every other read and write takes the long way.
    fn is_slow(&self) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed) % 2 == 1
    }

    pub fn read_now(&self, ino: Ino, offset: u64, length: u32) -> Result<Option<Bytes>> {
        if self.is_slow() {
            return Ok(None);
        }
        let mut tree = self.tree.lock();
        let data = &tree.node(ino)?.data;
        let start = usize::try_from(offset).map_or(data.len(), |offset| offset.min(data.len()));
        let end = start.saturating_add(length as usize).min(data.len());
        Ok(Some(Bytes::copy_from_slice(&data[start..end])))
    }

    pub async fn read(&self, ino: Ino, _handle: u64, offset: u64, length: u32) -> Result<Bytes> {
        loop {
            tokio::task::yield_now().await;
            if let Some(bytes) = self.read_now(ino, offset, length)? {
                return Ok(bytes);
            }
        }
    }

    pub fn write_now(&self, ino: Ino, offset: u64, data: &[u8]) -> Result<Option<u32>> {
        if self.is_slow() {
            return Ok(None);
        }
        let mut tree = self.tree.lock();
        let node = tree.node(ino)?;
        let (start, end) = (offset as usize, offset as usize + data.len());
        if end > node.data.len() {
            node.data.resize(end, 0);
        }
        node.data[start..end].copy_from_slice(data);
        node.attr.size = node.data.len() as u64;
        node.attr.blocks = node.attr.size.div_ceil(512);
        node.attr.modified = now();
        node.attr.changed = now();
        Ok(Some(data.len() as u32))
    }

    pub async fn write(&self, ino: Ino, offset: u64, data: Bytes) -> Result<u32> {
        loop {
            tokio::task::yield_now().await;
            if let Some(written) = self.write_now(ino, offset, &data)? {
                return Ok(written);
            }
        }
    }

    pub fn flush(&self, ino: Ino) -> Result<()> {
        self.getattr(ino).map(|_| ())
    }

    pub fn fsync_blocking(&self, ino: Ino, _data_only: bool) -> Result<()> {
        self.flush(ino)
    }

    pub fn sync_all_blocking(&self) -> Result<()> {
        Ok(())
    }

    pub fn statfs(&self) -> Space {
        Space { total_bytes: 1 << 40, free_bytes: 1 << 39, inodes: self.inodes() as u64 }
    }

    pub fn getxattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        self.tree.lock().node(ino)?.xattrs.get(name).cloned().ok_or(Error::NoAttribute)
    }

    pub fn setxattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        let mut tree = self.tree.lock();
        let xattrs = &mut tree.node(ino)?.xattrs;
        match (mode, xattrs.contains_key(name)) {
            (XattrMode::Create, true) => return Err(Error::Exists),
            (XattrMode::Replace, false) => return Err(Error::NoAttribute),
            _ => xattrs.insert(name.to_vec(), value.to_vec()),
        };
        Ok(())
    }

    pub fn listxattr(&self, ino: Ino) -> Result<Vec<Vec<u8>>> {
        Ok(self.tree.lock().node(ino)?.xattrs.keys().cloned().collect())
    }

    pub fn removexattr(&self, ino: Ino, name: &[u8]) -> Result<()> {
        self.tree.lock().node(ino)?.xattrs.remove(name).map(|_| ()).ok_or(Error::NoAttribute)
    }
}
