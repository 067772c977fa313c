//! The words of `consumer` and `tracker`: a part of the one definition of the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    args::ChildArgs,
    chain::{ConsumerActivateArgs, OfferCommand, WithdrawArgs},
};
use crate::{base::ByteSize, config::check_address};

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Keep shards until stopped; prints `ready: PEER ADDRESS`
    Start(Box<ConsumerStartArgs>),
    /// What a running consumer holds
    Status(NodeStatusArgs),
    /// Take part as a consumer on a chain: pays for it, names the consumer's owner
    Activate(ConsumerActivateArgs),
    /// Take what was earned out of the vault
    Withdraw(WithdrawArgs),
    /// The offers of space on a chain
    Offer {
        #[command(subcommand)]
        command: OfferCommand,
    },
}

#[derive(Debug, Subcommand)]
pub enum TrackerCommand {
    /// Serve until stopped; prints `ready: PEER ADDRESS`
    Start(TrackerStartArgs),
    /// The consumers that a running tracker knows
    Status(NodeStatusArgs),
}

#[derive(Debug, Args)]
pub struct ConsumerStartArgs {
    /// Where its keys and shards are kept
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Bytes of shards it keeps, at most, for example "5 GB"
    #[arg(long, value_name = "SIZE")]
    pub limit: Option<ByteSize>,
    /// A tracker to register with; may be repeated
    #[arg(long, value_name = "ADDR", value_parser = check_address)]
    pub tracker: Vec<String>,
    #[command(flatten)]
    pub network: NetworkArgs,
}

#[derive(Debug, Args)]
pub struct TrackerStartArgs {
    /// Where its keys and registry are kept
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    #[command(flatten)]
    pub network: NetworkArgs,
}

/// How a node is in the network.
#[derive(Clone, Debug, Default, Args)]
pub struct NetworkArgs {
    /// Listen here (host:port or multiaddr); may be repeated
    #[arg(long, value_name = "ADDR", value_parser = check_address)]
    pub listen: Vec<String>,
    /// Talk to peers of this group only
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Do not look for peers in the local network
    #[arg(long)]
    pub no_mdns: bool,
    #[command(flatten)]
    pub child: ChildArgs,
}

#[derive(Debug, Args)]
pub struct NodeStatusArgs {
    /// Its directory
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
