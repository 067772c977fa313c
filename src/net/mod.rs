//! Talk to peers: the `Network` seam, the wire messages, the clients and servers of the protocols.
//!
//! Everything above this module sees streams between authenticated peers
//! ([`Network`]), and on top of them two protocols: shards ([`ShardClient`],
//! [`ShardService`]) and the tracker ([`TrackerClient`], [`TrackerService`]).
//! The specification of both is the documentation of the private module `wire`.
//!
//! Three networks: [`Libp2pNetwork`] is the real one, [`SimulatedNetwork`] lives in one process, and
//! [`FaultyNetwork`] wraps either and breaks what it is told to break.

mod client;
mod contact;
mod error;
mod faulty;
mod network;
mod server;
mod service;
mod simulated;
mod swarm;
#[cfg(test)]
mod tests;
mod wire;

pub use client::{ShardClient, TrackerClient};
pub use contact::{Contact, parse_address};
pub use error::Error;
pub use faulty::{FaultPlan, FaultyNetwork};
pub use network::{BoxStream, Incoming, Network, Protocol, Stream};
pub use server::{ServerIdentity, serve_shards, serve_tracker};
pub use service::{
    Beat, Candidate, CandidateQuery, Receipt, Refusal, Registration, Reservation, Reserved, ShardPage, ShardService,
    ShardStat, TrackerService,
};
pub use simulated::{SimulatedNetwork, SimulatedOptions, SimulatedWorld};
pub use swarm::{Libp2pNetwork, Libp2pOptions};
