//! The wallet: a phrase's Ethereum accounts in one directory, each key encrypted under the wallet's password.
//!
//! ```text
//! wallet.json                       the accounts, which of them is the default, the number of the key files
//! keys-<number>/phrase.json         the phrase, encrypted: for more accounts, and for another password
//! keys-<number>/accounts/<0x>.json  a key, encrypted; every Ethereum program reads it
//! lock                              held by whoever changes something
//! ```
//! The directory has mode 0700, the files 0600. Key files are never written over: another password makes all of them anew
//! under the next number, and `wallet.json`, replaced by one rename, says which number counts. So at any instant the whole
//! wallet opens with one password. The first account is the owner's, HKDF label `openbucket/1/ethereum`; the others stand
//! at m/44'/60'/0'/0/n of the same phrase.
//!
//! A [`Wallet`] keeps no secret: each use of a key reads its file and takes the password. On a machine that also has a
//! producer's state of the same phrase, the owner's key follows from `keys/root.key` there, too, without a password.

mod account;
mod change;
mod error;
mod files;
mod list;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use account::{Account, AccountPath};
pub use change::Vacancy;
pub use error::Error as WalletError;
use error::Error;
use files::Directory;
use list::List;

use crate::{
    keys::{EncryptedKey, EthereumAddress, EthereumKey, Password},
    runtime::CpuPool,
};

/// Key files are looked for so often while somebody else changes the password.
const TRIES: usize = 3;

/// An opened wallet: what may be known without the password.
#[derive(Clone, Debug)]
pub struct Wallet {
    directory: Directory,
    list: List,
}

impl Wallet {
    /// The wallet in this directory. [`WalletError::NotFound`] when there is none. Blocks on the disk.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, Error> {
        let directory = Directory::new(directory.into());
        let list = directory.list()?;
        Ok(Self { directory, list })
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its accounts, as they were when it was opened or changed through this value; never none.
    pub fn accounts(&self) -> &[Account] {
        self.list.accounts()
    }

    /// The account that pays unless another one is named.
    pub fn default_account(&self) -> &Account {
        self.list.default_account()
    }

    /// The key of an account; it is wiped when dropped. Reads the disk and computes for half a second with 128 MiB: in
    /// async code call [`Wallet::unlock_on`].
    ///
    /// Errors: [`WalletError::UnknownAccount`]; a wrong password has the kind `Denied`, a damaged file `Corrupt`.
    pub fn unlock(&self, address: EthereumAddress, password: &Password) -> Result<EthereumKey, Error> {
        let (path, text) = self.key_file(address)?;
        let in_file = |source| Error::Key { path: path.clone(), source };
        let key = EncryptedKey::parse(&text).and_then(|key| key.open(password)).map_err(in_file)?;
        match key.address() == address {
            true => Ok(key),
            false => Err(Error::Damaged { path, why: "it holds the key of another account than its name says" }),
        }
    }

    /// The same on the CPU pool. Dropping the future lets it run to its end, and the key is wiped.
    pub async fn unlock_on(
        &self,
        pool: &CpuPool,
        address: EthereumAddress,
        password: Password,
    ) -> Result<EthereumKey, Error> {
        let wallet = self.clone();
        pool.run(move || wallet.unlock(address, &password)).await
    }

    /// The encrypted key of an account as every Ethereum program reads it: JSON of the Web3 Secret Storage, version 3.
    pub fn export(&self, address: EthereumAddress) -> Result<String, Error> {
        let (path, text) = self.key_file(address)?;
        let key = EncryptedKey::parse(&text).map_err(|source| Error::Key { path: path.clone(), source })?;
        match key.address() == Some(address) {
            true => Ok(key.to_json()),
            false => Err(Error::Damaged { path, why: "it is of another account than its name says" }),
        }
    }

    /// Path and text of a key file. It may have moved on to the next number since the list was read.
    fn key_file(&self, address: EthereumAddress) -> Result<(PathBuf, zeroize::Zeroizing<Vec<u8>>), Error> {
        let mut list = self.directory.list()?;
        for _ in 0..TRIES {
            if list.account(address).is_none() {
                return Err(Error::UnknownAccount { address });
            }
            let path = self.directory.account_path(list.generation(), address);
            match files::read(&path)? {
                Some(text) => return Ok((path, text)),
                None => list = self.directory.list()?,
            }
        }
        let path = self.directory.account_path(list.generation(), address);
        Err(Error::Damaged { path, why: "it is missing" })
    }
}
