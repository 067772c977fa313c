//! What gas may cost (EIP-1559): the first price, and the next one of a transaction that is stuck.

use serde::{Deserialize, Serialize};

use super::node::Header;
use crate::base::Wei;

/// Wei for a unit of gas: at most, and of that for who mines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fees {
    pub max: u128,
    pub tip: u128,
}

/// What is paid now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Market {
    pub base: u128,
    pub tip: u128,
}

/// More than may be paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("gas costs {needed} a unit now, the ceiling is {ceiling}: waiting until it is cheaper")]
pub(super) struct AboveCeiling {
    pub needed: Wei,
    pub ceiling: Wei,
}

impl Market {
    pub fn new(head: &Header, tip: u128) -> Self {
        Self { base: head.base_fee.unwrap_or(0), tip }
    }

    /// What lasts a few blocks of rising prices.
    fn wanted(self) -> Fees {
        Fees { max: self.base.saturating_mul(2).saturating_add(self.tip), tip: self.tip }
    }

    /// The first price.
    pub fn first(self, ceiling: Wei) -> Result<Fees, AboveCeiling> {
        let needed = self.base.saturating_add(self.tip);
        if needed > ceiling.0 {
            return Err(AboveCeiling { needed: Wei(needed), ceiling });
        }
        let wanted = self.wanted();
        Ok(Fees { max: wanted.max.min(ceiling.0), tip: wanted.tip })
    }

    /// The price of a replacement: what is paid now, and an eighth more than before in both parts, which every node takes.
    pub fn next(self, last: Fees, ceiling: Wei) -> Result<Fees, AboveCeiling> {
        let least = Fees { max: raised(last.max), tip: raised(last.tip) };
        if least.max > ceiling.0 {
            return Err(AboveCeiling { needed: Wei(least.max), ceiling });
        }
        let wanted = self.wanted();
        let max = least.max.max(wanted.max).min(ceiling.0);
        Ok(Fees { max, tip: least.tip.max(wanted.tip).min(max) })
    }
}

fn raised(fee: u128) -> u128 {
    fee.saturating_add(fee.div_ceil(8).max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GWEI: u128 = 1_000_000_000;
    const CEILING: Wei = Wei(100 * GWEI);

    #[test]
    fn the_first_price_has_room_and_stays_under_the_ceiling() {
        let first = |base: u128, tip: u128| Market { base: base * GWEI, tip: tip * GWEI }.first(CEILING);
        assert_eq!(first(10, 1), Ok(Fees { max: 21 * GWEI, tip: GWEI }));
        assert_eq!(first(90, 1), Ok(Fees { max: 100 * GWEI, tip: GWEI }));
        let error = first(500, 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "gas costs 501 gwei a unit now, the ceiling is 100 gwei: waiting until it is cheaper"
        );
        assert!(Market { base: u128::MAX, tip: u128::MAX }.first(CEILING).is_err());
    }

    proptest! {
        #[test]
        fn a_replacement_pays_an_eighth_more_and_never_above_the_ceiling(
            base in 0..1000 * GWEI, tip in 0..200 * GWEI, max in 0..200 * GWEI, last_tip in 0..200 * GWEI
        ) {
            let last = Fees { max, tip: last_tip.min(max) };
            match (Market { base, tip }).next(last, CEILING) {
                Ok(next) => {
                    prop_assert!(next.max <= CEILING.0 && next.tip <= next.max);
                    prop_assert!(next.max > last.max && next.tip > last.tip);
                    prop_assert!((next.max - last.max) * 8 >= last.max && (next.tip - last.tip) * 8 >= last.tip);
                }
                Err(error) => prop_assert!(raised(max) > CEILING.0 && error.needed.0 == raised(max)),
            }
        }
    }
}
