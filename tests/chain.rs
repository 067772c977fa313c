//! The chain: transport, outbox and follower against Anvil, and against nodes that fail, hang and lie.

#[path = "chain/anvil.rs"]
mod anvil;
#[path = "chain/gate.rs"]
mod gate;
#[path = "chain/transport.rs"]
mod transport;
