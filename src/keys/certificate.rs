//! Certificates: an owner's signed word that a peer acts for it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Error, verify};
use crate::base::{OwnerId, PeerId, UnixMillis};

/// What a peer does for its owner. The numbers are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Owns files.
    Producer = 0,
    /// Keeps shards.
    Consumer = 1,
    /// Knows who keeps shards.
    Tracker = 2,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Producer => "producer",
            Role::Consumer => "consumer",
            Role::Tracker => "tracker",
        })
    }
}

/// `owner` says that `peer` acts for it as `role`.
///
/// The signature is the owner's Ed25519 over: the text `openbucket certificate 1` and a zero byte,
/// owner (32 bytes), peer (32), role (1), issued (8, big-endian).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    pub owner: OwnerId,
    pub peer: PeerId,
    pub role: Role,
    pub issued: UnixMillis,
    /// 64 bytes.
    pub signature: Vec<u8>,
}

impl Certificate {
    pub(super) fn signed_bytes(&self) -> Vec<u8> {
        [
            b"openbucket certificate 1\0".as_slice(),
            self.owner.as_bytes(),
            self.peer.as_bytes(),
            &[self.role as u8],
            &self.issued.0.to_be_bytes(),
        ]
        .concat()
    }

    /// Whether the owner signed exactly this. Who shows it must still prove to be `peer`.
    pub fn verify(&self) -> Result<(), Error> {
        match verify(self.owner.as_bytes(), &self.signed_bytes(), &self.signature) {
            true => Ok(()),
            false => Err(Error::Signature { peer: self.peer }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::OwnerKey;

    #[test]
    fn a_changed_certificate_is_refused() {
        let good = OwnerKey::from_seed(&[1; 32]).certify(PeerId([2; 32]), Role::Consumer, UnixMillis(3));
        assert!(good.verify().is_ok());
        let changes: [fn(&mut Certificate); 6] = [
            |c| c.owner = OwnerKey::from_seed(&[9; 32]).id(),
            |c| c.peer = PeerId([9; 32]),
            |c| c.role = Role::Producer,
            |c| c.issued = UnixMillis(4),
            |c| c.signature[63] ^= 1,
            |c| c.signature.clear(),
        ];
        for change in changes {
            let mut bad = good.clone();
            change(&mut bad);
            assert!(matches!(bad.verify(), Err(Error::Signature { .. })), "{bad:?}");
        }
    }
}
