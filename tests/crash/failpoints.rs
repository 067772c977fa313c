//! Each failpoint: the process ends there in the middle of work, comes back, and everything holds.

use std::{collections::BTreeSet, fs, time::Duration};

use openbucket::runtime::FAILPOINTS;

use crate::{
    fixture::{Cluster, text},
    network::Process,
    tree::noise,
    whole::{check, nothing_is_left_over, nothing_is_stored},
    workload::Workload,
};

/// Shards of a chunk.
const SHARDS: u64 = 6;
/// Two more than a chunk has shards, so that one may come to be where no record has it.
const CONSUMERS: u64 = SHARDS + 2;
/// Operations between two syncs.
const STEPS: usize = 12;
/// Rounds in which a failpoint is reached, at most.
const ROUNDS: usize = 60;
/// A test of many ends takes so long, at most.
const LIMIT: Duration = Duration::from_secs(230);

/// Works until the process has ended.
fn work_until_the_end(cluster: &Cluster, work: &mut Workload, process: &mut Process, name: &str) {
    let is_checkpoint = ["checkpoint", "small data"].into_iter().flat_map(points).any(|point| point == name);
    for _ in 0..ROUNDS {
        for step in 0..if is_checkpoint { 5 * STEPS } else { STEPS } {
            let done = if is_checkpoint && step % 5 > 0 { work.fill_log() } else { work.step() };
            if let Err(error) = done {
                process.was_killed(cluster);
                eprintln!("{name}: {error}");
                return;
            }
        }
        if is_checkpoint {
            continue;
        }
        // What must reach consumers, and leave them, does so now; any of it may be the end.
        let mount = text(&cluster.mount());
        cluster.run(&["sync", &mount, "--level", "available", "--timeout", "20"], b"");
        cluster.run(&["cache", "evict", &mount], b"");
        if !process.is_alive() {
            process.was_killed(cluster);
            return;
        }
    }
    panic!("{name} was not reached in {ROUNDS} rounds\n{}", cluster.logs());
}

/// Leaves a chunk with a shard that has no consumer, and consumers for it.
fn lack_a_shard(cluster: &Cluster, seed: u64) {
    for number in 6..=CONSUMERS {
        cluster.kill(&format!("consumer-{number}"));
    }
    fs::create_dir(cluster.file("aside")).unwrap();
    fs::write(cluster.file("aside/lacking"), noise(seed, 100_000)).unwrap();
    cluster.ok(&["sync", &text(&cluster.file("aside/lacking")), "--level", "available", "--timeout", "60"]);
    for number in 6..=CONSUMERS {
        cluster.revive(&format!("consumer-{number}"));
    }
}

fn says(cluster: &Cluster, process: &str, name: &str) -> bool {
    let log = cluster.state().join("logs").join(format!("{process}-of-the-test.log"));
    fs::read_to_string(log).unwrap_or_default().lines().any(|line| line == format!("openbucket: failpoint {name}"))
}

/// The failpoints whose meaning says that they are of this part.
fn points(part: &str) -> Vec<&'static str> {
    let is_one = |meaning: &str| meaning.split_once(": ").is_some_and(|(of, _)| of == part);
    FAILPOINTS.iter().filter(|(_, meaning)| is_one(meaning)).map(|(name, _)| *name).collect()
}

fn of_the_mount() -> Vec<&'static str> {
    // What is of the wallet and of the chain has its own crashes: tests/wallet.rs, tests/chain/crashes.rs.
    let parts = ["opening", "consumer", "wallet", "chain"];
    let others: BTreeSet<_> = parts.into_iter().flat_map(points).collect();
    FAILPOINTS.iter().map(|(name, _)| *name).filter(|name| !others.contains(name)).collect()
}

/// What is reached at every start is to be reached later, in the middle of work.
fn in_the_middle(name: &str) -> String {
    match name {
        "log-appended" => format!("{name}:60"),
        "log-flushed" => format!("{name}:12"),
        other => other.to_owned(),
    }
}

#[test]
fn the_mount_ends_at_each_of_its_failpoints() {
    let Some(mut cluster) = Cluster::start_for(LIMIT, CONSUMERS as usize, &[]) else { return };
    let mut work = Workload::new(&cluster.mount(), 1);
    work.prepare();
    cluster.ok(&["devnet", "stop", "mount", "--state", &text(&cluster.state())]);
    for name in of_the_mount() {
        if name == "shard-placed" {
            // The last crash may have left chunks that lack shards: their repair is not the one that is meant.
            let mut process = Process::ready(&cluster, "mount", None);
            work.settle().unwrap();
            nothing_is_left_over(&cluster, CONSUMERS, SHARDS, "before a shard is lacking");
            process.kill();
        }
        let mut process = Process::start(&cluster, "mount", Some(&in_the_middle(name)));
        // What the last crash left to be done may bring it there before.
        if process.becomes_ready() && name != "shard-placed" {
            work_until_the_end(&cluster, &mut work, &mut process, name);
        } else if name == "shard-placed" {
            lack_a_shard(&cluster, 7);
        }
        process.was_killed(&cluster);
        assert!(says(&cluster, "mount", name), "{name}: it ended elsewhere\n{}", cluster.logs());
        let mut process = Process::ready(&cluster, "mount", None);
        work.verify(name);
        check(&cluster, name);
        process.kill();
    }
    let mut process = Process::ready(&cluster, "mount", None);
    assert!(fs::read(cluster.file("aside/lacking")).unwrap() == noise(7, 100_000));
    fs::remove_file(cluster.file("aside/lacking")).unwrap();
    work.settle().unwrap();
    nothing_is_left_over(&cluster, CONSUMERS, SHARDS, "after all failpoints");
    cluster.evict("");
    work.verify("from consumers");
    check(&cluster, "in the end");
    work.clear();
    nothing_is_stored(&cluster, CONSUMERS, "after everything was removed");
    process.kill();
    cluster.down();
}

#[test]
fn the_mount_ends_while_it_opens() {
    let Some(mut cluster) = Cluster::start_for(LIMIT, CONSUMERS as usize, &[]) else { return };
    let mut work = Workload::new(&cluster.mount(), 2);
    work.prepare();
    cluster.ok(&["devnet", "stop", "mount", "--state", &text(&cluster.state())]);
    for name in points("opening") {
        // What it finds at its start: an upload that was cut short.
        let mut process = Process::ready(&cluster, "mount", Some("first-receipt"));
        work_until_the_end(&cluster, &mut work, &mut process, name);
        let mut process = Process::start(&cluster, "mount", Some(name));
        // It may be ready before it has looked at everything.
        process.becomes_ready();
        process.was_killed(&cluster);
        assert!(says(&cluster, "mount", name), "{name}: it ended elsewhere\n{}", cluster.logs());
        let mut process = Process::ready(&cluster, "mount", None);
        work.verify(name);
        check(&cluster, name);
        work.settle().unwrap();
        nothing_is_left_over(&cluster, CONSUMERS, SHARDS, name);
        process.kill();
    }
    cluster.down();
}

#[test]
fn a_consumer_ends_at_each_of_its_failpoints() {
    // No more than a chunk has shards: each has one for every consumer.
    let Some(mut cluster) = Cluster::start_for(LIMIT, SHARDS as usize, &[]) else { return };
    let stop = |cluster: &Cluster| cluster.ok(&["devnet", "stop", "consumer-1", "--state", &text(&cluster.state())]);
    let mut work = Workload::new(&cluster.mount(), 3);
    work.prepare();
    stop(&cluster);
    for name in points("consumer") {
        let mut process = Process::ready(&cluster, "consumer-1", Some(name));
        for round in 0.. {
            for _ in 0..STEPS {
                work.step().unwrap();
            }
            cluster.run(&["sync", &text(&cluster.mount()), "--level", "available", "--timeout", "20"], b"");
            if !process.is_alive() {
                break;
            }
            assert!(round < ROUNDS, "{name} was not reached\n{}", cluster.logs());
        }
        process.was_killed(&cluster);
        assert!(says(&cluster, "consumer-1", name), "{name}: it ended elsewhere\n{}", cluster.logs());
        let mut process = Process::ready(&cluster, "consumer-1", None);
        work.settle().unwrap();
        nothing_is_left_over(&cluster, SHARDS, SHARDS, name);
        check(&cluster, name);
        cluster.evict("");
        work.verify(name);
        process.kill();
    }
    cluster.down();
}

/// Each of the table is reached by one of the tests above: they go through the table, and fail where one is not reached.
#[test]
fn every_failpoint_is_of_one_process() {
    let (mount, opening, consumer) = (of_the_mount(), points("opening"), points("consumer"));
    let elsewhere = points("wallet").len() + points("chain").len();
    assert_eq!(mount.len() + opening.len() + consumer.len() + elsewhere, FAILPOINTS.len());
    assert!(mount.len() >= 20 && opening.len() >= 3 && consumer.len() >= 4);
}

#[test]
fn a_failpoint_that_does_not_exist_is_refused() {
    let program = env!("CARGO_BIN_EXE_openbucket");
    let run = |value: &str| {
        let output = std::process::Command::new(program).arg("version").env("OPENBUCKET_FAILPOINT", value).output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run("log-flushed").0, Some(0));
    for bad in ["log-flushd", "log-flushed:0", ""] {
        let (code, words) = run(bad);
        assert!(code == Some(2) && words.contains("OPENBUCKET_FAILPOINT") && words.lines().count() == 1, "{words}");
    }
}
