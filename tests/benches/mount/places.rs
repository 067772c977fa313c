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
use serde_json::Value;
use tokio::sync::oneshot;

use crate::{
    empty,
    machine::{self, drop_caches},
    report::{Kind, Row},
};

/// One command of the product, at most.
const COMMAND: Duration = Duration::from_secs(330);
/// A process is ready, or gone, within this.
const DEADLINE: Duration = Duration::from_secs(120);
/// The whole run, or everything is killed: then nothing hangs on a mount.
const RUN: Duration = Duration::from_secs(3600);
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

/// All of them.
pub const PLACES: [Place; 3] = [Place::Bucket, Place::Empty, Place::Plain];
/// Where there is data: the empty file system has it all in memory.
pub const WITH_DATA: [Place; 2] = [Place::Bucket, Place::Plain];

/// Rows that are measured together.
pub struct Group {
    pub name: &'static str,
    pub kinds: &'static [Kind],
    pub places: &'static [Place],
    pub rounds: usize,
}

/// Measures one round in a directory of its own: a number for each kind, in their order.
pub type Measure<'a> = dyn Fn(Place, &Path) -> anyhow::Result<Vec<f64>> + 'a;

/// All of them, for one run. Dropped, their processes end and their files go.
pub struct Places {
    devnet: Process,
    empty: Process,
    /// Removed when nothing is mounted there any more.
    base: tempfile::TempDir,
    /// Dropped at the end, which ends the watchdog.
    _watched: oneshot::Sender<()>,
}

/// The product in a home of its own, told nothing by the environment.
fn product(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openbucket"));
    command.env("HOME", home);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("XDG_") || name.starts_with("OPENBUCKET_")) {
        command.env_remove(name);
    }
    command
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
        let mut command = product(&path("home"));
        command.arg("devnet").arg(path("bucket")).arg("--state").arg(path("state")).args(["--consumers", CONSUMERS]);
        command.args(["--chain", "none"]).stderr(fs::File::create(path("devnet.log"))?);
        let devnet = Process::start(command, &path("bucket")).with_context(|| {
            format!("the network does not start:\n{}", fs::read_to_string(path("devnet.log")).unwrap_or_default())
        })?;
        let (watched, end) = oneshot::channel();
        let places = Self { base, devnet, empty, _watched: watched };
        places.watch(end)?;
        Ok(places)
    }

    /// Kills everything when the run takes too long: calls on the mounts then fail, and so does the run. When it is
    /// interrupted, its files go, too.
    fn watch(&self, end: oneshot::Receiver<()>) -> anyhow::Result<()> {
        let (base, state) = (self.base.path().to_path_buf(), self.state());
        let mounts = [self.devnet.mountpoint.clone(), self.empty.mountpoint.clone()];
        let own = [i32::try_from(self.devnet.child.id())?, i32::try_from(self.empty.child.id())?];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            let is_interrupted = runtime.block_on(async {
                tokio::select! {
                    _ = end => None,
                    () = tokio::time::sleep(RUN) => Some(false), // the limit itself
                    _ = tokio::signal::ctrl_c() => Some(true),
                }
            });
            let Some(is_interrupted) = is_interrupted else { return };
            eprintln!("{}", if is_interrupted { "interrupted" } else { "it takes too long: everything is killed" });
            let others = processes(&state).unwrap_or_default().into_iter().map(|(_, pid)| pid);
            for pid in own.into_iter().chain(others).filter_map(Pid::from_raw) {
                // It may have ended just now.
                let _ = kill_process(pid, Signal::KILL);
            }
            if is_interrupted {
                for mountpoint in mounts {
                    // It may have been taken off in order.
                    let _ = rustix::mount::unmount(mountpoint, rustix::mount::UnmountFlags::DETACH);
                }
                if let Err(error) = fs::remove_dir_all(&base) {
                    eprintln!("{} stays behind: {error}", base.display());
                }
                std::process::exit(130);
            }
        });
        Ok(())
    }

    fn state(&self) -> PathBuf {
        self.scratch("state")
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

    /// Runs a command of the product to its end and gives what it prints.
    pub fn openbucket(&self, words: &[&str]) -> anyhow::Result<String> {
        machine::run(product(&self.scratch("home")).args(words), COMMAND)
    }

    /// Waits until nothing of the bucket is on its way to the consumers, so that a row does not pay for the one before.
    pub fn settle(&self) -> anyhow::Result<()> {
        rustix::fs::sync();
        self.upload(&self.scratch("bucket"))
    }

    /// Waits until all that is under a path of the bucket is on all its consumers.
    pub fn upload(&self, path: &Path) -> anyhow::Result<()> {
        self.openbucket(&["sync", text(path)?, "--timeout", "300s"]).context("the bucket does not drain").map(drop)
    }

    /// Forgets everything that is kept in memory or here on disk of what is under a path: consumers have it.
    pub fn make_cold(&self, place: Place, path: &Path) -> anyhow::Result<()> {
        rustix::fs::sync();
        if place == Place::Bucket {
            self.upload(path)?;
            self.evict(path)?;
        }
        drop_caches();
        Ok(())
    }

    /// Drops the copies that are here of what consumers keep.
    pub fn evict(&self, path: &Path) -> anyhow::Result<()> {
        self.openbucket(&["cache", "evict", text(path)?]).map(drop)
    }

    /// Ends the mount and starts it again; what is on disk stays.
    pub fn remount(&self) -> anyhow::Result<()> {
        let state = self.state();
        self.openbucket(&["devnet", "stop", "mount", "--state", text(&state)?])?;
        drop_caches();
        self.openbucket(&["devnet", "start", "mount", "--state", text(&state)?])?;
        Ok(())
    }

    /// The processes of the network that run, by their names: `tracker`, `consumer-1`, ..., `mount`.
    pub fn processes(&self) -> anyhow::Result<Vec<(String, i32)>> {
        processes(&self.state())
    }

    /// The process that has the bucket mounted.
    pub fn mount_pid(&self) -> anyhow::Result<i32> {
        let found = self.processes()?.into_iter().find(|(name, _)| name == "mount");
        found.map(|(_, pid)| pid).context("the mount is gone")
    }

    /// How many shards each consumer holds.
    pub fn shards(&self) -> anyhow::Result<Vec<u64>> {
        let mut counts = Vec::new();
        for (name, _) in self.processes()?.iter().filter(|(name, _)| name.starts_with("consumer")) {
            let directory = self.state().join(name);
            let status = self.openbucket(&["consumer", "status", "--dir", text(&directory)?, "--json"])?;
            let status: Value = serde_json::from_str(&status)?;
            counts.push(status["shards"].as_u64().context("a consumer does not tell its shards")?);
        }
        Ok(counts)
    }

    /// One row of each kind, measured in rounds at these places, one after the other, another one first each time.
    pub fn rounds(&self, group: &Group, measure: &Measure<'_>) -> anyhow::Result<Vec<Row>> {
        let mut rows: Vec<Row> = group.kinds.iter().map(|kind| Row::new(*kind)).collect();
        for round in 0..group.rounds {
            let mut found = vec![[f64::NAN; PLACES.len()]; rows.len()];
            for turn in 0..group.places.len() {
                let place = group.places[(round + turn) % group.places.len()];
                eprintln!("{}, round {}: {place:?}", group.name, round + 1);
                let directory = self.directory(place, &format!("{}-{round}", group.name))?;
                for (row, value) in found.iter_mut().zip(measure(place, &directory)?) {
                    row[place as usize] = value;
                }
                fs::remove_dir_all(&directory)?;
                if place == Place::Bucket {
                    self.settle()?;
                }
            }
            for (row, found) in rows.iter_mut().zip(found) {
                row.rounds.push(found);
            }
        }
        Ok(rows)
    }

    /// Ends everything in order.
    pub fn close(mut self) -> anyhow::Result<()> {
        self.devnet.stop()?;
        self.empty.stop()
    }
}

/// The processes that devnet.json names and that run.
fn processes(state: &Path) -> anyhow::Result<Vec<(String, i32)>> {
    let list: Vec<Value> = serde_json::from_slice(&fs::read(state.join("devnet.json"))?)?;
    let running =
        |process: &Value| Some((process["name"].as_str()?.to_owned(), i32::try_from(process["pid"].as_i64()?).ok()?));
    Ok(list.iter().filter_map(running).collect())
}

/// A path as text.
fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the directory for temporary files has a name that is no text")
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
