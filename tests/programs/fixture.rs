//! A place on a mount where a user runs programs, and a way to know that their data has been with consumers.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use crate::devnet::{Cluster, Outcome, is_full, run_to_end, text};

/// One test, at most.
const TEST: Duration = Duration::from_secs(600);
/// One script, at most.
const SCRIPT: Duration = Duration::from_secs(200);
/// A program says its next word within this.
pub const WORD: Duration = Duration::from_secs(30);
/// `nobody`, whom every machine has: some programs ask for the user's name.
const ORDINARY_UID: u32 = 65534;

/// Who runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Whoever runs the tests.
    Own,
    /// One without any rights, to whom root gives a directory.
    Ordinary,
}

/// Root and somebody else; only oneself when one is not root.
pub fn users() -> &'static [User] {
    if is_root() { &[User::Own, User::Ordinary] } else { &[User::Own] }
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// More of something under `scripts/test --full`.
pub fn rounds(quick: usize, full: usize) -> usize {
    if is_full() { full } else { quick }
}

/// A devnet that other users may enter; None, with a line that says so, without FUSE.
pub fn start() -> Option<Cluster> {
    let flags: &[&str] = if is_root() { &["-o", "allow_other,dev,suid"] } else { &[] };
    let cluster = Cluster::start_for(TEST, 6, flags)?;
    cluster.open_to_others();
    Some(cluster)
}

/// Uploads everything and drops all that is held here, does the work, and sees that its bytes came from consumers.
pub fn from_cold<T>(cluster: &Cluster, work: impl FnOnce() -> T) -> T {
    let received = || cluster.status()["bytes_received"].as_u64().unwrap();
    cluster.sync();
    let evicted = cluster.evict("");
    assert_eq!(evicted["kept_dirty_bytes"], 0, "{evicted}");
    let before = received();
    let done = work();
    assert!(received() > before, "nothing came from consumers");
    done
}

/// A user's directory in the mount, and another on the plain disk.
pub struct Place<'a> {
    pub cluster: &'a Cluster,
    user: User,
    /// In the mount; programs run in it.
    pub dir: PathBuf,
    /// On the plain disk; `$BESIDE` of programs, and the parent of their `$HOME`.
    pub beside: PathBuf,
}

impl<'a> Place<'a> {
    pub fn new(cluster: &'a Cluster, user: User, name: &str) -> Self {
        let name = format!("{name} {user:?}").to_lowercase();
        let (dir, beside) = (cluster.file(&name), cluster.path(&name));
        let place = Self { cluster, user, dir, beside };
        for path in [place.dir.clone(), place.beside.clone(), place.beside.join("home")] {
            fs::create_dir(&path).unwrap();
            place.give(&path);
        }
        place
    }

    /// Makes something the user's own.
    fn give(&self, path: &Path) {
        if self.user == User::Ordinary {
            chown(path, Some(ORDINARY_UID), Some(ORDINARY_UID)).unwrap();
        }
    }

    /// A real tree on the plain disk, the user's own.
    pub fn tree(&self, name: &str) -> PathBuf {
        let path = self.beside.join(name);
        crate::tree::make(&path);
        if self.user == User::Ordinary {
            let owner = format!("{ORDINARY_UID}:{ORDINARY_UID}");
            let status = Command::new("chown").args(["-hR", &owner]).arg(&path).status().unwrap();
            assert!(status.success());
        }
        path
    }

    /// A program of this user, with a small environment of its own.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin");
        command.env("HOME", self.beside.join("home")).env("TMPDIR", &self.beside).env("BESIDE", &self.beside);
        command.env("LANG", "C.UTF-8").current_dir(&self.dir);
        if self.user == User::Ordinary {
            command.uid(ORDINARY_UID).gid(ORDINARY_UID);
        }
        command
    }

    /// Runs a script, which stops at its first failure, to its end.
    pub fn run(&self, script: &str) -> Outcome {
        let mut command = self.command("sh");
        command.arg("-euc").arg(script);
        run_to_end(command, b"", SCRIPT)
    }

    /// Runs a script that is to succeed; what it prints.
    pub fn ok(&self, script: &str) -> String {
        let Outcome { status, stdout, stderr } = self.run(script);
        let stdout = String::from_utf8_lossy(&stdout).into_owned();
        assert!(status.success(), "{:?}: {script}\n{status}\n{stdout}{stderr}{}", self.user, self.cluster.logs());
        stdout
    }

    /// Starts a program that writes to a file beside the mount, with a file as its input.
    pub fn spawn(&self, program: &str, words: &[&str], input: &Path) -> Child {
        let said = File::create(self.beside.join("said")).unwrap();
        let mut command = self.command(program);
        command.args(words).stdin(File::open(input).unwrap()).stdout(said.try_clone().unwrap()).stderr(said);
        command.spawn().unwrap()
    }

    /// Starts the helper in C, and listens to it.
    pub fn helper(&self, words: &[&str]) -> Helper {
        let mut command = self.command(&text(&helper(self.cluster)));
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, said) = mpsc::channel();
        thread::spawn(move || {
            // The test may have heard enough.
            let _ = lines.map_while(Result::ok).try_for_each(|line| sender.send(line));
        });
        let stdin = child.stdin.take();
        Helper { child, stdin, said }
    }
}

/// `helper.c`, built for this network.
fn helper(cluster: &Cluster) -> PathBuf {
    let program = cluster.path("helper");
    if !program.exists() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/helper.c");
        let status = Command::new("cc").args(["-Wall", "-Werror", "-O1", "-o"]).arg(&program).arg(source).status();
        assert!(status.unwrap().success(), "helper.c is not built");
    }
    program
}

/// A running helper; killed at the end.
pub struct Helper {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Receiver<String>,
}

impl Helper {
    /// Its next word.
    pub fn word(&self) -> String {
        self.said.recv_timeout(WORD).unwrap_or_else(|error| panic!("the helper says nothing: {error}"))
    }

    /// All words that it said and that nobody has heard yet, once it has ended.
    pub fn rest(&mut self) -> Vec<String> {
        self.wait();
        std::iter::from_fn(|| self.said.recv_timeout(WORD).ok()).collect()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    /// Tells it to end, and sees that all was well.
    pub fn end(mut self) {
        drop(self.stdin.take());
        let status = self.wait();
        assert!(status.success(), "the helper ended with {status}");
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        wait(&mut self.child)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for the end of a process that must end soon.
pub fn wait(child: &mut Child) -> std::process::ExitStatus {
    let mut ended = None;
    crate::devnet::eventually("a program ends", WORD, || {
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    ended.expect("it has ended")
}
