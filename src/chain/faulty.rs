//! A ledger that fails now and then, as its chance says: answers that come late, twice or not at all, nodes that are down.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    ActionKey, Error, Progress, Step, TxHash, Until,
    ledger::{
        Action, ActivationState, Agreement, AgreementId, Dispute, DisputeId, Domains, Event, Ledger, LedgerHandler,
        MandateId, MandateState, Offer, OfferId, Party, Timestamp,
    },
};
use crate::{
    base::{Mutex, ShardId, Wei},
    keys::EthereumAddress,
    runtime::Chance,
};

/// How often things go wrong, out of a thousand calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct LedgerFaults {
    /// No node answers, and nothing happens.
    pub lost_requests: u64,
    /// It happens, and the answer is lost.
    pub lost_answers: u64,
    /// It is asked twice.
    pub repeats: u64,
    /// The answer is late by up to `delay`.
    pub delays: u64,
    pub delay: Duration,
}

/// A ledger with faults.
pub struct FaultyLedger {
    inner: Arc<dyn Ledger>,
    chance: Arc<dyn Chance>,
    faults: Mutex<LedgerFaults>,
}

impl FaultyLedger {
    /// No faults yet.
    pub fn new(inner: Arc<dyn Ledger>, chance: Arc<dyn Chance>) -> Self {
        Self { inner, chance, faults: Mutex::default() }
    }

    /// From now on these.
    pub fn set(&self, faults: LedgerFaults) {
        *self.faults.lock() = faults;
    }

    fn happens(&self, of: impl Fn(&LedgerFaults) -> u64) -> bool {
        let per_thousand = of(&self.faults.lock());
        per_thousand > 0 && self.chance.below(1000) < per_thousand
    }

    async fn before(&self) -> Result<(), Error> {
        if self.happens(|faults| faults.delays) {
            let most = u64::try_from(self.faults.lock().delay.as_millis()).unwrap_or(u64::MAX);
            tokio::time::sleep(Duration::from_millis(self.chance.below(most))).await;
        }
        if self.happens(|faults| faults.lost_requests) { Err(down("the request is lost")) } else { Ok(()) }
    }

    fn after<T>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        if self.happens(|faults| faults.lost_answers) { Err(down("the answer is lost")) } else { answer }
    }
}

fn down(why: &str) -> Error {
    Error::NodeDown(why.to_owned())
}

#[async_trait]
impl Ledger for FaultyLedger {
    fn account(&self) -> EthereumAddress {
        self.inner.account()
    }

    fn domains(&self) -> Domains {
        self.inner.domains()
    }

    async fn submit(&self, key: &ActionKey, action: &Action) -> Result<Progress, Error> {
        self.before().await?;
        let first = self.inner.submit(key, action).await;
        let answer = if self.happens(|faults| faults.repeats) { self.inner.submit(key, action).await } else { first };
        self.after(answer)
    }

    async fn wait(&self, key: &ActionKey, until: Until, timeout: Duration) -> Result<Progress, Error> {
        self.before().await?;
        self.after(self.inner.wait(key, until, timeout).await)
    }

    async fn events_of(&self, transaction: TxHash) -> Result<Vec<Event>, Error> {
        self.before().await?;
        self.after(self.inner.events_of(transaction).await)
    }

    async fn catch_up(&self, handler: &Arc<dyn LedgerHandler>) -> Result<Step, Error> {
        self.before().await?;
        self.after(self.inner.catch_up(handler).await)
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        self.before().await?;
        self.after(self.inner.now().await)
    }

    async fn balance(&self, account: EthereumAddress) -> Result<Wei, Error> {
        self.before().await?;
        self.after(self.inner.balance(account).await)
    }

    async fn purse(&self, account: EthereumAddress) -> Result<Wei, Error> {
        self.before().await?;
        self.after(self.inner.purse(account).await)
    }

    async fn activation(&self, account: EthereumAddress, party: Party) -> Result<Option<ActivationState>, Error> {
        self.before().await?;
        self.after(self.inner.activation(account, party).await)
    }

    async fn offer(&self, offer: OfferId) -> Result<Option<Offer>, Error> {
        self.before().await?;
        self.after(self.inner.offer(offer).await)
    }

    async fn offer_count(&self) -> Result<u64, Error> {
        self.before().await?;
        self.after(self.inner.offer_count().await)
    }

    async fn mandate(&self, mandate: MandateId) -> Result<Option<MandateState>, Error> {
        self.before().await?;
        self.after(self.inner.mandate(mandate).await)
    }

    async fn agreement(&self, agreement: AgreementId) -> Result<Agreement, Error> {
        self.before().await?;
        self.after(self.inner.agreement(agreement).await)
    }

    async fn dispute(&self, dispute: DisputeId) -> Result<Option<Dispute>, Error> {
        self.before().await?;
        self.after(self.inner.dispute(dispute).await)
    }

    async fn open_dispute(&self, agreement: AgreementId, shard: ShardId) -> Result<Option<DisputeId>, Error> {
        self.before().await?;
        self.after(self.inner.open_dispute(agreement, shard).await)
    }

    async fn bond(&self) -> Result<Wei, Error> {
        self.before().await?;
        self.after(self.inner.bond().await)
    }
}
