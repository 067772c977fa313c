//! Whose turn on the processors comes first. Each thread has a nice value and a slice of its own, and hands them on to those
//! that it starts: see sched(7) and sched_setattr(2).
//!
//! Who comes first asks for short slices, too (Linux 6.12): when it wakes, it gets its turn before others have used up theirs.
//! That needs no privilege.

use std::{cell::Cell, io, marker::PhantomData, sync::OnceLock, time::Duration};

/// How far what nobody waits for stands back behind other work.
const BACKGROUND_NICE: i32 = 10;
/// How far what everybody waits for comes before other work.
const FIRST_NICE: i32 = -10;
/// How often, and how far apart, a session asks again to stand back.
const STAND_BACK_TRIES: u32 = 50;
const STAND_BACK_REST: Duration = Duration::from_millis(110);
/// Nanoseconds on a processor that who comes first asks for at a time: the least that the kernel grants.
const FIRST_SLICE: u64 = 100_000;

/// The turn of who comes first, the same for all; none where that is not to be had.
static FIRST: OnceLock<Option<Turn>> = OnceLock::new();

thread_local! {
    /// What this thread goes back to when it gets its turns soon; none while it does. Unknown until it is asked for.
    static USUAL: Cell<Option<Option<Turn>>> = const { Cell::new(None) };
}

/// How a thread takes its turns.
#[derive(Clone, Copy, Debug)]
struct Turn(libc::sched_attr);

impl Turn {
    /// That of this thread, as the kernel tells it. Before Linux 6.12 no slice is told.
    #[allow(unsafe_code, reason = "no package has this call")]
    fn now() -> io::Result<Self> {
        let size = size_of::<libc::sched_attr>();
        // SAFETY: a number in each field.
        let mut turn: libc::sched_attr = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes no more bytes to it than it is told that there are.
        let outcome = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut turn, size, 0) };
        if outcome == 0 { Ok(Self(turn)) } else { Err(io::Error::last_os_error()) }
    }

    /// The same to be asked for: the kernel tells its own slice like one that was asked for.
    fn again(self) -> Self {
        let asked = if self.0.sched_runtime == FIRST_SLICE { FIRST_SLICE } else { 0 };
        Self(libc::sched_attr { sched_runtime: asked, ..self.0 })
    }

    /// Has this thread take its turns so from now on.
    #[allow(unsafe_code, reason = "no package has this call")]
    fn take(self) -> io::Result<()> {
        // SAFETY: the kernel reads as many bytes of it as its `size` says, which the kernel has set.
        let outcome = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const self.0, 0) };
        if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The same in short slices.
    fn short(self) -> Self {
        Self(libc::sched_attr { sched_runtime: FIRST_SLICE, ..self.0 })
    }

    /// That of who comes first, which this thread has taken: with `CAP_SYS_NICE`, or where `RLIMIT_NICE` allows all of it,
    /// before all others.
    fn taken_first(self) -> Option<Self> {
        let is_fair = [libc::SCHED_OTHER, libc::SCHED_BATCH].map(|policy| policy as u32).contains(&self.0.sched_policy);
        let short = self.short();
        let nice = (self.0.sched_nice + FIRST_NICE).max(-20);
        let before_all = Self(libc::sched_attr { sched_nice: nice, ..short.0 });
        [before_all, short].into_iter().find(|turn| is_fair && turn.take().is_ok())
    }

    /// Whether it has been handed on by a thread that comes first, so that nothing is to be done.
    fn is_like(self, first: Self) -> bool {
        self.0.sched_nice == first.0.sched_nice && [0, FIRST_SLICE].contains(&self.0.sched_runtime)
    }
}

/// What this thread goes back to; none if it comes first or gets its turns soon.
fn usual() -> Option<Turn> {
    let usual = USUAL.get().unwrap_or_else(|| {
        let now = Turn::now().ok()?;
        let is_first = FIRST.get().is_some_and(|first| first.is_some_and(|first| now.is_like(first)));
        let is_prompt = now.0.sched_runtime == FIRST_SLICE;
        (!is_first && !is_prompt).then(|| now.again())
    });
    USUAL.set(Some(usual));
    usual
}

/// From now on this thread, and those that it starts, stand back behind other work for the processors.
pub fn work_in_background() {
    if let Err(error) = rustix::process::nice(BACKGROUND_NICE) {
        tracing::debug!(%error, "this thread cannot stand back");
    }
    USUAL.set(None);
}

/// The same for all of this process. Where the kernel shares the processors among sessions, nice values count only within each
/// (autogroup in sched(7)): so a session that this process leads stands back as a whole.
pub fn process_in_background() {
    work_in_background();
    if leads_session() && stand_back().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
        // The kernel lets one session in a tenth of a second do so, but for root's: of those that start at once, all but one wait.
        let again = || {
            for _ in 0..STAND_BACK_TRIES {
                std::thread::sleep(STAND_BACK_REST); // the kernel tells nobody when it will
                if !stand_back().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                    return;
                }
            }
        };
        let started = std::thread::Builder::new().name("stand-back".into()).spawn(again);
        drop(started.inspect_err(|error| tracing::debug!(%error, "this session does not stand back")));
    }
}

/// Has the session that this process leads stand back.
fn stand_back() -> io::Result<()> {
    let outcome = std::fs::write("/proc/self/autogroup", BACKGROUND_NICE.to_string());
    outcome.inspect_err(|error| tracing::debug!(%error, "this session does not stand back"))
}

/// Whether the session of this process has its number, see proc_pid_stat(5). Not by getsid(2): it says 0 where the leader is
/// outside of the name space, which rustix takes for a number of a process.
fn leads_session() -> bool {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return false };
    // After the name, which may have anything in it: state, parent, group, session.
    let session = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(3));
    session.and_then(|session| session.parse().ok()) == Some(std::process::id())
}

/// From now on this thread, and those that it starts, come before other work for the processors, as far as the process may
/// have that.
pub fn work_first() {
    let Some(usual) = usual() else { return };
    let Some(first) = *FIRST.get_or_init(|| usual.taken_first()) else { return };
    match first.take() {
        Ok(()) => USUAL.set(Some(None)),
        Err(error) => tracing::debug!(%error, "this thread cannot come first"),
    }
}

/// From now on this thread, and those that it starts, get their turns soon, and no more of them than others.
pub fn work_promptly() {
    if let Err(error) = Turn::now().and_then(|now| now.short().take()) {
        tracing::debug!(%error, "this thread waits for its turns as others do");
    }
    USUAL.set(None);
}

/// While it lives, its thread gets its turns soon, as after [`work_promptly`]. For who holds what others that come first may wait
/// for: they wait until this thread has had its next turn.
#[derive(Debug)]
pub struct Prompt {
    usual: Option<Turn>,
    /// Stays on its thread.
    _here: PhantomData<*const ()>,
}

impl Prompt {
    /// From now on, until it is dropped. It may be entered within itself.
    pub fn enter() -> Self {
        let short = |usual: &Turn| usual.short().take().is_ok();
        let usual = usual().filter(short);
        if usual.is_some() {
            USUAL.set(Some(None));
        }
        Self { usual, _here: PhantomData }
    }

    /// Does something as before: what is held is let go of meanwhile.
    pub fn interrupted<T>(&mut self, work: impl FnOnce() -> T) -> T {
        drop(std::mem::replace(self, Self { usual: None, _here: PhantomData }));
        let done = work();
        *self = Self::enter();
        done
    }
}

impl Drop for Prompt {
    fn drop(&mut self) {
        let Some(usual) = self.usual else { return };
        USUAL.set(Some(Some(usual)));
        if let Err(error) = usual.take() {
            tracing::warn!(%error, "this thread goes on getting its turns soon");
        }
    }
}

/// Has a thread work like this one, whoever starts it: for runtimes, whose threads are started by those that need them.
pub fn like_this_thread() -> impl Fn() + Send + Sync + 'static {
    let turn = Turn::now().map(Turn::again);
    move || {
        if let Err(error) = turn.as_ref().map_or(Ok(()), |turn| turn.take()) {
            tracing::debug!(%error, "this thread works like the one that started it");
        }
        USUAL.set(None);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::runtime::CpuPool;

    fn nice() -> i32 {
        rustix::process::getpriority_process(None).expect("known")
    }

    #[tokio::test]
    async fn what_nobody_waits_for_stands_back_and_the_others_do_not() {
        let (pool, here) = (CpuPool::new(1), nice());
        assert_eq!(pool.run_in_background(nice).await, (here + BACKGROUND_NICE).min(19));
        assert_eq!(pool.run(nice).await, here);
    }

    fn turn() -> (i32, u64) {
        let Turn(turn) = Turn::now().expect("known");
        (turn.sched_nice, turn.sched_runtime)
    }

    #[test]
    fn who_has_got_turns_soon_is_as_before_afterwards() {
        let tried = thread::spawn(|| {
            let before = turn();
            let mut prompt = Prompt::enter();
            let during = turn();
            assert_eq!(prompt.interrupted(turn), before);
            let again = Prompt::enter();
            assert_eq!(turn(), during, "as far as it goes");
            drop(again);
            assert_eq!(turn(), during, "until the outer one ends");
            drop(prompt);
            assert_eq!(turn(), before);
            let panicked = std::panic::catch_unwind(|| {
                let _prompt = Prompt::enter();
                panic!("as told")
            });
            assert!(panicked.is_err());
            assert_eq!(turn(), before);
            (before, during)
        });
        let (before, during) = tried.join().expect("no panic");
        if during == before {
            return println!("skipped: no slices are to be had here");
        }
        assert_eq!(during, (before.0, FIRST_SLICE));
    }

    #[test]
    fn who_is_started_by_who_comes_first_comes_no_earlier() {
        let tried = thread::spawn(|| {
            work_first();
            let first = turn();
            let started = thread::spawn(move || {
                let handed_on = turn();
                let _prompt = Prompt::enter();
                (handed_on, turn())
            });
            (first, started.join().expect("no panic"))
        });
        let (first, (handed_on, entered)) = tried.join().expect("no panic");
        assert_eq!((handed_on, entered), (first, first));
    }

    #[test]
    fn what_comes_first_does_not_hand_that_on_to_a_runtime() {
        let here = nice();
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).on_thread_start(like_this_thread()).build().expect("a runtime");
        let handle = runtime.handle().clone();
        let first = thread::spawn(move || {
            work_first();
            let blocking = handle.block_on(handle.spawn_blocking(nice)).expect("no panic");
            (nice(), thread::spawn(nice).join().expect("no panic"), blocking)
        });
        let (itself, started, blocking) = first.join().expect("no panic");
        assert_eq!((started, blocking), (itself, here));
        if itself == here {
            return println!("skipped: this process may not come first");
        }
        assert_eq!(itself, (here + FIRST_NICE).max(-20));
    }
}
