//! Processes that start others of this program, and how a started one behaves.

use std::{fs, process, time::Duration};

use anyhow::{Context as _, bail};
use rustix::process::{Signal, getppid, set_parent_process_death_signal, setsid};

use super::{args::ChildArgs, notify, output};
use crate::runtime::{Shutdown, allow_open_files, like_this_thread};

/// What a process says on stdout when it is ready; its address or directory follows.
pub const READY: &str = "ready: ";
/// What a background process says instead when it cannot start.
pub const FAILED: &str = "error: ";

/// Becomes what the parent asked for: a session of its own, an end when the parent ends.
pub fn adopt(args: &ChildArgs) -> anyhow::Result<()> {
    if args.background_child {
        setsid().context("cannot start a session")?;
    }
    if let Some(parent) = args.parent {
        set_parent_process_death_signal(Some(Signal::TERM)).context("cannot watch the parent process")?;
        if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
            bail!("the process that started this one ({parent}) has ended already");
        }
    }
    Ok(())
}

/// Says that this process is ready, on stdout and to the service manager. A reader that has gone does not end it.
pub fn say_ready(words: &str) {
    if let Err(error) = output::line(&format!("{READY}{words}")) {
        tracing::debug!(op = "ready", %error, "nobody reads");
    }
    notify::ready(words);
}

/// A signal of the terminal or of the system starts the shutdown; a second one ends the process at once. A terminal that is
/// closed (SIGHUP) starts it too, unless nohup(1) has that ignored, and says so more than once: it is never a second one.
pub fn stop_on_signals(shutdown: Shutdown) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    if !is_hangup_ignored() {
        let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                stop(&shutdown);
            }
        });
    }
    tokio::spawn(async move {
        for round in 0.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if round > 0 {
                tracing::warn!(op = "stop", "a second signal: ending at once");
                process::exit(1);
            }
            stop(&shutdown);
        }
    });
    Ok(())
}

fn stop(shutdown: &Shutdown) {
    if shutdown.is_started() {
        return;
    }
    tracing::info!(op = "stop", "stopping");
    notify::stopping("stopping");
    shutdown.start();
}

/// As proc_pid_status(5) has it.
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

/// Runs a long-lived process's work on all processors, with as many files as it may need; what still runs after it is given a little time.
pub fn run_service(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    allow_open_files();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    // A thread that takes the kernel's requests may be the one that starts another of the runtime's.
    let runtime =
        builder.enable_all().on_thread_start(like_this_thread()).build().context("cannot start the runtime")?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}
