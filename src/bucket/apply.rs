//! Applies changed policies to the data that a file has already: other numbers of shards, a copy that is kept here.
//!
//! A chunk is coded one way, and may carry parts of other files. So what lies in a chunk of another scheme is staged
//! again, and goes the way of everything that is staged: until its new chunk is committed, the old one has it.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use super::{
    Error, FileKind, Inner,
    cell::Cell,
    commit::blocking,
    records::{Chunk, Extent},
};
use crate::{
    base::{ChunkId, Ino, Scheme, limits},
    store::{Batch, Table},
};

/// Files in line that are looked at in one step.
const FILES_PAGE: usize = 256;
/// Extents of a file that are looked at in one step.
const EXTENTS_PAGE: usize = 256;

/// What was applied to a file: its scheme, and whether it is pinned; None when there is no file any more.
type Applied = Option<(Scheme, bool)>;

impl Inner {
    /// Whether a changed policy is not applied to all data of a file yet.
    pub(super) fn is_policy_queued(&self, ino: Ino) -> Result<bool, Error> {
        Ok(self.database.get(Table::Policy, &[&ino.0.to_be_bytes()])?.is_some())
    }

    /// Applies changed policies until shutdown; what is left goes on at the next mount.
    pub(super) async fn apply_until_shutdown(self: Arc<Self>) {
        let mut wait = std::time::Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                () = self.tasks.shutdown().started() => return,
                () = self.apply.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
            let pass = tokio::select! {
                biased;
                () = self.tasks.shutdown().started() => return,
                pass = self.apply_queued() => pass,
            };
            wait = match pass {
                Ok(0) => limits::RETRY_MAX,
                // Uploads are on their way; they are looked at again soon.
                Ok(_) => limits::RETRY_MIN,
                Err(error) => {
                    tracing::warn!(%error, "cannot apply a changed policy; it is tried again");
                    limits::RETRY_MAX
                }
            };
        }
    }

    /// Goes through the files in line once; returns how many stay in it.
    async fn apply_queued(self: &Arc<Self>) -> Result<usize, Error> {
        let (mut from, mut left) = (Vec::new(), 0);
        let mut outcome = Ok(());
        loop {
            let page = self.database.scan(Table::Policy, b"", &from, FILES_PAGE)?;
            for (key, _) in &page {
                let ino = Ino(u64::from_be_bytes(key.as_slice().try_into().map_err(|_| Error::Stale)?));
                match self.apply_to(ino).await {
                    Ok(Some(applied)) if self.end_line(ino, applied)? => {
                        tracing::info!(op = "policy", file = ino.0, "the changed policy is applied");
                        self.note_change();
                    }
                    Ok(_) => left += 1,
                    // The next one may have better luck.
                    Err(error) => outcome = Err(error),
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == FILES_PAGE => from = [&last[..], &[0]].concat(),
                _ => return outcome.map(|()| left),
            }
        }
    }

    /// Takes a file out of the line to which this was applied, unless it was changed again meanwhile.
    fn end_line(&self, ino: Ino, applied: Applied) -> Result<bool, Error> {
        let cell = match self.cell(ino) {
            Ok(cell) => Some(cell),
            Err(Error::Stale) => None,
            Err(error) => return Err(error),
        };
        // Held until the line is ended: whoever changes the policy puts the file into it under the same lock.
        let state = cell.as_ref().map(|cell| cell.lock());
        if let (Some(state), Some(applied)) = (&state, applied)
            && (self.scheme_of(&state.inode), state.inode.is_pinned) != applied
        {
            return Ok(false);
        }
        let mut batch = Batch::new();
        batch.delete(Table::Policy, &[&ino.0.to_be_bytes()]);
        self.database.commit(batch)?;
        Ok(true)
    }

    /// Applies its policy to one file; what it was when there is nothing left to do.
    async fn apply_to(self: &Arc<Self>, ino: Ino) -> Result<Option<Applied>, Error> {
        let cell = match self.cell(ino) {
            Ok(cell) => cell,
            Err(Error::Stale) => return Ok(Some(None)),
            Err(error) => return Err(error),
        };
        // A chunk that is on its way may still be coded as before; those that follow are not.
        let (scheme, is_pinned, is_uploading) = {
            let state = cell.lock();
            if state.inode.kind != FileKind::File {
                return Ok(Some(None));
            }
            (self.scheme_of(&state.inode), state.inode.is_pinned, state.dirty.carried_bytes() > 0)
        };
        if !self.restage_other(&cell, scheme).await? || is_uploading {
            return Ok(None);
        }
        match self.keep_or_let_go(ino, is_pinned).await {
            // It stays marked, and is kept when there is room and somebody reads it; nobody is to wait for that.
            Err(error @ Error::Full(_)) => {
                tracing::warn!(op = "policy", file = ino.0, %error, "a pinned file is not kept")
            }
            outcome => outcome?,
        }
        Ok(Some(Some((scheme, is_pinned))))
    }

    /// Stages again what lies in chunks of other schemes; true when nothing does any more.
    async fn restage_other(self: &Arc<Self>, cell: &Arc<Cell>, scheme: Scheme) -> Result<bool, Error> {
        let (mut from, mut is_done) = (0, true);
        loop {
            let page = self.extents(cell.ino, from..u64::MAX, EXTENTS_PAGE)?;
            for &(offset, extent) in &page {
                from = offset + u64::from(extent.bytes);
                let Some(chunk) = self.chunk(extent.chunk)? else { continue };
                if chunk.layout.scheme != scheme {
                    is_done = false;
                    self.restage(cell, offset, extent).await?;
                }
            }
            if page.len() < EXTENTS_PAGE {
                break;
            }
        }
        Ok(is_done)
    }

    /// Stages the bytes of an extent again, but for those that are staged already.
    async fn restage(self: &Arc<Self>, cell: &Arc<Cell>, offset: u64, extent: Extent) -> Result<(), Error> {
        let range = offset..offset + u64::from(extent.bytes);
        if cell.lock().dirty.covers(range.clone()) {
            return Ok(());
        }
        let length = u64::from(extent.bytes);
        self.wait_for_room(length, || Ok(self.staging.has_room_for_one_more(length).then_some(()))).await?;
        let bytes = self.read_extent(extent).await?;
        let (inner, staged) = (Arc::clone(self), Arc::clone(cell));
        let outcome = blocking(move || inner.stage_unchanged(&staged, range, extent, &bytes)).await;
        // At once, and of a part of it too: the room for what follows may come from it alone.
        self.uploader.note(cell.ino, true);
        outcome
    }

    /// Stages bytes that were read from an extent, where the file still has them from there.
    fn stage_unchanged(&self, cell: &Cell, range: Range<u64>, extent: Extent, bytes: &[u8]) -> Result<(), Error> {
        let mut state = cell.lock();
        let is_same = self.extents(cell.ino, range.clone(), 2)? == [(range.start, extent)];
        if state.is_gone || !is_same {
            return Ok(());
        }
        for gap in state.dirty.gaps(range.clone()) {
            let part = (gap.start - range.start) as usize..(gap.end - range.start) as usize;
            self.stage_bytes(cell, &mut state, gap.start, &bytes[part])?;
        }
        Ok(())
    }

    /// Brings the chunks of a pinned file here, or lets those go that no pinned file needs.
    async fn keep_or_let_go(self: &Arc<Self>, ino: Ino, is_pinned: bool) -> Result<(), Error> {
        let chunks = self.chunks_of(ino)?;
        if !is_pinned {
            // Few files ever were: which chunks the others need is asked for those alone.
            let kept: BTreeSet<_> = chunks.into_iter().filter(|id| self.cache.is_pinned(*id)).collect();
            if kept.is_empty() {
                return Ok(());
            }
            let inner = Arc::clone(self);
            return blocking(move || inner.unpin_chunks(kept).map(|_| ())).await;
        }
        for id in chunks {
            if let Some(chunk) = self.chunk(id)? {
                self.keep(id, chunk).await?;
            }
        }
        Ok(())
    }

    /// Brings a chunk into the disk tier for good.
    ///
    /// # Errors
    /// `Full` when it does not fit beside what is pinned already.
    pub(super) async fn keep(self: &Arc<Self>, id: ChunkId, chunk: Chunk) -> Result<(), Error> {
        self.cache.set_pinned(id, true);
        let fetched = self.fetch_to_disk(chunk).await;
        if self.is_gone_and_forgotten(id)? {
            return Ok(());
        }
        fetched?;
        if self.cache.disk_bytes_of(&[id]) == 0 {
            let why = "what is pinned does not fit into the cache on disk: mount with a larger cache-size";
            return Err(Error::Full(why.to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::promises::{file, open, write};
    use crate::bucket::XattrMode;

    #[tokio::test]
    async fn a_policy_that_is_changed_while_it_is_applied_is_applied_again() {
        let directory = tempfile::tempdir().expect("made");
        let bucket = open(directory.path());
        let (inner, ino) = (&bucket.inner, file(&bucket, b"a"));
        write(&bucket, ino, 0, b"data");
        let pin = |value: &[u8]| bucket.setxattr(ino, b"user.openbucket.pinned", value, XattrMode::Set).expect("set");
        let scheme = inner.scheme_of(&inner.cell(ino).expect("there").lock().inode);
        pin(b"1");
        // While the chunks were fetched for that:
        pin(b"0");
        assert!(!inner.end_line(ino, Some((scheme, true))).expect("readable"));
        assert!(inner.is_policy_queued(ino).expect("readable"), "it is applied once more");
        assert!(inner.end_line(ino, Some((scheme, false))).expect("readable"));
        assert!(!inner.is_policy_queued(ino).expect("readable"));
    }
}
