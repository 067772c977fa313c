//! Space that nobody needs any more comes back from real consumers.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    fixture::{Cluster, eventually, is_full},
    tree::noise,
    whole,
};

/// Consumers may hold this much for each byte that 4+2 makes of needed data.
const LIMIT: f64 = 2.2;
const PAGE: usize = 4096;

/// A figure of all consumers together.
fn sum(cluster: &Cluster, name: &str) -> u64 {
    (1..=6).map(|number| cluster.consumer(&format!("consumer-{number}"))[name].as_u64().unwrap()).sum()
}

/// Writes as many random pages as the file has, anywhere in it, to the file and to the bytes that it must have.
fn overwrite(path: &Path, data: &mut [u8], seed: u64) {
    let file = File::options().write(true).open(path).unwrap();
    let pages = data.len() / PAGE;
    let chosen = noise(seed, pages * 8);
    let fresh = noise(seed + 1, pages * PAGE);
    for (choice, page) in chosen.chunks(8).zip(fresh.chunks(PAGE)) {
        let at = (u64::from_le_bytes(choice.try_into().unwrap()) % pages as u64) as usize * PAGE;
        file.write_all_at(page, at as u64).unwrap();
        data[at..at + PAGE].copy_from_slice(page);
    }
    file.sync_all().unwrap();
}

/// Nothing is left to collect, to delete or to place, and consumers have the shards of the chunks, no others.
fn is_settled(cluster: &Cluster) -> bool {
    let status = cluster.status();
    let is_none = |name: &str| status[name] == 0;
    is_none("sparse_chunks")
        && is_none("pending_deletes")
        && is_none("incomplete_chunks")
        && sum(cluster, "shards") == status["chunks"].as_u64().unwrap() * 6
}

#[test]
fn space_of_overwritten_data_comes_back() {
    let (bytes, rounds, limit) = if is_full() { (1 << 30, 1, 1800) } else { (64 << 20, 3, 200) };
    let Some(mut cluster) = Cluster::start_for(Duration::from_secs(limit), 6, &[]) else { return };
    let path = cluster.file("file");
    let mut data = noise(1, bytes);
    fs::write(&path, &data).unwrap();
    let sync = |cluster: &Cluster| {
        let outcome = cluster.run_for(&["sync", path.to_str().unwrap()], Duration::from_secs(limit));
        assert!(outcome.status.success(), "{}", outcome.stderr);
    };
    sync(&cluster);
    for round in 0..rounds {
        overwrite(&path, &mut data, 10 * (round + 1));
        sync(&cluster);
    }
    let coded = bytes as f64 * 1.5;
    let before = sum(&cluster, "used_bytes") as f64 / coded;
    let begin = Instant::now();
    eventually("all is collected", Duration::from_secs(limit / 2), || is_settled(&cluster));
    let held = sum(&cluster, "used_bytes") as f64 / coded;
    println!("consumers held {before:.2}, and {held:.2} after {} s", begin.elapsed().as_secs());
    whole::check(&cluster, "after all was collected");
    assert!(held < LIMIT, "consumers hold {held:.2} of the coded size");
    assert!(cluster.status()["reclaimed_bytes"].as_u64() > Some(0));
    cluster.evict("");
    assert!(fs::read(&path).unwrap() == data);
    cluster.down();
}

#[test]
fn kills_of_the_mount_leave_no_shard_that_nobody_needs() {
    let Some(mut cluster) = Cluster::start(6, &[]) else { return };
    let path = cluster.file("file");
    let mut data = noise(1, 24 << 20);
    fs::write(&path, &data).unwrap();
    cluster.sync();
    for round in 0..4 {
        // What was synced by fsync is there; its upload, and the collecting that follows it, are cut short.
        let wanted = sum(&cluster, "bytes_in") + (round + 1) * (4 << 20);
        overwrite(&path, &mut data, 10 * (round + 1));
        eventually("shards are on their way", Duration::from_secs(30), || sum(&cluster, "bytes_in") > wanted);
        cluster.kill("mount");
        cluster.revive("mount");
        assert!(fs::read(&path).unwrap() == data, "after the kill {round}");
        whole::check(&cluster, &format!("after the kill {round}"));
    }
    cluster.sync();
    eventually("all is settled", Duration::from_secs(60), || is_settled(&cluster));
    whole::check(&cluster, "after all kills");
    cluster.evict("");
    assert!(fs::read(&path).unwrap() == data);
    cluster.down();
}
