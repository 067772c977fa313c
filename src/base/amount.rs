//! Amounts of ether as people write them: "0.01 ETH", "5 gwei", "1000 wei". Exact: no floating point.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An amount of ether in wei. Prints in the unit in which it is short, and reads what it prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Wei(pub u128);

/// An amount that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an amount: write a number and a unit, for example \"0.01 ETH\", \"5 gwei\" or \"1000 wei\"")]
pub struct AmountError(String);

/// Units and their decimals, largest first.
const UNITS: [(&str, u32); 3] = [("ETH", 18), ("gwei", 9), ("wei", 0)];

impl Wei {
    /// One ether.
    pub const ETHER: Self = Self(10u128.pow(18));
    /// One gwei, 10^9 wei.
    pub const GWEI: Self = Self(10u128.pow(9));

    /// The sum; None when it is more than the type holds.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference; None when it would be negative.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

impl FromStr for Wei {
    type Err = AmountError;

    /// A unit is always asked for: a bare number could be meant in any, and a mistake of 10^18 is dear. "0" needs none.
    fn from_str(text: &str) -> Result<Self, AmountError> {
        let fail = || AmountError(text.chars().take(60).collect());
        let trimmed = text.trim();
        if trimmed == "0" {
            return Ok(Self(0));
        }
        let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(fail)?;
        let (number, unit) = trimmed.split_at(split);
        let unit = match unit.trim() {
            ether if ether.eq_ignore_ascii_case("ether") => "ETH",
            unit => unit,
        };
        let (_, decimals) = UNITS.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(fail)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let is_number = (!whole.is_empty() || !part.is_empty()) && !part.contains('.');
        if !is_number || part.len() > decimals as usize {
            return Err(fail());
        }
        let digits = |digits: &str| match digits {
            "" => Ok(0),
            digits => digits.parse::<u128>().map_err(|_| fail()),
        };
        let scale = 10u128.pow(decimals);
        let part = digits(part)? * 10u128.pow(decimals - part.len() as u32);
        let wei = digits(whole)?.checked_mul(scale).and_then(|wei| wei.checked_add(part));
        wei.map(Self).ok_or_else(fail)
    }
}

impl fmt::Display for Wei {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The largest unit in which six decimals say it all, or in which it is no tiny part.
        let is_short = |decimals: u32| {
            let least = 10u128.pow(decimals.saturating_sub(6));
            self.0.is_multiple_of(least) && self.0 >= least
        };
        let is_large = |decimals: u32| self.0 >= 10u128.pow(decimals) / 1000;
        let fits = |decimals: u32| is_short(decimals) || is_large(decimals);
        let (name, decimals) = UNITS.into_iter().find(|(_, decimals)| fits(*decimals)).unwrap_or(("wei", 0));
        if self.0 == 0 {
            return f.write_str("0 ETH");
        }
        let scale = 10u128.pow(decimals);
        let (whole, part) = (self.0 / scale, self.0 % scale);
        if part == 0 {
            return write!(f, "{whole} {name}");
        }
        let digits = format!("{part:0width$}", width = decimals as usize);
        write!(f, "{whole}.{} {name}", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_read_as_people_write_them() {
        let read = |text: &str| text.parse::<Wei>().map(|wei| wei.0);
        assert_eq!(read("0.01 ETH"), Ok(10_000_000_000_000_000));
        assert_eq!(read("5 gwei"), Ok(5_000_000_000));
        assert_eq!(read(" 1.5ether "), Ok(1_500_000_000_000_000_000));
        assert_eq!(read("7 wei"), Ok(7));
        assert_eq!(read("0"), Ok(0));
        assert_eq!(read(".5 gwei"), Ok(500_000_000));
        for bad in
            ["", "5", "1.5 wei", "-1 ETH", "1e3 wei", "1.2.3 ETH", ". ETH", "ETH", "1 BTC", "0.0000000000000000001 ETH"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read("999999999999999999999999 ETH").is_err(), "too much");
    }

    #[test]
    fn amounts_print_for_people() {
        let print = |wei: u128| Wei(wei).to_string();
        assert_eq!(print(0), "0 ETH");
        assert_eq!(print(10u128.pow(16)), "0.01 ETH");
        assert_eq!(print(5 * 10u128.pow(9)), "5 gwei");
        assert_eq!(print(1), "1 wei");
        assert_eq!(print(1_500_000_000_000_000_001), "1.500000000000000001 ETH");
        assert_eq!(print(99_998_809_770_352_450_508), "99.998809770352450508 ETH");
        assert_eq!(print(99_998_811_480_865_446_000), "99.998811480865446 ETH");
        assert_eq!(print(21_101_269_203_000), "21101.269203 gwei");
        assert_eq!(print(179_183_218_003_738), "179183.218003738 gwei");
        assert_eq!(print(999_999), "999999 wei");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_the_same(wei in any::<u128>(), zeros in 0u32..20) {
            let wei = Wei(wei / 10u128.pow(zeros + 1) * 10u128.pow(zeros));
            prop_assert_eq!(wei.to_string().parse(), Ok(wei));
        }

        #[test]
        fn any_text_is_read_or_refused_without_panic(text in ".{0,80}") {
            let _ = text.parse::<Wei>();
        }
    }
}
