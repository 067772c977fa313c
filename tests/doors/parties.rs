//! The person of a desk as a producer, a consumer of this process, and real agreements between the two.

use std::{sync::Arc, time::Duration};

use openbucket::{
    base::{BucketId, ShardId, Wei},
    chain::{
        Action, ActionKey, Activation, AgreementId, Contracts, FollowerOptions, HeldShard, HoldingTree, Ledger,
        MandateId, OfferId, OfferTerms, Outbox, OutboxOptions, OutboxParts, Party, RealLedger, RealLedgerParts,
        Revision, Signer, Terms, Timestamp, Wallet, perform,
    },
    keys::{EthereumAddress, Password},
    runtime::{Shutdown, SystemClock, Tasks},
};
use serde_json::{Value, json};

use crate::{
    anvil::signer,
    desk::{Desk, account},
    home::PASSWORD,
};

const LIMIT: Duration = Duration::from_secs(60);
const GIB: u64 = 1 << 30;
pub const DAY: u64 = 24 * 3600;
/// For a GiB-month: an agreement of these parties keeps one GiB.
pub const PRICE: Wei = Wei(30 * Wei::ETHER.0 / 1000);
pub const HELD: Wei = Wei(2 * PRICE.0);

pub struct Parties {
    producer: Signer,
    consumer: Arc<Signer>,
    pub ledger: RealLedger,
    _tasks: Tasks,
    _state: tempfile::TempDir,
}

impl Parties {
    /// Deploys; both take part, and the consumer offers 10 GiB.
    pub async fn meet(desk: &Desk) -> Self {
        desk.deploy();
        desk.home.ok(&["init"]);
        desk.done(&["producer", "activate"]);
        let wallet = Wallet::open(desk.home.wallet()).unwrap();
        let password = Password::new(PASSWORD.as_bytes().to_vec().into()).ok().unwrap();
        let producer = Signer::new(&wallet.unlock(account(), &password).ok().unwrap());
        let consumer = signer(9);
        desk.anvil.give(consumer.address(), Wei(100 * Wei::ETHER.0)).await;
        let state = tempfile::tempdir().unwrap();
        let mut options = OutboxOptions::new(state.path().to_owned(), "test");
        (options.confirmations, options.poll) = (1, Duration::from_millis(50));
        let tasks = Tasks::new(Shutdown::new());
        let node = desk.anvil.node.clone();
        let parts = OutboxParts { node: node.clone(), signer: Arc::clone(&consumer), clock: Arc::new(SystemClock) };
        let outbox = Outbox::open(options, parts, &tasks).await.unwrap();
        let contracts = contracts(desk);
        let follower = FollowerOptions::new(contracts.all(), 0);
        let ledger = RealLedger::open(RealLedgerParts { node, outbox, contracts, follower }).await.unwrap();
        let parties = Self { producer, consumer, ledger, _tasks: tasks, _state: state };
        parties.offer().await;
        parties
    }

    /// Done by the consumer.
    pub async fn act(&self, key: &str, action: Action) {
        let what = action.what();
        let done = perform(&self.ledger, &ActionKey::new(key).unwrap(), &action, LIMIT).await;
        done.unwrap_or_else(|error| panic!("{what}: {error}"));
    }

    async fn offer(&self) {
        let (account, now) = (self.consumer.address(), self.ledger.now().await.unwrap());
        self.act("deposit", Action::Deposit { account, amount: Wei::ETHER }).await;
        let payment = Wei(Wei::ETHER.0 / 1000);
        let activation =
            Activation { account, owner: [5; 32], party: Party::Consumer, payment, deadline: now.plus(DAY) };
        let signature = self.ledger.domains().registry.sign(&activation, &self.consumer);
        self.act("activate", Action::Activate { activation, signature }).await;
        let terms = OfferTerms {
            storage_price: PRICE,
            egress_price: Wei(0),
            capacity_bytes: 10 * GIB,
            collateral_per_gib: Wei(Wei::ETHER.0 / 100),
            earliest_end: now,
            expiry: now.plus(1000 * DAY),
        };
        let addresses = vec!["/ip4/192.0.2.7/tcp/4101".to_owned(), "/ip6/2001:db8::7/tcp/4101".to_owned()];
        self.act("offer", Action::CreateOffer { terms, addresses }).await;
    }

    /// An agreement with the person, for whose money the consumer pays here. It waits for its first revision.
    pub async fn open(&self, salt: u8) -> AgreementId {
        let (producer, now) = (self.producer.address(), self.ledger.now().await.unwrap());
        let allowance = Wei(Wei::ETHER.0 / 100);
        let amount = Wei(HELD.0 + allowance.0);
        self.act(&format!("deposit/{salt}"), Action::Deposit { account: producer, amount }).await;
        let terms = Terms {
            producer,
            consumer: self.consumer.address(),
            offer: OfferId(1),
            bucket: BucketId([8; 32]),
            mandate: MandateId::default(),
            storage_price: PRICE,
            egress_price: Wei(0),
            collateral_per_gib: Wei(Wei::ETHER.0 / 100),
            capacity_bytes: 2 * GIB,
            held: HELD,
            allowance,
            earliest_end: now,
            deadline: now.plus(DAY),
            salt: [salt; 32],
        };
        let domain = self.ledger.domains().agreements;
        let id = AgreementId(domain.digest(&terms));
        let producer_signature = domain.sign(&terms, &self.producer);
        let consumer_signature = domain.sign(&terms, &self.consumer);
        self.act(
            &format!("open/{id}"),
            Action::Open { terms: Box::new(terms), producer_signature, consumer_signature },
        )
        .await;
        id
    }

    /// Its first revision: one GiB is kept from now on.
    pub async fn begin(&self, agreement: AgreementId) {
        let held = HeldShard { shard: ShardId([7; 32]), leaf_count: 1 << 20 };
        let tree = HoldingTree::new(&[held]).unwrap();
        let as_of = self.ledger.now().await.unwrap();
        let revision = Revision {
            agreement,
            number: 1,
            root: tree.root(),
            shard_count: 1,
            stored_bytes: GIB,
            storage_price: PRICE,
            egress_price: Wei(0),
            as_of,
            earned: Wei(0),
        };
        let domain = self.ledger.domains().agreements;
        let producer_signature = domain.sign(&revision, &self.producer);
        let consumer_signature = domain.sign(&revision, &self.consumer);
        self.act(&format!("begin/{agreement}"), Action::Revise { revision, producer_signature, consumer_signature })
            .await;
    }

    pub async fn earned(&self) -> Wei {
        self.ledger.balance(self.consumer.address()).await.unwrap()
    }
}

/// Where the desk has its contracts.
fn contracts(desk: &Desk) -> Contracts {
    let text = std::fs::read(desk.home.path("contracts.json")).unwrap();
    let file: Value = serde_json::from_slice(&text).unwrap();
    let at = |name: &str| file[name].as_str().unwrap().parse::<EthereumAddress>().unwrap();
    let (vault, registry, mandates) = (at("vault"), at("registry"), at("mandates"));
    Contracts { vault, registry, mandates, agreements: at("agreements"), disputes: at("disputes") }
}

/// Time passes on the chain.
pub async fn wait(desk: &Desk, seconds: u64) -> Timestamp {
    desk.anvil.ask("evm_increaseTime", json!([seconds])).await;
    desk.anvil.mine(1).await;
    Timestamp(desk.anvil.node.head().await.unwrap().time_seconds)
}
