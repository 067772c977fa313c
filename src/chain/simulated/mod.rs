//! The ledger in memory: the rules of the contracts, to the wei, in the time of a clock. For simulations and tests.
//!
//! Each action is a block of its own. Gas costs nothing. Blocks can be rewritten as a re-organisation does: their
//! actions come again, in new blocks.

mod agreements;
mod disputes;
mod ending;
mod ledger;
mod mandates;
mod registry;
mod state;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

pub use self::ledger::SimulatedLedger;
use self::state::{Refusal, State, Turn};
use super::{
    ActionKey, BlockHash, ChainId, Error, Outcome, TxHash,
    ledger::{Action, Contracts, Domains, Event, Timestamp},
    revert,
};
use crate::{
    base::{Mutex, Wei, limits, sha256},
    keys::EthereumAddress,
    runtime::Clock,
};

/// What the contracts are made with.
#[derive(Clone, Debug)]
pub struct SimulatedChainOptions {
    pub chain: ChainId,
    /// Where the contracts would be: part of what is signed.
    pub contracts: Contracts,
    pub treasury: EthereumAddress,
    pub minimum_payment: Wei,
    pub activation_wait_seconds: u64,
    pub bond: Wei,
}

/// A chain in memory. Clones share it.
#[derive(Clone)]
pub struct SimulatedChain(Arc<Mutex<World>>);

/// A block: one action and what it told.
#[derive(Clone)]
struct Block {
    hash: BlockHash,
    time: Timestamp,
    transaction: TxHash,
    account: EthereumAddress,
    key: ActionKey,
    action: Action,
    events: Vec<Event>,
}

struct World {
    options: SimulatedChainOptions,
    domains: Domains,
    clock: Arc<dyn Clock>,
    state: State,
    /// Block 1 is the first.
    blocks: Vec<Block>,
    /// The state before each of the newest blocks, oldest first.
    before: VecDeque<State>,
    done: BTreeMap<(EthereumAddress, ActionKey), (Action, Outcome)>,
    rewritings: u64,
}

impl SimulatedChain {
    /// An empty one.
    pub fn new(options: SimulatedChainOptions, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Mutex::new(World {
            domains: Domains::new(options.chain, &options.contracts),
            options,
            clock,
            state: State::default(),
            blocks: Vec::new(),
            before: VecDeque::new(),
            done: BTreeMap::new(),
            rewritings: 0,
        })))
    }

    /// The ledger of an account. Who has it acts for the account.
    pub fn ledger(&self, account: EthereumAddress) -> SimulatedLedger {
        SimulatedLedger::new(self.clone(), account)
    }

    /// Ether out of nothing, into an account's purse.
    pub fn fund(&self, account: EthereumAddress, amount: Wei) {
        let mut world = self.0.lock();
        let World { state, before, .. } = &mut *world;
        // Also in the past: a rewriting does not take it away.
        for state in before.iter_mut().chain([state]) {
            let purse = state.purses.entry(account).or_default();
            *purse = purse.saturating_add(amount.0);
        }
    }

    /// Whether what is in the vault is exactly what accounts and agreements, offers, activations and disputes have in it.
    pub fn is_conserved(&self) -> bool {
        self.0.lock().state.is_conserved()
    }

    /// Takes the newest blocks away, as many as are remembered at most; their actions come again in new ones.
    pub fn rewrite(&self, blocks: usize) {
        let mut world = self.0.lock();
        let count = blocks.min(world.before.len());
        let kept = world.before.len() - count;
        let Some(state) = world.before.get(kept).cloned() else { return };
        world.state = state;
        world.before.truncate(kept);
        let first = world.blocks.len() - count;
        let undone = world.blocks.split_off(first);
        world.rewritings += 1;
        for block in undone {
            world.done.remove(&(block.account, block.key.clone()));
            if let Err(refusal) = world.transact(block.account, &block.key, &block.action) {
                let why = revert::name_in_words(refusal.name());
                let outcome = Outcome::Reverted { hash: block.transaction, block: 0, fee: Wei(0), why };
                world.done.insert((block.account, block.key), (block.action, outcome));
            }
        }
    }
}

impl World {
    fn now(&self) -> Timestamp {
        Timestamp(self.clock.now().0 / 1000)
    }

    /// Runs an action as a new block; nothing is changed when it is refused.
    fn transact(&mut self, account: EthereumAddress, key: &ActionKey, action: &Action) -> Result<Outcome, Refusal> {
        let time = self.now();
        let mut state = self.state.clone();
        let mut turn = Turn {
            state: &mut state,
            options: &self.options,
            domains: &self.domains,
            now: time,
            caller: account,
            events: Vec::new(),
        };
        turn.run(action)?;
        let events = turn.events;
        let number = self.blocks.len() as u64 + 1;
        let place = [number.to_be_bytes(), self.rewritings.to_be_bytes()].concat();
        let transaction = TxHash(sha256(&[b"transaction", &account.0, key.as_str().as_bytes()]));
        let parent = self.blocks.last().map_or([0; 32], |block| block.hash.0);
        let hash = BlockHash(sha256(&[b"block", &parent, &place, &transaction.0]));
        if self.before.len() == limits::CURSOR_MARKS {
            self.before.pop_front();
        }
        self.before.push_back(std::mem::replace(&mut self.state, state));
        let block = Block { hash, time, transaction, account, key: key.clone(), action: action.clone(), events };
        self.blocks.push(block);
        let outcome = Outcome::Done { hash: transaction, block: number, fee: Wei(0) };
        self.done.insert((account, key.clone()), (action.clone(), outcome.clone()));
        Ok(outcome)
    }

    /// Runs an action once.
    fn submit(&mut self, account: EthereumAddress, key: &ActionKey, action: &Action) -> Result<Outcome, Error> {
        if let Some((before, outcome)) = self.done.get(&(account, key.clone())) {
            return if before == action { Ok(outcome.clone()) } else { Err(Error::KeyReused(key.clone())) };
        }
        if let Action::Deposit { amount, .. } = action {
            let balance = Wei(self.state.purses.get(&account).copied().unwrap_or(0));
            if let Some(missing) = amount.checked_sub(balance).filter(|missing| missing.0 > 0) {
                let (what, needed) = (action.what(), *amount);
                return Err(Error::InsufficientFunds { what, account, missing, needed, balance });
            }
        }
        self.transact(account, key, action)
            .map_err(|refusal| Error::Reverted { what: action.what(), why: revert::name_in_words(refusal.name()) })
    }
}
