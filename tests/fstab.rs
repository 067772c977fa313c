//! The bucket as part of a system: fstab, service managers, users in the way, daemons that died, a bare mount point.
//!
//! Each test runs again as root in mount and process namespaces of its own, with its own /etc and /sbin laid over those of
//! the machine: nothing of the machine changes, and nothing stays behind.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail with it")]

#[path = "fstab/fixture.rs"]
mod fixture;
#[path = "fstab/install.rs"]
mod install;
#[path = "fstab/line.rs"]
mod line;
#[path = "fstab/process.rs"]
mod process;
