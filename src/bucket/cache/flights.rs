//! One fetch for many readers: whoever asks while a fetch is under way waits for the same one.

use std::{collections::HashMap, future::Future, hash::Hash, sync::Arc};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;

type Answer<T, E> = Result<T, Arc<E>>;
type Running<T, E> = WeakShared<BoxFuture<'static, Answer<T, E>>>;

/// The fetches under way. As many entries as callers wait, at most.
pub struct Flights<K, T, E> {
    running: Mutex<HashMap<K, Running<T, E>>>,
}

impl<K, T, E> Default for Flights<K, T, E>
where
    T: Clone,
{
    fn default() -> Self {
        Self { running: Mutex::default() }
    }
}

impl<K, T, E> Flights<K, T, E>
where
    K: Clone + Eq + Hash,
    T: Clone,
{
    /// The outcome of the fetch of this key: the one under way, else one made now.
    ///
    /// May be dropped: the fetch goes on as long as one caller waits for it, whoever began it, and is dropped
    /// with the last. Nothing is kept of a finished fetch.
    pub async fn run<F>(&self, key: K, make: impl FnOnce() -> F) -> Result<T, Arc<E>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let flight = self.join(&key, make);
        let _leaving = Leaving { flights: self, key, flight: Some(flight.clone()) };
        flight.await
    }

    fn join<F>(&self, key: &K, make: impl FnOnce() -> F) -> Shared<BoxFuture<'static, Answer<T, E>>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let mut running = self.running.lock();
        // A finished one that is still listed would be a cache; the caller has its own.
        let current = running.get(key).and_then(WeakShared::upgrade).filter(|flight| flight.peek().is_none());
        if let Some(flight) = current {
            return flight;
        }
        let flight = make().map(|result| result.map_err(Arc::new)).boxed().shared();
        if let Some(weak) = flight.downgrade() {
            running.insert(key.clone(), weak);
        }
        flight
    }
}

/// Unlists a fetch when its last caller is gone.
struct Leaving<'a, K: Clone + Eq + Hash, T: Clone, E> {
    flights: &'a Flights<K, T, E>,
    key: K,
    flight: Option<Shared<BoxFuture<'static, Answer<T, E>>>>,
}

impl<K: Clone + Eq + Hash, T: Clone, E> Drop for Leaving<'_, K, T, E> {
    fn drop(&mut self) {
        // Dropped before the look, so that the last one sees that nobody holds it.
        let dropped = self.flight.take();
        let mut running = self.flights.running.lock();
        drop(dropped);
        if running.get(&self.key).is_some_and(|weak| weak.upgrade().is_none_or(|flight| flight.peek().is_some())) {
            running.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::{Semaphore, oneshot};

    use super::*;

    type Test = Flights<u32, u32, String>;

    #[tokio::test]
    async fn many_readers_make_one_fetch() {
        let (flights, made) = (Test::default(), AtomicUsize::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let reader = || {
            let gate = Arc::clone(&gate);
            flights.run(7, || {
                made.fetch_add(1, Ordering::SeqCst);
                async move { gate.acquire().await.map(|_| 42).map_err(|e| e.to_string()) }
            })
        };
        let release = async {
            tokio::task::yield_now().await;
            gate.add_permits(1);
        };
        let (a, b, c, ()) = tokio::join!(reader(), reader(), reader(), release);
        assert_eq!((a, b, c), (Ok(42), Ok(42), Ok(42)));
        assert_eq!(made.load(Ordering::SeqCst), 1);
        assert!(flights.running.lock().is_empty());
        assert_eq!(reader().await, Ok(42));
        assert_eq!(made.load(Ordering::SeqCst), 2, "nothing is kept");
    }

    #[tokio::test]
    async fn a_follower_goes_on_when_the_leader_is_dropped() {
        let flights = Arc::new(Test::default());
        let (send, receive) = oneshot::channel();
        let mut leader = Box::pin(flights.run(1, || async { receive.await.map_err(|_| "dropped".to_owned()) }));
        assert!(futures::poll!(&mut leader).is_pending());
        let mut follower = Box::pin(flights.run(1, || async { Err::<u32, _>("a second fetch".to_owned()) }));
        assert!(futures::poll!(&mut follower).is_pending());
        drop(leader);
        let follower = tokio::time::timeout(std::time::Duration::from_secs(5), follower);
        let (answer, ()) = tokio::join!(follower, async {
            tokio::task::yield_now().await;
            send.send(5).expect("the fetch still waits");
        });
        assert_eq!(answer.expect("in time"), Ok(5));
        assert!(flights.running.lock().is_empty());
    }

    #[tokio::test]
    async fn a_fetch_ends_with_its_last_reader_and_errors_are_shared() {
        let flights = Test::default();
        let (send, receive) = oneshot::channel::<u32>();
        let mut only = Box::pin(flights.run(1, || async { receive.await.map_err(|_| "gone".to_owned()) }));
        assert!(futures::poll!(&mut only).is_pending());
        drop(only);
        assert!(send.is_closed(), "the fetch is dropped with its last reader");
        assert!(flights.running.lock().is_empty());
        let failed = flights.run(1, || async { Err("no".to_owned()) }).await;
        assert_eq!(failed, Err(Arc::new("no".to_owned())));
        assert_eq!(flights.run(1, || async { Ok(3) }).await, Ok(3), "a failure is not kept");
    }
}
