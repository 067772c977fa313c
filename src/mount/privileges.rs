//! What a change of a file costs it, and which extended attributes are whose: the part of permissions that the kernel
//! leaves to us.

use super::{
    Invalidator, Options, SOCKET_ATTRIBUTE,
    caller::{Caller, Capability},
    convert,
    door::Door,
    work::xattr_mode,
};
use crate::{
    base::Ino,
    bucket::{Attr, Bucket, Error, SetAttr},
};

/// Access control lists: what goes for them, and the one that goes with the mode.
const ACL_PREFIX: &[u8] = b"system.posix_acl_";
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const TRUSTED_PREFIX: &[u8] = b"trusted.";
/// What a program may do that root alone could do otherwise (setcap(8)).
const CAPABILITY: &[u8] = b"security.capability";

/// To be called before the bytes of a file change: takes its capabilities away, and its set-user-id bits unless the caller is
/// privileged. The kernel says of writes whether it is, and of no other call; it does not expect another mode from any, so
/// that it has to be told.
pub(super) fn strip(
    bucket: &Bucket,
    kernel: Option<&Invalidator>,
    caller: Caller,
    ino: Ino,
    is_privileged: impl FnOnce() -> bool,
) -> Result<(), Error> {
    drop_capability(bucket, ino)?;
    let mode = stripped(bucket, caller, ino)?;
    if mode.is_some() && !is_privileged() {
        set_mode(bucket, ino, mode)?;
        if let Some(kernel) = kernel {
            kernel.forget_attributes(ino).map_err(|error| Error::Unreadable(error.to_string()))?;
        }
    }
    Ok(())
}

/// `setattr`, with what goes at a change of size and, whoever makes it, of the owner (FUSE_HANDLE_KILLPRIV_V2).
pub(super) fn change(bucket: &Bucket, caller: Caller, ino: Ino, mut set: SetAttr) -> Result<Attr, Error> {
    // chown(2) to nobody in particular comes as a change of nothing but, sometimes, the time of it.
    let is_chown = set == SetAttr { changed: set.changed, ..SetAttr::default() };
    let is_given_away = set.uid.is_some() || set.gid.is_some() || is_chown;
    if is_given_away || set.size.is_some() {
        drop_capability(bucket, ino)?;
        let mode = if set.mode.is_none() { stripped(bucket, caller, ino)? } else { None };
        if mode.is_some() && (is_given_away || !keeps_set_id(caller)) {
            set.mode = mode;
        }
    }
    bucket.setattr(ino, set)
}

/// Whether a caller leaves set-user-id bits on what it changes.
pub(super) fn keeps_set_id(caller: Caller) -> bool {
    caller.is_capable(Capability::KeepSetId)
}

fn stripped(bucket: &Bucket, caller: Caller, ino: Ino) -> Result<Option<u32>, Error> {
    let leaves_group = |gid| caller.is_in_group(gid) || keeps_set_id(caller);
    Ok(convert::without_privilege(&bucket.getattr(ino)?, leaves_group))
}

fn set_mode(bucket: &Bucket, ino: Ino, mode: Option<u32>) -> Result<(), Error> {
    bucket.setattr(ino, SetAttr { mode, ..SetAttr::default() }).map(|_| ())
}

fn drop_capability(bucket: &Bucket, ino: Ino) -> Result<(), Error> {
    match bucket.removexattr(ino, CAPABILITY) {
        Err(Error::NoAttribute) => Ok(()),
        outcome => outcome,
    }
}

/// Access control lists are in force where the kernel checks permissions, and shows the mode that goes with them.
pub(super) fn has_acls(options: &Options) -> bool {
    options.default_permissions && options.umask.is_none()
}

impl Door {
    /// Refuses what is not to be changed through the mount.
    pub(super) fn check_attribute(&self, name: &[u8]) -> Result<(), Error> {
        if name == SOCKET_ATTRIBUTE.as_bytes() {
            return Err(Error::NotPermitted);
        }
        if name.starts_with(ACL_PREFIX) && !has_acls(&self.options) {
            return Err(Error::Unsupported);
        }
        Ok(())
    }

    /// `setxattr`. A new access list costs the set-group-id bit unless the caller is of the owning group or privileged.
    pub(super) fn set_attribute(
        &self,
        caller: Caller,
        ino: Ino,
        (name, value): (&[u8], &[u8]),
        flags: i32,
    ) -> Result<(), Error> {
        self.check_attribute(name)?;
        if name == ACCESS_ACL {
            let attr = self.bucket.getattr(ino)?;
            let is_set = attr.mode & convert::SET_GROUP_ID != 0;
            if is_set && !caller.is_in_group(attr.gid) && !keeps_set_id(caller) {
                set_mode(&self.bucket, ino, Some(attr.mode & !convert::SET_GROUP_ID))?;
            }
        }
        self.bucket.setxattr(ino, name, value, xattr_mode(flags)?)
    }

    /// `listxattr`: each name with a NUL behind it. Trusted ones are for those who may read them, which the kernel checks
    /// of the values only.
    pub(super) fn list_attributes(&self, caller: Caller, ino: Ino) -> Result<Vec<u8>, Error> {
        let mut names = self.bucket.listxattr(ino)?;
        let is_trusted = |name: &Vec<u8>| name.starts_with(TRUSTED_PREFIX);
        if names.iter().any(is_trusted) && !caller.is_capable(Capability::Administer) {
            names.retain(|name| !is_trusted(name));
        }
        names.retain(|name| self.check_attribute(name).is_ok());
        Ok(names.into_iter().flat_map(|name| name.into_iter().chain([0])).collect())
    }
}
