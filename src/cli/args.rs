//! The one definition of the command line.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{
    chain::{ContractCommand, ProducerCommand},
    node_args::{NodeCommand, TrackerCommand},
    wallet::WalletCommand,
};
use crate::{
    base::{ByteSize, Scheme},
    config::{Layer, check_address, parse_time},
};

/// A folder that cannot be lost.
///
/// What is written below the mount point is cut into chunks, encrypted, erasure-coded and
/// kept by many consumers; any k of the n shards of a chunk bring it back.
#[derive(Debug, Parser)]
#[command(name = "openbucket", version, max_term_width = 80, arg_required_else_help = true)]
#[command(disable_help_subcommand = true, after_help = AFTER)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage.\n\
    Options come from built-in defaults, /etc/openbucket/config.toml, ~/.config/openbucket/config.toml, \
    --config FILE, OPENBUCKET_* variables and flags, the later over the earlier.";

/// What every command knows.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Log more to stderr (-v debug, -vv trace); OPENBUCKET_LOG takes a filter
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Read this configuration file over the system's and the user's
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the keys of a bucket, or restore them from the phrase; safe to run twice; guard a mount point
    ///
    /// The phrase is the wallet's, too: --restore takes the one that `openbucket wallet create`
    /// showed, and `openbucket wallet restore` takes the one shown here.
    Init(InitArgs),
    /// Mount a bucket at an empty directory
    Mount(Box<MountArgs>),
    /// Unmount: upload what is staged within a deadline, say what is left, end the daemon
    Umount(UmountArgs),
    /// What the daemon holds, does and waits for
    Status(StatusArgs),
    /// Run a whole network on this machine: tracker, consumers, mount
    Devnet(DevnetArgs),
    /// Wait until everything that is under a path now is kept by consumers
    Sync(SyncArgs),
    /// Check a mounted bucket: its records, its staging, what its consumers hold; repair it
    Fsck(FsckArgs),
    /// Files of a bucket: list, show, copy in and out
    File {
        #[command(subcommand)]
        command: FileCommand,
    },
    /// The local copies of uploaded files
    Cache {
        #[command(subcommand)]
        command: CacheCommand,
    },
    /// The storage node: keeps shards for others
    Consumer {
        #[command(subcommand)]
        command: NodeCommand,
    },
    /// The user who owns files and pays
    Producer {
        #[command(subcommand)]
        command: ProducerCommand,
    },
    /// The contracts on a chain: put them there, look at them, pay through them
    Contract {
        #[command(subcommand)]
        command: ContractCommand,
    },
    /// The directory: knows who stores
    Tracker {
        #[command(subcommand)]
        command: TrackerCommand,
    },
    /// The wallet: the accounts that pay and are paid, encrypted under a password
    Wallet {
        #[command(subcommand)]
        command: WalletCommand,
    },
    /// Print the version
    Version,
    /// Print the manual page as roff, or write one page per command to a directory
    #[command(hide = true)]
    Man { directory: Option<PathBuf> },
    /// Print the completions of a shell
    #[command(hide = true)]
    Completions { shell: clap_complete::Shell },
    /// Have the kernel write back what it holds of a mount
    #[command(hide = true)]
    WriteBack(WriteBackArgs),
}

#[derive(Debug, Args)]
pub struct WriteBackArgs {
    /// The mount
    pub root: PathBuf,
    /// What in it is waited for
    pub path: PathBuf,
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// The state directory to make [default: ~/.local/share/openbucket]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// The bucket's name [default: default]
    #[arg(long, value_name = "NAME")]
    pub bucket: Option<String>,
    /// A tracker to write to the configuration; may be repeated
    #[arg(long, value_name = "ADDR", value_parser = check_address)]
    pub tracker: Vec<String>,
    /// Read the phrase of an existing bucket from standard input
    #[arg(long)]
    pub restore: bool,
    /// Only guard an empty directory, as root: nothing can be written there but over a mount
    #[arg(long, value_name = "DIR", exclusive = true)]
    pub guard: Option<PathBuf>,
    /// Only take the guard of a directory away
    #[arg(long, value_name = "DIR", exclusive = true)]
    pub unguard: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct MountArgs {
    /// An empty directory
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    #[command(flatten)]
    pub bucket: BucketArgs,
    /// Stay in the foreground and log to stderr
    #[arg(short, long)]
    pub foreground: bool,
    /// Mount options, as in fstab; may be repeated; mount.openbucket(8) lists them
    ///
    /// Of the bucket, with the names of the configuration: bucket=, state=, tracker=, tier=,
    /// cache-size= ... Of the kernel: ro, allow_other, uid=, gid=, umask=, suid, dev, noexec, sync
    /// ... `remount` changes what is mounted. Words of fstab such as _netdev and nofail are taken;
    /// anything else is refused by name.
    #[arg(short, long = "options", value_name = "LIST")]
    pub options: Vec<String>,
    /// Check everything, and mount nothing
    #[arg(long)]
    pub fake: bool,
    /// Pass over mount options that nobody knows
    #[arg(long)]
    pub sloppy: bool,
    #[command(flatten)]
    pub child: ChildArgs,
}

/// How a supervising process starts its children.
#[derive(Clone, Debug, Default, Args)]
pub struct ChildArgs {
    /// Report readiness on stdout, in a session of its own
    #[arg(long, hide = true)]
    pub background_child: bool,
    /// End when this parent process ends
    #[arg(long, hide = true, value_name = "PID")]
    pub parent: Option<i32>,
}

/// Options of the bucket that are also configuration keys.
#[derive(Clone, Debug, Default, Args)]
pub struct BucketArgs {
    /// The bucket's name [default: default]
    #[arg(long, value_name = "NAME")]
    pub bucket: Option<String>,
    /// The state directory [default: ~/.local/share/openbucket]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// A tracker; may be repeated
    #[arg(long, value_name = "ADDR", value_parser = check_address)]
    pub tracker: Vec<String>,
    /// Talk to peers of this group only
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Listen here (host:port or multiaddr); may be repeated
    #[arg(long, value_name = "ADDR", value_parser = check_address)]
    pub listen: Vec<String>,
    /// Do not look for peers in the local network
    #[arg(long)]
    pub no_mdns: bool,
    /// How new files are kept: free, basic, plus, premium, or k+m
    #[arg(long, value_name = "TIER")]
    pub tier: Option<Scheme>,
    /// Bytes waiting for upload, at most
    #[arg(long, value_name = "SIZE")]
    pub staging_size: Option<ByteSize>,
    /// Bytes of the cache on disk, at most
    #[arg(long, value_name = "SIZE")]
    pub cache_size: Option<ByteSize>,
}

impl BucketArgs {
    /// The same as a layer of the configuration.
    pub fn layer(&self) -> Layer {
        Layer {
            state: self.state.clone(),
            bucket: self.bucket.clone(),
            trackers: some_list(&self.tracker),
            group: self.group.clone(),
            listen: some_list(&self.listen),
            mdns: self.no_mdns.then_some(false),
            staging_size: self.staging_size,
            cache_size: self.cache_size,
            tier: self.tier,
            ..Layer::default()
        }
    }
}

/// None when the flag was not given.
pub fn some_list(list: &[String]) -> Option<Vec<String>> {
    if list.is_empty() { None } else { Some(list.to_vec()) }
}

/// Which daemon is meant, when no path tells.
#[derive(Clone, Debug, Default, Args)]
pub struct SocketArgs {
    /// The daemon's socket; else that of the path's mount, else that of the state directory
    #[arg(long, value_name = "FILE")]
    pub socket: Option<PathBuf>,
    /// The state directory of the daemon, instead of the configured one
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct UmountArgs {
    /// The mount point
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// How long to upload what is staged; what is left is kept for the next mount. Interrupted before that, it stays mounted
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub timeout: Duration,
    /// Do not wait for uploads
    #[arg(long)]
    pub force: bool,
    /// Detach the mount point now, although files are open
    #[arg(long)]
    pub lazy: bool,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// A path in a mount
    pub path: Option<PathBuf>,
    #[command(flatten)]
    pub daemon: SocketArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Exit code 0: nothing is wrong, or not any more; 1: something is. The bucket may be in use meanwhile.
/// Consumers are asked which shards they have, and how long these are; their bytes are verified whenever they are read.
#[derive(Debug, Args)]
pub struct FsckArgs {
    /// A path in the mount
    pub path: Option<PathBuf>,
    /// Mend what can be mended without losing data: what no name leads to is put into lost+found, shards that are gone are
    /// rebuilt in the background
    #[arg(long)]
    pub repair: bool,
    /// With --repair: delete shards on consumers that the bucket does not know. They are lost to whoever they belong to:
    /// only where nobody else, on no other machine, uses the same phrase
    #[arg(long, requires = "repair")]
    pub delete_unknown_shards: bool,
    #[command(flatten)]
    pub daemon: SocketArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct DevnetArgs {
    #[command(subcommand)]
    pub command: Option<DevnetCommand>,
    /// Where to mount the bucket
    #[arg(value_name = "DIR", required = true)]
    pub directory: Option<PathBuf>,
    /// Where everything is kept; the same directory again is the same data
    #[arg(long, value_name = "STATE", required = true)]
    pub state: Option<PathBuf>,
    /// How many consumers [default: as many as before, at first 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub consumers: Option<u16>,
    /// The chain to run [default: anvil where it is found, else none]
    #[arg(long, value_enum)]
    pub chain: Option<Chain>,
    /// The program of Anvil [default: that of contracts/node_modules/.bin, else that of PATH]
    #[arg(long, value_name = "PATH")]
    pub anvil: Option<PathBuf>,
    /// Space of each consumer
    #[arg(long, value_name = "SIZE", default_value = "10 GB")]
    pub limit: ByteSize,
    /// How new files are kept: free, basic, plus, premium, or k+m
    #[arg(long, value_name = "TIER")]
    pub tier: Option<Scheme>,
    /// Mount options, as of `openbucket mount`; may be repeated
    #[arg(short, long = "options", value_name = "LIST")]
    pub options: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Chain {
    /// No chain: everything but payment works
    None,
    /// Anvil, a development chain; no chain, when it is not found
    Anvil,
}

#[derive(Debug, Subcommand)]
pub enum DevnetCommand {
    /// Start a process of a running devnet that is down
    Start(DevnetProcessArgs),
    /// Stop a process of a running devnet
    Stop(DevnetProcessArgs),
    /// Become its chain
    #[command(hide = true)]
    Anvil(DevnetAnvilArgs),
}

/// How a devnet starts its chain.
#[derive(Debug, Args)]
pub struct DevnetAnvilArgs {
    #[arg(long)]
    pub program: PathBuf,
    #[arg(long)]
    pub port: u16,
    #[arg(long)]
    pub state: PathBuf,
    #[command(flatten)]
    pub child: ChildArgs,
}

#[derive(Debug, Args)]
pub struct DevnetProcessArgs {
    /// Its name in devnet.json: tracker, chain, consumer-1, mount
    pub name: String,
    /// The devnet's state directory
    #[arg(long, value_name = "STATE")]
    pub state: PathBuf,
}

/// How far files are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SyncLevel {
    /// Enough shards to survive a loss
    Available,
    /// All shards confirmed
    Uploaded,
}

#[derive(Debug, Args)]
pub struct SyncArgs {
    /// A file or directory in a mount
    pub path: PathBuf,
    /// How far everything is to be
    #[arg(long, value_enum, default_value_t = SyncLevel::Uploaded)]
    pub level: SyncLevel,
    /// Give up after this time [default: wait]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub timeout: Option<Duration>,
    #[command(flatten)]
    pub daemon: SocketArgs,
    /// Print JSON at the end
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum FileCommand {
    /// List files with their state and availability
    Ls(ListArgs),
    /// Everything about one file: chunks, shards, who holds them
    Stat(PathArgs),
    /// Copy a file into a bucket, whole or not at all
    Upload(UploadArgs),
    /// Copy a file out of a bucket, whole or not at all
    Download(DownloadArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// A file or directory in a mount
    pub path: PathBuf,
    /// All directories below, too
    #[arg(short, long)]
    pub recursive: bool,
    #[command(flatten)]
    pub daemon: SocketArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct PathArgs {
    /// A file or directory in a mount
    pub path: PathBuf,
    #[command(flatten)]
    pub daemon: SocketArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct UploadArgs {
    /// The file to copy; - is standard input
    #[arg(value_name = "SRC")]
    pub source: PathBuf,
    /// A file or directory in a mount
    #[arg(value_name = "DEST")]
    pub target: PathBuf,
}

#[derive(Debug, Args)]
pub struct DownloadArgs {
    /// A file in a mount
    #[arg(value_name = "SRC")]
    pub source: PathBuf,
    /// A file or directory; - is standard output
    #[arg(value_name = "DEST")]
    pub target: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Drop the local copies of what consumers keep; pinned copies on disk stay
    Evict(PathArgs),
    /// Keep local copies
    Pin(PathArgs),
    /// Let local copies go when space is needed
    Unpin(PathArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_devnet_is_a_directory_or_a_subcommand() {
        let parse = |text: &str| Cli::try_parse_from(text.split(' '));
        assert!(parse("openbucket devnet /mnt --state /s --consumers 6 --chain none").is_ok());
        assert!(parse("openbucket devnet start consumer-1 --state /s").is_ok());
        assert!(parse("openbucket devnet /mnt").is_err());
        assert!(parse("openbucket devnet /mnt --state /s --consumers 0").is_err());
    }
}
