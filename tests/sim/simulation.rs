//! One simulation from one seed: steps of operations and faults, what must hold after each, and the end of all faults.

use std::{
    cell::Cell,
    collections::BTreeSet,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Once},
    time::Duration,
};

use openbucket::{
    base::Scheme,
    bucket::FileState,
    net::SimulatedWorld,
    runtime::{Chance, OneThread, SeededChance},
};
use parking_lot::Mutex;

use super::{
    cluster::{Cluster, Shape},
    faults::{Active, CALM, honest_nodes},
    liar::Lie,
    operations::Model,
    trace::{Trace, VirtualClock},
    truth::{Chunks, Copy, Truth, copy},
};

const STEPS: usize = 24;
/// When nothing is wrong any more, everything is done within this virtual time.
const DRAIN: Duration = Duration::from_secs(600);

thread_local! {
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// A simulation under way.
pub struct Simulation {
    pub cluster: Cluster,
    pub decisions: SeededChance,
    pub model: Model,
    pub active: Vec<Active>,
    /// The last fault ended then.
    pub calm_since: Duration,
    /// Shards that the simulation itself has destroyed.
    pub damaged: BTreeSet<Copy>,
    /// Who lost shards since all data was on its consumers.
    pub lost_in_flight: BTreeSet<usize>,
    trace: Arc<Mutex<Trace>>,
}

/// What came of a seed.
pub struct Outcome {
    pub hash: String,
    /// Why it failed, with the end of its trace.
    pub failure: Option<String>,
}

/// Runs one seed on this thread.
pub fn run(seed: u64, is_printed: bool) -> Outcome {
    static HOOK: Once = Once::new();
    // A panic in a task is one of the simulation, though tokio catches it.
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
    PANICS.set(0);
    let _alone = OneThread::enter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let world = Arc::new(SeededChance::new(seed));
    let trace = {
        let _inside = runtime.enter();
        Arc::new(Mutex::new(Trace::new(Arc::clone(&world), is_printed)))
    };
    let simulated = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let mut simulation = Simulation::start(seed, world, Arc::clone(&trace)).await;
            simulation.go().await;
        });
    }));
    let panics = PANICS.replace(0);
    let trace = trace.lock();
    let failure = match simulated {
        Err(cause) => Some(message(&*cause)),
        Ok(()) if panics > 0 => Some(format!("{panics} tasks panicked")),
        Ok(()) => None,
    };
    let failure = failure.map(|why| format!("{}\nseed {seed}: {why}", trace.tail()));
    Outcome { hash: trace.hash(), failure }
}

fn message(cause: &(dyn std::any::Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().cloned();
    text.or_else(|| cause.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default()
}

/// Something of the product that must end in so much virtual time.
pub async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, work).await {
        Ok(value) => value,
        Err(_) => panic!("{what} is stuck: it has not ended within {limit:?}"),
    }
}

impl Simulation {
    async fn start(seed: u64, chance: Arc<SeededChance>, trace: Arc<Mutex<Trace>>) -> Self {
        let decisions = SeededChance::new(!seed);
        let below = |bound: u64| decisions.below(bound);
        let (k, m) = [(4, 2), (4, 2), (2, 2), (3, 3), (2, 4), (2, 1), (1, 1)][below(7) as usize];
        let scheme = Scheme::new(k, m).expect("a scheme");
        let slack = (scheme.commit_threshold() - scheme.k()) as u64;
        let all = [Lie::Forgets, Lie::Garbles, Lie::Overflows, Lie::Pretends];
        let lies: Vec<Lie> = (0..below(slack.min(2) + 1)).map(|_| all[below(4) as usize]).collect();
        let consumers = scheme.n() as u8 + lies.len() as u8 + 2 + below(2) as u8;
        let staging_bytes = [1 << 20, 64 << 20, 64 << 20][below(3) as usize];
        let shape = Shape { consumers, scheme, lies, staging_bytes };
        trace.lock().note(format!("{k}+{m}, {consumers} consumers, {:?}, staging {staging_bytes}", shape.lies));
        let world = SimulatedWorld::new(chance.clone(), CALM);
        let cluster = Cluster::start(shape, world, chance, Arc::new(VirtualClock::default())).await;
        Self {
            cluster,
            decisions,
            model: Model::default(),
            active: Vec::new(),
            calm_since: Duration::ZERO,
            damaged: BTreeSet::new(),
            lost_in_flight: BTreeSet::new(),
            trace,
        }
    }

    pub fn note(&self, what: impl AsRef<str>) {
        self.trace.lock().note(what);
    }

    pub fn now(&self) -> Duration {
        self.trace.lock().now()
    }

    async fn go(&mut self) {
        self.pass(2_000).await;
        for _ in 0..STEPS {
            self.heal(false).await;
            if self.below(2) == 0 {
                self.break_something().await;
            }
            for _ in 0..1 + self.below(3) {
                self.operate().await;
            }
            self.pass([50, 2_000, 15_000][self.below(3)]).await;
            self.check().await;
        }
        self.heal(true).await;
        self.finish().await;
    }

    /// Virtual time goes by.
    async fn pass(&self, at_most_millis: usize) {
        let pause = Duration::from_millis(1 + self.below(at_most_millis) as u64);
        tokio::time::sleep(pause).await; // this is the time of the simulation
    }

    /// The chunks of all files, as the bucket's records have them.
    pub fn chunks(&self) -> Chunks {
        let mut chunks = Chunks::new();
        for name in self.model.files.keys() {
            let report = self.cluster.bucket().report(name.as_bytes()).expect("a file of the model");
            chunks.extend(report.chunks.into_iter().map(|chunk| (chunk.id, chunk.shards)));
        }
        chunks
    }

    /// What must hold at every moment.
    async fn check(&mut self) {
        let (chunks, look) = (self.chunks(), Truth::look(&self.cluster));
        let truth = look.await;
        let scheme = self.cluster.scheme;
        for (id, shards) in &chunks {
            let honest = truth.honest(&self.cluster, shards);
            assert!(honest >= scheme.k(), "chunk {id} has {honest} honest shards, {} are needed", scheme.k());
            let placed = shards.iter().filter(|shard| !shard.consumer.is_empty()).count();
            assert!(placed >= scheme.commit_threshold(), "chunk {id} was committed with {placed} receipts");
            let consumers: BTreeSet<&String> = shards.iter().map(|shard| &shard.consumer).collect();
            let unplaced = shards.len() - placed;
            assert_eq!(consumers.len() - usize::from(unplaced > 0), placed, "chunk {id}: two shards on one consumer");
            for shard in shards.iter().filter(|shard| shard.state == "held") {
                let Some(place) = copy(&self.cluster, shard) else { panic!("{} is no consumer", shard.consumer) };
                let is_honest = honest_nodes(&self.cluster).any(|number| number == place.0);
                let is_there = truth.intact.contains(&place) || self.damaged.contains(&place);
                assert!(is_there || !is_honest, "chunk {id}: consumer {} lost shard {}", place.0, shard.index);
            }
        }
        // What was repaired where it was, is no longer damaged.
        self.damaged.retain(|place| !truth.intact.contains(place));
        let status = self.cluster.bucket().status().expect("readable");
        self.note(format!(
            "{} chunks, {} shards intact, {} rotten; {} uploads, {} deletes pending, {} incomplete",
            chunks.len(),
            truth.intact.len(),
            truth.rotten.len(),
            status.pending_uploads,
            status.pending_deletes,
            status.incomplete_chunks
        ));
    }

    /// Whether nothing that could be in the way has been for a while.
    pub fn is_calm(&self) -> bool {
        self.active.is_empty() && self.now() > self.calm_since + Duration::from_secs(180)
    }

    /// Waits for a condition, which must come within `DRAIN`.
    async fn until(&self, what: &str, mut is_so: impl AsyncFnMut(&Self) -> Result<(), String>) {
        let end = self.now() + DRAIN;
        while let Err(why) = is_so(self).await {
            assert!(self.now() < end, "{what} is stuck after all faults have ended: {why}");
            tokio::time::sleep(Duration::from_secs(2)).await; // the next look, in virtual time
        }
        self.note(what);
    }

    async fn uploaded(&self) {
        self.until("everything is uploaded", async |this| {
            let pending = this.cluster.bucket().pending(b"", FileState::Uploaded).expect("readable");
            // What was unlinked is in no file, and staged until it is reaped.
            let status = this.cluster.bucket().status().expect("readable");
            let is_uploaded = (pending.files, status.staged_bytes, status.pending_uploads) == (0, 0, 0);
            if is_uploaded { Ok(()) } else { Err(format!("{pending:?}; {status:?}")) }
        })
        .await;
    }

    /// Shards of the producer at honest consumers are those of its chunks, and no others.
    async fn without_orphans(&self, what: &str) {
        self.until(what, async |this| {
            let chunks = this.chunks();
            let truth = Truth::look(&this.cluster).await;
            let placed: BTreeSet<Copy> = chunks.values().flatten().filter_map(|it| copy(&this.cluster, it)).collect();
            let orphans: Vec<_> = truth.intact.union(&truth.rotten).filter(|it| !placed.contains(it)).collect();
            let status = this.cluster.bucket().status().expect("readable");
            let can_all_answer = this.cluster.nodes.iter().all(|node| !node.is_gone);
            if !orphans.is_empty() {
                return Err(format!("{} orphans, such as {:?}; {status:?}", orphans.len(), orphans[0]));
            }
            let is_idle = status.pending_deletes == 0 || !can_all_answer;
            if is_idle { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
    }

    /// All faults have ended: everything comes to its end too.
    async fn finish(&mut self) {
        self.note("no more faults");
        self.uploaded().await;
        self.without_orphans("no orphans are left").await;
        self.check().await;
        self.compare_all().await;
        // Reading has found what is bad: that is mended too.
        self.uploaded().await;
        self.check().await;
        within(Duration::from_secs(200), "a restart", self.cluster.restart_producer()).await;
        self.compare_all().await;
        self.assert_sound().await;
        self.remove_all();
        self.without_orphans("nothing is left").await;
        self.cluster.crash_producer().await;
        for number in honest_nodes(&self.cluster).collect::<Vec<_>>() {
            self.cluster.crash_consumer(number).await;
        }
        self.cluster.crash_tracker().await;
    }
}
