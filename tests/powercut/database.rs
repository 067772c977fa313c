//! The bucket's database alone on a disk whose power goes, used by processes that end with the power: sled does not end on
//! a dead disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
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
    tables,
};

/// Who commit at the same time, and how often, at most; so that the log takes its turn several times.
const COMMITTERS: u8 = 4;
const COMMITS: u64 = 500;
const VALUE_BYTES: usize = 40_000;
/// Values of a key, one after the other; then it stays as it is, also over turns.
const BURST: u64 = 40;
/// Operations after which the power goes, those of the first start left out.
const OPERATIONS: u64 = 3_500;
/// Tells a process what it is to do, with which seed, and where the disk is.
const PART: &str = "POWERCUT_PART";
const SEED: &str = "POWERCUT_SEED";
const PLACE: &str = "POWERCUT_PLACE";
/// What was synced just before the cut is told within this.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// Keys of the trees that are kept, and how often most of them get another value.
const KEYS: u16 = 200;
const REWRITES: u64 = 4;
/// Keys that are put again and again, and how often: so that the log takes its turn, and what is newest in the trees' log are
/// segments that nobody needs any more.
const HOT_KEYS: u16 = 16;
const TURN: u64 = 300;

/// None are used here.
struct NoFiles;

impl StagingFiles for NoFiles {
    fn flush(&self, _: &BTreeSet<u64>) -> Result<(), Error> {
        Ok(())
    }

    fn restore(&self, _: u64, _: u64, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }
}

fn open(root: &Path) -> Result<Database, Error> {
    let disk = RealDisk::new(root.join("log")).unwrap();
    Database::open(root, &disk, Arc::new(NoFiles))
}

/// A part of a test as a process of its own.
fn start(part: &str, seed: u64, place: &Path) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "database::a_part_of_another_test", "--nocapture"]);
    command.env(PART, part).env(SEED, seed.to_string()).env(PLACE, place);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_part_of_another_test() {
    let Ok(part) = env::var(PART) else { return };
    let (place, seed) = (env::var_os(PLACE).unwrap(), given(SEED, 0));
    let place = Path::new(&place);
    match part.as_str() {
        "commit" => commit_until_the_end(place),
        "fill" => fill(place, seed),
        "open" => drop(open(place).unwrap()),
        "find" => find(place, seed),
        "put" => tables::put_until_the_end(place, seed),
        other => panic!("no part {other}"),
    }
    std::process::exit(0);
}

/// Runs a part of which nothing takes the power.
fn run(part: &str, seed: u64, place: &Path, when: &str) {
    let ended = start(part, seed, place).wait_with_output().unwrap();
    assert!(ended.status.success(), "{when}: {part}: {}", String::from_utf8_lossy(&ended.stdout));
}

/// What `fill` commits, one batch after the other.
fn batches(seed: u64) -> Vec<Vec<(u16, Vec<u8>)>> {
    let chance = SeededChance::new(seed);
    let mut batches = Vec::new();
    for round in 0..REWRITES {
        // The last is kept in a file of its own by sled.
        batches.push(vec![(KEYS, vec![round as u8; 10]), (KEYS + 1, vec![round as u8; 700_000])]);
        for key in 0..KEYS {
            if chance.below(8) > 0 {
                batches.push(vec![(key, vec![round as u8; 1 + chance.below(4_000) as usize])]);
            }
        }
        let hot = |number: u64| (0..HOT_KEYS).map(|key| (u16::MAX - key, vec![number as u8; 4_000])).collect();
        batches.extend((0..TURN).map(hot));
    }
    batches
}

/// Fills log and trees, and ends at once.
fn fill(place: &Path, seed: u64) {
    let database = open(place).unwrap();
    for changes in batches(seed) {
        let mut batch = Batch::new();
        for (key, value) in changes {
            batch.put(Table::Meta, &[&key.to_be_bytes()], value);
        }
        database.commit(batch).unwrap();
    }
    std::process::exit(0);
}

fn find(place: &Path, seed: u64) {
    let database = open(place).unwrap();
    for (key, value) in batches(seed).into_iter().flatten().collect::<BTreeMap<_, _>>() {
        let found = database.get(Table::Meta, &[&key.to_be_bytes()]).unwrap();
        let told = found.as_ref().map(|it| (it.len(), it.first().copied()));
        assert!(found.as_ref() == Some(&value), "key {key} is {told:?}, not {} of {}", value.len(), value[0]);
    }
}

/// A disk with a database that was filled, after a start that put what the log had into the trees, and a power cut.
fn filled(place: &Path, power: &Power, seed: u64) -> Disk {
    let mut disk = Disk::mount(place, power).unwrap();
    run("fill", seed, place, "at first");
    // Replays both logs and begins them anew: from here on only the trees have it.
    run("open", seed, place, "to let go");
    power.go_off();
    disk.cut(&SeededChance::new(seed)).unwrap();
    power.go_on();
    disk
}

pub fn has_fuse() -> bool {
    let has = Path::new("/dev/fuse").exists();
    if !has {
        println!("skipped: /dev/fuse is missing");
    }
    has
}

#[test]
fn what_the_log_has_let_go_is_in_the_trees() {
    if !has_fuse() {
        return;
    }
    for seed in 0..4 {
        let (place, power) = (tempfile::tempdir().unwrap(), Power::on());
        let _disk = filled(place.path(), &power, seed);
        run("find", seed, place.path(), &format!("seed {seed}"));
    }
}

/// Starts, and loses the power after so many operations; whether it was started before.
fn start_until_the_cut(seed: u64, place: &Path, power: &Power, operations: u64) -> bool {
    power.go_off_after(operations, Vec::new());
    let mut child = start("open", seed, place);
    while child.try_wait().unwrap().is_none() && !power.is_off() {
        thread::sleep(Duration::from_millis(1)); // the look at a condition
    }
    let was_started = !power.is_off();
    // It may have ended by itself.
    let _ = child.kill();
    child.wait().unwrap();
    power.go_off();
    was_started
}

#[test]
fn a_start_that_is_cut_short_loses_nothing() {
    if !has_fuse() {
        return;
    }
    let first = given("OPENBUCKET_TEST_SEED", 1) * 1_000;
    for seed in first..first + if is_full() { 20 } else { 2 } {
        let (place, power, chance) = (tempfile::tempdir().unwrap(), Power::on(), SeededChance::new(seed));
        let mut disk = filled(place.path(), &power, seed);
        let full = disk.copy();
        let mut operations = 1;
        loop {
            disk.replace_with(&full).unwrap();
            let was_started = start_until_the_cut(seed, place.path(), &power, operations);
            disk.cut(&chance).unwrap();
            power.go_on();
            run("find", seed, place.path(), &format!("seed {seed}, {operations} operations"));
            if was_started {
                break;
            }
            operations += if is_full() { 1 } else { 1 + chance.below(30) };
        }
        println!("seed {seed}: a start has {operations} operations");
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

fn commit_until_the_end(place: &Path) {
    let database = open(place).unwrap();
    println!("ready");
    thread::scope(|scope| {
        for who in 0..COMMITTERS {
            let database = &database;
            scope.spawn(move || commit_and_sync(database, who));
        }
    });
}

/// Runs a part with a seed until the power has gone, so many operations after it was ready; the newest synced number of each
/// key.
pub fn promised_until_the_cut(
    (part, seed): (&str, u64),
    place: &Path,
    power: &Power,
    operations: u64,
) -> BTreeMap<[u8; 2], u64> {
    let mut child = start(part, seed, place);
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
    if !has_fuse() {
        return;
    }
    let first = given("OPENBUCKET_TEST_SEED", 1) * 1_000;
    let mut promises = 0;
    for seed in first..first + if is_full() { 200 } else { 6 } {
        let place = tempfile::tempdir().unwrap();
        let (power, chance) = (Power::on(), SeededChance::new(seed));
        let mut disk = Disk::mount(place.path(), &power).unwrap();
        let operations = 1 + chance.below(OPERATIONS);
        let promised = promised_until_the_cut(("commit", 0), place.path(), &power, operations);
        promises += promised.len();
        disk.cut(&chance).unwrap();
        power.go_on();
        let database = open(place.path()).unwrap();
        for (key, number) in promised {
            let found = database.get(Table::Meta, &[&key]).unwrap().expect("it was synced");
            let found = u64::from_le_bytes(found[..8].try_into().unwrap());
            assert!(found >= number, "seed {seed}: {key:?} is {found}, and {number} was synced");
        }
    }
    assert!(promises > 20, "{promises} promises prove little");
}
