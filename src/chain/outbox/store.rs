//! The outbox on disk: one directory for an account on a chain, locked by the process that owns its nonces.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    record::{Action, End, Past},
    report::{EndedReport, OutboxReport},
};
use crate::{
    base::{Record, UnixMillis, limits},
    chain::{ActionKey, ChainId, Error},
    keys::EthereumAddress,
    runtime::make_directory,
    store::{self, RecordTable, StateLock, Tables},
};

/// Actions by the order in which they were accepted.
pub(super) type Live = std::collections::BTreeMap<u64, Action>;

/// Where the outbox of an account is.
pub(super) fn directory_of(base: &Path, chain: ChainId, account: EthereumAddress) -> PathBuf {
    base.join(format!("{chain}-0x{}", hex::encode(account.0)))
}

/// What the owner of an outbox told last; None when it told nothing, or in another way than this release.
pub(super) fn told(directory: &Path) -> Option<OutboxReport> {
    OutboxReport::decode(&fs::read(directory.join(TOLD)).ok()?).ok()
}

/// The file of the report, for other processes while this one has the lock.
const TOLD: &str = "report";

/// The tables. All calls block on the disk.
pub(super) struct OutboxStore {
    directory: PathBuf,
    tables: Tables,
    live: RecordTable<Action>,
    past: RecordTable<Past>,
    _lock: StateLock,
}

impl OutboxStore {
    /// Opens or makes the directory of an account; refused while another process has it.
    pub fn open(base: &Path, role: &str, chain: ChainId, account: EthereumAddress) -> Result<(Self, Live), Error> {
        make_directory(base).map_err(store::Error::io("cannot create", base))?;
        let directory = directory_of(base, chain, account);
        let lock = StateLock::acquire(&directory, role).map_err(|error| match error {
            store::Error::Locked { holder, .. } => Error::AccountInUse { account, chain, holder },
            other => other.into(),
        })?;
        let tables = Tables::open(&directory.join("trees"))?;
        let (live, past) = (tables.table("live")?, tables.table("past")?);
        let store = Self { directory, live, past, tables, _lock: lock };
        let live = store.load()?;
        Ok((store, live))
    }

    fn load(&self) -> Result<Live, Error> {
        let mut live = Live::new();
        for (key, action) in self.live.scan(None, limits::OUTBOX_ACTIONS + 1)? {
            // An action that cannot be read may be on the chain: to go on without it could repeat it.
            let action = action?;
            let sequence = <[u8; 8]>::try_from(key).map(u64::from_be_bytes);
            let sequence =
                sequence.map_err(|_| Error::Invalid("the outbox has an action without a place".to_owned()))?;
            if self.past(&action.key)?.is_some() {
                // A crash came between the outcome and this.
                self.live.delete(&sequence.to_be_bytes())?;
            } else {
                live.insert(sequence, action);
            }
        }
        Ok(live)
    }

    /// What became of an action that is final.
    pub fn past(&self, key: &ActionKey) -> Result<Option<Past>, Error> {
        Ok(self.past.get(key.as_str().as_bytes())?)
    }

    /// Keeps an action, durably.
    pub fn put(&self, sequence: u64, action: &Action) -> Result<(), Error> {
        self.live.put(&sequence.to_be_bytes(), action)?;
        Ok(self.tables.flush()?)
    }

    /// The same, durable within a second: for what the chain tells again.
    pub fn put_soon(&self, sequence: u64, action: &Action) -> Result<(), Error> {
        Ok(self.live.put(&sequence.to_be_bytes(), action)?)
    }

    /// An action gets its outcome, durably.
    pub fn finish(&self, sequence: u64, key: &ActionKey, past: &Past) -> Result<(), Error> {
        self.past.put(key.as_str().as_bytes(), past)?;
        self.live.delete(&sequence.to_be_bytes())?;
        Ok(self.tables.flush()?)
    }

    /// A refused action is taken again, durably.
    pub fn renew(&self, sequence: u64, action: &Action) -> Result<(), Error> {
        self.past.delete(action.key.as_str().as_bytes())?;
        self.put(sequence, action)
    }

    /// Writes the report; of no use after a crash, so it is not flushed.
    pub fn tell(&self, report: &[u8]) -> Result<(), Error> {
        let (path, fresh) = (self.directory.join(TOLD), self.directory.join("report.new"));
        let written = fs::write(&fresh, report).and_then(|()| fs::rename(&fresh, &path));
        Ok(written.map_err(store::Error::io("cannot write", &path))?)
    }

    /// What ended last, the newest first.
    pub fn ended(&self, count: usize) -> Result<Vec<EndedReport>, Error> {
        let mut newest: Vec<EndedReport> = Vec::new();
        let mut after = None;
        loop {
            let page = self.past.scan(after.as_deref(), limits::OUTBOX_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(newest) };
            let next = last.clone();
            for (key, past) in page {
                let Past { what, ended_at, end, .. } = past?;
                let key = ActionKey::new(String::from_utf8_lossy(&key))?;
                let outcome = match end {
                    End::Final(outcome) => Ok(outcome),
                    End::Refused { why, .. } => Err(why),
                };
                newest.push(EndedReport { key, what, ended_at, outcome });
            }
            newest.sort_by_key(|ended| std::cmp::Reverse(ended.ended_at));
            newest.truncate(count);
            after = Some(next);
        }
    }

    /// Forgets outcomes that are older than they are kept.
    pub fn forget(&self, now: UnixMillis) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = self.past.scan(after.as_deref(), limits::OUTBOX_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            let next = last.clone();
            for (key, past) in page {
                if past.is_ok_and(|past| now.since(past.ended_at) > limits::OUTBOX_KEPT) {
                    self.past.delete(&key)?;
                }
            }
            after = Some(next);
        }
    }
}
