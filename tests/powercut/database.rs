//! The bucket's database alone on a disk whose power goes: what its trees took over from the log is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use openbucket::{
    runtime::{Chance as _, SeededChance},
    store::{Batch, Database, Error, RealDisk, StagingFiles, Table},
};

use crate::{
    cuts::given,
    disk::{Disk, Power},
    fixture::is_full,
};

/// Who commit at the same time, and how often, at most; so that the log takes its turn several times.
const COMMITTERS: u8 = 4;
const COMMITS: u64 = 500;
const VALUE_BYTES: usize = 40_000;
/// Values of a key, one after the other; then it stays as it is, also over turns.
const BURST: u64 = 40;
/// Operations after which the power goes, those of the first start left out.
const OPERATIONS: u64 = 3_500;
/// Tells the process of the committers where the disk is.
const PLACE: &str = "POWERCUT_PLACE";
/// What was synced just before the cut is told within this.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// None are used here.
struct NoFiles;

impl StagingFiles for NoFiles {
    fn flush(&self, _: &BTreeSet<u64>) -> Result<(), Error> {
        Ok(())
    }

    fn small(&self, _: u64) -> Option<Vec<u8>> {
        None
    }

    fn restore(&self, _: u64, _: u64, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

fn open(root: &Path) -> Database {
    let disk = RealDisk::new(root.join("log")).unwrap();
    Database::open(root, &disk, Arc::new(NoFiles)).unwrap()
}

#[test]
fn what_the_log_has_let_go_is_in_the_trees() {
    if !Path::new("/dev/fuse").exists() {
        println!("skipped: /dev/fuse is missing");
        return;
    }
    // The last is kept in a file of its own by sled.
    let values: Vec<Vec<u8>> = [10, 3_000, 60_000, 700_000].iter().map(|length| vec![7; *length]).collect();
    for seed in 0..8 {
        let place = tempfile::tempdir().unwrap();
        let (power, chance) = (Power::on(), SeededChance::new(seed));
        let mut disk = Disk::mount(place.path(), &power).unwrap();
        let database = open(place.path());
        for (number, value) in values.iter().enumerate() {
            let mut batch = Batch::new();
            batch.put(Table::Meta, &[&[number as u8]], value.clone());
            database.commit(batch).unwrap();
        }
        database.close().unwrap();
        drop(database);
        // Replays both logs and begins them anew: from here on only the trees have it.
        drop(open(place.path()));
        power.go_off();
        disk.cut(&chance).unwrap();
        power.go_on();
        let database = open(place.path());
        for (number, value) in values.iter().enumerate() {
            let found = database.get(Table::Meta, &[&[number as u8]]).unwrap();
            assert!(found.as_ref() == Some(value), "seed {seed}: value {number} is {:?}", found.map(|it| it.len()));
        }
    }
}

/// Commits and syncs, and tells what was synced. A key has many values: an older one must not come back.
fn commit_and_sync(database: &Database, who: u8) {
    for number in 1..=COMMITS {
        let slot = (number / BURST) as u8;
        let mut value = vec![who; VALUE_BYTES];
        value[..8].copy_from_slice(&number.to_le_bytes());
        let mut batch = Batch::new();
        batch.put(Table::Meta, &[&[who, slot]], value);
        let Ok(sequence) = database.commit(batch) else { return };
        if number % 3 > 0 {
            if database.sync(sequence).is_err() {
                return;
            }
            println!("synced {who} {slot} {number}");
        }
    }
}

#[test]
fn committers_in_a_process_of_their_own() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let database = open(Path::new(&place));
    println!("ready");
    thread::scope(|scope| {
        for who in 0..COMMITTERS {
            let database = &database;
            scope.spawn(move || commit_and_sync(database, who));
        }
    });
    std::process::exit(0);
}

/// Runs the committers until the power has gone; the newest synced number of each key.
fn commit_until_the_cut(place: &Path, power: &Power, operations: u64) -> BTreeMap<[u8; 2], u64> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "database::committers_in_a_process_of_their_own", "--nocapture"]);
    let mut child = command.env(PLACE, place).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let armed = power.clone();
    let reader = thread::spawn(move || {
        let mut promised = BTreeMap::new();
        for line in lines.map_while(Result::ok) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["ready"] => armed.go_off_after(operations, Vec::new()),
                ["synced", who, slot, number] => {
                    promised.insert([who.parse().unwrap(), slot.parse().unwrap()], number.parse().unwrap());
                }
                _ => {}
            }
        }
        promised
    });
    let mut end = None;
    while child.try_wait().unwrap().is_none() && end.is_none_or(|end| Instant::now() < end) {
        if power.is_off() {
            end = end.or(Some(Instant::now() + LAST_WORDS));
        }
        thread::sleep(Duration::from_millis(1)); // the look at a condition
    }
    // It may have ended by itself.
    let _ = child.kill();
    child.wait().unwrap();
    power.go_off();
    reader.join().unwrap()
}

#[test]
fn what_was_synced_is_there_whenever_the_log_takes_its_turn() {
    if !Path::new("/dev/fuse").exists() {
        println!("skipped: /dev/fuse is missing");
        return;
    }
    let first = given("OPENBUCKET_TEST_SEED", 1) * 1_000;
    let mut promises = 0;
    for seed in first..first + if is_full() { 200 } else { 5 } {
        let place = tempfile::tempdir().unwrap();
        let (power, chance) = (Power::on(), SeededChance::new(seed));
        let mut disk = Disk::mount(place.path(), &power).unwrap();
        let promised = commit_until_the_cut(place.path(), &power, 1 + chance.below(OPERATIONS));
        promises += promised.len();
        disk.cut(&chance).unwrap();
        power.go_on();
        let database = open(place.path());
        for (key, number) in promised {
            let found = database.get(Table::Meta, &[&key]).unwrap().expect("it was synced");
            let found = u64::from_le_bytes(found[..8].try_into().unwrap());
            assert!(found >= number, "seed {seed}: {key:?} is {found}, and {number} was synced");
        }
    }
    assert!(promises > 20, "{promises} promises prove little");
}
