//! The bucket against a model, over a simulated network of real consumers: random operations, crashes and
//! reopenings among them. `OPENBUCKET_SEED` and `OPENBUCKET_STEPS` choose another run.

#[path = "model/awaited.rs"]
mod awaited;
#[path = "model/collect.rs"]
mod collect;
#[path = "model/fixture.rs"]
mod fixture;
#[path = "model/ranges.rs"]
mod ranges;
#[path = "model/reads.rs"]
mod reads;
#[path = "model/shattered.rs"]
mod shattered;
#[path = "model/staging.rs"]
mod staging;
#[path = "model/tree.rs"]
mod tree;

use std::time::Instant;

use fixture::{Fixture, READ_TIMEOUT};
use openbucket::{
    base::{ErrorKind, Ino, Kinded, ShardId, limits},
    bucket::{Allocation, FileKind, FileState, FsckKind, NewInode, SetAttr, XattrMode},
    coding::merkle,
};
use tree::{Model, whole};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Tells which operations led to a failure.
struct Story<'a>(u64, &'a mut Model);

impl Drop for Story<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let tail = self.1.log.len().saturating_sub(40);
            eprintln!(
                "OPENBUCKET_SEED={} after {} steps:\n{}",
                self.0,
                self.1.log.len(),
                self.1.log[tail..].join("\n")
            );
        }
    }
}

async fn run(seed: u64, steps: u64) {
    let mut fixture = Fixture::new(seed, 6).await;
    let mut model = Model::new(seed);
    let story = Story(seed, &mut model);
    for _ in 0..steps {
        story.1.step(&mut fixture).await;
    }
    story.1.check(&fixture).await;
    for node in 0..fixture.nodes.len() {
        fixture.set_up(node, true);
    }
    fixture.upload(FileState::Uploaded).await;
    fixture.bucket.evict(Vec::new()).await.expect("evicted");
    story.1.check(&fixture).await;
    fixture.assert_sound("in the end").await;
    story.1.clear(&fixture);
    let is_clean = || {
        let status = fixture.bucket.status().expect("readable");
        fixture.shards() == 0 && status.staged_bytes == 0 && status.chunks == 0 && status.pending_deletes == 0
    };
    let describe = || format!("{} shards, {:?}", fixture.shards(), fixture.bucket.status());
    fixture.until(is_clean, describe).await;
}

macro_rules! seeds {
    ($($name:ident: $seed:literal),*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            run(number("OPENBUCKET_SEED").unwrap_or($seed), number("OPENBUCKET_STEPS").unwrap_or(400)).await;
        }
    )*};
}

seeds!(random_operations_1: 1, random_operations_2: 2, random_operations_3: 3, random_operations_4: 4);

fn new_file() -> NewInode {
    NewInode { kind: FileKind::File, mode: 0o644, umask: 0, uid: 0, gid: 0, rdev: 0, target: Vec::new() }
}

async fn put(fixture: &Fixture, name: &str, data: Vec<u8>) -> Ino {
    let ino = fixture.bucket.make(Ino::ROOT, name.as_bytes(), new_file()).expect("made").ino;
    fixture.bucket.write(ino, 0, data.into()).await.expect("written");
    ino
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_fewer_than_k_a_read_fails_in_time_and_works_again_after() {
    let mut fixture = Fixture::new(11, 6).await;
    let data: Vec<u8> = (0..300_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    let ino = put(&fixture, "file", data.clone()).await;
    fixture.upload(FileState::Uploaded).await;
    fixture.bucket.evict(Vec::new()).await.expect("evicted");
    (0..3).for_each(|node| fixture.set_up(node, false));
    let start = Instant::now();
    let error = fixture.bucket.read(ino, 1, 0, 300_000).await.expect_err("three of four needed");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(start.elapsed() < READ_TIMEOUT * 2, "{:?}", start.elapsed());
    (0..3).for_each(|node| fixture.set_up(node, true));
    tokio::time::sleep(limits::UNREADABLE_TIME).await; // for so long the same is not tried again
    assert!(whole(&fixture, ino).await == data);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_files_share_chunks_and_empty_ones_need_none() {
    let fixture = Fixture::new(12, 6).await;
    for index in 0..1000u32 {
        put(&fixture, &format!("file-{index}"), index.to_le_bytes().repeat(256)).await;
    }
    fixture.bucket.make(Ino::ROOT, b"empty", new_file()).expect("made");
    fixture.upload(FileState::Uploaded).await;
    let chunks = fixture.bucket.status().expect("readable").chunks;
    assert!((1..=10).contains(&chunks), "1000 files of 1 KiB in {chunks} chunks");
    fixture.bucket.evict(Vec::new()).await.expect("evicted");
    for index in [0, 499, 999u32] {
        let ino = fixture.bucket.resolve(format!("file-{index}").as_bytes()).expect("there");
        assert_eq!(whole(&fixture, ino).await, index.to_le_bytes().repeat(256));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_overwritten_or_removed_goes_also_from_a_consumer_that_was_away() {
    let mut fixture = Fixture::new(13, 6).await;
    let ino = put(&fixture, "file", vec![1; 100_000]).await;
    fixture.upload(FileState::Uploaded).await;
    assert_eq!(fixture.shards(), 6);
    fixture.set_up(2, false);
    fixture.bucket.write(ino, 0, vec![2; 100_000].into()).await.expect("written");
    fixture.upload(FileState::Available).await;
    fixture.until(|| fixture.shards() == 6, || format!("{} shards", fixture.shards())).await;
    assert_eq!(fixture.nodes[2].consumer.status().shards, 1, "the old shard waits where nobody answers");
    fixture.set_up(2, true);
    fixture.upload(FileState::Uploaded).await;
    let cut = SetAttr { size: Some(0), ..SetAttr::default() };
    fixture.bucket.setattr(ino, cut).expect("cut");
    fixture.until(|| fixture.shards() == 0, || format!("{} shards", fixture.shards())).await;
    assert!(whole(&fixture, ino).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_consumers_leave_the_data_staged_and_say_so() {
    let mut fixture = Fixture::new(14, 6).await;
    (0..3).for_each(|node| fixture.set_up(node, false));
    let ino = put(&fixture, "file", vec![7; 10_000]).await;
    let failed = || fixture.bucket.report(b"file").is_ok_and(|report| report.state == FileState::Failed);
    fixture.until(failed, || format!("{:?}", fixture.bucket.report(b"file"))).await;
    let report = fixture.bucket.report(b"file").expect("readable");
    assert!(report.reason.is_some_and(|reason| !reason.is_empty()));
    assert_eq!(report.staged_bytes, 10_000);
    assert_eq!(whole(&fixture, ino).await, vec![7; 10_000]);
    (0..3).for_each(|node| fixture.set_up(node, true));
    fixture.upload(FileState::Uploaded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_stores_no_shard_and_lives_on_when_the_original_goes() {
    let fixture = Fixture::new(15, 6).await;
    let data: Vec<u8> = (0..9_000_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    let source = put(&fixture, "source", data.clone()).await;
    fixture.upload(FileState::Uploaded).await;
    let shards = fixture.shards();
    let target = fixture.bucket.make(Ino::ROOT, b"target", new_file()).expect("made").ino;
    let copied = fixture.bucket.copy_range((source, 1000), (target, 0), u64::MAX).expect("shared");
    assert_eq!((copied, fixture.bucket.staged_bytes()), (data.len() as u64 - 1000, 0));
    fixture.bucket.unlink(Ino::ROOT, b"source").expect("removed");
    fixture.bucket.fallocate(target, 0..1000, Allocation::Punch, true).expect("punched");
    fixture.bucket.evict(Vec::new()).await.expect("evicted");
    let read = whole(&fixture, target).await;
    assert!(read[1000..] == data[2000..] && read[..1000].iter().all(|byte| *byte == 0));
    assert_eq!(fixture.shards(), shards, "nothing was uploaded, and nothing deleted that is needed");
    fixture.bucket.unlink(Ino::ROOT, b"target").expect("removed");
    fixture.until(|| fixture.shards() == 0, || format!("{} shards", fixture.shards())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_tier_is_applied_to_what_is_there_also_after_a_crash() {
    let mut fixture = Fixture::new(16, 6).await;
    let data: Vec<u8> = (0..5_000_000u32).map(|i| (i.wrapping_mul(i) >> 9) as u8).collect();
    let ino = put(&fixture, "file", data.clone()).await;
    let other = put(&fixture, "other", vec![9; 1000]).await;
    fixture.upload(FileState::Uploaded).await;
    let tier = |fixture: &Fixture, text: &str| {
        fixture.bucket.setxattr(ino, b"user.openbucket.tier", text.as_bytes(), XattrMode::Set).expect("set");
    };
    tier(&fixture, "2+4");
    assert_ne!(fixture.bucket.report(b"file").expect("there").state, FileState::Uploaded);
    fixture.crash_and_open().await;
    fixture.assert_sound("after a crash").await;
    fixture.upload(FileState::Uploaded).await;
    let report = fixture.bucket.report(b"file").expect("there");
    assert_eq!((report.availability.actual, report.availability.desired), (5, 5));
    assert!(report.chunks.iter().all(|chunk| chunk.shards.len() == 6));
    fixture.bucket.evict(Vec::new()).await.expect("evicted");
    assert!(whole(&fixture, ino).await == data && whole(&fixture, other).await == vec![9; 1000]);
    // With too few consumers for it, the data stays where it was, and the reason is told.
    tier(&fixture, "premium");
    let failed = || fixture.bucket.report(b"file").is_ok_and(|report| report.state == FileState::Failed);
    fixture.until(failed, || format!("{:?}", fixture.bucket.report(b"file"))).await;
    assert!(whole(&fixture, ino).await == data);
    tier(&fixture, "basic");
    fixture.upload(FileState::Uploaded).await;
    assert_eq!(fixture.bucket.report(b"file").expect("there").availability.actual, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tier_that_changes_during_an_upload_is_applied_to_it() {
    let fixture = Fixture::new(17, 6).await;
    let ino = put(&fixture, "file", (0..9_000_000u32).map(|i| (i.wrapping_mul(i) >> 9) as u8).collect()).await;
    let on_its_way = || fixture.bucket.report(b"file").is_ok_and(|report| report.state >= FileState::Uploading);
    fixture.until(on_its_way, || format!("{:?}", fixture.bucket.report(b"file"))).await;
    fixture.bucket.setxattr(ino, b"user.openbucket.tier", b"2+4", XattrMode::Set).expect("set");
    fixture.upload(FileState::Uploaded).await;
    assert_eq!(fixture.bucket.report(b"file").expect("there").availability.actual, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_finds_shards_that_are_gone_and_shards_that_nobody_knows_and_repairs_both() {
    let fixture = Fixture::new(18, 6).await;
    let data: Vec<u8> = (0..5_000_000u32).map(|i| (i.wrapping_mul(i) >> 9) as u8).collect();
    put(&fixture, "file", data).await;
    fixture.upload(FileState::Uploaded).await;
    fixture.assert_sound("uploaded").await;
    let shards = fixture.shards();
    let report = fixture.bucket.report(b"file").expect("there");
    let shard = &report.chunks[0].shards[2];
    let contact = |node: usize| fixture.nodes[node].candidate().contact;
    let holder = (0..6).find(|node| contact(*node).peer.to_string() == shard.consumer).expect("one of ours");
    let id: ShardId = shard.id.parse().expect("an id");
    fixture.client.delete(&contact(holder), id).await.expect("deleted behind the bucket");
    let unknown = vec![7; 5000];
    fixture.client.put(&contact(1), merkle::root(&unknown), unknown.into()).await.expect("put behind the bucket");
    let kinds = |report: &openbucket::bucket::FsckReport| -> Vec<(FsckKind, bool)> {
        report.problems.iter().map(|problem| (problem.kind, problem.repaired)).collect()
    };
    let both = |repaired| vec![(FsckKind::AbsentShard, repaired), (FsckKind::UnknownShard, repaired)];
    assert_eq!(kinds(&fixture.fsck(false).await), both(false));
    assert_eq!(kinds(&fixture.fsck(true).await), both(true));
    let is_even = || {
        let status = fixture.bucket.status().expect("readable");
        (status.incomplete_chunks, status.pending_deletes, fixture.shards()) == (0, 0, shards)
    };
    fixture.until(is_even, || format!("{:?}", fixture.bucket.status())).await;
    fixture.assert_sound("repaired").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_a_busy_bucket_finds_nothing() {
    let fixture = Fixture::new(19, 6).await;
    let busy = async {
        for round in 0..12_u32 {
            for index in 0..40_u32 {
                let name = format!("file-{}", (round * 7 + index) % 60);
                let temporary = format!("temporary-{index}");
                let ino = put(&fixture, &temporary, (round + index).to_le_bytes().repeat(3000)).await;
                fixture.bucket.link(ino, Ino::ROOT, format!("link-{index}").as_bytes()).expect("linked");
                let over = openbucket::bucket::RenameMode::Replace;
                fixture
                    .bucket
                    .rename(Ino::ROOT, temporary.as_bytes(), Ino::ROOT, name.as_bytes(), over)
                    .expect("moved");
                fixture.bucket.unlink(Ino::ROOT, format!("link-{index}").as_bytes()).expect("removed");
                tokio::task::yield_now().await;
            }
            fixture.bucket.hurry();
            fixture.upload(FileState::Available).await;
        }
    };
    let mut checks = 0;
    tokio::pin!(busy);
    loop {
        tokio::select! {
            () = &mut busy => break,
            report = fixture.fsck(false) => assert!(report.is_clean(), "check {checks}: {:#?}", report.problems),
        }
        checks += 1;
    }
    assert!(checks > 3, "{checks} checks beside the work");
    fixture.upload(FileState::Uploaded).await;
    fixture.assert_sound("at rest").await;
}
