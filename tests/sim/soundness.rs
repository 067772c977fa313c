//! fsck: after each crash of the producer of what its disk has, and of everything when all faults have ended.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use openbucket::{
    base::Scheme,
    bucket::{Bucket, FsckKind, FsckOptions, FsckProblem, FsckProgress, FsckReport},
    dispatch::{self, Dispatcher},
    keys::{OwnerKey, PeerKey, Role},
    net::{Network, ShardClient, SimulatedWorld},
    runtime::{Chance, Clock, CpuPool, OneThread, SeededChance, Shutdown, Tasks},
};
use tokio::sync::watch;

use super::{
    cluster::{Cluster, bucket_options, bucket_parts},
    faults::{CALM, honest_nodes},
    simulation::{Simulation, within},
    trace::VirtualClock,
    truth::Copy,
};

/// A check, in virtual time.
const LIMIT: Duration = Duration::from_secs(600);

/// The producer's state as it is found by a bucket of its own, to which nobody answers.
async fn check_alone(place: &Path, scheme: Scheme) -> FsckReport {
    let (chance, clock): (Arc<dyn Chance>, Arc<dyn Clock>) =
        (Arc::new(SeededChance::new(1)), Arc::new(VirtualClock::default()));
    let key = PeerKey::from_seed([1; 32]);
    let network: Arc<dyn Network> = SimulatedWorld::new(Arc::clone(&chance), CALM).join(key.peer_id());
    let certificate = OwnerKey::from_seed(&[1; 32]).certify(key.peer_id(), Role::Producer, clock.now());
    let tasks = Tasks::new(Shutdown::new());
    let parts = dispatch::Parts {
        client: Arc::new(ShardClient::new(network, certificate)),
        tracker: None,
        clock: Arc::clone(&clock),
        chance: Arc::clone(&chance),
        tasks: tasks.clone(),
        pool: CpuPool::new(1),
    };
    let dispatcher = Arc::new(Dispatcher::new(parts, dispatch::Options::default()));
    let options = bucket_options(place.to_path_buf(), scheme, 64 << 20);
    let bucket = Bucket::start(options, bucket_parts(dispatcher, clock, chance, tasks.clone())).expect("opens");
    let report = within(LIMIT, "fsck after a crash", check(&bucket)).await;
    assert!(tasks.stop(LIMIT).await, "the tasks of a bucket do not end");
    report
}

async fn check(bucket: &Bucket) -> FsckReport {
    let (progress, _steps) = watch::channel(FsckProgress { step: "", done: 0 });
    bucket.fsck(FsckOptions::default(), progress).await.expect("checked")
}

impl Cluster {
    /// What the producer's disk has fits together, before anybody goes on with it. That happens on a thread with a time of its
    /// own: the simulation does not see it, and the trace of a seed stays as it is.
    pub fn assert_sound_after_crash(&self) {
        let (place, scheme): (PathBuf, Scheme) = (self.copy_of_state(), self.scheme);
        let checked = place.clone();
        let checking = thread::spawn(move || {
            let _alone = OneThread::enter();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
            runtime.expect("a runtime").block_on(check_alone(&checked, scheme))
        });
        let report = checking.join().expect("the check comes to an end");
        std::fs::remove_dir_all(place).expect("removed");
        assert!(report.is_clean(), "after a crash: {:#?}", report.problems);
    }
}

impl Simulation {
    /// Whether the simulation itself, or a liar, has made this problem.
    fn is_own(&self, problem: &FsckProblem) -> bool {
        let nodes = &self.cluster.nodes;
        let is_meant = |number: &usize| {
            let peer = nodes[*number].peer.to_string();
            problem.what.contains(&peer) || problem.why.contains(&peer)
        };
        if !matches!(problem.kind, FsckKind::AbsentShard | FsckKind::UnknownShard) {
            return false;
        }
        let is_damaged = |(number, shard): &Copy| is_meant(number) && problem.what.contains(&shard.to_string());
        !honest_nodes(&self.cluster).any(|number| is_meant(&number)) || self.damaged.iter().any(is_damaged)
    }

    /// Everything fits together, but for what was destroyed.
    pub async fn assert_sound(&self) {
        let report = within(LIMIT, "fsck", check(self.cluster.bucket())).await;
        let wrong: Vec<_> = report.problems.iter().filter(|problem| !self.is_own(problem)).collect();
        assert!(wrong.is_empty(), "when all faults have ended: {wrong:#?}");
        self.note(format!("fsck finds {} shards that were destroyed", report.problems.len()));
    }
}
