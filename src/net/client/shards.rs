//! The client of `/openbucket/shard/1`. Whatever it returns has been verified, but for what [`ShardClient::get`] says.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{calls::Calls, session::Session};
use crate::{
    base::{ErrorKind, Mutex, PeerId, ShardId, limits},
    coding::merkle,
    keys::{Certificate, verify},
    net::{
        Contact, Error, Network, Protocol, Receipt, ShardPage, ShardStat,
        service::refused,
        wire::{ShardAnswer, ShardRequest, receipt_bytes},
    },
    runtime::CpuPool,
};

/// Puts shards on consumers and gets them back.
///
/// Every call ends within `limits::request_timeout` of its data and may be cancelled by dropping it. Errors are
/// [`Error::Refused`] (the consumer said no), [`Error::Unreachable`], [`Error::TimedOut`], and
/// [`Error::Misbehaved`] when the consumer lies: wrong bytes, too many, too few, a receipt that is none.
pub struct ShardClient {
    calls: Calls,
    cpu: CpuPool,
    latencies: Mutex<BTreeMap<PeerId, Duration>>,
}

impl ShardClient {
    /// A client that shows this (producer's) certificate.
    pub fn new(network: Arc<dyn Network>, certificate: Certificate) -> Self {
        let calls = Calls::new(network, Protocol::Shard, certificate);
        Self { calls, cpu: CpuPool::for_this_machine(), latencies: Mutex::default() }
    }

    /// Connects now, so that the next request need not; keeps the stream as after a request.
    pub async fn connect(&self, to: &Contact) -> Result<(), Error> {
        self.calls.within_deadline(to.peer, 0, self.calls.connect(to)).await
    }

    /// The address at which this consumer was reached last, if it was.
    pub fn reached_at(&self, consumer: PeerId) -> Option<String> {
        self.calls.network().reached_at(consumer)
    }

    /// Stores a shard. The receipt is the consumer's word that it is on its disk, flushed. After an error the consumer
    /// may have it, and may come to have it yet, until it has confirmed its deletion.
    ///
    /// # Panics
    /// When the data is empty or longer than `limits::SHARD_BYTES`.
    pub async fn put(&self, to: &Contact, shard: ShardId, data: Bytes) -> Result<Receipt, Error> {
        assert!(!data.is_empty() && data.len() <= limits::SHARD_BYTES, "a shard has 1 to SHARD_BYTES bytes");
        let bytes = u32::try_from(data.len()).expect("SHARD_BYTES is below 2^32");
        self.calls
            .within_deadline(to.peer, data.len(), async {
                let (mut session, answer) = self.calls.call(to, &ShardRequest::Put { shard, bytes }).await?;
                let receipt = match answer {
                    ShardAnswer::Ready => {
                        session.send_data(&data).await?;
                        match session.receive().await.unwrap_or_else(|nothing| Err(nothing.0))? {
                            ShardAnswer::Stored(receipt) => receipt,
                            other => return Err(self.not_expected(to.peer, session, other)),
                        }
                    }
                    ShardAnswer::Held(receipt) => receipt,
                    other => return Err(self.not_expected(to.peer, session, other)),
                };
                self.check_receipt(&receipt, to.peer, shard, bytes).map_err(|why| session.misbehaved(why))?;
                self.calls.keep(to.peer, session);
                Ok(receipt)
            })
            .await
    }

    fn check_receipt(&self, receipt: &Receipt, peer: PeerId, shard: ShardId, bytes: u32) -> Result<(), &'static str> {
        let expected = (shard, self.calls.certificate().owner, peer, bytes);
        if (receipt.shard, receipt.owner, receipt.consumer, receipt.bytes) != expected {
            return Err("its receipt is for something else");
        }
        match verify(peer.as_bytes(), &receipt_bytes(receipt), &receipt.signature) {
            true => Ok(()),
            false => Err("its receipt is not signed by it"),
        }
    }

    /// The bytes of some leaves of a shard of `shard_len` bytes, as the consumer says: for who can tell by something else
    /// whether they are right, as by the seal of the blocks in them.
    ///
    /// # Panics
    /// When the range is empty or goes past the shard's end.
    pub async fn get(
        &self,
        from: &Contact,
        shard: ShardId,
        shard_len: u32,
        leaves: Range<u32>,
    ) -> Result<Bytes, Error> {
        let request = match leaves == (0..leaf_count(shard_len, &leaves)) {
            true => ShardRequest::Get { shard },
            false => ShardRequest::GetLeaves { shard, first: leaves.start, end: leaves.end },
        };
        let expected = range_bytes(&leaves, shard_len);
        self.calls
            .within_deadline(from.peer, expected as usize, async {
                let (mut session, answer) = self.timed_call(from, &request).await?;
                let ShardAnswer::Data { bytes } = answer else {
                    return Err(self.not_expected(from.peer, session, answer));
                };
                check_length(&session, bytes, expected)?;
                let data = session.receive_data(bytes).await?;
                self.calls.keep(from.peer, session);
                Ok(data)
            })
            .await
    }

    /// The same, checked with their Merkle range proof: what does not lead to the root that is the shard's id is the consumer's
    /// misbehaviour.
    ///
    /// # Panics
    /// When the range is empty or goes past the shard's end.
    pub async fn get_proven(
        &self,
        from: &Contact,
        shard: ShardId,
        shard_len: u32,
        leaves: Range<u32>,
    ) -> Result<Bytes, Error> {
        let leaf_count = leaf_count(shard_len, &leaves);
        let request = ShardRequest::GetRange { shard, first: leaves.start, end: leaves.end };
        let expected = range_bytes(&leaves, shard_len);
        self.calls
            .within_deadline(from.peer, expected as usize, async {
                let (mut session, answer) = self.timed_call(from, &request).await?;
                let ShardAnswer::Range { bytes, leaves: count, proof } = answer else {
                    return Err(self.not_expected(from.peer, session, answer));
                };
                check_length(&session, bytes, expected)?;
                if count != leaf_count || proof.len() > limits::PROOF_HASHES {
                    return Err(session.misbehaved("its proof is for another length"));
                }
                let data = session.receive_data(bytes).await?;
                let read = data.clone();
                let check = move || merkle::verify_range(shard, leaf_count, leaves, &read, &proof);
                let checked = self.cpu.run_over(data.len(), check).await;
                checked.map_err(|error| session.misbehaved(error.to_string()))?;
                self.calls.keep(from.peer, session);
                Ok(data)
            })
            .await
    }

    /// What the consumer says of a shard.
    pub async fn stat(&self, from: &Contact, shard: ShardId) -> Result<ShardStat, Error> {
        self.calls
            .within_deadline(from.peer, 0, async {
                let (session, answer) = self.calls.call(from, &ShardRequest::Stat { shard }).await?;
                match answer {
                    ShardAnswer::Stat(stat) if stat.shard == shard => {
                        self.calls.keep(from.peer, session);
                        Ok(stat)
                    }
                    other => Err(self.not_expected(from.peer, session, other)),
                }
            })
            .await
    }

    /// Makes the consumer forget a shard, durably. One that is not there is fine.
    pub async fn delete(&self, from: &Contact, shard: ShardId) -> Result<(), Error> {
        self.calls
            .within_deadline(from.peer, 0, async {
                let (session, answer) = self.calls.call(from, &ShardRequest::Delete { shard }).await?;
                match answer {
                    ShardAnswer::Deleted => {
                        self.calls.keep(from.peer, session);
                        Ok(())
                    }
                    other => match self.not_expected(from.peer, session, other) {
                        Error::Refused { kind: ErrorKind::NotFound, .. } => Ok(()),
                        error => Err(error),
                    },
                }
            })
            .await
    }

    /// All shards that this producer's owner has there, ascending. Each page has its own deadline.
    /// At most `limits::LIST_SHARDS`: a consumer that lists more misbehaves.
    pub async fn list(&self, from: &Contact) -> Result<Vec<ShardStat>, Error> {
        let mut all: Vec<ShardStat> = Vec::new();
        loop {
            let page = self.list_page(from, all.last().map(|stat| stat.shard)).await?;
            if all.len() + page.shards.len() > limits::LIST_SHARDS {
                return Err(Error::Misbehaved { peer: from.peer, why: "its list does not end".into() });
            }
            all.extend(page.shards);
            if page.is_last {
                return Ok(all);
            }
        }
    }

    /// The next of these shards, above an id.
    pub async fn list_page(&self, from: &Contact, after: Option<ShardId>) -> Result<ShardPage, Error> {
        self.calls
            .within_deadline(from.peer, 0, async {
                let (session, answer) = self.calls.call(from, &ShardRequest::List { after }).await?;
                let ShardAnswer::Page(page) = answer else {
                    return Err(self.not_expected(from.peer, session, answer));
                };
                let ids = after.into_iter().chain(page.shards.iter().map(|stat| stat.shard));
                let is_stuck = page.shards.is_empty() && !page.is_last;
                if is_stuck || !ids.is_sorted_by(|a, b| a < b) {
                    return Err(session.misbehaved("its list is not in order"));
                }
                self.calls.keep(from.peer, session);
                Ok(page)
            })
            .await
    }

    /// Bytes sent to consumers since the start, frames included.
    pub fn bytes_sent(&self) -> u64 {
        self.calls.bytes_sent()
    }

    /// Bytes received from consumers since the start.
    pub fn bytes_received(&self) -> u64 {
        self.calls.bytes_received()
    }

    /// How long this consumer usually takes from a get to the first byte of its answer (a moving average in
    /// which the newest counts a quarter). A get that failed or was abandoned counts with the time it took
    /// until then, if that is longer than usual.
    pub fn latency(&self, peer: PeerId) -> Option<Duration> {
        self.latencies.lock().get(&peer).copied()
    }

    async fn timed_call(&self, to: &Contact, request: &ShardRequest) -> Result<(Session, ShardAnswer), Error> {
        let mut stopwatch = Stopwatch { client: self, peer: to.peer, start: Instant::now(), is_answered: false };
        let called = self.calls.call(to, request).await?;
        stopwatch.is_answered = true;
        Ok(called)
    }

    /// The error for an answer that is not the one asked for. A refusal leaves the stream usable.
    fn not_expected(&self, peer: PeerId, session: Session, answer: ShardAnswer) -> Error {
        match answer {
            ShardAnswer::Refused(answer) => {
                self.calls.keep(peer, session);
                refused(peer, answer.into())
            }
            _ => session.misbehaved("its answer is not one to this request"),
        }
    }
}

/// The leaves of a shard, of which some are asked for.
fn leaf_count(shard_len: u32, leaves: &Range<u32>) -> u32 {
    assert!(shard_len as usize <= limits::SHARD_BYTES, "a shard has at most SHARD_BYTES bytes");
    let count = merkle::leaf_count(shard_len as usize);
    assert!(leaves.start < leaves.end && leaves.end <= count, "leaves within the shard");
    count
}

fn range_bytes(leaves: &Range<u32>, shard_len: u32) -> u64 {
    let leaf = limits::LEAF_BYTES as u64;
    (u64::from(leaves.end) * leaf).min(shard_len.into()) - u64::from(leaves.start) * leaf
}

fn check_length(session: &Session, announced: u32, expected: u64) -> Result<(), Error> {
    match u64::from(announced) == expected {
        true => Ok(()),
        false => Err(session.misbehaved(format!("announced {announced} bytes instead of {expected}"))),
    }
}

/// Notes the time to the first byte when it is dropped, so that an abandoned wait counts too.
struct Stopwatch<'a> {
    client: &'a ShardClient,
    peer: PeerId,
    start: Instant,
    is_answered: bool,
}

impl Drop for Stopwatch<'_> {
    fn drop(&mut self) {
        let took = self.start.elapsed();
        let mut latencies = self.client.latencies.lock();
        if latencies.len() >= limits::MEASURED_PEERS && !latencies.contains_key(&self.peer) {
            // Which one is forgotten does not matter: it is measured again when it is asked again.
            let any = latencies.keys().next().copied();
            any.map(|peer| latencies.remove(&peer));
        }
        let usual = latencies.entry(self.peer).or_insert(took);
        if self.is_answered || took > *usual {
            *usual = (*usual * 3 + took) / 4;
        }
    }
}
