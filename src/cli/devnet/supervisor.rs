//! Starts all processes in order, answers start and stop, reaps what ends, stops all in order.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::ExitStatus,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use async_trait::async_trait;
use futures::future::{join_all, select_all};
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use super::{
    child::{self, Running},
    control_socket, money,
    plan::{Plan, Process, Role},
};
use crate::{
    base::{ErrorKind, Kinded},
    cli::{locate, output},
    mount::{Occupant, detach_lazily, occupant},
    rpc::{Client, Socket, SupervisorService, serve_supervisor},
    runtime::Shutdown,
};

/// The mount uploads and unmounts within this when the devnet stops.
const MOUNT_STOP: Duration = Duration::from_secs(90);
/// A consumer or the tracker stops within this.
const NODE_STOP: Duration = Duration::from_secs(20);
/// Calls that wait for the supervisor.
const CALLS: usize = 16;

/// What the processes are told.
pub struct Settings {
    /// The program of the chain.
    pub anvil: Option<PathBuf>,
    /// The phrase of the mount, when it is new.
    pub phrase: Option<Zeroizing<String>>,
    pub limit_bytes: u64,
    pub tier: Option<String>,
    pub mount_options: Vec<String>,
}

type Answer = Result<String, (ErrorKind, String)>;

enum Verb {
    Start,
    Stop,
}

struct Call {
    verb: Verb,
    name: String,
    answer: oneshot::Sender<Answer>,
}

/// Hands the calls of the local API to the supervisor's own loop.
struct Calls(mpsc::Sender<Call>);

impl Calls {
    async fn ask(&self, verb: Verb, name: String) -> Answer {
        let closed = || (ErrorKind::Closed, "the devnet is stopping".to_owned());
        let (answer, answered) = oneshot::channel();
        self.0.send(Call { verb, name, answer }).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

#[async_trait]
impl SupervisorService for Calls {
    async fn start(&self, name: String) -> Answer {
        self.ask(Verb::Start, name).await
    }

    async fn stop(&self, name: String) -> Answer {
        self.ask(Verb::Stop, name).await
    }
}

/// Runs a devnet until the signal. Every child is stopped before it returns, also when it fails.
pub async fn run(plan: Plan, settings: Settings, shutdown: Shutdown) -> anyhow::Result<()> {
    let mut supervisor = Supervisor { plan, settings, running: BTreeMap::new() };
    let result = supervisor.run(&shutdown).await;
    let stopped = supervisor.stop_all().await;
    result.and(stopped)
}

struct Supervisor {
    plan: Plan,
    settings: Settings,
    running: BTreeMap<String, Running>,
}

impl Supervisor {
    async fn run(&mut self, shutdown: &Shutdown) -> anyhow::Result<()> {
        tokio::select! {
            biased;
            () = shutdown.started() => return Ok(()),
            started = self.start_all() => started?,
        }
        let (sender, mut calls) = mpsc::channel(CALLS);
        let socket = Socket::bind(&control_socket(&self.plan.state))?;
        let ended = shutdown.child();
        let server = tokio::spawn(serve_supervisor(socket, Calls(sender), ended.clone()));
        if let Some(mountpoint) = &self.plan.mount().mountpoint {
            crate::cli::child::say_ready(&mountpoint.display().to_string());
        }
        loop {
            tokio::select! {
                biased;
                () = shutdown.started() => break,
                Some((name, status)) = next_end(&mut self.running) => self.reap(&name, status)?,
                Some(call) = calls.recv() => {
                    let answer = self.handle(&call).await;
                    // Whoever called may have gone.
                    let _ = call.answer.send(answer);
                }
            }
        }
        drop(calls);
        ended.start();
        server.await.context("the supervisor's API failed")??;
        Ok(())
    }

    async fn start_all(&mut self) -> anyhow::Result<()> {
        self.plan.save()?;
        if self.plan.chain().is_some() {
            self.start("chain").await.context("--chain none does without it")?;
            let phrase = self.settings.phrase.take();
            let phrase = phrase.as_ref().map(|phrase| phrase.as_str());
            money::prepare(&self.plan, self.settings.limit_bytes, phrase).await.context("the chain")?;
        }
        self.start("tracker").await?;
        let consumers: Vec<Process> =
            self.plan.processes.iter().filter(|process| process.role == Role::Consumer).cloned().collect();
        let starts = consumers.iter().map(|process| {
            let arguments = self.arguments(process);
            let log = self.plan.log(&process.name);
            async move { (process.name.clone(), child::start(arguments, &log).await) }
        });
        for (name, started) in join_all(starts).await {
            let started = started.with_context(|| format!("{name} does not start"))?;
            self.note_started(&name, started).await?;
        }
        self.start("mount").await
    }

    async fn start(&mut self, name: &str) -> anyhow::Result<()> {
        let process = self.plan.find(name).ok_or_else(|| anyhow!("no process '{name}'"))?.clone();
        let started = match process.role {
            Role::Chain => self.start_chain(&process).await.map(|running| (running, String::new())),
            _ => child::start(self.arguments(&process), &self.plan.log(name)).await,
        };
        let started = started.with_context(|| format!("{name} does not start"))?;
        self.note_started(name, started).await
    }

    /// Starts the chain, and waits until it answers.
    async fn start_chain(&self, process: &Process) -> anyhow::Result<Running> {
        let log = self.plan.log(&process.name);
        let chain = money::chain(&self.plan, None)?;
        std::fs::create_dir_all(&process.dir).with_context(|| format!("cannot make {}", process.dir.display()))?;
        let mut running = child::start_other(self.arguments(process), &log)?;
        let end = Instant::now() + child::READY_TIMEOUT;
        while chain.node.head().await.is_err() {
            // Between two looks.
            if tokio::time::timeout(Duration::from_millis(50), running.ended()).await.is_ok() {
                bail!("it ended before it was ready: {}", child::last_line(&log));
            }
            if Instant::now() >= end {
                bail!("it was not ready within {} s: {}", child::READY_TIMEOUT.as_secs(), child::last_line(&log));
            }
        }
        Ok(running)
    }

    async fn note_started(&mut self, name: &str, (running, words): (Running, String)) -> anyhow::Result<()> {
        let process = self.plan.find(name).expect("only planned processes are started");
        process.pid = running.pid();
        match process.role {
            Role::Mount => {
                if let Some(peer) = mount_peer(process).await {
                    process.peer = peer;
                }
            }
            Role::Chain => {}
            Role::Tracker | Role::Consumer => {
                process.peer = words.split(' ').next().unwrap_or_default().to_owned();
            }
        }
        self.running.insert(name.to_owned(), running);
        self.plan.save()
    }

    /// The command line of a process.
    fn arguments(&self, process: &Process) -> Vec<String> {
        let tracker = self.plan.tracker();
        let tracker_address = match tracker.peer.as_str() {
            "" => tracker.addr.clone(),
            peer => format!("{}/p2p/{peer}", tracker.addr),
        };
        let dir = process.dir.display().to_string();
        let mut words: Vec<String> = Vec::new();
        match process.role {
            Role::Chain => {
                // It has a port, or would not have been planned.
                let port = process.port().unwrap_or_default().to_string();
                let program = self.settings.anvil.as_deref().unwrap_or("anvil".as_ref()).display().to_string();
                let state = process.dir.join("anvil.json").display().to_string();
                let flags = ["devnet", "anvil", "--program", &program, "--port", &port, "--state", &state];
                words.extend(flags.map(String::from));
                return words;
            }
            Role::Tracker => words.extend(["tracker", "start", "--dir", &dir].map(String::from)),
            Role::Consumer => {
                let limit = self.settings.limit_bytes.to_string();
                let flags = ["consumer", "start", "--dir", &dir, "--limit", &limit, "--tracker", &tracker_address];
                words.extend(flags.map(String::from));
            }
            Role::Mount => {
                let flags = ["mount", "--foreground", "--state", &dir, "--tracker", &tracker_address];
                words.extend(flags.map(String::from));
                words.extend(self.settings.tier.iter().flat_map(|tier| ["--tier".to_owned(), tier.clone()]));
                words.extend(self.settings.mount_options.iter().flat_map(|list| ["-o".to_owned(), list.clone()]));
            }
        }
        words.extend(["--group", &process.group, "--listen", &process.addr, "--no-mdns"].map(String::from));
        words.extend(process.mountpoint.iter().map(|mountpoint| mountpoint.display().to_string()));
        words
    }

    async fn handle(&mut self, call: &Call) -> Answer {
        let name = &call.name;
        let Some(process) = self.plan.find(name).cloned() else {
            let names: Vec<&str> = self.plan.processes.iter().map(|process| process.name.as_str()).collect();
            return Err((ErrorKind::NotFound, format!("no process '{name}': there are {}", names.join(", "))));
        };
        // It may have ended without our having seen it yet.
        let is_running = match self.running.get_mut(name) {
            Some(running) => tokio::time::timeout(Duration::ZERO, running.ended()).await.is_err(),
            None => false,
        };
        if !is_running {
            self.running.remove(name);
        }
        let done = match (&call.verb, is_running) {
            (Verb::Start, true) => return Err((ErrorKind::Exists, format!("{name} is running already"))),
            (Verb::Start, false) => self.start(name).await.map(|()| format!("{name} is running")),
            (Verb::Stop, false) => return Err((ErrorKind::Invalid, format!("{name} is not running"))),
            (Verb::Stop, true) => self.stop(&process).await.map(|()| format!("{name} is stopped")),
        };
        done.map_err(|error| (ErrorKind::Unavailable, output::explain(&error)))
    }

    async fn stop(&mut self, process: &Process) -> anyhow::Result<()> {
        let deadline = if process.role == Role::Mount { MOUNT_STOP } else { NODE_STOP };
        let running = self.running.remove(&process.name);
        let is_ours = running.is_some();
        if let Some(running) = running {
            let stopped = running.stop(deadline).await;
            self.note_ended(&process.name)?;
            if !stopped.with_context(|| format!("{} does not stop", process.name))? {
                tracing::warn!(op = "stop", "{} did not stop in time and was killed", process.name);
            }
        }
        let Some(mountpoint) = &process.mountpoint else { return Ok(()) };
        // What was not running any more may have been mounted by somebody else since; the remains of a crash are taken off.
        let is_dead = || locate::find_mount(mountpoint).is_err_and(|error| !error.is::<locate::Silent>());
        if occupant(mountpoint)? == Some(Occupant::Bucket) && (is_ours || is_dead()) {
            detach_lazily(mountpoint)?;
        }
        Ok(())
    }

    fn reap(&mut self, name: &str, status: std::io::Result<ExitStatus>) -> anyhow::Result<()> {
        self.running.remove(name);
        match status {
            Ok(status) => tracing::warn!(
                op = "reap",
                "{name} ended: {status}; openbucket devnet start {name} --state {} starts it again",
                self.plan.state.display()
            ),
            Err(error) => tracing::error!(op = "reap", %error, "{name} cannot be waited for"),
        }
        self.note_ended(name)
    }

    fn note_ended(&mut self, name: &str) -> anyhow::Result<()> {
        if let Some(process) = self.plan.find(name) {
            process.pid = None;
        }
        self.plan.save()
    }

    /// The mount first, so that it can upload; then the consumers, then the tracker.
    async fn stop_all(&mut self) -> anyhow::Result<()> {
        let mut failures = Vec::new();
        let mount = self.plan.mount().clone();
        if let Err(error) = self.stop(&mount).await {
            failures.push(output::explain(&error));
        }
        let tracker = self.running.remove("tracker");
        let consumers = std::mem::take(&mut self.running);
        let stops = consumers.into_iter().map(|(name, running)| async { (name, running.stop(NODE_STOP).await) });
        let mut stopped = join_all(stops).await;
        if let Some(tracker) = tracker {
            stopped.push(("tracker".to_owned(), tracker.stop(NODE_STOP).await));
        }
        for (name, result) in stopped {
            match result {
                Ok(true) => {}
                Ok(false) => tracing::warn!(op = "stop", "{name} did not stop in time and was killed"),
                Err(error) => failures.push(format!("{name}: {}", output::explain(&error))),
            }
        }
        for process in &mut self.plan.processes {
            process.pid = None;
        }
        self.plan.save()?;
        if !failures.is_empty() {
            bail!("not everything stopped: {}", failures.join("; "));
        }
        Ok(())
    }
}

/// The next process that ends; None while none runs.
async fn next_end(running: &mut BTreeMap<String, Running>) -> Option<(String, std::io::Result<ExitStatus>)> {
    if running.is_empty() {
        return None;
    }
    let ends = running.iter_mut().map(|(name, child)| Box::pin(async move { (name.clone(), child.ended().await) }));
    Some(select_all(ends).await.0)
}

/// The mount's peer id, from its status.
async fn mount_peer(process: &Process) -> Option<String> {
    let status = match Client::connect(&process.socket).await {
        Ok(client) => client.status().await,
        Err(error) => Err(error),
    };
    match status {
        Ok(json) => serde_json::from_str::<serde_json::Value>(&json).ok()?.get("peer")?.as_str().map(str::to_owned),
        Err(error) => {
            tracing::warn!(op = "status", kind = %error.kind(), %error, "the mount does not tell its peer id");
            None
        }
    }
}
