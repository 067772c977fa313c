//! The directory service: who stores, where, with how much room, and how reliably it was there.
//!
//! A tracker is trusted with nothing: it knows consumers, and proposes them.
//! What it knows is in memory and, record by record, in `DIR/registry`; a
//! restart loses at most the last second of beats, and the time in which the
//! tracker itself was away counts neither for nor against anyone.

mod address;
mod error;
mod record;
mod registry;
mod select;
mod service;

pub use error::Error;
pub use service::{ConsumerStatus, Tracker, TrackerOptions, TrackerParts, TrackerStatus};
