//! What the producer's process is told at start.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{base::Scheme, mount};

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

impl Options {
    /// Where the bucket keeps its state.
    pub fn bucket_directory(&self) -> PathBuf {
        self.state_directory.join("buckets").join(&self.bucket)
    }

    /// What is in force, under the names of the mount options: for `status`, and for a remount that compares.
    pub fn words(&self) -> BTreeMap<&'static str, String> {
        let mut words = BTreeMap::from([
            ("state", self.state_directory.display().to_string()),
            ("bucket", self.bucket.clone()),
            ("tracker", self.trackers.join(",")),
            ("group", self.group.clone()),
            ("listen", self.listen.join(",")),
            ("mdns", self.is_mdns.to_string()),
            ("staging-size", self.staging_bytes.to_string()),
            ("cache-size", self.cache_disk_bytes.to_string()),
            ("cache-memory", self.cache_memory_bytes.to_string()),
            ("read-timeout", format!("{}ms", self.read_timeout.as_millis())),
            ("tier", self.scheme.to_string()),
            ("durability", if self.is_durability_network { "network" } else { "local" }.to_owned()),
        ]);
        if let Some(mount) = &self.mount {
            let switches = [("allow_other", mount.allow_other), ("allow_root", mount.allow_root)];
            words.extend(switches.into_iter().filter(|(_, is_on)| *is_on).map(|(name, _)| (name, "true".to_owned())));
            let numbers = [("uid", mount.uid), ("gid", mount.gid)];
            words.extend(numbers.into_iter().filter_map(|(name, id)| Some((name, id?.to_string()))));
            words.extend(mount.umask.map(|umask| ("umask", format!("{umask:03o}"))));
        }
        words
    }
}

/// The mount's part: what the kernel is told. An ordinary user's mount is always without devices and set-user-id.
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
    /// Every write is followed by an fsync.
    pub sync: bool,
    /// Everything seems to belong to this user.
    pub uid: Option<u32>,
    /// Everything seems to belong to this group.
    pub gid: Option<u32>,
    /// Permission bits taken away.
    pub umask: Option<u32>,
}

impl MountOptions {
    /// The same as the mount takes it, with the daemon's socket.
    pub fn for_mount(&self, socket: &Path) -> mount::Options {
        mount::Options {
            is_read_only: self.is_read_only,
            allow_other: self.allow_other,
            allow_root: self.allow_root,
            nosuid: self.nosuid,
            nodev: self.nodev,
            noexec: self.noexec,
            noatime: self.noatime,
            sync: self.sync,
            uid: self.uid,
            gid: self.gid,
            umask: self.umask,
            ..mount::Options::new(&self.mountpoint, socket)
        }
    }

    /// What the kernel says of a mount: where it is, and what a remount may change.
    pub fn of_mounted(mounted: &mount::Options) -> Self {
        Self {
            mountpoint: mounted.mountpoint.clone(),
            is_read_only: mounted.is_read_only,
            nosuid: mounted.nosuid,
            nodev: mounted.nodev,
            noexec: mounted.noexec,
            noatime: mounted.noatime,
            sync: mounted.sync,
            ..Self::default()
        }
    }
}
