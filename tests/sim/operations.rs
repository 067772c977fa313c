//! What the user does, by chance, and the model: what each file must hold, or may after a crash.

use std::{collections::BTreeMap, time::Duration};

use openbucket::{
    base::{Ino, limits},
    bucket::{Error, FileKind, NewInode, RenameMode, SetAttr},
    runtime::Chance,
};

use super::{
    cluster::READ_TIMEOUT,
    simulation::{Simulation, within},
    truth::{Truth, copy},
};

/// What one file must be.
#[derive(Clone, Debug)]
pub struct File {
    pub ino: Ino,
    pub data: Vec<u8>,
    /// What it was since it was last made durable, the durable version first; empty when the newest is.
    earlier: Vec<Vec<u8>>,
    /// A crash has left one of the versions, byte by byte, and nobody has read yet which.
    is_unknown: bool,
}

impl File {
    fn new(ino: Ino, data: Vec<u8>) -> Self {
        Self { ino, data, earlier: Vec::new(), is_unknown: false }
    }
}

/// All files, by name.
#[derive(Default)]
pub struct Model {
    pub files: BTreeMap<String, File>,
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// Beyond what an operation waits for by itself.
const MARGIN: Duration = Duration::from_secs(5);

impl Simulation {
    /// One operation of the user.
    pub async fn operate(&mut self) {
        match self.below(100) {
            0..34 => self.write().await,
            34..40 => self.truncate(),
            40..48 => self.copy(),
            48..54 => self.rename(),
            54..60 => self.unlink(),
            60..70 => self.fsync().await,
            70..82 => self.fsync_on_consumers().await,
            82..84 => self.restart().await,
            84..87 => self.sync(),
            _ => self.read_cold().await,
        }
    }

    fn name(&self) -> String {
        NAMES[self.below(NAMES.len())].to_owned()
    }

    /// Some file whose contents are known.
    fn some(&self) -> Option<String> {
        let known: Vec<&String> =
            self.model.files.iter().filter(|(_, file)| !file.is_unknown).map(|(name, _)| name).collect();
        (!known.is_empty()).then(|| known[self.below(known.len())].clone())
    }

    fn file(&mut self, name: &str) -> &mut File {
        self.model.files.get_mut(name).expect("a file of the model")
    }

    async fn write(&mut self) {
        let name = self.name();
        if !self.model.files.contains_key(&name) {
            let new =
                NewInode { kind: FileKind::File, mode: 0o644, umask: 0, uid: 0, gid: 0, rdev: 0, target: Vec::new() };
            let ino = self.cluster.bucket().make(Ino::ROOT, name.as_bytes(), new).expect("made").ino;
            self.model.files.insert(name.clone(), File::new(ino, Vec::new()));
        }
        if self.file(&name).is_unknown {
            return;
        }
        let size = [100, 5_000, 30_000, 30_000, 150_000, 5 << 20][[0, 1, 2, 3, 4, 0, 1, 2, 3, 5][self.below(10)]];
        let (offset, mut data) = (self.below(60_000), vec![0; 1 + self.below(size)]);
        self.decisions.fill(&mut data);
        let ino = self.file(&name).ino;
        let limit = limits::STAGING_TIMEOUT * 10 + MARGIN;
        let writing = self.cluster.bucket().write(ino, offset as u64, data.clone().into());
        let written = within(limit, "a write", writing).await;
        self.note(format!("write {name} {offset}+{}: {written:?}", data.len()));
        match written {
            Ok(count) => assert_eq!(count as usize, data.len()),
            Err(Error::Full(_)) if !self.is_calm() => return,
            Err(error) => panic!("a write failed: {error}"),
        }
        let file = self.file(&name);
        file.earlier.push(file.data.clone());
        let end = offset + data.len();
        file.data.resize(file.data.len().max(end), 0);
        file.data[offset..end].copy_from_slice(&data);
    }

    fn truncate(&mut self) {
        let Some(name) = self.some() else { return };
        let (ino, size) = (self.file(&name).ino, self.below(80_000));
        let set = SetAttr { size: Some(size as u64), ..SetAttr::default() };
        self.cluster.bucket().setattr(ino, set).expect("cut");
        self.note(format!("truncate {name} {size}"));
        let file = self.file(&name);
        file.earlier.push(file.data.clone());
        file.data.resize(size, 0);
    }

    fn copy(&mut self) {
        let (Some(source), Some(target)) = (self.some(), self.some()) else { return };
        let (from, to, length) = (self.below(40_000), self.below(40_000), 1 + self.below(100_000));
        if source == target {
            return;
        }
        let (source_ino, target_ino) = (self.file(&source).ino, self.file(&target).ino);
        let copied =
            self.cluster.bucket().copy_range((source_ino, from as u64), (target_ino, to as u64), length as u64);
        self.note(format!("copy {source} {from} to {target} {to}+{length}: {copied:?}"));
        let copied = match copied {
            // Staging has no room: programs then read and write.
            Err(Error::Apart) => 0,
            copied => copied.expect("copied") as usize,
        };
        if copied == 0 {
            return;
        }
        let part = self.file(&source).data.get(from..from + copied).expect("no more than there is").to_vec();
        let file = self.file(&target);
        file.earlier.push(file.data.clone());
        file.data.resize(file.data.len().max(to + copied), 0);
        file.data[to..to + copied].copy_from_slice(&part);
    }

    fn rename(&mut self) {
        let (source, target) = (self.name(), self.name());
        if source == target || !self.model.files.contains_key(&source) {
            return;
        }
        let (from, to) = (source.as_bytes(), target.as_bytes());
        let renamed = self.cluster.bucket().rename(Ino::ROOT, from, Ino::ROOT, to, RenameMode::Replace);
        self.note(format!("rename {source} {target}: {renamed:?}"));
        renamed.expect("renamed");
        let file = self.model.files.remove(&source).expect("it was there");
        self.model.files.insert(target, file);
    }

    fn unlink(&mut self) {
        let name = self.name();
        if self.model.files.remove(&name).is_some() {
            self.note(format!("unlink {name}"));
            self.cluster.bucket().unlink(Ino::ROOT, name.as_bytes()).expect("unlinked");
        }
    }

    async fn fsync(&mut self) {
        let Some(name) = self.some() else { return };
        self.cluster.bucket().fsync_blocking(self.model.files[&name].ino, false).expect("synced");
        self.note(format!("fsync {name}"));
        self.file(&name).earlier.clear();
    }

    fn sync(&mut self) {
        self.cluster.bucket().sync_all_blocking().expect("synced");
        self.note("sync");
        for file in self.model.files.values_mut().filter(|file| !file.is_unknown) {
            file.earlier.clear();
        }
    }

    /// What an fsync does when the bucket's durability is that of the network.
    async fn fsync_on_consumers(&mut self) {
        let Some(name) = self.some() else { return };
        let ino = self.file(&name).ino;
        self.cluster.bucket().fsync_blocking(ino, false).expect("synced");
        self.file(&name).earlier.clear();
        let limit = limits::DURABILITY_TIMEOUT + MARGIN;
        let done = within(limit, "an fsync to consumers", self.cluster.bucket().upload(ino)).await;
        self.note(format!("fsync on consumers {name}: {done:?}"));
        match done {
            Ok(()) => {
                let staged = self.cluster.bucket().report(name.as_bytes()).expect("there").staged_bytes;
                assert_eq!(staged, 0, "{name} was said to be on consumers");
            }
            Err(error) => assert!(!self.is_calm(), "an fsync to consumers failed: {error}"),
        }
    }

    async fn restart(&mut self) {
        self.note("the producer restarts");
        within(Duration::from_secs(200), "a restart", self.cluster.restart_producer()).await;
        for file in self.model.files.values_mut().filter(|file| !file.is_unknown) {
            file.earlier.clear();
        }
    }

    /// After a crash of the producer: what was not durable may be old or new.
    pub fn model_crashed(&mut self) {
        for file in self.model.files.values_mut() {
            file.is_unknown |= !file.earlier.is_empty();
        }
    }

    /// Reads a whole file with nothing in the caches.
    async fn read_cold(&mut self) {
        let names: Vec<String> = self.model.files.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = &names[self.below(names.len())];
        // It is looked at before, so that what ends meanwhile does not count.
        let is_readable = self.is_readable(name).await;
        let read = self.read(name).await;
        let is_still = is_readable && self.is_readable(name).await;
        match read {
            Ok(bytes) => self.compare(name, bytes),
            Err(error) => {
                self.note(format!("read {name}: {error}"));
                assert!(!is_still, "{name} has k honest shards at hand and does not read: {error}");
            }
        }
    }

    async fn read(&mut self, name: &str) -> Result<Vec<u8>, Error> {
        let bucket = self.cluster.bucket();
        within(MARGIN, "an eviction", bucket.evict(name.as_bytes().to_vec())).await.expect("evicted");
        let ino = self.model.files[name].ino;
        let size = bucket.getattr(ino)?.size as u32;
        let handle = bucket.open(ino, false)?;
        let read = within(READ_TIMEOUT + MARGIN, "a read", bucket.read(ino, handle, 0, size)).await;
        bucket.release(ino, handle, false);
        read.map(|bytes| bytes.to_vec())
    }

    /// Whether each chunk of a file has k shards at consumers that nothing is wrong with.
    async fn is_readable(&self, name: &str) -> bool {
        let is_weather = self.active.iter().any(|active| active.is_weather());
        let chunks = self.cluster.bucket().report(name.as_bytes()).expect("there").chunks;
        let truth = Truth::look(&self.cluster).await;
        !is_weather
            && chunks.iter().all(|chunk| {
                let places = chunk.shards.iter().filter_map(|shard| copy(&self.cluster, shard));
                let good = places.filter(|place| truth.intact.contains(place) && self.is_well(place.0));
                good.count() >= self.cluster.scheme.k()
            })
    }

    fn compare(&mut self, name: &str, bytes: Vec<u8>) {
        self.note(format!("read {name}: {} bytes", bytes.len()));
        let file = self.file(name);
        if file.is_unknown {
            for (at, byte) in bytes.iter().enumerate() {
                let mut versions = file.earlier.iter().chain([&file.data]);
                let is_known = versions.any(|version| version.get(at).copied().unwrap_or(0) == *byte);
                assert!(is_known, "{name} at {at}: neither old nor new after a crash");
            }
            *file = File::new(file.ino, bytes);
        } else if bytes != file.data {
            let first = bytes.iter().zip(&file.data).position(|(found, right)| found != right);
            let lengths = (bytes.len(), file.data.len());
            panic!("{name} differs at {first:?}, lengths {lengths:?}: acknowledged bytes are lost");
        }
    }

    /// Everything reads as the model has it.
    pub async fn compare_all(&mut self) {
        for name in self.model.files.keys().cloned().collect::<Vec<_>>() {
            match self.read(&name).await {
                Ok(bytes) => self.compare(&name, bytes),
                Err(error) => panic!("{name} does not read after all faults have ended: {error}"),
            }
        }
    }

    pub fn remove_all(&mut self) {
        self.note("all files are removed");
        for name in std::mem::take(&mut self.model.files).into_keys() {
            self.cluster.bucket().unlink(Ino::ROOT, name.as_bytes()).expect("unlinked");
        }
    }
}
