//! A devnet of which the test runs one process itself, so that it may end as the test wants.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    process::{Child, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::fixture::{Cluster, eventually, signal};

/// A process that is to end, or to become ready, does so within this.
const PATIENCE: Duration = Duration::from_secs(60);
/// A process that lives longer is killed, so that nothing hangs on its mount.
const LIFE: Duration = Duration::from_secs(150);

/// A process of the devnet under the test's own hand; killed when dropped.
pub struct Process {
    child: Child,
    /// Its first word: whether it became ready.
    word: Option<Receiver<bool>>,
    /// Dropped at the end, which ends the watchdog.
    _watched: Sender<()>,
}

impl Process {
    /// Starts the `mount` or a consumer of a devnet in which that process is down.
    pub fn start(cluster: &Cluster, name: &str, failpoint: Option<&str>) -> Self {
        let process = cluster.process(name);
        assert!(process["pid"].is_null(), "{name} runs");
        let tracker = cluster.process("tracker");
        let field = |process: &Value, name: &str| process[name].as_str().unwrap().to_owned();
        let mut words: Vec<String> = match name {
            "mount" => ["mount", "--foreground", "--state"].map(String::from).to_vec(),
            _ => ["consumer", "start", "--limit", "10GB", "--dir"].map(String::from).to_vec(),
        };
        words.push(field(&process, "dir"));
        words.extend(["--tracker".to_owned(), format!("{}/p2p/{}", field(&tracker, "addr"), field(&tracker, "peer"))]);
        words.extend(["--group".to_owned(), field(&process, "group"), "--listen".to_owned(), field(&process, "addr")]);
        words.push("--no-mdns".to_owned());
        words.extend(process["mountpoint"].as_str().map(String::from));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let log = cluster.state().join("logs").join(format!("{name}-of-the-test.log"));
        let log = fs::File::options().create(true).append(true).open(log).unwrap();
        let mut command = cluster.command(&words);
        command.envs(failpoint.map(|name| ("OPENBUCKET_FAILPOINT", name)));
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, word) = mpsc::sync_channel(1);
        // The test may have given up.
        thread::spawn(move || sender.send(lines.any(|line| line.is_ok_and(|line| line.starts_with("ready: ")))));
        let (watched, end) = mpsc::channel::<()>();
        let pid = child.id() as i32;
        thread::spawn(move || {
            if end.recv_timeout(LIFE) == Err(RecvTimeoutError::Timeout) {
                eprintln!("a process lives longer than {} s and is killed", LIFE.as_secs());
                signal(pid, Signal::KILL);
            }
        });
        Self { child, word: Some(word), _watched: watched }
    }

    /// The same, once it is ready.
    pub fn ready(cluster: &Cluster, name: &str, failpoint: Option<&str>) -> Self {
        let mut process = Self::start(cluster, name, failpoint);
        assert!(process.becomes_ready(), "{name} ended before it was ready\n{}", cluster.logs());
        process
    }

    /// Waits until it is ready, or has ended before.
    pub fn becomes_ready(&mut self) -> bool {
        self.word.take().expect("asked once").recv_timeout(PATIENCE).expect("it says something in time")
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        eventually("the process has ended", PATIENCE, || !self.is_alive());
        self.child.wait().unwrap()
    }

    /// Waits for its end by SIGKILL.
    pub fn was_killed(&mut self, cluster: &Cluster) {
        let status = self.ended();
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}\n{}", cluster.logs());
    }

    /// Kills it.
    pub fn kill(&mut self) {
        signal(self.pid(), Signal::KILL);
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
