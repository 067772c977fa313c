//! A system for one test: namespaces, an installed program, processes that end with the test.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// One test, at most: then everything in its namespaces is killed.
const TEST: Duration = Duration::from_secs(100);
/// A process is ready within this.
const START: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Tells the second run of a test where it is; its first run makes that directory.
const STAGE: &str = "FSTAB_TEST_STAGE";
/// The ordinary user.
const USER: &str = "4321";

/// Runs a test in namespaces of its own; says so where that is not possible. `name` is how the test harness calls it.
pub fn alone(name: &str, test: impl FnOnce(&System)) {
    if let Some(base) = std::env::var_os(STAGE) {
        return test(&System::prepare(PathBuf::from(base)));
    }
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        return println!("skipped: it needs root and /dev/fuse");
    }
    let base = tempfile::tempdir().unwrap();
    fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture", "--test-threads=1"]);
    command.env(STAGE, base.path()).stdin(Stdio::null());
    let mut child = command.spawn().unwrap();
    let until = Instant::now() + TEST;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() < until => thread::sleep(LOOK), // the look at a condition
            None => {
                // Its child is the first process of the namespace, and all others end with that.
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{name} takes longer than {} s", TEST.as_secs());
            }
        }
    };
    assert!(status.success(), "{name}: {status}");
}

/// What a test has to itself.
pub struct System {
    base: PathBuf,
}

/// The words of a command that ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl System {
    /// Lays a private /etc and /sbin over the machine's and installs the program.
    fn prepare(base: PathBuf) -> Self {
        let system = Self { base };
        for name in ["etc", "etc-work", "sbin", "sbin-work", "mnt"] {
            fs::create_dir(system.path(name)).unwrap();
        }
        let base = text(&system.base);
        let sbin = text(&fs::canonicalize("/sbin").unwrap());
        system.ok(&format!(
            "mount -t tmpfs tmpfs /run
             mount -t overlay overlay -o lowerdir=/etc,upperdir={base}/etc,workdir={base}/etc-work /etc
             mount -t overlay overlay -o lowerdir={sbin},upperdir={base}/sbin,workdir={base}/sbin-work {sbin}
             echo 'someone:x:{USER}:{USER}::/nowhere:/bin/sh' >>/etc/passwd
             mknod {base}/fuse c 10 229 && chmod 666 {base}/fuse && mount --bind {base}/fuse /dev/fuse
             mkdir /etc/openbucket && echo 'mdns = false' >/etc/openbucket/config.toml && chmod 755 /etc/openbucket
             {} --prefix {base}/usr --binary {}",
            script("install"),
            env!("CARGO_BIN_EXE_openbucket")
        ));
        system
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.base.join(name)
    }

    /// The mount point.
    pub fn mnt(&self) -> PathBuf {
        self.path("mnt")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.mnt().join(name)
    }

    /// Runs a script as init would: no terminal, no home, no variables but the search path, which knows the program.
    pub fn sh(&self, script: &str) -> Ended {
        ended(self.shell(script).output().unwrap())
    }

    /// Runs it as an ordinary user.
    pub fn sh_as_user(&self, script: &str) -> Ended {
        let mut command = self.clean("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "sh", "-ec", script]);
        ended(command.output().unwrap())
    }

    /// Runs a script that is to succeed; its output.
    pub fn ok(&self, script: &str) -> String {
        let ended = self.sh(script);
        assert_eq!(ended.code, 0, "{script}: {ended:?}\n{}", self.logs());
        ended.stdout
    }

    /// Runs a script that is to fail with this code and one line on stderr that has all these words.
    pub fn refused(&self, script: &str, code: i32, expected: &[&str]) {
        let ended = self.sh(script);
        assert_eq!(ended.code, code, "{script}: {ended:?}");
        let lines: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("openbucket: ")).collect();
        assert_eq!(lines.len(), 1, "{script}: {ended:?}");
        for part in expected {
            assert!(lines[0].contains(part), "{script}: '{part}' is not in: {}", lines[0]);
        }
    }

    /// A script that goes on.
    pub fn shell(&self, script: &str) -> Command {
        let mut command = self.clean("sh");
        command.args(["-ec", script]);
        command
    }

    fn clean(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", text(&self.path("usr/bin")));
        command.env_clear().env("PATH", path).current_dir("/").stdin(Stdio::null());
        command
    }

    /// Keys in the state directory `state`.
    pub fn init(&self) -> PathBuf {
        let state = self.path("state");
        self.ok(&format!("openbucket init --state {}", state.display()));
        state
    }

    /// A tracker and so many consumers: the tracker's address, and the consumers. They end with the test.
    pub fn network(&self, consumers: usize) -> (String, Vec<Child>) {
        let node = |name: &str, words: &str| {
            let dir = self.path(name);
            let log = fs::File::create(self.path(&format!("{name}.log"))).unwrap();
            let script = format!("exec openbucket {words} --dir {} --listen 127.0.0.1:0", dir.display());
            start(self.shell(&script).stderr(log))
        };
        let (_, ready) = node("tracker", "tracker start");
        let port = ready.split('/').nth(4).unwrap_or_else(|| panic!("no port in: {ready}"));
        let address = format!("127.0.0.1:{port}");
        let names = (1..=consumers).map(|number| format!("consumer-{number}"));
        let nodes = names.map(|name| node(&name, &format!("consumer start --limit '1 GB' --tracker {address}")).0);
        let nodes = nodes.collect();
        (address, nodes)
    }

    /// Whether something is mounted on the mount point, and how often, without touching it.
    pub fn mounts(&self) -> usize {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let path = text(&fs::canonicalize(&self.base).unwrap().join("mnt"));
        table.lines().filter(|line| line.split(' ').nth(4) == Some(&path)).count()
    }

    /// The process id of the daemon of a mount, as its status has it.
    pub fn daemon(&self) -> i32 {
        let status = self.ok(&format!("openbucket status --json {}", self.mnt().display()));
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        i32::try_from(status["pid"].as_i64().unwrap()).unwrap()
    }

    /// The ends of the logs, for the words of a failure.
    pub fn logs(&self) -> String {
        let log = fs::read_to_string(self.path("state/log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

fn ended(output: Output) -> Ended {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Starts a process and waits until it says that it is ready; its words are given back.
pub fn start(command: &mut Command) -> (Child, String) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, ready) = mpsc::sync_channel(1);
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if let Some(words) = line.strip_prefix("ready: ") {
                // The test may have given up.
                let _ = sender.send(words.to_owned());
            }
        }
    });
    let words = ready.recv_timeout(START).unwrap_or_else(|_| panic!("{command:?} is not ready"));
    (child, words)
}

/// A process that does nothing but hold what it was started with; ended by `Child::kill`.
pub fn sleeper(directory: &Path, file: &Path) -> Child {
    let opened = fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
    Command::new("sleep").arg("1000").current_dir(directory).stdin(opened).spawn().unwrap()
}

/// A script of the project.
pub fn script(name: &str) -> String {
    format!("{}/scripts/{name}", env!("CARGO_MANIFEST_DIR"))
}

pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Waits for a condition.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + START;
    while !condition() {
        assert!(Instant::now() < until, "not within {} s: {what}", START.as_secs());
        thread::sleep(LOOK); // the look at a condition
    }
}

/// Bytes that no compression makes small.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Writes and says what went wrong, if so; nothing is flushed.
pub fn write(path: &Path, data: &[u8]) -> std::io::Result<()> {
    fs::File::create(path)?.write_all(data)
}

pub fn read(path: &Path) -> Vec<u8> {
    let mut data = Vec::new();
    fs::File::open(path).unwrap().read_to_end(&mut data).unwrap();
    data
}
