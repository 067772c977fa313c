//! The seam to the ledger: what money does, in the words of the product.
//!
//! [`Ledger`] acts for one account. `RealLedger` is the contracts on a chain, [`SimulatedLedger`](super::SimulatedLedger) the same
//! rules in memory, [`FaultyLedger`](super::FaultyLedger) one of them with failures. Every action has a key: repeating it does
//! nothing. Signatures are made and checked here, without the chain: see [`Domain`].

mod actions;
mod billing;
mod holding;
mod messages;
mod words;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

pub(super) use self::billing::payable_now;
pub use self::{
    actions::{Action, Event, PlacedEvent},
    billing::{price_of_bytes, storage_charge},
    holding::{HeldShard, HoldingTree, holds},
    messages::{Contracts, Domain, Domains, Message},
    words::{
        Activation, Agreement, AgreementId, AgreementState, Challenge, Dispute, DisputeId, DisputeState, HoldingRoot,
        Mandate, MandateId, MandateState, Offer, OfferId, OfferTerms, Party, Placement, Release, Revision, Terms,
        Timestamp, Voucher, windows,
    },
};
use super::{ActionKey, Cursor, Error, Outcome, Progress, Step, TxHash, Until};
use crate::{
    base::{ShardId, Wei},
    keys::EthereumAddress,
};

/// Takes events of a ledger, and keeps the cursor: as `EventHandler` does, but of events that are read already.
pub trait LedgerHandler: Send + Sync + 'static {
    /// The cursor that was stored last; None before the first.
    fn cursor(&self) -> Result<Option<Cursor>, Error>;
    /// Takes events, in order, and the cursor, in one transaction; no events when only the cursor moves.
    fn apply(&self, events: &[PlacedEvent], cursor: &Cursor) -> Result<(), Error>;
    /// Takes back every event after the cursor, which becomes the stored one.
    fn revert(&self, cursor: &Cursor) -> Result<(), Error>;
}

/// An activation as kept on the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivationState {
    pub owner: [u8; 32],
    /// 0 once it is withdrawn or collected.
    pub payment: Wei,
    /// When it counts.
    pub from: Timestamp,
}

/// The ledger, for one account.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// For whom it acts.
    fn account(&self) -> EthereumAddress;

    /// For whom signatures count.
    fn domains(&self) -> Domains;

    /// Takes an action, durably, and begins it. A key that was submitted before gives what became of it. What would be
    /// refused is refused here when that can be seen, and costs nothing.
    async fn submit(&self, key: &ActionKey, action: &Action) -> Result<Progress, Error>;

    /// Waits until an action is as far; [`Error::Pending`] when it is not in time, and goes on.
    async fn wait(&self, key: &ActionKey, until: Until, timeout: Duration) -> Result<Progress, Error>;

    /// What a transaction had the contracts tell.
    async fn events_of(&self, transaction: TxHash) -> Result<Vec<Event>, Error>;

    /// Hands the next events over to a handler. Not to be called twice at a time for one.
    async fn catch_up(&self, handler: &Arc<dyn LedgerHandler>) -> Result<Step, Error>;

    /// The time of the newest block.
    async fn now(&self) -> Result<Timestamp, Error>;

    /// What an account may withdraw from the vault.
    async fn balance(&self, account: EthereumAddress) -> Result<Wei, Error>;

    /// What an account has outside of the vault.
    async fn purse(&self, account: EthereumAddress) -> Result<Wei, Error>;

    /// None when the account never paid, or had it back.
    async fn activation(&self, account: EthereumAddress, party: Party) -> Result<Option<ActivationState>, Error>;

    /// None when there is no such offer.
    async fn offer(&self, offer: OfferId) -> Result<Option<Offer>, Error>;

    /// Offers are numbered 1 to this.
    async fn offer_count(&self) -> Result<u64, Error>;

    /// None when it was never made known.
    async fn mandate(&self, mandate: MandateId) -> Result<Option<MandateState>, Error>;

    /// The record of an agreement; in state `None` when the id was never used. Its methods say what it owes.
    async fn agreement(&self, agreement: AgreementId) -> Result<Agreement, Error>;

    /// None when there is no such dispute.
    async fn dispute(&self, dispute: DisputeId) -> Result<Option<Dispute>, Error>;

    /// The dispute over a shard that is not decided yet.
    async fn open_dispute(&self, agreement: AgreementId, shard: ShardId) -> Result<Option<DisputeId>, Error>;

    /// What a challenge costs until it succeeds.
    async fn bond(&self) -> Result<Wei, Error>;
}

/// Takes an action, waits until it is on the chain for good, and gives what the contracts told of it.
pub async fn perform(
    ledger: &dyn Ledger,
    key: &ActionKey,
    action: &Action,
    timeout: Duration,
) -> Result<Vec<Event>, Error> {
    ledger.submit(key, action).await?;
    match ledger.wait(key, Until::Final, timeout).await? {
        Progress::Final(Outcome::Done { hash, .. }) => ledger.events_of(hash).await,
        Progress::Final(Outcome::Reverted { why, .. }) => Err(Error::Reverted { what: action.what(), why }),
        progress => Err(Error::Pending { key: key.clone(), state: progress.to_string() }),
    }
}
