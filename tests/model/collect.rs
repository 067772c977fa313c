//! Space that nobody needs any more comes back: from sparse chunks, and from uploads that a crash cut short.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use openbucket::{
    base::Ino,
    bucket::{Allocation, FileState, SetAttr, XattrMode},
    net::SimulatedOptions,
    runtime::{Chance, SeededChance},
};

use crate::{fixture::Fixture, new_file, put};

/// Consumers may hold this much for each byte that 4+2 makes of needed data.
const LIMIT: f64 = 2.2;
const PAGE: usize = 4096;
/// Bytes read at a time: of many chunks, one after another.
const READ: usize = 64 << 10;

/// Files as they must be, and where chance leads.
struct Files {
    files: BTreeMap<Ino, Vec<u8>>,
    chance: SeededChance,
}

impl Files {
    fn new(seed: u64) -> Self {
        Self { files: BTreeMap::new(), chance: SeededChance::new(seed) }
    }

    fn below(&self, bound: usize) -> usize {
        self.chance.below(bound as u64) as usize
    }

    fn noise(&self, bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        self.chance.fill(&mut noise);
        noise
    }

    async fn put(&mut self, fixture: &Fixture, name: &str, bytes: usize) -> Ino {
        let data = self.noise(bytes);
        let ino = put(fixture, name, data.clone()).await;
        self.files.insert(ino, data);
        ino
    }

    async fn write(&mut self, fixture: &Fixture, ino: Ino, offset: usize, bytes: usize) {
        let data = self.noise(bytes);
        fixture.bucket.write(ino, offset as u64, data.clone().into()).await.expect("written");
        let file = self.files.get_mut(&ino).expect("a file of these");
        file.resize(file.len().max(offset + bytes), 0);
        file[offset..offset + bytes].copy_from_slice(&data);
    }

    /// Writes as many pages as the file has, anywhere in it, and uploads them.
    async fn overwrite(&mut self, fixture: &Fixture, ino: Ino) {
        let pages = self.files[&ino].len() / PAGE;
        for _ in 0..pages {
            self.write(fixture, ino, self.below(pages) * PAGE, PAGE).await;
        }
        fixture.upload(FileState::Uploaded).await;
    }

    fn copy(&mut self, fixture: &Fixture, source: Ino, target: Ino) {
        let data = self.files[&source].clone();
        let mut done = 0;
        while done < data.len() as u64 {
            done += fixture.bucket.copy_range((source, done), (target, done), u64::MAX).expect("shared");
        }
        let file = self.files.entry(target).or_default();
        file.resize(file.len().max(data.len()), 0);
        file[..data.len()].copy_from_slice(&data);
    }

    fn bytes(&self) -> u64 {
        self.files.values().map(|data| data.len() as u64).sum()
    }

    async fn check(&self, fixture: &Fixture, when: &str) {
        for (ino, data) in &self.files {
            assert_eq!(fixture.bucket.getattr(*ino).expect("there").size, data.len() as u64, "{when}: {ino}");
            for (index, part) in data.chunks(READ).enumerate() {
                let offset = (index * READ) as u64;
                let read = fixture.bucket.read(*ino, 1, offset, part.len() as u32).await;
                let read = read.unwrap_or_else(|error| panic!("{when}: {ino} at {offset}: {error}"));
                assert!(read == part, "{when}: {ino} differs after {offset}");
            }
        }
    }
}

/// The shards that files need: of each of their chunks, so many.
fn needed_shards(fixture: &Fixture) -> u64 {
    let mut seen = BTreeSet::new();
    let mut shards = 0;
    for file in fixture.bucket.list(b"", true).expect("readable") {
        for chunk in fixture.bucket.report(file.path.as_bytes()).expect("readable").chunks {
            if seen.insert(chunk.id.clone()) {
                shards += chunk.shards.len() as u64;
            }
        }
    }
    shards
}

/// Waits until the collector and the tender have nothing left to do, and no consumer has a shard too much.
async fn settle(fixture: &Fixture) {
    let is_settled = || {
        let status = fixture.bucket.status().expect("readable");
        let is_done = status.sparse_chunks == 0 && status.incomplete_chunks == 0 && status.pending_deletes == 0;
        is_done && fixture.shards() == needed_shards(fixture)
    };
    let describe = || {
        let status = fixture.bucket.status();
        format!("{} shards, {} needed, {status:?}", fixture.shards(), needed_shards(fixture))
    };
    fixture.until(is_settled, describe).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overwritten_space_is_given_back() {
    let fixture = Fixture::new(31, 6).await;
    let mut files = Files::new(31);
    let ino = files.put(&fixture, "file", 8 << 20).await;
    fixture.upload(FileState::Uploaded).await;
    for _ in 0..3 {
        files.overwrite(&fixture, ino).await;
    }
    settle(&fixture).await;
    let (held, coded) = (fixture.held_bytes() as f64, files.bytes() as f64 * 1.5);
    println!("consumers hold {:.2} of what 4+2 makes of the data", held / coded);
    assert!(held < LIMIT * coded, "{held} bytes for {coded}");
    assert!(fixture.bucket.status().expect("readable").reclaimed_bytes > 0);
    fixture.bucket.evict(Vec::new()).await.expect("evicted");
    files.check(&fixture, "afterwards").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_copies_share_is_collected_too() {
    let fixture = Fixture::new(32, 6).await;
    let mut files = Files::new(32);
    let source = files.put(&fixture, "source", 4 << 20).await;
    fixture.upload(FileState::Uploaded).await;
    let mut all = vec![source];
    for number in 0..8 {
        let target = fixture.bucket.make(Ino::ROOT, format!("copy-{number}").as_bytes(), new_file()).expect("made").ino;
        files.copy(&fixture, source, target);
        all.push(target);
    }
    // A quarter is needed, nine times.
    for ino in all {
        fixture.bucket.fallocate(ino, 1 << 20..4 << 20, Allocation::Punch, true).expect("punched");
        files.files.get_mut(&ino).expect("there")[1 << 20..].fill(0);
    }
    settle(&fixture).await;
    let held = fixture.held_bytes() as f64;
    assert!(held < LIMIT * 1.5 * f64::from(1 << 20), "{held} bytes for 1 MiB");
    fixture.bucket.evict(Vec::new()).await.expect("evicted");
    files.check(&fixture, "afterwards").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collecting_goes_on_beside_writes_cuts_copies_and_removals() {
    let world = SimulatedOptions { jitter: Duration::from_millis(5), ..SimulatedOptions::default() };
    let fixture = Fixture::with(33, 6, world).await;
    let mut files = Files::new(33);
    let mut names: BTreeMap<usize, Ino> = BTreeMap::new();
    for step in 0..400 {
        // Both go on all the time.
        fixture.bucket.hurry();
        let (name, other) = (files.below(8), files.below(8));
        let Some(ino) = names.get(&name).copied() else {
            let bytes = 1 + files.below(3 << 20);
            names.insert(name, files.put(&fixture, &name.to_string(), bytes).await);
            continue;
        };
        let size = files.files[&ino].len();
        match files.below(12) {
            0..7 => {
                let (offset, bytes) = (files.below(size.max(1)), 1 + files.below(100_000));
                files.write(&fixture, ino, offset, bytes).await;
            }
            7 => {
                let cut = files.below(size + 1);
                let set = SetAttr { size: Some(cut as u64), ..SetAttr::default() };
                fixture.bucket.setattr(ino, set).expect("cut");
                files.files.get_mut(&ino).expect("there").truncate(cut);
            }
            8 => {
                let (start, end) = (files.below(size + 1), size);
                let range = start as u64..end as u64 + 1;
                fixture.bucket.fallocate(ino, range, Allocation::Punch, true).expect("punched");
                files.files.get_mut(&ino).expect("there")[start..].fill(0);
            }
            9 => {
                fixture.bucket.unlink(Ino::ROOT, name.to_string().as_bytes()).expect("removed");
                files.files.remove(&ino);
                names.remove(&name);
            }
            _ => {
                if let Some(target) = names.get(&other).copied().filter(|target| *target != ino) {
                    files.copy(&fixture, ino, target);
                }
            }
        }
        if step % 50 == 0 {
            fixture.upload(FileState::Available).await;
            fixture.bucket.evict(Vec::new()).await.expect("evicted");
            files.check(&fixture, "meanwhile").await;
        }
    }
    fixture.upload(FileState::Uploaded).await;
    settle(&fixture).await;
    assert!(fixture.bucket.status().expect("readable").reclaimed_bytes > 0, "nothing was collected");
    fixture.bucket.evict(Vec::new()).await.expect("evicted");
    files.check(&fixture, "afterwards").await;
}

/// Kills the bucket when a condition comes, or a little later when it does not.
async fn kill_when(fixture: &mut Fixture, mut condition: impl FnMut(&Fixture) -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_millis(700);
    while !condition(fixture) && tokio::time::Instant::now() < end {
        fixture.bucket.hurry();
        tokio::task::yield_now().await;
    }
    fixture.kill_and_open().await;
}

/// When the number of shards has changed so often.
fn after_changes(mut changes: usize, mut seen: u64) -> impl FnMut(&Fixture) -> bool {
    move |fixture| {
        let now = fixture.shards();
        changes -= usize::from(now != seen);
        seen = now;
        changes == 0
    }
}

/// When a chunk is committed and all its shards are stored, but a receipt is still on its way.
fn is_unrecorded(fixture: &Fixture) -> bool {
    let status = fixture.bucket.status().expect("readable");
    status.incomplete_chunks > 0 && fixture.shards() >= needed_shards(fixture)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_while_collecting_loses_nothing_and_leaves_nothing() {
    let world = SimulatedOptions { jitter: Duration::from_millis(20), ..SimulatedOptions::default() };
    let mut fixture = Fixture::with(34, 6, world).await;
    let mut files = Files::new(34);
    let ino = files.put(&fixture, "file", 2 << 20).await;
    fixture.upload(FileState::Uploaded).await;
    for round in 0..6 {
        files.overwrite(&fixture, ino).await;
        let moment = after_changes(1 + files.below(12), fixture.shards());
        kill_when(&mut fixture, moment).await;
        fixture.assert_sound(&format!("crash {round}")).await;
        fixture.bucket.evict(Vec::new()).await.expect("evicted");
        files.check(&fixture, &format!("crash {round}")).await;
    }
    settle(&fixture).await;
    fixture.assert_sound("settled").await;
    fixture.bucket.evict(Vec::new()).await.expect("evicted");
    files.check(&fixture, "afterwards").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_a_crash_cut_short_leave_no_shard_behind() {
    let world = SimulatedOptions { jitter: Duration::from_millis(100), ..SimulatedOptions::default() };
    // More than a chunk has shards: what is missing after a crash comes to others than have it.
    let mut fixture = Fixture::with(35, 9, world).await;
    let mut files = Files::new(35);
    for round in 0..8 {
        let ino = files.put(&fixture, &round.to_string(), 300_000).await;
        if round % 3 == 0 {
            // Its shards are equal, and so are their ids: one must not be taken for the other.
            fixture.bucket.setxattr(ino, b"user.openbucket.tier", b"1+2", XattrMode::Set).expect("set");
        }
        fixture.bucket.fsync_blocking(ino, false).expect("durable");
        if round % 4 == 0 {
            let moment = after_changes(1 + files.below(9), fixture.shards());
            kill_when(&mut fixture, moment).await;
        } else {
            kill_when(&mut fixture, is_unrecorded).await;
        }
        fixture.assert_sound(&format!("crash {round}")).await;
        fixture.upload(FileState::Uploaded).await;
        settle(&fixture).await;
    }
    fixture.assert_sound("settled").await;
    fixture.bucket.evict(Vec::new()).await.expect("evicted");
    files.check(&fixture, "afterwards").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_collected_goes_also_from_a_consumer_that_was_away() {
    let mut fixture = Fixture::new(36, 6).await;
    let mut files = Files::new(36);
    let ino = files.put(&fixture, "file", 8 << 20).await;
    fixture.upload(FileState::Uploaded).await;
    files.overwrite(&fixture, ino).await;
    fixture.set_up(3, false);
    let is_collected = || {
        let status = fixture.bucket.status().expect("readable");
        status.sparse_chunks == 0 && status.pending_deletes > 0
    };
    fixture.until(is_collected, || format!("{:?}", fixture.bucket.status())).await;
    // Who was away at the deletion is told later, also by the next run.
    fixture.close_and_open().await;
    fixture.set_up(3, true);
    settle(&fixture).await;
    files.check(&fixture, "afterwards").await;
}

/// What the collector moves is as safe as before: a sync waits for what programs have written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_the_shards_of_what_is_collected() {
    let mut fixture = Fixture::new(37, 6).await;
    let mut files = Files::new(37);
    let ino = files.put(&fixture, "file", 1 << 20).await;
    fixture.upload(FileState::Uploaded).await;
    let chunks = |fixture: &Fixture| {
        let chunks = fixture.bucket.report(b"file").expect("readable").chunks;
        chunks.into_iter().map(|chunk| chunk.id).collect::<Vec<_>>()
    };
    let state = |fixture: &Fixture| fixture.bucket.report(b"file").expect("readable").state;
    let awaited = |fixture: &Fixture| fixture.bucket.pending(b"", FileState::Uploaded).expect("readable").files;
    let punch = |fixture: &Fixture, end: u64| {
        fixture.bucket.fallocate(ino, 0..end, Allocation::Punch, true).expect("punched");
    };
    // With a consumer away one shard of each new chunk has no place.
    fixture.set_up(0, false);
    let before = chunks(&fixture);
    punch(&fixture, 700 << 10);
    fixture.until(|| chunks(&fixture) != before, || format!("{before:?}")).await;
    assert_eq!((state(&fixture), awaited(&fixture)), (FileState::Available, 0));
    fixture.crash_and_open().await;
    fixture.assert_sound("after a crash").await;
    assert_eq!((state(&fixture), awaited(&fixture)), (FileState::Available, 0));
    // But what is new is waited for, also when it was moved before all of it was there.
    fixture.bucket.write(ino, 900 << 10, vec![7; 200 << 10].into()).await.expect("written");
    fixture.upload(FileState::Available).await;
    assert_eq!(awaited(&fixture), 1);
    let before = chunks(&fixture);
    fixture.bucket.fallocate(ino, 900 << 10..1050 << 10, Allocation::Punch, true).expect("punched");
    fixture.until(|| chunks(&fixture).last() != before.last(), || format!("{before:?}")).await;
    assert_eq!((state(&fixture), awaited(&fixture)), (FileState::Available, 1));
    fixture.set_up(0, true);
    fixture.upload(FileState::Uploaded).await;
}
