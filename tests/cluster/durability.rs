//! `-o durability=network`: an fsync that returns says that consumers have the data.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::FileExt,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    fixture::{Cluster, is_full, text},
    tree::noise,
};

/// Longer than an fsync may take before it fails.
const LIMIT: Duration = Duration::from_secs(70);

#[test]
fn an_fsync_with_network_durability_means_that_consumers_have_it() {
    let Some(mut cluster) = Cluster::start(6, &["-o", "durability=network"]) else { return };
    let mut file = File::create(cluster.file("file")).unwrap();
    file.write_all(&noise(1, 5_000_000)).unwrap();
    file.sync_all().unwrap();
    let stat = cluster.stat("file");
    assert_eq!(stat["staged_bytes"], 0, "{stat}");
    assert!(["available", "uploaded"].iter().any(|state| stat["state"] == *state), "{stat}");
    let durability = |name: &str| {
        let mut value = [0; 64];
        let length = rustix::fs::getxattr(cluster.file(name), "user.openbucket.durability", &mut value).unwrap();
        String::from_utf8(value[..length].to_vec()).unwrap()
    };
    assert!(durability("file").contains("shards on"), "{}", durability("file"));

    // Beside a program that writes the same file without a pause: the beginning again and again, and at the end.
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let file = OpenOptions::new().write(true).open(cluster.file("file")).unwrap();
            let mut end = 5_000_000;
            while !is_over.load(Ordering::Relaxed) {
                file.write_all_at(&noise(2, 4096), 0).unwrap();
                file.write_all_at(&noise(3, 500), end).unwrap();
                end += 500;
            }
        });
        for seed in 4..7 {
            file.write_all_at(&noise(seed, 100_000), 1_000_000).unwrap();
            let begun = Instant::now();
            let synced = file.sync_all();
            assert!(synced.is_ok() && begun.elapsed() < LIMIT / 2, "{synced:?} after {:?}", begun.elapsed());
        }
        is_over.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    });

    if is_full() {
        // Four of six have no room for five of six shards.
        cluster.kill("consumer-1");
        cluster.kill("consumer-2");
        file.write_all_at(b"only here", 0).unwrap();
        let begun = Instant::now();
        let error = file.sync_all().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
        assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        assert_eq!(&fs::read(cluster.file("file")).unwrap()[..9], b"only here");
        cluster.revive("consumer-1");
        cluster.revive("consumer-2");
        file.sync_all().unwrap();
    }
    drop(file);
    cluster.down();
}

#[test]
fn a_sync_ends_beside_a_program_that_never_stops_writing() {
    let Some(mut cluster) = Cluster::start(6, &[]) else { return };
    let busy = cluster.file("busy");
    fs::create_dir(&busy).unwrap();
    fs::write(busy.join("before"), noise(1, 3_000_000)).unwrap();
    fs::write(busy.join("log"), noise(2, 100_000)).unwrap();
    let is_over = AtomicBool::new(false);
    let (begun, has_begun) = mpsc::sync_channel(1);
    let outcome = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut log = OpenOptions::new().append(true).open(busy.join("log")).unwrap();
            // The same file, and files that are new, or made anew under a name that is there.
            for count in 0.. {
                log.write_all(&noise(3, 500)).unwrap();
                fs::write(busy.join((count % 50).to_string()), noise(count, 1000)).unwrap();
                let _told = begun.try_send(());
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let started = has_begun.recv_timeout(LIMIT);
        let outcome = cluster.run(&["sync", &text(&busy), "--timeout", "60"], b"");
        is_over.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        started.unwrap();
        outcome
    });
    assert!(outcome.status.success(), "{}: {}\n{}", outcome.status, outcome.stderr, cluster.logs());
    assert_eq!(cluster.stat("busy/before")["state"], "uploaded");
    cluster.sync();
    cluster.down();
}
