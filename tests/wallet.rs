//! The wallet as a person meets it: what each verb prints and leaves on the disk, every bad input, a terminal, crashes.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail with it")]

#[path = "wallet/crash.rs"]
mod crash;
#[path = "wallet/home.rs"]
mod home;
#[path = "wallet/person.rs"]
mod person;
#[path = "wallet/terminal.rs"]
mod terminal;
#[path = "wallet/verbs.rs"]
mod verbs;
#[path = "wallet/wrong.rs"]
mod wrong;
