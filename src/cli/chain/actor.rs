//! An account of a wallet that acts: asks for consent and the password, sends through the outbox, waits.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};

use super::{ActArgs, Chain, DEVELOPMENT_CHAIN, args::SignArgs};
use crate::{
    base::{Mutex, Wei, limits},
    chain::{
        Action, ActionKey, Call, Error, Ledger, Outbox, OutboxOptions, OutboxParts, Outcome, Progress, RealLedger,
        RealLedgerParts, Signer, TxHash, Until, Wallet,
    },
    cli::{
        UsageError,
        args::Global,
        output,
        progress::Spinner,
        wallet::{self, Terminal, existing_password},
    },
    keys::EthereumAddress,
    runtime::{Chance, CpuPool, Shutdown, SystemChance, SystemClock, Tasks},
};

/// Between two looks at what is shown.
const SHOW: Duration = Duration::from_millis(200);
/// Between two looks at a chain on this machine.
const DEVELOPMENT_POLL: Duration = Duration::from_millis(100);

/// A transaction that is final.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    pub hash: TxHash,
    pub block: u64,
    pub fee: Wei,
}

/// What becomes of an action that no node can be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutNode {
    /// Nothing is begun.
    Refuse,
    /// It is kept, and goes out with the next command.
    Keep,
}

/// Acts for one account.
pub struct Actor {
    pub chain: Chain,
    pub signer: Arc<Signer>,
    pub outbox: Outbox,
    /// Why no node answers, when none does: then what is done is kept until one answers.
    pub offline: Option<String>,
    /// What earlier processes left, with what it is: what became of it is told at the end, unless it was followed here.
    pub earlier: Vec<(ActionKey, String)>,
    followed: Mutex<BTreeSet<ActionKey>>,
    /// Whether deposits that an action needs are told.
    pub tells_deposits: bool,
    timeout: Duration,
    tasks: Tasks,
}

/// A key for an action that is a new one each time it is asked for.
pub fn random_key(what: &str) -> ActionKey {
    let random = hex::encode(&SystemChance::default().bytes32()[..16]);
    ActionKey::new(format!("{what}/{random}")).expect("short and printable")
}

/// Where the outboxes of a wallet's accounts are.
pub fn outbox_of(wallet: &std::path::Path) -> std::path::PathBuf {
    wallet.join("outbox")
}

impl Actor {
    /// Asks whether that is wanted, and for the password; takes the account's nonces. `words` says what is to happen, from the
    /// account's address.
    pub async fn begin(
        global: &Global,
        args: &ActArgs,
        without_node: WithoutNode,
        words: impl FnOnce(EthereumAddress) -> String,
    ) -> anyhow::Result<Self> {
        let sign = &args.sign;
        let (wallet, account) = wallet::account(global, &sign.wallet, args.account.as_deref())?;
        let chain = Chain::of(global, &sign.ask.chain, sign.wallet.layer())?;
        let offline = chain.check(without_node).await?;
        let later = if offline.is_some() { ", as soon as a node answers: none does now" } else { "" };
        consent(args.yes, &format!("{}{later}", words(account)))?;
        let mut actor = Self::unlock(chain, (&wallet, account), sign).await?;
        actor.offline = offline;
        Ok(actor)
    }

    /// Acts for an account of a wallet: asks for the password.
    pub async fn unlock(
        chain: Chain,
        (wallet, account): (&Wallet, EthereumAddress),
        sign: &SignArgs,
    ) -> anyhow::Result<Self> {
        let password = existing_password(sign.password.password_file.as_deref())?;
        let key = wallet.unlock_on(&CpuPool::new(1), account, password).await?;
        Self::open_at(chain, outbox_of(wallet.directory()), Signer::new(&key), sign.timeout).await
    }

    /// Acts with a key, and keeps what it sends below this directory.
    pub async fn open_at(
        chain: Chain,
        directory: std::path::PathBuf,
        signer: Signer,
        timeout: Duration,
    ) -> anyhow::Result<Self> {
        let mut options = OutboxOptions::new(directory, "wallet");
        options.confirmations = chain.confirmations();
        options.fee_ceiling = chain.settings.gas_ceiling;
        options.is_watched = true;
        if chain.node.chain() == DEVELOPMENT_CHAIN {
            options.poll = DEVELOPMENT_POLL;
        }
        let signer = Arc::new(signer);
        let tasks = Tasks::new(Shutdown::new());
        let parts = OutboxParts { node: chain.node.clone(), signer: Arc::clone(&signer), clock: Arc::new(SystemClock) };
        let outbox = Outbox::open(options, parts, &tasks).await?;
        let report = outbox.report();
        let earlier: Vec<_> = report.actions.iter().map(|action| (action.key.clone(), action.what.clone())).collect();
        let followed = Mutex::default();
        Ok(Self { chain, signer, outbox, offline: None, earlier, followed, tells_deposits: true, timeout, tasks })
    }

    pub fn account(&self) -> EthereumAddress {
        self.signer.address()
    }

    /// The contracts, for the account.
    pub async fn ledger(&self) -> anyhow::Result<RealLedger> {
        let contracts = self.chain.contracts()?;
        let follower = self.chain.follower(&contracts);
        let (node, outbox) = (self.chain.node.clone(), self.outbox.clone());
        let parts = RealLedgerParts { node, outbox, contracts, follower };
        match self.offline {
            Some(_) => Ok(RealLedger::open_unchecked(parts)),
            None => Ok(RealLedger::open(parts).await?),
        }
    }

    /// Whether an action was taken before: then it is not begun again, and nothing needs to be looked at before it.
    pub async fn knows(&self, key: &ActionKey) -> bool {
        self.outbox.progress(key).await.is_ok()
    }

    /// Sends a call and waits until it is final.
    pub async fn send(&self, key: &ActionKey, call: Call) -> anyhow::Result<Done> {
        let what = call.what.clone();
        let progress = self.outbox.submit(key, call).await.map_err(plain)?;
        self.follow_from(progress, key, &what).await
    }

    /// Has the contracts do something, and waits until it is final.
    pub async fn act(&self, ledger: &RealLedger, key: &ActionKey, action: &Action) -> anyhow::Result<Done> {
        let what = action.what();
        let progress = ledger.submit(key, action).await.map_err(plain)?;
        self.follow_from(progress, key, &what).await
    }

    async fn follow_from(&self, progress: Progress, key: &ActionKey, what: &str) -> anyhow::Result<Done> {
        match progress {
            Progress::Queued { note } if self.offline.is_some() => {
                let note = note.or_else(|| self.offline.clone()).unwrap_or_default();
                bail!(
                    "{what}: kept, not sent: {note}; do not repeat it: the next command of the account sends it, \
                     openbucket wallet pending shows it, --cancel {key} with that takes it back"
                )
            }
            _ => self.follow(key, what).await,
        }
    }

    /// Waits until an action is final.
    pub async fn follow(&self, key: &ActionKey, what: &str) -> anyhow::Result<Done> {
        self.followed.lock().insert(key.clone());
        let end = Instant::now() + self.timeout;
        let spinner = Spinner::new("waiting");
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.outbox.wait(key, Until::Final, left.min(SHOW)).await {
                Ok(Progress::Final(Outcome::Done { hash, block, fee })) => return Ok(Done { hash, block, fee }),
                Ok(Progress::Final(Outcome::Reverted { hash, fee, why, .. })) => {
                    bail!("{what}: the contract refuses: {why} (transaction {hash}, which cost {fee} of gas)")
                }
                Err(Error::Pending { state, .. }) if !left.is_zero() => spinner.show(&format!("{what}: {state}")),
                Ok(progress) => return Err(unfinished(what, &progress.to_string())),
                Err(Error::Pending { state, .. }) => return Err(unfinished(what, &state)),
                Err(error) => return Err(plain(error)),
            }
        }
    }

    /// What the account lacks in the vault for an action goes there first.
    pub async fn deposit_missing(&self, ledger: &RealLedger, needed: Wei, of: &ActionKey) -> anyhow::Result<()> {
        let account = self.account();
        let mut key = ActionKey::new(format!("{of}/deposit"))?;
        if self.knows(&key).await {
            // Of an earlier try of the same action.
            self.follow(&key, "deposit").await?;
            key = random_key("deposit");
        }
        let Some(missing) = needed.checked_sub(ledger.balance(account).await?).filter(|missing| missing.0 > 0) else {
            return Ok(());
        };
        let action = Action::Deposit { account, amount: missing };
        let done = self.act(ledger, &key, &action).await?;
        if self.tells_deposits {
            eprintln!("openbucket: deposited {missing} in the vault with transaction {}", done.hash);
        }
        Ok(())
    }

    /// Gives the account's nonces back; says what became of what earlier processes left.
    pub async fn end(self) {
        let followed = self.followed.into_inner();
        // Without a node nothing became of anything.
        let earlier = self.earlier.into_iter().filter(|(key, _)| self.offline.is_none() && !followed.contains(key));
        for (key, what) in earlier {
            let state = match self.outbox.wait(&key, Until::Queued, SHOW).await {
                Ok(progress) => progress.to_string(),
                Err(Error::Pending { state, .. }) => state,
                Err(error) => format!("nothing was sent: {error}"),
            };
            eprintln!("openbucket: from before: {what}: {state}");
        }
        if !self.tasks.stop(limits::STOP_TIMEOUT).await {
            tracing::warn!(op = "stop", "the outbox did not close in time");
        }
    }
}

fn unfinished(what: &str, state: &str) -> anyhow::Error {
    anyhow!(
        "{what}: not final in time: {state}; do not repeat it: it is kept, and goes on when this account is used next; \
         openbucket wallet pending shows it"
    )
}

/// What the chain says is said as it is.
fn plain(error: Error) -> anyhow::Error {
    error.into()
}

/// Asks on the terminal.
fn consent(is_given: bool, words: &str) -> anyhow::Result<()> {
    if is_given {
        return Ok(());
    }
    let missing = || UsageError::of(format!("{words}: no terminal to ask on: run it on one, or give --yes"));
    let mut terminal = Terminal::open().ok_or_else(missing)?;
    let answer = terminal.ask(&format!("{words}? [y/N] "))?;
    match answer.trim_ascii().eq_ignore_ascii_case(b"y") || answer.trim_ascii().eq_ignore_ascii_case(b"yes") {
        true => Ok(()),
        false => bail!("nothing was sent"),
    }
}

impl Done {
    /// Prints it, with what came of it.
    pub fn print(&self, is_json: bool, facts: &serde_json::Value) -> anyhow::Result<()> {
        let mut all = serde_json::json!({
            "transaction": self.hash.to_string(),
            "block": self.block,
            "fee_wei": self.fee.0.to_string(),
        });
        let (Some(all), Some(facts)) = (all.as_object_mut(), facts.as_object()) else {
            return Err(anyhow!("facts are an object")).context("a defect of this program");
        };
        if is_json {
            all.extend(facts.clone());
            return output::line(&serde_json::Value::Object(all.clone()).to_string());
        }
        for (name, value) in facts {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            output::line(&format!("{}: {value}", name.replace('_', " ")))?;
        }
        output::line(&format!("transaction: {} in block {}, for {} of gas", self.hash, self.block, self.fee))
    }
}
