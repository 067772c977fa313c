//! What is written in one burst is sent together, be it flushed after each piece.
//!
//! yamux flushes after every frame, of which one turn of its task often has ten: each would be a call of the system, a
//! segment of TCP and a wake-up of the peer. So a flush first lets the task have another turn, with all that is ready by then,
//! and only a flush with nothing new before it sends.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead, AsyncWrite};

/// How often a flush lets a burst go on: small frames that never end should not keep each other.
const TURNS: u32 = 16;

/// A stream to whose writer bytes go in bursts of at most `most` bytes.
pub(super) struct Bursts<S> {
    stream: S,
    most: usize,
    gathered: Vec<u8>,
    /// So many of them are sent.
    sent: usize,
    /// Something was written since the last call of a flush.
    has_news: bool,
    /// Calls of a flush since the burst began.
    turns: u32,
}

impl<S> Bursts<S> {
    pub fn new(stream: S, most: usize) -> Self {
        Self { stream, most, gathered: Vec::new(), sent: 0, has_news: false, turns: 0 }
    }

    /// What the bytes go to.
    #[cfg(test)]
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncWrite + Unpin> Bursts<S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.gathered.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.gathered[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        self.gathered.clear();
        (self.sent, self.turns) = (0, 0);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bursts<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, bytes)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bursts<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.gathered.len() == self.most {
            ready!(self.poll_send(cx))?;
        }
        let count = bytes.len().min(self.most - self.gathered.len());
        let length = self.gathered.len() + count;
        if length > self.gathered.capacity() {
            let more = length.next_power_of_two().min(self.most) - self.gathered.len();
            self.gathered.reserve_exact(more);
        }
        self.gathered.extend_from_slice(&bytes[..count]);
        self.has_news = true;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.has_news) && self.turns < TURNS {
            self.turns += 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_send(cx))?;
        // A connection on which nothing is said needs no memory.
        self.gathered = Vec::new();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, task::noop_waker};
    use proptest::prelude::*;
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    /// Takes at most so many bytes at a time, and every other time none yet.
    #[derive(Default)]
    struct Slow {
        most: usize,
        is_due: bool,
        pieces: Vec<Vec<u8>>,
        flushed: usize,
        is_closed: bool,
    }

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.is_due = !self.is_due;
            if self.most > 0 && self.is_due {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let count = if self.most > 0 { bytes.len().min(self.most) } else { bytes.len() };
            self.pieces.push(bytes[..count].to_vec());
            Poll::Ready(Ok(count))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushed = self.pieces.concat().len();
            Poll::Ready(Ok(()))
        }

        fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.is_closed = true;
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_burst_is_one_piece_and_is_sent_at_the_second_flush() {
        let mut bursts = Bursts::new(Slow::default(), 100);
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        for part in [b"one ".as_slice(), b"two ", b"three"] {
            assert!(bursts.write_all(part).now_or_never().expect("there is room").is_ok());
            assert!(Pin::new(&mut bursts).poll_flush(&mut cx).is_pending());
        }
        assert!(bursts.stream.pieces.is_empty());
        assert!(Pin::new(&mut bursts).poll_flush(&mut cx).is_ready());
        assert_eq!((&bursts.stream.pieces, bursts.stream.flushed), (&vec![b"one two three".to_vec()], 13));
        assert!(Pin::new(&mut bursts).poll_flush(&mut cx).is_ready(), "there is nothing to wait for");
    }

    #[test]
    fn a_burst_of_small_pieces_that_does_not_end_is_sent_all_the_same() {
        let mut bursts = Bursts::new(Slow::default(), 1000);
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        for _ in 0..=2 * TURNS {
            assert!(bursts.write_all(b".").now_or_never().expect("there is room").is_ok());
            let _ = Pin::new(&mut bursts).poll_flush(&mut cx);
        }
        assert_eq!(bursts.stream.pieces, [vec![b'.'; TURNS as usize + 1]]);
    }

    #[tokio::test]
    async fn what_is_left_is_sent_at_the_end() {
        let mut bursts = Bursts::new(Slow { most: 3, ..Slow::default() }, 100);
        bursts.write_all(b"the last words").await.expect("written");
        bursts.close().await.expect("closed");
        assert_eq!(bursts.stream.pieces.concat(), b"the last words");
        assert!(bursts.stream.is_closed);
    }

    #[tokio::test]
    async fn what_is_said_in_both_ways_arrives_where_the_stream_takes_little_at_a_time() {
        let (near, far) = tokio::io::duplex(700);
        let [near, far] = [near, far].map(|end| Bursts::new(end.compat(), 16 << 10));
        let data: Vec<u8> = (0..1 << 20).map(|at: u32| (at * 7 / 3) as u8).collect();
        let said = |end: Bursts<_>| {
            let data = data.clone();
            async move {
                let (mut from, mut to) = end.split();
                let mut heard = vec![0; data.len()];
                let send = async {
                    for part in data.chunks(10_000) {
                        to.write_all(part).await?;
                        to.flush().await?;
                    }
                    Ok(())
                };
                tokio::try_join!(send, from.read_exact(&mut heard)).map(|_| heard)
            }
        };
        let both = async { tokio::try_join!(said(near), said(far)) };
        let (one, other) =
            tokio::time::timeout(Duration::from_secs(60), both).await.expect("in time").expect("arrives");
        assert!(one == data && other == data);
    }

    proptest! {
        #[test]
        fn all_bytes_arrive_in_order_in_bounded_memory(
            parts in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..40), any::<bool>()), 0..40),
            most in 0_usize..20,
        ) {
            let mut bursts = Bursts::new(Slow { most, ..Slow::default() }, 16);
            let mut written = Vec::new();
            futures::executor::block_on(async {
                for (part, is_flushed) in &parts {
                    bursts.write_all(part).await.expect("written");
                    written.extend_from_slice(part);
                    assert!(bursts.gathered.len() <= 16);
                    if *is_flushed {
                        bursts.flush().await.expect("flushed");
                        assert_eq!(bursts.stream.flushed, written.len());
                    }
                }
                bursts.flush().await.expect("flushed");
            });
            prop_assert_eq!(bursts.stream.pieces.concat(), written);
            prop_assert!(bursts.stream.pieces.iter().all(|piece| piece.len() <= 16));
        }
    }
}
