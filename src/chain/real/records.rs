//! The records of the contracts beside those of the ledger, field by field: one table for both directions.

use ethers::types::H160;

use super::bindings::{agreements, disputes, mandates, registry};
use crate::{
    base::{BucketId, ShardId, Wei},
    chain::{
        Error,
        ledger::{
            Activation, Agreement, AgreementId, AgreementState, Challenge, Dispute, DisputeId, DisputeState,
            HoldingRoot, Mandate, MandateId, Offer, OfferId, OfferTerms, Party, Placement, Release, Revision, Terms,
            Timestamp, Voucher,
        },
    },
    keys::EthereumAddress,
};

/// A word of the ledger that the contracts have, too.
pub(super) trait Abi: Sized {
    /// What the generated bindings have for it.
    type Type;

    /// Refused when a newer contract says what this release does not know.
    fn read(it: Self::Type) -> Result<Self, Error>;

    fn write(&self) -> Self::Type;
}

macro_rules! plain {
    ($($type:ty),+) => { $(
        impl Abi for $type {
            type Type = $type;

            fn read(it: $type) -> Result<Self, Error> {
                Ok(it)
            }

            fn write(&self) -> $type {
                self.clone()
            }
        }
    )+ };
}

macro_rules! wrapped {
    ($($name:ident($inner:ty)),+) => { $(
        impl Abi for $name {
            type Type = $inner;

            fn read(it: $inner) -> Result<Self, Error> {
                Ok(Self(it))
            }

            fn write(&self) -> $inner {
                self.0
            }
        }
    )+ };
}

/// Enums by the numbers of their values, from 0.
macro_rules! numbered {
    ($($name:ident: $($value:ident),+;)+) => { $(
        impl Abi for $name {
            type Type = u8;

            fn read(it: u8) -> Result<Self, Error> {
                let known = [$(Self::$value),+].get(usize::from(it)).copied();
                let unknown = || format!("the contract knows a {} {it}, this release does not", stringify!($name));
                known.ok_or_else(|| Error::Invalid(unknown()))
            }

            fn write(&self) -> u8 {
                *self as u8
            }
        }
    )+ };
}

/// Fields of one name, then those of another name there.
macro_rules! record {
    ($name:ident is $module:ident::$theirs:ident: $($field:ident),* $(; $($ours:ident is $their:ident),+)?) => {
        impl Abi for $name {
            type Type = $module::$theirs;

            fn read(it: Self::Type) -> Result<Self, Error> {
                Ok(Self { $($field: Abi::read(it.$field)?,)* $($($ours: Abi::read(it.$their)?,)+)? })
            }

            fn write(&self) -> Self::Type {
                $module::$theirs { $($field: self.$field.write(),)* $($($their: self.$ours.write(),)+)? }
            }
        }
    };
}

plain!(bool, u32, u64, [u8; 32], Vec<[u8; 32]>, Vec<String>);
wrapped!(Wei(u128), Timestamp(u64), OfferId(u64), DisputeId(u64));
wrapped!(AgreementId([u8; 32]), MandateId([u8; 32]), HoldingRoot([u8; 32]), BucketId([u8; 32]), ShardId([u8; 32]));
numbered!(
    Party: Producer, Consumer;
    AgreementState: None, Pending, Active, Closing, Terminated, Cancelled, Finished;
    DisputeState: None, Open, Superseded, Answered, Slashed, Dismissed;
);

record!(Activation is registry::Activation: account, payment, deadline; owner is id, party is role);
record!(OfferTerms is registry::OfferTerms: storage_price, egress_price, capacity_bytes, earliest_end, expiry;
    collateral_per_gib is collateral_per_gi_b);
record!(Offer is registry::Offer: consumer, is_standing, terms, collateral);
record!(Mandate is mandates::Mandate: producer, delegate, bucket, storage_price, capacity_bytes, expiry, salt);
record!(Terms is agreements::Terms: producer, consumer, offer, bucket, mandate, storage_price, egress_price,
    capacity_bytes, held, allowance, earliest_end, deadline, salt; collateral_per_gib is collateral_per_gi_b);
record!(Revision is agreements::Revision: agreement, number, root, shard_count, stored_bytes, storage_price,
    egress_price, as_of, earned);
record!(Placement is agreements::Placement: shard, leaf_count, source, source_index, source_path);
record!(Release is agreements::Release: agreement, number, stored_bytes);
record!(Voucher is agreements::Voucher: agreement, amount);
record!(Agreement is agreements::Agreement: producer, consumer, opener, state, is_ended_by_consumer, closes_at,
    earliest_end, capacity_bytes, bucket, mandate, funded, paid, allowance, redeemed, vouched, collateral, claimed,
    open_disputes, shard_count, number, as_of, earned, storage_price, egress_price, root, basis_owed, basis_bytes,
    basis_at, release_number, released_bytes, released_from, accrues_until; collateral_per_gib is collateral_per_gi_b);
record!(Challenge is disputes::Challenge: agreement, number, shard, leaf_count, shard_index, leaf_index);
record!(Dispute is disputes::Dispute: agreement, shard, challenger, state, leaf_count, leaf_index, number, deadline,
    claim, bond, repair);

impl Abi for EthereumAddress {
    type Type = H160;

    fn read(it: H160) -> Result<Self, Error> {
        Ok(Self(it.0))
    }

    fn write(&self) -> H160 {
        H160(self.0)
    }
}

impl<T: Abi> Abi for Box<T> {
    type Type = T::Type;

    fn read(it: T::Type) -> Result<Self, Error> {
        T::read(it).map(Box::new)
    }

    fn write(&self) -> T::Type {
        (**self).write()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_states_are_those_of_the_contracts_and_unknown_ones_are_refused() {
        for (number, state) in [AgreementState::None, AgreementState::Pending].into_iter().enumerate() {
            assert_eq!((AgreementState::read(number as u8).ok(), state.write()), (Some(state), number as u8));
        }
        for number in 0..7 {
            assert_eq!(AgreementState::read(number).unwrap().write(), number);
        }
        for number in 0..6 {
            assert_eq!(DisputeState::read(number).unwrap().write(), number);
        }
        let unknown = [AgreementState::read(7).err(), DisputeState::read(6).err(), Party::read(2).err()];
        for error in unknown {
            assert!(error.unwrap().to_string().contains("this release does not"));
        }
    }
}
