//! Graceful stop: one signal that every task can wait for, and a tracker that waits for every task.

use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

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
