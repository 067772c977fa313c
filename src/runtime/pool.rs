//! The CPU pool: a bounded number of computations at a time, off the network threads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    thread,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{OneThread, spawn_blocking, work_in_background};

/// Over so many bytes a computation is done at once. One thread hashes, seals or opens them in some 50 microseconds.
const AT_ONCE_BYTES: usize = 96 << 10;

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
        let permit = self.permit().await;
        let done = spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        match done.await {
            Ok(value) => value,
            Err(error) => resume_unwind(error.into_panic()),
        }
    }

    /// The same for a computation over so many bytes: few take less time than a change of threads does.
    ///
    /// # Panics
    /// When the computation panics: its defect is the caller's.
    pub async fn run_over<T: Send + 'static>(&self, bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
        if bytes <= AT_ONCE_BYTES { work() } else { self.run(work).await }
    }

    /// The same for a long computation that nobody waits for: on a thread of its own, which stands back behind those
    /// that somebody waits for. To make it costs some ten microseconds.
    ///
    /// # Panics
    /// When the computation panics, or the system has no thread left.
    pub async fn run_in_background<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        if OneThread::is_entered() {
            return self.run(work).await;
        }
        let permit = self.permit().await;
        let (answer, answered) = oneshot::channel();
        let thread = move || {
            let _permit = permit;
            work_in_background();
            // Nobody waits any more when the future was dropped.
            drop(answer.send(catch_unwind(AssertUnwindSafe(work))));
        };
        thread::Builder::new().name("background".to_owned()).spawn(thread).expect("the system has a thread left");
        match answered.await.expect("the thread answers, also when its work panics") {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.permits).acquire_owned().await.expect("the pool is never closed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_the_background_gives_its_place_back() {
        let pool = CpuPool::new(1);
        let failed = AssertUnwindSafe(pool.run_in_background(|| panic!("as told")));
        assert!(futures::FutureExt::catch_unwind(failed).await.is_err());
        assert_eq!(pool.run_in_background(|| 7).await, 7, "its place is free again");
    }
}
