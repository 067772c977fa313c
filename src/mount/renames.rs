//! Renames at the kernel's request.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use fuser::{RenameFlags, ReplyEmpty};

use super::{
    door::{Door, Refuse, Request},
    ranges::flush_kernel,
    work::rename_mode,
};
use crate::{
    base::Ino,
    bucket::{Bucket, Error},
};

/// The file that takes another's name while somebody writes to it, if that is what a rename is about.
fn written_replacement(bucket: &Bucket, from: (Ino, &[u8]), to: (Ino, &[u8])) -> Result<Option<Ino>, Error> {
    if let Err(Error::NotFound) = bucket.lookup(to.0, to.1) {
        return Ok(None);
    }
    let source = bucket.lookup(from.0, from.1)?.ino;
    Ok(bucket.has_writers(source)?.then_some(source))
}

impl Door {
    /// Renames. A file that takes another's name has its data ordered before, and the kernel may hold some of that as long
    /// as somebody has it open.
    pub(super) fn rename_entry(
        &self,
        request: Request,
        (parent, name): (Ino, &OsStr),
        (new_parent, new_name): (Ino, &OsStr),
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (name, new_name) = (name.as_bytes(), new_name.as_bytes());
        let now = self.attempt(request, |bucket| {
            let mode = rename_mode(flags)?;
            if written_replacement(bucket, (parent, name), (new_parent, new_name))?.is_some() {
                return Ok(None);
            }
            bucket.rename_now(parent, name, new_parent, new_name, mode)
        });
        match now {
            Ok(Some(())) => reply.ok(),
            Ok(None) => {
                let (name, new_name) = (name.to_vec(), new_name.to_vec());
                let kernel = self.invalidator.get().cloned();
                let work = move |bucket: &Bucket| {
                    if let Some(file) = written_replacement(bucket, (parent, &name), (new_parent, &new_name))? {
                        flush_kernel(bucket, file, kernel.as_ref())?;
                    }
                    bucket.rename(parent, &name, new_parent, &new_name, rename_mode(flags)?)
                };
                self.answer_blocking(request, reply, work, |reply, ()| reply.ok());
            }
            Err(errno) => reply.refuse(errno),
        }
    }
}
