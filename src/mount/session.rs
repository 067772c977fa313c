//! A mounted bucket: from attaching it until the kernel lets go.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Instant,
};

use fuser::{Config, INodeNo, Notifier, Session, SessionACL};
use tokio::{
    runtime::{Handle, Runtime},
    sync::{Semaphore, watch},
};

use super::{Error, Options, attach, check, door::Door, lines::Lines, listings::Listings, table};
use crate::{
    base::{Ino, limits},
    bucket::Bucket,
    runtime::{Tasks, like_this_thread, work_first, work_promptly},
};

/// A bucket in the file tree. Dropped while still mounted, it is taken off lazily.
pub struct Mounted {
    place: Arc<Place>,
    ended: watch::Receiver<bool>,
    notifier: Notifier,
}

/// Where a bucket is mounted, and which of the mounts there it is.
struct Place {
    mountpoint: PathBuf,
    /// Of the mount table; None when the table did not show it.
    id: Option<u64>,
}

impl Place {
    /// Takes the mount off, unless it is gone already and the path is somebody else's.
    fn detach(&self, lazily: bool) -> Result<(), Error> {
        let found = table::find(&self.mountpoint)?.map(|entry| entry.id);
        if found.is_none() || found != self.id {
            return Ok(());
        }
        attach::detach(&self.mountpoint, lazily)
    }
}

/// Mounts a bucket and serves it until it is unmounted, from here or from outside.
///
/// Reads that wait run in `tasks` on the `runtime`, what else waits on threads of its own; reads still waiting when the tasks are
/// stopped are answered with EIO, so unmount first. Blocks shortly (a few seconds when the remains of another mount are
/// cleared): call it from a thread that may. Errors: those of [`super::check_mountpoint`], and what the kernel or fusermount3 refuses.
pub fn mount(bucket: Bucket, mut options: Options, tasks: Tasks, runtime: Handle) -> Result<Mounted, Error> {
    options.mountpoint = check::resolve(&options.mountpoint)?;
    let mountpoint = options.mountpoint.clone();
    let acl = acl(&options);
    let fail = |source| Error::Io { action: "serve the mount on", path: mountpoint.clone(), source };
    let waiting = waiting_threads().map_err(fail)?;
    let device = attach::attach(&options)?;
    let entry = table::find(&mountpoint)?.filter(table::Entry::is_bucket);
    let place = Arc::new(Place { mountpoint: mountpoint.clone(), id: entry.as_ref().map(|entry| entry.id) });

    let mut config = Config::default();
    config.acl = acl;
    config.n_threads = Some(limits::KERNEL_THREADS);
    config.clone_fd = true;
    let invalidator = Arc::new(OnceLock::new());
    let flushes = Semaphore::new(limits::KERNEL_FLUSHES);
    let (lines, line_room) = (Lines::default(), Arc::new(Semaphore::new(limits::LINES_BYTES)));
    let options = Arc::new(options);
    let door = Door {
        bucket,
        options,
        tasks,
        runtime,
        waiting: waiting.handle().clone(),
        invalidator: Arc::clone(&invalidator),
        flushes,
        lines,
        line_room,
        listings: Listings::default(),
    };
    let started = Session::from_fd(door, device, acl, config).map_err(fail).and_then(|session| {
        let notifier = session.notifier();
        let (sender, ended) = watch::channel(false);
        let known = invalidator.set(Invalidator { place: Arc::clone(&place), notifier: notifier.clone() });
        assert!(known.is_ok(), "nobody else sets it");
        let place = Arc::clone(&place);
        std::thread::Builder::new()
            .name("mount".into())
            .spawn(move || {
                serve(session, &place);
                // Nothing that was taken up is dropped: its threads end by themselves when they have nothing to do.
                std::mem::forget(waiting);
                sender.send_replace(true);
            })
            .map_err(fail)?;
        Ok((notifier, ended))
    });
    let (notifier, ended) = match started {
        Ok(started) => started,
        Err(error) => {
            // Nobody will ever answer there.
            place.detach(true)?;
            return Err(error);
        }
    };
    if let Some(entry) = entry {
        attach::raise_readahead(&entry.device, limits::KERNEL_READAHEAD_BYTES);
    }
    tracing::info!(op = "mount", path = %mountpoint.display(), "mounted");
    Ok(Mounted { place, ended, notifier })
}

/// A runtime of nothing but threads for what has to wait. They get their turns soon, and do not come before other work, as
/// those that take requests do: what is written back in a hurry would leave nothing for the drain.
fn waiting_threads() -> io::Result<Runtime> {
    let usual = like_this_thread();
    let promptly = move || {
        usual();
        work_promptly();
    };
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.max_blocking_threads(limits::WAITING_THREADS).thread_name("waiting").on_thread_start(promptly).build()
}

fn serve(session: Session<Door>, place: &Place) {
    let path = place.mountpoint.display();
    // The session's threads: whoever uses a file waits for them, several times for an fsync.
    work_first();
    match session.run() {
        Ok(()) => tracing::info!(op = "unmount", %path, "unmounted"),
        Err(error) => tracing::error!(op = "unmount", %path, %error, "the kernel can no longer be served: unmounting"),
    }
    // A connection that was cut (umount -f while files are open) ends the session and leaves the mount, dead.
    if let Err(error) = place.detach(true) {
        tracing::error!(op = "unmount", %path, %error, "a dead mount stays behind: umount -l it");
    }
}

/// Whom the session turns away. The kernel itself keeps everybody else out of an owner's mount, and its own write-back,
/// which comes as root, must not be turned away.
fn acl(options: &Options) -> SessionACL {
    if options.allow_root && !options.allow_other { SessionACL::RootAndOwner } else { SessionACL::All }
}

impl Mounted {
    /// Where, without symlinks. Not to be touched by this process.
    pub fn mountpoint(&self) -> &Path {
        &self.place.mountpoint
    }

    /// Whether the session has ended.
    pub fn is_unmounted(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits until the session has ended, by `unmount` or from outside (umount(8)). May be cancelled.
    pub async fn wait_unmounted(&self) {
        let mut ended = self.ended.clone();
        // An error means that the serving thread is gone, which is the same.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Unmounts and waits for the end of the session; the kernel writes back first what it holds. Repeating it is no error.
    ///
    /// Errors: `Busy` while somebody uses a file or directory there, and all stays as it was; `Slow` after the time limit.
    pub async fn unmount(&self) -> Result<(), Error> {
        self.take_off(false).await
    }

    /// Takes the mount out of the tree at once, even when in use; the session goes on for those who still use it. Waits for
    /// its end within the time limit: `Slow` when they stay longer.
    pub async fn unmount_lazily(&self) -> Result<(), Error> {
        self.take_off(true).await
    }

    /// Takes the mount out of the tree at once, and waits for nobody who still uses it.
    pub async fn detach(&self) -> Result<(), Error> {
        let place = Arc::clone(&self.place);
        blocking(move || place.detach(true)).await
    }

    async fn take_off(&self, lazily: bool) -> Result<(), Error> {
        let place = Arc::clone(&self.place);
        let work = async {
            if !self.is_unmounted() {
                blocking(move || place.detach(lazily)).await?;
            }
            self.wait_unmounted().await;
            Ok(())
        };
        tokio::time::timeout(limits::UNMOUNT_TIMEOUT, work).await.unwrap_or_else(|_| {
            Err(Error::Slow {
                what: "unmounting",
                path: self.place.mountpoint.clone(),
                seconds: limits::UNMOUNT_TIMEOUT.as_secs(),
            })
        })
    }

    /// A handle to drop what the kernel holds.
    pub fn invalidator(&self) -> Invalidator {
        Invalidator { place: Arc::clone(&self.place), notifier: self.notifier.clone() }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !self.is_unmounted()
            && let Err(error) = self.place.detach(true)
        {
            tracing::error!(op = "unmount", path = %self.place.mountpoint.display(), %error, "left mounted");
        }
    }
}

/// Drops what the kernel holds of inodes. Unless said otherwise, never to be used on a thread that answers the kernel: it
/// waits for them.
#[derive(Clone)]
pub struct Invalidator {
    place: Arc<Place>,
    notifier: Notifier,
}

impl Invalidator {
    /// Makes the kernel ask again for the attributes of an inode. Waits for nobody: may be used on any thread.
    pub(super) fn forget_attributes(&self, ino: Ino) -> Result<(), Error> {
        // A negative offset leaves the pages.
        self.notifier.inval_inode(INodeNo(ino.0), -1, 0).map_err(|error| notify_error(&self.place, error))
    }

    /// Makes the kernel write back what it holds of an inode, and drop it. Blocks until that is done.
    pub(super) fn flush(&self, ino: Ino) -> Result<(), Error> {
        self.notifier.inval_inode(INodeNo(ino.0), 0, 0).map_err(|error| notify_error(&self.place, error))
    }

    /// Drops the kernel's pages and attributes of these inodes; dirty pages are written back first. What the kernel
    /// does not know is no error. When cancelled, or at the time limit, the rest stays.
    pub async fn invalidate_all(&self, inodes: Vec<Ino>) -> Result<(), Error> {
        let notifier = self.notifier.clone();
        let place = Arc::clone(&self.place);
        let until = Instant::now() + limits::INVALIDATE_TIMEOUT;
        let work = blocking(move || {
            for ino in inodes {
                if Instant::now() > until {
                    return Err(slow(&place));
                }
                // Offset 0, length 0: to the end.
                notifier.inval_inode(INodeNo(ino.0), 0, 0).map_err(|error| notify_error(&place, error))?;
            }
            Ok(())
        });
        tokio::time::timeout(limits::INVALIDATE_TIMEOUT, work).await.unwrap_or_else(|_| Err(slow(&self.place)))
    }

    /// Makes the kernel ask again for this name, also when it holds that there is none.
    pub async fn invalidate_entry(&self, parent: Ino, name: Vec<u8>) -> Result<(), Error> {
        let notifier = self.notifier.clone();
        let place = Arc::clone(&self.place);
        let work = blocking(move || {
            let name: std::ffi::OsString = std::os::unix::ffi::OsStringExt::from_vec(name);
            notifier.inval_entry(INodeNo(parent.0), &name).map_err(|error| notify_error(&place, error))
        });
        tokio::time::timeout(limits::INVALIDATE_TIMEOUT, work).await.unwrap_or_else(|_| Err(slow(&self.place)))
    }
}

fn slow(place: &Place) -> Error {
    Error::Slow {
        what: "dropping the kernel's cache of",
        path: place.mountpoint.clone(),
        seconds: limits::INVALIDATE_TIMEOUT.as_secs(),
    }
}

fn notify_error(place: &Place, source: io::Error) -> Error {
    match rustix::io::Errno::from_io_error(&source) {
        Some(rustix::io::Errno::NODEV | rustix::io::Errno::NOTCONN | rustix::io::Errno::PERM) => {
            Error::Closed(place.mountpoint.clone())
        }
        _ => Error::Io { action: "drop the kernel's cache of", path: place.mountpoint.clone(), source },
    }
}

async fn blocking(work: impl FnOnce() -> Result<(), Error> + Send + 'static) -> Result<(), Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        // Either a defect, or the runtime is being shut down and nobody waits for this.
        Err(Error::Io { action: "finish work on", path: "the mount".into(), source: io::Error::other(error) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_allow_root_alone_turns_others_away_here() {
        let mut options = Options::new("/m", "/s");
        assert_eq!(acl(&options), SessionACL::All);
        options.allow_root = true;
        assert_eq!(acl(&options), SessionACL::RootAndOwner);
        options.allow_other = true;
        assert_eq!(acl(&options), SessionACL::All);
    }

    #[test]
    fn a_place_that_is_not_mounted_is_left_alone() {
        Place { mountpoint: "/no/such/mount".into(), id: Some(1) }.detach(false).unwrap();
        // Something else is mounted there: not ours to take away.
        Place { mountpoint: "/proc".into(), id: Some(u64::MAX) }.detach(false).unwrap();
        assert!(table::find(Path::new("/proc")).unwrap().is_some());
    }

    #[test]
    fn who_waits_for_others_has_the_usual_nice_value() {
        let nice = || rustix::process::getpriority_process(None).expect("known");
        let (usual, waiting) = (nice(), waiting_threads().expect("started"));
        let handle = waiting.handle().clone();
        // The thread is started by one that takes requests.
        let asked = std::thread::spawn(move || {
            work_first();
            (nice(), futures::executor::block_on(handle.spawn_blocking(nice)).expect("no panic"))
        });
        let (first, waits) = asked.join().expect("no panic");
        assert_eq!(waits, usual);
        if first == usual {
            println!("skipped in part: this process may not come first");
        }
    }
}
