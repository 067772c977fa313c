//! What a consumer does for producers: the shard protocol over the store.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};

use crate::{
    base::{ErrorKind, Kinded, OwnerId, ShardId, limits},
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
    key: (OwnerId, ShardId),
    guard: SpaceGuard,
}

impl Reservation for Space {
    fn store(self: Box<Self>, data: Bytes) -> BoxFuture<'static, Result<(), Refusal>> {
        async move {
            let Space { store, traffic, key: (owner, shard), guard } = *self;
            let bytes = data.len() as u64;
            store.put(owner, shard, data, guard).await.map_err(refusal)?;
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
            match self.store.get(owner, shard).await {
                Ok(_) if held == bytes => return Ok(Reserved::Held),
                Ok(_) => return Err((ErrorKind::Invalid, format!("this shard is here with {held} bytes"))),
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {}
                Err(error) => return Err(refusal(error)),
            }
        }
        let guard = self.store.reserve(bytes).map_err(refusal)?;
        let (store, traffic) = (Arc::clone(&self.store), Arc::clone(&self.traffic));
        Ok(Reserved::Space(Box::new(Space { store, traffic, key: (owner, shard), guard })))
    }

    async fn get(&self, owner: OwnerId, shard: ShardId) -> Result<Bytes, Refusal> {
        let body = self.store.get(owner, shard).await.map_err(refusal)?;
        self.traffic.read.fetch_add(body.len() as u64, Ordering::Relaxed);
        Ok(body)
    }

    async fn stat(&self, owner: OwnerId, shard: ShardId) -> Result<ShardStat, Refusal> {
        match self.store.stat(owner, shard) {
            Some(bytes) => Ok(ShardStat { shard, bytes }),
            None => Err((ErrorKind::NotFound, format!("shard {shard} is not here"))),
        }
    }

    async fn delete(&self, owner: OwnerId, shard: ShardId) -> Result<(), Refusal> {
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
