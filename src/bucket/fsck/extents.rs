//! Extents and chunks: what each knows of the other, what is counted, what is marked.

use std::collections::BTreeSet;

use super::{Check, Finding, FsckKind, Mend, Order, number};
use crate::{
    base::{ChunkId, Ino, Record, limits},
    bucket::{
        Error, FileKind, Inner,
        extents::queue_deletes,
        records::{Chunk, Extent, Inode},
    },
    dispatch::Health,
    store::{Batch, Table},
};

impl Inner {
    /// The extents of a file against its record, and against their chunks.
    fn look_at_file(&self, ino: Ino, inode: &Inode) -> Result<Vec<Finding>, Error> {
        let (mut findings, mut from, mut reached, mut sum) = (Vec::new(), Vec::new(), 0, 0u64);
        let mut is_damaged = false;
        loop {
            let page = self.database.scan(Table::Extent, &ino.0.to_be_bytes(), &from, limits::FSCK_PAGE)?;
            for (key, value) in &page {
                let offset = number(key)?;
                let what = || format!("extent at {offset} of file {ino}");
                let extent = match Extent::decode(value) {
                    Ok(extent) => extent,
                    Err(error) => {
                        is_damaged = true;
                        let why = error.to_string();
                        findings.push(Finding::new(FsckKind::DamagedRecord, what(), why, Mend::Nothing));
                        continue;
                    }
                };
                let end = offset.saturating_add(u64::from(extent.bytes));
                findings.extend(self.look_at_extent(ino, offset, &extent)?);
                let bad = |why: &str| Finding::new(FsckKind::BadExtent, what(), why, Mend::Nothing);
                if offset < reached {
                    findings.push(bad("it overlaps the one before"));
                }
                if end > inode.size {
                    findings.push(bad("it ends behind the file"));
                }
                (reached, sum) = (reached.max(end), sum.saturating_add(u64::from(extent.bytes)));
            }
            match page.last() {
                Some((last, _)) if page.len() == limits::FSCK_PAGE => from = [&last[..], &[0]].concat(),
                _ => break,
            }
        }
        if let Some(counted) = inode.extent_bytes.filter(|counted| *counted != sum && !is_damaged) {
            let mend = Mend::Inode(ino, Box::new(move |state| state.inode.extent_bytes = Some(sum)), Batch::new());
            let why = format!("it counts {counted} stored bytes, there are {sum}");
            findings.push(Finding::new(FsckKind::ExtentBytes, format!("file {ino}"), why, mend));
        }
        Ok(findings)
    }

    fn look_at_extent(&self, ino: Ino, offset: u64, extent: &Extent) -> Result<Option<Finding>, Error> {
        let what = format!("extent at {offset} of file {ino}");
        let id = extent.chunk;
        let Some(bytes) = self.database.get(Table::Chunk, &[id.as_bytes()])? else {
            let why = format!("its chunk {id} is not there: {} bytes are lost", extent.bytes);
            return Ok(Some(Finding::new(FsckKind::MissingChunk, what, why, Mend::Nothing)));
        };
        // A damaged one is told where the chunks are looked at.
        let plain_len = Chunk::decode(&bytes).map_or(u32::MAX, |chunk| chunk.layout.plain_len);
        if extent.bytes == 0 || extent.chunk_offset.checked_add(extent.bytes).is_none_or(|end| end > plain_len) {
            let why = format!("it ends behind its chunk {id}");
            return Ok(Some(Finding::new(FsckKind::BadExtent, what, why, Mend::Nothing)));
        }
        let user: [&[u8]; 3] = [id.as_bytes(), &ino.0.to_be_bytes(), &offset.to_be_bytes()];
        if self.database.get(Table::User, &user)?.is_none() {
            let mut batch = Batch::new();
            batch.put(Table::User, &user, Vec::new());
            let why = format!("its chunk {id} does not know it");
            return Ok(Some(Finding::new(FsckKind::ChunkUser, what, why, Mend::Batch(batch))));
        }
        Ok(None)
    }

    fn look_at_user(&self, id: ChunkId, ino: Ino, offset: u64) -> Result<Vec<Finding>, Error> {
        let (ino, offset) = (ino.0.to_be_bytes(), offset.to_be_bytes());
        let extent = self.database.get(Table::Extent, &[&ino, &offset])?;
        let user: [&[u8]; 3] = [id.as_bytes(), &ino, &offset];
        // What a damaged extent needs is not known, and kept; it is told where the files are looked at.
        if self.database.get(Table::User, &user)?.is_none()
            || extent.is_some_and(|bytes| Extent::decode(&bytes).map_or(true, |extent| extent.chunk == id))
        {
            return Ok(Vec::new());
        }
        let mut batch = Batch::new();
        batch.delete(Table::User, &user);
        let why = "it knows of an extent that is not there";
        Ok(vec![Finding::new(FsckKind::ChunkUser, format!("chunk {id}"), why, Mend::Batch(batch))])
    }

    /// The bytes of a chunk that its extents need; None when one of them is damaged.
    fn needed_bytes(&self, id: ChunkId) -> Result<Option<u64>, Error> {
        let (mut from, mut needed) = (Vec::new(), 0);
        loop {
            let page = self.database.scan(Table::User, id.as_bytes(), &from, limits::FSCK_PAGE)?;
            for (key, _) in &page {
                match self.database.get(Table::Extent, &[key])?.map(|bytes| Extent::decode(&bytes)) {
                    Some(Ok(extent)) if extent.chunk == id => needed += u64::from(extent.bytes),
                    Some(Err(_)) => return Ok(None),
                    _ => {}
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == limits::FSCK_PAGE => from = [&last[..], &[0]].concat(),
                _ => return Ok(Some(needed)),
            }
        }
    }

    fn look_at_chunk(&self, id: ChunkId) -> Result<Vec<Finding>, Error> {
        let what = || format!("chunk {id}");
        let damaged = |why: String| vec![Finding::new(FsckKind::DamagedRecord, what(), why, Mend::Nothing)];
        let Some(bytes) = self.database.get(Table::Chunk, &[id.as_bytes()])? else { return Ok(Vec::new()) };
        let chunk = match Chunk::decode(&bytes) {
            Ok(chunk) => chunk,
            Err(error) => return Ok(damaged(error.to_string())),
        };
        if let Err(error) = chunk.layout.validate() {
            return Ok(damaged(error.to_string()));
        }
        let n = chunk.layout.scheme.n();
        if chunk.layout.chunk != id || chunk.roots.len() != n || chunk.placements.len() != n {
            return Ok(damaged("it does not name as many shards and places as it has".to_owned()));
        }
        let needed = self.needed_bytes(id)?;
        if needed == Some(0) {
            let mut batch = Batch::new();
            queue_deletes(&chunk, &mut batch);
            for table in [Table::Chunk, Table::Live, Table::Incomplete, Table::Sparse, Table::Shared] {
                batch.delete(table, &[id.as_bytes()]);
            }
            return Ok(vec![Finding::new(FsckKind::UnusedChunk, what(), "no extent needs it", Mend::Batch(batch))]);
        }
        let mut findings = Vec::new();
        let live = self.live_bytes(id)?;
        if let Some(needed) = needed.filter(|needed| *needed != live) {
            let mut batch = Batch::new();
            batch.put(Table::Live, &[id.as_bytes()], needed.to_be_bytes().to_vec());
            // The collector looks whether it is sparse: the wrong count may have hidden that.
            batch.put(Table::Sparse, &[id.as_bytes()], Vec::new());
            let why = format!("it counts {live} needed bytes, there are {needed}");
            findings.push(Finding::new(FsckKind::LiveBytes, what(), why, Mend::Batch(batch)));
        }
        findings.extend(self.look_at_placements(&chunk)?);
        Ok(findings)
    }

    fn look_at_placements(&self, chunk: &Chunk) -> Result<Vec<Finding>, Error> {
        let id = chunk.layout.chunk;
        let what = || format!("chunk {id}");
        let mut findings = Vec::new();
        let is_marked = self.database.get(Table::Incomplete, &[id.as_bytes()])?.is_some();
        let is_incomplete = !chunk.is_whole();
        if is_marked != is_incomplete {
            let mut batch = Batch::new();
            self.put_chunk(chunk, &mut batch)?;
            let why =
                if is_incomplete { "it lacks shards and is not marked so" } else { "it is whole and marked not to be" };
            findings.push(Finding::new(FsckKind::IncompleteMark, what(), why, Mend::Batch(batch)));
        }
        let mut consumers = BTreeSet::new();
        for (index, (placement, root)) in chunk.placements.iter().zip(&chunk.roots).enumerate() {
            let (Some(consumer), Health::Held) = (placement.consumer, placement.health) else { continue };
            if !consumers.insert(consumer) {
                // The tender moves it; what is there now goes.
                let mut moved = chunk.clone();
                moved.placements[index].health = Health::Suspect;
                let mut batch = Batch::new();
                self.put_chunk(&moved, &mut batch)?;
                let why = format!("two of its shards are on consumer {consumer}");
                findings.push(Finding::new(FsckKind::SharedConsumer, what(), why, Mend::Batch(batch)));
            }
            let delete: [&[u8]; 2] = [consumer.as_bytes(), root.as_bytes()];
            if self.database.get(Table::Delete, &delete)?.is_some() {
                let mut batch = Batch::new();
                batch.delete(Table::Delete, &delete);
                let why = format!("shard {root} is to be deleted on consumer {consumer}, and is needed there");
                findings.push(Finding::new(FsckKind::NeededDelete, what(), why, Mend::Batch(batch)));
            }
        }
        Ok(findings)
    }

    /// Whether what is counted or marked of a chunk has one.
    fn look_at_account(&self, table: Table, id: ChunkId) -> Result<Vec<Finding>, Error> {
        let has_chunk = self.database.get(Table::Chunk, &[id.as_bytes()])?.is_some();
        if has_chunk || self.database.get(table, &[id.as_bytes()])?.is_none() {
            return Ok(Vec::new());
        }
        let mut batch = Batch::new();
        batch.delete(table, &[id.as_bytes()]);
        let what = format!("{table:?} of chunk {id}");
        Ok(vec![Finding::new(FsckKind::StrayRecord, what, "the chunk is not there", Mend::Batch(batch))])
    }
}

impl Check {
    /// The extents of every file: as they are stored, and again in the locked file when that looks wrong.
    pub(super) fn check_files(&mut self) -> Result<(), Error> {
        self.each(Table::Inode, "files", |check, key, value| {
            let ino = Ino(number(key)?);
            let Ok(inode) = Inode::decode(value) else { return Ok(()) };
            if inode.kind != FileKind::File || check.inner.look_at_file(ino, &inode)?.is_empty() {
                return Ok(());
            }
            match check.inner.cell(ino) {
                Ok(cell) => check.judge_file(&cell, |inner, state| inner.look_at_file(ino, &state.inode)),
                // Gone meanwhile.
                Err(Error::Stale) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    pub(super) fn check_users(&mut self) -> Result<(), Error> {
        self.each(Table::User, "users of chunks", |check, key, _| {
            let (ino, offset) = (key.get(32..40).unwrap_or_default(), key.get(40..).unwrap_or_default());
            let (id, ino, offset) = (chunk_of(key)?, Ino(number(ino)?), number(offset)?);
            check.judge(Order::Accounts, |inner| inner.look_at_user(id, ino, offset))
        })
    }

    pub(super) fn check_chunks(&mut self) -> Result<(), Error> {
        self.each(Table::Chunk, "chunks", |check, key, value| {
            let id = chunk_of(key)?;
            check.report.chunks += 1;
            check.report.shards += Chunk::decode(value).map_or(0, |chunk| chunk.roots.len() as u64);
            check.judge(Order::Accounts, |inner| inner.look_at_chunk(id))
        })
    }

    pub(super) fn check_accounts_of_chunks(&mut self) -> Result<(), Error> {
        for table in [Table::Live, Table::Incomplete, Table::Shared] {
            self.each(table, "accounts of chunks", |check, key, _| {
                let id = chunk_of(key)?;
                check.judge(Order::Accounts, |inner| inner.look_at_account(table, id))
            })?;
        }
        Ok(())
    }
}

fn chunk_of(key: &[u8]) -> Result<ChunkId, Error> {
    let bytes = key.get(..32).and_then(|bytes| bytes.try_into().ok());
    bytes.map(ChunkId).ok_or(Error::Stale)
}
