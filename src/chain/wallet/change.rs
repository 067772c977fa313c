//! What changes a wallet: making, restoring, more accounts, another default, another password.

use super::{Account, AccountPath, Wallet, error::Error, files::Directory, list::List};
use crate::{
    base::limits,
    keys::{EncryptedKey, EncryptedPhrase, EthereumAddress, Password, Phrase, Sealing},
    runtime::failpoint,
    store::StateLock,
};

/// A directory for a new wallet, held until it is there or given up.
#[derive(Debug)]
pub struct Vacancy {
    directory: Directory,
    _lock: StateLock,
}

impl Vacancy {
    /// Makes the wallet. Computes for a second.
    pub fn fill(self, phrase: &Phrase, with: &Sealing<'_>) -> Result<Wallet, Error> {
        let last = self.directory.generations()?.into_iter().max().unwrap_or_default();
        let mut list = List::new(last, Account::of(phrase, AccountPath::Owner));
        renew(&self.directory, &mut list, phrase, with)?;
        Ok(Wallet { directory: self.directory, list })
    }
}

impl Wallet {
    /// Takes a directory for a new wallet. One that is there, whole or not, is refused.
    pub fn vacancy(directory: impl Into<std::path::PathBuf>) -> Result<Vacancy, Error> {
        let directory = Directory::new(directory.into());
        let lock = directory.lock()?;
        if directory.find_list()?.is_some() {
            return Err(Error::Exists { directory: directory.path().to_path_buf() });
        }
        if directory.has_keys()? {
            return Err(Error::NoList { directory: directory.path().to_path_buf() });
        }
        Ok(Vacancy { directory, _lock: lock })
    }

    /// Makes the wallet of a phrase, or makes that of the same phrase whole again: afterwards all accounts that it had are
    /// there and open with this password. That of another phrase is refused. Computes for half a second and more for
    /// every account.
    pub fn restore(
        directory: impl Into<std::path::PathBuf>,
        phrase: &Phrase,
        with: &Sealing<'_>,
    ) -> Result<Wallet, Error> {
        let directory = Directory::new(directory.into());
        let lock = directory.lock()?;
        let owner = Account::of(phrase, AccountPath::Owner);
        let Some(mut list) = directory.find_list()? else {
            // Of keys without a list, the owner's file tells whose they are.
            let is_other = |number: &u64| {
                directory.phrase_path(*number).exists() && !directory.account_path(*number, owner.address).exists()
            };
            if directory.generations()?.iter().any(is_other) {
                return Err(Error::OtherPhrase { directory: directory.path().to_path_buf() });
            }
            return Vacancy { directory, _lock: lock }.fill(phrase, with);
        };
        if *list.first() != owner {
            return Err(Error::OtherPhrase { directory: directory.path().to_path_buf() });
        }
        directory.sweep(list.generation())?;
        renew(&directory, &mut list, phrase, with)?;
        Ok(Wallet { directory, list })
    }

    /// Adds the next accounts of the BIP-44 path, and returns them. The password is the wallet's: what else `with` has is
    /// for the new files. Computes for half a second, and as long for every account.
    pub fn add_accounts(&mut self, count: usize, with: &Sealing<'_>) -> Result<Vec<Account>, Error> {
        let _lock = self.lock()?;
        if self.list.accounts().len() + count > limits::WALLET_ACCOUNTS {
            return Err(Error::TooManyAccounts);
        }
        let phrase = open_phrase(&self.directory, &self.list, with.password)?;
        let generation = self.list.generation();
        let mut list = self.list.clone();
        let mut added = Vec::with_capacity(count);
        for _ in 0..count {
            let path = AccountPath::Bip44(next_index(&list)?);
            let key = path.key(&phrase);
            let account = Account { address: key.address(), path };
            self.directory.put_account(generation, &EncryptedKey::seal(&key, with))?;
            list.push(account);
            added.push(account);
        }
        failpoint("wallet-accounts-written");
        self.directory.put_list(&list)?;
        self.list = list;
        Ok(added)
    }

    /// From now on this account pays unless another one is named.
    pub fn set_default(&mut self, address: EthereumAddress) -> Result<(), Error> {
        let _lock = self.lock()?;
        let mut list = self.list.clone();
        if !list.set_default(address) {
            return Err(Error::UnknownAccount { address });
        }
        self.directory.put_list(&list)?;
        self.list = list;
        Ok(())
    }

    /// From now on the wallet opens with the new password, and with no other. A crash at any instant leaves a wallet that
    /// opens with one of the two, wholly. Computes for half a second, and as long for every account.
    pub fn change_password(&mut self, old: &Password, new: &Sealing<'_>) -> Result<(), Error> {
        let _lock = self.lock()?;
        let phrase = open_phrase(&self.directory, &self.list, old)?;
        let mut list = self.list.clone();
        renew(&self.directory, &mut list, &phrase, new)?;
        self.list = list;
        Ok(())
    }

    /// Whether this is the wallet's password. Computes for half a second.
    pub fn check_password(&self, password: &Password) -> Result<(), Error> {
        open_phrase(&self.directory, &self.directory.list()?, password).map(drop)
    }

    /// Takes the lock, then reads anew what may have changed before.
    fn lock(&mut self) -> Result<StateLock, Error> {
        // Not made anew when it is gone.
        self.directory.list()?;
        let lock = self.directory.lock()?;
        self.list = self.directory.list()?;
        self.directory.sweep(self.list.generation())?;
        Ok(lock)
    }
}

fn open_phrase(directory: &Directory, list: &List, password: &Password) -> Result<Phrase, Error> {
    let (path, phrase) = directory.phrase(list.generation())?;
    if phrase.owner() != list.first().address {
        return Err(Error::Damaged { path, why: "it is the phrase of another wallet" });
    }
    phrase.open(password).map_err(|source| Error::Key { path, source })
}

/// Writes all key files anew under the next number, which is free, has them count, and removes all others.
fn renew(directory: &Directory, list: &mut List, phrase: &Phrase, with: &Sealing<'_>) -> Result<(), Error> {
    let generation = list.generation() + 1;
    assert!(generation <= limits::WALLET_GENERATION, "a list with the last number is refused");
    list.set_generation(generation);
    write_keys(directory, list, phrase, with)?;
    failpoint("wallet-keys-written");
    directory.put_list(list)?;
    failpoint("wallet-keys-switched");
    directory.sweep(list.generation())
}

/// Writes the key files of a list; the phrase last, which makes them whole.
fn write_keys(directory: &Directory, list: &List, phrase: &Phrase, with: &Sealing<'_>) -> Result<(), Error> {
    let generation = list.generation();
    directory.make_keys(generation)?;
    for account in list.accounts() {
        let key = account.path.key(phrase);
        if key.address() != account.address {
            let path = directory.account_path(generation, account.address);
            return Err(Error::Damaged { path, why: "the list has another address for its path" });
        }
        directory.put_account(generation, &EncryptedKey::seal(&key, with))?;
        failpoint("wallet-key-written");
    }
    directory.put_phrase(generation, &EncryptedPhrase::seal(phrase, with))
}

/// The next index of the BIP-44 path.
fn next_index(list: &List) -> Result<u32, Error> {
    let used = list.accounts().iter().filter_map(|account| match account.path {
        AccountPath::Owner => None,
        AccountPath::Bip44(index) => Some(index),
    });
    match used.max() {
        None => Ok(0),
        Some(index) if index < (1 << 31) - 1 => Ok(index + 1),
        Some(_) => Err(Error::TooManyAccounts),
    }
}
