//! The words of the ledger: ids, what is signed, what is kept on the chain. Their shapes are those of `contracts/src`.
//!
//! Amounts are in wei, prices in wei for a GiB (storage: for a GiB and a month of 30 days), times in seconds since 1970.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    base::{BucketId, ShardId, Wei},
    keys::EthereumAddress,
};

macro_rules! id32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({}..)", stringify!($name), &hex::encode(self.0)[..12])
            }
        }
    };
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id32!(
    /// An agreement: the digest of all its terms.
    AgreementId
);
id32!(
    /// A mandate: the digest of its terms. All zeros: none, the producer signs itself.
    MandateId
);
id32!(
    /// The Merkle root over the shards that an agreement holds.
    HoldingRoot
);
number!(
    /// An offer, numbered from 1.
    OfferId
);
number!(
    /// A dispute, numbered from 1.
    DisputeId
);
number!(
    /// Seconds since 1970, as blocks count them.
    Timestamp
);

impl Timestamp {
    /// Later than every block: what costs nothing is paid until then.
    pub const ENDLESS: Self = Self(u64::MAX);

    /// So many seconds later.
    pub fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

/// How long things take, in seconds; the same in `contracts/src/Types.sol`.
pub mod windows {
    /// The last seconds before the money of an agreement is used up.
    pub const GRACE_SECONDS: u64 = 48 * 3600;
    /// From the wish to end an agreement to its end.
    pub const CLOSING_SECONDS: u64 = 48 * 3600;
    /// From the notice of a release until fewer bytes are paid.
    pub const RELEASE_NOTICE_SECONDS: u64 = 48 * 3600;
    /// To answer a challenge.
    pub const ANSWER_SECONDS: u64 = 24 * 3600;
    /// To show that a shard is held under a newer revision too.
    pub const REPROOF_SECONDS: u64 = 24 * 3600;
    /// To claim what a slash gave for repair.
    pub const REPAIR_SECONDS: u64 = 180 * 24 * 3600;
    /// A month, for prices.
    pub const MONTH_SECONDS: u64 = 30 * 24 * 3600;
}

/// As what an account takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Party {
    Producer,
    Consumer,
}

/// A wish to take part, signed by the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    #[serde(with = "crate::chain::words::address")]
    pub account: EthereumAddress,
    /// The owner whose peers act for the account.
    pub owner: [u8; 32],
    pub party: Party,
    pub payment: Wei,
    pub deadline: Timestamp,
}

/// What a consumer offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferTerms {
    pub storage_price: Wei,
    pub egress_price: Wei,
    /// What can still be had.
    pub capacity_bytes: u64,
    /// For a GiB.
    pub collateral_per_gib: Wei,
    /// The consumer promises not to end an agreement before.
    pub earliest_end: Timestamp,
    /// Nothing is opened after.
    pub expiry: Timestamp,
}

/// An offer as kept on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub consumer: EthereumAddress,
    pub is_standing: bool,
    pub terms: OfferTerms,
    pub collateral: Wei,
}

/// What both sign to open an agreement. Its digest is the agreement's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    #[serde(with = "crate::chain::words::address")]
    pub producer: EthereumAddress,
    #[serde(with = "crate::chain::words::address")]
    pub consumer: EthereumAddress,
    pub offer: OfferId,
    pub bucket: BucketId,
    pub mandate: MandateId,
    pub storage_price: Wei,
    pub egress_price: Wei,
    pub collateral_per_gib: Wei,
    pub capacity_bytes: u64,
    /// For storage, and for egress.
    pub held: Wei,
    pub allowance: Wei,
    pub earliest_end: Timestamp,
    /// It must be opened by then.
    pub deadline: Timestamp,
    pub salt: [u8; 32],
}

/// The state of an agreement, signed by both. The highest number counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    pub agreement: AgreementId,
    pub number: u64,
    pub root: HoldingRoot,
    pub shard_count: u32,
    pub stored_bytes: u64,
    pub storage_price: Wei,
    pub egress_price: Wei,
    /// Up to then `earned` was owed for storage in all.
    pub as_of: Timestamp,
    pub earned: Wei,
}

/// Fewer bytes at the same price, signed by the producer alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub agreement: AgreementId,
    pub number: u64,
    pub stored_bytes: u64,
}

/// What the producer owes for egress in all, signed by the producer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    pub agreement: AgreementId,
    pub amount: Wei,
}

/// A producer lets a delegate re-place shards of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mandate {
    #[serde(with = "crate::chain::words::address")]
    pub producer: EthereumAddress,
    #[serde(with = "crate::chain::words::address")]
    pub delegate: EthereumAddress,
    pub bucket: BucketId,
    pub storage_price: Wei,
    pub capacity_bytes: u64,
    pub expiry: Timestamp,
    pub salt: [u8; 32],
}

/// A mandate as kept on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MandateState {
    pub terms: Mandate,
    pub used_bytes: u64,
    pub is_revoked: bool,
}

/// A shard that a delegate places, and where it is already held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    pub shard: ShardId,
    pub leaf_count: u32,
    pub source: AgreementId,
    pub source_index: u32,
    pub source_path: Vec<[u8; 32]>,
}

/// What a challenger asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    pub agreement: AgreementId,
    /// Of the newest co-signed revision on chain.
    pub number: u64,
    pub shard: ShardId,
    pub leaf_count: u32,
    pub shard_index: u32,
    pub leaf_index: u32,
}

/// Where an agreement is in its life; see `contracts/src/IAgreements.sol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AgreementState {
    #[default]
    None,
    Pending,
    Active,
    Closing,
    Terminated,
    Cancelled,
    Finished,
}

/// An agreement as kept on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    pub producer: EthereumAddress,
    pub consumer: EthereumAddress,
    /// Who signed for the producer.
    pub opener: EthereumAddress,
    pub state: AgreementState,
    pub is_ended_by_consumer: bool,
    pub closes_at: Timestamp,
    pub earliest_end: Timestamp,
    pub capacity_bytes: u64,
    pub bucket: BucketId,
    pub mandate: MandateId,
    /// Put in for storage, less what went back at the end; what the consumer was paid of it. The same for egress below.
    pub funded: Wei,
    pub paid: Wei,
    pub allowance: Wei,
    pub redeemed: Wei,
    pub vouched: Wei,
    pub collateral: Wei,
    pub claimed: Wei,
    pub collateral_per_gib: Wei,
    pub open_disputes: u32,
    pub shard_count: u32,
    /// Of the newest co-signed revision, or of a later release that has become part of the basis.
    pub number: u64,
    pub as_of: Timestamp,
    pub earned: Wei,
    pub storage_price: Wei,
    pub egress_price: Wei,
    pub root: HoldingRoot,
    pub basis_owed: Wei,
    pub basis_bytes: u64,
    pub basis_at: Timestamp,
    /// 0: no release.
    pub release_number: u64,
    pub released_bytes: u64,
    pub released_from: Timestamp,
    /// 0: nothing ends the charge.
    pub accrues_until: Timestamp,
}

impl Agreement {
    /// What the chain has under an id that was never used.
    pub fn none() -> Self {
        let nobody = EthereumAddress([0; 20]);
        let (zero, never) = (Wei(0), Timestamp(0));
        Self {
            producer: nobody,
            consumer: nobody,
            opener: nobody,
            state: AgreementState::None,
            is_ended_by_consumer: false,
            closes_at: never,
            earliest_end: never,
            capacity_bytes: 0,
            bucket: BucketId([0; 32]),
            mandate: MandateId::default(),
            funded: zero,
            paid: zero,
            allowance: zero,
            redeemed: zero,
            vouched: zero,
            collateral: zero,
            claimed: zero,
            collateral_per_gib: zero,
            open_disputes: 0,
            shard_count: 0,
            number: 0,
            as_of: never,
            earned: zero,
            storage_price: zero,
            egress_price: zero,
            root: HoldingRoot::default(),
            basis_owed: zero,
            basis_bytes: 0,
            basis_at: never,
            release_number: 0,
            released_bytes: 0,
            released_from: never,
            accrues_until: never,
        }
    }
}

/// Where a dispute is; see `contracts/src/IDisputes.sol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DisputeState {
    #[default]
    None,
    Open,
    Superseded,
    Answered,
    Slashed,
    Dismissed,
}

/// A dispute as kept on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispute {
    pub agreement: AgreementId,
    pub shard: ShardId,
    pub challenger: EthereumAddress,
    pub state: DisputeState,
    pub leaf_count: u32,
    pub leaf_index: u32,
    pub number: u64,
    pub deadline: Timestamp,
    pub claim: Wei,
    pub bond: Wei,
    pub repair: Wei,
}
