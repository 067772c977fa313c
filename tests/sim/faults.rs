//! What goes wrong, by chance: the network, the disks, the roles. Never so much that a promise ends.

use std::{collections::BTreeSet, io, path::Path, time::Duration};

use openbucket::{
    net::{FaultPlan, SimulatedOptions},
    runtime::Chance,
    store::{Disk, DiskOp, FaultyDisk, SimulatedDisk},
};

use super::{
    cluster::Cluster,
    simulation::Simulation,
    truth::{Copy, Truth},
};

/// The network on a good day.
pub const CALM: SimulatedOptions = SimulatedOptions {
    latency: Duration::from_millis(5),
    jitter: Duration::from_millis(10),
    refused_permille: 0,
    cut_permille: 0,
};

/// Something that goes wrong for a while. Numbers are those of consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Messages are lost, and their streams with them.
    Loss {
        cut_permille: u16,
        refused_permille: u16,
    },
    /// All messages take long.
    Late {
        latency: Duration,
    },
    /// The producer and the consumer have no route to each other.
    Parted(usize),
    /// The same, but nobody is told.
    Silent(usize),
    Slow(usize, Duration),
    /// What arrives from it is wrong from some byte on.
    Corrupt(usize, u64),
    /// After so many bytes nothing more comes from it.
    Stalled(usize, u64),
    /// Its disk takes nothing more.
    Full(usize),
    /// Its disk does not flush.
    Unflushed(usize),
    /// Its power went.
    Down(usize),
    TrackerDown,
    TrackerSilent,
}

/// A fault and its end.
pub struct Active {
    pub fault: Fault,
    pub until: Duration,
}

impl Simulation {
    /// Begins a fault, or does some damage for good.
    pub async fn break_something(&mut self) {
        let victim = self.below(self.cluster.nodes.len());
        let fault = match self.below(20) {
            0 | 1 => Fault::Loss { cut_permille: self.below(40) as u16, refused_permille: self.below(300) as u16 },
            2 => Fault::Late { latency: Duration::from_millis(50 + self.below(1500) as u64) },
            3 | 4 => Fault::Parted(victim),
            5 | 6 => Fault::Silent(victim),
            7 => Fault::Slow(victim, Duration::from_millis(200 + self.below(20_000) as u64)),
            8 => Fault::Corrupt(victim, self.below(2000) as u64),
            9 => Fault::Stalled(victim, self.below(2000) as u64),
            10 => Fault::Full(victim),
            11 => Fault::Unflushed(victim),
            12 | 13 => Fault::Down(victim),
            14 => Fault::TrackerDown,
            15 => Fault::TrackerSilent,
            16 | 17 => return self.rot(victim).await,
            18 => return self.wipe(victim).await,
            _ => return self.crash_producer().await,
        };
        let is_double = self.active.iter().any(|active| same_kind(active.fault, fault));
        let touched = node_of(fault);
        // One thing at a time is enough for one consumer, and a liar has none of these troubles.
        let is_busy = touched.is_some_and(|number| !self.is_well(number));
        if is_double || is_busy || self.cluster.nodes[victim].is_gone {
            return;
        }
        let until = self.now() + Duration::from_millis(1000 + self.below(60_000) as u64);
        self.note(format!("fault {fault:?} until {:.3}", until.as_secs_f64()));
        self.apply(fault, true).await;
        self.active.push(Active { fault, until });
    }

    /// Ends what is over, or everything.
    pub async fn heal(&mut self, is_all: bool) {
        let now = self.now();
        let (over, going): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.active).into_iter().partition(|active| is_all || active.until <= now);
        self.active = going;
        for active in over {
            self.note(format!("healed {:?}", active.fault));
            self.apply(active.fault, false).await;
            self.calm_since = self.now();
        }
    }

    /// Whether nothing is wrong with a consumer, as the producer sees it.
    pub fn is_well(&self, number: usize) -> bool {
        let node = &self.cluster.nodes[number];
        let is_free = |active: &Active| node_of(active.fault) != Some(number);
        node.lie.is_none() && !node.is_gone && self.cluster.is_up(number) && self.active.iter().all(is_free)
    }

    async fn apply(&mut self, fault: Fault, is_on: bool) {
        let cluster = &mut self.cluster;
        let (producer, tracker) = (cluster.producer_peer(), cluster.tracker);
        let peer = node_of(fault).map(|number| cluster.nodes[number].peer);
        match (fault, peer) {
            (Fault::Loss { cut_permille, refused_permille }, _) if is_on => {
                cluster.world.set_options(SimulatedOptions { cut_permille, refused_permille, ..CALM });
            }
            (Fault::Late { latency }, _) if is_on => {
                cluster.world.set_options(SimulatedOptions { latency, ..CALM });
            }
            (Fault::Loss { .. } | Fault::Late { .. }, _) => cluster.world.set_options(CALM),
            (Fault::Parted(_), Some(peer)) => cluster.world.set_parted(producer, peer, is_on),
            (Fault::Silent(_), Some(peer)) => cluster.world.set_silent(producer, peer, is_on),
            (Fault::Slow(_, by), Some(peer)) => {
                cluster.world.set_slow(peer, if is_on { by } else { Duration::ZERO });
            }
            (Fault::Corrupt(number, at), _) => {
                let plan = FaultPlan { corrupt_from_byte: Some(at), ..FaultPlan::default() };
                cluster.set_plan(number, if is_on { plan } else { FaultPlan::default() });
                cluster.world.cut_streams();
            }
            (Fault::Stalled(number, after), _) => {
                let plan = FaultPlan { stall_after_bytes: Some(after), ..FaultPlan::default() };
                cluster.set_plan(number, if is_on { plan } else { FaultPlan::default() });
                cluster.world.cut_streams();
            }
            (Fault::Full(number), _) if is_on => {
                let faults = &cluster.nodes[number].faults;
                faults.fail(DiskOp::Write, 0, u64::MAX, io::ErrorKind::StorageFull);
            }
            (Fault::Unflushed(number), _) if is_on => {
                cluster.nodes[number].faults.fail(DiskOp::Sync, 0, u64::MAX, io::ErrorKind::Other);
            }
            (Fault::Down(number), _) if is_on => cluster.crash_consumer(number).await,
            (Fault::Full(number) | Fault::Unflushed(number) | Fault::Down(number), _) => {
                // Whoever sees to the disk starts the consumer anew.
                cluster.crash_consumer(number).await;
                cluster.nodes[number].faults.heal();
                cluster.start_consumer(number).await;
            }
            (Fault::TrackerDown, _) if is_on => cluster.crash_tracker().await,
            (Fault::TrackerDown, _) => cluster.start_tracker().await,
            (Fault::TrackerSilent, _) => cluster.world.set_silent(producer, tracker, is_on),
            (Fault::Parted(_) | Fault::Silent(_) | Fault::Slow(..), None) => unreachable!("they name a consumer"),
        }
    }

    /// Whether these shards may go: each chunk keeps k honest ones, and those that are on their way, of which nobody
    /// knows yet where they are, keep them too.
    async fn may_lose(&mut self, number: usize, lost: &BTreeSet<Copy>) -> bool {
        if !self.cluster.is_producer_up() {
            return false;
        }
        let (k, slack) = (self.cluster.scheme.k(), self.cluster.scheme.commit_threshold() - self.cluster.scheme.k());
        let status = self.cluster.bucket().status().expect("readable");
        if status.pending_uploads == 0 {
            self.lost_in_flight.clear();
        }
        let liars = self.cluster.nodes.iter().filter(|node| node.lie.is_some()).count();
        let mut losers = self.lost_in_flight.clone();
        losers.insert(number);
        if status.pending_uploads > 0 && losers.len() + liars > slack {
            return false;
        }
        let truth = Truth::look(&self.cluster).await;
        let left = Truth { intact: truth.intact.difference(lost).copied().collect(), ..Truth::default() };
        let is_kept = self.chunks().values().all(|shards| left.honest(&self.cluster, shards) >= k);
        if is_kept && status.pending_uploads > 0 {
            self.lost_in_flight = losers;
        }
        is_kept
    }

    /// A byte on a disk changes by itself.
    async fn rot(&mut self, number: usize) {
        let directory = Path::new("shards");
        let files = self.cluster.nodes[number].disk.list(directory).expect("listed");
        if files.is_empty() || self.cluster.nodes[number].lie.is_some() || self.cluster.nodes[number].is_gone {
            return;
        }
        let path = directory.join(&files[self.below(files.len())]);
        let disk = self.cluster.nodes[number].disk.clone();
        let contents = disk.contents(&path);
        let offset = self.below(contents.as_ref().map_or(0, Vec::len).max(1));
        let (owner, before, after) = (self.cluster.owner(), disk.flushed(), disk.flushed());
        // First on a copy: the consumer, which may be verifying what it has, must not see what is not to be.
        after.flip(&path, offset);
        let before = Truth::of(number, before, owner).await.intact;
        let after = Truth::of(number, after, owner).await.intact;
        let lost: BTreeSet<Copy> = before.difference(&after).copied().collect();
        if self.may_lose(number, &lost).await && disk.contents(&path) == contents {
            disk.flip(&path, offset);
            self.note(format!("rot at consumer {number}, byte {offset}: {} shards", lost.len()));
            self.damaged.extend(lost);
        }
    }

    /// A consumer loses its disk, and comes back with an empty one or not at all.
    async fn wipe(&mut self, number: usize) {
        let owner = self.cluster.owner();
        let lost = Truth::of(number, self.cluster.nodes[number].disk.flushed(), owner).await.intact;
        if !self.is_well(number) || !self.may_lose(number, &lost).await {
            return;
        }
        let well = (0..self.cluster.nodes.len()).filter(|number| !self.cluster.nodes[*number].is_gone).count();
        let liars = self.cluster.nodes.iter().filter(|node| node.lie.is_some()).count();
        let is_gone = self.below(2) == 0 && well - liars > self.cluster.scheme.n();
        self.note(format!("consumer {number} loses {} shards; gone for good: {is_gone}", lost.len()));
        self.cluster.crash_consumer(number).await;
        // Also what came at the last moment.
        let left = Truth::of(number, self.cluster.nodes[number].disk.flushed(), owner).await.intact;
        self.damaged.extend(lost.into_iter().chain(left));
        let node = &mut self.cluster.nodes[number];
        node.is_gone = is_gone;
        if !is_gone {
            node.disk = SimulatedDisk::new(1 << 30);
            node.faults = FaultyDisk::new(std::sync::Arc::new(node.disk.clone()));
            self.cluster.start_consumer(number).await;
        }
        self.calm_since = self.now();
    }

    /// kill -9 of the producer, which comes back a moment later.
    async fn crash_producer(&mut self) {
        self.note("the producer crashes");
        self.cluster.crash_producer().await;
        self.cluster.assert_sound_after_crash();
        let pause = Duration::from_millis(self.below(20_000) as u64);
        tokio::time::sleep(pause).await; // it is down for so long, in virtual time
        self.cluster.start_producer();
        self.note("the producer is back");
        self.calm_since = self.now();
        self.model_crashed();
    }
}

fn node_of(fault: Fault) -> Option<usize> {
    match fault {
        Fault::Parted(number)
        | Fault::Silent(number)
        | Fault::Slow(number, _)
        | Fault::Corrupt(number, _)
        | Fault::Stalled(number, _)
        | Fault::Full(number)
        | Fault::Unflushed(number)
        | Fault::Down(number) => Some(number),
        Fault::Loss { .. } | Fault::Late { .. } | Fault::TrackerDown | Fault::TrackerSilent => None,
    }
}

/// Both set the same thing.
fn same_kind(one: Fault, other: Fault) -> bool {
    let is_weather = |fault| matches!(fault, Fault::Loss { .. } | Fault::Late { .. });
    let is_tracker = |fault| matches!(fault, Fault::TrackerDown | Fault::TrackerSilent);
    (is_weather(one) && is_weather(other)) || (is_tracker(one) && is_tracker(other))
}

/// Draws from a bound.
impl Simulation {
    pub fn below(&self, bound: usize) -> usize {
        self.decisions.below(bound as u64) as usize
    }
}

/// Consumers that are there and honest.
pub fn honest_nodes(cluster: &Cluster) -> impl Iterator<Item = usize> {
    (0..cluster.nodes.len()).filter(|number| cluster.nodes[*number].lie.is_none() && !cluster.nodes[*number].is_gone)
}

impl Active {
    /// It strikes everybody.
    pub fn is_weather(&self) -> bool {
        matches!(self.fault, Fault::Loss { .. } | Fault::Late { .. })
    }
}
