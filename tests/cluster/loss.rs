//! Consumers that vanish and come back; what is removed while they are away.

use std::{
    collections::BTreeSet,
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    fixture::{Cluster, eventually, text, within},
    tree,
};

/// How long a read may take, as the devnet is told.
const READ_TIMEOUT: &str = "read-timeout=5s";
/// When a read must have failed.
const READ_FAILED: Duration = Duration::from_secs(5 + 7);
/// What is answered without consumers takes no longer.
const PROMPT: Duration = Duration::from_secs(4);

#[test]
fn a_tree_survives_the_loss_of_two_consumers_of_six() {
    let Some(mut cluster) = Cluster::start(6, &["-o", READ_TIMEOUT]) else { return };
    let source = cluster.path("tree");
    tree::make(&source);
    let wanted = tree::read(&source);
    tree::copy(&source, &cluster.file("tree"));
    tree::assert_same(&wanted, &cluster.file("tree"), "while it is uploaded");
    cluster.sync();
    check_status(&cluster);
    check_stat(&cluster);
    let evicted = cluster.evict("");
    assert!(evicted["files"].as_u64() >= Some(100) && evicted["kept_dirty_bytes"] == 0, "{evicted}");
    tree::assert_same(&wanted, &cluster.file("tree"), "from six consumers");

    cluster.kill("consumer-1");
    cluster.kill("consumer-4");
    cluster.evict("");
    tree::assert_same(&wanted, &cluster.file("tree"), "from four consumers");

    cluster.kill("consumer-6");
    cluster.evict("");
    check_too_few(&cluster);

    for name in ["consumer-1", "consumer-4", "consumer-6"] {
        cluster.revive(name);
    }
    tree::assert_same(&wanted, &cluster.file("tree"), "when all are back");
    cluster.sync();
    cluster.down();
}

fn check_status(cluster: &Cluster) {
    let status = cluster.status();
    assert_eq!((&status["staged_bytes"], &status["pending_uploads"]), (&0.into(), &0.into()), "{status}");
    assert_eq!(status["known_consumers"], 6, "{status}");
    let number = |key: &str| status[key].as_u64().unwrap_or_else(|| panic!("no {key} in {status}"));
    assert!(number("cache_memory_bytes") + number("cache_disk_bytes") < 1 << 30);
    // Nine megabytes of noise at 4+2 alone are more than this.
    assert!(number("bytes_sent") > 13 << 20, "{status}");
    number("bytes_received");
}

/// The shape that programs rely on.
fn check_stat(cluster: &Cluster) {
    let stat = cluster.stat("tree/odd/large");
    assert_eq!(stat["path"], "tree/odd/large");
    assert!(stat["id"].is_u64());
    assert_eq!((&stat["state"], &stat["size"]), (&"uploaded".into(), &((9 << 20) + 123).into()), "{stat}");
    assert_eq!(stat["availability"], serde_json::json!({ "actual": 3, "desired": 3 }));
    assert_eq!(stat["policy"], serde_json::json!({ "k": 4, "m": 2, "expires": "never" }));
    let peers: BTreeSet<String> = cluster
        .processes()
        .iter()
        .filter(|process| process["role"] == "consumer")
        .map(|process| process["peer"].as_str().unwrap().to_owned())
        .collect();
    let chunks = stat["chunks"].as_array().unwrap();
    assert!(chunks.len() >= 3, "{stat}");
    for chunk in chunks {
        assert!(chunk["id"].is_string() && chunk["live_bytes"].as_u64() > Some(0), "{chunk}");
        let shards = chunk["shards"].as_array().unwrap();
        let indexes: Vec<u64> = shards.iter().filter_map(|shard| shard["index"].as_u64()).collect();
        assert_eq!(indexes, [0, 1, 2, 3, 4, 5], "{chunk}");
        assert!(shards.iter().all(|shard| shard["id"].is_string() && shard["state"] == "held"), "{chunk}");
        let holders: BTreeSet<String> =
            shards.iter().filter_map(|shard| Some(shard["consumer"].as_str()?.to_owned())).collect();
        assert_eq!(holders, peers, "each shard is on a consumer of its own");
    }
    let live: u64 = chunks.iter().filter_map(|chunk| chunk["live_bytes"].as_u64()).sum();
    assert!(live >= (9 << 20) + 123, "{stat}");
    let listed = cluster.json(&["file", "ls", &text(&cluster.file("tree/odd"))]);
    let listed: Vec<&Value> = listed.as_array().unwrap().iter().collect();
    assert!(listed.iter().any(|file| file["path"] == "tree/odd/large" && file["state"] == "uploaded"), "{listed:?}");
}

/// Three of six are gone: data is out of reach, but nothing hangs, and what needs no data works.
fn check_too_few(cluster: &Cluster) {
    let begin = Instant::now();
    let large = cluster.file("tree/odd/large");
    let error = within(READ_FAILED, move || fs::read(large).map(|data| data.len())).unwrap_err();
    assert_eq!(
        error.raw_os_error(),
        Some(rustix::io::Errno::IO.raw_os_error()),
        "after {:?}: {error}",
        begin.elapsed()
    );

    let mount = cluster.mount();
    let count = within(PROMPT, move || list(&mount)).unwrap();
    assert!(count > 100, "{count} entries");
    let empty = cluster.file("tree/odd/empty file");
    assert_eq!(within(PROMPT, move || fs::read(empty)).unwrap(), b"");
    let link = cluster.file("tree/odd/dangling");
    assert_eq!(within(PROMPT, move || fs::read_link(link)).unwrap(), Path::new("/nowhere/at all"));
    // What is written now is kept here until it can be placed.
    let late = cluster.file("late");
    within(PROMPT, move || fs::write(late, "late")).unwrap();
}

/// Lists and stats everything, as `ls -lR` does.
fn list(directory: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        count += 1;
        if fs::symlink_metadata(&path)?.is_dir() {
            count += list(&path)?;
        }
    }
    Ok(count)
}

#[test]
fn what_is_removed_goes_from_all_consumers() {
    let Some(mut cluster) = Cluster::start(6, &[]) else { return };
    let dir = cluster.file("dir");
    fs::create_dir(&dir).unwrap();
    for index in 0..20 {
        fs::write(dir.join(index.to_string()), tree::noise(index, 50_000)).unwrap();
    }
    fs::write(cluster.file("large"), tree::noise(99, 9 << 20)).unwrap();
    cluster.sync();
    let shards = |name: &str| cluster.consumer(name)["shards"].as_u64().unwrap();
    let names: Vec<String> = (1..=6).map(|number| format!("consumer-{number}")).collect();
    for name in &names {
        assert!(shards(name) >= 3, "{name} holds {}", shards(name));
    }

    cluster.kill("consumer-2");
    fs::remove_dir_all(&dir).unwrap();
    fs::remove_file(cluster.file("large")).unwrap();
    for name in names.iter().filter(|name| *name != "consumer-2") {
        eventually(&format!("{name} holds nothing"), Duration::from_secs(30), || shards(name) == 0);
    }
    assert!(cluster.status()["pending_deletes"].as_u64() >= Some(3));
    cluster.revive("consumer-2");
    eventually("what was away has deleted too", Duration::from_secs(90), || shards("consumer-2") == 0);
    eventually("the queue is empty", Duration::from_secs(10), || cluster.status()["pending_deletes"] == 0);
    assert_eq!(cluster.status()["chunks"], 0);
    cluster.down();
}

#[test]
fn pinned_files_and_copies_of_whole_files() {
    let Some(mut cluster) = Cluster::start(6, &["-o", READ_TIMEOUT]) else { return };
    let data = tree::noise(7, 5_000_000);
    let (local, remote, back) = (cluster.path("local"), cluster.file("remote"), cluster.path("back"));
    fs::write(&local, &data).unwrap();
    cluster.ok(&["file", "upload", &text(&local), &text(&remote)]);
    assert!(fs::read(&remote).unwrap() == data);
    cluster.ok(&["file", "download", &text(&remote), &text(&back)]);
    assert!(fs::read(&back).unwrap() == data);
    let piped = cluster.run(&["file", "upload", "-", &text(&cluster.file("piped"))], &data);
    assert!(piped.status.success(), "{}", piped.stderr);
    cluster.sync();
    cluster.evict("");
    let piped = cluster.run(&["file", "download", &text(&cluster.file("piped")), "-"], b"");
    assert!(piped.status.success() && piped.stdout == data, "{}", piped.stderr);

    fs::create_dir(cluster.file("kept")).unwrap();
    let pinned = cluster.json(&["cache", "pin", &text(&remote)]);
    assert_eq!(pinned["files"], 1, "{pinned}");
    // What is made in a pinned directory is kept too, once it is uploaded.
    cluster.ok(&["cache", "pin", &text(&cluster.file("kept"))]);
    fs::write(cluster.file("kept/later"), tree::noise(8, 200_000)).unwrap();
    cluster.sync();
    let is_held = || cluster.evict("kept")["kept_pinned_bytes"].as_u64() >= Some(200_000);
    eventually("a copy of the new file is here", Duration::from_secs(20), is_held);
    for name in ["consumer-1", "consumer-2", "consumer-3"] {
        cluster.kill(name);
    }
    let evicted = cluster.evict("");
    assert!(evicted["kept_pinned_bytes"].as_u64() >= Some(5_200_000), "{evicted}");
    let (gone, kept) = (cluster.file("piped"), cluster.file("kept/later"));
    assert!(within(PROMPT, move || fs::read(remote)).unwrap() == data);
    assert!(within(PROMPT, move || fs::read(kept)).unwrap() == tree::noise(8, 200_000));
    assert!(within(READ_FAILED, move || fs::read(gone)).is_err(), "what is not pinned is not here");

    cluster.ok(&["cache", "unpin", &text(&cluster.mount())]);
    let evicted = cluster.evict("");
    assert_eq!(evicted["kept_pinned_bytes"], 0);
    let gone = cluster.file("remote");
    assert!(within(READ_FAILED, move || fs::read(gone)).is_err(), "nor what is pinned no longer");
    cluster.down();
}
