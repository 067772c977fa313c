//! The Ethereum account: a secp256k1 key and its address with the EIP-55 checksum.

use std::fmt;

use k256::{SecretKey, elliptic_curve::sec1::ToSec1Point};
use sha3::{Digest, Keccak256};
use zeroize::Zeroizing;

/// The secret key of an Ethereum account. Has no Debug.
pub struct EthereumKey(Zeroizing<[u8; 32]>);

impl EthereumKey {
    /// None unless the bytes are a scalar of secp256k1 (not zero, below the group order).
    pub(super) fn new(bytes: Zeroizing<[u8; 32]>) -> Option<Self> {
        SecretKey::from_slice(bytes.as_slice()).ok().map(|_| Self(bytes))
    }

    /// The scalar, big-endian.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The account's address.
    pub fn address(&self) -> EthereumAddress {
        let key = SecretKey::from_slice(self.0.as_slice()).expect("checked when made");
        let point = key.public_key().to_sec1_point(false);
        let hash = Keccak256::digest(&point.as_bytes()[1..]);
        EthereumAddress(hash[12..].try_into().expect("32 - 12 bytes"))
    }
}

/// The address of an Ethereum account; prints with the checksum of EIP-55.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EthereumAddress(pub [u8; 20]);

impl fmt::Display for EthereumAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lower = hex::encode(self.0);
        let hash = hex::encode(Keccak256::digest(lower.as_bytes()));
        f.write_str("0x")?;
        for (letter, digit) in lower.chars().zip(hash.chars()) {
            let is_upper = digit >= '8';
            write!(f, "{}", if is_upper { letter.to_ascii_uppercase() } else { letter })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_that_wallets_show() {
        // The first account of the well-known development phrase "test test ... junk".
        let bytes = hex::decode("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").unwrap();
        let key = EthereumKey::new(Zeroizing::new(bytes.try_into().unwrap())).unwrap();
        assert_eq!(key.address().to_string(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
    }

    #[test]
    fn what_is_no_scalar_is_refused() {
        assert!(EthereumKey::new(Zeroizing::new([0; 32])).is_none());
        assert!(EthereumKey::new(Zeroizing::new([255; 32])).is_none());
        assert!(EthereumKey::new(Zeroizing::new([1; 32])).is_some());
    }
}
