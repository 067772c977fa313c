//! Talk to peers: the `Network` seam, the wire messages, the clients and servers of the protocols.
//!
//! Everything above this module sees streams between authenticated peers
//! ([`Network`]), and on top of them two protocols: shards ([`ShardClient`],
//! [`ShardService`]) and the tracker ([`TrackerClient`], [`TrackerService`]).
//! The specification of both is the documentation of the private module `wire`.

mod contact;
mod error;
mod network;
mod service;

pub use contact::{Contact, parse_address};
pub use error::Error;
pub use network::{BoxStream, Incoming, Network, Protocol, Stream};
pub use service::{
    Beat, Candidate, CandidateQuery, Receipt, Refusal, Registration, Reservation, Reserved, ShardPage, ShardService,
    ShardStat, TrackerService,
};
