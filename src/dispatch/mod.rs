//! Place shards on consumers, and collect them again.
//!
//! A [`Dispatcher`] knows consumers: from the tracker while it answers, from
//! memory while it does not. [`Dispatcher::scatter`] puts the n shards of a
//! chunk on n consumers and answers at the commit threshold, having its caller
//! note before each put who may have the shard from then on;
//! [`Dispatcher::gather_blocks`] brings the sealed bytes of blocks back from
//! whoever has them, opened by its caller; [`Dispatcher::rebuild`] and
//! [`Dispatcher::place`] are what repair is made of.
//!
//! Nothing here holds a key, and nothing here outlives its deadline.

mod choose;
mod counters;
mod directory;
mod dispatcher;
mod error;
mod fetch;
mod flights;
mod gather;
mod pace;
mod scatter;
mod sources;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use counters::Counters;
pub use directory::Remembered;
pub use dispatcher::{Dispatcher, Options, Parts};
pub use error::Error;
pub use gather::{Rebuilt, Shards};
pub use scatter::{Announce, Health, Placement, Rest, Scattered};
