//! The store against a model, with crashes at every kind of moment, and the one damage at a time it must survive.

mod golden;

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags};

use super::{
    format::{PAGE, footprint, head_bytes, most_roots, segment_path},
    store::{ShardStore, ShardStoreOptions},
};
use crate::{
    base::{ErrorKind, Kinded, OwnerId, ShardId, limits, sha256},
    runtime::{Chance, OneThread, SeededChance, Shutdown},
    store::{Disk, DiskOp, Error, FaultyDisk, RealDisk, SimulatedDisk},
};

const OWNER: OwnerId = OwnerId([1; 32]);
const SEGMENT: u64 = 16 * PAGE;

fn root_of(body: &[u8]) -> ShardId {
    ShardId(sha256(&[body]))
}

/// As many as the subtrees of a body, told from those of others.
fn roots_of(body: &[u8]) -> Vec<[u8; 32]> {
    (0..most_roots(body.len())).map(|number| sha256(&[&number.to_le_bytes(), body])).collect()
}

fn open(disk: &SimulatedDisk) -> Arc<ShardStore> {
    open_on(Arc::new(disk.clone()), 1 << 30)
}

fn open_on(disk: Arc<dyn Disk>, limit_bytes: u64) -> Arc<ShardStore> {
    let options = ShardStoreOptions { limit_bytes, segment_bytes: SEGMENT };
    ShardStore::open(disk, options, &SeededChance::new(1)).expect("opens")
}

fn body(size: usize, fill: u8) -> Bytes {
    vec![fill; size].into()
}

async fn put(store: &Arc<ShardStore>, owner: OwnerId, body: &Bytes) -> Result<ShardId, Error> {
    let shard = root_of(body);
    let guard = store.reserve(u32::try_from(body.len()).expect("small"))?;
    store.put((owner, shard), body.clone(), roots_of(body), guard).await?;
    Ok(shard)
}

/// Whether the system has these bytes of a file in memory; None where it does not tell.
fn is_cached(file: &std::fs::File, offset: u64) -> Option<bool> {
    let mut byte = [0];
    let read = rustix::io::preadv2(file, &mut [io::IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT);
    match read {
        Ok(count) => Some(count == 1),
        Err(Errno::AGAIN) => Some(false),
        Err(_) => None,
    }
}

#[tokio::test]
async fn what_is_stored_does_not_stay_in_the_memory_of_the_system() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open_on(Arc::new(RealDisk::new(directory.path()).expect("a disk")), 1 << 30);
    let cached = directory.path().join("cached");
    std::fs::write(&cached, [7; 100]).expect("written");
    let file = std::fs::File::open(cached).and_then(|file| file.sync_all().map(|()| file)).expect("flushed");
    if rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).is_err() || is_cached(&file, 0) != Some(false)
    {
        return println!("skipped: this file system keeps all in memory, or does not tell");
    }
    // A hint: the system may keep one or the other. Each has a segment, and is told of behind the answer.
    let mut forgotten = 0;
    for fill in 0..50 {
        put(&store, OWNER, &body(40_000, fill)).await.expect("stored");
        if fill > 0 {
            let file = std::fs::File::open(directory.path().join(segment_path(fill.into()))).expect("the one before");
            forgotten += usize::from(is_cached(&file, 2 * PAGE) == Some(false));
        }
    }
    assert!(forgotten > 0, "all of them are in memory");
    assert_eq!(store.get(OWNER, root_of(&body(40_000, 0))).await.expect("read"), body(40_000, 0));
}

#[derive(Clone, Copy, PartialEq)]
enum Expect {
    Held,
    Gone,
    Either,
}

/// One life of the store: random puts and deletes at once, until the power goes or the life is over.
async fn live(store: &Arc<ShardStore>, chance: &SeededChance, bodies: &[Bytes], model: &mut [Expect]) {
    for _ in 0..12 {
        let mut jobs = Vec::new();
        let mut chosen = std::collections::BTreeSet::new();
        for _ in 0..=chance.below(6) {
            let index = chance.below(bodies.len() as u64) as usize;
            if !chosen.insert(index) {
                continue;
            }
            let (store, body, is_put) = (Arc::clone(store), bodies[index].clone(), chance.below(3) > 0);
            jobs.push(async move {
                let outcome = match is_put {
                    true => put(&store, OWNER, &body).await.map(drop),
                    false => store.delete(OWNER, root_of(&body)).await,
                };
                (index, is_put, outcome)
            });
        }
        for (index, is_put, outcome) in futures::future::join_all(jobs).await {
            model[index] = match (is_put, outcome) {
                (true, Ok(())) => Expect::Held,
                (false, Ok(())) => Expect::Gone,
                (false, Err(error)) if error.kind() == ErrorKind::NotFound => {
                    assert!(model[index] != Expect::Held, "a held shard was not found");
                    Expect::Gone
                }
                _ => Expect::Either,
            };
        }
    }
}

async fn check(store: &Arc<ShardStore>, bodies: &[Bytes], model: &mut [Expect], seed: u64) {
    let listed: BTreeMap<ShardId, u32> = store.list(OWNER, None, usize::MAX).into_iter().collect();
    for (index, body) in bodies.iter().enumerate() {
        let shard = root_of(body);
        let got = store.get(OWNER, shard).await;
        match (model[index], &got) {
            (Expect::Held | Expect::Either, Ok(bytes)) => {
                assert_eq!(bytes, body, "seed {seed}");
                assert_eq!(store.get_roots(OWNER, shard).await.expect("there"), roots_of(body), "seed {seed}");
            }
            (Expect::Gone | Expect::Either, Err(error)) => assert_eq!(error.kind(), ErrorKind::NotFound, "seed {seed}"),
            (Expect::Held, Err(error)) => panic!("seed {seed}: a confirmed shard is lost: {error}"),
            (Expect::Gone, Ok(_)) => panic!("seed {seed}: a deleted shard is back"),
        }
        assert_eq!(listed.contains_key(&shard), got.is_ok(), "seed {seed}");
        model[index] = if got.is_ok() { Expect::Held } else { Expect::Gone };
    }
    let usage = store.usage();
    assert_eq!((usage.bad_shards, usage.damaged_headers, usage.reserved_bytes), (0, 0, 0), "seed {seed}: {usage:?}");
}

#[tokio::test]
async fn what_was_confirmed_survives_every_crash_and_nothing_else_comes_back() {
    for seed in 0..150 {
        let chance = SeededChance::new(seed);
        let disk = SimulatedDisk::new(64 << 20);
        let bodies: Vec<Bytes> = (0..24u8).map(|fill| body(chance.below(12_000) as usize, fill)).collect();
        let mut model = vec![Expect::Gone; bodies.len()];
        for _ in 0..6 {
            let below = FaultyDisk::new(Arc::new(disk.clone()));
            let store = open_on(Arc::new(below.clone()), 1 << 30);
            check(&store, &bodies, &mut model, seed).await;
            let end = chance.below(8);
            match end {
                // Killed before it flushed: that is there as long as there is power, and what was told of it stays true.
                0..3 => below.fail(DiskOp::Sync, chance.below(20), u64::MAX, io::ErrorKind::Other),
                3 => below.fail(DiskOp::SyncDirectory, chance.below(4), u64::MAX, io::ErrorKind::Other),
                4..7 => disk.power_off_after(chance.below(120)),
                _ => {}
            }
            live(&store, &chance, &bodies, &mut model).await;
            if (4..7).contains(&end) {
                disk.crash(&chance);
            }
        }
    }
}

/// A store that is killed between a write and its flush has told nobody of it; the next one tells what it finds.
#[tokio::test]
async fn what_a_killed_store_had_not_flushed_is_flushed_before_it_is_told() {
    for seed in 0..16 {
        let disk = SimulatedDisk::new(64 << 20);
        let below = FaultyDisk::new(Arc::new(disk.clone()));
        let store = open_on(Arc::new(below.clone()), 1 << 30);
        let bodies: Vec<Bytes> = (0..7).map(|fill| body(3 * PAGE as usize, fill)).collect();
        // Three fill a segment.
        for body in &bodies[..6] {
            put(&store, OWNER, body).await.expect("fits");
        }
        // A deletion in a segment that is full, or a put into one that is new, is written when the process is killed.
        let is_deletion = seed % 2 == 0;
        if is_deletion {
            below.fail(DiskOp::Sync, 0, u64::MAX, io::ErrorKind::Other);
            store.delete(OWNER, root_of(&bodies[0])).await.expect_err("not flushed");
        } else {
            below.fail(DiskOp::SyncDirectory, 0, u64::MAX, io::ErrorKind::Other);
            put(&store, OWNER, &bodies[6]).await.expect_err("not flushed");
        }
        let held = |store: &Arc<ShardStore>| store.list(OWNER, None, usize::MAX);
        let told = held(&open(&disk));
        assert_eq!(told.len(), if is_deletion { 5 } else { 7 }, "it was written");
        disk.crash(&SeededChance::new(seed));
        assert_eq!(held(&open(&disk)), told, "seed {seed}");
    }
}

/// What comes after a torn end says that all before it is flushed: so what was found of that must be.
#[tokio::test]
async fn a_torn_end_is_settled_before_anything_follows_it() {
    let mut torn = 0;
    for seed in 0..64 {
        let disk = SimulatedDisk::new(1 << 20);
        let below = FaultyDisk::new(Arc::new(disk.clone()));
        let store = open_on(Arc::new(below.clone()), 1 << 20);
        let kept = put(&store, OWNER, &body(100, 1)).await.expect("fits");
        for (round, fill) in [2, 3].into_iter().enumerate() {
            let store = open_on(Arc::new(below.clone()), 1 << 20);
            below.fail(DiskOp::Sync, 0, u64::MAX, io::ErrorKind::Other);
            put(&store, OWNER, &body(5000, fill)).await.expect_err("not flushed");
            below.heal();
            disk.crash(&SeededChance::new(seed + 1000 * round as u64));
        }
        let again = open(&disk);
        torn += u32::from(again.usage().shards < 3);
        again.verify_all(root_of, &Shutdown::new()).await;
        let usage = again.usage();
        assert_eq!((usage.bad_shards, usage.damaged_headers), (0, 0), "seed {seed}");
        assert_eq!(again.get(OWNER, kept).await.expect("confirmed"), body(100, 1), "seed {seed}");
    }
    assert!(torn > 5, "{torn} ends were torn");
}

/// A cut in the middle of a put over a bad entry may leave two live ones: that the second does not count is flushed before
/// the first can be deleted.
#[tokio::test]
async fn a_shard_that_is_there_twice_does_not_come_back_when_it_is_deleted() {
    let mut twice = 0;
    for seed in 0..48 {
        let disk = SimulatedDisk::new(1 << 20);
        let below = FaultyDisk::new(Arc::new(disk.clone()));
        let store = open_on(Arc::new(below.clone()), 1 << 20);
        let small = body(100, 1);
        let shard = put(&store, OWNER, &small).await.expect("fits");
        // Three more fill the segment.
        for fill in 2..6 {
            put(&store, OWNER, &body(3 * PAGE as usize, fill)).await.expect("fits");
        }
        disk.flip(&segment_path(1), PAGE as usize + 128 + 32 + 17);
        below.fail(DiskOp::Write, 0, u64::MAX, io::ErrorKind::StorageFull);
        assert_eq!(store.get(OWNER, shard).await.expect_err("rotten").kind(), ErrorKind::Corrupt);
        below.heal();
        below.fail(DiskOp::Sync, 0, u64::MAX, io::ErrorKind::Other);
        put(&store, OWNER, &small).await.expect_err("not flushed");
        disk.crash(&SeededChance::new(seed));
        let is_live = |number: u32, page: u64| {
            let bytes = disk.contents(&segment_path(number)).expect("there");
            bytes.get((page * PAGE) as usize + 5) == Some(&1)
        };
        twice += u32::from(is_live(1, 1) && is_live(2, 5));
        let again = open(&disk);
        if again.stat(OWNER, shard).is_some() {
            again.delete(OWNER, shard).await.expect("there");
        }
        disk.crash(&SeededChance::new(seed + 1000));
        assert_eq!(open(&disk).stat(OWNER, shard), None, "seed {seed}");
    }
    assert!(twice > 2, "{twice} times there were two");
}

#[tokio::test]
async fn space_is_counted_given_back_and_never_promised_twice() {
    let disk = SimulatedDisk::new(64 << 20);
    let store = open_on(Arc::new(disk.clone()), 10 * PAGE);
    let one = body(PAGE as usize, 7);
    let shard = put(&store, OWNER, &one).await.expect("fits");
    assert_eq!(store.usage().used_bytes, PAGE + footprint(1, PAGE));
    let guard = store.reserve(6 * PAGE as u32 - 128 - 2 * 32).expect("fits");
    assert_eq!(store.reserve(1).map(drop).expect_err("promised").kind(), ErrorKind::Full);
    drop(guard);
    store.reserve(1).expect("given back");
    store.delete(OWNER, shard).await.expect("there");
    assert!(store.usage().used_bytes <= 2 * PAGE, "{:?}", store.usage());
    assert!(disk.contents(&segment_path(1)).is_none_or(|bytes| bytes[2 * PAGE as usize..].iter().all(|&b| b == 0)));
    assert_eq!(store.delete(OWNER, shard).await.expect_err("gone").kind(), ErrorKind::NotFound);
    assert_eq!(store.reserve(u32::MAX).map(drop).expect_err("too large").kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn segments_in_which_nothing_lives_are_removed() {
    let disk = SimulatedDisk::new(64 << 20);
    let store = open(&disk);
    let mut shards = Vec::new();
    for fill in 0..40 {
        shards.push(put(&store, OWNER, &body(2 * PAGE as usize, fill)).await.expect("fits"));
    }
    let segments = || disk.list(Path::new("shards")).expect("lists").len();
    assert!(segments() > 5);
    for shard in &shards[..39] {
        store.delete(OWNER, *shard).await.expect("there");
    }
    assert_eq!(segments(), 1);
    store.delete(OWNER, shards[39]).await.expect("there");
    let again = open(&disk);
    assert_eq!((again.usage().shards, again.usage().used_bytes), (0, 0));
}

#[tokio::test]
async fn owners_do_not_share_shards() {
    let store = open(&SimulatedDisk::new(1 << 20));
    let other = OwnerId([2; 32]);
    let same = body(100, 3);
    let shard = put(&store, OWNER, &same).await.expect("fits");
    assert_eq!(store.get(other, shard).await.expect_err("not theirs").kind(), ErrorKind::NotFound);
    assert_eq!(store.stat(other, shard), None);
    put(&store, other, &same).await.expect("their own");
    store.delete(OWNER, shard).await.expect("there");
    assert_eq!(store.get(other, shard).await.expect("theirs"), same);
    assert_eq!(store.list(other, None, 10), [(shard, 100)]);
    assert_eq!(store.list(other, Some(shard), 10), []);
}

#[tokio::test]
async fn a_limit_below_what_is_held_drops_nothing_and_takes_nothing() {
    let disk = SimulatedDisk::new(1 << 20);
    let shard = put(&open(&disk), OWNER, &body(9000, 1)).await.expect("fits");
    let store = open_on(Arc::new(disk), PAGE);
    assert_eq!(store.get(OWNER, shard).await.expect("kept").len(), 9000);
    assert_eq!(store.reserve(1).map(drop).expect_err("no room").kind(), ErrorKind::Full);
    assert!(store.usage().problem.expect("said").contains("more than the limit"));
}

#[tokio::test]
async fn a_rotten_body_is_noticed_given_up_and_counted_also_after_a_restart() {
    let disk = SimulatedDisk::new(1 << 20);
    let store = open(&disk);
    let (first, second) = (body(5000, 1), body(5000, 2));
    let rotten = put(&store, OWNER, &first).await.expect("fits");
    let sound = put(&store, OWNER, &second).await.expect("fits");
    disk.flip(&segment_path(1), PAGE as usize + 128 + 32 + 17);
    store.verify_all(root_of, &Shutdown::new()).await;
    let usage = store.usage();
    assert_eq!((usage.bad_shards, usage.shards, usage.verified_shards, usage.to_verify_shards), (1, 1, 2, 2));
    assert_eq!(store.list(OWNER, None, 10), [(sound, 5000)]);
    assert_eq!(store.get(OWNER, rotten).await.expect_err("given up").kind(), ErrorKind::NotFound);
    let again = open(&disk);
    assert_eq!((again.usage().bad_shards, again.usage().shards), (1, 1));
    put(&again, OWNER, &first).await.expect("can be stored anew");
    assert_eq!(again.get(OWNER, rotten).await.expect("whole"), first);
}

#[tokio::test]
async fn what_is_gone_is_not_found_again_by_a_restart_though_it_could_not_be_marked_bad() {
    for is_stored_anew in [false, true] {
        let disk = SimulatedDisk::new(1 << 20);
        let faulty = FaultyDisk::new(Arc::new(disk.clone()));
        let store = open_on(Arc::new(faulty.clone()), 1 << 20);
        let bytes = body(5000, 1);
        let shard = put(&store, OWNER, &bytes).await.expect("fits");
        disk.flip(&segment_path(1), PAGE as usize + 4000);
        faulty.fail(DiskOp::Write, 0, u64::MAX, io::ErrorKind::StorageFull);
        assert_eq!(store.get(OWNER, shard).await.expect_err("rotten").kind(), ErrorKind::Corrupt);
        assert_ne!(store.delete(OWNER, shard).await.expect_err("not durable").kind(), ErrorKind::NotFound);
        faulty.heal();
        if is_stored_anew {
            put(&store, OWNER, &bytes).await.expect("stored");
        } else {
            store.delete(OWNER, shard).await.expect("marked now");
            assert_eq!(store.delete(OWNER, shard).await.expect_err("gone").kind(), ErrorKind::NotFound);
        }
        for store in [store, open(&disk)] {
            assert_eq!(store.usage().shards, u64::from(is_stored_anew), "{:?}", store.usage());
            assert_eq!(store.get(OWNER, shard).await.is_ok_and(|got| got == bytes), is_stored_anew);
        }
    }
}

/// By the whole body, by a part and by its roots.
#[tokio::test(start_paused = true)]
async fn what_the_disk_does_not_read_for_a_while_is_bad_and_can_be_stored_anew() {
    let _alone = OneThread::enter();
    for way in 0..3 {
        let disk = SimulatedDisk::new(4 << 20);
        let faulty = FaultyDisk::new(Arc::new(disk.clone()));
        let store = open_on(Arc::new(faulty.clone()), 4 << 20);
        let bytes = body(230_000, 1);
        let shard = put(&store, OWNER, &bytes).await.expect("fits");
        let failure = async || {
            let error = match way {
                0 => store.get(OWNER, shard).await.err(),
                1 => store.get_part(OWNER, shard, 10..20).await.err(),
                _ => store.get_roots(OWNER, shard).await.err(),
            };
            error.map(|error| error.kind())
        };
        faulty.fail_with(DiskOp::Read, 1, Errno::IO);
        assert_eq!(failure().await, None, "way {way}: it reads in another way");
        // Trouble of the disk as a whole, or for want of memory.
        for errno in [Errno::IO, Errno::NOMEM] {
            faulty.fail_with(DiskOp::Read, u64::MAX, errno);
            for _ in 0..2 {
                assert_eq!(failure().await, Some(ErrorKind::Unavailable), "way {way}");
            }
            tokio::time::sleep(limits::UNREAD_FOR / 2).await; // virtual time
            faulty.heal();
            assert_eq!(failure().await, None, "way {way}: that has passed");
        }
        faulty.fail_with(DiskOp::Read, u64::MAX, Errno::IO);
        for _ in 0..2 {
            assert_eq!(failure().await, Some(ErrorKind::Unavailable), "way {way}");
            tokio::time::sleep(limits::UNREAD_APART).await; // virtual time
        }
        assert_eq!(failure().await, Some(ErrorKind::Unavailable), "way {way}");
        tokio::time::sleep(limits::UNREAD_FOR).await; // virtual time
        assert_eq!(failure().await, Some(ErrorKind::Corrupt), "way {way}");
        assert_eq!((store.usage().shards, store.usage().bad_shards), (1, 0), "way {way}: it may read again");
        put(&store, OWNER, &bytes).await.expect("stored anew");
        faulty.heal();
        for store in [Arc::clone(&store), open(&disk)] {
            assert_eq!(store.get(OWNER, shard).await.expect("whole"), bytes);
            assert_eq!(store.usage().shards, 1, "way {way}");
        }
    }
}

#[tokio::test]
async fn a_shard_whose_file_was_removed_is_not_confirmed_and_can_be_stored_anew() {
    for is_active in [false, true] {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = || Arc::new(RealDisk::new(directory.path()).expect("a disk"));
        let store = open_on(disk(), 4 << 20);
        let bytes = body(5000, 1);
        let shard = put(&store, OWNER, &bytes).await.expect("fits");
        // Three more fill the segment; the next one is another's.
        for fill in 2..if is_active { 2 } else { 6 } {
            put(&store, OWNER, &body(3 * PAGE as usize, fill)).await.expect("fits");
        }
        assert_eq!(store.get_to_confirm(OWNER, shard).await.expect("whole"), bytes);
        std::fs::remove_file(directory.path().join(segment_path(1))).expect("removed");
        assert_eq!(store.get_to_confirm(OWNER, shard).await.expect_err("gone").kind(), ErrorKind::NotFound);
        store.delete(OWNER, shard).await.expect("nothing is left of it");
        assert_eq!(store.stat(OWNER, shard), None);
        put(&store, OWNER, &bytes).await.expect("stored");
        for store in [store, open_on(disk(), 4 << 20)] {
            assert_eq!(store.get_to_confirm(OWNER, shard).await.expect("whole"), bytes);
        }
    }
}

#[tokio::test]
async fn the_last_shard_is_gone_when_a_crash_has_torn_its_roots_alone() {
    let disk = SimulatedDisk::new(4 << 20);
    // Its roots take two sectors, of which a disk may write one.
    let bytes = body(230_000, 1);
    let shard = put(&open(&disk), OWNER, &bytes).await.expect("fits");
    assert_eq!(open(&disk).stat(OWNER, shard), Some(230_000));
    disk.flip(&segment_path(1), PAGE as usize + 128 + 13 * 32);
    let again = open(&disk);
    assert_eq!(again.stat(OWNER, shard), None);
    assert_eq!(again.usage().bad_shards, 0, "torn is not rotten");
    put(&again, OWNER, &bytes).await.expect("can be stored anew");
    assert_eq!(again.get_roots(OWNER, shard).await.expect("there"), roots_of(&bytes));
}

#[tokio::test]
async fn a_rotten_body_is_never_served() {
    let disk = SimulatedDisk::new(1 << 20);
    let store = open(&disk);
    let shard = put(&store, OWNER, &body(5000, 1)).await.expect("fits");
    disk.flip(&segment_path(1), PAGE as usize + 4000);
    assert_eq!(store.get(OWNER, shard).await.expect_err("rotten").kind(), ErrorKind::Corrupt);
    assert_eq!(store.usage().bad_shards, 1);
}

#[tokio::test]
async fn a_damaged_header_loses_its_own_shard_and_no_other() {
    for is_segment_header_damaged in [false, true] {
        let disk = SimulatedDisk::new(4 << 20);
        let store = open(&disk);
        let bodies: Vec<Bytes> = (0..12).map(|fill| body(7000, fill)).collect();
        for body in &bodies {
            put(&store, OWNER, body).await.expect("fits");
        }
        disk.flip(&segment_path(1), PAGE as usize + 10);
        if is_segment_header_damaged {
            for number in 1..=4 {
                disk.flip(&segment_path(number), 20);
            }
        }
        let again = open(&disk);
        assert_eq!((again.usage().damaged_headers, again.usage().shards), (1, 11));
        for body in &bodies[1..] {
            assert_eq!(again.get(OWNER, root_of(body)).await.as_ref().expect("whole"), body);
        }
    }
}

#[tokio::test]
async fn a_header_inside_a_body_is_not_believed() {
    let disk = SimulatedDisk::new(4 << 20);
    let store = open(&disk);
    // A producer that knows the format, but not the nonce, plants an entry where a scan may look for one.
    let key = (OwnerId([9; 32]), ShardId([9; 32]));
    let state = super::format::EntryState::Live;
    let offset = 2 * PAGE;
    let forged = super::format::EntryHeader {
        state,
        roots: 0,
        roots_crc: 0,
        body_bytes: 9,
        body_crc: 0,
        flushed_to: 0,
        offset,
        segment: 1,
        key,
    };
    let mut planted = vec![0; 2 * PAGE as usize];
    let start = PAGE as usize - head_bytes(most_roots(planted.len())) as usize;
    planted[start..start + 128].copy_from_slice(&forged.encode(&[0; 16]));
    put(&store, OWNER, &planted.into()).await.expect("fits");
    assert_eq!(disk.contents(&segment_path(1)).expect("a segment")[offset as usize..][..4], *b"OBSH");
    put(&store, OWNER, &body(10, 1)).await.expect("fits");
    disk.flip(&segment_path(1), PAGE as usize + 10);
    let again = open(&disk);
    assert_eq!(again.stat(key.0, key.1), None);
    assert_eq!((again.usage().damaged_headers, again.usage().shards), (1, 1));
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let disk = FaultyDisk::new(Arc::new(SimulatedDisk::new(1 << 20)));
    let store = open_on(Arc::new(disk.clone()), 1 << 20);
    let kept = put(&store, OWNER, &body(3000, 1)).await.expect("fits");
    disk.fail(DiskOp::Write, 1, 1, io::ErrorKind::StorageFull);
    let refusal = put(&store, OWNER, &body(9000, 2)).await.expect_err("full");
    assert_eq!(refusal.kind(), ErrorKind::Full);
    assert!(store.usage().problem.is_some());
    assert_eq!(store.usage().reserved_bytes, 0);
    let later = put(&store, OWNER, &body(200, 3)).await.expect("room again");
    assert_eq!(store.usage().problem, None);
    let again = open_on(Arc::new(disk), 1 << 20);
    assert_eq!(again.list(OWNER, None, 9).len(), 2);
    for shard in [kept, later] {
        again.get(OWNER, shard).await.expect("whole");
    }
}

/// The hole that it leaves would be sent as its bytes, and the bytes of what lies there next.
#[tokio::test]
async fn what_goes_while_a_part_of_it_is_read_is_not_given_out() {
    let disk = FaultyDisk::new(Arc::new(SimulatedDisk::new(1 << 20)));
    let store = open_on(Arc::new(disk.clone()), 1 << 20);
    for is_stored_anew in [false, true] {
        let bytes = body(9000, 1);
        let shard = put(&store, OWNER, &bytes).await.expect("fits");
        disk.hang(DiskOp::Read);
        let reading = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.get_part(OWNER, shard, 100..5000).await }
        });
        while disk.hanging() == 0 {
            tokio::task::yield_now().await;
        }
        store.delete(OWNER, shard).await.expect("deleted");
        if is_stored_anew {
            put(&store, OWNER, &bytes).await.expect("stored");
        }
        disk.go_on();
        match reading.await.expect("no panic") {
            Ok(part) => assert!(is_stored_anew && part == bytes.slice(100..5000)),
            Err(error) => assert!(!is_stored_anew && error.kind() == ErrorKind::NotFound, "{error}"),
        }
    }
}

#[tokio::test]
async fn after_a_failed_flush_nothing_more_is_confirmed() {
    let disk = FaultyDisk::new(Arc::new(SimulatedDisk::new(1 << 20)));
    let store = open_on(Arc::new(disk.clone()), 1 << 20);
    let kept = put(&store, OWNER, &body(3000, 1)).await.expect("fits");
    disk.fail(DiskOp::Sync, 0, 1, io::ErrorKind::Other);
    let refusal = put(&store, OWNER, &body(100, 2)).await.expect_err("not flushed");
    assert_eq!(refusal.kind(), ErrorKind::Closed);
    assert!(refusal.to_string().contains("check the disk"), "{refusal}");
    assert_eq!(store.reserve(1).map(drop).expect_err("poisoned").kind(), ErrorKind::Closed);
    assert_eq!(store.delete(OWNER, kept).await.expect_err("poisoned").kind(), ErrorKind::Closed);
    store.get(OWNER, kept).await.expect("reading goes on");
    assert_eq!(store.usage().free_bytes, 0);
}

#[tokio::test]
async fn many_puts_share_a_flush() {
    // The writer is a task of this thread: all puts wait when it begins, however busy the machine is.
    let _alone = OneThread::enter();
    let disk = FaultyDisk::new(Arc::new(SimulatedDisk::new(4 << 20)));
    let store = open_on(Arc::new(disk.clone()), 4 << 20);
    let store = &store;
    put(store, OWNER, &body(1, 255)).await.expect("the segment is there");
    // Sixty puts into six segments: with a flush for each, the twentieth would fail.
    disk.fail(DiskOp::Sync, 20, u64::MAX, io::ErrorKind::Other);
    let puts = (0..60).map(|fill| async move { put(store, OWNER, &body(3000, fill)).await });
    for outcome in futures::future::join_all(puts).await {
        outcome.expect("confirmed");
    }
    assert_eq!(store.usage().shards, 61);
}

#[tokio::test]
async fn a_closed_store_takes_nothing_more() {
    let store = open(&SimulatedDisk::new(1 << 20));
    put(&store, OWNER, &body(1, 1)).await.expect("fits");
    assert!(store.close(std::time::Duration::from_secs(5)).await);
    assert_eq!(store.reserve(1).map(drop).expect_err("closed").kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn more_roots_than_subtrees_are_refused() {
    let store = open(&SimulatedDisk::new(1 << 20));
    let guard = store.reserve(100).expect("fits");
    let refused = store.put((OWNER, root_of(b"x")), body(100, 1), vec![[0; 32]; 2], guard).await;
    assert_eq!(refused.expect_err("two of one").kind(), ErrorKind::Invalid);
    assert_eq!(store.usage().reserved_bytes, 0);
}
