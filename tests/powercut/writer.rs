//! A program that writes into the mount until the power goes, and keeps account of what it was promised.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use openbucket::runtime::{Chance, SeededChance};

use crate::{
    model::{Found, Model},
    tree::noise,
};

/// Bytes of a file that the intent log carries, and of one that it does not.
const SMALL: u64 = 60_000;
const LARGE: u64 = 1_200_000;
const NAMES: u64 = 8;

/// One writer in a directory of its own.
pub struct Writer {
    root: PathBuf,
    model: Model,
    chance: SeededChance,
    /// Does little but small writes with fsync, which fill the intent log.
    is_hasty: bool,
    /// Syncs nothing in this round.
    is_careless: bool,
}

impl Writer {
    /// The directory is there, and empty.
    pub fn new(root: PathBuf, seed: u64, is_hasty: bool) -> Self {
        Self { root, model: Model::new(&Found::new()), chance: SeededChance::new(seed), is_hasty, is_careless: false }
    }

    /// Works until told to stop, or until the mount says no.
    pub fn work(&mut self, stop: &AtomicBool, is_careless: bool) -> io::Result<()> {
        self.is_careless = is_careless;
        while !stop.load(Ordering::Relaxed) {
            self.step()?;
        }
        Ok(())
    }

    /// Everything was synced, by whom ever.
    pub fn is_safe(&mut self) {
        self.model.synced_all();
    }

    /// A change that has no data which would go to consumers.
    pub fn change_a_name(&mut self) -> io::Result<()> {
        let (from, to) = if self.model.names().contains_key("s") { ("s", "t") } else { ("t", "s") };
        if !self.model.names().contains_key(from) {
            self.model.change(|names| {
                names.insert(to.to_owned(), crate::model::Entry::DIRECTORY);
            });
            return fs::create_dir(self.root.join(to));
        }
        self.model.change(|names| {
            let entry = names.remove(from).expect("it is there");
            names.insert(to.to_owned(), entry);
        });
        fs::rename(self.root.join(from), self.root.join(to))
    }

    /// Removes a file that was synced, and does not sync that: it is there as it was, or gone.
    pub fn write_and_remove(&mut self) -> io::Result<()> {
        self.is_careless = false;
        self.replace("gone", 200_000, true)?;
        self.remove("gone")
    }

    /// Removes everything, which nobody has to promise.
    pub fn clear(&mut self) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        self.model = Model::new(&Found::new());
        Ok(())
    }

    /// What a power cut has left is what may be left; from here on all of it is promised.
    pub fn check(&mut self) -> Result<(), String> {
        let found = self.found()?;
        self.model.check(&found).map_err(|why| format!("{}: {why}", self.root.display()))?;
        self.model = Model::new(&found);
        Ok(())
    }

    /// The same after a kill, which promises nothing more than before.
    pub fn check_killed(&mut self) -> Result<(), String> {
        let found = self.found()?;
        self.model.go_on(&found).map_err(|why| format!("{}: {why}", self.root.display()))
    }

    fn found(&self) -> Result<Found, String> {
        read(&self.root).map_err(|error| format!("{}: {error}", self.root.display()))
    }

    fn below(&self, bound: u64) -> u64 {
        self.chance.below(bound)
    }

    fn one_in(&self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn noise(&self, bytes: u64) -> Vec<u8> {
        noise(self.chance.u64(), bytes as usize)
    }

    /// A name that may be there or not.
    fn name(&self) -> String {
        let name = format!("f{}", self.below(NAMES));
        let directories: Vec<_> =
            self.model.names().iter().filter(|(name, entry)| entry.file.is_none() && name.starts_with('d')).collect();
        match self.below(directories.len() as u64 + 2).checked_sub(2) {
            Some(index) => format!("{}/{name}", directories[index as usize].0),
            None => name,
        }
    }

    /// A file that is there, with its number.
    fn file(&self) -> Option<(String, usize)> {
        let files: Vec<_> =
            self.model.names().iter().filter_map(|(name, entry)| Some((name.clone(), entry.file?))).collect();
        files.get(self.below(files.len() as u64) as usize).cloned()
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.root.join(name))
    }

    fn step(&mut self) -> io::Result<()> {
        if self.is_hasty {
            let bytes = 20_000 + self.below(SMALL - 20_000);
            let name = self.name();
            return if self.one_in(20) { self.make_directory() } else { self.replace(&name, bytes, true) };
        }
        match self.below(20) {
            0..4 => {
                let (name, bytes) = (self.name(), 1 + self.below(SMALL));
                self.replace(&name, bytes, self.one_in(2))
            }
            4..6 => {
                let (name, bytes) = (self.name(), SMALL + self.below(LARGE));
                self.replace(&name, bytes, self.one_in(2))
            }
            6..10 => self.change_part(true),
            10..12 => self.change_part(false),
            12..14 => self.rename_over(),
            14 => self.truncate(),
            15..17 => self.make_directory(),
            17 => self.copy(),
            18 => self.unlink(),
            _ => self.sync_names(""),
        }
    }

    fn sync(&mut self, file: &File, number: usize) -> io::Result<()> {
        if !self.is_careless {
            file.sync_data()?;
            self.model.synced(number);
        }
        Ok(())
    }

    fn sync_names(&mut self, directory: &str) -> io::Result<()> {
        if !self.is_careless {
            File::open(self.root.join(directory))?.sync_all()?;
            self.model.synced_names();
        }
        Ok(())
    }

    /// Writes a file from its beginning; a new one when there is none.
    fn replace(&mut self, name: &str, bytes: u64, is_synced: bool) -> io::Result<()> {
        let bytes = self.noise(bytes);
        let known = self.model.names().get(name).and_then(|entry| entry.file);
        let number = known.unwrap_or_else(|| {
            let number = self.model.add(Vec::new());
            let entry = self.model.entry(number, false);
            self.model.change(|names| {
                names.insert(name.to_owned(), entry);
            });
            number
        });
        self.model.write(number, Vec::new());
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(self.root.join(name))?;
        self.model.write(number, bytes.clone());
        file.write_all_at(&bytes, 0)?;
        if is_synced { self.sync(&file, number) } else { Ok(()) }
    }

    /// Appends, or writes over a part.
    fn change_part(&mut self, is_synced: bool) -> io::Result<()> {
        let Some((name, number)) = self.file() else { return Ok(()) };
        let file = self.open(&name)?;
        let mut bytes = self.model.bytes(number).to_vec();
        let at = if self.one_in(2) { bytes.len() as u64 } else { self.below(bytes.len() as u64 + 1) };
        let part = self.noise(1 + self.below(if self.one_in(4) { 150_000 } else { 6_000 }));
        bytes.resize(bytes.len().max(at as usize + part.len()), 0);
        bytes[at as usize..at as usize + part.len()].copy_from_slice(&part);
        if bytes.len() as u64 > 2 * LARGE {
            return Ok(());
        }
        self.model.write(number, bytes);
        file.write_all_at(&part, at)?;
        if is_synced { self.sync(&file, number) } else { Ok(()) }
    }

    /// Writes a file beside and gives it the name of another, which holds the old data or the new after a power cut.
    fn rename_over(&mut self) -> io::Result<()> {
        let name = self.name();
        let bytes = 1 + self.below(if self.one_in(4) { 300_000 } else { 9_000 });
        let is_synced = self.one_in(2);
        self.replace("beside", bytes, is_synced)?;
        let number = self.model.names()["beside"].file.expect("a file");
        let is_over = self.model.names().contains_key(&name);
        let entry = self.model.entry(number, is_over);
        self.model.change(|names| {
            names.remove("beside");
            names.insert(name.clone(), entry);
        });
        fs::rename(self.root.join("beside"), self.root.join(&name))
    }

    fn truncate(&mut self) -> io::Result<()> {
        let Some((name, number)) = self.file() else { return Ok(()) };
        let file = self.open(&name)?;
        let mut bytes = self.model.bytes(number).to_vec();
        bytes.resize(self.below(bytes.len() as u64 * 5 / 4 + 1) as usize, 0);
        self.model.write(number, bytes.clone());
        file.set_len(bytes.len() as u64)?;
        if self.one_in(2) { self.sync(&file, number) } else { Ok(()) }
    }

    fn make_directory(&mut self) -> io::Result<()> {
        let name = format!("d{}", self.below(3));
        if self.model.names().contains_key(&name) {
            return Ok(());
        }
        let entry = crate::model::Entry::DIRECTORY;
        self.model.change(|names| {
            names.insert(name.clone(), entry);
        });
        fs::create_dir(self.root.join(&name))?;
        if self.one_in(2) { self.sync_names(&name) } else { Ok(()) }
    }

    fn copy(&mut self) -> io::Result<()> {
        let Some((from, number)) = self.file().filter(|(name, _)| name != "copy") else { return Ok(()) };
        if self.model.names().contains_key("copy") {
            self.remove("copy")?;
        }
        let bytes = self.model.bytes(number).to_vec();
        let copy = self.model.add(Vec::new());
        let entry = self.model.entry(copy, false);
        self.model.change(|names| {
            names.insert("copy".to_owned(), entry);
        });
        self.model.write(copy, bytes);
        fs::copy(self.root.join(from), self.root.join("copy"))?;
        if self.one_in(2) {
            let file = self.open("copy")?;
            self.sync(&file, copy)?;
        }
        Ok(())
    }

    fn unlink(&mut self) -> io::Result<()> {
        let Some((name, _)) = self.file() else { return Ok(()) };
        self.remove(&name)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.model.change(|names| {
            names.remove(name);
        });
        fs::remove_file(self.root.join(name))
    }
}

/// Everything under a directory.
fn read(root: &Path) -> io::Result<Found> {
    let mut found = Found::new();
    let mut left = vec![String::new()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let name = entry.file_name().into_string().expect("the names are text");
            let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            if entry.file_type()?.is_dir() {
                left.push(path.clone());
                found.insert(path, None);
            } else {
                let bytes = fs::read(entry.path());
                let bytes = bytes.map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))?;
                found.insert(path, Some(bytes));
            }
        }
    }
    Ok(found)
}
