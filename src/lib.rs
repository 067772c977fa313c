//! OpenBucket: a bucket that mounts, kept by strangers' disks.
//!
//! The groups below are the layers, lowest first. A module imports only from
//! groups above its own; modules of one group never import each other.
//! `tests/tidy.rs` holds it so.

pub mod base;

pub mod runtime;

pub mod coding;
pub mod keys;

pub mod net;
pub mod rpc;
pub mod store;

pub mod chain;

pub mod dispatch;

pub mod bucket;

pub mod consumer;
pub mod mount;
pub mod tracker;

pub mod daemon;

pub mod config;

pub mod cli;
