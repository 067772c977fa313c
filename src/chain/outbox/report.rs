//! What an outbox says of its actions.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    base::{UnixMillis, Wei},
    chain::{ActionKey, ChainId, TxHash},
    keys::EthereumAddress,
};

/// How far an action is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Stored, nothing is signed; why, if it waits for something.
    Queued { note: Option<String> },
    /// Signed and stored, maybe sent.
    Signed { hash: TxHash, nonce: u64, is_sent: bool },
    /// In a block that is not deep enough yet.
    Mined { hash: TxHash, block: u64, is_success: bool },
    /// On the chain for good.
    Final(Outcome),
}

/// What became of an action, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is done; `fee` was paid for its gas.
    Done { hash: TxHash, block: u64, fee: Wei },
    /// The contract refused it; `fee` was paid for its gas and nothing else happened.
    Reverted { hash: TxHash, block: u64, fee: Wei, why: String },
}

/// How far to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    Queued,
    Signed,
    Sent,
    Mined,
    Final,
}

impl Progress {
    /// Whether it is at least so far.
    pub fn is_at(&self, until: Until) -> bool {
        let reached = match self {
            Progress::Queued { .. } => Until::Queued,
            Progress::Signed { is_sent: false, .. } => Until::Signed,
            Progress::Signed { .. } => Until::Sent,
            Progress::Mined { .. } => Until::Mined,
            Progress::Final(_) => Until::Final,
        };
        reached >= until
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Progress::Queued { .. } => f.write_str("queued"),
            Progress::Signed { is_sent: false, .. } => f.write_str("signed, not sent yet"),
            Progress::Signed { nonce, .. } => write!(f, "sent with nonce {nonce}"),
            Progress::Mined { block, .. } => write!(f, "in block {block}, waiting for confirmations"),
            Progress::Final(Outcome::Done { block, .. }) => write!(f, "done in block {block}"),
            Progress::Final(Outcome::Reverted { why, .. }) => write!(f, "refused by the contract: {why}"),
        }
    }
}

/// An action that is not final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionReport {
    pub key: ActionKey,
    /// For people.
    pub what: String,
    pub accepted_at: UnixMillis,
    pub progress: Progress,
    /// What it pays for a unit of gas, at most.
    pub fee: Option<Wei>,
    /// How often it was priced.
    pub attempts: usize,
    /// What it waits for, if that is unusual.
    pub note: Option<String>,
}

impl fmt::Display for ActionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.progress.fmt(f)?;
        match &self.note {
            Some(note) => write!(f, " ({note})"),
            None => Ok(()),
        }
    }
}

/// The state of an outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxReport {
    pub account: EthereumAddress,
    pub chain: ChainId,
    /// The newest block seen.
    pub head: Option<u64>,
    /// Why the chain cannot be reached or nothing is taken, if so.
    pub trouble: Option<String>,
    /// In the order in which they were accepted.
    pub actions: Vec<ActionReport>,
}

impl OutboxReport {
    /// The report of an action that is not final.
    pub fn action(&self, key: &ActionKey) -> Option<&ActionReport> {
        self.actions.iter().find(|action| action.key == *key)
    }
}
