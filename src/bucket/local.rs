//! The local copies: evict, pin, and waiting for uploads.

use std::collections::BTreeSet;

use super::{Bucket, CacheReport, Error, commit::blocking};
use crate::{base::Ino, store::Batch};

impl Bucket {
    /// Drops every clean cached byte of what is under a path, pinned or not. Returns the files, so that
    /// the kernel can be told too. Dirty bytes stay: they exist nowhere else.
    pub async fn evict(&self, path: Vec<u8>) -> Result<(CacheReport, Vec<Ino>), Error> {
        let bucket = self.clone();
        let evict = move || {
            let files = bucket.files_under(&path)?;
            let mut report = CacheReport { files: files.len() as u64, ..CacheReport::default() };
            let mut chunks = BTreeSet::new();
            for ino in &files {
                chunks.extend(bucket.inner.chunks_of(*ino)?);
                report.kept_dirty_bytes += bucket.inner.cell(*ino)?.lock().dirty.covered_bytes();
            }
            let chunks: Vec<_> = chunks.into_iter().collect();
            report.bytes = bucket.inner.cache.evict_chunks(&chunks);
            Ok((report, files))
        };
        blocking(evict).await
    }

    /// Keeps a local copy of everything under a path (`is_pinned`), or no longer.
    pub async fn pin(&self, path: Vec<u8>, is_pinned: bool) -> Result<CacheReport, Error> {
        let bucket = self.clone();
        let marked = blocking(move || bucket.mark_pinned(&path, is_pinned)).await?;
        let mut report = CacheReport { files: marked.len() as u64, ..CacheReport::default() };
        for ino in marked {
            for id in self.inner.chunks_of(ino)? {
                self.inner.cache.set_pinned(id, is_pinned);
                let Some(chunk) = self.inner.chunk(id)? else { continue };
                report.bytes += u64::from(chunk.layout.plain_len);
                if is_pinned {
                    self.inner.fetch_to_disk(chunk).await?;
                }
            }
        }
        Ok(report)
    }

    fn mark_pinned(&self, path: &[u8], is_pinned: bool) -> Result<Vec<Ino>, Error> {
        let files = self.files_under(path)?;
        let mut all = files.clone();
        let root = self.resolve(path)?;
        if !all.contains(&root) {
            // A directory hands it on to what is made in it.
            all.push(root);
        }
        for ino in all {
            let cell = match self.inner.cell(ino) {
                Ok(cell) => cell,
                // Gone since the walk.
                Err(Error::Stale) => continue,
                Err(error) => return Err(error),
            };
            let mut state = cell.lock();
            if !state.is_gone && state.inode.is_pinned != is_pinned {
                let mut batch = Batch::new();
                state.inode.is_pinned = is_pinned;
                state.put(ino, &mut batch);
                self.inner.database.commit(batch)?;
            }
        }
        Ok(files)
    }

    /// Uploads everything now that would wait a little.
    pub fn hurry(&self) {
        self.inner.uploader.hurry();
    }

    /// Counts changes of states; wait on it instead of polling.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Dirty bytes that exist only here.
    pub fn staged_bytes(&self) -> u64 {
        self.inner.staging.bytes()
    }
}
