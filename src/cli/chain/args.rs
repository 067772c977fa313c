//! The words of the verbs that talk to a chain: a part of the one definition of the command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use crate::{
    base::{ByteSize, Wei},
    chain::{ActionKey, AgreementId, OfferId},
    cli::wallet::{PasswordArgs, WalletArgs},
    config::{Layer, NodeUrls, parse_time},
    keys::EthereumAddress,
};

/// Days that an offer may name, at most: a century.
const DAYS: u64 = 36_500;

/// Which chain, and how it is reached.
#[derive(Clone, Debug, Default, Args)]
pub struct ChainArgs {
    /// An Ethereum node; may be repeated: the others stand in for the first
    #[arg(long, value_name = "URL")]
    pub rpc: Vec<String>,
    /// The chain that it must be of: 1 is Ethereum, 31337 Anvil [default: that of the contracts]
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
    pub chain_id: Option<u64>,
    /// The addresses of the contracts, as `contract deploy --json` prints them
    #[arg(long, value_name = "FILE")]
    pub contracts: Option<PathBuf>,
}

impl ChainArgs {
    /// The same as a layer of the configuration.
    pub fn layer(&self) -> Layer {
        let rpc = if self.rpc.is_empty() { None } else { Some(NodeUrls(self.rpc.clone())) };
        Layer { rpc, chain_id: self.chain_id, contracts: self.contracts.clone(), ..Layer::default() }
    }
}

/// Who acts on the chain, and for how long to wait.
#[derive(Clone, Debug, Args)]
pub struct ActArgs {
    /// The account that acts: its address, or its index in the wallet [default: the default account]
    #[arg(long, value_name = "ACCOUNT")]
    pub account: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub sign: SignArgs,
}

/// The wallet that signs, the chain, and for how long to wait.
#[derive(Clone, Debug, Args)]
pub struct SignArgs {
    /// Give up waiting for confirmations after this time; what is sent stays sent
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = parse_time)]
    pub timeout: Duration,
    #[command(flatten)]
    pub wallet: WalletArgs,
    #[command(flatten)]
    pub password: PasswordArgs,
    #[command(flatten)]
    pub ask: AskArgs,
}

/// A chain that is only asked, and how its answer is printed.
#[derive(Clone, Debug, Args)]
pub struct AskArgs {
    #[command(flatten)]
    pub chain: ChainArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What makes a repeat no second payment.
#[derive(Clone, Debug, Default, Args)]
pub struct KeyArgs {
    /// A name of your own for this action: however often it is repeated with the same name, it is done once [default:
    /// each call is another action]
    #[arg(long, value_name = "KEY")]
    pub key: Option<ActionKey>,
}

/// An agreement, and who does something with it.
#[derive(Debug, Args)]
pub struct AgreementActArgs {
    /// The agreement's id, 64 hexadecimal digits
    #[arg(value_name = "AGREEMENT", value_parser = parse_agreement)]
    pub agreement: AgreementId,
    #[command(flatten)]
    pub key: KeyArgs,
    #[command(flatten)]
    pub act: ActArgs,
}

#[derive(Debug, Args)]
pub struct WalletBalanceArgs {
    /// Any address, or the index of an account of the wallet [default: the default account]
    #[arg(value_name = "ADDRESS")]
    pub address: Option<String>,
    #[command(flatten)]
    pub wallet: WalletArgs,
    #[command(flatten)]
    pub ask: AskArgs,
}

#[derive(Debug, Args)]
pub struct WalletPendingArgs {
    /// The account: its address, or its index in the wallet [default: the default account]
    #[arg(value_name = "ACCOUNT")]
    pub account: Option<String>,
    /// Those that have ended, too: done, or refused and why
    #[arg(long)]
    pub all: bool,
    /// Take an action back of which nothing is signed, by the key that is listed
    #[arg(long, value_name = "KEY", conflicts_with_all = ["all", "resume"])]
    pub cancel: Option<ActionKey>,
    /// Send what waits, and stay until all of it is final; takes the password
    #[arg(long, conflicts_with = "all")]
    pub resume: bool,
    #[command(flatten)]
    pub sign: SignArgs,
}

#[derive(Debug, Args)]
pub struct WalletSendArgs {
    /// The address that is paid
    #[arg(value_name = "TO")]
    pub to: EthereumAddress,
    /// How much, with its unit: "0.01 ETH", "5 gwei"
    #[arg(value_name = "AMOUNT")]
    pub amount: Wei,
    #[command(flatten)]
    pub key: KeyArgs,
    #[command(flatten)]
    pub act: ActArgs,
}

#[derive(Debug, Subcommand)]
pub enum ContractCommand {
    /// Put all contracts on a chain, once; prints where they are
    Deploy(ContractDeployArgs),
    /// An agreement as the chain has it: what is held, what is owed, until when it is paid
    Show(ContractShowArgs),
    /// The offers of consumers that stand
    Offers(ContractOffersArgs),
    /// Pay the consumer of an agreement what is owed by now; anybody may
    Settle(AgreementActArgs),
    /// Put more money into an agreement, before what it has is used up
    Topup(ContractTopupArgs),
    /// Take an account's balance out of the vault
    Withdraw(WithdrawArgs),
}

#[derive(Debug, Args)]
pub struct ContractDeployArgs {
    /// Who gets the payments of activations [default: the account]
    #[arg(long, value_name = "ADDRESS")]
    pub treasury: Option<EthereumAddress>,
    /// What an activation costs, at least
    #[arg(long, value_name = "AMOUNT", default_value = "0.001 ETH")]
    pub minimum_payment: Wei,
    /// Hours until an activation counts; until then the payment can be had back
    #[arg(long, value_name = "HOURS", default_value_t = 48)]
    pub activation_wait_hours: u32,
    /// What a challenge of a shard costs until it succeeds
    #[arg(long, value_name = "AMOUNT", default_value = "0.001 ETH")]
    pub bond: Wei,
    #[command(flatten)]
    pub act: ActArgs,
}

#[derive(Debug, Args)]
pub struct ContractShowArgs {
    /// The agreement's id, 64 hexadecimal digits
    #[arg(value_name = "AGREEMENT", value_parser = parse_agreement)]
    pub agreement: AgreementId,
    #[command(flatten)]
    pub ask: AskArgs,
}

#[derive(Debug, Args)]
pub struct ContractOffersArgs {
    /// Those that were cancelled or have expired, too
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub ask: AskArgs,
}

#[derive(Debug, Args)]
pub struct ContractTopupArgs {
    #[command(flatten)]
    pub of: AgreementActArgs,
    /// More for storage; what the vault lacks is deposited first
    #[arg(value_name = "AMOUNT")]
    pub held: Wei,
    /// More for downloads
    #[arg(long, value_name = "AMOUNT", default_value = "0")]
    pub allowance: Wei,
}

#[derive(Debug, Args)]
pub struct WithdrawArgs {
    /// How much [default: everything]
    #[arg(value_name = "AMOUNT")]
    pub amount: Option<Wei>,
    /// Where to [default: the account itself]
    #[arg(long, value_name = "ADDRESS")]
    pub to: Option<EthereumAddress>,
    #[command(flatten)]
    pub key: KeyArgs,
    #[command(flatten)]
    pub act: ActArgs,
}

#[derive(Debug, Subcommand)]
pub enum ProducerCommand {
    /// Take part as a producer: pays for it, names the bucket's owner
    Activate(ProducerActivateArgs),
}

/// What taking part costs, and who pays it.
#[derive(Debug, Args)]
pub struct ActivateArgs {
    /// What is paid [default: the least that the contracts take]
    #[arg(long, value_name = "AMOUNT")]
    pub payment: Option<Wei>,
    #[command(flatten)]
    pub act: ActArgs,
}

#[derive(Debug, Args)]
pub struct ProducerActivateArgs {
    /// The state directory with the owner's keys [default: ~/.local/share/openbucket]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    #[command(flatten)]
    pub activate: ActivateArgs,
}

#[derive(Debug, Args)]
pub struct ConsumerActivateArgs {
    /// The consumer's directory, with its keys
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    #[command(flatten)]
    pub activate: ActivateArgs,
}

#[derive(Debug, Subcommand)]
pub enum OfferCommand {
    /// Offer space at a price; the collateral for all of it leaves the balance
    Create(OfferCreateArgs),
    /// Take an offer back; running agreements keep their collateral
    Cancel(OfferCancelArgs),
    /// The offers of an account
    Ls(OfferListArgs),
}

#[derive(Debug, Args)]
pub struct OfferCreateArgs {
    /// Space, for example "100 GiB"
    #[arg(long, value_name = "SIZE")]
    pub capacity: ByteSize,
    /// For a GiB kept for 30 days
    #[arg(long, value_name = "AMOUNT", default_value = "0")]
    pub storage_price: Wei,
    /// For a GiB downloaded
    #[arg(long, value_name = "AMOUNT", default_value = "0")]
    pub egress_price: Wei,
    /// Lost with a GiB that is lost
    #[arg(long, value_name = "AMOUNT", default_value = "0")]
    pub collateral: Wei,
    /// An agreement is not ended by the consumer before so many days from now
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=DAYS))]
    pub term_days: u64,
    /// Nothing is opened after so many days from now
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u64).range(1..=DAYS))]
    pub expires_days: u64,
    /// Where the consumer is reached, as a multiaddr; may be repeated
    #[arg(long, value_name = "ADDR")]
    pub address: Vec<String>,
    #[command(flatten)]
    pub act: ActArgs,
}

#[derive(Debug, Args)]
pub struct OfferCancelArgs {
    /// The offer's number
    #[arg(value_name = "OFFER", value_parser = parse_offer)]
    pub offer: OfferId,
    #[command(flatten)]
    pub act: ActArgs,
}

#[derive(Debug, Args)]
pub struct OfferListArgs {
    /// Of this account: its address, or its index in the wallet [default: the default account]
    #[arg(value_name = "ACCOUNT")]
    pub account: Option<String>,
    #[command(flatten)]
    pub wallet: WalletArgs,
    #[command(flatten)]
    pub ask: AskArgs,
}

fn parse_agreement(text: &str) -> Result<AgreementId, String> {
    let mut bytes = [0; 32];
    match hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut bytes) {
        Ok(()) => Ok(AgreementId(bytes)),
        Err(_) => Err("an agreement's id has 64 hexadecimal digits".to_owned()),
    }
}

fn parse_offer(text: &str) -> Result<OfferId, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("offers are numbered from 1".to_owned()),
        Ok(number) => Ok(OfferId(number)),
    }
}
