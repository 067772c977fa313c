//! The seam between the product and the world of peers: authenticated streams.

use async_trait::async_trait;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

use super::{Contact, Error};
use crate::base::PeerId;

/// Protocols spoken on streams; the name ends in its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Shards to and from a consumer.
    Shard,
    /// The directory.
    Tracker,
}

impl Protocol {
    /// The name in the libp2p negotiation.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Shard => "/openbucket/shard/1",
            Protocol::Tracker => "/openbucket/tracker/1",
        }
    }
}

/// A reliable two-way byte stream to one authenticated peer.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream of any network.
pub type BoxStream = Box<dyn Stream>;

/// Streams that peers have opened, with the peer's proven identity. Bounded; ends when the network closes.
pub type Incoming = mpsc::Receiver<(PeerId, BoxStream)>;

/// Opens streams to peers and accepts theirs. The peer id of a stream is proven by its handshake.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// This process's own peer id.
    fn local_peer(&self) -> PeerId;

    /// The addresses this process listens at, as multiaddrs without `/p2p`.
    fn addresses(&self) -> Vec<String>;

    /// Learns who answers at an address (multiaddr without `/p2p`), within `limits::CONNECT_TIMEOUT`.
    async fn identify(&self, address: &str) -> Result<PeerId, Error>;

    /// Opens a stream, connecting first if needed, within `limits::CONNECT_TIMEOUT`.
    async fn open(&self, to: &Contact, protocol: Protocol) -> Result<BoxStream, Error>;

    /// The address at which this peer was reached last, if it was dialled by this process; as in a [`Contact`].
    fn reached_at(&self, peer: PeerId) -> Option<String>;

    /// Streams that peers open for this protocol. Once per protocol and network.
    fn accept(&self, protocol: Protocol) -> Result<Incoming, Error>;

    /// Closes every connection and listener. Later calls fail with [`Error::Closed`].
    async fn close(&self);
}
