//! `umount`: the daemon drains and unmounts; a dead mount is cleared.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::{
    args::{Global, UmountArgs},
    locate, output,
    progress::{Bar, missing},
};
use crate::{
    base::{ErrorKind, Kinded, limits},
    mount::{Occupant, detach_lazily, detach_silent, occupant},
    rpc::{Client, Error, Progress},
};

pub async fn run(_global: &Global, args: UmountArgs) -> anyhow::Result<()> {
    let path = absolute(&args.directory)?;
    // Whoever unmounts from within must not be in the way of it.
    std::env::set_current_dir("/").context("cannot leave the current directory")?;
    match occupant(&path)? {
        Some(Occupant::Bucket) => {}
        Some(Occupant::Other(kind)) => bail!("{} is a {kind} file system, not a bucket: use umount", path.display()),
        None => bail!("{} is not mounted", path.display()),
    }
    let found = match locate::find_mount(&path) {
        Ok(Some(found)) => found,
        Err(error) if error.is::<locate::Silent>() => {
            if !args.lazy {
                return Err(error);
            }
            tracing::warn!(op = "umount", "the daemon does not answer: end it before the next mount");
            return Ok(detach_silent(&path)?);
        }
        Err(error) if error.is::<locate::Dead>() => return Ok(detach_lazily(&path)?),
        Err(_) | Ok(None) if args.lazy => return Ok(detach_lazily(&path)?),
        Err(error) => return Err(unasked(&path, &error)),
        Ok(None) => return Err(unasked(&path, &anyhow!("it does not name its daemon"))),
    };
    let client = match Client::connect(&found.socket).await {
        Ok(client) => client,
        Err(error @ Error::Unreachable { .. }) if !args.lazy => {
            if is_gone(&path)? {
                return Ok(detach_lazily(&path)?);
            }
            return Err(unasked(&path, &error.into()));
        }
        Err(error) if args.lazy => {
            tracing::warn!(op = "umount", %error, "the daemon does not answer: detaching its mount");
            return Ok(detach_lazily(&path)?);
        }
        Err(error) => return Err(error.into()),
    };
    let seconds = if args.force || args.lazy { 0 } else { args.timeout.as_secs().max(1) };
    let process = if args.lazy { None } else { watch(&client).await };
    let last = drain(&client, seconds, args.lazy).await?;
    if let Some(words) = missing(&last) {
        output::line(&format!("unmounted; not uploaded yet and kept for the next mount: {words}"))?;
    }
    if occupant(&path)? == Some(Occupant::Bucket) {
        return Ok(detach_lazily(&path)?);
    }
    // The daemon holds the state directory until it has ended: a mount right after this one must find it free.
    if let Some(process) = process {
        let is_ended =
            tokio::task::spawn_blocking(move || has_ended(&process)).await.context("the wait broke off")??;
        if !is_ended {
            tracing::warn!(op = "umount", "unmounted, but the daemon has not ended yet");
        }
    }
    Ok(())
}

/// Whether nothing is mounted there any more but, at most, the remains of a dead daemon.
fn is_gone(path: &Path) -> anyhow::Result<bool> {
    Ok(occupant(path)?.is_none() || locate::find_mount(path).is_err_and(|error| error.is::<locate::Dead>()))
}

/// Something lives there: to take it off unasked is for whoever says so.
fn unasked(path: &Path, why: &anyhow::Error) -> anyhow::Error {
    let path = path.display();
    anyhow!(
        "the daemon of {path} cannot be asked: {why:#}; openbucket umount --lazy {path} takes it off all the same, and what is \
         not uploaded yet stays in its state directory"
    )
}

/// The daemon's process; None when it cannot be watched.
async fn watch(client: &Client) -> Option<OwnedFd> {
    let watched = async {
        let status: serde_json::Value = serde_json::from_str(&client.status().await?)?;
        let pid = status.get("pid").and_then(serde_json::Value::as_i64).context("its status has no pid")?;
        let pid = Pid::from_raw(i32::try_from(pid)?).context("its pid is 0")?;
        anyhow::Ok(pidfd_open(pid, PidfdFlags::empty())?)
    };
    watched.await.inspect_err(|error| tracing::debug!(op = "umount", %error, "the daemon's end is not waited for")).ok()
}

/// Whether a process ends within the time a daemon may take to stop. Blocks.
fn has_ended(process: &OwnedFd) -> anyhow::Result<bool> {
    let limit = Timespec::try_from(limits::STOP_TIMEOUT * 2).context("a short time")?;
    let ready = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit));
    Ok(ready.context("cannot wait for the daemon's end")? > 0)
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

/// The mount point as the mount table has it, without touching a mount that may be dead. A link is followed.
pub fn absolute(directory: &Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(directory).with_context(|| format!("{}", directory.display()))?;
    let path = match (path.parent().map(std::fs::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => path,
    };
    if occupant(&path)?.is_none() && path.is_symlink() {
        return std::fs::canonicalize(&path).with_context(|| format!("{}", directory.display()));
    }
    Ok(path)
}
