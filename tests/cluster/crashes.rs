//! The mount's process dies, or ends in order, and comes back: what was promised is there.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    fixture::{Cluster, eventually, is_mounted, text},
    tree::{self, noise},
    whole,
};

/// Files that were synced beside a copy when the mount is killed: so few that the copy is not over.
const CAREFUL: usize = 10;

#[test]
fn what_was_synced_survives_the_kill_of_the_mount() {
    let Some(mut cluster) = Cluster::start(6, &[]) else { return };
    let source = cluster.path("tree");
    tree::make(&source);
    fs::create_dir(cluster.file("before")).unwrap();
    fs::write(cluster.file("before/uploaded"), noise(1, 3_000_000)).unwrap();
    cluster.sync();

    // A copy is under way, and beside it somebody who wants to be sure.
    let mut command = Command::new("cp");
    let mut copy = command.arg("-a").arg(&source).arg(cluster.file("tree")).stderr(Stdio::null()).spawn().unwrap();
    let careful = cluster.file("careful");
    fs::create_dir(&careful).unwrap();
    let writer = thread::spawn(move || write_carefully(&careful));
    let enough = cluster.file(&format!("careful/{CAREFUL}"));
    eventually("the copies are under way", Duration::from_secs(60), || enough.exists());
    cluster.kill("mount");
    assert!(!copy.wait().unwrap().success(), "the copy was over before the kill: it proves nothing");
    let synced = writer.join().unwrap();
    assert!(synced.len() >= CAREFUL);
    let error = fs::read_dir(cluster.mount()).map(|_| ()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOTCONN.raw_os_error()), "a dead mount: {error}");

    cluster.revive("mount");
    let uploaded = cluster.file("before/uploaded");
    let check = |when: &str| {
        for (path, data) in &synced {
            let found = fs::read(path).unwrap_or_else(|error| panic!("{when}: {}: {error}", path.display()));
            assert!(found == *data, "{when}: {} has {} bytes", path.display(), found.len());
        }
        assert!(fs::read(&uploaded).unwrap() == noise(1, 3_000_000));
    };
    check("after the crash");
    whole::check(&cluster, "after the crash");
    // The rest may be cut short, but can be read, and written anew.
    tree::read(&cluster.file("tree"));
    fs::remove_dir_all(cluster.file("tree")).unwrap();
    tree::copy(&source, &cluster.file("tree"));
    cluster.sync();
    cluster.evict("");
    check("from consumers");
    tree::assert_same(&tree::read(&source), &cluster.file("tree"), "copied again");
    whole::check(&cluster, "copied again");

    // The whole devnet, killed with its mount.
    cluster.kill("mount");
    cluster.crash();
    assert!(is_mounted(&cluster.mount()), "a dead mount is left");
    cluster.up();
    check("after the crash of everything");
    whole::check(&cluster, "after the crash of everything");
    cluster.down();
}

/// Writes and syncs files until the mount dies; those whose sync said yes.
fn write_carefully(dir: &std::path::Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut synced = BTreeMap::new();
    for index in 0_u64.. {
        let path = dir.join(index.to_string());
        // Below and above what the log carries itself.
        let data = noise(index, if index % 5 == 0 { 200_000 } else { 3_000 });
        let write = || -> io::Result<()> {
            let mut file = File::create(&path)?;
            file.write_all(&data)?;
            file.sync_all()
        };
        if write().is_err() {
            break;
        }
        synced.insert(path, data);
    }
    synced
}

#[test]
fn the_next_mount_has_everything() {
    let Some(mut cluster) = Cluster::start(6, &[]) else { return };
    fs::write(cluster.file("synced"), noise(1, 5_000_000)).unwrap();
    cluster.sync();
    let dir = cluster.file("new");
    fs::create_dir(&dir).unwrap();
    for index in 0..200 {
        fs::write(dir.join(format!("file {index}")), noise(index, 100 + 37 * index as usize)).unwrap();
    }
    // At once, without waiting for uploads.
    cluster.ok(&["umount", "--force", &text(&cluster.mount())]);
    cluster.wait_gone("mount");
    assert!(!is_mounted(&cluster.mount()));
    cluster.revive("mount");
    let check = |when: &str| {
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 200, "{when}");
        for index in 0..200 {
            let data = fs::read(dir.join(format!("file {index}"))).unwrap();
            assert!(data == noise(index, 100 + 37 * index as usize), "{when}: file {index} has {} bytes", data.len());
        }
        assert!(fs::read(cluster.file("synced")).unwrap() == noise(1, 5_000_000), "{when}");
    };
    check("after an unmount at once");
    whole::check(&cluster, "after an unmount at once");
    fs::write(cluster.file("last"), "written just before the end").unwrap();
    cluster.down();
    cluster.up();
    assert_eq!(fs::read(cluster.file("last")).unwrap(), b"written just before the end");
    cluster.sync();
    cluster.evict("");
    let dir = cluster.file("new");
    for index in 0..200 {
        let data = fs::read(dir.join(format!("file {index}"))).unwrap();
        assert!(data == noise(index, 100 + 37 * index as usize), "from consumers: file {index}");
    }
    cluster.down();
}

#[test]
fn the_mount_does_without_the_tracker() {
    let Some(mut cluster) = Cluster::start(6, &[]) else { return };
    fs::write(cluster.file("before"), noise(1, 500_000)).unwrap();
    cluster.sync();
    cluster.kill("tracker");
    let works = |name: &str, seed| {
        fs::write(cluster.file(name), noise(seed, 500_000)).unwrap();
        cluster.sync();
        cluster.evict("");
        assert!(fs::read(cluster.file(name)).unwrap() == noise(seed, 500_000));
        assert!(fs::read(cluster.file("before")).unwrap() == noise(1, 500_000));
    };
    works("without a tracker", 2);
    let problem = || cluster.status()["tracker_problem"].as_str().map(str::to_owned);
    eventually("the status tells of the tracker", Duration::from_secs(30), || problem().is_some());

    cluster.ok(&["devnet", "stop", "mount", "--state", &text(&cluster.state())]);
    assert!(!is_mounted(&cluster.mount()));
    cluster.revive("mount");
    works("mounted without a tracker", 3);
    eventually("the status tells of the tracker again", Duration::from_secs(30), || problem().is_some());
    let words = cluster.ok(&["status", &text(&cluster.mount())]);
    assert!(words.contains("tracker") && words.contains("reach"), "{words}");

    cluster.revive("tracker");
    eventually("the tracker is found again", Duration::from_secs(30), || problem().is_none());
    cluster.down();
}
