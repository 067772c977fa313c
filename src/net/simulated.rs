//! A network inside one process: streams are pipes in memory; peers go down, links part, answers are late.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    sync::mpsc,
    time::{Instant, Sleep, timeout},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{BoxStream, Contact, Error, Incoming, Network, Protocol};
use crate::{
    base::{PeerId, limits},
    runtime::Chance,
};

/// Bytes on their way in one direction of a stream.
const PIPE_BYTES: usize = 64 << 10;

/// How the world behaves.
#[derive(Clone, Debug, Default)]
pub struct SimulatedOptions {
    /// From a write to its read, at least.
    pub latency: Duration,
    /// Added to the latency, drawn for each stream from zero to this.
    pub jitter: Duration,
    /// Of a thousand attempts to open a stream, so many fail.
    pub refused_permille: u16,
}

/// All peers of a simulation. Clones share it.
#[derive(Clone)]
pub struct SimulatedWorld(Arc<World>);

struct World {
    chance: Arc<dyn Chance>,
    options: SimulatedOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    peers: HashMap<PeerId, Peer>,
    /// Pairs that cannot talk, both ways round.
    parted: HashSet<(PeerId, PeerId)>,
    /// The token breaks the stream; the weak count says whether an end is still held.
    streams: Vec<(PeerId, PeerId, CancellationToken, Weak<()>)>,
}

struct Peer {
    address: String,
    is_up: bool,
    is_closed: bool,
    accepting: HashMap<Protocol, mpsc::Sender<(PeerId, BoxStream)>>,
}

impl SimulatedWorld {
    /// A world without peers.
    pub fn new(chance: Arc<dyn Chance>, options: SimulatedOptions) -> Self {
        Self(Arc::new(World { chance, options, state: Mutex::default() }))
    }

    /// A peer enters, or enters again after its network was closed; it keeps its address.
    pub fn join(&self, peer: PeerId) -> Arc<SimulatedNetwork> {
        let mut state = self.0.state.lock();
        let number = state.peers.len() + 1;
        let entry = state.peers.entry(peer).or_insert_with(|| Peer {
            address: format!("/memory/{number}"),
            is_up: true,
            is_closed: false,
            accepting: HashMap::new(),
        });
        entry.is_closed = false;
        Arc::new(SimulatedNetwork { world: self.clone(), peer })
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
        self.streams.retain(|(a, b, token, _)| {
            let cut = is_cut(*a, *b);
            if cut {
                token.cancel();
            }
            !cut
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

    fn latency(&self) -> Duration {
        let World { options, chance, .. } = self.world.0.as_ref();
        let jitter = u64::try_from(options.jitter.as_nanos()).unwrap_or(u64::MAX);
        options.latency + Duration::from_nanos(chance.below(jitter))
    }

    fn connect(&self, to: PeerId, protocol: Protocol, latency: Duration) -> Result<BoxStream, &'static str> {
        if self.world.0.chance.below(1000) < u64::from(self.world.0.options.refused_permille) {
            return Err("connection refused by chance");
        }
        let mut state = self.world.0.state.lock();
        let Some(accepting) = state.reach(self.peer, to)?.accepting.get(&protocol) else {
            return Err("the peer does not speak this protocol");
        };
        let (here, there) = tokio::io::duplex(PIPE_BYTES);
        let cut = CancellationToken::new();
        let held = Arc::new(());
        let forget = Arc::downgrade(&held);
        let (here, there) = (Pipe::new(here, &cut, latency, &held), Pipe::new(there, &cut, latency, &held));
        accepting.try_send((self.peer, Box::new(there))).map_err(|_| "the peer is too busy")?;
        state.streams.retain(|(_, _, _, held)| held.strong_count() > 0);
        state.streams.push((self.peer, to, cut, forget));
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
        tokio::time::sleep(self.latency() * 2).await;
        let mut state = self.world.0.state.lock();
        let found = state.peers.iter().find(|(_, peer)| peer.address == address).map(|(id, _)| *id);
        let reached = found.ok_or("nobody is there").and_then(|id| state.reach(self.peer, id).map(|_| id));
        reached.map_err(|why| Error::Unreachable { to: address.into(), why: why.into() })
    }

    async fn open(&self, to: &Contact, protocol: Protocol) -> Result<BoxStream, Error> {
        self.check_open()?;
        let latency = self.latency();
        let connecting = async {
            tokio::time::sleep(latency * 2).await;
            self.connect(to.peer, protocol, latency)
        };
        match timeout(limits::CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(why)) => Err(Error::Unreachable { to: to.peer.to_string(), why: why.into() }),
            Err(_) => Err(Error::TimedOut { to: to.peer.to_string(), seconds: limits::CONNECT_TIMEOUT.as_secs() }),
        }
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

/// One end of a stream: a pipe that can be cut, and delivers late.
struct Pipe {
    pipe: DuplexStream,
    read_cut: Pin<Box<WaitForCancellationFutureOwned>>,
    write_cut: Pin<Box<WaitForCancellationFutureOwned>>,
    latency: Duration,
    /// Nothing was there at the last read: what comes next is fresh, and late.
    is_waiting: bool,
    late: Option<(Pin<Box<Sleep>>, Vec<u8>)>,
    _held: Arc<()>,
}

impl Pipe {
    fn new(pipe: DuplexStream, cut: &CancellationToken, latency: Duration, held: &Arc<()>) -> Self {
        let wait = || Box::pin(cut.clone().cancelled_owned());
        let (read_cut, write_cut, _held) = (wait(), wait(), Arc::clone(held));
        Self { pipe, read_cut, write_cut, latency, is_waiting: true, late: None, _held }
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
            if this.latency.is_zero() || !this.is_waiting {
                let read = Pin::new(&mut this.pipe).poll_read(cx, buffer);
                this.is_waiting = read.is_pending();
                if read.is_ready() || this.latency.is_zero() {
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
            fresh.truncate(length);
            this.late = Some((Box::pin(tokio::time::sleep_until(Instant::now() + this.latency)), fresh));
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
