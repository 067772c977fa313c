//! The daemon's API: gRPC over a unix socket of mode 0600.
//!
//! The messages are those of `openbucket.proto`. A server implements
//! [`daemon_server::Daemon`] and is run by [`serve`] on a [`Socket`]; a
//! program talks through a [`Client`]. Failures cross as a gRPC status, whose
//! code maps to one [`ErrorKind`](crate::base::ErrorKind) and back.

mod client;
mod error;
mod server;
mod status;
mod supervisor;

/// Generated from `openbucket.proto`.
#[allow(clippy::all, clippy::unwrap_used, clippy::too_many_lines, clippy::too_many_arguments)]
mod v1 {
    tonic::include_proto!("openbucket.v1");
}

pub use client::{Client, Documents, FsckStream, ProgressStream};
pub use error::Error;
pub use server::{Socket, serve};
pub use status::{kind_of, to_status};
pub use supervisor::{SupervisorClient, SupervisorService, serve_supervisor};
pub use v1::{
    Document, EvictRequest, FsckProgress, FsckRequest, Level, ListFilesRequest, PinRequest, Progress, StatFileRequest,
    StatusRequest, StopRequest, SyncRequest, daemon_server,
};
