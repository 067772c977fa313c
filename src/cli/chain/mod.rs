//! The doors to the chain for people: which node, which contracts, which account, and what is seen while they wait.
//!
//! [`Chain`] only asks; [`Actor`] acts for one account of a wallet, through the account's outbox in `WALLET/outbox`: who holds
//! that owns the account's nonces, and a second process is refused by name. `pending` shows what is in it, also to others.

mod activate;
mod actor;
mod addresses;
mod args;
mod contract;
mod money;
mod offer;
mod pending;

use anyhow::Context as _;

pub use activate::{activate_consumer, activate_producer, owner_of, pay_activation};
pub use actor::{Actor, Done, WithoutNode, random_key};
pub use addresses::Addresses;
pub use args::{
    ActArgs, ConsumerActivateArgs, ContractCommand, OfferCommand, ProducerCommand, WalletBalanceArgs,
    WalletPendingArgs, WalletSendArgs, WithdrawArgs,
};
pub use contract::run as run_contract;
pub use money::{balance, send, withdraw};
pub use offer::{publish, run as run_offer};
pub use pending::run as pending;

use args::ChainArgs;

use super::{UsageError, args::Global, locate};
use crate::{
    chain::{ChainId, Contracts, Error, FollowerOptions, Node, RealLedger, Transport, TransportOptions},
    config::{Layer, Settings},
    keys::EthereumAddress,
};

/// The chain of Anvil, Hardhat and their like: blocks come only with transactions.
pub const DEVELOPMENT_CHAIN: ChainId = ChainId(31337);

/// A chain that can be asked.
pub struct Chain {
    pub settings: Settings,
    pub node: Node,
    addresses: Option<Addresses>,
}

impl Chain {
    /// Of the configuration and these flags; nothing is asked yet.
    pub fn of(global: &Global, args: &ChainArgs, above: Layer) -> anyhow::Result<Self> {
        Self::of_settings(locate::settings(global, args.layer().over(above))?)
    }

    pub fn of_settings(settings: Settings) -> anyhow::Result<Self> {
        let addresses = settings.contracts.as_deref().map(Addresses::read).transpose()?;
        let of_contracts = addresses.as_ref().map(|addresses| addresses.chain_id);
        let chain = match (settings.chain_id, of_contracts) {
            (Some(chain), Some(other)) if chain != other => {
                return Err(UsageError::of(format!(
                    "the contracts are on chain {other}, not on chain {chain}: take the --contracts of that chain, \
                     or leave --chain-id away"
                )));
            }
            (Some(chain), _) | (None, Some(chain)) => ChainId(chain),
            (None, None) => {
                return Err(UsageError::of(
                    "which chain? give --chain-id (1 is Ethereum, 31337 Anvil), or --contracts, or set chain-id in a \
                     configuration file",
                ));
            }
        };
        if settings.rpc.is_empty() {
            return Err(UsageError::of(
                "which Ethereum node? give its URL with --rpc, or set rpc in a configuration file, for example \
                 --rpc http://127.0.0.1:8545",
            ));
        }
        let node = Node::new(Transport::new(TransportOptions::new(settings.rpc.clone(), chain))?);
        Ok(Self { settings, node, addresses })
    }

    /// Where the contracts are; None when nobody says.
    pub fn find_contracts(&self) -> anyhow::Result<Option<Contracts>> {
        self.addresses.as_ref().map(Addresses::contracts).transpose()
    }

    /// Where the contracts are.
    pub fn contracts(&self) -> anyhow::Result<Contracts> {
        self.find_contracts()?.ok_or_else(|| {
            UsageError::of(
                "where are the contracts? give --contracts FILE, or set contracts in a configuration file; \
                 openbucket contract deploy --json prints such a file",
            )
        })
    }

    /// The ledger, to ask it only.
    pub async fn reader(&self, account: EthereumAddress) -> anyhow::Result<RealLedger> {
        let contracts = self.contracts()?;
        let mut follower = self.follower(&contracts);
        // Of what is only shown, the newest; and only the registry is followed.
        (follower.contracts, follower.confirmations) = (vec![contracts.registry], 1);
        Ok(RealLedger::open_to_read(self.node.clone(), contracts, account, follower).await?)
    }

    /// How events are followed.
    fn follower(&self, contracts: &Contracts) -> FollowerOptions {
        let first_block = self.addresses.as_ref().map_or(0, Addresses::first_block);
        let mut options = FollowerOptions::new(contracts.all(), first_block);
        options.confirmations = self.confirmations();
        options
    }

    /// How deep a transaction must be.
    pub fn confirmations(&self) -> u64 {
        let usual = if self.node.chain() == DEVELOPMENT_CHAIN { 1 } else { crate::base::limits::CONFIRMATIONS };
        self.settings.confirmations.unwrap_or(usual)
    }

    /// Refuses when no node answers, before anybody types a password; for what is kept then, gives why none does.
    pub async fn check(&self, without_node: WithoutNode) -> anyhow::Result<Option<String>> {
        match self.node.head().await {
            Ok(_) => Ok(None),
            Err(error @ Error::NodeDown(_)) if without_node == WithoutNode::Keep => Ok(Some(error.to_string())),
            Err(error) => Err(error).context("nothing was sent"),
        }
    }
}
