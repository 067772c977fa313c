//! The doors to the chain as a person meets them: on a real Anvil, and every obvious mistake.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail with it")]

#[path = "doors/agreement.rs"]
mod agreement;
#[allow(dead_code, reason = "the tests of the chain use more of it")]
#[path = "chain/anvil.rs"]
mod anvil;
#[path = "doors/desk.rs"]
mod desk;
#[path = "doors/devnet.rs"]
mod devnet;
#[allow(dead_code, reason = "the tests of the chain use more of it")]
#[path = "chain/gate.rs"]
mod gate;
#[allow(dead_code, reason = "the tests of the wallet use more of it")]
#[path = "wallet/home.rs"]
mod home;
#[path = "doors/life.rs"]
mod life;
#[path = "doors/mistakes.rs"]
mod mistakes;
#[path = "doors/parties.rs"]
mod parties;
#[path = "doors/pending.rs"]
mod pending;
#[allow(dead_code, reason = "the tests of the wallet use more of it")]
#[path = "wallet/person.rs"]
mod person;
