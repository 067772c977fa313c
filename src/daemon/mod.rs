//! Assembles the producer's process: keys, network, bucket, mount and the local API.
//!
//! [`run`] starts them from below and stops them from above: first nobody
//! enters, then what is staged drains as far as the deadline allows, then the
//! mount goes, the bucket closes, the network ends. `api` answers the commands.

mod api;
mod claim;
mod error;
mod fsck;
mod options;
mod process;
mod stop;

pub use error::Error;
pub use options::{MountOptions, Options};
pub use process::{Phase, run};
