//! Here and there in a file: small cold reads and the bytes that they move, small writes.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
    time::Instant,
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use openbucket::base::limits;

use crate::{
    machine::loopback_bytes,
    meter::{MIB, chance, noise, per_second, pick, write},
    places::{Group, Place, Places, WITH_DATA},
    report::{Row, less, more},
};

/// Of the file, as the peers had it.
const BYTES: u64 = 128 * MIB;
const PAGE: u64 = 4096;
/// What is sealed together: no two reads are in one, so that each is cold.
const BLOCK: u64 = 64 << 10;
/// Reads of a round, each in a block of its own.
const READS: usize = 1000;
/// The same with one consumer away.
const READS_ONE_AWAY: usize = 200;
const WRITES: usize = 4096;
/// Writes between two fsyncs.
const FSYNC_EVERY: usize = 32;

const ROUND: Group = Group {
    name: "random",
    kinds: &[
        more("random read cold", "/s"),
        more("random read, new blocks", "/s"),
        less("KiB moved a read, mean", "KiB"),
        less("KiB moved a read, p99", "KiB"),
        more("random read, one away", "/s"),
        less("KiB moved, one away, mean", "KiB"),
        less("KiB moved, one away, p99", "KiB"),
        more("random write, fsync/32", "/s"),
    ],
    places: &WITH_DATA,
    rounds: 3,
};

/// The rows of this group.
pub fn measure(places: &Places) -> anyhow::Result<Vec<Row>> {
    places.rounds(&ROUND, &|place, directory| measure_round(places, place, directory))
}

fn measure_round(places: &Places, place: Place, directory: &Path) -> anyhow::Result<Vec<f64>> {
    let path = directory.join("file");
    write(&path, BYTES)?;
    places.make_cold(place, &path)?;
    let all = read_all_pages(&path)?;
    places.make_cold(place, &path)?;
    let (whole, moved) = read_pages(&path, READS)?;
    let mut values = vec![all, whole];
    match place {
        Place::Bucket => {
            values.extend(moved);
            places.make_cold(place, &path)?;
            let stopped = Stopped::new(places, "consumer-1")?;
            let (degraded, moved) = read_pages(&path, READS_ONE_AWAY)?;
            drop(stopped);
            values.push(degraded);
            values.extend(moved);
        }
        _ => values.extend([f64::NAN, f64::NAN, whole, f64::NAN, f64::NAN]),
    }
    values.push(write_pages(&path)?);
    Ok(values)
}

/// Reads each page once, here and there, as fio(1) reads a file at random: reads a second. Nothing is cached when it begins.
fn read_all_pages(path: &Path) -> anyhow::Result<f64> {
    let file = File::open(path)?;
    let mut page = [0; PAGE as usize];
    let pages = pick(&mut chance(3), BYTES / PAGE, (BYTES / PAGE) as usize);
    per_second(pages.len(), || pages.iter().try_for_each(|number| Ok(file.read_exact_at(&mut page, number * PAGE)?)))
}

/// Reads so many pages, each in a block that none was read in before: reads a second, and the bytes that each moved over
/// the network, their mean and what one in a hundred exceeds.
fn read_pages(path: &Path, count: usize) -> anyhow::Result<(f64, [f64; 2])> {
    let file = File::open(path)?;
    let mut page = [0; PAGE as usize];
    let mut moved = Vec::new();
    let mut chance = chance(count as u64);
    let start = Instant::now();
    for block in pick(&mut chance, BYTES / BLOCK, count) {
        let before = loopback_bytes()?;
        file.read_exact_at(&mut page, block * BLOCK + PAGE * (block % (BLOCK / PAGE)))?;
        moved.push((loopback_bytes()? - before) as f64 / 1024.0);
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    moved.sort_by(f64::total_cmp);
    let mean = moved.iter().sum::<f64>() / moved.len() as f64;
    Ok((rate, [mean, moved[(moved.len() - 1) * 99 / 100]]))
}

fn write_pages(path: &Path) -> anyhow::Result<f64> {
    let file = OpenOptions::new().write(true).open(path)?;
    let page = noise(PAGE as usize);
    let offsets = pick(&mut chance(1), BYTES / PAGE, WRITES);
    per_second(WRITES, || {
        for (index, offset) in offsets.iter().enumerate() {
            file.write_all_at(&page, offset * PAGE)?;
            if (index + 1) % FSYNC_EVERY == 0 {
                file.sync_data()?;
            }
        }
        Ok(())
    })
}

/// A process that is there and does not answer, until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn new(places: &Places, name: &str) -> anyhow::Result<Self> {
        let found = places.processes()?.into_iter().find(|(known, _)| known == name);
        let pid = found.and_then(|(_, pid)| Pid::from_raw(pid)).with_context(|| format!("{name} does not run"))?;
        kill_process(pid, Signal::STOP)?;
        Ok(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // Gone, it need not go on.
        let _ = kill_process(self.0, Signal::CONT);
        // So long it is read from last, and what it holds costs k times as much.
        std::thread::sleep(limits::CONSUMER_REST);
    }
}
