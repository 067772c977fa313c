//! The check of a bucket's own records, of its staging files, and of its placements against what consumers list.
//!
//! It runs while the bucket is used. Each thing is first looked at without a lock; what looks wrong is looked at again
//! under the lock that orders its changes, and only what is wrong there is a problem. What may be about to be put right by
//! background work gets a second look some time later. With repair, a problem that can be mended without losing a byte of
//! any file is mended under that same lock.
//!
//! - `names`: entries, the order of directories, link counts, orphans
//! - `lost`: what no name leads to, and the bucket's counters
//! - `extents`: extents, chunks, and what each knows of the other
//! - `staged`: staged ranges and staging files
//! - `shards`: what consumers hold

mod extents;
mod lost;
mod names;
mod report;
mod shards;
mod staged;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::watch;

pub use report::{FsckKind, FsckProblem, FsckProgress, FsckReport};
#[cfg(test)]
pub(super) use tests::chunk;

use super::{
    Bucket, Error, Inner,
    cell::{Cell, CellState},
    commit::blocking,
};
use crate::{
    base::{Ino, limits},
    store::{Batch, Table},
};

/// What a check does beside looking.
#[derive(Clone, Debug, Default)]
pub struct FsckOptions {
    /// Mends what can be mended without losing data.
    pub is_repair: bool,
    /// Deletes shards on consumers that this bucket does not know. Only where no other bucket has the same phrase.
    pub deletes_unknown_shards: bool,
    /// Why shards that this bucket does not know say nothing; None: nobody else may have put them.
    pub unknown_shards_unjudged: Option<String>,
}

/// A check under way.
struct Check {
    inner: Arc<Inner>,
    options: FsckOptions,
    report: FsckReport,
    progress: watch::Sender<FsckProgress>,
    /// The greatest number that an inode or a place in a directory has.
    last_id: u64,
}

/// Something wrong, and what would mend it.
struct Finding {
    kind: FsckKind,
    what: String,
    why: String,
    mend: Mend,
}

enum Mend {
    /// Nothing does without losing data.
    Nothing,
    Batch(Batch),
    /// A change of an inode's record, and of others with it.
    Inode(Ino, Box<dyn FnOnce(&mut CellState) + Send>, Batch),
}

/// Which lock orders the changes of a thing.
#[derive(Clone, Copy)]
enum Order {
    Names,
    Accounts,
}

impl Finding {
    fn new(kind: FsckKind, what: impl Into<String>, why: impl Into<String>, mend: Mend) -> Self {
        Self { kind, what: what.into(), why: why.into(), mend }
    }
}

impl Bucket {
    /// Checks everything. It ends early when nobody receives its progress any more.
    ///
    /// # Errors
    /// When the state directory cannot be read, or the bucket is closing.
    pub async fn fsck(&self, options: FsckOptions, progress: watch::Sender<FsckProgress>) -> Result<FsckReport, Error> {
        let inner = Arc::clone(&self.inner);
        let report =
            FsckReport { unknown_shards_unjudged: options.unknown_shards_unjudged.clone(), ..FsckReport::default() };
        let mut check = Check { inner, options, report, progress, last_id: 0 };
        check = check.blocking(Check::check_records).await?;
        check = check.check_staging_files().await?;
        check = check.check_consumers().await?;
        let Check { inner, report, .. } = check;
        inner.wake_tenders();
        inner.note_change();
        Ok(report)
    }
}

impl Check {
    /// Runs a step that reads the disk.
    async fn blocking(
        mut self,
        step: impl FnOnce(&mut Self) -> Result<(), Error> + Send + 'static,
    ) -> Result<Self, Error> {
        blocking(move || step(&mut self).map(|()| self)).await
    }

    fn check_records(&mut self) -> Result<(), Error> {
        self.check_entries()?;
        self.check_directory_order()?;
        self.check_links()?;
        self.check_orphans()?;
        self.check_counters()?;
        for table in [Table::Xattr, Table::Extent, Table::Staged, Table::Policy] {
            self.check_owners(table)?;
        }
        self.check_files()?;
        self.check_users()?;
        self.check_chunks()?;
        self.check_accounts_of_chunks()?;
        self.check_staged_ranges()
    }

    /// Calls `visit` for each record of a table, a page at a time, without a lock. What it answers is where to go on: at
    /// the next record, or (`Some`) at this key.
    fn each(
        &mut self,
        table: Table,
        step: &'static str,
        mut visit: impl FnMut(&mut Self, &[u8], &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut from, mut done) = (Vec::new(), 0);
        loop {
            self.go_on(step, done)?;
            let page = self.inner.database.scan(table, b"", &from, limits::FSCK_PAGE)?;
            for (key, value) in &page {
                visit(self, key, value)?;
            }
            done += page.len() as u64;
            match page.last() {
                Some((last, _)) if page.len() == limits::FSCK_PAGE => from = [&last[..], &[0]].concat(),
                _ => return Ok(()),
            }
        }
    }

    /// Tells where the check is; an error when it is to end.
    fn go_on(&self, step: &'static str, done: u64) -> Result<(), Error> {
        let is_unheard = self.progress.send(FsckProgress { step, done }).is_err();
        if is_unheard || self.inner.tasks.shutdown().is_started() { Err(Error::Closed) } else { Ok(()) }
    }

    /// Looks at one thing, and again under its lock when it looks wrong.
    fn judge(&mut self, order: Order, look: impl Fn(&Inner) -> Result<Vec<Finding>, Error>) -> Result<(), Error> {
        if look(&self.inner)?.is_empty() {
            return Ok(());
        }
        let inner = Arc::clone(&self.inner);
        match order {
            Order::Names => {
                let _names = inner.namespace.lock();
                self.note_all(look(&inner)?)
            }
            Order::Accounts => {
                let _accounts = inner.accounts.lock();
                self.note_all(look(&inner)?)
            }
        }
    }

    /// The same for what a locked file orders.
    fn judge_file(
        &mut self,
        cell: &Cell,
        look: impl Fn(&Inner, &mut CellState) -> Result<Vec<Finding>, Error>,
    ) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        let mut state = cell.lock();
        if state.is_gone {
            return Ok(());
        }
        for finding in look(&inner, &mut state)? {
            let Finding { kind, what, why, mend } = finding;
            let mend = match mend {
                Mend::Inode(_, change, mut batch) if self.options.is_repair => {
                    change(&mut state);
                    state.put(cell.ino, &mut batch);
                    Mend::Batch(batch)
                }
                other => other,
            };
            self.note(Finding { kind, what, why, mend })?;
        }
        Ok(())
    }

    fn note_all(&mut self, findings: Vec<Finding>) -> Result<(), Error> {
        findings.into_iter().try_for_each(|finding| self.note(finding))
    }

    /// Notes a problem, and mends it if that is asked for and can be. The lock that orders its changes is held.
    fn note(&mut self, finding: Finding) -> Result<(), Error> {
        let Finding { kind, what, why, mend } = finding;
        let repaired = self.options.is_repair && self.mend(mend)?;
        tracing::warn!(op = "fsck", %kind, repaired, "{why}");
        self.push(FsckProblem { kind, what, why, repaired });
        Ok(())
    }

    fn push(&mut self, problem: FsckProblem) {
        if self.report.problems.len() < limits::FSCK_PROBLEMS {
            self.report.problems.push(problem);
        } else {
            self.report.unlisted_problems += 1;
        }
    }

    fn mend(&self, mend: Mend) -> Result<bool, Error> {
        let batch = match mend {
            Mend::Nothing => return Ok(false),
            Mend::Batch(batch) => batch,
            Mend::Inode(ino, change, mut batch) => {
                let cell = self.inner.cell(ino)?;
                let mut state = cell.lock();
                change(&mut state);
                state.put(ino, &mut batch);
                self.inner.database.commit(batch)?;
                return Ok(true);
            }
        };
        self.inner.database.commit(batch)?;
        Ok(true)
    }
}

/// The number at the beginning of a key.
fn number(key: &[u8]) -> Result<u64, Error> {
    let bytes = key.get(..8).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u64::from_be_bytes).ok_or(Error::Stale)
}

/// A name for people.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
