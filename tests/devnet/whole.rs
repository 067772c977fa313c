//! Whether a network fits together: a bucket's records, its staging, and the shards that consumers hold.

#![allow(dead_code, reason = "each of the tests with a devnet uses what it needs")]

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::fixture::{Cluster, text};

/// What is being put right in the background is so within this.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// `fsck --json`, which must find nothing.
fn report(cluster: &Cluster, when: &str) -> Value {
    let outcome = cluster.run(&["fsck", &text(&cluster.mount()), "--json"], b"");
    let report: Value = serde_json::from_slice(&outcome.stdout)
        .unwrap_or_else(|error| panic!("{when}: {error}: {}\n{}", outcome.stderr, cluster.logs()));
    let is_clean = outcome.status.success() && report["problems"].as_array().is_some_and(Vec::is_empty);
    assert!(is_clean, "{when}: {report:#}\n{}\n{}", outcome.stderr, cluster.logs());
    assert!(report["unknown_shards_unjudged"].is_null(), "{when}: {report:#}");
    report
}

/// The bucket's records and its staging fit together, and the consumers as far as they answer: some may be gone for good.
pub fn check_without_silent(cluster: &Cluster, when: &str) {
    report(cluster, when);
}

/// The bucket's records, its staging and its consumers fit together. After a start it may take a moment until all
/// consumers answer.
pub fn check(cluster: &Cluster, when: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let silent = &report(cluster, when)["silent_consumers"];
        if silent.as_array().is_some_and(Vec::is_empty) {
            return;
        }
        assert!(Instant::now() < until, "{when}: not asked what they hold: {silent:#}\n{}", cluster.logs());
        thread::sleep(LOOK); // the look at a condition
    }
}

/// Everything is uploaded, and so many consumers hold the shards of the chunks that there are, each chunk has so many, and
/// no others.
pub fn nothing_is_left_over(cluster: &Cluster, consumers: u64, shards: u64, when: &str) {
    cluster.sync();
    shards_are_even(cluster, consumers, shards, when);
}

/// Nothing is stored any more.
pub fn nothing_is_stored(cluster: &Cluster, consumers: u64, when: &str) {
    shards_are_even(cluster, consumers, 0, when);
}

fn shards_are_even(cluster: &Cluster, consumers: u64, shards: u64, when: &str) {
    let mut said = String::new();
    let mut is_even = || {
        let status = cluster.status();
        let number = |name: &str| status[name].as_u64().unwrap();
        let names = (1..=consumers).map(|number| format!("consumer-{number}"));
        let held: u64 = names.map(|name| cluster.consumer(&name)["shards"].as_u64().unwrap()).sum();
        let waiting = [number("pending_uploads"), number("pending_deletes"), number("incomplete_chunks")];
        said = format!("{held} shards of {} chunks, waiting: {waiting:?}", number("chunks"));
        waiting == [0; 3] && held == shards * number("chunks") && (shards > 0 || number("chunks") == 0)
    };
    let until = Instant::now() + PATIENCE;
    while !is_even() {
        assert!(Instant::now() < until, "{when}: {said}\n{}", cluster.logs());
        thread::sleep(LOOK); // the look at a condition
    }
}

/// A consumer has verified all that it holds, and nothing is torn or bad.
pub fn nothing_is_bad(cluster: &Cluster, consumer: &str, when: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let status = cluster.consumer(consumer);
        let number = |name: &str| status[name].as_u64().unwrap();
        let is_good = number("bad_shards") == 0 && number("damaged_headers") == 0 && status["problem"].is_null();
        assert!(is_good, "{when}: {consumer}: {status:#}\n{}", cluster.logs());
        if number("verified_shards") == number("to_verify_shards") {
            return;
        }
        assert!(Instant::now() < until, "{when}: {consumer} does not come to an end: {status:#}");
        thread::sleep(LOOK); // the look at a condition
    }
}
