//! Locks between processes, of all three kinds. They are the kernel's own: a bucket is mounted once.

use std::{fs, os::unix::fs::MetadataExt};

use crate::{
    devnet::{eventually, text},
    fixture::{Helper, Place, User, WORD, start, users},
};

const KINDS: [&str; 3] = ["flock", "posix", "ofd"];
const ALL: [&str; 2] = ["0", "0"];

#[test]
fn a_lock_is_refused_waited_for_and_interrupted() {
    let Some(mut cluster) = start() else { return };
    for kind in KINDS {
        let place = Place::new(&cluster, User::Own, kind);
        let lock = |mode: &str, how: &str, range: [&str; 2]| -> Helper {
            place.helper(&["lock", kind, mode, how, "file", range[0], range[1]])
        };
        let holder = lock("exclusive", "wait", ALL);
        assert_eq!(holder.word(), "held");
        assert!(is_listed(&place, kind, false), "the kernel itself keeps a {kind} lock");

        let mut refused = lock("exclusive", "try", ALL);
        let mut said = refused.rest();
        assert_eq!(said.remove(0), "refused", "{kind}");
        match kind {
            "flock" => assert!(said.is_empty()),
            "posix" => assert_eq!(said, [holder.pid().to_string()], "who holds it"),
            _ => assert_eq!(said, ["-1"], "no process holds an ofd lock"),
        }
        assert_eq!(lock("shared", "try", ALL).word(), "refused", "{kind}");
        assert_eq!(lock("exclusive", "alarm", ALL).word(), "interrupted", "{kind}");

        let waiter = lock("exclusive", "wait", ALL);
        eventually("somebody waits for the lock", WORD, || is_listed(&place, kind, true));
        holder.end();
        assert_eq!(waiter.word(), "held", "{kind}: when it is let go");
        let mut killed = waiter;
        let next = lock("exclusive", "wait", ALL);
        eventually("somebody waits for the lock", WORD, || is_listed(&place, kind, true));
        killed.kill();
        assert_eq!(next.word(), "held", "{kind}: when its holder is killed");
        next.end();

        let (one, other) = (lock("shared", "try", ALL), lock("shared", "try", ALL));
        assert_eq!((one.word(), other.word()), ("held".into(), "held".into()), "{kind}: shared");
        assert_eq!(lock("exclusive", "try", ALL).word(), "refused", "{kind}");
        drop((one, other));
        if kind != "flock" {
            let (one, other) = (lock("exclusive", "try", ["0", "10"]), lock("exclusive", "try", ["10", "5"]));
            assert_eq!((one.word(), other.word()), ("held".into(), "held".into()), "{kind}: ranges side by side");
            assert_eq!(lock("exclusive", "try", ["9", "2"]).word(), "refused", "{kind}");
        }
    }
    cluster.down();
}

/// Whether /proc/locks has a lock on the file, held or waited for.
fn is_listed(place: &Place, kind: &str, is_waiting: bool) -> bool {
    let inode = format!(":{} ", fs::metadata(place.dir.join("file")).unwrap().ino());
    let name = match kind {
        "flock" => " FLOCK ",
        "posix" => " POSIX ",
        _ => " OFDLCK ",
    };
    let is_it = |line: &str| line.contains(&inode) && line.contains(name) && line.contains("->") == is_waiting;
    fs::read_to_string("/proc/locks").unwrap().lines().any(is_it)
}

#[test]
fn flock_in_scripts_keeps_counts_right() {
    let Some(mut cluster) = start() else { return };
    for user in users() {
        let place = Place::new(&cluster, *user, "flock");
        let count = "echo 0 > count; count() { for n in $(seq 25); do \
                     flock lock sh -c 'read n < count; echo $((n + 1)) > count'; done; }; \
                     count & count & count & count & wait; cat count";
        assert_eq!(place.ok(count), "100\n");
        assert_eq!(place.ok("exec 9> lock; flock 9; flock --nonblock lock true || echo refused"), "refused\n");
    }
    let private = cluster.file("private");
    fs::write(&private, "root's").unwrap();
    rustix::fs::chmod(&private, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    if users().contains(&User::Ordinary) {
        let place = Place::new(&cluster, User::Ordinary, "private");
        let outcome = place.run(&format!("cat {}", text(&private)));
        assert!(outcome.stderr.contains("Permission denied"), "{}", outcome.stderr);
    }
    cluster.down();
}
