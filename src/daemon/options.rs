//! What the producer's process is told at start.

use std::{path::PathBuf, time::Duration};

use crate::base::Scheme;

/// The options of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Everything the process keeps; the API's socket is `socket` in it.
    pub state_directory: PathBuf,
    /// The bucket's name.
    pub bucket: String,
    /// Addresses of trackers, as people write them.
    pub trackers: Vec<String>,
    /// Peers of another group are not talked to.
    pub group: String,
    /// Addresses to listen at; may be empty.
    pub listen: Vec<String>,
    /// Whether peers of the group are found in the local network.
    pub is_mdns: bool,
    /// Bytes not yet kept by consumers, at most.
    pub staging_bytes: u64,
    /// Bytes of the sealed cache on disk, at most.
    pub cache_disk_bytes: u64,
    /// Bytes of the cache in memory, at most.
    pub cache_memory_bytes: u64,
    /// A read that cannot be answered fails after this.
    pub read_timeout: Duration,
    /// How new files are kept.
    pub scheme: Scheme,
    /// Whether fsync waits for consumers.
    pub is_durability_network: bool,
    /// Where and how it is mounted; None for a daemon without a mount.
    pub mount: Option<MountOptions>,
}

/// The mount's part: what the kernel is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// An absolute path of an empty directory.
    pub mountpoint: PathBuf,
    pub is_read_only: bool,
    pub allow_other: bool,
    pub allow_root: bool,
    pub nosuid: bool,
    pub nodev: bool,
    pub noexec: bool,
    pub noatime: bool,
    /// Everything seems to belong to this user.
    pub uid: Option<u32>,
    /// Everything seems to belong to this group.
    pub gid: Option<u32>,
    /// Permission bits taken away.
    pub umask: Option<u32>,
}
