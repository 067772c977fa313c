//! A large directory, listed through the kernel while names come and go in it.

use std::{
    collections::HashMap,
    fs::{self, File},
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use openbucket::{
    base::Ino,
    bucket::{FileKind, NewInode},
};

use crate::fixture::Fixture;

const ENTRIES: usize = 100_000;
/// Names that are there when a listing begins and go during it.
const GOING: usize = 500;

/// Ends the changes, also when the listing fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How often each name is listed; with the attributes of each, if so asked.
fn list(directory: &Path, is_long: bool) -> HashMap<String, usize> {
    let mut names = HashMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        // What is gone since it was listed has no attributes any more.
        if is_long && let Ok(attributes) = entry.metadata() {
            assert!(attributes.is_file());
        }
        *names.entry(entry.file_name().into_string().unwrap()).or_default() += 1;
    }
    names
}

/// Makes, renames and removes names that were never there before, until told to end.
fn churn(directory: &Path, round: usize, is_ended: &AtomicBool, changes: &AtomicUsize) {
    for number in 0.. {
        if is_ended.load(Ordering::Relaxed) {
            return;
        }
        let (old, new) = (format!("come-{round}-{number}"), format!("moved-{round}-{number}"));
        File::create_new(directory.join(&old)).unwrap();
        fs::rename(directory.join(&old), directory.join(&new)).unwrap();
        if number % 2 == 0 {
            fs::remove_file(directory.join(new)).unwrap();
        }
        if number < GOING {
            fs::remove_file(directory.join(format!("going-{round}-{number}"))).unwrap();
        }
        changes.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_large_directory_is_listed_once_while_names_come_and_go() {
    let Some(fixture) = Fixture::new(|_| {}) else { return };
    let make = |parent: Ino, name: &str, kind: FileKind, mode: u32| {
        let new = NewInode { kind, mode, uid: 0, gid: 0, rdev: 0, umask: 0, target: Vec::new() };
        fixture.bucket.make(parent, name.as_bytes(), new).unwrap().ino
    };
    let parent = make(Ino::ROOT, "large", FileKind::Directory, 0o777);
    for number in 0..ENTRIES {
        make(parent, &format!("stays-{number}"), FileKind::File, 0o644);
    }
    let directory = fixture.path("large");
    for (round, is_long) in [false, true].into_iter().enumerate() {
        for number in 0..GOING {
            File::create_new(directory.join(format!("going-{round}-{number}"))).unwrap();
        }
        let (is_ended, changes) = (AtomicBool::new(false), AtomicUsize::new(0));
        let names = thread::scope(|scope| {
            scope.spawn(|| churn(&directory, round, &is_ended, &changes));
            let _end = End(&is_ended);
            // The listing begins when something has changed, and there is more to come.
            while changes.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            let before = changes.load(Ordering::Relaxed);
            let names = list(&directory, is_long);
            let during = changes.load(Ordering::Relaxed) - before;
            assert!(during > 10, "only {during} changes during a listing prove nothing");
            names
        });
        for number in 0..ENTRIES {
            assert_eq!(names.get(&format!("stays-{number}")), Some(&1), "stays-{number}, long: {is_long}");
        }
        let twice: Vec<_> = names.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "listed more than once: {twice:?}");
    }
    fixture.unmount();
}
