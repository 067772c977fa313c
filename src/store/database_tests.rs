//! The database against a map: batches, scans, reopenings, power cuts in the middle of everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Batch, Database, Disk, DiskOp, Error, FaultyDisk, RealDisk, Sequence, SimulatedDisk, StagingFiles, Table,
    log::{LOG_BYTES, Op},
    ordered::Query,
    overlay::Order,
    schema::key,
};
use crate::{
    base::{ErrorKind, Kinded, Mutex},
    runtime::{Chance, OneThread, SeededChance},
};

/// Staging files as maps of bytes.
#[derive(Default)]
struct Recorder(Mutex<BTreeMap<u64, BTreeMap<u64, u8>>>);

/// Which staging files were to be flushed, at each checkpoint.
#[derive(Default)]
struct Flushes(Mutex<Vec<BTreeSet<u64>>>);

impl StagingFiles for Flushes {
    fn flush(&self, inodes: &BTreeSet<u64>) -> Result<(), Error> {
        self.0.lock().push(inodes.clone());
        Ok(())
    }

    fn restore(&self, _: u64, _: u64, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

impl StagingFiles for Recorder {
    fn flush(&self, _: &BTreeSet<u64>) -> Result<(), Error> {
        Ok(())
    }

    fn restore(&self, ino: u64, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.0.lock().entry(ino).or_default().extend((offset..).zip(bytes.iter().copied()));
        Ok(())
    }
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A database in a temporary directory whose log is on a simulated disk.
struct Stage {
    directory: tempfile::TempDir,
    disk: SimulatedDisk,
    chance: SeededChance,
}

impl Stage {
    fn new(seed: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory, disk: SimulatedDisk::new(LOG_BYTES * 4), chance: SeededChance::new(seed) }
    }

    fn open(&self) -> Database {
        self.open_with(Arc::new(Recorder::default()))
    }

    fn open_with(&self, files: Arc<dyn StagingFiles>) -> Database {
        self.try_open_with(files).expect("opens")
    }

    fn try_open_with(&self, files: Arc<dyn StagingFiles>) -> Result<Database, Error> {
        self.try_open_on(&self.disk, files)
    }

    fn try_open_on(&self, disk: &dyn Disk, files: Arc<dyn StagingFiles>) -> Result<Database, Error> {
        Database::open(self.directory.path(), disk, files)
    }

    /// The power goes: nothing that the database still tries has an effect, and what it did not flush is lost or torn.
    fn cut_power(&self, database: Database) -> Database {
        self.disk.power_off_after(0);
        drop(database);
        self.disk.crash(&self.chance);
        self.open()
    }

    /// The process is killed: nothing that the database still tries has an effect, and what it did not flush is there.
    fn kill(&self, database: Database) {
        self.disk.power_off_after(0);
        drop(database);
        self.disk.power_on();
    }

    fn key(&self) -> Vec<u8> {
        let length = 1 + self.chance.below(3);
        (0..length).map(|_| b'a' + self.chance.below(4) as u8).collect()
    }

    /// A random batch, which also says which number it has.
    fn change(&self, database: &Database, model: &mut Model, number: u64, value_bytes: u64) -> Sequence {
        let mut batch = Batch::new();
        for _ in 0..self.chance.below(5) {
            let key = self.key();
            if self.chance.below(3) == 0 {
                batch.delete(Table::Entry, &[&key]);
                model.remove(&key);
            } else {
                let mut value = vec![0; self.chance.below(value_bytes) as usize];
                self.chance.fill(&mut value);
                batch.put(Table::Entry, &[&key], value.clone());
                model.insert(key, value);
            }
        }
        let marker = number.to_be_bytes().to_vec();
        batch.put(Table::Entry, &[b"number"], marker.clone());
        model.insert(b"number".to_vec(), marker);
        database.commit(batch).expect("committed")
    }
}

fn everything(database: &Database) -> Model {
    database.scan(Table::Entry, b"", b"", usize::MAX).expect("readable").into_iter().collect()
}

#[test]
fn batches_are_read_back_in_order_also_after_reopening() {
    for seed in 0..8 {
        let stage = Stage::new(seed);
        let (mut database, mut model) = (stage.open(), Model::new());
        for number in 0..300 {
            stage.change(&database, &mut model, number, 40);
            if stage.chance.below(60) == 0 {
                database.close().expect("closes");
                drop(database);
                database = stage.open();
            }
            let (prefix, from) = (stage.key(), stage.key());
            let limit = 1 + stage.chance.below(5) as usize;
            let expected: Vec<_> = model
                .iter()
                .filter_map(|(key, value)| Some((key.strip_prefix(&prefix[..])?.to_vec(), value.clone())))
                .filter(|(rest, _)| *rest >= from)
                .take(limit)
                .collect();
            assert_eq!(database.scan(Table::Entry, &prefix, &from, limit).expect("readable"), expected, "seed {seed}");
            assert_eq!(database.get(Table::Entry, &[&prefix]).expect("readable"), model.get(&prefix).cloned());
            let to = [&from[..], &stage.key()].concat();
            let last = model
                .iter()
                .filter_map(|(key, value)| Some((key.strip_prefix(&prefix[..])?.to_vec(), value.clone())))
                .rfind(|(rest, _)| *rest >= from && *rest < to);
            assert_eq!(database.last_within(Table::Entry, &prefix, &from..&to).expect("readable"), last, "seed {seed}");
        }
        assert_eq!(everything(&database), model, "seed {seed}");
        assert!(database.scan(Table::Cookie, b"", b"", 1).expect("readable").is_empty(), "tables do not mix");
    }
}

/// Every state that the database has been in, by the number of its last batch.
struct History {
    states: Vec<Model>,
    synced: usize,
}

impl History {
    /// After a power cut: the state is one that was there, and not older than the last sync. Goes on from it.
    fn resume(&mut self, found: Model, context: &str) {
        let number = found
            .get(&b"number"[..])
            .map_or(0, |marker| u64::from_be_bytes(marker.as_slice().try_into().expect("a marker")) as usize);
        assert!(number >= self.synced, "{context}: state {number} is older than the synced {}", self.synced);
        assert!(self.states[number] == found, "{context}: state {number} is not whole");
        self.states.truncate(number + 1);
        self.synced = number;
    }
}

fn survive_power_cuts(seed: u64, cuts: u64, batches: u64, value_bytes: u64) {
    let stage = Stage::new(seed);
    let mut database = stage.open();
    let mut history = History { states: vec![Model::new()], synced: 0 };
    for cut in 0..cuts {
        for _ in 0..stage.chance.below(batches) {
            let mut model = history.states.last().expect("the first").clone();
            let number = history.states.len();
            let sequence = stage.change(&database, &mut model, number as u64, value_bytes);
            history.states.push(model);
            if stage.chance.below(20) == 0 {
                database.sync(sequence).expect("synced");
                history.synced = number;
            }
        }
        database = stage.cut_power(database);
        history.resume(everything(&database), &format!("seed {seed}, cut {cut}"));
    }
}

#[test]
fn a_power_cut_leaves_whole_batches_in_order_and_all_that_was_synced() {
    (100..106).for_each(|seed| survive_power_cuts(seed, 6, 80, 2000));
}

/// Large values fill the log, so that cuts come before, during and after checkpoints.
#[test]
fn a_power_cut_around_a_checkpoint_loses_nothing_that_was_synced() {
    (200..203).for_each(|seed| survive_power_cuts(seed, 4, 120, 400_000));
}

/// What a killed process has left is read by a start that is cut short: the trees must not have what the log then loses.
#[test]
fn a_start_after_a_kill_that_is_cut_short_leaves_whole_batches() {
    for (operations, seed) in (0..8).flat_map(|operations| [(operations, 250), (operations, 251), (operations, 252)]) {
        let stage = Stage::new(seed);
        let mut history = History { states: vec![Model::new()], synced: 0 };
        let database = stage.open();
        for number in 1..40 {
            let mut model = history.states.last().expect("the first").clone();
            let sequence = stage.change(&database, &mut model, number, 2000);
            history.states.push(model);
            if number == 10 {
                database.sync(sequence).expect("synced");
                history.synced = 10;
            }
        }
        stage.kill(database);
        stage.disk.power_off_after(operations);
        // It is cut short, or goes on until then.
        drop(stage.try_open_with(Arc::new(Recorder::default())));
        stage.disk.crash(&stage.chance);
        history.resume(everything(&stage.open()), &format!("seed {seed}, {operations} operations"));
    }
}

#[test]
fn more_than_both_log_files_hold_is_checkpointed_and_read_back() {
    let stage = Stage::new(300);
    let (database, mut model) = (stage.open(), Model::new());
    for number in 0..200 {
        stage.change(&database, &mut model, number, 800_000);
    }
    assert!(everything(&database) == model);
    drop(database);
    assert!(everything(&stage.open()) == model);
}

#[test]
fn replayed_data_never_wins_over_what_superseded_it() {
    let stage = Stage::new(400);
    let database = stage.open();
    let commit = |fill: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::new();
        fill(&mut batch);
        database.commit(batch).expect("committed")
    };
    commit(&|batch| batch.inline(7, 10, b"old data".to_vec()));
    commit(&|batch| batch.inline(8, 0, b"gone".to_vec()));
    commit(&|batch| batch.supersede(7, 12, 14));
    commit(&|batch| batch.inline(7, 13, b"N".to_vec()));
    let last = commit(&|batch| batch.supersede(8, 0, u64::MAX));
    database.sync(last).expect("synced");
    stage.disk.power_off_after(0);
    drop(database);
    stage.disk.crash(&stage.chance);
    let recorder = Arc::new(Recorder::default());
    let files = Arc::clone(&recorder) as Arc<dyn StagingFiles>;
    drop(Database::open(stage.directory.path(), &stage.disk, files).expect("opens"));
    let expected: BTreeMap<u64, u8> =
        [(10, b'o'), (11, b'l'), (13, b'N'), (14, b'd'), (15, b'a'), (16, b't'), (17, b'a')].into();
    assert_eq!(*recorder.0.lock(), BTreeMap::from([(7, expected)]));
}

/// Commits until the other log file has its turn, and waits for the end of that checkpoint.
fn turn(database: &Database, flushes: &Flushes) -> BTreeSet<u64> {
    let before = flushes.0.lock().len();
    for number in 0..LOG_BYTES / 2 / (1 << 20) + 1 {
        let mut batch = Batch::new();
        batch.put(Table::Entry, &[b"fill", &number.to_be_bytes()], vec![0; 1 << 20]);
        database.commit(batch).expect("committed");
    }
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(flushed) = flushes.0.lock().get(before) {
            return flushed.clone();
        }
        assert!(Instant::now() < end, "no checkpoint");
        // One that comes while the checkpoint before is still running is seen at the next commit.
        database.commit(Batch::new()).expect("committed");
        std::thread::yield_now();
    }
}

#[test]
fn what_a_log_carries_is_flushed_at_its_turn_and_no_later_one() {
    let stage = Stage::new(450);
    let flushes = Arc::new(Flushes::default());
    let files = Arc::clone(&flushes) as Arc<dyn StagingFiles>;
    let database = Database::open(stage.directory.path(), &stage.disk, files).expect("opens");
    flushes.0.lock().clear();
    let inline = |inodes: &[u64]| {
        let mut batch = Batch::new();
        inodes.iter().for_each(|ino| batch.inline(*ino, 0, b"logged".to_vec()));
        database.commit(batch).expect("committed")
    };
    inline(&[7, 8, 9]);
    assert_eq!(turn(&database, &flushes), BTreeSet::from([7, 8, 9]));
    inline(&[8]);
    assert_eq!(turn(&database, &flushes), BTreeSet::from([8]));
    assert_eq!(turn(&database, &flushes), BTreeSet::new());
}

/// Commits until the other log file has had its turn, on the one thread that there is; None when the power goes before.
fn turn_alone(database: &Database, flushes: &Flushes) -> Option<BTreeSet<u64>> {
    let before = flushes.0.lock().len();
    while flushes.0.lock().len() == before {
        let mut batch = Batch::new();
        batch.put(Table::Entry, &[b"fill"], vec![0; 4 << 20]);
        database.commit(batch).ok()?;
    }
    flushes.0.lock().last().cloned()
}

#[test]
fn what_a_log_carries_is_not_lost_at_its_turn() {
    let _alone = OneThread::enter();
    let mut cut = [false; 2];
    for (operations, seed) in (4..14).flat_map(|operations| [(operations, 470), (operations, 471)]) {
        let stage = Stage::new(seed);
        let flushes = Arc::new(Flushes::default());
        let database = stage.open_with(Arc::clone(&flushes) as Arc<dyn StagingFiles>);
        let mut batch = Batch::new();
        batch.inline(7, 0, b"safe".to_vec());
        let last = database.commit(batch).expect("committed");
        database.sync(last).expect("synced");
        flushes.0.lock().clear();
        stage.disk.power_off_after(operations);
        cut[usize::from(turn_alone(&database, &flushes).is_some())] = true;
        stage.disk.power_off_after(0);
        drop(database);
        let is_flushed = flushes.0.lock().iter().any(|inodes| inodes.contains(&7));
        stage.disk.crash(&stage.chance);
        let recorder = Arc::new(Recorder::default());
        drop(stage.open_with(Arc::clone(&recorder) as Arc<dyn StagingFiles>));
        let restored = recorder.0.lock().get(&7).map(|bytes| bytes.values().copied().collect::<Vec<u8>>());
        assert!(is_flushed || restored.as_deref() == Some(b"safe"), "cut after {operations}: {restored:?}");
    }
    assert_eq!(cut, [true; 2], "the power went before the turn and after it");
}

/// A log that has its turn is written over from its beginning on before any of that is flushed. What it held before is in
/// the trees, and must not be put there again in part.
#[test]
fn a_log_at_its_turn_does_not_bring_back_what_it_held_before() {
    for seed in 480..488 {
        let stage = Stage::new(seed);
        let flushes = Arc::new(Flushes::default());
        let database = stage.open_with(Arc::clone(&flushes) as Arc<dyn StagingFiles>);
        let put = |key: &[u8], value: Vec<u8>| {
            let mut batch = Batch::new();
            batch.put(Table::Entry, &[key], value);
            database.commit(batch).expect("committed")
        };
        // In the first sector, beside the header, and far behind it.
        put(b"key", b"older".to_vec());
        put(b"between", vec![0; 2000]);
        database.sync(put(b"key", b"newer".to_vec())).expect("synced");
        flushes.0.lock().clear();
        turn(&database, &flushes);
        turn(&database, &flushes);
        put(b"later", vec![1; 3000]);
        let database = stage.cut_power(database);
        let found = database.get(Table::Entry, &[b"key"]).expect("readable");
        assert_eq!(found.as_deref(), Some(&b"newer"[..]), "seed {seed}");
    }
}

#[test]
fn after_a_failed_flush_nothing_is_promised_any_more() {
    let stage = Stage::new(500);
    let faulty = FaultyDisk::new(Arc::new(stage.disk.clone()));
    let database = Database::open(stage.directory.path(), &faulty, Arc::new(Recorder::default())).expect("opens");
    let put = |value: &[u8]| {
        let mut batch = Batch::new();
        batch.put(Table::Entry, &[b"key"], value.to_vec());
        database.commit(batch)
    };
    database.sync(put(b"1").expect("committed")).expect("synced");
    let second = put(b"2").expect("committed");
    faulty.fail(DiskOp::Sync, 0, 1, io::ErrorKind::Other);
    assert!(database.sync(second).is_err());
    // A flush that failed once may have dropped the pages: a later success would prove nothing.
    faulty.heal();
    let error = database.sync(second).expect_err("still not durable");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert_eq!(put(b"3").expect_err("closed").kind(), ErrorKind::Closed);
}

#[test]
fn an_end_in_order_makes_everything_durable_or_says_that_it_is_not() {
    let stage = Stage::new(510);
    let faulty = FaultyDisk::new(Arc::new(stage.disk.clone()));
    let open = || stage.try_open_on(&faulty, Arc::new(Recorder::default())).expect("opens");
    let mut model = Model::new();
    for is_failing in [false, true] {
        let database = open();
        stage.change(&database, &mut model, 1, 40);
        if is_failing {
            faulty.fail(DiskOp::Sync, 0, u64::MAX, io::ErrorKind::Other);
        }
        assert_eq!(database.close().is_err(), is_failing);
        drop(database);
        faulty.heal();
        stage.disk.crash(&stage.chance);
        if !is_failing {
            assert!(everything(&open()) == model);
        }
    }
}

/// Opens with one of the log files, or the trees, made by somebody else.
fn refused(damage: impl FnOnce(&Path)) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let disk = RealDisk::new(directory.path().join("log")).expect("a disk");
    let open = || Database::open(directory.path(), &disk, Arc::new(Recorder::default()));
    let database = open().expect("opens");
    database.close().expect("closes");
    drop(database);
    damage(directory.path());
    let error = open().err().expect("refused");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    error.to_string()
}

fn write_at(path: &Path, offset: u64, bytes: &[u8]) {
    let disk = RealDisk::new(path.parent().expect("a parent")).expect("a disk");
    let file = disk.open(Path::new(path.file_name().expect("a name")), false).expect("opens");
    file.write_at(bytes, offset).expect("written");
}

#[test]
fn foreign_and_newer_files_are_refused_and_named() {
    let said = refused(|directory| write_at(&directory.join("log/log-1"), 0, b"#!/bin/s"));
    assert!(said.contains("log-1") && said.contains("not an intent log"), "{said}");
    let said = refused(|directory| write_at(&directory.join("log/log-0"), 8, &[9]));
    assert!(said.contains("format 9") && said.contains("upgrade"), "{said}");
    let said = refused(|directory| {
        let trees = sled::open(directory.join("trees")).expect("opens");
        trees.insert(super::schema::key(Table::Meta, &[b"format"]), b"openbucket-bucket-9").expect("written");
    });
    assert!(said.contains("openbucket-bucket-9") && said.contains("upgrade"), "{said}");
}

/// The first bytes of a log file of format 1: header, then one batch of every operation.
#[test]
fn a_log_of_format_1_is_replayed() {
    let golden = include_bytes!("../../tests/golden/intent-log-v1.bin");
    let directory = tempfile::tempdir().expect("a directory");
    let disk = RealDisk::new(directory.path().join("log")).expect("a disk");
    let file = disk.open(Path::new("log-0"), true).expect("opens");
    file.write_at(golden, 0).expect("written");
    let recorder = Arc::new(Recorder::default());
    let files = Arc::clone(&recorder) as Arc<dyn StagingFiles>;
    let database = Database::open(directory.path(), &disk, files).expect("opens");
    assert_eq!(everything(&database), Model::from([(b"kept".to_vec(), b"value".to_vec())]));
    assert_eq!(*recorder.0.lock(), BTreeMap::from([(5, [(100, b'd'), (103, b'a')].into())]));
}

/// What the golden file holds, as the first log of a new database writes it.
#[test]
fn the_log_is_still_written_in_format_1() {
    let directory = tempfile::tempdir().expect("a directory");
    let disk = SimulatedDisk::new(LOG_BYTES * 4);
    let database = Database::open(directory.path(), &disk, Arc::new(Recorder::default())).expect("opens");
    let mut batch = Batch::new();
    batch.put(Table::Entry, &[b"kept"], b"value".to_vec());
    batch.put(Table::Entry, &[b"gone"], b"x".to_vec());
    batch.delete(Table::Entry, &[b"gone"]);
    batch.inline(5, 100, b"data".to_vec());
    batch.supersede(5, 101, 103);
    let sequence = database.commit(batch).expect("committed");
    database.sync(sequence).expect("synced");
    let golden = include_bytes!("../../tests/golden/intent-log-v1.bin");
    let written = ["log-0", "log-1"].map(|name| disk.contents(Path::new(name)).expect("there"));
    let is_golden = |file: &Vec<u8>| file[..golden.len()] == golden[..] && file[golden.len()..].iter().all(|b| *b == 0);
    assert!(written.iter().any(is_golden), "the format has changed: it needs a new number");
    // Every operation is in it, so that none changes unnoticed.
    let _all = |op: Op| match op {
        Op::Put { .. } | Op::Delete { .. } | Op::Inline { .. } | Op::Supersede { .. } => {}
    };
}

#[test]
fn what_is_read_in_order_was_there_at_one_moment() {
    let stage = Stage::new(460);
    let flushes = Arc::new(Flushes::default());
    let files = Arc::clone(&flushes) as Arc<dyn StagingFiles>;
    let database = Database::open(stage.directory.path(), &stage.disk, files).expect("opens");
    let range = key(Table::Cookie, &[])..key(Table::Cookie, &[b"z"]);
    for (order, is_turned) in [(Order::Up, false), (Order::Down, false), (Order::Up, true), (Order::Down, true)] {
        let name = |name: &str| format!("{name} {order:?} {is_turned}").into_bytes();
        let (from, to) = (name("a"), name("b"));
        let mut batch = Batch::new();
        batch.put(Table::Cookie, &[&from], b"there".to_vec());
        database.commit(batch).expect("committed");
        let rename = || {
            let mut batch = Batch::new();
            batch.delete(Table::Cookie, &[&from]);
            batch.put(Table::Cookie, &[&to], b"there".to_vec());
            database.commit(batch).expect("committed");
            if is_turned {
                turn(&database, &flushes);
                let end = Instant::now() + Duration::from_secs(60);
                while database.inner.trees.get(key(Table::Cookie, &[&to])).expect("readable").is_none() {
                    assert!(Instant::now() < end, "nothing comes into the trees");
                    std::thread::yield_now();
                }
            }
        };
        let query = Query { range: range.clone(), prefix: 1, limit: usize::MAX, order };
        let found = database.pairs(&query, rename).expect("readable");
        let expected = if is_turned { &to } else { &from };
        let found: Vec<_> = found.into_iter().map(|(key, _)| key).collect();
        assert!(found.iter().eq([expected]), "{order:?}, turned: {is_turned}: {found:?}");
        let mut batch = Batch::new();
        batch.delete(Table::Cookie, &[&to]);
        database.commit(batch).expect("committed");
    }
}

/// A header that was torn is of a file whose records are needed no more. One that has rotted must not pass for it.
#[test]
fn a_log_whose_header_has_rotted_is_not_taken_for_an_empty_one() {
    let mut refused = 0;
    for (seed, name) in [(510, "log-0"), (511, "log-1")] {
        let stage = Stage::new(seed);
        let database = stage.open();
        let mut batch = Batch::new();
        batch.put(Table::Entry, &[b"key"], b"value".to_vec());
        database.sync(database.commit(batch).expect("committed")).expect("synced");
        stage.kill(database);
        let file = stage.disk.open(Path::new(name), false).expect("there");
        let mut header = [0; 24];
        file.read_at(&mut header, 0).expect("read");
        header[13] ^= 1;
        file.write_at(&header, 0).expect("written");
        match stage.try_open_with(Arc::new(Recorder::default())) {
            Ok(database) => assert_eq!(everything(&database).len(), 1, "its records were needed no more"),
            Err(error) => {
                assert!(matches!(error, Error::Corrupt { .. }) && error.to_string().contains(name), "{error}");
                // It stays as it is for who can mend it.
                header[13] ^= 1;
                file.write_at(&header, 0).expect("written");
                assert_eq!(everything(&stage.open()).len(), 1);
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 1);
}
