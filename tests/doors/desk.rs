//! A person's home with a wallet, and a chain that it is configured for.

use std::{fs, process::Output};

use openbucket::{base::Wei, keys::EthereumAddress};
use serde_json::Value;

use crate::{
    anvil::Anvil,
    home::{ACCOUNTS, Home, refused, succeeded},
};

pub struct Desk {
    pub home: Home,
    pub anvil: Anvil,
}

impl Desk {
    /// With 100 ether, and no contracts yet.
    pub async fn new() -> Self {
        let (home, anvil) = (Home::with_wallet(), Anvil::start(&[]));
        anvil.give(account(), Wei(100 * Wei::ETHER.0)).await;
        let desk = Self { home, anvil };
        desk.configure("");
        desk
    }

    /// The configuration, with more lines.
    pub fn configure(&self, more: &str) {
        self.configure_for(&self.anvil.url, more);
    }

    /// The same for another way to the chain.
    pub fn configure_for(&self, url: &str, more: &str) {
        let directory = self.home.path(".config/openbucket");
        fs::create_dir_all(&directory).unwrap();
        let text = format!("rpc = ['{url}']\nchain-id = 31337\n{more}\n");
        fs::write(directory.join("config.toml"), text).unwrap();
    }

    /// Deploys, and names the contracts in the configuration.
    pub fn deploy(&self) {
        let text = self.acts(&["contract", "deploy", "--json", "--activation-wait-hours", "0"]);
        fs::write(self.home.path("contracts.json"), text).unwrap();
        self.configure(&self.naming_contracts());
    }

    /// The line of the configuration that names the contracts.
    pub fn naming_contracts(&self) -> String {
        format!("contracts = '{}'", self.home.text("contracts.json"))
    }

    pub fn words<'a>(&self, words: &[&'a str], password: &'a str) -> Vec<&'a str> {
        [words, &["--yes", "--password-file", password]].concat()
    }

    /// What it prints when it succeeds, without a question.
    pub fn acts(&self, words: &[&str]) -> String {
        succeeded(self.tries(words))
    }

    pub fn tries(&self, words: &[&str]) -> Output {
        let password = self.home.text("password");
        self.home.run(&self.words(words, &password))
    }

    /// The same for a command that asks for nothing but the password.
    pub fn acts_plain(&self, words: &[&str]) -> String {
        let password = self.home.text("password");
        self.home.ok(&[words, &["--password-file", &password]].concat())
    }

    /// The same as JSON.
    pub fn done(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.acts(&[words, &["--json"]].concat())).unwrap()
    }

    pub fn asks(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.home.ok(&[words, &["--json"]].concat())).unwrap()
    }

    /// One line, with these words.
    pub fn fails(&self, words: &[&str], code: i32, expected: &[&str]) {
        refused(self.tries(words), code, expected);
    }
}

/// The default account of the wallet.
pub fn account() -> EthereumAddress {
    ACCOUNTS[1].parse().unwrap()
}

pub fn wei(value: &Value) -> u128 {
    value.as_str().unwrap().parse().unwrap()
}
