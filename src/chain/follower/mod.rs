//! Follows the events of contracts: each confirmed one is handed over once, in the order of the chain.
//!
//! The handler keeps the [`Cursor`] together with what the events change, in one transaction; so a crash neither repeats an
//! event nor leaves one out. Events count when their block is as deep as `confirmations` says. A re-organisation of blocks above
//! that is never seen. One that goes deeper is noticed, since the hash of the cursor's block is not the chain's any more: the
//! newest of the remembered blocks that still is on the chain is found, the handler takes back what came after it, and
//! the events of the new chain follow. When none is left, [`Error::DeepReorg`].
//!
//! Blocks are asked for in ranges, which shrink when a node does not give so many and grow again. A range counts only when
//! its last block is the same before and after, by the same node: so its events are those of one chain.

mod cursor;

use std::{sync::Arc, time::Duration};

pub use self::cursor::{Cursor, Mark};
use super::{
    Error, Node,
    blocking::blocking,
    node::{Header, RawLog},
};
use crate::{
    base::{Mutex, limits},
    keys::EthereumAddress,
    runtime::Tasks,
};

/// Takes events, and keeps the cursor.
///
/// Each call is all or nothing: effects and cursor are stored in one transaction before it returns. Calls come one at a
/// time, off the async threads: they may block.
pub trait EventHandler: Send + Sync + 'static {
    /// The cursor that was stored last; None before the first.
    fn cursor(&self) -> Result<Option<Cursor>, Error>;
    /// Takes events, in order; none when only the cursor moves.
    fn apply(&self, events: &[RawLog], cursor: &Cursor) -> Result<(), Error>;
    /// Takes back every event after the cursor, which becomes the stored one: the chain was rewritten.
    fn revert(&self, cursor: &Cursor) -> Result<(), Error>;
}

/// What is followed.
#[derive(Clone, Debug)]
pub struct FollowerOptions {
    /// Whose events.
    pub contracts: Vec<EthereumAddress>,
    /// The first block whose events count: that of the deployment.
    pub first_block: u64,
    /// A block counts when it and those after it are so many.
    pub confirmations: u64,
    /// Time between two looks at the chain.
    pub poll: Duration,
    /// Blocks of one question, at most.
    pub range_blocks: u64,
    /// Events handed over at a time, at most.
    pub batch: usize,
}

impl FollowerOptions {
    /// The usual bounds.
    pub fn new(contracts: Vec<EthereumAddress>, first_block: u64) -> Self {
        Self {
            contracts,
            first_block,
            confirmations: limits::CONFIRMATIONS,
            poll: limits::CHAIN_POLL,
            range_blocks: limits::EVENT_BLOCKS,
            batch: limits::EVENTS_PER_BATCH,
        }
    }
}

/// How far a follower is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FollowerReport {
    /// The newest block seen.
    pub head: Option<u64>,
    /// Events are handed over up to this block.
    pub block: Option<u64>,
    /// Why it does not go on, if so.
    pub trouble: Option<String>,
}

/// Follows events until it is stopped.
pub struct Follower {
    node: Node,
    options: FollowerOptions,
    handler: Arc<dyn EventHandler>,
    range: Mutex<u64>,
    report: Mutex<FollowerReport>,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There may be more at once.
    More,
    /// Everything that counts is handed over.
    UpToDate,
}

impl Follower {
    /// Nothing is asked yet.
    pub fn new(node: Node, options: FollowerOptions, handler: Arc<dyn EventHandler>) -> Self {
        let range = Mutex::new(options.range_blocks.max(1));
        Self { node, options, handler, range, report: Mutex::default() }
    }

    /// How far it is.
    pub fn report(&self) -> FollowerReport {
        self.report.lock().clone()
    }

    /// Follows in the background until the tasks end. Failures of the way to the chain are tried again; another one, of the
    /// handler or of a chain that was rewritten too deep, ends it and stays in the report.
    pub fn start(self: Arc<Self>, tasks: &Tasks) {
        let follower = Arc::clone(&self);
        tasks.spawn_until_shutdown(async move { follower.follow().await });
    }

    async fn follow(&self) {
        let mut wait = self.options.poll;
        loop {
            match self.step().await {
                Ok(Step::More) => {
                    self.report.lock().trouble = None;
                    continue;
                }
                Ok(Step::UpToDate) => {
                    self.report.lock().trouble = None;
                    wait = self.options.poll;
                }
                Err(error) => {
                    self.report.lock().trouble = Some(error.to_string());
                    if !error.is_of_the_way() {
                        tracing::error!(%error, "events of the chain are not followed any more");
                        return;
                    }
                    tracing::warn!(%error, "events of the chain wait");
                    wait = (wait * 2).min(limits::RETRY_MAX);
                }
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Hands over what counts and was not handed over yet: one range, at most. Not to be called twice at a time.
    pub async fn step(&self) -> Result<Step, Error> {
        let head = self.node.head().await?;
        self.report.lock().head = Some(head.number);
        let cursor = self.read_cursor().await?;
        self.report.lock().block = cursor.as_ref().map(|cursor| cursor.newest().block);
        // A chain of n + 1 blocks with one confirmation: all of them count.
        let Some(last) = (head.number + 1).checked_sub(self.options.confirmations.max(1)) else {
            return Ok(Step::UpToDate);
        };
        let cursor = match cursor {
            Some(cursor) => match self.on_chain(&cursor, head.number).await? {
                Standing::Here => Some(cursor),
                Standing::NodeIsBehind => return Ok(Step::UpToDate),
                Standing::Rewritten(ancestor) => {
                    tracing::warn!(
                        from = cursor.newest().block,
                        to = ancestor.newest().block,
                        "the chain was rewritten; events are taken back"
                    );
                    let handler = Arc::clone(&self.handler);
                    blocking(move || handler.revert(&ancestor)).await?;
                    return Ok(Step::More);
                }
            },
            None => None,
        };
        let from = cursor.as_ref().map_or(self.options.first_block, Cursor::next_block);
        if from > last {
            return Ok(Step::UpToDate);
        }
        self.range(cursor, from, last).await
    }

    async fn read_cursor(&self) -> Result<Option<Cursor>, Error> {
        let handler = Arc::clone(&self.handler);
        blocking(move || handler.cursor()).await
    }

    /// Whether the cursor's block is still on the chain.
    async fn on_chain(&self, cursor: &Cursor, head: u64) -> Result<Standing, Error> {
        let newest = cursor.newest();
        if newest.block > head {
            // Shorter than what was seen: maybe another node, maybe another chain. The blocks that it has will tell.
            let older = cursor.marks().iter().rev().find(|mark| mark.block <= head);
            let is_same = match older {
                Some(mark) => self.is_canonical(mark).await?,
                None => true,
            };
            if is_same {
                return Ok(Standing::NodeIsBehind);
            }
        } else if self.is_canonical(newest).await? {
            return Ok(Standing::Here);
        }
        for (index, mark) in cursor.marks().iter().enumerate().rev() {
            if mark.block <= head && self.is_canonical(mark).await? {
                return Ok(Standing::Rewritten(cursor.back_to(index)));
            }
        }
        Err(Error::DeepReorg { block: cursor.marks()[0].block })
    }

    async fn is_canonical(&self, mark: &Mark) -> Result<bool, Error> {
        Ok(self.node.header(mark.block).await?.is_some_and(|header| header.hash == mark.hash))
    }

    /// Hands over the events of the next range of blocks.
    async fn range(&self, cursor: Option<Cursor>, from: u64, last: u64) -> Result<Step, Error> {
        let size = (*self.range.lock()).max(1);
        let to = last.min(from.saturating_add(size - 1));
        let generation = self.node.transport().generation();
        let before = self.node.header(to).await?;
        let logs = match self.node.logs(&self.options.contracts, from, to).await {
            Err(Error::Node { .. } | Error::TooLarge { .. }) if to > from => {
                *self.range.lock() = ((to - from) / 2).max(1);
                return Ok(Step::More);
            }
            other => other?,
        };
        let after = self.node.header(to).await?;
        let (Some(end), true) = (after, before == after && generation == self.node.transport().generation()) else {
            // The chain or the node changed meanwhile: once more.
            return Ok(Step::UpToDate);
        };
        self.check_hashes(&logs, &end).await?;
        let logs: Vec<RawLog> = match &cursor {
            Some(cursor) => logs.into_iter().filter(|log| cursor.is_before(log.block, log.index)).collect(),
            None => logs,
        };
        self.hand_over(cursor, logs, &end).await?;
        let mut range = self.range.lock();
        *range = range.saturating_mul(2).min(self.options.range_blocks.max(1));
        Ok(if to < last { Step::More } else { Step::UpToDate })
    }

    /// Each log must be of the block that the chain has at its height.
    async fn check_hashes(&self, logs: &[RawLog], end: &Header) -> Result<(), Error> {
        let mut known = (end.number, end.hash);
        for log in logs {
            if log.block != known.0 {
                let header = self.node.header(log.block).await?;
                known = (log.block, header.map_or(log.block_hash, |header| header.hash));
            }
            if known.1 != log.block_hash {
                let why = format!("a log of block {} is of another block of that number", log.block);
                return Err(Error::Lying { host: self.node.transport().host(), why });
            }
        }
        Ok(())
    }

    async fn hand_over(&self, cursor: Option<Cursor>, logs: Vec<RawLog>, end: &Header) -> Result<(), Error> {
        let mut cursor = cursor;
        let mut logs = logs.into_iter().peekable();
        while logs.peek().is_some() {
            let batch: Vec<RawLog> = logs.by_ref().take(self.options.batch.max(1)).collect();
            if logs.peek().is_none() {
                return self.apply(batch, Cursor::after_block(cursor, end.number, end.hash)).await.map(drop);
            }
            let last = batch.last().expect("a batch has an event").clone();
            let next = Cursor::after_event(cursor, last.block, last.block_hash, last.index);
            cursor = Some(self.apply(batch, next).await?);
        }
        self.apply(Vec::new(), Cursor::after_block(cursor, end.number, end.hash)).await.map(drop)
    }

    async fn apply(&self, events: Vec<RawLog>, cursor: Cursor) -> Result<Cursor, Error> {
        let handler = Arc::clone(&self.handler);
        let applied = cursor.clone();
        blocking(move || handler.apply(&events, &applied)).await?;
        self.report.lock().block = Some(cursor.newest().block);
        Ok(cursor)
    }
}

enum Standing {
    Here,
    NodeIsBehind,
    Rewritten(Cursor),
}
