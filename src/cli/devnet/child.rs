//! One running process of a devnet.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::cli::child::READY;

/// A process is ready within this, or its start has failed.
pub const READY_TIMEOUT: Duration = Duration::from_secs(50);
/// The word of a process that is ready is not longer.
const WORD_BYTES: u64 = 64 << 10;

/// A child with its log; killed when dropped.
pub struct Running {
    child: Child,
}

/// Starts this program with these arguments and waits until it says that it is ready; its words are given back.
pub async fn start(arguments: Vec<String>, log: &Path) -> anyhow::Result<(Running, String)> {
    let mut command = command(arguments, log)?;
    let mut child = command.spawn().context("cannot start this program again")?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let mut lines = BufReader::new(stdout.take(WORD_BYTES)).lines();
    let word = async {
        while let Some(line) = lines.next_line().await? {
            if let Some(words) = line.strip_prefix(READY) {
                return Ok(Some(words.to_owned()));
            }
        }
        Ok::<_, io::Error>(None)
    };
    match timeout(READY_TIMEOUT, word).await {
        Ok(Ok(Some(words))) => Ok((Running { child }, words)),
        Ok(Ok(None)) => bail!("it ended before it was ready: {}", last_line(log)),
        Ok(Err(error)) => Err(error).context("its output cannot be read"),
        Err(_) => bail!("it was not ready within {} s: {}", READY_TIMEOUT.as_secs(), last_line(log)),
    }
}

/// Starts this program as something that does not say when it is ready.
pub fn start_other(arguments: Vec<String>, log: &Path) -> anyhow::Result<Running> {
    let child = command(arguments, log)?.spawn().context("cannot start this program again")?;
    Ok(Running { child })
}

fn command(arguments: Vec<String>, log: &Path) -> anyhow::Result<Command> {
    let words = || format!("cannot write {}", log.display());
    if let Some(parent) = log.parent() {
        fs::create_dir_all(parent).with_context(words)?;
    }
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(log).with_context(words)?;
    let mut command = std::process::Command::new(std::env::current_exe().context("cannot find this program")?);
    command.args(arguments).arg("--parent").arg(std::process::id().to_string());
    // A group of its own: Ctrl-C of the terminal is for the supervisor, which stops all in order.
    // To a service manager the supervisor speaks for all.
    command.env_remove(crate::cli::notify::VARIABLE);
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut command = Command::from(command);
    command.kill_on_drop(true);
    Ok(command)
}

impl Running {
    /// None when it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end. May be cancelled.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends it in order within the deadline, else at once; false when it had to be killed.
    pub async fn stop(mut self, deadline: Duration) -> anyhow::Result<bool> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        // No id: it has ended and been reaped.
        let Some(pid) = pid else { return Ok(true) };
        kill_process(pid, Signal::TERM).context("cannot signal it")?;
        if let Ok(ended) = timeout(deadline, self.child.wait()).await {
            ended.context("cannot wait for its end")?;
            return Ok(true);
        }
        self.child.kill().await.context("cannot kill it")?;
        Ok(false)
    }
}

/// The last line of a log, for the words of a failed start.
pub fn last_line(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    match text.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("{} (log: {})", line.trim(), log.display()),
        None => format!("its log {} is empty", log.display()),
    }
}
