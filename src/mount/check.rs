//! What must be so before mounting; each refusal is one line that says what to do.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc,
    time::Instant,
};

use rustix::fs::Access;

use super::{Error, Options, attach, guard, table};
use crate::base::limits::{CLOSING_LOOK, MOUNT_PROBE_TIMEOUT};

const DEVICE: &str = "/dev/fuse";

/// Checks that a bucket can be mounted on this directory. The remains of a mount whose daemon died are cleared away.
///
/// Blocks, for a few seconds at most. Errors: every variant but `Closed` and `Helper`.
pub fn check_mountpoint(mountpoint: &Path) -> Result<(), Error> {
    resolve(mountpoint).map(|_| ())
}

/// The same, and returns the mount point without symlinks in its path.
pub(super) fn resolve(mountpoint: &Path) -> Result<PathBuf, Error> {
    if !Path::new(DEVICE).exists() {
        return Err(Error::NoDevice);
    }
    if rustix::fs::access(DEVICE, Access::READ_OK | Access::WRITE_OK).is_err() {
        return Err(Error::DeviceDenied);
    }
    if !rustix::process::geteuid().is_root() && attach::find_helper().is_none() {
        return Err(Error::NoHelper);
    }
    let path = canonical(mountpoint)?;
    // As many as lie upon each other.
    while let Some(entry) = table::find(&path)? {
        // An automount waits there for us, and touching it would make it wait for ever.
        if entry.kind == "autofs" {
            return Ok(path);
        }
        if !entry.is_bucket() || is_alive(&path)? {
            return Err(Error::Mounted { by: format!("{} on {}", entry.kind, entry.source), path });
        }
        tracing::warn!(op = "mount", path = %path.display(), "clearing the remains of a mount whose daemon is gone");
        attach::detach(&path, true)?;
    }
    check_directory(&path)?;
    if !rustix::process::geteuid().is_root() && guard::is_guarded(&path)? {
        return Err(Error::Guarded(path));
    }
    Ok(path)
}

/// What is mounted at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occupant {
    /// A bucket, alive or not.
    Bucket,
    /// A file system of this type.
    Other(String),
}

/// What is mounted at exactly this absolute path without symlinks, as the kernel's table has it. Does not touch the path.
pub fn occupant(mountpoint: &Path) -> Result<Option<Occupant>, Error> {
    let entry = table::find(mountpoint)?;
    Ok(entry.map(|entry| if entry.is_bucket() { Occupant::Bucket } else { Occupant::Other(entry.kind) }))
}

/// How a bucket is mounted at exactly this path, as far as [`super::remount`] may change it; None when none is.
pub fn mounted(mountpoint: &Path) -> Result<Option<Options>, Error> {
    let entry = table::find(mountpoint)?.filter(table::Entry::is_bucket);
    Ok(entry.map(|entry| Options {
        is_read_only: entry.has("ro"),
        nosuid: entry.has("nosuid"),
        nodev: entry.has("nodev"),
        noexec: entry.has("noexec"),
        noatime: entry.has("noatime"),
        sync: entry.has("sync"),
        ..Options::new(mountpoint, "")
    }))
}

/// Takes a mount off, although it is in use or its daemon is dead. What is not mounted is no error.
pub fn detach_lazily(mountpoint: &Path) -> Result<(), Error> {
    attach::detach(mountpoint, true)
}

/// Takes a mount off whose daemon hangs. The kernel waits for that daemon once more when nobody uses the mount any longer,
/// so another process does it, which may stay behind. Blocks for a few seconds at most: `Slow` after that.
pub fn detach_silent(mountpoint: &Path) -> Result<(), Error> {
    let mut helper = attach::spawn_detach(mountpoint)?;
    let end = Instant::now() + MOUNT_PROBE_TIMEOUT;
    while table::find(mountpoint)?.is_some() {
        if Instant::now() > end {
            return Err(Error::Slow {
                what: "unmounting",
                path: mountpoint.to_path_buf(),
                seconds: MOUNT_PROBE_TIMEOUT.as_secs(),
            });
        }
        // The table tells nobody when it changes.
        std::thread::sleep(CLOSING_LOOK);
    }
    // It may have ended already, or wait on.
    helper.try_wait().map(|_| ()).map_err(|source| Error::Io {
        action: "watch fusermount3 for",
        path: mountpoint.into(),
        source,
    })
}

/// Resolves symlinks without touching the path itself when it is a mount point: a dead mount answers nothing.
pub(super) fn canonical(mountpoint: &Path) -> Result<PathBuf, Error> {
    let fail = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Error::Missing(mountpoint.to_path_buf()),
        io::ErrorKind::NotADirectory => Error::NotDirectory(mountpoint.to_path_buf()),
        _ => Error::Io { action: "reach", path: mountpoint.to_path_buf(), source },
    };
    let absolute = std::path::absolute(mountpoint).map_err(fail)?;
    if let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) {
        let candidate = fs::canonicalize(parent).map_err(fail)?.join(name);
        if table::find(&candidate)?.is_some() {
            return Ok(candidate);
        }
    }
    // Also reads through a symlink to a dead mount: following a link does not ask the file system behind it.
    fs::canonicalize(&absolute).map_err(fail)
}

pub(super) fn check_directory(path: &Path) -> Result<(), Error> {
    let fail = |source| Error::Io { action: "read", path: path.to_path_buf(), source };
    match fs::metadata(path) {
        Ok(meta) if !meta.is_dir() => return Err(Error::NotDirectory(path.to_path_buf())),
        Ok(_) => {}
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Err(Error::Missing(path.to_path_buf())),
        Err(source) => return Err(fail(source)),
    }
    match fs::read_dir(path).map_err(fail)?.next() {
        None => Ok(()),
        Some(Ok(_)) => Err(Error::NotEmpty(path.to_path_buf())),
        Some(Err(source)) => Err(fail(source)),
    }
}

/// Whether somebody answers for the file system mounted there: statfs is not answered from the kernel's caches.
fn is_alive(path: &Path) -> Result<bool, Error> {
    let (answer, answered) = mpsc::sync_channel(1);
    let owned = path.to_path_buf();
    // Of its own, because it may never come back when the daemon hangs; then the process exits with this error.
    std::thread::Builder::new()
        .name("mount-probe".into())
        .spawn(move || answer.send(rustix::fs::statfs(&owned).map(|_| ())))
        .map_err(|source| Error::Io { action: "probe", path: path.to_path_buf(), source })?;
    match answered.recv_timeout(MOUNT_PROBE_TIMEOUT) {
        Ok(Ok(())) => Ok(true),
        Ok(Err(rustix::io::Errno::NOTCONN | rustix::io::Errno::CONNABORTED)) => Ok(false),
        Ok(Err(error)) => Err(Error::Io { action: "probe", path: path.to_path_buf(), source: error.into() }),
        Err(_) => Err(Error::Slow {
            what: "the answer of the file system mounted on",
            path: path.to_path_buf(),
            seconds: MOUNT_PROBE_TIMEOUT.as_secs(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_is_right() {
        let dir = tempfile::tempdir().unwrap();
        check_directory(dir.path()).unwrap();
        assert_eq!(canonical(&dir.path().join(".")).unwrap(), dir.path().canonicalize().unwrap());
    }

    #[test]
    fn what_is_not_an_empty_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(check_directory(dir.path()), Err(Error::NotEmpty(_))));
        assert!(matches!(check_directory(&file), Err(Error::NotDirectory(_))));
        assert!(matches!(canonical(&dir.path().join("none")), Err(Error::Missing(_))));
        assert!(matches!(canonical(&dir.path().join("none/none")), Err(Error::Missing(_))));
        assert!(matches!(canonical(&file.join("below")), Err(Error::NotDirectory(_) | Error::Missing(_))));
    }

    #[test]
    fn a_mount_point_in_use_says_by_whom() {
        let error = check_mountpoint(Path::new("/proc")).unwrap_err();
        if matches!(error, Error::NoDevice | Error::DeviceDenied | Error::NoHelper) {
            return println!("skipped: {error}");
        }
        assert!(error.to_string().contains("already a mount point, proc on"), "{error}");
    }

    #[test]
    fn symlinks_are_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real");
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, dir.path().join("link")).unwrap();
        assert_eq!(canonical(&dir.path().join("link")).unwrap(), real.canonicalize().unwrap());
    }
}
