//! The same life on the contracts and on the simulated chain: every balance to the wei, every event, every refusal.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use openbucket::{
    base::Wei,
    chain::{
        Action, ActionKey, Contracts, Error, Event, FollowerOptions, Ledger, RealLedger, RealLedgerParts, Signer,
        SimulatedChain, perform,
    },
    keys::EthereumAddress,
    runtime::ManualClock,
};
use serde_json::json;

use crate::{
    anvil::{Anvil, signer},
    contracts::{deploy, settings},
    life::{self, Person},
    outbox::{LIMIT, Sender, open, options},
    quarrels,
};

/// The simulated clock begins here, and Anvil's.
pub const START_SECONDS: u64 = 1_000_000_000;

/// A chain on which the life is lived.
#[async_trait]
pub trait World: Send {
    /// The ledger of a person.
    fn ledger(&self, person: Person) -> Arc<dyn Ledger>;
    /// The next block is of so many seconds after the start.
    async fn set_time(&mut self, seconds: u64);
}

struct Simulated {
    chain: SimulatedChain,
    clock: Arc<ManualClock>,
    seconds: u64,
}

#[async_trait]
impl World for Simulated {
    fn ledger(&self, person: Person) -> Arc<dyn Ledger> {
        Arc::new(self.chain.ledger(person.signer().address()))
    }

    async fn set_time(&mut self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds - self.seconds));
        self.seconds = seconds;
    }
}

pub struct Real {
    pub anvil: Anvil,
    ledgers: Vec<Arc<dyn Ledger>>,
    pub senders: Vec<Sender>,
    _state: tempfile::TempDir,
}

impl Real {
    pub async fn start(anvil: Anvil, contracts: Contracts) -> Self {
        let state = tempfile::tempdir().expect("a directory");
        let (mut ledgers, mut senders) = (Vec::new(), Vec::new());
        for person in Person::ALL {
            let signer = person.signer();
            anvil.give(signer.address(), Wei(100 * Wei::ETHER.0)).await;
            let sender = open(options(state.path()), &anvil.node, &signer).await.expect("opens");
            let mut follower = FollowerOptions::new(contracts.all(), 0);
            follower.confirmations = 1;
            let (node, outbox) = (anvil.node.clone(), sender.outbox.clone());
            let ledger = RealLedger::open(RealLedgerParts { node, outbox, contracts, follower }).await;
            ledgers.push(Arc::new(ledger.expect("the contracts are there")) as Arc<dyn Ledger>);
            senders.push(sender);
        }
        Self { anvil, ledgers, senders, _state: state }
    }
}

#[async_trait]
impl World for Real {
    fn ledger(&self, person: Person) -> Arc<dyn Ledger> {
        Arc::clone(&self.ledgers[person as usize])
    }

    async fn set_time(&mut self, seconds: u64) {
        // A block right before, so that what is estimated sees nearly the same time.
        self.anvil.ask("evm_setNextBlockTimestamp", json!([START_SECONDS + seconds - 1])).await;
        self.anvil.ask("evm_mine", json!([])).await;
        self.anvil.ask("evm_setNextBlockTimestamp", json!([START_SECONDS + seconds])).await;
    }
}

/// What an action came to, the same on both chains.
pub async fn told(ledger: &dyn Ledger, key: &str, action: &Action) -> Result<Vec<Event>, String> {
    let key = ActionKey::new(key).expect("a key");
    match perform(ledger, &key, action, LIMIT).await {
        Ok(events) => Ok(events),
        // What an error carries is told by the contracts only.
        Err(Error::Reverted { why, .. }) => Err(why.split(" (").next().expect("words").to_owned()),
        Err(error) => panic!("{}: {error}", action.what()),
    }
}

fn simulated(contracts: Contracts) -> Simulated {
    let clock = Arc::new(ManualClock::default());
    let chain = SimulatedChain::new(settings(contracts), clock.clone());
    for person in Person::ALL {
        chain.fund(person.signer().address(), Wei(100 * Wei::ETHER.0));
    }
    Simulated { chain, clock, seconds: 0 }
}

#[tokio::test]
async fn one_life_is_the_same_on_both_chains() {
    is_the_same_on_both_chains(async |world| life::live(world).await).await;
}

#[tokio::test]
async fn quarrels_delegates_and_credits_are_the_same_on_both_chains() {
    is_the_same_on_both_chains(async |world| quarrels::live(world).await).await;
}

async fn is_the_same_on_both_chains(live: impl AsyncFn(&mut dyn World) -> Vec<String>) {
    let anvil = Anvil::start(&["--timestamp", &START_SECONDS.to_string()]);
    let contracts = deploy(&anvil).await;
    let mut real = Real::start(anvil, contracts).await;
    let mut simulated = simulated(contracts);
    let on_simulated = live(&mut simulated).await;
    assert!(simulated.chain.is_conserved());
    let on_real = live(&mut real).await;
    for (real, simulated) in on_real.iter().zip(&on_simulated) {
        assert_eq!(real, simulated, "the contracts (left) and the simulation (right) differ");
    }
    assert_eq!(on_real.len(), on_simulated.len());
    assert_eq!(life::follow(&real).await, life::follow(&simulated).await, "the events as they are followed");
    for sender in real.senders.drain(..) {
        sender.stop().await;
    }
}

#[tokio::test]
async fn a_ledger_without_contracts_is_refused() {
    let anvil = Anvil::start(&[]);
    let state = tempfile::tempdir().expect("a directory");
    let sender = open(options(state.path()), &anvil.node, &signer(1)).await.expect("opens");
    let contracts = Contracts::of_deployer(EthereumAddress([1; 20]), 0);
    let follower = FollowerOptions::new(contracts.all(), 0);
    let parts = RealLedgerParts { node: anvil.node.clone(), outbox: sender.outbox.clone(), contracts, follower };
    let error = RealLedger::open(parts).await.map(drop).expect_err("nothing is there");
    assert!(error.to_string().contains("there is no contract at"), "{error}");
}

impl Person {
    pub fn signer(self) -> Arc<Signer> {
        signer(10 + self as u8)
    }
}
