//! One round: how the writers work, which machines lose their power, and at which moment.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use openbucket::runtime::Chance;

use crate::{cuts::START_OPERATIONS, fixture::text, lab::Lab, writer::Writer};

/// The longest time from the start of the writers to the cut.
const WORK_MILLIS: u64 = 3_000;
/// What is unlinked is removed after a moment (`REAP_LINGER`); then the power goes.
const REMOVAL: Duration = Duration::from_millis(150);
/// How often the power is looked at that goes at some operation.
const LOOK: Duration = Duration::from_millis(1);

/// When the power goes.
enum End {
    /// After the work and so much rest: uploads end, and nothing flushes the log by the way.
    Time(Duration),
    /// At an operation of the mount's disk.
    Operation(u64),
    /// Right after a flush of the disk of one of them.
    Flush { of: String, count: u64 },
    /// When `openbucket sync` has said that everything is safe.
    Synced,
    /// When the mount has ended in order.
    Stopped,
    /// When files were unlinked that were synced, and are being removed.
    Removed,
}

/// What was drawn for one round.
pub struct Round {
    /// Who loses the power: mostly all, as in a house.
    victims: Vec<String>,
    /// They are killed before, with their power on, and start again: what they had not flushed is there, and is to be
    /// flushed before anyone relies on it.
    pub is_killed: bool,
    work: Duration,
    /// Nothing is synced: what flushes the log is what must.
    is_careless: bool,
    /// The first writer fills the log, and flushes it for all: sometimes it is not there.
    absent: usize,
    /// Uploads run meanwhile, because somebody waits for them.
    is_uploading: bool,
    end: End,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { victims, work, is_careless, is_uploading, .. } = self;
        write!(f, "{} ms of {}", work.as_millis(), victims.join(", "))?;
        write!(f, " (careless: {is_careless}, uploading: {is_uploading}, killed: {}) ", self.is_killed)?;
        match &self.end {
            End::Time(rest) => write!(f, "and {} ms of rest", rest.as_millis()),
            End::Operation(count) => write!(f, "or {count} operations"),
            End::Flush { of, count } => write!(f, "or {count} flushes of {of}"),
            End::Synced => write!(f, "and a sync"),
            End::Stopped => write!(f, "and a stop"),
            End::Removed => write!(f, "and removals"),
        }
    }
}

impl Round {
    pub fn draw(lab: &Lab, chance: &dyn Chance) -> Self {
        let one_in = |count: u64| chance.below(count) == 0;
        let victims = match chance.below(10) {
            0 => vec!["mount".to_owned()],
            1 => vec!["consumer-1".to_owned()],
            _ => lab.names(),
        };
        let has_mount = victims.iter().any(|name| name == "mount");
        // Of few and of many about as often.
        let count = |most: u64| 1 + chance.below(1 << chance.below(most));
        let consumers: Vec<_> = victims.iter().filter(|name| name.starts_with("consumer")).cloned().collect();
        let end = match chance.below(8) {
            0 if has_mount => End::Synced,
            1 if has_mount => End::Stopped,
            2 if has_mount => End::Operation(count(11)),
            6 if has_mount => End::Removed,
            // Then a shard is there of which the mount knows only what it has announced.
            3..6 if !consumers.is_empty() => {
                let of = consumers[chance.below(consumers.len() as u64) as usize].clone();
                End::Flush { of, count: count(6) }
            }
            _ => End::Time(Duration::from_millis(if one_in(3) { chance.below(WORK_MILLIS) } else { 0 })),
        };
        let is_at_flush = matches!(end, End::Flush { .. });
        Self {
            victims,
            is_killed: one_in(6),
            work: Duration::from_millis(100 + chance.below(WORK_MILLIS)),
            is_careless: one_in(if is_at_flush { 2 } else { 4 }),
            absent: usize::from(one_in(3)),
            is_uploading: is_at_flush || one_in(2),
            end,
        }
    }

    pub fn has(&self, victim: &str) -> bool {
        self.victims.iter().any(|name| name == victim)
    }

    fn victims(&self) -> Vec<&str> {
        self.victims.iter().map(String::as_str).collect()
    }

    /// The writers work, the victims are killed, and start again.
    pub fn work_and_kill(&self, lab: &Lab, writers: &mut [Writer], chance: &dyn Chance) {
        let work = Duration::from_millis(100 + chance.below(WORK_MILLIS / 2));
        self.with_writers(lab, writers, !self.has("mount"), |stop| {
            thread::sleep(work); // the moment of the kill is drawn
            lab.kill(&self.victims());
            stop.store(true, Ordering::Relaxed);
        });
        lab.start_again(&self.victims());
    }

    /// The writers work, the power goes, sometimes once more while the machines start, and they start again.
    pub fn work_and_cut(&self, lab: &mut Lab, writers: &mut [Writer], chance: &dyn Chance) {
        let victims = self.victims();
        match &self.end {
            End::Operation(count) => lab.power_off_after(&victims, *count),
            End::Flush { of, count } => lab.power_off_after_flushes(&victims, of, *count),
            End::Time(_) | End::Synced | End::Stopped | End::Removed => {}
        }
        let is_in_order = matches!(self.end, End::Synced | End::Stopped | End::Removed);
        let has_worked =
            self.with_writers(lab, writers, matches!(self.end, End::Stopped) || !self.has("mount"), |stop| {
                self.pass_time(lab);
                match &self.end {
                    End::Synced | End::Stopped | End::Removed => return,
                    End::Time(rest) if !rest.is_zero() => {
                        stop.store(true, Ordering::Relaxed);
                        thread::sleep(*rest); // the moment of the cut is drawn
                    }
                    End::Time(_) | End::Operation(_) | End::Flush { .. } => {}
                }
                lab.power_off(&victims);
                // Nobody is to wait for them.
                lab.kill(&victims);
            });
        assert!(has_worked || !is_in_order, "a writer failed though everything was up\n{}", lab.cluster.logs());
        match self.end {
            End::Synced => {
                lab.cluster.sync();
                writers.iter_mut().for_each(|writer| writer.change_a_name().unwrap());
                lab.cluster.sync();
                writers.iter_mut().for_each(Writer::is_safe);
            }
            End::Removed => {
                writers.iter_mut().for_each(|writer| writer.write_and_remove().unwrap());
                thread::sleep(REMOVAL); // the moment of the cut
            }
            End::Stopped => lab.stop("mount"),
            End::Time(_) | End::Operation(_) | End::Flush { .. } => {}
        }
        lab.power_off(&victims);
        lab.cut(&victims, chance);
        if chance.below(4) == 0 {
            let (last, others) = victims.split_last().expect("somebody");
            lab.start_again(others);
            lab.start_and_power_off(last, 1 + chance.below(START_OPERATIONS));
            lab.cut(&[last], chance);
            lab.start_again(&[last]);
        } else {
            lab.start_again(&victims);
        }
    }

    fn pass_time(&self, lab: &Lab) {
        let of = match &self.end {
            End::Operation(_) => "mount",
            End::Flush { of, .. } => of,
            End::Time(_) | End::Synced | End::Stopped | End::Removed => return thread::sleep(self.work), // the moment is drawn
        };
        let until = Instant::now() + self.work;
        while Instant::now() < until && !lab.is_off(of) {
            thread::sleep(LOOK); // the look at a condition
        }
    }

    /// Does something while the writers work, and stops them; whether none failed. When the mount is up until their end, nothing
    /// of it may be lost.
    fn with_writers(
        &self,
        lab: &Lab,
        writers: &mut [Writer],
        is_mount_up: bool,
        act: impl FnOnce(&AtomicBool),
    ) -> bool {
        let (stop, has_failed) = (&AtomicBool::new(false), &AtomicBool::new(false));
        thread::scope(|scope| {
            for writer in writers.iter_mut().skip(self.absent) {
                scope.spawn(move || match writer.work(stop, self.is_careless) {
                    Ok(()) if is_mount_up => writer.is_safe(),
                    Ok(()) => {}
                    Err(error) => {
                        println!("a writer ends: {error}");
                        has_failed.store(true, Ordering::Relaxed);
                    }
                });
            }
            if self.is_uploading {
                let words = ["sync", &text(&lab.cluster.mount()), "--timeout", "1"].map(str::to_owned);
                scope.spawn(move || {
                    let words = words.each_ref().map(String::as_str);
                    while !stop.load(Ordering::Relaxed) {
                        // It may not be done in time, or be cut short.
                        drop(lab.cluster.run(&words, b""));
                    }
                });
            }
            act(stop);
            stop.store(true, Ordering::Relaxed);
        });
        !has_failed.load(Ordering::Relaxed)
    }
}
