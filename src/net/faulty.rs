//! A wrapper of any network that breaks what it is told to break, peer by peer.

use std::{
    collections::HashMap,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::{BoxStream, Contact, Error, Incoming, Network, Protocol};
use crate::base::{Mutex, PeerId, limits};

/// What goes wrong with the streams opened to a peer. Offsets count the bytes received on one stream.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    /// Connecting fails at once.
    pub is_refused: bool,
    /// Connecting never ends (until its deadline).
    pub is_hanging: bool,
    /// The first byte comes so much later.
    pub delay: Duration,
    /// After so many received bytes the stream breaks.
    pub cut_after_bytes: Option<u64>,
    /// After so many received bytes nothing more comes, for ever.
    pub stall_after_bytes: Option<u64>,
    /// Received bytes are wrong from here on.
    pub corrupt_from_byte: Option<u64>,
    /// No more than so many bytes are received in a second.
    pub bytes_per_second: Option<u64>,
}

/// A network with faults. Streams that are open when a plan changes keep the old one.
pub struct FaultyNetwork {
    inner: Arc<dyn Network>,
    plans: Mutex<HashMap<PeerId, FaultPlan>>,
}

impl FaultyNetwork {
    /// Without faults yet.
    pub fn new(inner: Arc<dyn Network>) -> Self {
        Self { inner, plans: Mutex::default() }
    }

    /// From now on streams to this peer are so broken; the default plan heals them.
    pub fn set(&self, peer: PeerId, plan: FaultPlan) {
        self.plans.lock().insert(peer, plan);
    }

    fn plan(&self, peer: PeerId) -> FaultPlan {
        self.plans.lock().get(&peer).cloned().unwrap_or_default()
    }
}

#[async_trait]
impl Network for FaultyNetwork {
    fn local_peer(&self) -> PeerId {
        self.inner.local_peer()
    }

    fn addresses(&self) -> Vec<String> {
        self.inner.addresses()
    }

    async fn identify(&self, address: &str) -> Result<PeerId, Error> {
        let peer = self.inner.identify(address).await?;
        fail(&self.plan(peer), address).await?;
        Ok(peer)
    }

    async fn open(&self, to: &Contact, protocol: Protocol) -> Result<BoxStream, Error> {
        let plan = self.plan(to.peer);
        fail(&plan, &to.peer.to_string()).await?;
        let stream = self.inner.open(to, protocol).await?;
        Ok(Box::new(FaultyStream { stream, delay: Box::pin(tokio::time::sleep(plan.delay)), plan, received: 0 }))
    }

    fn reached_at(&self, peer: PeerId) -> Option<String> {
        self.inner.reached_at(peer)
    }

    fn accept(&self, protocol: Protocol) -> Result<Incoming, Error> {
        self.inner.accept(protocol)
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

async fn fail(plan: &FaultPlan, to: &str) -> Result<(), Error> {
    if plan.is_refused {
        return Err(Error::Unreachable { to: to.into(), why: "connection refused, as planned".into() });
    }
    if plan.is_hanging {
        tokio::time::sleep(limits::CONNECT_TIMEOUT).await;
        return Err(Error::TimedOut { to: to.into(), seconds: limits::CONNECT_TIMEOUT.as_secs() });
    }
    Ok(())
}

struct FaultyStream {
    stream: BoxStream,
    plan: FaultPlan,
    delay: Pin<Box<Sleep>>,
    received: u64,
}

impl AsyncRead for FaultyStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.plan.delay.is_zero() || this.plan.bytes_per_second.is_some() {
            ready!(this.delay.as_mut().poll(cx));
        }
        let left = |limit: Option<u64>| limit.map_or(u64::MAX, |limit| limit.saturating_sub(this.received));
        if left(this.plan.cut_after_bytes) == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if left(this.plan.stall_after_bytes) == 0 {
            // Nobody wakes this task again, except for its deadline.
            return Poll::Pending;
        }
        let most = left(this.plan.cut_after_bytes).min(left(this.plan.stall_after_bytes));
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(buffer.remaining());
        let mut bytes = vec![0; most.min(64 << 10)];
        let mut part = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
        let length = part.filled().len();
        let good = usize::try_from(left(this.plan.corrupt_from_byte)).unwrap_or(usize::MAX).min(length);
        bytes[good..length].iter_mut().for_each(|byte| *byte ^= 0x55);
        buffer.put_slice(&bytes[..length]);
        this.received += length as u64;
        if let Some(rate) = this.plan.bytes_per_second {
            this.delay.as_mut().reset(Instant::now() + Duration::from_micros(length as u64 * 1_000_000 / rate));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FaultyStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
