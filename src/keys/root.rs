//! The root secret, and everything that is derived from it.
//!
//! | what | derivation |
//! |---|---|
//! | root | HKDF-Extract (RFC 5869, SHA-256) of the BIP-39 seed (64 bytes, empty passphrase), salt `openbucket/1` |
//! | owner key | Ed25519 seed = Expand(root, `openbucket/1/owner`) |
//! | bucket key | Expand(root, `openbucket/1/bucket/` name) |
//! | bucket id | Expand(root, `openbucket/1/bucket-id/` name) |
//! | Ethereum key | Expand(root, `openbucket/1/ethereum`); if no secp256k1 scalar, with `/1`, `/2`... appended |
//!
//! Every output has 32 bytes; names are UTF-8. The test vectors below are published: they never change.

use ring::{hkdf, hmac};
use zeroize::Zeroizing;

use super::{EthereumKey, OwnerKey};
use crate::base::BucketId;

/// 32 bytes that everything of a producer is derived from. Kept in a key file instead of the phrase. Has no Debug.
pub struct RootSecret(Zeroizing<[u8; 32]>);

struct Bytes32;

impl hkdf::KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

impl RootSecret {
    pub(super) fn from_bip39_seed(seed: &[u8; 64]) -> Self {
        // RFC 5869: Extract is HMAC with the salt as its key. ring's own does not give the result out.
        let salt = hmac::Key::new(hmac::HMAC_SHA256, b"openbucket/1");
        let tag = hmac::sign(&salt, seed);
        Self::from_bytes(tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes"))
    }

    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn expand(&self, label: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let root = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, self.0.as_slice());
        let mut bytes = Zeroizing::new([0; 32]);
        let output = root.expand(label, Bytes32).and_then(|okm| okm.fill(bytes.as_mut_slice()));
        output.expect("32 bytes are within what HKDF gives");
        bytes
    }

    /// The key that certifies this owner's peers.
    pub fn owner_key(&self) -> OwnerKey {
        OwnerKey::from_seed(&self.expand(&[b"openbucket/1/owner"]))
    }

    /// The key that a bucket's chunk keys are derived from.
    pub fn bucket_key(&self, name: &str) -> Zeroizing<[u8; 32]> {
        self.expand(&[b"openbucket/1/bucket/", name.as_bytes()])
    }

    /// The public id of a bucket; tells nothing of its name or key.
    pub fn bucket_id(&self, name: &str) -> BucketId {
        BucketId(*self.expand(&[b"openbucket/1/bucket-id/", name.as_bytes()]))
    }

    /// The key of the Ethereum account.
    pub fn ethereum_key(&self) -> EthereumKey {
        let first = self.expand(&[b"openbucket/1/ethereum"]);
        let more = (1..=u8::MAX).map(|n| self.expand(&[b"openbucket/1/ethereum/", n.to_string().as_bytes()]));
        let mut candidates = std::iter::once(first).chain(more);
        candidates.find_map(EthereumKey::new).expect("256 misses of 2^-128 each do not happen")
    }
}

#[cfg(test)]
mod tests {
    use crate::keys::Phrase;

    /// The published vectors: `abandon` 23 times, then `art`.
    #[test]
    fn the_published_vectors() {
        let root = Phrase::parse(&format!("{}art", "abandon ".repeat(23))).unwrap().root();
        let found = [
            hex::encode(root.as_bytes()),
            root.owner_key().id().to_string(),
            hex::encode(root.bucket_key("home").as_slice()),
            root.bucket_id("home").to_string(),
            hex::encode(root.bucket_key("").as_slice()),
            hex::encode(root.ethereum_key().as_bytes()),
            root.ethereum_key().address().to_string(),
        ];
        let published = [
            // root
            "4f814fac2770a2861b46a5b6b3403e8baf784bf709402de8286e253fb6c89620",
            // owner
            "59e143591763ca699a008a0d5bc1fe3986c0277de878eb8a57def7bee54054ca",
            // bucket key home
            "a11ba729197ba79a23bf6bffa7079b9b44bbe3fd60c074bd68cb04c2096a12ec",
            // bucket id home
            "ce8f726ae0552267bab7fd301a4b40573195bbefd446c6a1ab935364f1859672",
            // bucket key empty
            "4c30c6e5925ae8d687bdad58d8219e0d2eba5f27cf8591dfb6a55e1d8685c2dd",
            // ethereum key
            "6fb336af34f0715fca223902377110a6b4a2ab1c4233cd634ad9218d6d0da3a7",
            // ethereum address
            "0xAdBDc994CC05eaFAD35b807316320453F57f94e6",
        ];
        assert_eq!(found, published);
    }

    #[test]
    fn the_bip39_seed_is_the_one_of_the_standard() {
        // From the vectors of BIP-39, but with the empty passphrase, as wallets use it.
        let words = format!("{}art", "abandon ".repeat(23));
        let seed = bip39::Mnemonic::parse(words.as_str()).unwrap().to_seed("TREZOR");
        assert!(hex::encode(seed).starts_with("bda85446c68413707090a52022edd26a1c9462295029f2e60cd7c4f2bbd30971"));
    }
}
