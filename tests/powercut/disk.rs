//! A disk whose power can be cut, served through FUSE by the test itself, so that it outlives the processes that use it.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, Session, TimeOrNow, WriteFlags,
};
use openbucket::runtime::Chance;
use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, OFlags};

use crate::image::{Image, ROOT};

/// The kernel asks each time: its answers are only memory's.
const TRUST: Duration = Duration::ZERO;
const BLOCKS: u64 = 1 << 24;

/// The power of one machine. While it is off every operation fails and nothing changes.
#[derive(Clone)]
pub struct Power(Arc<Supply>);

struct Supply {
    /// Operations until it goes.
    left: AtomicI64,
    /// Of those only the flushes count.
    is_of_flushes: AtomicBool,
    /// What goes with it, at the same moment.
    others: Mutex<Vec<Power>>,
}

impl Power {
    pub fn on() -> Self {
        Self(Arc::new(Supply {
            left: AtomicI64::new(i64::MAX),
            is_of_flushes: AtomicBool::new(false),
            others: Mutex::default(),
        }))
    }

    /// At once.
    pub fn go_off(&self) {
        self.0.left.store(0, Ordering::SeqCst);
    }

    /// After so many more operations that change or flush something, with these others.
    pub fn go_off_after(&self, operations: u64, others: Vec<Power>) {
        *self.0.others.lock() = others;
        self.0.is_of_flushes.store(false, Ordering::SeqCst);
        self.0.left.store(operations as i64, Ordering::SeqCst);
    }

    /// The same after so many flushes: what was flushed last is durable, and nobody has heard of it.
    pub fn go_off_after_flushes(&self, flushes: u64, others: Vec<Power>) {
        self.go_off_after(flushes, others);
        self.0.is_of_flushes.store(true, Ordering::SeqCst);
    }

    pub fn go_on(&self) {
        self.0.others.lock().clear();
        self.0.left.store(i64::MAX, Ordering::SeqCst);
    }

    pub fn is_off(&self) -> bool {
        self.0.left.load(Ordering::SeqCst) <= 0
    }

    /// Whether one more operation takes effect.
    fn spend(&self, is_flush: bool) -> bool {
        if !is_flush && self.0.is_of_flushes.load(Ordering::SeqCst) {
            return !self.is_off();
        }
        let left = self.0.left.fetch_sub(1, Ordering::SeqCst);
        if left == 1 {
            self.0.others.lock().iter().for_each(Self::go_off);
        }
        left > 0
    }
}

/// A disk and its mount. Dropped, it is unmounted.
pub struct Disk {
    image: Arc<Mutex<Image>>,
    power: Power,
    mountpoint: PathBuf,
    session: Option<BackgroundSession>,
}

impl Disk {
    /// An empty disk, mounted on this directory.
    pub fn mount(mountpoint: &Path, power: &Power) -> io::Result<Self> {
        let image = Arc::new(Mutex::new(Image::new(owner())));
        let mut disk = Self { image, power: power.clone(), mountpoint: mountpoint.to_path_buf(), session: None };
        disk.plug_in()?;
        Ok(disk)
    }

    fn plug_in(&mut self) -> io::Result<()> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("powercut".into()), MountOption::DefaultPermissions];
        let served = Served { image: Arc::clone(&self.image), power: self.power.clone() };
        self.session = Some(Session::new(served, &self.mountpoint, &config)?.spawn()?);
        Ok(())
    }

    fn unplug(&mut self) -> io::Result<()> {
        match self.session.take() {
            Some(session) => session.umount_and_join(),
            None => Ok(()),
        }
    }

    /// A new disk in its place.
    pub fn replace(&mut self) -> io::Result<()> {
        self.replace_with(&Image::new(owner()))
    }

    /// A copy of another one, or of an earlier state of this one, in its place.
    pub fn replace_with(&mut self, image: &Image) -> io::Result<()> {
        self.unplug()?;
        self.image.lock().clone_from(image);
        self.plug_in()
    }

    /// All that is on it now, to be put back later.
    pub fn copy(&self) -> Image {
        self.image.lock().clone()
    }

    /// The power has gone, and nobody uses the disk any more: what was not flushed is lost or torn. It can be used again
    /// when the power is on.
    pub fn cut(&mut self, chance: &dyn Chance) -> io::Result<()> {
        assert!(self.power.is_off(), "the power goes first");
        self.unplug()?;
        self.image.lock().cut(chance);
        self.plug_in()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Busy after a failure, when its processes are just ending.
        if self.unplug().is_err() {
            crate::fixture::detach(&self.mountpoint);
        }
    }
}

fn owner() -> (u32, u32) {
    (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())
}

struct Served {
    image: Arc<Mutex<Image>>,
    power: Power,
}

impl Served {
    /// Works on the image, atomically, while there is power.
    fn with<T>(&self, work: impl FnOnce(&mut Image) -> Result<T, Errno>) -> Result<T, Errno> {
        let mut image = self.image.lock();
        if self.power.is_off() { Err(Errno::EIO) } else { work(&mut image) }
    }

    /// The same for what changes something.
    fn change<T>(&self, work: impl FnOnce(&mut Image) -> Result<T, Errno>) -> Result<T, Errno> {
        let mut image = self.image.lock();
        if self.power.spend(false) { work(&mut image) } else { Err(Errno::EIO) }
    }

    /// The same for what flushes something.
    fn flushed(&self, work: impl FnOnce(&mut Image) -> Result<(), Errno>) -> Result<(), Errno> {
        let mut image = self.image.lock();
        if self.power.spend(true) { work(&mut image) } else { Err(Errno::EIO) }
    }

    fn done(reply: ReplyEmpty, outcome: Result<(), Errno>) {
        match outcome {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn entry(reply: ReplyEntry, made: Result<FileAttr, Errno>) {
        match made {
            Ok(attr) => reply.entry(&TRUST, &attr, Generation(0)),
            Err(errno) => reply.error(errno),
        }
    }

    fn make(&self, caller: &Request, place: (u64, &OsStr), kind: FileType, mode: u32) -> Result<FileAttr, Errno> {
        self.change(|image| image.make(place, kind, mode, (caller.uid(), caller.gid())))
    }
}

fn time(set: TimeOrNow) -> SystemTime {
    match set {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.with(|image| {
            let ino = image.find(parent.0, name)?;
            Ok(image.node(ino)?.attr())
        });
        Self::entry(reply, found);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.with(|image| Ok(image.node(ino.0)?.attr())) {
            Ok(attr) => reply.attr(&TRUST, &attr),
            // So that a dead disk can be unmounted.
            Err(_) if ino.0 == ROOT => reply.attr(&TRUST, &self.image.lock().node(ROOT).expect("the root").attr()),
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
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changed = self.change(|image| {
            let node = image.node(ino.0)?;
            if let Some(size) = size {
                node.content.set_length(size);
            }
            let attr = &mut node.attr;
            attr.perm = mode.map_or(attr.perm, |mode| (mode & 0o7777) as u16);
            attr.uid = uid.unwrap_or(attr.uid);
            attr.gid = gid.unwrap_or(attr.gid);
            attr.atime = accessed.map_or(attr.atime, time);
            attr.mtime = modified.map_or(attr.mtime, time);
            Ok(node.attr())
        });
        match changed {
            Ok(attr) => reply.attr(&TRUST, &attr),
            Err(errno) => reply.error(errno),
        }
    }

    fn mknod(&self, caller: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, _: u32, reply: ReplyEntry) {
        let kind = rustix::fs::FileType::from_raw_mode(mode);
        let kind = if kind == rustix::fs::FileType::Socket { FileType::Socket } else { FileType::RegularFile };
        Self::entry(reply, self.make(caller, (parent.0, name), kind, mode));
    }

    fn mkdir(&self, caller: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        Self::entry(reply, self.make(caller, (parent.0, name), FileType::Directory, mode));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        Self::done(reply, self.change(|image| image.remove(parent.0, name)));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        Self::done(reply, self.change(|image| image.remove(parent.0, name)));
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
        Self::done(reply, self.change(|image| image.rename((parent.0, name), (new_parent.0, new_name))));
    }

    fn link(&self, _: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let linked = self.change(|image| {
            image.add((parent.0, name), ino.0)?;
            Ok(image.node(ino.0)?.attr())
        });
        Self::entry(reply, linked);
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let is_cut = OFlags::from_bits_retain(flags.0.cast_unsigned()).contains(OFlags::TRUNC);
        let opened = self.with(|image| {
            let node = image.node(ino.0)?;
            if is_cut {
                node.content.set_length(0);
            }
            Ok(())
        });
        match opened {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn create(&self, caller: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, _: i32, reply: ReplyCreate) {
        match self.make(caller, (parent.0, name), FileType::RegularFile, mode) {
            Ok(attr) => reply.created(&TRUST, &attr, Generation(0), FileHandle(0), FopenFlags::empty()),
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
        match self.with(|image| Ok(image.node(ino.0)?.content.read(offset, length as usize))) {
            Ok(bytes) => reply.data(&bytes),
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
        let written = self.change(|image| {
            image.node(ino.0)?.content.write(offset, data);
            Ok(())
        });
        match written {
            Ok(()) => reply.written(data.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mode = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        let done = self.change(|image| {
            let content = &mut image.node(ino.0)?.content;
            if mode.contains(FallocateFlags::PUNCH_HOLE) {
                let end = (offset + length).min(content.length);
                content.zero(offset, end.saturating_sub(offset));
                Ok(())
            } else {
                Err(Errno::EOPNOTSUPP)
            }
        });
        Self::done(reply, done);
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let flushed = self.flushed(|image| {
            image.node(ino.0)?.content.flush();
            Ok(())
        });
        Self::done(reply, flushed);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let flushed = self.flushed(|image| {
            image.flush_directory(ino.0);
            Ok(())
        });
        Self::done(reply, flushed);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Never asked again: a close makes nothing durable.
        reply.error(Errno::ENOSYS);
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, after: u64, mut reply: ReplyDirectory) {
        let listed = self.with(|image| {
            let names = image.node(ino.0)?.names.clone();
            names.into_iter().map(|(name, ino)| Ok((name, ino, image.node(ino)?.attr.kind))).collect()
        });
        let entries: Vec<_> = match listed {
            Ok(entries) => entries,
            Err(errno) => return reply.error(errno),
        };
        for (index, (name, ino, kind)) in entries.into_iter().enumerate().skip(after as usize) {
            if reply.add(INodeNo(ino), index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        reply.statfs(BLOCKS, BLOCKS / 2, BLOCKS / 2, BLOCKS, BLOCKS / 2, 4096, 255, 4096);
    }
}
