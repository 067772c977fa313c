//! The phrase: 24 BIP-39 English words that are everything.

use bip39::{Language, Mnemonic};
use zeroize::Zeroizing;

use super::{Error, EthereumKey, RootSecret, derive};

const WORDS: usize = 24;

/// 24 words of the BIP-39 English list. Wiped when dropped; has no Debug and no Display.
pub struct Phrase(Mnemonic);

impl Phrase {
    /// The phrase of 32 secret random bytes.
    pub fn from_entropy(entropy: [u8; 32]) -> Self {
        let entropy = Zeroizing::new(entropy);
        let mnemonic = Mnemonic::from_entropy_in(Language::English, entropy.as_slice());
        Self(mnemonic.expect("256 bits are a BIP-39 entropy"))
    }

    /// Reads a phrase as a person writes it: any white space, any case. Says which word is unknown.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let words: Zeroizing<Vec<String>> =
            Zeroizing::new(text.split_whitespace().take(WORDS + 1).map(str::to_lowercase).collect());
        if words.len() != WORDS {
            return Err(Error::WordCount { found: text.split_whitespace().count() });
        }
        let joined = Zeroizing::new(words.join(" "));
        Mnemonic::parse_in_normalized(Language::English, &joined).map(Self).map_err(|error| match error {
            bip39::Error::UnknownWord(index) => Error::UnknownWord { position: index + 1 },
            _ => Error::Checksum,
        })
    }

    /// The words, separated by single spaces, to be shown once.
    pub fn words(&self) -> Zeroizing<String> {
        // 24 words of at most 8 letters and a space: the string never grows, so no copy is left behind.
        let mut text = Zeroizing::new(String::with_capacity(WORDS * 9));
        for word in self.0.words() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
        text
    }

    /// The secret that everything is derived from.
    pub fn root(&self) -> RootSecret {
        RootSecret::from_bip39_seed(&self.seed())
    }

    /// The key of the account with this index on the BIP-44 path of Ethereum, m/44'/60'/0'/0/index, as other wallets
    /// derive it from the same words. None from 2^31 on.
    pub fn bip44_key(&self, index: u32) -> Option<EthereumKey> {
        derive::ethereum_key(self.seed().as_slice(), index)
    }

    /// The 32 bytes that the words stand for.
    pub(super) fn entropy(&self) -> Zeroizing<[u8; 32]> {
        let (bytes, length) = self.0.to_entropy_array();
        let bytes = Zeroizing::new(bytes);
        assert_eq!(length, 32, "24 words stand for 256 bits");
        Zeroizing::new(bytes[..32].try_into().expect("33 bytes have 32"))
    }

    fn seed(&self) -> Zeroizing<[u8; 64]> {
        Zeroizing::new(self.0.to_seed_normalized(""))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn abandon() -> String {
        format!("{}art", "abandon ".repeat(23))
    }

    #[test]
    fn bad_phrases_say_what_is_wrong() {
        assert!(matches!(Phrase::parse(""), Err(Error::WordCount { found: 0 })));
        assert!(matches!(Phrase::parse("abandon"), Err(Error::WordCount { found: 1 })));
        let long = format!("{} abandon", abandon());
        assert!(matches!(Phrase::parse(&long), Err(Error::WordCount { found: 25 })));
        let unknown = abandon().replacen("abandon abandon abandon", "abandon abandon abandoned", 1);
        assert!(matches!(Phrase::parse(&unknown), Err(Error::UnknownWord { position: 3 })));
        let swapped = abandon().replace("art", "abandon");
        assert!(matches!(Phrase::parse(&swapped), Err(Error::Checksum)));
    }

    #[test]
    fn a_phrase_reads_as_people_write_it() {
        let phrase = Phrase::parse(&format!("  {}\n", abandon().to_uppercase().replace(' ', "\t "))).ok();
        assert_eq!(phrase.map(|p| p.words().to_string()), Some(abandon()));
    }

    proptest! {
        #[test]
        fn words_survive(entropy: [u8; 32]) {
            let phrase = Phrase::from_entropy(entropy);
            let again = Phrase::parse(&phrase.words()).unwrap();
            prop_assert_eq!(phrase.words(), again.words());
            prop_assert_eq!(*phrase.entropy(), entropy);
        }

        #[test]
        fn any_text_is_refused_without_panic(text in ".{0,300}") {
            prop_assert!(Phrase::parse(&text).is_err());
        }
    }
}
