//! A ledger of one account on a simulated chain.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::SimulatedChain;
use crate::{
    base::{ShardId, Wei},
    chain::{
        ActionKey, BlockHash, Cursor, Error, Outcome, Progress, Step, TxHash, Until,
        ledger::{
            Action, ActivationState, Agreement, AgreementId, Dispute, DisputeId, Domains, Event, Ledger, LedgerHandler,
            MandateId, MandateState, Offer, OfferId, Party, PlacedEvent, Timestamp,
        },
    },
    keys::EthereumAddress,
};

/// Acts for one account. Clones share the chain.
#[derive(Clone)]
pub struct SimulatedLedger {
    chain: SimulatedChain,
    account: EthereumAddress,
}

impl SimulatedLedger {
    pub(super) fn new(chain: SimulatedChain, account: EthereumAddress) -> Self {
        Self { chain, account }
    }

    fn outcome(&self, key: &ActionKey) -> Result<Outcome, Error> {
        let world = self.chain.0.lock();
        let done = world.done.get(&(self.account, key.clone()));
        done.map(|(_, outcome)| outcome.clone()).ok_or_else(|| Error::UnknownAction(key.clone()))
    }
}

#[async_trait]
impl Ledger for SimulatedLedger {
    fn account(&self) -> EthereumAddress {
        self.account
    }

    fn domains(&self) -> Domains {
        self.chain.0.lock().domains
    }

    async fn submit(&self, key: &ActionKey, action: &Action) -> Result<Progress, Error> {
        self.chain.0.lock().submit(self.account, key, action).map(Progress::Final)
    }

    async fn wait(&self, key: &ActionKey, _until: Until, _timeout: Duration) -> Result<Progress, Error> {
        self.outcome(key).map(Progress::Final)
    }

    async fn events_of(&self, transaction: TxHash) -> Result<Vec<Event>, Error> {
        let world = self.chain.0.lock();
        let block = world.blocks.iter().rev().find(|block| block.transaction == transaction);
        let block = block.ok_or_else(|| Error::NotFound(format!("no transaction {transaction}")))?;
        Ok(block.events.clone())
    }

    async fn catch_up(&self, handler: &Arc<dyn LedgerHandler>) -> Result<Step, Error> {
        let cursor = handler.cursor()?;
        let hash_of = |number: u64| -> Option<BlockHash> {
            let index = usize::try_from(number.checked_sub(1)?).ok()?;
            self.chain.0.lock().blocks.get(index).map(|block| block.hash)
        };
        if let Some(cursor) = &cursor
            && hash_of(cursor.newest().block) != Some(cursor.newest().hash)
        {
            let marks = cursor.marks();
            let known = marks.iter().rposition(|mark| hash_of(mark.block) == Some(mark.hash));
            let index = known.ok_or(Error::DeepReorg { block: marks[0].block })?;
            handler.revert(&cursor.back_to(index))?;
            return Ok(Step::More);
        }
        let next = cursor.as_ref().map_or(1, Cursor::next_block);
        let Some(hash) = hash_of(next) else { return Ok(Step::UpToDate) };
        let block = self.chain.0.lock().blocks[usize::try_from(next - 1).expect("an index")].clone();
        let placed =
            |(event, index): (Event, u64)| PlacedEvent { event, block: next, index, transaction: block.transaction };
        let events: Vec<PlacedEvent> = block.events.iter().cloned().zip(0u64..).map(placed).collect();
        handler.apply(&events, &Cursor::after_block(cursor, next, hash))?;
        Ok(Step::More)
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        let world = self.chain.0.lock();
        let newest = world.blocks.last().map_or(Timestamp(0), |block| block.time);
        // A block could come at any time.
        Ok(newest.max(world.now()))
    }

    async fn balance(&self, account: EthereumAddress) -> Result<Wei, Error> {
        Ok(Wei(self.chain.0.lock().state.balances.get(&account).copied().unwrap_or(0)))
    }

    async fn purse(&self, account: EthereumAddress) -> Result<Wei, Error> {
        Ok(Wei(self.chain.0.lock().state.purses.get(&account).copied().unwrap_or(0)))
    }

    async fn activation(&self, account: EthereumAddress, party: Party) -> Result<Option<ActivationState>, Error> {
        let member = self.chain.0.lock().state.members.get(&(account, party)).copied();
        Ok(member.map(|it| ActivationState { owner: it.owner, payment: it.payment, from: it.from }))
    }

    async fn offer(&self, offer: OfferId) -> Result<Option<Offer>, Error> {
        Ok(self.chain.0.lock().state.offers.get(&offer).cloned())
    }

    async fn offer_count(&self) -> Result<u64, Error> {
        Ok(self.chain.0.lock().state.offers.len() as u64)
    }

    async fn mandate(&self, mandate: MandateId) -> Result<Option<MandateState>, Error> {
        Ok(self.chain.0.lock().state.mandates.get(&mandate).cloned())
    }

    async fn agreement(&self, agreement: AgreementId) -> Result<Agreement, Error> {
        let found = self.chain.0.lock().state.agreements.get(&agreement).cloned();
        Ok(found.unwrap_or_else(Agreement::none))
    }

    async fn dispute(&self, dispute: DisputeId) -> Result<Option<Dispute>, Error> {
        Ok(self.chain.0.lock().state.disputes.get(&dispute).cloned())
    }

    async fn open_dispute(&self, agreement: AgreementId, shard: ShardId) -> Result<Option<DisputeId>, Error> {
        Ok(self.chain.0.lock().state.open_disputes.get(&(agreement, shard)).copied())
    }

    async fn bond(&self) -> Result<Wei, Error> {
        Ok(self.chain.0.lock().options.bond)
    }
}
