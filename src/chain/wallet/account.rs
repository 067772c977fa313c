//! An account of a wallet: its address, and how its key follows from the phrase.

use std::{fmt, str::FromStr};

use crate::keys::{EthereumAddress, EthereumKey, Phrase};

const OWNER: &str = "openbucket/1/ethereum";
const BIP44: &str = "m/44'/60'/0'/0/";

/// How an account's key follows from the phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountPath {
    /// By HKDF: the owner's account, which is that of the producer's state of the same phrase.
    Owner,
    /// By BIP-44, m/44'/60'/0'/0/index: as other wallets derive it. Below 2^31.
    Bip44(u32),
}

impl AccountPath {
    /// The key of this path.
    ///
    /// # Panics
    /// When the index is 2^31 or more.
    pub fn key(self, phrase: &Phrase) -> EthereumKey {
        match self {
            AccountPath::Owner => phrase.root().ethereum_key(),
            AccountPath::Bip44(index) => phrase.bip44_key(index).expect("an index below 2^31"),
        }
    }
}

impl fmt::Display for AccountPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccountPath::Owner => f.write_str(OWNER),
            AccountPath::Bip44(index) => write!(f, "{BIP44}{index}"),
        }
    }
}

impl FromStr for AccountPath {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == OWNER {
            return Ok(AccountPath::Owner);
        }
        let index: u32 = text.strip_prefix(BIP44).and_then(|index| index.parse().ok()).ok_or(())?;
        let path = AccountPath::Bip44(index);
        if index < 1 << 31 && path.to_string() == text { Ok(path) } else { Err(()) }
    }
}

/// An account of a wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    pub address: EthereumAddress,
    pub path: AccountPath,
}

impl Account {
    /// That of a phrase's path.
    pub fn of(phrase: &Phrase, path: AccountPath) -> Self {
        Self { address: path.key(phrase).address(), path }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_they_are_written() {
        for path in [AccountPath::Owner, AccountPath::Bip44(0), AccountPath::Bip44((1 << 31) - 1)] {
            assert_eq!(path.to_string().parse(), Ok(path));
        }
        for bad in
            ["", "m/44'/60'/0'/0", "m/44'/60'/0'/0/", "m/44'/60'/0'/0/01", "m/44'/60'/0'/0/+1", "m/44'/60'/1'/0/1"]
        {
            assert_eq!(bad.parse::<AccountPath>(), Err(()), "{bad}");
        }
        assert!("m/44'/60'/0'/0/2147483648".parse::<AccountPath>().is_err());
    }
}
