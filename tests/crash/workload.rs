//! Random operations on a mount until it dies, and what must be there afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate, statfs};

use crate::{model::Expected, tree::noise};

/// Files of each directory.
const NAMES: u64 = 12;
/// Bytes of the file that is written to at random places.
const RANDOM_BYTES: u64 = 300_000;
/// States that may all be found; then it is synced.
const STATES: usize = 40;
/// A file of so many bytes is in the log at its close (`INLINE_AT_CLOSE_BYTES`).
const SMALL_BYTES: u64 = 16 << 10;

/// The operations, the same for the same seed, and the model.
pub struct Workload {
    root: PathBuf,
    files: BTreeMap<String, Expected>,
    /// The one that is written to at random places, while it is open.
    random: Option<File>,
    state: u64,
    /// The last operations, for the words of a failure.
    story: Vec<String>,
}

impl Workload {
    pub fn new(root: &Path, seed: u64) -> Self {
        let state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self { root: root.to_path_buf(), files: BTreeMap::new(), random: None, state, story: Vec::new() }
    }

    /// The directories that it works in.
    pub fn prepare(&self) {
        for name in ["a", "b"] {
            fs::create_dir_all(self.root.join(name)).unwrap();
        }
    }

    /// A number below this.
    pub fn below(&mut self, end: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % end
    }

    fn name(&mut self) -> String {
        let directory = if self.below(2) == 0 { "a" } else { "b" };
        format!("{directory}/{}", self.below(NAMES))
    }

    fn expected(&mut self, name: &str) -> &mut Expected {
        self.files.entry(name.to_owned()).or_insert_with(Expected::absent)
    }

    fn data(&mut self, most: u64) -> Vec<u8> {
        let (seed, length) = (self.state, 1 + self.below(most));
        noise(seed, length as usize)
    }

    fn tell(&mut self, what: String) {
        self.story.push(what);
        if self.story.len() > 30 {
            self.story.remove(0);
        }
    }

    /// One operation. When it fails, the mount has died or something is wrong.
    pub fn step(&mut self) -> io::Result<()> {
        match self.below(14) {
            0..3 => self.write_and_sync(),
            3 => self.write_small(),
            4..6 => self.rename_over(),
            6 => self.unlink(),
            7 => self.append(),
            8..12 => self.change_at_random(),
            _ => self.sync_random(),
        }
    }

    /// Synced data that the log carries: a few hundred of these are a checkpoint.
    pub fn fill_log(&mut self) -> io::Result<()> {
        let name = self.name();
        let data = noise(self.state, 60_000);
        self.write_whole(&name, data, true)
    }

    fn write_and_sync(&mut self) -> io::Result<()> {
        let name = self.name();
        let most = if self.below(3) == 0 { 200_000 } else { 5_000 };
        let data = self.data(most);
        self.write_whole(&name, data, true)
    }

    fn write_whole(&mut self, name: &str, data: Vec<u8>, is_synced: bool) -> io::Result<()> {
        self.tell(format!("write {name}, {} bytes, synced: {is_synced}", data.len()));
        let expected = self.expected(name);
        expected.may_become(Some(Vec::new()));
        expected.may_become(Some(data.clone()));
        let mut file = File::create(self.root.join(name))?;
        file.write_all(&data)?;
        if is_synced {
            file.sync_all()?;
            self.expected(name).is_settled();
        }
        Ok(())
    }

    /// Closed, it survives the end of the process.
    fn write_small(&mut self) -> io::Result<()> {
        let name = self.name();
        let data = self.data(SMALL_BYTES - 1);
        self.write_whole(&name, data, false)?;
        // It is closed; nothing tells whether the mount was there for that, but that it is there still.
        statfs(&self.root)?;
        self.expected(&name).is_settled();
        Ok(())
    }

    /// A new file takes the name of another, synced before or not.
    fn rename_over(&mut self) -> io::Result<()> {
        let (source, target) = ("a/new".to_owned(), self.name());
        let is_synced = self.below(2) == 0;
        let most = if self.below(3) == 0 { 150_000 } else { 10_000 };
        let data = self.data(most);
        self.write_whole(&source, data, is_synced)?;
        self.tell(format!("rename {source} to {target}"));
        let data = self.expected(&source).newest().cloned();
        let has_target = self.expected(&target).newest().is_some();
        if has_target || is_synced {
            self.expected(&target).may_become_whole(data);
        } else {
            self.expected(&target).may_become(Some(Vec::new()));
            self.expected(&target).may_become(data);
        }
        self.expected(&source).may_become(None);
        fs::rename(self.root.join(&source), self.root.join(&target))?;
        self.expected(&source).is_settled();
        if has_target || is_synced {
            self.expected(&target).is_settled();
            return Ok(());
        }
        File::open(self.root.join(&target))?.sync_all()?;
        self.expected(&target).is_settled();
        let parent = self.root.join(&target);
        File::open(parent.parent().unwrap())?.sync_all()
    }

    fn unlink(&mut self) -> io::Result<()> {
        let name = self.name();
        if self.expected(&name).newest().is_none() {
            return Ok(());
        }
        self.tell(format!("unlink {name}"));
        self.expected(&name).may_become(None);
        fs::remove_file(self.root.join(&name))?;
        self.expected(&name).is_settled();
        Ok(())
    }

    fn append(&mut self) -> io::Result<()> {
        let data = self.data(4096);
        let before = self.expected("log").newest().cloned().unwrap_or_default();
        self.tell(format!("append {} to {}", data.len(), before.len()));
        let after = if before.len() > 500_000 { data.clone() } else { [&before[..], &data].concat() };
        let is_anew = after.len() == data.len();
        let expected = self.expected("log");
        if is_anew {
            expected.may_become(Some(Vec::new()));
        }
        expected.may_become(Some(after));
        let mut options = File::options();
        let mut file = options.create(true).write(true).truncate(is_anew).open(self.root.join("log"))?;
        file.seek(SeekFrom::End(0))?;
        file.write_all(&data)?;
        file.sync_data()?;
        self.expected("log").is_settled();
        Ok(())
    }

    /// Writes, cuts, extends or punches; nothing is synced.
    fn change_at_random(&mut self) -> io::Result<()> {
        if self.expected("random").count() >= STATES {
            return self.sync_random();
        }
        let before = self.expected("random").newest().cloned();
        let mut after = before.clone().unwrap_or_default();
        let (kind, at) = (self.below(8), self.below(RANDOM_BYTES));
        let data = self.data(40_000);
        let end = at as usize + data.len();
        self.tell(format!("change random: {kind} at {at}, {} bytes", data.len()));
        match kind {
            0 => after.resize(at as usize, 0),
            1 => {
                let end = end.min(after.len());
                after.get_mut(at as usize..end).unwrap_or_default().fill(0);
            }
            _ => {
                after.resize(after.len().max(end), 0);
                after[at as usize..end].copy_from_slice(&data);
            }
        }
        if before.is_none() {
            self.expected("random").may_become(Some(Vec::new()));
        }
        self.expected("random").may_become(Some(after));
        let path = self.root.join("random");
        if self.random.is_none() {
            self.random = Some(File::options().create(true).truncate(false).write(true).open(path)?);
        }
        let file = self.random.as_mut().unwrap();
        match kind {
            0 => file.set_len(at),
            1 => {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                Ok(fallocate(&*file, flags, at, data.len() as u64)?)
            }
            _ => file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(&data)),
        }
    }

    fn sync_random(&mut self) -> io::Result<()> {
        self.tell("sync random".to_owned());
        let Some(file) = &self.random else { return Ok(()) };
        file.sync_all()?;
        self.expected("random").is_settled();
        if self.below(3) == 0 {
            self.random = None;
        }
        Ok(())
    }

    /// Nothing is left to be written back.
    pub fn settle(&mut self) -> io::Result<()> {
        if let Some(file) = self.random.take() {
            file.sync_all()?;
        }
        // What was closed and not synced: every state but the newest is over, once it is synced.
        let names: Vec<String> = self.files.keys().cloned().collect();
        for name in names {
            if self.expected(&name).newest().is_some() {
                File::open(self.root.join(&name))?.sync_all()?;
            }
            self.expected(&name).is_settled();
        }
        Ok(())
    }

    /// Compares what is there with the model, and goes on from there.
    pub fn verify(&mut self, when: &str) {
        self.random = None;
        let mut there = BTreeSet::new();
        for directory in ["", "a", "b"] {
            let entries = fs::read_dir(self.root.join(directory)).unwrap_or_else(|error| panic!("{when}: {error}"));
            for entry in entries {
                let entry = entry.unwrap_or_else(|error| panic!("{when}: {directory}: {error}"));
                if entry.file_type().unwrap().is_file() {
                    let name = entry.file_name().into_string().unwrap();
                    there.insert(if directory.is_empty() { name } else { format!("{directory}/{name}") });
                }
            }
        }
        let mut said = Vec::new();
        for (name, expected) in &mut self.files {
            let found = there
                .remove(name)
                .then(|| fs::read(self.root.join(name)).unwrap_or_else(|error| panic!("{when}: {name}: {error}")));
            if let Err(why) = expected.check(found.as_deref()) {
                said.push(format!("{name}: {why}"));
            }
            expected.is_found(found);
        }
        said.extend(there.iter().map(|name| format!("{name}: nobody made it")));
        assert!(said.is_empty(), "{when}:\n{}\nafter\n{}", said.join("\n"), self.story.join("\n"));
        self.story.clear();
    }

    /// Takes all its files away.
    pub fn clear(&mut self) {
        for (name, expected) in &mut self.files {
            if expected.newest().is_some() {
                fs::remove_file(self.root.join(name)).unwrap();
            }
            expected.is_found(None);
        }
    }
}
