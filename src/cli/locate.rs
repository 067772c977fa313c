//! From a path to its daemon: the mount tells its socket by an extended attribute.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::MetadataExt,
    },
    path::{Component, Path, PathBuf},
    sync::mpsc,
};

use anyhow::{Context as _, bail};
use rustix::io::Errno;

use super::args::{Global, SocketArgs};
use crate::{
    base::limits::MOUNT_PROBE_TIMEOUT,
    config::{Layer, Settings, Sources},
    rpc::Client,
};

/// The attribute by which a mount tells its daemon's socket.
const SOCKET_ATTRIBUTE: &str = "user.openbucket.socket";
/// Bytes of a path (PATH_MAX).
const PATH_BYTES: usize = 4096;

/// A path inside a mounted bucket.
#[derive(Clone, Debug)]
pub struct InMount {
    /// Where the bucket is mounted.
    pub root: PathBuf,
    /// The daemon's socket.
    pub socket: PathBuf,
    /// The path from the bucket's root; empty for the root.
    pub relative: Vec<u8>,
    /// The path as the kernel knows it.
    pub absolute: PathBuf,
}

/// Where the state directory's daemon listens.
pub fn state_socket(state: &Path) -> PathBuf {
    state.join("socket")
}

/// The configuration, with what the command line sets over it.
pub fn settings(global: &Global, flags: Layer) -> anyhow::Result<Settings> {
    Ok(Sources::of_this_process(global.config.clone(), flags).load()?)
}

/// A mount whose daemon hangs.
#[derive(Debug, thiserror::Error)]
#[error(
    "the mount at {} does not answer within {} s: end its daemon, or take it off with openbucket umount --lazy",
    .0.display(),
    MOUNT_PROBE_TIMEOUT.as_secs()
)]
pub struct Silent(PathBuf);

/// A mount whose daemon is gone.
#[derive(Debug, thiserror::Error)]
#[error("the mount at {shown} is dead: openbucket umount {shown}, then mount it again", shown = .0.display())]
pub struct Dead(PathBuf);

/// The mounted bucket that a path is in; None when it is in none. The last part need not exist.
///
/// Errors: [`Silent`], [`Dead`], and what the file systems on the way say.
pub fn find_mount(path: &Path) -> anyhow::Result<Option<InMount>> {
    let (sender, found) = mpsc::sync_channel(1);
    let owned = path.to_path_buf();
    // Of its own, because it may not come back. The error is said in time; a request that the daemon has taken and does
    // not answer can keep this process from ending until the daemon goes on or ends.
    std::thread::Builder::new()
        .name("find-mount".into())
        .spawn(move || sender.send(look_for_mount(&owned)))
        .context("cannot look for the mount")?;
    found.recv_timeout(MOUNT_PROBE_TIMEOUT).unwrap_or_else(|_| Err(Silent(path.to_path_buf()).into()))
}

fn look_for_mount(path: &Path) -> anyhow::Result<Option<InMount>> {
    let absolute = resolve(path)?;
    let mut root = absolute.clone();
    let mut device = match device_of(&root)? {
        Some(device) => device,
        None => {
            root.pop();
            match device_of(&root)? {
                Some(device) => device,
                None => return Ok(None),
            }
        }
    };
    while let Some(parent) = root.parent().map(Path::to_path_buf) {
        match device_of(&parent)? {
            Some(above) if above == device => {
                root = parent;
                device = above;
            }
            _ => break,
        }
    }
    let Some(socket) = socket_of(&root)? else { return Ok(None) };
    let relative = absolute.strip_prefix(&root).unwrap_or(Path::new("")).as_os_str().as_bytes().to_vec();
    Ok(Some(InMount { root, socket, relative, absolute }))
}

/// The daemon of a path, and the path as the daemon knows it.
pub struct Target {
    pub client: Client,
    pub path: Vec<u8>,
    /// None when the path was given to a socket directly.
    pub mount: Option<InMount>,
}

/// Connects to the daemon of a path: the mount's, or `--socket`, or that of the state directory.
pub async fn connect(global: &Global, path: &Path, daemon: &SocketArgs) -> anyhow::Result<Target> {
    let mount = find_mount(path)?;
    let flags = Layer { state: daemon.state.clone(), ..Layer::default() };
    let socket = match (&daemon.socket, &mount) {
        (Some(socket), _) => socket.clone(),
        (None, Some(mount)) => mount.socket.clone(),
        (None, None) if fs::symlink_metadata(path).is_ok() && daemon.state.is_none() => {
            bail!("{} is not inside a mounted bucket: mount it first, or name its daemon with --socket", path.display())
        }
        (None, None) => state_socket(&settings(global, flags)?.state),
    };
    let client = Client::connect(&socket).await?;
    let path = match &mount {
        Some(mount) => mount.relative.clone(),
        None => bucket_path(path)?,
    };
    Ok(Target { client, path, mount })
}

/// Connects to a daemon as a whole: that of the path, else `--socket`, else that of the mount that this process is in, else
/// that of the state directory.
pub async fn connect_daemon(global: &Global, path: Option<&Path>, daemon: &SocketArgs) -> anyhow::Result<Client> {
    match (path, &daemon.socket) {
        (Some(path), None) => Ok(connect(global, path, daemon).await?.client),
        (_, Some(socket)) => Ok(Client::connect(socket).await?),
        (None, None) => match find_mount(Path::new("."))?.filter(|_| daemon.state.is_none()) {
            Some(mount) => Ok(Client::connect(&mount.socket).await?),
            None => {
                let flags = Layer { state: daemon.state.clone(), ..Layer::default() };
                Ok(Client::connect(&state_socket(&settings(global, flags)?.state)).await?)
            }
        },
    }
}

/// A path given to a daemon without a mount is one of the bucket.
fn bucket_path(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.as_bytes()),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                bail!("{}: a path in a bucket has no '..'", path.display())
            }
        }
    }
    Ok(parts.join(&b'/'))
}

/// Absolute, with every directory on the way resolved; a final symbolic link stays one.
fn resolve(path: &Path) -> anyhow::Result<PathBuf> {
    let words = || format!("{}", path.display());
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            match fs::canonicalize(parent) {
                Ok(parent) => Ok(parent.join(name)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => std::path::absolute(path).with_context(words),
                Err(error) => Err(explain(path, error)),
            }
        }
        _ => fs::canonicalize(path).map_err(|error| explain(path, error)),
    }
}

/// The device of a path without following a link; None when there is nothing.
fn device_of(path: &Path) -> anyhow::Result<Option<u64>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta.dev())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(explain(path, error)),
    }
}

fn explain(path: &Path, error: io::Error) -> anyhow::Error {
    if matches!(Errno::from_io_error(&error), Some(Errno::NOTCONN | Errno::CONNABORTED)) {
        return Dead(path.to_path_buf()).into();
    }
    anyhow::Error::new(error).context(format!("{}", path.display()))
}

fn socket_of(root: &Path) -> anyhow::Result<Option<PathBuf>> {
    let mut value = vec![0; PATH_BYTES];
    match rustix::fs::getxattr(root, SOCKET_ATTRIBUTE, value.as_mut_slice()) {
        Ok(length) => {
            value.truncate(length);
            let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
            value.truncate(end);
            Ok(Some(PathBuf::from(OsString::from_vec(value))))
        }
        Err(errno @ (Errno::NOTCONN | Errno::CONNABORTED)) => Err(explain(root, errno.into())),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_directory_is_in_no_mount() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert!(find_mount(directory.path()).expect("found out").is_none());
        assert!(find_mount(&directory.path().join("absent/deeper")).expect("found out").is_none());
    }

    #[test]
    fn bucket_paths_are_plain() {
        assert_eq!(bucket_path(Path::new("/a/./b//c/")).expect("a path"), b"a/b/c");
        assert_eq!(bucket_path(Path::new("/")).expect("the root"), b"");
        assert!(bucket_path(Path::new("a/../b")).is_err());
    }
}
