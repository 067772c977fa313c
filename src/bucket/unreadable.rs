//! Chunks that could not be had a moment ago: whoever asks again waits for them no more than a moment.
//!
//! The kernel asks twice: when what it reads ahead fails, it reads each page once more. Without this a program would wait for
//! two timeouts. They are asked for again nevertheless: their consumers may be back.

use std::collections::HashMap;

use tokio::time::{Instant, timeout};

use super::{Error, Inner};
use crate::base::{ChunkId, Mutex, limits};

/// When it failed, and why.
type Failure = (Instant, String);

/// The chunks that failed last, with when and why.
#[derive(Default)]
pub(super) struct Unreadable(Mutex<HashMap<ChunkId, Failure>>);

impl Unreadable {
    fn note(&self, chunk: ChunkId, why: String) {
        let mut failures = self.0.lock();
        if failures.len() >= limits::UNREADABLE_CHUNKS {
            failures.retain(|_, (at, _)| at.elapsed() < limits::UNREADABLE_TIME);
        }
        if failures.len() < limits::UNREADABLE_CHUNKS {
            failures.insert(chunk, (Instant::now(), why));
        }
    }

    fn why(&self, chunk: ChunkId) -> Option<String> {
        let failures = self.0.lock();
        let (at, why) = failures.get(&chunk)?;
        (at.elapsed() < limits::UNREADABLE_TIME).then(|| why.clone())
    }

    /// Consumers that were away are back: all are worth another try.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}

/// A chunk is being had from consumers.
struct Try<'a> {
    inner: &'a Inner,
    chunk: ChunkId,
    begun: Instant,
    is_over: bool,
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        // Given up by a reader for want of time, not by one that was interrupted.
        let timeout = self.inner.options.read_timeout;
        if !self.is_over && self.begun.elapsed() >= timeout * 9 / 10 {
            self.inner.unreadable.note(self.chunk, format!("no answer from consumers within {} s", timeout.as_secs()));
        }
    }
}

impl Inner {
    /// Does what has a chunk from consumers, for [`limits::UNREADABLE_TIME`] at most if that failed a moment ago after a quarter
    /// of the read timeout or more: what fails sooner may be tried again within it.
    pub(super) async fn unless_unreadable<T>(
        &self,
        chunk: ChunkId,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if let Some(why) = self.unreadable.why(chunk) {
            return timeout(limits::UNREADABLE_TIME, work).await.unwrap_or(Err(Error::Unreadable(why)));
        }
        let mut once = Try { inner: self, chunk, begun: Instant::now(), is_over: false };
        let result = work.await;
        once.is_over = true;
        if let Err(error) = &result
            && once.begun.elapsed() >= self.options.read_timeout / 4
        {
            self.unreadable.note(chunk, error.to_string());
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::{super::promises::open, *};
    use crate::runtime::OneThread;

    /// Whether a try that takes so long succeeds, and after what time.
    async fn attempt(inner: &Inner, takes: Duration, is_good: bool) -> (bool, Duration) {
        let begun = Instant::now();
        let work = async {
            sleep(takes).await; // virtual time
            if is_good { Ok(()) } else { Err(Error::Unreadable("as told".to_owned())) }
        };
        (inner.unless_unreadable(ChunkId([1; 32]), work).await.is_ok(), begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_failed_after_a_while_is_not_tried_again_at_once() {
        let _alone = OneThread::enter();
        let directory = tempfile::tempdir().expect("made");
        let bucket = open(directory.path());
        let inner = &*bucket.inner;
        let (quick, slow) = (limits::READ_TIMEOUT / 5, limits::READ_TIMEOUT / 3);
        assert_eq!(attempt(inner, quick, false).await, (false, quick));
        assert_eq!(attempt(inner, slow, true).await, (true, slow), "what fails at once may be tried again");
        assert_eq!(attempt(inner, slow, false).await, (false, slow));
        let moment = limits::UNREADABLE_TIME;
        assert_eq!(attempt(inner, slow, true).await, (false, moment), "not for so long again");
        assert_eq!(attempt(inner, slow, false).await, (false, slow), "for a slow network, all its time");
        assert_eq!(attempt(inner, moment / 2, true).await, (true, moment / 2), "its consumers are back");
        inner.unreadable.clear();
        assert_eq!(attempt(inner, quick, true).await, (true, quick));

        // A reader that was interrupted says nothing of the chunk, one that has waited its time does.
        assert!(timeout(Duration::from_secs(3), attempt(inner, slow, true)).await.is_err());
        assert_eq!(attempt(inner, quick, true).await, (true, quick));
        assert!(timeout(limits::READ_TIMEOUT, attempt(inner, 2 * limits::READ_TIMEOUT, true)).await.is_err());
        assert_eq!(attempt(inner, quick, true).await, (false, moment));
        sleep(moment).await; // virtual time
        assert_eq!(attempt(inner, quick, true).await, (true, quick));
    }
}
