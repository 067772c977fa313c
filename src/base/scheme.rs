//! The erasure-coding parameters: k data shards, m parity shards.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// k data and m parity shards: 1 <= k, 0 <= m, k + m <= 64. Any k of the n = k + m shards suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u8, u8)", into = "(u8, u8)")]
pub struct Scheme {
    k: u8,
    m: u8,
}

/// Parameters outside their limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemeError {
    /// k or m out of range.
    #[error("k={k}, m={m} is out of range: k must be at least 1 and k+m at most 64")]
    Range { k: u64, m: u64 },
    /// The text is no scheme.
    #[error("'{0}' is not a scheme: write k+m (for example 4+2), or free, basic, plus, premium")]
    Text(String),
}

impl Scheme {
    /// 1+1: the tier `free`.
    pub const FREE: Scheme = Scheme { k: 1, m: 1 };
    /// 4+2: the tier `basic`, the default.
    pub const BASIC: Scheme = Scheme { k: 4, m: 2 };
    /// 8+4: the tier `plus`.
    pub const PLUS: Scheme = Scheme { k: 8, m: 4 };
    /// 10+10: the tier `premium`.
    pub const PREMIUM: Scheme = Scheme { k: 10, m: 10 };

    /// A scheme of k data and m parity shards.
    pub fn new(k: u64, m: u64) -> Result<Self, SchemeError> {
        let fail = SchemeError::Range { k, m };
        match (u8::try_from(k), u8::try_from(m)) {
            (Ok(data), Ok(parity)) if data >= 1 && u32::from(data) + u32::from(parity) <= 64 => {
                Ok(Self { k: data, m: parity })
            }
            _ => Err(fail),
        }
    }

    /// Data shards.
    pub fn k(self) -> usize {
        usize::from(self.k)
    }

    /// Parity shards.
    pub fn m(self) -> usize {
        usize::from(self.m)
    }

    /// All shards.
    pub fn n(self) -> usize {
        self.k() + self.m()
    }

    /// How many receipts commit a chunk: k + ceil(m/2), but both of 1+1, and k when m = 0.
    pub fn commit_threshold(self) -> usize {
        self.k() + self.m().div_ceil(2)
    }

    /// The tier of this name-or-numbers pair, if it is a preset.
    pub fn tier(self) -> Option<&'static str> {
        match self {
            Self::FREE => Some("free"),
            Self::BASIC => Some("basic"),
            Self::PLUS => Some("plus"),
            Self::PREMIUM => Some("premium"),
            _ => None,
        }
    }
}

impl TryFrom<(u8, u8)> for Scheme {
    type Error = SchemeError;

    fn try_from((k, m): (u8, u8)) -> Result<Self, SchemeError> {
        Self::new(k.into(), m.into())
    }
}

impl From<Scheme> for (u8, u8) {
    fn from(scheme: Scheme) -> Self {
        (scheme.k, scheme.m)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.k, self.m)
    }
}

impl FromStr for Scheme {
    type Err = SchemeError;

    fn from_str(text: &str) -> Result<Self, SchemeError> {
        match text {
            "free" => return Ok(Self::FREE),
            "basic" => return Ok(Self::BASIC),
            "plus" => return Ok(Self::PLUS),
            "premium" => return Ok(Self::PREMIUM),
            _ => {}
        }
        let fail = || SchemeError::Text(text.chars().take(40).collect());
        let (k, m) = text.split_once('+').ok_or_else(fail)?;
        Self::new(k.trim().parse().map_err(|_| fail())?, m.trim().parse().map_err(|_| fail())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_those_of_the_design() {
        let threshold = |k, m| Scheme::new(k, m).map(Scheme::commit_threshold);
        assert_eq!(threshold(1, 1), Ok(2));
        assert_eq!(threshold(4, 2), Ok(5));
        assert_eq!(threshold(8, 4), Ok(10));
        assert_eq!(threshold(10, 10), Ok(15));
        assert_eq!(threshold(3, 0), Ok(3));
    }

    #[test]
    fn out_of_range_is_refused() {
        assert!(Scheme::new(0, 2).is_err());
        assert!(Scheme::new(60, 5).is_err());
        assert!(Scheme::new(300, 0).is_err());
        assert!(Scheme::new(64, 0).is_ok());
        assert!("4-2".parse::<Scheme>().is_err());
        assert_eq!("plus".parse(), Ok(Scheme::PLUS));
        assert_eq!("4+2".parse(), Ok(Scheme::BASIC));
    }
}
