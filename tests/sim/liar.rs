//! A consumer that lies: its receipts are signed, its word is worth nothing.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use openbucket::{
    base::{ErrorKind, OwnerId, ShardId, limits},
    net::{
        Beat, Network, Refusal, Registration, Reservation, Reserved, ServerIdentity, ShardPage, ShardService,
        ShardStat, TrackerClient, serve_shards,
    },
    runtime::Tasks,
};
use parking_lot::Mutex;

/// How it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Says that it stores, and stores nothing.
    Forgets,
    /// Sends other bytes than it was given.
    Garbles,
    /// Sends more than it was asked for.
    Overflows,
    /// Answers that it has every shard already, and has none.
    Pretends,
}

/// What it was given and, if it keeps anything, keeps.
struct Liar {
    lie: Lie,
    shards: Mutex<BTreeMap<ShardId, Bytes>>,
}

struct Space(Arc<Liar>, ShardId);

impl Reservation for Space {
    fn store(self: Box<Self>, data: Bytes, _: Vec<[u8; 32]>) -> BoxFuture<'static, Result<(), Refusal>> {
        Box::pin(async move {
            if self.0.lie != Lie::Forgets {
                self.0.shards.lock().insert(self.1, data);
            }
            Ok(())
        })
    }
}

fn not_here() -> Refusal {
    (ErrorKind::NotFound, "no such shard".to_owned())
}

struct Service(Arc<Liar>);

#[async_trait]
impl ShardService for Service {
    async fn reserve(&self, _: OwnerId, shard: ShardId, _: u32) -> Result<Reserved, Refusal> {
        match self.0.lie {
            Lie::Pretends => Ok(Reserved::Held),
            _ => Ok(Reserved::Space(Box::new(Space(Arc::clone(&self.0), shard)))),
        }
    }

    async fn get(&self, _: OwnerId, shard: ShardId) -> Result<Bytes, Refusal> {
        let mut data = self.0.shards.lock().get(&shard).cloned().ok_or_else(not_here)?.to_vec();
        match self.0.lie {
            Lie::Garbles => data.iter_mut().step_by(7).for_each(|byte| *byte ^= 0x55),
            Lie::Overflows => data.extend_from_slice(&[7; 5000]),
            Lie::Forgets | Lie::Pretends => return Err(not_here()),
        }
        Ok(data.into())
    }

    async fn stat(&self, _: OwnerId, shard: ShardId) -> Result<ShardStat, Refusal> {
        let length = self.0.shards.lock().get(&shard).map(Bytes::len).ok_or_else(not_here)?;
        let length = if self.0.lie == Lie::Overflows { length + 5000 } else { length };
        Ok(ShardStat { shard, bytes: u32::try_from(length).expect("a shard is small") })
    }

    async fn delete(&self, _: OwnerId, _: ShardId) -> Result<(), Refusal> {
        Ok(())
    }

    async fn list(&self, _: OwnerId, _: Option<ShardId>) -> Result<ShardPage, Refusal> {
        Ok(ShardPage { shards: Vec::new(), is_last: true })
    }
}

/// Serves lies and announces itself, until the tasks' shutdown.
pub fn start(network: &Arc<dyn Network>, identity: ServerIdentity, tracker: &str, lie: Lie, tasks: &Tasks) {
    let client = TrackerClient::new(Arc::clone(network), identity.certificate.clone(), &[tracker.to_owned()]);
    let client = client.expect("an address");
    let service = Arc::new(Service(Arc::new(Liar { lie, shards: Mutex::default() })));
    serve_shards(network, service, identity, tasks).expect("the only server");
    let (addresses, free_bytes) = (network.addresses(), 1 << 30);
    let registration = Registration { addresses, limit_bytes: free_bytes, free_bytes, version: "1".to_owned() };
    tasks.spawn_until_shutdown(async move {
        loop {
            // Whether it was heard or not, it tries again at the next beat.
            let _heard = client.beat(Beat { free_bytes }, &registration).await;
            tokio::time::sleep(limits::BEAT_INTERVAL).await; // as consumers do, in virtual time
        }
    });
}
