//! Too few consumers, and consumers without room: data waits here, says why, and goes on when it can.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    fixture::{Cluster, eventually, text},
    tree::noise,
};

#[test]
fn data_waits_for_enough_consumers() {
    let Some(mut cluster) = Cluster::start(3, &["--tier", "4+2"]) else { return };
    let (mount, file) = (cluster.mount(), cluster.file("file"));
    fs::write(&file, noise(1, 5_000_000)).unwrap();
    let reason = || cluster.stat("file")["reason"].as_str().map(str::to_owned);
    eventually("the file says why it waits", Duration::from_secs(30), || reason().is_some());
    let said = reason().unwrap();
    assert!(said.contains("needs 5 consumers") && said.contains("3 are known to be online"), "{said}");
    let stat = cluster.stat("file");
    assert!(["failed", "local", "uploading"].iter().any(|state| stat["state"] == *state), "{stat}");
    assert_eq!(stat["staged_bytes"], 5_000_000);
    cluster.refused(&["sync", &text(&mount), "--timeout", "5"], &["not uploaded yet", "1 of 1 files", "consumers"]);
    let status = cluster.status();
    assert_eq!((&status["staged_bytes"], &status["pending_uploads"]), (&5_000_000.into(), &1.into()), "{status}");
    assert!(status["upload_problem"].is_string(), "{status}");
    assert!(fs::read(&file).unwrap() == noise(1, 5_000_000));

    let tracker = cluster.process("tracker");
    let word = |key: &str| tracker[key].as_str().unwrap().to_owned();
    let (address, group) = (format!("{}/p2p/{}", word("addr"), word("peer")), word("group"));
    for index in 0..3 {
        let dir = text(&cluster.path(&format!("more-{index}")));
        let who = ["consumer", "start", "--dir", &dir, "--limit", "1 GB", "--tracker", &address];
        cluster.spawn(&[&who[..], &["--group", &group, "--no-mdns", "--listen", "127.0.0.1:0"]].concat());
    }
    cluster.sync();
    assert_eq!(cluster.stat("file")["state"], "uploaded");
    cluster.evict("");
    assert!(fs::read(&file).unwrap() == noise(1, 5_000_000));
    cluster.down();
}

#[test]
fn full_consumers_refuse_and_keep_what_they_have() {
    let Some(mut cluster) = Cluster::start(6, &["--limit", "8 MB"]) else { return };
    let (fits, waits) = (cluster.file("fits"), cluster.file("waits"));
    fs::write(&fits, noise(1, 12_000_000)).unwrap();
    cluster.sync();
    fs::write(&waits, noise(2, 40_000_000)).unwrap();
    let is_stuck = || cluster.stat("waits")["reason"].is_string();
    eventually("the file says why it waits", Duration::from_secs(60), is_stuck);
    let mount = text(&cluster.mount());
    cluster.refused(&["sync", &mount, "--timeout", "3"], &["not uploaded yet", "1 of 2 files", "waits"]);
    assert!(cluster.status()["staged_bytes"].as_u64() > Some(0));
    let check = |when: &str| {
        assert!(fs::read(&fits).unwrap() == noise(1, 12_000_000), "{when}");
        assert!(fs::read(&waits).unwrap() == noise(2, 40_000_000), "{when}");
    };
    cluster.evict("");
    check("with full consumers");

    cluster.down();
    cluster.set_flag("--limit", "1 MB");
    cluster.up();
    let held = cluster.consumer("consumer-3");
    assert!(held["used_bytes"].as_u64() > held["limit_bytes"].as_u64() && held["shards"].as_u64() >= Some(3), "{held}");
    cluster.evict("");
    check("with a limit below what is held");

    cluster.down();
    cluster.set_flag("--limit", "1 GB");
    cluster.up();
    cluster.sync();
    cluster.evict("");
    check("with more room");
    cluster.down();
}

#[test]
fn a_full_staging_area_fails_writers_once_and_commands_answer_in_time() {
    let Some(mut cluster) = Cluster::start(3, &["--tier", "4+2", "-o", "staging-size=20MB"]) else { return };
    let (mount, file) = (text(&cluster.mount()), cluster.file("file"));
    let source = cluster.path("source");
    fs::write(&source, noise(1, 40_000_000)).unwrap();
    let begun = Instant::now();
    // Twenty pieces more than there is room for: they do not wait one after the other. In a process of its own: whatever this
    // one starts would close the file, too, and wait for it.
    let mut writer = Command::new("dd");
    writer.args([format!("if={}", text(&source)), format!("of={}", text(&file)), "bs=1M".into(), "conv=fsync".into()]);
    let writer = writer.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let is_full = || cluster.status()["staged_bytes"].as_u64() > Some(15_000_000);
    eventually("the staging area is full", Duration::from_secs(20), is_full);
    let asked = Instant::now();
    cluster.refused(&["sync", &text(&file), "--timeout", "2"], &["wait for room"]);
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    let ls = cluster.run(&["file", "ls", &mount], b"");
    assert!(ls.status.success() && String::from_utf8_lossy(&ls.stdout).contains("file"), "{}", ls.stderr);
    assert!(asked.elapsed() < Duration::from_secs(25), "{:?}", asked.elapsed());
    let ended = writer.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && words.contains("No space left on device"), "{words}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    cluster.down();
}
