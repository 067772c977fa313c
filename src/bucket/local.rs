//! The local copies: evict, pin, and waiting for uploads.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Bucket, CacheReport, Error, FileKind, Inner,
    commit::blocking,
    records::{Chunk, Inode},
};
use crate::{
    base::{ChunkId, Ino, Record},
    runtime::failpoint,
    store::{self, Batch, Table},
};

/// Inodes looked at in one step.
const INODES_PAGE: usize = 4096;

impl Bucket {
    /// Drops every clean cached byte of what is under a path but the disk copies of what is pinned. Returns the
    /// files, so that the kernel can be told too. Dirty bytes stay: they exist nowhere else.
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
            failpoint("copies-evicted");
            report.kept_pinned_bytes = bucket.inner.cache.disk_bytes_of(&chunks);
            Ok((report, files))
        };
        blocking(evict).await
    }

    /// Keeps a local copy of everything under a path (`is_pinned`), or no longer. What is not uploaded yet is kept
    /// once it is.
    ///
    /// # Errors
    /// Also when a copy cannot be had from consumers, or does not fit into the cache; it is tried again with each
    /// read.
    pub async fn pin(&self, path: Vec<u8>, is_pinned: bool) -> Result<CacheReport, Error> {
        let bucket = self.clone();
        let marked = blocking(move || bucket.mark_pinned(&path, is_pinned)).await?;
        let mut report = CacheReport { files: marked.len() as u64, ..CacheReport::default() };
        let mut chunks = BTreeSet::new();
        for ino in marked {
            chunks.extend(self.inner.chunks_of(ino)?);
        }
        if !is_pinned {
            let inner = Arc::clone(&self.inner);
            report.bytes = blocking(move || inner.unpin_chunks(chunks)).await?;
            return Ok(report);
        }
        for id in chunks {
            let Some(chunk) = self.inner.chunk(id)? else { continue };
            report.bytes += u64::from(chunk.layout.plain_len);
            self.inner.keep(id, chunk).await?;
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

    /// Uploads everything now that would wait a little, and collects what would wait for more.
    pub fn hurry(&self) {
        self.inner.uploader.hurry();
        self.inner.collector.hurry();
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

impl Inner {
    /// The chunks of all pinned files. Walks the inodes in steps: a bucket may have more than fit into memory.
    pub fn pinned_chunks(&self) -> Result<BTreeSet<ChunkId>, Error> {
        let mut chunks = BTreeSet::new();
        let mut from = 0u64;
        loop {
            let page = self.database.scan(Table::Inode, b"", &from.to_be_bytes(), INODES_PAGE)?;
            let is_last = page.len() < INODES_PAGE;
            for (key, value) in page {
                let ino = Ino(u64::from_be_bytes(key.as_slice().try_into().map_err(|_| Error::Stale)?));
                from = ino.0.saturating_add(1);
                let inode = Inode::decode(&value).map_err(store::Error::from)?;
                if inode.is_pinned && inode.kind == FileKind::File {
                    chunks.extend(self.chunks_of(ino)?);
                }
            }
            if is_last {
                return Ok(chunks);
            }
        }
    }

    /// Lets these chunks go, but not those that another pinned file is in; returns the bytes of the former.
    pub(super) fn unpin_chunks(&self, mut chunks: BTreeSet<ChunkId>) -> Result<u64, Error> {
        for id in self.pinned_chunks()? {
            chunks.remove(&id);
        }
        let mut bytes = 0;
        for id in chunks {
            self.cache.set_pinned(id, false);
            bytes += self.chunk(id)?.map_or(0, |chunk| u64::from(chunk.layout.plain_len));
        }
        Ok(bytes)
    }

    /// Keeps a local copy of a chunk that was just uploaded, from its data shards. Blocks on the disk.
    pub fn keep_uploaded(&self, chunk: &Chunk, data_shards: &[bytes::Bytes]) {
        self.cache.set_pinned(chunk.layout.chunk, true);
        let all = 0..chunk.layout.blocks.len();
        let slices = chunk.layout.slices(chunk.layout.sealed_range(all.clone()));
        let pieces =
            slices.iter().map(|it| &data_shards[it.shard_index][it.range.start as usize..it.range.end as usize]);
        self.cache.write_sealed(&chunk.layout, all, &pieces.collect::<Vec<_>>());
        if let Err(error) = self.is_gone_and_forgotten(chunk.layout.chunk) {
            tracing::warn!(op = "cache", chunk = %chunk.layout.chunk, %error, "a pinned chunk may stay here");
        }
    }

    /// Whether a chunk is gone; then it is not kept here. One that is pinned after the last file let go of it would be kept for
    /// ever: who removes it has been here.
    pub(super) fn is_gone_and_forgotten(&self, id: ChunkId) -> Result<bool, Error> {
        let is_gone = self.chunk(id)?.is_none();
        if is_gone {
            self.cache.forget(id);
        }
        Ok(is_gone)
    }
}
