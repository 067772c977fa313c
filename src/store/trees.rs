//! sled, made to keep what it promises at a power cut.
//!
//! What sled 0.34 flushes it hands to sync_file_range(2) on Linux, which writes pages out but flushes neither the length of the
//! file nor the cache of the disk; and it reuses space on the strength of that. So this program has a sync_file_range of
//! its own: one that says that there is none, upon which sled calls fsync. What sled flushes nowhere is flushed here: its
//! directory, its configuration, and the files of large values, these before that fsync: a log that names a value which is torn
//! ends there for sled. Files that a kill or a cut left half made, and that sled
//! would not open with, are removed: the configuration of trees that were never opened, which it writes again, and a snapshot,
//! before which there is another. A configuration that is damaged later is not: with another one sled may find nothing.
//!
//! An opening writes a snapshot of all that is in sled's log, and then wipes the segments that this one needs no more. With the
//! snapshot before, which comes back with its name when the power goes, a wiped segment is a torn log: all after that snapshot
//! would be taken for lost, and wiped. So it is opened twice, and what the first time has written is flushed before the second.
//! What the disk cannot read would be such an end of the log, too: so all is read before sled opens it.
//!
//! sled's threads go on for a moment after it was dropped, and remove large values meanwhile. Whoever opens waits for them.

use std::{
    collections::BTreeMap,
    ffi::{OsString, c_int, c_uint},
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read},
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};

use super::{
    Error,
    schema::{Table, key},
};
use crate::{base::Mutex, runtime::make_directory};

/// Memory that sled may use for its cache, in bytes.
const CACHE_BYTES: u64 = 64 << 20;
const FORMAT_KEY: &[u8] = b"format";
const FORMAT: &[u8] = b"openbucket-bucket-1";

/// sled's files of large values, below its directory.
const BLOBS: &str = "blobs";
/// sled's configuration, below its directory.
const CONFIGURATION: &str = "conf";
/// An empty file of ours in sled's directory: its configuration is whole on the disk.
const MADE: &str = "made";
/// sled's data, below its directory.
const DATA: &str = "db";
/// A directory where sled expects a large value of a time that has not come. It would remove that, after it has written its
/// snapshot and before it wipes anything; it cannot, and so opens no further.
const BARRIER: &str = "9223372036854775807";
/// How the name of a snapshot ends that sled has not finished.
const UNFINISHED: &str = ".generating";

/// Bytes read at a time where only the reading matters.
const READ_BYTES: usize = 1 << 20;

/// So long sled may take to let go of its files.
const RELEASE: Duration = Duration::from_secs(20);
/// Time between two looks at whether it has.
const LOOK: Duration = Duration::from_millis(1);

/// The large values of all trees that are open.
static OPEN: Mutex<Vec<Weak<Blobs>>> = Mutex::new(Vec::new());

/// Stands before the C library's for all of this program. sled calls it before it relies on what it has written.
#[allow(unsafe_code, reason = "the linker is to find this one; nothing in it is unsafe")]
#[unsafe(no_mangle)]
extern "C" fn sync_file_range(_: c_int, _: i64, _: i64, _: c_uint) -> c_int {
    let open: Vec<_> = OPEN.lock().iter().filter_map(Weak::upgrade).collect();
    let errno = match open.iter().try_for_each(|blobs| blobs.flush()) {
        Ok(()) => rustix::io::Errno::NOSYS,
        Err(error) => rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO),
    };
    errno::set_errno(errno::Errno(errno.raw_os_error()));
    -1
}

/// sled's files of large values, which are written once, from their beginning to their end.
struct Blobs {
    directory: PathBuf,
    /// So many bytes of each are durable: another thread may be writing the rest.
    flushed: Mutex<BTreeMap<OsString, u64>>,
}

impl Blobs {
    fn register(path: &Path) -> Arc<Self> {
        let blobs = Arc::new(Self { directory: path.join(BLOBS), flushed: Mutex::default() });
        let mut open = OPEN.lock();
        open.retain(|blobs| blobs.strong_count() > 0);
        open.push(Arc::downgrade(&blobs));
        blobs
    }

    /// Makes those durable that are not.
    fn flush(&self) -> io::Result<()> {
        let mut flushed = self.flushed.lock();
        let mut found = BTreeMap::new();
        let entries = match fs::read_dir(&self.directory) {
            // Not made yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            // Before the flush: what comes behind that is for the next.
            let flush = |path: &Path| -> io::Result<u64> {
                let file = File::open(path)?;
                let bytes = file.metadata()?.len();
                if flushed.get(&entry.file_name()) != Some(&bytes) {
                    file.sync_all()?;
                }
                Ok(bytes)
            };
            match flush(&entry.path()) {
                // Replaced meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                bytes => found.insert(entry.file_name(), bytes?),
            };
        }
        if found.keys().any(|name| !flushed.contains_key(name)) {
            File::open(&self.directory)?.sync_all()?;
        }
        *flushed = found;
        Ok(())
    }
}

/// Bytes of keys and values that go into the trees together. When eight writes of sled's wait for the lock behind which it
/// waits for a truncation, nobody is left to truncate, and it waits for ever: so not too many at a time.
const STEP_BYTES: usize = 1 << 20;

/// Changes of keys on their way into the trees, in steps that are flushed one after the other. What was not
/// [finished](Steps::finish) may be there in part. One key at a time: while sled applies a batch, nobody reads, and once it
/// has applied one, whoever reads takes a lock of all trees.
pub(super) struct Steps<'a> {
    trees: &'a Trees,
    applied_bytes: usize,
}

impl Steps<'_> {
    /// A key has this value from now on, or none.
    pub fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        let changed = match value {
            Some(value) => self.trees.insert(key, value),
            None => self.trees.remove(key),
        };
        changed.map_err(trees_error)?;
        self.applied_bytes += key.len() + value.map_or(0, <[u8]>::len);
        if self.applied_bytes >= STEP_BYTES { self.flush() } else { Ok(()) }
    }

    /// All of it is durable.
    pub fn finish(mut self) -> Result<(), Error> {
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.applied_bytes = 0;
        self.trees.flush().map_err(trees_error)
    }
}

/// An open database of sled.
pub(super) struct Trees {
    db: sled::Db,
    blobs: Arc<Blobs>,
}

impl Trees {
    /// Opens or makes the trees in this directory, durably.
    pub fn open(path: &Path, config: sled::Config) -> Result<Self, sled::Error> {
        make_directory(path)?;
        wait_until_released(&path.join(DATA))?;
        let made = path.join(MADE);
        if !made.try_exists()? {
            remove_torn_configuration(path)?;
        }
        remove_unfinished_snapshots(path)?;
        read_all(path)?;
        let blobs = Blobs::register(path);
        let config = config.path(path);
        // What sled refuses to open stays as it is.
        let is_ready = path.join(DATA).try_exists()? && is_configuration_whole(path)?;
        let opened = if is_ready { open_up_to_the_barrier(path, &config)? } else { None };
        let db = opened.map_or_else(|| config.open(), Ok)?;
        let trees = Self { db, blobs };
        // Those that a killed process has left, too.
        trees.blobs.flush()?;
        File::open(path.join(CONFIGURATION))?.sync_all()?;
        File::create(made)?;
        File::open(path)?.sync_all()?;
        Ok(trees)
    }

    /// Changes keys, durably.
    pub fn steps(&self) -> Steps<'_> {
        Steps { trees: self, applied_bytes: 0 }
    }

    /// Makes everything durable.
    pub fn flush(&self) -> Result<(), sled::Error> {
        self.db.flush()?;
        self.blobs.flush()?;
        Ok(())
    }
}

impl Deref for Trees {
    type Target = sled::Db;

    fn deref(&self) -> &sled::Db {
        &self.db
    }
}

pub(super) fn trees_error(error: sled::Error) -> Error {
    Error::Trees(error.to_string())
}

/// Opens the trees of a bucket in this directory, or makes them. They are flushed only when that is asked for.
pub(super) fn open(path: &Path) -> Result<Trees, Error> {
    let config = sled::Config::new().cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let trees = Trees::open(path, config).map_err(|error| match error {
        // The disk's trouble (full, read-only) says nothing of the data.
        sled::Error::Io(source) => Error::io("cannot open", path)(source),
        other => Error::Corrupt {
            path: path.to_path_buf(),
            why: format!("the trees do not open: {other}. Restore the state directory from a backup"),
        },
    })?;
    check_format(&trees, path)?;
    Ok(trees)
}

fn check_format(trees: &Trees, path: &Path) -> Result<(), Error> {
    let name = key(Table::Meta, &[FORMAT_KEY]);
    match trees.get(&name).map_err(trees_error)? {
        Some(found) if *found == *FORMAT => Ok(()),
        Some(found) => Err(Error::Corrupt {
            path: path.to_path_buf(),
            why: format!(
                "state of format '{}', this release reads '{}': upgrade openbucket",
                String::from_utf8_lossy(&found),
                String::from_utf8_lossy(FORMAT)
            ),
        }),
        None if trees.is_empty() => {
            trees.insert(&name, FORMAT).map_err(trees_error)?;
            trees.flush().map_err(trees_error)?;
            Ok(())
        }
        None => {
            Err(Error::Corrupt { path: path.to_path_buf(), why: "these trees are not those of a bucket".to_owned() })
        }
    }
}

/// Has sled write the snapshot with which it opens next, durably, and wipe nothing that it needs with the one before. Where it
/// finds nothing, it writes none, and is open.
fn open_up_to_the_barrier(path: &Path, config: &sled::Config) -> Result<Option<sled::Db>, sled::Error> {
    let barrier = path.join(BLOBS).join(BARRIER);
    make_directory(&barrier)?;
    let opened = match config.open() {
        Err(sled::Error::Io(error)) if error.kind() == io::ErrorKind::IsADirectory => Ok(None),
        opened => opened.map(Some),
    };
    File::open(path)?.sync_all()?;
    fs::remove_dir(barrier)?;
    opened
}

/// Waits until nobody has sled's data open: it locks them until its last thread has ended.
fn wait_until_released(data: &Path) -> io::Result<()> {
    // As sled opens it: some file systems lock only what may be written.
    let file = match OpenOptions::new().read(true).write(true).open(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let end = Instant::now() + RELEASE;
    loop {
        match file.try_lock() {
            // Closing it would not do while a child that is about to be executed has it, too.
            Ok(()) => return file.unlock(),
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                thread::sleep(LOOK); // The bound of the wait: a lock that is waited for has none.
            }
            Err(TryLockError::WouldBlock) => {
                let why = format!("{} is still in use after {} s", data.display(), RELEASE.as_secs());
                return Err(io::Error::new(io::ErrorKind::WouldBlock, why));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Reads what sled will read.
fn read_all(path: &Path) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    for directory in [path.to_path_buf(), path.join(BLOBS)] {
        let entries = match fs::read_dir(directory) {
            // Nothing was ever kept here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                continue;
            }
            let unreadable =
                |error: io::Error| io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()));
            let mut file = File::open(&path).map_err(unreadable)?;
            while file.read(&mut buffer).map_err(unreadable)? > 0 {}
        }
    }
    Ok(())
}

/// A configuration that was torn when it was made, before anything was kept here: sled writes the same one again, but refuses
/// to read it. It ends with the checksum of what is before.
fn remove_torn_configuration(path: &Path) -> io::Result<()> {
    let file = path.join(CONFIGURATION);
    if file.try_exists()? && !is_configuration_whole(path)? { fs::remove_file(file) } else { Ok(()) }
}

fn is_configuration_whole(path: &Path) -> io::Result<bool> {
    let bytes = match fs::read(path.join(CONFIGURATION)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        read => read?,
    };
    let parts = bytes.split_last_chunk::<4>();
    Ok(parts.is_some_and(|(body, sum)| crc32fast::hash(body).to_le_bytes() == *sum && !body.is_empty()))
}

/// Snapshots that sled had not finished when the process was killed or the power went: it takes them for the newest, and then
/// refuses to open. The one before is still there.
fn remove_unfinished_snapshots(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with("snap.") && name.ends_with(UNFINISHED)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn open(path: &Path) -> Result<Trees, sled::Error> {
        Trees::open(path, sled::Config::new().flush_every_ms(None))
    }

    #[test]
    fn a_torn_configuration_is_written_anew_and_a_whole_one_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("trees");
        let open = || open(&path);
        let configuration = path.join(CONFIGURATION);
        open().expect("made").insert("a", "b").expect("kept");
        let whole = fs::read(&configuration).expect("there");
        for torn in [Vec::new(), whole[..whole.len() - 4].to_vec(), vec![0; whole.len()], whole.clone()] {
            fs::remove_file(path.join(MADE)).expect("there");
            fs::write(&configuration, torn).expect("torn");
            let trees = open().expect("opens");
            assert_eq!(trees.get("a").expect("reads").as_deref(), Some(&b"b"[..]));
            assert_eq!(fs::read(&configuration).expect("there"), whole);
        }
        fs::write(&configuration, vec![7; whole.len()]).expect("damaged");
        assert!(open().is_err(), "damaged when there was something to lose");
    }

    #[test]
    fn an_unfinished_snapshot_keeps_nothing_from_opening() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || open(directory.path());
        for torn in [&b""[..], &[0; 500]] {
            open().expect("opens").insert("a", "b").expect("kept");
            fs::write(directory.path().join("snap.00000000FFFFFFFF.generating"), torn).expect("torn");
            assert_eq!(open().expect("opens").get("a").expect("reads").as_deref(), Some(&b"b"[..]));
        }
    }

    #[test]
    fn an_opening_that_ended_at_the_barrier_is_done_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let barrier = directory.path().join(BLOBS).join(BARRIER);
        open(directory.path()).expect("made").insert("a", "b").expect("kept");
        for _ in 0..2 {
            fs::create_dir(&barrier).expect("made");
            let trees = open(directory.path()).expect("opens");
            assert_eq!(trees.get("a").expect("reads").as_deref(), Some(&b"b"[..]));
            assert!(!barrier.exists(), "it would be flushed as a large value");
        }
    }

    #[test]
    fn large_values_are_flushed_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let trees = open(directory.path()).expect("made");
        trees.insert("large", vec![1; 1 << 20]).expect("kept");
        trees.flush().expect("flushed");
        let blobs = fs::read_dir(directory.path().join(BLOBS)).expect("listed").count();
        assert!(blobs > 0 && trees.blobs.flushed.lock().len() == blobs, "{blobs}");
    }

    /// Where it relies on its log, the log may name values of other files.
    #[test]
    fn large_values_are_durable_before_sled_relies_on_its_log() {
        let directory = tempfile::tempdir().expect("a directory");
        let trees = open(directory.path()).expect("made");
        trees.insert("large", vec![1; 1 << 20]).expect("kept");
        assert!(trees.blobs.flushed.lock().is_empty());
        trees.db.flush().expect("flushed");
        assert!(!trees.blobs.flushed.lock().is_empty(), "what sled flushes by itself comes with its values");
    }

    /// Another thread's, when sled flushes for this one.
    #[test]
    fn a_large_value_that_was_half_written_is_flushed_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let trees = open(directory.path()).expect("made");
        let file = directory.path().join(BLOBS).join("9223372036854775806");
        for bytes in [10, 20] {
            fs::write(&file, vec![1; bytes]).expect("written");
            trees.db.insert("a", vec![bytes as u8]).expect("kept");
            trees.db.flush().expect("flushed");
            assert_eq!(trees.blobs.flushed.lock().values().copied().collect::<Vec<_>>(), [bytes as u64]);
        }
    }

    #[test]
    fn trees_that_the_disk_cannot_read_are_not_opened() {
        let directory = tempfile::tempdir().expect("a directory");
        open(directory.path()).expect("made").insert("a", "b").expect("kept");
        let (data, kept) = (directory.path().join(DATA), directory.path().join("kept"));
        fs::rename(&data, &kept).expect("moved");
        // Its first page is nobody's: reading it is an I/O error.
        std::os::unix::fs::symlink("/proc/self/mem", &data).expect("linked");
        let error = open(directory.path()).map(drop).expect_err("unreadable");
        assert!(matches!(&error, sled::Error::Io(error) if error.to_string().contains("cannot read")), "{error:?}");
        fs::remove_file(&data).expect("unlinked");
        fs::rename(&kept, &data).expect("moved back");
        assert_eq!(open(directory.path()).expect("opens").get("a").expect("reads").as_deref(), Some(&b"b"[..]));
    }

    /// What sled's threads still remove would be missed by whoever looks at it.
    #[test]
    fn an_opening_waits_until_nobody_has_the_data_open() {
        let directory = tempfile::tempdir().expect("a directory");
        open(directory.path()).expect("made").insert("a", "b").expect("kept");
        wait_until_released(&directory.path().join(DATA)).expect("released");
        let data = File::open(directory.path().join(DATA)).expect("there");
        data.lock().expect("locked");
        let barrier = directory.path().join(BLOBS).join(BARRIER);
        fs::create_dir(&barrier).expect("made");
        thread::scope(|scope| {
            let opening = scope.spawn(|| open(directory.path()));
            thread::sleep(Duration::from_millis(100)); // Time to do what it must not do.
            assert!(barrier.exists() && !opening.is_finished(), "it has begun");
            data.unlock().expect("unlocked");
            let trees = opening.join().expect("ended").expect("opens");
            assert_eq!(trees.get("a").expect("reads").as_deref(), Some(&b"b"[..]));
        });
    }

    /// Nodes are split and merged beneath those who read.
    #[test]
    fn what_a_step_does_not_change_is_always_there_for_others() {
        const STABLE: u32 = 2000;
        const ROUNDS: u32 = 20;
        let directory = tempfile::tempdir().expect("a directory");
        let trees = open(directory.path()).expect("made");
        let stable = |number: u32| [&number.to_be_bytes()[..], b"/"].concat();
        let mut steps = trees.steps();
        for number in 0..STABLE {
            steps.set(&stable(number), Some(b"stable")).expect("kept");
        }
        steps.finish().expect("flushed");
        let is_over = AtomicBool::new(false);
        let read = |seed: u32| {
            let mut at = seed;
            while !is_over.load(Ordering::Relaxed) {
                at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (from, count) = (at % STABLE, 100.min(STABLE - at % STABLE));
                assert_eq!(trees.get(stable(from)).expect("reads").as_deref(), Some(&b"stable"[..]), "{from}");
                let keys = trees.range(stable(from)..).map(|pair| pair.expect("reads").0);
                let found: Vec<_> = keys.filter(|key| key.len() == 5).take(count as usize).collect();
                assert!(found.iter().map(|key| key.to_vec()).eq((from..from + count).map(stable)), "from {from}");
                let last = trees.range(..stable(from + 1)).next_back().expect("there").expect("reads").0;
                assert!(*last >= *stable(from), "the last before {}", from + 1);
            }
        };
        let change = |round: u32| -> Result<(), Error> {
            let mut steps = trees.steps();
            for (number, part) in (0..STABLE).flat_map(|number| (0..5u8).map(move |part| (number, part))) {
                let key = [stable(number), vec![part; 40]].concat();
                let value = [round as u8; 60];
                steps.set(&key, round.is_multiple_of(2).then_some(&value[..]))?;
            }
            steps.finish()
        };
        thread::scope(|scope| {
            let readers = [1, 2, 3].map(|seed| scope.spawn(move || read(seed)));
            let has_failed = || readers.iter().any(thread::ScopedJoinHandle::is_finished);
            let changed = (0..ROUNDS).take_while(|_| !has_failed()).try_for_each(change);
            is_over.store(true, Ordering::Relaxed);
            changed.expect("changed");
        });
    }
}
