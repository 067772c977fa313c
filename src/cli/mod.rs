//! The command line: one clap definition feeds the parser, the help and the manual.
//!
//! Every command is a thin client of a daemon, found through the path's mount
//! ([`locate`]), or starts a process and stays. Exit codes: 0 done, 1 failed,
//! 2 wrong usage. A failure is one line on stderr: `openbucket: what, why, what to do`.

mod args;
mod cache;
mod chain;
mod child;
mod complete;
mod copy;
mod devnet;
mod file;
mod fsck;
mod helper;
mod init;
mod locate;
mod logging;
mod manual;
mod mount;
mod node;
mod node_args;
mod notify;
mod output;
mod progress;
mod remount;
mod status;
mod sync;
mod umount;
mod wallet;
mod write_back;

use std::{ffi::OsString, future::Future, process::ExitCode};

use anyhow::Context as _;
use clap::{CommandFactory, FromArgMatches, error::ErrorKind as ClapError};

use args::{CacheCommand, Cli, Command, FileCommand};
pub use manual::{manual_pages, mount_manual};
use node_args::{NodeCommand, TrackerCommand};

/// Runs one command line, the program's name included.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if !helper::is_helper(&arguments) {
        return ExitCode::from(dispatch(&arguments));
    }
    let code = match helper::rewrite(&arguments) {
        Ok(arguments) => dispatch(&arguments),
        Err(why) => {
            eprintln!("openbucket: {}", output::one_line(&why));
            2
        }
    };
    ExitCode::from(helper::exit_code(code))
}

/// Runs one command line; its exit code.
fn dispatch(arguments: &[OsString]) -> u8 {
    let parsed = Cli::command().try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match start(cli, arguments) {
        Ok(()) => 0,
        Err(error) if output::is_reader_gone(&error) => 0,
        Err(error) => {
            eprintln!("openbucket: {}", output::explain(&error));
            if error.is::<UsageError>() { 2 } else { 1 }
        }
    }
}

/// A wrong use that clap could not see: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UsageError(String);

impl UsageError {
    fn of(error: impl std::fmt::Display) -> anyhow::Error {
        UsageError(error.to_string()).into()
    }
}

/// Help goes to stdout; anything else is one line.
fn usage(error: &clap::Error) -> u8 {
    if matches!(error.kind(), ClapError::DisplayHelp | ClapError::DisplayVersion) {
        return match error.print() {
            Ok(()) => 0,
            Err(broken) if broken.kind() == std::io::ErrorKind::BrokenPipe => 0,
            Err(_) => 1,
        };
    }
    let text = error.to_string();
    if error.kind() == ClapError::DisplayHelpOnMissingArgumentOrSubcommand {
        eprint!("{text}");
        return 2;
    }
    let words = text.split("\nUsage:").next().unwrap_or_default().trim();
    let words = words.strip_prefix("error: ").unwrap_or(words);
    let words = words.split("\n\nFor more information").next().unwrap_or(words);
    // clap's own advice is a paragraph; here it would run into the sentence.
    let words = words.split("\n\n  tip:").next().unwrap_or(words);
    eprintln!("openbucket: {} (see --help)", output::one_line(words));
    2
}

fn start(cli: Cli, arguments: &[OsString]) -> anyhow::Result<()> {
    logging::start(cli.global.verbose);
    crate::coding::cpu_supported()?;
    crate::runtime::check_failpoint().map_err(UsageError::of)?;
    let global = cli.global;
    match cli.command {
        Command::Init(args) => init::run(&global, args),
        Command::Mount(args) => mount::run(&global, *args, arguments),
        Command::Umount(args) => client(umount::run(&global, args)),
        Command::Status(args) => client(status::run(&global, args)),
        Command::Devnet(args) => devnet::run(&global, args),
        Command::Sync(args) => client(sync::run(&global, args)),
        Command::Fsck(args) => client(fsck::run(&global, args)),
        Command::File { command } => match command {
            FileCommand::Ls(args) => client(file::list(&global, args)),
            FileCommand::Stat(args) => client(file::stat(&global, args)),
            FileCommand::Upload(args) => copy::upload(&args),
            FileCommand::Download(args) => copy::download(&args),
        },
        Command::Cache { command } => match command {
            CacheCommand::Evict(args) => client(cache::evict(&global, args)),
            CacheCommand::Pin(args) => client(cache::pin(&global, args, true)),
            CacheCommand::Unpin(args) => client(cache::pin(&global, args, false)),
        },
        Command::Consumer { command } => match command {
            NodeCommand::Start(args) => node::start_consumer(&global, *args),
            NodeCommand::Status(args) => client(node::status(&global, args, crate::keys::Role::Consumer)),
            NodeCommand::Activate(args) => client(chain::activate_consumer(&global, &args)),
            NodeCommand::Withdraw(args) => client(chain::withdraw(&global, &args)),
            NodeCommand::Offer { command } => client(chain::run_offer(&global, command)),
        },
        Command::Producer { command } => match command {
            chain::ProducerCommand::Activate(args) => client(chain::activate_producer(&global, &args)),
        },
        Command::Tracker { command } => match command {
            TrackerCommand::Start(args) => node::start_tracker(&global, args),
            TrackerCommand::Status(args) => client(node::status(&global, args, crate::keys::Role::Tracker)),
        },
        Command::Contract { command } => client(chain::run_contract(&global, command)),
        Command::Wallet { command } => wallet::run(&global, command),
        Command::Version => output::line(&format!("openbucket {}", env!("CARGO_PKG_VERSION"))),
        Command::WriteBack(args) => write_back::run(&args),
        Command::Completions { shell } => complete::print(shell),
        Command::Man { directory } => manual::print(directory.as_deref()),
    }
}

/// Runs a command that only talks to a process: one thread suffices.
fn client(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let result = runtime.block_on(command);
    // A blocked system call on a dead mount must not keep the command from ending.
    runtime.shutdown_background();
    result
}
