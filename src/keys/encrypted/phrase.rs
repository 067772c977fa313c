//! A phrase, encrypted: so that accounts can be added to a wallet later, and its password changed.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Password, Sealing,
    envelope::{Envelope, Form},
};
use crate::{
    base::limits,
    keys::{Error, EthereumAddress, Phrase},
};

const FORMAT: &str = "openbucket phrase";
const VERSION: u64 = 1;

/// The 32 bytes that a phrase stands for, encrypted under a password.
pub struct EncryptedPhrase {
    /// Of the phrase's first account: what a password opens must lead to it.
    owner: EthereumAddress,
    envelope: Envelope,
}

/// The same as it stands in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PhraseForm {
    format: String,
    version: u64,
    owner: String,
    crypto: Form,
}

#[derive(Deserialize)]
struct VersionForm {
    format: String,
    version: u64,
}

impl EncryptedPhrase {
    /// Encrypts a phrase. Computes for long.
    pub fn seal(phrase: &Phrase, with: &Sealing<'_>) -> Self {
        let owner = phrase.root().ethereum_key().address();
        Self { owner, envelope: Envelope::seal(phrase.entropy().as_slice(), with) }
    }

    /// The phrase. Computes for long.
    pub fn open(&self, password: &Password) -> Result<Phrase, Error> {
        let secret = self.envelope.open(password)?;
        let entropy = <[u8; 32]>::try_from(secret.as_slice()).map(Zeroizing::new);
        let phrase =
            Phrase::from_entropy(*entropy.map_err(|_| Error::Malformed { why: "what it holds is no phrase" })?);
        if phrase.root().ethereum_key().address() != self.owner {
            return Err(Error::Malformed { why: "it holds another phrase than it says" });
        }
        Ok(phrase)
    }

    /// The phrase's first account.
    pub fn owner(&self) -> EthereumAddress {
        self.owner
    }

    /// Reads the JSON text.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        if text.len() > limits::KEYSTORE_BYTES {
            return Err(Error::Malformed { why: "it is too long" });
        }
        // The words of the parser would quote the text.
        let malformed = |_| Error::Malformed { why: "it is no encrypted phrase" };
        let VersionForm { format, version } = serde_json::from_slice(text).map_err(malformed)?;
        match version {
            _ if format != FORMAT => return Err(Error::Malformed { why: "it is no encrypted phrase" }),
            VERSION => {}
            _ => return Err(Error::Parameters { why: "it is of a newer version: upgrade openbucket" }),
        }
        let form: PhraseForm = serde_json::from_slice(text).map_err(malformed)?;
        let owner = form.owner.parse().map_err(|_| Error::Malformed { why: "its address is none" })?;
        Ok(Self { owner, envelope: Envelope::from_form(&form.crypto)? })
    }

    /// The JSON text, one line.
    pub fn to_json(&self) -> String {
        let form = PhraseForm {
            format: FORMAT.to_owned(),
            version: VERSION,
            owner: self.owner.to_string(),
            crypto: self.envelope.to_form(),
        };
        serde_json::to_string(&form).expect("texts and numbers serialise")
    }
}
