//! The file with the addresses of the contracts: what `contract deploy --json` prints.

use std::{fs, path::Path};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::{
    chain::{ChainId, Contracts},
    keys::EthereumAddress,
};

/// The file is not longer.
const FILE_BYTES: usize = 64 << 10;

/// Where the contracts of one deployment are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addresses {
    pub chain_id: u64,
    /// The newest block before them: what they tell comes after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after_block: Option<u64>,
    vault: String,
    registry: String,
    mandates: String,
    agreements: String,
    disputes: String,
}

impl Addresses {
    pub fn of(chain: ChainId, contracts: &Contracts, after_block: u64) -> Self {
        Self {
            chain_id: chain.0,
            after_block: Some(after_block),
            vault: contracts.vault.to_string(),
            registry: contracts.registry.to_string(),
            mandates: contracts.mandates.to_string(),
            agreements: contracts.agreements.to_string(),
            disputes: contracts.disputes.to_string(),
        }
    }

    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let words = || format!("the file of the contracts {}", path.display());
        let bytes = fs::read(path).with_context(words)?;
        if bytes.len() > FILE_BYTES {
            bail!("{} is too long to be the addresses of contracts", path.display());
        }
        let found: Self = serde_json::from_slice(&bytes).with_context(words)?;
        found.contracts().with_context(words)?;
        Ok(found)
    }

    /// The first block in which they may have told something.
    pub fn first_block(&self) -> u64 {
        self.after_block.map_or(0, |block| block.saturating_add(1))
    }

    pub fn contracts(&self) -> anyhow::Result<Contracts> {
        let parse = |name: &str, text: &str| text.parse::<EthereumAddress>().with_context(|| name.to_owned());
        Ok(Contracts {
            vault: parse("vault", &self.vault)?,
            registry: parse("registry", &self.registry)?,
            mandates: parse("mandates", &self.mandates)?,
            agreements: parse("agreements", &self.agreements)?,
            disputes: parse("disputes", &self.disputes)?,
        })
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and a number are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_again() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("contracts.json");
        let contracts = Contracts::of_deployer(EthereumAddress([7; 20]), 3);
        let addresses = Addresses::of(ChainId(31337), &contracts, 41);
        fs::write(&path, addresses.to_json()).expect("written");
        let found = Addresses::read(&path).expect("read");
        assert_eq!((found.chain_id, found.contracts().expect("addresses")), (31337, contracts));
        assert_eq!(found.first_block(), 42);
        fs::write(&path, addresses.to_json().replace("\"after_block\": 41,", "")).expect("written");
        assert_eq!(Addresses::read(&path).expect("that may be missing").first_block(), 0);
        for bad in [
            "{}",
            "",
            "[1]",
            &addresses.to_json().replace("0x", "0xg"),
            &addresses.to_json().replace("\"vault\"", "\"v\""),
        ] {
            fs::write(&path, bad).expect("written");
            let error = format!("{:#}", Addresses::read(&path).expect_err(bad));
            assert!(error.contains("contracts.json"), "{error}");
        }
    }
}
