//! Locks of the standard library, whose poison is ignored: a panic is answered where it is caught, and what it has left half
//! done is of its own making, held or not.
//!
//! Who waits for them soon sleeps, and is woken when they are free. One that offers its turn on the processor to others
//! meanwhile (sched_yield(2)) gets it back only when these have had theirs, milliseconds later on a busy machine, though
//! the lock was free long before.

use std::{
    ops::{Deref, DerefMut},
    sync::{PoisonError, RwLockReadGuard, RwLockWriteGuard, TryLockError},
    time::{Duration, Instant},
};

/// One at a time.
#[derive(Debug, Default)]
pub struct Mutex<T: ?Sized> {
    rank: rank::Rank,
    value: std::sync::Mutex<T>,
}

/// What a [`Mutex`] guards, for as long as this lives.
#[derive(Debug)]
pub struct MutexGuard<'a, T: ?Sized> {
    of: &'a Mutex<T>,
    /// None only within [`MutexGuard::unlocked`] and [`Condvar::wait`], which borrow the guard.
    held: Option<std::sync::MutexGuard<'a, T>>,
    turn: rank::Turn,
}

/// In builds with debug assertions locks that have a rank are only waited for in ascending order: two threads that take two
/// of them in different orders would wait for each other for ever, and hardly ever do so in a test.
#[cfg(debug_assertions)]
mod rank {
    use std::cell::RefCell;

    thread_local! {
        /// The ranks of the locks that this thread holds.
        static HELD: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }

    /// The place of a lock in the order; 0 without one.
    #[derive(Clone, Copy, Debug, Default)]
    pub(super) struct Rank(u64);

    impl Rank {
        pub(super) const fn new(rank: u64) -> Self {
            Self(rank)
        }

        /// May this thread wait for the lock?
        pub(super) fn check(self) {
            let highest = HELD.with_borrow(|held| held.iter().copied().max());
            if let Some(highest) = highest.filter(|highest| self.0 > 0 && *highest >= self.0) {
                panic!("a lock of rank {} is waited for while one of rank {highest} is held", self.0);
            }
        }

        pub(super) fn begin(self) -> Turn {
            if self.0 > 0 {
                HELD.with_borrow_mut(|held| held.push(self.0));
            }
            Turn(self.0)
        }
    }

    /// A lock is held.
    #[derive(Debug)]
    pub(super) struct Turn(u64);

    impl Drop for Turn {
        fn drop(&mut self) {
            let remove = |held: &mut Vec<u64>| {
                if let Some(index) = held.iter().rposition(|rank| *rank == self.0) {
                    held.swap_remove(index);
                }
            };
            if self.0 > 0 {
                HELD.with_borrow_mut(remove);
            }
        }
    }
}

#[cfg(not(debug_assertions))]
mod rank {
    #[derive(Clone, Copy, Debug, Default)]
    pub(super) struct Rank;

    impl Rank {
        pub(super) const fn new(_: u64) -> Self {
            Self
        }

        pub(super) fn check(self) {}

        pub(super) fn begin(self) -> Turn {
            Turn
        }
    }

    #[derive(Debug)]
    pub(super) struct Turn;
}

impl<T> Mutex<T> {
    /// Guards a value.
    pub const fn new(value: T) -> Self {
        Self::ranked(0, value)
    }

    /// Guards a value; whoever holds this lock and waits for others takes only those of higher rank. 0 is no rank.
    pub const fn ranked(rank: u64, value: T) -> Self {
        Self { rank: rank::Rank::new(rank), value: std::sync::Mutex::new(value) }
    }

    /// The value, which nobody else has any more.
    pub fn into_inner(self) -> T {
        self.value.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for its turn.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.rank.check();
        let held = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        MutexGuard { of: self, held: Some(held), turn: self.rank.begin() }
    }

    /// None when somebody has it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let held = match self.value.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(MutexGuard { of: self, held: Some(held), turn: self.rank.begin() })
    }

    /// None when somebody has it for so long. Waits awake, and may so keep from the processor who has it: for less time than
    /// it takes to fall asleep and be woken.
    pub fn try_lock_for(&self, patience: Duration) -> Option<MutexGuard<'_, T>> {
        let start = Instant::now();
        loop {
            if let Some(guard) = self.try_lock() {
                return Some(guard);
            }
            if start.elapsed() >= patience {
                return None;
            }
            std::hint::spin_loop();
        }
    }

    /// The value, of which the borrow shows that nobody else has it.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized> MutexGuard<'_, T> {
    /// Does something while others may have their turn, and waits for its own again.
    pub fn unlocked<R>(guard: &mut Self, work: impl FnOnce() -> R) -> R {
        /// Also when the work panics.
        struct Afterwards<'g, 'm, T: ?Sized>(&'g mut MutexGuard<'m, T>);
        impl<T: ?Sized> Drop for Afterwards<'_, '_, T> {
            fn drop(&mut self) {
                let MutexGuard { held, turn, .. } = self.0.of.lock();
                (self.0.held, self.0.turn) = (held, turn);
            }
        }
        guard.held = None;
        guard.turn = rank::Rank::default().begin();
        let _afterwards = Afterwards(guard);
        work()
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("held whenever the guard is not borrowed")
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("held whenever the guard is not borrowed")
    }
}

/// Who waits for a change of what a [`Mutex`] guards.
#[derive(Debug, Default)]
pub struct Condvar(std::sync::Condvar);

impl Condvar {
    /// Nobody waits yet.
    pub const fn new() -> Self {
        Self(std::sync::Condvar::new())
    }

    /// Lets others have their turn until one says that something has changed; it may also return without.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.held.take().expect("held whenever the guard is not borrowed");
        guard.held = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    /// Something has changed.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Many that read, or one that writes.
#[derive(Debug, Default)]
pub struct RwLock<T: ?Sized>(std::sync::RwLock<T>);

impl<T> RwLock<T> {
    /// Guards a value.
    pub const fn new(value: T) -> Self {
        Self(std::sync::RwLock::new(value))
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until nobody writes.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else reads or writes.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::{Arc, mpsc},
        thread,
    };

    use super::*;

    #[test]
    fn a_panic_leaves_a_lock_as_good_as_before() {
        let (mutex, shared) = (Mutex::new(1), RwLock::new(1));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let (_held, _written) = (mutex.lock(), shared.write());
            panic!("as told");
        }));
        assert!(panicked.is_err());
        *mutex.lock() += 1;
        *shared.write() += 1;
        let tried = *mutex.try_lock().expect("free");
        assert_eq!((tried, *shared.read(), mutex.into_inner()), (2, 2, 2));
    }

    #[test]
    fn others_have_their_turn_while_a_guard_is_unlocked_and_not_afterwards() {
        let mutex = Mutex::new(1);
        let mut guard = mutex.lock();
        assert!(mutex.try_lock().is_none() && mutex.try_lock_for(Duration::from_millis(1)).is_none());
        MutexGuard::unlocked(&mut guard, || *mutex.try_lock().expect("free meanwhile") = 2);
        assert_eq!(*guard, 2);
        let work = || MutexGuard::unlocked(&mut guard, || panic!("as told"));
        assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
        assert_eq!(*guard, 2);
        assert!(mutex.try_lock().is_none(), "held again, also after a panic");
    }

    #[test]
    #[cfg(debug_assertions)]
    fn ranked_locks_are_waited_for_in_ascending_order_only() {
        let [low, high] = [1, 2].map(|rank| Mutex::ranked(rank, ()));
        let is_refused = |mutex: &Mutex<()>| catch_unwind(AssertUnwindSafe(|| drop(mutex.lock()))).is_err();
        let mut held = high.lock();
        assert!(is_refused(&low) && is_refused(&high));
        assert!(low.try_lock().is_some() && !is_refused(&Mutex::new(())), "who does not wait, or is not ranked");
        MutexGuard::unlocked(&mut held, || assert!(!is_refused(&low) && !is_refused(&high)));
        assert!(is_refused(&low), "it is held again");
        drop(held);
        let held = low.lock();
        assert!(!is_refused(&high) && is_refused(&low));
        drop(held);
        assert!(!is_refused(&low));
    }

    #[test]
    fn a_change_wakes_who_waits_for_it() {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let (waiting, (sender, begun)) = (Arc::clone(&shared), mpsc::channel());
        let waiter = thread::spawn(move || {
            let mut guard = waiting.0.lock();
            sender.send(()).expect("somebody listens");
            while !*guard {
                waiting.1.wait(&mut guard);
            }
        });
        begun.recv().expect("it has the lock, and lets go of it only to wait");
        *shared.0.lock() = true;
        shared.1.notify_all();
        waiter.join().expect("woken");
    }
}
