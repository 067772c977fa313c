//! What is staged: the stored ranges against their file, and staging files that nothing needs.

use std::collections::BTreeSet;

use super::{Check, Finding, FsckKind, Mend, number};
use crate::{
    base::{Ino, limits},
    bucket::{
        Error, Inner,
        cell::{Cell, CellState},
    },
    store::{Batch, Table},
};

impl Inner {
    /// The stored ranges of a locked file.
    fn look_at_ranges(&self, cell: &Cell, state: &mut CellState) -> Result<Vec<Finding>, Error> {
        let what = format!("staged ranges of file {}", cell.ino);
        let mut findings = Vec::new();
        let mut bad = |why: String| findings.push(Finding::new(FsckKind::StagedRange, &what, why, Mend::Nothing));
        let (mut from, mut reached) = (Vec::new(), 0);
        loop {
            let page = self.database.scan(Table::Staged, &cell.ino.0.to_be_bytes(), &from, limits::FSCK_PAGE)?;
            for (key, value) in &page {
                let (start, end) = (number(key)?, number(value)?);
                if start >= end || start < reached {
                    bad(format!("{start}..{end} is not in order"));
                } else if !state.dirty.covers(start..end) {
                    bad(format!("{start}..{end} is not staged any more"));
                }
                reached = reached.max(end);
            }
            match page.last() {
                Some((last, _)) if page.len() == limits::FSCK_PAGE => from = [&last[..], &[0]].concat(),
                _ => break,
            }
        }
        if reached > state.inode.size {
            bad(format!("they end at {reached}, the file at {}", state.inode.size));
        }
        if reached == 0 {
            return Ok(findings);
        }
        let file = self.staging_file(cell, state)?;
        let length = file.len().map_err(crate::store::Error::io("cannot read", "staging"))?;
        if length < reached {
            bad(format!("they end at {reached}, the staging file at {length}: what is missing reads as zeros"));
        }
        Ok(findings)
    }

    /// Whether a staging file on the disk is needed by nobody now.
    fn is_left_over(&self, ino: Ino) -> Result<bool, Error> {
        let cell = match self.cell(ino) {
            Ok(cell) => cell,
            Err(Error::Stale) => return Ok(true),
            Err(error) => return Err(error),
        };
        let state = cell.lock();
        Ok(!state.is_gone && state.dirty.is_empty() && state.waste.is_empty() && state.handles == 0)
    }

    /// Removes a staging file if it still is needed by nobody.
    fn remove_left_over(&self, ino: Ino) -> Result<(), Error> {
        match self.cell(ino) {
            Ok(cell) => {
                let mut state = cell.lock();
                if !state.is_gone && state.dirty.is_empty() && state.waste.is_empty() {
                    let file = self.drop_staging_file(&cell, &mut state);
                    drop(state);
                    drop(file);
                    self.staging.note_freed();
                }
            }
            // Numbers of inodes are never used again.
            Err(Error::Stale) => self.staging.remove(ino),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Check {
    pub(super) fn check_staged_ranges(&mut self) -> Result<(), Error> {
        let mut last = None;
        self.each(Table::Staged, "staged ranges", |check, key, _| {
            let ino = Ino(number(key)?);
            if last.replace(ino) == Some(ino) {
                return Ok(());
            }
            match check.inner.cell(ino) {
                Ok(cell) => check.judge_file(&cell, |inner, state| inner.look_at_ranges(&cell, state)),
                // Told where the records of inodes are looked at.
                Err(Error::Stale) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    /// Staging files that nothing needs, and nothing needs some time later: background work removes them too.
    pub(super) async fn check_staging_files(self) -> Result<Self, Error> {
        let mut left_over = BTreeSet::new();
        for look in 0..2 {
            if look > 0 {
                if left_over.is_empty() {
                    break;
                }
                tokio::time::sleep(limits::FSCK_SECOND_LOOK).await;
            }
            let inner = self.inner.clone();
            let found = crate::bucket::commit::blocking(move || {
                let mut found = BTreeSet::new();
                for ino in inner.staging.inodes()? {
                    if inner.is_left_over(ino)? {
                        found.insert(ino);
                    }
                }
                Ok(found)
            });
            let found = found.await?;
            left_over = if look == 0 { found } else { left_over.intersection(&found).copied().collect() };
            self.go_on("staging files", left_over.len() as u64)?;
        }
        self.blocking(move |check| {
            for ino in left_over {
                if check.options.is_repair {
                    check.inner.remove_left_over(ino)?;
                }
                let mend = Mend::Batch(Batch::new());
                let what = format!("staging file of inode {ino}");
                check.note(Finding::new(FsckKind::StagingFile, what, "nothing in it is needed", mend))?;
            }
            Ok(())
        })
        .await
    }
}
