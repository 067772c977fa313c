//! The mount is killed in the middle of the copy of a large file.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    fixture::{Cluster, eventually, is_full},
    tree::noise,
    whole::check,
};

/// Bytes of the copy, and how many with `scripts/test --full`.
const BYTES: u64 = 128 << 20;
const BYTES_FULL: u64 = 2 << 30;
const STEP: usize = 1 << 20;

/// Bytes that differ from step to step.
fn step(noise: &[u8], number: u64) -> Vec<u8> {
    let mut bytes = noise.to_vec();
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn copy(path: &Path, bytes: u64, noise: &[u8], copied: &AtomicU64) -> io::Result<()> {
    let mut file = File::create(path)?;
    for number in 0..bytes / STEP as u64 {
        file.write_all(&step(noise, number))?;
        copied.fetch_add(STEP as u64, Ordering::Relaxed);
    }
    file.sync_all()
}

fn assert_copied(path: &Path, bytes: u64, noise: &[u8]) {
    let mut file = File::open(path).unwrap();
    assert_eq!(file.metadata().unwrap().len(), bytes);
    let mut found = vec![0; STEP];
    for number in 0..bytes / STEP as u64 {
        file.read_exact(&mut found).unwrap();
        assert!(found == step(noise, number), "{}: MiB {number} differs", path.display());
    }
}

/// Writes and syncs small files until the mount dies; those whose sync said yes.
fn write_carefully(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut synced = BTreeMap::new();
    for number in 0_u64.. {
        let (path, data) = (directory.join(number.to_string()), noise(number, 1000 + 900 * (number as usize % 90)));
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
fn what_was_synced_survives_a_kill_in_the_middle_of_a_copy() {
    let bytes = if is_full() { BYTES_FULL } else { BYTES };
    let limit = Duration::from_secs(if is_full() { 900 } else { 200 });
    let Some(mut cluster) = Cluster::start_for(limit, 6, &[]) else { return };
    let noise = Arc::new(noise(5, STEP));
    let (before, large, careful) = (cluster.file("before"), cluster.file("large"), cluster.file("careful"));
    copy(&before, bytes / 4, &noise, &AtomicU64::new(0)).unwrap();
    fs::create_dir(&careful).unwrap();
    File::open(&careful).unwrap().sync_all().unwrap();
    let copied = Arc::new(AtomicU64::new(0));
    let copier = thread::spawn({
        let (large, noise, copied) = (large.clone(), Arc::clone(&noise), Arc::clone(&copied));
        move || copy(&large, bytes, &noise, &copied)
    });
    let writer = thread::spawn(move || write_carefully(&careful));
    eventually("half is copied", Duration::from_secs(120), || copied.load(Ordering::Relaxed) >= bytes / 2);
    cluster.kill("mount");
    assert!(copier.join().unwrap().is_err(), "the copy was over before the kill: it proves nothing");
    let synced = writer.join().unwrap();
    assert!(synced.len() > 3, "{} files were synced meanwhile", synced.len());

    cluster.revive("mount");
    let verify = || {
        assert_copied(&before, bytes / 4, &noise);
        for (path, data) in &synced {
            assert!(fs::read(path).unwrap() == *data, "{}", path.display());
        }
    };
    verify();
    check(&cluster, "after the kill");
    copy(&large, bytes, &noise, &AtomicU64::new(0)).unwrap();
    cluster.kill("mount");
    cluster.revive("mount");
    assert_copied(&large, bytes, &noise);
    verify();
    check(&cluster, "after the second kill");
    cluster.sync();
    cluster.evict("");
    assert_copied(&large, bytes, &noise);
    cluster.down();
}
