//! fsx on a mount until that is killed, and what its file may be afterwards: as it was at the last sync that came to its
//! end, or byte by byte as any operation since has made it. fsx repeats exactly with its seed, so these states are made
//! anew beside the mount.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    fixture::{Cluster, eventually, run_to_end},
    model::Expected,
    suite,
};

/// fsx ends soon after its mount.
const PATIENCE: Duration = Duration::from_secs(60);
/// So many runs at a time beside the mount.
const LANES: usize = 4;
/// Where its files are on the mount.
const DIRECTORY: &str = "fsx";
/// Operations that change the file.
const CHANGES: [&str; 6] = ["write", "mapwrite", "truncate", "posix_fallocate", "punch_hole", "copy_file_range"];
/// What it says when the file is not as it left it.
const DIFFERENCES: [&str; 3] = ["miscompare", "Size error", "Mapped non-zero"];

/// Beside the mount: the log of fsx, and its file as it must be. In memory where that is possible: there a sync costs nothing.
pub struct Home(tempfile::TempDir);

/// One run, with a file of its own.
pub struct Exerciser<'a> {
    seed: u64,
    file: PathBuf,
    home: &'a Path,
    child: Child,
}

/// What it did until its end.
struct Story {
    /// The last sync that came to its end.
    synced: Option<u64>,
    /// What changed the file after that, the last one perhaps in part.
    changes: Vec<u64>,
    operations: u64,
}

fn fsx(seed: u64, home: &Path) -> Command {
    let mut command = suite::tool("fsx");
    let configuration = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/fsx.toml");
    command.arg("-f").arg(configuration).arg("-P").arg(home).args(["-S", &seed.to_string()]);
    command
}

/// The file after so many operations.
fn state_after(operations: u64, seed: u64, home: &Path) -> Vec<u8> {
    let file = home.join(format!("after-{operations}"));
    run_whole(operations, seed, home, &file);
    let state = fs::read(&file).unwrap();
    fs::remove_file(file).unwrap();
    state
}

/// The same for several numbers, some at a time.
fn states_after(numbers: &[u64], seed: u64, home: &Path) -> Vec<Vec<u8>> {
    let mut states = Vec::new();
    for some in numbers.chunks(LANES) {
        thread::scope(|scope| {
            let runs: Vec<_> = some.iter().map(|number| scope.spawn(|| state_after(*number, seed, home))).collect();
            states.extend(runs.into_iter().map(|run| run.join().unwrap()));
        });
    }
    states
}

fn run_whole(operations: u64, seed: u64, home: &Path, file: &Path) {
    let mut command = fsx(seed, home);
    command.args(["-N", &operations.to_string()]).arg(file);
    let outcome = run_to_end(command, b"", PATIENCE);
    assert!(outcome.status.success(), "fsx -S {seed} -N {operations}: {}\n{}", outcome.status, outcome.stderr);
}

impl Story {
    /// From its log, to which it adds a line before each operation.
    fn read(log: &str) -> Self {
        let mut story = Self { synced: None, changes: Vec::new(), operations: 0 };
        let mut syncing = None;
        for line in log.lines().filter(|line| line.starts_with("[INFO") || line.starts_with("[DEBUG")) {
            let mut words = line.split_whitespace().skip(2);
            let Some(number) = words.next().and_then(|word| word.parse().ok()) else { continue };
            if let Some(synced) = std::mem::take(&mut syncing) {
                (story.synced, story.changes) = (Some(synced), Vec::new());
            }
            story.operations = number;
            match words.next() {
                Some("fsync" | "fdatasync") => syncing = Some(number),
                Some(word) if CHANGES.contains(&word) => story.changes.push(number),
                _ => {}
            }
        }
        story
    }

    fn expected(&self, seed: u64, home: &Path) -> Expected {
        let mut expected = Expected::absent();
        // After none it is empty.
        let numbers: Vec<u64> = [self.synced.unwrap_or(0)].into_iter().chain(self.changes.iter().copied()).collect();
        for (index, state) in states_after(&numbers, seed, home).into_iter().enumerate() {
            expected.may_become(Some(state));
            if index == 0 && self.synced.is_some() {
                expected.is_settled();
            }
        }
        expected
    }
}

impl Home {
    /// Its files have a place on the mount, and here.
    pub fn prepare(cluster: &Cluster) -> Self {
        fs::create_dir(cluster.file(DIRECTORY)).unwrap();
        let memory = Path::new("/dev/shm");
        let home = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self(home.unwrap())
    }

    /// A run to its end on a mount that lives; `look` is to compare the file there with what it must be.
    pub fn run_whole(&self, cluster: &Cluster, seed: u64, operations: u64, look: impl Fn(&dyn Fn(&str))) {
        let (home, file) = (self.0.path(), cluster.file(DIRECTORY).join(seed.to_string()));
        run_whole(operations, seed, home, &file);
        let wanted = state_after(operations, seed, home);
        look(&|when| assert!(fs::read(&file).unwrap() == wanted, "{when}: the file of fsx -S {seed}"));
        fs::remove_file(file).unwrap();
    }
}

impl<'a> Exerciser<'a> {
    pub fn start(cluster: &Cluster, home: &'a Home, seed: u64) -> Self {
        let (home, file) = (home.0.path(), cluster.file(DIRECTORY).join(seed.to_string()));
        let log = fs::File::create(home.join("log")).unwrap();
        let mut command = fsx(seed, home);
        command.arg("-vvv").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        Self { seed, file, home, child }
    }

    /// The mount is dead: fsx ends too, and has seen nothing wrong before. Returns how many operations it did.
    pub fn ended(&mut self, when: &str) -> u64 {
        eventually("fsx has ended with its mount", PATIENCE, || self.child.try_wait().unwrap().is_some());
        let log = self.log();
        let tail: Vec<&str> = log.lines().rev().take(40).collect();
        let is_different = log.lines().any(|line| DIFFERENCES.iter().any(|words| line.contains(words)));
        assert!(!is_different, "{when}: fsx -S {}:\n{}", self.seed, tail.join("\n"));
        Story::read(&log).operations
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.home.join("log")).unwrap()).into_owned()
    }

    /// Compares what is there with what may be there, and removes it.
    pub fn verify(&self, when: &str) {
        let story = Story::read(&self.log());
        let found = fs::read(&self.file).ok();
        let outcome = story.expected(self.seed, self.home).check(found.as_deref());
        let Story { synced, changes, operations } = story;
        let told = || format!("{operations} operations, synced after {synced:?}, changed by {changes:?} since");
        outcome.unwrap_or_else(|why| panic!("{when}: the file of fsx -S {}: {why}; {}", self.seed, told()));
        if found.is_some() {
            fs::remove_file(&self.file).unwrap();
        }
    }
}

impl Drop for Exerciser<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_log_of_fsx_tells_what_was_promised() {
    let log = "[DEBUG fsx] Using seed 5\n[INFO  fsx]  1 write 0x1 .. 0x2 (0x2 bytes)\n[INFO  fsx]  2 fsync\n\
               [DEBUG fsx]  3 skipping zero size read\n[INFO  fsx]  4 truncate 0x2 => 0x1\n[INFO  fsx]  5 fdatasync\n";
    let story = Story::read(log);
    assert_eq!(
        (story.synced, story.changes, story.operations),
        (Some(2), vec![4], 5),
        "the last sync may not have ended"
    );
    let story = Story::read(&format!("{log}[INFO  fsx]  6 mapwrite 0x1 .. 0x2 (0x2 bytes)\nthread 'main' panicked\n"));
    assert_eq!((story.synced, story.changes, story.operations), (Some(5), vec![6], 6));
}
