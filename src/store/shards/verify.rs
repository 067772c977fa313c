//! Re-verification of every body, in the background: it stands back behind other work, and takes half a processor at most.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use tokio::time::Instant;

use super::{format::Key, store::ShardStore};
use crate::{
    base::{ErrorKind, Kinded, ShardId},
    runtime::{CpuPool, Shutdown},
    store::Error,
};

impl ShardStore {
    /// Verifies every shard that is held, once: `root_of` computes the id that a body has. A shard that does not
    /// verify is no longer served or listed; it is counted, logged, and its space given back. One that the disk
    /// does not read is logged, and told to be bad when that does not pass. Ends early at the signal. May be cancelled.
    pub async fn verify_all(self: &Arc<Self>, root_of: fn(&[u8]) -> ShardId, shutdown: &Shutdown) {
        let (pool, mut after) = (CpuPool::new(1), None);
        {
            let mut state = self.state.lock();
            state.verified_shards = 0;
            state.to_verify_shards = state.index.len() as u64;
        }
        while let Some(key) = self.next_key(after) {
            after = Some(key);
            let begun = Instant::now();
            self.verify(&pool, key, root_of).await;
            {
                let mut state = self.state.lock();
                state.verified_shards = (state.verified_shards + 1).min(state.to_verify_shards);
            }
            tokio::select! {
                biased;
                () = shutdown.started() => return,
                // As long a rest as the work took: serving comes first.
                () = tokio::time::sleep(begun.elapsed()) => {}
            }
        }
        let mut state = self.state.lock();
        state.verified_shards = state.to_verify_shards;
    }

    async fn verify(self: &Arc<Self>, pool: &CpuPool, key: Key, root_of: fn(&[u8]) -> ShardId) {
        let store = Arc::clone(self);
        let checked = pool.run_in_background(move || {
            let (location, body) = store.read_checked(key)?;
            let is_good = body.is_some_and(|body| root_of(&body) == key.1);
            Ok::<_, Error>((location, is_good))
        });
        match AssertUnwindSafe(checked).catch_unwind().await {
            Ok(Ok((_, true))) => {}
            Ok(Ok((location, false))) => self.condemn(key, location, "its bytes do not hash to its id").await,
            // Deleted meanwhile.
            Ok(Err(error)) if error.kind() == ErrorKind::NotFound => {}
            Ok(Err(error)) => {
                tracing::error!(op = "verify", shard = %key.1, "a shard does not read: {error}; check the disk")
            }
            // The others are verified all the same.
            Err(_panic) => tracing::error!(op = "verify", shard = %key.1, "verification failed"),
        }
    }

    fn next_key(&self, after: Option<Key>) -> Option<Key> {
        use std::ops::Bound::{Excluded, Unbounded};
        let state = self.state.lock();
        let from = after.map_or(Unbounded, Excluded);
        state.index.range((from, Unbounded)).next().map(|(key, _)| *key)
    }
}
