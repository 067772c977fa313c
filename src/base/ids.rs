//! Ids: 32 bytes each, a type of their own each, written as hex (peers in base58 as libp2p does).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An id that could not be read from text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {what}: expected {expected}")]
pub struct IdError {
    what: &'static str,
    text: String,
    expected: &'static str,
}

macro_rules! id32 {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The bytes of the id.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &hex::encode(self.0)[..12])
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| IdError {
                    what: $what,
                    text: text.chars().take(80).collect(),
                    expected: "64 hexadecimal digits",
                })?;
                Ok(Self(bytes))
            }
        }
    };
}

id32!(
    /// A chunk: 256 random bits, drawn by the encoder for every attempt. Also the salt of its key.
    ChunkId, "chunk id"
);
id32!(
    /// A shard: the SHA-256 Merkle root over its leaves.
    ShardId, "shard id"
);
id32!(
    /// An owner: the Ed25519 public key that certifies its peers.
    OwnerId, "owner id"
);
id32!(
    /// A bucket: derived from the phrase and the bucket's name.
    BucketId, "bucket id"
);

/// A peer: its Ed25519 public key. Written as libp2p writes it, `12D3KooW...`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerId(pub [u8; 32]);

/// Identity multihash of a protobuf-encoded Ed25519 public key (libp2p peer-ids specification).
const PEER_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl PeerId {
    /// The bytes of the public key.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The libp2p multihash of this peer: 38 bytes.
    pub fn to_multihash(self) -> [u8; 38] {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&PEER_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        bytes
    }

    /// From a libp2p multihash; None unless it holds an Ed25519 key.
    pub fn from_multihash(bytes: &[u8]) -> Option<Self> {
        let key = bytes.strip_prefix(&PEER_PREFIX)?;
        Some(Self(key.try_into().ok()?))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.to_multihash()).into_string())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.to_string();
        write!(f, "PeerId({})", &text[text.len().saturating_sub(8)..])
    }
}

impl FromStr for PeerId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let fail = || IdError {
            what: "peer id",
            text: text.chars().take(80).collect(),
            expected: "a libp2p Ed25519 peer id (12D3KooW...)",
        };
        if text.len() > 64 {
            return Err(fail());
        }
        let bytes = bs58::decode(text).into_vec().map_err(|_| fail())?;
        Self::from_multihash(&bytes).ok_or_else(fail)
    }
}

/// An inode number of a bucket. The root is 1, as FUSE has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ino(pub u64);

impl Ino {
    /// The root directory of a bucket.
    pub const ROOT: Ino = Ino(1);
}

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_text() {
        let id = ShardId([7; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        let peer = PeerId([9; 32]);
        assert!(peer.to_string().starts_with("12D3KooW"));
        assert_eq!(peer.to_string().parse(), Ok(peer));
    }

    #[test]
    fn bad_ids_are_refused() {
        assert!("12".parse::<ShardId>().is_err());
        assert!("zz".repeat(32).parse::<ShardId>().is_err());
        assert!("Qm".parse::<PeerId>().is_err());
        assert!("1".repeat(10_000).parse::<PeerId>().is_err());
    }
}
