//! Flushes of the bucket, each by what a power cut costs without it, on disks that forget what was not flushed.

use std::{path::Path, sync::Arc, time::Duration};

use super::{
    Bucket, Error, SetTime, Timestamp,
    attempts::split_attempt,
    promises::{file, setting, write},
};
use crate::{
    base::{ChunkId, Ino, PeerId, ShardId},
    runtime::SeededChance,
    store::{Disk, SimulatedDisk, Table},
};

const SEEDS: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(20);

/// The disks of a bucket whose consumers are all away. Only the trees lie on a real one, and so survive everything: they never
/// hold what the log could lose.
struct Machine {
    directory: tempfile::TempDir,
    log: SimulatedDisk,
    staging: SimulatedDisk,
}

impl Machine {
    fn new() -> Self {
        let disk = || SimulatedDisk::new(1 << 30);
        Self { directory: tempfile::tempdir().expect("made"), log: disk(), staging: disk() }
    }

    fn start(&self) -> Bucket {
        let disk = |path: &Path| -> Result<Arc<dyn Disk>, Error> {
            Ok(match path.file_name().and_then(|name| name.to_str()) {
                Some("log") => Arc::new(self.log.clone()),
                Some("staging") => Arc::new(self.staging.clone()),
                _ => Arc::new(SimulatedDisk::new(1 << 30)),
            })
        };
        let (options, parts) = setting(self.directory.path());
        Bucket::start_on(options, parts, disk).expect("starts")
    }

    /// The process ends without a word. Nothing that it still does has an effect.
    async fn kill(&self, bucket: Bucket) {
        let disks = [&self.log, &self.staging];
        disks.iter().for_each(|disk| disk.power_off_after(0));
        assert!(bucket.inner.tasks.stop(PATIENCE).await, "background work ends");
        drop(bucket);
        disks.iter().for_each(|disk| disk.power_on());
    }

    /// The power goes: what was not flushed is lost or torn.
    async fn cut(&self, bucket: Bucket, seed: u64) {
        self.kill(bucket).await;
        let chance = SeededChance::new(seed);
        [&self.log, &self.staging].iter().for_each(|disk| disk.crash(&chance));
    }
}

fn read(bucket: &Bucket, ino: Ino, bytes: u32) -> Vec<u8> {
    bucket.read_now(ino, 0, bytes).expect("readable").expect("all of it is here").to_vec()
}

#[tokio::test]
async fn what_an_fsync_has_promised_survives_a_power_cut() {
    // In the log itself, and in a staging file.
    for (bytes, seed) in [1000, 200_000].into_iter().flat_map(|bytes| (0..SEEDS).map(move |seed| (bytes, seed))) {
        let machine = Machine::new();
        let bucket = machine.start();
        let ino = file(&bucket, b"a");
        write(&bucket, ino, 0, &vec![7; bytes]);
        bucket.fsync_blocking(ino, false).expect("durable");
        machine.cut(bucket, seed).await;
        let bucket = machine.start();
        assert_eq!(bucket.lookup(Ino::ROOT, b"a").expect("it has its name").ino, ino, "seed {seed}");
        assert!(read(&bucket, ino, bytes as u32) == vec![7; bytes], "{bytes} bytes, seed {seed}");
        machine.kill(bucket).await;
    }
}

/// A consumer may have what was sent to it: a bucket that has forgotten whom it sent a shard to would never delete it.
#[tokio::test]
async fn who_may_have_a_shard_is_durable_before_its_first_byte_leaves() {
    let (chunk, announced) = (ChunkId([1; 32]), (PeerId([2; 32]), ShardId([3; 32])));
    for seed in 0..SEEDS {
        let machine = Machine::new();
        let bucket = machine.start();
        let right = bucket.inner.announce(chunk);
        right.announcer()(vec![announced]).await.expect("recorded");
        // From here on the shard may leave.
        drop(right);
        machine.cut(bucket, seed).await;
        let bucket = machine.start();
        bucket.inner.settle_cut_attempts().expect("settled");
        let deletes = bucket.inner.database.scan(Table::Delete, b"", b"", usize::MAX).expect("readable");
        let deletes: Vec<_> = deletes.iter().map(|(key, _)| split_attempt(key).expect("a peer and a shard")).collect();
        assert_eq!(deletes, [announced], "seed {seed}");
        machine.kill(bucket).await;
    }
}

/// The log stands for the data of a file that a killed process had made and not flushed, until the log begins anew.
#[tokio::test]
async fn the_staging_files_of_a_killed_process_keep_their_names() {
    for seed in 0..SEEDS {
        let machine = Machine::new();
        let bucket = machine.start();
        let ino = file(&bucket, b"a");
        write(&bucket, ino, 0, &[7; 1000]);
        bucket.fsync_blocking(ino, false).expect("durable");
        // Too large for the memory from here on.
        write(&bucket, ino, 200_000, &[8; 1000]);
        machine.kill(bucket).await;
        let bucket = machine.start();
        assert_eq!(read(&bucket, ino, 1000), [7; 1000]);
        machine.cut(bucket, seed).await;
        let bucket = machine.start();
        assert_eq!(read(&bucket, ino, 1000), [7; 1000], "seed {seed}");
        machine.kill(bucket).await;
    }
}

#[tokio::test]
async fn small_files_that_the_log_carries_no_longer_are_there_at_every_start() {
    for seed in 0..SEEDS {
        let machine = Machine::new();
        let mut bucket = machine.start();
        let inodes: Vec<Ino> = (0..100).map(|number| file(&bucket, format!("{number}").as_bytes())).collect();
        inodes.iter().for_each(|ino| write(&bucket, *ino, 0, &[ino.0 as u8; 1000]));
        // The end is a checkpoint.
        bucket.close(PATIENCE).await.expect("closes");
        for round in 0..3 {
            machine.cut(bucket, seed).await;
            bucket = machine.start();
            for ino in &inodes {
                assert_eq!(read(&bucket, *ino, 1000), [ino.0 as u8; 1000], "seed {seed}, round {round}");
            }
            assert!(
                machine
                    .staging
                    .list(Path::new(""))
                    .expect("listed")
                    .iter()
                    .all(|name| name.starts_with("small-0") || name.starts_with("small-1"))
            );
        }
        machine.kill(bucket).await;
    }
}

#[tokio::test]
async fn a_file_tells_what_it_takes_to_lose_its_newest_bytes() {
    let machine = Machine::new();
    let bucket = machine.start();
    let ino = file(&bucket, b"a");
    let told = || {
        let told = bucket.getxattr(ino, b"user.openbucket.durability").expect("a file has it");
        String::from_utf8(told).expect("text")
    };
    for round in 0..2 {
        write(&bucket, ino, round * 100, &[7; 50]);
        assert_eq!(told(), "memory");
        // In the log at its close, and not flushed.
        bucket.note_written(ino, SetTime::Now, Timestamp::default()).expect("logged");
        assert_eq!(told(), "memory");
        bucket.fsync_blocking(ino, false).expect("durable");
        assert_eq!(told(), "local");
    }
    machine.kill(bucket).await;
}

#[tokio::test]
async fn a_closed_file_survives_the_end_of_the_process_also_when_no_time_was_told() {
    let machine = Machine::new();
    let bucket = machine.start();
    let ino = file(&bucket, b"a");
    let handle = bucket.open(ino, true).expect("opened");
    write(&bucket, ino, 0, &[7; 5000]);
    bucket.release(ino, handle, true);
    machine.kill(bucket).await;
    let bucket = machine.start();
    assert_eq!(read(&bucket, ino, 6000), [7; 5000]);
    machine.kill(bucket).await;
}
