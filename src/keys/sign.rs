//! Ed25519 (RFC 8032): the keys of owners and of peers.

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::{Certificate, Role};
use crate::base::{OwnerId, PeerId, UnixMillis};

/// Whether `signature` over `message` is by the holder of the key of `public`.
pub fn verify(public: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}

struct Ed25519(Ed25519KeyPair);

impl Ed25519 {
    fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are an Ed25519 seed"))
    }

    fn public(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes")
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }
}

/// The key of an owner: certifies the owner's peers. Has no Debug.
pub struct OwnerKey(Ed25519);

impl OwnerKey {
    /// The key of this seed (any 32 secret bytes).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Ed25519::from_seed(seed))
    }

    /// The public key.
    pub fn id(&self) -> OwnerId {
        OwnerId(self.0.public())
    }

    /// Says that `peer` acts for this owner in this role.
    pub fn certify(&self, peer: PeerId, role: Role, now: UnixMillis) -> Certificate {
        let mut certificate = Certificate { owner: self.id(), peer, role, issued: now, signature: Vec::new() };
        certificate.signature = self.0.sign(&certificate.signed_bytes()).to_vec();
        certificate
    }
}

/// The key of one process: its identity in the swarm, and what a consumer signs receipts with. Has no Debug.
pub struct PeerKey {
    seed: Zeroizing<[u8; 32]>,
    key: Ed25519,
}

impl PeerKey {
    /// The key of 32 random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        Self { key: Ed25519::from_seed(&seed), seed }
    }

    /// The public key.
    pub fn peer_id(&self) -> PeerId {
        PeerId(self.key.public())
    }

    /// Signs. Every message begins with a text that says what is signed, so that none passes for another.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message)
    }

    /// The secret seed, for the swarm's handshakes and the key file.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        self.seed.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_vector_of_rfc_8032() {
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let key = PeerKey::from_seed(seed.try_into().unwrap());
        assert_eq!(hex::encode(key.peer_id().0), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let signature = key.sign(b"");
        assert!(hex::encode(signature).starts_with("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065"));
        assert!(verify(key.peer_id().as_bytes(), b"", &signature));
        assert!(!verify(key.peer_id().as_bytes(), b"x", &signature));
        assert!(!verify(key.peer_id().as_bytes(), b"", &signature[..63]));
        assert!(!verify(&[1; 32], b"", &signature));
    }
}
