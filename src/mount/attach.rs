//! Attaches a file system to the tree and takes it off: mount(2) for root, the helper fusermount3 for everybody else.
//!
//! This is not left to the FUSE library, because that one unmounts the path a second time when the session has ended,
//! which takes away whatever lies below (an automount), and because as root it does not name the file system.

use std::{
    ffi::CString,
    fs::OpenOptions,
    io::IoSliceMut,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags},
};

use super::{Error, Options, table};
use crate::base::limits::MOUNT_PROBE_TIMEOUT;

const HELPER: &str = "fusermount3";

/// Attaches a new FUSE connection to the mount point; the descriptor is its other end. Blocks shortly.
pub(super) fn attach(options: &Options) -> Result<OwnedFd, Error> {
    match attach_directly(options)? {
        Some(device) => Ok(device),
        None => attach_by_helper(options),
    }
}

/// None when we may not, and the helper may.
fn attach_directly(options: &Options) -> Result<Option<OwnedFd>, Error> {
    let device = match OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        Ok(device) => device,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Error::NoDevice),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(None),
        Err(source) => return Err(Error::Io { action: "open", path: "/dev/fuse".into(), source }),
    };
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={}",
        device.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw()
    );
    for word in kernel_words(options) {
        data.push(',');
        data.push_str(word);
    }
    let data = CString::new(data).expect("numbers and words hold no NUL");
    let target = &options.mountpoint;
    match rustix::mount::mount(table::SOURCE, target.as_path(), table::KIND, flags(options), data.as_c_str()) {
        Ok(()) => Ok(Some(device.into())),
        Err(Errno::PERM) => Ok(None),
        Err(error) => Err(Error::Io { action: "mount on", path: target.clone(), source: error.into() }),
    }
}

fn kernel_words(options: &Options) -> Vec<&'static str> {
    let words = [
        (options.default_permissions, "default_permissions"),
        // The kernel knows no allow_root: the session keeps the others out.
        (options.allow_other || options.allow_root, "allow_other"),
    ];
    words.into_iter().filter_map(|(is_set, word)| is_set.then_some(word)).collect()
}

fn flag_words(options: &Options) -> impl Iterator<Item = (MountFlags, &'static str)> {
    let words = [
        (options.is_read_only, MountFlags::RDONLY, "ro"),
        (options.nosuid, MountFlags::NOSUID, "nosuid"),
        (options.nodev, MountFlags::NODEV, "nodev"),
        (options.noexec, MountFlags::NOEXEC, "noexec"),
        (options.noatime, MountFlags::NOATIME, "noatime"),
        (options.sync, MountFlags::SYNCHRONOUS, "sync"),
    ];
    words.into_iter().filter_map(|(is_set, flag, word)| is_set.then_some((flag, word)))
}

fn flags(options: &Options) -> MountFlags {
    flag_words(options).fold(MountFlags::empty(), |flags, (flag, _)| flags | flag)
}

/// Changes the flags of what is mounted: read-only, set-user-id, devices, programs, access times, synchronous writes.
/// The kernel writes back first what it holds. Errors: `Denied` to anybody but root; read-only is refused while a file
/// is open for writing.
pub fn remount(options: &Options) -> Result<(), Error> {
    let path = options.mountpoint.as_path();
    // Without a word about access times the kernel would leave noatime on.
    let atime = if options.noatime { MountFlags::empty() } else { MountFlags::RELATIME };
    rustix::mount::mount_remount(path, flags(options) | atime, c"").map_err(|error| match error {
        Errno::PERM | Errno::ACCESS => Error::RemountDenied(path.to_path_buf()),
        Errno::BUSY => Error::Busy(path.to_path_buf()),
        error => Error::Io { action: "remount", path: path.to_path_buf(), source: error.into() },
    })
}

/// The helper mounts and sends the descriptor over the socket that it gets as its standard input.
fn attach_by_helper(options: &Options) -> Result<OwnedFd, Error> {
    let path = &options.mountpoint;
    let fail = |source| Error::Io { action: "mount through fusermount3 on", path: path.clone(), source };
    let helper = find_helper().ok_or(Error::NoHelper)?;
    let (ours, theirs) = UnixStream::pair().map_err(fail)?;
    ours.set_read_timeout(Some(MOUNT_PROBE_TIMEOUT)).map_err(fail)?;
    let mut words = kernel_words(options);
    words.extend(flag_words(options).map(|(_, word)| word));
    words.extend(["fsname=openbucket", "subtype=openbucket"]);
    let child = Command::new(helper)
        .args(["-o", &words.join(","), "--"])
        .arg(path)
        .env("_FUSE_COMMFD", "0")
        .env("LC_ALL", "C")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(fail)?;
    let device = receive_descriptor(&ours);
    drop(ours);
    let output = child.wait_with_output().map_err(fail)?;
    match device.map_err(|error| fail(error.into()))? {
        Some(device) if output.status.success() => Ok(device),
        _ => Err(Error::Helper { path: path.clone(), why: one_line(&output.stderr) }),
    }
}

fn receive_descriptor(socket: &UnixStream) -> rustix::io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    rustix::io::retry_on_intr(|| rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, flags))?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(descriptor)
}

/// Takes the uppermost mount off this path; `lazily` even when it is in use, and without waiting for anything.
/// What is not mounted is no error. Blocks while the kernel writes back, unless lazy.
pub(super) fn detach(mountpoint: &Path, lazily: bool) -> Result<(), Error> {
    let mut flags = UnmountFlags::NOFOLLOW;
    if lazily {
        flags |= UnmountFlags::DETACH;
    }
    match rustix::mount::unmount(mountpoint, flags) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(Errno::BUSY) => Err(Error::Busy(mountpoint.to_path_buf())),
        Err(Errno::PERM) => detach_by_helper(mountpoint, lazily),
        Err(error) => Err(Error::Io { action: "unmount", path: mountpoint.to_path_buf(), source: error.into() }),
    }
}

fn detach_by_helper(mountpoint: &Path, lazily: bool) -> Result<(), Error> {
    let output = Command::new(find_helper().ok_or(Error::NoHelper)?)
        .arg(if lazily { "-uz" } else { "-u" })
        .arg("--")
        .arg(mountpoint)
        // Its words are read below.
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Io {
            action: "unmount through fusermount3",
            path: mountpoint.to_path_buf(),
            source,
        })?;
    if output.status.success() || table::find(mountpoint)?.is_none() {
        return Ok(());
    }
    let why = one_line(&output.stderr);
    if why.contains("busy") {
        return Err(Error::Busy(mountpoint.to_path_buf()));
    }
    Err(Error::Helper { path: mountpoint.to_path_buf(), why })
}

/// Starts the helper that takes a mount off although it is in use or its daemon hangs.
pub(super) fn spawn_detach(mountpoint: &Path) -> Result<Child, Error> {
    let fail = |source| Error::Io { action: "unmount through fusermount3", path: mountpoint.to_path_buf(), source };
    let mut command = Command::new(find_helper().ok_or(Error::NoHelper)?);
    command.args(["-uz", "--"]).arg(mountpoint).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(fail)
}

fn one_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().next().unwrap_or("it gave no reason").trim();
    line.split_once("fusermount3: ").map_or(line, |(_, why)| why).chars().take(300).collect()
}

/// The mount helper on the search path, or where packages put it.
pub(super) fn find_helper() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|dir| dir.join(HELPER)).find(|file| file.is_file())
}

/// Lets the kernel read further ahead than the 128 KiB to which the protocol is held; only root can.
pub(super) fn raise_readahead(device: &str, bytes: u32) {
    let file = PathBuf::from("/sys/class/bdi").join(device).join("read_ahead_kb");
    if let Err(error) = std::fs::write(&file, (bytes >> 10).to_string()) {
        tracing::debug!(op = "mount", path = %file.display(), %error, "the kernel keeps its usual read-ahead");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_flags_and_words() {
        let mut options = Options::new("/m", "/s");
        assert_eq!(flags(&options), MountFlags::NOSUID | MountFlags::NODEV);
        assert_eq!(kernel_words(&options), ["default_permissions"]);
        options.is_read_only = true;
        options.nosuid = false;
        options.allow_root = true;
        options.default_permissions = false;
        assert_eq!(flags(&options), MountFlags::RDONLY | MountFlags::NODEV);
        assert_eq!(kernel_words(&options), ["allow_other"]);
    }

    #[test]
    fn the_first_line_of_the_helper_is_the_reason() {
        assert_eq!(one_line(b"/usr/bin/fusermount3: no\nmore"), "no");
        assert_eq!(one_line(b""), "it gave no reason");
    }

    #[test]
    fn unmounting_what_is_not_mounted_is_done() {
        let dir = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() || find_helper().is_some() {
            detach(dir.path(), true).unwrap();
        }
    }
}
