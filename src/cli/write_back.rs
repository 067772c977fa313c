//! The kernel writes back what it holds of a mount before a command asks the daemon, so that the daemon knows all of it.
//!
//! A process of its own asks the kernel for that. It waits as long as the daemon has no room for what comes, which may be
//! for long, and nothing ends a thread that waits so, nor the process that it belongs to.

use std::{fs, io, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use rustix::io::retry_on_intr;

use super::{
    args::WriteBackArgs,
    locate::{InMount, Target},
    output,
};
use crate::base::limits;

/// Has all written back and waits for it, so long at most; false when that was not enough.
///
/// Errors: what the kernel could not write back, be it from before.
pub async fn finish(target: &Target, timeout: Option<Duration>) -> anyhow::Result<bool> {
    let Some(mount) = &target.mount else { return Ok(true) };
    let mut helper = tokio::process::Command::new(std::env::current_exe().context("cannot find this program")?);
    helper.arg("write-back").arg(&mount.root).arg(&mount.absolute);
    // It dies as soon as it can when nobody waits for it any more.
    helper.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let helper = helper.spawn().context("cannot start a process that waits for the kernel")?;
    let waited = tokio::time::timeout(timeout.unwrap_or(Duration::MAX), helper.wait_with_output()).await;
    let Ok(ended) = waited else { return Ok(false) };
    let ended = ended.context("cannot wait for the kernel")?;
    if !ended.status.success() {
        let words = String::from_utf8_lossy(&ended.stderr);
        bail!("{}", words.trim().trim_start_matches("openbucket: "));
    }
    Ok(true)
}

/// The same for a command that looks: it does not wait for long, and what could not be written is not there for it.
pub async fn glance(target: &Target) {
    match finish(target, Some(limits::MOUNT_PROBE_TIMEOUT)).await {
        Ok(true) => {}
        Ok(false) => {
            let shown = target.mount.as_ref().map_or_else(String::new, |InMount { root, .. }| output::path(root));
            eprintln!(
                "openbucket: programs still write to {shown} and wait for room; what they write is not counted yet"
            );
        }
        Err(error) => tracing::debug!(op = "write-back", %error, "not all could be written back"),
    }
}

/// What the process of its own does.
pub fn run(args: &WriteBackArgs) -> anyhow::Result<()> {
    write_back(&args.root, &args.path).map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => anyhow::anyhow!(
            "something that was written since the last sync found no room in the staging area and is not in the bucket; \
             openbucket status says why nothing drains"
        ),
        _ => anyhow::Error::new(error).context("the kernel could not write back all that was written since the last sync"),
    })
}

/// A program that is killed while the kernel flushes the times of a file it removes leaves EINTR as the error of the whole
/// mount (`fuse_flush_time_update` in Linux 6.18). It speaks of no data, and is told once.
fn write_back(root: &Path, path: &Path) -> io::Result<()> {
    let root = fs::File::open(root)?;
    retry_on_intr(|| rustix::fs::syncfs(&root))?;
    // For a file that is open elsewhere: syncfs does not wait for the pages of a FUSE file, fsync does.
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() => match fs::File::open(path) {
            Ok(file) => Ok(retry_on_intr(|| rustix::fs::fsync(&file))?),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Err(error) => Err(error),
        },
        _ => Ok(()),
    }
}
