//! People and places for the tests: a storage node and a directory in memory, clients, networks.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};

use crate::{
    base::{ErrorKind, Mutex, OwnerId, PeerId, ShardId, UnixMillis, limits},
    coding::merkle,
    keys::{Certificate, OwnerKey, PeerKey, Role},
    net::*,
    runtime::{SeededChance, Shutdown, SystemClock, Tasks},
};

/// The peer key of a number.
pub fn key(number: u8) -> PeerKey {
    PeerKey::from_seed([number; 32])
}

/// Peer `number`, certified by owner `owner`.
pub fn certificate(number: u8, owner: u8, role: Role) -> Certificate {
    OwnerKey::from_seed(&[owner; 32]).certify(key(number).peer_id(), role, UnixMillis(1))
}

pub fn identity(number: u8, role: Role) -> ServerIdentity {
    let certificate = certificate(number, number, role);
    ServerIdentity { certificate, peer_key: Arc::new(key(number)), clock: Arc::new(SystemClock) }
}

pub fn tasks() -> Tasks {
    Tasks::new(Shutdown::new())
}

pub fn shard(bytes: usize, seed: u8) -> (ShardId, Bytes) {
    let data: Vec<u8> = (0..bytes).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3] ^ seed).collect();
    (merkle::root(&data), data.into())
}

/// A whole shard, verified.
pub async fn whole(client: &ShardClient, from: &Contact, shard: ShardId, length: u32) -> Result<Bytes, Error> {
    client.get_proven(from, shard, length, 0..merkle::leaf_count(length as usize)).await
}

pub fn world() -> SimulatedWorld {
    SimulatedWorld::new(Arc::new(SeededChance::new(1)), SimulatedOptions::default())
}

pub fn contact(network: &Arc<dyn Network>) -> Contact {
    Contact { peer: network.local_peer(), addresses: network.addresses() }
}

/// What is kept of each shard of each owner.
type Kept<T> = Arc<Mutex<BTreeMap<(OwnerId, ShardId), T>>>;

/// A storage node in memory.
#[derive(Default)]
pub struct MemoryNode {
    pub shards: Kept<Bytes>,
    pub roots: Kept<Vec<[u8; 32]>>,
    pub limit: usize,
    pub reads: std::sync::atomic::AtomicU64,
}

impl MemoryNode {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, ..Self::default() })
    }

    /// A byte of a shard is another now, whoever owns it.
    pub fn rot(&self, shard: ShardId, at: usize) {
        for (_, data) in self.shards.lock().iter_mut().filter(|((_, id), _)| *id == shard) {
            let mut bytes = data.to_vec();
            bytes[at] ^= 1;
            *data = bytes.into();
        }
    }
}

struct Space {
    shards: Kept<Bytes>,
    roots: Kept<Vec<[u8; 32]>>,
    key: (OwnerId, ShardId),
}

impl Reservation for Space {
    fn store(self: Box<Self>, data: Bytes, roots: Vec<[u8; 32]>) -> BoxFuture<'static, Result<(), Refusal>> {
        async move {
            self.shards.lock().insert(self.key, data);
            self.roots.lock().insert(self.key, roots);
            Ok(())
        }
        .boxed()
    }
}

#[async_trait]
impl ShardService for MemoryNode {
    async fn reserve(&self, owner: OwnerId, shard: ShardId, bytes: u32) -> Result<Reserved, Refusal> {
        let shards = self.shards.lock();
        if shards.contains_key(&(owner, shard)) {
            return Ok(Reserved::Held);
        }
        let held: usize = shards.values().map(Bytes::len).sum();
        drop(shards);
        if held + bytes as usize > self.limit {
            return Err((ErrorKind::Full, "no space".into()));
        }
        let (shards, roots) = (Arc::clone(&self.shards), Arc::clone(&self.roots));
        Ok(Reserved::Space(Box::new(Space { shards, roots, key: (owner, shard) })))
    }

    async fn get(&self, owner: OwnerId, shard: ShardId) -> Result<Bytes, Refusal> {
        self.reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.shards.lock().get(&(owner, shard)).cloned().ok_or((ErrorKind::NotFound, "no such shard".into()))
    }

    async fn get_part(&self, owner: OwnerId, shard: ShardId, bytes: Range<usize>) -> Result<Bytes, Refusal> {
        let data = self.shards.lock().get(&(owner, shard)).cloned();
        Ok(data.ok_or((ErrorKind::NotFound, "no such shard".to_owned()))?.slice(bytes))
    }

    async fn get_roots(&self, owner: OwnerId, shard: ShardId) -> Result<Vec<[u8; 32]>, Refusal> {
        Ok(self.roots.lock().get(&(owner, shard)).cloned().unwrap_or_default())
    }

    async fn stat(&self, owner: OwnerId, shard: ShardId) -> Result<ShardStat, Refusal> {
        let data = self.shards.lock().get(&(owner, shard)).cloned();
        let data = data.ok_or((ErrorKind::NotFound, "no such shard".to_owned()))?;
        Ok(ShardStat { shard, bytes: data.len() as u32 })
    }

    async fn delete(&self, owner: OwnerId, shard: ShardId) -> Result<(), Refusal> {
        let gone = self.shards.lock().remove(&(owner, shard));
        gone.map(drop).ok_or((ErrorKind::NotFound, "no such shard".into()))
    }

    async fn list(&self, owner: OwnerId, after: Option<ShardId>) -> Result<ShardPage, Refusal> {
        let shards = self.shards.lock();
        let mine = shards.iter().filter(|((of, id), _)| *of == owner && Some(*id) > after);
        let mut page: Vec<_> = mine
            .take(limits::LIST_PAGE + 1)
            .map(|((_, id), d)| ShardStat { shard: *id, bytes: d.len() as u32 })
            .collect();
        let is_last = page.len() <= limits::LIST_PAGE;
        page.truncate(limits::LIST_PAGE);
        Ok(ShardPage { shards: page, is_last })
    }
}

/// A directory in memory.
#[derive(Default)]
pub struct MemoryTracker(pub Mutex<BTreeMap<PeerId, (OwnerId, Registration)>>);

#[async_trait]
impl TrackerService for MemoryTracker {
    async fn register(&self, peer: PeerId, owner: OwnerId, registration: Registration) -> Result<(), Refusal> {
        self.0.lock().insert(peer, (owner, registration));
        Ok(())
    }

    async fn beat(&self, peer: PeerId, beat: Beat) -> Result<(), Refusal> {
        match self.0.lock().get_mut(&peer) {
            Some((_, registration)) => {
                registration.free_bytes = beat.free_bytes;
                Ok(())
            }
            None => Err((ErrorKind::NotFound, "register first".into())),
        }
    }

    async fn leave(&self, peer: PeerId) -> Result<(), Refusal> {
        self.0.lock().remove(&peer);
        Ok(())
    }

    async fn candidates(&self, query: CandidateQuery) -> Result<Vec<Candidate>, Refusal> {
        let held = self.0.lock();
        let wanted = held.iter().filter(|(peer, _)| !query.exclude.contains(peer));
        let candidates = wanted.map(|(peer, (owner, registration))| Candidate {
            contact: Contact { peer: *peer, addresses: registration.addresses.clone() },
            owner: *owner,
            limit_bytes: registration.limit_bytes,
            free_bytes: registration.free_bytes,
            last_beat: UnixMillis(1),
            uptime_permille: 1000,
            is_online: true,
        });
        Ok(candidates.take(query.count.into()).collect())
    }

    async fn find(&self, peers: Vec<PeerId>) -> Result<Vec<Candidate>, Refusal> {
        let all = CandidateQuery { count: u16::MAX, free_bytes: 0, exclude: Vec::new() };
        let mut candidates = self.candidates(all).await?;
        candidates.retain(|candidate| peers.contains(&candidate.contact.peer));
        Ok(candidates)
    }
}
