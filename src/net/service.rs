//! What the protocols carry, and what a server of each must do.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::{Contact, Error};
use crate::base::{ErrorKind, OwnerId, PeerId, ShardId, UnixMillis};

/// A consumer's signed word that a shard is on its disk, flushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub shard: ShardId,
    pub owner: OwnerId,
    pub consumer: PeerId,
    pub bytes: u32,
    pub at: UnixMillis,
    /// Ed25519 by the consumer's peer key over the other fields; see `wire`. 64 bytes.
    pub signature: Vec<u8>,
}

/// What a consumer says of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardStat {
    pub shard: ShardId,
    pub bytes: u32,
}

/// One page of list-mine, in the order of the ids; ask on with the last id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardPage {
    pub shards: Vec<ShardStat>,
    pub is_last: bool,
}

/// A refusal: crosses the wire as its kind and text.
pub type Refusal = (ErrorKind, String);

/// Space held for one shard that is on its way; given back when dropped without being stored.
pub trait Reservation: Send {
    /// Stores the bytes, flushed to disk, and the roots of their subtrees. The server has checked length and Merkle root.
    fn store(self: Box<Self>, data: Bytes, roots: Vec<[u8; 32]>) -> BoxFuture<'static, Result<(), Refusal>>;
}

/// A storage node, as the shard protocol needs it. The owner is the certified owner of the asking peer.
#[async_trait]
pub trait ShardService: Send + Sync + 'static {
    /// Holds space. Refuses with `Full`, `Invalid` (too large), `Denied`.
    /// A shard that this owner already has is answered with [`Reserved::Held`].
    async fn reserve(&self, owner: OwnerId, shard: ShardId, bytes: u32) -> Result<Reserved, Refusal>;

    /// The whole shard. `NotFound` also when it belongs to another owner.
    async fn get(&self, owner: OwnerId, shard: ShardId) -> Result<Bytes, Refusal>;

    /// Some of its bytes, which nobody has checked: they may be anything by now.
    async fn get_part(&self, owner: OwnerId, shard: ShardId, bytes: Range<usize>) -> Result<Bytes, Refusal> {
        let whole = self.get(owner, shard).await?;
        let is_within = bytes.start <= bytes.end && bytes.end <= whole.len();
        if is_within { Ok(whole.slice(bytes)) } else { Err((ErrorKind::Invalid, "not within the shard".into())) }
    }

    /// The roots of its subtrees that were stored with it, which nobody has checked; none when they were not kept.
    async fn get_roots(&self, _owner: OwnerId, _shard: ShardId) -> Result<Vec<[u8; 32]>, Refusal> {
        Ok(Vec::new())
    }

    /// Its size, if this owner has it here.
    async fn stat(&self, owner: OwnerId, shard: ShardId) -> Result<ShardStat, Refusal>;

    /// Forgets it, durably. `NotFound` when it is not there (which a deleter takes for done). Either is final: of what
    /// was reserved before nothing is stored any more.
    async fn delete(&self, owner: OwnerId, shard: ShardId) -> Result<(), Refusal>;

    /// This owner's shards after an id, at most `limits::LIST_PAGE`.
    async fn list(&self, owner: OwnerId, after: Option<ShardId>) -> Result<ShardPage, Refusal>;
}

/// The answer to a reservation.
pub enum Reserved {
    /// Send the bytes.
    Space(Box<dyn Reservation>),
    /// They are here already, flushed and intact.
    Held,
}

/// How a consumer announces itself. Its peer id and owner are proven by its stream and certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Multiaddrs without `/p2p`, at most `limits::ADDRESSES`.
    pub addresses: Vec<String>,
    pub limit_bytes: u64,
    pub free_bytes: u64,
    /// The program's version, for people.
    pub version: String,
}

/// "I am here", with what is free now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    pub free_bytes: u64,
}

/// A producer asks for consumers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateQuery {
    /// How many, at most `limits::CANDIDATES`.
    pub count: u16,
    /// Free bytes each must have.
    pub free_bytes: u64,
    /// Not these (they hold a shard of the chunk, or failed just now).
    pub exclude: Vec<PeerId>,
}

/// A consumer as the tracker knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub contact: Contact,
    pub owner: OwnerId,
    pub limit_bytes: u64,
    pub free_bytes: u64,
    pub last_beat: UnixMillis,
    /// Share of the time since registration that it was there, 0..=1000.
    pub uptime_permille: u16,
    /// Its last beat is recent.
    pub is_online: bool,
}

/// The directory, as the tracker protocol needs it.
#[async_trait]
pub trait TrackerService: Send + Sync + 'static {
    /// A consumer comes, or tells its new addresses.
    async fn register(&self, peer: PeerId, owner: OwnerId, registration: Registration) -> Result<(), Refusal>;

    /// A registered consumer is alive. `NotFound` asks it to register.
    async fn beat(&self, peer: PeerId, beat: Beat) -> Result<(), Refusal>;

    /// A consumer goes, announced.
    async fn leave(&self, peer: PeerId) -> Result<(), Refusal>;

    /// Online consumers, chosen at random weighted by free space, distinct owners and prefixes first.
    /// With `count` 0: all known consumers, online or not. When they are more than `limits::CANDIDATES`, so many of those
    /// online, chosen as above.
    async fn candidates(&self, query: CandidateQuery) -> Result<Vec<Candidate>, Refusal>;

    /// Those of these consumers, at most `limits::CANDIDATES`, that are known.
    async fn find(&self, peers: Vec<PeerId>) -> Result<Vec<Candidate>, Refusal>;
}

/// Turns a refusal of a known peer into an error.
pub(super) fn refused(peer: PeerId, (kind, text): Refusal) -> Error {
    Error::Refused { peer, kind, text }
}
