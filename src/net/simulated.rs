//! A network inside one process: streams are pipes in memory; peers go down, links part, fall silent or break, answers
//! are late. All of it by one seed, and in the virtual time of a paused clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    sync::mpsc,
    time::{Instant, Sleep, timeout},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{BoxStream, Contact, Error, Incoming, Network, Protocol};
use crate::{
    base::{Mutex, PeerId, limits},
    runtime::Chance,
};

/// Bytes on their way in one direction of a stream.
const PIPE_BYTES: usize = 64 << 10;

/// How the world behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimulatedOptions {
    /// From a write to its read, at least.
    pub latency: Duration,
    /// Added to the latency, drawn for each stream from zero to this.
    pub jitter: Duration,
    /// Of a thousand attempts to open a stream, so many fail.
    pub refused_permille: u16,
    /// Of a thousand messages that arrive after a latency, so many break their stream instead.
    pub cut_permille: u16,
}

/// All peers of a simulation. Clones share it.
#[derive(Clone)]
pub struct SimulatedWorld(Arc<World>);

struct World {
    chance: Arc<dyn Chance>,
    options: Mutex<SimulatedOptions>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    peers: BTreeMap<PeerId, Peer>,
    /// Pairs that cannot talk, both ways round.
    parted: BTreeSet<(PeerId, PeerId)>,
    /// Pairs that hear nothing of each other, both ways round.
    silent: BTreeSet<(PeerId, PeerId)>,
    /// Who waits for a silence to end.
    listening: Vec<Waker>,
    /// Who has reached whom.
    dialled: BTreeSet<(PeerId, PeerId)>,
    /// Open streams.
    links: Vec<Weak<Link>>,
}

struct Peer {
    address: String,
    is_up: bool,
    is_closed: bool,
    slow_by: Duration,
    accepting: BTreeMap<Protocol, mpsc::Sender<(PeerId, BoxStream)>>,
}

impl SimulatedWorld {
    /// A world without peers.
    pub fn new(chance: Arc<dyn Chance>, options: SimulatedOptions) -> Self {
        Self(Arc::new(World { chance, options: Mutex::new(options), state: Mutex::default() }))
    }

    /// A peer enters, or enters again after its network was closed; it keeps its address.
    pub fn join(&self, peer: PeerId) -> Arc<SimulatedNetwork> {
        let mut state = self.0.state.lock();
        let number = state.peers.len() + 1;
        let entry = state.peers.entry(peer).or_insert_with(|| Peer {
            address: format!("/memory/{number}"),
            is_up: true,
            is_closed: false,
            slow_by: Duration::ZERO,
            accepting: BTreeMap::new(),
        });
        entry.is_closed = false;
        Arc::new(SimulatedNetwork { world: self.clone(), peer })
    }

    /// From now on the world behaves so, on open streams too (but for their jitter).
    pub fn set_options(&self, options: SimulatedOptions) {
        *self.0.options.lock() = options;
    }

    /// All that a peer sends and receives takes so much longer.
    pub fn set_slow(&self, peer: PeerId, by: Duration) {
        self.0.state.lock().peers.get_mut(&peer).expect("a peer of this world").slow_by = by;
    }

    /// Two peers hear nothing of each other any more, and nobody tells them; or they hear what was sent meanwhile.
    pub fn set_silent(&self, one: PeerId, other: PeerId, is_silent: bool) {
        let mut state = self.0.state.lock();
        for pair in [(one, other), (other, one)] {
            if is_silent {
                state.silent.insert(pair);
            } else {
                state.silent.remove(&pair);
            }
        }
        let listening = std::mem::take(&mut state.listening);
        drop(state);
        listening.into_iter().for_each(Waker::wake);
    }

    /// Cuts a peer off, and all its streams; or brings it back.
    pub fn set_up(&self, peer: PeerId, is_up: bool) {
        let mut state = self.0.state.lock();
        state.peers.get_mut(&peer).expect("a peer of this world").is_up = is_up;
        if !is_up {
            state.cut(|a, b| a == peer || b == peer);
        }
    }

    /// Parts two peers from each other, or joins them again.
    pub fn set_parted(&self, one: PeerId, other: PeerId, is_parted: bool) {
        let mut state = self.0.state.lock();
        for pair in [(one, other), (other, one)] {
            if is_parted {
                state.parted.insert(pair);
            } else {
                state.parted.remove(&pair);
            }
        }
        if is_parted {
            state.cut(|a, b| (a, b) == (one, other) || (a, b) == (other, one));
        }
    }

    /// Breaks every stream; the peers stay.
    pub fn cut_streams(&self) {
        self.0.state.lock().cut(|_, _| true);
    }
}

impl State {
    fn cut(&mut self, is_cut: impl Fn(PeerId, PeerId) -> bool) {
        self.links.retain(|link| {
            let Some(link) = link.upgrade() else { return false };
            let is_kept = !is_cut(link.ends.0, link.ends.1);
            if !is_kept {
                link.cut.cancel();
            }
            is_kept
        });
    }

    /// The peer at the other end, if it can be reached.
    fn reach(&mut self, from: PeerId, to: PeerId) -> Result<&mut Peer, &'static str> {
        if self.peers.get(&from).is_none_or(|peer| !peer.is_up) {
            return Err("this peer is cut off");
        }
        if self.parted.contains(&(from, to)) {
            return Err("no route");
        }
        match self.peers.get_mut(&to) {
            Some(peer) if peer.is_up && !peer.is_closed => Ok(peer),
            _ => Err("connection refused"),
        }
    }
}

/// One peer's network in a [`SimulatedWorld`].
pub struct SimulatedNetwork {
    world: SimulatedWorld,
    peer: PeerId,
}

impl SimulatedNetwork {
    fn check_open(&self) -> Result<(), Error> {
        match self.world.0.state.lock().peers.get(&self.peer) {
            Some(peer) if !peer.is_closed => Ok(()),
            _ => Err(Error::Closed),
        }
    }

    fn link(&self, to: PeerId) -> Arc<Link> {
        let world = Arc::clone(&self.world.0);
        let jitter = u64::try_from(world.options.lock().jitter.as_nanos()).unwrap_or(u64::MAX);
        let jitter = Duration::from_nanos(world.chance.below(jitter));
        Arc::new(Link { world, ends: (self.peer, to), cut: CancellationToken::new(), jitter })
    }

    fn connect(&self, link: &Arc<Link>, protocol: Protocol) -> Result<BoxStream, &'static str> {
        let refused_permille = self.world.0.options.lock().refused_permille;
        if self.world.0.chance.below(1000) < u64::from(refused_permille) {
            return Err("connection refused by chance");
        }
        let to = link.ends.1;
        let mut state = self.world.0.state.lock();
        let Some(accepting) = state.reach(self.peer, to)?.accepting.get(&protocol) else {
            return Err("the peer does not speak this protocol");
        };
        let (here, there) = tokio::io::duplex(PIPE_BYTES);
        let (here, there) = (Pipe::new(here, link), Pipe::new(there, link));
        accepting.try_send((self.peer, Box::new(there))).map_err(|_| "the peer is too busy")?;
        state.dialled.insert(link.ends);
        state.links.retain(|link| link.strong_count() > 0);
        state.links.push(Arc::downgrade(link));
        Ok(Box::new(here))
    }
}

#[async_trait]
impl Network for SimulatedNetwork {
    fn local_peer(&self) -> PeerId {
        self.peer
    }

    fn addresses(&self) -> Vec<String> {
        let state = self.world.0.state.lock();
        state.peers.get(&self.peer).map(|peer| peer.address.clone()).into_iter().collect()
    }

    async fn identify(&self, address: &str) -> Result<PeerId, Error> {
        self.check_open()?;
        let found = {
            let state = self.world.0.state.lock();
            state.peers.iter().find(|(_, peer)| peer.address == address).map(|(id, _)| *id)
        };
        let unreachable = |why: &str| Error::Unreachable { to: address.into(), why: why.into() };
        let id = found.ok_or_else(|| unreachable("nobody is there"))?;
        let link = self.link(id);
        if timeout(limits::CONNECT_TIMEOUT, link.greet()).await.is_err() {
            return Err(Error::TimedOut { to: address.into(), seconds: limits::CONNECT_TIMEOUT.as_secs() });
        }
        let mut state = self.world.0.state.lock();
        state.reach(self.peer, id).map(|_| id).map_err(unreachable)
    }

    async fn open(&self, to: &Contact, protocol: Protocol) -> Result<BoxStream, Error> {
        self.check_open()?;
        let link = self.link(to.peer);
        let connecting = async {
            link.greet().await;
            self.connect(&link, protocol)
        };
        match timeout(limits::CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(why)) => Err(Error::Unreachable { to: to.peer.to_string(), why: why.into() }),
            Err(_) => Err(Error::TimedOut { to: to.peer.to_string(), seconds: limits::CONNECT_TIMEOUT.as_secs() }),
        }
    }

    fn reached_at(&self, peer: PeerId) -> Option<String> {
        let state = self.world.0.state.lock();
        state.peers.get(&peer).filter(|_| state.dialled.contains(&(self.peer, peer))).map(|peer| peer.address.clone())
    }

    fn accept(&self, protocol: Protocol) -> Result<Incoming, Error> {
        self.check_open()?;
        let (sender, receiver) = mpsc::channel(limits::INCOMING_STREAMS);
        let mut state = self.world.0.state.lock();
        let peer = state.peers.get_mut(&self.peer).expect("it joined");
        if peer.accepting.get(&protocol).is_some_and(|sender| !sender.is_closed()) {
            return Err(Error::Local(format!("{} is served already", protocol.name())));
        }
        peer.accepting.insert(protocol, sender);
        Ok(receiver)
    }

    async fn close(&self) {
        let mut state = self.world.0.state.lock();
        if let Some(peer) = state.peers.get_mut(&self.peer) {
            peer.is_closed = true;
            peer.accepting.clear();
        }
        state.cut(|a, b| a == self.peer || b == self.peer);
    }
}

/// What the two ends of a stream share.
struct Link {
    world: Arc<World>,
    ends: (PeerId, PeerId),
    /// Breaks the stream.
    cut: CancellationToken,
    jitter: Duration,
}

impl Link {
    /// From a write to its read.
    fn latency(&self) -> Duration {
        let state = self.world.state.lock();
        let slow_by = |peer| state.peers.get(peer).map_or(Duration::ZERO, |peer| peer.slow_by);
        self.world.options.lock().latency + self.jitter + slow_by(&self.ends.0) + slow_by(&self.ends.1)
    }

    /// A message there and back.
    async fn greet(&self) {
        tokio::time::sleep(self.latency() * 2).await;
        std::future::poll_fn(|cx| self.poll_heard(cx)).await;
    }

    /// Waits while the two are silent.
    fn poll_heard(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.world.state.lock();
        if !state.silent.contains(&self.ends) {
            return Poll::Ready(());
        }
        state.listening.push(cx.waker().clone());
        Poll::Pending
    }

    fn breaks(&self) -> bool {
        let cut_permille = self.world.options.lock().cut_permille;
        cut_permille > 0 && self.world.chance.below(1000) < u64::from(cut_permille)
    }
}

/// One end of a stream: a pipe that can be cut, and delivers late.
struct Pipe {
    pipe: DuplexStream,
    read_cut: Pin<Box<WaitForCancellationFutureOwned>>,
    write_cut: Pin<Box<WaitForCancellationFutureOwned>>,
    link: Arc<Link>,
    /// Nothing was there at the last read: what comes next is fresh, and late.
    is_waiting: bool,
    late: Option<(Pin<Box<Sleep>>, Vec<u8>)>,
}

impl Pipe {
    fn new(pipe: DuplexStream, link: &Arc<Link>) -> Self {
        let wait = || Box::pin(link.cut.clone().cancelled_owned());
        Self { pipe, read_cut: wait(), write_cut: wait(), link: Arc::clone(link), is_waiting: true, late: None }
    }
}

fn cut_off(cut: &mut Pin<Box<WaitForCancellationFutureOwned>>, cx: &mut Context<'_>) -> io::Result<()> {
    match cut.as_mut().poll(cx) {
        Poll::Ready(()) => Err(io::ErrorKind::ConnectionReset.into()),
        Poll::Pending => Ok(()),
    }
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        cut_off(&mut this.read_cut, cx)?;
        ready!(this.link.poll_heard(cx));
        let latency = this.link.latency();
        loop {
            if let Some((sleep, data)) = &mut this.late {
                ready!(sleep.as_mut().poll(cx));
                let length = data.len().min(buffer.remaining());
                buffer.put_slice(&data[..length]);
                data.drain(..length);
                if data.is_empty() {
                    this.late = None;
                }
                return Poll::Ready(Ok(()));
            }
            if latency.is_zero() || !this.is_waiting {
                let read = Pin::new(&mut this.pipe).poll_read(cx, buffer);
                this.is_waiting = read.is_pending();
                if read.is_ready() || latency.is_zero() {
                    return read;
                }
            }
            let mut fresh = vec![0; 4096];
            let mut read = ReadBuf::new(&mut fresh);
            ready!(Pin::new(&mut this.pipe).poll_read(cx, &mut read))?;
            let length = read.filled().len();
            this.is_waiting = false;
            if length == 0 {
                return Poll::Ready(Ok(()));
            }
            if this.link.breaks() {
                this.link.cut.cancel();
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            fresh.truncate(length);
            this.late = Some((Box::pin(tokio::time::sleep_until(Instant::now() + latency)), fresh));
        }
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        cut_off(&mut self.write_cut, cx)?;
        Pin::new(&mut self.pipe).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}
