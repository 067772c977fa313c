//! The daemon among other processes: who is in the way, who supervises it, what is left when it dies.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::{linux::net::SocketAddrExt, unix::net::UnixDatagram},
    path::Path,
    process::{Child, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::fixture::{System, alone, eventually, read, script, sleeper, start, text, write};

/// Mounts in the background, without a network.
fn mount(system: &System) -> String {
    format!("openbucket mount --state {} {}", system.path("state").display(), system.mnt().display())
}

fn kill(pid: i32) {
    let pid = Pid::from_raw(pid).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    // Nobody reaps it in this namespace.
    let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
    eventually("it is gone", || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z ")));
}

#[test]
fn umount_says_who_is_in_the_way() {
    alone("process::umount_says_who_is_in_the_way", |system| {
        system.init();
        let mnt = text(&system.mnt());
        system.ok(&mount(system));
        fs::create_dir(system.file("dir")).unwrap();
        let mut one = sleeper(&system.file("dir"), &system.file("open"));
        let mut other = sleeper(Path::new("/"), &system.file("other"));
        // Mapped, and not open any more.
        let mapper = format!("cp /bin/sleep {mnt}/program && exec {mnt}/program 1000");
        let mut program = system.shell(&mapper).stdout(Stdio::null()).spawn().unwrap();
        let comm = format!("/proc/{}/comm", program.id());
        eventually("the program runs", || fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "program"));

        let words = [
            format!("sleep ({}): {mnt}/dir, {mnt}/open", one.id()),
            format!("sleep ({}): {mnt}/other", other.id()),
            format!("program ({}): {mnt}/program", program.id()),
        ];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        system.refused(&format!("openbucket umount --force {mnt}"), 1, &words);
        write(&system.file("after"), b"all as before").unwrap();
        assert_eq!(read(&system.file("after")), b"all as before");

        for child in [&mut one, &mut other, &mut program] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        system.ok(&format!("mkdir {mnt}/below && mount -t tmpfs tmpfs {mnt}/below"));
        system.refused(&format!("openbucket umount --force {mnt}"), 1, &["mounted on", "/below"]);
        // From within: the command itself is not in its own way, only the shell is.
        system.refused(&format!("umount {mnt}/below; cd {mnt}; openbucket umount --force ."), 1, &["sh ("]);
        system.ok(&format!("openbucket umount --force {mnt}"));
        assert_eq!(system.mounts(), 0);
    });
}

#[test]
fn a_mount_whose_daemon_was_killed_is_cleared_by_the_next() {
    alone("process::a_mount_whose_daemon_was_killed_is_cleared_by_the_next", |system| {
        system.init();
        let mnt = text(&system.mnt());
        system.ok(&mount(system));
        fs::write(system.file("file"), "kept").unwrap();
        fs::File::open(system.file("file")).unwrap().sync_all().unwrap();
        // Two on each other, and somebody within both.
        let mut inside = sleeper(&system.mnt(), &system.file("open"));
        let pid = system.daemon();
        system.ok(&format!("mount --bind {mnt} {mnt}"));
        let mut above = sleeper(&system.mnt(), &system.file("open"));
        kill(pid);
        assert_eq!(system.mounts(), 2);
        assert!(fs::read_dir(system.mnt()).is_err(), "a dead mount answers");
        system.ok(&mount(system));
        assert_eq!((system.mounts(), read(&system.file("file"))), (1, b"kept".to_vec()));

        // The same with nothing but umount in between, and through the line of fstab.
        kill(system.daemon());
        system.ok(&format!("openbucket umount {mnt}"));
        assert_eq!(system.mounts(), 0);
        let line = format!("openbucket {mnt} openbucket state={} 0 0\n", system.path("state").display());
        fs::write("/etc/fstab", line).unwrap();
        system.ok(&format!("mount {mnt}"));
        kill(system.daemon());
        system.ok(&format!("mount {mnt}"));
        assert_eq!((system.mounts(), read(&system.file("file"))), (1, b"kept".to_vec()));
        for child in [&mut inside, &mut above] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    });
}

#[test]
fn an_ordinary_user_clears_a_dead_mount_too() {
    alone("process::an_ordinary_user_clears_a_dead_mount_too", |system| {
        let (mnt, state) = (text(&system.mnt()), text(&system.path("own")));
        system.ok(&format!("mkdir {state} && chown 4321:4321 {state} {mnt}"));
        let mount = format!("openbucket mount --state {state} {mnt}");
        let run = |script: &str| {
            let ended = system.sh_as_user(script);
            assert_eq!(ended.code, 0, "{script}: {ended:?}");
            ended.stdout
        };
        run(&format!("openbucket init --state {state} && {mount} && echo kept >{mnt}/file && sync {mnt}/file"));
        let holder = format!("cd {mnt} && (sleep 1000 >/dev/null 2>&1 & ) && openbucket status --json {mnt}");
        let status: serde_json::Value = serde_json::from_str(&run(&holder)).unwrap();
        kill(i32::try_from(status["pid"].as_i64().unwrap()).unwrap());
        assert_eq!(run(&format!("{mount} && cat {mnt}/file")), "kept\n");
        assert_eq!(system.mounts(), 1);
        run(&format!("openbucket umount --force {mnt}"));
        assert_eq!(system.mounts(), 0);
    });
}

/// A service manager's socket, and the words that come to it.
struct Manager(UnixDatagram);

impl Manager {
    fn told(&self) -> String {
        self.0.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut words = [0; 300];
        let length = self.0.recv(&mut words).unwrap();
        String::from_utf8(words[..length].to_vec()).unwrap()
    }
}

#[test]
fn a_service_manager_is_told_and_an_unmount_from_outside_ends_the_daemon() {
    alone("process::a_service_manager_is_told_and_an_unmount_from_outside_ends_the_daemon", |system| {
        system.init();
        let socket = system.path("notify");
        let manager = Manager(UnixDatagram::bind(&socket).unwrap());
        let words = format!("exec {} --foreground", mount(system));
        let daemon = || {
            let log = fs::File::create(system.path("state/log")).unwrap();
            start(system.shell(&words).env("NOTIFY_SOCKET", &socket).stderr(log)).0
        };
        let mnt = text(&system.mnt());
        // Cut off while a file is open: the daemon ends all the same, and no dead mount stays behind.
        for (unmount, is_open) in [("umount", false), ("umount -l", false), ("umount -f", true)] {
            let mut daemon = daemon();
            let ready = manager.told();
            assert!(ready.starts_with("READY=1\nSTATUS=") && ready.contains(&mnt), "{ready}");
            write(&system.file("file"), unmount.as_bytes()).unwrap();
            let file = fs::File::open(system.file("file")).unwrap();
            file.sync_all().unwrap();
            let file = is_open.then_some(file);
            system.sh(&format!("{unmount} {mnt}"));
            assert!(manager.told().starts_with("STOPPING=1\n"), "{unmount}");
            assert_eq!(daemon.wait().unwrap().code(), Some(0), "{unmount}");
            assert_eq!(system.mounts(), 0, "{unmount}");
            drop(file);
            system.ok(&mount(system));
            assert_eq!(read(&system.file("file")), unmount.as_bytes());
            system.ok(&format!("openbucket umount --force {mnt}"));
        }
    });
}

#[test]
fn nodes_tell_their_service_manager() {
    alone("process::nodes_tell_their_service_manager", |system| {
        let name = format!("openbucket-test-{}", system.path("").display());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let manager = Manager(UnixDatagram::bind_addr(&address).unwrap());
        let dir = system.path("tracker");
        let words = format!("exec openbucket tracker start --listen 127.0.0.1:0 --dir {}", dir.display());
        let mut tracker = start(system.shell(&words).env("NOTIFY_SOCKET", format!("@{name}")).stderr(Stdio::null())).0;
        assert!(manager.told().starts_with("READY=1\nSTATUS="));
        kill_process(Pid::from_raw(tracker.id() as i32).unwrap(), Signal::TERM).unwrap();
        assert!(manager.told().starts_with("STOPPING=1\n"));
        assert_eq!(tracker.wait().unwrap().code(), Some(0));
    });
}

#[test]
fn every_command_says_so_when_the_daemon_hangs() {
    alone("process::every_command_says_so_when_the_daemon_hangs", |system| {
        system.init();
        let mnt = text(&system.mnt());
        system.ok(&mount(system));
        // Not written back yet: the kernel waits for the daemon when it lets go of the mount.
        write(&system.file("file"), b"kept").unwrap();
        let daemon = Pid::from_raw(system.daemon()).unwrap();
        kill_process(daemon, Signal::STOP).unwrap();
        // The kernel may keep a process that has said its word until the daemon goes on.
        let ask = |command: &str| {
            let mut command = system.shell(&format!("exec openbucket {command} {mnt}"));
            command.stderr(Stdio::piped()).spawn().unwrap()
        };
        let mut kept: Vec<Child> = ["status", "umount"].into_iter().map(ask).collect();
        let says_so = |child: &mut Child| {
            let said = first_line(child.stderr.take().unwrap());
            assert!(said.contains("does not answer"), "{said}");
        };
        kept.iter_mut().for_each(says_so);
        assert_eq!(system.mounts(), 1, "a mount that was not to be taken off");
        kept.push(ask("umount --lazy"));
        kept.last_mut().into_iter().for_each(says_so);
        eventually("it is taken off", || system.mounts() == 0);
        // It was not dead, and goes on: it ends in order, with everything.
        kill_process(daemon, Signal::CONT).unwrap();
        let codes: Vec<Option<i32>> = kept.iter_mut().map(|child| child.wait().unwrap().code()).collect();
        assert_eq!(codes, [Some(1), Some(1), Some(0)]);
        system.ok(&mount(system));
        assert_eq!(read(&system.file("file")), b"kept");
    });
}

/// The first line that a process writes, within the time in which every command must say something.
fn first_line(from: impl Read + Send + 'static) -> String {
    let (sender, line) = mpsc::sync_channel(1);
    thread::spawn(move || sender.send(BufReader::new(from).lines().next()));
    line.recv_timeout(Duration::from_secs(20)).expect("a word in time").expect("a line").unwrap()
}

#[test]
fn nothing_is_written_below_an_absent_mount_that_is_guarded() {
    alone("process::nothing_is_written_below_an_absent_mount_that_is_guarded", |system| {
        system.init();
        let mnt = text(&system.mnt());
        let install = format!("{} --prefix {}", script("install"), system.path("usr").display());
        system.ok(&format!("{install} --binary {} --guard {mnt}", env!("CARGO_BIN_EXE_openbucket")));
        system.ok(&format!("openbucket init --guard {mnt}"));
        assert!(write(&system.file("fooled"), b"x").is_err());
        system.ok(&mount(system));
        write(&system.file("file"), b"x").unwrap();
        system.refused(&format!("openbucket init --unguard {mnt}"), 1, &["already a mount point"]);
        system.ok(&format!("umount {mnt}"));
        assert!(write(&system.file("fooled"), b"x").is_err());

        // Who is not root can neither guard nor mount there, and is told why.
        let ended = system.sh_as_user(&format!("openbucket init --unguard {mnt}"));
        assert!(ended.code == 1 && ended.stderr.contains("only root"), "{ended:?}");
        let state = system.path("own");
        system.ok(&format!("mkdir {0} && chown 4321:4321 {0} ", state.display()));
        system.ok(&format!("openbucket init --unguard {mnt}; chown 4321 {mnt}; openbucket init --guard {mnt}"));
        let user = format!("openbucket init --state {0} && openbucket mount --state {0} {mnt}", state.display());
        let ended = system.sh_as_user(&user);
        assert!(ended.code == 1 && ended.stderr.contains("only root mounts over a guarded"), "{ended:?}");
        system.ok(&format!("openbucket init --unguard {mnt}"));
        write(&system.file("bare"), b"x").unwrap();
        system.refused(&format!("openbucket init --guard {mnt}"), 1, &["is not empty"]);
    });
}
