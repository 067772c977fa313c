//! Keys: the phrase and what is derived from it, owner and peer keys, certificates, key files.
//!
//! ```text
//! phrase (24 words) -> BIP-39 seed -> RootSecret --HKDF--> owner key, bucket keys and ids, Ethereum key
//!                                  -> BIP-32, m/44'/60'/0'/0/n: Ethereum keys as other wallets derive them
//! 32 random bytes   -> PeerKey, certified by an OwnerKey: Certificate { owner, peer, role }
//! ```
//! Whoever has the phrase has everything; whoever has a process's directory has that process's
//! peer key only - except a producer's, which holds the [`RootSecret`]. Peers are authorised by the
//! owner that certified them. The exact derivations are in `root` and `derive`, what is signed in `certificate`.
//! [`EncryptedKey`] and [`EncryptedPhrase`] are what may lie on a disk for long: nothing without the [`Password`].

mod certificate;
mod derive;
mod encrypted;
mod error;
mod ethereum;
mod files;
mod phrase;
mod root;
mod sign;

pub use certificate::{Certificate, Role};
pub use encrypted::{EncryptedKey, EncryptedPhrase, Password, ScryptCost, Sealing};
pub use error::Error;
pub use ethereum::{EthereumAddress, EthereumKey};
pub use files::{Fresh, Identity, KeyStore};
pub use phrase::Phrase;
pub use root::RootSecret;
pub use sign::{OwnerKey, PeerKey, verify};
