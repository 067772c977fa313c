//! A whole network in one process, from one seed, in virtual time: whatever goes wrong, no acknowledged byte is lost
//! while k honest shards of its chunk live, and nothing is stuck when it ends.
//!
//! `scripts/sim SECONDS` runs new seeds, `scripts/sim --seed N` one of them with its trace. A seed that has failed is
//! added to `KEPT`.

#[path = "sim/cluster.rs"]
mod cluster;
#[path = "sim/faults.rs"]
mod faults;
#[path = "sim/liar.rs"]
mod liar;
#[path = "sim/operations.rs"]
mod operations;
#[path = "sim/simulation.rs"]
mod simulation;
#[path = "sim/soundness.rs"]
mod soundness;
#[path = "sim/trace.rs"]
mod trace;
#[path = "sim/truth.rs"]
mod truth;

use std::{
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Seeds that fail without what mends it, and what they find.
const KEPT: &[(u64, &str)] = &[
    (3, "an upload that failed left its bytes marked as on their way"),
    (23, "two consumers that stall, of whom other leaves are needed, held up a read for as long as a request may take"),
    (32, "a put that was given up as slow came after the deletion of its shard, and stayed for ever"),
    (42, "a crash between the commit of a chunk and its last shards left these on their consumers for ever"),
    (
        279298053,
        "a consumer that refused a shard because its flush failed had it after a restart, and nobody deleted it",
    ),
    (279298082, "a repair ended the attempt that a crash had cut short, and its shards were forgotten"),
    (524530287, "a read of a chunk that was replaced meanwhile waited for a consumer that stalled"),
    (524530580, "the same, of a chunk whose shards had been deleted at all but those who had no route"),
    (524530450, "a file that was unlinked a moment ago was still staged, which was taken for stuck"),
];

/// Runs one seed; why it failed, if it did.
fn simulate(seed: u64, is_shown: bool) -> Option<String> {
    let outcome = simulation::run(seed, is_shown);
    println!("seed {seed}: trace {}", outcome.hash);
    let failure = outcome.failure?;
    println!("seed {seed} FAILED; to repeat it: scripts/sim --seed {seed}");
    Some(failure)
}

/// So many seeds from this one on.
fn simulate_all(seeds: impl IntoIterator<Item = u64>) {
    let failures: Vec<String> = seeds.into_iter().filter_map(|seed| simulate(seed, false)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// New seeds on all processors until the time is over.
fn simulate_for(length: Duration) {
    let (end, next) = (Instant::now() + length, AtomicU64::new(0));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let first = now % 1_000_000 * 1000;
    let run = || {
        let mut failures = Vec::new();
        while Instant::now() < end {
            failures.extend(simulate(first + next.fetch_add(1, Ordering::Relaxed), false));
        }
        failures
    };
    let failures = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..thread::available_parallelism().map_or(1, usize::from)).map(|_| scope.spawn(run)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("a simulation catches its panics"))
            .collect::<Vec<_>>()
    });
    let count = next.into_inner();
    println!("{count} seeds from {first} on, {} failed", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// With `OPENBUCKET_SIM_SEED` that one, with `OPENBUCKET_SIM_SECONDS` new ones for so long.
#[test]
fn kept_seeds_or_those_asked_for() {
    let asked = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = asked("OPENBUCKET_SIM_SEED") {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_ansi(false).init();
        let failure = simulate(seed, std::env::var_os("OPENBUCKET_SIM_TRACE").is_some());
        assert!(failure.is_none(), "{}", failure.unwrap_or_default());
    } else if let Some(seconds) = asked("OPENBUCKET_SIM_SECONDS") {
        simulate_for(Duration::from_secs(seconds));
    } else {
        simulate_all(KEPT.iter().map(|(seed, _)| *seed));
    }
}

#[test]
fn one_seed_gives_one_trace_in_one_process_and_in_two() {
    let traces: Vec<String> = [3, 3, 4].into_iter().map(|seed| simulation::run(seed, false).hash).collect();
    assert_eq!(traces[0], traces[1]);
    assert_ne!(traces[0], traces[2]);
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "kept_seeds_or_those_asked_for", "--nocapture"])
        .env("OPENBUCKET_SIM_SEED", "3")
        .output()
        .expect("it runs");
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.contains(&format!("seed 3: trace {}", traces[0])), "not {}: {output}", traces[0]);
}

macro_rules! eight_seeds {
    ($($name:ident from $first:literal;)*) => {
        $(
            #[test]
            fn $name() {
                simulate_all($first..$first + 8);
            }
        )*
    };
}

eight_seeds! {
    seeds_00_to_07 from 0;
    seeds_08_to_15 from 8;
    seeds_16_to_23 from 16;
    seeds_24_to_31 from 24;
    seeds_32_to_39 from 32;
    seeds_40_to_47 from 40;
    seeds_48_to_55 from 48;
    seeds_56_to_63 from 56;
}
