//! The envelope of the Web3 Secret Storage, version 3: a key from the password, a cipher, a check.
//!
//! derived key (32 bytes) = scrypt or PBKDF2-HMAC-SHA-256 of the password; ciphertext = AES-128-CTR under its first half;
//! mac = Keccak-256 of its second half and the ciphertext. It is written with scrypt only. What others wrote is read when
//! its numbers are within the bounds, which are checked before any memory is taken.

use std::num::NonZeroU32;

use aes::Aes128;
use ctr::{
    Ctr128BE,
    cipher::{KeyIvInit, StreamCipher},
};
use k256::elliptic_curve::subtle::ConstantTimeEq;
use ring::pbkdf2;
use serde::{Deserialize, Serialize};
use sha3::{Digest, Keccak256};
use zeroize::Zeroizing;

use super::{Password, Sealing};
use crate::{base::limits, keys::Error};

const CIPHER: &str = "aes-128-ctr";
const SCRYPT: &str = "scrypt";
const PBKDF2: &str = "pbkdf2";
const PRF: &str = "hmac-sha256";
const DERIVED_BYTES: usize = 32;
const HALF: usize = 16;
/// Secrets have 32 bytes; some programs leave leading zeros of a key out.
pub const SECRET_BYTES: usize = 32;

/// An encrypted secret of up to 32 bytes.
pub struct Envelope {
    kdf: Kdf,
    salt: Vec<u8>,
    iv: [u8; HALF],
    ciphertext: Vec<u8>,
    mac: [u8; 32],
}

enum Kdf {
    Scrypt { log_n: u8, r: u32, p: u32 },
    Pbkdf2 { rounds: NonZeroU32 },
}

/// The same as it stands in JSON.
#[derive(Serialize, Deserialize)]
pub struct Form {
    cipher: String,
    cipherparams: CipherForm,
    ciphertext: String,
    kdf: String,
    kdfparams: KdfForm,
    mac: String,
}

#[derive(Serialize, Deserialize)]
struct CipherForm {
    iv: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct KdfForm {
    dklen: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prf: Option<String>,
    salt: String,
}

impl Envelope {
    /// Encrypts a secret of at most 32 bytes under fresh salt and initial vector. Computes for long.
    pub fn seal(secret: &[u8], with: &Sealing<'_>) -> Self {
        assert!(secret.len() <= SECRET_BYTES, "secrets have up to 32 bytes");
        let mut salt = vec![0; 32];
        with.chance.fill(&mut salt);
        let mut iv = [0; HALF];
        with.chance.fill(&mut iv);
        let kdf = Kdf::Scrypt { log_n: with.cost.log_n, r: 8, p: 1 };
        let derived = kdf.derive(with.password, &salt);
        let mut ciphertext = secret.to_vec();
        crypt(&derived, &iv, &mut ciphertext);
        let mac = mac(&derived, &ciphertext);
        Self { kdf, salt, iv, ciphertext, mac }
    }

    /// The secret. [`Error::WrongPassword`] also when salt, ciphertext or check are damaged. Computes for long.
    pub fn open(&self, password: &Password) -> Result<Zeroizing<Vec<u8>>, Error> {
        let derived = self.kdf.derive(password, &self.salt);
        if !bool::from(mac(&derived, &self.ciphertext).as_slice().ct_eq(self.mac.as_slice())) {
            return Err(Error::WrongPassword);
        }
        let mut secret = Zeroizing::new(self.ciphertext.clone());
        crypt(&derived, &self.iv, &mut secret);
        Ok(secret)
    }

    /// Reads what JSON said, all of it checked.
    pub fn from_form(form: &Form) -> Result<Self, Error> {
        if form.cipher != CIPHER {
            return Err(Error::Parameters { why: "its cipher is not aes-128-ctr" });
        }
        Ok(Self {
            kdf: Kdf::from_form(&form.kdf, &form.kdfparams)?,
            salt: some_bytes(&form.kdfparams.salt, limits::SALT_BYTES, "the salt has not 1 to 128 bytes")?,
            iv: fixed(&form.cipherparams.iv, "the initial vector has not 16 bytes")?,
            ciphertext: some_bytes(&form.ciphertext, SECRET_BYTES, "the ciphertext has not 1 to 32 bytes")?,
            mac: fixed(&form.mac, "the check has not 32 bytes")?,
        })
    }

    /// What JSON is to say.
    pub fn to_form(&self) -> Form {
        let salt = hex::encode(&self.salt);
        let dklen = DERIVED_BYTES as u64;
        let (kdf, kdfparams) = match self.kdf {
            Kdf::Scrypt { log_n, r, p } => {
                let (n, r, p) = (Some(1 << log_n), Some(r.into()), Some(p.into()));
                (SCRYPT, KdfForm { dklen, n, r, p, salt, ..KdfForm::default() })
            }
            Kdf::Pbkdf2 { rounds } => {
                let (c, prf) = (Some(rounds.get().into()), Some(PRF.to_owned()));
                (PBKDF2, KdfForm { dklen, c, prf, salt, ..KdfForm::default() })
            }
        };
        Form {
            cipher: CIPHER.to_owned(),
            cipherparams: CipherForm { iv: hex::encode(self.iv) },
            ciphertext: hex::encode(&self.ciphertext),
            kdf: kdf.to_owned(),
            kdfparams,
            mac: hex::encode(self.mac),
        }
    }
}

impl Kdf {
    fn from_form(name: &str, form: &KdfForm) -> Result<Self, Error> {
        if form.dklen != DERIVED_BYTES as u64 {
            return Err(Error::Parameters { why: "its derived key has not 32 bytes" });
        }
        match name {
            SCRYPT => Self::scrypt(form),
            PBKDF2 if form.prf.as_deref() == Some(PRF) => match form.c.map(u32::try_from) {
                Some(Ok(rounds)) if rounds <= limits::PBKDF2_ROUNDS => NonZeroU32::new(rounds)
                    .map(|rounds| Kdf::Pbkdf2 { rounds })
                    .ok_or(Error::Malformed { why: "it has no rounds of pbkdf2" }),
                Some(_) => Err(Error::Parameters { why: "it has too many rounds of pbkdf2" }),
                None => Err(Error::Malformed { why: "it has no rounds of pbkdf2" }),
            },
            PBKDF2 => Err(Error::Parameters { why: "its pbkdf2 is not with hmac-sha256" }),
            _ => Err(Error::Parameters { why: "its key derivation is neither scrypt nor pbkdf2" }),
        }
    }

    fn scrypt(form: &KdfForm) -> Result<Self, Error> {
        let (Some(n), Some(r), Some(p)) = (form.n, form.r, form.p) else {
            return Err(Error::Malformed { why: "the numbers of scrypt are missing" });
        };
        if n < 2 || !n.is_power_of_two() || r == 0 || p == 0 {
            return Err(Error::Malformed { why: "its numbers are none of scrypt" });
        }
        let too_dear = Error::Parameters { why: "its scrypt takes more memory or time than any in use" };
        let bytes = n.checked_mul(r).and_then(|blocks| blocks.checked_mul(128));
        let (Some(bytes), Ok(r), Ok(p)) = (bytes, u32::try_from(r), u32::try_from(p)) else { return Err(too_dear) };
        let work = bytes.checked_mul(p.into());
        if bytes > limits::SCRYPT_BYTES || work.is_none_or(|work| work > limits::SCRYPT_WORK_BYTES) {
            return Err(too_dear);
        }
        let log_n = u8::try_from(n.ilog2()).expect("the logarithm of 64 bits");
        Ok(Kdf::Scrypt { log_n, r, p })
    }

    fn derive(&self, password: &Password, salt: &[u8]) -> Zeroizing<[u8; DERIVED_BYTES]> {
        let mut derived = Zeroizing::new([0; DERIVED_BYTES]);
        match *self {
            Kdf::Scrypt { log_n, r, p } => {
                let params = scrypt::Params::new(log_n, r, p).expect("the bounds are narrower than scrypt's");
                scrypt::scrypt(password.as_bytes(), salt, &params, derived.as_mut_slice())
                    .expect("32 bytes are within what scrypt gives");
            }
            Kdf::Pbkdf2 { rounds } => {
                pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, password.as_bytes(), derived.as_mut_slice());
            }
        }
        derived
    }
}

/// Encrypts or decrypts in place.
fn crypt(derived: &[u8; DERIVED_BYTES], iv: &[u8; HALF], bytes: &mut [u8]) {
    let mut cipher = Ctr128BE::<Aes128>::new_from_slices(&derived[..HALF], iv).expect("16 bytes each");
    cipher.apply_keystream(bytes);
}

fn mac(derived: &[u8; DERIVED_BYTES], ciphertext: &[u8]) -> [u8; 32] {
    Keccak256::new().chain_update(&derived[HALF..]).chain_update(ciphertext).finalize().into()
}

fn some_bytes(text: &str, most: usize, why: &'static str) -> Result<Vec<u8>, Error> {
    match hex::decode(text) {
        Ok(bytes) if (1..=most).contains(&bytes.len()) => Ok(bytes),
        _ => Err(Error::Malformed { why }),
    }
}

fn fixed<const N: usize>(text: &str, why: &'static str) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| Error::Malformed { why })?;
    Ok(bytes)
}
