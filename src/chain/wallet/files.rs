//! The files of a wallet: where they are, how they are read and written, and what of them is left over.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{
    error::Error,
    list::{List, Refusal},
};
use crate::{
    base::limits,
    keys::{EncryptedKey, EncryptedPhrase, EthereumAddress},
    runtime::{PrivateFileError, make_directory, read_private, write_private},
    store::StateLock,
};

const LIST: &str = "wallet.json";
const PHRASE: &str = "phrase.json";
const ACCOUNTS: &str = "accounts";
const KEYS: &str = "keys-";

/// The directory of a wallet.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

impl Directory {
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the directory if needed. Whoever changes something holds this.
    pub fn lock(&self) -> Result<StateLock, Error> {
        Ok(StateLock::acquire(&self.0, "wallet")?)
    }

    pub fn keys_path(&self, generation: u64) -> PathBuf {
        self.0.join(format!("{KEYS}{generation}"))
    }

    pub fn phrase_path(&self, generation: u64) -> PathBuf {
        self.keys_path(generation).join(PHRASE)
    }

    pub fn account_path(&self, generation: u64, address: EthereumAddress) -> PathBuf {
        self.keys_path(generation).join(ACCOUNTS).join(format!("{address}.json"))
    }

    /// The list of accounts; [`Error::NotFound`] when there is no wallet.
    pub fn list(&self) -> Result<List, Error> {
        self.find_list()?.ok_or_else(|| match self.has_keys() {
            Ok(false) => Error::NotFound { directory: self.0.clone() },
            Ok(true) => Error::NoList { directory: self.0.clone() },
            Err(error) => error,
        })
    }

    pub fn find_list(&self) -> Result<Option<List>, Error> {
        let path = self.0.join(LIST);
        let Some(text) = read_within(&path, limits::WALLET_FILE_BYTES)? else { return Ok(None) };
        List::parse(&text).map(Some).map_err(|refusal| match refusal {
            Refusal::Malformed(why) => Error::Damaged { path, why },
            Refusal::Newer(found) => Error::Newer { path, found },
        })
    }

    /// From now on this list counts, with the key files that it names.
    pub fn put_list(&self, list: &List) -> Result<(), Error> {
        write(&self.0.join(LIST), &list.to_json())
    }

    pub fn phrase(&self, generation: u64) -> Result<(PathBuf, EncryptedPhrase), Error> {
        let path = self.phrase_path(generation);
        let text = read(&path)?.ok_or_else(|| Error::Damaged { path: path.clone(), why: "it is missing" })?;
        match EncryptedPhrase::parse(&text) {
            Ok(phrase) => Ok((path, phrase)),
            Err(source) => Err(Error::Key { path, source }),
        }
    }

    pub fn put_account(&self, generation: u64, key: &EncryptedKey) -> Result<(), Error> {
        let address = key.address().expect("a key of ours names its account");
        write(&self.account_path(generation, address), &key.to_json())
    }

    pub fn put_phrase(&self, generation: u64, phrase: &EncryptedPhrase) -> Result<(), Error> {
        write(&self.phrase_path(generation), &phrase.to_json())
    }

    /// Makes the directories for key files of this number.
    pub fn make_keys(&self, generation: u64) -> Result<(), Error> {
        let path = self.keys_path(generation).join(ACCOUNTS);
        make_directory(&path).map_err(Error::disk("cannot make the directory", path))
    }

    /// The numbers of all key files that are there, finished or not.
    pub fn generations(&self) -> Result<Vec<u64>, Error> {
        let failed = || Error::disk("cannot list", &self.0);
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed()(error)),
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed())?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(KEYS)).and_then(|number| number.parse().ok());
            let is_ours =
                |number: &u64| *number < limits::WALLET_GENERATION && self.keys_path(*number).ends_with(&name);
            numbers.extend(number.filter(is_ours));
        }
        Ok(numbers)
    }

    /// Whether there are whole key files of some number: the phrase is written last.
    pub fn has_keys(&self) -> Result<bool, Error> {
        Ok(self.generations()?.into_iter().any(|number| self.phrase_path(number).exists()))
    }

    /// Removes the key files of all numbers but this one: unfinished ones, and those of an earlier password.
    pub fn sweep(&self, generation: u64) -> Result<(), Error> {
        for number in self.generations()?.into_iter().filter(|number| *number != generation) {
            let path = self.keys_path(number);
            // The phrase goes first: without it the rest counts as unfinished.
            match fs::remove_file(self.phrase_path(number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::disk("cannot remove old key files in", path)(error));
                }
                _ => {}
            }
            fs::remove_dir_all(&path).map_err(Error::disk("cannot remove old key files in", path))?;
        }
        Ok(())
    }
}

/// The text of a key file; None when there is none.
pub fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    read_within(path, limits::KEYSTORE_BYTES)
}

fn read_within(path: &Path, limit_bytes: usize) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    let path = path.to_path_buf();
    read_private(&path, limit_bytes).map_err(|error| match error {
        PrivateFileError::Disk(why) => Error::Disk { what: "cannot read", path, why },
        PrivateFileError::Mode(mode) => Error::Mode { path, mode },
        PrivateFileError::TooLong => Error::Damaged { path, why: "it is too long" },
    })
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    write_private(path, text.as_bytes(), true).map_err(Error::disk("cannot write", path))
}
