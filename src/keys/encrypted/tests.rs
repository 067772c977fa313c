//! What is encrypted comes back with the password and with no other; damage and absurd numbers are refused.

use proptest::prelude::*;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::*;
use crate::{
    base::{ErrorKind, Kinded, limits},
    keys::{Error, EthereumKey, Phrase},
    runtime::{Chance, SeededChance},
};

const CHEAP: ScryptCost = ScryptCost { log_n: 4 };

fn password(text: &str) -> Password {
    Password::new(Zeroizing::new(text.as_bytes().to_vec())).ok().unwrap()
}

fn sealing<'a>(password: &'a Password, chance: &'a dyn Chance) -> Sealing<'a> {
    Sealing { password, cost: CHEAP, chance }
}

fn open(text: &str, with: &str) -> Result<EthereumKey, Error> {
    EncryptedKey::parse(text.as_bytes())?.open(&password(with))
}

/// The published vectors: those of the wiki page that defines the format, and geth's own of keys with leading zeros.
fn published() -> [(Value, &'static str, &'static str); 4] {
    let scrypt = json!({
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": { "iv": "83dbcc02d8ccb40e466191a123791e0e" },
            "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": 32, "n": 262_144, "r": 1, "p": 8,
                "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19",
            },
            "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097",
        },
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
        "version": 3,
    });
    let pbkdf2 = json!({
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": { "iv": "6087dab2f9fdbbfaddc31a909735c1e6" },
            "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
            "kdf": "pbkdf2",
            "kdfparams": {
                "c": 262_144, "dklen": 32, "prf": "hmac-sha256",
                "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
            },
            "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
        },
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
        "version": 3,
    });
    let short = json!({
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": { "iv": "e0c41130a323adc1446fc82f724bca2f" },
            "ciphertext": "9517cd5bdbe69076f9bf5057248c6c050141e970efa36ce53692d5d59a3984",
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": 32, "n": 2, "r": 8, "p": 1,
                "salt": "711f816911c92d649fb4c84b047915679933555030b3552c1212609b38208c63",
            },
            "mac": "d5e116151c6aa71470e67a7d42c9620c75c4d23229847dcc127794f0732b0db5",
        },
        "id": "fecfc4ce-e956-48fd-953b-30f8b52ed66c",
        "version": 3,
    });
    let shorter = json!({
        // The key's name as some programs write it.
        "Crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": { "iv": "3ca92af36ad7c2cd92454c59cea5ef00" },
            "ciphertext": "108b7d34f3442fc26ab1ab90ca91476ba6bfa8c00975a49ef9051dc675aa",
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": 32, "n": 2, "r": 8, "p": 1,
                "salt": "d0769e608fb86cda848065642a9c6fa046845c928175662b8e356c77f914cd3b",
            },
            "mac": "75d0e6759f7b3cefa319c3be41680ab6beea7d8328653474bd06706d4cc67420",
        },
        "version": 3,
    });
    [
        (scrypt, "testpassword", "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"),
        (pbkdf2, "testpassword", "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"),
        (short, "foo", "00fa7b3db73dc7dfdf8c5fbdb796d741e4488628c41fc4febd9160a866ba0f35"),
        (shorter, "foo", "000081c29e8142bb6a81bef5a92bda7a8328a5c85bb2f9542e76f9b0f94fc018"),
    ]
}

#[test]
fn the_published_vectors_open_and_are_written_as_they_were() {
    for (vector, with, key) in published() {
        let text = vector.to_string();
        assert_eq!(hex::encode(open(&text, with).ok().unwrap().as_bytes()), key);
        assert!(matches!(open(&text, "another"), Err(Error::WrongPassword)));
        let again: Value = serde_json::from_str(&EncryptedKey::parse(text.as_bytes()).ok().unwrap().to_json()).unwrap();
        assert_eq!(again["crypto"], vector.get("crypto").unwrap_or(&vector["Crypto"]).clone());
    }
}

/// A text of each kind, its password, and the path of every value that the encryption stands on.
fn sealed() -> (String, String) {
    let (password, chance) = (password("correct horse"), SeededChance::new(5));
    let phrase = Phrase::from_entropy([7; 32]);
    let with = sealing(&password, &chance);
    (
        EncryptedKey::seal(&phrase.root().ethereum_key(), &with).to_json(),
        EncryptedPhrase::seal(&phrase, &with).to_json(),
    )
}

const HEX: [&str; 5] =
    ["/crypto/cipherparams/iv", "/crypto/ciphertext", "/crypto/kdfparams/salt", "/crypto/mac", "/address"];

#[test]
fn a_flipped_bit_of_any_value_is_refused() {
    let (key, phrase) = sealed();
    assert!(open(&key, "correct horse").is_ok());
    for pointer in HEX {
        for bit in 0.. {
            let mut changed: Value = serde_json::from_str(&key).unwrap();
            let mut bytes = hex::decode(changed.pointer(pointer).unwrap().as_str().unwrap()).unwrap();
            if bit == 8 * bytes.len() {
                break;
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
            *changed.pointer_mut(pointer).unwrap() = hex::encode(bytes).into();
            let kind = open(&changed.to_string(), "correct horse").err().map(|error| error.kind());
            assert!(matches!(kind, Some(ErrorKind::Denied | ErrorKind::Corrupt)), "{pointer} {bit}: {kind:?}");
        }
    }
    for pointer in &HEX[..4] {
        let mut changed: Value = serde_json::from_str(&phrase).unwrap();
        let mut bytes = hex::decode(changed.pointer(pointer).unwrap().as_str().unwrap()).unwrap();
        bytes[0] ^= 1;
        *changed.pointer_mut(pointer).unwrap() = hex::encode(bytes).into();
        let text = changed.to_string();
        let opened = EncryptedPhrase::parse(text.as_bytes()).and_then(|it| it.open(&password("correct horse")));
        assert!(opened.is_err(), "{pointer}");
    }
}

#[test]
fn numbers_beyond_the_bounds_are_refused_before_anything_is_computed() {
    let (key, _) = sealed();
    let with = |pointer: &str, value: Value| {
        let mut changed: Value = serde_json::from_str(&key).unwrap();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        changed.pointer_mut(parent).unwrap()[name] = value;
        EncryptedKey::parse(changed.to_string().as_bytes()).err().unwrap_or_else(|| panic!("{pointer} was taken"))
    };
    let params = |name: &str, value: Value| with(&format!("/crypto/kdfparams/{name}"), value);
    for n in [1 << 20, 1 << 23, 1 << 63, u64::MAX - 1, 0, 1, 3, 100_000] {
        assert!(matches!(params("n", n.into()).kind(), ErrorKind::Invalid | ErrorKind::Corrupt), "{n}");
    }
    for (name, value) in [("r", 0), ("p", 0), ("r", 1 << 40), ("p", 1 << 40), ("p", u64::MAX), ("p", 1 << 20)] {
        assert!(matches!(params(name, value.into()).kind(), ErrorKind::Invalid | ErrorKind::Corrupt), "{name} {value}");
    }
    for dklen in [0, 16, 31, 33, 64, u64::MAX] {
        assert!(matches!(params("dklen", dklen.into()), Error::Parameters { .. }), "{dklen}");
    }
    // The most that is read: 512 MiB in one pass, and four passes of it.
    let largest = [(1_u64 << 19, 1, true), (1 << 19, 4, true), (1 << 19, 5, false), (1 << 20, 1, false)];
    for (n, p, is_read) in largest {
        let text = key.replace("\"n\":16", &format!("\"n\":{n}")).replace("\"p\":1", &format!("\"p\":{p}"));
        assert_eq!(EncryptedKey::parse(text.as_bytes()).is_ok(), is_read, "{n} {p}");
    }
    assert!(matches!(params("n", json!(-1)), Error::Malformed { .. }));
    assert!(matches!(params("salt", json!("")), Error::Malformed { .. }));
    assert!(matches!(params("salt", json!("00".repeat(limits::SALT_BYTES + 1))), Error::Malformed { .. }));
    assert!(matches!(with("/crypto/ciphertext", json!("00".repeat(33))), Error::Malformed { .. }));
    assert!(matches!(with("/crypto/ciphertext", json!("")), Error::Malformed { .. }));
    assert!(matches!(with("/crypto/cipherparams/iv", json!("00")), Error::Malformed { .. }));
    assert!(matches!(with("/crypto/mac", json!("zz")), Error::Malformed { .. }));
    assert!(matches!(with("/crypto/cipher", json!("aes-256-gcm")), Error::Parameters { .. }));
    assert!(matches!(with("/crypto/kdf", json!("argon2id")), Error::Parameters { .. }));
    assert!(matches!(with("/crypto/kdf", json!("pbkdf2")), Error::Parameters { .. }));
    assert!(matches!(with("/version", json!(1)), Error::Parameters { .. }));
    assert!(matches!(with("/address", json!("0x12")), Error::Malformed { .. }));
    let pbkdf2 = |c: Value| {
        let mut vector = published()[1].0.clone();
        vector["crypto"]["kdfparams"]["c"] = c;
        EncryptedKey::parse(vector.to_string().as_bytes()).err().unwrap()
    };
    assert!(matches!(pbkdf2(json!(limits::PBKDF2_ROUNDS + 1)), Error::Parameters { .. }));
    assert!(matches!(pbkdf2(json!(1_u64 << 32)), Error::Parameters { .. }));
    assert!(matches!(pbkdf2(json!(0)), Error::Malformed { .. }));
    assert!(matches!(pbkdf2(Value::Null), Error::Malformed { .. }));
}

#[test]
fn what_is_none_is_refused_without_quoting_it() {
    let secret = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318";
    for text in ["", "{}", "[]", secret, &format!("\"{secret}\""), &format!("{{\"version\":\"{secret}\"}}"), "\u{0}"] {
        for error in [EncryptedKey::parse(text.as_bytes()).err(), EncryptedPhrase::parse(text.as_bytes()).err()] {
            let error = error.unwrap_or_else(|| panic!("{text} was taken"));
            assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
        }
    }
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(limits::KEYSTORE_BYTES));
    assert!(matches!(EncryptedKey::parse(long.as_bytes()), Err(Error::Malformed { .. })));
    // One is not the other.
    let (key, phrase) = sealed();
    assert!(EncryptedKey::parse(phrase.as_bytes()).is_err() && EncryptedPhrase::parse(key.as_bytes()).is_err());
}

#[test]
fn two_encryptions_of_one_secret_share_nothing() {
    let (password, chance) = (password("x"), SeededChance::new(6));
    let key = Phrase::from_entropy([1; 32]).root().ethereum_key();
    let text = || -> Value {
        serde_json::from_str(&EncryptedKey::seal(&key, &sealing(&password, &chance)).to_json()).unwrap()
    };
    let (one, two) = (text(), text());
    for pointer in ["/crypto/cipherparams/iv", "/crypto/kdfparams/salt", "/crypto/ciphertext", "/crypto/mac", "/id"] {
        assert_ne!(one.pointer(pointer), two.pointer(pointer), "{pointer}");
    }
    assert_eq!((one["version"].clone(), one["id"].as_str().unwrap().len()), (json!(3), 36));
}

/// The texts of the golden wallet are what this release writes, byte for byte.
#[test]
fn the_golden_texts_are_written_again() {
    struct Counting;
    impl Chance for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.iter_mut().zip(0..).for_each(|(byte, number)| *byte = number);
        }
    }
    let password = password("correct horse");
    let with = sealing(&password, &Counting);
    let phrase = Phrase::from_entropy([0; 32]);
    let key = EncryptedKey::seal(&phrase.bip44_key(0).unwrap(), &with).to_json();
    let name = "accounts/0xF278cF59F82eDcf871d630F28EcC8056f25C1cdb.json";
    for (name, text) in [(name, key), ("phrase.json", EncryptedPhrase::seal(&phrase, &with).to_json())] {
        let path = format!("{}/tests/golden/wallet-v1/keys-3/{name}", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(text, std::fs::read_to_string(path).unwrap(), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_encrypted_comes_back(
        entropy: [u8; 32], index in 0..1_u32 << 31, with in "\\PC{1,40}", other in "\\PC{1,40}", seed: u64,
    ) {
        let (right, chance) = (password(&with), SeededChance::new(seed));
        let phrase = Phrase::from_entropy(entropy);
        let key = phrase.bip44_key(index).unwrap();
        let text = EncryptedKey::seal(&key, &sealing(&right, &chance)).to_json();
        let opened = open(&text, &with).ok().unwrap();
        prop_assert_eq!(opened.as_bytes(), key.as_bytes());
        let text = EncryptedPhrase::seal(&phrase, &sealing(&right, &chance)).to_json();
        let sealed = EncryptedPhrase::parse(text.as_bytes()).ok().unwrap();
        prop_assert_eq!(sealed.open(&right).ok().unwrap().words(), phrase.words());
        if other != with {
            prop_assert!(matches!(sealed.open(&password(&other)), Err(Error::WrongPassword)));
        }
    }

    /// A damaged text is refused, or says the same: never another key.
    #[test]
    fn no_damage_leads_to_another_key(at: prop::sample::Index, bit in 0..8_u32) {
        let (key, _) = sealed();
        let expected = open(&key, "correct horse").ok().unwrap();
        let mut bytes = key.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(opened) = EncryptedKey::parse(&bytes).and_then(|it| it.open(&password("correct horse"))) {
            prop_assert_eq!(opened.as_bytes(), expected.as_bytes());
        }
    }

    #[test]
    fn any_text_is_refused_without_panic(text in "\\PC{0,200}") {
        prop_assert!(EncryptedKey::parse(text.as_bytes()).is_err());
        prop_assert!(EncryptedPhrase::parse(text.as_bytes()).is_err());
    }
}
