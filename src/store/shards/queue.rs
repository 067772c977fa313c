//! The bounded queue to the writer: whoever finds it idle starts it, and it takes all that wait.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    format::{EntryState, Key, Node},
    state::{Location, SpaceGuard},
    store::ShardStore,
};
use crate::{base::limits, runtime::spawn_blocking, store::Error};

/// A change of what is held.
pub enum Change {
    Put {
        key: Key,
        roots: Vec<Node>,
        body: Bytes,
        guard: SpaceGuard,
    },
    /// Makes the entry dead or bad; with `only`, if it is still the one there.
    Drop {
        key: Key,
        only: Option<Location>,
        to: EntryState,
    },
}

impl Change {
    /// The shard that it changes.
    pub fn key(&self) -> Key {
        match self {
            Change::Put { key, .. } | Change::Drop { key, .. } => *key,
        }
    }
}

/// A change with whoever waits for it. Its place in the queue ends with it.
pub struct Waiting {
    pub change: Change,
    pub answer: oneshot::Sender<Result<(), Error>>,
    pub place: OwnedSemaphorePermit,
}

/// Changes on their way; as many as there are permits.
#[derive(Default)]
pub struct Queue {
    waiting: VecDeque<Waiting>,
    is_running: bool,
}

impl Queue {
    /// All that wait, up to the second change of one shard; none ends the writer's run.
    fn take(&mut self) -> Vec<Waiting> {
        let mut keys = std::collections::HashSet::new();
        let count = self.waiting.iter().take_while(|waiting| keys.insert(waiting.change.key())).count();
        self.is_running = count > 0;
        self.waiting.drain(..count).collect()
    }
}

impl ShardStore {
    /// Queues a change and waits until it is flushed.
    pub(super) async fn change(self: &Arc<Self>, change: Change) -> Result<(), Error> {
        let late = |what: &str| {
            let seconds = limits::STORE_TIMEOUT.as_secs();
            Error::TimedOut(format!("the disk is too slow: {what} within {seconds} s"))
        };
        let deadline = tokio::time::Instant::now() + limits::STORE_TIMEOUT;
        let place = tokio::time::timeout_at(deadline, Arc::clone(&self.permits).acquire_owned());
        let place = place.await.map_err(|_| late("no place in the queue"))?.expect("never closed");
        self.accepting(&self.state.lock())?;
        let (answer, answered) = oneshot::channel();
        let is_idle = {
            let mut queue = self.queue.lock();
            queue.waiting.push_back(Waiting { change, answer, place });
            !std::mem::replace(&mut queue.is_running, true)
        };
        if is_idle {
            let store = Arc::clone(self);
            spawn_blocking(move || store.run());
        }
        match tokio::time::timeout_at(deadline, answered).await {
            Err(_) => Err(late("not flushed")),
            Ok(Err(_)) => Err(Error::Closed("its writer ended early; restart it".into())),
            Ok(Ok(outcome)) => outcome,
        }
    }

    /// Writes until nothing waits.
    fn run(&self) {
        struct Poison<'a>(&'a ShardStore);
        impl Drop for Poison<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.state.lock().poison = Some("its writer met a defect; restart it".into());
                    self.0.queue.lock().waiting.clear();
                }
            }
        }
        let _poison = Poison(self);
        loop {
            let batch = self.queue.lock().take();
            if batch.is_empty() {
                return;
            }
            self.write_batch(batch);
        }
    }
}
