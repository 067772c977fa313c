//! Who waits for a file that others are at, or of which the kernel writes back much in small pieces.
//!
//! The kernel's threads are few and take requests in the order in which they came: if they waited for one file, what is
//! asked of all others would wait with it. So what has to wait joins the line of its file, which a thread of its own works
//! off, in order.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::Arc,
};

use crate::base::Mutex;

/// A line for each file that somebody waits for, with what each of them wants.
pub(super) struct Lines<W>(Arc<Mutex<HashMap<u64, VecDeque<W>>>>);

impl<W> Clone for Lines<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W> Default for Lines<W> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<W> Lines<W> {
    /// Whether somebody waits for this file already.
    pub fn has(&self, file: u64) -> bool {
        self.0.lock().contains_key(&file)
    }

    /// Joins the line of a file. True when nobody works it off: then the caller has [`Lines::next`] called.
    pub fn join(&self, file: u64, wanted: W) -> bool {
        let mut lines = self.0.lock();
        let line = lines.entry(file);
        let is_new = matches!(line, Entry::Vacant(_));
        line.or_default().push_back(wanted);
        is_new
    }

    /// Those of a line whose turn it is, in order: one, and as many more as `fits` says yes to. To be called until there is
    /// none. Then the line has gone: while the last one is being done, who comes joins it.
    pub fn next(&self, file: u64, mut fits: impl FnMut(&W) -> bool) -> Vec<W> {
        let mut lines = self.0.lock();
        let Some(line) = lines.get_mut(&file) else { return Vec::new() };
        let mut is_first = true;
        let count = line.iter().take_while(|wanted| fits(wanted) | std::mem::take(&mut is_first)).count();
        if count == 0 {
            lines.remove(&file);
            return Vec::new();
        }
        line.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        os::unix::fs::{FileExt as _, MetadataExt as _},
        path::Path,
        sync::mpsc,
        thread,
        time::Duration,
    };

    use super::{
        super::{Error, Mounted, Options, check_mountpoint, mount},
        *,
    };
    use crate::{
        base::{Ino, limits},
        bucket::{Bucket, open},
        runtime::{Shutdown, Tasks},
    };

    const PAGE: u64 = 4096;
    /// More than there are threads that take requests, and fewer than the kernel has under way at a time.
    const PAGES: u64 = limits::KERNEL_BACKGROUND as u64 * 3 / 4;
    const DEADLINE: Duration = Duration::from_secs(20);

    /// Not zero, and another for the pages beside it.
    fn fill(page: u64) -> u8 {
        (page % 251) as u8 + 1
    }

    /// None, with a line that says so, where nothing can be mounted.
    fn mounted(directory: &Path, runtime: &tokio::runtime::Runtime) -> Option<(Bucket, Mounted)> {
        let (state, mountpoint) = (directory.join("state"), directory.join("mount"));
        fs::create_dir(&state).and_then(|()| fs::create_dir(&mountpoint)).expect("made");
        use Error::{DeviceDenied, NoDevice, NoHelper};
        if let Err(error @ (NoDevice | DeviceDenied | NoHelper)) = check_mountpoint(&mountpoint) {
            println!("skipped: {error}");
            return None;
        }
        let bucket = open(&state);
        let options = Options::new(mountpoint, directory.join("socket"));
        let mounted = mount(bucket.clone(), options, Tasks::new(Shutdown::new()), runtime.handle().clone());
        Some((bucket, mounted.expect("mounted")))
    }

    /// Writes and syncs a file many times, beside what the thread that calls this holds.
    fn sync_often(path: &Path) {
        let (path, (sender, done)) = (path.to_owned(), mpsc::channel());
        thread::spawn(move || {
            let file = File::create(path).expect("made");
            for round in 0..100 {
                file.write_all_at(&[7; 100], round * 100).and_then(|()| file.sync_all()).expect("synced");
            }
            sender.send(()).expect("somebody waits");
        });
        done.recv_timeout(DEADLINE).expect("whoever uses another file does not wait");
    }

    #[test]
    fn a_file_that_others_are_at_does_not_hold_up_all_others() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let _runtime = runtime.enter();
        let directory = tempfile::tempdir().expect("made");
        let Some((bucket, mounted)) = mounted(directory.path(), &runtime) else { return };
        let file = File::create(mounted.mountpoint().join("busy")).expect("made");
        let ino = Ino(file.metadata().expect("known").ino());
        // Pages apart from each other, each of which the kernel sends by itself.
        for page in 0..PAGES {
            file.write_all_at(&[fill(page); PAGE as usize], 2 * page * PAGE).expect("written");
        }
        let mut syncing = None;
        bucket.hold(ino, || {
            syncing = Some(thread::spawn(move || file.sync_all()));
            sync_often(&mounted.mountpoint().join("other"));
            assert!(!syncing.as_ref().expect("begun").is_finished());
        });
        syncing.expect("begun").join().expect("no panic").expect("synced");
        for page in 0..PAGES {
            let bytes = bucket.read_now(ino, 2 * page * PAGE, PAGE as u32).expect("reads").expect("all is here");
            assert!(bytes.iter().all(|byte| *byte == fill(page)), "page {page}");
        }
        runtime.block_on(mounted.unmount()).expect("unmounted");
    }

    #[test]
    fn a_line_is_worked_off_in_order_and_by_one() {
        let lines = Lines::default();
        assert!(lines.join(7, 1));
        assert!(!lines.join(7, 2), "somebody works it off already");
        assert!(lines.join(8, 10), "each file has its own");
        assert_eq!(lines.next(7, |_| false), [1]);
        // Who comes while the last one is being done is not forgotten.
        assert_eq!(lines.next(7, |_| false), [2]);
        assert!(lines.has(7) && !lines.join(7, 3));
        assert_eq!(lines.next(7, |_| false), [3]);
        assert!(lines.next(7, |_| true).is_empty());
        assert_eq!((lines.has(7), lines.has(8)), (false, true));
        assert!(lines.join(7, 4), "it has gone, and begins anew");
    }

    #[test]
    fn a_turn_is_as_many_as_fit_and_one_at_least() {
        let lines = Lines::default();
        for bytes in [9, 1, 2, 3, 9] {
            lines.join(7, bytes);
        }
        let turn = || {
            let mut room = 5;
            lines.next(7, move |bytes| {
                room -= bytes;
                room >= 0
            })
        };
        assert_eq!(turn(), [9]);
        assert_eq!(turn(), [1, 2]);
        assert_eq!(turn(), [3]);
        assert_eq!(turn(), [9]);
        assert!(turn().is_empty());
    }
}
