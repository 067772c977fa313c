//! What the outbox keeps: live actions by their order, outcomes by key.

use serde::{Deserialize, Serialize};

use super::report::{ActionReport, Outcome, Progress};
use crate::{
    base::{ErrorKind, Record, UnixMillis, Wei},
    chain::{ActionKey, BlockHash, Call, Error, Node, TxHash, fees::Fees, node::Receipt},
    keys::EthereumAddress,
};

/// An action that is not final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Action {
    pub key: ActionKey,
    pub call: StoredCall,
    pub accepted_at: UnixMillis,
    /// None while nothing is signed.
    pub flight: Option<Flight>,
}

impl Record for Action {
    const NAME: &'static str = "outbox action";
}

impl Action {
    /// What is said of it, when it is so far and waits for this.
    pub fn report(&self, progress: Progress, note: Option<String>) -> ActionReport {
        let flight = self.flight.as_ref();
        ActionReport {
            key: self.key.clone(),
            what: self.call.what().to_owned(),
            accepted_at: self.accepted_at,
            progress,
            fee: flight.map(|flight| Wei(flight.last().fees.max)),
            attempts: flight.map_or(0, |flight| flight.attempts.len()),
            note,
        }
    }
}

/// A [`Call`] as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredCall {
    to: [u8; 20],
    value: Wei,
    data: Vec<u8>,
    what: String,
}

impl StoredCall {
    /// For people.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What is sent along.
    pub fn value(&self) -> Wei {
        self.value
    }
}

impl From<&Call> for StoredCall {
    fn from(call: &Call) -> Self {
        Self { to: call.to.0, value: call.value, data: call.data.clone(), what: call.what.clone() }
    }
}

impl From<&StoredCall> for Call {
    fn from(call: &StoredCall) -> Self {
        Self { to: EthereumAddress(call.to), value: call.value, data: call.data.clone(), what: call.what.clone() }
    }
}

/// An action under a nonce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Flight {
    pub nonce: u64,
    pub gas: u64,
    /// One for each price, the newest last; never empty.
    pub attempts: Vec<Attempt>,
    /// The block that has one of them.
    pub mined: Option<Mined>,
}

impl Flight {
    /// The newest attempt.
    pub fn last(&self) -> &Attempt {
        self.attempts.last().expect("a flight has an attempt")
    }

    /// The same, to be changed.
    pub fn last_mut(&mut self) -> &mut Attempt {
        self.attempts.last_mut().expect("a flight has an attempt")
    }

    /// Which of the attempts is in a block of the chain as it is now.
    pub async fn find_mined(&self, node: &Node) -> Result<Option<Mined>, Error> {
        for attempt in self.attempts.iter().rev() {
            let Some(receipt) = node.receipt(attempt.hash).await? else { continue };
            let header = node.header(receipt.block).await?;
            if header.is_some_and(|header| header.hash == receipt.block_hash) {
                return Ok(Some(receipt.into()));
            }
        }
        Ok(None)
    }

    /// How far it is while it is in no block.
    pub fn signed(&self) -> Progress {
        let last = self.last();
        Progress::Signed { hash: last.hash, nonce: self.nonce, is_sent: last.is_sent }
    }

    /// What it can cost, at most.
    pub fn cost(&self, value: Wei) -> u128 {
        let gas = u128::from(self.gas).saturating_mul(self.last().fees.max);
        value.0.saturating_add(gas)
    }
}

/// A signed transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempt {
    pub raw: Vec<u8>,
    pub hash: TxHash,
    pub fees: Fees,
    pub signed_at: UnixMillis,
    /// A node took it.
    pub is_sent: bool,
}

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mined {
    pub hash: TxHash,
    pub block: u64,
    pub block_hash: BlockHash,
    pub is_success: bool,
    pub fee: Wei,
}

impl Mined {
    /// How deep its block is below the newest one.
    pub fn depth(&self, head: u64) -> u64 {
        (head + 1).saturating_sub(self.block)
    }

    /// How far a transaction in this block is, as the newest block that was seen has it.
    pub fn progress(&self, head: Option<u64>, needed: u64) -> Progress {
        let depth = head.map_or(0, |head| self.depth(head));
        Progress::Mined { hash: self.hash, block: self.block, is_success: self.is_success, depth, needed }
    }
}

impl From<Receipt> for Mined {
    fn from(receipt: Receipt) -> Self {
        Self {
            hash: receipt.hash,
            block: receipt.block,
            block_hash: receipt.block_hash,
            is_success: receipt.is_success,
            fee: receipt.fee,
        }
    }
}

/// What became of an action, kept so that its repeat does nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Past {
    pub call_digest: [u8; 32],
    pub what: String,
    pub ended_at: UnixMillis,
    pub end: End,
}

impl Record for Past {
    const NAME: &'static str = "outbox outcome";
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    /// On the chain for good.
    Final(Outcome),
    /// Nothing was signed.
    Refused { kind: ErrorKind, why: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../../../tests/golden/outbox-records-v1.txt");

    fn action() -> Action {
        let attempt = Attempt {
            raw: vec![2, 1],
            hash: TxHash([3; 32]),
            fees: Fees { max: 20, tip: 2 },
            signed_at: UnixMillis(5),
            is_sent: true,
        };
        let mined =
            Mined { hash: TxHash([3; 32]), block: 9, block_hash: BlockHash([4; 32]), is_success: true, fee: Wei(7) };
        let call = Call { to: EthereumAddress([1; 20]), value: Wei(300), data: vec![6], what: "test".to_owned() };
        Action {
            key: ActionKey::new("open/1").unwrap(),
            call: (&call).into(),
            accepted_at: UnixMillis(4),
            flight: Some(Flight { nonce: 8, gas: 21_000, attempts: vec![attempt], mined: Some(mined) }),
        }
    }

    fn pasts() -> [Past; 3] {
        let outcome = |why: Option<&str>| match why {
            None => Outcome::Done { hash: TxHash([3; 32]), block: 9, fee: Wei(7) },
            Some(why) => Outcome::Reverted { hash: TxHash([3; 32]), block: 9, fee: Wei(7), why: why.to_owned() },
        };
        let past = |end| Past { call_digest: [1; 32], what: "test".to_owned(), ended_at: UnixMillis(6), end };
        [
            past(End::Final(outcome(None))),
            past(End::Final(outcome(Some("late")))),
            past(End::Refused { kind: ErrorKind::Unpaid, why: "poor".to_owned() }),
        ]
    }

    #[test]
    fn records_of_the_first_version_are_read() {
        let mut lines = GOLDEN.lines().filter(|line| !line.starts_with('#'));
        let mut next = || hex::decode(lines.next().expect("a line for each record")).expect("hexadecimal");
        assert_eq!(Action::decode(&next()).unwrap(), action());
        for past in pasts() {
            assert_eq!(Past::decode(&next()).unwrap(), past);
        }
    }

    #[test]
    fn records_are_written_as_the_golden_file_has_them() {
        let pasts = pasts();
        let written = std::iter::once(action().encode()).chain(pasts.iter().map(Past::encode));
        let written: Vec<String> = written.map(hex::encode).collect();
        let golden: Vec<&str> = GOLDEN.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(written, golden);
    }
}
