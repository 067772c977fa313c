//! Writers at work, the power goes, everything starts again: what was promised is there, byte for byte.

use std::{
    fs,
    io::Write as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use openbucket::{
    runtime::{Chance, SeededChance},
    store::{Disk as _, RealDisk},
};

use crate::{
    disk::{Disk, Power},
    fixture::is_full,
    lab::Lab,
    writer::Writer,
};

const QUICK_CUTS: u64 = 20;
const FULL_CUTS: u64 = 200;
/// The longest time from the start of the writers to the cut.
const WORK_MILLIS: u64 = 3_000;
/// First starts that are cut short, of each kind of machine.
const QUICK_STARTS: u64 = 3;
const FULL_STARTS: u64 = 30;
/// Operations of its disk after which a machine has started for sure.
const START_OPERATIONS: u64 = 400;

/// A number that a person gives to repeat a run, or another run.
fn given(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// Which machines lose their power: mostly all, as in a house.
fn victims(lab: &Lab, chance: &dyn Chance) -> Vec<String> {
    match chance.below(10) {
        0 => vec!["mount".to_owned()],
        1 => vec!["consumer-1".to_owned()],
        _ => lab.names(),
    }
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
        let victims = victims(&lab, &chance);
        let when = format!("seed {seed}, cut {cut} of {}", victims.join(", "));
        println!("{when}");
        let victims: Vec<&str> = victims.iter().map(String::as_str).collect();
        work_and_cut(&mut lab, &mut writers, &victims, &chance);
        let check = |writers: &mut Vec<Writer>, what: &str| {
            for writer in writers {
                writer.check().unwrap_or_else(|why| panic!("{when}, {what}: {why}"));
            }
        };
        check(&mut writers, "at once");
        // Not always: what was replayed may meet the next cut before it is uploaded. What a mount that stayed up has was
        // promised by nobody yet.
        if chance.below(3) > 0 || !victims.contains(&"mount") {
            lab.cluster.sync();
            lab.cluster.evict("");
            check(&mut writers, "from consumers");
        }
    }
    lab.cluster.down();
}

/// The writers work, the power goes, sometimes once more while the machines start, and they start again.
fn work_and_cut(lab: &mut Lab, writers: &mut [Writer], victims: &[&str], chance: &dyn Chance) {
    let work = Duration::from_millis(100 + chance.below(WORK_MILLIS));
    // Sometimes they rest before the cut: uploads end, and nothing flushes the log by the way.
    let rest = Duration::from_millis(if chance.below(3) == 0 { chance.below(WORK_MILLIS) } else { 0 });
    let is_mount_up = !victims.contains(&"mount");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // The first fills the log, and flushes it for all: sometimes it is not there.
        let absent = usize::from(chance.below(3) == 0);
        for writer in writers.iter_mut().skip(absent) {
            let stop = &stop;
            scope.spawn(move || writer.work(stop, is_mount_up));
        }
        thread::sleep(work); // the moment of the cut is drawn
        if !rest.is_zero() {
            stop.store(true, Ordering::Relaxed);
            thread::sleep(rest); // and so is this
        }
        lab.power_off(victims);
        stop.store(true, Ordering::Relaxed);
    });
    lab.cut(victims, chance);
    if chance.below(4) == 0 {
        let name = victims.last().expect("somebody");
        lab.start_again(&victims[..victims.len() - 1]);
        lab.start_and_power_off(name, 1 + chance.below(START_OPERATIONS));
        lab.cut(&[name], chance);
        lab.start_again(&[name]);
    } else {
        lab.start_again(victims);
    }
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
        }
    }
    lab.cluster.down();
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
