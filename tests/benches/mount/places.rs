//! The three file systems that are compared: a bucket of a real network, an empty file system, and the directory below both.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::empty;

/// A process is ready, or gone, within this.
const DEADLINE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(10);
const CONSUMERS: &str = "6";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A bucket, mounted by its daemon, with its tracker and consumers.
    Bucket,
    /// A file system that keeps everything in a map, mounted with the same capabilities.
    Empty,
    /// A directory on the disk where the state of the bucket is.
    Plain,
}

pub const PLACES: [Place; 3] = [Place::Bucket, Place::Empty, Place::Plain];

/// All of them, for one run. Dropped, their processes end and their files go.
pub struct Places {
    base: tempfile::TempDir,
    devnet: Process,
    empty: Process,
}

impl Places {
    /// Starts everything in a new directory below $TMPDIR.
    pub fn open() -> anyhow::Result<Self> {
        let base = tempfile::Builder::new().prefix("openbucket-bench.").tempdir().context("cannot make a directory")?;
        let path = |name: &str| base.path().join(name);
        for name in ["bucket", "empty", "plain", "home"] {
            fs::create_dir(path(name))?;
        }
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(empty::WORD).arg(path("empty"));
        let empty = Process::start(command, &path("empty"))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_openbucket"));
        command.arg("devnet").arg(path("bucket")).arg("--state").arg(path("state")).args(["--consumers", CONSUMERS]);
        command.env("HOME", path("home")).stderr(fs::File::create(path("devnet.log"))?);
        for (name, _) in
            std::env::vars().filter(|(name, _)| name.starts_with("XDG_") || name.starts_with("OPENBUCKET_"))
        {
            command.env_remove(name);
        }
        let devnet = Process::start(command, &path("bucket")).with_context(|| {
            format!("the network does not start:\n{}", fs::read_to_string(path("devnet.log")).unwrap_or_default())
        })?;
        Ok(Self { base, devnet, empty })
    }

    /// A directory that only one row uses.
    pub fn directory(&self, place: Place, name: &str) -> anyhow::Result<PathBuf> {
        let root = match place {
            Place::Bucket => "bucket",
            Place::Empty => "empty",
            Place::Plain => "plain",
        };
        let directory = self.base.path().join(root).join(name);
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        Ok(directory)
    }

    /// A path outside of what is measured, on the same disk.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    /// Waits until nothing of the bucket is on its way to the consumers, so that a row does not pay for the one before.
    pub fn settle(&self) -> anyhow::Result<()> {
        rustix::fs::sync();
        let mut command = Command::new(env!("CARGO_BIN_EXE_openbucket"));
        command.arg("sync").arg(self.base.path().join("bucket")).args(["--timeout", "300s"]);
        let output = command.env("HOME", self.base.path().join("home")).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            bail!("the bucket does not drain: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Ends everything in order.
    pub fn close(mut self) -> anyhow::Result<()> {
        self.devnet.stop()?;
        self.empty.stop()
    }
}

/// A process that has a file system mounted.
struct Process {
    child: Child,
    mountpoint: PathBuf,
    is_stopped: bool,
}

impl Process {
    /// Starts it and waits for its line that begins with `ready`.
    fn start(mut command: Command, mountpoint: &Path) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("the output is piped")?;
        let process = Self { child, mountpoint: mountpoint.to_path_buf(), is_stopped: false };
        let (sender, receiver) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let mut lines = BufReader::new(output).lines().map_while(Result::ok);
            let is_ready = lines.any(|line| line.starts_with("ready"));
            // Nobody listens after the deadline.
            let _ = sender.send(is_ready);
            // Read to the end, so that the process never waits for a reader.
            lines.for_each(drop);
        });
        match receiver.recv_timeout(DEADLINE) {
            Ok(true) => Ok(process),
            _ => bail!("{} is not ready", mountpoint.display()),
        }
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(pid) = Pid::from_raw(i32::try_from(self.child.id())?) {
            kill_process(pid, Signal::TERM).context("cannot stop a process")?;
        }
        let until = Instant::now() + DEADLINE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > until {
                bail!("{} is not taken off in time", self.mountpoint.display());
            }
            thread::sleep(LOOK); // the look at a condition
        }
        self.is_stopped = true;
        // A bucket is off by now; the empty file system just ended.
        match rustix::mount::unmount(&self.mountpoint, rustix::mount::UnmountFlags::DETACH) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot unmount {}", self.mountpoint.display())),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_stopped {
            return;
        }
        // After an error: whatever still works of the end.
        if self.stop().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = rustix::mount::unmount(&self.mountpoint, rustix::mount::UnmountFlags::DETACH);
    }
}
