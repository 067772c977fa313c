//! Placing: the n shards of a chunk on n consumers, answered at the commit threshold, finished behind it.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Dispatcher, Error, flights::Scatter};
use crate::{
    base::{PeerId, ShardId, limits},
    coding::Encoded,
    runtime::failpoint,
};

/// What is known of a shard at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Health {
    /// Its consumer signed that it is on its disk.
    Held,
    /// Nobody has it (yet).
    Missing,
    /// Its consumer was found without it, or with wrong bytes.
    Suspect,
}

/// Where one shard is; its index in the chunk is its index in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    pub consumer: Option<PeerId>,
    pub health: Health,
}

impl Placement {
    /// Held there.
    pub fn held(consumer: PeerId) -> Self {
        Self { consumer: Some(consumer), health: Health::Held }
    }

    /// Held by nobody.
    pub fn missing() -> Self {
        Self { consumer: None, health: Health::Missing }
    }
}

/// The end of a placement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// One for each shard. Those missing are for repair.
    pub placements: Vec<Placement>,
    /// Consumers outside `placements` that may have stored a shard, or may yet: to be deleted, but no
    /// longer once the same consumer becomes the shard's holder.
    pub surplus: Vec<(PeerId, ShardId)>,
}

/// A chunk with enough receipts to be committed.
#[derive(Debug)]
pub struct Scattered {
    /// At least `commit_threshold` of them held.
    pub now: Settled,
    /// When not all are held: what came of the others, within `limits::SCATTER_TAIL`. It is whole and replaces
    /// `now`. When it ends without an answer the process is stopping and `now` stands.
    pub rest: Option<oneshot::Receiver<Settled>>,
}

impl Dispatcher {
    /// Puts every shard on a consumer of its own, all at once, and answers as soon as the commit threshold is
    /// reached; the others go on in a tracked task. A slow or failed consumer is replaced while there are
    /// others, of new owners and networks first. Waits while too many chunks are on their way.
    ///
    /// When the future is dropped before it answered, what was stored is deleted again.
    ///
    /// # Errors
    /// [`Error::NotEnough`] and [`Error::Closed`]; both name the shards to delete.
    pub async fn scatter(&self, encoded: Encoded) -> Result<Scattered, Error> {
        let inner = &self.inner;
        let needed = encoded.layout.scheme.commit_threshold();
        let permit = tokio::select! {
            biased;
            () = inner.tasks.shutdown().started() => return Err(Error::Closed { placed: Vec::new() }),
            permit = tokio::time::timeout(limits::SCATTER_TIMEOUT, inner.scatters.clone().acquire_owned()) => permit,
        };
        let Ok(permit) = permit else {
            let (online, placed) = (inner.directory.online(), Vec::new());
            let why = "earlier chunks are still waiting for slow consumers".to_owned();
            return Err(Error::NotEnough { needed, online, why, placed });
        };
        let permit = permit.expect("the semaphore is never closed");
        let (answer, answered) = oneshot::channel();
        let scatter = Scatter::new(self.inner.clone(), encoded, answer);
        inner.tasks.spawn(async move {
            scatter.run().await;
            drop(permit);
        });
        match answered.await {
            Ok(result) => {
                if result.is_ok() {
                    failpoint("threshold-receipts");
                }
                result
            }
            Err(_) => Err(Error::Closed { placed: Vec::new() }),
        }
    }
}
