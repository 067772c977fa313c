//! The outbox: every transaction of an account, stored before it is sent, sent until it is confirmed.
//!
//! An *action* has a key, and a repeat of the key is the same action: whatever happened to this process meanwhile, the call is
//! on the chain once at most. It goes this way, each step stored before the next:
//!
//! ```text
//! queued -> signed -> sent -> mined -> confirmed: done, or reverted
//!    ^        |                 |
//!    |        | nonce taken     | re-organisation: sent again
//!    +--------+                 +-> sent
//! queued -> refused: nothing was signed, the same key may be submitted again
//! ```
//!
//! - *One owner of the nonces.* The directory of an account on a chain is locked; a second process is refused.
//! - *Gas.* A transaction that stays unmined is replaced under the same nonce with an eighth more, up to the ceiling; then it
//!   waits, and says so. All hashes that it ever had are looked for.
//! - *A nonce that somebody else used.* Once that is as deep as confirmations go, and none of the action's own transactions
//!   is mined, the action is signed anew: the earlier ones can never be mined any more.
//! - *Without a node* actions queue, up to a bound. [`OutboxReport`] says what waits and why; [`OutboxPlace`] shows it to other
//!   processes, which have no key.

mod pass;
mod record;
mod report;
mod sign;
mod store;
mod task;
mod view;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};

pub use self::{
    report::{ActionReport, EndedReport, OutboxReport, Outcome, Progress, Until},
    view::{OutboxPlace, OutboxView},
};
use self::{
    store::OutboxStore,
    task::{Command, OutboxTask},
};
use super::{ActionKey, Call, Error, Node, Signer, blocking::blocking};
use crate::{
    base::{Wei, limits},
    runtime::{Clock, Tasks},
};

/// How an outbox works.
#[derive(Clone, Debug)]
pub struct OutboxOptions {
    /// Below this every account of every chain has its directory. All processes of a machine that may share an account must
    /// be given the same.
    pub directory: PathBuf,
    /// Whose outbox it is, for who is refused: "mount", "consumer".
    pub role: String,
    /// A transaction counts when its block and those after it are so many.
    pub confirmations: u64,
    /// A unit of gas costs this, at most.
    pub fee_ceiling: Wei,
    /// A transaction that is not mined after this is replaced.
    pub stuck_after: Duration,
    /// Time between two looks at the chain.
    pub poll: Duration,
    /// A transaction that is not mined is looked for at the node, and sent again if it is gone, this often.
    pub resend: Duration,
    /// Actions that may wait.
    pub queue: usize,
    /// Somebody looks at the report: that the chain cannot be reached is not logged, too.
    pub is_watched: bool,
}

impl OutboxOptions {
    /// The usual ones.
    pub fn new(directory: PathBuf, role: &str) -> Self {
        Self {
            directory,
            role: role.to_owned(),
            confirmations: limits::CONFIRMATIONS,
            fee_ceiling: limits::GAS_CEILING,
            stuck_after: limits::OUTBOX_STUCK,
            poll: limits::CHAIN_POLL,
            resend: limits::OUTBOX_RESEND,
            queue: limits::OUTBOX_ACTIONS,
            is_watched: false,
        }
    }
}

/// What an outbox works with.
#[derive(Clone)]
pub struct OutboxParts {
    pub node: Node,
    pub signer: Arc<Signer>,
    pub clock: Arc<dyn Clock>,
}

/// Sends the transactions of one account. Clones share it.
#[derive(Clone)]
pub struct Outbox {
    commands: mpsc::Sender<Command>,
    report: watch::Receiver<Arc<OutboxReport>>,
}

impl Outbox {
    /// Takes the account's nonces, and goes on with what an earlier process left. The node may be down.
    pub async fn open(options: OutboxOptions, parts: OutboxParts, tasks: &Tasks) -> Result<Self, Error> {
        let (chain, account) = (parts.node.chain(), parts.signer.address());
        let place = (options.directory.clone(), options.role.clone());
        let (store, live) = blocking(move || OutboxStore::open(&place.0, &place.1, chain, account)).await?;
        let (commands, received) = mpsc::channel(limits::OUTBOX_COMMANDS);
        let (task, report) = OutboxTask::new(options, parts, store, live);
        let shutdown = tasks.shutdown().clone();
        tasks.spawn(task.run(received, shutdown));
        Ok(Self { commands, report })
    }

    /// Takes an action, durably. What it becomes at once is the answer: a refusal that can be seen before anything is signed
    /// is an error, and the same key may be submitted again. With no node it is queued. A key that was submitted
    /// before gives what became of it.
    pub async fn submit(&self, key: &ActionKey, call: Call) -> Result<Progress, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Submit { key: key.clone(), call, reply }).await?;
        answer.await.map_err(|_| closed())?
    }

    /// Waits until an action is as far. [`Error::Pending`] when it is not in time; it goes on.
    pub async fn wait(&self, key: &ActionKey, until: Until, timeout: Duration) -> Result<Progress, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Wait { key: key.clone(), until, reply }).await?;
        match tokio::time::timeout(timeout, answer).await {
            Ok(answer) => answer.map_err(|_| closed())?,
            Err(_) => {
                let state = self.report().action(key).map_or_else(|| "queued".to_owned(), ActionReport::to_string);
                Err(Error::Pending { key: key.clone(), state })
            }
        }
    }

    /// Takes an action and waits until it is as far; a contract's refusal is an error.
    pub async fn perform(
        &self,
        key: &ActionKey,
        call: Call,
        until: Until,
        timeout: Duration,
    ) -> Result<Progress, Error> {
        let what = call.what.clone();
        self.submit(key, call).await?;
        match self.wait(key, until, timeout).await? {
            Progress::Final(Outcome::Reverted { why, .. }) => Err(Error::Reverted { what, why }),
            progress => Ok(progress),
        }
    }

    /// What became of an action.
    pub async fn progress(&self, key: &ActionKey) -> Result<Progress, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Wait { key: key.clone(), until: Until::Queued, reply }).await?;
        answer.await.map_err(|_| closed())?
    }

    /// What waits, and why.
    pub fn report(&self) -> Arc<OutboxReport> {
        Arc::clone(&self.report.borrow())
    }

    async fn send(&self, command: Command) -> Result<(), Error> {
        self.commands.send(command).await.map_err(|_| closed())
    }
}

fn closed() -> Error {
    Error::Closed("it was stopped; what it has is stored and goes on at the next start".to_owned())
}
