//! What waits for consumers ends when its process is to end, not at the deadline; and at the deadline otherwise.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    fixture::{Cluster, eventually, signal, text},
    tree,
};

/// How long a read may take, as the devnet is told: long enough to tell it from the answer to a signal.
const READ_TIMEOUT: &str = "read-timeout=12s";
const READ_SECONDS: u64 = 12;
/// Somebody who still runs after this is waiting for the consumers.
const HANGING: Duration = Duration::from_secs(1);
/// A signal has stopped its process by then, also one that waits for the disk.
const STOPPED: Duration = Duration::from_secs(20);
/// A signal has ended its process by then.
const ENDED: Duration = Duration::from_secs(4);

/// A process that is killed if the test fails.
struct Waiting(Child);

impl Waiting {
    fn start(program: &str, words: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(words).env("LC_ALL", "C").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut waiting = Self(command.spawn().unwrap());
        let until = Instant::now() + HANGING;
        while Instant::now() < until {
            assert!(waiting.0.try_wait().unwrap().is_none(), "{program} {words:?} is to wait: {}", waiting.complaint());
            std::thread::sleep(Duration::from_millis(20)); // nothing tells that somebody goes on waiting
        }
        waiting
    }

    fn end(&mut self, deadline: Duration) -> ExitStatus {
        let mut status = None;
        eventually("the process has ended", deadline, || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    fn complaint(&mut self) -> String {
        std::io::read_to_string(self.0.stderr.take().unwrap()).unwrap()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn to_consumers(cluster: &Cluster, what: Signal) {
    for process in cluster.processes().iter().filter(|process| process["role"] == "consumer") {
        let pid = process["pid"].as_i64().expect("it runs") as i32;
        signal(pid, what);
        if what == Signal::STOP {
            // A thread that runs when the signal is sent goes on until the process has taken it.
            eventually("the consumer has stopped", STOPPED, || is_stopped(pid));
        }
    }
}

/// Whether all threads of a process are stopped by a signal: proc_pid_stat(5). One that ends just now is not.
fn is_stopped(pid: i32) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(|task| {
        let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('T'))
    })
}

/// A reader of this file that goes round the page cache, or through it.
fn read(file: &Path, is_direct: bool) -> Waiting {
    let input = format!("if={}", text(file));
    let flags: &[&str] = if is_direct { &["iflag=direct"] } else { &[] };
    Waiting::start("dd", &[&["of=/dev/null", "bs=1M", input.as_str()], flags].concat())
}

#[test]
fn a_signal_ends_a_read_before_its_deadline() {
    let Some(mut cluster) = Cluster::start(6, &["-o", READ_TIMEOUT]) else { return };
    let file = |number: u64| cluster.file(&format!("file-{number}"));
    for number in 0..7 {
        fs::write(file(number), tree::noise(number, 5 << 20)).unwrap();
    }
    cluster.sync();
    cluster.evict("");
    to_consumers(&cluster, Signal::STOP);

    // dd catches an interrupt, and wants to tell how far it came.
    for (number, is_direct, by) in [
        (0, true, Signal::INT),
        (1, false, Signal::INT),
        (2, true, Signal::TERM),
        (3, true, Signal::QUIT),
        (4, true, Signal::KILL),
    ] {
        let mut reader = read(&file(number), is_direct);
        signal(reader.0.id() as i32, by);
        let status = reader.end(ENDED);
        assert_eq!(status.signal(), Some(by.as_raw()), "{status} {is_direct} {by:?}");
    }
    let mut reader = Waiting::start("cat", &[&text(&file(5))]);
    signal(reader.0.id() as i32, Signal::INT);
    assert_eq!(reader.end(ENDED).signal(), Some(Signal::INT.as_raw()));

    // Nobody who is not asked to end is disturbed, and the deadline holds.
    let begin = Instant::now();
    let mut reader = read(&file(6), true);
    let status = reader.end(Duration::from_secs(2 * READ_SECONDS));
    assert_eq!(status.code(), Some(1), "{status}");
    let complaint = reader.complaint();
    assert!(complaint.contains("Input/output error"), "{complaint}");
    assert!(begin.elapsed() >= Duration::from_secs(READ_SECONDS), "{:?}", begin.elapsed());

    to_consumers(&cluster, Signal::CONT);
    for number in 0..7 {
        let is_read = || fs::read(file(number)).is_ok_and(|data| data == tree::noise(number, 5 << 20));
        eventually("what was interrupted is read", Duration::from_secs(60), is_read);
    }
    cluster.down();
}

#[test]
fn a_signal_ends_a_write_that_waits_for_room_and_an_fsync_that_waits_for_consumers() {
    let flags = ["-o", "staging-size=16MiB,durability=network"];
    let Some(mut cluster) = Cluster::start(6, &flags) else { return };
    to_consumers(&cluster, Signal::STOP);
    let synced = cluster.file("synced");
    let output = format!("of={}", text(&synced));
    let mut writer = Waiting::start("dd", &["if=/dev/zero", &output, "bs=64k", "count=16", "conv=fsync"]);
    signal(writer.0.id() as i32, Signal::TERM);
    assert_eq!(writer.end(ENDED).signal(), Some(Signal::TERM.as_raw()));
    assert_eq!(fs::metadata(&synced).unwrap().len(), 1 << 20, "what was written stays");

    let large = cluster.file("large");
    let output = format!("of={}", text(&large));
    let mut writer = Waiting::start("dd", &["if=/dev/zero", &output, "bs=1M", "count=100", "oflag=direct"]);
    signal(writer.0.id() as i32, Signal::INT);
    assert_eq!(writer.end(ENDED).signal(), Some(Signal::INT.as_raw()));
    let complaint = writer.complaint();
    let written: u64 = complaint.lines().find_map(|line| line.strip_suffix("+0 records out")).unwrap().parse().unwrap();
    assert!((1..16).contains(&written), "{complaint}");
    assert_eq!(fs::metadata(&large).unwrap().len(), written << 20, "no write that was interrupted has happened");

    to_consumers(&cluster, Signal::CONT);
    cluster.sync();
    cluster.down();
}

#[test]
fn a_command_is_told_in_time_that_the_daemon_hangs() {
    let Some(mut cluster) = Cluster::start(2, &["--tier", "1+1"]) else { return };
    let mount = cluster.process("mount");
    let (pid, socket) = (mount["pid"].as_i64().expect("it runs") as i32, mount["socket"].as_str().unwrap().to_owned());
    signal(pid, Signal::STOP);
    eventually("the mount has stopped", STOPPED, || is_stopped(pid));
    for words in [&["status", "--socket", &socket][..], &["cache", "evict", "--socket", &socket, "/"]] {
        let begun = Instant::now();
        cluster.refused(words, &["did not answer within 10 s"]);
        assert!(begun.elapsed() < Duration::from_secs(20), "{words:?} after {:?}", begun.elapsed());
    }
    signal(pid, Signal::CONT);
    cluster.ok(&["status", "--socket", &socket]);
    cluster.down();
}

#[test]
fn a_lazy_unmount_of_a_busy_mount_is_done_at_once() {
    let Some(mut cluster) = Cluster::start(2, &["--tier", "1+1"]) else { return };
    fs::write(cluster.file("used"), "still there").unwrap();
    let file = fs::File::open(cluster.file("used")).unwrap();
    let begun = Instant::now();
    cluster.ok(&["umount", "--lazy", &text(&cluster.mount())]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(!cluster.file("used").exists());
    assert_eq!(std::io::read_to_string(&file).unwrap(), "still there");
    drop(file);
    eventually("the daemon ends with its last user", Duration::from_secs(30), || {
        cluster.process("mount")["pid"].is_null()
    });
    cluster.down();
}

#[test]
fn a_mount_that_cannot_be_asked_is_not_taken_off_unless_that_is_wanted() {
    let Some(mut cluster) = Cluster::start(2, &["--tier", "1+1"]) else { return };
    fs::write(cluster.file("file"), "here").unwrap();
    let socket = cluster.process("mount")["socket"].as_str().unwrap().to_owned();
    let elsewhere = format!("{socket}.elsewhere");
    fs::rename(&socket, &elsewhere).unwrap();
    cluster.refused(&["umount", &text(&cluster.mount())], &["cannot be asked", &socket, "umount --lazy"]);
    assert_eq!(fs::read_to_string(cluster.file("file")).unwrap(), "here");
    fs::rename(&elsewhere, &socket).unwrap();
    // Through a link, as the shell shows it.
    let link = cluster.path("link");
    std::os::unix::fs::symlink(cluster.mount(), &link).unwrap();
    cluster.ok(&["umount", &text(&link)]);
    assert!(!cluster.file("file").exists());
    eventually("the daemon ends", Duration::from_secs(30), || cluster.process("mount")["pid"].is_null());
    cluster.down();
}

#[test]
fn an_interrupted_unmount_leaves_the_mount_and_a_second_one_does_not_wait_for_the_first() {
    let Some(mut cluster) = Cluster::start(2, &["--tier", "1+1"]) else { return };
    cluster.kill("consumer-1");
    cluster.kill("consumer-2");
    fs::write(cluster.file("kept"), "not uploaded").unwrap();
    let unmount = || {
        let mut child = cluster.command(&["umount", "--timeout", "600", &text(&cluster.mount())]);
        child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let is_draining = || {
        let log = fs::read_to_string(cluster.state().join("logs/mount.log")).unwrap();
        log.matches("draining").count()
    };
    let mut first = unmount();
    eventually("the daemon drains", Duration::from_secs(30), || is_draining() == 1);
    signal(first.id() as i32, Signal::INT);
    assert!(!first.wait().unwrap().success());
    eventually("the daemon knows", Duration::from_secs(30), || {
        fs::read_to_string(cluster.state().join("logs/mount.log")).unwrap().contains("has given up")
    });
    assert_eq!(fs::read_to_string(cluster.file("kept")).unwrap(), "not uploaded");

    let second = unmount();
    eventually("the daemon drains again", Duration::from_secs(30), || is_draining() == 2);
    let begun = Instant::now();
    cluster.ok(&["umount", "--force", &text(&cluster.mount())]);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let second = second.wait_with_output().unwrap();
    let complaint = String::from_utf8(second.stderr).unwrap();
    assert!(second.status.success(), "{complaint}");
    eventually("the daemon ends", Duration::from_secs(30), || cluster.process("mount")["pid"].is_null());
    cluster.down();
}

#[test]
fn a_closed_terminal_ends_a_mount_in_order() {
    let Some(mut cluster) = Cluster::start(2, &["--tier", "1+1"]) else { return };
    fs::write(cluster.file("kept"), "kept").unwrap();
    let pid = cluster.process("mount")["pid"].as_i64().expect("it runs") as i32;
    // The shell says so, and then the terminal.
    signal(pid, Signal::HUP);
    eventually("it stops", Duration::from_secs(30), || {
        fs::read_to_string(cluster.state().join("logs/mount.log")).unwrap().contains("stopping")
    });
    if !cluster.process("mount")["pid"].is_null() {
        // It may have ended by now.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::HUP);
    }
    eventually("the daemon ends", Duration::from_secs(30), || cluster.process("mount")["pid"].is_null());
    let left = fs::read_dir(cluster.mount()).unwrap().count();
    assert_eq!(left, 0, "no dead mount stays behind");
    cluster.revive("mount");
    assert_eq!(fs::read_to_string(cluster.file("kept")).unwrap(), "kept");
    cluster.down();
}
