//! Whose turn on the processors comes first. Each thread has a nice value of its own, and gives it to those that it starts:
//! see sched(7).

/// How far what nobody waits for stands back behind other work.
const BACKGROUND_NICE: i32 = 10;
/// How far what everybody waits for comes before other work.
const FIRST_NICE: i32 = -10;

/// From now on this thread, and those that it starts, stand back behind other work for the processors.
pub fn work_in_background() {
    if let Err(error) = rustix::process::nice(BACKGROUND_NICE) {
        tracing::debug!(%error, "this thread cannot stand back");
    }
}

/// From now on this thread, and those that it starts, come before other work for the processors, if the process may have that:
/// with `CAP_SYS_NICE`, or where `RLIMIT_NICE` allows all of it.
pub fn work_first() {
    if let Err(error) = rustix::process::nice(FIRST_NICE) {
        tracing::debug!(%error, "this thread cannot come first");
    }
}

/// Does some work as after [`work_first`], and leaves the thread as it was.
pub fn done_first<T>(work: impl FnOnce() -> T) -> T {
    /// Also when the work panics.
    struct Afterwards(rustix::io::Result<i32>);
    impl Drop for Afterwards {
        fn drop(&mut self) {
            if let Err(error) = self.0.and_then(|usual| rustix::process::setpriority_process(None, usual)) {
                tracing::warn!(%error, "this thread goes on coming before other work");
            }
        }
    }
    let _as_before = Afterwards(rustix::process::getpriority_process(None));
    work_first();
    work()
}

/// Has a thread work like this one, whoever starts it: for runtimes, whose threads are started by those that need them.
pub fn like_this_thread() -> impl Fn() + Send + Sync + 'static {
    let usual = rustix::process::getpriority_process(None);
    move || {
        let set = usual.and_then(|usual| rustix::process::setpriority_process(None, usual));
        if let Err(error) = set {
            tracing::debug!(%error, "this thread works like the one that started it");
        }
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

    #[test]
    fn what_was_done_first_leaves_a_thread_as_it_was() {
        let tried = thread::spawn(|| {
            let before = nice();
            let during = done_first(nice);
            let panicked = std::panic::catch_unwind(|| done_first(|| panic!("as told")));
            (before, during, panicked.is_err(), nice())
        });
        let (before, during, has_panicked, after) = tried.join().expect("no panic");
        assert!(has_panicked);
        assert_eq!(after, before);
        if during == before {
            return println!("skipped: this process may not come first");
        }
        assert_eq!(during, (before + FIRST_NICE).max(-20));
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
