//! Two test suites that others wrote, on a real mount: pjdfstest for what POSIX says, fsx for the bytes of a file.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail with it")]

#[path = "devnet/fixture.rs"]
mod fixture;
#[path = "posix/fsx.rs"]
mod fsx;
#[path = "posix/pjdfstest.rs"]
mod pjdfstest;
#[path = "posix/suite.rs"]
mod suite;
