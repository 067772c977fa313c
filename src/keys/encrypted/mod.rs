//! Secrets as they may lie on a disk: encrypted under a password, in the form of the Web3 Secret Storage, version 3.
//!
//! | text | holds | read by |
//! |---|---|---|
//! | [`EncryptedKey`] | the key of one account | every Ethereum program |
//! | [`EncryptedPhrase`] | the 32 bytes of a phrase, in an envelope of the same form | this one |
//!
//! Both are JSON. What a password opens is checked against the address that the text names: the envelope's own check
//! covers neither the initial vector nor the numbers of the key derivation.

mod envelope;
mod key;
mod password;
mod phrase;
#[cfg(test)]
mod tests;

pub use key::EncryptedKey;
pub use password::{Password, ScryptCost, Sealing};
pub use phrase::EncryptedPhrase;
