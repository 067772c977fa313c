//! The CPU pool: a bounded number of computations at a time, off the network threads.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::spawn_blocking;

/// Runs computations on blocking threads, as many at a time as it has permits.
#[derive(Clone, Debug)]
pub struct CpuPool {
    permits: Arc<Semaphore>,
}

impl CpuPool {
    /// A pool of so many computations at a time.
    pub fn new(width: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(width.max(1))) }
    }

    /// As many at a time as the machine has processors.
    pub fn for_this_machine() -> Self {
        Self::new(std::thread::available_parallelism().map_or(2, usize::from))
    }

    /// Runs one computation. Dropping the future lets a started computation run to its end.
    ///
    /// # Panics
    /// When the computation panics: its defect is the caller's.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the pool is never closed");
        let done = spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        match done.await {
            Ok(value) => value,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
