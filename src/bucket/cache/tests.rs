//! The cache against a model: never wrong bytes, never more bytes than allowed, pinned means kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use proptest::prelude::*;

use super::*;
use crate::{
    base::{Scheme, limits::BLOCK_BYTES},
    coding::{BucketKey, encode},
    runtime::{Chance, SeededChance},
    store::{DiskFile, RealDisk},
};

const BLOCKS: usize = 5;
const CHUNK_PAGES: u64 = (BLOCKS * (BLOCK_BYTES + 16)).div_ceil(4096) as u64 + 1;

struct Chunk {
    layout: Layout,
    sealed: Vec<u8>,
}

impl Chunk {
    fn part(&self, blocks: Range<usize>) -> &[u8] {
        let range = self.layout.sealed_range(blocks);
        &self.sealed[range.start as usize..range.end as usize]
    }

    fn id(&self) -> ChunkId {
        self.layout.chunk
    }
}

fn chunks(count: u64) -> Vec<Chunk> {
    let key = BucketKey::new([7; 32]);
    let make = |seed| {
        let chance = SeededChance::new(seed);
        let mut plain = vec![0; BLOCKS * BLOCK_BYTES];
        chance.fill(&mut plain);
        let encoded = encode(&key, &plain, Scheme::BASIC, &chance).expect("a small chunk");
        let mut sealed = encoded.shards[..4].concat();
        sealed.truncate(encoded.layout.sealed_len() as usize);
        Chunk { layout: encoded.layout, sealed }
    };
    (0..count).map(make).collect()
}

fn open(directory: &Path, disk_bytes: u64) -> BlockCache {
    open_with(directory, 4, disk_bytes)
}

/// With so many blocks in memory.
fn open_with(directory: &Path, memory_blocks: u64, disk_bytes: u64) -> BlockCache {
    let disk = Arc::new(RealDisk::new(directory).expect("a directory"));
    BlockCache::open(disk, memory_blocks * BLOCK_BYTES as u64, disk_bytes).expect("a cache")
}

/// Bytes of the file system under a directory, the directories themselves not counted.
fn allocated(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"));
    let bytes = |entry: std::fs::DirEntry| match entry.metadata().expect("metadata") {
        meta if meta.is_dir() => allocated(&entry.path()),
        meta => meta.blocks() * 512,
    };
    entries.map(bytes).sum()
}

#[derive(Clone, Debug)]
enum Op {
    Write(usize, usize, usize),
    Read(usize, usize, usize),
    Insert(usize, usize, usize),
    Get(usize, usize, usize),
    Forget(usize),
    Damaged(usize),
    Evict(usize),
    EvictAll,
    Pin(usize, bool),
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let chunk = 0..6usize;
    let blocks = (0..BLOCKS, 1..=BLOCKS).prop_map(|(start, length)| (start, (start + length).min(BLOCKS)));
    let bytes = (0..BLOCKS * BLOCK_BYTES, 1..3 * BLOCK_BYTES).prop_map(|(start, length)| (start, start + length));
    prop_oneof![
        6 => (chunk.clone(), blocks.clone()).prop_map(|(c, (a, b))| Op::Write(c, a, b)),
        6 => (chunk.clone(), blocks.clone()).prop_map(|(c, (a, b))| Op::Read(c, a, b)),
        4 => (chunk.clone(), blocks).prop_map(|(c, (a, b))| Op::Insert(c, a, b)),
        4 => (chunk.clone(), bytes).prop_map(|(c, (a, b))| Op::Get(c, a, b)),
        1 => chunk.clone().prop_map(Op::Forget),
        1 => chunk.clone().prop_map(Op::Damaged),
        1 => chunk.clone().prop_map(Op::Evict),
        1 => Just(Op::EvictAll),
        2 => (chunk, any::<bool>()).prop_map(|(c, p)| Op::Pin(c, p)),
        1 => Just(Op::Restart),
    ]
}

/// What must be on disk, because it is pinned and was seen there.
#[derive(Default)]
struct Model {
    pinned: BTreeSet<usize>,
    kept: BTreeMap<usize, BTreeSet<usize>>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn never_wrong_never_too_much(
        ops in proptest::collection::vec(op(), 1..60),
        pages in 10..4 * CHUNK_PAGES,
        memory in 0..60u64,
    ) {
        let all = chunks(6);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let limit = pages * 4096;
        let (mut cache, mut model) = (open_with(directory.path(), memory, limit), Model::default());
        for op in ops {
            match op {
                Op::Restart => {
                    cache = open_with(directory.path(), memory, limit);
                    model.pinned.iter().for_each(|c| cache.set_pinned(all[*c].id(), true));
                }
                op => step(&cache, &all, &mut model, op),
            }
            prop_assert!(cache.disk_bytes() <= limit);
            prop_assert!(allocated(directory.path()) <= cache.disk_bytes());
            prop_assert!(cache.memory_bytes() <= memory * BLOCK_BYTES as u64);
            for (c, blocks) in &model.kept {
                for b in blocks {
                    let read = cache.read_sealed(&all[*c].layout, *b..b + 1);
                    prop_assert_eq!(read.as_deref(), Some(all[*c].part(*b..b + 1)), "pinned");
                }
            }
        }
    }
}

fn step(cache: &BlockCache, all: &[Chunk], model: &mut Model, op: Op) {
    match op {
        Op::Write(c, a, b) => {
            let part = all[c].part(a..b);
            let (front, back) = part.split_at(part.len() / 3);
            cache.write_sealed(&all[c].layout, a..b, &[front, back]);
            let read = cache.read_sealed(&all[c].layout, a..b);
            assert!(read.is_some() || !model.pinned.is_empty() || cache.disk_bytes() == 0 || !fits(cache, a..b));
            if read.is_some() && model.pinned.contains(&c) {
                model.kept.entry(c).or_default().extend(a..b);
            }
        }
        Op::Read(c, a, b) => {
            if let Some(read) = cache.read_sealed(&all[c].layout, a..b) {
                assert_eq!(read, all[c].part(a..b));
            }
        }
        Op::Insert(c, a, b) => {
            let bytes = a * BLOCK_BYTES..b * BLOCK_BYTES;
            let (before, limit) = (cache.memory_bytes(), cache.memory.limit());
            cache.insert(all[c].id(), a, &Bytes::copy_from_slice(&all[c].sealed[bytes.clone()]));
            let most = ((b - a) * BLOCK_BYTES) as u64 + BLOCKS as u64 * memory::ENTRY_BYTES;
            let has = |at: usize| cache.get(all[c].id(), at..at + 1).is_some();
            assert!(most > limit || bytes.step_by(BLOCK_BYTES).all(has), "what fits is there");
            // Runs that had some of it may have gone, others only for want of room.
            let mut had = (0..BLOCKS * BLOCK_BYTES).step_by(BLOCK_BYTES);
            assert!(before + most > limit || most > limit / 8 || had.any(has));
        }
        Op::Get(c, a, b) => {
            if let Some(plain) = cache.get(all[c].id(), a..b) {
                assert!(!plain.is_empty() && plain == all[c].sealed[a..a + plain.len()] && plain.len() <= b - a);
            }
        }
        Op::Forget(c) => {
            cache.forget(all[c].id());
            model.pinned.remove(&c);
            model.kept.remove(&c);
            assert_gone(cache, &all[c]);
        }
        Op::Damaged(c) => {
            cache.damaged(all[c].id());
            model.kept.remove(&c);
            assert_gone(cache, &all[c]);
        }
        Op::Evict(c) => {
            let before = cache.memory_bytes() + cache.disk_bytes();
            let freed = cache.evict_chunks(&[all[c].id()]);
            assert_eq!(before - freed, cache.memory_bytes() + cache.disk_bytes());
            if !model.pinned.contains(&c) {
                assert_gone(cache, &all[c]);
            }
        }
        Op::EvictAll => {
            cache.evict_chunks(&all.iter().map(Chunk::id).collect::<Vec<_>>());
            assert_eq!(cache.memory_bytes(), 0);
            assert!(!model.pinned.is_empty() || cache.disk_bytes() == 0);
        }
        Op::Pin(c, is_pinned) => {
            cache.set_pinned(all[c].id(), is_pinned);
            if is_pinned {
                model.pinned.insert(c);
            } else {
                model.pinned.remove(&c);
                model.kept.remove(&c);
            }
        }
        Op::Restart => unreachable!("done by the caller"),
    }
}

/// Whether blocks certainly have room when nothing is pinned: the whole chunk may be charged with them.
fn fits(cache: &BlockCache, blocks: Range<usize>) -> bool {
    let pages = (blocks.len() * (BLOCK_BYTES + 16)).div_ceil(4096) as u64 + 2;
    pages * 4096 <= cache.sealed.limit()
}

fn assert_gone(cache: &BlockCache, chunk: &Chunk) {
    assert!((0..BLOCKS * BLOCK_BYTES).step_by(100).all(|at| cache.get(chunk.id(), at..at + 100).is_none()));
    assert!((0..BLOCKS).all(|b| cache.read_sealed(&chunk.layout, b..b + 1).is_none()));
}

#[test]
fn the_least_recently_used_go_first_also_after_a_restart() {
    let all = chunks(4);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let limit = 3 * CHUNK_PAGES * 4096;
    let cache = open(directory.path(), limit);
    for chunk in &all[..3] {
        cache.write_sealed(&chunk.layout, 0..BLOCKS, &[&chunk.sealed]);
    }
    // Used so much that the file is told.
    for _ in 0..100 {
        assert!(cache.read_sealed(&all[0].layout, 0..1).is_some());
    }
    drop(cache);
    let cache = open(directory.path(), limit);
    cache.write_sealed(&all[3].layout, 0..BLOCKS, &[&all[3].sealed]);
    let has = |chunk: &Chunk| cache.read_sealed(&chunk.layout, 0..BLOCKS).is_some();
    assert_eq!([has(&all[0]), has(&all[1]), has(&all[2]), has(&all[3])], [true, false, true, true]);
}

#[test]
fn pinned_ones_stay_also_in_a_cache_that_has_become_smaller() {
    let all = chunks(3);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let cache = open(directory.path(), 3 * CHUNK_PAGES * 4096);
    for chunk in &all {
        cache.write_sealed(&chunk.layout, 0..BLOCKS, &[&chunk.sealed]);
    }
    drop(cache);
    let cache = open(directory.path(), CHUNK_PAGES * 4096);
    cache.set_pinned(all[0].id(), true);
    cache.trim();
    let has = |chunk: &Chunk| cache.read_sealed(&chunk.layout, 0..BLOCKS).is_some();
    assert_eq!([has(&all[0]), has(&all[1]), has(&all[2])], [true, false, false]);
}

#[test]
fn what_is_no_cache_file_is_removed_at_start() {
    let all = chunks(2);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let cache = open(directory.path(), 1 << 20);
    for chunk in &all {
        cache.write_sealed(&chunk.layout, 0..2, &[chunk.part(0..2)]);
    }
    drop(cache);
    let file = |chunk: &Chunk| {
        let name = chunk.id().to_string();
        directory.path().join(&name[..2]).join(name)
    };
    let mut bytes = std::fs::read(file(&all[0])).expect("a cache file");
    bytes[41] ^= 1;
    std::fs::write(file(&all[0]), bytes).expect("writable");
    std::fs::write(directory.path().join("stranger"), "x").expect("writable");
    let misnamed = file(&all[1]).with_file_name("0000");
    std::fs::copy(file(&all[1]), &misnamed).expect("a copy");
    let cache = open(directory.path(), 1 << 20);
    assert!(cache.read_sealed(&all[0].layout, 0..1).is_none());
    assert_eq!(cache.read_sealed(&all[1].layout, 0..2).as_deref(), Some(all[1].part(0..2)));
    assert!(!file(&all[0]).exists() && !misnamed.exists() && !directory.path().join("stranger").exists());
}

#[test]
fn when_all_is_pinned_nothing_new_is_cached() {
    let all = chunks(3);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let cache = open(directory.path(), 2 * CHUNK_PAGES * 4096);
    for chunk in &all[..2] {
        cache.set_pinned(chunk.id(), true);
        cache.write_sealed(&chunk.layout, 0..BLOCKS, &[&chunk.sealed]);
    }
    cache.write_sealed(&all[2].layout, 0..BLOCKS, &[&all[2].sealed]);
    assert!(cache.read_sealed(&all[2].layout, 0..1).is_none());
    assert_eq!(cache.evict_chunks(&[all[0].id(), all[1].id()]), 0);
    assert!(all[..2].iter().all(|chunk| cache.read_sealed(&chunk.layout, 0..BLOCKS).is_some()));
    cache.set_pinned(all[0].id(), false);
    cache.write_sealed(&all[2].layout, 0..BLOCKS, &[&all[2].sealed]);
    assert!(cache.read_sealed(&all[2].layout, 0..BLOCKS).is_some());
    assert!(cache.read_sealed(&all[0].layout, 0..1).is_none());
}

/// A disk whose writes fail on demand.
struct Failing {
    disk: RealDisk,
    error: io::ErrorKind,
    is_failing: Arc<AtomicBool>,
}

struct FailingFile(Arc<dyn DiskFile>, io::ErrorKind, Arc<AtomicBool>);

impl Disk for Failing {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, create)?;
        Ok(Arc::new(FailingFile(file, self.error, Arc::clone(&self.is_failing))))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(directory)
    }
    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.disk.sync_directory(directory)
    }
    fn space(&self) -> io::Result<(u64, u64)> {
        self.disk.space()
    }
}

impl DiskFile for FailingFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(bytes, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.2.load(Ordering::SeqCst) { Err(self.1.into()) } else { self.0.write_at(bytes, offset) }
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }
    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.0.punch(offset, bytes)
    }
    fn allocated(&self) -> io::Result<u64> {
        self.0.allocated()
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

fn failing(directory: &Path, error: io::ErrorKind) -> (BlockCache, Arc<AtomicBool>) {
    let is_failing = Arc::new(AtomicBool::new(false));
    let disk = RealDisk::new(directory).expect("a directory");
    let disk = Failing { disk, error, is_failing: Arc::clone(&is_failing) };
    (BlockCache::open(Arc::new(disk), 0, 1 << 30).expect("a cache"), is_failing)
}

#[test]
fn a_full_disk_costs_a_part_and_another_error_the_tier() {
    let all = chunks(4);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |cache: &BlockCache, c: usize| cache.write_sealed(&all[c].layout, 0..BLOCKS, &[&all[c].sealed]);
    let has = |cache: &BlockCache, c: usize| cache.read_sealed(&all[c].layout, 0..BLOCKS).is_some();

    let (cache, is_failing) = failing(directory.path(), io::ErrorKind::StorageFull);
    (0..3).for_each(|c| write(&cache, c));
    is_failing.store(true, Ordering::SeqCst);
    write(&cache, 3);
    assert_eq!([0, 1, 2, 3].map(|c| has(&cache, c)), [false, true, true, false]);
    is_failing.store(false, Ordering::SeqCst);
    write(&cache, 3);
    assert!(has(&cache, 3), "it goes on when there is space again");
    drop(cache);

    let (cache, is_failing) = failing(directory.path(), io::ErrorKind::Other);
    assert!(has(&cache, 3));
    is_failing.store(true, Ordering::SeqCst);
    write(&cache, 0);
    is_failing.store(false, Ordering::SeqCst);
    assert!(!has(&cache, 3), "off");
    write(&cache, 0);
    assert!(!has(&cache, 0));
    cache.insert(all[0].id(), 0, &Bytes::from_static(b"x"));
    assert_eq!(cache.get(all[0].id(), 0..1), None, "no memory was allowed");
}

#[test]
fn runs_stay_whole_where_there_is_room_and_blocks_where_there_is_not() {
    let all = chunks(1);
    let (id, directory) = (all[0].id(), tempfile::tempdir().expect("a temporary directory"));
    let plain = |blocks: Range<usize>| {
        Bytes::copy_from_slice(&all[0].sealed[blocks.start * BLOCK_BYTES..blocks.end * BLOCK_BYTES])
    };
    let cache = open_with(directory.path(), 64, 1 << 20);
    let run = plain(1..4);
    cache.insert(id, 1, &run);
    let piece = cache.get(id, BLOCK_BYTES + 10..9 * BLOCK_BYTES).expect("there");
    assert_eq!((piece.as_ptr(), piece.len()), (run[10..].as_ptr(), run.len() - 10), "not copied, up to its end");
    assert!(cache.get(id, 0..9 * BLOCK_BYTES).is_none() && cache.get(id, 4 * BLOCK_BYTES..5 * BLOCK_BYTES).is_none());
    // What it has already does not take its place; what has more does.
    cache.insert(id, 2, &plain(2..3));
    assert_eq!(cache.get(id, BLOCK_BYTES..2 * BLOCK_BYTES).map(|piece| piece.as_ptr()), Some(run.as_ptr()));
    cache.insert(id, 0, &plain(0..5));
    assert_eq!(cache.memory_bytes(), 5 * BLOCK_BYTES as u64 + memory::ENTRY_BYTES);

    // An eighth of the room is more than a run may have.
    let cache = open_with(directory.path(), 8, 1 << 20);
    cache.insert(id, 0, &plain(0..5));
    assert_eq!(cache.get(id, 0..5 * BLOCK_BYTES), Some(plain(0..1)));
    assert_eq!(cache.memory_bytes(), 5 * (BLOCK_BYTES as u64 + memory::ENTRY_BYTES));
}

#[test]
fn what_an_earlier_run_was_charged_for_is_not_charged_again() {
    let all = chunks(1);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let cache = open(directory.path(), CHUNK_PAGES * 4096);
    // As a run leaves it that ended between two writes: all is charged for, and one block is there.
    let whole = cache.sealed.reserve(&all[0].layout, 0b11111).expect("there is room");
    cache.write_sealed(&all[0].layout, 1..2, &[all[0].part(1..2)]);
    drop((whole, cache));
    let cache = open(directory.path(), CHUNK_PAGES * 4096);
    let charged = cache.disk_bytes();
    assert!(charged > 3 * BLOCK_BYTES as u64);
    cache.write_sealed(&all[0].layout, 3..4, &[all[0].part(3..4)]);
    assert_eq!(cache.disk_bytes(), charged);
    for block in [1, 3] {
        let read = cache.read_sealed(&all[0].layout, block..block + 1);
        assert_eq!(read.as_deref(), Some(all[0].part(block..block + 1)));
    }
}
