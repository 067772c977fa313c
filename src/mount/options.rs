//! How a bucket is mounted.

use std::path::PathBuf;

/// What `mount` is told. [`Options::new`] has the defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// An existing, empty directory.
    pub mountpoint: PathBuf,
    /// The daemon's API socket: the value of the extended attribute [`super::SOCKET_ATTRIBUTE`] everywhere in the mount.
    pub socket: PathBuf,
    pub is_read_only: bool,
    /// Other users may enter; otherwise only the one who mounts. Wins over `allow_root`.
    pub allow_other: bool,
    /// Root may enter too.
    pub allow_root: bool,
    /// The kernel checks owner, group and mode. Without it nobody does.
    pub default_permissions: bool,
    pub nosuid: bool,
    pub nodev: bool,
    pub noexec: bool,
    pub noatime: bool,
    /// Every write is followed by an fsync.
    pub sync: bool,
    /// Shown as the owner of everything.
    pub uid: Option<u32>,
    /// Shown as the group of everything.
    pub gid: Option<u32>,
    /// Shown permissions are 0777 without these bits.
    pub umask: Option<u32>,
}

impl Options {
    /// Read and write, for the one who mounts only, permissions checked, no set-user-id and no device nodes.
    pub fn new(mountpoint: impl Into<PathBuf>, socket: impl Into<PathBuf>) -> Self {
        Self {
            mountpoint: mountpoint.into(),
            socket: socket.into(),
            is_read_only: false,
            allow_other: false,
            allow_root: false,
            default_permissions: true,
            nosuid: true,
            nodev: true,
            noexec: false,
            noatime: false,
            sync: false,
            uid: None,
            gid: None,
            umask: None,
        }
    }
}
