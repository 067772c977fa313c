//! The living part of an inode: what is newer than its record, and who uses it.

use std::{collections::HashMap, ops::Range, sync::Arc};

use tokio::time::Instant;

use super::{
    ACCOUNTS_RANK, Error, Inner, NAMESPACE_RANK,
    awaited::AllAwaited,
    ranges::{DirtyRanges, LoggedRanges},
    records::Inode,
};
use crate::{
    base::{Ino, Mutex, MutexGuard, RangeMap, RangeSet, Record, limits},
    runtime::Prompt,
    store::{Batch, DiskFile, Sequence, Table},
};

/// A chunk on its way to its consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Flight(pub u64);

/// One inode in memory.
pub(super) struct Cell {
    pub ino: Ino,
    state: Mutex<CellState>,
}

/// What [`Cell::lock`] guards.
pub(super) struct CellState {
    /// The inode as programs see it.
    pub inode: Inode,
    /// Up to here the data survives a crash; what is stored says this size.
    pub logged_size: u64,
    /// The batch that carried its newest data or record.
    pub logged_at: Sequence,
    /// Times or size are newer than the stored record.
    pub is_changed: bool,
    /// Staged ranges, which win over extents; with the chunk that carries them away, if one does.
    pub dirty: DirtyRanges,
    /// The part of `dirty` whose newest bytes are not durable on the local disk yet, each with the `epoch` of its write.
    pub unlogged: RangeMap<u64>,
    /// The part of `dirty` that some bytes on the local disk stand for, the newest or those before them. What is
    /// stored names these ranges: a crash must not fall back behind an fsync because of a write after it.
    pub logged: LoggedRanges,
    /// Counts flushes begun: what is written during one is told from what it covers.
    pub epoch: u64,
    /// Counts truncations to a smaller size.
    pub cuts: u64,
    /// Ranges of the staging file that are not needed once this batch is durable: cut off, or in a chunk.
    pub waste: RangeMap<Sequence>,
    /// Its staging file, while handles are open.
    pub file: Option<Arc<dyn DiskFile>>,
    /// How often the kernel has looked it up and not forgotten it.
    pub lookups: u64,
    /// Open file handles.
    pub handles: u32,
    /// Those of them that may write: the kernel may hold data that is not here yet.
    pub writers: u32,
    pub last_write: Instant,
    /// When the first of what is staged came, or earlier.
    pub staged_since: Instant,
    /// When the first of what waits for an upload came, or earlier.
    pub waiting_since: Instant,
    /// The last chunk that took some of it.
    pub last_flight: Flight,
    /// Why the last upload failed.
    pub problem: Option<String>,
    pub failures: u32,
    pub retry_at: Instant,
    /// When it last failed.
    pub failed_at: Option<Instant>,
    /// What waits goes at once.
    pub is_urgent: bool,
    /// Who waits for what of it to be on consumers.
    pub awaited: AllAwaited,
    /// Whether it has extended attributes, once somebody has looked.
    pub has_attributes: Option<bool>,
    /// The inode is gone; nothing may be stored for it any more.
    pub is_gone: bool,
}

/// The place of an inode's cell in the order of locks.
fn rank(ino: Ino) -> u64 {
    ino.0.saturating_add(NAMESPACE_RANK + 1).min(ACCOUNTS_RANK - 1)
}

impl Cell {
    /// An inode with these staged ranges, as the database names them.
    pub fn new(ino: Ino, inode: Inode, stored: RangeSet) -> Self {
        let mut dirty = DirtyRanges::default();
        for (range, ()) in stored.iter() {
            dirty.insert(range, None);
        }
        let now = Instant::now();
        Self {
            ino,
            state: Mutex::ranked(
                rank(ino),
                CellState {
                    logged_size: inode.size,
                    inode,
                    logged_at: Sequence::default(),
                    is_changed: false,
                    dirty,
                    unlogged: RangeMap::new(),
                    logged: LoggedRanges::stored(stored),
                    epoch: 0,
                    cuts: 0,
                    waste: RangeMap::new(),
                    file: None,
                    lookups: 0,
                    handles: 0,
                    writers: 0,
                    last_write: now,
                    staged_since: now,
                    waiting_since: now,
                    last_flight: Flight(0),
                    problem: None,
                    failures: 0,
                    retry_at: now,
                    failed_at: None,
                    is_urgent: false,
                    awaited: AllAwaited::default(),
                    has_attributes: None,
                    is_gone: false,
                },
            ),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, CellState> {
        self.state.lock()
    }

    /// Whether somebody holds it for longer than it takes to write or look something up.
    pub fn is_busy(&self) -> bool {
        self.glance(|_| ()).is_none()
    }

    /// Looks at its state, unless somebody holds it for longer than it takes to write or look something up.
    pub fn glance<T>(&self, look: impl FnOnce(&CellState) -> T) -> Option<T> {
        self.state.try_lock_for(limits::CELL_PATIENCE).map(|state| look(&state))
    }
}

/// Several cells locked together, in the order of their inodes. A batch that stores
/// records of cells is committed while they are locked, so that records and memory have one order. Who has them gets
/// its turns soon.
pub(super) struct Locked<'a> {
    states: Vec<(Ino, MutexGuard<'a, CellState>)>,
    /// Dropped after them.
    _prompt: Prompt,
}

impl<'a> Locked<'a> {
    /// Locks them all; the same cell may be named twice.
    pub fn new(cells: impl IntoIterator<Item = &'a Arc<Cell>>) -> Self {
        let mut cells: Vec<_> = cells.into_iter().collect();
        cells.sort_by_key(|cell| cell.ino);
        cells.dedup_by_key(|cell| cell.ino);
        let prompt = Prompt::enter();
        Self { states: cells.into_iter().map(|cell| (cell.ino, cell.lock())).collect(), _prompt: prompt }
    }

    /// The state of one of them.
    pub fn of(&mut self, ino: Ino) -> &mut CellState {
        let found = self.states.iter_mut().find(|(locked, _)| *locked == ino);
        &mut found.expect("only cells that were locked are asked for").1
    }
}

/// The cells in memory: those in use, and others up to `limits::CELLS`.
#[derive(Default)]
pub(super) struct Cells {
    map: HashMap<Ino, Arc<Cell>>,
    /// Idle ones are looked for when there are so many: not at each insert while most are in use.
    sweep_at: usize,
}

impl Cells {
    pub fn get(&self, ino: &Ino) -> Option<&Arc<Cell>> {
        self.map.get(ino)
    }

    pub fn values(&self) -> impl Iterator<Item = &Arc<Cell>> {
        self.map.values()
    }

    pub fn remove(&mut self, ino: &Ino) {
        self.map.remove(ino);
    }

    fn insert(&mut self, cell: Arc<Cell>) {
        if self.map.len() >= self.sweep_at.max(limits::CELLS) {
            self.map.retain(|_, cell| {
                Arc::strong_count(cell) > 1 || cell.state.try_lock().is_none_or(|state| !state.is_idle())
            });
            self.sweep_at = 2 * self.map.len();
        }
        self.map.insert(cell.ino, cell);
    }
}

impl CellState {
    /// Whether nothing would be lost if the cell were dropped and loaded again.
    pub fn is_idle(&self) -> bool {
        let is_used = self.lookups > 0 || self.handles > 0;
        !is_used && !self.is_changed && self.dirty.is_empty() && self.waste.is_empty()
    }

    /// Whether what failed may be tried before its time: something has changed since then.
    pub fn is_released(&self, now: Instant, released_at: Option<Instant>) -> bool {
        let Some((failed_at, released_at)) = self.failed_at.zip(released_at) else { return false };
        failed_at < released_at && now >= failed_at + limits::RETRY_MIN
    }

    /// Adds the inode's record to a batch: no byte counted that a crash could lose.
    pub fn put(&mut self, ino: Ino, batch: &mut Batch) {
        debug_assert!(!self.is_gone);
        self.put_sized(ino, self.logged_size, batch);
        if self.logged_size == self.inode.size {
            self.is_changed = false;
        }
    }

    /// Adds the inode's record with this size to a batch.
    pub fn put_sized(&self, ino: Ino, size: u64, batch: &mut Batch) {
        batch.put(Table::Inode, &[&ino.0.to_be_bytes()], Inode { size, ..self.inode.clone() }.encode());
    }

    /// A range is staged no more.
    pub fn forget_staged(&mut self, range: Range<u64>) {
        self.dirty.remove(range.clone());
        self.unlogged.remove(range.clone());
        self.awaited.settle(&range);
        self.logged.take(range);
    }

    /// The unlogged ranges that a flush which began this epoch covers are durable now. Returns them.
    pub fn settle_flushed(&mut self, epoch: u64) -> Vec<Range<u64>> {
        let flushed: Vec<_> =
            self.unlogged.iter().filter(|(_, written)| **written < epoch).map(|(range, _)| range).collect();
        for range in &flushed {
            self.unlogged.remove(range.clone());
            self.logged.insert(range.clone());
        }
        flushed
    }

    /// Notes that the bytes in extents are so many more.
    pub fn count_extents(&mut self, gained: i64) {
        self.inode.extent_bytes = self.inode.extent_bytes.map(|bytes| bytes.saturating_add_signed(gained));
    }

    /// The parts of a range that are still as that chunk took them.
    pub fn unmodified_since(&self, flight: Flight, range: Range<u64>) -> Vec<Range<u64>> {
        let same = |value: &Option<Flight>| *value == Some(flight);
        self.dirty.within(range).filter(|(_, value)| same(value)).map(|(part, _)| part).collect()
    }
}

impl Inner {
    /// The cell of an inode, loaded if it is not in memory.
    pub fn cell(&self, ino: Ino) -> Result<Arc<Cell>, Error> {
        // Those with staged ranges are in memory from the opening on.
        self.cell_with(ino, RangeSet::new)
    }

    /// The cell of an inode, loaded with these staged ranges if it is not in memory.
    pub fn cell_with(&self, ino: Ino, stored: impl FnOnce() -> RangeSet) -> Result<Arc<Cell>, Error> {
        let mut cells = self.cells.lock();
        if let Some(cell) = cells.get(&ino) {
            return Ok(Arc::clone(cell));
        }
        let key = ino.0.to_be_bytes();
        let inode = self.database.get(Table::Inode, &[&key])?.ok_or(Error::Stale)?;
        let mut inode = Inode::decode(&inode).map_err(crate::store::Error::from)?;
        if inode.extent_bytes.is_none() {
            let extents = self.extents(ino, 0..u64::MAX, usize::MAX)?;
            inode.extent_bytes = Some(extents.iter().map(|(_, extent)| u64::from(extent.bytes)).sum());
        }
        let cell = Arc::new(Cell::new(ino, inode, stored()));
        cells.insert(Arc::clone(&cell));
        Ok(cell)
    }

    /// Puts a new inode's cell in place.
    pub fn adopt(&self, cell: Arc<Cell>) {
        self.cells.lock().insert(cell);
    }

    /// The staging file of a locked cell.
    pub fn staging_file(&self, cell: &Cell, state: &mut CellState) -> Result<Arc<dyn DiskFile>, Error> {
        if let Some(file) = &state.file {
            return Ok(Arc::clone(file));
        }
        let file = self.staging.open(cell.ino)?;
        if state.handles > 0 {
            state.file = Some(Arc::clone(&file));
        }
        Ok(file)
    }

    /// Drops the staging file of a locked cell that has nothing staged. Its space is free when what is returned is dropped: of
    /// a large file that takes the disk a while, so let go of the cell first.
    #[must_use = "the disk frees its space when this is dropped"]
    pub fn drop_staging_file(&self, cell: &Cell, state: &mut CellState) -> Option<Arc<dyn DiskFile>> {
        debug_assert!(state.dirty.is_empty());
        let file = self.staging_file(cell, state).ok();
        state.file = None;
        state.waste = RangeMap::new();
        self.staging.remove(cell.ino);
        file
    }
}
