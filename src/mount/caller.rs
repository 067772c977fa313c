//! Who waits for an answer. What the kernel does not send along is read from /proc: groups, capabilities, signals.
//!
//! The caller cannot end while it waits, so what is read is its own. A caller that /proc does not show (another process
//! namespace, `hidepid`) has no privilege and is not watched.

use std::{fs, future, io};

use rustix::io::Errno;

use crate::base::limits;

/// What capabilities(7) allows to those who need not be root.
#[derive(Clone, Copy, Debug)]
pub(super) enum Capability {
    /// CAP_FSETID: leaves set-user-id and set-group-id bits on what it changes.
    KeepSetId = 4,
    /// CAP_SYS_ADMIN: sees trusted attributes.
    Administer = 21,
}

const INTERRUPT: u64 = signal_bit(2);
const KILL: u64 = signal_bit(9);
/// Quit, illegal, trap, abort, bus, float, segment, processor time, file size, system call: a process that does not catch
/// them ends with a core dump, and is not marked as killed before.
const CORE: u64 = signal_bit(3)
    | signal_bit(4)
    | signal_bit(5)
    | signal_bit(6)
    | signal_bit(7)
    | signal_bit(8)
    | signal_bit(11)
    | signal_bit(24)
    | signal_bit(25)
    | signal_bit(31);

const fn signal_bit(number: u32) -> u64 {
    1 << (number - 1)
}

/// The thread that a request came from, and as whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    /// Of our own process namespace; 0 is the kernel, or a thread that is not in it.
    thread: u32,
    gid: u32,
}

impl Caller {
    /// Nobody waits.
    pub(super) const KERNEL: Self = Self { thread: 0, gid: 0 };

    pub(super) fn of(request: &fuser::Request) -> Self {
        Self { thread: request.pid(), gid: request.gid() }
    }

    /// Whether it has this capability here.
    pub(super) fn is_capable(self, of: Capability) -> bool {
        // Root of a user namespace of its own is not root here.
        let namespace = |thread: &str| fs::read_link(format!("/proc/{thread}/ns/user")).ok();
        let is_ours = || {
            let ours = namespace("self");
            ours.is_some() && ours == namespace(&self.thread.to_string())
        };
        self.status().is_ok_and(|status| status.capabilities >> of as u32 & 1 != 0) && is_ours()
    }

    pub(super) fn is_in_group(self, gid: u32) -> bool {
        self.gid == gid || self.status().is_ok_and(|status| status.groups.contains(&gid))
    }

    /// Comes back when a signal has come that ends the process; with `or_interrupt` also for an interrupt (control-C)
    /// that the program catches. Not before a first interval: most requests are answered by then.
    pub(super) async fn gives_up(self, or_interrupt: bool) {
        let mut was_seen = false;
        loop {
            // The library has no hook for the kernel's FUSE_INTERRUPT, so this has to be looked at.
            tokio::time::sleep(limits::CALLER_WATCH).await;
            match self.status() {
                Ok(status) if status.is_ending() || (or_interrupt && status.is_interrupted()) => return,
                Ok(_) => was_seen = true,
                Err(error) if was_seen && is_gone(&error) => return,
                Err(_) => return future::pending().await,
            }
        }
    }

    fn status(self) -> io::Result<Status> {
        if self.thread == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Status::parse(&fs::read_to_string(format!("/proc/{}/status", self.thread))?))
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || Errno::from_io_error(error) == Some(Errno::SRCH)
}

/// What of proc_pid_status(5) is needed; what is missing is empty.
#[derive(Debug, Default, PartialEq, Eq)]
struct Status {
    groups: Vec<u32>,
    capabilities: u64,
    /// Signals that wait for this thread.
    own: u64,
    /// Signals that wait for any thread of its process.
    shared: u64,
    blocked: u64,
    ignored: u64,
    caught: u64,
}

impl Status {
    fn parse(text: &str) -> Self {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").trim();
        let mask = |name: &str| u64::from_str_radix(field(name), 16).unwrap_or(0);
        Self {
            groups: field("Groups:").split_whitespace().filter_map(|number| number.parse().ok()).collect(),
            capabilities: mask("CapEff:"),
            own: mask("SigPnd:"),
            shared: mask("ShdPnd:"),
            blocked: mask("SigBlk:"),
            ignored: mask("SigIgn:"),
            caught: mask("SigCgt:"),
        }
    }

    /// A fatal signal of any kind becomes SIGKILL of every thread, but those that leave a core stay what they are.
    fn is_ending(&self) -> bool {
        let arriving = (self.own | self.shared) & !self.blocked & !self.ignored;
        self.own & KILL != 0 || arriving & !self.caught & CORE != 0
    }

    fn is_interrupted(&self) -> bool {
        (self.own | self.shared) & !self.blocked & !self.ignored & INTERRUPT != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Caller {
        let thread = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        Caller { thread, gid: rustix::process::getegid().as_raw() }
    }

    #[test]
    fn a_status_is_read() {
        let text = "Name:\tcat\nPid:\t7\nGroups:\t4 27 1000 \nSigQ:\t1/2\nSigPnd:\t0000000000000100\n\
            ShdPnd:\t0000000000000002\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\nSigCgt:\t0000000000004000\n\
            CapPrm:\tffffffffffffffff\nCapEff:\t0000000000000010\n";
        let expected = Status {
            groups: vec![4, 27, 1000],
            capabilities: 1 << Capability::KeepSetId as u32,
            own: KILL,
            shared: INTERRUPT,
            blocked: 1,
            ignored: 0x1000,
            caught: 0x4000,
        };
        assert_eq!(Status::parse(text), expected);
        assert_eq!(Status::parse(""), Status::default());
    }

    #[test]
    fn only_what_ends_a_process_ends_its_wait() {
        let quit = signal_bit(3);
        let status = |shared, caught| Status { shared, caught, ..Status::default() };
        assert!(Status { own: KILL, ..Status::default() }.is_ending());
        assert!(status(quit, 0).is_ending() && !status(quit, quit).is_ending());
        assert!(!Status { blocked: quit, ..status(quit, 0) }.is_ending());
        assert!(!status(signal_bit(15), 0).is_ending(), "on its way to become a kill");
        let caught = status(INTERRUPT, INTERRUPT);
        assert!(caught.is_interrupted() && !caught.is_ending());
        assert!(!Status { ignored: INTERRUPT, ..status(INTERRUPT, 0) }.is_interrupted());
        // A timer and a child: a disk would not be interrupted either.
        let others = signal_bit(14) | signal_bit(17);
        assert!(!status(others, others).is_interrupted() && !status(others, others).is_ending());
    }

    #[test]
    fn groups_and_capabilities_are_those_of_the_thread() {
        let caller = here();
        let status = caller.status().unwrap();
        assert_eq!(caller.is_capable(Capability::Administer), status.capabilities & 1 << 21 != 0);
        assert!(caller.is_in_group(caller.gid) && status.groups.iter().all(|gid| caller.is_in_group(*gid)));
        assert!(!caller.is_in_group(u32::MAX - 1));
        assert!(!Caller::KERNEL.is_capable(Capability::KeepSetId), "what cannot be known is not granted");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_and_the_living_are_waited_for() {
        for caller in [Caller::KERNEL, here(), Caller { thread: u32::MAX, ..here() }] {
            let gives_up = tokio::time::timeout(10 * limits::CALLER_WATCH, caller.gives_up(true)).await;
            assert!(gives_up.is_err(), "{caller:?}");
        }
    }

    #[tokio::test]
    async fn the_dying_are_not_waited_for() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let caller = Caller { thread: child.id(), ..here() };
        let watched = tokio::spawn(caller.gives_up(false));
        tokio::time::sleep(2 * limits::CALLER_WATCH).await; // so that it was seen alive
        assert!(!watched.is_finished());
        child.kill().unwrap();
        child.wait().unwrap();
        tokio::time::timeout(20 * limits::CALLER_WATCH, watched).await.unwrap().unwrap();
    }
}
