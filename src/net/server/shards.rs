//! The server of `/openbucket/shard/1`: checks who asks and what comes, signs receipts.

use std::{
    collections::HashMap,
    io,
    ops::Range,
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{
    io::AsyncWriteExt,
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
};

use super::accept::{Answerer, Client, ServerIdentity, serve};
use crate::{
    base::{ErrorKind, Mutex, OwnerId, ShardId, limits},
    coding::merkle::{self, Subtrees},
    keys::Role,
    net::{
        BoxStream, Error, Network, Protocol, Receipt, Refusal, Reserved, ShardService,
        wire::{ShardAnswer, ShardRequest, read_data, receipt_bytes, write_frame},
    },
    runtime::{CpuPool, Tasks, failpoint},
};

const KIB: usize = 1024;

/// What names a shard in a server.
type Key = (OwnerId, ShardId);

/// Serves a storage node's shards to producers, until the tasks' shutdown.
///
/// # Errors
/// When this network serves shards already, or is closed.
pub fn serve_shards(
    network: &Arc<dyn Network>,
    service: Arc<dyn ShardService>,
    identity: ServerIdentity,
    tasks: &Tasks,
) -> Result<(), Error> {
    let memory = Semaphore::new(limits::SERVED_BYTES / KIB);
    let server = ShardServer { service, identity, cpu: CpuPool::for_this_machine(), memory, shares: Mutex::default() };
    serve(network.as_ref(), Protocol::Shard, Arc::new(server), tasks.clone())
}

struct ShardServer {
    service: Arc<dyn ShardService>,
    identity: ServerIdentity,
    cpu: CpuPool,
    /// KiB of shard data that may be in memory at a time.
    memory: Semaphore,
    /// What of it each owner may have who has some, so that one who takes long leaves room for the others.
    shares: Mutex<HashMap<OwnerId, Weak<Semaphore>>>,
}

/// Memory for shard data.
struct Memory<'a> {
    _all: SemaphorePermit<'a>,
    _share: OwnedSemaphorePermit,
}

/// Leaves that may be sent, and the memory that they take.
struct Part<'a> {
    data: Bytes,
    proof: Vec<[u8; 32]>,
    _memory: Memory<'a>,
}

#[async_trait]
impl Answerer for ShardServer {
    type Request = ShardRequest;

    const ROLES: &'static [Role] = &[Role::Producer];

    fn identity(&self) -> &ServerIdentity {
        &self.identity
    }

    fn timeout(request: &ShardRequest) -> Duration {
        let bytes = match request {
            ShardRequest::Put { bytes, .. } => *bytes as usize,
            ShardRequest::Get { .. } => limits::SHARD_BYTES,
            ShardRequest::GetRange { first, end, .. } | ShardRequest::GetLeaves { first, end, .. } => {
                (end.saturating_sub(*first) as usize).saturating_mul(limits::LEAF_BYTES)
            }
            ShardRequest::Stat { .. } | ShardRequest::Delete { .. } | ShardRequest::List { .. } => 0,
        };
        limits::request_timeout(bytes.min(limits::SHARD_BYTES))
    }

    async fn answer(&self, stream: &mut BoxStream, client: Client, request: ShardRequest) -> io::Result<()> {
        let owner = client.owner;
        let answered = match request {
            ShardRequest::Put { shard, bytes } => return self.put(stream, owner, shard, bytes).await,
            ShardRequest::Get { shard } => return self.get(stream, owner, shard).await,
            ShardRequest::GetRange { shard, first, end } => {
                return self.get_range(stream, owner, shard, first..end).await;
            }
            ShardRequest::GetLeaves { shard, first, end } => {
                return self.get_leaves(stream, (owner, shard), first..end).await;
            }
            ShardRequest::Stat { shard } => self.service.stat(owner, shard).await.map(ShardAnswer::Stat),
            ShardRequest::Delete { shard } => self.service.delete(owner, shard).await.map(|()| ShardAnswer::Deleted),
            ShardRequest::List { after } => self.service.list(owner, after).await.map(ShardAnswer::Page),
        };
        match answered {
            Ok(answer) => send(stream, &answer).await,
            Err(refusal) => self.refuse(stream, refusal).await,
        }
    }

    async fn refuse(&self, stream: &mut BoxStream, refusal: Refusal) -> io::Result<()> {
        send(stream, &ShardAnswer::Refused(refusal.into())).await
    }
}

impl ShardServer {
    async fn put(&self, stream: &mut BoxStream, owner: OwnerId, shard: ShardId, bytes: u32) -> io::Result<()> {
        let length = bytes as usize;
        if length == 0 || length > limits::SHARD_BYTES {
            let why = format!("a shard has 1 to {} bytes, not {bytes}", limits::SHARD_BYTES);
            return self.refuse(stream, (ErrorKind::Invalid, why)).await;
        }
        let _memory = self.take_memory(owner, length).await;
        let space = match self.service.reserve(owner, shard, bytes).await {
            Ok(Reserved::Space(space)) => space,
            Ok(Reserved::Held) => return send(stream, &ShardAnswer::Held(self.receipt(owner, shard, bytes))).await,
            Err(refusal) => return self.refuse(stream, refusal).await,
        };
        send(stream, &ShardAnswer::Ready).await?;
        let data = read_data(stream, length).await?;
        let read = data.clone();
        let tree = self.cpu.run(move || Subtrees::build(&read)).await;
        if tree.root() != shard {
            drop(space);
            return self.refuse(stream, (ErrorKind::Corrupt, "hash mismatch".into())).await;
        }
        match space.store(data, tree.roots().to_vec()).await {
            Ok(()) => {
                let receipt = self.receipt(owner, shard, bytes);
                failpoint("receipt-signed");
                send(stream, &ShardAnswer::Stored(receipt)).await
            }
            Err(refusal) => self.refuse(stream, refusal).await,
        }
    }

    async fn get(&self, stream: &mut BoxStream, owner: OwnerId, shard: ShardId) -> io::Result<()> {
        let stat = match self.service.stat(owner, shard).await {
            Ok(stat) => stat,
            Err(refusal) => return self.refuse(stream, refusal).await,
        };
        let _memory = self.take_memory(owner, stat.bytes as usize).await;
        match self.service.get(owner, shard).await {
            Ok(data) => {
                write_frame(stream, &ShardAnswer::Data { bytes: length_of(&data) }).await?;
                send_data(stream, &data).await
            }
            Err(refusal) => self.refuse(stream, refusal).await,
        }
    }

    async fn get_range(
        &self,
        stream: &mut BoxStream,
        owner: OwnerId,
        shard: ShardId,
        leaves: Range<u32>,
    ) -> io::Result<()> {
        let key = (owner, shard);
        let length = match self.length_with(key, &leaves).await {
            Ok(length) => length,
            Err(refusal) => return self.refuse(stream, refusal).await,
        };
        let part = match self.read_part(key, &leaves, length).await {
            Some(part) => part,
            None => match self.read_whole(key, &leaves, length).await {
                Ok(part) => part,
                Err(refusal) => return self.refuse(stream, refusal).await,
            },
        };
        let count = merkle::leaf_count(length);
        let answer = ShardAnswer::Range { bytes: length_of(&part.data), leaves: count, proof: part.proof };
        write_frame(stream, &answer).await?;
        send_data(stream, &part.data).await
    }

    /// Leaves as the disk has them.
    async fn get_leaves(&self, stream: &mut BoxStream, key: Key, leaves: Range<u32>) -> io::Result<()> {
        let length = match self.length_with(key, &leaves).await {
            Ok(length) => length,
            Err(refusal) => return self.refuse(stream, refusal).await,
        };
        let bytes = bytes_of(&leaves, length);
        let _memory = self.take_memory(key.0, bytes.len()).await;
        match self.service.get_part(key.0, key.1, bytes).await {
            Ok(data) => {
                write_frame(stream, &ShardAnswer::Data { bytes: length_of(&data) }).await?;
                send_data(stream, &data).await
            }
            Err(refusal) => self.refuse(stream, refusal).await,
        }
    }

    /// The length of a shard that has these leaves.
    async fn length_with(&self, (owner, shard): Key, leaves: &Range<u32>) -> Result<usize, Refusal> {
        let length = self.service.stat(owner, shard).await?.bytes as usize;
        let count = merkle::leaf_count(length);
        if leaves.start >= leaves.end || leaves.end > count {
            let why = format!("leaves {}..{} are not within the shard's {count}", leaves.start, leaves.end);
            return Err((ErrorKind::Invalid, why));
        }
        Ok(length)
    }

    /// Leaves of a shard whose upper tree was stored with it; None when it was not, or the bytes on the disk are
    /// not what it says: the whole is to be read, and given up if it has rotted.
    async fn read_part(&self, key: Key, leaves: &Range<u32>, length: usize) -> Option<Part<'_>> {
        let tree = self.read_tree(key, length).await?;
        let (wanted, within) = (bytes_of(leaves, length), bytes_of(&tree.around(leaves), length));
        let memory = self.take_memory(key.0, within.len()).await;
        let around = self.service.get_part(key.0, key.1, within.clone()).await.ok();
        let (read, leaves) = (around.clone(), leaves.clone());
        let proof = self.cpu.run_over(within.len(), move || tree.range_proof(leaves, &read?)).await;
        let data = around?.slice(wanted.start - within.start..wanted.end - within.start);
        Some(Part { data, proof: proof?, _memory: memory })
    }

    /// The upper tree that was stored with a shard, if that one leads to its id.
    async fn read_tree(&self, key: Key, length: usize) -> Option<Subtrees> {
        let roots = self.service.get_roots(key.0, key.1).await.ok()?;
        let tree = Subtrees::from_roots(merkle::leaf_count(length), roots)?;
        if tree.root() != key.1 {
            tracing::warn!(op = "read", shard = %key.1, "the subtree roots of a shard have rotted: all of it is read instead");
            return None;
        }
        Some(tree)
    }

    /// Leaves of a shard that is read and hashed as a whole.
    async fn read_whole(&self, key: Key, leaves: &Range<u32>, length: usize) -> Result<Part<'_>, Refusal> {
        let memory = self.take_memory(key.0, length).await;
        let whole = self.service.get(key.0, key.1).await?;
        if whole.len() != length {
            return Err((ErrorKind::Corrupt, "the shard is damaged here".into()));
        }
        let data = whole.slice(bytes_of(leaves, length));
        let wanted = leaves.clone();
        let proven = self.cpu.run(move || {
            let tree = Subtrees::build(&whole);
            let proof = tree.range_proof(wanted.clone(), &whole.slice(bytes_of(&tree.around(&wanted), length)));
            (tree.root(), proof)
        });
        match proven.await {
            (root, Some(proof)) if root == key.1 => Ok(Part { data, proof, _memory: memory }),
            _ => Err((ErrorKind::Corrupt, "the shard is damaged here".into())),
        }
    }

    /// Waits for memory for so many bytes: in its owner's line, then in that of all. The request's deadline bounds the wait.
    async fn take_memory(&self, owner: OwnerId, bytes: usize) -> Memory<'_> {
        let kib = u32::try_from(bytes.min(limits::SERVED_BYTES_OF_ONE).div_ceil(KIB)).expect("bounded by the limit");
        let share = self.share(owner).acquire_many_owned(kib).await.expect("the semaphore is never closed");
        Memory { _all: self.memory.acquire_many(kib).await.expect("the semaphore is never closed"), _share: share }
    }

    fn share(&self, owner: OwnerId) -> Arc<Semaphore> {
        let mut shares = self.shares.lock();
        if let Some(share) = shares.get(&owner).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(limits::SERVED_BYTES_OF_ONE / KIB));
        shares.insert(owner, Arc::downgrade(&share));
        share
    }

    fn receipt(&self, owner: OwnerId, shard: ShardId, bytes: u32) -> Receipt {
        let (consumer, at) = (self.identity.peer_key.peer_id(), self.identity.clock.now());
        let mut receipt = Receipt { shard, owner, consumer, bytes, at, signature: Vec::new() };
        receipt.signature = self.identity.peer_key.sign(&receipt_bytes(&receipt)).to_vec();
        receipt
    }
}

/// The bytes of leaves of a shard of this length.
fn bytes_of(leaves: &Range<u32>, length: usize) -> Range<usize> {
    leaves.start as usize * limits::LEAF_BYTES..(leaves.end as usize * limits::LEAF_BYTES).min(length)
}

fn length_of(data: &Bytes) -> u32 {
    u32::try_from(data.len()).expect("a shard is below SHARD_BYTES")
}

async fn send(stream: &mut BoxStream, answer: &ShardAnswer) -> io::Result<()> {
    write_frame(stream, answer).await?;
    stream.flush().await
}

async fn send_data(stream: &mut BoxStream, data: &[u8]) -> io::Result<()> {
    stream.write_all(data).await?;
    stream.flush().await
}
