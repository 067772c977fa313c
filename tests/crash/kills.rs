//! Random work on the mount, that of a program which checks its fsyncs and that of fsx, and the mount is killed at random
//! moments of a seeded schedule.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    exerciser::{Exerciser, Home},
    fixture::{Cluster, is_full, signal, text},
    network::Process,
    whole::{check, nothing_is_left_over, nothing_is_stored},
    workload::Workload,
};

const CONSUMERS: u64 = 7;
/// Shards of a chunk.
const SHARDS: u64 = 6;
/// Kills, and how many with `scripts/test --full`.
const KILLS: u64 = 12;
const KILLS_FULL: u64 = 200;
/// Operations of fsx after the last kill.
const OPERATIONS: u64 = 2000;
/// The mount lives so long, at most, before it is killed.
const LIFE_MILLIS: u64 = 2500;

#[test]
fn what_was_synced_survives_a_kill_at_any_moment() {
    let kills = if is_full() { KILLS_FULL } else { KILLS };
    let limit = Duration::from_secs(60 + 10 * kills);
    let seed = std::env::var("OPENBUCKET_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let Some(mut cluster) = Cluster::start_for(limit, CONSUMERS as usize, &[]) else { return };
    let mut work = Workload::new(&cluster.mount(), seed);
    work.prepare();
    let home = Home::prepare(&cluster);
    cluster.ok(&["devnet", "stop", "mount", "--state", &text(&cluster.state())]);
    let (mut operations, mut exercises) = (0, 0);
    let mut exerciser: Option<Exerciser<'_>> = None;
    for kill in 1..=kills {
        let when = format!("OPENBUCKET_SEED={seed}, kill {kill}");
        let mut process = Process::ready(&cluster, "mount", None);
        if let Some(exerciser) = exerciser.take() {
            exerciser.verify(&when);
        }
        work.verify(&when);
        check(&cluster, &when);
        let mut exercising = Exerciser::start(&cluster, &home, 1000 * seed + kill);
        let (pid, life) = (process.pid(), Duration::from_millis(work.below(LIFE_MILLIS)));
        let (alive, ended) = mpsc::channel::<()>();
        let killer = thread::spawn(move || {
            if ended.recv_timeout(life) == Err(RecvTimeoutError::Timeout) {
                signal(pid, Signal::KILL);
            }
        });
        while work.step().is_ok() {
            operations += 1;
            if work.below(60) == 0 {
                // It may be the end, as any step.
                cluster.run(&["sync", &text(&cluster.mount()), "--level", "available", "--timeout", "5"], b"");
            }
        }
        killer.join().unwrap();
        drop(alive);
        process.was_killed(&cluster);
        exercises += exercising.ended(&when);
        exerciser = Some(exercising);
    }
    let told = format!("{kills} kills, {operations} operations, {exercises} of fsx");
    assert!(operations > 20 * kills && exercises > 20 * kills, "{told} prove little");
    let mut process = Process::ready(&cluster, "mount", None);
    work.verify("after the last kill");
    exerciser.expect("there were kills").verify("after the last kill");
    work.settle().unwrap();
    home.run_whole(&cluster, seed, OPERATIONS, |compare| {
        nothing_is_left_over(&cluster, CONSUMERS, SHARDS, "after all kills");
        cluster.evict("");
        compare("from consumers");
    });
    work.verify("from consumers");
    check(&cluster, "in the end");
    work.clear();
    nothing_is_stored(&cluster, CONSUMERS, "after everything was removed");
    println!("{told}");
    process.kill();
    cluster.down();
}
