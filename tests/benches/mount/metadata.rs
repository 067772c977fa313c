//! Names and attributes: create, stat, list, rename, unlink, untar, and what has to be safe at once.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::{
    places::{PLACES, Place, Places},
    report::{
        Better::{self, Less, More},
        Goal::{self, Empty, Peer, Plain},
        Row,
    },
};

const ROUNDS: usize = 3;
/// Files of a row that is counted in operations per second.
const FILES: usize = 4000;
/// Files that are written, flushed and renamed.
const REPLACED: usize = 200;
/// Appends, each flushed.
const APPENDS: usize = 500;
/// Entries of the large directory.
const ENTRIES: usize = 100_000;
/// Entries of the tree that is unpacked, its directories included.
const TREE_DIRECTORIES: usize = 100;
const TREE_FILES: usize = 19;
/// As near as a bucket is to come to an empty file system.
const NEAR: f64 = 1.0 / 3.0;
/// So much ahead of the best other system is first place by a wide margin.
const AHEAD: f64 = 2.0;

struct Kind {
    name: &'static str,
    unit: &'static str,
    better: Better,
    goals: &'static [Goal],
}

const fn rate(name: &'static str, goals: &'static [Goal]) -> Kind {
    Kind { name, unit: "/s", better: More, goals }
}

const fn wait(name: &'static str, goals: &'static [Goal]) -> Kind {
    Kind { name, unit: "ms", better: Less, goals }
}

/// What a round measures, in its order.
const ROUND: &[Kind] = &[
    rate("create empty", &[Empty(NEAR)]),
    rate("create 1 KiB", &[Empty(NEAR)]),
    rate("create 4 KiB", &[Empty(NEAR), Peer(1017.0, AHEAD)]),
    rate("stat, known", &[Empty(NEAR), Peer(13_667.0, AHEAD)]),
    rate("stat, forgotten", &[Empty(NEAR)]),
    rate("rename", &[Empty(NEAR), Peer(4375.0, AHEAD)]),
    rate("unlink", &[Empty(NEAR), Peer(4639.0, AHEAD)]),
    rate("untar, entries", &[Peer(652.0, AHEAD)]),
    wait("replace safely, p50", &[Peer(1.4, 1.0)]),
    wait("append + fsync, p50", &[Plain(2.0)]),
    wait("append + fsync, p99", &[Plain(2.0)]),
];

/// What is measured once, with the large directory.
const LARGE: &[Kind] = &[
    rate("100k: create", &[]),
    rate("100k: ls -f", &[]),
    rate("100k: ls -l", &[]),
    rate("100k: ls -l again", &[]),
    rate("100k: rm -r", &[]),
];

/// The rows of this group.
pub fn measure(places: &Places) -> anyhow::Result<Vec<Row>> {
    let archive = archive(places)?;
    let mut rows = rows(ROUND);
    for round in 0..ROUNDS {
        let each = |directory: &Path| measure_round(directory, &archive);
        add(&mut rows, places, round, &each)?;
    }
    let mut large = self::rows(LARGE);
    add(&mut large, places, ROUNDS, &measure_large)?;
    rows.append(&mut large);
    Ok(rows)
}

fn rows(kinds: &'static [Kind]) -> Vec<Row> {
    let row = |kind: &'static Kind| Row {
        name: kind.name,
        unit: kind.unit,
        better: kind.better,
        rounds: Vec::new(),
        goals: kind.goals,
    };
    kinds.iter().map(row).collect()
}

/// One round on every file system, another one first each time.
fn add(
    rows: &mut [Row],
    places: &Places,
    round: usize,
    measure: &dyn Fn(&Path) -> anyhow::Result<Vec<f64>>,
) -> anyhow::Result<()> {
    let mut found = vec![[f64::NAN; PLACES.len()]; rows.len()];
    for turn in 0..PLACES.len() {
        let place = PLACES[(round + turn) % PLACES.len()];
        let directory = places.directory(place, &format!("metadata-{round}"))?;
        eprintln!("metadata, round {}: {place:?}", round + 1);
        let values = measure(&directory)?;
        for (row, value) in found.iter_mut().zip(values) {
            row[place as usize] = value;
        }
        if place == Place::Bucket {
            places.settle()?;
        }
    }
    for (row, found) in rows.iter_mut().zip(found) {
        row.rounds.push(found);
    }
    Ok(())
}

fn per_second(count: usize, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

fn measure_round(directory: &Path, archive: &Path) -> anyhow::Result<Vec<f64>> {
    let make = |name: &str| -> anyhow::Result<PathBuf> {
        let path = directory.join(name);
        fs::create_dir(&path)?;
        Ok(path)
    };
    let (empty, small, page) = (make("empty")?, make("small")?, make("page")?);
    let (tree, safe) = (make("tree")?, make("safe")?);
    let mut values = vec![
        per_second(FILES, || create(&empty, FILES, 0))?,
        per_second(FILES, || create(&small, FILES, 1 << 10))?,
        per_second(FILES, || create(&page, FILES, 4 << 10))?,
        per_second(FILES, || stat(&page, FILES))?,
    ];
    forget_names();
    values.push(per_second(FILES, || stat(&page, FILES))?);
    values.push(per_second(FILES, || rename(&page, FILES))?);
    values.push(per_second(FILES, || unlink(&small, FILES))?);
    let entries = TREE_DIRECTORIES * (TREE_FILES + 1);
    values.push(per_second(entries, || tar(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&tree)))?);
    values.push(replace(&safe)?);
    values.extend(append(&safe.join("log"))?);
    fs::remove_dir_all(directory)?;
    Ok(values)
}

fn measure_large(directory: &Path) -> anyhow::Result<Vec<f64>> {
    let created = per_second(ENTRIES, || create(directory, ENTRIES, 0))?;
    forget_names();
    let listed = per_second(ENTRIES, || list(directory, false))?;
    forget_names();
    let detailed = per_second(ENTRIES, || list(directory, true))?;
    let again = per_second(ENTRIES, || list(directory, true))?;
    let removed = per_second(ENTRIES, || Ok(fs::remove_dir_all(directory)?))?;
    Ok(vec![created, listed, detailed, again, removed])
}

fn name(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("file-{number:06}"))
}

fn create(directory: &Path, count: usize, bytes: usize) -> anyhow::Result<()> {
    let data = vec![b'x'; bytes];
    for number in 0..count {
        let mut file = File::create_new(name(directory, number))?;
        if bytes > 0 {
            file.write_all(&data)?;
        }
    }
    Ok(())
}

fn stat(directory: &Path, count: usize) -> anyhow::Result<()> {
    for number in 0..count {
        fs::symlink_metadata(name(directory, number))?;
    }
    Ok(())
}

fn rename(directory: &Path, count: usize) -> anyhow::Result<()> {
    for number in 0..count {
        let old = name(directory, number);
        fs::rename(&old, old.with_extension("renamed"))?;
    }
    Ok(())
}

fn unlink(directory: &Path, count: usize) -> anyhow::Result<()> {
    for number in 0..count {
        fs::remove_file(name(directory, number))?;
    }
    Ok(())
}

/// As `ls -f` does, or as `ls -l`.
fn list(directory: &Path, is_long: bool) -> anyhow::Result<()> {
    let mut count = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if is_long {
            entry.metadata()?;
        }
        count += 1;
    }
    if count != ENTRIES {
        bail!("{} has {count} entries, there should be {ENTRIES}", directory.display());
    }
    Ok(())
}

/// Writes a new version of a file, makes it safe, and puts it in the place of the old one; the middle of the times.
fn replace(directory: &Path) -> anyhow::Result<f64> {
    let (new, kept) = (directory.join("new"), directory.join("kept"));
    let data = [b'x'; 4096];
    let mut times = Vec::new();
    for _ in 0..REPLACED {
        let start = Instant::now();
        let mut file = File::create_new(&new)?;
        file.write_all(&data)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&new, &kept)?;
        File::open(directory)?.sync_all()?;
        times.push(start.elapsed());
    }
    Ok(percentile(&mut times, 50))
}

/// Appends 4 KiB at a time, each made safe; the middle of the times, and what one in a hundred exceeds.
fn append(path: &Path) -> anyhow::Result<[f64; 2]> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let data = [b'x'; 4096];
    let mut times = Vec::new();
    for _ in 0..APPENDS {
        let start = Instant::now();
        file.write_all(&data)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    Ok([percentile(&mut times, 50), percentile(&mut times, 99)])
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort();
    times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3
}

/// Makes the kernel drop names and inodes that nobody uses; without the right to it they stay known.
fn forget_names() {
    rustix::fs::sync();
    if let Err(error) = fs::write("/proc/sys/vm/drop_caches", "2") {
        eprintln!("the kernel keeps what it knows ({error}): what should be forgotten is not");
    }
}

/// A tree of sources as an archive: directories, files of 0.2 to 20 KiB, a link in each directory.
fn archive(places: &Places) -> anyhow::Result<PathBuf> {
    let (tree, archive) = (places.scratch("tree"), places.scratch("tree.tar"));
    for directory in 0..TREE_DIRECTORIES {
        let path = tree.join(format!("part-{}", directory / 10)).join(format!("module-{directory}"));
        fs::create_dir_all(&path)?;
        symlink("file-000001", path.join("newest"))?;
        for number in 1..TREE_FILES {
            let bytes = 200 + (directory * 7919 + number * 104_729) % 20_000;
            fs::write(name(&path, number), vec![b'a' + (number % 26) as u8; bytes])?;
        }
    }
    tar(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&tree).arg("."))?;
    Ok(archive)
}

fn tar(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).status().context("tar is missing")?;
    if !status.success() {
        bail!("tar ended with {status}");
    }
    Ok(())
}
