//! How a request is answered: at once, from a task, or from a blocking thread - and always, whatever goes wrong.
//!
//! A reply that is dropped answers EIO by itself, so a task that is stopped or panics never leaves the kernel waiting. A panic
//! is caught on the kernel's threads too: otherwise it would end one of them.

use std::{
    any::Any,
    collections::VecDeque,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use fuser::{Errno, INodeNo, ReplyEmpty, ReplyWrite};
use futures::FutureExt;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
};

use super::{Invalidator, Options, caller::Caller, convert, lines::Lines, listings::Listings};
use crate::{
    base::{ErrorKind, Ino, Kinded, Mutex, limits},
    bucket::{self, Attr, Bucket, NewInode},
    runtime::Tasks,
};

/// The file system that the kernel talks to.
pub(super) struct Door {
    pub bucket: Bucket,
    pub options: Arc<Options>,
    pub tasks: Tasks,
    pub runtime: Handle,
    /// Has threads for what has to wait, for a file or for the disk.
    pub waiting: Handle,
    /// Set once the session exists.
    pub invalidator: Arc<OnceLock<Invalidator>>,
    /// Who may wait for a flush on the thread that took the request.
    pub flushes: Semaphore,
    /// What is written back of files that others are at, or of which there is much.
    pub lines: Lines<Waiting>,
    /// The bytes that may join them.
    pub line_room: Arc<Semaphore>,
    pub listings: Listings,
}

/// What is asked, for the log, and who waits for the answer.
#[derive(Clone, Copy)]
pub(super) struct Request {
    pub op: &'static str,
    pub file: u64,
    pub caller: Caller,
}

impl Request {
    pub(super) fn new(op: &'static str, file: INodeNo) -> Self {
        Self { op, file: file.0, caller: Caller::KERNEL }
    }

    /// The same, given up when this caller gives up.
    pub(super) fn by(self, caller: &fuser::Request) -> Self {
        Self { caller: Caller::of(caller), ..self }
    }

    fn refused(self, error: &bucket::Error) -> Errno {
        let errno = convert::refusal(error);
        let Self { op, file, .. } = self;
        match error.kind() {
            ErrorKind::Bug | ErrorKind::Corrupt => tracing::error!(op, file, %error, "refused"),
            ErrorKind::Unavailable | ErrorKind::Full | ErrorKind::Unpaid => tracing::warn!(op, file, %error, "refused"),
            ErrorKind::NotFound | ErrorKind::Exists | ErrorKind::Invalid | ErrorKind::Denied | ErrorKind::Closed => {
                tracing::debug!(op, file, %error, "refused")
            }
        }
        errno
    }

    fn panicked(self, panic: &(dyn Any + Send)) -> Errno {
        let what = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        tracing::error!(op = self.op, file = self.file, panic = what, "a defect: the request is answered with EIO");
        Errno::EIO
    }

    fn settle<T>(self, outcome: std::thread::Result<Result<T, bucket::Error>>) -> Result<T, Errno> {
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.refused(&error)),
            Err(panic) => Err(self.panicked(panic.as_ref())),
        }
    }
}

/// A reply that can carry an error.
pub(super) trait Refuse: Send + 'static {
    fn refuse(self, errno: Errno);
}

macro_rules! refuse {
    ($($reply:ident),*) => {
        $(impl Refuse for fuser::$reply {
            fn refuse(self, errno: Errno) {
                self.error(errno);
            }
        })*
    };
}

refuse!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyLseek,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite,
    ReplyXattr
);

impl Door {
    /// Does what does not wait; an error is the number to answer with, already logged.
    pub(super) fn attempt<T>(
        &self,
        request: Request,
        work: impl FnOnce(&Bucket) -> Result<T, bucket::Error>,
    ) -> Result<T, Errno> {
        request.settle(catch_unwind(AssertUnwindSafe(|| work(&self.bucket))))
    }

    /// Does what does not wait, and answers.
    pub(super) fn answer<R: Refuse, T>(
        &self,
        request: Request,
        reply: R,
        work: impl FnOnce(&Bucket) -> Result<T, bucket::Error>,
        send: impl FnOnce(R, T),
    ) {
        match self.attempt(request, work) {
            Ok(value) => send(reply, value),
            Err(errno) => reply.refuse(errno),
        }
    }

    /// Answers when the future is ready, or with EINTR when the caller gives up: then the future is dropped. It has its
    /// own deadline, and must not wait once its effect is there; the kernel bounds how many there are.
    pub(super) fn answer_later<R: Refuse, T: Send + 'static>(
        &self,
        request: Request,
        reply: R,
        work: impl Future<Output = Result<T, bucket::Error>> + Send + 'static,
        send: impl FnOnce(R, T) + Send + 'static,
    ) {
        let _runtime = self.runtime.enter();
        self.tasks.spawn_until_shutdown(async move {
            let outcome = tokio::select! {
                biased;
                outcome = AssertUnwindSafe(work).catch_unwind() => request.settle(outcome),
                () = request.caller.gives_up(true) => Err(Errno::EINTR),
            };
            match outcome {
                Ok(value) => send(reply, value),
                Err(errno) => reply.refuse(errno),
            }
        });
    }

    /// What is asked of a file and does not wait, but for others at the file: if they stay, a thread of its own waits.
    pub(super) fn answer_of_file<R: Refuse, T>(
        &self,
        request: Request,
        reply: R,
        work: impl FnOnce(&Bucket) -> Result<T, bucket::Error> + Send + 'static,
        send: impl FnOnce(R, T) + Send + 'static,
    ) {
        if self.bucket.is_busy(Ino(request.file)) {
            self.answer_blocking(request, reply, work, send);
        } else {
            self.answer(request, reply, work, send);
        }
    }

    /// Room in a line for what the kernel writes back of a file, if it would keep who takes requests: others are at the file,
    /// or it is a small piece of many. Without room it is written now, before those of the line: the kernel has no two of
    /// the same page on their way.
    pub(super) fn place_in_line(&self, file: u64, data: &[u8]) -> Option<OwnedSemaphorePermit> {
        let ino = Ino(file);
        let is_one_of_many = || data.len() < limits::LINE_PIECE_BYTES && self.bucket.is_written_much(ino);
        if !self.lines.has(file) && !self.bucket.is_busy(ino) && !is_one_of_many() {
            return None;
        }
        let bytes = u32::try_from(data.len()).ok()?;
        Arc::clone(&self.line_room).try_acquire_many_owned(bytes).ok()
    }

    /// Takes what the kernel writes back, which nobody gives up.
    pub(super) fn write_in_line(
        &self,
        request: Request,
        (offset, data): (u64, &[u8]),
        place: OwnedSemaphorePermit,
        reply: ReplyWrite,
    ) {
        let waiting = Waiting { request, offset, data: Bytes::copy_from_slice(data), reply, _place: place };
        if !self.lines.join(request.file, waiting) {
            return;
        }
        let (bucket, lines, runtime) = (self.bucket.clone(), self.lines.clone(), self.runtime.clone());
        let shutdown = self.tasks.shutdown().clone();
        let wait_for_room = move |bucket: &Bucket, offset, data| {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    written = bucket.write(Ino(request.file), offset, data) => written,
                    () = shutdown.started() => Err(bucket::Error::Closed),
                }
            })
        };
        let work_off = move || {
            loop {
                let mut room = limits::KERNEL_REQUEST_BYTES as usize;
                let turn = lines.next(request.file, |waiting| {
                    let fits = waiting.data.len() <= room;
                    room = room.saturating_sub(waiting.data.len());
                    fits
                });
                if turn.is_empty() {
                    return;
                }
                write_turn(&bucket, Ino(request.file), turn, &wait_for_room);
            }
        };
        let Some(worker) = self.spawn_waiting(work_off) else { return };
        let _runtime = self.runtime.enter();
        self.tasks.spawn(async move {
            if let Err(error) = worker.await {
                tracing::error!(op = request.op, file = request.file, %error, "a defect: who waits is not answered");
            }
        });
    }

    /// Makes an inode durable. One short flush is waited for on the thread that took the request, as long as others take
    /// requests: to change threads twice would cost as much again, and many times that on a busy machine.
    pub(super) fn answer_flush(&self, request: Request, ino: INodeNo, data_only: bool, reply: ReplyEmpty) {
        let ino = convert::ino(ino);
        let place = if self.bucket.is_fsync_short(ino) { self.flushes.try_acquire().ok() } else { None };
        let work = move |bucket: &Bucket| bucket.fsync_blocking(ino, data_only);
        match place {
            Some(_place) => self.answer(request, reply, work, |reply, ()| reply.ok()),
            None => self.answer_blocking(request, reply, work, |reply, ()| reply.ok()),
        }
    }

    /// Answers from a thread that may wait for the disk. What has begun is brought to its end, also at shutdown and when
    /// the caller, who is answered with EINTR, is killed meanwhile.
    pub(super) fn answer_blocking<R: Refuse, T>(
        &self,
        request: Request,
        reply: R,
        work: impl FnOnce(&Bucket) -> Result<T, bucket::Error> + Send + 'static,
        send: impl FnOnce(R, T) + Send + 'static,
    ) {
        let bucket = self.bucket.clone();
        let _runtime = self.runtime.enter();
        // Taken by the first who has something to say.
        let reply = Arc::new(Mutex::new(Some(reply)));
        let from_thread = Arc::clone(&reply);
        let waited = self.spawn_waiting(move || {
            let outcome = request.settle(catch_unwind(AssertUnwindSafe(|| work(&bucket))));
            let Some(reply) = from_thread.lock().take() else { return };
            match outcome {
                Ok(value) => send(reply, value),
                Err(errno) => reply.refuse(errno),
            }
        });
        let Some(mut waited) = waited else { return };
        self.tasks.spawn(async move {
            let ended = tokio::select! {
                biased;
                ended = &mut waited => ended,
                () = request.caller.gives_up(false) => {
                    let unanswered = reply.lock().take();
                    if let Some(reply) = unanswered {
                        reply.refuse(Errno::EINTR);
                    }
                    waited.await
                }
            };
            if let Err(error) = ended {
                tracing::error!(op = request.op, file = request.file, %error, "a defect: the answer could not be sent");
            }
        });
    }

    /// Starts what has to wait on a thread that gets its turn soon: whoever uses the file waits for it. None when the system has
    /// no thread left, which tokio panics at: the work stays in its line, for the next one that starts.
    fn spawn_waiting(&self, work: impl FnOnce() + Send + 'static) -> Option<JoinHandle<()>> {
        let runtime = self.runtime.clone();
        let work = move || {
            let _runtime = runtime.enter();
            work();
        };
        let started = catch_unwind(AssertUnwindSafe(|| self.waiting.spawn_blocking(work))).ok();
        if started.is_none() {
            tracing::error!("the system has no thread left: what waits for a file or the disk waits for the next one");
        }
        started
    }

    /// A new inode below this directory, counted as known to the kernel.
    pub(super) fn make(&self, parent: INodeNo, name: &[u8], new: NewInode) -> Result<Attr, bucket::Error> {
        let parent = convert::ino(parent);
        let attr = self.bucket.make(parent, name, inherited(&self.bucket.getattr(parent)?, new))?;
        self.remember(&attr);
        Ok(attr)
    }

    /// To be called once for each entry that a reply tells the kernel, before the reply.
    pub(super) fn remember(&self, attr: &Attr) {
        self.bucket.remember(attr.ino, 1);
    }
}

/// A write in the line of its file.
pub(super) struct Waiting {
    request: Request,
    offset: u64,
    data: Bytes,
    reply: ReplyWrite,
    _place: OwnedSemaphorePermit,
}

/// Writes what waits for a file all at once: one by one, each would wait for whoever is at the file again.
fn write_turn(
    bucket: &Bucket,
    ino: Ino,
    turn: Vec<Waiting>,
    wait_for_room: &impl Fn(&Bucket, u64, Bytes) -> Result<u32, bucket::Error>,
) {
    let mut turn = VecDeque::from(turn);
    while !turn.is_empty() {
        let writes: Vec<_> = turn.iter().map(|waiting| (waiting.offset, waiting.data.clone())).collect();
        let write = |writes: &[_]| catch_unwind(AssertUnwindSafe(|| bucket.write_each_now(ino, writes)));
        // With a panic nobody knows which of them are written: then one by one.
        let written = write(&writes).or_else(|panic| if writes.len() > 1 { write(&writes[..1]) } else { Err(panic) });
        let outcomes = match written {
            Ok(Ok(outcomes)) if outcomes.is_empty() => {
                let (offset, data) = writes[0].clone();
                vec![catch_unwind(AssertUnwindSafe(|| wait_for_room(bucket, offset, data)))]
            }
            Ok(Ok(outcomes)) => outcomes.into_iter().map(Ok).collect(),
            Ok(Err(error)) => vec![Ok(Err(error))],
            Err(panic) => vec![Err(panic)],
        };
        let answered = turn.drain(..outcomes.len());
        for (outcome, Waiting { request, reply, .. }) in outcomes.into_iter().zip(answered) {
            match request.settle(outcome) {
                Ok(written) => reply.written(written),
                Err(errno) => reply.refuse(errno),
            }
        }
    }
}

/// In a set-group-id directory the group is the directory's, and directories pass the bit on.
fn inherited(parent: &Attr, mut new: NewInode) -> NewInode {
    if parent.mode & convert::SET_GROUP_ID != 0 {
        new.gid = parent.gid;
        if new.kind == bucket::FileKind::Directory {
            new.mode |= convert::SET_GROUP_ID;
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::Ino,
        bucket::{FileKind, Timestamp},
        runtime::Shutdown,
    };

    fn parent(mode: u32) -> Attr {
        let time = Timestamp::default();
        Attr {
            ino: Ino::ROOT,
            kind: FileKind::Directory,
            mode,
            links: 2,
            uid: 0,
            gid: 77,
            rdev: 0,
            size: 0,
            blocks: 0,
            accessed: time,
            modified: time,
            changed: time,
            created: time,
        }
    }

    fn new(kind: FileKind) -> NewInode {
        NewInode { kind, mode: 0o755, umask: 0, uid: 1, gid: 2, rdev: 0, target: Vec::new() }
    }

    #[test]
    fn the_group_is_inherited_from_set_group_id_directories_only() {
        assert_eq!(inherited(&parent(0o755), new(FileKind::Directory)), new(FileKind::Directory));
        let file = inherited(&parent(0o2755), new(FileKind::File));
        assert_eq!((file.gid, file.mode), (77, 0o755));
        let directory = inherited(&parent(0o2755), new(FileKind::Directory));
        assert_eq!((directory.gid, directory.mode), (77, 0o2755));
    }

    #[test]
    fn small_pieces_of_a_file_join_its_line_when_there_are_many() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let _runtime = runtime.enter();
        let directory = tempfile::tempdir().expect("made");
        let door = Door {
            bucket: bucket::open(directory.path()),
            options: Arc::new(Options::new(directory.path().join("mount"), directory.path().join("socket"))),
            tasks: Tasks::new(Shutdown::new()),
            runtime: runtime.handle().clone(),
            waiting: runtime.handle().clone(),
            invalidator: Arc::default(),
            flushes: Semaphore::new(1),
            lines: Lines::default(),
            line_room: Arc::new(Semaphore::new(300_000)),
            listings: Listings::default(),
        };
        let ino = door.bucket.make(Ino::ROOT, b"file", new(FileKind::File)).expect("made").ino;
        let joins = |bytes: usize| door.place_in_line(ino.0, &vec![0; bytes]).is_some();
        assert!(!joins(4096), "the first of them is written at once");
        let much = vec![7; limits::INLINE_BYTES as usize + 1];
        door.bucket.write_now(ino, 0, &much).expect("written").expect("there is room");
        assert!(joins(4096) && joins(200_000));
        assert!(!joins(limits::LINE_PIECE_BYTES), "a large one is not copied once more");
        let _place = door.place_in_line(ino.0, &[0; 200_000]).expect("there is room");
        assert!(joins(100_000) && !joins(100_001), "what waits takes room");
        door.bucket.fsync_blocking(ino, true).expect("flushed");
        assert!(!joins(4000), "all is flushed: this may be the only one");
    }

    #[test]
    fn a_panic_becomes_an_error_number() {
        let request = Request::new("read", INodeNo(3));
        let outcome = catch_unwind(AssertUnwindSafe(|| -> Result<(), bucket::Error> { panic!("defect {}", 1) }));
        assert_eq!(request.settle(outcome), Err(Errno::EIO));
        assert_eq!(request.settle::<()>(Ok(Err(bucket::Error::NotEmpty))), Err(Errno::ENOTEMPTY));
        assert_eq!(request.settle(Ok(Ok(4))), Ok(4));
    }
}
