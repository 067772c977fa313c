//! The line of the README in a real /etc/fstab, through the real mount(8) and umount(8), as init runs them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::Child,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::fixture::{System, alone, eventually, noise, read, sleeper, text, write};

/// The line as it stands in the README, with the paths and the address of this test.
fn readme_line(system: &System, tracker: &str) -> String {
    let readme = include_str!("../../README.md");
    let block = readme.split("```fstab\n").nth(1).and_then(|rest| rest.split("\n```").next());
    let line = block.expect("the README has a block fstab").trim();
    assert_eq!(line.lines().count(), 1, "one line is for fstab");
    let own = [
        ("/mnt/photos", text(&system.mnt())),
        ("/var/lib/openbucket", text(&system.path("state"))),
        ("192.0.2.7:4100", tracker.to_owned()),
    ];
    own.iter().fold(line.to_owned(), |line, (readme, own)| {
        assert!(line.contains(readme), "the line has no {readme}: {line}");
        line.replace(readme, own)
    })
}

#[test]
fn the_line_of_the_readme_is_a_disk_for_the_system() {
    alone("line::the_line_of_the_readme_is_a_disk_for_the_system", |system| {
        let (tracker, nodes) = system.network(6);
        system.init();
        let line = readme_line(system, &tracker);
        fs::write("/etc/fstab", format!("{line}\n")).unwrap();
        let mnt = text(&system.mnt());

        // Off and on again without a pause, by umount(8): the daemon before is still closing.
        system.ok(&format!("mount {mnt}"));
        for round in 0..4 {
            let data = noise(round, 300_000);
            write(&system.file(&format!("file {round}")), &data).unwrap();
            let pid = system.daemon();
            let again = if round % 2 == 0 { format!("mount {mnt}") } else { "mount -a".to_owned() };
            system.ok(&format!("umount {mnt}; {again}"));
            assert_eq!(system.mounts(), 1);
            assert_ne!(system.daemon(), pid, "the same daemon after an unmount");
            assert!(read(&system.file(&format!("file {round}"))) == data, "round {round}");
        }
        system.ok("mount -a");
        assert_eq!(system.mounts(), 1, "mount -a mounts once");
        an_unmount_at_once_loses_nothing(system);
        remounts(system);

        // The data is really with consumers. Nothing is read before: a chunk that is fetched whole brings all files that
        // share it.
        system.ok(&format!("openbucket sync --timeout 60 {mnt} && openbucket cache evict {mnt}"));
        answers_without_the_network(system, &nodes);
        assert!(read(&system.file("file 1")) == noise(1, 300_000));
        system.ok(&format!("openbucket umount {mnt}"));
        assert_eq!(system.mounts(), 0);
        refusals(system, &line);
    });
}

/// Files in a new directory, and umount(8) before anything of them was uploaded or asked to be flushed.
fn an_unmount_at_once_loses_nothing(system: &System) {
    let (mnt, directory) = (text(&system.mnt()), system.file("new"));
    // Of all sizes that are kept in ways of their own: in the log, in memory, in a file.
    let data =
        |number: u64| noise(number, if number.is_multiple_of(20) { 150_000 } else { 100 + 77 * number as usize });
    fs::create_dir(&directory).unwrap();
    for number in 0..200 {
        write(&directory.join(format!("file {number}")), &data(number)).unwrap();
    }
    system.ok(&format!("umount {mnt}"));
    assert_eq!(system.mounts(), 0);
    system.ok(&format!("mount {mnt}"));
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 200);
    for number in 0..200 {
        let found = read(&directory.join(format!("file {number}")));
        assert!(found == data(number), "file {number} has {} bytes", found.len());
    }
    system.ok(&format!("openbucket fsck {mnt}"));
}

fn remounts(system: &System) {
    let mnt = text(&system.mnt());
    let flags = || system.ok(&format!("findmnt -no FSTYPE,OPTIONS {mnt}"));
    let before = flags();
    assert!(before.contains("fuse.openbucket rw,relatime"), "{before}");
    system.ok(&format!("mount -o remount,ro,nosuid,nodev,sync {mnt}"));
    assert!(flags().contains("ro,nosuid,nodev") && flags().contains("sync"), "{}", flags());
    let refused = write(&system.file("refused"), b"x").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::ROFS.raw_os_error()), "{refused}");
    system.ok(&format!("mount -o remount,rw,async {mnt}"));
    assert_eq!(flags(), before);
    write(&system.file("accepted"), b"x").unwrap();
    // Ours changes what is named and nothing else.
    system.ok(&format!(
        "openbucket mount -o remount,nosuid,noexec,noatime {mnt}; openbucket mount -o remount,exec {mnt}"
    ));
    assert!(flags().contains("rw,nosuid,noatime"), "{}", flags());
    system.ok(&format!("mount -o remount {mnt}"));
    assert_eq!(flags(), before);

    system.refused(&format!("mount -o remount,bucket=other {mnt}"), 32, &["'bucket'", "it is photos"]);
    system.refused(&format!("mount -o remount,cache-size=1GB {mnt}"), 32, &["'cache-size'", "umount"]);
    system.refused(&format!("mount -o remount,quux {mnt}"), 1, &["unknown mount option 'quux'"]);
    // With a file open for writing the kernel says no.
    let mut open = sleeper(&system.path(""), &system.file("open"));
    let words = format!("sleep ({}): {mnt}/open", open.id());
    system.refused(&format!("mount -o remount,ro {mnt}"), 32, &["in use", &words]);
    open.kill().unwrap();
    open.wait().unwrap();
    assert_eq!(flags(), before);

    // Without a line in fstab mount(8) gives what the kernel shows.
    let line = fs::read("/etc/fstab").unwrap();
    fs::write("/etc/fstab", "").unwrap();
    system.ok(&format!("mount -o remount,ro {mnt}"));
    assert!(flags().contains("fuse.openbucket ro,"), "{}", flags());
    system.ok(&format!("mount -o remount,rw {mnt}"));
    assert_eq!(flags(), before);
    fs::write("/etc/fstab", line).unwrap();
}

/// While a read waits for consumers that hang, the file system answers for itself.
fn answers_without_the_network(system: &System, nodes: &[Child]) {
    let mnt = text(&system.mnt());
    let pids = || nodes.iter().map(|node| Pid::from_raw(node.id() as i32).unwrap());
    let signal = |signal| pids().for_each(|pid| kill_process(pid, signal).unwrap());
    signal(Signal::STOP);
    // A thread that runs when the signal is sent goes on until the process has taken it.
    for pid in pids() {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(pid), options).unwrap().expect("it waits until there is one");
        assert!(status.stopped(), "a node has ended");
    }
    let (sender, is_read) = mpsc::channel();
    let file = system.file("file 2");
    // The test's last word comes before its own, if it hangs.
    thread::spawn(move || sender.send(fs::read(file)));
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_secs(1) {
        // statfs is always asked of the daemon, and so are attributes when they are to be fresh.
        rustix::fs::statfs(system.mnt()).unwrap();
        let flags = rustix::fs::AtFlags::STATX_FORCE_SYNC;
        rustix::fs::statx(rustix::fs::CWD, system.mnt(), flags, rustix::fs::StatxFlags::BASIC_STATS).unwrap();
    }
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    if let Ok(read) = is_read.try_recv() {
        let read = read.map(|data| data.len());
        panic!("the read did not wait for consumers: {read:?}\n{}", system.logs());
    }
    signal(Signal::CONT);
    let data = is_read.recv_timeout(Duration::from_secs(40)).unwrap().unwrap();
    assert!(data == noise(2, 300_000), "{mnt}");
}

fn refusals(system: &System, line: &str) {
    let mnt = text(&system.mnt());
    let fstab = |line: String| fs::write("/etc/fstab", line).unwrap();
    fstab(format!("{}\n", line.replace("nofail", "nofail,quux=1")));
    system.refused(&format!("mount {mnt}"), 1, &["unknown mount option 'quux'"]);
    system.ok(&format!("mount -s {mnt}"));
    system.ok(&format!("umount {mnt}"));
    fstab(format!("{}\n", line.replacen("openbucket", "photos", 1)));
    system.refused(&format!("mount {mnt}"), 1, &["the source is 'photos'", "bucket="]);
    fstab(format!("{line}\n"));
    system.ok(&format!("mount -f {mnt}"));
    assert_eq!(system.mounts(), 0, "a fake mount mounts nothing");

    let key = system.path("state/keys/root.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    system.refused(&format!("mount {mnt}"), 32, &["root.key", "640"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(system.mounts(), 0);
}

#[test]
fn a_tracker_that_does_not_answer_keeps_nobody_waiting() {
    alone("line::a_tracker_that_does_not_answer_keeps_nobody_waiting", |system| {
        system.init();
        // An address that is nobody's, and a port that is closed.
        let line = readme_line(system, "192.0.2.7:4100,tracker=127.0.0.1:1");
        fs::write("/etc/fstab", line).unwrap();
        let mnt = text(&system.mnt());
        let asked = Instant::now();
        system.ok(&format!("mount {mnt}"));
        write(&system.file("file"), b"staged").unwrap();
        system.ok(&format!("stat {mnt} && df {mnt} && ls {mnt}"));
        assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
        eventually("status says what is wrong", || {
            let status = system.ok(&format!("openbucket status --json {mnt}"));
            let status: serde_json::Value = serde_json::from_str(&status).unwrap();
            status["tracker_problem"].is_string()
        });
        system.ok(&format!("umount {mnt}; mount {mnt}"));
        assert_eq!(read(&system.file("file")), b"staged");
    });
}

#[test]
fn an_ordinary_user_mounts_a_line_with_user() {
    alone("line::an_ordinary_user_mounts_a_line_with_user", |system| {
        let (mnt, state) = (text(&system.mnt()), text(&system.path("own")));
        system.ok(&format!("mkdir {state} && chown 4321:4321 {state} {mnt}"));
        let fstab = |options: &str| {
            fs::write("/etc/fstab", format!("openbucket {mnt} openbucket noauto,user,state={state}{options} 0 0\n"))
                .unwrap();
        };
        fstab("");
        let run = |script: &str| {
            let ended = system.sh_as_user(script);
            assert_eq!(ended.code, 0, "{script}: {ended:?}");
            ended.stdout
        };
        run(&format!("openbucket init --state {state}"));
        run(&format!("mount {mnt} && echo mine >{mnt}/file"));
        let flags = run(&format!("findmnt -no OPTIONS {mnt}"));
        assert!(flags.contains("nosuid,nodev") && flags.contains("user_id=4321"), "{flags}");
        let entered = fs::read_dir(system.mnt());
        assert!(entered.is_err(), "root enters a mount without allow_root");
        run(&format!("umount {mnt} && mount {mnt} && test mine = \"$(cat {mnt}/file)\" && umount {mnt}"));
        assert_eq!(system.mounts(), 0);

        fstab(",suid");
        let ended = system.sh_as_user(&format!("mount {mnt}"));
        assert!(ended.code == 32 && ended.stderr.contains("'suid': only root"), "{ended:?}");
    });
}
