//! `umount`: the daemon drains and unmounts; a dead mount is cleared.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use super::{
    args::{Global, UmountArgs},
    locate, output,
    progress::{Bar, missing},
};
use crate::{
    base::{ErrorKind, Kinded, limits},
    mount::{Occupant, detach_lazily, occupant},
    rpc::{Client, Error, Progress},
    store::StateLock,
};

pub async fn run(_global: &Global, args: UmountArgs) -> anyhow::Result<()> {
    let path = absolute(&args.directory)?;
    match occupant(&path)? {
        Some(Occupant::Bucket) => {}
        Some(Occupant::Other(kind)) => bail!("{} is a {kind} file system, not a bucket: use umount", path.display()),
        None => bail!("{} is not mounted", path.display()),
    }
    let Ok(Some(found)) = locate::find_mount(&path) else { return Ok(detach_lazily(&path)?) };
    let client = match Client::connect(&found.socket).await {
        Ok(client) => client,
        Err(error @ Error::Unreachable { .. }) => {
            tracing::debug!(op = "umount", %error, "the daemon is gone");
            return Ok(detach_lazily(&path)?);
        }
        Err(error) if args.lazy => {
            tracing::warn!(op = "umount", %error, "the daemon does not answer: detaching its mount");
            return Ok(detach_lazily(&path)?);
        }
        Err(error) => return Err(error.into()),
    };
    let seconds = if args.force || args.lazy { 0 } else { args.timeout.as_secs().max(1) };
    let last = drain(&client, seconds, args.lazy).await?;
    if let Some(words) = missing(&last) {
        output::line(&format!("unmounted; not uploaded yet and kept for the next mount: {words}"))?;
    }
    if occupant(&path)? == Some(Occupant::Bucket) {
        detach_lazily(&path)?;
    }
    match found.socket.parent() {
        Some(state) => wait_released(state).await,
        None => Ok(()),
    }
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

/// Waits until the daemon has closed its state, so that the next mount finds it free.
async fn wait_released(state: &Path) -> anyhow::Result<()> {
    let end = Instant::now() + limits::STOP_TIMEOUT * 3;
    while let Err(error) = StateLock::acquire(state, "umount") {
        if Instant::now() >= end {
            return Err(anyhow::Error::new(error).context("unmounted, but the daemon has not ended yet"));
        }
        // A lock tells nobody when it becomes free.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The mount point as the mount table has it, without touching a mount that may be dead.
pub fn absolute(directory: &Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(directory).with_context(|| format!("{}", directory.display()))?;
    match (path.parent().map(std::fs::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => Ok(parent.join(name)),
        _ => Ok(path),
    }
}
