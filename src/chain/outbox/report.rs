//! What an outbox says of its actions.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    base::{Record, UnixMillis, Wei},
    chain::{ActionKey, ChainId, TxHash},
    keys::EthereumAddress,
};

/// How far an action is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// Stored, nothing is signed; why, if it waits for something.
    Queued { note: Option<String> },
    /// Signed and stored, maybe sent.
    Signed { hash: TxHash, nonce: u64, is_sent: bool },
    /// In a block that is not deep enough yet: it and those after it are `depth`, and must be `needed`.
    Mined { hash: TxHash, block: u64, is_success: bool, depth: u64, needed: u64 },
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
            Progress::Mined { block, is_success, depth, needed, .. } => {
                let refused = if *is_success { "" } else { "refused by the contract " };
                write!(f, "{refused}in block {block}, {depth} of {needed} confirmations")
            }
            Progress::Final(outcome) => outcome.fmt(f),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done { block, .. } => write!(f, "done in block {block}"),
            Outcome::Reverted { why, .. } => write!(f, "refused by the contract: {why}"),
        }
    }
}

/// An action that is not final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        if self.attempts > 1 {
            write!(f, ", priced {} times", self.attempts)?;
        }
        match &self.note {
            Some(note) => write!(f, " ({note})"),
            None => Ok(()),
        }
    }
}

/// An action that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedReport {
    pub key: ActionKey,
    /// For people.
    pub what: String,
    pub ended_at: UnixMillis,
    /// What became of it on the chain, or why nothing was signed.
    pub outcome: Result<Outcome, String>,
}

impl fmt::Display for EndedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Ok(outcome) => outcome.fmt(f),
            Err(why) => write!(f, "nothing was sent: {why}"),
        }
    }
}

/// The state of an outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxReport {
    #[serde(with = "crate::chain::words::address")]
    pub account: EthereumAddress,
    pub chain: ChainId,
    /// The newest block seen.
    pub head: Option<u64>,
    /// Why the chain cannot be reached or nothing is taken, if so.
    pub trouble: Option<String>,
    /// In the order in which they were accepted.
    pub actions: Vec<ActionReport>,
}

impl Record for OutboxReport {
    const NAME: &'static str = "outbox report";
}

impl OutboxReport {
    /// The report of an action that is not final.
    pub fn action(&self, key: &ActionKey) -> Option<&ActionReport> {
        self.actions.iter().find(|action| action.key == *key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_an_action_is_reads_as_a_sentence() {
        let hash = TxHash([1; 32]);
        let mined = |is_success| Progress::Mined { hash, block: 12, is_success, depth: 3, needed: 6 };
        assert_eq!(mined(true).to_string(), "in block 12, 3 of 6 confirmations");
        assert_eq!(mined(false).to_string(), "refused by the contract in block 12, 3 of 6 confirmations");
        let report = ActionReport {
            key: ActionKey::new("pay").unwrap(),
            what: "payment".to_owned(),
            accepted_at: UnixMillis(1),
            progress: Progress::Signed { hash, nonce: 4, is_sent: true },
            fee: Some(Wei(9)),
            attempts: 3,
            note: Some("gas is dear".to_owned()),
        };
        assert_eq!(report.to_string(), "sent with nonce 4, priced 3 times (gas is dear)");
        let whole = OutboxReport {
            account: EthereumAddress([7; 20]),
            chain: ChainId(1),
            head: Some(14),
            trouble: None,
            actions: vec![report],
        };
        assert_eq!(OutboxReport::decode(&whole.encode()).unwrap(), whole);
    }
}
