//! One stream to one peer: frames and raw data, counted, with every failure named after the peer.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::AsyncWriteExt;

use crate::{
    base::PeerId,
    keys::Role,
    net::{
        BoxStream, Error,
        service::refused,
        wire::{FrameError, Hello, HelloAnswer, read_data, read_frame, write_frame},
    },
};

/// Bytes that went over the streams of a client, frames included.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub sent: AtomicU64,
    pub received: AtomicU64,
}

/// A stream to a peer. Dropped, it closes; so a cancelled request never leaves half an answer behind.
pub(super) struct Session {
    peer: PeerId,
    stream: BoxStream,
    traffic: Arc<Traffic>,
    /// The server's hello is still to be read, and must be of this role.
    awaited: Option<Role>,
}

impl Session {
    pub fn new(peer: PeerId, stream: BoxStream, traffic: Arc<Traffic>, server_role: Role) -> Self {
        Self { peer, stream, traffic, awaited: Some(server_role) }
    }

    fn broken(&self, why: impl std::fmt::Display) -> Error {
        Error::Unreachable { to: self.peer.to_string(), why: why.to_string() }
    }

    pub fn misbehaved(&self, why: impl Into<String>) -> Error {
        Error::Misbehaved { peer: self.peer, why: why.into() }
    }

    /// Sends one message.
    pub async fn send(&mut self, message: &impl Serialize) -> Result<(), Error> {
        let written = write_frame(&mut self.stream, message).await.map_err(|error| self.broken(error))?;
        self.traffic.sent.fetch_add(written as u64, Ordering::Relaxed);
        self.flush().await
    }

    /// Sends raw data.
    pub async fn send_data(&mut self, data: &[u8]) -> Result<(), Error> {
        self.stream.write_all(data).await.map_err(|error| self.broken(error))?;
        self.flush().await?;
        self.traffic.sent.fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Receives one message. The outer error says that the peer sent nothing at all.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<Result<T, Error>, Nothing> {
        if let Some(role) = self.awaited.take() {
            match self.read().await {
                Ok(HelloAnswer::Hello(hello)) => {
                    if let Err(why) = hello.check(self.peer, &[role]) {
                        return Ok(Err(self.misbehaved(why)));
                    }
                }
                Ok(HelloAnswer::Refused(answer)) => return Ok(Err(refused(self.peer, answer.into()))),
                Err(error) => return self.failed(error),
            }
        }
        match self.read().await {
            Ok(message) => Ok(Ok(message)),
            Err(error) => self.failed(error),
        }
    }

    async fn read<T: DeserializeOwned>(&mut self) -> Result<T, FrameError> {
        let (message, bytes) = read_frame(&mut self.stream).await?;
        self.traffic.received.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(message)
    }

    fn failed<T>(&self, error: FrameError) -> Result<Result<T, Error>, Nothing> {
        match error {
            FrameError::Ended(_) => Err(Nothing(self.broken(error))),
            FrameError::Broken(_) => Ok(Err(self.broken(error))),
            FrameError::Invalid(why) => Ok(Err(self.misbehaved(why))),
        }
    }

    /// Receives raw data. The caller has checked the length against its limit.
    pub async fn receive_data(&mut self, bytes: u32) -> Result<Bytes, Error> {
        match read_data(&mut self.stream, bytes as usize).await {
            Ok(data) => {
                self.traffic.received.fetch_add(data.len() as u64, Ordering::Relaxed);
                Ok(data)
            }
            Err(error) => Err(self.broken(error)),
        }
    }

    /// Says hello. The answer is awaited with the first message.
    pub async fn hello(&mut self, hello: &Hello) -> Result<(), Error> {
        let written = write_frame(&mut self.stream, hello).await.map_err(|error| self.broken(error))?;
        self.traffic.sent.fetch_add(written as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Sends what is written already, when nothing else follows.
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.stream.flush().await.map_err(|error| self.broken(error))
    }
}

/// The stream ended before the first byte of an answer.
pub(super) struct Nothing(pub Error);
