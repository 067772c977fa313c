//! The chain: transport, outbox, follower and ledger against Anvil, and against nodes that fail, hang and lie.

#[path = "chain/accounts.rs"]
mod accounts;
#[path = "chain/anvil.rs"]
mod anvil;
#[path = "chain/chapters.rs"]
mod chapters;
#[path = "chain/conformance.rs"]
mod conformance;
#[path = "chain/contracts.rs"]
mod contracts;
#[path = "chain/crashes.rs"]
mod crashes;
#[path = "chain/follower.rs"]
mod follower;
#[path = "chain/gate.rs"]
mod gate;
#[path = "chain/life.rs"]
mod life;
#[path = "chain/outbox.rs"]
mod outbox;
#[path = "chain/outbox_troubles.rs"]
mod outbox_troubles;
#[path = "chain/quarrels.rs"]
mod quarrels;
#[path = "chain/simulated.rs"]
mod simulated;
#[path = "chain/transport.rs"]
mod transport;
#[path = "chain/vectors.rs"]
mod vectors;
