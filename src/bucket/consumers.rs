//! Who the consumers are, remembered, so that the bucket can be read with the tracker away.
//!
//! A record is its version, 1 for a consumer that was only named to this bucket and 2 for one that has answered it, and the
//! candidate as in the tracker protocol.

use std::{collections::HashMap, sync::Arc};

use super::{Error, Inner};
use crate::{
    base::PeerId,
    dispatch::Remembered,
    net::Contact,
    store::{Batch, Table},
};

const NAMED: u8 = 1;
const ANSWERED: u8 = 2;

/// Records in one batch, at most: each may have sixteen addresses.
const CONSUMERS_PER_BATCH: usize = 256;

/// The part of a record that is worth a new one: where the consumer is, and whether it has answered.
type Worth = (Contact, bool);
type Stored = HashMap<PeerId, Worth>;

fn worth(consumer: &Remembered) -> Worth {
    (consumer.candidate.contact.clone(), consumer.has_answered)
}

fn encode(consumer: &Remembered) -> Vec<u8> {
    let version = if consumer.has_answered { ANSWERED } else { NAMED };
    postcard::to_extend(&consumer.candidate, vec![version]).expect("candidates serialise")
}

/// None for what another version may have written: the tracker names it again.
fn decode(value: &[u8]) -> Option<Remembered> {
    let (version, candidate) = value.split_first()?;
    let has_answered = match *version {
        NAMED => false,
        ANSWERED => true,
        _ => return None,
    };
    Some(Remembered { candidate: postcard::from_bytes(candidate).ok()?, has_answered })
}

impl Inner {
    /// Takes up what an earlier run knew.
    pub(super) fn recall_consumers(&self) -> Result<(), Error> {
        let stored = self.database.scan(Table::Consumer, b"", b"", usize::MAX)?;
        self.dispatcher.learn(stored.iter().filter_map(|(_, value)| decode(value)).collect());
        Ok(())
    }

    /// Stores who the consumers are, as that changes; forgets those that the dispatcher has forgotten.
    pub(super) async fn remember_consumers_until_shutdown(self: Arc<Self>) {
        let mut changed = self.dispatcher.changed();
        // The tracker may have answered before this began.
        changed.mark_changed();
        let mut stored: Option<Stored> = None;
        loop {
            tokio::select! {
                biased;
                () = self.tasks.shutdown().started() => return,
                result = changed.changed() => if result.is_err() { return },
            }
            if let Err(error) = self.remember_consumers(&mut stored) {
                tracing::warn!(%error, "cannot remember the consumers");
            }
        }
    }

    fn remember_consumers(&self, stored: &mut Option<Stored>) -> Result<(), Error> {
        let stored = match stored {
            Some(stored) => stored,
            None => stored.insert(self.stored_consumers()?),
        };
        let (mut batch, mut next) = (Batch::new(), Stored::new());
        for consumer in self.dispatcher.remembered() {
            let worth = worth(&consumer);
            let peer = consumer.candidate.contact.peer;
            if stored.get(&peer) != Some(&worth) {
                batch.put(Table::Consumer, &[peer.as_bytes()], encode(&consumer));
            }
            next.insert(peer, worth);
            if batch.len() >= CONSUMERS_PER_BATCH {
                self.database.commit(std::mem::take(&mut batch))?;
            }
        }
        for peer in stored.keys().filter(|peer| !next.contains_key(*peer)) {
            batch.delete(Table::Consumer, &[peer.as_bytes()]);
        }
        self.database.commit(batch)?;
        *stored = next;
        Ok(())
    }

    fn stored_consumers(&self) -> Result<Stored, Error> {
        let stored = self.database.scan(Table::Consumer, b"", b"", usize::MAX)?;
        // What another version has written of those that are not known stays for it.
        let worths = stored.iter().filter_map(|(key, value)| {
            let peer = PeerId(key.as_slice().try_into().ok()?);
            Some((peer, worth(&decode(value)?)))
        });
        Ok(worths.collect())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::promises::open, *};
    use crate::{
        base::{OwnerId, UnixMillis, limits},
        net::Candidate,
    };

    fn remembered(number: u8, has_answered: bool) -> Remembered {
        let candidate = Candidate {
            contact: Contact { peer: PeerId([number; 32]), addresses: vec!["/a".to_owned()] },
            owner: OwnerId([0xaa; 32]),
            limit_bytes: 300,
            free_bytes: 5,
            last_beat: UnixMillis(300),
            uptime_permille: 999,
            is_online: true,
        };
        Remembered { candidate, has_answered }
    }

    #[test]
    fn golden_records() {
        let body = "01022f61".to_owned() + &"aa".repeat(32) + "ac0205ac02e70701";
        for (version, has_answered) in [("01", false), ("02", true)] {
            let golden = version.to_owned() + &"07".repeat(32) + &body;
            let record = remembered(7, has_answered);
            assert_eq!(hex::encode(encode(&record)), golden);
            assert_eq!(decode(&hex::decode(golden).expect("hex")), Some(record));
        }
        for bad in ["", "03", "01", "0107"] {
            assert_eq!(decode(&hex::decode(bad).expect("hex")), None);
        }
    }

    #[tokio::test]
    async fn who_has_answered_is_known_at_the_next_start_and_who_is_forgotten_is_not_kept() {
        let directory = tempfile::tempdir().expect("made");
        let bucket = open(directory.path());
        // More than one process remembers, written when nobody forgets any.
        bucket.inner.tasks.shutdown().start();
        let mut batch = Batch::new();
        for number in 0..=limits::KNOWN_CONSUMERS as u64 {
            let mut one = remembered(9, false);
            one.candidate.contact.peer.0[..8].copy_from_slice(&number.to_be_bytes());
            batch.put(Table::Consumer, &[one.candidate.contact.peer.as_bytes()], encode(&one));
        }
        let last = remembered(0xff, true);
        batch.put(Table::Consumer, &[last.candidate.contact.peer.as_bytes()], encode(&last));
        bucket.inner.database.commit(batch).expect("committed");
        bucket.close(Duration::from_secs(10)).await.expect("closed");
        drop(bucket);

        let bucket = open(directory.path());
        let known = bucket.inner.dispatcher.remembered();
        assert_eq!(known.len(), limits::KNOWN_CONSUMERS);
        assert!(known.contains(&last), "the one that holds shards");
        let mut stored = None;
        bucket.inner.remember_consumers(&mut stored).expect("stored");
        let rows = bucket.inner.database.scan(Table::Consumer, b"", b"", usize::MAX).expect("scanned");
        assert_eq!(rows.len(), limits::KNOWN_CONSUMERS);
        bucket.close(Duration::from_secs(10)).await.expect("closed");
    }
}
