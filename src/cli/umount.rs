//! `umount`: the daemon drains and unmounts; a dead mount is cleared.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use super::{
    args::{Global, UmountArgs},
    locate,
    mountinfo::mounted_at,
    output,
    progress::{Bar, missing},
};
use crate::{
    base::{ErrorKind, Kinded},
    rpc::{Client, Error, Progress},
};

pub async fn run(_global: &Global, args: UmountArgs) -> anyhow::Result<()> {
    let path = absolute(&args.directory)?;
    let Some(mount) = mounted_at(&path).context("cannot read /proc/self/mountinfo")? else {
        bail!("{} is not mounted", path.display());
    };
    if !mount.is_openbucket() {
        bail!("{} is a {} file system, not a bucket: use umount", path.display(), mount.kind);
    }
    let Ok(Some(found)) = locate::find_mount(&path) else { return clear(&path) };
    let client = match Client::connect(&found.socket).await {
        Ok(client) => client,
        Err(error @ Error::Unreachable { .. }) => {
            tracing::debug!(op = "umount", %error, "the daemon is gone");
            return clear(&path);
        }
        Err(error) if args.lazy => {
            tracing::warn!(op = "umount", %error, "the daemon does not answer: detaching its mount");
            return clear(&path);
        }
        Err(error) => return Err(error.into()),
    };
    let seconds = if args.force || args.lazy { 0 } else { args.timeout.as_secs().max(1) };
    let last = drain(&client, seconds, args.lazy).await?;
    if let Some(words) = missing(&last) {
        output::line(&format!("unmounted; not uploaded yet and kept for the next mount: {words}"))?;
    }
    if mounted_at(&path).context("cannot read /proc/self/mountinfo")?.is_some_and(|mount| mount.is_openbucket()) {
        return clear(&path);
    }
    Ok(())
}

/// The daemon's progress to its end; a connection that breaks after the end is the daemon's exit.
async fn drain(client: &Client, seconds: u64, is_lazy: bool) -> anyhow::Result<Progress> {
    let mut stream = client.stop(seconds, is_lazy).await?;
    let bar = Bar::new("uploading");
    let mut last = Progress::default();
    loop {
        match stream.next().await {
            Ok(Some(progress)) => {
                bar.show(&progress);
                last = progress;
            }
            Ok(None) => break,
            Err(error) if last.is_done && error.kind() != ErrorKind::Invalid => break,
            Err(error) => return Err(error.into()),
        }
    }
    if !last.is_done {
        bail!("the daemon ended before it had unmounted; its log says why (STATE/log)");
    }
    Ok(last)
}

/// The mount point as the mount table has it, without touching a mount that may be dead.
fn absolute(directory: &Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(directory).with_context(|| format!("{}", directory.display()))?;
    match (path.parent().map(std::fs::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => Ok(parent.join(name)),
        _ => Ok(path),
    }
}

/// Detaches a mount whose daemon is dead.
pub fn clear(path: &Path) -> anyhow::Result<()> {
    if rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH).is_ok() {
        return Ok(());
    }
    let shown = path.display();
    let output = Command::new("fusermount3").arg("-u").arg("-z").arg("--").arg(path).output();
    let output = output.with_context(|| format!("cannot unmount {shown}: fusermount3 (package fuse3) is needed"))?;
    if !output.status.success() {
        bail!("cannot unmount {shown}: {}", output::one_line(&String::from_utf8_lossy(&output.stderr)));
    }
    Ok(())
}
