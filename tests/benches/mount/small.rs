//! Many small files: copied in, listed, read from consumers, removed; and what they are to the consumers.

use std::{fs, path::Path, process::Command, time::Duration};

use crate::{
    machine::{self, forget_names},
    meter::{noise, per_second, seconds},
    places::{Group, Place, Places, WITH_DATA},
    report::{Row, less, more},
};

const FILES: usize = 10_000;
const BYTES: usize = 1 << 10;
const DIRECTORIES: usize = 100;
/// Files of the repository that is cloned; with its directories and git's own it has about as many entries as the peers' had.
const CLONED: usize = 500;
/// One run of another program, at most.
const PROGRAM: Duration = Duration::from_secs(300);

const ROUND: Group = Group {
    name: "small",
    kinds: &[
        more("small cp -r", "/s"),
        more("small list", "/s"),
        more("small read cold", "/s"),
        more("small remove", "/s"),
        more("files for one shard", "files"),
        less("git clone, 563 entries", "s"),
    ],
    places: &WITH_DATA,
    rounds: 2,
};

/// The rows of this group.
pub fn measure(places: &Places) -> anyhow::Result<Vec<Row>> {
    let (tree, repository) = (places.scratch("small"), places.scratch("repository"));
    make_tree(&tree, FILES, DIRECTORIES)?;
    make_repository(&repository)?;
    places.rounds(&ROUND, &|place, directory| measure_round(places, place, directory))
}

fn measure_round(places: &Places, place: Place, directory: &Path) -> anyhow::Result<Vec<f64>> {
    let copy = directory.join("copy");
    let before = places.shards()?;
    let copied = per_second(FILES, || run("cp", &["-r"], &[&places.scratch("small"), &copy]))?;
    let mut files_on_one = f64::NAN;
    if place == Place::Bucket {
        places.upload(directory)?;
        let added = places.shards()?.into_iter().zip(before).map(|(after, before)| after.saturating_sub(before));
        files_on_one = FILES as f64 / added.max().unwrap_or_default().max(1) as f64;
    }
    forget_names();
    let listed = per_second(FILES, || run("ls", &["-lR"], &[&copy]))?;
    places.make_cold(place, directory)?;
    match place {
        Place::Bucket => places.remount()?,
        _ => machine::drop_caches(),
    }
    let read = per_second(FILES, || read_all(&copy))?;
    let removed = per_second(FILES, || Ok(fs::remove_dir_all(&copy)?))?;
    let cloned = seconds(|| {
        run("git", &["clone", "--quiet", "--no-local"], &[&places.scratch("repository"), &directory.join("clone")])
    })?;
    Ok(vec![copied, listed, read, removed, files_on_one, cloned])
}

fn run(program: &str, words: &[&str], paths: &[&Path]) -> anyhow::Result<()> {
    machine::run(Command::new(program).args(words).args(paths), PROGRAM).map(drop)
}

fn make_tree(tree: &Path, files: usize, directories: usize) -> anyhow::Result<()> {
    let data = noise(BYTES + files);
    for directory in 0..directories {
        let path = tree.join(format!("directory-{directory:03}"));
        fs::create_dir_all(&path)?;
        for number in (directory..files).step_by(directories) {
            fs::write(path.join(format!("file-{number:05}")), &data[number..number + BYTES])?;
        }
    }
    Ok(())
}

/// A repository of one commit.
fn make_repository(path: &Path) -> anyhow::Result<()> {
    make_tree(path, CLONED, CLONED / 10)?;
    let git = |words: &[&str]| -> anyhow::Result<()> {
        let name = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"];
        machine::run(Command::new("git").arg("-C").arg(path).args(name).args(words), PROGRAM).map(drop)
    };
    git(&["init", "--quiet"])?;
    git(&["add", "."])?;
    git(&["commit", "--quiet", "--message", "all"])
}

fn read_all(directory: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            read_all(&path)?;
        } else if fs::read(&path)?.len() != BYTES {
            anyhow::bail!("{} is not as it was written", path.display());
        }
    }
    Ok(())
}
