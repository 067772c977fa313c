//! Work that blocks: on threads beside the async ones; in a simulation as tasks of the one thread that there is.

use std::{cell::Cell, marker::PhantomData};

use tokio::task::JoinHandle;

thread_local! {
    static IS_ALONE: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, this thread runs by itself what would go to other threads. For simulations, which repeat
/// exactly only so. Its runtime must be one of the current thread.
#[derive(Debug)]
pub struct OneThread {
    was_alone: bool,
    /// Stays on its thread.
    _here: PhantomData<*const ()>,
}

impl OneThread {
    /// From now on, until it is dropped.
    pub fn enter() -> Self {
        Self { was_alone: IS_ALONE.replace(true), _here: PhantomData }
    }

    /// Whether this thread does everything by itself.
    pub fn is_entered() -> bool {
        IS_ALONE.get()
    }
}

impl Drop for OneThread {
    fn drop(&mut self) {
        IS_ALONE.set(self.was_alone);
    }
}

/// Runs what blocks, on a disk or for its computing, off the async threads. It runs to its end, also when the handle
/// is dropped. Call within a tokio runtime.
pub fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    if OneThread::is_entered() { tokio::spawn(async move { work() }) } else { tokio::task::spawn_blocking(work) }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn one_thread_does_it_all_and_only_while_it_is_to() {
        let here = thread::current().id();
        let elsewhere = || async { spawn_blocking(|| thread::current().id()).await.expect("no panic") };
        assert_ne!(elsewhere().await, here);
        let alone = OneThread::enter();
        assert_eq!(elsewhere().await, here);
        drop(OneThread::enter());
        assert_eq!(elsewhere().await, here, "the outer one still counts");
        drop(alone);
        assert_ne!(elsewhere().await, here);
    }
}
