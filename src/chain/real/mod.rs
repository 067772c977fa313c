//! The ledger on a chain: the contracts, through an outbox for what is done and a follower for what is told.

mod bindings;
mod decode;
mod encode;
mod records;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use ethers::abi::{AbiDecode, AbiEncode};

use self::{
    bindings::{agreements, disputes, mandates, registry, vault},
    records::Abi,
};
use super::{
    ActionKey, Call, Cursor, Error, EventHandler, Follower, FollowerOptions, Node, Outbox, Progress, RawLog, Step,
    TxHash, Until,
    ledger::{
        Action, ActivationState, Agreement, AgreementId, Contracts, Dispute, DisputeId, Domains, Event, Ledger,
        LedgerHandler, MandateId, MandateState, Offer, OfferId, Party, PlacedEvent, Timestamp,
    },
    node::At,
};
use crate::{
    base::{Mutex, ShardId, Wei},
    keys::EthereumAddress,
};

/// What a real ledger works with.
#[derive(Clone)]
pub struct RealLedgerParts {
    pub node: Node,
    /// Sends for the account.
    pub outbox: Outbox,
    pub contracts: Contracts,
    /// How events are followed; of the contracts above.
    pub follower: FollowerOptions,
}

/// The contracts, for the account of an outbox.
pub struct RealLedger {
    node: Node,
    /// None when it is only asked.
    outbox: Option<Outbox>,
    account: EthereumAddress,
    contracts: Contracts,
    following: FollowerOptions,
    domains: Domains,
    followed: Mutex<Option<Followed>>,
}

/// A handler, and the follower that serves it.
struct Followed {
    handler: Arc<dyn LedgerHandler>,
    follower: Arc<Follower>,
}

impl RealLedger {
    /// Refused when the contracts are not there.
    pub async fn open(parts: RealLedgerParts) -> Result<Self, Error> {
        Self::check(&parts.node, &parts.contracts).await?;
        Ok(Self::open_unchecked(parts))
    }

    /// While no node answers: what is done waits in the outbox. What carries ether is not to be done, since nobody knows
    /// whether the contracts are there.
    pub fn open_unchecked(parts: RealLedgerParts) -> Self {
        let account = parts.outbox.report().account;
        let RealLedgerParts { node, outbox, contracts, follower } = parts;
        let domains = Domains::new(node.chain(), &contracts);
        let (outbox, followed) = (Some(outbox), Mutex::default());
        Self { node, outbox, account, contracts, following: follower, domains, followed }
    }

    /// For an account whose key is not here: it can be asked and followed, and does nothing.
    pub async fn open_to_read(
        node: Node,
        contracts: Contracts,
        account: EthereumAddress,
        following: FollowerOptions,
    ) -> Result<Self, Error> {
        Self::check(&node, &contracts).await?;
        let domains = Domains::new(node.chain(), &contracts);
        Ok(Self { node, outbox: None, account, contracts, following, domains, followed: Mutex::default() })
    }

    async fn check(node: &Node, contracts: &Contracts) -> Result<(), Error> {
        for contract in contracts.all() {
            if !node.has_code(contract).await? {
                let chain = node.chain();
                return Err(Error::NotFound(format!("there is no contract at {contract} on chain {chain}")));
            }
        }
        Ok(())
    }

    fn outbox(&self) -> Result<&Outbox, Error> {
        let missing = || Error::Invalid("the key of the account is not here: this ledger is only asked".to_owned());
        self.outbox.as_ref().ok_or_else(missing)
    }

    /// What an activation costs, at least.
    pub async fn minimum_payment(&self) -> Result<Wei, Error> {
        let call = registry::MinimumPaymentCall;
        self.view::<u128>(self.contracts.registry, call, "the least payment").await.map(Wei)
    }

    async fn view<T: AbiDecode>(&self, to: EthereumAddress, call: impl AbiEncode, what: &str) -> Result<T, Error> {
        let call = Call { to, value: Wei(0), data: call.encode(), what: what.to_owned() };
        let account = self.account();
        let bytes = self.node.call(account, &call, At::Latest).await.map_err(|error| error.explain(what))?;
        T::decode(&bytes).map_err(|_| Error::Lying {
            host: self.node.transport().host(),
            why: format!("its answer to the question for {what} does not decode"),
        })
    }

    fn follower(&self, handler: &Arc<dyn LedgerHandler>) -> Arc<Follower> {
        let mut followed = self.followed.lock();
        if let Some(known) = followed.as_ref().filter(|known| Arc::ptr_eq(&known.handler, handler)) {
            return Arc::clone(&known.follower);
        }
        let reader = Arc::new(Reader { contracts: self.contracts, handler: Arc::clone(handler) });
        let follower = Arc::new(Follower::new(self.node.clone(), self.following.clone(), reader));
        *followed = Some(Followed { handler: Arc::clone(handler), follower: Arc::clone(&follower) });
        follower
    }
}

/// Reads logs for a handler of events.
struct Reader {
    contracts: Contracts,
    handler: Arc<dyn LedgerHandler>,
}

impl EventHandler for Reader {
    fn cursor(&self) -> Result<Option<Cursor>, Error> {
        self.handler.cursor()
    }

    fn apply(&self, logs: &[RawLog], cursor: &Cursor) -> Result<(), Error> {
        let placed = |log: &RawLog| {
            let event = decode::event(&self.contracts, log)?;
            let (block, index, transaction) = (log.block, log.index, log.transaction);
            Ok(event.map(|event| PlacedEvent { event, block, index, transaction }))
        };
        let events = logs.iter().filter_map(|log| placed(log).transpose()).collect::<Result<Vec<_>, Error>>()?;
        self.handler.apply(&events, cursor)
    }

    fn revert(&self, cursor: &Cursor) -> Result<(), Error> {
        self.handler.revert(cursor)
    }
}

#[async_trait]
impl Ledger for RealLedger {
    fn account(&self) -> EthereumAddress {
        self.account
    }

    fn domains(&self) -> Domains {
        self.domains
    }

    async fn submit(&self, key: &ActionKey, action: &Action) -> Result<Progress, Error> {
        self.outbox()?.submit(key, encode::call(&self.contracts, action)?).await
    }

    async fn wait(&self, key: &ActionKey, until: Until, timeout: Duration) -> Result<Progress, Error> {
        self.outbox()?.wait(key, until, timeout).await
    }

    async fn events_of(&self, transaction: TxHash) -> Result<Vec<Event>, Error> {
        let logs = self.node.logs_of(transaction).await?;
        let ours = self.contracts.all();
        let logs = logs.iter().filter(|log| ours.contains(&log.address));
        logs.filter_map(|log| decode::event(&self.contracts, log).transpose()).collect()
    }

    async fn catch_up(&self, handler: &Arc<dyn LedgerHandler>) -> Result<Step, Error> {
        self.follower(handler).step().await
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        Ok(Timestamp(self.node.head().await?.time_seconds))
    }

    async fn balance(&self, account: EthereumAddress) -> Result<Wei, Error> {
        let call = vault::BalanceOfCall { account: account.write() };
        decode::wei(self.view(self.contracts.vault, call, "a balance").await?)
    }

    async fn purse(&self, account: EthereumAddress) -> Result<Wei, Error> {
        self.node.balance(account, At::Latest).await
    }

    async fn activation(&self, account: EthereumAddress, party: Party) -> Result<Option<ActivationState>, Error> {
        let call = registry::ActivationOfCall { account: account.write(), role: party.write() };
        let found: registry::ActivationOfReturn = self.view(self.contracts.registry, call, "an activation").await?;
        let state = ActivationState { owner: found.id, payment: Wei(found.payment), from: Timestamp(found.from) };
        Ok(Some(state).filter(|state| state.from != Timestamp(0)))
    }

    async fn offer(&self, offer: OfferId) -> Result<Option<Offer>, Error> {
        let call = registry::OfferOfCall { id: offer.0 };
        let found: registry::Offer = self.view(self.contracts.registry, call, "an offer").await?;
        Ok(Some(Offer::read(found)?).filter(|offer| offer.consumer.0 != [0; 20]))
    }

    async fn offer_count(&self) -> Result<u64, Error> {
        self.view(self.contracts.registry, registry::OfferCountCall, "the number of offers").await
    }

    async fn mandate(&self, mandate: MandateId) -> Result<Option<MandateState>, Error> {
        let call = mandates::MandateOfCall { id: mandate.0 };
        let found: mandates::MandateOfReturn = self.view(self.contracts.mandates, call, "a mandate").await?;
        let (used_bytes, is_revoked) = (found.used_bytes, found.is_revoked);
        let state = MandateState { terms: Abi::read(found.terms)?, used_bytes, is_revoked };
        Ok(Some(state).filter(|state| state.terms.producer.0 != [0; 20]))
    }

    async fn agreement(&self, agreement: AgreementId) -> Result<Agreement, Error> {
        let call = agreements::AgreementOfCall { id: agreement.0 };
        let found: agreements::Agreement = self.view(self.contracts.agreements, call, "an agreement").await?;
        Agreement::read(found)
    }

    async fn dispute(&self, dispute: DisputeId) -> Result<Option<Dispute>, Error> {
        let call = disputes::DisputeOfCall { id: dispute.0 };
        let found: disputes::Dispute = self.view(self.contracts.disputes, call, "a dispute").await?;
        let found = Dispute::read(found)?;
        Ok(Some(found).filter(|dispute| dispute.challenger.0 != [0; 20]))
    }

    async fn open_dispute(&self, agreement: AgreementId, shard: ShardId) -> Result<Option<DisputeId>, Error> {
        let call = disputes::OpenDisputeCall { agreement: agreement.0, shard: shard.0 };
        let found: u64 = self.view(self.contracts.disputes, call, "an open dispute").await?;
        Ok(Some(DisputeId(found)).filter(|dispute| dispute.0 != 0))
    }

    async fn bond(&self) -> Result<Wei, Error> {
        self.view::<u128>(self.contracts.disputes, disputes::BondCall, "the bond").await.map(Wei)
    }
}
