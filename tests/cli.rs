//! The command line as a person meets it: wrong use, wrong places, exit codes, help.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// The program in a home of its own, so that this machine's configuration does not matter.
fn openbucket(home: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_openbucket"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OPENBUCKET_") {
            command.env_remove(name);
        }
    }
    command.args(words).env("HOME", home).env_remove("XDG_CONFIG_HOME").stdin(Stdio::null());
    command
}

fn run(home: &Path, words: &[&str]) -> Output {
    openbucket(home, words).output().expect("the program runs")
}

/// Asserts the exit code and one line on stderr that has all these words.
fn refused(home: &Path, words: &[&str], code: i32, expected: &[&str]) {
    let output = run(home, words);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{words:?}: {stderr}");
    assert!(stderr.starts_with("openbucket: "), "{words:?}: {stderr}");
    for part in expected {
        assert!(stderr.contains(part), "{words:?}: '{part}' is not in: {stderr}");
    }
}

#[test]
fn wrong_use_is_one_line_and_exit_code_2() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let at = home.path();
    refused(at, &["mount", "--quux", "/mnt"], 2, &["--quux"]);
    refused(at, &["frobnicate"], 2, &["frobnicate"]);
    refused(at, &["mount"], 2, &["<DIR>"]);
    refused(at, &["mount", "-o", "ro,quux", "/mnt"], 2, &["unknown mount option 'quux'"]);
    refused(at, &["mount", "-o", "cache-size=big", "/mnt"], 2, &["cache-size", "'big' is not a size"]);
    refused(at, &["mount", "--tier", "60+9", "/mnt"], 2, &["k=60, m=9 is out of range"]);
    refused(at, &["mount", "--tier", "0+2", "/mnt"], 2, &["out of range"]);
    refused(at, &["mount", "--tracker", "nowhere", "/mnt"], 2, &["'nowhere' is not an address"]);
    refused(at, &["consumer", "start", "--dir", "/x", "--limit", "5 XB"], 2, &["'5 XB' is not a size"]);
    refused(at, &["consumer", "start", "--dir", "/x", "--listen", "1:2:3"], 2, &["'1:2:3' is not an address"]);
    refused(at, &["consumer", "start", "--limit", "5 GB"], 2, &["--dir"]);
    refused(at, &["consumer", "start", "--dir", "/x"], 2, &["--limit"]);
    refused(at, &["tracker", "start"], 2, &["--dir"]);
    refused(at, &["devnet", "/mnt"], 2, &["--state"]);
    refused(at, &["devnet", "/mnt", "--state", "/x", "--consumers", "0"], 2, &["--consumers"]);
    refused(at, &["devnet", "/mnt", "--state", "/x", "--chain", "main"], 2, &["--chain"]);
    refused(at, &["devnet", "/mnt", "--state", "/x", "--anvil", "/nowhere/anvil"], 1, &["/nowhere/anvil", "--anvil"]);
    refused(at, &["sync", "/mnt", "--timeout", "soon"], 2, &["'soon' is not a time"]);
    refused(at, &["sync", "/mnt", "--level", "gone"], 2, &["--level"]);
}

#[test]
fn a_bad_mount_point_is_named_with_what_to_do() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let at = home.path();
    let path = |name: &str| at.join(name).display().to_string();
    refused(at, &["mount", &path("m")], 1, &["has no keys yet", "openbucket init"]);
    let state = path("state");
    assert!(run(at, &["init", "--state", &state]).status.success());
    fs::create_dir_all(at.join("full/inner")).expect("made");
    fs::create_dir(at.join("empty")).expect("made");
    fs::write(at.join("file"), "x").expect("written");
    if !Path::new("/dev/fuse").exists() {
        refused(at, &["mount", "--state", &state, &path("empty")], 1, &["/dev/fuse", "modprobe fuse"]);
        return;
    }
    let mount = |name: &str, words: &[&str]| refused(at, &["mount", "--state", &state, &path(name)], 1, words);
    mount("absent", &["does not exist", "mkdir"]);
    mount("full", &["is not empty"]);
    mount("file", &["is not a directory"]);
    refused(at, &["mount", "--state", &state, "/proc"], 1, &["is already a mount point, proc"]);
    let inside = path("empty/state");
    assert!(run(at, &["init", "--state", &inside]).status.success());
    refused(at, &["mount", "--state", &inside, &path("empty")], 1, &["not empty"]);
}

#[test]
fn a_state_in_use_is_refused_with_its_holder() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let directory = home.path().join("consumer");
    let lock = openbucket::store::StateLock::acquire(&directory, "test").expect("free");
    let words = ["consumer", "start", "--dir", &directory.display().to_string(), "--limit", "1 GB", "--no-mdns"];
    refused(home.path(), &words, 1, &["is in use by openbucket test, process"]);
    drop(lock);
}

#[test]
fn a_path_outside_of_a_mount_is_said_to_be() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let at = home.path();
    let file = at.join("file");
    fs::write(&file, "x").expect("written");
    let path = file.display().to_string();
    let target = at.join("copy").display().to_string();
    refused(at, &["file", "upload", &path, &target], 1, &["is not inside a mounted bucket"]);
    refused(at, &["file", "download", &path, &target], 1, &["is not inside a mounted bucket"]);
    refused(at, &["file", "stat", &path], 1, &["is not inside a mounted bucket"]);
    refused(at, &["cache", "evict", &path], 1, &["is not inside a mounted bucket"]);
    refused(at, &["sync", &path], 1, &["is not inside a mounted bucket"]);
    refused(at, &["umount", &at.display().to_string()], 1, &["is not mounted"]);
    refused(at, &["status"], 1, &["no daemon answers at", "openbucket mount"]);
    refused(at, &["consumer", "status", "--dir", &target], 1, &["nothing runs in"]);
    refused(at, &["devnet", "start", "consumer-1", "--state", &target], 1, &["no devnet runs in"]);
    assert!(!at.join("copy").exists());
}

#[test]
fn unknown_keys_are_named_with_their_file() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let directory = home.path().join(".config/openbucket");
    fs::create_dir_all(&directory).expect("made");
    fs::write(directory.join("config.toml"), "cachesize = '1 GB'\n").expect("written");
    refused(home.path(), &["status"], 1, &["config.toml", "unknown key 'cachesize'", "'cache-size'"]);
    let other = tempfile::tempdir().expect("a temporary directory");
    let output = openbucket(other.path(), &["status"]).env("OPENBUCKET_CASH", "1").output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("OPENBUCKET_CASH"));
}

#[test]
fn init_is_safe_to_run_twice_and_restores_the_same_keys() {
    use std::io::Write;
    let home = tempfile::tempdir().expect("a temporary directory");
    let first = run(home.path(), &["init"]);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let text = String::from_utf8(first.stdout).expect("text");
    let phrase = text.lines().find(|line| line.split(' ').count() == 24).expect("the phrase").to_owned();
    let state = home.path().join(".local/share/openbucket");
    let root = fs::read(state.join("keys/root.key")).expect("a key file");
    let config = fs::read(home.path().join(".config/openbucket/config.toml")).expect("a configuration");

    let second = run(home.path(), &["init"]);
    let text = String::from_utf8(second.stdout).expect("text");
    assert!(second.status.success() && text.contains("nothing to do") && !text.contains(&phrase), "{text}");
    assert_eq!(fs::read(state.join("keys/root.key")).expect("there"), root);
    assert_eq!(fs::read(home.path().join(".config/openbucket/config.toml")).expect("there"), config);

    let restore = |directory: &Path, phrase: &str| {
        let directory = directory.display().to_string();
        let mut command = openbucket(home.path(), &["init", "--restore", "--state", &directory]);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("runs");
        child.stdin.take().expect("piped").write_all(phrase.as_bytes()).expect("written");
        child.wait_with_output().expect("ends")
    };
    let other = home.path().join("other");
    assert!(restore(&other, &phrase).status.success());
    assert_eq!(fs::read(other.join("keys/root.key")).expect("there"), root);
    let wrong = "abandon ".repeat(23) + "art";
    let refused = restore(&other, &wrong);
    assert_eq!(refused.status.code(), Some(1), "another phrase must not replace the keys");
    assert_eq!(fs::read(other.join("keys/root.key")).expect("there"), root);
    assert_eq!(restore(&home.path().join("third"), "these are no words").status.code(), Some(1));
}

#[test]
fn help_fits_80_columns_and_is_no_error() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let commands: [&[&str]; 42] = [
        &[],
        &["init"],
        &["mount"],
        &["umount"],
        &["status"],
        &["devnet"],
        &["devnet", "start"],
        &["devnet", "stop"],
        &["sync"],
        &["file", "ls"],
        &["file", "stat"],
        &["file", "upload"],
        &["file", "download"],
        &["cache", "evict"],
        &["cache", "pin"],
        &["cache", "unpin"],
        &["consumer", "start"],
        &["consumer", "status"],
        &["tracker", "start"],
        &["tracker", "status"],
        &["wallet", "create"],
        &["wallet", "restore"],
        &["wallet", "accounts"],
        &["wallet", "default"],
        &["wallet", "export"],
        &["wallet", "password"],
        &["wallet", "balance"],
        &["wallet", "send"],
        &["wallet", "pending"],
        &["contract", "deploy"],
        &["contract", "show"],
        &["contract", "offers"],
        &["contract", "settle"],
        &["contract", "topup"],
        &["contract", "withdraw"],
        &["producer", "activate"],
        &["consumer", "activate"],
        &["consumer", "withdraw"],
        &["consumer", "offer", "create"],
        &["consumer", "offer", "cancel"],
        &["consumer", "offer", "ls"],
        &["version"],
    ];
    for command in commands {
        for flag in ["-h", "--help"] {
            let output = run(home.path(), &[command, &[flag]].concat());
            let text = String::from_utf8(output.stdout).expect("text");
            assert!(output.status.success() && text.contains("Usage: openbucket"), "{command:?}: {text}");
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{command:?}: {line}");
            }
        }
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let output = run(home.path(), &["version"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("openbucket {}\n", env!("CARGO_PKG_VERSION")));
}

/// A process that does not outlive a test, be it that this fails.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // One that has ended is left alone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The nice value of the session that a process is in; none where the kernel does not share the processors among sessions.
fn session_nice(pid: u32) -> Option<i32> {
    let words = fs::read_to_string(format!("/proc/{pid}/autogroup")).ok()?;
    words.trim().rsplit(' ').next()?.parse().ok()
}

#[test]
fn the_session_of_a_consumer_stands_back_if_it_is_its_own() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let Some(here) = session_nice(std::process::id()) else {
        return println!("skipped: this kernel does not share the processors among sessions");
    };
    let directory = home.path().join("consumer").display().to_string();
    let words = ["consumer", "start", "--dir", &directory, "--limit", "1 GB", "--no-mdns", "--listen", "127.0.0.1:0"];
    let start = |mut command: Command, expected: i32| {
        let mut consumer = Started(command.stdout(Stdio::piped()).spawn().expect("starts"));
        let mut lines = BufReader::new(consumer.0.stdout.take().expect("piped")).lines();
        assert!(lines.any(|line| line.expect("readable").starts_with("ready: ")));
        // While other sessions do so, too, the kernel lets it wait.
        let end = Instant::now() + Duration::from_secs(10);
        while session_nice(consumer.0.id()) != Some(expected) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20)); // nobody tells when it changes
        }
        let nice = session_nice(consumer.0.id());
        kill_process(Pid::from_child(&consumer.0), Signal::TERM).expect("told to end");
        assert!(consumer.0.wait().expect("ends").success());
        nice
    };
    assert_eq!(start(openbucket(home.path(), &words), here), Some(here), "that of this test is left alone");
    let own = openbucket(home.path(), &words);
    let mut leader = Command::new("setsid");
    leader.arg(own.get_program()).args(own.get_args()).env("HOME", home.path()).stdin(Stdio::null());
    assert_eq!(start(leader, 10), Some(10));
}
