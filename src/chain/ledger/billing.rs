//! What storage costs, as pure functions of an agreement's record: the rounding of `contracts/src/Billing.sol`, to the wei.
//!
//! Every division rounds down; sums that exceed their type stay at its maximum.

use ethers::types::U256;

use super::words::{Agreement, AgreementState, Timestamp, windows};
use crate::base::Wei;

const GIB_BYTES: u64 = 1 << 30;

/// `bytes * price * seconds / (GiB * month)`.
fn charge(stored_bytes: u64, price: Wei, seconds: u64) -> U256 {
    let byte_seconds = U256::from(GIB_BYTES) * U256::from(windows::MONTH_SECONDS);
    U256::from(stored_bytes) * U256::from(price.0) * U256::from(seconds) / byte_seconds
}

/// What so many bytes cost for a time, at a price for a GiB-month.
pub fn storage_charge(stored_bytes: u64, price: Wei, seconds: u64) -> Wei {
    saturate(charge(stored_bytes, price, seconds))
}

/// What so many bytes cost at a price for a GiB: collateral, egress.
pub fn price_of_bytes(bytes: u64, per_gib: Wei) -> Wei {
    saturate(U256::from(bytes) * U256::from(per_gib.0) / U256::from(GIB_BYTES))
}

/// What can be paid now of what is owed in all.
pub(in crate::chain) fn payable_now(owed: Wei, funded: Wei, paid: Wei) -> Wei {
    Wei(owed.0.min(funded.0).saturating_sub(paid.0))
}

fn saturate(amount: U256) -> Wei {
    Wei(u128::try_from(amount).unwrap_or(u128::MAX))
}

impl Agreement {
    /// What has been owed for storage in all by a time, were there no end.
    pub(in crate::chain) fn billed_by(&self, time: Timestamp) -> Wei {
        if time <= self.basis_at {
            return self.basis_owed;
        }
        let owed = U256::from(self.basis_owed.0);
        if self.release_number == 0 || time <= self.released_from {
            return saturate(owed + charge(self.basis_bytes, self.storage_price, time.0 - self.basis_at.0));
        }
        let rest = time.0 - self.released_from.0;
        saturate(owed + self.before_release() + charge(self.released_bytes, self.storage_price, rest))
    }

    fn before_release(&self) -> U256 {
        charge(self.basis_bytes, self.storage_price, self.released_from.0.saturating_sub(self.basis_at.0))
    }

    /// What has been owed for storage in all by a time.
    pub fn owed_at(&self, time: Timestamp) -> Wei {
        let ends = self.accrues_until;
        self.billed_by(if ends == Timestamp(0) { time } else { time.min(ends) })
    }

    /// Until when the money held pays for storage; [`Timestamp::ENDLESS`] when nothing is charged.
    pub fn paid_until(&self) -> Timestamp {
        if self.funded < self.basis_owed {
            return self.basis_at;
        }
        let left = U256::from(self.funded.0 - self.basis_owed.0);
        if self.release_number != 0 {
            let before = self.before_release();
            if before <= left {
                return self.lasting(self.released_from, left - before, self.released_bytes);
            }
        }
        self.lasting(self.basis_at, left, self.basis_bytes)
    }

    fn lasting(&self, start: Timestamp, left: U256, bytes: u64) -> Timestamp {
        let rate = U256::from(bytes) * U256::from(self.storage_price.0);
        if rate.is_zero() {
            return Timestamp::ENDLESS;
        }
        let byte_seconds = U256::from(GIB_BYTES) * U256::from(windows::MONTH_SECONDS);
        let end = U256::from(start.0) + left * byte_seconds / rate;
        u64::try_from(end).map_or(Timestamp::ENDLESS, Timestamp)
    }

    /// Whether the money is used up.
    pub fn is_lapsed(&self, now: Timestamp) -> bool {
        self.paid_until() < now
    }

    /// Whether the last 48 h before the money is used up have begun, and are not over.
    pub fn is_in_grace(&self, now: Timestamp) -> bool {
        let until = self.paid_until();
        self.state == AgreementState::Active && now <= until && until <= now.plus(windows::GRACE_SECONDS)
    }

    /// What vouchers can still draw.
    pub fn allowance_left(&self) -> Wei {
        payable_now(self.allowance, self.allowance, self.vouched.max(self.redeemed))
    }

    /// The number that a newer revision must exceed: of the newest revision or of a release after it.
    pub fn newest_number(&self) -> u64 {
        if self.release_number != 0 { self.release_number } else { self.number }
    }

    /// Whether a dispute may begin now.
    pub fn is_disputable(&self, now: Timestamp) -> bool {
        let is_kept = match self.state {
            AgreementState::Active => true,
            AgreementState::Closing => now <= self.closes_at,
            _ => false,
        };
        is_kept && self.release_number == 0 && !self.is_lapsed(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agreement() -> Agreement {
        Agreement {
            state: AgreementState::Active,
            funded: Wei(3_000_000),
            basis_bytes: 1 << 30,
            storage_price: Wei(1_000_000),
            basis_at: Timestamp(1_000),
            ..Agreement::none()
        }
    }

    #[test]
    fn a_gib_costs_its_price_a_month() {
        let agreement = agreement();
        assert_eq!(agreement.owed_at(Timestamp(1_000 + windows::MONTH_SECONDS)), Wei(1_000_000));
        assert_eq!(agreement.owed_at(Timestamp(1_001)), Wei(0), "rounded down");
        assert_eq!(agreement.paid_until(), Timestamp(1_000 + 3 * windows::MONTH_SECONDS));
        assert!(agreement.is_in_grace(Timestamp(1_000 + 3 * windows::MONTH_SECONDS)));
        assert!(!agreement.is_in_grace(Timestamp(1_000)) && !agreement.is_lapsed(agreement.paid_until()));
        assert!(agreement.is_lapsed(agreement.paid_until().plus(1)));
        assert_eq!(Agreement { basis_bytes: 0, ..agreement }.paid_until(), Timestamp::ENDLESS);
    }

    #[test]
    fn a_release_halves_the_bill_from_its_day_on() {
        let released = Agreement {
            release_number: 2,
            released_bytes: 1 << 29,
            released_from: Timestamp(1_000 + windows::MONTH_SECONDS),
            ..agreement()
        };
        assert_eq!(released.owed_at(Timestamp(1_000 + 3 * windows::MONTH_SECONDS)), Wei(2_000_000));
        assert_eq!(released.paid_until(), Timestamp(1_000 + 5 * windows::MONTH_SECONDS));
        assert_eq!((released.newest_number(), released.is_disputable(Timestamp(2_000))), (2, false));
    }

    #[test]
    fn the_largest_numbers_stay_within_their_types() {
        let huge = Agreement {
            basis_bytes: u64::MAX,
            storage_price: Wei(u128::MAX),
            basis_owed: Wei(1),
            funded: Wei(u128::MAX),
            ..agreement()
        };
        assert_eq!(huge.owed_at(Timestamp::ENDLESS), Wei(u128::MAX));
        assert!(huge.paid_until() >= huge.basis_at);
    }

    proptest! {
        #[test]
        fn what_is_held_covers_all_until_it_is_used_up(
            bytes in 0u64..1 << 45, price in 0u128..1 << 70, funded in 0u128..1 << 80, owed in 0u128..1 << 80
        ) {
            let agreement = Agreement {
                basis_bytes: bytes,
                storage_price: Wei(price),
                funded: Wei(funded),
                basis_owed: Wei(owed),
                ..agreement()
            };
            let until = agreement.paid_until();
            if owed <= funded && until < Timestamp::ENDLESS {
                prop_assert!(agreement.owed_at(until) <= agreement.funded);
                prop_assert!(agreement.owed_at(until.plus(1 + windows::MONTH_SECONDS)) >= agreement.owed_at(until));
            }
        }
    }
}
