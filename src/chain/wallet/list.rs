//! The list of a wallet's accounts: the file `wallet.json`.

use serde::{Deserialize, Serialize};

use super::Account;
use crate::{base::limits, keys::EthereumAddress};

const FORMAT: &str = "openbucket wallet";
const VERSION: u64 = 1;

/// The accounts, the default among them, and the number of the key files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    generation: u64,
    default: EthereumAddress,
    accounts: Vec<Account>,
}

/// Why a text is no list.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    Malformed(&'static str),
    Newer(u64),
}

/// The same as it stands in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListForm {
    format: String,
    version: u64,
    keys: u64,
    default: String,
    accounts: Vec<AccountForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountForm {
    address: String,
    path: String,
}

#[derive(Deserialize)]
struct VersionForm {
    format: String,
    version: u64,
}

impl List {
    /// That of a new wallet: its first account is the default.
    pub fn new(generation: u64, first: Account) -> Self {
        Self { generation, default: first.address, accounts: vec![first] }
    }

    /// The number of the key files that count.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn set_generation(&mut self, generation: u64) {
        self.generation = generation;
    }

    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// The owner's account.
    pub fn first(&self) -> &Account {
        self.accounts.first().expect("a list has an account")
    }

    pub fn account(&self, address: EthereumAddress) -> Option<&Account> {
        self.accounts.iter().find(|account| account.address == address)
    }

    pub fn default_account(&self) -> &Account {
        self.account(self.default).expect("checked when read and when set")
    }

    /// False when the list does not have it.
    pub fn set_default(&mut self, address: EthereumAddress) -> bool {
        let is_there = self.account(address).is_some();
        if is_there {
            self.default = address;
        }
        is_there
    }

    /// Adds one that is not there yet.
    pub fn push(&mut self, account: Account) {
        assert!(self.account(account.address).is_none(), "an account stands in the list once");
        self.accounts.push(account);
    }

    /// Reads the JSON text.
    pub fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let malformed = |_| Refusal::Malformed("it is no list of a wallet's accounts");
        let VersionForm { format, version } = serde_json::from_slice(text).map_err(malformed)?;
        if format != FORMAT || version < VERSION {
            return Err(Refusal::Malformed("it is no list of a wallet's accounts"));
        }
        if version > VERSION {
            return Err(Refusal::Newer(version));
        }
        let form: ListForm = serde_json::from_slice(text).map_err(malformed)?;
        if !(1..=limits::WALLET_ACCOUNTS).contains(&form.accounts.len()) {
            return Err(Refusal::Malformed("it has no accounts, or too many"));
        }
        if !(1..limits::WALLET_GENERATION).contains(&form.keys) {
            return Err(Refusal::Malformed("the number of its key files is none"));
        }
        let address = |text: &str| text.parse().map_err(|_| Refusal::Malformed("an address in it is none"));
        let mut accounts = Vec::with_capacity(form.accounts.len());
        for AccountForm { address: text, path } in &form.accounts {
            let path = path.parse().map_err(|()| Refusal::Malformed("a path in it is none"))?;
            let account = Account { address: address(text)?, path };
            if accounts.iter().any(|other: &Account| other.address == account.address || other.path == account.path) {
                return Err(Refusal::Malformed("an account stands in it twice"));
            }
            accounts.push(account);
        }
        if accounts[0].path != super::AccountPath::Owner {
            return Err(Refusal::Malformed("its first account is not the owner's"));
        }
        let mut list = Self { generation: form.keys, default: accounts[0].address, accounts };
        match list.set_default(address(&form.default)?) {
            true => Ok(list),
            false => Err(Refusal::Malformed("its default account is not in it")),
        }
    }

    /// The JSON text.
    pub fn to_json(&self) -> String {
        let account =
            |account: &Account| AccountForm { address: account.address.to_string(), path: account.path.to_string() };
        let form = ListForm {
            format: FORMAT.to_owned(),
            version: VERSION,
            keys: self.generation,
            default: self.default.to_string(),
            accounts: self.accounts.iter().map(account).collect(),
        };
        let mut text = serde_json::to_string_pretty(&form).expect("texts and numbers serialise");
        text.push('\n');
        text
    }
}
