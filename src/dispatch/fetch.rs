//! One range of one shard from its consumer.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{counters::count, dispatcher::Inner};
use crate::{
    base::{ErrorKind, Kinded, PeerId, ShardId, limits::LEAF_BYTES},
    net,
};

/// What to fetch from whom.
#[derive(Clone, Debug)]
pub(super) struct Fetch {
    pub(super) index: usize,
    pub(super) consumer: PeerId,
    pub(super) shard: ShardId,
    pub(super) shard_len: u32,
    pub(super) leaves: Range<u32>,
    /// With a proof, which is checked.
    pub(super) is_proven: bool,
}

/// How it went.
pub(super) struct Fetched {
    pub(super) index: usize,
    pub(super) leaves: Range<u32>,
    pub(super) result: Result<Bytes, net::Error>,
}

impl Fetch {
    pub(super) fn bytes(&self) -> usize {
        self.leaves.len() * LEAF_BYTES
    }

    /// Fetches; ends within the request timeout. May be dropped.
    pub(super) async fn run(self, inner: &Inner) -> Fetched {
        let start = Instant::now();
        let contact = inner.directory.contact(self.consumer);
        let (client, leaves) = (&inner.client, self.leaves.clone());
        let result = match self.is_proven {
            true => client.get_proven(&contact, self.shard, self.shard_len, leaves).await,
            false => client.get(&contact, self.shard, self.shard_len, leaves).await,
        };
        self.note(inner, &result, start.elapsed());
        Fetched { index: self.index, leaves: self.leaves, result }
    }

    fn note(&self, inner: &Inner, result: &Result<Bytes, net::Error>, took: Duration) {
        match result {
            Ok(bytes) => {
                inner.directory.woke(self.consumer);
                inner.pace.lock().add(bytes.len(), took);
                count(&inner.counting.ranges_received, 1);
                count(&inner.counting.range_bytes, bytes.len());
            }
            Err(error) => {
                inner.counting.failed(error);
                // Who refuses is there.
                if matches!(error, net::Error::Unreachable { .. } | net::Error::TimedOut { .. }) {
                    inner.directory.rest(self.consumer);
                }
                tracing::debug!(op = "fetch", peer = %self.consumer, shard = %self.shard, %error);
            }
        }
    }
}

/// Whether a failure says that the shard itself is bad or gone, not just its consumer away.
pub(super) fn is_damage(error: &net::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt)
}
