//! `devnet`: a whole network of real processes on this machine, under one supervisor.
//!
//! `plan` says which processes there are and where, and keeps that in
//! STATE/devnet.json; `child` is one running process; `supervisor` starts,
//! stops and reaps them, and answers `devnet start` and `devnet stop` on
//! STATE/devnet.socket.

mod anvil;
mod child;
mod money;
mod plan;
mod supervisor;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};

use super::{
    UsageError,
    args::{Chain, DevnetArgs, DevnetCommand, DevnetProcessArgs, Global},
    child::stop_on_signals,
    init, output,
};
use crate::{
    base::Scheme, config::parse_mount_options, mount::check_mountpoint, rpc::SupervisorClient, runtime::Shutdown,
    store::StateLock,
};

fn control_socket(state: &Path) -> PathBuf {
    state.join("devnet.socket")
}

pub fn run(global: &Global, args: DevnetArgs) -> anyhow::Result<()> {
    match args.command {
        Some(DevnetCommand::Start(process)) => super::client(control(process, true)),
        Some(DevnetCommand::Stop(process)) => super::client(control(process, false)),
        Some(DevnetCommand::Anvil(args)) => anvil::become_anvil(&args),
        None => supervise(global, args),
    }
}

async fn control(args: DevnetProcessArgs, is_start: bool) -> anyhow::Result<()> {
    let connected = SupervisorClient::connect(&control_socket(&args.state)).await;
    // Why there is none is for the log: the client's advice is about mounts.
    let mut supervisor = connected.map_err(|error| {
        tracing::debug!(op = "devnet", %error, "no supervisor");
        anyhow!("no devnet runs in {}: start it with openbucket devnet DIR --state STATE", args.state.display())
    })?;
    let words = if is_start { supervisor.start(args.name).await } else { supervisor.stop(args.name).await };
    output::line(&words?)
}

/// The program of the chain that is asked for; None for no chain, also when it is not found.
fn chain_program(args: &DevnetArgs) -> anyhow::Result<Option<PathBuf>> {
    if args.chain == Some(Chain::None) {
        return match args.anvil {
            None => Ok(None),
            Some(_) => Err(UsageError::of("--anvil is for a chain, and --chain none has none: leave one of them away")),
        };
    }
    let found = anvil::find(args.anvil.as_deref())?;
    if found.is_none() {
        eprintln!(
            "openbucket: Anvil is not found, so this devnet has no chain: nobody is paid, all else works; \
             install it with npm ci in contracts/, or give --anvil PATH, or say --chain none"
        );
    }
    Ok(found)
}

fn supervise(_global: &Global, args: DevnetArgs) -> anyhow::Result<()> {
    let options = parse_mount_options(args.options.iter().map(String::as_str), false).map_err(UsageError::of)?;
    let anvil = chain_program(&args)?;
    let (Some(directory), Some(state)) = (args.directory, args.state) else {
        return Err(UsageError::of("a devnet needs DIR and --state STATE"));
    };
    let words = |path: &Path| format!("cannot make {}", path.display());
    fs::create_dir_all(&state).with_context(|| words(&state))?;
    let state = fs::canonicalize(&state).with_context(|| words(&state))?;
    // A mount that a killed devnet left is cleared by this check, and must be before the directory is made.
    if fs::symlink_metadata(&directory).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        fs::create_dir_all(&directory).with_context(|| words(&directory))?;
    }
    let _lock = StateLock::acquire(&state, "devnet")?;
    check_mountpoint(&directory)?;
    let mountpoint = fs::canonicalize(&directory).with_context(|| words(&directory))?;
    let plan = plan::Plan::load_or_make(&state, &mountpoint, args.consumers, anvil.is_some())?;
    let scheme = args.tier.or(options.layer.tier).unwrap_or(Scheme::BASIC);
    let consumers = plan.consumers();
    if consumers < scheme.n() {
        tracing::warn!(
            "{scheme} keeps a file with {} consumers, but there are {consumers}: files stay on this disk; give --tier or --consumers",
            scheme.n()
        );
    }
    let phrase = init::ensure(&plan.mount().dir)?;
    if let Some(phrase) = &phrase {
        output::line(&format!("phrase: {}", **phrase))?;
    }
    let settings = supervisor::Settings {
        anvil,
        phrase,
        limit_bytes: args.limit.0,
        tier: args.tier.map(|tier| tier.to_string()),
        mount_options: args.options,
    };
    // One thread: the children are to die with it, and the kernel watches the thread that started them.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(async {
        let shutdown = Shutdown::new();
        stop_on_signals(shutdown.clone())?;
        supervisor::run(plan, settings, shutdown).await
    })
}
