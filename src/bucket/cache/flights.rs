//! One fetch for many readers: whoever asks while a fetch is under way waits for the same one.

use std::{collections::HashMap, future::Future, hash::Hash, sync::Arc};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};

use crate::base::Mutex;

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
    K: Clone + Ord + Hash,
    T: Clone,
{
    /// The keys of fetches under way that are wanted, ascending.
    pub fn keys(&self, is_wanted: impl Fn(&K) -> bool) -> Vec<K> {
        let mut keys: Vec<K> = self.running.lock().keys().filter(|key| is_wanted(key)).cloned().collect();
        keys.sort_unstable();
        keys
    }

    /// The outcome of a fetch that is under way and brings enough, else of one made now under this key.
    ///
    /// May be dropped: the fetch goes on as long as one caller waits for it, whoever began it, and is dropped
    /// with the last. Nothing is kept of a finished fetch.
    pub async fn run<F>(&self, key: K, is_enough: impl Fn(&K) -> bool, make: impl FnOnce() -> F) -> Result<T, Arc<E>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let (key, flight) = self.join(key, is_enough, make);
        let _leaving = Leaving { flights: self, key, flight: Some(flight.clone()) };
        flight.await
    }

    fn join<F>(
        &self,
        key: K,
        is_enough: impl Fn(&K) -> bool,
        make: impl FnOnce() -> F,
    ) -> (K, Shared<BoxFuture<'static, Answer<T, E>>>)
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let mut running = self.running.lock();
        // A finished one that is still listed would be a cache; the caller has its own.
        let under_way = running.iter().filter(|(key, _)| is_enough(key)).filter_map(|(key, weak)| {
            let flight = weak.upgrade().filter(|flight| flight.peek().is_none())?;
            Some((key.clone(), flight))
        });
        if let Some(joined) = under_way.min_by(|one, other| one.0.cmp(&other.0)) {
            return joined;
        }
        let flight = make().map(|result| result.map_err(Arc::new)).boxed().shared();
        if let Some(weak) = flight.downgrade() {
            running.insert(key.clone(), weak);
        }
        (key, flight)
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
            flights.run(
                7,
                |key| *key == 7,
                || {
                    made.fetch_add(1, Ordering::SeqCst);
                    async move { gate.acquire().await.map(|_| 42).map_err(|e| e.to_string()) }
                },
            )
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
    async fn a_reader_joins_a_fetch_that_brings_enough() {
        let flights = Test::default();
        let (send, receive) = oneshot::channel();
        let mut large = Box::pin(flights.run(9, |key| *key >= 9, || async { receive.await.map_err(|_| "no".into()) }));
        assert!(futures::poll!(&mut large).is_pending());
        let mut small = Box::pin(flights.run(3, |key| *key >= 3, || async { Err("a second fetch".to_owned()) }));
        assert!(futures::poll!(&mut small).is_pending());
        assert_eq!(flights.keys(|_| true), [9]);
        let larger = flights.run(12, |key| *key >= 12, || async { Ok(1) }).await;
        send.send(2).expect("the fetch still waits");
        assert_eq!((large.await, small.await, larger), (Ok(2), Ok(2), Ok(1)));
        assert!(flights.running.lock().is_empty());
    }

    #[tokio::test]
    async fn a_follower_goes_on_when_the_leader_is_dropped() {
        let flights = Arc::new(Test::default());
        let (send, receive) = oneshot::channel();
        let mut leader =
            Box::pin(flights.run(1, |key| *key == 1, || async { receive.await.map_err(|_| "dropped".to_owned()) }));
        assert!(futures::poll!(&mut leader).is_pending());
        let mut follower =
            Box::pin(flights.run(1, |key| *key == 1, || async { Err::<u32, _>("a second fetch".to_owned()) }));
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
        let mut only =
            Box::pin(flights.run(1, |key| *key == 1, || async { receive.await.map_err(|_| "gone".to_owned()) }));
        assert!(futures::poll!(&mut only).is_pending());
        drop(only);
        assert!(send.is_closed(), "the fetch is dropped with its last reader");
        assert!(flights.running.lock().is_empty());
        let failed = flights.run(1, |key| *key == 1, || async { Err("no".to_owned()) }).await;
        assert_eq!(failed, Err(Arc::new("no".to_owned())));
        assert_eq!(flights.run(1, |key| *key == 1, || async { Ok(3) }).await, Ok(3), "a failure is not kept");
    }
}
