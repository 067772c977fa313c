//! fsx: random reads, writes, mappings, cuts and copies of one file, compared byte for byte, while its data is
//! uploaded and dropped here over and over, so that what is compared has been with consumers.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::{
    fixture::{Cluster, is_full, run_to_end, text},
    suite,
};

const OPERATIONS: &str = "100000";
/// Each run repeats exactly with its seed, as far as one program can.
const SEEDS: [u64; 3] = [1, 20, 300];
const FULL_SEEDS: [u64; 10] = [1, 20, 300, 4, 50, 600, 7, 80, 900, 10];
/// So many runs at once.
const LANES: usize = 3;
/// One run, at most.
const LIMIT: Duration = Duration::from_secs(600);

#[test]
fn fsx_passes_while_data_travels() {
    let seeds: &[u64] = if is_full() { &FULL_SEEDS } else { &SEEDS };
    let rounds = seeds.len().div_ceil(LANES) as u32;
    let limit = LIMIT * rounds + Duration::from_secs(60);
    let Some(mut cluster) = Cluster::start_for(limit, 6, &[]) else { return };
    let mut evictions = 0;
    for lane in seeds.chunks(LANES) {
        evictions += run(&cluster, lane);
    }
    let received = cluster.status()["bytes_received"].as_u64().unwrap();
    let served: u64 = (1..=6).map(|number| served(&cluster, &format!("consumer-{number}"))).sum();
    println!("fsx: {} seeds, {evictions} evictions, {} MB from consumers", seeds.len(), received / 1_000_000);
    assert!(evictions > 10, "{evictions} evictions");
    assert!(received > 50_000_000 && served > 50_000_000, "{received} bytes came back, consumers gave {served}");
    cluster.down();
}

fn served(cluster: &Cluster, consumer: &str) -> u64 {
    cluster.consumer(consumer)["bytes_out"].as_u64().unwrap()
}

/// Runs these seeds at once, and uploads and drops their files until all have ended; how often.
fn run(cluster: &Cluster, seeds: &[u64]) -> usize {
    let running = AtomicUsize::new(seeds.len());
    thread::scope(|scope| {
        for seed in seeds {
            scope.spawn(|| {
                let _ended = Ended(&running);
                exercise(cluster, *seed);
            });
        }
        let mut evictions = 0;
        while running.load(Ordering::Acquire) > 0 {
            // A file that never rests is not uploaded whole in time, which is no fault: what is, is dropped.
            cluster.run(&["sync", &text(&cluster.mount()), "--timeout", "2s"], b"");
            let dropped = cluster.evict("");
            evictions += usize::from(dropped["bytes"].as_u64().unwrap() > 0);
        }
        evictions
    })
}

/// Counts a run out, also when it fails.
struct Ended<'a>(&'a AtomicUsize);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

fn exercise(cluster: &Cluster, seed: u64) {
    let (file, remains) = (cluster.file(&format!("fsx-{seed}")), cluster.path(&format!("remains-{seed}")));
    fs::create_dir(&remains).unwrap();
    let configuration = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/posix/fsx.toml");
    let mut command = suite::tool("fsx");
    command.arg("-f").arg(configuration).arg("-P").arg(&remains);
    command.args(["-N", OPERATIONS, "-S", &seed.to_string()]).arg(&file);
    let start = Instant::now();
    let outcome = run_to_end(command, b"", LIMIT);
    let (log, words): (Vec<&str>, Vec<&str>) = outcome.stderr.lines().partition(|line| line.contains("[ERROR fsx]"));
    // Its own words, and the last operations.
    let why = [&words[..], &log[log.len().saturating_sub(40)..]].concat().join("\n");
    assert!(outcome.status.success(), "fsx -S {seed}: {}\n{why}", outcome.status);
    let said = String::from_utf8_lossy(&outcome.stdout);
    assert!(said.contains("All operations completed"), "fsx -S {seed} did not do all operations: {said}\n{why}");
    println!("fsx -S {seed}: {OPERATIONS} operations in {} s", start.elapsed().as_secs());
}
