//! Placing: the n shards of a chunk on n consumers, answered at the commit threshold, finished behind it.

use std::sync::Arc;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

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

/// Notes, durably, that these consumers may have these shards from now on. It is awaited before the first byte of them
/// leaves, so that whoever keeps the notes knows of every shard that may be anywhere: what is not in a placement in the
/// end is to be deleted. When it fails nothing leaves.
pub type Announce = Arc<dyn Fn(Vec<(PeerId, ShardId)>) -> BoxFuture<'static, Result<(), Error>> + Send + Sync>;

/// A chunk with enough receipts to be committed.
#[derive(Debug)]
pub struct Scattered {
    /// One for each shard, at least `commit_threshold` of them held.
    pub now: Vec<Placement>,
    /// When not all are held: the others, which are still on their way.
    pub rest: Option<Rest>,
}

/// Shards on their way behind the commit threshold. They move only while [`Rest::settle`] is awaited.
pub struct Rest(pub(super) Scatter);

impl Rest {
    /// Where all shards of the chunk have come to be, within `limits::SCATTER_TAIL`; at shutdown at once. Those that
    /// are missing are for repair. When it returns, or is dropped, nothing more is sent.
    pub async fn settle(self) -> Vec<Placement> {
        self.0.settle().await
    }
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rest")
    }
}

impl Dispatcher {
    /// Puts every shard on a consumer of its own, all at once, and answers as soon as the commit threshold is
    /// reached. A slow or failed consumer is replaced while there are others, of new owners and networks first.
    /// Waits while too many chunks are on their way.
    ///
    /// Once it has failed or was dropped nothing more is sent, and a deletion of what was announced is final.
    ///
    /// # Errors
    /// [`Error::NotEnough`], [`Error::Closed`], and what `announce` fails with.
    pub async fn scatter(&self, encoded: Encoded, announce: Announce) -> Result<Scattered, Error> {
        let inner = &self.inner;
        let needed = encoded.layout.scheme.commit_threshold();
        let permit = tokio::select! {
            biased;
            () = inner.tasks.shutdown().started() => return Err(Error::Closed),
            permit = tokio::time::timeout(limits::SCATTER_TIMEOUT, inner.scatters.clone().acquire_owned()) => permit,
        };
        let Ok(permit) = permit else {
            let why = "earlier chunks are still waiting for slow consumers".to_owned();
            return Err(Error::NotEnough { needed, online: inner.directory.online(), why });
        };
        let permit = permit.expect("the semaphore is never closed");
        let scatter = Scatter::new(Arc::clone(inner), encoded, announce, permit);
        let scattered = scatter.reach_threshold().await?;
        failpoint("threshold-receipts");
        Ok(scattered)
    }
}
