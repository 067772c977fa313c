//! The password, and what else encryption needs.

use zeroize::Zeroizing;

use crate::{base::limits, keys::Error, runtime::Chance};

/// What a person or a service knows and the disk does not. Wiped when dropped; has no Debug and no Clone.
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// These bytes, as they are. None at all, or more than [`limits::PASSWORD_BYTES`], are refused.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, Error> {
        match bytes.len() {
            0 => Err(Error::Password { why: "is empty: choose one" }),
            length if length > limits::PASSWORD_BYTES => Err(Error::Password { why: "is longer than 1024 bytes" }),
            _ => Ok(Self(bytes)),
        }
    }

    /// Whether it is the same one.
    pub fn is_same(&self, other: &Password) -> bool {
        self.0 == other.0
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// How dear it is to try one password: scrypt with N = 2^log_n, r = 8, p = 1 takes 2^(log_n + 10) bytes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScryptCost {
    pub(super) log_n: u8,
}

impl ScryptCost {
    /// For everything that is kept: 128 MiB, and about half a second.
    pub const STANDARD: ScryptCost = ScryptCost { log_n: 17 };

    /// Another one, for tests. None beyond what can be read again.
    pub fn of_log_n(log_n: u8) -> Option<Self> {
        (1..=19).contains(&log_n).then_some(Self { log_n })
    }
}

/// What encryption takes beside the secret.
pub struct Sealing<'a> {
    pub password: &'a Password,
    pub cost: ScryptCost,
    /// Salts, initial vectors and ids come from here.
    pub chance: &'a dyn Chance,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_some_bytes_and_not_too_many() {
        let password = |length: usize| Password::new(Zeroizing::new(vec![b'x'; length]));
        assert!(matches!(password(0), Err(Error::Password { .. })));
        assert!(matches!(password(limits::PASSWORD_BYTES + 1), Err(Error::Password { .. })));
        let (one, two) = (password(1).ok().unwrap(), password(limits::PASSWORD_BYTES).ok().unwrap());
        assert!(one.is_same(&password(1).ok().unwrap()) && !one.is_same(&two));
    }

    #[test]
    fn a_cost_can_be_read_again() {
        assert_eq!(ScryptCost::of_log_n(17), Some(ScryptCost::STANDARD));
        assert!(ScryptCost::of_log_n(0).is_none() && ScryptCost::of_log_n(20).is_none());
        assert_eq!(limits::SCRYPT_BYTES, (128 * 8) << 19);
    }
}
