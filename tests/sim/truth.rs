//! What is really on the consumers' disks, whatever anybody says; and what the simulation itself has destroyed there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use openbucket::{
    base::{OwnerId, ShardId},
    bucket::ShardReport,
    coding::merkle,
    runtime::SeededChance,
    store::{ShardStore, ShardStoreOptions, SimulatedDisk},
};

use super::{cluster::Cluster, faults};

/// A shard on a consumer, by its number.
pub type Copy = (usize, ShardId);

/// The chunks of all files, by id: who is said to hold which shard.
pub type Chunks = BTreeMap<String, Vec<ShardReport>>;

/// What the disks of the honest consumers hold for the producer, of what would survive a crash at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    pub intact: BTreeSet<Copy>,
    /// Counted as held, but not what was stored.
    pub rotten: BTreeSet<Copy>,
}

impl Truth {
    /// Of all of them at one moment: nothing else happens while the disks are copied.
    pub fn look(cluster: &Cluster) -> impl Future<Output = Self> + use<> {
        let honest = faults::honest_nodes(cluster);
        let disks: Vec<_> = honest.map(|number| (number, cluster.nodes[number].disk.flushed())).collect();
        let owner = cluster.owner();
        async move {
            let mut truth = Self::default();
            for (number, disk) in disks {
                truth.read(number, disk, owner).await;
            }
            truth
        }
    }

    /// The same of one disk. A store of its own is opened on a copy of what it has flushed: so all that a receipt
    /// promises must be there.
    pub async fn of(number: usize, flushed: SimulatedDisk, owner: OwnerId) -> Self {
        let mut truth = Self::default();
        truth.read(number, flushed, owner).await;
        truth
    }

    async fn read(&mut self, number: usize, flushed: SimulatedDisk, owner: OwnerId) {
        let options = ShardStoreOptions::with_limit(1 << 40);
        let store = ShardStore::open(Arc::new(flushed), options, &SeededChance::new(0)).expect("it opens");
        for (shard, _) in store.list(owner, None, usize::MAX) {
            let is_intact = store.get(owner, shard).await.is_ok_and(|body| merkle::root(&body) == shard);
            let place = if is_intact { &mut self.intact } else { &mut self.rotten };
            place.insert((number, shard));
        }
    }

    /// How many shards of a chunk live with honest consumers.
    pub fn honest(&self, cluster: &Cluster, shards: &[ShardReport]) -> usize {
        shards.iter().filter(|shard| copy(cluster, shard).is_some_and(|copy| self.intact.contains(&copy))).count()
    }
}

/// Which shard this is and on which consumer.
pub fn copy(cluster: &Cluster, shard: &ShardReport) -> Option<Copy> {
    let number = cluster.nodes.iter().position(|node| node.peer.to_string() == shard.consumer)?;
    Some((number, shard.id.parse().expect("the id of a shard")))
}
