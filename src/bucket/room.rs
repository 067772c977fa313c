//! Waiting for room in the staging area, and what makes room meanwhile.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::{Error, Inner, cell::Flight, commit::blocking};
use crate::base::{Mutex, format_bytes, limits};

/// How long somebody has waited without anything drained.
struct Patience {
    drained_bytes: u64,
    end: Instant,
    /// The youngest chunk that was under way at the end.
    last: Option<Flight>,
}

impl Patience {
    fn new(inner: &Inner) -> Self {
        let end = Instant::now() + limits::STAGING_TIMEOUT;
        Self { drained_bytes: inner.staging.drained_bytes(), end, last: None }
    }

    /// Whether there is nothing left to wait for. A chunk may take longer than the wait: those of its end are seen off.
    fn is_over(&mut self, inner: &Inner) -> bool {
        if inner.staging.drained_bytes() != self.drained_bytes {
            *self = Self::new(inner);
        }
        let now = Instant::now();
        if now < self.end {
            return false;
        }
        if self.last.is_none() {
            self.last = inner.uploader.last_flight();
        }
        let is_under_way = self.last.is_some_and(|last| inner.uploader.is_under_way(last));
        !is_under_way || now >= self.end + limits::STAGING_FLIGHT_TIMEOUT
    }
}

/// Where the drain stands when somebody has waited in vain: until it gets on, others need not wait as long for the same.
#[derive(Default)]
pub(super) struct Stall(Mutex<Option<u64>>);

impl Stall {
    /// Something has happened that may have it drain again.
    pub fn end(&self) {
        *self.0.lock() = None;
    }
}

impl Inner {
    /// Whether somebody has waited in vain, and nothing has drained since.
    fn is_stalled(&self) -> bool {
        *self.stall.0.lock() == Some(self.staging.drained_bytes())
    }

    /// Waits until `attempt` finds room for so many more bytes. Fails with `Full` when nothing drained for
    /// `limits::STAGING_TIMEOUT` and no chunk is under way any more that was then; at once when that was so for another and
    /// nothing has drained since, because all that a program writes beyond comes here piece by piece.
    pub(super) async fn wait_for_room<T>(
        self: &Arc<Self>,
        bytes: u64,
        attempt: impl Fn() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let mut patience = Patience::new(self);
        loop {
            let freed = self.staging.freed();
            self.give_up_cached(bytes).await?;
            if let Some(found) = attempt()? {
                return Ok(found);
            }
            if self.is_stalled() {
                // Consumers may be back before anybody has noticed.
                self.uploader.release();
                return Err(self.full(bytes));
            }
            if patience.is_over(self) {
                *self.stall.0.lock() = Some(self.staging.drained_bytes());
                return Err(self.full(bytes));
            }
            // Consumers may be back before anybody has noticed.
            self.uploader.release();
            let (now, next) = (Instant::now(), Instant::now() + limits::STAGING_RETRY);
            let next = if now < patience.end { next.min(patience.end) } else { next };
            // Freed or not: others may have made room on the disk.
            drop(timeout_at(next, freed).await);
        }
    }

    /// Cached copies can be fetched again; on a short disk they go before a writer waits.
    async fn give_up_cached(self: &Arc<Self>, bytes: u64) -> Result<(), Error> {
        let missing = self.staging.missing_bytes(bytes);
        if missing == 0 || self.cache.disk_bytes() == 0 {
            return Ok(());
        }
        let inner = Arc::clone(self);
        let wanted = missing.max(limits::CACHE_GIVEN_UP_BYTES);
        blocking(move || {
            inner.cache.give_up(wanted);
            Ok(())
        })
        .await
    }

    fn full(&self, bytes: u64) -> Error {
        let why = self.uploader.problem().unwrap_or_else(|| "uploads make no progress".to_owned());
        let what = if self.staging.is_disk_short(bytes) {
            "the disk of the state directory is nearly full".to_owned()
        } else if self.staging.is_crowded() {
            format!("{} files wait for their upload, which is as many as may", limits::STAGED_INODES)
        } else {
            format!("the staging area ({}) is full", format_bytes(self.staging.limit_bytes()))
        };
        Error::Full(format!("{what} and nothing drains: {why}"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::{Path, PathBuf};

    use bytes::Bytes;
    use tokio::{
        task::JoinHandle,
        time::{Duration, sleep},
    };

    use super::{
        super::{
            Bucket,
            promises::{file, setting, write},
        },
        *,
    };
    use crate::{
        base::{ErrorKind, Ino, Kinded, OwnerId, PeerId, Scheme, UnixMillis},
        coding::{BucketKey, encode},
        net::{Candidate, Contact},
        runtime::{Chance, OneThread, SeededChance},
        store::{Disk, RealDisk, SimulatedDisk},
    };

    const MIB: u64 = 1 << 20;
    /// What the disk of these tests has beside its reserve.
    pub(in crate::bucket) const DISK_BYTES: u64 = 16 * MIB;

    fn in_virtual_time(work: impl Future<Output = ()>) {
        let _alone = OneThread::enter();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(work);
    }

    /// A bucket without consumers whose staging files and cache share a small disk.
    pub(in crate::bucket) fn open(directory: &Path, staging_bytes: u64) -> (Bucket, SimulatedDisk) {
        let small = SimulatedDisk::new(limits::DISK_RESERVE_BYTES + DISK_BYTES);
        (open_on(directory, staging_bytes, Arc::new(small.clone())), small)
    }

    /// The same on this disk.
    pub(in crate::bucket) fn open_on(directory: &Path, staging_bytes: u64, small: Arc<dyn Disk>) -> Bucket {
        let (mut options, parts) = setting(directory);
        (options.staging_bytes, options.cache_disk_bytes) = (staging_bytes, 1 << 30);
        let disk = |path: &Path| -> Result<Arc<dyn Disk>, Error> {
            let is_log = path.ends_with("log");
            Ok(if is_log { Arc::new(RealDisk::new(path).expect("made")) } else { Arc::clone(&small) })
        };
        Bucket::start_on(options, parts, disk).expect("opens")
    }

    /// Another program takes so much of the disk.
    pub(in crate::bucket) fn take(disk: &SimulatedDisk, bytes: u64) -> PathBuf {
        let path = PathBuf::from("others");
        disk.open(&path, true).expect("made").write_at(&vec![1; bytes as usize], 0).expect("written");
        path
    }

    fn begin_write(bucket: &Bucket, ino: Ino) -> JoinHandle<Result<u32, Error>> {
        let bucket = bucket.clone();
        tokio::spawn(async move { bucket.write(ino, 0, vec![2; MIB as usize].into()).await })
    }

    /// Reads so many chunks of 4 MiB, so that they are cached.
    fn cache_chunks(bucket: &Bucket, count: u64) {
        for seed in 0..count {
            let chance = SeededChance::new(seed);
            let mut plain = vec![0; limits::CHUNK_BYTES];
            chance.fill(&mut plain);
            let encoded = encode(&BucketKey::new([4; 32]), &plain, Scheme::BASIC, &chance).expect("encodes");
            let mut sealed = encoded.shards[..4].concat();
            sealed.truncate(encoded.layout.sealed_len() as usize);
            bucket.inner.cache.write_sealed(&encoded.layout, 0..encoded.layout.blocks.len(), &[sealed]);
        }
    }

    #[test]
    fn the_cache_leaves_the_reserve_and_gives_way_to_writers() {
        in_virtual_time(async {
            let directory = tempfile::tempdir().expect("made");
            let (bucket, disk) = open(directory.path(), 1 << 30);
            cache_chunks(&bucket, 6);
            let (free, _) = disk.space().expect("known");
            assert!(free >= limits::DISK_RESERVE_BYTES, "{free}");
            let kept = bucket.inner.cache.disk_bytes();
            assert!(kept > DISK_BYTES / 2, "{kept}");
            let (ino, begun) = (file(&bucket, b"a"), Instant::now());
            let data = vec![2; 10 * MIB as usize];
            assert_eq!(bucket.write_now(ino, 0, &data).expect("asked"), None);
            assert_eq!(bucket.write(ino, 0, data.into()).await.expect("written"), 10 * MIB as u32);
            assert_eq!(begun.elapsed(), Duration::ZERO);
        });
    }

    #[test]
    fn space_that_another_program_frees_is_found() {
        in_virtual_time(async {
            let directory = tempfile::tempdir().expect("made");
            let (bucket, disk) = open(directory.path(), 1 << 30);
            let (ino, others) = (file(&bucket, b"a"), take(&disk, DISK_BYTES));
            let write = begin_write(&bucket, ino);
            sleep(limits::STAGING_TIMEOUT - Duration::from_secs(1)).await; // virtual time
            assert!(!write.is_finished());
            disk.remove(&others).expect("removed");
            assert_eq!(write.await.expect("no panic").expect("written"), MIB as u32);
        });
    }

    #[test]
    fn a_disk_that_stays_full_fails_the_write_in_time() {
        in_virtual_time(async {
            let directory = tempfile::tempdir().expect("made");
            let (bucket, disk) = open(directory.path(), 1 << 30);
            let ino = file(&bucket, b"a");
            take(&disk, DISK_BYTES);
            let begun = Instant::now();
            let error = begin_write(&bucket, ino).await.expect("no panic").expect_err("no space");
            assert_eq!((error.kind(), begun.elapsed().as_secs()), (ErrorKind::Full, 30));
            assert!(error.to_string().contains("the disk of the state directory is nearly full"), "{error}");
        });
    }

    #[test]
    fn what_is_behind_a_write_that_found_no_room_does_not_wait_as_long_again() {
        in_virtual_time(async {
            let directory = tempfile::tempdir().expect("made");
            let (bucket, _) = open(directory.path(), MIB);
            let ino = file(&bucket, b"a");
            write(&bucket, ino, 0, &vec![1; MIB as usize]);
            let begun = Instant::now();
            assert_eq!(
                begin_write(&bucket, ino).await.expect("no panic").expect_err("no room").kind(),
                ErrorKind::Full
            );
            assert_eq!(begun.elapsed().as_secs(), 30);
            for _ in 0..100 {
                begin_write(&bucket, ino).await.expect("no panic").expect_err("no room");
            }
            assert_eq!(begun.elapsed().as_secs(), 30, "one waits for all");
            // What drains gives hope to the next, and so does a consumer that returns.
            bucket.inner.staging.account(10, 0);
            begin_write(&bucket, ino).await.expect("no panic").expect_err("no room");
            assert_eq!(begun.elapsed().as_secs(), 60);
            bucket.inner.stall.end();
            begin_write(&bucket, ino).await.expect("no panic").expect_err("no room");
            assert_eq!(begun.elapsed().as_secs(), 90);
        });
    }

    #[test]
    fn a_chunk_under_way_is_seen_off() {
        in_virtual_time(async {
            let directory = tempfile::tempdir().expect("made");
            let (bucket, _) = open(directory.path(), MIB);
            let ino = file(&bucket, b"a");
            write(&bucket, ino, 0, &vec![1; MIB as usize]);
            let (slow, begun) = (Flight(1 << 40), Instant::now());
            bucket.inner.uploader.begun(slow);
            let write = begin_write(&bucket, ino);
            sleep(Duration::from_secs(50)).await; // virtual time
            assert!(!write.is_finished());
            // One that began later is not waited for.
            bucket.inner.uploader.begun(Flight(slow.0 + 1));
            bucket.inner.uploader.ended(slow);
            assert_eq!(write.await.expect("no panic").expect_err("no room").kind(), ErrorKind::Full);
            assert!(begun.elapsed() <= Duration::from_secs(50) + limits::STAGING_RETRY, "{:?}", begun.elapsed());
            // Nor is one that never ends, for ever.
            let (write, begun) = (begin_write(&bucket, ino), Instant::now());
            assert_eq!(write.await.expect("no panic").expect_err("no room").kind(), ErrorKind::Full);
            let most = limits::STAGING_TIMEOUT + limits::STAGING_FLIGHT_TIMEOUT + limits::STAGING_RETRY;
            assert!(begun.elapsed() <= most, "{:?}", begun.elapsed());
        });
    }

    #[test]
    fn whoever_sees_that_something_drains_waits_on() {
        in_virtual_time(async {
            let directory = tempfile::tempdir().expect("made");
            let (bucket, _) = open(directory.path(), MIB);
            let ino = file(&bucket, b"a");
            write(&bucket, ino, 0, &vec![1; MIB as usize]);
            let write = begin_write(&bucket, ino);
            for _ in 0..5 {
                sleep(limits::STAGING_TIMEOUT - Duration::from_secs(5)).await; // virtual time
                assert!(!write.is_finished());
                // Too little for this write.
                bucket.inner.staging.account(10, 0);
            }
            let drained = Instant::now();
            assert_eq!(write.await.expect("no panic").expect_err("no room").kind(), ErrorKind::Full);
            let (waited, least) = (drained.elapsed(), limits::STAGING_TIMEOUT);
            assert!(waited >= least && waited <= least + limits::STAGING_RETRY, "{waited:?}");
        });
    }

    /// Waits for the next failure of a file's upload; when that was.
    async fn next_failure(bucket: &Bucket, ino: Ino) -> Option<Instant> {
        let cell = bucket.inner.cell(ino).expect("there");
        let before = cell.lock().failed_at;
        let end = Instant::now() + 2 * limits::RETRY_MAX;
        while Instant::now() < end {
            let now = cell.lock().failed_at;
            if now != before {
                return now;
            }
            sleep(Duration::from_millis(100)).await; // virtual time
        }
        panic!("it does not fail again");
    }

    #[test]
    fn what_has_failed_is_tried_again_when_a_consumer_returns() {
        in_virtual_time(async {
            let directory = tempfile::tempdir().expect("made");
            let (bucket, _) = open(directory.path(), MIB);
            let ino = file(&bucket, b"a");
            write(&bucket, ino, 0, b"waits");
            // Long enough that it is tried once a minute only.
            sleep(Duration::from_secs(200)).await; // virtual time
            let failed = next_failure(&bucket, ino).await.expect("nobody is there");
            let next = next_failure(&bucket, ino).await.expect("nobody is there");
            assert!(next - failed > limits::RETRY_MAX / 2, "{:?}", next - failed);
            sleep(Duration::from_secs(5)).await; // virtual time
            let returned = Instant::now();
            let candidate = Candidate {
                contact: Contact { peer: PeerId([9; 32]), addresses: Vec::new() },
                owner: OwnerId([1; 32]),
                limit_bytes: MIB,
                free_bytes: MIB,
                last_beat: UnixMillis(1),
                uptime_permille: 1000,
                is_online: true,
            };
            bucket.inner.dispatcher.learn(vec![candidate.into()]);
            let tried = next_failure(&bucket, ino).await.expect("it is one of those that are needed");
            assert!(tried - returned < Duration::from_secs(20), "{:?}", tried - returned);
        });
    }

    #[tokio::test]
    async fn an_empty_staging_area_takes_any_one_write() {
        let directory = tempfile::tempdir().expect("made");
        let (bucket, _) = open(directory.path(), MIB);
        let ino = file(&bucket, b"a");
        let data = vec![1; 3 * MIB as usize];
        assert_eq!(bucket.write_now(ino, 0, &data).expect("taken"), Some(data.len() as u32));
        assert_eq!(bucket.write_now(ino, 0, b"more").expect("asked"), None);
    }

    #[tokio::test]
    async fn no_more_files_wait_than_memory_is_meant_for() {
        let directory = tempfile::tempdir().expect("made");
        let (bucket, _) = open(directory.path(), MIB);
        let staging = &bucket.inner.staging;
        for _ in 0..limits::STAGED_INODES {
            assert!(staging.has_room_for_one_more(1));
            staging.account(0, 1);
        }
        assert!(!staging.has_room_for_one_more(1) && staging.has_room(1));
        assert!(bucket.inner.full(1).to_string().contains("100000 files wait"), "{}", bucket.inner.full(1));
        assert!(matches!(bucket.inner.drain(Instant::now()), crate::bucket::pressure::Drain::Flows));
        staging.account(1, 2);
        assert!(!staging.has_room_for_one_more(1));
        staging.account(2, 0);
        assert!(staging.has_room_for_one_more(1));
    }

    #[tokio::test]
    async fn what_is_freed_wakes_writers() {
        let directory = tempfile::tempdir().expect("made");
        let (bucket, _) = open(directory.path(), MIB);
        let staging = &bucket.inner.staging;
        staging.account(0, 20);
        let free: [&dyn Fn(); 2] = [&|| staging.remove(Ino(77)), &|| staging.account(20, 10)];
        for free in free {
            let freed = staging.freed();
            free();
            tokio::time::timeout(Duration::from_secs(5), freed).await.expect("woken");
        }
    }

    #[tokio::test]
    async fn of_several_writes_those_are_done_in_order_that_fit() {
        let directory = tempfile::tempdir().expect("made");
        let (bucket, _) = open(directory.path(), 2 * MIB);
        let ino = file(&bucket, b"a");
        let data = |fill: u8, bytes: u64| Bytes::from(vec![fill; bytes as usize]);
        let written = |writes: &[(u64, Bytes)]| -> Vec<_> {
            let written = bucket.write_each_now(ino, writes).expect("the file is there");
            written.into_iter().map(|outcome| outcome.map_err(|error| error.kind())).collect()
        };
        let beyond = (limits::FILE_BYTES, data(9, 1));
        // The second lies over the first, one that cannot be takes none of the others with it, and the last does not fit.
        let writes = [(0, data(1, MIB)), beyond, (MIB / 2, data(2, MIB)), (MIB, data(3, MIB)), (0, data(4, 1))];
        assert_eq!(written(&writes), [Ok(MIB as u32), Err(ErrorKind::Invalid), Ok(MIB as u32)]);
        assert!(written(&writes[3..]).is_empty(), "there is no room still");
        let found = bucket.read_now(ino, 0, 2 * MIB as u32).expect("reads").expect("all is here");
        assert!(found == [data(1, MIB / 2), data(2, MIB)].concat());
    }
}
