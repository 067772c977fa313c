//! Telling one tracker that this consumer is there: register, beat, leave. Each tracker has its own task, so that one
//! that hangs delays no other.

use std::{sync::Arc, time::Duration};

use super::status::TrackerReach;
use crate::{
    base::{ErrorKind, Kinded, Mutex, limits},
    net::{Beat, Network, Registration, TrackerClient},
    runtime::{Chance, Shutdown},
    store::ShardStore,
};

/// One tracker's task.
pub struct Announcer {
    pub client: TrackerClient,
    pub network: Arc<dyn Network>,
    pub store: Arc<ShardStore>,
    pub chance: Arc<dyn Chance>,
    pub reach: Arc<Mutex<TrackerReach>>,
}

impl Announcer {
    /// Beats until the signal, then says goodbye.
    pub async fn run(self, shutdown: Shutdown) {
        let mut failures = 0;
        let mut told: Option<Vec<String>> = None;
        loop {
            let registration = self.registration();
            let telling = async {
                // New addresses are told by registering again.
                if told.as_ref() == Some(&registration.addresses) {
                    self.client.beat(Beat { free_bytes: registration.free_bytes }, &registration).await
                } else {
                    self.client.register(&registration).await
                }
            };
            let outcome = tokio::select! {
                biased;
                () = shutdown.started() => break,
                outcome = telling => outcome,
            };
            match outcome {
                Ok(()) => {
                    failures = 0;
                    told = Some(registration.addresses);
                    self.reached(None);
                }
                Err(error) => {
                    failures += 1;
                    if error.kind() == ErrorKind::NotFound {
                        told = None;
                    }
                    self.reached(Some(error.to_string()));
                }
            }
            let pause = pause(failures, self.chance.as_ref());
            tokio::select! {
                biased;
                () = shutdown.started() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        if told.is_some() {
            self.leave().await;
        }
    }

    async fn leave(&self) {
        match tokio::time::timeout(limits::CONNECT_TIMEOUT, self.client.leave()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(op = "leave", "a tracker was not told goodbye: {error}"),
            Err(_) => tracing::debug!(op = "leave", "a tracker did not take goodbye in time"),
        }
    }

    fn registration(&self) -> Registration {
        let usage = self.store.usage();
        let mut addresses = self.network.addresses();
        addresses.truncate(limits::ADDRESSES);
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Registration { addresses, limit_bytes: usage.limit_bytes, free_bytes: usage.free_bytes, version }
    }

    fn reached(&self, problem: Option<String>) {
        let mut reach = self.reach.lock();
        match &problem {
            Some(why) if reach.is_reachable || reach.problem.is_none() => {
                tracing::warn!(op = "announce", "tracker {} is away, serving goes on: {why}", reach.address);
            }
            None if !reach.is_reachable => tracing::info!(op = "announce", "known to tracker {}", reach.address),
            _ => {}
        }
        reach.is_reachable = problem.is_none();
        reach.problem = problem;
    }
}

/// The time to the next beat: the usual one; after failures from a fraction of it up to that, with jitter so that not all
/// come back at once.
fn pause(failures: u32, chance: &dyn Chance) -> Duration {
    if failures == 0 {
        return limits::BEAT_INTERVAL;
    }
    let longest = (limits::BEAT_INTERVAL / 8 * 2u32.pow((failures - 1).min(10))).min(limits::BEAT_INTERVAL);
    let half = u64::try_from(longest.as_millis()).expect("seconds") / 2;
    Duration::from_millis(half + chance.below(half + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::SeededChance;

    #[test]
    fn pauses_grow_to_their_bound_and_differ() {
        let chance = SeededChance::new(1);
        assert_eq!(pause(0, &chance), limits::BEAT_INTERVAL);
        let longest = |failures| (0..50).map(|_| pause(failures, &chance)).max().expect("some");
        assert!(longest(1) < longest(2) && longest(2) < longest(3) && longest(3) < limits::BEAT_INTERVAL);
        let late: Vec<Duration> = (0..20).map(|_| pause(1000, &chance)).collect();
        assert!(late.iter().all(|pause| *pause <= limits::BEAT_INTERVAL && *pause >= limits::BEAT_INTERVAL / 2));
        assert!(late.iter().any(|pause| *pause != late[0]));
    }
}
