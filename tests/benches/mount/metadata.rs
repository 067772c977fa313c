//! Names and attributes: create, stat, list, rename, unlink, untar, and what has to be safe at once.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::bail;

use crate::{
    machine::{self, forget_names},
    meter::{per_second, percentile},
    places::{Group, PLACES, Places},
    report::{Row, less, more},
};

/// Files of a row that is counted in operations per second.
const FILES: usize = 4000;
/// Files that are written, flushed and renamed.
const REPLACED: usize = 200;
/// Entries of the large directory.
const ENTRIES: usize = 100_000;
/// One run of tar(1), at most.
const TAR: Duration = Duration::from_secs(120);
/// Entries of the tree that is unpacked, its directories included.
const TREE_DIRECTORIES: usize = 100;
const TREE_FILES: usize = 19;
/// What a round measures, in its order.
const ROUND: Group = Group {
    name: "metadata",
    kinds: &[
        more("create empty", "/s"),
        more("create 1 KiB", "/s"),
        more("create 4 KiB", "/s"),
        more("stat, known", "/s"),
        more("stat, forgotten", "/s"),
        more("rename", "/s"),
        more("unlink", "/s"),
        more("untar, entries", "/s"),
        less("replace safely, p50", "ms"),
    ],
    places: &PLACES,
    rounds: 3,
};

/// What is measured once, with the large directory.
const LARGE: Group = Group {
    name: "metadata, 100,000 entries",
    kinds: &[
        more("100k: create", "/s"),
        more("100k: ls -f", "/s"),
        more("100k: ls -l", "/s"),
        more("100k: ls -l again", "/s"),
        more("100k: rm -r", "/s"),
    ],
    places: &PLACES,
    rounds: 1,
};

/// The rows of this group.
pub fn measure(places: &Places) -> anyhow::Result<Vec<Row>> {
    let archive = archive(places)?;
    let mut rows = places.rounds(&ROUND, &|_, directory| measure_round(directory, &archive))?;
    rows.extend(places.rounds(&LARGE, &|_, directory| measure_large(directory))?);
    Ok(rows)
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
    Ok(values)
}

fn measure_large(directory: &Path) -> anyhow::Result<Vec<f64>> {
    let created = per_second(ENTRIES, || create(directory, ENTRIES, 0))?;
    forget_names();
    let listed = per_second(ENTRIES, || list(directory, false))?;
    forget_names();
    let detailed = per_second(ENTRIES, || list(directory, true))?;
    let again = per_second(ENTRIES, || list(directory, true))?;
    let removed = per_second(ENTRIES, || {
        fs::remove_dir_all(directory)?;
        // The one who gave it takes it back.
        Ok(fs::create_dir(directory)?)
    })?;
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
    machine::run(command, TAR).map(drop)
}
