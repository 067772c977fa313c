//! Each request of the kernel as a call of the bucket.

use std::{ffi::OsStr, io, os::unix::ffi::OsStrExt, path::Path, sync::Arc, time::SystemTime};

use bytes::Bytes;
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, INodeNo, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags, ReplyAttr, ReplyBmap,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek,
    ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, TimeOrNow, WriteFlags,
};

use super::{
    SOCKET_ATTRIBUTE,
    caller::Caller,
    convert,
    door::{Door, Refuse, Request},
    privileges::{change, keeps_set_id, strip},
    ranges::{allocation, flush_kernel, seek},
    work::{GENERATION, may_write, new_inode, note_written, send_attr, send_xattr, wanted},
};
use crate::{
    base::limits,
    bucket::{Attr, Bucket, Error, FileKind, NewInode, SetAttr},
};

const STATFS_BLOCK_BYTES: u32 = 4096;

impl Filesystem for Door {
    fn init(&mut self, _: &fuser::Request, config: &mut KernelConfig) -> io::Result<()> {
        for flag in wanted(&self.options) {
            if let Err(missing) = config.add_capabilities(flag) {
                tracing::debug!(op = "init", ?missing, "the kernel does not have it");
            }
        }
        // Each setter answers an impossible value with the nearest possible one.
        if let Err(nearest) = config.set_max_write(limits::KERNEL_REQUEST_BYTES) {
            config.set_max_write(nearest).map_err(|_| io::Error::other("the kernel's write size"))?;
        }
        if let Err(nearest) = config.set_max_readahead(limits::KERNEL_READAHEAD_BYTES) {
            config.set_max_readahead(nearest).map_err(|_| io::Error::other("the kernel's read-ahead"))?;
        }
        if let Err(nearest) = config.set_max_background(limits::KERNEL_BACKGROUND) {
            config.set_max_background(nearest).map_err(|_| io::Error::other("the kernel's background requests"))?;
        }
        Ok(())
    }

    fn lookup(&self, _: &fuser::Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let work = |bucket: &Bucket| match bucket.lookup(convert::ino(parent), name.as_bytes()) {
            Ok(attr) => {
                self.remember(&attr);
                Ok(Some(attr))
            }
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        };
        self.answer(Request::new("lookup", parent), reply, work, |reply, attr| match attr {
            Some(attr) => self.entry(reply, &attr),
            None => reply.entry(&limits::KERNEL_TRUST, &convert::absent(), GENERATION),
        });
    }

    // The library turns a batch into single ones.
    fn forget(&self, _: &fuser::Request, ino: INodeNo, count: u64) {
        // Nobody waits for an answer; what went wrong is logged.
        let _ = self.attempt(Request::new("forget", ino), |bucket| {
            bucket.forget(convert::ino(ino), count);
            Ok(())
        });
    }

    fn getattr(&self, _: &fuser::Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let work = |bucket: &Bucket| bucket.getattr(convert::ino(ino));
        self.answer(Request::new("getattr", ino), reply, work, |reply, attr| send_attr(reply, &attr, &self.options));
    }

    fn setattr(
        &self,
        caller: &fuser::Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        changed: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = SetAttr {
            mode: mode.map(convert::permissions),
            uid,
            gid,
            size,
            accessed: accessed.map(convert::set_time),
            modified: modified.map(convert::set_time),
            changed: changed.map(convert::timestamp),
        };
        let (caller, options) = (Caller::of(caller), Arc::clone(&self.options));
        let work = move |bucket: &Bucket| {
            let noted = handle.and_then(|_| note_written(bucket, convert::ino(ino), &set));
            noted.unwrap_or_else(|| change(bucket, caller, convert::ino(ino), set))
        };
        let send = move |reply, attr: Attr| send_attr(reply, &attr, &options);
        self.answer_of_file(Request::new("setattr", ino), reply, work, send);
    }

    fn readlink(&self, _: &fuser::Request, ino: INodeNo, reply: ReplyData) {
        let work = |bucket: &Bucket| bucket.readlink(convert::ino(ino));
        self.answer(Request::new("readlink", ino), reply, work, |reply, target| reply.data(&target));
    }

    fn mknod(
        &self,
        caller: &fuser::Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let Some(kind) = convert::node_kind(mode) else { return reply.refuse(Errno::EINVAL) };
        let new = NewInode { rdev, ..new_inode(caller, kind, mode, umask) };
        self.make_node(Request::new("mknod", parent), name, new, reply);
    }

    fn mkdir(&self, caller: &fuser::Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let new = new_inode(caller, FileKind::Directory, mode, umask);
        self.make_node(Request::new("mkdir", parent), name, new, reply);
    }

    fn symlink(&self, caller: &fuser::Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let target = target.as_os_str().as_bytes().to_vec();
        let new = NewInode { target, ..new_inode(caller, FileKind::Symlink, 0o777, 0) };
        self.make_node(Request::new("symlink", parent), name, new, reply);
    }

    fn unlink(&self, _: &fuser::Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let work = |bucket: &Bucket| bucket.unlink(convert::ino(parent), name.as_bytes());
        self.answer(Request::new("unlink", parent), reply, work, |reply, ()| reply.ok());
    }

    fn rmdir(&self, _: &fuser::Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let work = |bucket: &Bucket| bucket.rmdir(convert::ino(parent), name.as_bytes());
        self.answer(Request::new("rmdir", parent), reply, work, |reply, ()| reply.ok());
    }

    fn rename(
        &self,
        _: &fuser::Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let places = [(convert::ino(parent), name), (convert::ino(new_parent), new_name)];
        self.rename_entry(Request::new("rename", parent), places, flags, reply);
    }

    fn link(&self, _: &fuser::Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let work = |bucket: &Bucket| {
            let attr = bucket.link(convert::ino(ino), convert::ino(parent), name.as_bytes())?;
            self.remember(&attr);
            Ok(attr)
        };
        self.answer(Request::new("link", ino), reply, work, |reply, attr| self.entry(reply, &attr));
    }

    fn open(&self, caller: &fuser::Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let work = |_: &Bucket| self.open_file(Caller::of(caller), convert::ino(ino), flags.0);
        self.answer(Request::new("open", ino), reply, work, |reply, handle| {
            reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE);
        });
    }

    fn create(
        &self,
        caller: &fuser::Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let new = new_inode(caller, FileKind::File, mode, umask);
        let work = |_: &Bucket| self.create_file(Caller::of(caller), (parent, name), new, flags);
        self.answer(Request::new("create", parent), reply, work, |reply, (attr, handle)| {
            let shown = convert::file_attr(&attr, &self.options);
            let flags = FopenFlags::FOPEN_KEEP_CACHE;
            reply.created(&limits::KERNEL_TRUST, &shown, GENERATION, FileHandle(handle), flags);
        });
    }

    fn read(
        &self,
        caller: &fuser::Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let request = Request::new("read", ino).by(caller);
        let ino = convert::ino(ino);
        match self.attempt(request, |bucket| bucket.read_now(ino, offset, length)) {
            Ok(Ok(bytes)) => {
                // Before the answer, after which the file may be closed.
                let further = self.bucket.note_read(ino, handle.0, offset, length);
                reply.data(&bytes);
                if let Some(further) = further {
                    let _runtime = self.runtime.enter();
                    // The read is answered; a defect here is told where it is caught.
                    let _ = self.attempt(request, |bucket| {
                        bucket.read_further(further);
                        Ok(())
                    });
                }
            }
            Ok(Err(begun)) => {
                let bucket = self.bucket.clone();
                let work = async move { bucket.read_on(begun, handle.0).await };
                self.answer_later(request, reply, work, |reply, bytes: Bytes| reply.data(&bytes));
            }
            Err(errno) => reply.refuse(errno),
        }
    }

    fn write(
        &self,
        caller: &fuser::Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let request = Request::new("write", ino).by(caller);
        let ino = convert::ino(ino);
        let is_written_back = write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        if is_written_back && let Some(place) = self.place_in_line(request.file, data) {
            self.write_in_line(request, (offset, data), place, reply);
            return;
        }
        let now = self.attempt(request, |bucket| {
            // What the kernel writes back has cost its privileges when it was written; those of now are newer.
            if !is_written_back {
                let is_privileged = || !write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
                strip(bucket, self.invalidator.get(), request.caller, ino, is_privileged)?;
            }
            bucket.write_now(ino, offset, data)
        });
        match now {
            Ok(Some(written)) => reply.written(written),
            Ok(None) => {
                let (bucket, data) = (self.bucket.clone(), Bytes::copy_from_slice(data));
                let work = async move { bucket.write(ino, offset, data).await };
                self.answer_later(request, reply, work, |reply, written| reply.written(written));
            }
            Err(errno) => reply.refuse(errno),
        }
    }

    fn release(
        &self,
        _: &fuser::Request,
        ino: INodeNo,
        handle: FileHandle,
        flags: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let work = |bucket: &Bucket| {
            bucket.release(convert::ino(ino), handle.0, may_write(flags.0));
            Ok(())
        };
        self.answer(Request::new("release", ino), reply, work, |reply, ()| reply.ok());
    }

    fn fsync(&self, caller: &fuser::Request, ino: INodeNo, _: FileHandle, data_only: bool, reply: ReplyEmpty) {
        self.answer_flush(Request::new("fsync", ino).by(caller), ino, data_only, reply);
    }

    fn fsyncdir(&self, caller: &fuser::Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.answer_flush(Request::new("fsyncdir", ino).by(caller), ino, false, reply);
    }

    fn opendir(&self, _: &fuser::Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(self.listings.open()), FopenFlags::empty());
    }

    fn readdir(&self, _: &fuser::Request, ino: INodeNo, handle: FileHandle, after: u64, mut reply: ReplyDirectory) {
        let outcome = self.attempt(Request::new("readdir", ino), |_| {
            self.list((convert::ino(ino), handle.0), after, |item| {
                let name = OsStr::from_bytes(&item.name);
                Ok(reply.add(convert::number(item.ino), item.cookie, convert::file_type(item.kind), name))
            })
        });
        match outcome {
            Ok(()) => reply.ok(),
            Err(errno) => reply.refuse(errno),
        }
    }

    fn readdirplus(
        &self,
        _: &fuser::Request,
        ino: INodeNo,
        handle: FileHandle,
        after: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let outcome = self.attempt(Request::new("readdirplus", ino), |_| {
            self.list((convert::ino(ino), handle.0), after, |item| self.add_plus(&mut reply, item))
        });
        match outcome {
            Ok(()) => reply.ok(),
            Err(errno) => reply.refuse(errno),
        }
    }

    fn releasedir(&self, _: &fuser::Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.listings.close(handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &fuser::Request, ino: INodeNo, reply: ReplyStatfs) {
        let work = |bucket: &Bucket| Ok(bucket.statfs());
        self.answer(Request::new("statfs", ino), reply, work, |reply, space| {
            let block = u64::from(STATFS_BLOCK_BYTES);
            let free = space.free_bytes / block;
            // There is no table of inodes to run out of: as many more as blocks are free.
            let inodes = space.inodes.saturating_add(free);
            let (size, name) = (STATFS_BLOCK_BYTES, limits::NAME_BYTES as u32);
            reply.statfs(space.total_bytes / block, free, free, inodes, free, size, name, size);
        });
    }

    fn getxattr(&self, _: &fuser::Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        if name.as_bytes() == SOCKET_ATTRIBUTE.as_bytes() {
            return send_xattr(reply, size, self.options.socket.as_os_str().as_bytes());
        }
        let work = |bucket: &Bucket| {
            self.check_attribute(name.as_bytes())?;
            bucket.getxattr(convert::ino(ino), name.as_bytes())
        };
        self.answer(Request::new("getxattr", ino), reply, work, |reply, value| send_xattr(reply, size, &value));
    }

    fn setxattr(
        &self,
        caller: &fuser::Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let attribute = (name.as_bytes(), value);
        let work = |_: &Bucket| self.set_attribute(Caller::of(caller), convert::ino(ino), attribute, flags);
        self.answer(Request::new("setxattr", ino), reply, work, |reply, ()| reply.ok());
    }

    fn listxattr(&self, caller: &fuser::Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let work = |_: &Bucket| self.list_attributes(Caller::of(caller), convert::ino(ino));
        self.answer(Request::new("listxattr", ino), reply, work, |reply, names| send_xattr(reply, size, &names));
    }

    fn removexattr(&self, _: &fuser::Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let work = |bucket: &Bucket| {
            self.check_attribute(name.as_bytes())?;
            bucket.removexattr(convert::ino(ino), name.as_bytes())
        };
        self.answer(Request::new("removexattr", ino), reply, work, |reply, ()| reply.ok());
    }

    fn fallocate(
        &self,
        caller: &fuser::Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let request = Request::new("fallocate", ino).by(caller);
        let kernel = self.invalidator.get().cloned();
        let work = move |bucket: &Bucket| {
            let (allocation, is_size_kept) = allocation(mode)?;
            strip(bucket, kernel.as_ref(), request.caller, convert::ino(ino), || keeps_set_id(request.caller))?;
            bucket.fallocate(convert::ino(ino), offset..offset.saturating_add(length), allocation, is_size_kept)
        };
        self.answer_blocking(request, reply, work, |reply, ()| reply.ok());
    }

    fn lseek(&self, caller: &fuser::Request, ino: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let kernel = self.invalidator.get().cloned();
        let work = move |bucket: &Bucket| {
            let (seek, offset) = seek(whence, offset)?;
            flush_kernel(bucket, convert::ino(ino), kernel.as_ref())?;
            bucket.seek(convert::ino(ino), offset, seek)
        };
        let send = |reply: ReplyLseek, offset| reply.offset(i64::try_from(offset).unwrap_or(i64::MAX));
        self.answer_blocking(Request::new("lseek", ino).by(caller), reply, work, send);
    }

    fn copy_file_range(
        &self,
        caller: &fuser::Request,
        source: INodeNo,
        _: FileHandle,
        source_offset: u64,
        target: INodeNo,
        _: FileHandle,
        target_offset: u64,
        length: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let request = Request::new("copy_file_range", source).by(caller);
        let kernel = self.invalidator.get().cloned();
        // The answer has 32 bits.
        let length = length.min(u64::from(u32::MAX));
        let work = move |bucket: &Bucket| {
            let (source, target) = (convert::ino(source), convert::ino(target));
            strip(bucket, kernel.as_ref(), request.caller, target, || keeps_set_id(request.caller))?;
            bucket.copy_range((source, source_offset), (target, target_offset), length)
        };
        let send = |reply: ReplyWrite, copied| reply.written(u32::try_from(copied).unwrap_or(u32::MAX));
        self.answer_blocking(request, reply, work, send);
    }

    // What follows is answered with "no such call", and the kernel does it by itself from then on: access is granted
    // after its own check, and close(2) ends when the kernel has written back what was written and when: with the times a
    // small file goes into the log.

    fn flush(&self, _: &fuser::Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn access(&self, _: &fuser::Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn bmap(&self, _: &fuser::Request, _: INodeNo, _: u32, _: u64, reply: ReplyBmap) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _: &fuser::Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn poll(
        &self,
        _: &fuser::Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }
}
