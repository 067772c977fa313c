//! The key of one account, encrypted: the file that Ethereum programs exchange.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Password, Sealing,
    envelope::{Envelope, Form, SECRET_BYTES},
};
use crate::{
    base::limits,
    keys::{Error, EthereumAddress, EthereumKey},
};

const VERSION: u64 = 3;

/// An account's key, encrypted under a password; Web3 Secret Storage, version 3. Made by geth and others, too.
pub struct EncryptedKey {
    /// Some programs leave it out.
    address: Option<EthereumAddress>,
    envelope: Envelope,
    id: String,
}

/// The same as it stands in JSON; what other programs add is passed over.
#[derive(Serialize, Deserialize)]
struct KeyForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(alias = "Crypto")]
    crypto: Form,
    #[serde(default)]
    id: String,
    version: u64,
}

#[derive(Deserialize)]
struct VersionForm {
    version: u64,
}

impl EncryptedKey {
    /// Encrypts a key. Computes for long.
    pub fn seal(key: &EthereumKey, with: &Sealing<'_>) -> Self {
        let mut random = [0; 16];
        with.chance.fill(&mut random);
        Self { address: Some(key.address()), envelope: Envelope::seal(key.as_bytes(), with), id: uuid(random) }
    }

    /// The key. Besides a wrong password, a key of another account than the text names is an error. Computes for long.
    pub fn open(&self, password: &Password) -> Result<EthereumKey, Error> {
        let secret = self.envelope.open(password)?;
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        bytes[SECRET_BYTES - secret.len()..].copy_from_slice(&secret);
        let key = EthereumKey::new(bytes).ok_or(Error::Malformed { why: "what it holds is no key" })?;
        match self.address {
            Some(address) if address != key.address() => {
                Err(Error::Malformed { why: "it holds the key of another account than it says" })
            }
            _ => Ok(key),
        }
    }

    /// The account, as far as the text says it. Nothing vouches for it before the key is opened.
    pub fn address(&self) -> Option<EthereumAddress> {
        self.address
    }

    /// Reads the JSON text.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        if text.len() > limits::KEYSTORE_BYTES {
            return Err(Error::Malformed { why: "it is too long" });
        }
        // The words of the parser would quote the text, which may be anything, a bare key too.
        let malformed = |_| Error::Malformed { why: "it is no key of the Web3 Secret Storage" };
        let VersionForm { version } = serde_json::from_slice(text).map_err(malformed)?;
        if version != VERSION {
            return Err(Error::Parameters { why: "it is not of version 3" });
        }
        let form: KeyForm = serde_json::from_slice(text).map_err(malformed)?;
        let address = form.address.as_deref().map(str::parse).transpose();
        Ok(Self {
            address: address.map_err(|_| Error::Malformed { why: "its address is none" })?,
            envelope: Envelope::from_form(&form.crypto)?,
            id: form.id,
        })
    }

    /// The JSON text, one line.
    pub fn to_json(&self) -> String {
        let form = KeyForm {
            // geth has neither the prefix nor the checksum here.
            address: self.address.map(|address| hex::encode(address.0)),
            crypto: self.envelope.to_form(),
            id: self.id.clone(),
            version: VERSION,
        };
        serde_json::to_string(&form).expect("texts and numbers serialise")
    }
}

/// A random UUID (RFC 9562, version 4).
fn uuid(mut random: [u8; 16]) -> String {
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let digits = hex::encode(random);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}
