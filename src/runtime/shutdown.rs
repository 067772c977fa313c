//! Graceful stop: one signal that every task can wait for, and a tracker that waits for every task.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt as _;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::base::limits;

/// A stop signal that many tasks wait for. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A signal not yet given.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the signal, once and for all.
    pub fn start(&self) {
        self.0.cancel();
    }

    /// Whether the signal was given.
    pub fn is_started(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits for the signal. May be cancelled.
    pub async fn started(&self) {
        self.0.cancelled().await;
    }

    /// A signal that is given with this one, or earlier by itself.
    pub fn child(&self) -> Shutdown {
        Self(self.0.child_token())
    }
}

/// The background tasks of a service. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: Shutdown,
}

impl Tasks {
    /// Tasks that end with this signal.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { tracker: TaskTracker::new(), shutdown }
    }

    /// The signal that ends these tasks.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Starts a task that watches the signal by itself and ends soon after it.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Starts a worker that watches the signal by itself and ends soon after it. One that panics begins again after
    /// [`limits::WORKER_REST`]: a defect in one piece of work must not be the end of all that comes later.
    pub fn spawn_worker<F: Future<Output = ()> + Send + 'static>(
        &self,
        name: &'static str,
        begin: impl Fn() -> F + Send + 'static,
    ) {
        let shutdown = self.shutdown.clone();
        self.tracker.spawn(async move {
            while AssertUnwindSafe(begin()).catch_unwind().await.is_err() {
                let seconds = limits::WORKER_REST.as_secs();
                tracing::error!(op = name, "a defect: background work broke off; it begins again in {seconds} s");
                tokio::select! {
                    biased;
                    () = shutdown.started() => return,
                    () = tokio::time::sleep(limits::WORKER_REST) => {}
                }
            }
        });
    }

    /// Starts a task that is dropped, wherever it waits, at the signal.
    pub fn spawn_until_shutdown(&self, task: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                biased;
                () = shutdown.started() => {}
                () = task => {}
            }
        });
    }

    /// Gives the signal and waits for all tasks; false when some were still running at the deadline.
    pub async fn stop(&self, deadline: Duration) -> bool {
        self.shutdown.start();
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_panics_begins_again() {
        let tasks = Tasks::new(Shutdown::new());
        let begun = Arc::new(AtomicU32::new(0));
        let (counted, shutdown) = (Arc::clone(&begun), tasks.shutdown().clone());
        tasks.spawn_worker("test", move || {
            let (number, shutdown) = (counted.fetch_add(1, Ordering::Relaxed), shutdown.clone());
            async move {
                assert!(number >= 2, "as told");
                shutdown.started().await;
            }
        });
        tokio::time::sleep(limits::WORKER_REST * 5).await; // virtual time
        assert_eq!(begun.load(Ordering::Relaxed), 3);
        assert!(tasks.stop(limits::WORKER_REST).await);
    }
}
