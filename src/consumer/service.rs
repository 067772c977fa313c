//! What a consumer does for producers: the shard protocol over the store.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};

use crate::{
    base::{ErrorKind, Kinded, Mutex, OwnerId, ShardId, limits},
    net::{Refusal, Reservation, Reserved, ShardPage, ShardService, ShardStat},
    store::{self, ShardStore, SpaceGuard},
};

/// Shard bytes since the start.
#[derive(Debug, Default)]
pub struct Traffic {
    pub received: AtomicU64,
    pub read: AtomicU64,
}

/// The shard protocol over one store.
pub struct Service {
    pub store: Arc<ShardStore>,
    pub traffic: Arc<Traffic>,
    pub puts: Arc<Puts>,
}

type Key = (OwnerId, ShardId);

/// The puts under way. Who deletes a shard does not want one that is still on its way either: a producer that has
/// given up a slow put deletes what may come of it, and that may come later. They need no record: with this process
/// their streams end, and nothing of them comes any more.
#[derive(Default)]
pub struct Puts {
    on_their_way: Mutex<BTreeMap<Key, OnItsWay>>,
}

/// What is known of a shard that is on its way.
#[derive(Default)]
struct OnItsWay {
    puts: usize,
    /// Since the first of these puts began.
    deletions: u64,
    /// Whose turn it is at the store. So each put is there before a deletion, or finds that it was deleted.
    turn: Arc<Turn>,
}

type Turn = tokio::sync::Mutex<()>;

/// A put under way.
struct Put {
    puts: Arc<Puts>,
    key: Key,
    deletions: u64,
    turn: Arc<Turn>,
}

impl Puts {
    fn begin(self: &Arc<Self>, key: Key) -> Put {
        let mut on_their_way = self.on_their_way.lock();
        let shard = on_their_way.entry(key).or_default();
        shard.puts += 1;
        Put { puts: Arc::clone(self), key, deletions: shard.deletions, turn: Arc::clone(&shard.turn) }
    }

    /// What is on its way of this shard must not be stored any more. What is being stored of it has its turn first.
    fn delete(&self, key: Key) -> Option<Arc<Turn>> {
        let mut on_their_way = self.on_their_way.lock();
        let shard = on_their_way.get_mut(&key)?;
        shard.deletions += 1;
        Some(Arc::clone(&shard.turn))
    }
}

impl Put {
    fn is_deleted(&self) -> bool {
        let on_their_way = self.puts.on_their_way.lock();
        on_their_way.get(&self.key).is_some_and(|shard| shard.deletions != self.deletions)
    }
}

impl Drop for Put {
    fn drop(&mut self) {
        let mut on_their_way = self.puts.on_their_way.lock();
        let shard = on_their_way.get_mut(&self.key).expect("a put is counted while it is under way");
        shard.puts -= 1;
        if shard.puts == 0 {
            on_their_way.remove(&self.key);
        }
    }
}

/// A refusal tells a stranger what matters to it, and no paths of this machine.
fn refusal(error: store::Error) -> Refusal {
    let kind = error.kind();
    let text = match &error {
        store::Error::NotFound(text) | store::Error::Invalid(text) | store::Error::Full(text) => text.clone(),
        store::Error::Corrupt { .. } => "the shard has rotted here and was given up".into(),
        store::Error::Closed(_) => "this consumer accepts nothing at the moment".into(),
        _ if kind == ErrorKind::Full => "the disk of this consumer is full".into(),
        _ => {
            tracing::error!(op = "serve", "{error}");
            "the disk of this consumer fails".into()
        }
    };
    // To the asker a rotten shard is one that is not here.
    (if kind == ErrorKind::Corrupt { ErrorKind::NotFound } else { kind }, text)
}

struct Space {
    store: Arc<ShardStore>,
    traffic: Arc<Traffic>,
    put: Put,
    guard: SpaceGuard,
}

impl Reservation for Space {
    fn store(self: Box<Self>, data: Bytes, roots: Vec<[u8; 32]>) -> BoxFuture<'static, Result<(), Refusal>> {
        async move {
            let Space { store, traffic, put, guard } = *self;
            let _turn = put.turn.lock().await;
            if put.is_deleted() {
                return Err((ErrorKind::Unavailable, "the shard was deleted while it was on its way".into()));
            }
            let bytes = data.len() as u64;
            store.put(put.key, data, roots, guard).await.map_err(refusal)?;
            traffic.received.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        }
        .boxed()
    }
}

#[async_trait]
impl ShardService for Service {
    async fn reserve(&self, owner: OwnerId, shard: ShardId, bytes: u32) -> Result<Reserved, Refusal> {
        if let Some(held) = self.store.stat(owner, shard) {
            // A receipt follows: what it says is looked at first.
            match self.store.get_to_confirm(owner, shard).await {
                Ok(_) if held == bytes => return Ok(Reserved::Held),
                Ok(_) => return Err((ErrorKind::Invalid, format!("this shard is here with {held} bytes"))),
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {}
                Err(error) => return Err(refusal(error)),
            }
        }
        let guard = self.store.reserve(bytes).map_err(refusal)?;
        let (store, traffic) = (Arc::clone(&self.store), Arc::clone(&self.traffic));
        Ok(Reserved::Space(Box::new(Space { store, traffic, put: self.puts.begin((owner, shard)), guard })))
    }

    async fn get(&self, owner: OwnerId, shard: ShardId) -> Result<Bytes, Refusal> {
        let body = self.store.get(owner, shard).await.map_err(refusal)?;
        self.traffic.read.fetch_add(body.len() as u64, Ordering::Relaxed);
        Ok(body)
    }

    async fn get_part(&self, owner: OwnerId, shard: ShardId, bytes: Range<usize>) -> Result<Bytes, Refusal> {
        let part = self.store.get_part(owner, shard, bytes).await.map_err(refusal)?;
        self.traffic.read.fetch_add(part.len() as u64, Ordering::Relaxed);
        Ok(part)
    }

    async fn get_roots(&self, owner: OwnerId, shard: ShardId) -> Result<Vec<[u8; 32]>, Refusal> {
        self.store.get_roots(owner, shard).await.map_err(refusal)
    }

    async fn stat(&self, owner: OwnerId, shard: ShardId) -> Result<ShardStat, Refusal> {
        match self.store.stat(owner, shard) {
            Some(bytes) => Ok(ShardStat { shard, bytes }),
            None => Err((ErrorKind::NotFound, format!("shard {shard} is not here"))),
        }
    }

    async fn delete(&self, owner: OwnerId, shard: ShardId) -> Result<(), Refusal> {
        let turn = self.puts.delete((owner, shard));
        let _turn = match &turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        self.store.delete(owner, shard).await.map_err(refusal)
    }

    async fn list(&self, owner: OwnerId, after: Option<ShardId>) -> Result<ShardPage, Refusal> {
        let mut page = self.store.list(owner, after, limits::LIST_PAGE + 1);
        let is_last = page.len() <= limits::LIST_PAGE;
        page.truncate(limits::LIST_PAGE);
        let shards = page.into_iter().map(|(shard, bytes)| ShardStat { shard, bytes }).collect();
        Ok(ShardPage { shards, is_last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        runtime::SeededChance,
        store::{ShardStoreOptions, SimulatedDisk},
    };

    fn service() -> Service {
        let disk = Arc::new(SimulatedDisk::new(1 << 20));
        let options = ShardStoreOptions::with_limit(1 << 20);
        let store = ShardStore::open(disk, options, &SeededChance::new(1)).expect("opens");
        Service { store, traffic: Arc::default(), puts: Arc::default() }
    }

    #[tokio::test]
    async fn what_is_deleted_while_it_is_on_its_way_does_not_come() {
        let service = service();
        let (owner, shard) = (OwnerId([1; 32]), ShardId([2; 32]));
        let begin = || async {
            match service.reserve(owner, shard, 3).await {
                Ok(Reserved::Space(space)) => space,
                _ => panic!("it is not here yet"),
            }
        };
        let late = begin().await;
        assert_eq!(service.delete(owner, shard).await.expect_err("not here").0, ErrorKind::NotFound);
        let new = begin().await;
        let refused = late.store(Bytes::from_static(b"abc"), Vec::new()).await.expect_err("deleted");
        assert_eq!(refused.0, ErrorKind::Unavailable);
        assert!(service.stat(owner, shard).await.is_err());
        new.store(Bytes::from_static(b"abc"), Vec::new()).await.expect("it began after the deletion");
        assert_eq!(service.stat(owner, shard).await.expect("here").bytes, 3);
        assert!(service.puts.on_their_way.lock().is_empty());
    }

    #[tokio::test]
    async fn a_deletion_waits_for_its_turn_behind_what_is_being_stored() {
        let service = service();
        let (owner, shard) = (OwnerId([1; 32]), ShardId([2; 32]));
        let Ok(Reserved::Space(space)) = service.reserve(owner, shard, 3).await else { panic!("it is not here yet") };
        let turn = Arc::clone(&service.puts.on_their_way.lock()[&(owner, shard)].turn);
        let storing = turn.lock().await;
        let mut deletion = service.delete(owner, shard);
        assert!((&mut deletion).now_or_never().is_none(), "something of it is being stored");
        drop(storing);
        let (stored, deleted) = tokio::join!(space.store(Bytes::from_static(b"abc"), Vec::new()), deletion);
        assert!(stored.is_err() && deleted.is_err());
        assert!(service.stat(owner, shard).await.is_err());
    }
}
