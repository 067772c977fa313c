//! Guards a bare mount point: an immutable directory takes no files while the mount is absent, and can be mounted over.

use std::{fs::File, path::Path};

use rustix::{
    fs::{IFlags, ioctl_getflags, ioctl_setflags},
    io::Errno,
};

use super::{Error, check, table};

/// Makes an empty directory immutable, so that nobody writes below an absent mount. Repeating it is no error.
///
/// Errors: `Mounted` while something is mounted there, `NotEmpty`, `GuardDenied` to anybody but root, and
/// `GuardUnsupported` where the file system has no such flag.
pub fn guard(directory: &Path) -> Result<(), Error> {
    set(directory, true)
}

/// Takes the guard away. A directory without one is no error.
pub fn unguard(directory: &Path) -> Result<(), Error> {
    set(directory, false)
}

/// Whether a directory is immutable; false where the file system has no such flag.
pub(super) fn is_guarded(directory: &Path) -> Result<bool, Error> {
    match open(directory).and_then(|file| Ok(ioctl_getflags(&file)?)) {
        Ok(flags) => Ok(flags.contains(IFlags::IMMUTABLE)),
        Err(error) if is_unsupported(Errno::from_io_error(&error)) => Ok(false),
        Err(source) => Err(Error::Io { action: "read the flags of", path: directory.to_path_buf(), source }),
    }
}

fn set(directory: &Path, is_guarded: bool) -> Result<(), Error> {
    let path = check::canonical(directory)?;
    // The flag would be one of the bucket, not of the directory below.
    if let Some(entry) = table::find(&path)? {
        return Err(Error::Mounted { by: format!("{} on {}", entry.kind, entry.source), path });
    }
    check::check_directory(&path)?;
    let change = || {
        let file = open(&path)?;
        let before = ioctl_getflags(&file)?;
        let mut after = before;
        after.set(IFlags::IMMUTABLE, is_guarded);
        if after != before { Ok(ioctl_setflags(&file, after)?) } else { Ok(()) }
    };
    change().map_err(|source: std::io::Error| match Errno::from_io_error(&source) {
        Some(Errno::PERM | Errno::ACCESS) => Error::GuardDenied(path.clone()),
        errno if is_unsupported(errno) => Error::GuardUnsupported(path.clone()),
        _ => Error::Io { action: "set the flags of", path: path.clone(), source },
    })
}

fn is_unsupported(errno: Option<Errno>) -> bool {
    matches!(errno, Some(Errno::NOTTY | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL))
}

fn open(directory: &Path) -> std::io::Result<File> {
    File::open(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_guarded_is_said() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("file"), "x").unwrap();
        assert!(matches!(guard(directory.path()), Err(Error::NotEmpty(_))));
        assert!(matches!(guard(Path::new("/proc")), Err(Error::Mounted { .. })));
        assert!(matches!(guard(Path::new("/proc/self/task")), Err(Error::NotEmpty(_))));
        assert!(matches!(guard(&directory.path().join("none")), Err(Error::Missing(_))));
    }

    #[test]
    fn a_guarded_directory_takes_no_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mnt");
        std::fs::create_dir(&path).unwrap();
        match guard(&path) {
            Ok(()) => {}
            Err(error @ (Error::GuardDenied(_) | Error::GuardUnsupported(_))) => return println!("skipped: {error}"),
            Err(error) => panic!("{error}"),
        }
        let written = std::fs::write(path.join("file"), "x");
        guard(&path).unwrap();
        assert!(is_guarded(&path).unwrap());
        unguard(&path).unwrap();
        assert!(written.is_err(), "a file was written below an absent mount");
        unguard(&path).unwrap();
        std::fs::write(path.join("file"), "x").unwrap();
    }
}
