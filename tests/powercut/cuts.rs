//! Writers at work, the power goes, everything starts again: what was promised is there, byte for byte, and all fits together.
//!
//! Which check fails without a flush, as seen when it was taken out. Some are tests beside the code, on a simulated disk:
//! of the bucket (`bucket/flushes.rs`), of the database, of the consumers' store.
//!
//! | flush | check |
//! |---|---|
//! | key files, new directories, sled's own, its directory | `a_first_start_that_was_cut_short_is_done_again` |
//! | names of the log's files, root of the shards' directory | `what_a_new_network_was_given_survives_its_first_power_cut` |
//! | log at fsync, log before staging is reclaimed, staging files | the writers, below |
//! | the same log, the same files, their names and those of their directories | bucket: `what_an_fsync_has_promised_survives_a_power_cut` |
//! | staging files many at a time, and whole disks | `many_files_are_flushed_also_on_a_disk_that_cannot_be_flushed_as_a_whole` |
//! | staging files at replay | bucket: `the_staging_files_of_a_killed_process_keep_their_names` |
//! | segments of shards, their names and that of their directory | store: `what_was_confirmed_survives_every_crash_and_nothing_else_comes_back` |
//! | shards and their directory, trees at checkpoint and replay, data before a rename | the writers |
//! | log before deletions leave | the writers: shards are deleted of what a cut brings back |
//! | old log when the new one takes its turn | `what_was_synced_is_there_whenever_the_log_takes_its_turn` |
//! | log before the staging of removed files goes | the writers: `Removed` |
//! | log in `log_all` | the writers: `Synced` |
//! | announcement of an upload before its shards leave | bucket: `who_may_have_a_shard_is_durable_before_its_first_byte_leaves` |
//! | header of a log at its turn | database: `a_log_at_its_turn_does_not_bring_back_what_it_held_before` |
//! | what a log carries, at its turn | database: `what_a_log_carries_is_not_lost_at_its_turn` |
//! | small staged data that is kept | store: `what_was_flushed_survives_power_cuts_at_any_moment` (`kept.rs`) |
//! | the header of a file of them that gives its turn, its torn end | store: `an_opening_that_is_cut_short_loses_nothing` |
//! | a file that grew out of what was kept, and that this is forgotten | bucket: `what_was_kept_does_not_come_back_over_newer_bytes` |
//! | log of a killed process before it is replayed | database: `a_start_after_a_kill_that_is_cut_short_leaves_whole_batches` |
//! | log when the database is closed | database: `an_end_in_order_makes_everything_durable_or_says_that_it_is_not` |
//! | names of staging files when a killed mount starts | bucket: `the_staging_files_of_a_killed_process_keep_their_names` |
//! | segments and their names when a killed consumer starts | store: `what_a_killed_store_had_not_flushed_is_flushed_before_it_is_told` |
//! | a torn end that was settled | store: `a_torn_end_is_settled_before_anything_follows_it` |
//! | what that start marks as dead | store: `a_shard_that_is_there_twice_does_not_come_back_when_it_is_deleted` |
//! | the tables of a tracker and of an outbox | `what_was_flushed_into_tables_is_there` |
//!
//! No check cuts the power of what commands write beside a bucket (`file download`, devnet.json).

use std::{fs, io::Write as _, path::Path, time::Duration};

use openbucket::{
    runtime::{Chance, SeededChance},
    store::{Disk as _, RealDisk},
};

use crate::{
    disk::{Disk, Power},
    fixture::is_full,
    lab::{CONSUMERS, Lab, SHARDS},
    round::Round,
    whole,
    writer::Writer,
};

const QUICK_CUTS: u64 = 20;
const FULL_CUTS: u64 = 200;
/// First starts that are cut short, of each kind of machine.
const QUICK_STARTS: u64 = 3;
const FULL_STARTS: u64 = 30;
/// Operations of its disk after which a machine has started for sure.
pub const START_OPERATIONS: u64 = 400;

/// A number that a person gives to repeat a run, or another run.
pub fn given(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// What the writers may find, and whether the bucket's records and the shards on the consumers fit together.
fn check(lab: &Lab, writers: &mut [Writer], find: fn(&mut Writer) -> Result<(), String>, when: &str) {
    for writer in writers {
        find(writer).unwrap_or_else(|why| panic!("{when}: {why}\n{}", lab.cluster.logs()));
    }
    whole::check(&lab.cluster, when);
    (1..=CONSUMERS).for_each(|number| whole::nothing_is_bad(&lab.cluster, &format!("consumer-{number}"), when));
}

#[test]
fn what_was_synced_survives_power_cuts() {
    let (cuts, limit) = if is_full() { (FULL_CUTS, 3600) } else { (QUICK_CUTS, 230) };
    let (cuts, seed) = (given("OPENBUCKET_TEST_CUTS", cuts), given("OPENBUCKET_TEST_SEED", 1));
    let Some(mut lab) = Lab::start(Duration::from_secs(limit)) else { return };
    let mut writers: Vec<Writer> = (0..3)
        .map(|index| {
            let root = lab.cluster.file(&format!("w{index}"));
            fs::create_dir(&root).unwrap();
            Writer::new(root, seed * 1000 + index, index == 0)
        })
        .collect();
    lab.cluster.sync();
    for cut in 0..cuts {
        let chance = SeededChance::new(seed * 1_000_000 + cut);
        let round = Round::draw(&lab, &chance);
        let when = format!("seed {seed}, cut {cut}, {round}");
        println!("{when}");
        if round.is_killed {
            round.work_and_kill(&lab, &mut writers, &chance);
            check(&lab, &mut writers, Writer::check_killed, &format!("{when}, killed before"));
        }
        round.work_and_cut(&mut lab, &mut writers, &chance);
        check(&lab, &mut writers, Writer::check, &format!("{when}, at once"));
        // Not always: what was replayed may meet the next cut before it is uploaded. What a mount that stayed up has was
        // promised by nobody yet.
        if chance.below(3) > 0 || !round.has("mount") {
            let when = format!("{when}, from consumers");
            whole::nothing_is_left_over(&lab.cluster, CONSUMERS, SHARDS, &when);
            lab.cluster.evict("");
            check(&lab, &mut writers, Writer::check, &when);
        }
    }
    writers.iter_mut().for_each(|writer| writer.clear().unwrap());
    whole::nothing_is_stored(&lab.cluster, CONSUMERS, "after everything was removed");
    lab.cluster.down();
}

#[test]
fn a_first_start_that_was_cut_short_is_done_again() {
    let (starts, limit) = if is_full() { (FULL_STARTS, 1800) } else { (QUICK_STARTS, 230) };
    let (starts, seed) = (given("OPENBUCKET_TEST_CUTS", starts), given("OPENBUCKET_TEST_SEED", 1));
    let Some(mut lab) = Lab::start(Duration::from_secs(limit)) else { return };
    let home = lab.cluster.state();
    for round in 0..starts {
        for name in ["tracker", "consumer-1", "mount"] {
            println!("seed {seed}, round {round}, {name}");
            let chance = SeededChance::new(seed * 1_000_000 + round);
            let directory = home.join(name);
            lab.replace_disk(name);
            if name == "mount" {
                // Whoever has seen the phrase has a bucket.
                lab.cluster.ok(&["init", "--state", directory.to_str().unwrap()]);
                lab.power_off(&[name]);
                lab.cut(&[name], &chance);
            }
            lab.start_and_power_off(name, 1 + chance.below(START_OPERATIONS));
            lab.cut(&[name], &chance);
            lab.start_again(&[name]);
            let before = identity(&lab, name);
            if name == "mount" {
                let mut file = fs::File::create(lab.cluster.file("kept")).unwrap();
                file.write_all(b"kept").and_then(|()| file.sync_all()).unwrap();
            }
            lab.power_off(&[name]);
            lab.cut(&[name], &chance);
            lab.start_again(&[name]);
            assert_eq!(identity(&lab, name), before, "{name} is another one now");
            if name == "mount" {
                assert_eq!(fs::read(lab.cluster.file("kept")).unwrap(), b"kept");
            }
            // A consumer with a new disk is another one, and the one before does not answer.
            whole::check_without_silent(&lab.cluster, &format!("round {round}, {name}"));
        }
    }
    lab.cluster.down();
}

#[test]
fn what_a_new_network_was_given_survives_its_first_power_cut() {
    let rounds = given("OPENBUCKET_TEST_CUTS", if is_full() { FULL_STARTS } else { QUICK_STARTS });
    let seed = given("OPENBUCKET_TEST_SEED", 1);
    for round in 0..rounds {
        let when = format!("seed {seed}, round {round}");
        println!("{when}");
        let Some(mut lab) = Lab::start(Duration::from_secs(230)) else { return };
        let chance = SeededChance::new(seed * 1_000_000 + round);
        let names = lab.names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let kept = lab.cluster.file("kept");
        fs::write(&kept, [7; 100_000]).unwrap();
        lab.cluster.sync();
        lab.cluster.evict("");
        lab.power_off(&names);
        lab.cut(&names, &chance);
        lab.start_again(&names);
        whole::check(&lab.cluster, &when);
        assert!(fs::read(&kept).unwrap() == [7; 100_000], "{when}");
        lab.cluster.down();
    }
}

/// Who a machine is for the others.
fn identity(lab: &Lab, name: &str) -> String {
    lab.cluster.process(name)["peer"].as_str().expect("it has run").to_owned()
}

#[test]
fn a_disk_that_cannot_be_flushed_as_a_whole_says_so() {
    if !Path::new("/dev/fuse").exists() {
        println!("skipped: /dev/fuse is missing");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let (power, chance) = (Power::on(), SeededChance::new(1));
    let mut disk = Disk::mount(place.path(), &power).unwrap();
    let real = RealDisk::new(place.path().join("tree")).unwrap();
    let file = real.open(Path::new("file"), true).unwrap();
    file.write_at(b"kept", 0).unwrap();
    assert!(!real.sync_all().unwrap(), "the kernel does not pass syncfs(2) on to FUSE");
    file.sync().unwrap();
    real.sync_directory(Path::new("")).unwrap();
    drop((real, file));
    power.go_off();
    disk.cut(&chance).unwrap();
    power.go_on();
    assert_eq!(fs::read(place.path().join("tree/file")).unwrap(), b"kept");
}
