//! The least that a file system on FUSE can do: everything in maps in memory, with the capabilities of a mounted bucket.
//!
//! What it takes is the price of the kernel's protocol and of the library; a bucket can come near it, not below. It runs in a
//! process of its own, as the daemon of a bucket does.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    io::{self, Write as _},
    os::unix::ffi::OsStringExt,
    path::Path,
    time::{Duration, SystemTime},
};

use fuser::{
    BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, Session, TimeOrNow,
    WriteFlags,
};
use openbucket::base::limits;
use parking_lot::Mutex;

/// The word by which this program is told to serve instead of to measure.
pub const WORD: &str = "serve-empty";
/// Cookies below are those of `.` and `..`.
const FIRST_COOKIE: u64 = 16;

/// Mounts it on a directory and serves it until it is unmounted.
pub fn serve(directory: &Path) -> anyhow::Result<()> {
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("empty".into()), MountOption::DefaultPermissions];
    config.n_threads =
        Some(std::thread::available_parallelism().map_or(2, usize::from).clamp(2, limits::KERNEL_THREADS));
    config.clone_fd = true;
    let session = Session::new(Empty::new(), directory, &config)?;
    println!("ready");
    io::stdout().flush()?;
    Ok(session.run()?)
}

struct Node {
    attr: FileAttr,
    lookups: u64,
    data: Vec<u8>,
    /// Of a directory: cookie and inode by name, and the names in their order.
    names: HashMap<OsString, (u64, u64)>,
    order: BTreeMap<u64, (OsString, u64)>,
}

struct Tree {
    nodes: HashMap<u64, Node>,
    next: u64,
}

struct Empty(Mutex<Tree>);

fn node(ino: u64, kind: FileType, mode: u32, caller: (u32, u32)) -> Node {
    let now = SystemTime::now();
    let is_directory = kind == FileType::Directory;
    let attr = FileAttr {
        ino: INodeNo(ino),
        size: 0,
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
        crtime: now,
        kind,
        perm: (mode & 0o7777) as u16,
        nlink: if is_directory { 2 } else { 1 },
        uid: caller.0,
        gid: caller.1,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    };
    Node { attr, lookups: 0, data: Vec::new(), names: HashMap::new(), order: BTreeMap::new() }
}

impl Tree {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn node(&mut self, ino: u64) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&ino).ok_or(Errno::ESTALE)
    }

    fn find(&mut self, parent: u64, name: &OsStr) -> Result<Option<(u64, u64)>, Errno> {
        Ok(self.node(parent)?.names.get(name).copied())
    }

    fn insert(&mut self, parent: u64, name: &OsStr, ino: u64) -> Result<(), Errno> {
        let cookie = self.id();
        let directory = self.node(parent)?;
        directory.attr.mtime = SystemTime::now();
        directory.names.insert(name.to_owned(), (cookie, ino));
        directory.order.insert(cookie, (name.to_owned(), ino));
        Ok(())
    }

    fn take(&mut self, parent: u64, name: &OsStr) -> Result<u64, Errno> {
        let directory = self.node(parent)?;
        let (cookie, ino) = directory.names.remove(name).ok_or(Errno::ENOENT)?;
        directory.order.remove(&cookie);
        directory.attr.mtime = SystemTime::now();
        Ok(ino)
    }

    fn make(&mut self, caller: &Request, place: (u64, &OsStr), kind: FileType, mode: u32) -> Result<FileAttr, Errno> {
        if self.find(place.0, place.1)?.is_some() {
            return Err(Errno::EEXIST);
        }
        let ino = self.id();
        let mut made = node(ino, kind, mode, (caller.uid(), caller.gid()));
        made.lookups = 1;
        let attr = made.attr;
        self.nodes.insert(ino, made);
        self.insert(place.0, place.1, ino)?;
        Ok(attr)
    }

    fn drop_link(&mut self, ino: u64) -> Result<(), Errno> {
        let node = self.node(ino)?;
        node.attr.nlink = if node.attr.kind == FileType::Directory { 0 } else { node.attr.nlink.saturating_sub(1) };
        node.attr.ctime = SystemTime::now();
        self.forget(ino, 0);
        Ok(())
    }

    fn forget(&mut self, ino: u64, count: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.lookups = node.lookups.saturating_sub(count);
            if node.lookups == 0 && node.attr.nlink == 0 {
                self.nodes.remove(&ino);
            }
        }
    }
}

impl Empty {
    fn new() -> Self {
        let root = node(1, FileType::Directory, 0o755, (0, 0));
        Self(Mutex::new(Tree { nodes: HashMap::from([(1, root)]), next: FIRST_COOKIE }))
    }

    fn entry(reply: ReplyEntry, made: Result<FileAttr, Errno>) {
        match made {
            Ok(attr) => reply.entry(&limits::KERNEL_TRUST, &attr, Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn done(reply: ReplyEmpty, outcome: Result<(), Errno>) {
        match outcome {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn remove(&self, parent: INodeNo, name: &OsStr) -> Result<(), Errno> {
        let mut tree = self.0.lock();
        let Some((_, ino)) = tree.find(parent.0, name)? else { return Err(Errno::ENOENT) };
        if !tree.node(ino)?.names.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        tree.take(parent.0, name)?;
        tree.drop_link(ino)
    }

    fn change(&self, ino: u64, size: Option<u64>, change: impl FnOnce(&mut FileAttr)) -> Result<FileAttr, Errno> {
        let mut tree = self.0.lock();
        let node = tree.node(ino)?;
        if let Some(size) = size {
            node.data.resize(size as usize, 0);
            node.attr.size = size;
        }
        change(&mut node.attr);
        Ok(node.attr)
    }
}

fn time(set: TimeOrNow) -> SystemTime {
    match set {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

impl Filesystem for Empty {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        for flag in [
            InitFlags::FUSE_WRITEBACK_CACHE,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_ATOMIC_O_TRUNC,
            InitFlags::FUSE_MAX_PAGES,
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        ] {
            // One that the kernel does not have is not there for a bucket either.
            let _ = config.add_capabilities(flag);
        }
        config.set_max_write(limits::KERNEL_REQUEST_BYTES).map_err(|_| io::Error::other("the kernel's write size"))?;
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut tree = self.0.lock();
        let found = tree.find(parent.0, name).and_then(|found| match found {
            Some((_, ino)) => {
                let node = tree.node(ino)?;
                node.lookups += 1;
                Ok(node.attr)
            }
            // Inode 0 says that there is none, and for how long.
            None => Ok(FileAttr { ino: INodeNo(0), ..node(0, FileType::RegularFile, 0, (0, 0)).attr }),
        });
        drop(tree);
        Self::entry(reply, found);
    }

    fn forget(&self, _: &Request, ino: INodeNo, count: u64) {
        self.0.lock().forget(ino.0, count);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.change(ino.0, None, |_| {}) {
            Ok(attr) => reply.attr(&limits::KERNEL_TRUST, &attr),
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        changed: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changed = self.change(ino.0, size, |attr| {
            attr.perm = mode.map_or(attr.perm, |mode| (mode & 0o7777) as u16);
            attr.uid = uid.unwrap_or(attr.uid);
            attr.gid = gid.unwrap_or(attr.gid);
            attr.atime = accessed.map_or(attr.atime, time);
            attr.mtime = modified.map_or(attr.mtime, time);
            attr.ctime = changed.unwrap_or_else(SystemTime::now);
        });
        match changed {
            Ok(attr) => reply.attr(&limits::KERNEL_TRUST, &attr),
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.0.lock().node(ino.0) {
            Ok(node) => reply.data(&node.data),
            Err(errno) => reply.error(errno),
        }
    }

    fn mkdir(&self, caller: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let made = self.0.lock().make(caller, (parent.0, name), FileType::Directory, mode);
        Self::entry(reply, made);
    }

    fn symlink(&self, caller: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let mut tree = self.0.lock();
        let made = tree.make(caller, (parent.0, name), FileType::Symlink, 0o777).and_then(|attr| {
            let node = tree.node(attr.ino.0)?;
            node.data = target.as_os_str().to_owned().into_vec();
            node.attr.size = node.data.len() as u64;
            Ok(node.attr)
        });
        drop(tree);
        Self::entry(reply, made);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        Self::done(reply, self.remove(parent, name));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        Self::done(reply, self.remove(parent, name));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut tree = self.0.lock();
        let moved = tree.take(parent.0, name).and_then(|ino| {
            if let Ok(replaced) = tree.take(new_parent.0, new_name) {
                tree.drop_link(replaced)?;
            }
            tree.insert(new_parent.0, new_name, ino)
        });
        drop(tree);
        Self::done(reply, moved);
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let is_cut = rustix::fs::OFlags::from_bits_retain(flags.0.cast_unsigned()).contains(rustix::fs::OFlags::TRUNC);
        match self.change(ino.0, is_cut.then_some(0), |_| {}) {
            Ok(_) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(errno) => reply.error(errno),
        }
    }

    fn create(&self, caller: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, _: i32, reply: ReplyCreate) {
        let made = self.0.lock().make(caller, (parent.0, name), FileType::RegularFile, mode);
        match made {
            Ok(attr) => {
                reply.created(&limits::KERNEL_TRUST, &attr, Generation(0), FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE)
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.lock().node(ino.0) {
            Ok(node) => {
                let from = node.data.len().min(offset as usize);
                reply.data(&node.data[from..node.data.len().min(from + length as usize)]);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.lock().node(ino.0) {
            Ok(node) => {
                let end = offset as usize + data.len();
                if node.data.len() < end {
                    node.data.resize(end, 0);
                    node.attr.size = end as u64;
                }
                node.data[offset as usize..end].copy_from_slice(data);
                reply.written(data.len() as u32);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Never asked again: there is nothing to do at a close.
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, after: u64, mut reply: ReplyDirectory) {
        let tree = self.0.lock();
        let Some(directory) = tree.nodes.get(&ino.0) else { return reply.error(Errno::ESTALE) };
        for (cookie, (name, child)) in directory.order.range(after + 1..) {
            let Some(node) = tree.nodes.get(child) else { continue };
            if reply.add(INodeNo(*child), *cookie, node.attr.kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(&self, _: &Request, ino: INodeNo, _: FileHandle, after: u64, mut reply: ReplyDirectoryPlus) {
        let mut tree = self.0.lock();
        let Tree { nodes, .. } = &mut *tree;
        // Out of the map meanwhile, so that its children can be counted.
        let Some(directory) = nodes.remove(&ino.0) else { return reply.error(Errno::ESTALE) };
        for (cookie, (name, child)) in directory.order.range(after + 1..) {
            let Some(node) = nodes.get_mut(child) else { continue };
            let trust: &Duration = &limits::KERNEL_TRUST;
            if reply.add(INodeNo(*child), *cookie, name, trust, &node.attr, Generation(0)) {
                break;
            }
            node.lookups += 1;
        }
        nodes.insert(ino.0, directory);
        reply.ok();
    }
}
