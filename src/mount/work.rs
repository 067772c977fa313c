//! What a request needs besides one call of the bucket: entries and their counts, opening, listing, flags.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use fuser::{
    Errno, Generation, INodeNo, InitFlags, RenameFlags, ReplyAttr, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyXattr,
};
use rustix::fs::{OFlags, XattrFlags};

use super::{
    Options,
    caller::Caller,
    convert,
    door::{Door, Refuse, Request},
    privileges::{has_acls, keeps_set_id, strip},
};
use crate::{
    base::{Ino, limits},
    bucket::{Attr, Bucket, DirItem, Error, FileKind, NewInode, RenameMode, SetAttr, XattrMode},
};

/// Inode numbers are never used twice.
pub(super) const GENERATION: Generation = Generation(0);
/// Cookies of `.` and `..`; the bucket's begin at [`FIRST_COOKIE`].
const SELF_COOKIE: u64 = 1;
const PARENT_COOKIE: u64 = 2;
const FIRST_COOKIE: u64 = 16;

impl Door {
    pub(super) fn entry(&self, reply: ReplyEntry, attr: &Attr) {
        reply.entry(&limits::KERNEL_TRUST, &convert::file_attr(attr, &self.options), GENERATION);
    }

    /// Makes below the directory that the request is about.
    pub(super) fn make_node(&self, request: Request, name: &OsStr, new: NewInode, reply: ReplyEntry) {
        let work = |_: &Bucket| self.make(INodeNo(request.file), name.as_bytes(), new);
        self.answer(request, reply, work, |reply, attr| self.entry(reply, &attr));
    }

    /// Renames, on a thread that may wait for the disk where that is needed.
    pub(super) fn rename_entry(
        &self,
        request: Request,
        [(parent, name), (new_parent, new_name)]: [(Ino, &OsStr); 2],
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (name, new_name) = (name.as_bytes(), new_name.as_bytes());
        let now =
            self.attempt(request, |bucket| bucket.rename_now(parent, name, new_parent, new_name, rename_mode(flags)?));
        match now {
            Ok(Some(())) => reply.ok(),
            Ok(None) => {
                let (name, new_name) = (name.to_vec(), new_name.to_vec());
                let work =
                    move |bucket: &Bucket| bucket.rename(parent, &name, new_parent, &new_name, rename_mode(flags)?);
                self.answer_blocking(request, reply, work, |reply, ()| reply.ok());
            }
            Err(errno) => reply.refuse(errno),
        }
    }

    /// Opens, truncating if asked to.
    pub(super) fn open_file(&self, caller: Caller, ino: Ino, flags: i32) -> Result<u64, Error> {
        if open_flags(flags).contains(OFlags::TRUNC) {
            strip(&self.bucket, self.invalidator.get(), caller, ino, || keeps_set_id(caller))?;
            self.bucket.setattr(ino, SetAttr { size: Some(0), ..SetAttr::default() })?;
        }
        self.bucket.open(ino, may_write(flags))
    }

    /// Makes and opens; opens what somebody else has made in the meantime, unless that is forbidden.
    pub(super) fn create_file(
        &self,
        caller: Caller,
        place: (INodeNo, &OsStr),
        new: NewInode,
        flags: i32,
    ) -> Result<(Attr, u64), Error> {
        let (parent, name) = (place.0, place.1.as_bytes());
        match self.make(parent, name, new) {
            Ok(attr) => Ok((attr, self.bucket.open(attr.ino, may_write(flags))?)),
            Err(Error::Exists) if !open_flags(flags).contains(OFlags::EXCL) => {
                let ino = self.bucket.lookup(convert::ino(parent), name)?.ino;
                let handle = self.open_file(caller, ino, flags)?;
                let attr = self.bucket.getattr(ino)?;
                self.remember(&attr);
                Ok((attr, handle))
            }
            Err(error) => Err(error),
        }
    }

    /// Calls `add` for each entry after the cookie that this listing of a directory shows, until it says that the reply is
    /// full.
    pub(super) fn list(
        &self,
        (ino, listing): (Ino, u64),
        after: u64,
        mut add: impl FnMut(&DirItem) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let last_shown = self.listings.last(listing, after < FIRST_COOKIE, || self.bucket.newest_cookie());
        let dot = |cookie, ino, name: &[u8]| DirItem { cookie, ino, kind: FileKind::Directory, name: name.to_vec() };
        if after < SELF_COOKIE && add(&dot(SELF_COOKIE, ino, b"."))? {
            return Ok(());
        }
        if after < PARENT_COOKIE && add(&dot(PARENT_COOKIE, self.bucket.parent(ino)?, b".."))? {
            return Ok(());
        }
        let mut after = if after < FIRST_COOKIE { 0 } else { after };
        loop {
            let items = self.bucket.readdir(ino, after, limits::DIRECTORY_PAGE)?;
            let Some(last) = items.last() else { return Ok(()) };
            after = last.cookie;
            for item in &items {
                if item.cookie > last_shown || add(item)? {
                    return Ok(());
                }
            }
        }
    }

    pub(super) fn add_plus(&self, reply: &mut ReplyDirectoryPlus, item: &DirItem) -> Result<bool, Error> {
        let attr = match self.bucket.getattr(item.ino) {
            Ok(attr) => attr,
            // Unlinked since it was listed.
            Err(Error::NotFound | Error::Stale) => return Ok(false),
            Err(error) => return Err(error),
        };
        let shown = convert::file_attr(&attr, &self.options);
        let name = OsStr::from_bytes(&item.name);
        let is_full = reply.add(shown.ino, item.cookie, name, &limits::KERNEL_TRUST, &shown, GENERATION);
        // The kernel does not count `.` and `..`.
        if !is_full && item.cookie >= FIRST_COOKIE {
            self.remember(&attr);
        }
        Ok(is_full)
    }
}

/// The attributes of a file, for as long as the kernel likes.
pub(super) fn send_attr(reply: ReplyAttr, attr: &Attr, options: &Options) {
    reply.attr(&limits::KERNEL_TRUST, &convert::file_attr(attr, options));
}

/// What the kernel tells of a file that it has written, before the flush or fsync that stores it: with a handle, which no
/// program's own change of times has.
pub(super) fn note_written(bucket: &Bucket, ino: Ino, set: &SetAttr) -> Option<Result<Attr, Error>> {
    match *set {
        SetAttr { mode: None, uid: None, gid: None, size: None, accessed: None, modified, changed } => {
            Some(bucket.note_written(ino, modified?, changed?))
        }
        _ => None,
    }
}

pub(super) fn open_flags(flags: i32) -> OFlags {
    OFlags::from_bits_retain(flags.cast_unsigned())
}

/// Whether a file opened with these flags can be written to.
pub(super) fn may_write(flags: i32) -> bool {
    open_flags(flags).intersects(OFlags::WRONLY | OFlags::RDWR)
}

pub(super) fn new_inode(caller: &fuser::Request, kind: FileKind, mode: u32, umask: u32) -> NewInode {
    let mode = convert::permissions(mode);
    NewInode { kind, mode, umask, uid: caller.uid(), gid: caller.gid(), rdev: 0, target: Vec::new() }
}

pub(super) fn rename_mode(flags: RenameFlags) -> Result<RenameMode, Error> {
    if flags.is_empty() {
        Ok(RenameMode::Replace)
    } else if flags == RenameFlags::RENAME_NOREPLACE {
        Ok(RenameMode::NoReplace)
    } else if flags == RenameFlags::RENAME_EXCHANGE {
        Ok(RenameMode::Exchange)
    } else {
        Err(Error::Invalid("rename takes NOREPLACE or EXCHANGE only"))
    }
}

pub(super) fn xattr_mode(flags: i32) -> Result<XattrMode, Error> {
    match XattrFlags::from_bits_retain(flags.cast_unsigned()) {
        XattrFlags::CREATE => Ok(XattrMode::Create),
        XattrFlags::REPLACE => Ok(XattrMode::Replace),
        flags if flags.is_empty() => Ok(XattrMode::Set),
        _ => Err(Error::Invalid("setxattr takes CREATE or REPLACE only")),
    }
}

/// getxattr(2) and listxattr(2): size 0 asks how large, a size too small is refused.
pub(super) fn send_xattr(reply: ReplyXattr, size: u32, value: &[u8]) {
    match u32::try_from(value.len()) {
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if length <= size => reply.data(value),
        Ok(_) => reply.error(Errno::ERANGE),
        Err(_) => reply.error(Errno::E2BIG),
    }
}

/// Refused, if the kernel does not have them, without harm.
pub(super) fn wanted(options: &Options) -> impl Iterator<Item = InitFlags> {
    let always = [
        InitFlags::FUSE_WRITEBACK_CACHE,
        InitFlags::FUSE_DO_READDIRPLUS,
        InitFlags::FUSE_READDIRPLUS_AUTO,
        InitFlags::FUSE_PARALLEL_DIROPS,
        InitFlags::FUSE_CACHE_SYMLINKS,
        InitFlags::FUSE_ATOMIC_O_TRUNC,
        InitFlags::FUSE_ASYNC_DIO,
        InitFlags::FUSE_MAX_PAGES,
        // Pages go when we say so, not when a reply has another time or size.
        InitFlags::FUSE_EXPLICIT_INVAL_DATA,
        // The kernel then need not ask for security.capability before every write.
        InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        // The umask is left to us, because a default access control list takes its place.
        InitFlags::FUSE_DONT_MASK,
    ];
    always.into_iter().chain(has_acls(options).then_some(InitFlags::FUSE_POSIX_ACL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_are_not_offered_are_refused() {
        assert_eq!(rename_mode(RenameFlags::empty()).unwrap(), RenameMode::Replace);
        assert_eq!(rename_mode(RenameFlags::RENAME_EXCHANGE).unwrap(), RenameMode::Exchange);
        assert_eq!(rename_mode(RenameFlags::RENAME_NOREPLACE).unwrap(), RenameMode::NoReplace);
        assert!(rename_mode(RenameFlags::RENAME_WHITEOUT).is_err());
        assert!(rename_mode(RenameFlags::RENAME_EXCHANGE | RenameFlags::RENAME_NOREPLACE).is_err());
        assert_eq!(xattr_mode(0).unwrap(), XattrMode::Set);
        assert_eq!(xattr_mode(1).unwrap(), XattrMode::Create);
        assert_eq!(xattr_mode(2).unwrap(), XattrMode::Replace);
        assert!(xattr_mode(3).is_err());
    }
}
