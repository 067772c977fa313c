//! The words of the chain: its id, hashes, keys of actions, calls.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Error;
use crate::{
    base::{Wei, limits, sha256},
    keys::EthereumAddress,
};

/// Which chain: 1 is Ethereum's main one, 31337 a development chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChainId(pub u64);

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! hash32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "0x{}", hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}(0x{}..)", stringify!($name), &hex::encode(self.0)[..12])
            }
        }
    };
}

hash32!(
    /// The hash of a transaction.
    TxHash
);
hash32!(
    /// The hash of a block.
    BlockHash
);

/// What an action is called, so that repeating it does nothing: its caller makes the key from what is to happen, for example
/// `open/<agreement>`, not from when it is asked for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActionKey(String);

impl ActionKey {
    /// A key of 1 to `limits::ACTION_KEY_BYTES` printable ASCII characters.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        let is_short = (1..=limits::ACTION_KEY_BYTES).contains(&text.len());
        if is_short && text.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(Self(text)) } else { Err(Error::BadKey) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ActionKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl fmt::Display for ActionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ActionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActionKey({})", self.0)
    }
}

/// Addresses as their 20 bytes.
pub(super) mod address {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::keys::EthereumAddress;

    pub fn serialize<S: Serializer>(address: &EthereumAddress, serializer: S) -> Result<S::Ok, S::Error> {
        address.0.serialize(serializer)
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<EthereumAddress, D::Error> {
        <[u8; 20]>::deserialize(deserializer).map(EthereumAddress)
    }
}

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The contract that is called, or the account that is paid; [`Call::NEW_CONTRACT`] for code to be put on the chain.
    pub to: EthereumAddress,
    /// What is sent along.
    pub value: Wei,
    /// The call in the contract's ABI; empty for a transfer.
    pub data: Vec<u8>,
    /// What it is, for people: "deposit of 1 ETH".
    pub what: String,
}

impl Call {
    /// Where the code of a new contract is sent: to nobody.
    pub const NEW_CONTRACT: EthereumAddress = EthereumAddress([0; 20]);

    /// Who gets it; None for a new contract.
    pub(super) fn target(&self) -> Option<EthereumAddress> {
        let is_new = self.to == Self::NEW_CONTRACT && !self.data.is_empty();
        if is_new { None } else { Some(self.to) }
    }

    /// Of everything that has an effect: tells whether two calls are one.
    pub(super) fn digest(&self) -> [u8; 32] {
        sha256(&[&self.to.0, &self.value.0.to_be_bytes(), &self.data])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_short_printable_texts() {
        assert!(ActionKey::new("open/17").is_ok());
        assert!(ActionKey::new("x".repeat(limits::ACTION_KEY_BYTES)).is_ok());
        for bad in ["", "two words", "line\n", "\u{e9}"] {
            assert!(ActionKey::new(bad).is_err(), "{bad}");
        }
        assert!(ActionKey::new("x".repeat(limits::ACTION_KEY_BYTES + 1)).is_err());
    }

    #[test]
    fn what_is_said_of_a_call_is_no_part_of_it() {
        let call = |value: u128, what: &str| Call {
            to: EthereumAddress([7; 20]),
            value: Wei(value),
            data: vec![1],
            what: what.to_owned(),
        };
        assert_eq!(call(1, "a").digest(), call(1, "b").digest());
        assert_ne!(call(1, "a").digest(), call(2, "a").digest());
    }
}
