//! A network of real processes for one test: started, asked through the command line, and gone afterwards whatever happens.

#![allow(dead_code, reason = "each of the tests with a devnet uses what it needs")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, MutexGuard,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

/// A devnet is ready, or stopped, within this.
const START: Duration = Duration::from_secs(90);
/// One command, at most.
const COMMAND: Duration = Duration::from_secs(100);
/// One test, at most; then its processes are killed, so that nothing hangs on its mount.
const TEST: Duration = Duration::from_secs(200);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Set by `scripts/test --full`.
const FULL: &str = "OPENBUCKET_TEST_FULL";

/// Whether the long variants are asked for.
pub fn is_full() -> bool {
    std::env::var_os(FULL).is_some()
}

/// One network at a time on this machine, also when all tests are in one process.
static MACHINE: Mutex<()> = Mutex::new(());

/// A devnet and its mount.
pub struct Cluster {
    /// `bucket` (the mount point), `state`, `home`, and what the test puts there.
    base: tempfile::TempDir,
    flags: Vec<String>,
    supervisor: Option<Child>,
    /// Processes that the test started itself.
    others: Vec<Child>,
    /// Dropped at the end, which ends the watchdog.
    watched: Option<Sender<()>>,
    _machine: MutexGuard<'static, ()>,
}

/// The end of a command.
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Cluster {
    /// A running devnet with so many consumers and these flags; None, with a line that says so, without FUSE.
    pub fn start(consumers: usize, flags: &[&str]) -> Option<Self> {
        Self::start_for(TEST, consumers, flags)
    }

    /// The same for a test that takes longer than most.
    pub fn start_for(limit: Duration, consumers: usize, flags: &[&str]) -> Option<Self> {
        Self::start_on(limit, consumers, flags, |_| ())
    }

    /// The same with a state directory that is prepared before the first start.
    pub fn start_on(limit: Duration, consumers: usize, flags: &[&str], prepare: impl FnOnce(&Path)) -> Option<Self> {
        if !Path::new("/dev/fuse").exists() {
            println!("skipped: /dev/fuse is missing");
            return None;
        }
        let machine = MACHINE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let base = tempfile::tempdir().unwrap();
        for name in ["bucket", "home"] {
            fs::create_dir(base.path().join(name)).unwrap();
        }
        let count = consumers.to_string();
        // A chain is for those who ask for one.
        let chain = if flags.contains(&"--chain") { &[][..] } else { &["--chain", "none"] };
        let flags = ["--consumers", &count].iter().chain(chain).chain(flags).map(|flag| (*flag).to_owned()).collect();
        let (watched, end) = mpsc::channel();
        let mut cluster =
            Self { base, flags, supervisor: None, others: Vec::new(), watched: Some(watched), _machine: machine };
        watch(cluster.state(), limit, end);
        fs::create_dir(cluster.state()).unwrap();
        prepare(&cluster.state());
        cluster.up();
        Some(cluster)
    }

    /// Starts the devnet; the same state is the same data.
    pub fn up(&mut self) {
        assert!(self.supervisor.is_none(), "it runs already");
        let (mount, state) = (self.mount(), self.state());
        let log = fs::File::create(self.path("devnet.log")).unwrap();
        let mut command = self.command(&["devnet", &text(&mount), "--state", &text(&state)]);
        let mut child = command.args(&self.flags).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        self.supervisor = Some(child);
        let (sender, receiver) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let is_ready = lines.map_while(Result::ok).any(|line| line.starts_with("ready: "));
            // The test may have given up.
            let _ = sender.send(is_ready);
        });
        let is_ready = receiver.recv_timeout(START);
        assert!(is_ready == Ok(true), "the devnet is not ready: {is_ready:?}\n{}", self.logs());
    }

    /// Another value for a flag, from the next start on.
    pub fn set_flag(&mut self, name: &str, value: &str) {
        let at = self.flags.iter().position(|flag| flag == name).expect("a flag of this devnet");
        value.clone_into(&mut self.flags[at + 1]);
    }

    /// Ends the devnet in order, and sees that nothing is left behind.
    pub fn down(&mut self) {
        let mut supervisor = self.supervisor.take().expect("it runs");
        signal(supervisor.id() as i32, Signal::TERM);
        let until = Instant::now() + START;
        let status = loop {
            match supervisor.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() < until => thread::sleep(LOOK), // the look at a condition
                None => {
                    self.supervisor = Some(supervisor);
                    panic!("the devnet does not stop\n{}", self.logs());
                }
            }
        };
        assert!(status.success(), "the devnet ended with {status}\n{}", self.logs());
        assert!(!is_mounted(&self.mount()), "a mount is left behind");
        assert!(self.processes().iter().all(|process| process["pid"].is_null()));
    }

    /// Kills the devnet and all its processes at once; their mount stays behind, dead.
    pub fn crash(&mut self) {
        let mut supervisor = self.supervisor.take().expect("it runs");
        let processes = self.processes();
        supervisor.kill().unwrap();
        supervisor.wait().unwrap();
        kill_all(&self.state());
        let pids: Vec<i64> = processes.iter().filter_map(|process| process["pid"].as_i64()).collect();
        eventually("all processes are gone", START, || !pids.iter().any(|pid| is_ours(*pid, &self.state())));
    }

    /// Lets other users of this machine come to the mount and to what the test puts beside it.
    pub fn open_to_others(&self) {
        fs::set_permissions(self.base.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A path outside the mount.
    pub fn path(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    pub fn mount(&self) -> PathBuf {
        self.path("bucket")
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// A path in the mount.
    pub fn file(&self, name: &str) -> PathBuf {
        self.mount().join(name)
    }

    /// devnet.json.
    pub fn processes(&self) -> Vec<Value> {
        processes(&self.state())
    }

    pub fn process(&self, name: &str) -> Value {
        let found = self.processes().into_iter().find(|process| process["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is not in devnet.json"))
    }

    /// Kills a process at once and waits until the devnet knows.
    pub fn kill(&self, name: &str) {
        let pid = self.process(name)["pid"].as_i64().unwrap_or_else(|| panic!("{name} does not run"));
        signal(pid as i32, Signal::KILL);
        self.wait_gone(name);
    }

    /// Waits until the devnet has seen the end of a process.
    pub fn wait_gone(&self, name: &str) {
        eventually(&format!("{name} has ended"), Duration::from_secs(30), || self.process(name)["pid"].is_null());
    }

    /// `devnet start NAME`.
    pub fn revive(&self, name: &str) {
        self.ok(&["devnet", "start", name, "--state", &text(&self.state())]);
    }

    /// A process that the test starts itself; it is killed in the end.
    pub fn spawn(&mut self, words: &[&str]) {
        let log = fs::File::create(self.path(&format!("other-{}.log", self.others.len()))).unwrap();
        let mut child = self.command(words).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        self.others.push(child);
        let is_ready = within(START, move || lines.any(|line| line.unwrap().starts_with("ready: ")));
        assert!(is_ready, "{words:?} ended before it was ready\n{}", self.logs());
    }

    /// The program in a home of its own.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_openbucket"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OPENBUCKET_") {
                command.env_remove(name);
            }
        }
        command.env("HOME", self.path("home")).env_remove("XDG_CONFIG_HOME");
        command.args(words).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, words: &[&str], input: &[u8]) -> Outcome {
        run_to_end(self.command(words), input, COMMAND)
    }

    /// The same for a command that takes longer than most.
    pub fn run_for(&self, words: &[&str], limit: Duration) -> Outcome {
        run_to_end(self.command(words), b"", limit)
    }

    /// Runs a command that is to succeed; its output.
    pub fn ok(&self, words: &[&str]) -> String {
        let outcome = self.run(words, b"");
        assert!(outcome.status.success(), "{words:?}: {}: {}\n{}", outcome.status, outcome.stderr, self.logs());
        String::from_utf8(outcome.stdout).unwrap()
    }

    /// Runs a command that is to end with 1 and one line that has all these words; the line.
    pub fn refused(&self, words: &[&str], expected: &[&str]) -> String {
        let Outcome { status, stderr, .. } = self.run(words, b"");
        assert_eq!(status.code(), Some(1), "{words:?}: {stderr}");
        assert!(stderr.starts_with("openbucket: ") && stderr.lines().count() == 1, "{words:?}: {stderr}");
        for part in expected {
            assert!(stderr.contains(part), "{words:?}: '{part}' is not in: {stderr}");
        }
        stderr
    }

    pub fn json(&self, words: &[&str]) -> Value {
        let words = [words, &["--json"]].concat();
        serde_json::from_str(&self.ok(&words)).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// `file stat --json` of a path in the mount.
    pub fn stat(&self, name: &str) -> Value {
        self.json(&["file", "stat", &text(&self.file(name))])
    }

    /// `status --json`.
    pub fn status(&self) -> Value {
        self.json(&["status", &text(&self.mount())])
    }

    /// `status --json` of a consumer.
    pub fn consumer(&self, name: &str) -> Value {
        self.json(&["consumer", "status", "--dir", &text(&self.state().join(name))])
    }

    pub fn sync(&self) {
        self.ok(&["sync", &text(&self.mount()), "--timeout", "90"]);
    }

    /// Drops everything that is held here of a path in the mount.
    pub fn evict(&self, name: &str) -> Value {
        self.json(&["cache", "evict", &text(&self.file(name))])
    }

    /// The ends of all logs, for the words of a failure.
    pub fn logs(&self) -> String {
        let mut paths = vec![self.path("devnet.log")];
        paths.extend(fs::read_dir(self.state().join("logs")).into_iter().flatten().flatten().map(|it| it.path()));
        paths.extend((0..self.others.len()).map(|index| self.path(&format!("other-{index}.log"))));
        let tail = |path: &PathBuf| {
            let log = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            format!("-- {}\n{}\n", path.display(), lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        paths.iter().map(tail).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
        kill_all(&self.state());
        for child in self.supervisor.iter_mut().chain(&mut self.others) {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        detach(&self.mount());
        drop(self.watched.take());
    }
}

/// Runs a program to its end; with all that it started, it is killed when that takes longer than the limit.
pub fn run_to_end(mut command: Command, input: &[u8], limit: Duration) -> Outcome {
    let shown = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{shown}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let input = input.to_vec();
    // It may end without reading all of it.
    thread::spawn(move || stdin.write_all(&input));
    let errors = thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).map(|_| String::from_utf8_lossy(&text).into_owned())
    });
    let group = Pid::from_child(&child);
    let (sender, done) = mpsc::channel::<()>();
    let killer = thread::spawn(move || {
        if done.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{shown} takes longer than {} s and is killed", limit.as_secs());
            // It may have ended just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
    });
    let mut output = Vec::new();
    stdout.read_to_end(&mut output).unwrap();
    let stderr = errors.join().unwrap().unwrap();
    // Not reaped yet, so the killer cannot meet another process of this number.
    drop(sender);
    killer.join().unwrap();
    Outcome { status: child.wait().unwrap(), stdout: output, stderr }
}

/// Kills everything of a test that takes too long: its system calls on the mount then fail, and so does the test.
fn watch(state: PathBuf, limit: Duration, end: Receiver<()>) {
    thread::spawn(move || {
        if end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            eprintln!("the test took longer than {} s: its processes are killed", limit.as_secs());
            kill_all(&state);
        }
    });
}

/// Kills the processes that devnet.json names, the mount first, each only if it is still one of this state.
fn kill_all(state: &Path) {
    for process in processes(state).iter().rev() {
        let Some(pid) = process["pid"].as_i64() else { continue };
        if is_ours(pid, state) {
            signal(pid as i32, Signal::KILL);
        }
    }
}

/// Whether a process runs that was told this state directory.
fn is_ours(pid: i64, state: &Path) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).contains(&*text(state))
}

fn processes(state: &Path) -> Vec<Value> {
    let text = fs::read(state.join("devnet.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Sends a signal.
pub fn signal(pid: i32, signal: Signal) {
    let pid = Pid::from_raw(pid).expect("a process id is not 0");
    // It may have ended just now.
    let _ = kill_process(pid, signal);
}

/// Whether something is mounted there, without touching it.
pub fn is_mounted(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let path = text(&fs::canonicalize(path.parent().unwrap()).unwrap().join(path.file_name().unwrap()));
    table.lines().any(|line| line.split(' ').nth(4) == Some(&path))
}

/// Takes a mount off that may be dead.
pub fn detach(path: &Path) {
    while is_mounted(path) {
        let done = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
        if done.is_err() && !Command::new("fusermount3").arg("-uz").arg(path).status().is_ok_and(|it| it.success()) {
            return eprintln!("{} stays mounted", path.display());
        }
    }
}

/// A path as text.
pub fn text(path: &Path) -> String {
    path.to_str().expect("the paths of a test are text").to_owned()
}

/// Waits for a condition.
pub fn eventually(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + deadline;
    while !condition() {
        assert!(Instant::now() < until, "not within {} s: {what}", deadline.as_secs());
        thread::sleep(LOOK); // the look at a condition
    }
}

/// Runs something that must come back in time.
pub fn within<T: Send + 'static>(deadline: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::sync_channel(1);
    let worker = thread::spawn(move || sender.send(work()));
    match receiver.recv_timeout(deadline) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("it takes longer than {} s", deadline.as_secs()),
        Err(RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(_) => unreachable!("it has sent, or panicked"),
        },
    }
}
