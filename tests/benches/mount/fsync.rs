//! Appends that are made safe one by one, alone and beside everything that a bucket does in the background.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rand::RngExt as _;

use crate::{
    meter::{GIB, MIB, chance, noise, percentile, read, write},
    places::{Group, Place, Places, WITH_DATA},
    report::{Row, less, more},
};

const APPENDS: usize = 500;
const APPEND_BYTES: usize = 4096;
/// Beside the background each place gets an append so often, as from a program that has other things to do too: whoever
/// appends without a pause meets what lasts long once, however often it happens, and counts many quick ones in between.
const APPEND_EVERY: Duration = Duration::from_millis(5);
/// Fewer are not worth a percentile.
const LEAST_APPENDS: usize = 200;
/// What is uploaded beside the appends.
const UPLOAD_BYTES: u64 = 2 * GIB;
/// The file that is overwritten here and there, so that there is something to collect.
const HOLED_BYTES: u64 = 256 * MIB;
/// The file that is read from consumers and evicted again and again.
const EVICTED_BYTES: u64 = 64 * MIB;
/// The appends beside the background go on for so long, at most.
const LOADED: Duration = Duration::from_secs(120);

const ROUND: Group = Group {
    name: "fsync",
    kinds: &[more("append + fsync", "/s"), less("append + fsync, p50", "ms"), less("append + fsync, p99", "ms")],
    places: &WITH_DATA,
    rounds: 3,
};

/// The rows of this group.
pub fn measure(places: &Places) -> anyhow::Result<Vec<Row>> {
    let mut rows = places.rounds(&ROUND, &|_, directory| alone(directory))?;
    rows.extend(loaded(places)?);
    Ok(rows)
}

fn alone(directory: &Path) -> anyhow::Result<Vec<f64>> {
    let start = Instant::now();
    let mut times = append(&directory.join("log"), APPENDS)?;
    let rate = APPENDS as f64 / start.elapsed().as_secs_f64();
    Ok(vec![rate, percentile(&mut times, 50), percentile(&mut times, 99)])
}

/// Appends 4 KiB at a time, each made safe: how long each took.
fn append(path: &Path, count: usize) -> anyhow::Result<Vec<Duration>> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let data = noise(APPEND_BYTES);
    (0..count).map(|_| append_once(&mut file, &data)).collect()
}

fn append_once(file: &mut File, data: &[u8]) -> anyhow::Result<Duration> {
    let start = Instant::now();
    file.write_all(data)?;
    file.sync_data()?;
    Ok(start.elapsed())
}

/// The same at both places at the same time, while files are uploaded, collected and evicted.
fn loaded(places: &Places) -> anyhow::Result<Vec<Row>> {
    let (bucket, plain) = (places.directory(Place::Bucket, "loaded")?, places.directory(Place::Plain, "loaded")?);
    let (holed, evicted) = (bucket.join("holed"), bucket.join("evicted"));
    write(&holed, HOLED_BYTES)?;
    write(&evicted, EVICTED_BYTES)?;
    places.settle()?;
    eprintln!("fsync, beside an upload of {} GiB", UPLOAD_BYTES / GIB);
    let is_over = AtomicBool::new(false);
    let until = Instant::now() + LOADED;
    let is_running = || !is_over.load(Ordering::Relaxed) && Instant::now() < until;
    let until_over = |work: &dyn Fn() -> anyhow::Result<()>| -> anyhow::Result<()> {
        while !is_over.load(Ordering::Relaxed) {
            work()?;
        }
        Ok(())
    };
    let mut times = thread::scope(|scope| -> anyhow::Result<[Vec<Duration>; 2]> {
        let upload = scope.spawn(|| {
            let path = bucket.join("uploaded");
            let done = write(&path, UPLOAD_BYTES).and_then(|()| places.upload(&path));
            is_over.store(true, Ordering::Relaxed);
            done
        });
        let overwrite = scope.spawn(|| punch(&holed, &is_over));
        let evict = scope.spawn(|| {
            until_over(&|| {
                places.evict(&evicted)?;
                read(&evicted, EVICTED_BYTES)
            })
        });
        let appending = [&bucket, &plain].map(|directory| scope.spawn(|| append_now_and_then(directory, &is_running)));
        let appended = appending.map(|thread| thread.join());
        for worker in [upload, overwrite, evict] {
            worker.join().map_err(|_| anyhow::anyhow!("the background has panicked"))?.context("in the background")?;
        }
        let [bucket, plain] = appended.map(|outcome| outcome.map_err(|_| anyhow::anyhow!("an append has panicked")));
        Ok([bucket??, plain??])
    })?;
    let count = times[0].len().min(times[1].len());
    if count < LEAST_APPENDS {
        bail!("the background was over after {count} appends: too few to measure");
    }
    let mut rows = Vec::new();
    for (kind, percent) in [(less("append, loaded, p50", "ms"), 50), (less("append, loaded, p99", "ms"), 99)] {
        let [bucket, plain] = times.each_mut().map(|times| percentile(times, percent));
        rows.push(Row { rounds: vec![[bucket, f64::NAN, plain]], ..Row::new(kind) });
    }
    rows[1].note = Some(format!("{count} appends beside an upload of {} GiB", UPLOAD_BYTES / GIB));
    for directory in [bucket, plain] {
        std::fs::remove_dir_all(directory)?;
    }
    places.settle()?;
    Ok(rows)
}

/// Appends as [`append`] does, with pauses, as long as it is told to.
fn append_now_and_then(directory: &Path, is_running: &(dyn Fn() -> bool + Sync)) -> anyhow::Result<Vec<Duration>> {
    let mut file = OpenOptions::new().append(true).create(true).open(directory.join("log"))?;
    let (data, mut times) = (noise(APPEND_BYTES), Vec::new());
    while is_running() {
        let next = Instant::now() + APPEND_EVERY;
        times.push(append_once(&mut file, &data)?);
        thread::sleep(next.saturating_duration_since(Instant::now())); // the pause of a program
    }
    Ok(times)
}

/// Overwrites pages of a file here and there, each megabyte made safe.
fn punch(path: &Path, is_over: &AtomicBool) -> anyhow::Result<()> {
    let file: File = OpenOptions::new().write(true).open(path)?;
    let (page, mut chance) = (noise(APPEND_BYTES), chance(2));
    while !is_over.load(Ordering::Relaxed) {
        for _ in 0..256 {
            let at = chance.random_range(0..HOLED_BYTES / APPEND_BYTES as u64);
            file.write_all_at(&page, at * APPEND_BYTES as u64)?;
        }
        file.sync_data()?;
    }
    Ok(())
}
