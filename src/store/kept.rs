//! Small contents that the intent log can carry no longer, all of them in one file: to make a file for each costs more than
//! all else that a small file needs.
//!
//! Two files take turns. Each has the form of an intent log (see `log`): an `Inline` from offset 0 is the whole content of a
//! number, a `Supersede` of everything says that the number is kept elsewhere. What the file of the higher epoch says counts,
//! before what the other says. Contents that nobody needs any more stay until the next turn.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::{
    Disk, Error,
    log::{self, Handle, LogFile, Op},
};
use crate::{
    base::{ErrorKind, Kinded as _, Mutex, limits},
    runtime::failpoint,
};

/// Bytes of one file, at most: several times of what is needed.
const CAPACITY: u64 = 128 << 20;

/// What of it is left for numbers that are forgotten.
const RESERVE: usize = 16 << 20;

/// The contents by number. Nothing is durable before a flush, but what is forgotten.
pub struct Kept {
    state: Mutex<State>,
    /// One flush at a time: an error is told to one of those that ask, and the others must know of it.
    flush: Mutex<()>,
}

struct State {
    files: [LogFile; 2],
    current: usize,
    epoch: u64,
    /// Bytes of each content that the current file has, with all that belongs to it there.
    contents: BTreeMap<u64, u64>,
    /// The numbers that only the other file has, while it gives its turn.
    before: BTreeSet<u64>,
    /// The other file counts still.
    is_turning: bool,
    failure: Option<String>,
}

impl State {
    fn check(&self) -> Result<(), Error> {
        self.failure.as_ref().map_or(Ok(()), |why| Err(Error::Closed(why.clone())))
    }

    /// Adds an operation; what is to be flushed so that it is durable.
    fn append(&mut self, op: Op) -> Result<Handle, Error> {
        self.check()?;
        let body = log::encode(&[op]);
        let file = &mut self.files[self.current];
        if !file.fits(body.len()) {
            return Err(Error::Full("the file of small staged data is full".to_owned()));
        }
        // What a full disk has taken of it is written over by the next.
        file.append(&body)?;
        Ok(file.handle())
    }
}

/// Takes what an operation says of a number.
fn apply(contents: &mut BTreeMap<u64, Vec<u8>>, op: Op) {
    match op {
        Op::Inline { ino, bytes, .. } => {
            contents.insert(ino, bytes);
        }
        Op::Supersede { ino, .. } => {
            contents.remove(&ino);
        }
        Op::Put { .. } | Op::Delete { .. } => {}
    }
}

impl Kept {
    /// Opens the files in the root of a disk, or makes them. Returns the contents that are there, each of which may be one that
    /// nobody needs. A turn that was cut short goes on with the next.
    pub fn open(disk: &dyn Disk) -> Result<(Self, BTreeMap<u64, Vec<u8>>), Error> {
        let open = |name: &str| LogFile::open(disk, PathBuf::from(name), CAPACITY);
        let mut files = [open("small-0")?, open("small-1")?];
        disk.sync_directory("".as_ref()).map_err(Error::io("cannot flush", "staging"))?;
        LogFile::check_turns(&files)?;
        let epochs = [files[0].read_epoch()?, files[1].read_epoch()?];
        let current = usize::from(epochs[1] > epochs[0]);
        let other = 1 - current;
        let mut contents = BTreeMap::new();
        let is_turning = epochs[other] > 0;
        if is_turning {
            files[other].replay(epochs[other], |ops| {
                ops.into_iter().for_each(|op| apply(&mut contents, op));
                Ok(())
            })?;
        }
        let mut before: BTreeSet<u64> = contents.keys().copied().collect();
        let epoch = epochs[current].max(1);
        if epochs[current] == 0 {
            files[current].begin(epoch)?;
        } else {
            files[current].resume(epoch, |ops| {
                for op in ops {
                    if let Op::Inline { ino, .. } | Op::Supersede { ino, .. } = &op {
                        before.remove(ino);
                    }
                    apply(&mut contents, op);
                }
                Ok(())
            })?;
        }
        let here = contents.iter().filter(|(number, _)| !before.contains(number));
        let here = here.map(|(number, bytes)| (*number, bytes.len() as u64)).collect();
        let state = State { files, current, epoch, contents: here, before, is_turning, failure: None };
        Ok((Self { state: Mutex::new(state), flush: Mutex::new(()) }, contents))
    }

    /// Whether a content of this number may be there, needed or not.
    pub fn has(&self, number: u64) -> bool {
        let state = self.state.lock();
        state.contents.contains_key(&number) || state.before.contains(&number)
    }

    /// An error when a flush has failed: nothing is put or forgotten from then on.
    pub fn check(&self) -> Result<(), Error> {
        self.state.lock().check()
    }

    /// This is the content of a number from now on. False when there is no room for it.
    pub fn put(&self, number: u64, bytes: &[u8]) -> Result<bool, Error> {
        let mut state = self.state.lock();
        // What is left is for what is forgotten.
        if !state.files[state.current].fits(bytes.len() + RESERVE) {
            return Ok(false);
        }
        let start = state.files[state.current].bytes();
        match state.append(Op::Inline { ino: number, offset: 0, bytes: bytes.to_vec() }) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Full => return Ok(false),
            Err(error) => return Err(error),
        }
        let size = state.files[state.current].bytes() - start;
        state.contents.insert(number, size);
        state.before.remove(&number);
        Ok(true)
    }

    /// Makes all contents durable. Blocks on the disk.
    pub fn flush(&self) -> Result<(), Error> {
        let handle = {
            let state = self.state.lock();
            state.files[state.current].handle()
        };
        self.flush_file(&handle)
    }

    fn flush_file(&self, (file, path): &Handle) -> Result<(), Error> {
        let _alone = self.flush.lock();
        self.state.lock().check()?;
        let flushed = file.sync().map_err(Error::io("cannot flush", path));
        let mut state = self.state.lock();
        if let Err(error) = &flushed {
            // A flush that is tried again succeeds, and what is lost is lost all the same.
            state.failure = Some(error.to_string());
        }
        // A turn may have been told the error.
        flushed.and_then(|()| state.check())
    }

    /// A number is kept elsewhere from now on, durably. Blocks on the disk.
    pub fn forget(&self, number: u64) -> Result<(), Error> {
        let handle = self.state.lock().append(Op::Supersede { ino: number, start: 0, end: u64::MAX })?;
        // Of the file that it was written to, whoever has the turn by now.
        self.flush_file(&handle)?;
        // Only now: should the flush fail, it may be there.
        let mut state = self.state.lock();
        state.contents.remove(&number);
        state.before.remove(&number);
        Ok(())
    }

    /// Bytes that the contents take which are needed.
    pub fn needed_bytes(&self, is_needed: impl Fn(u64) -> bool) -> u64 {
        let state = self.state.lock();
        state.contents.iter().filter(|(number, _)| is_needed(**number)).map(|(_, bytes)| bytes).sum()
    }

    /// Whether the other file is to have its turn when so many bytes are needed: much of this one is of contents that nobody
    /// needs, or a turn was cut short.
    pub fn is_turn_due(&self, needed_bytes: u64) -> bool {
        let state = self.state.lock();
        let most = (limits::KEPT_WASTE_BYTES + 2 * needed_bytes).min(CAPACITY / 2);
        state.is_turning || state.files[state.current].bytes() > most
    }

    /// Goes on in the other file. Returns the numbers that were there: put those again that are needed, then end the turn; or
    /// leave that to the next. None when the disk has no room for it. One thread turns at a time. Blocks on the disk.
    pub fn turn(&self) -> Result<Option<BTreeSet<u64>>, Error> {
        let (next, epoch, handle) = {
            let state = self.state.lock();
            state.check()?;
            if state.is_turning {
                return Ok(Some(state.before.clone()));
            }
            let next = 1 - state.current;
            (next, state.epoch + 1, state.files[next].handle())
        };
        match log::write_header(&handle, epoch) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Full => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        }
        let mut state = self.state.lock();
        state.files[next].start(epoch);
        (state.current, state.epoch, state.is_turning) = (next, epoch, true);
        state.before = std::mem::take(&mut state.contents).into_keys().collect();
        failpoint("small-begun");
        Ok(Some(state.before.clone()))
    }

    /// What was put since the turn is all that is needed. Blocks on the disk.
    pub fn end_turn(&self) -> Result<(), Error> {
        self.flush()?;
        failpoint("small-moved");
        let other = {
            let state = self.state.lock();
            state.files[1 - state.current].handle()
        };
        log::clear(&other).map_err(|error| self.failed(error))?;
        let mut state = self.state.lock();
        state.before.clear();
        state.is_turning = false;
        Ok(())
    }

    /// Nothing is promised any more.
    fn failed(&self, error: Error) -> Error {
        self.state.lock().failure = Some(error.to_string());
        error
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        runtime::{Chance, SeededChance},
        store::SimulatedDisk,
    };

    /// What each number may have after a power cut: what it had at the last flush, and all since.
    type Model = BTreeMap<u64, Vec<Option<Vec<u8>>>>;

    struct Stage {
        chance: SeededChance,
        model: Model,
        next: u64,
    }

    impl Stage {
        fn put(&mut self, kept: &Kept, number: u64, bytes: Vec<u8>) -> Result<(), Error> {
            self.model.entry(number).or_insert_with(|| vec![None]).push(Some(bytes.clone()));
            assert!(kept.put(number, &bytes)?, "there is room");
            Ok(())
        }

        fn is_flushed(&mut self) {
            for states in self.model.values_mut() {
                states.drain(..states.len() - 1);
            }
        }

        fn some_number(&self) -> Option<u64> {
            let at = self.chance.below(self.model.len().max(1) as u64) as usize;
            self.model.keys().nth(at).copied()
        }

        fn step(&mut self, kept: &Kept) -> Result<(), Error> {
            match self.chance.below(10) {
                0..5 => {
                    self.next += 1;
                    let number = self.some_number().filter(|_| self.chance.below(2) == 0).unwrap_or(self.next);
                    let mut bytes = vec![0; self.chance.below(3000) as usize];
                    self.chance.fill(&mut bytes);
                    self.put(kept, number, bytes)
                }
                5..7 => kept.flush().map(|()| self.is_flushed()),
                7..9 => {
                    let Some(number) = self.some_number() else { return Ok(()) };
                    self.model.entry(number).or_default().push(None);
                    kept.forget(number)?;
                    assert!(!kept.has(number));
                    self.is_flushed();
                    Ok(())
                }
                _ => self.turn(kept),
            }
        }

        /// Half of all are not needed any more, and of those nothing is promised.
        fn turn(&mut self, kept: &Kept) -> Result<(), Error> {
            self.model.retain(|_, _| self.chance.below(2) == 0);
            for number in kept.turn()?.expect("there is room") {
                if let Some(Some(bytes)) = self.model.get(&number).and_then(|states| states.last()).cloned() {
                    self.put(kept, number, bytes)?;
                }
            }
            kept.end_turn()?;
            self.is_flushed();
            Ok(())
        }
    }

    #[test]
    fn what_was_flushed_survives_power_cuts_at_any_moment() {
        let mut longest = 0;
        for seed in 0..300 {
            let disk = SimulatedDisk::new(1 << 30);
            let mut stage = Stage { chance: SeededChance::new(seed), model: Model::new(), next: 0 };
            for cut in 0..6 {
                let (kept, contents) = Kept::open(&disk).expect("opens");
                for (number, states) in &mut stage.model {
                    let found = contents.get(number).cloned();
                    assert!(states.contains(&found), "seed {seed}, cut {cut}, number {number}");
                    *states = vec![found];
                }
                disk.power_off_after(stage.chance.below(60));
                let mut steps = 0;
                while stage.step(&kept).is_ok() {
                    steps += 1;
                }
                longest = longest.max(steps);
                disk.crash(&stage.chance);
            }
        }
        assert!(longest > 20, "{longest}");
    }

    #[test]
    fn an_opening_that_is_cut_short_loses_nothing() {
        let mut cut = [false; 2];
        for (seed, operations) in (0..8).flat_map(|seed| (0..14).map(move |operations| (seed, operations))) {
            let disk = SimulatedDisk::new(1 << 30);
            let (kept, _) = Kept::open(&disk).expect("opens");
            for number in 0..5 {
                assert!(kept.put(number, &[number as u8; 700]).expect("put"));
            }
            kept.flush().expect("flushed");
            // In the middle of a turn.
            kept.turn().expect("begun");
            assert!(kept.put(0, b"newer").expect("put"));
            kept.forget(1).expect("forgotten");
            disk.crash(&SeededChance::new(seed));
            disk.power_off_after(operations);
            cut[usize::from(Kept::open(&disk).is_ok())] = true;
            disk.crash(&SeededChance::new(seed + 100));
            let (_, contents) = Kept::open(&disk).expect("opens");
            let expected: BTreeMap<u64, Vec<u8>> = [(0, b"newer".to_vec())]
                .into_iter()
                .chain((2..5).map(|number| (number, vec![number as u8; 700])))
                .collect();
            assert_eq!(contents, expected, "seed {seed}, after {operations} operations");
        }
        assert_eq!(cut, [true; 2], "the power went while it was opened and after that");
    }

    /// What comes behind a torn record may be whole, and of the length that makes it the next of what is written there later.
    #[test]
    fn what_follows_a_torn_record_does_not_come_back() {
        let mut torn = 0;
        for seed in 0..200 {
            let disk = SimulatedDisk::new(1 << 30);
            let put = |kept: &Kept, number| assert!(kept.put(number, &[number as u8; 700]).expect("put"));
            let (kept, _) = Kept::open(&disk).expect("opens");
            put(&kept, 1);
            kept.flush().expect("flushed");
            put(&kept, 2);
            put(&kept, 3);
            disk.crash(&SeededChance::new(seed));
            let (kept, contents) = Kept::open(&disk).expect("opens");
            if contents.len() > 1 {
                continue;
            }
            torn += 1;
            put(&kept, 4);
            kept.flush().expect("flushed");
            disk.crash(&SeededChance::new(seed));
            let (_, contents) = Kept::open(&disk).expect("opens");
            assert!(contents.keys().eq(&[1, 4]), "seed {seed}: {:?}", contents.keys());
        }
        assert!(torn > 50, "{torn}");
    }

    #[test]
    fn when_there_is_no_room_that_is_said_and_what_is_kept_can_be_forgotten() {
        let disk = SimulatedDisk::new(1 << 30);
        let (kept, _) = Kept::open(&disk).expect("opens");
        let bytes = vec![1; 4 << 20];
        let mut count = 0;
        while kept.put(count, &bytes).expect("put") {
            count += 1;
        }
        assert!(count * (4 << 20) > 4 * limits::KEPT_BYTES, "{count}");
        let needed = [kept.needed_bytes(|number| number == 0), kept.needed_bytes(|_| true)];
        assert!(needed[0] > 4 << 20 && needed[0] < (4 << 20) + 100 && needed[1] > count * (4 << 20), "{needed:?}");
        assert_eq!(needed.map(|bytes| kept.is_turn_due(bytes)), [true, true]);
        kept.forget(0).expect("forgotten");
        assert_eq!([0, 1, count].map(|number| kept.has(number)), [false, true, false]);
    }

    #[test]
    fn what_is_no_file_of_ours_stays_as_it_is() {
        let disk = SimulatedDisk::new(1 << 20);
        let file = disk.open("small-1".as_ref(), true).expect("made");
        file.write_at(&[7; 100], 0).expect("written");
        let disk = Arc::new(disk);
        assert!(matches!(Kept::open(&*disk), Err(Error::Corrupt { .. })));
        assert_eq!(disk.contents("small-1".as_ref()), Some(vec![7; 100]));
    }
}
