//! The chain: transport, outbox and follower against Anvil, and against nodes that fail, hang and lie.

#[path = "chain/anvil.rs"]
mod anvil;
#[path = "chain/crashes.rs"]
mod crashes;
#[path = "chain/follower.rs"]
mod follower;
#[path = "chain/gate.rs"]
mod gate;
#[path = "chain/outbox.rs"]
mod outbox;
#[path = "chain/outbox_troubles.rs"]
mod outbox_troubles;
#[path = "chain/transport.rs"]
mod transport;
